/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeTransactions: what the coordinators of the named ids know. */
#include "wire/describe_transactions.h"
#include "broker/handlers/handler.h"
#include "broker/transactions/transactions.h"

struct describe_call {
    struct coordinator_call call; /* first */
    struct bytes id;
    struct describe_transactions_response_transaction_state out; /* topics in call.arena */
};

struct describe_state {
    struct describe_transactions_request in;
    struct coordinator_fan fan;
    struct describe_call *calls;
};

static enum status topics_copy(struct describe_call *call, const struct partition_set *set)
{
    struct arena *arena = &call->call.arena;
    size_t count = (size_t)set->topic_count;
    call->out.topics = arena_new_array(arena, struct describe_transactions_response_topic, count);
    for (size_t i = 0; i < count && !arena->failed; i++) {
        const struct partition_set_topic *topic = &set->topics[i];
        uint8_t *name = arena_acquire_bytes(arena, topic->name.size);
        int32_t *indexes = arena_new_array(arena, int32_t, (size_t)topic->count);
        if (name == NULL || indexes == NULL) {
            break;
        }
        memcpy(name, topic->name.data, topic->name.size);
        memcpy(indexes, topic->indexes, (size_t)topic->count * sizeof(indexes[0]));
        call->out.topics[i].topic = bytes_of(name, topic->name.size);
        call->out.topics[i].partitions = indexes;
        call->out.topics[i].partitions_count = topic->count;
    }
    call->out.topics_count = arena->failed ? 0 : set->topic_count;
    return arena->failed ? STATUS_COORDINATOR_NOT_AVAILABLE : STATUS_OK;
}

/* Owner core. */
static void describe_run(struct coordinator_call *base)
{
    struct describe_call *call = CONTAINER_OF(base, struct describe_call, call);
    const struct transactional_id *entry =
        transactions_find(transactions_of(base->shard), call->id);
    if (entry == NULL || entry->transaction.value.producer_id < 0) {
        coordinator_answer(base, STATUS_TRANSACTIONAL_ID_NOT_FOUND);
        return;
    }
    const struct transaction_value *value = &entry->transaction.value;
    call->out.transaction_state = bytes_of_text(transaction_state_name(value->state));
    call->out.transaction_timeout_ms = value->timeout_ms;
    call->out.transaction_start_time_ms = value->start_ms;
    call->out.producer_id = value->producer_id;
    call->out.producer_epoch = value->epoch;
    coordinator_answer(base, topics_copy(call, &entry->partitions));
}

static void describe_answer(struct request *request)
{
    const struct describe_state *state = request->handler_state;
    struct describe_transactions_response out;
    describe_transactions_response_init(&out);
    int32_t count = state->in.transactional_ids_count;
    out.transaction_states = arena_new_array(
        &request->arena, struct describe_transactions_response_transaction_state, (size_t)count);
    out.transaction_states_count = out.transaction_states == NULL ? 0 : count;
    for (int32_t i = 0; i < out.transaction_states_count; i++) {
        out.transaction_states[i] = state->calls[i].out;
        out.transaction_states[i].transactional_id = state->calls[i].id;
        out.transaction_states[i].error_code = status_code(state->calls[i].call.status);
    }
    describe_transactions_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

void handle_describe_transactions(struct request *request)
{
    struct describe_state *state = handler_state(request, sizeof(*state));
    if (state == NULL ||
        !REQUEST_DECODE(request, describe_transactions_request_decode, &state->in)) {
        return;
    }
    int32_t count = state->in.transactional_ids_count;
    state->calls = arena_new_array(&request->arena, struct describe_call, (size_t)count);
    if (state->calls == NULL) {
        request_refuse(request, "request memory is spent");
        return;
    }
    coordinator_fan_init(&state->fan, request->core);
    for (int32_t i = 0; i < count; i++) {
        struct describe_call *call = &state->calls[i];
        describe_transactions_response_transaction_state_init(&call->out);
        call->id = state->in.transactional_ids[i];
        call->call.run = describe_run;
        if (call->id.size == 0) {
            call->call.status = STATUS_INVALID_REQUEST;
            continue;
        }
        coordinator_fan_add(&state->fan, &call->call, COORDINATOR_TRANSACTION, call->id);
    }
    coordinator_request_send(request, &state->fan, describe_answer);
}
