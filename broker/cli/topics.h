/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `weir topic`. */
#pragma once

#include "broker/cli/options.h"

extern const struct command TOPIC_CREATE;
extern const struct command TOPIC_LIST;
extern const struct command TOPIC_DESCRIBE;
extern const struct command TOPIC_DELETE;

int topic_describe_run(int count, char **arguments);
