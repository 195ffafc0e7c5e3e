/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is forgotten: offsets whose time is over (KIP-211), offsets of deleted topics, and groups
 * that hold nothing any more. Everything goes by tombstones first.
 */
#pragma once

#include "broker/groups/group.h"

/* Each offsets.retention.check.interval.ms. */
void expiry_start(struct groups *groups);
void expiry_fire(struct timer *timer);

/* Offsets of a topic that is being removed; of all that are not there (name NULL): a broker may
 * have died between the two. A topic of the same name that comes later begins without offsets. */
void expiry_topic_removed(struct groups *groups, struct bytes name);

/* Tombstones under way, in request memory: state that is full up must not keep what would make room
 * from being forgotten. */
struct group_removal {
    struct shard_append append;
    struct group *group; /* held */
    int32_t place_count;
    int32_t place_room;
    bool whole; /* the group's own record goes too */
    void (*done)(struct group_removal *removal, enum status status);
    void *owner;
    struct offset_place *places[];
};

/* A removal with room for `room` places, or NULL: no memory. It is freed behind done(). */
struct group_removal *group_removal_make(struct group *group, int32_t room);
/* Takes along what is being committed there, which stands before the tombstone. Skipped when
 * another removal has it. */
void group_removal_add(struct group_removal *removal, struct offset_place *place);
/* Writes the tombstones, then forgets. done() may be NULL. */
void group_removal_start(struct group_removal *removal);

/* Everything of a group that group_check_delete() lets go, batch after batch. Lies in the caller's
 * memory until done(), which may run before group_delete() returns. */
struct group_deletion {
    struct group *group; /* held by the removal under way */
    void (*done)(struct group_deletion *deletion, enum status status);
};
void group_delete(struct group *group, struct group_deletion *deletion,
                  void (*done)(struct group_deletion *deletion, enum status status));
