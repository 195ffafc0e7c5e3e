/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/frame.h"

#include "base/check.h"
#include "tests/lib/test.h"
#include "wire/api_versions.h"
#include "wire/header.h"
#include "wire/produce.h"

static void test_sizes(void **state)
{
    (void)state;
    assert_true(frame_size_is_valid(FRAME_HEAD_SIZE, FRAME_SIZE_MAX));
    assert_true(frame_size_is_valid(FRAME_SIZE_MAX, FRAME_SIZE_MAX));
    assert_false(frame_size_is_valid(FRAME_SIZE_MAX + 1, FRAME_SIZE_MAX));
    assert_false(frame_size_is_valid(FRAME_HEAD_SIZE - 1, FRAME_SIZE_MAX));
    assert_false(frame_size_is_valid(-1, FRAME_SIZE_MAX));
    assert_false(frame_size_is_valid(INT32_MIN, FRAME_SIZE_MAX));
}

static void test_header_versions(void **state)
{
    (void)state;
    assert_int_equal(FRAME_API_VERSIONS_KEY, API_VERSIONS_KEY);
    assert_int_equal(frame_request_header_version(false), 1);
    assert_int_equal(frame_request_header_version(true), 2);
    assert_int_equal(frame_response_header_version(PRODUCE_KEY, false), 0);
    assert_int_equal(frame_response_header_version(PRODUCE_KEY, true), 1);
    /* A client that asks what we speak cannot know the form of the answer's header. */
    assert_int_equal(frame_response_header_version(API_VERSIONS_KEY, true), 0);
}

/* The head is the same in all versions; the client id keeps its 2-byte size in version 2. */
static void test_head_of_any_version(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 18, 0x7f, 0xff, 0, 0, 0, 7, 0, 2, 'm', 'e', 0};
    struct frame_head head;
    assert_false(frame_head_decode(&head, bytes_of(bytes, FRAME_HEAD_SIZE - 1)));
    assert_true(frame_head_decode(&head, bytes_of(bytes, sizeof(bytes))));
    assert_int_equal(head.key, API_VERSIONS_KEY);
    assert_int_equal(head.version, 32767);
    assert_int_equal(head.correlation_id, 7);

    for (int16_t version = 1; version <= 2; version++) {
        struct reader reader;
        struct request_header header;
        reader_init(&reader, bytes_of(bytes, sizeof(bytes) - (version == 1 ? 1 : 0)));
        assert_int_equal(request_header_decode(&reader, version, NULL, &header), STATUS_OK);
        assert_bytes_equal(header.client_id, BYTES_LITERAL("me"));
        assert_true(reader_at_end(&reader));
    }
}

/* librdkafka and others may send no client id at all. */
static void test_null_client_id(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 0};
    struct reader reader;
    struct request_header header;
    reader_init(&reader, bytes_of(bytes, sizeof(bytes)));
    assert_int_equal(request_header_decode(&reader, 2, NULL, &header), STATUS_OK);
    assert_null(header.client_id.data);
    assert_true(reader_at_end(&reader));
}

static void test_frame_around_a_response(void **state)
{
    (void)state;
    struct pages_limits limits = {{MIB, MIB, MIB}};
    struct pages *pages = pages_open(&limits);
    struct arena arena;
    arena_init(&arena, pages, MIB);
    struct writer writer;
    writer_init(&writer, &arena);
    uint8_t *place = frame_begin(&writer);
    struct response_header header = {.correlation_id = 9};
    response_header_encode(&writer, 1, &header);
    frame_end(&writer, place);
    uint8_t flat[9];
    assert_int_equal(writer_size(&writer), sizeof(flat));
    writer_copy(&writer, flat);
    assert_memory_equal(flat, "\0\0\0\5\0\0\0\11\0", sizeof(flat));
    arena_reset(&arena);
    pages_close(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_header_versions),
        cmocka_unit_test(test_head_of_any_version),
        cmocka_unit_test(test_null_client_id),
        cmocka_unit_test(test_frame_around_a_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
