/* SPDX-License-Identifier: Apache-2.0 */
/* A classic group as its log keeps it. */
#include "broker/groups/classic_state.h"

#include "base/check.h"

static const struct classic_member *member_of(const struct list_node *node)
{
    return CONTAINER_OF((struct list_node *)(uintptr_t)node, struct classic_member, place);
}

enum status classic_value(const struct classic *group, struct arena *arena,
                          struct group_metadata_value *value)
{
    check(group->state == CLASSIC_EMPTY || group->state == CLASSIC_COMPLETING_REBALANCE ||
          group->state == CLASSIC_STABLE);
    bool assigning = group->assign_write_id != 0;
    group_metadata_value_init(value);
    value->protocol_type = group->protocol_type.data == NULL
                               ? BYTES_LITERAL("")
                               : classic_blob_bytes(group->protocol_type);
    value->generation = group->generation;
    value->protocol = group->protocol == NULL ? BYTES_NULL : group->protocol->name;
    value->leader = group->leader == NULL ? BYTES_NULL : group->leader->id;
    value->current_state_timestamp = group->state_wall_ms;
    value->members = arena_new_array(arena, struct group_metadata_value_member_metadata,
                                     (size_t)group->member_count);
    if (value->members == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (const struct list_node *node = group->members.head.next; node != &group->members.head;
         node = node->next) {
        const struct classic_member *member = member_of(node);
        struct classic_member_view view = classic_member_view(group, member);
        value->members[value->members_count++] = (struct group_metadata_value_member_metadata){
            .member_id = view.member_id,
            .group_instance_id = view.instance_id,
            .client_id = view.client_id,
            .client_host = view.client_host,
            .rebalance_timeout = view.rebalance_ms,
            .session_timeout = view.session_ms,
            .subscription = view.metadata,
            .assignment = assigning ? classic_blob_bytes(member->assignment_next)
                                    : classic_blob_bytes(member->assignment),
        };
    }
    return STATUS_OK;
}

/* ---- reading ---- */

static void clear(struct classic *group)
{
    LIST_EACH (&group->members, node) {
        struct classic_member *member = LIST_ENTRY(node, struct classic_member, place);
        check(member->join == NULL && member->sync == NULL);
        classic_remove(group, member, STATUS_UNKNOWN_MEMBER_ID);
    }
    LIST_EACH (&group->pending, node) {
        classic_remove(group, LIST_ENTRY(node, struct classic_member, place),
                       STATUS_UNKNOWN_MEMBER_ID);
    }
    classic_sweep(group);
    classic_disarm_phase(group);
    classic_set_protocol(group, NULL);
    classic_blob_free(&group->protocol_type, group->heap);
    group->assign_write_id = 0;
    group->initial = false;
    group->state = CLASSIC_EMPTY;
    group->generation = 0;
    group->state_wall_ms = -1;
}

static enum status load_member(struct classic *group, struct bytes protocol,
                               const struct group_metadata_value_member_metadata *from)
{
    if (classic_find(group, from->member_id) != NULL ||
        (from->group_instance_id.data != NULL &&
         classic_find_instance(group, from->group_instance_id) != NULL)) {
        return STATUS_MALFORMED;
    }
    struct classic_member *member =
        classic_member_open(group->heap, &(struct classic_texts){
                                             .id = from->member_id,
                                             .instance_id = from->group_instance_id,
                                             .client_id = from->client_id,
                                             .client_host = from->client_host,
                                         });
    if (member == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct join_group_request_protocol only = {protocol, from->subscription};
    struct ballot_list list = {&only, 1};
    if (!classic_protocols_copy(&member->protocols, group->heap, list) ||
        !classic_blob_copy(&member->assignment, group->heap, from->assignment) ||
        !ballot_add(&group->ballot, list)) {
        classic_member_close(member, group->heap);
        return STATUS_NO_MEMORY;
    }
    member->session_ms = from->session_timeout;
    member->rebalance_ms =
        from->rebalance_timeout < 0 ? from->session_timeout : from->rebalance_timeout;
    classic_link(group, member);
    classic_arm_session(group, member, member->session_ms);
    return STATUS_OK;
}

static enum status load(struct classic *group, const struct group_metadata_value *value)
{
    if (value->members_count > 0 &&
        (value->protocol.data == NULL || value->protocol_type.size == 0)) {
        return STATUS_MALFORMED;
    }
    if (!classic_blob_copy(&group->protocol_type, group->heap, value->protocol_type)) {
        return STATUS_NO_MEMORY;
    }
    for (int32_t i = 0; i < value->members_count; i++) {
        enum status status = load_member(group, value->protocol, &value->members[i]);
        if (status != STATUS_OK) {
            return status;
        }
    }
    group->generation = value->generation;
    group->state_wall_ms = value->current_state_timestamp;
    if (value->members_count == 0) {
        return STATUS_OK;
    }
    struct classic_member *leader = classic_find(group, value->leader);
    group->leader = leader != NULL ? leader : group->leader; /* G6: the first one otherwise */
    classic_set_protocol(group, ballot_find(&group->ballot, value->protocol));
    group->state = CLASSIC_STABLE;
    return STATUS_OK;
}

enum status classic_load(struct classic *group, const struct group_metadata_value *value,
                         int64_t now_ms)
{
    check_magic(group, CLASSIC_MAGIC);
    check(group->output == NULL);
    struct classic_output output;
    classic_output_init(&output);
    group->output = &output;
    group->now_ms = now_ms;
    group->wall_ms = value->current_state_timestamp;
    clear(group);
    enum status status = load(group, value);
    if (status != STATUS_OK) {
        clear(group);
    } else if (group->member_count > group->config->member_count_max) {
        classic_begin(group, "the group has more members than it may");
    } else if (value->leader.data == NULL && group->member_count > 0) {
        classic_begin(group, "the group came from another kind"); /* M3 of migration.h */
    }
    check(list_is_empty(&output.joins) && list_is_empty(&output.syncs) && !output.write);
    group->output = NULL;
    check_slow(classic_verify(group));
    return status;
}

void classic_resume(struct classic *group, int64_t now_ms)
{
    check_magic(group, CLASSIC_MAGIC);
    group->now_ms = now_ms;
    LIST_EACH (&group->members, node) {
        struct classic_member *member = LIST_ENTRY(node, struct classic_member, place);
        check(member->join == NULL && member->sync == NULL);
        classic_arm_session(group, member, member->session_ms);
    }
    if (group->state == CLASSIC_PREPARING_REBALANCE) {
        classic_arm_phase(group, classic_rebalance_ms(group));
    }
    check_slow(classic_verify(group));
}
