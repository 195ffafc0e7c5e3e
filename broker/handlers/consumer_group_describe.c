/* SPDX-License-Identifier: Apache-2.0 */
/* ConsumerGroupDescribe: one call for each group. A group of another kind is not found, and tools
 * ask DescribeGroups then. */
#include "wire/consumer_group_describe.h"
#include "broker/groups/consumer_group.h"
#include "broker/handlers/handler.h"

struct describe_state {
    struct consumer_group_describe_request in;
    struct coordinator_fan fan;
    struct consumer_describe_call *calls;
};

static void group_close(struct consumer_describe_call *call, bool operations)
{
    struct consumer_group_describe_response_group *out = &call->out;
    enum status status = call->call.status;
    if (status != STATUS_OK) {
        consumer_group_describe_response_group_init(out);
        out->error_code = status_code(status);
        out->error_message = status == STATUS_GROUP_ID_NOT_FOUND
                                 ? BYTES_LITERAL("There is no consumer group of this name.")
                                 : bytes_of_text(status_sentence(status));
    } else if (operations) {
        out->authorized_operations = GROUP_OPERATIONS;
    }
    out->group_id = call->name;
}

static void describe_answer(struct request *request)
{
    struct describe_state *state = request->handler_state;
    struct consumer_group_describe_response out;
    consumer_group_describe_response_init(&out);
    size_t count = (size_t)state->in.group_ids_count;
    out.groups =
        arena_new_array(&request->arena, struct consumer_group_describe_response_group, count);
    for (size_t i = 0; i < count && out.groups != NULL; i++) {
        group_close(&state->calls[i], state->in.include_authorized_operations);
        out.groups[out.groups_count++] = state->calls[i].out;
    }
    consumer_group_describe_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

void handle_consumer_group_describe(struct request *request)
{
    struct describe_state *state = handler_state(request, sizeof(*state));
    if (state == NULL ||
        !REQUEST_DECODE(request, consumer_group_describe_request_decode, &state->in)) {
        return;
    }
    size_t count = (size_t)state->in.group_ids_count;
    state->calls = arena_new_array(&request->arena, struct consumer_describe_call, count);
    if (state->calls == NULL) {
        request_refuse(request, "request memory is spent");
        return;
    }
    coordinator_fan_init(&state->fan, request->core);
    for (size_t i = 0; i < count; i++) {
        struct consumer_describe_call *call = &state->calls[i];
        call->name = state->in.group_ids[i];
        call->call.run = group_run_consumer_describe;
        consumer_group_describe_response_group_init(&call->out);
        coordinator_fan_add(&state->fan, &call->call, COORDINATOR_GROUP, call->name);
    }
    coordinator_request_send(request, &state->fan, describe_answer);
}
