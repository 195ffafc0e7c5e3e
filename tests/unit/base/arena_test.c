/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include "base/check.h"
#include "base/random.h"
#include "tests/lib/test.h"

static struct pages *open_pages(void)
{
    struct pages *pages =
        pages_open(&(struct pages_limits){.size_max = {64 * CHUNK_SIZE, CHUNK_SIZE, CHUNK_SIZE}});
    assert_non_null(pages);
    return pages;
}

static void idle_arena_owns_nothing(void **state)
{
    (void)state;
    struct pages *pages = open_pages();
    struct arena arena;
    arena_init(&arena, pages, MIB);
    assert_int_equal(pages_size(pages, PAGES_REQUEST), 0);
    assert_non_null(arena_acquire(&arena, 0));
    assert_int_equal(arena.size, PAGE_SIZE);
    arena_reset(&arena);
    assert_int_equal(pages_size(pages, PAGES_REQUEST), 0);
    pages_close(pages);
}

static void allocations_do_not_overlap(void **state)
{
    (void)state;
    struct pages *pages = open_pages();
    struct random random;
    struct arena arena;
    random_init(&random, 1);
    arena_init(&arena, pages, 40 * CHUNK_SIZE);
    for (size_t round = 0; round < 50; round++) {
        uint8_t *block[60];
        size_t size[60];
        for (size_t i = 0; i < 60; i++) {
            bool large = random_below(&random, 30) == 0;
            size[i] = random_below(&random, large ? 3 * CHUNK_SIZE : 900);
            block[i] = arena_acquire(&arena, size[i]);
            assert_non_null(block[i]);
            assert_int_equal((uintptr_t)block[i] % 16, 0);
            for (size_t j = 0; j < size[i]; j++) {
                assert_int_equal(block[i][j], 0);
            }
            memset(block[i], (int)i + 1, size[i]);
            uint8_t *bytes = arena_acquire_bytes(&arena, 3);
            assert_non_null(bytes);
            memset(bytes, 0xee, 3);
        }
        for (size_t i = 0; i < 60; i++) {
            for (size_t j = 0; j < size[i]; j++) {
                assert_int_equal(block[i][j], i + 1);
            }
        }
        arena_reset(&arena);
        assert_int_equal(arena.size, 0);
    }
    pages_close(pages);
}

static void failure_is_sticky(void **state)
{
    (void)state;
    struct pages *pages = open_pages();
    struct arena arena;
    arena_init(&arena, pages, CHUNK_SIZE + PAGE_SIZE);
    assert_non_null(arena_acquire(&arena, 100));
    assert_null(arena_acquire(&arena, 2 * CHUNK_SIZE));
    assert_true(arena.failed);
    assert_null(arena_acquire(&arena, 1));
    assert_null(arena_acquire_bytes(&arena, 1));
    arena_reset(&arena);
    assert_false(arena.failed);
    assert_non_null(arena_acquire(&arena, 1));
    assert_null(arena_acquire_array(&arena, SIZE_MAX / 2, 4));
    assert_true(arena.failed);
    arena_reset(&arena);
    assert_null(arena_acquire(&arena, SIZE_MAX - 20));
    arena_reset(&arena);
    pages_close(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_arena_owns_nothing),
        cmocka_unit_test(allocations_do_not_overlap),
        cmocka_unit_test(failure_is_sticky),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
