/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One classic consumer group as its coordinator sees it: members meet (JoinGroup), one of them is
 * told about all and hands in the assignment (SyncGroup), and each takes its own. Pure: no I/O, no
 * clock, no entropy. Time comes with each event, memory from the heap, and what has to be durable
 * is asked for in the output and reported back as an event.
 *
 *   state                 join                  sync               heartbeat  left by
 *   Empty                 starts a rebalance    25                 25         first join
 *   PreparingRebalance    parked                27                 27         all joined, or timer
 *   CompletingRebalance   repeats the answer    parked             OK         leader's write
 * durable Stable                repeats the answer,   its assignment     OK         change, expiry,
 * leave leader: rebalances Dead                  15                    15                 15 never
 *
 *   Empty -> Preparing                 first member; a timer of initial_delay_ms, prolonged by each
 *                                      joiner up to the rebalance timeout, ends the wait
 *   Preparing -> Completing            all members are parked and no pending one is awaited, or the
 *                                      largest rebalance timeout is over: the others are dropped
 *   Preparing -> Empty                 nobody is left; the empty group is written
 *   Completing -> Stable               the write of the assignment is durable
 *   Completing, Stable -> Preparing    metadata changed, member came or went, the leader rejoined,
 *                                      the write failed, a member did not sync in time
 *   any -> Dead                        CLASSIC_RETIRE
 *
 * G1  Each join and sync that was handed in is answered exactly once: in the output of that step or
 *     of a later one. Until then its memory belongs to the group.
 * G2  Generations grow by one. All good join answers of one generation name one leader and one
 *     protocol, except that a static leader which came back under a new id is named by that id.
 * G3  A sync is answered OK in Stable only, or by the step that enters it: with the assignment that
 *     was durable first. What the leader left out is zero bytes.
 * G4  A join is parked in PreparingRebalance, or for a static member that waits in Stable for its
 *     new id to be written. A sync is parked in CompletingRebalance alone.
 * G5  Empty and Dead have no members (Empty may have pending ones); every other state but
 *     PreparingRebalance has at least one.
 * G6  The leader is a member; there is one exactly when there are members.
 * G7  In CompletingRebalance and Stable every member lists the chosen protocol.
 * G8  A member has a running session timer, or is parked. Brand-new ones have both: nobody can tell
 *     whether they are still there.
 * G9  A step asks for at most one write. Writes are reported in the order they were asked for, each
 *     once; a report that no longer matters changes nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/uuid.h"
#include "wire/consumer_offsets.h"
#include "wire/join_group.h"
#include "wire/status.h"
#include "wire/sync_group.h"

struct classic;

/* Borrowed by every group of a coordinator; may change between steps. */
struct classic_config {
    int32_t initial_delay_ms;   /* group.initial.rebalance.delay.ms */
    int32_t session_ms_min;     /* group.min.session.timeout.ms */
    int32_t session_ms_max;     /* group.max.session.timeout.ms */
    int32_t member_count_max;   /* group.max.size */
    int32_t new_member_join_ms; /* how long a brand-new member's first join may park: 300000 */
};

enum classic_state {
    CLASSIC_EMPTY,
    CLASSIC_PREPARING_REBALANCE,
    CLASSIC_COMPLETING_REBALANCE,
    CLASSIC_STABLE,
    CLASSIC_DEAD,
};
const char *classic_state_name(enum classic_state state); /* "PreparingRebalance" */

/* ---- events ---- */

/* A JoinGroup: the request, and later its answer. Lies in the caller's memory. The request part is
 * read by the step it is handed to, and copied where it is kept. */
struct classic_join {
    struct list_node node; /* the group's, then the output's */
    struct bytes member_id;
    struct bytes instance_id; /* NULL: a dynamic member */
    struct bytes client_id;
    struct bytes client_host;
    struct bytes protocol_type;
    const struct join_group_request_protocol *protocols;
    int32_t protocol_count;
    int32_t session_ms;
    int32_t rebalance_ms;     /* negative (version 0): as session_ms */
    bool requires_member_id;  /* version 4 and up */
    bool may_skip_assignment; /* version 9 and up */
    struct uuid uuid;         /* random; becomes part of the member id when one is made */
    struct {
        enum status status;
        int32_t generation;         /* -1 unless OK */
        struct bytes protocol_type; /* NULL unless OK */
        struct bytes protocol;      /* NULL unless OK */
        struct bytes leader;
        struct bytes member_id;
        bool skip_assignment;
        bool lists_members; /* the leader's: put classic_member_next()'s list into the answer */
    } answer;
};

struct classic_sync {
    struct list_node node; /* the group's, then the output's */
    struct bytes member_id;
    struct bytes instance_id;   /* NULL none */
    struct bytes protocol_type; /* NULL: not said (below version 5) */
    struct bytes protocol;      /* NULL: not said */
    const struct sync_group_request_assignment *assignments;
    int32_t assignment_count;
    int32_t generation;
    struct {
        enum status status;
        struct bytes protocol_type; /* NULL unless OK */
        struct bytes protocol;      /* NULL unless OK */
        struct bytes assignment;    /* zero bytes unless OK */
    } answer;
};

/* A Heartbeat, or the right of an OffsetCommit or TxnOffsetCommit. `status` is the answer. */
struct classic_call {
    struct bytes member_id;
    struct bytes instance_id; /* NULL none */
    int32_t generation;
    bool transactional; /* TxnOffsetCommit */
    enum status status;
};

/* One entry of a LeaveGroup. member_id empty: by instance id, as administrators do. */
struct classic_leaver {
    struct bytes member_id;
    struct bytes instance_id; /* NULL none */
    enum status status;       /* the answer */
};

enum classic_event_kind {
    CLASSIC_JOIN,
    CLASSIC_SYNC,
    CLASSIC_HEARTBEAT,
    CLASSIC_COMMIT, /* may this client commit offsets; a commit counts as a heartbeat */
    CLASSIC_LEAVE,
    CLASSIC_TICK,           /* classic_deadline_ms() has come */
    CLASSIC_PERSISTED,      /* the write is durable */
    CLASSIC_PERSIST_FAILED, /* it is not, and `status` says why */
    CLASSIC_REBALANCE,      /* as if a member had changed: after a group came from another kind */
    CLASSIC_RETIRE, /* everything parked gets `status`: 16 unloaded, 27 became another kind */
};

struct classic_event {
    enum classic_event_kind kind;
    int64_t now_ms;  /* monotonic: all deadlines */
    int64_t wall_ms; /* since 1970: when the state changed, which is persisted */
    union {
        struct classic_join *join;
        struct classic_sync *sync;
        struct classic_call *call; /* HEARTBEAT, COMMIT */
        struct {
            struct classic_leaver *leavers;
            int32_t leaver_count;
        };
        struct {
            uint64_t write_id;  /* PERSISTED, PERSIST_FAILED */
            enum status status; /* PERSIST_FAILED, RETIRE */
        };
    };
};

/*
 * What a step wants done. Slices in answers belong to the group and live until its next step, so
 * answers are encoded (or copied) at once. So is the write: classic_value() shows what to write
 * only until the next step.
 */
struct classic_output {
    struct list joins; /* answered: struct classic_join by node */
    struct list syncs; /* answered: struct classic_sync by node */
    bool write;        /* append classic_value(), then report write_id */
    uint64_t write_id;
    const char *reason; /* why a rebalance began in this step, for diagnostics; NULL none */
};

/* ---- life ---- */

/* An Empty group of generation 0. Borrows heap, config and nothing else; NULL: no memory. */
[[nodiscard]] struct classic *classic_open(struct heap *heap, uint64_t seed,
                                           const struct classic_config *config);
/* Nothing may be parked: CLASSIC_RETIRE comes first. NULL does nothing. */
void classic_close(struct classic *group);

/*
 * One event. `output` is overwritten. Cannot fail: a join or sync that finds no memory is answered
 * COORDINATOR_NOT_AVAILABLE and the group is as before.
 *
 * A group that does not exist is the caller's business: JOIN with a member id, SYNC, HEARTBEAT and
 * each entry of a LEAVE are UNKNOWN_MEMBER_ID; JOIN without one opens a group; COMMIT with a
 * negative generation opens one, with another it is GROUP_ID_NOT_FOUND (below version 9 of
 * OffsetCommit ILLEGAL_GENERATION). An opened group may be dropped when classic_is_idle().
 */
void classic_step(struct classic *group, const struct classic_event *event,
                  struct classic_output *output);

/* When the next CLASSIC_TICK is due, on the clock of now_ms; INT64_MAX: never. */
int64_t classic_deadline_ms(const struct classic *group);
/* Empty or Dead with nothing pending: without offsets, nothing would be lost by closing it. When
 * its generation is above 0 it was written, and dropping it takes a tombstone. */
bool classic_is_idle(const struct classic *group);

/* ---- durable form: GroupMetadataValue version 3, its key is the group's name ---- */

/* What a step with output.write wants written; slices as in struct classic_output, the array in the
 * arena. STATUS_NO_MEMORY: report PERSIST_FAILED. */
enum status classic_value(const struct classic *group, struct arena *arena,
                          struct group_metadata_value *value);
/*
 * The group becomes what the value says: Stable with members, Empty without; sessions start at
 * now_ms. A group above group.max.size starts a rebalance, and so does one without a leader. May be
 * called again as the log is replayed; nothing may be parked. STATUS_MALFORMED: a member twice, or
 * no protocol for members. STATUS_NO_MEMORY. After a failure the group is Empty.
 */
enum status classic_load(struct classic *group, const struct group_metadata_value *value,
                         int64_t now_ms);
/* All waiting starts anew at now_ms: the log has been read, and only now members can be heard. */
void classic_resume(struct classic *group, int64_t now_ms);

/* ---- views; slices live until the next step ---- */

struct classic_view {
    enum classic_state state;
    int32_t generation;
    struct bytes protocol_type; /* NULL: only offsets were ever committed */
    struct bytes protocol;      /* NULL none chosen */
    struct bytes leader;        /* NULL none */
    int64_t state_wall_ms;      /* since when it is in this state; -1 unknown (old records) */
    int32_t member_count;
    int32_t pending_count; /* told their id by MEMBER_ID_REQUIRED, not yet back */
};
struct classic_view classic_view(const struct classic *group);

struct classic_member_view {
    struct bytes member_id;
    struct bytes instance_id; /* NULL: dynamic */
    struct bytes client_id;
    struct bytes client_host;
    int32_t session_ms;
    int32_t rebalance_ms;
    struct bytes metadata; /* of the chosen protocol; zero bytes without one */
    struct bytes assignment;
    const struct join_group_request_protocol *protocols; /* all it listed, by preference */
    int32_t protocol_count;
};
/*
 * All members, longest there first: NULL asks for the first, NULL answers the end. Pending ones are
 * not listed. DescribeGroups shows protocol and metadata in Stable only.
 */
struct classic_member;
const struct classic_member *classic_member_next(const struct classic *group,
                                                 const struct classic_member *member);
struct classic_member_view classic_member_view(const struct classic *group,
                                               const struct classic_member *member);

/* ---- questions of the offset store and of admin requests ---- */

/* DeleteGroups: OK, NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND (Dead). */
enum status classic_check_delete(const struct classic *group);
/* OffsetDelete, once per group: OK, NON_EMPTY_GROUP (live members that are no consumers),
 * GROUP_ID_NOT_FOUND. Then per topic: classic_subscribes() is GROUP_SUBSCRIBED_TO_TOPIC. */
enum status classic_check_offset_delete(const struct classic *group);
/* Whether a live `consumer` group reads this topic; true as well when a member's metadata cannot be
 * read or no protocol is chosen yet: then it might. */
bool classic_subscribes(const struct classic *group, struct bytes topic);

/* From when offsets.retention.minutes counts. */
enum classic_expiry {
    CLASSIC_EXPIRY_NEVER,        /* members come and go, or are no consumers */
    CLASSIC_EXPIRY_SINCE_STATE,  /* Empty: state_wall_ms, or the commit when that is -1 */
    CLASSIC_EXPIRY_SINCE_COMMIT, /* each offset's own time; not for topics that are subscribed */
};
enum classic_expiry classic_expiry(const struct classic *group);
