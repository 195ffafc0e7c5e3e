/* SPDX-License-Identifier: Apache-2.0 */
/* What members of consumer groups send each other through the broker. Subscriptions: the cursor the
 * broker reads topics with agrees with the whole decoder, at any version. Assignments, and both
 * kinds again: what can be read is written back as the same bytes. And where the coordinator speaks
 * for one side itself: partitions that exist, and the same after being written and read. */
#include "broker/groups/subscription.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/pages.h"
#include "broker/groups/embedded.h"
#include "tests/fuzz/fuzz.h"
#include "wire/consumer_protocol.h"

#define VERSION_SIZE ((size_t)2)
#define ARENA_SIZE ((size_t)(16 * MIB))

/* What was written is what was read up to the reader's cursor. */
static void same_bytes(struct writer *writer, struct bytes body, const struct reader *reader)
{
    if (writer->failed) {
        return; /* no memory */
    }
    size_t size = writer_size(writer);
    check(size == (size_t)(reader->cursor - body.data));
    uint8_t *again = malloc(size + 1);
    check(again != NULL);
    writer_copy(writer, again);
    check(memcmp(again, body.data, size) == 0);
    free(again);
}

static enum status subscription_read(struct arena *arena, struct bytes body, int16_t version,
                                     struct consumer_protocol_subscription *value)
{
    struct reader reader;
    reader_init(&reader, body);
    enum status status = consumer_protocol_subscription_decode(&reader, version, arena, value);
    if (status == STATUS_OK) {
        struct writer writer;
        writer_init(&writer, arena);
        consumer_protocol_subscription_encode(&writer, version, value);
        same_bytes(&writer, body, &reader);
    }
    return status;
}

static void cursor_agrees(struct bytes metadata, enum status status,
                          const struct consumer_protocol_subscription *value)
{
    struct subscription subscription;
    struct bytes topic;
    int32_t count = 0;
    subscription_init(&subscription, metadata);
    while (subscription_next(&subscription, &topic)) {
        if (status == STATUS_OK) {
            check(count < value->topics_count);
            check(bytes_equal(topic, value->topics[count]));
        }
        check(subscription_holds(metadata, topic));
        if (++count == 64) {
            return; /* the check above is quadratic */
        }
    }
    check(!subscription_next(&subscription, &topic));
    check(status == STATUS_NO_MEMORY ||
          subscription_is_whole(&subscription) == (status == STATUS_OK));
    check(status != STATUS_OK || count == value->topics_count);
    /* No topic is as long as what it stands in. */
    check(subscription_holds(metadata, metadata) == !subscription_is_whole(&subscription));
}

static void run_subscription(struct pages *pages, struct bytes metadata)
{
    struct arena arena;
    struct consumer_protocol_subscription value = {0};
    struct bytes body = {metadata.data + VERSION_SIZE, metadata.size - VERSION_SIZE};
    bool is_version = (int16_t)get_be16(metadata.data) >= 0;
    arena_init(&arena, pages, ARENA_SIZE);
    enum status status = subscription_read(&arena, body, 0, &value);
    cursor_agrees(metadata, is_version ? status : STATUS_MALFORMED, &value);
    for (int16_t version = 1; version <= CONSUMER_PROTOCOL_SUBSCRIPTION_VERSION_MAX; version++) {
        /* Each version begins with the one before. */
        check(subscription_read(&arena, body, version, &value) != STATUS_OK || status == STATUS_OK);
        arena_reset(&arena);
    }
    arena_reset(&arena);
}

static void run_assignment(struct pages *pages, struct bytes body)
{
    struct arena arena;
    struct reader reader;
    struct consumer_protocol_assignment value;
    arena_init(&arena, pages, ARENA_SIZE);
    reader_init(&reader, body);
    if (consumer_protocol_assignment_decode(&reader, 0, &arena, &value) == STATUS_OK) {
        struct writer writer;
        writer_init(&writer, &arena);
        consumer_protocol_assignment_encode(&writer, 0, &value);
        same_bytes(&writer, body, &reader);
    }
    arena_reset(&arena);
}

/* Topics are all names of one byte; each has as many partitions as that says. */
static bool topic_find(void *context, struct bytes name, struct consumer_topic *topic)
{
    (void)context;
    *topic = (struct consumer_topic){.name = name};
    if (name.size == 1) {
        topic->id.bytes[0] = name.data[0];
        topic->partition_count = name.data[0];
    }
    return name.size == 1;
}

static bool topic_find_id(void *context, const struct uuid *id, struct consumer_topic *topic)
{
    return topic_find(context, bytes_of(id->bytes, 1), topic);
}

static void same_parts(struct parts parts, struct bytes like,
                       const struct consumer_catalog *catalog, struct arena *arena)
{
    struct consumer_protocol_assignment again;
    struct parts read;
    for (int32_t i = 0; i < parts.count; i++) {
        const struct part *part = &parts.items[i];
        check(part->index >= 0 && part->index < part->topic_id.bytes[0]);
        check(i == 0 || part_compare(part - 1, part) < 0);
    }
    struct bytes bytes = embedded_assignment_make(parts, like, catalog, arena);
    if (bytes.data == NULL) {
        return; /* no memory */
    }
    check(bytes.size <= embedded_assignment_size_max(parts));
    enum status status = embedded_assignment_read(bytes, arena, &again);
    if (status == STATUS_OK && embedded_assigned(&again, catalog, 0, arena, &read)) {
        check(parts_equal(parts, read));
    } else {
        check(arena->failed);
    }
}

static void run_embedded(struct pages *pages, struct bytes bytes)
{
    struct arena arena;
    const struct consumer_catalog catalog = {.find = topic_find, .find_id = topic_find_id};
    struct consumer_protocol_subscription subscription;
    struct consumer_protocol_assignment assignment;
    struct parts parts;
    arena_init(&arena, pages, ARENA_SIZE);
    if (embedded_subscription_read(bytes, &arena, &subscription) == STATUS_OK &&
        embedded_owned(&subscription, &catalog, &arena, &parts)) {
        same_parts(parts, bytes, &catalog, &arena);
    }
    if (embedded_assignment_read(bytes, &arena, &assignment) == STATUS_OK &&
        embedded_assigned(&assignment, &catalog, 0, &arena, &parts)) {
        same_parts(parts, bytes, &catalog, &arena);
    }
    arena_reset(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < VERSION_SIZE) {
        check(subscription_holds(bytes_of(data, size), BYTES_LITERAL("t")));
        return 0;
    }
    struct pages *pages =
        pages_open(&(struct pages_limits){.size_max = {2 * ARENA_SIZE, CHUNK_SIZE, CHUNK_SIZE}});
    check(pages != NULL);
    run_subscription(pages, bytes_of(data, size));
    run_assignment(pages, bytes_of(data + VERSION_SIZE, size - VERSION_SIZE));
    run_embedded(pages, bytes_of(data, size));
    pages_close(pages);
    return 0;
}
