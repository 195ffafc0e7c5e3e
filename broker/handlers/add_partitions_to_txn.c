/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AddPartitionsToTxn. Up to version 3 a client names one transaction; from 4 on brokers name
 * several, or only ask whether the partitions are in them. One partition that is not there refuses
 * the others of its transaction: they get OPERATION_NOT_ATTEMPTED.
 */
#include "wire/add_partitions_to_txn.h"
#include "broker/handlers/handler.h"
#include "broker/transactions/transactions.h"

#define VERSION_FENCED 2    /* first that knows PRODUCER_FENCED */
#define VERSION_MANY 4      /* several transactions, as brokers ask */
#define VERSION_ABORTABLE 5 /* first that knows TRANSACTION_ABORTABLE */

struct add_item {
    struct add_partitions_to_txn_request_transaction in;
    struct transaction_call call;
    enum status refused; /* the whole transaction, before it was asked for; OK: it was */
};

struct add_state {
    struct add_partitions_to_txn_request in;
    struct coordinator_fan fan;
    struct add_item *items;
    int32_t item_count;
};

/* ---- the answer ---- */

static enum status status_told(const struct request *request, enum status status)
{
    if (status == STATUS_PRODUCER_FENCED && request->version < VERSION_FENCED) {
        return STATUS_INVALID_PRODUCER_EPOCH;
    }
    if (status == STATUS_TRANSACTION_ABORTABLE && request->version < VERSION_ABORTABLE) {
        return STATUS_INVALID_TXN_STATE;
    }
    return status;
}

static enum status spot_status(const struct add_item *item, const struct transaction_spot *spot)
{
    if (item->refused == STATUS_UNKNOWN_TOPIC_OR_PARTITION) {
        return spot->status != STATUS_OK ? spot->status : STATUS_OPERATION_NOT_ATTEMPTED;
    }
    if (item->refused != STATUS_OK) {
        return item->refused;
    }
    return item->call.call.status != STATUS_OK ? item->call.call.status : spot->status;
}

static struct add_partitions_to_txn_response_topic_result *item_results(struct request *request,
                                                                        const struct add_item *item)
{
    struct arena *arena = &request->arena;
    struct add_partitions_to_txn_response_topic_result *results = arena_new_array(
        arena, struct add_partitions_to_txn_response_topic_result, (size_t)item->in.topics_count);
    const struct transaction_spot *spot = item->call.spots;
    for (int32_t i = 0; results != NULL && i < item->in.topics_count; i++) {
        int32_t count = item->in.topics[i].partitions_count;
        results[i].name = item->in.topics[i].name;
        results[i].results_by_partition = arena_new_array(
            arena, struct add_partitions_to_txn_response_partition_result, (size_t)count);
        if (results[i].results_by_partition == NULL) {
            return NULL;
        }
        results[i].results_by_partition_count = count;
        for (int32_t k = 0; k < count; k++, spot++) {
            enum status status = status_told(request, spot_status(item, spot));
            results[i].results_by_partition[k].partition_index = spot->index;
            results[i].results_by_partition[k].partition_error_code = status_code(status);
        }
    }
    return results;
}

static void add_done(struct request *request)
{
    const struct add_state *state = request->handler_state;
    struct add_partitions_to_txn_response out;
    add_partitions_to_txn_response_init(&out);
    struct add_partitions_to_txn_response_results_by_transaction *rows = arena_new_array(
        &request->arena, struct add_partitions_to_txn_response_results_by_transaction,
        (size_t)state->item_count);
    for (int32_t i = 0; rows != NULL && i < state->item_count; i++) {
        const struct add_item *item = &state->items[i];
        rows[i].transactional_id = item->in.transactional_id;
        rows[i].topic_results = item_results(request, item);
        rows[i].topic_results_count = rows[i].topic_results == NULL ? 0 : item->in.topics_count;
    }
    if (rows != NULL && request->version >= VERSION_MANY) {
        out.results_by_transaction = rows;
        out.results_by_transaction_count = state->item_count;
    } else if (rows != NULL) {
        out.results_by_topic_v3_and_below = rows[0].topic_results;
        out.results_by_topic_v3_and_below_count = rows[0].topic_results_count;
    }
    add_partitions_to_txn_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

/* ---- the request ---- */

static int32_t partitions_count(const struct add_partitions_to_txn_request_transaction *in)
{
    int32_t count = 0;
    for (int32_t i = 0; i < in->topics_count; i++) {
        count += in->topics[i].partitions_count;
    }
    return count;
}

/* False: the arena refused. */
static bool item_spots(struct request *request, struct add_item *item)
{
    struct transaction_call *call = &item->call;
    call->spots = arena_new_array(&request->arena, struct transaction_spot,
                                  (size_t)partitions_count(&item->in) + 1);
    if (call->spots == NULL) {
        return false;
    }
    for (int32_t i = 0; i < item->in.topics_count; i++) {
        const struct add_partitions_to_txn_request_topic *in = &item->in.topics[i];
        const struct image_topic *topic = image_find_name(&request->core->image, in->name);
        for (int32_t k = 0; k < in->partitions_count; k++) {
            struct transaction_spot *spot = &call->spots[call->spot_count++];
            *spot = (struct transaction_spot){.topic = in->name, .index = in->partitions[k]};
            if (topic == NULL || spot->index < 0 || spot->index >= topic->partition_count) {
                spot->status = STATUS_UNKNOWN_TOPIC_OR_PARTITION;
                item->refused = STATUS_UNKNOWN_TOPIC_OR_PARTITION;
            }
        }
    }
    return true;
}

static bool item_take(struct request *request, struct add_state *state, struct add_item *item)
{
    if (!item_spots(request, item)) {
        return false;
    }
    if (item->in.transactional_id.size == 0) {
        item->refused = STATUS_INVALID_REQUEST;
    }
    if (item->refused != STATUS_OK) {
        return true;
    }
    item->call.id = item->in.transactional_id;
    item->call.event = (struct transaction_event){
        .kind = item->in.verify_only ? TRANSACTION_VERIFY : TRANSACTION_ADD,
        .producer_id = item->in.producer_id,
        .epoch = item->in.producer_epoch,
        .version = request->version >= VERSION_MANY ? TRANSACTION_VERSION_BUMPS : 0,
    };
    transaction_call_add(&state->fan, &item->call);
    return true;
}

static bool items_take(struct request *request, struct add_state *state)
{
    bool many = request->version >= VERSION_MANY;
    const struct add_partitions_to_txn_request *in = &state->in;
    state->item_count = many ? in->transactions_count : 1;
    state->items = arena_new_array(&request->arena, struct add_item, (size_t)state->item_count + 1);
    if (state->items == NULL) {
        return false;
    }
    for (int32_t i = 0; i < state->item_count; i++) {
        struct add_item *item = &state->items[i];
        item->in = many ? in->transactions[i]
                        : (struct add_partitions_to_txn_request_transaction){
                              .transactional_id = in->v3_and_below_transactional_id,
                              .producer_id = in->v3_and_below_producer_id,
                              .producer_epoch = in->v3_and_below_producer_epoch,
                              .topics = in->v3_and_below_topics,
                              .topics_count = in->v3_and_below_topics_count,
                          };
        if (!item_take(request, state, item)) {
            return false;
        }
    }
    return true;
}

void handle_add_partitions_to_txn(struct request *request)
{
    struct add_state *state = handler_state(request, sizeof(*state));
    if (state == NULL ||
        !REQUEST_DECODE(request, add_partitions_to_txn_request_decode, &state->in)) {
        return;
    }
    coordinator_fan_init(&state->fan, request->core);
    if (!items_take(request, state)) {
        request_refuse(request, "request memory is spent");
        return;
    }
    coordinator_request_send(request, &state->fan, add_done);
}
