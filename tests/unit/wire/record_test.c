/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/record.h"

#include "tests/unit/wire/vectors.h"

#define MIB (UINT64_C(1) << 20)

struct bench {
    struct heap heap;
    struct batch_scratch scratch;
    uint8_t *memory;
    size_t memory_size;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    heap_init(&bench->heap, 64 * MIB);
    bench->scratch =
        (struct batch_scratch){malloc(BATCH_SCRATCH_SIZE), BATCH_SCRATCH_SIZE, &bench->heap};
    bench->memory_size = 8 * MIB;
    bench->memory = malloc(bench->memory_size);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    heap_deinit(&bench->heap);
    free(bench->scratch.memory);
    free(bench->memory);
    free(bench);
    return 0;
}

static struct record_stream *open_stream(struct bench *bench, struct bytes batch)
{
    struct record_stream *stream;
    assert_int_equal(record_stream_open(&stream, batch, bench->scratch, 16 * MIB), STATUS_OK);
    return stream;
}

/* Reads to the end; *count is how many records came. */
static enum status drain(struct bench *bench, struct bytes batch, int32_t *count)
{
    struct record_stream *stream;
    struct record record;
    *count = 0;
    enum status status = record_stream_open(&stream, batch, bench->scratch, 16 * MIB);
    if (status != STATUS_OK) {
        return status;
    }
    while (record_stream_next(stream, &record)) {
        struct record_header header;
        int32_t headers = 0;
        while (record_header_next(&record.headers, &header)) {
            headers++;
        }
        assert_int_equal(headers, record.header_count);
        assert_non_null(record.headers.data);
        ++*count;
    }
    status = record_stream_status(stream);
    assert_false(record_stream_next(stream, &record)); /* the end stays the end */
    assert_int_equal(record_stream_status(stream), status);
    record_stream_close(stream);
    return status;
}

static void assert_header(struct bytes *headers, const char *key, struct bytes value)
{
    struct record_header header;
    assert_true(record_header_next(headers, &header));
    assert_bytes_equal(header.key, bytes_of_text(key));
    assert_bytes_equal(header.value, value);
    assert_int_equal(header.value.data == NULL, value.data == NULL);
}

static void test_java_batches(void **state)
{
    struct bench *bench = *state;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct bytes batch = bytes_of_hex(vectors_java[codec]);
        batch_stamp((uint8_t *)(uintptr_t)batch.data, 5000, 1);
        struct record_stream *stream = open_stream(bench, batch);
        struct record record;

        assert_true(record_stream_next(stream, &record));
        assert_int_equal(record.offset, 5000);
        assert_int_equal(record.timestamp, VECTOR_TIME);
        assert_bytes_equal(record.key, BYTES_LITERAL("key-0"));
        assert_bytes_equal(record.value, BYTES_LITERAL("value-0"));
        assert_int_equal(record.header_count, 0);
        assert_int_equal(record.size, 19);

        assert_true(record_stream_next(stream, &record));
        assert_int_equal(record.offset, 5001);
        assert_int_equal(record.offset_delta, 1);
        assert_int_equal(record.timestamp, VECTOR_TIME + 123);
        assert_int_equal(record.timestamp_delta, 123);
        assert_null(record.key.data);
        assert_bytes_equal(record.value, BYTES_LITERAL("value-1"));
        assert_int_equal(record.header_count, 3);
        struct bytes headers = record.headers;
        struct record_header header;
        assert_header(&headers, "h", BYTES_LITERAL("x"));
        assert_header(&headers, "empty", BYTES_LITERAL(""));
        assert_header(&headers, "null", BYTES_NULL);
        assert_false(record_header_next(&headers, &header));
        assert_non_null(headers.data);

        assert_true(record_stream_next(stream, &record));
        assert_int_equal(record.timestamp, VECTOR_TIME - 1);
        assert_bytes_equal(record.key, BYTES_LITERAL("key-2"));
        assert_null(record.value.data);

        assert_true(record_stream_next(stream, &record));
        assert_int_equal(record.offset, 5003);
        assert_non_null(record.key.data);
        assert_int_equal(record.key.size, 0);
        assert_int_equal(record.value.size, 140);

        assert_false(record_stream_next(stream, &record));
        assert_int_equal(record_stream_status(stream), STATUS_OK);
        record_stream_close(stream);
        bytes_free(batch);
    }
    record_stream_close(NULL);
}

static void test_log_append_time(void **state)
{
    struct bench *bench = *state;
    struct bytes batch = bytes_of_hex(vectors_java[CODEC_SNAPPY]);
    batch_stamp_time((uint8_t *)(uintptr_t)batch.data, batch.size, true, 99);
    struct record_stream *stream = open_stream(bench, batch);
    struct record record;
    while (record_stream_next(stream, &record)) {
        assert_int_equal(record.timestamp, 99);
    }
    assert_int_equal(record_stream_status(stream), STATUS_OK);
    record_stream_close(stream);
    bytes_free(batch);
}

/* The builder writes what Java wrote, to the last byte. */
static void test_builder_agrees_with_java(void **state)
{
    struct bench *bench = *state;
    struct batch_builder builder;
    struct bytes out;
    uint8_t value[140];
    memset(value, 'v', sizeof(value));
    const struct record_header headers[] = {
        {BYTES_LITERAL("h"), BYTES_LITERAL("x")},
        {BYTES_LITERAL("empty"), BYTES_LITERAL("")},
        {BYTES_LITERAL("null"), BYTES_NULL},
    };
    batch_builder_init(&builder, bench->memory, bench->memory_size);
    builder.header.leader_epoch = -1;
    builder.header.producer_id = 1234;
    builder.header.producer_epoch = 5;
    builder.header.base_sequence = 77;
    batch_builder_add(&builder, VECTOR_TIME, BYTES_LITERAL("key-0"), BYTES_LITERAL("value-0"), NULL,
                      0);
    batch_builder_add(&builder, VECTOR_TIME + 123, BYTES_NULL, BYTES_LITERAL("value-1"), headers,
                      3);
    batch_builder_add(&builder, VECTOR_TIME - 1, BYTES_LITERAL("key-2"), BYTES_NULL, NULL, 0);
    batch_builder_add(&builder, VECTOR_TIME + 1000, BYTES_LITERAL(""), bytes_of(value, 140), NULL,
                      0);
    assert_int_equal(batch_builder_finish(&builder, CODEC_NONE, 0, bench->scratch, 0, &out),
                     STATUS_OK);
    struct bytes expected = bytes_of_hex(vectors_java[CODEC_NONE]);
    assert_bytes_equal(out, expected);
    bytes_free(expected);
}

static void test_truncations_and_flips(void **state)
{
    struct bench *bench = *state;
    int32_t count;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct bytes batch = bytes_of_hex(vectors_java[codec]);
        for (size_t size = 0; size < batch.size; size++) {
            uint8_t *cut = malloc(size + 1);
            memcpy(cut, batch.data, size);
            enum status status = drain(bench, bytes_of(cut, size), &count);
            assert_int_equal(status,
                             size < BATCH_HEADER_SIZE ? STATUS_TRUNCATED : STATUS_CORRUPT_MESSAGE);
            free(cut);
        }
        uint8_t *data = (uint8_t *)(uintptr_t)batch.data;
        for (size_t bit = 0; bit < batch.size * 8; bit++) {
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            (void)!drain(bench, batch, &count); /* any answer, no crash */
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_int_equal(drain(bench, batch, &count), STATUS_OK);
        assert_int_equal(count, VECTOR_COUNT);
        bytes_free(batch);
    }
}

/* Records from one byte to above a MiB, most of them cut by the ends of slices. */
static void test_records_of_every_size(void **state)
{
    struct bench *bench = *state;
    size_t size_max = 1300000;
    uint8_t *value = malloc(size_max);
    uint32_t random = 3;
    for (size_t index = 0; index < size_max; index++) {
        random = random * 1664525 + 1013904223;
        value[index] = (uint8_t)(random >> 27);
    }
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct batch_builder builder;
        struct bytes out;
        batch_builder_init(&builder, bench->memory, bench->memory_size);
        int32_t count = 0;
        for (size_t size = 1; size < size_max; size += 1 + size / 3) {
            batch_builder_add(&builder, count, bytes_of(value + size % 100, size % 100),
                              bytes_of(value, size), NULL, 0);
            count++;
        }
        assert_false(builder.failed);
        assert_int_equal(
            batch_builder_finish(&builder, (enum codec)codec, 0, bench->scratch, 1000, &out),
            STATUS_OK);
        struct record_stream *stream = open_stream(bench, out);
        struct record record;
        size_t size = 1;
        for (int32_t index = 0; index < count; index++, size += 1 + size / 3) {
            assert_true(record_stream_next(stream, &record));
            assert_int_equal(record.offset, 1000 + index);
            assert_int_equal(record.timestamp, index);
            assert_bytes_equal(record.key, bytes_of(value + size % 100, size % 100));
            assert_bytes_equal(record.value, bytes_of(value, size));
        }
        assert_false(record_stream_next(stream, &record));
        assert_int_equal(record_stream_status(stream), STATUS_OK);
        record_stream_close(stream);
    }
    free(value);
}

/* What the cap and the budget refuse. */
static void test_limits(void **state)
{
    struct bench *bench = *state;
    uint8_t *zeros = calloc(1, MIB);
    for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        struct batch_builder builder;
        struct bytes out;
        batch_builder_init(&builder, bench->memory, bench->memory_size);
        batch_builder_add(&builder, 0, BYTES_NULL, bytes_of(zeros, MIB), NULL, 0);
        assert_int_equal(
            batch_builder_finish(&builder, (enum codec)codec, 0, bench->scratch, 0, &out),
            STATUS_OK);
        struct record_stream *stream;
        struct record record;
        assert_int_equal(record_stream_open(&stream, out, bench->scratch, MIB / 2), STATUS_OK);
        assert_false(record_stream_next(stream, &record));
        assert_int_equal(record_stream_status(stream), STATUS_MESSAGE_TOO_LARGE);
        record_stream_close(stream);

        struct heap heap;
        heap_init(&heap, MIB / 2);
        struct batch_scratch scratch = bench->scratch;
        scratch.heap = &heap;
        assert_int_equal(record_stream_open(&stream, out, scratch, 16 * MIB), STATUS_OK);
        assert_false(record_stream_next(stream, &record));
        assert_int_equal(record_stream_status(stream), STATUS_NO_MEMORY);
        record_stream_close(stream);
        heap_deinit(&heap);
    }
    free(zeros);
}

/* Compaction leaves gaps between offsets and batches without records; order it never changes. */
static void test_compacted_batches(void **state)
{
    struct bench *bench = *state;
    struct bytes batch = bytes_of_hex(vectors_java[CODEC_NONE]);
    uint8_t *data = (uint8_t *)(uintptr_t)batch.data;
    int32_t count;
    put_be32(data + 57, 0);
    assert_int_equal(drain(bench, bytes_of(data, BATCH_HEADER_SIZE), &count), STATUS_OK);
    assert_int_equal(count, 0);
    data[22] = CODEC_GZIP;
    assert_int_equal(drain(bench, bytes_of(data, BATCH_HEADER_SIZE), &count), STATUS_OK);
    data[22] = CODEC_NONE;
    put_be32(data + 57, 4);
    put_be32(data + 23, 30);
    assert_int_equal(data[BATCH_HEADER_SIZE + 3], 0); /* offset delta of the first record */
    assert_int_equal(drain(bench, batch, &count), STATUS_OK);
    data[BATCH_HEADER_SIZE + 3] = 2; /* 1, as the second's */
    assert_int_equal(drain(bench, batch, &count), STATUS_CORRUPT_MESSAGE);
    assert_int_equal(count, 1);
    data[BATCH_HEADER_SIZE + 3] = 0;
    put_be32(data + 23, 2); /* the last record lies behind the batch's end */
    assert_int_equal(drain(bench, batch, &count), STATUS_CORRUPT_MESSAGE);
    assert_int_equal(count, 3);
    bytes_free(batch);
}

static void test_builder_runs_out_of_room(void **state)
{
    struct bench *bench = *state;
    struct batch_builder builder;
    struct bytes out;
    struct bytes value = BYTES_LITERAL("0123456789");
    for (size_t size = 0; size < 130; size++) {
        uint8_t *memory = malloc(size + 1);
        batch_builder_init(&builder, memory, size);
        batch_builder_add(&builder, 0, BYTES_NULL, value, NULL, 0);
        batch_builder_add(&builder, 0, BYTES_NULL, value, NULL, 0);
        bool fits = size >= BATCH_HEADER_SIZE + 2 * 17;
        assert_int_equal(batch_builder_finish(&builder, CODEC_NONE, 0, bench->scratch, 0, &out),
                         fits ? STATUS_OK : STATUS_MESSAGE_TOO_LARGE);
        assert_int_equal(builder.failed, !fits);
        free(memory);
    }
    /* Bytes that grow when packed may not fit where they fitted plain. */
    uint8_t memory[BATCH_HEADER_SIZE + 17];
    batch_builder_init(&builder, memory, sizeof(memory));
    batch_builder_add(&builder, 0, BYTES_NULL, value, NULL, 0);
    assert_int_equal(batch_builder_finish(&builder, CODEC_GZIP, 0, bench->scratch, 0, &out),
                     STATUS_MESSAGE_TOO_LARGE);
}

static void test_malformed_headers(void **state)
{
    (void)state;
    static const char *const bad[] = {"01", "02", "0261", "026103", "02610462", "ffffffffff"};
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        struct bytes data = bytes_of_hex(bad[index]);
        struct bytes headers = data;
        struct record_header header;
        assert_false(record_header_next(&headers, &header));
        assert_null(headers.data);
        assert_false(record_header_next(&headers, &header));
        bytes_free(data);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_java_batches),
        TEST(test_log_append_time),
        TEST(test_builder_agrees_with_java),
        TEST(test_truncations_and_flips),
        TEST(test_records_of_every_size),
        TEST(test_limits),
        TEST(test_compacted_batches),
        TEST(test_builder_runs_out_of_room),
        TEST(test_malformed_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
