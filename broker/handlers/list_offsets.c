/* SPDX-License-Identifier: Apache-2.0 */
/* ListOffsets: log start, end, or the first record at or after a time, for several partitions. */
#include "wire/list_offsets.h"
#include "broker/handlers/handler.h"

struct list_item {
    struct task task;
    struct list_offsets_response_partition *out;
};

struct list_state {
    struct list_offsets_request in;
    struct list_offsets_response out;
    struct fan fan;
    struct list_item *items;
    int32_t item_count;
};

/* Special timestamps, the version that brought each, and whether there is tiering to ask about. */
enum { TIMESTAMP_EARLIEST_LOCAL = -4, TIMESTAMP_TIERED = -5, TIMESTAMP_PENDING_UPLOAD = -6 };

static int16_t version_of(int64_t timestamp)
{
    switch (timestamp) {
    case LOOKUP_EARLIEST:
    case LOOKUP_LATEST:
        return 1;
    case LOOKUP_MAX_TIMESTAMP:
        return 7;
    case TIMESTAMP_EARLIEST_LOCAL:
        return 8;
    case TIMESTAMP_TIERED:
        return 9;
    case TIMESTAMP_PENDING_UPLOAD:
        return 11;
    default:
        return timestamp >= 0 ? 1 : INT16_MAX;
    }
}

/* Which partitions are named more than once, each a fault of its own in Kafka; NULL: no memory. */
static bool *repeated_find(struct request *request, const struct list_offsets_request_topic *topic)
{
    size_t count = (size_t)topic->partitions_count;
    bool *repeated = arena_new_array(&request->arena, bool, count);
    struct byte_set seen;
    if (repeated == NULL || !byte_set_init(&seen, &request->arena, count, handler_seed(request))) {
        return NULL;
    }
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        const int32_t *index = &topic->partitions[i].partition_index;
        int32_t first = byte_set_add(&seen, bytes_of((const uint8_t *)index, sizeof(*index)), i);
        if (first != BYTE_SET_ABSENT) {
            repeated[first] = repeated[i] = true;
        }
    }
    return repeated;
}

static enum status partition_take(struct request *request, struct list_state *state,
                                  const struct list_offsets_request_topic *in, int32_t index,
                                  struct list_offsets_response_partition *out)
{
    const struct list_offsets_request_partition *asked = &in->partitions[index];
    if (request->version < version_of(asked->timestamp)) {
        return STATUS_UNSUPPORTED_VERSION;
    }
    if (asked->timestamp == TIMESTAMP_TIERED || asked->timestamp == TIMESTAMP_PENDING_UPLOAD) {
        return STATUS_OK; /* nothing is tiered: -1 */
    }
    struct list_item *item = &state->items[state->item_count];
    item->out = out;
    item->task.kind = TASK_LOOKUP;
    item->task.index = asked->partition_index;
    item->task.leader_epoch_asked = request->version >= 4 ? asked->current_leader_epoch : -1;
    item->task.lookup = (struct partition_lookup){
        .timestamp =
            asked->timestamp == TIMESTAMP_EARLIEST_LOCAL ? LOOKUP_EARLIEST : asked->timestamp,
        .isolation = state->in.isolation_level == 1 ? READ_COMMITTED : READ_UNCOMMITTED,
    };
    enum status status =
        fan_add(&state->fan, &item->task, image_find_name(&request->core->image, in->name));
    state->item_count += status == STATUS_OK ? 1 : 0;
    return status;
}

static void topic_take(struct request *request, struct list_state *state,
                       const struct list_offsets_request_topic *in,
                       struct list_offsets_response_topic *out)
{
    out->name = in->name;
    out->partitions = arena_new_array(&request->arena, struct list_offsets_response_partition,
                                      (size_t)in->partitions_count);
    const bool *repeated = repeated_find(request, in);
    if (out->partitions == NULL || repeated == NULL) {
        return;
    }
    out->partitions_count = in->partitions_count;
    for (int32_t i = 0; i < in->partitions_count; i++) {
        struct list_offsets_response_partition *partition = &out->partitions[i];
        list_offsets_response_partition_init(partition);
        partition->partition_index = in->partitions[i].partition_index;
        partition->timestamp = -1;
        partition->offset = -1;
        partition->leader_epoch = -1;
        partition->error_code =
            status_code(repeated[i] ? STATUS_INVALID_REQUEST
                                    : partition_take(request, state, in, i, partition));
    }
}

static void list_answer(struct request *request)
{
    struct list_state *state = request->handler_state;
    for (int32_t i = 0; i < state->item_count; i++) {
        const struct list_item *item = &state->items[i];
        item->out->error_code = handler_partition_code(item->task.status);
        if (item->task.status == STATUS_OK) {
            item->out->timestamp = item->task.lookup.timestamp_found;
            item->out->offset = item->task.lookup.offset;
            item->out->leader_epoch = item->task.lookup.leader_epoch;
        }
    }
    list_offsets_response_encode(request_reply(request), request->version, &state->out);
    request_finish(request);
}

static void list_done(struct fan *fan)
{
    request_wake(fan->owner, list_answer);
}

void handle_list_offsets(struct request *request)
{
    struct list_state *state = handler_state(request, sizeof(*state));
    if (state == NULL || !REQUEST_DECODE(request, list_offsets_request_decode, &state->in)) {
        return;
    }
    list_offsets_response_init(&state->out);
    fan_init(&state->fan, &request->core->manager, &request->arena);
    state->fan.owner = request;
    int32_t count = 0;
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        count += state->in.topics[i].partitions_count;
    }
    state->items = arena_new_array(&request->arena, struct list_item, (size_t)count + 1);
    state->out.topics = arena_new_array(&request->arena, struct list_offsets_response_topic,
                                        (size_t)state->in.topics_count);
    if (state->items == NULL || state->out.topics == NULL) {
        request_refuse(request, "request memory is spent");
        return;
    }
    state->out.topics_count = state->in.topics_count;
    for (int32_t i = 0; i < state->in.topics_count; i++) {
        topic_take(request, state, &state->in.topics[i], &state->out.topics[i]);
    }
    fan_send(&state->fan, list_done);
}
