/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `weir transaction`. */
#pragma once

#include "broker/cli/options.h"

extern const struct command TRANSACTION_LIST;
extern const struct command TRANSACTION_DESCRIBE;
extern const struct command TRANSACTION_ABORT;
