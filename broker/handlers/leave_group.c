/* SPDX-License-Identifier: Apache-2.0 */
/* LeaveGroup: members go; from version 3 several at once, each with an answer of its own. */
#include "wire/leave_group.h"
#include "broker/groups/group.h"
#include "broker/handlers/handler.h"

struct leave_state {
    struct leave_group_request in;
    struct coordinator_fan fan;
    struct group_leave leave; /* leavers: the owner's, in its memory */
};

/* ---- owner core ---- */

static bool leavers_take(struct leave_state *state)
{
    struct group_leave *leave = &state->leave;
    bool single = leave->leaver_count < 0;
    int32_t count = single ? 1 : state->in.members_count;
    struct classic_leaver *leavers =
        arena_new_array(&leave->call.arena, struct classic_leaver, (size_t)count);
    if (leavers == NULL) {
        return false;
    }
    for (int32_t i = 0; i < count; i++) {
        leavers[i].member_id = single ? state->in.member_id : state->in.members[i].member_id;
        leavers[i].instance_id = single ? BYTES_NULL : state->in.members[i].group_instance_id;
        leavers[i].status = STATUS_UNKNOWN_MEMBER_ID;
    }
    leave->leavers = leavers;
    leave->leaver_count = count;
    return true;
}

static void leave_run(struct coordinator_call *call)
{
    struct leave_state *state = CONTAINER_OF(call, struct leave_state, leave.call);
    if (leavers_take(state)) {
        group_run_leave(&state->leave);
    } else {
        coordinator_answer(call, STATUS_COORDINATOR_NOT_AVAILABLE);
    }
}

/* ---- home core ---- */

static void leave_reply(struct request *request, const struct leave_state *state,
                        enum status status)
{
    struct leave_group_response out;
    leave_group_response_init(&out);
    bool single = request->version < 3;
    if (single && status == STATUS_OK) {
        status = state->leave.leavers[0].status;
    }
    out.error_code = status_code(status);
    size_t count = single || status != STATUS_OK ? 0 : (size_t)state->leave.leaver_count;
    out.members = arena_new_array(&request->arena, struct leave_group_response_member, count);
    for (size_t i = 0; i < count && out.members != NULL; i++) {
        leave_group_response_member_init(&out.members[i]);
        out.members[i].member_id = state->leave.leavers[i].member_id;
        out.members[i].group_instance_id = state->leave.leavers[i].instance_id;
        out.members[i].error_code = status_code(state->leave.leavers[i].status);
        out.members_count++;
    }
    leave_group_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void leave_answer(struct request *request)
{
    const struct leave_state *state = request->handler_state;
    leave_reply(request, state, state->leave.call.status);
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
    state->leave.leaver_count = request->version < 3 ? -1 : state->in.members_count;
    state->leave.call.run = leave_run;
    state->leave.group_name = state->in.group_id;
    coordinator_fan_init(&state->fan, request->core);
    coordinator_fan_add(&state->fan, &state->leave.call, COORDINATOR_GROUP, state->in.group_id);
    coordinator_request_send(request, &state->fan, leave_answer);
}
