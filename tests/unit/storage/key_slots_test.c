/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/key_slots.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/random.h"
#include "tests/lib/test.h"

#define COUNT 20000

struct world {
    struct heap heap;
    struct supply supply;
    struct key_slots slots;
};

static void world_open(struct world *world, uint64_t size_max)
{
    heap_init(&world->heap, UINT64_C(1) << 30);
    supply_init(&world->supply, &world->heap, size_max, false);
    world->slots = (struct key_slots){0};
}

static void world_close(struct world *world)
{
    key_slots_free(&world->slots, &world->supply);
    supply_deinit(&world->supply);
    heap_deinit(&world->heap);
}

static void add(struct world *world, uint32_t hash, uint32_t handle)
{
    assert_true(key_slots_reserve(&world->slots, &world->supply));
    key_slots_add(&world->slots, hash, handle);
}

/* How often `handle` is handed out for `hash`; *all counts what is. */
static uint32_t found(const struct key_slots *slots, uint32_t hash, uint32_t handle, uint32_t *all)
{
    struct key_slots_cursor cursor = key_slots_begin(slots, hash);
    uint32_t count = 0;
    *all = 0;
    for (uint32_t next; (next = key_slots_next(slots, hash, &cursor)) != 0;) {
        count += next == handle;
        *all += 1;
    }
    return count;
}

/* Hashes that meet on purpose, at both ends: what does not fit runs over the end to the front. */
static void keys_that_collide_are_all_handed_out(void **state)
{
    (void)state;
    static const uint32_t hashes[] = {0, UINT32_MAX, 1, UINT32_MAX - 1, UINT32_C(1) << 31};
    struct world world;
    world_open(&world, UINT64_C(1) << 24);
    for (uint32_t i = 0; i < 100; i++) {
        for (uint32_t j = 0; j < ARRAY_COUNT(hashes); j++) {
            add(&world, hashes[j], 1 + i * 10 + j);
        }
    }
    uint32_t all;
    for (uint32_t i = 0; i < 100; i++) {
        for (uint32_t j = 0; j < ARRAY_COUNT(hashes); j++) {
            assert_int_equal(found(&world.slots, hashes[j], 1 + i * 10 + j, &all), 1);
            assert_int_equal(all, 100);
        }
    }
    assert_int_equal(found(&world.slots, 2, 1, &all), 0);
    assert_int_equal(all, 0);
    world_close(&world);
}

static void growing_loses_nothing(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, UINT64_C(1) << 24);
    struct random random;
    random_init(&random, 1);
    uint32_t *hashes = calloc(COUNT, sizeof(*hashes));
    uint32_t grown = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t before = world.slots.bucket_count;
        hashes[i] = (uint32_t)random_u64(&random);
        add(&world, hashes[i], i + 1);
        if (world.slots.bucket_count == before) {
            continue;
        }
        grown += 1;
        for (uint32_t j = 0; j <= i; j++) {
            uint32_t all;
            assert_int_equal(found(&world.slots, hashes[j], j + 1, &all), 1);
        }
    }
    assert_true(grown > 20);
    assert_int_equal(world.slots.count, COUNT);
    /* D2, D4: 8 bytes in at most 8 of 5.1, and what the last step has not used yet. */
    assert_true(world.slots.block_size <= UINT64_C(13) * COUNT);
    free(hashes);
    world_close(&world);
}

static void no_memory_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t size_max = 0; size_max < 5000; size_max += 331) {
        struct world world;
        world_open(&world, size_max);
        uint32_t count = 0;
        while (key_slots_reserve(&world.slots, &world.supply)) {
            key_slots_add(&world.slots, count * 2654435761U, count + 1);
            count += 1;
        }
        assert_false(key_slots_reserve(&world.slots, &world.supply));
        assert_int_equal(world.slots.count, count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t all;
            assert_int_equal(found(&world.slots, i * 2654435761U, i + 1, &all), 1);
        }
        world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_that_collide_are_all_handed_out),
        cmocka_unit_test(growing_loses_nothing),
        cmocka_unit_test(no_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
