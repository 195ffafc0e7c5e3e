/* SPDX-License-Identifier: Apache-2.0 */
/* SyncGroup: the leader's assignment is durable before anybody is given his part. */
#include "wire/sync_group.h"
#include "broker/groups/group.h"
#include "broker/handlers/handler.h"

struct sync_state {
    struct sync_group_request in;
    struct coordinator_fan fan;
    struct group_call call;
};

static void sync_fail(struct request *request, enum status status)
{
    struct sync_group_response out;
    sync_group_response_init(&out);
    out.error_code = status_code(status);
    sync_group_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void sync_answer(struct request *request)
{
    const struct sync_state *state = request->handler_state;
    if (state->call.call.status != STATUS_OK) {
        sync_fail(request, state->call.call.status);
    } else {
        group_call_reply(request, &state->call);
    }
}

void handle_sync_group(struct request *request)
{
    struct sync_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, sync_group_request_decode, &state->in)) {
        return;
    }
    if (state->in.group_id.size == 0) {
        sync_fail(request, STATUS_INVALID_GROUP_ID);
        return;
    }
    struct group_call *call = &state->call;
    call->version = request->version;
    call->group_name = state->in.group_id;
    call->call.run = group_run_sync;
    call->sync = (struct classic_sync){
        .member_id = state->in.member_id,
        .instance_id = state->in.group_instance_id,
        .protocol_type = state->in.protocol_type,
        .protocol = state->in.protocol_name,
        .assignments = state->in.assignments,
        .assignment_count = state->in.assignments_count,
        .generation = state->in.generation_id,
    };
    coordinator_fan_init(&state->fan, request->core);
    coordinator_fan_add(&state->fan, &call->call, COORDINATOR_GROUP, state->in.group_id);
    coordinator_request_send(request, &state->fan, sync_answer);
}
