/* SPDX-License-Identifier: Apache-2.0 */
/* Heartbeat: a member is alive, and learns whether its group is moving. */
#include "wire/heartbeat.h"
#include "broker/groups/group.h"
#include "broker/handlers/handler.h"

struct heartbeat_state {
    struct heartbeat_request in;
    struct coordinator_fan fan;
    struct group_beat beat;
};

static void heartbeat_reply(struct request *request, enum status status)
{
    struct heartbeat_response out;
    heartbeat_response_init(&out);
    out.error_code = status_code(status);
    heartbeat_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void heartbeat_answer(struct request *request)
{
    const struct heartbeat_state *state = request->handler_state;
    /* While the log is read nobody can be thrown out: Kafka says so with NONE. */
    enum status status = state->beat.call.status;
    heartbeat_reply(request, status == STATUS_COORDINATOR_LOAD_IN_PROGRESS ? STATUS_OK : status);
}

void handle_heartbeat(struct request *request)
{
    struct heartbeat_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, heartbeat_request_decode, &state->in)) {
        return;
    }
    if (state->in.group_id.size == 0) {
        heartbeat_reply(request, STATUS_INVALID_GROUP_ID);
        return;
    }
    struct group_beat *beat = &state->beat;
    beat->call.run = group_run_beat;
    beat->group_name = state->in.group_id;
    beat->beat = (struct classic_call){
        .member_id = state->in.member_id,
        .instance_id = state->in.group_instance_id,
        .generation = state->in.generation_id,
    };
    coordinator_fan_init(&state->fan, request->core);
    coordinator_fan_add(&state->fan, &beat->call, COORDINATOR_GROUP, state->in.group_id);
    coordinator_request_send(request, &state->fan, heartbeat_answer);
}
