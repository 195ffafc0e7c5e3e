/* SPDX-License-Identifier: Apache-2.0 */
/* What the group of classic_model.h does with each call, each due timer and each write. */
#pragma once

#include "tests/unit/broker/groups/classic_model.h"

/* ---- JoinGroup ---- */

static inline void model_park(struct model *model, struct model_member *member, int request)
{
    model_refuse(model, member->join, false, STATUS_REBALANCE_IN_PROGRESS, member->id);
    member->join = request;
}

static inline struct model_member model_member_of(const struct model *model, int number,
                                                  const struct model_request *request)
{
    return (struct model_member){
        .id = request->id == 0 ? number + 1 : request->id,
        .instance = request->instance,
        .listing = request->listing,
        .metadata = request->metadata,
        .session_ms = request->session_ms,
        .rebalance_ms = request->rebalance_ms < 0 ? request->session_ms : request->rebalance_ms,
        .deadline_ms = model->now_ms + request->session_ms,
        .may_skip = request->version >= 9,
        .join = NONE,
        .sync = NONE,
    };
}

static inline void model_add(struct model *model, int number, const struct model_request *request)
{
    struct model_member member = model_member_of(model, number, request);
    member.is_new = true;
    member.join = number;
    member.deadline_ms = model->now_ms + model->config->new_member_join_ms;
    if (model_members(model) == 0) {
        model->type = request->type;
    }
    model_append(model, member);
    model->joiner_came = true;
    model_change(model);
}

static inline void model_replace(struct model *model, int number,
                                 const struct model_request *request, int index)
{
    struct model_member old = model->members[index];
    struct model_member *member = &model->members[index];
    model_refuse(model, old.join, false, STATUS_FENCED_INSTANCE_ID, old.id);
    model_refuse(model, old.sync, true, STATUS_FENCED_INSTANCE_ID, old.id);
    *member = model_member_of(model, number, request);
    member->join = number;
    member->awaits_sync = old.awaits_sync;
    member->assignment = old.assignment;
    member->assignment_next = old.assignment_next;
    model->leader = model->leader == old.id ? member->id : model->leader;
    if (model->state == CLASSIC_STABLE && model_elect(model) == model->protocol) {
        bool again = old.write_id != 0; /* what the log knows is older still */
        member->old_id = again ? old.old_id : old.id;
        member->old_listing = again ? old.old_listing : old.listing;
        member->old_metadata = again ? old.old_metadata : old.metadata;
        member->old_session_ms = again ? old.old_session_ms : old.session_ms;
        member->old_rebalance_ms = again ? old.old_rebalance_ms : old.rebalance_ms;
        member->write_id = model_write(model);
        return;
    }
    model_change(model);
}

static inline void model_join_known(struct model *model, int number,
                                    const struct model_request *request, int index)
{
    struct model_member *member = &model->members[index];
    bool same = member->listing == request->listing && member->metadata == request->metadata;
    bool leads = member->id == model->leader;
    if ((model->state == CLASSIC_COMPLETING_REBALANCE && same) ||
        (model->state == CLASSIC_STABLE && same && !leads)) {
        model_tell(model, number, member->id);
        return;
    }
    member->listing = request->listing;
    member->metadata = request->metadata;
    member->session_ms = request->session_ms;
    member->rebalance_ms = request->rebalance_ms < 0 ? request->session_ms : request->rebalance_ms;
    model_park(model, member, number);
    model_change(model);
}

static inline bool model_is_full(const struct model *model, int index)
{
    bool is_member = index != NONE && !model->members[index].pending;
    int max = model->config->member_count_max;
    if (model->state == CLASSIC_PREPARING_REBALANCE) {
        return !(is_member && model->members[index].join != NONE) && model_parked(model) >= max;
    }
    return model->state != CLASSIC_EMPTY && !is_member && model_members(model) >= max;
}

static inline bool model_suits(const struct model *model, const struct model_request *request)
{
    const int8_t *at = model_listings[request->listing];
    if (model->state == CLASSIC_EMPTY) {
        return *at >= 0;
    }
    for (; *at >= 0; at++) {
        if (model_is_candidate(model, *at)) {
            return request->type == model->type;
        }
    }
    return false;
}

static inline enum status model_identify(const struct model *model, int id, int instance)
{
    int holder = model_find_instance(model, instance);
    if (instance != NONE && holder == NONE) {
        return STATUS_UNKNOWN_MEMBER_ID;
    }
    if (instance != NONE && model->members[holder].id != id) {
        return STATUS_FENCED_INSTANCE_ID;
    }
    int index = model_find(model, id);
    return index == NONE || model->members[index].pending ? STATUS_UNKNOWN_MEMBER_ID : STATUS_OK;
}

static inline void model_join(struct model *model, int number, const struct model_request *request)
{
    int index = model_find(model, request->id);
    int holder = model_find_instance(model, request->instance);
    if (model_is_full(model, index)) {
        model_refuse(model, number, false, STATUS_GROUP_MAX_SIZE_REACHED, 0);
        if (index != NONE) {
            model_remove(model, index, STATUS_GROUP_MAX_SIZE_REACHED);
            if (model->state == CLASSIC_PREPARING_REBALANCE) {
                model_settle(model);
            }
        }
    } else if (!model_suits(model, request)) {
        model_refuse(model, number, false, STATUS_INCONSISTENT_GROUP_PROTOCOL, ECHO);
    } else if (request->id == 0 && holder != NONE) {
        model_replace(model, number, request, holder);
    } else if (request->id == 0 && (request->instance != NONE || request->version < 4)) {
        model_add(model, number, request);
    } else if (request->id == 0) {
        struct model_member member = model_member_of(model, number, request);
        member.pending = true;
        model_append(model, member);
        model_refuse(model, number, false, STATUS_MEMBER_ID_REQUIRED, member.id);
    } else if (index != NONE && model->members[index].pending && request->instance == NONE) {
        model_remove(model, index, STATUS_UNKNOWN_MEMBER_ID);
        model_add(model, number, request);
    } else if (model_identify(model, request->id, request->instance) != STATUS_OK) {
        model_refuse(model, number, false, model_identify(model, request->id, request->instance),
                     ECHO);
    } else {
        model_join_known(model, number, request, index);
    }
}

/* ---- SyncGroup and small calls ---- */

static inline void model_has_synced(struct model *model, struct model_member *member)
{
    bool others = false;
    member->awaits_sync = false;
    for (int i = 0; i < model->count; i++) {
        others |= model->members[i].awaits_sync;
    }
    if (!others) {
        model_set_phase(model, NONE);
    }
}

static inline void model_sync(struct model *model, int number, const struct model_request *request)
{
    enum status status = model_identify(model, request->id, request->instance);
    if (status == STATUS_OK && request->generation != model->generation) {
        status = STATUS_ILLEGAL_GENERATION;
    } else if (status == STATUS_OK &&
               (request->type != model->type ||
                (request->protocol != NONE && request->protocol != model->protocol))) {
        status = STATUS_INCONSISTENT_GROUP_PROTOCOL;
    } else if (status == STATUS_OK && model->state == CLASSIC_PREPARING_REBALANCE) {
        status = STATUS_REBALANCE_IN_PROGRESS;
    }
    if (status != STATUS_OK) {
        model_refuse(model, number, true, status, 0);
        return;
    }
    struct model_member *member = &model->members[model_find(model, request->id)];
    if (model->state == CLASSIC_STABLE) {
        model_has_synced(model, member);
        model_tell_assignment(model, number, member->assignment);
        return;
    }
    if (member->id == model->leader && model->assign_write_id == 0) {
        for (int i = 0; i < request->assigned_count; i++) {
            int index = model_find(model, request->assigned[i]);
            if (index != NONE && !model->members[index].pending) {
                model->members[index].assignment_next = request->assignments[i];
            }
        }
        model->assign_write_id = model_write(model);
    }
    model_refuse(model, member->sync, true, STATUS_REBALANCE_IN_PROGRESS, 0);
    member->sync = number;
    model_has_synced(model, member);
}

static inline enum status model_heartbeat(struct model *model, const struct model_request *request)
{
    enum status status = model_identify(model, request->id, request->instance);
    if (status == STATUS_OK && request->generation != model->generation) {
        status = STATUS_ILLEGAL_GENERATION;
    }
    if (status != STATUS_OK) {
        return status;
    }
    model_arm(model, &model->members[model_find(model, request->id)]);
    return model->state == CLASSIC_PREPARING_REBALANCE ? STATUS_REBALANCE_IN_PROGRESS : STATUS_OK;
}

static inline enum status model_commit(struct model *model, const struct model_request *request)
{
    if (request->generation < 0 && model->state == CLASSIC_EMPTY) {
        return STATUS_OK;
    }
    if (request->generation < 0 && request->id == 0 && request->instance == NONE) {
        return request->transactional ? STATUS_OK : STATUS_UNKNOWN_MEMBER_ID;
    }
    enum status status = model_identify(model, request->id, request->instance);
    if (status == STATUS_OK && request->generation != model->generation) {
        status = STATUS_ILLEGAL_GENERATION;
    }
    if (status != STATUS_OK || request->transactional) {
        return status;
    }
    if (model->state == CLASSIC_COMPLETING_REBALANCE) {
        return STATUS_REBALANCE_IN_PROGRESS;
    }
    model_arm(model, &model->members[model_find(model, request->id)]);
    return STATUS_OK;
}

static inline void model_after_removal(struct model *model, bool members, bool pending)
{
    if (members) {
        model_change(model);
    } else if (pending && model->state == CLASSIC_PREPARING_REBALANCE) {
        model_settle(model);
    }
}

static inline enum status model_leave(struct model *model, int id, int instance)
{
    int index = id == 0 ? model_find_instance(model, instance) : model_find(model, id);
    bool pending = index != NONE && model->members[index].pending;
    if (id != 0 && !pending && model_identify(model, id, instance) != STATUS_OK) {
        return model_identify(model, id, instance);
    }
    if (index == NONE) {
        return STATUS_UNKNOWN_MEMBER_ID;
    }
    model_remove(model, index, STATUS_UNKNOWN_MEMBER_ID);
    model_after_removal(model, !pending, pending);
    return STATUS_OK;
}

/* ---- time and writes ---- */

static inline int64_t model_deadline_ms(const struct model *model)
{
    int64_t next_ms = model->phase_ms == NONE ? INT64_MAX : model->phase_ms;
    for (int i = 0; i < model->count; i++) {
        int64_t deadline_ms = model->members[i].deadline_ms;
        next_ms = deadline_ms != NONE && deadline_ms < next_ms ? deadline_ms : next_ms;
    }
    return next_ms;
}

static inline void model_phase_over(struct model *model)
{
    model->phase_due = false;
    if (model->state != CLASSIC_PREPARING_REBALANCE) {
        for (int i = model->count - 1; i >= 0; i--) {
            if (model->members[i].awaits_sync) {
                model_remove(model, i, STATUS_UNKNOWN_MEMBER_ID);
            }
        }
        model_begin(model);
    } else if (model->initial && model->joiner_came && model->remaining_ms > 0) {
        int32_t delay_ms = model->config->initial_delay_ms;
        delay_ms = delay_ms < model->remaining_ms ? delay_ms : model->remaining_ms;
        model->joiner_came = false;
        model->remaining_ms -= delay_ms;
        model_set_phase(model, model->now_ms + delay_ms);
    } else {
        model_complete(model);
    }
}

static inline void model_tick(struct model *model)
{
    bool members = false;
    bool pending = false;
    if (model->phase_ms != NONE && model->phase_ms <= model->now_ms) {
        model->phase_ms = NONE;
        model->phase_due = true;
    }
    for (int i = 0; i < model->count; i++) {
        struct model_member *member = &model->members[i];
        if (member->deadline_ms == NONE || member->deadline_ms > model->now_ms) {
            continue;
        }
        member->deadline_ms = NONE;
        if (member->is_new || (member->join == NONE && member->sync == NONE)) {
            pending |= member->pending;
            members |= !member->pending;
            model_remove(model, i--, STATUS_UNKNOWN_MEMBER_ID);
        }
    }
    model_after_removal(model, members, pending);
    if (model->phase_due) {
        model_phase_over(model);
    }
}

static inline void model_persisted(struct model *model, uint64_t write_id)
{
    bool assigned = write_id == model->assign_write_id;
    if (assigned) {
        model->assign_write_id = 0;
        model->state = CLASSIC_STABLE;
    }
    for (int i = 0; i < model->count; i++) {
        struct model_member *member = &model->members[i];
        if (assigned) {
            member->assignment = member->assignment_next;
            member->assignment_next = 0;
            if (member->sync != NONE) {
                model_tell_assignment(model, member->sync, member->assignment);
                member->sync = NONE;
                model_arm(model, member);
            }
        } else if (member->write_id == write_id) {
            bool leads = member->id == model->leader;
            model_answer(model, member->join,
                         (struct model_answer){
                             .status = STATUS_OK,
                             .id = member->id,
                             .leader = leads && !member->may_skip ? member->old_id : model->leader,
                             .protocol = model->protocol,
                             .lists_members = leads && member->may_skip,
                             .skips = leads && member->may_skip,
                         });
            member->join = NONE;
            member->write_id = 0;
            model_arm(model, member);
        }
    }
}

/* The writes of a test fail as if the disk had. */
static inline void model_persist_failed(struct model *model, uint64_t write_id)
{
    if (write_id == model->assign_write_id) {
        model_drop_assignments(model, STATUS_NOT_COORDINATOR);
        model_begin(model);
        return;
    }
    for (int i = 0; i < model->count; i++) {
        struct model_member *member = &model->members[i];
        if (member->write_id == write_id) {
            model_refuse(model, member->join, false, STATUS_NOT_COORDINATOR, 0);
            model->leader = model->leader == member->id ? member->old_id : model->leader;
            member->id = member->old_id;
            member->listing = member->old_listing;
            member->metadata = member->old_metadata;
            member->session_ms = member->old_session_ms;
            member->rebalance_ms = member->old_rebalance_ms;
            member->join = NONE;
            member->write_id = 0;
            model_arm(model, member);
        }
    }
}

/* Everything that is parked is answered NOT_COORDINATOR; what is left is what the record says. */
static inline void model_retire(struct model *model)
{
    while (model->count > 0) {
        model_remove(model, 0, STATUS_NOT_COORDINATOR);
    }
}

/* What the record of this moment says, as it will be read. */
static inline struct model model_snapshot(const struct model *model)
{
    struct model copy = *model;
    copy.count = 0;
    for (int i = 0; i < model->count; i++) {
        struct model_member member = model->members[i];
        if (member.pending) {
            continue;
        }
        copy.members[copy.count++] = (struct model_member){
            .id = member.id,
            .instance = member.instance,
            .listing = model_listing_of_name[model->protocol],
            .metadata = member.metadata,
            .session_ms = member.session_ms,
            .rebalance_ms = member.rebalance_ms,
            .join = NONE,
            .sync = NONE,
            .assignment = model->assign_write_id != 0 ? member.assignment_next : member.assignment,
        };
    }
    copy.state = copy.count == 0 ? CLASSIC_EMPTY : CLASSIC_STABLE;
    copy.assign_write_id = 0;
    copy.write_serial = 0;
    copy.initial = false;
    return copy;
}

static inline void model_load(struct model *model, const struct model *record)
{
    struct model fresh = *record;
    memcpy(fresh.answers, model->answers, sizeof(fresh.answers));
    fresh.now_ms = model->now_ms;
    fresh.config = model->config;
    fresh.wrote = false;
    model_set_phase(&fresh, NONE);
    *model = fresh;
    for (int i = 0; i < model->count; i++) {
        model_arm(model, &model->members[i]);
    }
    if (model->count > model->config->member_count_max) {
        model_begin(model);
    }
}
