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
 * V3  An empty group changes its kind when somebody comes with the other protocol: its tombstones
 *     stand before the first record of the new kind. One with members does not. Kafka lets members
 *     of both protocols be in one group while it migrates; here the newcomer is told
 *     GROUP_ID_NOT_FOUND by ConsumerGroupHeartbeat, INCONSISTENT_GROUP_PROTOCOL by JoinGroup, and
 *     the group's clients are stopped, changed and started again together.
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
    int32_t append_count; /* in flight */
};

/* A ConsumerGroupHeartbeat, by key: the group's name. call.status OK: `out` is the answer, errors
 * of the group included. */
struct consumer_call {
    struct coordinator_call call;
    struct consumer_heartbeat heartbeat;
    struct consumer_group_heartbeat_response out;
    /* the owner's */
    struct group *group;
    struct shard_append append;
};
void group_run_consumer_heartbeat(struct coordinator_call *call);

/* A ConsumerGroupDescribe of one group, by key. */
struct consumer_describe_call {
    struct coordinator_call call;
    struct bytes name;
    struct consumer_group_describe_response_group out;
    /* the owner's */
    struct group *group;
    struct shard_append append;
};
void group_run_consumer_describe(struct coordinator_call *call);

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
/* For JoinGroup. OK: the group is of no kind now, its tombstones are on their way. */
enum status group_consumer_leave_to_classic(struct group *group);
/* A record that consumer_owns_key(). STATUS_NO_MEMORY, STATUS_MALFORMED. */
enum status group_consumer_replay(struct groups *groups, const struct shard_record *record);
/* Behind the last record. */
enum status group_consumer_loaded(struct group *group);
/* May this member commit. */
enum status group_consumer_may_commit(const struct group *group, const struct group_commit *commit);
