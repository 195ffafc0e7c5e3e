/* SPDX-License-Identifier: Apache-2.0 */
/* ListTransactions: every transactional id of this broker that passes the filters. A pattern is
 * compiled once, at home; matching changes nothing in it, so the owner cores share it. */
#include "wire/list_transactions.h"
#include "broker/groups/pattern.h"
#include "broker/handlers/handler.h"
#include "broker/transactions/transactions.h"

struct list_call;

struct list_state {
    struct list_transactions_request in;
    struct coordinator_fan fan;
    struct list_call *calls; /* one per core */
    uint32_t states;         /* bits of enum transaction_state; 0: all */
    struct bytes *unknown;   /* filters that name no state */
    int32_t unknown_count;
    struct pattern *pattern; /* of the id; NULL: any */
};

struct list_call {
    struct coordinator_call call; /* first */
    const struct list_state *state;
    struct list_transactions_response_transaction_state *rows; /* in call.arena */
    int32_t count;
    bool loading; /* some shard could not be asked */
};

/* ---- owner cores ---- */

static bool entry_passes(const struct list_state *state, const struct transactional_id *entry,
                         int64_t now_ms)
{
    const struct transaction_value *value = &entry->transaction.value;
    const struct list_transactions_request *in = &state->in;
    if (value->producer_id < 0 || (state->states != 0 && !(state->states & 1u << value->state))) {
        return false;
    }
    if (in->duration_filter >= 0 &&
        (value->start_ms < 0 || now_ms - value->start_ms <= in->duration_filter)) {
        return false;
    }
    if (state->pattern != NULL &&
        !pattern_matches(state->pattern, entry->id.data, entry->id.size)) {
        return false;
    }
    bool wanted = in->producer_id_filters_count <= 0;
    for (int32_t i = 0; !wanted && i < in->producer_id_filters_count; i++) {
        wanted = in->producer_id_filters[i] == value->producer_id;
    }
    return wanted;
}

static void shard_list(struct list_call *call, const struct transactions *transactions)
{
    struct arena *arena = &call->call.arena;
    int64_t now_ms = ring_wall_ms(transactions->shard->core->ring);
    LIST_EACH (&transactions->list, node) {
        const struct transactional_id *entry = LIST_ENTRY(node, struct transactional_id, node);
        if (!entry_passes(call->state, entry, now_ms)) {
            continue;
        }
        uint8_t *id = arena_acquire_bytes(arena, entry->id.size);
        if (id == NULL) {
            return;
        }
        memcpy(id, entry->id.data, entry->id.size);
        struct list_transactions_response_transaction_state *row = &call->rows[call->count++];
        list_transactions_response_transaction_state_init(row);
        row->transactional_id = bytes_of(id, entry->id.size);
        row->producer_id = entry->transaction.value.producer_id;
        row->transaction_state =
            bytes_of_text(transaction_state_name(entry->transaction.value.state));
    }
}

static void list_run(struct coordinator_call *base)
{
    struct list_call *call = CONTAINER_OF(base, struct list_call, call);
    size_t room = 0;
    LIST_EACH (&base->coordinator->shards, node) {
        const struct shard *shard = LIST_ENTRY(node, struct shard, node);
        if (shard->state == SHARD_READY) {
            room += (size_t)transactions_of(shard)->count;
        } else {
            call->loading = call->loading || shard->state == SHARD_LOADING;
        }
    }
    call->rows =
        arena_new_array(&base->arena, struct list_transactions_response_transaction_state, room);
    LIST_EACH (&base->coordinator->shards, each) {
        const struct shard *shard = LIST_ENTRY(each, struct shard, node);
        if (shard->state == SHARD_READY && call->rows != NULL) {
            shard_list(call, transactions_of(shard));
        }
    }
    coordinator_answer(base, base->arena.failed ? STATUS_COORDINATOR_NOT_AVAILABLE : STATUS_OK);
}

/* ---- home ---- */

static void list_refuse(struct request *request, enum status status)
{
    struct list_transactions_response out;
    list_transactions_response_init(&out);
    out.error_code = status_code(status);
    list_transactions_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void list_answer(struct request *request)
{
    const struct list_state *state = request->handler_state;
    struct list_transactions_response out;
    list_transactions_response_init(&out);
    pattern_close(state->pattern);
    int32_t core_count = request->core->server->core_count;
    enum status status = STATUS_OK;
    int32_t count = 0;
    for (int32_t i = 0; i < core_count; i++) {
        const struct list_call *call = &state->calls[i];
        status = call->call.status != STATUS_OK ? call->call.status
                 : call->loading                ? STATUS_COORDINATOR_LOAD_IN_PROGRESS
                                                : status;
        count += call->count;
    }
    out.error_code = status_code(status);
    out.unknown_state_filters = state->unknown;
    out.unknown_state_filters_count = state->unknown_count;
    out.transaction_states = arena_new_array(
        &request->arena, struct list_transactions_response_transaction_state, (size_t)count);
    for (int32_t i = 0; status == STATUS_OK && out.transaction_states != NULL && i < core_count;
         i++) {
        const struct list_call *call = &state->calls[i];
        for (int32_t k = 0; k < call->count; k++) {
            out.transaction_states[out.transaction_states_count++] = call->rows[k];
        }
    }
    list_transactions_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

/* Names that we do not know are told back and filter nothing, as in Kafka. */
static bool states_take(struct request *request, struct list_state *state)
{
    const struct list_transactions_request *in = &state->in;
    state->unknown =
        arena_new_array(&request->arena, struct bytes, (size_t)in->state_filters_count);
    if (state->unknown == NULL) {
        return false;
    }
    for (int32_t i = 0; i < in->state_filters_count; i++) {
        struct bytes name = in->state_filters[i];
        enum transaction_state known =
            transaction_state_of_name((const char *)name.data, name.size);
        if (known == TRANSACTION_STATES) {
            state->unknown[state->unknown_count++] = name;
        } else {
            state->states |= 1u << known;
        }
    }
    return true;
}

void handle_list_transactions(struct request *request)
{
    struct list_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, list_transactions_request_decode, &state->in)) {
        return;
    }
    int32_t core_count = request->core->server->core_count;
    state->calls = arena_new_array(&request->arena, struct list_call, (size_t)core_count);
    if (state->calls == NULL || !states_take(request, state)) {
        request_refuse(request, "request memory is spent");
        return;
    }
    if (state->in.transactional_id_pattern.size > 0) {
        char message[PATTERN_MESSAGE_SIZE];
        state->pattern = pattern_open(state->in.transactional_id_pattern.data,
                                      state->in.transactional_id_pattern.size, message);
        if (state->pattern == NULL) {
            list_refuse(request, STATUS_INVALID_REGULAR_EXPRESSION);
            return;
        }
    }
    coordinator_fan_init(&state->fan, request->core);
    for (int32_t i = 0; i < core_count; i++) {
        struct list_call *call = &state->calls[i];
        call->state = state;
        call->call.run = list_run;
        coordinator_fan_add_core(&state->fan, &call->call, COORDINATOR_TRANSACTION, i);
    }
    coordinator_request_send(request, &state->fan, list_answer);
}
