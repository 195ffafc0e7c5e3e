/* SPDX-License-Identifier: Apache-2.0 */
/* LeaveGroup: members go; from version 3 several at once, each with an answer of its own. */
#include "wire/leave_group.h"
#include "broker/groups/group.h"
#include "broker/handlers/handler.h"

struct leave_state {
    struct leave_group_request in;
    struct coordinator_fan fan;
    struct coordinator_call call;
    struct classic_leaver *leavers; /* the owner's, in its memory */
    int32_t leaver_count;
};

/* ---- owner core ---- */

static bool leavers_take(struct leave_state *state)
{
    bool single = state->leaver_count < 0;
    int32_t count = single ? 1 : state->in.members_count;
    struct classic_leaver *leavers =
        arena_new_array(&state->call.arena, struct classic_leaver, (size_t)count);
    if (leavers == NULL) {
        return false;
    }
    for (int32_t i = 0; i < count; i++) {
        leavers[i].member_id = single ? state->in.member_id : state->in.members[i].member_id;
        leavers[i].instance_id = single ? BYTES_NULL : state->in.members[i].group_instance_id;
        leavers[i].status = STATUS_UNKNOWN_MEMBER_ID;
    }
    state->leavers = leavers;
    state->leaver_count = count;
    return true;
}

static void leave_run(struct coordinator_call *call)
{
    struct leave_state *state = CONTAINER_OF(call, struct leave_state, call);
    if (!leavers_take(state)) {
        coordinator_answer(call, STATUS_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    struct group *group = group_find(groups_of(call->shard), state->in.group_id);
    if (group != NULL && group->classic != NULL) {
        struct classic_event event = {.kind = CLASSIC_LEAVE};
        event.leavers = state->leavers;
        event.leaver_count = state->leaver_count;
        group_hold(group);
        group_classic_step(group, &event);
        group_release(group);
    }
    coordinator_answer(call, STATUS_OK);
}

/* ---- home core ---- */

static void leave_reply(struct request *request, const struct leave_state *state,
                        enum status status)
{
    struct leave_group_response out;
    leave_group_response_init(&out);
    bool single = request->version < 3;
    if (single && status == STATUS_OK) {
        status = state->leavers[0].status;
    }
    out.error_code = status_code(status);
    size_t count = single || status != STATUS_OK ? 0 : (size_t)state->leaver_count;
    out.members = arena_new_array(&request->arena, struct leave_group_response_member, count);
    for (size_t i = 0; i < count && out.members != NULL; i++) {
        leave_group_response_member_init(&out.members[i]);
        out.members[i].member_id = state->leavers[i].member_id;
        out.members[i].group_instance_id = state->leavers[i].instance_id;
        out.members[i].error_code = status_code(state->leavers[i].status);
        out.members_count++;
    }
    leave_group_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void leave_answer(struct request *request)
{
    const struct leave_state *state = request->handler_state;
    leave_reply(request, state, state->call.status);
}

void handle_leave_group(struct request *request)
{
    struct leave_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, leave_group_request_decode, &state->in)) {
        return;
    }
    if (state->in.group_id.size == 0) {
        leave_reply(request, state, STATUS_INVALID_GROUP_ID);
        return;
    }
    state->leaver_count = request->version < 3 ? -1 : state->in.members_count;
    state->call.run = leave_run;
    coordinator_fan_init(&state->fan, request->core);
    coordinator_fan_add(&state->fan, &state->call, COORDINATOR_GROUP, state->in.group_id);
    coordinator_request_send(request, &state->fan, leave_answer);
}
