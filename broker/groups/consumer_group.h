/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between consumer groups (broker/groups/consumer.h), which know no I/O, and the world: heartbeats
 * in, records, answers and timers out. Owner core only.
 *
 * V1  A step changes memory at once; its answer goes home when its records, and all that were
 *     appended before, are durable. An append that fails, and memory that runs out in the middle of
 *     a step, throw the shard's memory away and read its log again (S3 of broker/shard.h).
 * V2  The records of one step are one batch, or several when they are many; the last one decides.
 *     A crash between two of them leaves a beginning of the step, and that is sound: the group's
 *     epoch stands before the targets and theirs behind them, so a target that is not whole is made
 *     again; a member without an assignment has to join again.
 * V3  A group changes its kind in one step (broker/groups/migration.h; an empty one when somebody
 *     comes with the other protocol): its tombstones stand before the first record of the new kind,
 *     and memory changes at once. No write of a classic group is in flight then; writes of a
 *     consumer group may be, and when one fails all of it is read again.
 */
#pragma once

#include "broker/coordinator.h"
#include "broker/groups/consumer.h"

/* Of group.coordinator.rebalance.protocols; the order of the words in broker/config.def. */
#define GROUP_PROTOCOL_CONSUMER 2u

struct core;
struct group;
struct group_commit;
struct groups;

struct consumer_group {
    struct group *group;
    struct consumer *machine;
};

/* An answer that waits until all that its group wrote is durable (V1). Part of a call, the owner's.
 */
struct consumer_answer {
    struct coordinator_call *call;
    enum status status; /* for the call, when it is durable */
    struct group *group;
    struct shard_append append;
};

/* A ConsumerGroupHeartbeat, by key: the group's name. call.status OK: `out` is the answer, errors
 * of the group included. */
struct consumer_call {
    struct coordinator_call call;
    struct consumer_heartbeat heartbeat;
    struct consumer_group_heartbeat_response out;
    struct group *group; /* the owner's */
    struct consumer_answer answer;
};
void group_run_consumer_heartbeat(struct coordinator_call *call);

/* A ConsumerGroupDescribe of one group, by key. */
struct consumer_describe_call {
    struct coordinator_call call;
    struct bytes name;
    struct consumer_group_describe_response_group out;
    struct consumer_answer answer; /* the owner's */
};
void group_run_consumer_describe(struct coordinator_call *call);

/* config->classic stays as it is. */
void consumer_group_configure(struct consumer_config *config, const struct core *core);
struct consumer_catalog consumer_group_catalog(struct core *core);
/* STATUS_NO_MEMORY. */
enum status group_consumer_make(struct group *group);
/* The machine goes, without a word to the log. */
void group_consumer_drop(struct group *group);
/* No members, and nothing on its way to the log. */
bool group_consumer_is_idle(const struct group *group);
/* Nothing of it is in the log or on its way there. */
bool group_consumer_is_blank(const struct group *group);
void group_consumer_arm(struct group *group);
void group_consumer_fire(struct group *group);
/* An event of this moment. */
struct consumer_event group_consumer_event(const struct groups *groups,
                                           enum consumer_event_kind kind,
                                           const struct consumer_catalog *catalog);
/* What follows from a step that was taken for a call, in its arena: records, another kind, the
 * timer. The call is answered with `status` when all is durable. The caller holds the group, which
 * may be of another kind then. */
void group_consumer_follow(struct group *group, const struct consumer_event *event,
                           struct consumer_output *output, struct consumer_answer *answer);
/* For JoinGroup, of an empty group. OK: the group is of no kind now, its tombstones are on their
 * way. */
enum status group_consumer_leave_to_classic(struct group *group);

/* ---- calls of classic members: broker/groups/consumer_calls.c ---- */

struct group_beat;
struct group_call;
struct group_leave;
void group_consumer_join(struct group *group, struct group_call *call);
void group_consumer_sync(struct group *group, struct group_call *call);
void group_consumer_beat(struct group *group, struct group_beat *beat);
void group_consumer_leave(struct group *group, struct group_leave *leave);

/* ---- from one kind to the other: broker/groups/group_migration.c ---- */

/* The group gets a consumer machine beside its classic one, for one step. OK: the event is prepared
 * for it. GROUP_ID_NOT_FOUND with a sentence, COORDINATOR_LOAD_IN_PROGRESS: soon. */
enum status group_upgrade_begin(struct group *group, struct consumer_event *event,
                                struct shard_record *tombstone, struct arena *arena,
                                const char **message);
/* After the step. False: it failed, and the group is the classic one that it was. */
bool group_upgrade_end(struct group *group, const struct consumer_output *output);
/* The classic group's tombstone. */
enum status group_upgrade_tombstone(const struct group *group, struct arena *arena,
                                    struct shard_record *tombstone);
/* After a step that says downgrade; adds to its records. False: no memory, nothing changed. */
bool group_downgrade(struct group *group, const struct consumer_event *event, struct arena *arena,
                     struct consumer_output *output);
/* When the records are on their way. */
void group_downgrade_end(struct group *group);

/* ---- the log, and questions ---- */

/* A record that consumer_owns_key(). STATUS_NO_MEMORY, STATUS_MALFORMED. */
enum status group_consumer_replay(struct groups *groups, const struct shard_record *record);
/* Behind the last record. */
enum status group_consumer_loaded(struct group *group);
/* May this member commit. */
enum status group_consumer_may_commit(const struct group *group, const struct group_commit *commit);
