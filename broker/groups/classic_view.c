/* SPDX-License-Identifier: Apache-2.0 */
/* What others may ask of a classic group. Nothing here changes it. */
#include "broker/groups/classic_state.h"

#include "base/check.h"
#include "broker/groups/subscription.h"

struct classic_view classic_view(const struct classic *group)
{
    return (struct classic_view){
        .state = group->state,
        .generation = group->generation,
        .protocol_type = classic_blob_bytes(group->protocol_type),
        .protocol = group->protocol == NULL ? BYTES_NULL : group->protocol->name,
        .leader = group->leader == NULL ? BYTES_NULL : group->leader->id,
        .state_wall_ms = group->state_wall_ms,
        .member_count = group->member_count,
        .pending_count = group->pending_count,
    };
}

const struct classic_member *classic_member_next(const struct classic *group,
                                                 const struct classic_member *member)
{
    const struct list_node *node = member == NULL ? group->members.head.next : member->place.next;
    if (node == &group->members.head) {
        return NULL;
    }
    return CONTAINER_OF((struct list_node *)(uintptr_t)node, struct classic_member, place);
}

/* NULL: the member does not list it, or none is chosen. */
static const struct join_group_request_protocol *chosen(const struct classic *group,
                                                        const struct classic_member *member)
{
    const struct ballot_list *list = &member->protocols.list;
    for (int32_t i = 0; group->protocol != NULL && i < list->count; i++) {
        if (bytes_equal(list->protocols[i].name, group->protocol->name)) {
            return &list->protocols[i];
        }
    }
    return NULL;
}

struct classic_member_view classic_member_view(const struct classic *group,
                                               const struct classic_member *member)
{
    const struct join_group_request_protocol *protocol = chosen(group, member);
    return (struct classic_member_view){
        .member_id = member->id,
        .instance_id = member->instance_id,
        .client_id = member->client_id,
        .client_host = member->client_host,
        .session_ms = member->session_ms,
        .rebalance_ms = member->rebalance_ms,
        .metadata = protocol == NULL ? BYTES_LITERAL("") : protocol->metadata,
        .assignment = classic_blob_bytes(member->assignment),
        .protocols = member->protocols.list.protocols,
        .protocol_count = member->protocols.list.count,
    };
}

/* ---- questions ---- */

static bool has_consumers(const struct classic *group)
{
    return bytes_equal(classic_blob_bytes(group->protocol_type), BYTES_LITERAL("consumer"));
}

enum status classic_check_delete(const struct classic *group)
{
    switch (group->state) {
    case CLASSIC_EMPTY:
        return STATUS_OK;
    case CLASSIC_DEAD:
        return STATUS_GROUP_ID_NOT_FOUND;
    case CLASSIC_PREPARING_REBALANCE:
    case CLASSIC_COMPLETING_REBALANCE:
    case CLASSIC_STABLE:
        break;
    }
    return STATUS_NON_EMPTY_GROUP;
}

enum status classic_check_offset_delete(const struct classic *group)
{
    enum status status = classic_check_delete(group);
    return status == STATUS_NON_EMPTY_GROUP && has_consumers(group) ? STATUS_OK : status;
}

bool classic_subscribes(const struct classic *group, struct bytes topic)
{
    if (!has_consumers(group)) {
        return false;
    }
    for (const struct classic_member *member = classic_member_next(group, NULL); member != NULL;
         member = classic_member_next(group, member)) {
        const struct join_group_request_protocol *protocol = chosen(group, member);
        if (protocol == NULL || subscription_holds(protocol->metadata, topic)) {
            return true;
        }
    }
    return false;
}

enum classic_expiry classic_expiry(const struct classic *group)
{
    if (group->protocol_type.data == NULL) {
        return CLASSIC_EXPIRY_SINCE_COMMIT;
    }
    if (group->state == CLASSIC_EMPTY) {
        return CLASSIC_EXPIRY_SINCE_STATE;
    }
    return group->state == CLASSIC_STABLE && has_consumers(group) ? CLASSIC_EXPIRY_SINCE_COMMIT
                                                                  : CLASSIC_EXPIRY_NEVER;
}

/* ---- invariants ---- */

static void verify_member(const struct classic *group, const struct classic_member *member)
{
    check(!member->pending && member->group == group);
    check(classic_find(group, member->id) == member);
    check(member->instance_id.data == NULL ||
          classic_find_instance(group, member->instance_id) == member);
    bool parked = member->join != NULL || member->sync != NULL;
    check(member->session.armed || (parked && !member->is_new)); /* G8 */
    check(member->join == NULL || group->state == CLASSIC_PREPARING_REBALANCE ||
          (group->state == CLASSIC_STABLE && member->before != NULL)); /* G4 */
    check(member->before == NULL || (group->state == CLASSIC_STABLE && member->join != NULL));
    check(member->sync == NULL || group->state == CLASSIC_COMPLETING_REBALANCE); /* G4 */
    check(member->assignment_next.data == NULL || group->assign_write_id != 0);
    bool settled = group->state == CLASSIC_COMPLETING_REBALANCE || group->state == CLASSIC_STABLE;
    check(!settled || chosen(group, member) != NULL); /* G7 */
    check(!member->awaits_sync || settled);
    check(!member->is_new || group->state == CLASSIC_PREPARING_REBALANCE);
}

bool classic_verify(const struct classic *group)
{
    int32_t members = 0;
    int32_t joins = 0;
    int32_t syncs = 0;
    bool leads = false;
    for (const struct classic_member *member = classic_member_next(group, NULL); member != NULL;
         member = classic_member_next(group, member)) {
        verify_member(group, member);
        members += 1;
        joins += member->join != NULL;
        syncs += member->awaits_sync;
        leads |= member == group->leader;
    }
    check(members == group->member_count && joins == group->join_count);
    check(syncs == group->sync_count);
    check(leads == (members > 0) && (members > 0 || group->leader == NULL)); /* G6 */
    bool bare = group->state == CLASSIC_EMPTY || group->state == CLASSIC_DEAD;
    check(bare ? members == 0
               : group->state == CLASSIC_PREPARING_REBALANCE || members > 0); /* G5 */
    check(group->state == CLASSIC_COMPLETING_REBALANCE || group->assign_write_id == 0);
    check(group->ids.count == (size_t)(members + group->pending_count));
    check(list_is_empty(&group->expired) && !group->phase_due);
    check(group->phase.armed ==
          (group->state == CLASSIC_PREPARING_REBALANCE || group->sync_count > 0));
    return true;
}
