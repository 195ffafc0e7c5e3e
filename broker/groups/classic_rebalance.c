/* SPDX-License-Identifier: Apache-2.0 */
/* The arrows between the states: how a rebalance begins, when its wait for members is over, and
 * what becomes of the writes it asked for. */
#include "broker/groups/classic_state.h"

#include "base/check.h"

/* Nobody came: the next look. Members may ask for no rebalance timeout at all, and a core that
 * looked at once would look until the last session ends. */
#define ABSENT_LOOK_MS 1000

static struct classic_member *member_of(struct list_node *node)
{
    return LIST_ENTRY(node, struct classic_member, place);
}

/* ---- Preparing -> Completing or Empty ---- */

static void drop_absent(struct classic *group)
{
    LIST_EACH (&group->members, node) {
        struct classic_member *member = member_of(node);
        /* Static members keep their place until their session ends: they come back. */
        if (member->join == NULL && member->instance_id.data == NULL) {
            classic_remove(group, member, STATUS_UNKNOWN_MEMBER_ID);
        }
    }
}

/* False when there are members and none of them has come. */
static bool elect_leader(struct classic *group)
{
    if (group->leader == NULL || group->leader->join != NULL) {
        return true;
    }
    LIST_EACH (&group->members, node) {
        if (member_of(node)->join != NULL) {
            group->leader = member_of(node);
            return true;
        }
    }
    return false;
}

static void become_empty(struct classic *group)
{
    classic_set_protocol(group, NULL);
    classic_set_state(group, CLASSIC_EMPTY);
    (void)classic_write(group); /* when it fails, the members it still names will expire */
}

static void become_completing(struct classic *group)
{
    classic_set_protocol(group, classic_elect_protocol(group));
    classic_set_state(group, CLASSIC_COMPLETING_REBALANCE);
    LIST_EACH (&group->members, node) {
        struct classic_member *member = member_of(node);
        struct classic_join *join = classic_unpark_join(group, member);
        if (join != NULL) {
            classic_answer_join(group, join, member);
        }
        member->is_new = false;
        classic_arm_session(group, member, member->session_ms);
        classic_set_awaits_sync(group, member, true);
    }
    classic_arm_phase(group, classic_rebalance_ms(group));
}

static void complete(struct classic *group)
{
    check(group->state == CLASSIC_PREPARING_REBALANCE);
    classic_disarm_phase(group);
    drop_absent(group);
    if (!elect_leader(group)) { /* until sessions end, or one comes */
        int32_t wait_ms = classic_rebalance_ms(group);
        classic_arm_phase(group, wait_ms < ABSENT_LOOK_MS ? ABSENT_LOOK_MS : wait_ms);
        return;
    }
    group->initial = false;
    group->generation = group->generation == INT32_MAX ? 1 : group->generation + 1;
    if (group->member_count == 0) {
        become_empty(group);
    } else {
        become_completing(group);
    }
}

static bool all_are_here(const struct classic *group)
{
    return group->join_count == group->member_count && group->pending_count == 0;
}

void classic_settle(struct classic *group)
{
    check(group->state == CLASSIC_PREPARING_REBALANCE);
    if (!group->initial && all_are_here(group)) {
        complete(group);
    }
}

/* ---- Empty, Completing, Stable -> Preparing ---- */

/* Completing: nobody gets an assignment of this generation. */
static void drop_assignments(struct classic *group, enum status status)
{
    group->assign_write_id = 0;
    LIST_EACH (&group->members, node) {
        struct classic_member *member = member_of(node);
        classic_blob_free(&member->assignment, group->heap);
        classic_blob_free(&member->assignment_next, group->heap);
        struct classic_sync *sync = classic_unpark_sync(member);
        if (sync != NULL) {
            classic_refuse_sync(group, sync, status);
            classic_arm_session(group, member, member->session_ms);
        }
    }
}

static void begin_initial(struct classic *group)
{
    int32_t delay_ms = group->config->initial_delay_ms;
    int32_t longest_ms = classic_rebalance_ms(group);
    group->remaining_ms = longest_ms > delay_ms ? longest_ms - delay_ms : 0;
    group->joiner_came = false;
    if (delay_ms == 0) {
        complete(group);
    } else {
        classic_arm_phase(group, delay_ms);
    }
}

void classic_begin(struct classic *group, const char *reason)
{
    check(group->state != CLASSIC_PREPARING_REBALANCE && group->state != CLASSIC_DEAD);
    if (group->state == CLASSIC_COMPLETING_REBALANCE) {
        drop_assignments(group, STATUS_REBALANCE_IN_PROGRESS);
    }
    LIST_EACH (&group->members, node) {
        classic_set_awaits_sync(group, member_of(node), false);
        classic_forget_before(group, member_of(node));
    }
    classic_disarm_phase(group);
    group->output->reason = reason;
    group->initial = group->state == CLASSIC_EMPTY;
    classic_set_state(group, CLASSIC_PREPARING_REBALANCE);
    if (group->initial) {
        begin_initial(group);
    } else if (all_are_here(group)) {
        complete(group);
    } else {
        classic_arm_phase(group, classic_rebalance_ms(group));
    }
}

void classic_change(struct classic *group, const char *reason)
{
    if (group->state == CLASSIC_PREPARING_REBALANCE) {
        classic_settle(group);
    } else {
        classic_begin(group, reason);
    }
}

/* ---- the timer of a state ---- */

static void initial_wait_over(struct classic *group)
{
    if (!group->joiner_came || group->remaining_ms == 0) {
        complete(group);
        return;
    }
    int32_t delay_ms = group->config->initial_delay_ms;
    delay_ms = delay_ms < group->remaining_ms ? delay_ms : group->remaining_ms;
    group->joiner_came = false;
    group->remaining_ms -= delay_ms;
    classic_arm_phase(group, delay_ms);
}

static void sync_wait_over(struct classic *group)
{
    LIST_EACH (&group->members, node) {
        if (member_of(node)->awaits_sync) {
            classic_remove(group, member_of(node), STATUS_UNKNOWN_MEMBER_ID);
        }
    }
    classic_begin(group, "members did not sync within the rebalance timeout");
}

void classic_phase_over(struct classic *group)
{
    group->phase_due = false;
    if (group->state != CLASSIC_PREPARING_REBALANCE) {
        check(group->sync_count > 0);
        sync_wait_over(group);
    } else if (group->initial) {
        initial_wait_over(group);
    } else {
        complete(group);
    }
}

/* ---- writes ---- */

/* What a client is told when a group record could not be written. */
static enum status answer_of_failure(enum status status)
{
    switch (status) {
    case STATUS_MESSAGE_TOO_LARGE:
    case STATUS_RECORD_LIST_TOO_LARGE:
    case STATUS_INVALID_FETCH_SIZE:
    case STATUS_UNKNOWN_SERVER_ERROR:
        return STATUS_UNKNOWN_SERVER_ERROR; /* trying again does not help */
    case STATUS_NOT_COORDINATOR:
    case STATUS_NOT_LEADER_OR_FOLLOWER:
    case STATUS_KAFKA_STORAGE_ERROR:
    case STATUS_IO:
    case STATUS_CLOSED:
        return STATUS_NOT_COORDINATOR;
    default:
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
}

/* A static member whose replacement is asked to be written; NULL none. */
static struct classic_member *replacing(const struct classic *group, uint64_t write_id)
{
    for (struct list_node *node = group->members.head.next; node != &group->members.head;
         node = node->next) {
        if (member_of(node)->before != NULL && member_of(node)->write_id == write_id) {
            return member_of(node);
        }
    }
    return NULL;
}

static void assigned(struct classic *group)
{
    group->assign_write_id = 0;
    classic_set_state(group, CLASSIC_STABLE);
    LIST_EACH (&group->members, node) {
        struct classic_member *member = member_of(node);
        classic_blob_free(&member->assignment, group->heap);
        member->assignment = member->assignment_next;
        member->assignment_next = (struct classic_blob){NULL, 0};
        struct classic_sync *sync = classic_unpark_sync(member);
        if (sync != NULL) {
            classic_answer_sync(group, sync, member);
            classic_arm_session(group, member, member->session_ms);
        }
    }
}

/* The returned static member learns its new id. One that does not know of skip_assignment is told
 * that the leader is who it was before, so that it does not take itself for a leader with members
 * to assign. */
static void replaced(struct classic *group, struct classic_member *member)
{
    struct classic_member *before = member->before;
    struct classic_join *join = classic_unpark_join(group, member);
    classic_forget_before(group, member); /* its memory stays for the answer */
    check(join != NULL);                  /* G4 */
    classic_answer_join(group, join, member);
    if (group->leader == member) {
        join->answer.skip_assignment = join->may_skip_assignment;
        join->answer.lists_members = join->may_skip_assignment;
        join->answer.leader = join->may_skip_assignment ? member->id : before->id;
    }
    classic_arm_session(group, member, member->session_ms);
}

void classic_persisted(struct classic *group, uint64_t write_id)
{
    if (write_id == group->assign_write_id) {
        assigned(group);
        return;
    }
    struct classic_member *member = replacing(group, write_id);
    if (member != NULL) {
        replaced(group, member);
    }
}

/* The member before comes back as it was, because that is what the log says. */
static void revert(struct classic *group, struct classic_member *member, enum status status)
{
    struct classic_member *before = member->before;
    struct classic_join *join = classic_unpark_join(group, member);
    check(join != NULL); /* G4 */
    classic_refuse_join(group, join, status, BYTES_LITERAL(""));
    member->before = NULL;
    bool counted = ballot_add(&group->ballot, before->protocols.list);
    check(counted); /* its lines are held */
    ballot_release_list(&group->ballot, before->protocols.list);
    classic_swap(group, member, before);
    list_push_tail(&group->removed, &member->place);
    classic_arm_session(group, before, before->session_ms);
}

void classic_persist_failed(struct classic *group, uint64_t write_id, enum status status)
{
    if (write_id == group->assign_write_id) {
        drop_assignments(group, answer_of_failure(status));
        classic_begin(group, "the assignment could not be written");
        return;
    }
    struct classic_member *member = replacing(group, write_id);
    if (member != NULL) {
        revert(group, member, answer_of_failure(status));
    }
}
