/* SPDX-License-Identifier: Apache-2.0 */
/* OffsetCommit: each place is judged here, the member where its group lives; the answer follows the
 * durable write. */
#include "wire/offset_commit.h"
#include "broker/groups/commit.h"
#include "broker/handlers/handler.h"

struct commit_state {
    struct offset_commit_request in;
    struct coordinator_fan fan;
    struct group_commit commit;
};

static int32_t places_count(const struct offset_commit_request *in)
{
    int32_t count = 0;
    for (int32_t i = 0; i < in->topics_count; i++) {
        count += in->topics[i].partitions_count;
    }
    return count;
}

static void place_take(const struct request *request, struct commit_state *state, struct bytes name,
                       const struct offset_commit_request_partition *in)
{
    const struct image_topic *topic = image_find_name(&request->core->image, name);
    struct group_commit_item *item = &state->commit.items[state->commit.item_count++];
    *item = (struct group_commit_item){
        .topic = name,
        .partition = in->partition_index,
        .offset = in->committed_offset,
        .leader_epoch = in->committed_leader_epoch,
        .metadata = in->committed_metadata,
    };
    if (topic == NULL || in->partition_index < 0 || in->partition_index >= topic->partition_count) {
        item->status = STATUS_UNKNOWN_TOPIC_OR_PARTITION;
    } else if ((int64_t)in->committed_metadata.size >
               request->core->server->config->offset_metadata_size_max) {
        item->status = STATUS_OFFSET_METADATA_TOO_LARGE;
    }
}

/* What is wrong with a topic is known without the group; everything else is its word first. */
static enum status place_status(const struct commit_state *state,
                                const struct group_commit_item *item)
{
    if (item->status == STATUS_UNKNOWN_TOPIC_OR_PARTITION ||
        state->commit.call.status == STATUS_OK) {
        return item->status;
    }
    return state->commit.call.status;
}

static void commit_answer(struct request *request)
{
    struct commit_state *state = request->handler_state;
    struct offset_commit_response out;
    offset_commit_response_init(&out);
    size_t topic_count = (size_t)state->in.topics_count;
    out.topics = arena_new_array(&request->arena, struct offset_commit_response_topic, topic_count);
    const struct group_commit_item *item = state->commit.items;
    for (size_t i = 0; i < topic_count && out.topics != NULL; i++) {
        struct offset_commit_response_topic *topic = &out.topics[out.topics_count++];
        offset_commit_response_topic_init(topic);
        topic->name = state->in.topics[i].name;
        size_t count = (size_t)state->in.topics[i].partitions_count;
        topic->partitions =
            arena_new_array(&request->arena, struct offset_commit_response_partition, count);
        for (size_t k = 0; k < count && topic->partitions != NULL; k++, item++) {
            topic->partitions[k].partition_index = item->partition;
            topic->partitions[k].error_code = status_code(place_status(state, item));
            topic->partitions_count++;
        }
    }
    offset_commit_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

void handle_offset_commit(struct request *request)
{
    struct commit_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, offset_commit_request_decode, &state->in)) {
        return;
    }
    struct group_commit *commit = &state->commit;
    commit->group_name = state->in.group_id;
    commit->member_id = state->in.member_id;
    commit->instance_id = state->in.group_instance_id;
    commit->generation = state->in.generation_id_or_member_epoch;
    commit->version = request->version;
    commit->retention_ms = state->in.retention_time_ms;
    commit->call.run = group_run_commit;
    commit->items = arena_new_array(&request->arena, struct group_commit_item,
                                    (size_t)places_count(&state->in));
    if (commit->items == NULL) {
        request_refuse(request, "request memory is spent");
        return;
    }
    bool any = false;
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        const struct offset_commit_request_topic *topic = &state->in.topics[i];
        for (int32_t k = 0; k < topic->partitions_count; k++) {
            place_take(request, state, topic->name, &topic->partitions[k]);
            any = any ||
                  commit->items[commit->item_count - 1].status != STATUS_UNKNOWN_TOPIC_OR_PARTITION;
        }
    }
    coordinator_fan_init(&state->fan, request->core);
    if (any) {
        coordinator_fan_add(&state->fan, &commit->call, COORDINATOR_GROUP, commit->group_name);
    }
    coordinator_request_send(request, &state->fan, commit_answer);
}
