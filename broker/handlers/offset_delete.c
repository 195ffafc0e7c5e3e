/* SPDX-License-Identifier: Apache-2.0 */
/* OffsetDelete: forgets single offsets of a group, unless somebody in it reads the topic. */
#include "wire/offset_delete.h"
#include "broker/groups/expiry.h"
#include "broker/handlers/handler.h"

struct offset_delete_item {
    bool unknown;    /* no such partition; the home's word */
    bool subscribed; /* the owner's word */
};

struct offset_delete_state {
    struct offset_delete_request in;
    struct coordinator_fan fan;
    struct coordinator_call call;
    struct offset_delete_item *items; /* in the order of the request */
    int32_t item_count;
};

/* ---- owner core ---- */

static void delete_done(struct group_removal *removal, enum status status)
{
    coordinator_answer(removal->owner, shard_client_status(status));
}

/* Marks what is subscribed, takes the rest. */
static void places_take(struct offset_delete_state *state, struct group *group,
                        struct group_removal *removal)
{
    struct offset_delete_item *item = state->items;
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        const struct offset_delete_request_topic *topic = &state->in.topics[i];
        bool subscribed = group_subscribes(group, topic->name);
        for (int32_t k = 0; k < topic->partitions_count; k++, item++) {
            const struct offset_spot spot = {
                .group = group,
                .topic = topic->name,
                .partition = topic->partitions[k].partition_index,
            };
            struct offset_place *place = offsets_find(&group->groups->offsets, &spot);
            item->subscribed = subscribed;
            if (!subscribed && !item->unknown && place != NULL) {
                group_removal_add(removal, place);
            }
        }
    }
}

static void offset_delete_run(struct coordinator_call *call)
{
    struct offset_delete_state *state = CONTAINER_OF(call, struct offset_delete_state, call);
    struct group *group = group_find(groups_of(call->shard), state->in.group_id);
    enum status status =
        group == NULL ? STATUS_GROUP_ID_NOT_FOUND : group_check_offset_delete(group);
    if (status != STATUS_OK) {
        coordinator_answer(call, status);
        return;
    }
    struct group_removal *removal = group_removal_make(group, state->item_count);
    if (removal == NULL) {
        coordinator_answer(call, STATUS_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    removal->done = delete_done;
    removal->owner = call;
    places_take(state, group, removal);
    group_removal_start(removal);
}

/* ---- home core ---- */

static void offset_delete_answer(struct request *request)
{
    const struct offset_delete_state *state = request->handler_state;
    struct offset_delete_response out;
    offset_delete_response_init(&out);
    out.error_code = status_code(state->call.status);
    size_t topics = state->call.status == STATUS_OK ? (size_t)state->in.topics_count : 0;
    out.topics = arena_new_array(&request->arena, struct offset_delete_response_topic, topics);
    const struct offset_delete_item *item = state->items;
    for (size_t i = 0; i < topics && out.topics != NULL; i++) {
        const struct offset_delete_request_topic *in = &state->in.topics[i];
        struct offset_delete_response_topic *topic = &out.topics[out.topics_count++];
        size_t count = (size_t)in->partitions_count;
        topic->name = in->name;
        topic->partitions =
            arena_new_array(&request->arena, struct offset_delete_response_partition, count);
        for (size_t k = 0; k < count && topic->partitions != NULL; k++, item++) {
            enum status status = item->unknown      ? STATUS_UNKNOWN_TOPIC_OR_PARTITION
                                 : item->subscribed ? STATUS_GROUP_SUBSCRIBED_TO_TOPIC
                                                    : STATUS_OK;
            topic->partitions[k].partition_index = in->partitions[k].partition_index;
            topic->partitions[k].error_code = status_code(status);
            topic->partitions_count++;
        }
    }
    offset_delete_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

static bool items_take(struct request *request, struct offset_delete_state *state)
{
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        state->item_count += state->in.topics[i].partitions_count;
    }
    state->items =
        arena_new_array(&request->arena, struct offset_delete_item, (size_t)state->item_count);
    struct offset_delete_item *item = state->items;
    for (int32_t i = 0; i < state->in.topics_count && item != NULL; i++) {
        const struct offset_delete_request_topic *in = &state->in.topics[i];
        const struct image_topic *topic = image_find_name(&request->core->image, in->name);
        for (int32_t k = 0; k < in->partitions_count; k++, item++) {
            int32_t index = in->partitions[k].partition_index;
            item->unknown = topic == NULL || index < 0 || index >= topic->partition_count;
        }
    }
    return state->items != NULL;
}

void handle_offset_delete(struct request *request)
{
    struct offset_delete_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, offset_delete_request_decode, &state->in)) {
        return;
    }
    if (!items_take(request, state)) {
        request_refuse(request, "request memory is spent");
        return;
    }
    if (state->in.group_id.size == 0) {
        state->call.status = STATUS_INVALID_GROUP_ID;
        offset_delete_answer(request);
        return;
    }
    state->call.run = offset_delete_run;
    coordinator_fan_init(&state->fan, request->core);
    coordinator_fan_add(&state->fan, &state->call, COORDINATOR_GROUP, state->in.group_id);
    coordinator_request_send(request, &state->fan, offset_delete_answer);
}
