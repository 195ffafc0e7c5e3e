/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WriteTxnMarkers: what Admin.abortTransaction sends to end a transaction that hangs in a
 * partition. The coordinator is not asked and not told: that is the point of it.
 */
#include "wire/write_txn_markers.h"
#include "broker/handlers/handler.h"
#include "broker/transactions/markers.h"

struct write_state {
    struct write_txn_markers_request in;
    struct markers markers;
    struct request *request;
};

static bool partitions_answer(struct request *request,
                              const struct write_txn_markers_request_topic *in,
                              struct write_txn_markers_response_topic *out,
                              const struct marker_item **item)
{
    out->name = in->name;
    out->partitions = arena_new_array(&request->arena, struct write_txn_markers_response_partition,
                                      (size_t)in->partition_indexes_count);
    if (out->partitions == NULL) {
        return false;
    }
    out->partitions_count = in->partition_indexes_count;
    for (int32_t i = 0; i < in->partition_indexes_count; i++, (*item)++) {
        out->partitions[i].partition_index = (*item)->index;
        out->partitions[i].error_code = status_code((*item)->status);
    }
    return true;
}

static void write_answer(struct request *request)
{
    const struct write_state *state = request->handler_state;
    const struct marker_item *item = state->markers.items;
    struct write_txn_markers_response out;
    write_txn_markers_response_init(&out);
    bool ok = true;
    out.markers = arena_new_array(&request->arena, struct write_txn_markers_response_marker,
                                  (size_t)state->in.markers_count);
    out.markers_count = out.markers == NULL ? 0 : state->in.markers_count;
    for (int32_t i = 0; ok && i < out.markers_count; i++) {
        const struct write_txn_markers_request_marker *in = &state->in.markers[i];
        struct write_txn_markers_response_marker *marker = &out.markers[i];
        marker->producer_id = in->producer_id;
        marker->topics = arena_new_array(&request->arena, struct write_txn_markers_response_topic,
                                         (size_t)in->topics_count);
        ok = marker->topics != NULL;
        marker->topics_count = ok ? in->topics_count : 0;
        for (int32_t k = 0; ok && k < in->topics_count; k++) {
            ok = partitions_answer(request, &in->topics[k], &marker->topics[k], &item);
        }
    }
    write_txn_markers_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static void write_done(struct markers *markers)
{
    struct write_state *state = markers->owner;
    request_wake(state->request, write_answer);
}

static int32_t items_count(const struct write_txn_markers_request *in)
{
    int32_t count = 0;
    for (int32_t i = 0; i < in->markers_count; i++) {
        for (int32_t k = 0; k < in->markers[i].topics_count; k++) {
            count += in->markers[i].topics[k].partition_indexes_count;
        }
    }
    return count;
}

static void marker_take(struct write_state *state,
                        const struct write_txn_markers_request_marker *in)
{
    const struct shard_marker marker = {
        .producer_id = in->producer_id,
        .producer_epoch = in->producer_epoch,
        .commit = in->transaction_result,
        .coordinator_epoch = in->coordinator_epoch,
    };
    for (int32_t i = 0; i < in->topics_count; i++) {
        const struct write_txn_markers_request_topic *topic = &in->topics[i];
        for (int32_t k = 0; k < topic->partition_indexes_count; k++) {
            markers_add(&state->markers, topic->name, topic->partition_indexes[k], &marker, false);
        }
    }
}

void handle_write_txn_markers(struct request *request)
{
    struct write_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, write_txn_markers_request_decode, &state->in)) {
        return;
    }
    state->request = request;
    if (markers_init(&state->markers, request->core, &request->arena, items_count(&state->in)) !=
        STATUS_OK) {
        request_refuse(request, "request memory is spent");
        return;
    }
    state->markers.owner = state;
    for (int32_t i = 0; i < state->in.markers_count; i++) {
        marker_take(state, &state->in.markers[i]);
    }
    markers_send(&state->markers, write_done);
}
