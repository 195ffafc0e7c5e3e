/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/byte_set.h"

#include "tests/lib/test.h"

#define KEYS 3000

static struct pages *pages_make(size_t size)
{
    struct pages_limits limits = {.size_max = {[PAGES_REQUEST] = size}};
    struct pages *pages = pages_open(&limits);
    assert_non_null(pages);
    return pages;
}

static void test_first_value_stays(void **state)
{
    (void)state;
    struct pages *pages = pages_make(4 << 20);
    struct arena arena;
    arena_init(&arena, pages, 4 << 20);
    struct byte_set set;
    assert_true(byte_set_init(&set, &arena, KEYS, 7));
    static int32_t keys[KEYS];
    for (int32_t i = 0; i < KEYS; i++) {
        keys[i] = i;
        struct bytes key = bytes_of((const uint8_t *)&keys[i], sizeof(keys[i]));
        assert_int_equal(byte_set_find(&set, key), BYTE_SET_ABSENT);
        assert_int_equal(byte_set_add(&set, key, i), BYTE_SET_ABSENT);
        assert_int_equal(byte_set_add(&set, key, 1), i);
    }
    for (int32_t i = 0; i < KEYS; i++) {
        int32_t copy = i;
        assert_int_equal(byte_set_find(&set, bytes_of((const uint8_t *)&copy, sizeof(copy))), i);
    }
    assert_int_equal(byte_set_find(&set, BYTES_LITERAL("absent")), BYTE_SET_ABSENT);
    arena_reset(&arena);
    pages_close(pages);
}

/* The empty string is a key like another, and an empty set answers. */
static void test_edges(void **state)
{
    (void)state;
    struct pages *pages = pages_make(1 << 20);
    struct arena arena;
    arena_init(&arena, pages, 1 << 20);
    struct byte_set set;
    assert_true(byte_set_init(&set, &arena, 0, 7));
    assert_int_equal(byte_set_find(&set, BYTES_NULL), BYTE_SET_ABSENT);
    assert_int_equal(byte_set_add(&set, BYTES_NULL, 0), BYTE_SET_ABSENT);
    assert_int_equal(byte_set_add(&set, BYTES_LITERAL(""), 5), 0);
    assert_false(byte_set_init(&set, &arena, SIZE_MAX / 64, 7));
    arena_reset(&arena);
    pages_close(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_value_stays),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
