/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/transactions/partition_set.h"

#include "base/check.h"

#define ROOM_MIN 4

static void topic_clear(struct partition_set_topic *topic, struct heap *heap)
{
    heap_release(heap, (void *)(uintptr_t)topic->name.data, topic->name.size);
    heap_release(heap, topic->indexes, (size_t)topic->room * sizeof(topic->indexes[0]));
}

void partition_set_clear(struct partition_set *set, struct heap *heap)
{
    for (int32_t i = 0; i < set->topic_count; i++) {
        topic_clear(&set->topics[i], heap);
    }
    heap_release(heap, set->topics, (size_t)set->topic_room * sizeof(set->topics[0]));
    *set = (struct partition_set){0};
}

/* First place whose name is not below `name`. */
static int32_t topic_place(const struct partition_set *set, struct bytes name)
{
    int32_t low = 0;
    int32_t high = set->topic_count;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (bytes_compare(set->topics[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int32_t index_place(const struct partition_set_topic *topic, int32_t index)
{
    int32_t low = 0;
    int32_t high = topic->count;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (topic->indexes[middle] < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool topic_is_at(const struct partition_set *set, int32_t place, struct bytes name)
{
    return place < set->topic_count && bytes_equal(set->topics[place].name, name);
}

bool partition_set_has(const struct partition_set *set, struct bytes topic, int32_t index)
{
    int32_t place = topic_place(set, topic);
    if (!topic_is_at(set, place, topic)) {
        return false;
    }
    const struct partition_set_topic *found = &set->topics[place];
    int32_t at = index_place(found, index);
    return at < found->count && found->indexes[at] == index;
}

/* Room for one more in an array that doubles. */
static bool reserve(struct heap *heap, void *array, int32_t *room, int32_t count, size_t unit)
{
    void **block = array;
    if (count < *room) {
        return true;
    }
    int32_t grown = *room == 0 ? ROOM_MIN : *room * 2;
    void *fresh = *room == 0
                      ? heap_acquire(heap, (size_t)grown * unit)
                      : heap_resize(heap, *block, (size_t)*room * unit, (size_t)grown * unit);
    if (fresh == NULL) {
        return false;
    }
    *block = fresh;
    *room = grown;
    return true;
}

static bool topic_insert(struct partition_set *set, struct heap *heap, int32_t place,
                         struct bytes name)
{
    uint8_t *copy = heap_acquire(heap, name.size);
    if (copy == NULL ||
        !reserve(heap, &set->topics, &set->topic_room, set->topic_count, sizeof(set->topics[0]))) {
        heap_release(heap, copy, name.size);
        return false;
    }
    memcpy(copy, name.data, name.size);
    memmove(&set->topics[place + 1], &set->topics[place],
            (size_t)(set->topic_count - place) * sizeof(set->topics[0]));
    set->topics[place] = (struct partition_set_topic){.name = bytes_of(copy, name.size)};
    set->topic_count++;
    return true;
}

static void topic_remove(struct partition_set *set, struct heap *heap, int32_t place)
{
    topic_clear(&set->topics[place], heap);
    set->topic_count--;
    memmove(&set->topics[place], &set->topics[place + 1],
            (size_t)(set->topic_count - place) * sizeof(set->topics[0]));
}

enum status partition_set_add(struct partition_set *set, struct heap *heap, struct bytes topic,
                              int32_t index)
{
    int32_t place = topic_place(set, topic);
    if (!topic_is_at(set, place, topic) && !topic_insert(set, heap, place, topic)) {
        return STATUS_NO_MEMORY;
    }
    struct partition_set_topic *found = &set->topics[place];
    int32_t at = index_place(found, index);
    if (at < found->count && found->indexes[at] == index) {
        return STATUS_OK;
    }
    if (!reserve(heap, &found->indexes, &found->room, found->count, sizeof(found->indexes[0]))) {
        if (found->count == 0) {
            topic_remove(set, heap, place);
        }
        return STATUS_NO_MEMORY;
    }
    memmove(&found->indexes[at + 1], &found->indexes[at],
            (size_t)(found->count - at) * sizeof(found->indexes[0]));
    found->indexes[at] = index;
    found->count++;
    set->count++;
    return STATUS_OK;
}

enum status partition_set_copy(struct partition_set *target, const struct partition_set *source,
                               struct heap *heap)
{
    check(target->topics == NULL);
    for (int32_t i = 0; i < source->topic_count; i++) {
        const struct partition_set_topic *topic = &source->topics[i];
        for (int32_t k = 0; k < topic->count; k++) {
            enum status status = partition_set_add(target, heap, topic->name, topic->indexes[k]);
            if (status != STATUS_OK) {
                partition_set_clear(target, heap);
                return status;
            }
        }
    }
    return STATUS_OK;
}
