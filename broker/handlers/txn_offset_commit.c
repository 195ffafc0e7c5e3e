/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TxnOffsetCommit: positions that count when the transaction commits.
 *
 *   the transaction: is the group's partition in it (from version 5 on: add it)
 *   -> the group: may this member commit; append, waiting for the marker
 *   -> the transaction: markers may go out now (X2 of broker/transactions/transactions.h)
 */
#include "wire/txn_offset_commit.h"
#include "broker/groups/commit.h"
#include "broker/handlers/handler.h"
#include "broker/transactions/transactions.h"

#define VERSION_ABORTABLE 4 /* first that knows TRANSACTION_ABORTABLE */
#define VERSION_ADDS 5      /* first that adds the partition to its transaction */

struct commit_state {
    struct txn_offset_commit_request in;
    struct request *request;
    struct coordinator_fan fan; /* of the step under way */
    void (*next)(struct request *request);
    struct transaction_spot spot;
    struct transaction_call ask;
    struct group_commit commit;
    struct transaction_release release;
    enum status status; /* of every place that was good by itself */
};

/* ---- the answer ---- */

static enum status place_status(const struct commit_state *state,
                                const struct group_commit_item *item)
{
    bool unknown = item->status == STATUS_UNKNOWN_TOPIC_OR_PARTITION;
    return unknown || state->status == STATUS_OK ? item->status : state->status;
}

static void commit_answer(struct request *request)
{
    const struct commit_state *state = request->handler_state;
    struct txn_offset_commit_response out;
    txn_offset_commit_response_init(&out);
    size_t topic_count = (size_t)state->in.topics_count;
    out.topics =
        arena_new_array(&request->arena, struct txn_offset_commit_response_topic, topic_count);
    const struct group_commit_item *item = state->commit.items;
    for (size_t i = 0; i < topic_count && out.topics != NULL; i++) {
        struct txn_offset_commit_response_topic *topic = &out.topics[out.topics_count++];
        size_t count = (size_t)state->in.topics[i].partitions_count;
        topic->name = state->in.topics[i].name;
        topic->partitions =
            arena_new_array(&request->arena, struct txn_offset_commit_response_partition, count);
        for (size_t k = 0; k < count && topic->partitions != NULL; k++, item++) {
            topic->partitions[k].partition_index = item->partition;
            topic->partitions[k].error_code = status_code(place_status(state, item));
            topic->partitions_count++;
        }
    }
    txn_offset_commit_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

/* ---- one step after the other ---- */

static void step_released(struct coordinator_fan *fan)
{
    struct commit_state *state = fan->owner;
    request_wake(state->request, state->next);
}

static void step_done(struct coordinator_fan *fan)
{
    coordinator_fan_release(fan, step_released);
}

static void step_begin(struct commit_state *state, void (*next)(struct request *request))
{
    state->next = next;
    coordinator_fan_init(&state->fan, state->request->core);
    state->fan.owner = state;
}

static void commit_done(struct request *request)
{
    struct commit_state *state = request->handler_state;
    state->status = state->commit.call.status;
    state->release.id = state->ask.id;
    state->release.serial = state->ask.serial;
    step_begin(state, commit_answer);
    transaction_release_add(&state->fan, &state->release);
    coordinator_fan_send(&state->fan, step_done);
}

static enum status ask_status(const struct request *request, enum status status)
{
    switch (status) {
    case STATUS_PRODUCER_FENCED:
        return STATUS_INVALID_PRODUCER_EPOCH;
    case STATUS_TRANSACTION_ABORTABLE:
        return request->version >= VERSION_ABORTABLE ? status : STATUS_INVALID_TXN_STATE;
    case STATUS_CONCURRENT_TRANSACTIONS:
        return request->version >= VERSION_ADDS ? status : STATUS_COORDINATOR_LOAD_IN_PROGRESS;
    case STATUS_NOT_COORDINATOR: /* of the transaction, not of the group that was asked */
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    default:
        return status;
    }
}

static void ask_done(struct request *request)
{
    struct commit_state *state = request->handler_state;
    state->status = ask_status(request, state->ask.call.status);
    if (state->status != STATUS_OK) {
        commit_answer(request);
        return;
    }
    step_begin(state, commit_done);
    coordinator_fan_add(&state->fan, &state->commit.call, COORDINATOR_GROUP,
                        state->commit.group_name);
    coordinator_fan_send(&state->fan, step_done);
}

/* ---- the request ---- */

static void place_take(const struct request *request, struct commit_state *state,
                       const struct txn_offset_commit_request_topic *topic,
                       const struct txn_offset_commit_request_partition *in)
{
    const struct image_topic *known = image_find_name(&request->core->image, topic->name);
    struct group_commit_item *item = &state->commit.items[state->commit.item_count++];
    *item = (struct group_commit_item){
        .topic = topic->name,
        .partition = in->partition_index,
        .offset = in->committed_offset,
        .leader_epoch = in->committed_leader_epoch,
        .metadata = in->committed_metadata,
    };
    if (known == NULL || in->partition_index < 0 || in->partition_index >= known->partition_count) {
        item->status = STATUS_UNKNOWN_TOPIC_OR_PARTITION;
    } else if ((int64_t)in->committed_metadata.size >
               request->core->server->config->offset_metadata_size_max) {
        item->status = STATUS_OFFSET_METADATA_TOO_LARGE;
    }
}

/* False: the arena refused. */
static bool places_take(struct request *request, struct commit_state *state, bool *any)
{
    const struct txn_offset_commit_request *in = &state->in;
    int32_t count = 0;
    for (int32_t i = 0; i < in->topics_count; i++) {
        count += in->topics[i].partitions_count;
    }
    struct group_commit *commit = &state->commit;
    commit->items = arena_new_array(&request->arena, struct group_commit_item, (size_t)count);
    if (commit->items == NULL) {
        return false;
    }
    for (int32_t i = 0; i < in->topics_count; i++) {
        for (int32_t k = 0; k < in->topics[i].partitions_count; k++) {
            place_take(request, state, &in->topics[i], &in->topics[i].partitions[k]);
            *any = *any || commit->items[commit->item_count - 1].status == STATUS_OK;
        }
    }
    return true;
}

static void commit_begin(struct request *request, struct commit_state *state)
{
    const struct image_topic *topic = coordinator_topic(request->core, COORDINATOR_GROUP);
    bool adds = request->version >= VERSION_ADDS;
    if (topic == NULL || state->in.transactional_id.size == 0 || state->in.group_id.size == 0) {
        state->status = state->in.group_id.size == 0 ? STATUS_INVALID_GROUP_ID
                        : topic == NULL              ? STATUS_NOT_COORDINATOR
                                                     : STATUS_INVALID_REQUEST;
        commit_answer(request);
        return;
    }
    state->spot = (struct transaction_spot){
        .topic = bytes_of_text(coordinator_topic_name(COORDINATOR_GROUP)),
        .index = coordinator_key_partition(state->in.group_id, topic->partition_count),
    };
    state->ask.id = state->in.transactional_id;
    state->ask.spots = &state->spot;
    state->ask.spot_count = 1;
    state->ask.admit = true;
    state->ask.event = (struct transaction_event){
        .kind = adds ? TRANSACTION_ADD : TRANSACTION_VERIFY,
        .producer_id = state->in.producer_id,
        .epoch = state->in.producer_epoch,
        .version = TRANSACTION_VERSION_BUMPS,
    };
    step_begin(state, ask_done);
    transaction_call_add(&state->fan, &state->ask);
    coordinator_fan_send(&state->fan, step_done);
}

void handle_txn_offset_commit(struct request *request)
{
    struct commit_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, txn_offset_commit_request_decode, &state->in)) {
        return;
    }
    state->request = request;
    struct group_commit *commit = &state->commit;
    commit->call.run = group_run_commit;
    commit->group_name = state->in.group_id;
    commit->member_id = state->in.member_id;
    commit->instance_id = state->in.group_instance_id;
    commit->generation = state->in.generation_id_or_member_epoch;
    commit->version = request->version;
    commit->retention_ms = -1;
    commit->transactional = true;
    commit->producer_id = state->in.producer_id;
    commit->producer_epoch = state->in.producer_epoch;
    bool any = false;
    if (!places_take(request, state, &any)) {
        request_refuse(request, "request memory is spent");
    } else if (any) {
        commit_begin(request, state);
    } else {
        commit_answer(request);
    }
}
