/* SPDX-License-Identifier: Apache-2.0 */
/*
 * InitProducerId. Without a transactional id: a fresh id, epoch 0, at each call (KIP-98). With one:
 * the coordinator's next pair, which fences whoever held the one before.
 */
#include "wire/init_producer_id.h"
#include "broker/handlers/handler.h"
#include "broker/transactions/transactions.h"

#define VERSION_FENCED 4 /* first that knows PRODUCER_FENCED */

struct init_state {
    struct init_producer_id_request in;
    struct request *request;
    struct producer_ids_waiter waiter;
    struct coordinator_fan fan;
    struct transaction_call call;
};

static void id_answer(struct request *request, enum status status, int64_t id, int16_t epoch)
{
    struct init_producer_id_response out;
    init_producer_id_response_init(&out);
    if (status == STATUS_PRODUCER_FENCED && request->version < VERSION_FENCED) {
        status = STATUS_INVALID_PRODUCER_EPOCH;
    }
    out.error_code = status_code(status);
    out.producer_id = status == STATUS_OK ? id : -1;
    out.producer_epoch = status == STATUS_OK ? epoch : -1;
    init_producer_id_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

/* ---- without a transactional id ---- */

static void id_give(struct request *request);

static void id_retry(struct request *request)
{
    if (producer_ids_status(&request->core->producer_ids) != STATUS_OK) {
        /* Retriable: the disk may have space again. */
        id_answer(request, STATUS_COORDINATOR_NOT_AVAILABLE, -1, -1);
        return;
    }
    id_give(request);
}

static void id_ready(struct producer_ids_waiter *waiter)
{
    struct init_state *state = CONTAINER_OF(waiter, struct init_state, waiter);
    request_wake(state->request, id_retry);
}

/* After a wait others may have used the block up already, then this one waits again. */
static void id_give(struct request *request)
{
    struct init_state *state = request->handler_state;
    int64_t id;
    if (producer_ids_take(&request->core->producer_ids, &id)) {
        id_answer(request, STATUS_OK, id, 0);
        return;
    }
    state->waiter.ready = id_ready;
    producer_ids_wait(request->core, &state->waiter);
}

/* ---- with one ---- */

static void init_done(struct request *request)
{
    const struct init_state *state = request->handler_state;
    const struct transaction_call *call = &state->call;
    id_answer(request, call->call.status, call->producer_id, call->epoch);
}

/* The pair is whole or absent. */
static enum status init_check(const struct request *request,
                              const struct init_producer_id_request *in)
{
    int32_t timeout_ms_max = request->core->server->config->transaction_ms_max;
    if (in->transactional_id.size == 0 || (in->producer_id < 0) != (in->producer_epoch < 0)) {
        return STATUS_INVALID_REQUEST;
    }
    if (in->transaction_timeout_ms <= 0 || in->transaction_timeout_ms > timeout_ms_max) {
        return STATUS_INVALID_TRANSACTION_TIMEOUT;
    }
    return STATUS_OK;
}

static void init_transactional(struct request *request, struct init_state *state)
{
    enum status status = init_check(request, &state->in);
    if (status != STATUS_OK) {
        id_answer(request, status, -1, -1);
        return;
    }
    state->call.id = state->in.transactional_id;
    state->call.event = (struct transaction_event){
        .kind = TRANSACTION_INIT,
        .producer_id = state->in.producer_id,
        .epoch = state->in.producer_epoch,
        .timeout_ms = state->in.transaction_timeout_ms,
    };
    coordinator_fan_init(&state->fan, request->core);
    transaction_call_add(&state->fan, &state->call);
    coordinator_request_send(request, &state->fan, init_done);
}

void handle_init_producer_id(struct request *request)
{
    struct init_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, init_producer_id_request_decode, &state->in)) {
        return;
    }
    state->request = request;
    if (state->in.transactional_id.data == NULL) {
        id_give(request);
    } else {
        init_transactional(request, state);
    }
}
