/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeProducers: what deduplication keeps of each producer of a partition. The number is not
 * known beforehand: partitions with more than there was room for are asked a second time. */
#include "wire/describe_producers.h"
#include "broker/handlers/handler.h"
#include "storage/producers.h"

#define ROOM_FIRST 16

struct describe_item {
    struct task task;
    struct describe_producers_response_partition *out;
    struct uuid topic_id;
};

struct describe_state {
    struct describe_producers_request in;
    struct describe_producers_response out;
    struct fan fan;
    struct describe_item *items;
    int32_t item_count;
};

static void partition_answer(struct request *request, const struct describe_item *item)
{
    struct describe_producers_response_partition *out = item->out;
    out->error_code = status_code(item->task.status);
    if (item->task.status != STATUS_OK) {
        return;
    }
    uint32_t count = item->task.producers.count;
    count = count > item->task.producers.room ? item->task.producers.room : count;
    out->active_producers =
        arena_new_array(&request->arena, struct describe_producers_response_active_producer, count);
    for (uint32_t i = 0; i < count && out->active_producers != NULL; i++) {
        const struct producer_view *view = &item->task.producers.views[i];
        out->active_producers[out->active_producers_count++] =
            (struct describe_producers_response_active_producer){
                .producer_id = view->producer_id,
                .producer_epoch = view->epoch,
                .last_sequence = view->last_sequence,
                .last_timestamp = view->last_timestamp,
                .coordinator_epoch = view->coordinator_epoch,
                .current_txn_start_offset = view->transaction_first_offset,
            };
    }
}

static void describe_answer(struct request *request)
{
    struct describe_state *state = request->handler_state;
    for (int32_t i = 0; i < state->item_count; i++) {
        partition_answer(request, &state->items[i]);
    }
    describe_producers_response_encode(request_reply(request), request->version, &state->out);
    request_finish(request);
}

static void describe_done(struct fan *fan)
{
    request_wake(fan->owner, describe_answer);
}

/* False: the arena refused. */
static bool item_reserve(struct request *request, struct describe_item *item, uint32_t room)
{
    item->task.producers.room = room;
    item->task.producers.views = arena_new_array(&request->arena, struct producer_view, room);
    return item->task.producers.views != NULL;
}

static void describe_again(struct request *request)
{
    struct describe_state *state = request->handler_state;
    fan_init(&state->fan, &request->core->manager, &request->arena);
    state->fan.owner = request;
    for (int32_t i = 0; i < state->item_count; i++) {
        struct describe_item *item = &state->items[i];
        bool more = item->task.status == STATUS_OK &&
                    item->task.producers.count > item->task.producers.room;
        if (more && item_reserve(request, item, item->task.producers.count)) {
            (void)fan_add(&state->fan, &item->task,
                          image_find_id(&request->core->image, &item->topic_id));
        }
    }
    fan_send(&state->fan, describe_done);
}

static void describe_first_done(struct fan *fan)
{
    request_wake(fan->owner, describe_again);
}

static void partition_take(struct request *request, struct describe_state *state,
                           const struct image_topic *topic, int32_t index,
                           struct describe_producers_response_partition *out)
{
    struct describe_item *item = &state->items[state->item_count++];
    describe_producers_response_partition_init(out);
    out->partition_index = index;
    item->out = out;
    item->task.kind = TASK_PRODUCERS;
    item->task.index = index;
    item->task.leader_epoch_asked = -1;
    if (topic != NULL) {
        item->topic_id = topic->id;
    }
    if (item_reserve(request, item, ROOM_FIRST)) {
        (void)fan_add(&state->fan, &item->task, topic);
    }
}

/* False: the arena refused. */
static bool topics_take(struct request *request, struct describe_state *state)
{
    const struct describe_producers_request *in = &state->in;
    size_t count = 0;
    for (int32_t i = 0; i < in->topics_count; i++) {
        count += (size_t)in->topics[i].partition_indexes_count;
    }
    state->items = arena_new_array(&request->arena, struct describe_item, count);
    state->out.topics = arena_new_array(&request->arena, struct describe_producers_response_topic,
                                        (size_t)in->topics_count);
    for (int32_t i = 0; !request->arena.failed && i < in->topics_count; i++) {
        const struct describe_producers_request_topic *asked = &in->topics[i];
        const struct image_topic *topic = image_find_name(&request->core->image, asked->name);
        struct describe_producers_response_topic *out = &state->out.topics[i];
        out->name = asked->name;
        out->partitions =
            arena_new_array(&request->arena, struct describe_producers_response_partition,
                            (size_t)asked->partition_indexes_count);
        for (int32_t k = 0; out->partitions != NULL && k < asked->partition_indexes_count; k++) {
            partition_take(request, state, topic, asked->partition_indexes[k],
                           &out->partitions[out->partitions_count++]);
        }
        state->out.topics_count++;
    }
    return !request->arena.failed;
}

void handle_describe_producers(struct request *request)
{
    struct describe_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, describe_producers_request_decode, &state->in)) {
        return;
    }
    describe_producers_response_init(&state->out);
    fan_init(&state->fan, &request->core->manager, &request->arena);
    state->fan.owner = request;
    if (!topics_take(request, state)) {
        request_refuse(request, "request memory is spent");
        return;
    }
    fan_send(&state->fan, describe_first_done);
}
