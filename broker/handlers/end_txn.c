/* SPDX-License-Identifier: Apache-2.0 */
/* EndTxn: commit or abort. Answered when the decision is durable; markers follow (KIP-98). From
 * version 5 on the answer carries the next pair (KIP-890). */
#include "wire/end_txn.h"
#include "broker/handlers/handler.h"
#include "broker/transactions/transactions.h"

#define VERSION_BUMPS 5
#define VERSION_FENCED 2 /* first that knows PRODUCER_FENCED */

struct end_state {
    struct end_txn_request in;
    struct coordinator_fan fan;
    struct transaction_call call;
};

static void end_answer(struct request *request, enum status status, int64_t producer_id,
                       int16_t epoch)
{
    struct end_txn_response out;
    end_txn_response_init(&out);
    if (status == STATUS_PRODUCER_FENCED && request->version < VERSION_FENCED) {
        status = STATUS_INVALID_PRODUCER_EPOCH;
    }
    out.error_code = status_code(status);
    out.producer_id = producer_id;
    out.producer_epoch = epoch;
    end_txn_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void end_done(struct request *request)
{
    const struct end_state *state = request->handler_state;
    end_answer(request, state->call.call.status, state->call.producer_id, state->call.epoch);
}

void handle_end_txn(struct request *request)
{
    struct end_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, end_txn_request_decode, &state->in)) {
        return;
    }
    if (state->in.transactional_id.size == 0) {
        end_answer(request, STATUS_INVALID_REQUEST, -1, -1);
        return;
    }
    state->call.id = state->in.transactional_id;
    state->call.event = (struct transaction_event){
        .kind = TRANSACTION_END,
        .producer_id = state->in.producer_id,
        .epoch = state->in.producer_epoch,
        .version = request->version >= VERSION_BUMPS ? TRANSACTION_VERSION_BUMPS : 0,
        .commit = state->in.committed,
    };
    coordinator_fan_init(&state->fan, request->core);
    transaction_call_add(&state->fan, &state->call);
    coordinator_request_send(request, &state->fan, end_done);
}
