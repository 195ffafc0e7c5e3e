/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/test.h"

#include "base/check.h"
#include "wire/reader.h"

static struct pages *pages_of_test(void)
{
    struct pages_limits limits = {{4 * MIB, MIB, MIB}};
    struct pages *pages = pages_open(&limits);
    assert_non_null(pages);
    return pages;
}

#define READER(...)                                                                                \
    ({                                                                                             \
        static const uint8_t input[] = {__VA_ARGS__};                                              \
        struct reader reader_of_input;                                                             \
        reader_init(&reader_of_input, bytes_of(input, sizeof(input)));                             \
        reader_of_input;                                                                           \
    })

static void test_fixed(void **state)
{
    (void)state;
    struct reader reader =
        READER(0xff, 0x01, 0x80, 0x00, 0xff, 0xfe, 0x80, 0x00, 0x00, 0x01, 0x7f, 0xff, 0xff, 0xff,
               0xff, 0xff, 0xff, 0xfe, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0);
    assert_int_equal(reader_i8(&reader), -1);
    assert_true(reader_bool(&reader));
    assert_int_equal(reader_i16(&reader), -32768);
    assert_int_equal(reader_u16(&reader), 65534);
    assert_int_equal(reader_i32(&reader), -2147483647);
    assert_true(reader_i64(&reader) == INT64_MAX - 1);
    assert_true(reader_f64(&reader) == 1.5);
    assert_true(reader_at_end(&reader));
}

static void test_failure_is_sticky(void **state)
{
    (void)state;
    struct reader reader = READER(0x01, 0x02, 0x03);
    assert_int_equal(reader_i32(&reader), 0);
    assert_int_equal(reader_status(&reader), STATUS_TRUNCATED);
    /* The bytes that are still there are no longer given out, and the first status stays. */
    assert_int_equal(reader_i8(&reader), 0);
    assert_int_equal(reader_uvarint(&reader), 0);
    assert_null(reader_string(&reader, false).data);
    assert_int_equal(reader_count(&reader, true, 1), 0);
    reader_fail(&reader, STATUS_MALFORMED);
    assert_int_equal(reader_status(&reader), STATUS_TRUNCATED);
    assert_false(reader_at_end(&reader));
}

static void test_varints(void **state)
{
    (void)state;
    struct reader reader = READER(0x00, 0x7f, 0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x80, 0x00);
    assert_int_equal(reader_uvarint(&reader), 0);
    assert_int_equal(reader_uvarint(&reader), 127);
    assert_int_equal(reader_uvarint(&reader), 128);
    assert_true(reader_uvarint(&reader) == UINT32_MAX);
    assert_int_equal(reader_uvarint(&reader), 0);
    assert_true(reader_at_end(&reader));

    struct reader zigzag = READER(0x00, 0x01, 0x02, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff,
                                  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01);
    assert_int_equal(reader_varint(&zigzag), 0);
    assert_int_equal(reader_varint(&zigzag), -1);
    assert_int_equal(reader_varint(&zigzag), 1);
    assert_true(reader_varint(&zigzag) == INT32_MIN);
    assert_true(reader_varlong(&zigzag) == INT64_MIN);
    assert_true(reader_at_end(&zigzag));

    struct reader wide = READER(0xff, 0xff, 0xff, 0xff, 0x10);
    reader_uvarint(&wide);
    assert_int_equal(reader_status(&wide), STATUS_MALFORMED);
    struct reader endless = READER(0x80, 0x80, 0x80, 0x80, 0x80, 0x00);
    reader_uvarint(&endless);
    assert_int_equal(reader_status(&endless), STATUS_MALFORMED);
    struct reader cut = READER(0x80);
    reader_uvarint(&cut);
    assert_int_equal(reader_status(&cut), STATUS_TRUNCATED);
}

static void test_strings(void **state)
{
    (void)state;
    struct reader reader = READER(0, 2, 'a', 'b', 0, 0, 0xff, 0xff, 3, 'c', 'd', 1, 0);
    assert_bytes_equal(reader_string(&reader, false), BYTES_LITERAL("ab"));
    struct bytes empty = reader_string(&reader, false);
    assert_non_null(empty.data);
    assert_int_equal(empty.size, 0);
    assert_null(reader_string_nullable(&reader, false).data);
    assert_bytes_equal(reader_string(&reader, true), BYTES_LITERAL("cd"));
    assert_non_null(reader_string_nullable(&reader, true).data);
    assert_null(reader_string_nullable(&reader, true).data);
    assert_true(reader_at_end(&reader));

    struct reader null_string = READER(0xff, 0xff);
    reader_string(&null_string, false);
    assert_int_equal(reader_status(&null_string), STATUS_MALFORMED);
    struct reader negative = READER(0xff, 0xfe);
    reader_string_nullable(&negative, false);
    assert_int_equal(reader_status(&negative), STATUS_MALFORMED);
    struct reader too_long = READER(0x81, 0x80, 0x02); /* 32768 + 1 */
    reader_string(&too_long, true);
    assert_int_equal(reader_status(&too_long), STATUS_MALFORMED);
    struct reader cut = READER(0, 0, 0, 9, 1, 2);
    assert_null(reader_bytes(&cut, false).data);
    assert_int_equal(reader_status(&cut), STATUS_TRUNCATED);
}

static void test_arrays_are_judged_before_memory(void **state)
{
    (void)state;
    struct pages *pages = pages_of_test();
    struct arena arena;
    arena_init(&arena, pages, MIB);

    struct reader huge = READER(0x7f, 0xff, 0xff, 0xff, 0, 0);
    int32_t count = reader_count(&huge, false, 1);
    assert_int_equal(count, 0);
    assert_int_equal(reader_status(&huge), STATUS_TRUNCATED);
    assert_null(reader_array(&huge, &arena, &count, 1000));
    assert_int_equal(arena.size, 0);

    struct reader exact = READER(3, 1, 2, 3, 4);
    assert_int_equal(reader_count(&exact, true, 2), 2);
    struct reader beyond = READER(3, 1, 2, 3);
    assert_int_equal(reader_count(&beyond, true, 2), 0);
    struct reader absent = READER(0);
    assert_int_equal(reader_count_nullable(&absent, true, 2), -1);
    assert_int_equal(reader_status(&absent), STATUS_OK);
    struct reader refused = READER(0);
    assert_int_equal(reader_count(&refused, true, 2), 0);
    assert_int_equal(reader_status(&refused), STATUS_MALFORMED);

    count = 1 << 20;
    struct reader any = READER(1);
    assert_null(reader_array(&any, &arena, &count, 1 << 10));
    assert_int_equal(count, 0);
    assert_int_equal(reader_status(&any), STATUS_NO_MEMORY);
    arena_reset(&arena);
    pages_close(pages);
}

static void test_records(void **state)
{
    (void)state;
    struct pages *pages = pages_of_test();
    struct arena arena;
    arena_init(&arena, pages, MIB);
    struct reader reader = READER(0, 0, 0, 3, 7, 8, 9, 0, 4, 1, 2, 3);
    struct slices records = reader_records(&reader, &arena, false);
    assert_int_equal(records.count, 1);
    assert_int_equal(records.items[0].size, 3);
    assert_ptr_equal(records.items[0].data, reader.cursor - 3); /* in place, not a copy */
    assert_int_equal(reader_records_nullable(&reader, &arena, true).count, -1);
    assert_int_equal(reader_records(&reader, &arena, true).items[0].size, 3);
    assert_true(reader_at_end(&reader));
    arena_reset(&arena);
    pages_close(pages);
}

static void test_tags(void **state)
{
    (void)state;
    struct reader reader = READER(3, 0, 2, 0x12, 0x34, 5, 1, 0xaa, 9, 0, 0x77);
    int16_t known = 0;
    int seen = 0;
    for (struct reader_tags tags = reader_tags(&reader); reader_tags_next(&reader, &tags); seen++) {
        if (tags.number == 0) {
            known = reader_i16(&tags.body);
        } else {
            reader_skip(&tags.body);
        }
    }
    assert_int_equal(seen, 3);
    assert_int_equal(known, 0x1234);
    assert_int_equal(reader_i8(&reader), 0x77);
    assert_true(reader_at_end(&reader));

    struct reader unread = READER(1, 0, 2, 0x12, 0x34);
    struct reader_tags tags = reader_tags(&unread);
    assert_true(reader_tags_next(&unread, &tags));
    reader_i8(&tags.body);
    assert_false(reader_tags_next(&unread, &tags));
    assert_int_equal(reader_status(&unread), STATUS_MALFORMED);

    struct reader short_body = READER(1, 0, 1, 0x12, 0x34);
    tags = reader_tags(&short_body);
    assert_true(reader_tags_next(&short_body, &tags));
    reader_i16(&tags.body);
    assert_false(reader_tags_next(&short_body, &tags));
    assert_int_equal(reader_status(&short_body), STATUS_MALFORMED);

    struct reader skipped = READER(2, 0, 1, 0xff, 4, 0, 0x55);
    reader_skip_tags(&skipped);
    assert_int_equal(reader_i8(&skipped), 0x55);
    struct reader cut = READER(2, 0, 1, 0xff, 4);
    reader_skip_tags(&cut);
    assert_int_equal(reader_status(&cut), STATUS_TRUNCATED);
    struct reader many = READER(0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0);
    reader_skip_tags(&many);
    assert_int_equal(reader_status(&many), STATUS_TRUNCATED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_failure_is_sticky),
        cmocka_unit_test(test_varints),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_arrays_are_judged_before_memory),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
