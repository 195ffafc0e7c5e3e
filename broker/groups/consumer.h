/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One group of the consumer protocol (KIP-848) as its coordinator sees it. Members heartbeat; the
 * coordinator decides who should have what (the target) and walks each member there on its own, so
 * that a rebalance stops nobody but those who give something up. Pure: no I/O, no clock, no
 * entropy.
 *
 *   a member's state        leaves it when
 *   STABLE                  the target's epoch has moved on
 *   UNREVOKED_PARTITIONS    it heartbeats without what it was told to give up; or its rebalance
 *                           timeout passes, and it is removed
 *   UNRELEASED_PARTITIONS   others have given up what it waits for: it takes that, and waits on
 *
 *   group epoch      grows with each change of members, subscriptions or topics
 *   target's epoch   the group epoch that the target was made for
 *   member epoch     the target's epoch that the member has come to; 0 joins, -1 leaves, -2 leaves
 *                    for a while and keeps its place (static members)
 *
 * I1  No partition is held by two members at once. Held is what a member has, and what it was told
 *     to give up and has not yet.
 * I2  Group epoch >= target's epoch >= every member epoch. The first two never fall, and a member's
 *     own does not while it is a member (a static one that comes back begins at 0).
 * I3  The target gives each partition of each subscribed topic to exactly one subscriber, when it
 *     is made.
 * I4  When members heartbeat and tell the truth, and nothing else changes, then after a bounded
 *     number of rounds each of them is STABLE and has its target, no more and no less.
 * I5  An error changes nothing and writes nothing.
 * I6  A step's records, replayed after all those before, make a group that goes on like this one.
 * I7  A step changes memory before its records are durable. The owner holds the answer back until
 *     they are, and throws the group away and replays the log when an append fails, or when
 *     output.broken says that memory ran out in the middle.
 * I8  Members may speak the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup; see
 *     broker/groups/migration.h). Each has listed a protocol, and whoever joins lists one that all
 *     of them list. Their generation is their member epoch, what they own stands in the metadata
 *     they join with, and they join whenever a step towards the target is due.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/heap.h"
#include "base/uuid.h"
#include "broker/groups/classic.h"
#include "broker/groups/parts.h"
#include "broker/shard.h"
#include "wire/consumer_group_describe.h"
#include "wire/consumer_group_heartbeat.h"
#include "wire/status.h"

#define CONSUMER_EPOCH_JOIN 0
#define CONSUMER_EPOCH_LEAVE (-1)
#define CONSUMER_EPOCH_LEAVE_STATIC (-2)

struct consumer;

/* Borrowed by every group of a coordinator; may change between steps. */
struct consumer_config {
    int32_t heartbeat_ms;     /* group.consumer.heartbeat.interval.ms */
    int32_t session_ms;       /* group.consumer.session.timeout.ms */
    int32_t member_count_max; /* group.consumer.max.size */
    /* Bit i: assignor_row(i) is served. The lowest is used when members ask for none. */
    uint32_t assignors;
    /* group.consumer.migration.policy */
    bool upgrade;
    bool downgrade;
    const struct classic_config *classic; /* of classic members, and of what it may become */
};

/* What the coordinator knows of topics. Slices live until the step returns. */
struct consumer_topic {
    struct bytes name;
    struct uuid id;
    int32_t partition_count;
};

struct consumer_catalog {
    bool (*find)(void *context, struct bytes name, struct consumer_topic *topic);
    bool (*find_id)(void *context, const struct uuid *id, struct consumer_topic *topic);
    /* All topics, one after the other; *cursor begins as NULL. False: no more. */
    bool (*next)(void *context, void **cursor, struct consumer_topic *topic);
    void *context;
    uint64_t version; /* another number after every change */
};

/* ---- steps ---- */

struct consumer_heartbeat {
    const struct consumer_group_heartbeat_request *request;
    int16_t version;
    struct bytes client_id;
    struct bytes client_host;
    struct uuid uuid; /* random; names the member when the client does not */
};

enum consumer_event_kind {
    CONSUMER_HEARTBEAT,
    CONSUMER_JOIN, /* of a classic member; answered in this step, as the next two */
    CONSUMER_SYNC,
    CONSUMER_CLASSIC_HEARTBEAT,
    CONSUMER_LEAVE, /* LeaveGroup, of members of either protocol */
    CONSUMER_TICK,  /* consumer_deadline_ms() has come */
};

struct consumer_event {
    enum consumer_event_kind kind;
    int64_t now_ms;  /* monotonic: all deadlines */
    int64_t wall_ms; /* since 1970; stands in records */
    const struct consumer_catalog *catalog;
    union {
        const struct consumer_heartbeat *heartbeat;
        struct classic_join *join; /* the answer's slices are the group's or the arena's */
        struct classic_sync *sync;
        struct classic_call *call;
        struct {
            struct classic_leaver *leavers;
            int32_t leaver_count;
        };
    };
    const struct shard_record *first; /* goes before all others; NULL: none */
    bool upgraded; /* migration_upgrade() made the group: all of it is written. When the answer is
                    * an error, the group and what it would write are thrown away */
};

/* Everything lies in the step's arena. */
struct consumer_output {
    struct shard_record *records; /* to be appended as one batch, in order */
    int32_t record_count;
    int32_t record_room;
    struct consumer_group_heartbeat_response answer; /* CONSUMER_HEARTBEAT */
    bool broken;                                     /* I7 */
    bool downgrade;     /* only classic members are left: migration_downgrade() comes next */
    const char *reason; /* why the group epoch grew, for diagnostics; NULL it did not */
};

/* An empty group of epoch 0. Borrows heap, config; copies the name. NULL: no memory. */
[[nodiscard]] struct consumer *consumer_open(struct heap *heap, uint64_t seed,
                                             const struct consumer_config *config,
                                             struct bytes name);
void consumer_close(struct consumer *group);
/* What is wrong with a heartbeat whatever the group: STATUS_OK, or the answer's error with a
 * sentence (in the arena). */
enum status consumer_check(const struct consumer_config *config,
                           const struct consumer_heartbeat *heartbeat, struct arena *arena,
                           const char **message);
/* The heartbeat passed consumer_check(). For a group that does not exist yet only joins come here;
 * all else is GROUP_ID_NOT_FOUND. */
void consumer_step(struct consumer *group, const struct consumer_event *event, struct arena *arena,
                   struct consumer_output *output);
/* When the next CONSUMER_TICK is due, on the clock of now_ms; INT64_MAX: never. */
int64_t consumer_deadline_ms(const struct consumer *group);

/* ---- the log ---- */

/* Whether a key of this type is one of ours: 3 to 8, and 16. */
bool consumer_owns_key(int16_t type);
/* The group's name in such a key; STATUS_MALFORMED. */
enum status consumer_key_group(struct bytes key, struct bytes *name);
/* One record of this group. STATUS_MALFORMED, STATUS_NO_MEMORY. */
enum status consumer_replay(struct consumer *group, const struct shard_record *record,
                            struct arena *arena);
/* Behind the last one: deadlines begin. False: no memory. */
[[nodiscard]] bool consumer_loaded(struct consumer *group, int64_t now_ms);
/* Nothing of it is in the log: all its records were tombstones. */
bool consumer_is_blank(const struct consumer *group);
/* Tombstones of all that it wrote, for an empty group that is deleted. */
void consumer_erase(struct consumer *group, struct arena *arena, struct consumer_output *output);

/* ---- views; slices live until the next step ---- */

enum consumer_state {
    CONSUMER_EMPTY,
    CONSUMER_ASSIGNING,   /* the target is older than the group */
    CONSUMER_RECONCILING, /* members are on their way */
    CONSUMER_STABLE,
};
enum consumer_state consumer_state(const struct consumer *group);
const char *consumer_state_name(enum consumer_state state); /* "Reconciling" */
int32_t consumer_member_count(const struct consumer *group);
/* Fills all but the error and the authorized operations. False: the arena refused. */
bool consumer_describe(const struct consumer *group, const struct consumer_catalog *catalog,
                       struct arena *arena, struct consumer_group_describe_response_group *out);
/* Whether a member reads this topic. */
bool consumer_subscribes(const struct consumer *group, struct bytes topic);

/*
 * OffsetCommit and TxnOffsetCommit: OK, UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH, or
 * UNSUPPORTED_VERSION (a version of OffsetCommit that cannot tell members why). Without a member,
 * as administrators do, only while the group is empty.
 */
struct consumer_commit {
    struct bytes member_id;
    int32_t epoch; /* the request's generation */
    bool transactional;
    int16_t version;
};
enum status consumer_check_commit(const struct consumer *group,
                                  const struct consumer_commit *commit);
/* OffsetFetch. member_id data NULL or size 0 with a negative epoch: anybody may ask. */
enum status consumer_check_fetch(const struct consumer *group, struct bytes member_id,
                                 int32_t epoch);
/* DeleteGroups: OK or NON_EMPTY_GROUP. */
enum status consumer_check_delete(const struct consumer *group);

/* Every rule above that can be seen from inside; stops the process when one is broken. */
void consumer_verify(const struct consumer *group);
