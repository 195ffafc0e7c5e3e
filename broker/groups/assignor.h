/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-side assignors (KIP-848): who should have which partitions. Pure functions of what a group
 * looks like now.
 *
 * A1  Each partition of each topic that somebody subscribes to goes to exactly one of its
 *     subscribers; nothing else is given.
 * A2  The same group gives the same answer, whatever the order of members in the input.
 * A3  uniform: what a member has it keeps unless balance asks for it. When all subscribe to the
 *     same topics, counts differ by one at most; else no single move makes them more even.
 * A4  range: each topic is cut into runs of neighbours, one for each of its subscribers in order;
 *     the first ones get one more when it does not come out even. Topics with equal subscribers and
 *     counts are cut alike, so what is keyed alike meets at one member.
 */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "broker/groups/parts.h"

struct assignor_topic {
    struct uuid id;
    int32_t partition_count;
};

struct assignor_member {
    struct bytes id;
    struct bytes instance_id; /* data NULL: none */
    const int32_t *topics;    /* indexes, ascending */
    int32_t topic_count;
    struct parts current; /* what it was to have before; may hold what is gone */
    struct parts target;  /* out, sorted; in the arena */
};

struct assignor_group {
    const struct assignor_topic *topics; /* ascending by id */
    int32_t topic_count;
    struct assignor_member *members;
    int32_t member_count;
};

struct assignor {
    const char *name;
    /* False: the arena refused. */
    bool (*assign)(struct assignor_group *group, struct arena *arena);
};

bool assign_uniform(struct assignor_group *group, struct arena *arena);
bool assign_range(struct assignor_group *group, struct arena *arena);

/* NULL: no such name. */
const struct assignor *assignor_find(struct bytes name);
/* 0, 1, ...; NULL behind the last. */
const struct assignor *assignor_row(int32_t index);
