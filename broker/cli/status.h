/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "broker/cli/options.h"

extern const struct command STATUS_COMMAND;
