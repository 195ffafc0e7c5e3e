/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/embedded.h"

#include "broker/groups/consumer_state.h"
#include "broker/groups/records.h"

#define TOPIC_NAME_SIZE_MAX 249
/* Version, two counts, absent user data. */
#define ASSIGNMENT_HEAD_SIZE ((size_t)2 + 4 + 4)

/* The version that the bytes are read as; negative: there is none. */
static int16_t version_read(struct reader *reader, int16_t newest)
{
    int16_t version = reader_i16(reader);
    if (reader_status(reader) != STATUS_OK) {
        return -1;
    }
    return version > newest ? newest : version;
}

enum status embedded_subscription_read(struct bytes bytes, struct arena *arena,
                                       struct consumer_protocol_subscription *subscription)
{
    struct reader reader;
    reader_init(&reader, bytes);
    int16_t version = version_read(&reader, CONSUMER_PROTOCOL_SUBSCRIPTION_VERSION_MAX);
    return version < 0
               ? STATUS_MALFORMED
               : consumer_protocol_subscription_decode(&reader, version, arena, subscription);
}

enum status embedded_assignment_read(struct bytes bytes, struct arena *arena,
                                     struct consumer_protocol_assignment *assignment)
{
    struct reader reader;
    reader_init(&reader, bytes);
    consumer_protocol_assignment_init(assignment);
    if (bytes.size == 0) {
        return STATUS_OK;
    }
    int16_t version = version_read(&reader, CONSUMER_PROTOCOL_ASSIGNMENT_VERSION_MAX);
    return version < 0 ? STATUS_MALFORMED
                       : consumer_protocol_assignment_decode(&reader, version, arena, assignment);
}

/* ---- names to ids ---- */

struct named {
    struct bytes topic;
    const int32_t *indexes;
    int32_t count;
};

static void named_add(const struct named *named, const struct consumer_catalog *catalog,
                      struct part *items, int32_t *count)
{
    struct consumer_topic topic;
    if (!catalog->find(catalog->context, named->topic, &topic)) {
        return;
    }
    for (int32_t i = 0; i < named->count; i++) {
        if (named->indexes[i] >= 0 && named->indexes[i] < topic.partition_count) {
            items[(*count)++] = (struct part){.topic_id = topic.id, .index = named->indexes[i]};
        }
    }
}

bool embedded_owned(const struct consumer_protocol_subscription *subscription,
                    const struct consumer_catalog *catalog, struct arena *arena,
                    struct parts *parts)
{
    size_t room = 0;
    for (int32_t i = 0; i < subscription->owned_partitions_count; i++) {
        room += (size_t)subscription->owned_partitions[i].partitions_count;
    }
    struct part *items = arena_new_array(arena, struct part, room);
    if (items == NULL) {
        return false;
    }
    int32_t count = 0;
    for (int32_t i = 0; i < subscription->owned_partitions_count; i++) {
        const struct consumer_protocol_subscription_owned_partition *from =
            &subscription->owned_partitions[i];
        const struct named named = {from->topic, from->partitions, from->partitions_count};
        named_add(&named, catalog, items, &count);
    }
    *parts = (struct parts){items, parts_sort(items, count)};
    return true;
}

bool embedded_assigned(const struct consumer_protocol_assignment *assignment,
                       const struct consumer_catalog *catalog, int32_t epoch, struct arena *arena,
                       struct parts *parts)
{
    size_t room = 0;
    for (int32_t i = 0; i < assignment->assigned_partitions_count; i++) {
        room += (size_t)assignment->assigned_partitions[i].partitions_count;
    }
    struct part *items = arena_new_array(arena, struct part, room);
    if (items == NULL) {
        return false;
    }
    int32_t count = 0;
    for (int32_t i = 0; i < assignment->assigned_partitions_count; i++) {
        const struct consumer_protocol_assignment_assigned_partition *from =
            &assignment->assigned_partitions[i];
        const struct named named = {from->topic, from->partitions, from->partitions_count};
        named_add(&named, catalog, items, &count);
    }
    for (int32_t i = 0; i < count; i++) {
        items[i].epoch = epoch;
    }
    *parts = (struct parts){items, parts_sort(items, count)};
    return true;
}

/* ---- ids to names ---- */

struct bytes embedded_assignment_make(struct parts parts, struct bytes like,
                                      const struct consumer_catalog *catalog, struct arena *arena)
{
    struct reader reader;
    reader_init(&reader, like);
    int16_t version = version_read(&reader, CONSUMER_PROTOCOL_ASSIGNMENT_VERSION_MAX);
    version = version < 0 ? 0 : version;
    struct consumer_protocol_assignment assignment;
    consumer_protocol_assignment_init(&assignment);
    assignment.assigned_partitions =
        arena_new_array(arena, struct consumer_protocol_assignment_assigned_partition,
                        (size_t)parts_topic_count(parts));
    if (assignment.assigned_partitions == NULL) {
        return BYTES_NULL;
    }
    for (int32_t i = 0; i < parts.count; i = parts_run(parts, i)) {
        struct consumer_topic topic;
        int32_t end = parts_run(parts, i);
        if (catalog->find_id(catalog->context, &parts.items[i].topic_id, &topic)) {
            assignment.assigned_partitions[assignment.assigned_partitions_count++] =
                (struct consumer_protocol_assignment_assigned_partition){
                    .topic = topic.name,
                    .partitions = parts_indexes(arena, parts, i, end),
                    .partitions_count = end - i,
                };
        }
    }
    if (arena->failed) {
        return BYTES_NULL;
    }
    return RECORD_BYTES(arena, version, consumer_protocol_assignment_encode, version, &assignment);
}

size_t embedded_assignment_size_max(struct parts parts)
{
    size_t topic_size = 2 + TOPIC_NAME_SIZE_MAX + 4;
    return ASSIGNMENT_HEAD_SIZE + (size_t)parts_topic_count(parts) * topic_size +
           (size_t)parts.count * 4;
}
