/* SPDX-License-Identifier: Apache-2.0 */
/* AddOffsetsToTxn: the partition that keeps a group's offsets enters a transaction. */
#include "wire/add_offsets_to_txn.h"
#include "broker/handlers/handler.h"
#include "broker/transactions/transactions.h"

#define VERSION_FENCED 2 /* first that knows PRODUCER_FENCED */

struct offsets_state {
    struct add_offsets_to_txn_request in;
    struct coordinator_fan fan;
    struct transaction_call call;
    struct transaction_spot spot;
};

static void offsets_answer(struct request *request, enum status status)
{
    struct add_offsets_to_txn_response out;
    add_offsets_to_txn_response_init(&out);
    if (status == STATUS_PRODUCER_FENCED && request->version < VERSION_FENCED) {
        status = STATUS_INVALID_PRODUCER_EPOCH;
    }
    out.error_code = status_code(status);
    add_offsets_to_txn_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void offsets_done(struct request *request)
{
    const struct offsets_state *state = request->handler_state;
    offsets_answer(request, state->call.call.status);
}

void handle_add_offsets_to_txn(struct request *request)
{
    struct offsets_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, add_offsets_to_txn_request_decode, &state->in)) {
        return;
    }
    if (state->in.transactional_id.size == 0) {
        offsets_answer(request, STATUS_INVALID_REQUEST);
        return;
    }
    /* The topic may not exist yet: clients look for the group's coordinator after this. */
    const struct image_topic *topic = coordinator_topic(request->core, COORDINATOR_GROUP);
    int32_t count = topic != NULL ? topic->partition_count
                                  : request->core->server->config->offsets_partition_count;
    state->spot = (struct transaction_spot){
        .topic = bytes_of_text(coordinator_topic_name(COORDINATOR_GROUP)),
        .index = coordinator_key_partition(state->in.group_id, count),
    };
    state->call.id = state->in.transactional_id;
    state->call.spots = &state->spot;
    state->call.spot_count = 1;
    state->call.event = (struct transaction_event){
        .kind = TRANSACTION_ADD,
        .producer_id = state->in.producer_id,
        .epoch = state->in.producer_epoch,
    };
    coordinator_fan_init(&state->fan, request->core);
    transaction_call_add(&state->fan, &state->call);
    coordinator_request_send(request, &state->fan, offsets_done);
}
