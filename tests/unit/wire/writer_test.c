/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/test.h"

#include "base/check.h"
#include "wire/frame.h"
#include "wire/produce.h"
#include "wire/writer.h"

struct fixture {
    struct pages *pages;
    struct arena arena;
    struct writer writer;
    uint8_t flat[256 * 1024];
};

static int setup(void **state)
{
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    struct pages_limits limits = {{4 * MIB, MIB, MIB}};
    fixture->pages = pages_open(&limits);
    arena_init(&fixture->arena, fixture->pages, MIB);
    writer_init(&fixture->writer, &fixture->arena);
    *state = fixture;
    return fixture->pages == NULL;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    arena_reset(&fixture->arena);
    pages_close(fixture->pages);
    test_free(fixture);
    return 0;
}

static struct bytes flatten(struct fixture *fixture)
{
    size_t size = writer_size(&fixture->writer);
    assert_false(fixture->writer.failed);
    assert_true(size <= sizeof(fixture->flat));
    writer_copy(&fixture->writer, fixture->flat);
    return bytes_of(fixture->flat, size);
}

static void test_forms(void **state)
{
    struct fixture *fixture = *state;
    struct writer *writer = &fixture->writer;
    writer_i8(writer, -1);
    writer_i16(writer, -2);
    writer_u32(writer, 0x01020304);
    writer_uvarint(writer, 300);
    writer_varint(writer, -1);
    writer_varlong(writer, INT64_MIN);
    writer_string(writer, false, BYTES_LITERAL("ab"));
    writer_string(writer, true, BYTES_LITERAL("ab"));
    writer_string(writer, true, BYTES_NULL);
    writer_string_nullable(writer, true, BYTES_NULL);
    writer_string_nullable(writer, false, BYTES_NULL);
    writer_bytes_nullable(writer, false, BYTES_NULL);
    writer_count(writer, false, -1);
    writer_count_nullable(writer, false, -1);
    writer_count_nullable(writer, true, 2);
    writer_presence(writer, false);
    writer_f64(writer, 1.5);
    assert_bytes_equal(flatten(fixture), BYTES_LITERAL("\xff\xff\xfe\x01\x02\x03\x04\xac\x02\x01"
                                                       "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                                                       "\x00\x02"
                                                       "ab\x03"
                                                       "ab\x01\x00\xff\xff\xff\xff\xff\xff"
                                                       "\x00\x00\x00\x00\xff\xff\xff\xff\x03\xff"
                                                       "\x3f\xf8\x00\x00\x00\x00\x00\x00"));
}

static void test_blocks_and_splices(void **state)
{
    struct fixture *fixture = *state;
    struct writer *writer = &fixture->writer;
    static const uint8_t foreign[100] = {9};
    for (int32_t i = 0; i < 10000; i++) {
        writer_i32(writer, i);
        if (i % 1000 == 0) {
            writer_splice(writer, bytes_of(foreign, sizeof(foreign)));
        }
    }
    assert_int_equal(writer_size(writer), 10000 * 4 + 10 * sizeof(foreign));
    int count = 0;
    const struct iovec *slices = writer_slices(writer, &count);
    int spliced = 0;
    for (int i = 0; i < count; i++) {
        assert_true(slices[i].iov_len > 0);
        spliced += slices[i].iov_base == foreign; /* by reference */
    }
    assert_int_equal(spliced, 10);
    struct bytes flat = flatten(fixture);
    assert_int_equal(get_be32(flat.data + 4 + sizeof(foreign)), 1);
    assert_int_equal(get_be32(flat.data + flat.size - 4), 9999);
}

static void test_patch(void **state)
{
    struct fixture *fixture = *state;
    struct writer *writer = &fixture->writer;
    uint8_t *place = frame_begin(writer);
    uint8_t *room = writer_room(writer, 1000); /* leaves the first block */
    memset(room, 1, 1000);
    frame_end(writer, place);
    struct bytes flat = flatten(fixture);
    assert_int_equal(flat.size, 1004);
    assert_int_equal(get_be32(flat.data), 1000);
}

static void test_tag_of_unknown_size(void **state)
{
    struct fixture *fixture = *state;
    struct writer *writer = &fixture->writer;
    struct writer body;
    writer_tag_begin(writer, &body, 3);
    for (int i = 0; i < 200; i++) {
        writer_i8(&body, 5);
    }
    writer_tag_end(writer, &body);
    struct bytes flat = flatten(fixture);
    assert_int_equal(flat.size, 203);
    assert_memory_equal(flat.data, "\x03\xc8\x01\x05\x05", 5);
}

static void test_refused_memory_is_sticky(void **state)
{
    struct fixture *fixture = *state;
    struct writer *writer = &fixture->writer;
    static const uint8_t large[2 * MIB];
    writer_i32(writer, 1);
    writer_raw(writer, bytes_of(large, sizeof(large)));
    assert_true(writer->failed);
    writer_i32(writer, 1);
    writer_string(writer, true, BYTES_LITERAL("x"));
    writer_splice(writer, bytes_of(large, 10));
    writer_patch_i32(writer_reserve_i32(writer), 1);
    struct writer body;
    writer_tag_begin(writer, &body, 1);
    writer_i8(&body, 1);
    writer_tag_end(writer, &body);
    assert_true(writer->failed);
    assert_int_equal(writer_size(writer), 0);
    int count = 1;
    writer_slices(writer, &count);
    assert_int_equal(count, 0);
}

static void test_records_of_several_slices(void **state)
{
    struct fixture *fixture = *state;
    const struct bytes items[] = {BYTES_LITERAL("abc"), BYTES_LITERAL(""), BYTES_LITERAL("de")};
    writer_records(&fixture->writer, false, (struct slices){items, 3});
    writer_records_nullable(&fixture->writer, true, (struct slices){items, 2});
    writer_records_nullable(&fixture->writer, true, (struct slices){NULL, -1});
    assert_bytes_equal(flatten(fixture), BYTES_LITERAL("\0\0\0\5"
                                                       "abcde\4"
                                                       "abc\0"));
}

/* Defaults of a struct: what a handler does not touch says "unknown", not zero. */
static void test_generated_defaults(void **state)
{
    struct fixture *fixture = *state;
    struct produce_response_partition partition;
    produce_response_partition_init(&partition);
    assert_true(partition.log_append_time_ms == -1);
    assert_int_equal(partition.current_leader.leader_epoch, -1);

    struct produce_response_topic topic;
    produce_response_topic_init(&topic);
    topic.name = BYTES_LITERAL("t");
    topic.partition_responses = &partition;
    topic.partition_responses_count = 1;
    struct produce_response response;
    produce_response_init(&response);
    response.responses = &topic;
    response.responses_count = 1;
    produce_response_encode(&fixture->writer, 10, &response);
    size_t plain = writer_size(&fixture->writer);
    partition.current_leader.leader_id = 7;
    produce_response_encode(&fixture->writer, 10, &response);
    /* A tagged field costs its tag, its size, two numbers and its own empty tag section. */
    assert_int_equal(writer_size(&fixture->writer) - 2 * plain, 2 + 8 + 1);

    struct bytes flat = flatten(fixture);
    struct reader reader;
    reader_init(&reader, bytes_of(flat.data + plain, flat.size - plain));
    struct produce_response back;
    assert_int_equal(produce_response_decode(&reader, 14, &fixture->arena, &back),
                     STATUS_UNSUPPORTED_VERSION);
    assert_int_equal(produce_response_decode(&reader, 10, &fixture->arena, &back), STATUS_OK);
    assert_true(reader_at_end(&reader));
    assert_bytes_equal(back.responses[0].name, BYTES_LITERAL("t"));
    assert_int_equal(back.responses[0].partition_responses[0].current_leader.leader_id, 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_forms),
        TEST(test_blocks_and_splices),
        TEST(test_patch),
        TEST(test_tag_of_unknown_size),
        TEST(test_refused_memory_is_sticky),
        TEST(test_records_of_several_slices),
        TEST(test_generated_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
