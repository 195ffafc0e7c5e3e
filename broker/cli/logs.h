/* SPDX-License-Identifier: Apache-2.0 */
/* The commands about log files on this machine. */
#pragma once

#include "broker/cli/options.h"

extern const struct command LOG_DUMP;
extern const struct command LOG_VERIFY;
extern const struct command LOG_SKIP;
extern const struct command LOG_REOPEN;
