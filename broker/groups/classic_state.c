/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/classic_state.h"

#include "base/check.h"

#define NS_PER_MS UINT64_C(1000000)

const char *classic_state_name(enum classic_state state)
{
    static const char *const names[] = {
        [CLASSIC_EMPTY] = "Empty",
        [CLASSIC_PREPARING_REBALANCE] = "PreparingRebalance",
        [CLASSIC_COMPLETING_REBALANCE] = "CompletingRebalance",
        [CLASSIC_STABLE] = "Stable",
        [CLASSIC_DEAD] = "Dead",
    };
    check((size_t)state < ARRAY_COUNT(names));
    return names[state];
}

void classic_output_init(struct classic_output *output)
{
    *output = (struct classic_output){.write = false};
    list_init(&output->joins);
    list_init(&output->syncs);
}

void classic_set_state(struct classic *group, enum classic_state state)
{
    group->state = state;
    group->state_wall_ms = group->wall_ms;
}

uint64_t classic_write(struct classic *group)
{
    check(!group->output->write); /* G9 */
    group->output->write = true;
    group->output->write_id = ++group->write_id;
    return group->write_id;
}

void classic_sweep(struct classic *group)
{
    for (struct list_node *node; (node = list_pop_head(&group->removed)) != NULL;) {
        classic_member_close(LIST_ENTRY(node, struct classic_member, place), group->heap);
    }
}

/* ---- time ---- */

static uint64_t deadline_ns(const struct classic *group, int32_t ms)
{
    check(group->now_ms >= 0);
    return ((uint64_t)group->now_ms + (uint64_t)(ms < 0 ? 0 : ms)) * NS_PER_MS;
}

static void session_over(struct timer *timer)
{
    struct classic_member *member = CONTAINER_OF(timer, struct classic_member, session);
    list_push_tail(&member->group->expired, &member->expired);
}

void classic_arm_session(struct classic *group, struct classic_member *member, int32_t ms)
{
    member->session.fire = session_over;
    timer_arm(&group->timers, &member->session, deadline_ns(group, ms));
}

static void phase_over(struct timer *timer)
{
    CONTAINER_OF(timer, struct classic, phase)->phase_due = true;
}

void classic_arm_phase(struct classic *group, int32_t ms)
{
    group->phase_due = false;
    group->phase.fire = phase_over;
    timer_arm(&group->timers, &group->phase, deadline_ns(group, ms));
}

void classic_disarm_phase(struct classic *group)
{
    group->phase_due = false;
    timer_disarm(&group->timers, &group->phase);
}

/* ---- parking and answering ---- */

void classic_refuse_join(struct classic *group, struct classic_join *join, enum status status,
                         struct bytes member_id)
{
    join->answer.status = status;
    join->answer.generation = -1;
    join->answer.protocol_type = BYTES_NULL;
    join->answer.protocol = BYTES_NULL;
    join->answer.leader = BYTES_LITERAL("");
    join->answer.member_id = member_id;
    join->answer.skip_assignment = false;
    join->answer.lists_members = false;
    list_push_tail(&group->output->joins, &join->node);
}

void classic_answer_join(struct classic *group, struct classic_join *join,
                         const struct classic_member *member)
{
    join->answer.status = STATUS_OK;
    join->answer.generation = group->generation;
    join->answer.protocol_type = classic_blob_bytes(group->protocol_type);
    join->answer.protocol = group->protocol->name;
    join->answer.leader = group->leader->id;
    join->answer.member_id = member->id;
    join->answer.skip_assignment = false;
    join->answer.lists_members = group->leader == member;
    list_push_tail(&group->output->joins, &join->node);
}

void classic_refuse_sync(struct classic *group, struct classic_sync *sync, enum status status)
{
    sync->answer.status = status;
    sync->answer.protocol_type = BYTES_NULL;
    sync->answer.protocol = BYTES_NULL;
    sync->answer.assignment = BYTES_LITERAL("");
    list_push_tail(&group->output->syncs, &sync->node);
}

void classic_answer_sync(struct classic *group, struct classic_sync *sync,
                         const struct classic_member *member)
{
    check(group->state == CLASSIC_STABLE); /* G3 */
    sync->answer.status = STATUS_OK;
    sync->answer.protocol_type = classic_blob_bytes(group->protocol_type);
    sync->answer.protocol = group->protocol->name;
    sync->answer.assignment = classic_blob_bytes(member->assignment);
    list_push_tail(&group->output->syncs, &sync->node);
}

struct classic_join *classic_unpark_join(struct classic *group, struct classic_member *member)
{
    struct classic_join *join = member->join;
    member->join = NULL;
    group->join_count -= join != NULL;
    return join;
}

struct classic_sync *classic_unpark_sync(struct classic_member *member)
{
    struct classic_sync *sync = member->sync;
    member->sync = NULL;
    return sync;
}

void classic_park_join(struct classic *group, struct classic_member *member,
                       struct classic_join *join)
{
    struct classic_join *earlier = classic_unpark_join(group, member);
    if (earlier != NULL) {
        classic_refuse_join(group, earlier, STATUS_REBALANCE_IN_PROGRESS, member->id);
    }
    member->join = join;
    group->join_count += 1;
}

void classic_park_sync(struct classic *group, struct classic_member *member,
                       struct classic_sync *sync)
{
    struct classic_sync *earlier = classic_unpark_sync(member);
    if (earlier != NULL) {
        classic_refuse_sync(group, earlier, STATUS_REBALANCE_IN_PROGRESS);
    }
    member->sync = sync;
}

void classic_set_awaits_sync(struct classic *group, struct classic_member *member, bool awaits)
{
    group->sync_count += awaits - member->awaits_sync;
    member->awaits_sync = awaits;
}

/* ---- members ---- */

struct classic_member *classic_find(const struct classic *group, struct bytes id)
{
    struct table_node *node = table_find(&group->ids, hash_bytes(id, group->seed));
    while (node != NULL) {
        struct classic_member *member = CONTAINER_OF(node, struct classic_member, by_id);
        if (bytes_equal(member->id, id)) {
            return member;
        }
        node = table_find_next(node);
    }
    return NULL;
}

struct classic_member *classic_find_instance(const struct classic *group, struct bytes instance_id)
{
    struct table_node *node = table_find(&group->instances, hash_bytes(instance_id, group->seed));
    while (node != NULL) {
        struct classic_member *member = CONTAINER_OF(node, struct classic_member, by_instance);
        if (bytes_equal(member->instance_id, instance_id)) {
            return member;
        }
        node = table_find_next(node);
    }
    return NULL;
}

enum status classic_identify(const struct classic *group, struct bytes id, struct bytes instance_id,
                             struct classic_member **member)
{
    if (instance_id.data != NULL) {
        struct classic_member *holder = classic_find_instance(group, instance_id);
        if (holder == NULL) {
            return STATUS_UNKNOWN_MEMBER_ID;
        }
        if (!bytes_equal(holder->id, id)) {
            return STATUS_FENCED_INSTANCE_ID;
        }
    }
    *member = classic_find(group, id);
    return *member == NULL || (*member)->pending ? STATUS_UNKNOWN_MEMBER_ID : STATUS_OK;
}

static void tables_insert(struct classic *group, struct classic_member *member)
{
    check(classic_find(group, member->id) == NULL); /* ids are made of random bytes */
    member->group = group;
    member->by_id.hash = hash_bytes(member->id, group->seed);
    table_insert(&group->ids, &member->by_id);
    if (member->instance_id.data != NULL) {
        check(classic_find_instance(group, member->instance_id) == NULL);
        member->by_instance.hash = hash_bytes(member->instance_id, group->seed);
        table_insert(&group->instances, &member->by_instance);
    }
}

static void tables_remove(struct classic *group, struct classic_member *member)
{
    table_remove(&group->ids, &member->by_id);
    if (member->instance_id.data != NULL) {
        table_remove(&group->instances, &member->by_instance);
    }
}

void classic_link(struct classic *group, struct classic_member *member)
{
    tables_insert(group, member);
    if (member->pending) {
        group->pending_count += 1;
        list_push_tail(&group->pending, &member->place);
        return;
    }
    group->member_count += 1;
    list_push_tail(&group->members, &member->place);
    if (group->leader == NULL) { /* G6 */
        group->leader = member;
    }
}

void classic_forget_before(struct classic *group, struct classic_member *member)
{
    struct classic_member *before = member->before;
    member->before = NULL;
    member->write_id = 0;
    if (before != NULL) {
        ballot_release_list(&group->ballot, before->protocols.list);
        list_push_tail(&group->removed, &before->place);
    }
}

static void answer_parked(struct classic *group, struct classic_member *member, enum status status)
{
    struct bytes echoed = status == STATUS_UNKNOWN_MEMBER_ID ? BYTES_LITERAL("") : member->id;
    struct classic_join *join = classic_unpark_join(group, member);
    if (join != NULL) {
        classic_refuse_join(group, join, status, echoed);
    }
    struct classic_sync *sync = classic_unpark_sync(member);
    if (sync != NULL) {
        classic_refuse_sync(group, sync, status);
    }
}

void classic_remove(struct classic *group, struct classic_member *member, enum status status)
{
    answer_parked(group, member, status);
    classic_set_awaits_sync(group, member, false);
    classic_forget_before(group, member);
    timer_disarm(&group->timers, &member->session);
    if (list_is_linked(&member->expired)) {
        list_remove(&member->expired);
    }
    tables_remove(group, member);
    list_remove(&member->place);
    list_push_tail(&group->removed, &member->place);
    if (member->pending) {
        group->pending_count -= 1;
        return;
    }
    group->member_count -= 1;
    ballot_remove(&group->ballot, member->protocols.list);
    if (group->leader == member) { /* G6 */
        struct list_node *first = list_first(&group->members);
        group->leader = first == NULL ? NULL : LIST_ENTRY(first, struct classic_member, place);
    }
}

void classic_swap(struct classic *group, struct classic_member *old, struct classic_member *fresh)
{
    answer_parked(group, old, STATUS_FENCED_INSTANCE_ID);
    timer_disarm(&group->timers, &old->session);
    check(!list_is_linked(&old->expired));
    tables_remove(group, old);
    tables_insert(group, fresh);
    list_insert_before(&old->place, &fresh->place);
    list_remove(&old->place);
    ballot_remove(&group->ballot, old->protocols.list);
    fresh->assignment = old->assignment;
    fresh->assignment_next = old->assignment_next;
    old->assignment = (struct classic_blob){NULL, 0};
    old->assignment_next = (struct classic_blob){NULL, 0};
    fresh->awaits_sync = old->awaits_sync;
    old->awaits_sync = false;
    if (group->leader == old) {
        group->leader = fresh;
    }
}

int32_t classic_rebalance_ms(const struct classic *group)
{
    int32_t longest = 0;
    LIST_EACH (&group->members, node) {
        int32_t ms = LIST_ENTRY(node, struct classic_member, place)->rebalance_ms;
        longest = ms > longest ? ms : longest;
    }
    return longest;
}

struct ballot_line *classic_elect_protocol(struct classic *group)
{
    struct ballot_election election = ballot_begin(&group->ballot, group->member_count);
    LIST_EACH (&group->members, node) {
        ballot_vote(&group->ballot, &election,
                    LIST_ENTRY(node, struct classic_member, place)->protocols.list);
    }
    check(election.winner != NULL);
    return election.winner;
}

void classic_set_protocol(struct classic *group, struct ballot_line *line)
{
    if (line != NULL) {
        ballot_hold(line);
    }
    ballot_release(&group->ballot, group->protocol);
    group->protocol = line;
}
