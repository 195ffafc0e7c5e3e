/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/transactions/markers.h"

#include "broker/core.h"
#include "wire/record.h"

#define MARKER_KEY_SIZE 4
#define MARKER_VALUE_SIZE 6

enum status markers_init(struct markers *markers, struct core *core, struct arena *arena,
                         int32_t count_max)
{
    *markers = (struct markers){.core = core, .count_max = count_max};
    markers->items = arena_new_array(arena, struct marker_item, (size_t)count_max);
    if (markers->items == NULL) {
        return STATUS_NO_MEMORY;
    }
    fan_init(&markers->fan, &core->manager, arena);
    markers->fan.owner = markers;
    coordinator_fan_init(&markers->calls, core);
    markers->calls.owner = markers;
    return STATUS_OK;
}

/* ---- in __consumer_offsets ---- */

static void item_call(struct markers *markers, struct marker_item *item,
                      const struct shard_marker *marker)
{
    item->in_groups = true;
    item->group.marker = *marker;
    item->group.call.run = group_run_marker;
    coordinator_fan_add_index(&markers->calls, &item->group.call, COORDINATOR_GROUP, item->index);
}

/* ---- elsewhere ---- */

static void item_build(struct marker_item *item, const struct shard_marker *marker, int64_t now_ms)
{
    uint8_t key[MARKER_KEY_SIZE] = {0};
    uint8_t value[MARKER_VALUE_SIZE] = {0};
    put_be16(key + 2, marker->commit ? 1 : 0);
    put_be32(value + 2, (uint32_t)marker->coordinator_epoch);
    struct batch_builder builder;
    batch_builder_init(&builder, item->batch, sizeof(item->batch));
    batch_builder_add(&builder, now_ms, bytes_of(key, sizeof(key)), bytes_of(value, sizeof(value)),
                      NULL, 0);
    builder.header.attributes |= BATCH_TRANSACTIONAL | BATCH_CONTROL;
    builder.header.producer_id = marker->producer_id;
    builder.header.producer_epoch = marker->producer_epoch;
    struct bytes batch;
    enum status status =
        batch_builder_finish(&builder, CODEC_NONE, 0, (struct batch_scratch){0}, 0, &batch);
    check(status == STATUS_OK);
    check(batch.data == item->batch);
    item->task.append = (struct partition_append){
        .batch = item->batch,
        .size = batch.size,
        .now_ms = now_ms,
    };
    batch_header_decode(&item->task.append.header, item->batch);
}

void markers_add(struct markers *markers, struct bytes topic, int32_t index,
                 const struct shard_marker *marker, bool once)
{
    check(markers->count < markers->count_max);
    struct core *core = markers->core;
    struct marker_item *item = &markers->items[markers->count++];
    item->topic = topic;
    item->index = index;
    if (bytes_equal(topic, bytes_of_text(coordinator_topic_name(COORDINATOR_GROUP)))) {
        item_call(markers, item, marker);
        return;
    }
    item->task.kind = TASK_APPEND;
    item->task.index = index;
    item->task.leader_epoch_asked = -1;
    item_build(item, marker, ring_wall_ms(core->ring));
    item->task.append.once = once;
    (void)fan_add(&markers->fan, &item->task, image_find_name(&core->image, topic));
}

/* ---- all of them ---- */

/* A partition that is in no image is gone; one that has no shard may be about to open. */
static enum status item_status(const struct markers *markers, const struct marker_item *item)
{
    if (!item->in_groups) {
        return item->task.status;
    }
    const struct image_topic *topic = coordinator_topic(markers->core, COORDINATOR_GROUP);
    bool gone = topic == NULL || item->index < 0 || item->index >= topic->partition_count;
    return gone ? STATUS_UNKNOWN_TOPIC_OR_PARTITION : item->group.call.status;
}

static void markers_count_down(struct markers *markers)
{
    check(markers->pending > 0);
    markers->pending--;
    if (markers->pending > 0) {
        return;
    }
    for (int32_t i = 0; i < markers->count; i++) {
        markers->items[i].status = item_status(markers, &markers->items[i]);
    }
    markers->done(markers);
}

static void appends_done(struct fan *fan)
{
    markers_count_down(fan->owner);
}

static void calls_released(struct coordinator_fan *fan)
{
    markers_count_down(fan->owner);
}

static void calls_done(struct coordinator_fan *fan)
{
    coordinator_fan_release(fan, calls_released);
}

void markers_send(struct markers *markers, void (*done)(struct markers *markers))
{
    markers->done = done;
    markers->pending = 2;
    coordinator_fan_send(&markers->calls, calls_done);
    fan_send(&markers->fan, appends_done);
}
