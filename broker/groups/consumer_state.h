/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a consumer group is made of, for the files that work on it: consumer_member.c (who is in
 * it), consumer_subscription.c (topics and targets), consumer_reconcile.c (the walk to the target),
 * consumer_change.c (what follows when members change), consumer_heartbeat.c and consumer_classic.c
 * (what members of either protocol ask), consumer_record.c (the log), consumer_view.c (questions),
 * consumer.c (steps), migration.c (to and from a classic group). Nobody else looks.
 */
#pragma once

#include "base/check.h"
#include "base/hash.h"
#include "base/list.h"
#include "broker/groups/ballot.h"
#include "broker/groups/classic_member.h"
#include "broker/groups/consumer.h"

#define CONSUMER_MAGIC 0x636e7372u

/* The numbers of the log. */
enum consumer_member_state {
    MEMBER_STABLE = 1,
    MEMBER_UNREVOKED = 2,
    MEMBER_UNRELEASED = 3,
};

/* Owned, sorted, no name twice. */
struct names {
    struct bytes *items;
    int32_t count;
    size_t size; /* of the one block they all lie in */
};

struct consumer_member {
    struct table_node by_id;
    struct table_node by_instance; /* when instance_id is set */
    struct list_node node;
    struct bytes id; /* texts are the member's own; data NULL: not set */
    struct bytes instance_id;
    struct bytes rack_id;
    struct bytes client_id;
    struct bytes client_host;
    struct bytes assignor;
    struct bytes pattern; /* size 0: none */
    struct names names;
    int32_t rebalance_ms;
    int32_t epoch;
    int32_t previous_epoch;
    enum consumer_member_state state;
    struct parts_set assigned; /* what it has; epochs say since which target */
    struct parts_set revoking; /* what it was told to give up and has not yet */
    struct parts_set target;
    int64_t session_deadline_ms;
    int64_t rebalance_deadline_ms; /* counts in MEMBER_UNREVOKED, not for classic members */
    bool recorded;                 /* replay: its own record was there, not only assignments */
    bool classic;                  /* it speaks JoinGroup, SyncGroup, Heartbeat; I8 */
    int32_t classic_session_ms;
    struct classic_protocols protocols; /* what it listed, at least one; counted in the ballot */
    int64_t join_deadline_ms;           /* it was told to join again; INT64_MAX: it was not */
    int64_t sync_deadline_ms;           /* it has joined and not synced; INT64_MAX: it has */
};

/* A regular expression that members subscribe to, and the topics it stands for. */
struct consumer_pattern {
    struct list_node node;
    struct bytes text;
    struct names topics;
    int32_t member_count;
};

/* Who holds the partitions of one topic from `number` * HELD_RANGE on (I1). In ranges, because a
 * log may name any index: what is kept grows with the partitions that are held, not with their
 * indexes. */
#define HELD_RANGE 64
struct held_range {
    struct table_node node;
    struct uuid id;
    int32_t number;
    int32_t count;
    struct consumer_member *owners[HELD_RANGE]; /* NULL: free */
};

struct consumer {
    uint32_t magic;
    struct heap *heap;
    const struct consumer_config *config;
    struct bytes name;
    uint64_t seed;
    struct table ids;
    struct table instances;
    struct table held;
    struct list members; /* longest there first */
    struct list patterns;
    int32_t member_count;
    struct ballot ballot; /* of what classic members list */
    int32_t classic_count;
    int32_t epoch;
    int64_t hash; /* of the topics that members subscribe to */
    int32_t target_epoch;
    bool epoch_written; /* records 3, 6 and 4 are in the log */
    bool target_written;
    bool topics_written;
    uint64_t catalog_version; /* that hash and patterns were looked up in */
    int64_t refresh_due_ms;   /* not before */
};

/* One step on its way. False from any function below: memory ran out, and output.broken is set when
 * the group had been touched by then. */
struct step {
    struct consumer *group;
    int64_t now_ms;
    int64_t wall_ms;
    const struct consumer_catalog *catalog;
    struct arena *arena;
    struct consumer_output *out;
    bool touched;
    bool refused; /* memory ran out */
};

bool step_break(struct step *step);
/* The status of a step that did not refuse. */
static inline enum status step_status(const struct step *step, enum status status)
{
    return step->refused ? STATUS_COORDINATOR_NOT_AVAILABLE : status;
}

/* Heap that joins leave to those who are there: a step that breaks in the middle costs a replay. */
#define HEAP_SPARE_SIZE ((size_t)64 << 10)
/* What a member may say at most: its record has to fit into a batch, and a request that is made to
 * spend the memory of the core is refused before anything of the group is touched. */
#define MEMBER_TEXT_SIZE_MAX ((size_t)256 << 10)

/* ---- consumer_member.c ---- */

bool text_assign(struct heap *heap, struct bytes *text, struct bytes value);
void text_release(struct heap *heap, struct bytes *text);
/* Sorts `items`, which is the caller's. */
bool names_assign(struct heap *heap, struct names *names, struct bytes *items, int32_t count);
void names_release(struct heap *heap, struct names *names);
bool names_have(const struct names *names, struct bytes name);
bool names_equal(const struct names *a, const struct names *b);

struct consumer_member *member_find(const struct consumer *group, struct bytes id);
struct consumer_member *member_find_instance(const struct consumer *group, struct bytes instance);
/* NULL: no memory. */
struct consumer_member *member_open(struct consumer *group, struct bytes id);
/* Gives up what it holds. Its pattern is the caller's business. */
void member_close(struct consumer *group, struct consumer_member *member);
/* Under another id; what it holds stays. */
bool member_rename(struct consumer *group, struct consumer_member *member, struct bytes id);
bool member_set_instance(struct consumer *group, struct consumer_member *member,
                         struct bytes instance);
/* Who holds it, or NULL. */
struct consumer_member *held_by(const struct consumer *group, const struct part *part);
/* The member lets go of everything and holds these two, which nobody else may (I1). */
bool member_hold(struct consumer *group, struct consumer_member *member, struct parts assigned,
                 struct parts revoking);
/* The member speaks the classic protocol from now on, with what it lists; at least one. */
bool member_set_classic(struct consumer *group, struct consumer_member *member,
                        struct ballot_list list, int32_t session_ms);
/* It speaks the newer one. */
void member_clear_classic(struct consumer *group, struct consumer_member *member);
/* Nothing is held any more, whatever the sets say; before the group is closed. */
void held_clear(struct consumer *group);
/* All that the members' sets say, from nothing; after a replay. */
bool held_build(struct consumer *group);

/* ---- consumer_subscription.c ---- */

struct consumer_pattern *pattern_find(const struct consumer *group, struct bytes text);
/* Finds or makes it, without topics, and counts one member more. NULL: no memory. */
struct consumer_pattern *pattern_join(struct consumer *group, struct bytes text);
/* One member less; when it was the last, the pattern is gone and its record is taken back. */
bool pattern_leave(struct step *step, struct bytes text);
void pattern_free(struct consumer *group, struct consumer_pattern *pattern);
/* Looks up what the pattern stands for. */
bool pattern_resolve(struct step *step, struct consumer_pattern *pattern);
bool member_subscribes(const struct consumer *group, const struct consumer_member *member,
                       struct bytes topic);
/* The hash of what members subscribe to now. */
bool subscription_hash(struct step *step, int64_t *hash);
/* The name of the assignor that most members ask for. */
struct bytes consumer_assignor(const struct consumer *group);
/* A new target for the group's epoch. */
bool target_make(struct step *step);

/* ---- consumer_reconcile.c ---- */

/* What a member says that it has. */
struct owned {
    bool told; /* false: nothing was said */
    struct parts parts;
};

/* One step of the member towards its target. *changed: its assignment record has to be written. */
bool member_reconcile(struct step *step, struct consumer_member *member, const struct owned *owned,
                      bool *changed);

/* ---- consumer_change.c ---- */

/* Nothing is known of what it reads, nor has it been given anything. */
static inline bool member_is_bare(const struct consumer_member *member)
{
    return member->target.count == 0 && member->names.count == 0 && member->pattern.size == 0;
}

/* What one step makes of one member. */
struct member_change {
    bool joined;       /* it begins anew */
    bool fresh;        /* nothing was known of it */
    bool written;      /* its record has to be */
    bool subscription; /* it reads other topics than before */
};

/* A new member, the former one under its new id, or `member` as it is. NULL: see above. */
struct consumer_member *member_enter(struct step *step, struct consumer_member *member,
                                     struct consumer_member *former, struct bytes id);
/* What it was told to give up, it has given up. */
bool member_let_go(struct step *step, struct consumer_member *member);
/* A text that is another than before; asked data NULL: not said. */
bool text_update(struct step *step, struct bytes *own, struct bytes asked, bool *changed);
bool instance_update(struct step *step, struct consumer_member *member, struct bytes asked,
                     bool *changed);
/* Sorts `items`, which is the caller's. */
bool names_update(struct step *step, struct consumer_member *member, struct bytes *items,
                  int32_t count, bool *changed);
bool pattern_update(struct step *step, struct consumer_member *member, struct bytes asked,
                    bool *changed);
/* Its record, and the group's new epoch when that grows with the change. */
bool member_commit(struct step *step, const struct consumer_member *member,
                   const struct member_change *change);
/* The target where that is old, and a step of the member towards it. *moved: it has other
 * partitions than before. */
bool member_proceed(struct step *step, struct consumer_member *member, const struct owned *owned,
                    bool joined, bool *moved);
/* The member is out. After the last one comes members_left(). */
bool member_remove(struct step *step, struct consumer_member *member);
bool members_left(struct step *step, const char *reason);
/* Only classic members are left, and the group may become what they are. */
bool consumer_may_downgrade(const struct consumer *group);

/* ---- consumer_heartbeat.c, consumer_classic.c ---- */

void consumer_heartbeat_step(struct step *step, const struct consumer_heartbeat *heartbeat);
void consumer_join_step(struct step *step, struct classic_join *join);
void consumer_sync_step(struct step *step, struct classic_sync *sync);
void consumer_call_step(struct step *step, struct classic_call *call);
void consumer_leave_step(struct step *step, struct classic_leaver *leavers, int32_t count);

/* ---- consumer_record.c ---- */

bool write_record(struct step *step, const struct shard_record *record);
bool write_member(struct step *step, const struct consumer_member *member);
bool write_member_gone(struct step *step, const struct consumer_member *member);
bool write_target(struct step *step, const struct consumer_member *member);
bool write_target_epoch(struct step *step);
bool write_assignment(struct step *step, const struct consumer_member *member);
bool write_epoch(struct step *step);
bool write_pattern(struct step *step, const struct consumer_pattern *pattern);
bool write_pattern_gone(struct step *step, struct bytes text);
/* Of the group itself. */
bool write_group_gone(struct step *step);
/* Everything, as if nothing of it were in the log. */
bool write_whole(struct step *step);

/* The end of the run of one topic that begins at `begin`. */
static inline int32_t parts_run(struct parts parts, int32_t begin)
{
    int32_t end = begin + 1;
    while (end < parts.count &&
           uuid_equal(&parts.items[end].topic_id, &parts.items[begin].topic_id)) {
        end++;
    }
    return end;
}

/* How many topics there are, and the indexes of one run in the arena. */
int32_t parts_topic_count(struct parts parts);
int32_t *parts_indexes(struct arena *arena, struct parts parts, int32_t begin, int32_t end);
