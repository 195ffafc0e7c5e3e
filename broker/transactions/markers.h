/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Markers on their way to the partitions of one transaction or several: a control batch each,
 * appended by the owner core of the partition. In __consumer_offsets the group coordinator's shard
 * appends it, because its memory follows the log.
 *
 *   markers_init, markers_add..., markers_send -> every item has its status -> done(markers)
 *
 * Owner: the core that sends. Memory comes from the caller's arena, which lives until done().
 */
#pragma once

#include "broker/groups/commit.h"
#include "topic/manager.h"

/* One record without headers, a key of 4 bytes, a value of 6. */
#define MARKER_BATCH_SIZE_MAX 128

struct marker_item {
    struct bytes topic; /* borrowed until done() */
    int32_t index;
    enum status status; /* OK: durable */
    bool in_groups;
    union {
        struct {
            struct task task;
            uint8_t batch[MARKER_BATCH_SIZE_MAX];
        };
        struct group_marker group;
    };
};

struct markers {
    struct core *core;
    struct fan fan;
    struct coordinator_fan calls;
    struct marker_item *items;
    int32_t count;
    int32_t count_max;
    int32_t pending;
    void (*done)(struct markers *markers);
    void *owner;
};

/* STATUS_NO_MEMORY. */
enum status markers_init(struct markers *markers, struct core *core, struct arena *arena,
                         int32_t count_max);
/* once: the marker may be in the log already, from before a failure; then it is not written again.
 */
void markers_add(struct markers *markers, struct bytes topic, int32_t index,
                 const struct shard_marker *marker, bool once);
/* done() may run before this returns. */
void markers_send(struct markers *markers, void (*done)(struct markers *markers));
