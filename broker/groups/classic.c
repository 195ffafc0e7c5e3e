/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/classic.h"

#include "base/check.h"
#include "broker/groups/classic_state.h"
#include "broker/planted.h"

#define NS_PER_MS UINT64_C(1000000)

/* ---- life ---- */

struct classic *classic_open(struct heap *heap, uint64_t seed, const struct classic_config *config)
{
    struct classic *group = heap_acquire(heap, sizeof(*group));
    if (group == NULL) {
        return NULL;
    }
    group->magic = CLASSIC_MAGIC;
    group->state = CLASSIC_EMPTY;
    group->state_wall_ms = -1;
    group->heap = heap;
    group->config = config;
    group->seed = seed;
    list_init(&group->members);
    list_init(&group->pending);
    list_init(&group->removed);
    list_init(&group->expired);
    timers_init(&group->timers);
    if (!table_init(&group->ids, heap, seed)) {
        goto fail_ids;
    }
    if (!table_init(&group->instances, heap, seed)) {
        goto fail_instances;
    }
    if (!ballot_init(&group->ballot, heap, seed)) {
        goto fail_ballot;
    }
    return group;

fail_ballot:
    table_deinit(&group->instances);
fail_instances:
    table_deinit(&group->ids);
fail_ids:
    heap_release(heap, group, sizeof(*group));
    return NULL;
}

static void remove_all(struct classic *group, enum status status)
{
    LIST_EACH (&group->members, node) {
        classic_remove(group, LIST_ENTRY(node, struct classic_member, place), status);
    }
    LIST_EACH (&group->pending, node) {
        classic_remove(group, LIST_ENTRY(node, struct classic_member, place), status);
    }
    classic_disarm_phase(group);
    group->assign_write_id = 0;
    group->initial = false;
}

void classic_close(struct classic *group)
{
    if (group == NULL) {
        return;
    }
    check_magic(group, CLASSIC_MAGIC);
    LIST_EACH (&group->members, node) { /* G1 */
        const struct classic_member *member = LIST_ENTRY(node, struct classic_member, place);
        check(member->join == NULL && member->sync == NULL);
    }
    remove_all(group, STATUS_UNKNOWN_MEMBER_ID);
    classic_sweep(group);
    classic_set_protocol(group, NULL);
    classic_blob_free(&group->protocol_type, group->heap);
    ballot_deinit(&group->ballot);
    table_deinit(&group->instances);
    table_deinit(&group->ids);
    group->magic = 0;
    heap_release(group->heap, group, sizeof(*group));
}

int64_t classic_deadline_ms(const struct classic *group)
{
    uint64_t next_ns = timers_next(&group->timers);
    return next_ns == TIMER_NEVER ? INT64_MAX : (int64_t)(next_ns / NS_PER_MS);
}

bool classic_is_idle(const struct classic *group)
{
    return (group->state == CLASSIC_EMPTY || group->state == CLASSIC_DEAD) &&
           group->pending_count == 0;
}

/* ---- small steps ---- */

static enum status heartbeat(struct classic *group, const struct classic_call *call)
{
    if (group->state == CLASSIC_DEAD) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    struct classic_member *member = NULL;
    enum status status = classic_identify(group, call->member_id, call->instance_id, &member);
    if (status != STATUS_OK) {
        return status;
    }
    if (call->generation != group->generation) {
        return STATUS_ILLEGAL_GENERATION;
    }
    classic_arm_session(group, member, member->session_ms);
    return group->state == CLASSIC_PREPARING_REBALANCE ? STATUS_REBALANCE_IN_PROGRESS : STATUS_OK;
}

/* Without a generation: administrators and clients that assign partitions to themselves, who may
 * write while no member is there to overrule. Transactions of old clients never said who they are.
 */
static enum status commit(struct classic *group, const struct classic_call *call)
{
    bool is_empty = group->state == CLASSIC_EMPTY;
    if (group->state == CLASSIC_DEAD) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    if (call->generation < 0 && is_empty) {
        return STATUS_OK;
    }
    if (call->generation < 0 && call->member_id.size == 0 && call->instance_id.data == NULL) {
        return call->transactional || is_empty ? STATUS_OK : STATUS_UNKNOWN_MEMBER_ID;
    }
    struct classic_member *member = NULL;
    enum status status = classic_identify(group, call->member_id, call->instance_id, &member);
    if (status != STATUS_OK) {
        return status;
    }
    if (call->generation != group->generation && !PLANTED(GENERATION_IGNORED)) {
        return STATUS_ILLEGAL_GENERATION;
    }
    if (call->transactional) {
        return STATUS_OK;
    }
    if (group->state == CLASSIC_COMPLETING_REBALANCE) {
        return STATUS_REBALANCE_IN_PROGRESS; /* what it owns is being handed out anew */
    }
    classic_arm_session(group, member, member->session_ms);
    return STATUS_OK;
}

static enum status leaver_find(const struct classic *group, const struct classic_leaver *leaver,
                               struct classic_member **member)
{
    if (group->state == CLASSIC_DEAD) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    if (leaver->member_id.size == 0) {
        *member = leaver->instance_id.data == NULL
                      ? NULL
                      : classic_find_instance(group, leaver->instance_id);
        return *member == NULL ? STATUS_UNKNOWN_MEMBER_ID : STATUS_OK;
    }
    *member = classic_find(group, leaver->member_id);
    if (*member != NULL && (*member)->pending) {
        return STATUS_OK;
    }
    return classic_identify(group, leaver->member_id, leaver->instance_id, member);
}

/* Members that are gone, for whatever reason: a pending one matters only to who waits for it. */
static void after_removal(struct classic *group, bool members, bool pending, const char *reason)
{
    if (members) {
        classic_change(group, reason);
    } else if (pending && group->state == CLASSIC_PREPARING_REBALANCE) {
        classic_settle(group);
    }
}

static void leave(struct classic *group, struct classic_leaver *leavers, int32_t count)
{
    bool members = false;
    bool pending = false;
    for (int32_t i = 0; i < count; i++) {
        struct classic_member *member = NULL;
        leavers[i].status = leaver_find(group, &leavers[i], &member);
        if (leavers[i].status == STATUS_OK) {
            pending |= member->pending;
            members |= !member->pending;
            classic_remove(group, member, STATUS_UNKNOWN_MEMBER_ID);
        }
    }
    after_removal(group, members, pending, "a member left");
}

/* G8: whoever is parked is heard of again when the answer goes out. */
static bool is_excused(const struct classic_member *member)
{
    return !member->is_new && (member->join != NULL || member->sync != NULL);
}

static void tick(struct classic *group)
{
    bool members = false;
    bool pending = false;
    timers_fire(&group->timers, (uint64_t)group->now_ms * NS_PER_MS);
    for (struct list_node *node; (node = list_pop_head(&group->expired)) != NULL;) {
        struct classic_member *member = LIST_ENTRY(node, struct classic_member, expired);
        if (!is_excused(member)) {
            pending |= member->pending;
            members |= !member->pending;
            classic_remove(group, member, STATUS_UNKNOWN_MEMBER_ID);
        }
    }
    after_removal(group, members, pending, "a member's session timed out");
    if (group->phase_due) {
        classic_phase_over(group);
    }
}

static void retire(struct classic *group, enum status status)
{
    remove_all(group, status);
    classic_set_protocol(group, NULL);
    classic_set_state(group, CLASSIC_DEAD);
}

/* ---- the step ---- */

void classic_step(struct classic *group, const struct classic_event *event,
                  struct classic_output *output)
{
    check_magic(group, CLASSIC_MAGIC);
    check(group->output == NULL);
    classic_output_init(output);
    classic_sweep(group);
    group->output = output;
    group->now_ms = event->now_ms;
    group->wall_ms = event->wall_ms;
    switch (event->kind) {
    case CLASSIC_JOIN:
        classic_join_step(group, event->join);
        break;
    case CLASSIC_SYNC:
        classic_sync_step(group, event->sync);
        break;
    case CLASSIC_HEARTBEAT:
        event->call->status = heartbeat(group, event->call);
        break;
    case CLASSIC_COMMIT:
        event->call->status = commit(group, event->call);
        break;
    case CLASSIC_LEAVE:
        leave(group, event->leavers, event->leaver_count);
        break;
    case CLASSIC_TICK:
        tick(group);
        break;
    case CLASSIC_PERSISTED:
        check(event->write_id > 0 && event->write_id <= group->write_id);
        classic_persisted(group, event->write_id);
        break;
    case CLASSIC_PERSIST_FAILED:
        check(event->write_id > 0 && event->write_id <= group->write_id);
        classic_persist_failed(group, event->write_id, event->status);
        break;
    case CLASSIC_REBALANCE:
        if (group->state == CLASSIC_COMPLETING_REBALANCE || group->state == CLASSIC_STABLE) {
            classic_begin(group, "the group was asked to");
        }
        break;
    case CLASSIC_RETIRE:
        retire(group, event->status);
        break;
    }
    group->output = NULL;
    check_slow(classic_verify(group));
}
