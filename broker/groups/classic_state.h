/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a classic group consists of, and the small verbs its steps are made of: members come, go and
 * are replaced; joins and syncs are parked and answered; sessions run. Inside of
 * broker/groups/classic.h, whose invariants (G) are meant here.
 *
 * The steps lie in classic_join.c, classic_sync.c, classic_rebalance.c and classic.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/timer.h"
#include "broker/groups/ballot.h"
#include "broker/groups/classic.h"
#include "broker/groups/classic_member.h"

#define CLASSIC_MAGIC UINT32_C(0x434c4153)

struct classic {
    uint32_t magic;
    enum classic_state state;
    int32_t generation;
    int64_t state_wall_ms;               /* -1 unknown */
    struct heap *heap;                   /* borrowed */
    const struct classic_config *config; /* borrowed */
    uint64_t seed;

    struct table ids;       /* members and pending ones, by id */
    struct table instances; /* static members, by instance id */
    struct list members;    /* longest there first */
    struct list pending;
    struct list removed; /* freed by the next step: answers may still point into them */
    struct list expired; /* filled by session timers during a tick */
    int32_t member_count;
    int32_t pending_count;
    int32_t join_count; /* parked joins */
    int32_t sync_count; /* members that have yet to sync */

    struct ballot ballot;
    struct ballot_line *protocol; /* held; NULL none */
    struct classic_blob protocol_type;
    struct classic_member *leader;

    struct timers timers; /* in ns of now_ms */
    struct timer phase;   /* Preparing: the wait for joins. Completing, Stable: for syncs */
    bool phase_due;
    bool initial;         /* Preparing: came from Empty, so it waits for more members */
    bool joiner_came;     /* since the initial wait was prolonged last */
    int32_t remaining_ms; /* by which the initial wait may still be prolonged */

    uint64_t write_id;        /* given last */
    uint64_t assign_write_id; /* Completing: the leader's assignment; 0 none */

    /* of the step under way */
    struct classic_output *output;
    int64_t now_ms;
    int64_t wall_ms;
};

void classic_output_init(struct classic_output *output);
void classic_set_state(struct classic *group, enum classic_state state);
/* G9: the caller appends what classic_value() shows after this step. */
uint64_t classic_write(struct classic *group);
/* Frees what answers of the step before pointed into. */
void classic_sweep(struct classic *group);

/* ---- members ---- */

/* A member or a pending one; NULL none. */
struct classic_member *classic_find(const struct classic *group, struct bytes id);
struct classic_member *classic_find_instance(const struct classic *group, struct bytes instance_id);
/* Who the request comes from: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID. *member is set when OK. */
enum status classic_identify(const struct classic *group, struct bytes id, struct bytes instance_id,
                             struct classic_member **member);
/* A member made by classic_member_open(): pending, or with its protocols counted in the ballot. */
void classic_link(struct classic *group, struct classic_member *member);
/* Takes it out of lists, tables and ballot. What it has parked is answered `status`. Its memory
 * stays until the next step. */
void classic_remove(struct classic *group, struct classic_member *member, enum status status);
/* `fresh` takes the place of `old`: position, leadership, assignment. The old one is out of lists
 * and tables, its protocols out of the ballot, and belongs to the caller. */
void classic_swap(struct classic *group, struct classic_member *old, struct classic_member *fresh);
/* The write that replaced somebody is settled, or does not matter any more. */
void classic_forget_before(struct classic *group, struct classic_member *member);
/* The largest of the members', in ms. */
int32_t classic_rebalance_ms(const struct classic *group);
/* What the members' votes choose. There are members, and each was let in only with a protocol that
 * all others list, so there is one. */
struct ballot_line *classic_elect_protocol(struct classic *group);
void classic_set_protocol(struct classic *group, struct ballot_line *line);

/* ---- time ---- */

void classic_arm_session(struct classic *group, struct classic_member *member, int32_t ms);
void classic_arm_phase(struct classic *group, int32_t ms);
void classic_disarm_phase(struct classic *group);

/* ---- parking and answering ---- */

/* A join that is not parked. member_id is echoed. */
void classic_refuse_join(struct classic *group, struct classic_join *join, enum status status,
                         struct bytes member_id);
/* The current generation. */
void classic_answer_join(struct classic *group, struct classic_join *join,
                         const struct classic_member *member);
void classic_refuse_sync(struct classic *group, struct classic_sync *sync, enum status status);
void classic_answer_sync(struct classic *group, struct classic_sync *sync,
                         const struct classic_member *member);
/* One that was parked before is answered REBALANCE_IN_PROGRESS: its client has asked again. */
void classic_park_join(struct classic *group, struct classic_member *member,
                       struct classic_join *join);
void classic_park_sync(struct classic *group, struct classic_member *member,
                       struct classic_sync *sync);
struct classic_join *classic_unpark_join(struct classic *group, struct classic_member *member);
struct classic_sync *classic_unpark_sync(struct classic_member *member);
void classic_set_awaits_sync(struct classic *group, struct classic_member *member, bool awaits);

/* ---- steps ---- */

/* Something changed that members have to agree on again: starts a rebalance, or in
 * PreparingRebalance looks whether the wait is over. */
void classic_change(struct classic *group, const char *reason);
/* Empty, Completing, Stable -> Preparing, and on when nobody is awaited. */
void classic_begin(struct classic *group, const char *reason);
/* Preparing: goes on when every member is parked and nobody is pending. */
void classic_settle(struct classic *group);
/* The timer of the state is over. */
void classic_phase_over(struct classic *group);
void classic_join_step(struct classic *group, struct classic_join *join);
void classic_sync_step(struct classic *group, struct classic_sync *sync);
void classic_persisted(struct classic *group, uint64_t write_id);
void classic_persist_failed(struct classic *group, uint64_t write_id, enum status status);

/* Walks everything and checks what the invariants say; always true. O(members). */
bool classic_verify(const struct classic *group);
