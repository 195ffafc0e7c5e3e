/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pages.h"

#include <stdio.h>

#include "base/check.h"
#include "base/random.h"
#include "tests/lib/test.h"

static struct pages *open_pages(size_t request, size_t slab, size_t cache)
{
    struct pages *pages = pages_open(&(struct pages_limits){
        .size_max = {request * CHUNK_SIZE, slab * CHUNK_SIZE, cache * CHUNK_SIZE}});
    assert_non_null(pages);
    return pages;
}

/* Resident bytes of this process, from the kernel. */
static size_t resident(void)
{
    unsigned long total;
    unsigned long count;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &count), 2);
    fclose(file);
    return count * PAGE_SIZE;
}

static void share_limits_hold(void **state)
{
    (void)state;
    struct pages *pages = open_pages(4, 2, 1);
    uint8_t *run = pages_acquire_run(pages, 3 * CHUNK_SIZE - 5, PAGES_REQUEST);
    assert_non_null(run);
    assert_int_equal(pages_size(pages, PAGES_REQUEST), 3 * CHUNK_SIZE);
    assert_null(pages_acquire_run(pages, 2 * CHUNK_SIZE, PAGES_REQUEST));
    uint8_t *page = pages_acquire_page(pages, PAGES_REQUEST);
    assert_non_null(page);
    assert_null(pages_acquire_run(pages, 1, PAGES_REQUEST));
    /* A share that is spent does not touch its neighbours. */
    uint8_t *cache = pages_acquire_run(pages, 1, PAGES_CACHE);
    assert_non_null(cache);
    assert_null(pages_acquire_page(pages, PAGES_CACHE));
    pages_release_run(pages, run, 3 * CHUNK_SIZE - 5, PAGES_REQUEST);
    pages_release_page(pages, page, PAGES_REQUEST);
    pages_release_run(pages, cache, 1, PAGES_CACHE);
    for (enum pages_share share = 0; share < PAGES_SHARES; share++) {
        assert_int_equal(pages_size(pages, share), 0);
    }
    assert_int_equal(pages_size_max(pages, PAGES_SLAB), 2 * CHUNK_SIZE);
    pages_close(pages);
}

static void sixteen_pages_share_a_chunk(void **state)
{
    (void)state;
    struct pages *pages = open_pages(2, 1, 1);
    uint8_t *page[32];
    for (size_t i = 0; i < 32; i++) {
        page[i] = pages_acquire_page(pages, PAGES_REQUEST);
        assert_non_null(page[i]);
        assert_int_equal((uintptr_t)page[i] % PAGE_SIZE, 0);
        memset(page[i], (int)i, PAGE_SIZE);
        assert_int_equal(pages_size(pages, PAGES_REQUEST), (i / 16 + 1) * CHUNK_SIZE);
    }
    assert_null(pages_acquire_page(pages, PAGES_REQUEST));
    pages_release_page(pages, page[5], PAGES_REQUEST);
    page[5] = pages_acquire_page(pages, PAGES_REQUEST);
    assert_non_null(page[5]);
    memset(page[5], 5, PAGE_SIZE);
    for (size_t i = 0; i < 32; i++) {
        assert_int_equal(page[i][0], i);
        assert_int_equal(page[i][PAGE_SIZE - 1], i);
        pages_release_page(pages, page[i], PAGES_REQUEST);
    }
    assert_int_equal(pages_size(pages, PAGES_REQUEST), 0);
    pages_close(pages);
}

static void charge_moves_between_shares(void **state)
{
    (void)state;
    struct pages *pages = open_pages(1, 2, 1);
    uint8_t *run = pages_acquire_run(pages, CHUNK_SIZE, PAGES_SLAB);
    uint8_t *other = pages_acquire_run(pages, CHUNK_SIZE, PAGES_SLAB);
    assert_true(pages_move_run(pages, CHUNK_SIZE, PAGES_SLAB, PAGES_CACHE));
    assert_false(pages_move_run(pages, CHUNK_SIZE, PAGES_SLAB, PAGES_CACHE));
    assert_int_equal(pages_size(pages, PAGES_SLAB), CHUNK_SIZE);
    assert_int_equal(pages_size(pages, PAGES_CACHE), CHUNK_SIZE);
    pages_release_run(pages, run, CHUNK_SIZE, PAGES_CACHE);
    pages_release_run(pages, other, CHUNK_SIZE, PAGES_SLAB);
    pages_close(pages);
}

/* Only what was written is resident, warm chunks stay so, and trimming gives them back. */
static void memory_follows_use(void **state)
{
    (void)state;
    size_t before = resident();
    struct pages *pages = open_pages(4096, 4096, 8192); /* 1 GiB */
#ifndef __SANITIZE_ADDRESS__
    assert_true(resident() < before + 200 * KIB);
#endif
    uint8_t *run[9];
    for (size_t i = 0; i < 9; i++) {
        size_t size = i == 8 ? 40 * CHUNK_SIZE : CHUNK_SIZE;
        run[i] = pages_acquire_run(pages, size, PAGES_CACHE);
        assert_non_null(run[i]);
        memset(run[i], 1, size);
    }
    size_t used = resident();
    assert_true(used >= before + 48 * CHUNK_SIZE);
    for (size_t i = 0; i < 9; i++) {
        pages_release_run(pages, run[i], i == 8 ? 40 * CHUNK_SIZE : CHUNK_SIZE, PAGES_CACHE);
    }
    assert_true(resident() + 4 * CHUNK_SIZE >= used);
    pages_trim(pages, 48 * CHUNK_SIZE);
    assert_true(resident() + 4 * CHUNK_SIZE >= used);
    for (size_t i = 0; i < 8; i++) {
        pages_trim(pages, 0);
    }
    assert_true(resident() + 44 * CHUNK_SIZE <= used);
    pages_close(pages);
}

/* Charged and warm memory together stay within the budget (the sum of all shares). */
static void warm_memory_makes_room(void **state)
{
    (void)state;
    struct pages *pages = open_pages(64, 64, 64);
    size_t before = resident();
    uint8_t *run[64];
    for (size_t round = 0; round < 20; round++) {
        size_t size = (round % 7 + 1) * CHUNK_SIZE;
        size_t count = 64 / (round % 7 + 1);
        for (size_t i = 0; i < count; i++) {
            run[i] = pages_acquire_run(pages, size, PAGES_REQUEST);
            assert_non_null(run[i]);
            memset(run[i], 1, size);
        }
        for (size_t i = 0; i < count; i++) {
            size_t index = round % 2 == 0 ? i : count - 1 - i;
            pages_release_run(pages, run[index], size, PAGES_REQUEST);
        }
        assert_true(resident() <= before + (192 + 64) * CHUNK_SIZE);
    }
    pages_close(pages);
}

struct held {
    uint8_t *memory;
    size_t size; /* 0: a page */
    enum pages_share share;
    uint8_t mark;
};

static void held_acquire(struct pages *pages, struct random *random, struct held *held)
{
    held->share = (enum pages_share)random_below(random, PAGES_SHARES);
    held->size = random_below(random, 3) == 0 ? 0 : random_below(random, 9 * CHUNK_SIZE) + 1;
    held->mark = (uint8_t)random_u64(random);
    held->memory = held->size == 0 ? pages_acquire_page(pages, held->share)
                                   : pages_acquire_run(pages, held->size, held->share);
    if (held->memory != NULL) {
        memset(held->memory, held->mark, held->size == 0 ? PAGE_SIZE : held->size);
    }
}

static void held_release(struct pages *pages, struct held *held)
{
    size_t size = held->size == 0 ? PAGE_SIZE : held->size;
    for (size_t i = 0; i < size; i += 509) {
        assert_int_equal(held->memory[i], held->mark);
    }
    if (held->size == 0) {
        pages_release_page(pages, held->memory, held->share);
    } else {
        pages_release_run(pages, held->memory, held->size, held->share);
    }
    held->memory = NULL;
}

/* Nothing is handed out twice, whatever the order of sizes. */
static void random_use(void **state)
{
    (void)state;
    struct pages *pages = open_pages(60, 50, 40);
    struct random random;
    random_init(&random, 42);
    struct held held[120] = {0};
    for (size_t i = 0; i < 20000; i++) {
        struct held *one = &held[random_below(&random, ARRAY_COUNT(held))];
        if (one->memory == NULL) {
            held_acquire(pages, &random, one);
        } else {
            held_release(pages, one);
        }
        if (random_below(&random, 200) == 0) {
            pages_trim(pages, random_below(&random, 40) * CHUNK_SIZE);
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(held); i++) {
        if (held[i].memory != NULL) {
            held_release(pages, &held[i]);
        }
    }
    pages_close(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(share_limits_hold),
        cmocka_unit_test(sixteen_pages_share_a_chunk),
        cmocka_unit_test(charge_moves_between_shares),
        cmocka_unit_test(memory_follows_use),
        cmocka_unit_test(warm_memory_makes_room),
        cmocka_unit_test(random_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
