/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another classic group, for comparison: arrays, linear searches, numbers instead of texts. Written
 * from the rules of Kafka's group coordinator, not from broker/groups/classic*.c, and with none of
 * its means: no parking lists, no ballot, no timers, no records.
 *
 * A member id is the number of the join that it was made for; 0 is no id, ECHO what was asked with.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "broker/groups/classic.h"

#define MODEL_MEMBERS 24
#define MODEL_REQUESTS 160
#define MODEL_NAMES 3
#define MODEL_LISTINGS 7
#define MODEL_LIST 3
#define ECHO (-1)
#define NONE (-1)

/* Names by preference; -1 ends. 5 lists nothing, 4 a name twice. */
static const int8_t model_listings[MODEL_LISTINGS][MODEL_LIST + 1] = {
    {0, -1}, {0, 1, -1}, {1, 0, -1}, {1, -1}, {1, 1, 0, -1}, {-1}, {2, -1},
};
static const int8_t model_listing_of_name[MODEL_NAMES] = {0, 3, 6};

struct model_member {
    int id;
    int instance; /* NONE: dynamic */
    int listing;
    int metadata;
    int32_t session_ms;
    int32_t rebalance_ms;
    int64_t deadline_ms; /* NONE */
    bool pending;
    bool is_new;
    bool awaits_sync;
    bool may_skip;
    int join; /* request that is parked; NONE */
    int sync;
    int assignment; /* 0: zero bytes */
    int assignment_next;
    uint64_t write_id; /* it replaced somebody, whose data follow; 0 none */
    int old_id;
    int old_listing;
    int old_metadata;
    int32_t old_session_ms;
    int32_t old_rebalance_ms;
};

struct model_answer {
    bool given;
    bool is_sync;
    enum status status;
    int id;
    int leader;
    int protocol;
    bool lists_members;
    bool skips;
    int assignment;
};

struct model_request {
    int id;
    int instance;
    int listing;
    int metadata;
    int type;
    int32_t session_ms;
    int32_t rebalance_ms;
    int version;
    int32_t generation;
    int protocol; /* NONE: not said */
    bool transactional;
    int assigned[MODEL_MEMBERS]; /* ids, in order */
    int assignments[MODEL_MEMBERS];
    int assigned_count;
};

struct model {
    enum classic_state state;
    int32_t generation;
    int type; /* NONE */
    int protocol;
    int leader;                                 /* id; 0 none */
    struct model_member members[MODEL_MEMBERS]; /* pending ones too */
    int count;
    bool initial;
    bool joiner_came;
    int32_t remaining_ms;
    int64_t phase_ms; /* NONE */
    bool phase_due;
    uint64_t write_serial;
    uint64_t assign_write_id;

    const struct classic_config *config;
    int64_t now_ms;
    bool wrote; /* in this step */
    struct model_answer answers[MODEL_REQUESTS];
};

static inline bool model_lists(int listing, int name)
{
    for (const int8_t *at = model_listings[listing]; *at >= 0; at++) {
        if (*at == name) {
            return true;
        }
    }
    return false;
}

static inline int model_members(const struct model *model)
{
    int count = 0;
    for (int i = 0; i < model->count; i++) {
        count += !model->members[i].pending;
    }
    return count;
}

static inline int model_find(const struct model *model, int id)
{
    for (int i = 0; i < model->count; i++) {
        if (id != 0 && model->members[i].id == id) {
            return i;
        }
    }
    return NONE;
}

static inline int model_find_instance(const struct model *model, int instance)
{
    for (int i = 0; i < model->count; i++) {
        if (instance != NONE && model->members[i].instance == instance) {
            return i;
        }
    }
    return NONE;
}

static inline int model_parked(const struct model *model)
{
    int count = 0;
    for (int i = 0; i < model->count; i++) {
        count += model->members[i].join != NONE;
    }
    return count;
}

static inline int32_t model_rebalance_ms(const struct model *model)
{
    int32_t longest = 0;
    for (int i = 0; i < model->count; i++) {
        const struct model_member *member = &model->members[i];
        longest =
            !member->pending && member->rebalance_ms > longest ? member->rebalance_ms : longest;
    }
    return longest;
}

static inline bool model_is_candidate(const struct model *model, int name)
{
    for (int i = 0; i < model->count; i++) {
        if (!model->members[i].pending && !model_lists(model->members[i].listing, name)) {
            return false;
        }
    }
    return true;
}

static inline int model_elect(const struct model *model)
{
    int votes[MODEL_NAMES] = {0};
    int order[MODEL_NAMES];
    int voters = 0;
    for (int i = 0; i < model->count; i++) {
        for (const int8_t *at = model_listings[model->members[i].listing];
             !model->members[i].pending && *at >= 0; at++) {
            if (model_is_candidate(model, *at)) {
                order[*at] = votes[*at] == 0 ? voters : order[*at];
                votes[*at] += 1;
                voters += 1;
                break;
            }
        }
    }
    int winner = NONE;
    for (int name = 0; name < MODEL_NAMES; name++) {
        if (votes[name] > 0 && (winner == NONE || votes[name] > votes[winner] ||
                                (votes[name] == votes[winner] && order[name] < order[winner]))) {
            winner = name;
        }
    }
    return winner;
}

/* ---- answers ---- */

static inline void model_answer(struct model *model, int request, struct model_answer answer)
{
    if (request == NONE) {
        return;
    }
    check(!model->answers[request].given);
    answer.given = true;
    model->answers[request] = answer;
}

static inline void model_refuse(struct model *model, int request, bool is_sync, enum status status,
                                int id)
{
    model_answer(
        model, request,
        (struct model_answer){.is_sync = is_sync, .status = status, .id = id, .protocol = NONE});
}

static inline void model_tell(struct model *model, int request, int id)
{
    model_answer(model, request,
                 (struct model_answer){.status = STATUS_OK,
                                       .id = id,
                                       .leader = model->leader,
                                       .protocol = model->protocol,
                                       .lists_members = id == model->leader});
}

static inline void model_tell_assignment(struct model *model, int request, int assignment)
{
    model_answer(model, request,
                 (struct model_answer){.is_sync = true,
                                       .status = STATUS_OK,
                                       .protocol = model->protocol,
                                       .assignment = assignment});
}

/* ---- members ---- */

static inline void model_arm(struct model *model, struct model_member *member)
{
    member->deadline_ms = model->now_ms + member->session_ms;
}

static inline void model_remove(struct model *model, int index, enum status status)
{
    struct model_member member = model->members[index];
    int id = status == STATUS_UNKNOWN_MEMBER_ID ? 0 : member.id;
    model_refuse(model, member.join, false, status, id);
    model_refuse(model, member.sync, true, status, id);
    memmove(&model->members[index], &model->members[index + 1],
            (size_t)(model->count - index - 1) * sizeof(member));
    model->count -= 1;
    if (model->leader == member.id) {
        model->leader = 0;
        for (int i = model->count - 1; i >= 0; i--) {
            model->leader = model->members[i].pending ? model->leader : model->members[i].id;
        }
    }
}

static inline struct model_member *model_append(struct model *model, struct model_member member)
{
    check(model->count < MODEL_MEMBERS);
    model->members[model->count] = member;
    if (!member.pending && model->leader == 0) {
        model->leader = member.id;
    }
    return &model->members[model->count++];
}

/* ---- arrows ---- */

static inline void model_set_phase(struct model *model, int64_t deadline_ms)
{
    model->phase_ms = deadline_ms;
    model->phase_due = false;
}

static inline uint64_t model_write(struct model *model)
{
    check(!model->wrote);
    model->wrote = true;
    return ++model->write_serial;
}

static inline void model_complete(struct model *model)
{
    model_set_phase(model, NONE);
    for (int i = model->count - 1; i >= 0; i--) {
        const struct model_member *member = &model->members[i];
        if (!member->pending && member->join == NONE && member->instance == NONE) {
            model_remove(model, i, STATUS_UNKNOWN_MEMBER_ID);
        }
    }
    int leader = model_find(model, model->leader);
    for (int i = 0; i < model->count && leader != NONE && model->members[leader].join == NONE;
         i++) {
        if (model->members[i].join != NONE) {
            leader = i;
        }
    }
    if (leader != NONE && model->members[leader].join == NONE) {
        model_set_phase(model, model->now_ms + model_rebalance_ms(model));
        return;
    }
    model->leader = leader == NONE ? 0 : model->members[leader].id;
    model->initial = false;
    model->generation += 1;
    if (leader == NONE) {
        model->state = CLASSIC_EMPTY;
        model->protocol = NONE;
        (void)model_write(model);
        return;
    }
    model->state = CLASSIC_COMPLETING_REBALANCE;
    model->protocol = model_elect(model);
    for (int i = 0; i < model->count; i++) {
        struct model_member *member = &model->members[i];
        if (!member->pending) {
            model_tell(model, member->join, member->id);
            member->join = NONE;
            member->is_new = false;
            member->awaits_sync = true;
            model_arm(model, member);
        }
    }
    model_set_phase(model, model->now_ms + model_rebalance_ms(model));
}

static inline bool model_all_here(const struct model *model)
{
    return model_parked(model) == model->count;
}

static inline void model_drop_assignments(struct model *model, enum status status)
{
    model->assign_write_id = 0;
    for (int i = 0; i < model->count; i++) {
        struct model_member *member = &model->members[i];
        member->assignment = 0;
        member->assignment_next = 0;
        if (member->sync != NONE) {
            model_refuse(model, member->sync, true, status, 0);
            member->sync = NONE;
            model_arm(model, member);
        }
    }
}

static inline void model_begin(struct model *model)
{
    if (model->state == CLASSIC_COMPLETING_REBALANCE) {
        model_drop_assignments(model, STATUS_REBALANCE_IN_PROGRESS);
    }
    for (int i = 0; i < model->count; i++) {
        model->members[i].awaits_sync = false;
        model->members[i].write_id = 0;
    }
    model->initial = model->state == CLASSIC_EMPTY;
    model->state = CLASSIC_PREPARING_REBALANCE;
    if (model->initial) {
        int32_t delay_ms = model->config->initial_delay_ms;
        int32_t longest_ms = model_rebalance_ms(model);
        model->joiner_came = false;
        model->remaining_ms = longest_ms > delay_ms ? longest_ms - delay_ms : 0;
        model_set_phase(model, model->now_ms + delay_ms);
        if (delay_ms == 0) {
            model_complete(model);
        }
    } else if (model_all_here(model)) {
        model_complete(model);
    } else {
        model_set_phase(model, model->now_ms + model_rebalance_ms(model));
    }
}

static inline void model_settle(struct model *model)
{
    if (!model->initial && model_all_here(model)) {
        model_complete(model);
    }
}

static inline void model_change(struct model *model)
{
    if (model->state == CLASSIC_PREPARING_REBALANCE) {
        model_settle(model);
    } else {
        model_begin(model);
    }
}
