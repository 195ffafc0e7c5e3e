/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeGroups: state and members of classic groups. What is absent, or of the newer kind, is
 * Dead below version 6 and GROUP_ID_NOT_FOUND from there on. */
#include "wire/describe_groups.h"
#include "broker/groups/group.h"
#include "broker/handlers/handler.h"

#define ABSENT "there is no classic group of this name"

struct describe_group {
    struct coordinator_call call;
    struct bytes name;
    struct describe_groups_response_group out; /* filled by the owner */
};

struct describe_state {
    struct describe_groups_request in;
    struct coordinator_fan fan;
    struct describe_group *groups;
};

/* ---- owner core ---- */

/* What belongs to the group may change before the answer is encoded. */
static struct bytes kept(struct arena *arena, struct bytes bytes)
{
    uint8_t *memory = bytes.data == NULL ? NULL : arena_acquire_bytes(arena, bytes.size);
    if (memory == NULL) {
        return BYTES_NULL;
    }
    memcpy(memory, bytes.data, bytes.size);
    return bytes_of(memory, bytes.size);
}

static void members_fill(struct group *group, bool stable, struct arena *arena,
                         struct describe_groups_response_group *out)
{
    int32_t count = classic_view(group->classic).member_count;
    out->members = arena_new_array(arena, struct describe_groups_response_member, (size_t)count);
    const struct classic_member *member = NULL;
    while (out->members != NULL && (member = classic_member_next(group->classic, member)) != NULL) {
        check(out->members_count < count);
        struct classic_member_view view = classic_member_view(group->classic, member);
        struct describe_groups_response_member *to = &out->members[out->members_count++];
        describe_groups_response_member_init(to);
        to->member_id = kept(arena, view.member_id);
        to->group_instance_id = kept(arena, view.instance_id);
        to->client_id = kept(arena, view.client_id);
        to->client_host = kept(arena, view.client_host);
        to->member_metadata = stable ? kept(arena, view.metadata) : BYTES_LITERAL("");
        to->member_assignment = kept(arena, view.assignment);
    }
}

static void describe_run(struct coordinator_call *call)
{
    struct describe_group *describe = CONTAINER_OF(call, struct describe_group, call);
    struct group *group = group_find(groups_of(call->shard), describe->name);
    struct describe_groups_response_group *out = &describe->out;
    if (group == NULL || group->consumer != NULL) {
        coordinator_answer(call, STATUS_GROUP_ID_NOT_FOUND);
        return;
    }
    out->group_state = bytes_of_text(group_state_name(group));
    if (group->classic != NULL) {
        struct classic_view view = classic_view(group->classic);
        bool stable = view.state == CLASSIC_STABLE;
        out->protocol_type = kept(&call->arena, view.protocol_type);
        out->protocol_data = stable ? kept(&call->arena, view.protocol) : BYTES_LITERAL("");
        members_fill(group, stable, &call->arena, out);
    }
    coordinator_answer(call, call->arena.failed ? STATUS_COORDINATOR_NOT_AVAILABLE : STATUS_OK);
}

/* ---- home core ---- */

static void group_close(const struct request *request, struct describe_group *describe,
                        bool operations)
{
    struct describe_groups_response_group *out = &describe->out;
    enum status status = describe->call.status;
    out->group_id = describe->name;
    if (status == STATUS_OK && operations) {
        out->authorized_operations = GROUP_OPERATIONS;
    }
    if (status == STATUS_OK) {
        return;
    }
    out->members_count = 0;
    out->group_state = BYTES_LITERAL("");
    if (status == STATUS_GROUP_ID_NOT_FOUND) {
        out->group_state = BYTES_LITERAL("Dead");
        out->error_message = BYTES_LITERAL(ABSENT);
        status = request->version < 6 ? STATUS_OK : status;
    }
    out->error_code = status_code(status);
}

static void describe_answer(struct request *request)
{
    struct describe_state *state = request->handler_state;
    struct describe_groups_response out;
    describe_groups_response_init(&out);
    size_t count = (size_t)state->in.groups_count;
    out.groups = arena_new_array(&request->arena, struct describe_groups_response_group, count);
    for (size_t i = 0; i < count && out.groups != NULL; i++) {
        group_close(request, &state->groups[i], state->in.include_authorized_operations);
        out.groups[i] = state->groups[i].out;
        out.groups_count++;
    }
    describe_groups_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

void handle_describe_groups(struct request *request)
{
    struct describe_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, describe_groups_request_decode, &state->in)) {
        return;
    }
    size_t count = (size_t)state->in.groups_count;
    state->groups = arena_new_array(&request->arena, struct describe_group, count);
    if (state->groups == NULL) {
        request_refuse(request, "request memory is spent");
        return;
    }
    coordinator_fan_init(&state->fan, request->core);
    for (size_t i = 0; i < count; i++) {
        struct describe_group *describe = &state->groups[i];
        describe->name = state->in.groups[i];
        describe->call.run = describe_run;
        describe_groups_response_group_init(&describe->out);
        coordinator_fan_add(&state->fan, &describe->call, COORDINATOR_GROUP, describe->name);
    }
    coordinator_request_send(request, &state->fan, describe_answer);
}
