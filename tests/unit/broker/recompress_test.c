/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/recompress.h"

#include <stdlib.h>

#include "base/check.h"
#include "tests/lib/test.h"

#define REQUEST_SIZE (8 * MIB)

struct bench {
    struct heap heap;
    struct pages *pages;
    struct arena arena;
    struct batch_scratch scratch;
    struct topic_config config;
    uint8_t *memory;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    heap_init(&bench->heap, 64 * MIB);
    struct pages_limits limits = {
        .size_max = {[PAGES_REQUEST] = REQUEST_SIZE, [PAGES_SLAB] = MIB, [PAGES_CACHE] = MIB}};
    bench->pages = pages_open(&limits);
    assert_non_null(bench->pages);
    arena_init(&bench->arena, bench->pages, 4 * MIB);
    bench->scratch =
        (struct batch_scratch){malloc(BATCH_SCRATCH_SIZE), BATCH_SCRATCH_SIZE, &bench->heap};
    topic_config_defaults(&bench->config);
    bench->memory = malloc(4 * MIB);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    arena_reset(&bench->arena);
    pages_close(bench->pages); /* every run came back */
    heap_deinit(&bench->heap);
    free(bench->scratch.memory);
    free(bench->memory);
    free(bench);
    return 0;
}

/* A packed batch of zeros: `count` records of `size` bytes, `header_count` headers each. */
static struct bytes packed(struct bench *bench, int32_t count, size_t size, int32_t header_count)
{
    struct batch_builder builder;
    batch_builder_init(&builder, bench->memory, 4 * MIB);
    uint8_t *value = calloc(1, size);
    struct record_header *headers = calloc((size_t)header_count + 1, sizeof(*headers));
    for (int32_t i = 0; i < header_count; i++) {
        headers[i] = (struct record_header){BYTES_LITERAL("name"), BYTES_NULL};
    }
    for (int32_t i = 0; i < count; i++) {
        batch_builder_add(&builder, 1000 + i, BYTES_NULL, bytes_of(value, size), headers,
                          header_count);
    }
    struct bytes out;
    assert_int_equal(batch_builder_finish(&builder, CODEC_ZSTD, 1, bench->scratch, 0, &out),
                     STATUS_OK);
    free(headers);
    free(value);
    return out;
}

static enum status run(struct bench *bench, struct bytes *batch)
{
    return recompress(bench->pages, &bench->arena, bench->scratch, &bench->config, batch);
}

static void set(struct bench *bench, const char *key, const char *value)
{
    char message[TOPIC_CONFIG_MESSAGE_SIZE];
    assert_int_equal(
        topic_config_set(&bench->config, bytes_of_text(key), bytes_of_text(value), message),
        STATUS_OK);
}

/* A small packed batch may hold more than the topic takes: refused, and all memory comes back. */
static void test_grows_above_limit(void **state)
{
    struct bench *bench = *state;
    set(bench, "compression.type", "uncompressed");
    static const struct {
        const char *limit;
        int32_t count;
        size_t size;
    } cases[] = {{"1000", 3, 1000}, {"1048588", 11, 100000}, {"1048588", 40, 100000}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        set(bench, "max.message.bytes", cases[i].limit);
        struct bytes batch = packed(bench, cases[i].count, cases[i].size, 0);
        assert_true(batch.size < 1000);
        assert_int_equal(run(bench, &batch), STATUS_MESSAGE_TOO_LARGE);
    }
}

/* Headers go over as they are, however many there are. */
static void test_keeps_records(void **state)
{
    struct bench *bench = *state;
    set(bench, "compression.type", "gzip");
    struct bytes batch = packed(bench, 5, 300, 1000);
    assert_int_equal(run(bench, &batch), STATUS_OK);
    struct record_stream *stream;
    assert_int_equal(record_stream_open(&stream, batch, bench->scratch, 16 * MIB), STATUS_OK);
    struct record record;
    int32_t count = 0;
    for (; record_stream_next(stream, &record); count++) {
        assert_int_equal(record.value.size, 300);
        assert_int_equal(record.timestamp, 1000 + count);
        assert_int_equal(record.header_count, 1000);
        struct record_header header;
        int32_t header_count = 0;
        while (record_header_next(&record.headers, &header)) {
            assert_true(bytes_equal(header.key, BYTES_LITERAL("name")));
            header_count++;
        }
        assert_int_equal(header_count, 1000);
    }
    assert_int_equal(record_stream_status(stream), STATUS_OK);
    assert_int_equal(count, 5);
    record_stream_close(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_grows_above_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keeps_records, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
