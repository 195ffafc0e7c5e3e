/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/image.h"

#include <stdio.h>

#include "topic/metadata_record.h"
#include "topic/name.h"
#include "topic/placement.h"
#include "wire/record.h"

/* Ours are never compressed; Kafka may compress its own. */
#define UNPACKED_SIZE_MAX (64 * MIB)

struct image_removed {
    struct list_node node;
    struct uuid id;
    char *name;
};

static uint64_t name_hash(const struct image *image, struct bytes name)
{
    return hash_bytes(name, image->names.seed);
}

static uint64_t id_hash(const struct image *image, const struct uuid *id)
{
    return hash_bytes(bytes_of(id->bytes, sizeof(id->bytes)), image->ids.seed);
}

bool image_init(struct image *image, struct heap *heap, uint64_t seed, int32_t core_count,
                const struct topic_config *defaults)
{
    check(core_count > 0);
    check(core_count <= CORES_MAX);
    *image =
        (struct image){.heap = heap, .core_count = core_count, .defaults = *defaults, .version = 1};
    list_init(&image->topics);
    list_init(&image->removed);
    if (!table_init(&image->names, heap, seed)) {
        return false;
    }
    if (!table_init(&image->ids, heap, seed)) {
        table_deinit(&image->names);
        return false;
    }
    return true;
}

static char *text_acquire(struct heap *heap, struct bytes text)
{
    char *copy = heap_acquire(heap, text.size + 1);
    if (copy != NULL) {
        memcpy(copy, text.data, text.size);
    }
    return copy;
}

static void text_release(struct heap *heap, char *text)
{
    if (text != NULL) {
        heap_release(heap, text, strlen(text) + 1);
    }
}

static void setting_free(struct heap *heap, struct image_setting *setting)
{
    text_release(heap, setting->name);
    text_release(heap, setting->value);
    heap_release(heap, setting, sizeof(*setting));
}

static void topic_free(struct image *image, struct image_topic *topic)
{
    check_magic(topic, IMAGE_TOPIC_MAGIC);
    LIST_EACH (&topic->settings, node) {
        setting_free(image->heap, LIST_ENTRY(node, struct image_setting, node));
    }
    for (int32_t i = 0; i < topic->partition_count; i++) {
        check(image->core_partitions[topic->partitions[i].core] > 0);
        image->core_partitions[topic->partitions[i].core]--;
    }
    image->partition_count -= topic->partition_count;
    image->topic_count--;
    image->version++;
    table_remove(&image->names, &topic->by_name);
    table_remove(&image->ids, &topic->by_id);
    list_remove(&topic->node);
    heap_release(image->heap, topic->partitions,
                 (size_t)topic->partition_room * sizeof(struct image_partition));
    text_release(image->heap, topic->name);
    topic->magic = 0;
    heap_release(image->heap, topic, sizeof(*topic));
}

void image_deinit(struct image *image)
{
    LIST_EACH (&image->topics, node) {
        topic_free(image, LIST_ENTRY(node, struct image_topic, node));
    }
    LIST_EACH (&image->removed, gone) {
        struct image_removed *removed = LIST_ENTRY(gone, struct image_removed, node);
        text_release(image->heap, removed->name);
        heap_release(image->heap, removed, sizeof(*removed));
    }
    table_deinit(&image->names);
    table_deinit(&image->ids);
}

struct image_topic *image_find_name(const struct image *image, struct bytes name)
{
    struct table_node *node = table_find(&image->names, name_hash(image, name));
    for (; node != NULL; node = table_find_next(node)) {
        struct image_topic *topic = CONTAINER_OF(node, struct image_topic, by_name);
        if (bytes_equal(bytes_of_text(topic->name), name)) {
            return topic;
        }
    }
    return NULL;
}

struct image_topic *image_find_id(const struct image *image, const struct uuid *id)
{
    struct table_node *node = table_find(&image->ids, id_hash(image, id));
    for (; node != NULL; node = table_find_next(node)) {
        struct image_topic *topic = CONTAINER_OF(node, struct image_topic, by_id);
        if (uuid_equal(&topic->id, id)) {
            return topic;
        }
    }
    return NULL;
}

/* A walk over all names: only names with a dot or underscore can collide, and creation is rare. */
struct image_topic *image_find_collision(const struct image *image, struct bytes name)
{
    if (memchr(name.data, '.', name.size) == NULL && memchr(name.data, '_', name.size) == NULL) {
        return NULL;
    }
    LIST_EACH (&image->topics, node) {
        struct image_topic *topic = LIST_ENTRY(node, struct image_topic, node);
        if (topic_name_collides(bytes_of_text(topic->name), name)) {
            return topic;
        }
    }
    return NULL;
}

static struct image_setting *topic_setting(const struct image_topic *topic, struct bytes name)
{
    LIST_EACH (&topic->settings, node) {
        struct image_setting *setting = LIST_ENTRY(node, struct image_setting, node);
        if (bytes_equal(bytes_of_text(setting->name), name)) {
            return setting;
        }
    }
    return NULL;
}

const char *image_setting_value(const struct image_topic *topic, const char *name)
{
    const struct image_setting *setting = topic_setting(topic, bytes_of_text(name));
    return setting == NULL ? NULL : setting->value;
}

void image_note_renewed(struct image *image)
{
    LIST_EACH (&image->removed, node) {
        const struct image_removed *removed = LIST_ENTRY(node, struct image_removed, node);
        struct image_topic *topic = image_find_name(image, bytes_of_text(removed->name));
        if (topic != NULL) {
            topic->renewed = true;
        }
    }
}

bool image_was_removed(const struct image *image, const struct uuid *id)
{
    LIST_EACH (&image->removed, node) {
        if (uuid_equal(&LIST_ENTRY(node, struct image_removed, node)->id, id)) {
            return true;
        }
    }
    return false;
}

static enum status apply_topic(struct image *image, const struct topic_record *record)
{
    if (image_find_name(image, record->name) != NULL ||
        image_find_id(image, &record->topic_id) != NULL) {
        return STATUS_CORRUPT_MESSAGE;
    }
    struct image_topic *topic = heap_acquire(image->heap, sizeof(*topic));
    char *name = text_acquire(image->heap, record->name);
    if (topic == NULL || name == NULL) {
        heap_release(image->heap, topic, sizeof(*topic));
        text_release(image->heap, name);
        return STATUS_NO_MEMORY;
    }
    topic->magic = IMAGE_TOPIC_MAGIC;
    topic->id = record->topic_id;
    topic->name = name;
    topic->config = image->defaults;
    list_init(&topic->settings);
    topic->by_name.hash = name_hash(image, record->name);
    topic->by_id.hash = id_hash(image, &record->topic_id);
    table_insert(&image->names, &topic->by_name);
    table_insert(&image->ids, &topic->by_id);
    list_push_tail(&image->topics, &topic->node);
    image->topic_count++;
    image->version++;
    return STATUS_OK;
}

static enum status apply_partition(struct image *image, const struct partition_record *record,
                                   const struct image_listener *listener)
{
    struct image_topic *topic = image_find_id(image, &record->topic_id);
    if (topic == NULL || record->partition_id != topic->partition_count) {
        return STATUS_CORRUPT_MESSAGE; /* M3 */
    }
    if (topic->partition_count == topic->partition_room) {
        int32_t room = topic->partition_room == 0 ? 1 : topic->partition_room * 2;
        void *grown = heap_resize(image->heap, topic->partitions,
                                  (size_t)topic->partition_room * sizeof(struct image_partition),
                                  (size_t)room * sizeof(struct image_partition));
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        topic->partitions = grown;
        topic->partition_room = room;
    }
    int32_t core = placement_pick(image->core_partitions, image->core_count);
    image->core_partitions[core]++;
    image->partition_count++;
    image->version++;
    topic->partitions[topic->partition_count++] = (struct image_partition){
        .leader_epoch = record->leader_epoch,
        .partition_epoch = record->partition_epoch,
        .core = core,
    };
    if (listener->partition_added != NULL) {
        listener->partition_added(listener->context, topic, record->partition_id);
    }
    return STATUS_OK;
}

/* KRaft: a record that names a leader begins a new leader epoch; every record a partition epoch. */
static enum status apply_partition_change(struct image *image,
                                          const struct partition_change_record *record,
                                          const struct image_listener *listener)
{
    struct image_topic *topic = image_find_id(image, &record->topic_id);
    if (topic == NULL || record->partition_id < 0 ||
        record->partition_id >= topic->partition_count) {
        return STATUS_CORRUPT_MESSAGE;
    }
    struct image_partition *place = &topic->partitions[record->partition_id];
    place->partition_epoch++;
    if (record->leader >= 0) {
        place->leader_epoch++;
    }
    if (listener->partition_changed != NULL) {
        listener->partition_changed(listener->context, topic, record->partition_id);
    }
    return STATUS_OK;
}

/* A config record with a null value takes the setting back. */
static enum status setting_set(struct image *image, struct image_topic *topic, struct bytes name,
                               struct bytes value)
{
    struct image_setting *old = topic_setting(topic, name);
    if (value.data != NULL) {
        struct image_setting *setting = heap_acquire(image->heap, sizeof(*setting));
        if (setting == NULL) {
            return STATUS_NO_MEMORY;
        }
        setting->name = text_acquire(image->heap, name);
        setting->value = text_acquire(image->heap, value);
        if (setting->name == NULL || setting->value == NULL) {
            setting_free(image->heap, setting);
            return STATUS_NO_MEMORY;
        }
        list_push_tail(&topic->settings, &setting->node);
    }
    if (old != NULL) {
        list_remove(&old->node);
        setting_free(image->heap, old);
    }
    return STATUS_OK;
}

static void topic_configure(struct image *image, struct image_topic *topic)
{
    topic->config = image->defaults;
    LIST_EACH (&topic->settings, node) {
        const struct image_setting *setting = LIST_ENTRY(node, struct image_setting, node);
        char message[TOPIC_CONFIG_MESSAGE_SIZE];
        /* Validated before it was written; a key that this version does not know keeps its text. */
        (void)!topic_config_set(&topic->config, bytes_of_text(setting->name),
                                bytes_of_text(setting->value), message);
    }
}

static enum status apply_config(struct image *image, const struct config_record *record,
                                const struct image_listener *listener)
{
    enum { RESOURCE_TOPIC = 2 };
    if (record->resource_type != RESOURCE_TOPIC) {
        return STATUS_OK; /* broker resources: dynamic broker configs are not served */
    }
    struct image_topic *topic = image_find_name(image, record->resource_name);
    if (topic == NULL) {
        return STATUS_CORRUPT_MESSAGE;
    }
    enum status status = setting_set(image, topic, record->name, record->value);
    if (status != STATUS_OK) {
        return status;
    }
    topic_configure(image, topic);
    if (listener->topic_configured != NULL) {
        listener->topic_configured(listener->context, topic);
    }
    return STATUS_OK;
}

static enum status apply_removal(struct image *image, const struct remove_topic_record *record,
                                 const struct image_listener *listener)
{
    struct image_topic *topic = image_find_id(image, &record->topic_id);
    if (topic == NULL) {
        return STATUS_CORRUPT_MESSAGE;
    }
    if (image->remember_removed) {
        struct image_removed *removed = heap_acquire(image->heap, sizeof(*removed));
        if (removed == NULL) {
            return STATUS_NO_MEMORY;
        }
        removed->id = topic->id;
        removed->name = text_acquire(image->heap, bytes_of_text(topic->name));
        if (removed->name == NULL) {
            heap_release(image->heap, removed, sizeof(*removed));
            return STATUS_NO_MEMORY;
        }
        list_push_tail(&image->removed, &removed->node);
    }
    if (listener->topic_removed != NULL) {
        listener->topic_removed(listener->context, topic);
    }
    topic_free(image, topic);
    return STATUS_OK;
}

enum status image_apply(struct image *image, struct bytes record, struct arena *scratch,
                        const struct image_listener *listener)
{
    struct metadata_record decoded;
    enum status status = metadata_record_decode(record, scratch, &decoded);
    if (status != STATUS_OK) {
        return status;
    }
    switch (decoded.key) {
    case TOPIC_RECORD_KEY:
        return apply_topic(image, &decoded.topic);
    case PARTITION_RECORD_KEY:
        return apply_partition(image, &decoded.partition, listener);
    case PARTITION_CHANGE_RECORD_KEY:
        return apply_partition_change(image, &decoded.partition_change, listener);
    case CONFIG_RECORD_KEY:
        return apply_config(image, &decoded.config, listener);
    case REMOVE_TOPIC_RECORD_KEY:
        return apply_removal(image, &decoded.remove_topic, listener);
    case PRODUCER_IDS_RECORD_KEY:
        image->producer_id_next = decoded.producer_ids.next_producer_id;
        return STATUS_OK;
    default:
        return STATUS_OK;
    }
}

enum status image_apply_batch(struct image *image, struct bytes batch, struct arena *scratch,
                              const struct image_listener *listener)
{
    struct batch_header header;
    enum status status = batch_check(batch, &header);
    if (status != STATUS_OK) {
        return status;
    }
    if ((header.attributes & BATCH_CONTROL) != 0) {
        return STATUS_OK;
    }
    _Alignas(16) uint8_t memory[BATCH_STREAM_SIZE];
    const struct batch_scratch codec = {memory, sizeof(memory), image->heap};
    struct record_stream *stream = NULL;
    status = record_stream_open(&stream, batch, codec, UNPACKED_SIZE_MAX);
    struct record record;
    while (status == STATUS_OK && record_stream_next(stream, &record)) {
        status = image_apply(image, record.value, scratch, listener);
        arena_reset(scratch);
    }
    if (status == STATUS_OK) {
        status = record_stream_status(stream);
    }
    record_stream_close(stream);
    return status;
}
