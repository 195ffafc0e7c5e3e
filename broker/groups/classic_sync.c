/* SPDX-License-Identifier: Apache-2.0 */
/* SyncGroup: the leader's assignment comes in, everybody's own goes out. */
#include "broker/groups/classic_state.h"

static bool differs(struct bytes said, struct bytes actual)
{
    return said.data != NULL && !bytes_equal(said, actual);
}

static void forget_next(struct classic *group)
{
    LIST_EACH (&group->members, node) {
        classic_blob_free(&LIST_ENTRY(node, struct classic_member, place)->assignment_next,
                          group->heap);
    }
}

/* The last entry of a member counts; members without one get zero bytes; entries of others are
 * left out. False: no memory, nothing changed. */
static bool take_assignments(struct classic *group, const struct classic_sync *sync)
{
    for (int32_t i = 0; i < sync->assignment_count; i++) {
        const struct sync_group_request_assignment *entry = &sync->assignments[i];
        struct classic_member *member = classic_find(group, entry->member_id);
        if (member == NULL || member->pending) {
            continue;
        }
        struct classic_blob copy;
        if (!classic_blob_copy(&copy, group->heap, entry->assignment)) {
            forget_next(group);
            return false;
        }
        classic_blob_free(&member->assignment_next, group->heap);
        member->assignment_next = copy;
    }
    return true;
}

static void has_synced(struct classic *group, struct classic_member *member)
{
    classic_set_awaits_sync(group, member, false);
    if (group->sync_count == 0) {
        classic_disarm_phase(group);
    }
}

static void sync_completing(struct classic *group, struct classic_sync *sync,
                            struct classic_member *member)
{
    /* While a write is under way the leader's assignment stands: it may be durable already. */
    if (member == group->leader && group->assign_write_id == 0) {
        if (!take_assignments(group, sync)) {
            classic_refuse_sync(group, sync, STATUS_COORDINATOR_NOT_AVAILABLE);
            return;
        }
        group->assign_write_id = classic_write(group);
    }
    classic_park_sync(group, member, sync);
    has_synced(group, member);
}

void classic_sync_step(struct classic *group, struct classic_sync *sync)
{
    list_node_init(&sync->node);
    if (group->state == CLASSIC_DEAD) {
        classic_refuse_sync(group, sync, STATUS_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    struct classic_member *member = NULL;
    enum status status = classic_identify(group, sync->member_id, sync->instance_id, &member);
    if (status != STATUS_OK) {
        classic_refuse_sync(group, sync, status);
    } else if (sync->generation != group->generation) {
        classic_refuse_sync(group, sync, STATUS_ILLEGAL_GENERATION);
    } else if (differs(sync->protocol_type, classic_blob_bytes(group->protocol_type)) ||
               differs(sync->protocol,
                       group->protocol == NULL ? BYTES_NULL : group->protocol->name)) {
        classic_refuse_sync(group, sync, STATUS_INCONSISTENT_GROUP_PROTOCOL);
    } else if (group->state == CLASSIC_COMPLETING_REBALANCE) {
        sync_completing(group, sync, member);
    } else if (group->state == CLASSIC_STABLE) {
        has_synced(group, member);
        classic_answer_sync(group, sync, member);
    } else {
        classic_refuse_sync(group, sync, STATUS_REBALANCE_IN_PROGRESS);
    }
}
