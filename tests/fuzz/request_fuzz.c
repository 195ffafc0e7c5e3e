/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every message of wire/schema/. Input: the FNV-1a hash of a message's name (u32, so that corpus
 * files stay true when messages are added; other numbers choose one too), version (u8), bytes. What
 * decodes must encode to bytes that decode again, and encode to the same bytes.
 */
#include "base/check.h"
#include "base/pages.h"
#include "tests/fuzz/fuzz.h"
#include "wire/messages.h"

#define HEAD_SIZE 5

static const struct message *choose(uint32_t hash)
{
    for (int i = 0; i < MESSAGE_COUNT; i++) {
        uint32_t of_name = 2166136261;
        for (const char *at = messages[i].name; *at != 0; at++) {
            of_name = (of_name ^ (uint8_t)*at) * 16777619;
        }
        if (of_name == hash) {
            return &messages[i];
        }
    }
    return &messages[hash % MESSAGE_COUNT];
}

static struct bytes encode(const struct message *message, int16_t version, const void *value,
                           struct arena *arena)
{
    struct writer writer;
    writer_init(&writer, arena);
    message->encode(&writer, version, value);
    check(!writer.failed);
    size_t size = writer_size(&writer);
    uint8_t *target = arena_acquire_bytes(arena, size);
    check(target != NULL);
    writer_copy(&writer, target);
    return bytes_of(target, size);
}

static void *decode(const struct message *message, int16_t version, struct bytes bytes,
                    struct arena *arena, enum status *status)
{
    struct reader reader;
    reader_init(&reader, bytes);
    void *value = arena_acquire(arena, message->size);
    check(value != NULL);
    *status = message->decode(&reader, version, arena, value);
    check((*status == STATUS_OK) == (reader_status(&reader) == STATUS_OK));
    return value;
}

static void run(const struct message *message, int16_t version, struct bytes input,
                struct arena *arena)
{
    enum status status;
    void *value = decode(message, version, input, arena, &status);
    if (status != STATUS_OK) {
        check(status == STATUS_TRUNCATED || status == STATUS_MALFORMED ||
              status == STATUS_NO_MEMORY);
        return;
    }
    struct bytes first = encode(message, version, value, arena);
    value = decode(message, version, first, arena, &status);
    check(status == STATUS_OK);
    check(bytes_equal(first, encode(message, version, value, arena)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_SIZE) {
        return 0;
    }
    const struct message *message = choose(get_be32(data));
    int16_t version = data[4];
    if (version < message->version_min || version > message->version_max) {
        int version_count = message->version_max - message->version_min + 1;
        version = (int16_t)(message->version_min + version % version_count);
    }
    struct pages_limits limits = {{64 * MIB, MIB, MIB}};
    struct pages *pages = pages_open(&limits);
    check(pages != NULL);
    struct arena arena;
    arena_init(&arena, pages, 60 * MIB);
    run(message, version, bytes_of(data + HEAD_SIZE, size - HEAD_SIZE), &arena);
    arena_reset(&arena);
    pages_close(pages);
    return 0;
}
