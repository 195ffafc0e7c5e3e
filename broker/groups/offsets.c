/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/offsets.h"

#include "broker/groups/group.h"
#include "broker/planted.h"

/* One commit that waits for its transaction, in the list of its producer by `node`. */
struct offset_waiting {
    struct list_node node;
    struct offset_place *place;
    struct offset_value value;
    int64_t log_offset;
};

struct offset_producer {
    struct table_node by_id;
    int64_t id;
    struct list waiting;
    int32_t holds; /* prepared changes that will wait here */
};

bool offsets_init(struct offsets *offsets, struct heap *heap, uint64_t seed)
{
    *offsets = (struct offsets){.heap = heap};
    return table_init(&offsets->topics, heap, seed) && table_init(&offsets->places, heap, seed) &&
           table_init(&offsets->producers, heap, seed);
}

void offsets_deinit(struct offsets *offsets)
{
    check(offsets->topics.count == 0);
    check(offsets->places.count == 0);
    check(offsets->producers.count == 0);
    table_deinit(&offsets->topics);
    table_deinit(&offsets->places);
    table_deinit(&offsets->producers);
}

void group_offsets_init(struct group_offsets *offsets)
{
    *offsets = (struct group_offsets){0};
    list_init(&offsets->topics);
}

static bool bytes_keep(struct heap *heap, struct bytes from, struct bytes *to)
{
    *to = bytes_of("", 0);
    if (from.size == 0) {
        return true;
    }
    uint8_t *memory = heap_acquire(heap, from.size);
    if (memory == NULL) {
        return false;
    }
    memcpy(memory, from.data, from.size);
    *to = bytes_of(memory, from.size);
    return true;
}

static void bytes_release(struct heap *heap, struct bytes bytes)
{
    if (bytes.size > 0) {
        heap_release(heap, (void *)(uintptr_t)bytes.data, bytes.size);
    }
}

/* ---- topics and places ---- */

/* Names of one group stand in the table of the shard: the group's own address never decides. */
static uint64_t topic_hash(const struct offsets *offsets, const struct group *group,
                           struct bytes name)
{
    return hash_bytes(name, offsets->topics.seed ^ group->by_name.hash);
}

static struct offset_topic *topic_find(const struct offsets *offsets, const struct group *group,
                                       struct bytes name)
{
    struct table_node *node = table_find(&offsets->topics, topic_hash(offsets, group, name));
    for (; node != NULL; node = table_find_next(node)) {
        struct offset_topic *topic = CONTAINER_OF(node, struct offset_topic, by_name);
        if (topic->group == group && bytes_equal(topic->name, name)) {
            return topic;
        }
    }
    return NULL;
}

static struct offset_topic *topic_make(struct offsets *offsets, struct group *group,
                                       struct bytes name)
{
    struct offset_topic *topic = heap_acquire(offsets->heap, sizeof(*topic));
    if (topic == NULL || !bytes_keep(offsets->heap, name, &topic->name)) {
        heap_release(offsets->heap, topic, sizeof(*topic));
        return NULL;
    }
    topic->group = group;
    topic->serial = ++offsets->serial_next;
    topic->by_name.hash = topic_hash(offsets, group, name);
    list_init(&topic->places);
    table_insert(&offsets->topics, &topic->by_name);
    list_push_tail(&group->offsets.topics, &topic->node);
    return topic;
}

static void topic_settle(struct offsets *offsets, struct offset_topic *topic)
{
    if (!list_is_empty(&topic->places)) {
        return;
    }
    table_remove(&offsets->topics, &topic->by_name);
    list_remove(&topic->node);
    bytes_release(offsets->heap, topic->name);
    heap_release(offsets->heap, topic, sizeof(*topic));
}

static uint64_t place_hash(const struct offsets *offsets, const struct offset_topic *topic,
                           int32_t partition)
{
    return hash_u64(topic->serial << 24 ^ (uint64_t)(uint32_t)partition, offsets->places.seed);
}

static struct offset_place *place_find(const struct offsets *offsets,
                                       const struct offset_topic *topic, int32_t partition)
{
    struct table_node *node = table_find(&offsets->places, place_hash(offsets, topic, partition));
    for (; node != NULL; node = table_find_next(node)) {
        struct offset_place *place = CONTAINER_OF(node, struct offset_place, by_index);
        if (place->topic == topic && place->partition == partition) {
            return place;
        }
    }
    return NULL;
}

static struct offset_place *place_make(struct offsets *offsets, struct offset_topic *topic,
                                       int32_t partition)
{
    struct offset_place *place = heap_acquire(offsets->heap, sizeof(*place));
    if (place == NULL) {
        return NULL;
    }
    place->topic = topic;
    place->partition = partition;
    place->log_offset = -1;
    place->by_index.hash = place_hash(offsets, topic, partition);
    table_insert(&offsets->places, &place->by_index);
    list_push_tail(&topic->places, &place->node);
    topic->group->offsets.place_count++;
    return place;
}

/* O3 */
void offsets_settle(struct offsets *offsets, struct offset_place *place)
{
    if (place->committed || place->change_count > 0 || place->waiting_count > 0) {
        return;
    }
    struct offset_topic *topic = place->topic;
    topic->group->offsets.place_count--;
    table_remove(&offsets->places, &place->by_index);
    list_remove(&place->node);
    heap_release(offsets->heap, place, sizeof(*place));
    topic_settle(offsets, topic);
}

static void place_set(struct offsets *offsets, struct offset_place *place,
                      const struct offset_value *value, int64_t log_offset)
{
    if (log_offset < place->log_offset) {
        bytes_release(offsets->heap, value->metadata); /* O1 */
        return;
    }
    if (place->committed) {
        bytes_release(offsets->heap, place->value.metadata);
    } else {
        place->topic->group->offsets.count++;
    }
    place->committed = true;
    place->log_offset = log_offset;
    place->value = *value;
}

static void place_unset(struct offsets *offsets, struct offset_place *place)
{
    if (place->committed) {
        bytes_release(offsets->heap, place->value.metadata);
        place->value.metadata = BYTES_NULL;
        place->committed = false;
        place->topic->group->offsets.count--;
    }
}

struct offset_place *offsets_find(const struct offsets *offsets, const struct offset_spot *spot)
{
    const struct offset_topic *topic = topic_find(offsets, spot->group, spot->topic);
    return topic == NULL ? NULL : place_find(offsets, topic, spot->partition);
}

/* ---- changes ---- */

enum status offsets_prepare(struct offsets *offsets, const struct offset_spot *spot,
                            const struct offset_value *value, struct offset_change *change)
{
    *change = (struct offset_change){.value = *value};
    struct offset_topic *topic = topic_find(offsets, spot->group, spot->topic);
    if (topic == NULL) {
        topic = topic_make(offsets, spot->group, spot->topic);
    }
    if (topic == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct offset_place *place = place_find(offsets, topic, spot->partition);
    if (place == NULL) {
        place = place_make(offsets, topic, spot->partition);
    }
    if (place == NULL) {
        topic_settle(offsets, topic);
        return STATUS_NO_MEMORY;
    }
    if (!bytes_keep(offsets->heap, value->metadata, &change->value.metadata)) {
        offsets_settle(offsets, place);
        return STATUS_NO_MEMORY;
    }
    place->change_count++;
    change->place = place;
    return STATUS_OK;
}

static struct offset_producer *producer_find(const struct offsets *offsets, int64_t id)
{
    struct table_node *node =
        table_find(&offsets->producers, hash_u64((uint64_t)id, offsets->producers.seed));
    for (; node != NULL; node = table_find_next(node)) {
        struct offset_producer *producer = CONTAINER_OF(node, struct offset_producer, by_id);
        if (producer->id == id) {
            return producer;
        }
    }
    return NULL;
}

static struct offset_producer *producer_make(struct offsets *offsets, int64_t id)
{
    struct offset_producer *producer = heap_acquire(offsets->heap, sizeof(*producer));
    if (producer != NULL) {
        producer->id = id;
        producer->by_id.hash = hash_u64((uint64_t)id, offsets->producers.seed);
        list_init(&producer->waiting);
        table_insert(&offsets->producers, &producer->by_id);
    }
    return producer;
}

static void producer_settle(struct offsets *offsets, struct offset_producer *producer)
{
    if (producer->holds == 0 && list_is_empty(&producer->waiting)) {
        table_remove(&offsets->producers, &producer->by_id);
        heap_release(offsets->heap, producer, sizeof(*producer));
    }
}

enum status offsets_prepare_waiting(struct offsets *offsets, const struct offset_spot *spot,
                                    const struct offset_value *value, int64_t producer_id,
                                    struct offset_change *change)
{
    enum status status = offsets_prepare(offsets, spot, value, change);
    if (status != STATUS_OK) {
        return status;
    }
    struct offset_producer *producer = producer_find(offsets, producer_id);
    if (producer == NULL) {
        producer = producer_make(offsets, producer_id);
    }
    change->waiting = heap_acquire(offsets->heap, sizeof(*change->waiting));
    change->producer = producer;
    if (producer != NULL) {
        producer->holds++;
    }
    if (producer == NULL || change->waiting == NULL) {
        offsets_cancel(offsets, change);
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

void offsets_apply(struct offsets *offsets, struct offset_change *change, int64_t log_offset)
{
    struct offset_place *place = change->place;
    check(place->change_count > 0);
    place->change_count--;
    if (change->producer != NULL) {
        struct offset_waiting *waiting = change->waiting;
        *waiting = (struct offset_waiting){
            .place = place, .value = change->value, .log_offset = log_offset};
        list_push_tail(&change->producer->waiting, &waiting->node);
        change->producer->holds--;
        place->waiting_count++;
        if (PLANTED(WAITING_SHOWN)) {
            const struct offset_value shown = {.offset = change->value.offset, .expire_ms = -1};
            place_set(offsets, place, &shown, log_offset);
        }
    } else {
        place_set(offsets, place, &change->value, log_offset);
        offsets_settle(offsets, place); /* a tombstone may have come later in the log */
    }
    change->place = NULL;
}

void offsets_cancel(struct offsets *offsets, struct offset_change *change)
{
    if (change->place == NULL) {
        return;
    }
    bytes_release(offsets->heap, change->value.metadata);
    heap_release(offsets->heap, change->waiting, sizeof(*change->waiting));
    if (change->producer != NULL) {
        change->producer->holds--;
        producer_settle(offsets, change->producer);
    }
    change->place->change_count--;
    offsets_settle(offsets, change->place);
    *change = (struct offset_change){0};
}

static void waiting_end(struct offsets *offsets, struct offset_waiting *waiting, bool commit)
{
    struct offset_place *place = waiting->place;
    list_remove(&waiting->node);
    place->waiting_count--;
    if (commit) {
        place_set(offsets, place, &waiting->value, waiting->log_offset);
    } else {
        bytes_release(offsets->heap, waiting->value.metadata);
    }
    heap_release(offsets->heap, waiting, sizeof(*waiting));
    offsets_settle(offsets, place);
}

void offsets_end(struct offsets *offsets, int64_t producer_id, bool commit,
                 void (*touched)(struct group *group))
{
    struct offset_producer *producer = producer_find(offsets, producer_id);
    if (producer == NULL) {
        return;
    }
    producer->holds++;
    struct list_node *node;
    while ((node = list_first(&producer->waiting)) != NULL) {
        struct offset_waiting *waiting = LIST_ENTRY(node, struct offset_waiting, node);
        struct group *group = waiting->place->topic->group;
        waiting_end(offsets, waiting, commit || PLANTED(ABORT_APPLIED));
        touched(group);
    }
    producer->holds--;
    producer_settle(offsets, producer);
}

/* ---- what is deleted ---- */

/* What waits at one place, or (NULL) in the whole group, does not any more. */
static void producers_forget(struct offsets *offsets, const struct group *group,
                             const struct offset_place *place)
{
    struct table_cursor cursor;
    for (struct table_node *node = table_first(&offsets->producers, &cursor);
         node != NULL && (place == NULL || place->waiting_count > 0);
         node = table_next(&offsets->producers, &cursor)) {
        struct offset_producer *producer = CONTAINER_OF(node, struct offset_producer, by_id);
        LIST_EACH (&producer->waiting, waiting_node) {
            struct offset_waiting *waiting = LIST_ENTRY(waiting_node, struct offset_waiting, node);
            if (place == NULL ? waiting->place->topic->group == group : waiting->place == place) {
                waiting_end(offsets, waiting, false);
            }
        }
        producer_settle(offsets, producer);
    }
}

void offsets_remove(struct offsets *offsets, struct offset_place *place, int64_t log_offset)
{
    if (log_offset < place->log_offset) {
        return;
    }
    place_unset(offsets, place);
    place->log_offset = log_offset;
    place->change_count++; /* what waits goes first, the place after it */
    producers_forget(offsets, NULL, place);
    place->change_count--;
    offsets_settle(offsets, place);
}

void group_offsets_clear(struct offsets *offsets, struct group *group)
{
    producers_forget(offsets, group, NULL);
    struct list_node *topic_node;
    while ((topic_node = list_first(&group->offsets.topics)) != NULL) {
        struct offset_topic *topic = LIST_ENTRY(topic_node, struct offset_topic, node);
        struct list_node *last = list_last(&topic->places);
        for (bool more = true; more;) {
            struct list_node *node = list_first(&topic->places);
            struct offset_place *place = LIST_ENTRY(node, struct offset_place, node);
            check(place->change_count == 0);
            more = node != last;
            place_unset(offsets, place);
            offsets_settle(offsets, place); /* the last one takes the topic along */
        }
    }
}
