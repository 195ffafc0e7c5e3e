/* SPDX-License-Identifier: Apache-2.0 */
/* OffsetForLeaderEpoch: where an epoch ended, so that a client can see that its log was cut
 * (KIP-320). */
#include "wire/offset_for_leader_epoch.h"
#include "broker/handlers/handler.h"

struct epoch_item {
    struct task task;
    struct offset_for_leader_epoch_response_partition *out;
};

struct epoch_state {
    struct offset_for_leader_epoch_request in;
    struct offset_for_leader_epoch_response out;
    struct fan fan;
    struct epoch_item *items;
    int32_t item_count;
};

static void topic_take(struct request *request, struct epoch_state *state,
                       const struct offset_for_leader_epoch_request_topic *in,
                       struct offset_for_leader_epoch_response_topic *out)
{
    out->topic = in->topic;
    out->partitions =
        arena_new_array(&request->arena, struct offset_for_leader_epoch_response_partition,
                        (size_t)in->partitions_count);
    if (out->partitions == NULL) {
        return;
    }
    out->partitions_count = in->partitions_count;
    for (int32_t i = 0; i < in->partitions_count; i++) {
        struct offset_for_leader_epoch_response_partition *partition = &out->partitions[i];
        offset_for_leader_epoch_response_partition_init(partition);
        partition->partition = in->partitions[i].partition;
        partition->leader_epoch = -1;
        partition->end_offset = -1;
        struct epoch_item *item = &state->items[state->item_count];
        item->out = partition;
        item->task.kind = TASK_EPOCH_END;
        item->task.index = in->partitions[i].partition;
        item->task.leader_epoch_asked = in->partitions[i].current_leader_epoch;
        item->task.epoch_end.epoch = in->partitions[i].leader_epoch;
        enum status status =
            fan_add(&state->fan, &item->task, image_find_name(&request->core->image, in->topic));
        partition->error_code = status_code(status);
        state->item_count += status == STATUS_OK ? 1 : 0;
    }
}

static void epoch_answer(struct request *request)
{
    struct epoch_state *state = request->handler_state;
    for (int32_t i = 0; i < state->item_count; i++) {
        const struct epoch_item *item = &state->items[i];
        item->out->error_code = status_code(item->task.status);
        if (item->task.status == STATUS_OK) {
            item->out->leader_epoch = item->task.epoch_end.end.epoch;
            item->out->end_offset = item->task.epoch_end.end.end_offset;
        }
    }
    offset_for_leader_epoch_response_encode(request_reply(request), request->version, &state->out);
    request_finish(request);
}

static void epoch_done(struct fan *fan)
{
    request_wake(fan->owner, epoch_answer);
}

void handle_offset_for_leader_epoch(struct request *request)
{
    struct epoch_state *state = handler_state(request, sizeof(*state));
    if (state == NULL ||
        !REQUEST_DECODE(request, offset_for_leader_epoch_request_decode, &state->in)) {
        return;
    }
    offset_for_leader_epoch_response_init(&state->out);
    fan_init(&state->fan, &request->core->manager, &request->arena);
    state->fan.owner = request;
    int32_t count = 0;
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        count += state->in.topics[i].partitions_count;
    }
    state->items = arena_new_array(&request->arena, struct epoch_item, (size_t)count + 1);
    state->out.topics =
        arena_new_array(&request->arena, struct offset_for_leader_epoch_response_topic,
                        (size_t)state->in.topics_count);
    if (state->items == NULL || state->out.topics == NULL) {
        request_refuse(request, "request memory is spent");
        return;
    }
    state->out.topics_count = state->in.topics_count;
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        topic_take(request, state, &state->in.topics[i], &state->out.topics[i]);
    }
    fan_send(&state->fan, epoch_done);
}
