/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `weir group`. */
#pragma once

#include "broker/cli/cluster.h"
#include "broker/cli/options.h"

#define GROUP_WHAT_SIZE 320
#define GROUP_OPERANDS_MAX 10000

extern const struct command GROUP_LIST;
extern const struct command GROUP_DESCRIBE;
extern const struct command GROUP_OFFSETS;
extern const struct command GROUP_RESET;
extern const struct command GROUP_DELETE;

int group_describe_run(int count, char **arguments);
int group_offsets_run(int count, char **arguments);
int group_reset_run(int count, char **arguments);

/* What a group committed for a partition. */
struct group_offset {
    struct bytes topic;
    int32_t partition;
    int64_t offset; /* -1: nothing */
    struct bytes metadata;
    int16_t error_code;
};

struct group_offsets {
    struct group_offset *items; /* by topic and partition */
    int32_t count;
};

/* All that the group committed. Wants the metadata of all topics; lives in `arena`. */
bool group_offsets_ask(struct cluster *cluster, struct arena *arena, struct bytes group,
                       struct group_offsets *out);
/* NULL when the cluster's metadata does not know it. */
const struct metadata_response_topic *group_topic(const struct cluster *cluster, struct bytes name);
