/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a consumer group: whatever stands in it, the group that comes of it is sound, can be
 * lived in and can be closed. A record is two sizes (int16, the second -1 for a tombstone), the key
 * and the value. */
#include "broker/groups/consumer_state.h"
#include "tests/fuzz/fuzz.h"

#define BEATS_MAX 4

static bool find(void *context, struct bytes name, struct consumer_topic *topic)
{
    (void)context;
    *topic = (struct consumer_topic){.name = BYTES_LITERAL("t"), .partition_count = 3};
    topic->id.bytes[0] = 1;
    return bytes_equal(name, topic->name);
}

static bool find_id(void *context, const struct uuid *id, struct consumer_topic *topic)
{
    return find(context, BYTES_LITERAL("t"), topic) && uuid_equal(id, &topic->id);
}

static bool next(void *context, void **cursor, struct consumer_topic *topic)
{
    bool first = *cursor == NULL;
    *cursor = topic;
    return first && find(context, BYTES_LITERAL("t"), topic);
}

static void replay(struct consumer *group, struct arena *arena, struct bytes log)
{
    while (log.size >= 4) {
        size_t key_size = get_be16(log.data);
        int16_t value_size = (int16_t)get_be16(log.data + 2);
        size_t value_room = value_size < 0 ? 0 : (size_t)value_size;
        log = bytes_of(log.data + 4, log.size - 4);
        if (key_size + value_room > log.size) {
            break;
        }
        const struct shard_record record = {
            .key = bytes_of(log.data, key_size),
            .value = value_size < 0 ? BYTES_NULL : bytes_of(log.data + key_size, value_room),
        };
        log = bytes_of(log.data + key_size + value_room, log.size - key_size - value_room);
        struct bytes name;
        if (key_size >= 2 && consumer_owns_key((int16_t)get_be16(record.key.data)) &&
            consumer_key_group(record.key, &name) == STATUS_OK) {
            (void)!consumer_replay(group, &record, arena);
        }
        arena_reset(arena);
    }
}

/* A heartbeat of the member that is there longest; then nobody heartbeats any more. */
static void live(struct consumer *group, struct arena *arena)
{
    struct consumer_catalog catalog = {find, find_id, next, NULL, 1};
    struct consumer_output output;
    for (int i = 0; i < BEATS_MAX && !list_is_empty(&group->members); i++) {
        const struct consumer_member *member =
            LIST_ENTRY(list_first(&group->members), struct consumer_member, node);
        struct consumer_group_heartbeat_request request;
        consumer_group_heartbeat_request_init(&request);
        request.group_id = BYTES_LITERAL("g");
        request.member_id = member->id;
        request.member_epoch = member->epoch;
        request.topic_partitions_count = i % 2 - 1;
        const struct consumer_heartbeat heartbeat = {
            .request = &request, .version = 1, .client_id = BYTES_LITERAL("c")};
        const struct consumer_event event = {
            .kind = CONSUMER_HEARTBEAT, .now_ms = i, .catalog = &catalog, .heartbeat = &heartbeat};
        const char *message;
        if (consumer_check(group->config, &heartbeat, arena, &message) == STATUS_OK) {
            consumer_step(group, &event, arena, &output);
            check(!output.broken);
            consumer_verify(group);
        }
        arena_reset(arena);
    }
    struct consumer_group_describe_response_group described;
    consumer_group_describe_response_group_init(&described);
    check(consumer_describe(group, &catalog, arena, &described));
    while (consumer_member_count(group) > 0) {
        const struct consumer_event event = {
            .kind = CONSUMER_TICK, .now_ms = consumer_deadline_ms(group), .catalog = &catalog};
        consumer_step(group, &event, arena, &output);
        check(!output.broken);
        consumer_verify(group);
    }
    consumer_erase(group, arena, &output);
    check(!output.broken);
    arena_reset(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct consumer_config config = {
        .heartbeat_ms = 5, .session_ms = 45, .member_count_max = 9, .assignors = 3};
    const struct pages_limits limits = {.size_max = {[PAGES_REQUEST] = 64 * MIB}};
    struct pages *pages = pages_open(&limits);
    struct heap heap;
    struct arena arena;
    check(pages != NULL);
    heap_init(&heap, 256 * MIB);
    arena_init(&arena, pages, 48 * MIB);
    struct consumer *group = consumer_open(&heap, 1, &config, BYTES_LITERAL("g"));
    check(group != NULL);
    replay(group, &arena, bytes_of(data, size));
    check(consumer_loaded(group, 0));
    consumer_verify(group);
    live(group, &arena);
    consumer_close(group);
    heap_deinit(&heap);
    pages_close(pages);
    return 0;
}
