/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Committed offsets of all groups of one shard. Memory only; no I/O, no clock.
 *
 *   offsets_prepare()  everything an offset needs is reserved, nothing is visible
 *   (append)
 *   offsets_apply()    durable: it is what the group committed; or offsets_cancel(): as if never
 *
 * O1  Of two commits of one place the one later in the log counts, also when the earlier one
 *     becomes visible later, with the end of its transaction.
 * O2  A transactional commit waits under its producer id until the marker: COMMIT applies it, ABORT
 *     drops it. While one waits, the place is unstable.
 * O3  A place with a change on its way or waiting is not freed, whatever becomes of its offset.
 * O4  A tombstone takes along what waits at its place, which stands before it in the log: a
 *     transaction that commits later does not bring back what was deleted.
 * O5  Counts: group->offsets.count is the number of visible offsets, .place_count of places.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/list.h"
#include "wire/status.h"

struct group;

struct offsets {
    struct heap *heap; /* borrowed */
    struct table topics;
    struct table places;
    struct table producers; /* with something waiting */
    uint64_t serial_next;
};

/* Of one group. */
struct group_offsets {
    struct list topics; /* struct offset_topic */
    int32_t count;
    int32_t place_count;
};

struct offset_topic {
    struct table_node by_name;
    struct list_node node;
    struct group *group;
    uint64_t serial;
    struct bytes name; /* its own */
    struct list places;
};

struct offset_value {
    int64_t offset;
    int32_t leader_epoch; /* -1 none */
    int64_t commit_ms;
    int64_t expire_ms; /* -1: by retention */
    struct bytes metadata;
};

struct offset_place {
    struct table_node by_index;
    struct list_node node;
    struct offset_topic *topic;
    int32_t partition;
    int32_t change_count;  /* prepared and neither applied nor cancelled */
    int32_t waiting_count; /* of transactions */
    bool committed;
    bool leaving;       /* a tombstone is on its way; counts in change_count */
    int64_t log_offset; /* of the newest record that decided this place, tombstones included */
    struct offset_value value;
};

/* Prepared; in the caller's memory. */
struct offset_change {
    struct offset_place *place; /* NULL: nothing is prepared */
    struct offset_value value;  /* metadata is the change's own */
    /* of a transaction */
    struct offset_waiting *waiting;
    struct offset_producer *producer;
};

[[nodiscard]] bool offsets_init(struct offsets *offsets, struct heap *heap, uint64_t seed);
/* No group is left. */
void offsets_deinit(struct offsets *offsets);
void group_offsets_init(struct group_offsets *offsets);
/* Forgets everything of the group, waiting commits as well; no change may be prepared. */
void group_offsets_clear(struct offsets *offsets, struct group *group);

struct offset_spot {
    struct group *group;
    struct bytes topic;
    int32_t partition;
};
/* STATUS_NO_MEMORY. `value` is copied. */
enum status offsets_prepare(struct offsets *offsets, const struct offset_spot *spot,
                            const struct offset_value *value, struct offset_change *change);
/* The same for a producer's transaction: apply makes it wait. */
enum status offsets_prepare_waiting(struct offsets *offsets, const struct offset_spot *spot,
                                    const struct offset_value *value, int64_t producer_id,
                                    struct offset_change *change);
void offsets_apply(struct offsets *offsets, struct offset_change *change, int64_t log_offset);
void offsets_cancel(struct offsets *offsets, struct offset_change *change);
/* Committed, waiting, or about to be one of them: a tombstone written now takes it (O4). */
static inline bool offset_place_is_used(const struct offset_place *place)
{
    return place->committed || place->waiting_count > 0 || place->change_count > 0;
}

/* A tombstone at log_offset is durable: O4. The place may be freed. */
void offsets_remove(struct offsets *offsets, struct offset_place *place, int64_t log_offset);
/* The place is freed when nothing of it is left (O3). */
void offsets_settle(struct offsets *offsets, struct offset_place *place);
/* The marker of a producer is durable. `touched` is told each group that had something waiting,
 * once or more. */
void offsets_end(struct offsets *offsets, int64_t producer_id, bool commit,
                 void (*touched)(struct group *group));

/* NULL: nothing was ever committed there and nothing waits. Look at `committed`. */
struct offset_place *offsets_find(const struct offsets *offsets, const struct offset_spot *spot);
