/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The groups of one shard of __consumer_offsets: who is in them (a pure state machine of either
 * kind) and what they committed (broker/groups/offsets.h). Owner core only.
 *
 *   kind      classic  consumer   made by
 *   SIMPLE    NULL     NULL       an OffsetCommit without generation: nobody is a member
 *   CLASSIC   set      NULL       JoinGroup; group metadata in the log
 *   CONSUMER  NULL     set        ConsumerGroupHeartbeat; records 3 to 8 and 16 in the log
 *             set      set        for the one step of an upgrade (group_upgrade_begin())
 *
 * U1  A group is known by its name; the table and the list hold the same groups.
 * U2  A group that holds nothing (no members, no offsets, nothing in flight) is dropped by
 *     group_settle(); whatever was written of it has been taken back by tombstones before.
 * U3  `holds` counts what comes back to the group later: appends in flight, parked calls. It is not
 *     freed before.
 * U4  What a call sees of offsets and classic members is durable (S1 of broker/shard.h); consumer
 *     groups hold their answers back instead (V1 of broker/groups/consumer_group.h).
 */
#pragma once

#include "base/hash.h"
#include "base/list.h"
#include "base/timer.h"
#include "broker/coordinator.h"
#include "broker/groups/classic.h"
#include "broker/groups/consumer.h"
#include "broker/groups/consumer_group.h"
#include "broker/groups/offsets.h"

struct groups;

enum group_kind { GROUP_SIMPLE, GROUP_CLASSIC, GROUP_CONSUMER };

#define GROUP_MAGIC 0x67727570u
#define GROUP_TEXT_SIZE 256 /* of a name in a line */

struct group {
    uint32_t magic;
    struct table_node by_name;
    struct list_node node; /* groups->list, oldest first */
    struct groups *groups;
    struct bytes name; /* its own */
    int32_t holds;
    int32_t write_count; /* appends of either machine in flight */
    struct group_offsets offsets;
    struct classic *classic;
    struct consumer_group *consumer; /* broker/groups/consumer_group.h */
    struct timer timer;              /* of whichever machine there is */
};

/* shard->machine */
struct groups {
    struct shard *shard;
    struct heap *heap;
    struct table names;
    struct list list;
    int32_t count;
    struct offsets offsets;
    struct arena scratch; /* of one step; reset by whoever used it */
    struct classic_config classic_config;
    struct consumer_config consumer_config;
    struct timer expiry_timer;
    bool serving; /* replayed, and not stopped: timers run, steps may follow */
};

static inline struct groups *groups_of(const struct shard *shard)
{
    return shard->machine;
}

static inline enum group_kind group_kind(const struct group *group)
{
    return group->consumer != NULL  ? GROUP_CONSUMER
           : group->classic != NULL ? GROUP_CLASSIC
                                    : GROUP_SIMPLE;
}

struct group *group_find(const struct groups *groups, struct bytes name);
/* Finds or makes (SIMPLE). NULL: no memory. */
struct group *group_make(struct groups *groups, struct bytes name);
/* Holds it until group_release(), which may free it (U2). */
void group_hold(struct group *group);
void group_release(struct group *group);
/* Frees it when it holds nothing any more. */
void group_settle(struct group *group);

/* As DescribeGroups and ListGroups show it. */
const char *group_state_name(const struct group *group);
const char *group_type_name(const struct group *group); /* "classic", "consumer" */
struct bytes group_protocol_type(const struct group *group);
/* OK, NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND. */
enum status group_check_delete(const struct group *group);
enum status group_check_offset_delete(const struct group *group);
/* Whether a live member reads the topic. */
bool group_subscribes(const struct group *group, struct bytes topic);

/* ---- classic members: broker/groups/group_classic.c ---- */

#define GROUP_NEW_MEMBER_JOIN_MS 300000 /* Kafka's own limit for the first join of a new member */

/* Gives the group a classic machine, unless it has one. STATUS_NO_MEMORY. */
enum status group_classic_make(struct group *group);
/* One event, and everything that follows from it: answers, the write, the timer. The clocks of the
 * event are filled in. The caller holds the group. */
void group_classic_step(struct group *group, struct classic_event *event);
/* Everything parked is answered with `status`; the machine is Dead. */
void group_classic_retire(struct group *group, enum status status);
/* The timer as the machine wants it. */
void group_classic_arm(struct group *group);
void group_classic_fire(struct group *group);

/* A JoinGroup or SyncGroup, from the handler. The body of the answer is encoded on the owner core;
 * slice_count 0: an error that the handler encodes. */
struct group_call {
    struct coordinator_call call;
    int16_t version;
    struct bytes group_name;
    struct classic_join join; /* the request part */
    struct classic_sync sync;
    const struct iovec *slices;
    int slice_count;
    struct consumer_answer answer; /* the owner's */
};
void group_run_join(struct coordinator_call *call);
void group_run_sync(struct coordinator_call *call);
/* The body of the answer, in the call's arena. `lister`: whose members a leader is told. OK or
 * COORDINATOR_NOT_AVAILABLE. */
enum status group_call_put_join(struct group_call *call, const struct classic_join *join,
                                const struct group *lister);
enum status group_call_put_sync(struct group_call *call, const struct classic_sync *sync);
/* Home core: sends the body that the owner encoded. */
void group_call_reply(struct request *request, const struct group_call *call);

/* A Heartbeat: call.status is its answer. */
struct group_beat {
    struct coordinator_call call;
    struct bytes group_name;
    struct classic_call beat;
    struct consumer_answer answer; /* the owner's */
};
void group_run_beat(struct coordinator_call *call);

/* A LeaveGroup: call.status OK: each leaver has its own. */
struct group_leave {
    struct coordinator_call call;
    struct bytes group_name;
    struct classic_leaver *leavers; /* the owner's to fill */
    int32_t leaver_count;
    struct consumer_answer answer;
};
/* The leavers are filled in, with UNKNOWN_MEMBER_ID. Answers the call. */
void group_run_leave(struct group_leave *leave);
