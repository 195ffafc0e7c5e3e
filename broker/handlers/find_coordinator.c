/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FindCoordinator: this broker, for groups and transactions. The internal topic that keeps them is
 * created by the first who asks, so whoever was answered can go on at once. What is not served is
 * said with COORDINATOR_NOT_AVAILABLE and node -1, never with a wrong node.
 */
#include "wire/find_coordinator.h"
#include "broker/handlers/handler.h"

#define NOT_SERVED "this broker does not coordinate this kind of key"
#define NOT_CREATED "the topic that keeps the coordinator's state cannot be created now"

enum { KEY_GROUP, KEY_TRANSACTION, KEY_SHARE };

struct find_state {
    struct find_coordinator_request in;
    struct coordinator_create create;
    enum status status;
    const char *message;
};

static void place_fill(const struct request *request, const struct find_state *state,
                       struct find_coordinator_response_coordinator *out)
{
    const struct server *server = request->core->server;
    const struct listener *listener = server_listener(server, request->connection->listener);
    bool found = state->status == STATUS_OK;
    out->error_code = status_code(state->status);
    out->error_message = found ? BYTES_LITERAL("") : bytes_of_text(state->message);
    out->node_id = found ? server->node_id : -1;
    out->host = found ? bytes_of_text(listener->advertised_host) : BYTES_LITERAL("");
    out->port = found ? listener->advertised_port : -1;
}

static void find_answer(struct request *request)
{
    const struct find_state *state = request->handler_state;
    struct find_coordinator_response_coordinator place;
    find_coordinator_response_coordinator_init(&place);
    place_fill(request, state, &place);
    struct find_coordinator_response out;
    find_coordinator_response_init(&out);
    if (request->version < 4) {
        out.error_code = place.error_code;
        out.error_message = place.error_message;
        out.node_id = place.node_id;
        out.host = place.host;
        out.port = place.port;
    } else {
        size_t count = (size_t)state->in.coordinator_keys_count;
        out.coordinators =
            arena_new_array(&request->arena, struct find_coordinator_response_coordinator, count);
        for (size_t i = 0; i < count && out.coordinators != NULL; i++) {
            out.coordinators[i] = place;
            out.coordinators[i].key = state->in.coordinator_keys[i];
            out.coordinators_count++;
        }
    }
    find_coordinator_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void find_created(struct request *request)
{
    struct find_state *state = request->handler_state;
    const struct coordinator_create *create = &state->create;
    bool there =
        create->topic.status == STATUS_OK || create->topic.status == STATUS_TOPIC_ALREADY_EXISTS;
    if (create->change.status != STATUS_OK || !there) {
        state->status = STATUS_COORDINATOR_NOT_AVAILABLE;
        state->message = NOT_CREATED;
    }
    find_answer(request);
}

static void created(struct change *change)
{
    request_wake(change->owner, find_created);
}

void handle_find_coordinator(struct request *request)
{
    struct find_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, find_coordinator_request_decode, &state->in)) {
        return;
    }
    struct core *core = request->core;
    int8_t type = state->in.key_type;
    int8_t type_last = request->version < 6 ? KEY_TRANSACTION : KEY_SHARE;
    if (type < KEY_GROUP || type > type_last) {
        state->status = STATUS_INVALID_REQUEST;
        state->message = "there is no such kind of key";
        find_answer(request);
        return;
    }
    enum coordinator_kind kind =
        type == KEY_TRANSACTION ? COORDINATOR_TRANSACTION : COORDINATOR_GROUP;
    if (type == KEY_SHARE || !coordinator_is_served(core, kind)) {
        state->status = STATUS_COORDINATOR_NOT_AVAILABLE;
        state->message = NOT_SERVED;
        find_answer(request);
    } else if (coordinator_topic(core, kind) != NULL) {
        find_answer(request);
    } else {
        state->create.change.done = created;
        state->create.change.owner = request;
        coordinator_topic_create(core, kind, &state->create);
    }
}
