/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `weir topic`. */
#pragma once

#include "base/bytes.h"
#include "broker/cli/options.h"

extern const struct command TOPIC_CREATE;
extern const struct command TOPIC_LIST;
extern const struct command TOPIC_DESCRIBE;
extern const struct command TOPIC_DELETE;

int topic_describe_run(int count, char **arguments);

/* One line: the topic, and the numbers of some of its partitions. */
void topic_partitions_print(const char *indent, struct bytes topic, const int32_t *partitions,
                            int32_t count);
