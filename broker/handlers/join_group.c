/* SPDX-License-Identifier: Apache-2.0 */
/* JoinGroup: waits on the core of the group until all members are there. */
#include "wire/join_group.h"
#include "broker/groups/group.h"
#include "broker/handlers/handler.h"

struct join_state {
    struct join_group_request in;
    struct coordinator_fan fan;
    struct group_call call;
    char host[RING_PEER_SIZE + 1]; /* "/127.0.0.1", as Java shows addresses */
};

static void join_fail(struct request *request, const struct join_state *state, enum status status)
{
    struct join_group_response out;
    join_group_response_init(&out);
    out.error_code = status_code(status);
    out.generation_id = -1;
    out.member_id = state->in.member_id;
    join_group_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void join_answer(struct request *request)
{
    const struct join_state *state = request->handler_state;
    if (state->call.call.status != STATUS_OK) {
        join_fail(request, state, state->call.call.status);
    } else {
        group_call_reply(request, &state->call);
    }
}

void handle_join_group(struct request *request)
{
    struct join_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, join_group_request_decode, &state->in)) {
        return;
    }
    if (state->in.group_id.size == 0) {
        join_fail(request, state, STATUS_INVALID_GROUP_ID);
        return;
    }
    state->host[0] = '/';
    ring_peer(request->core->ring, request->connection->socket, state->host + 1);
    struct group_call *call = &state->call;
    call->version = request->version;
    call->group_name = state->in.group_id;
    call->call.run = group_run_join;
    call->join = (struct classic_join){
        .member_id = state->in.member_id,
        .instance_id = state->in.group_instance_id,
        .client_id = request->client_id,
        .client_host = bytes_of_text(state->host),
        .protocol_type = state->in.protocol_type,
        .protocols = state->in.protocols,
        .protocol_count = state->in.protocols_count,
        .session_ms = state->in.session_timeout_ms,
        .rebalance_ms = state->in.rebalance_timeout_ms,
        .requires_member_id = request->version >= 4,
        .may_skip_assignment = request->version >= 9,
    };
    coordinator_fan_init(&state->fan, request->core);
    coordinator_fan_add(&state->fan, &call->call, COORDINATOR_GROUP, state->in.group_id);
    coordinator_request_send(request, &state->fan, join_answer);
}
