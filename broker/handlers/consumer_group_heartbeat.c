/* SPDX-License-Identifier: Apache-2.0 */
/* ConsumerGroupHeartbeat: what is wrong with a request by itself is said here, the rest by its
 * group (broker/groups/consumer_group.h). */
#include "wire/consumer_group_heartbeat.h"
#include "broker/groups/consumer_group.h"
#include "broker/handlers/handler.h"

struct heartbeat_state {
    struct consumer_group_heartbeat_request in;
    struct coordinator_fan fan;
    struct consumer_call call;
    char host[RING_PEER_SIZE + 1]; /* "/127.0.0.1", as Java shows addresses */
};

static void heartbeat_fail(struct request *request, enum status status, const char *message)
{
    struct consumer_group_heartbeat_response out;
    consumer_group_heartbeat_response_init(&out);
    out.error_code = status_code(status);
    out.error_message = bytes_of_text(message == NULL ? status_sentence(status) : message);
    consumer_group_heartbeat_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void heartbeat_answer(struct request *request)
{
    const struct heartbeat_state *state = request->handler_state;
    if (state->call.call.status != STATUS_OK) {
        heartbeat_fail(request, state->call.call.status, NULL);
        return;
    }
    consumer_group_heartbeat_response_encode(request_reply(request), request->version,
                                             &state->call.out);
    request_finish(request);
}

void handle_consumer_group_heartbeat(struct request *request)
{
    struct heartbeat_state *state = handler_state(request, sizeof(*state));
    if (state == NULL ||
        !REQUEST_DECODE(request, consumer_group_heartbeat_request_decode, &state->in)) {
        return;
    }
    const struct broker_config *config = request->core->server->config;
    if ((config->group_protocols & GROUP_PROTOCOL_CONSUMER) == 0) {
        heartbeat_fail(request, STATUS_UNSUPPORTED_VERSION, NULL);
        return;
    }
    state->host[0] = '/';
    ring_peer(request->core->ring, request->connection->socket, state->host + 1);
    state->call.heartbeat = (struct consumer_heartbeat){
        .request = &state->in,
        .version = request->version,
        .client_id = request->client_id.data == NULL ? BYTES_LITERAL("") : request->client_id,
        .client_host = bytes_of_text(state->host),
    };
    struct consumer_config groups = {0};
    const char *message = NULL;
    consumer_group_configure(&groups, request->core);
    enum status status = consumer_check(&groups, &state->call.heartbeat, &request->arena, &message);
    if (status != STATUS_OK) {
        heartbeat_fail(request, status, message);
        return;
    }
    state->call.call.run = group_run_consumer_heartbeat;
    coordinator_fan_init(&state->fan, request->core);
    coordinator_fan_add(&state->fan, &state->call.call, COORDINATOR_GROUP, state->in.group_id);
    coordinator_request_send(request, &state->fan, heartbeat_answer);
}
