/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/memtable.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/random.h"
#include "tests/lib/test.h"

#define KEYS 300 /* of the model */

static const enum memtable_locks policies[] = {MEMTABLE_LOCKS_NONE, MEMTABLE_LOCKS_ONE,
                                               MEMTABLE_LOCKS_SHARDS};

static uint64_t clock_step(void *clock)
{
    uint64_t *now = clock;
    *now += 100;
    return *now;
}

struct world {
    struct heap heap;
    struct memtable *memtable;
    uint64_t now_ns;
};

static void world_open(struct world *world, struct memtable_options options)
{
    heap_init(&world->heap, UINT64_C(1) << 30);
    world->now_ns = 0;
    options.heap = &world->heap;
    options.size_max = options.size_max == 0 ? UINT64_C(1) << 28 : options.size_max;
    world->memtable = memtable_open(&options);
    assert_non_null(world->memtable);
}

static void world_close(struct world *world)
{
    memtable_close(world->memtable);
    heap_deinit(&world->heap);
}

static void put(struct memtable *memtable, const char *key, int64_t offset)
{
    struct key_item item = {bytes_of_text(key), {.offset = offset}};
    uint32_t taken;
    assert_int_equal(memtable_put(memtable, &item, 1, &taken), STATUS_OK);
    assert_int_equal(taken, 1);
}

/* -1: not there. */
static int64_t get(struct memtable *memtable, const char *key)
{
    struct key_entry entry;
    return memtable_get(memtable, bytes_of_text(key), &entry) ? entry.offset : -1;
}

struct text_sink {
    struct key_sink sink;
    char text[8192];
    size_t size;
    enum status answer;
};

static enum status text_take(struct key_sink *sink, const struct key_item *items, uint32_t count)
{
    struct text_sink *text = CONTAINER_OF(sink, struct text_sink, sink);
    for (uint32_t i = 0; i < count; i++) {
        text->size +=
            (size_t)snprintf(text->text + text->size, sizeof(text->text) - text->size,
                             "%.*s%s%lld ", (int)items[i].key.size, (const char *)items[i].key.data,
                             (items[i].entry.flags & KEY_REMOVED) != 0 ? "-" : "=",
                             (long long)items[i].entry.offset);
    }
    return text->answer;
}

static void expect_flush(struct memtable *memtable, const char *expected)
{
    struct text_sink sink = {.sink = {.take = text_take}};
    assert_int_equal(memtable_flush(memtable, &sink.sink, UINT64_MAX), STATUS_OK);
    assert_string_equal(sink.text, expected);
}

static void expect_scan(struct memtable *memtable, const char *expected)
{
    char text[256] = "";
    size_t size = 0;
    struct memtable_scan *scan = memtable_scan_open(memtable, &(struct memtable_scan_options){0});
    assert_non_null(scan);
    struct key_item item;
    while (memtable_scan_next(scan, &item)) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%.*s=%lld ", (int)item.key.size,
                                 (const char *)item.key.data, (long long)item.entry.offset);
    }
    memtable_scan_close(scan);
    assert_string_equal(text, expected);
}

static void the_newest_offset_wins(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, (struct memtable_options){.shard_count = 4});
    struct memtable *memtable = world.memtable;
    assert_int_equal(get(memtable, "a"), -1);
    put(memtable, "a", 5);
    put(memtable, "a", 3);
    assert_int_equal(get(memtable, "a"), 5);
    put(memtable, "a", 7);
    put(memtable, "", 8);
    assert_int_equal(get(memtable, "a"), 7);
    assert_int_equal(get(memtable, ""), 8);
    assert_int_equal(memtable_counters(memtable).count, 2);
    assert_int_equal(memtable_remove(memtable, BYTES_LITERAL("a"), 6), STATUS_OK);
    assert_int_equal(get(memtable, "a"), 7);
    assert_int_equal(memtable_remove(memtable, BYTES_LITERAL("a"), 7), STATUS_OK);
    assert_int_equal(get(memtable, "a"), -1);
    assert_int_equal(memtable_counters(memtable).count, 1);
    put(memtable, "a", 6);
    assert_int_equal(get(memtable, "a"), -1);
    put(memtable, "a", 9);
    expect_scan(memtable, "=8 a=9 ");
    world_close(&world);
}

static void every_field_comes_back(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, (struct memtable_options){.shard_count = 32, .hash_seed = 4});
    struct key_entry entry = {
        .offset = 1, .timestamp = 2, .position = 3, .size = 4, .flags = KEY_TOMBSTONE};
    struct key_item item = {BYTES_LITERAL("k"), entry};
    uint32_t taken;
    assert_int_equal(memtable_put(world.memtable, &item, 1, &taken), STATUS_OK);
    struct key_entry found = {0};
    assert_true(memtable_get(world.memtable, item.key, &found));
    assert_int_equal(found.offset, 1);
    assert_int_equal(found.timestamp, 2);
    assert_int_equal(found.position, 3);
    assert_int_equal(found.size, 4);
    assert_int_equal(found.flags, KEY_TOMBSTONE);
    world_close(&world);
}

static void a_snapshot_stays_as_it_was(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(policies); i++) {
        struct world world;
        world_open(&world, (struct memtable_options){.shard_count = 3,
                                                     .locks = policies[i],
                                                     .bloom_rate = 0.01,
                                                     .bloom_count = 100});
        struct memtable *memtable = world.memtable;
        put(memtable, "a", 1);
        put(memtable, "b", 2);
        put(memtable, "c", 3);
        assert_int_equal(memtable_snapshot(memtable), STATUS_OK);
        assert_int_equal(memtable_snapshot(memtable), STATUS_PENDING);
        put(memtable, "a", 4);
        put(memtable, "b", 1); /* older than what the snapshot has */
        assert_int_equal(memtable_remove(memtable, BYTES_LITERAL("c"), 5), STATUS_OK);
        assert_int_equal(memtable_remove(memtable, BYTES_LITERAL("x"), 6), STATUS_OK);
        put(memtable, "d", 7);
        expect_scan(memtable, "a=4 b=2 d=7 ");
        assert_int_equal(get(memtable, "b"), 2);
        assert_int_equal(get(memtable, "c"), -1);
        expect_flush(memtable, "a=1 b=2 c=3 ");
        expect_flush(memtable, "a=1 b=2 c=3 ");
        assert_int_equal(memtable_release(memtable), STATUS_OK);
        assert_int_equal(memtable_release(memtable), STATUS_OK);
        expect_scan(memtable, "a=4 b=1 d=7 ");
        assert_int_equal(memtable_snapshot(memtable), STATUS_OK);
        expect_flush(memtable, "a=4 b=1 c-5 d=7 ");
        assert_int_equal(memtable_release(memtable), STATUS_OK);
        assert_int_equal(memtable_counters(memtable).count, 0);
        expect_scan(memtable, "");
        world_close(&world);
    }
}

static void a_flush_goes_in_slices_and_again_after_a_failure(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, (struct memtable_options){.shard_count = 5});
    struct memtable *memtable = world.memtable;
    for (int i = 0; i < 500; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%03d", i);
        put(memtable, key, i);
    }
    assert_int_equal(memtable_snapshot(memtable), STATUS_OK);
    struct text_sink sink = {.sink = {.take = text_take}};
    uint32_t slices = 0;
    enum status status;
    do {
        sink.size = 0;
        status = memtable_flush(memtable, &sink.sink, 1);
        slices += 1;
    } while (status == STATUS_PENDING);
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(slices, 8);
    sink.answer = STATUS_IO;
    sink.size = 0;
    assert_int_equal(memtable_flush(memtable, &sink.sink, UINT64_MAX), STATUS_IO);
    sink.answer = STATUS_PENDING;
    sink.size = 0;
    assert_int_equal(memtable_flush(memtable, &sink.sink, UINT64_MAX), STATUS_PENDING);
    assert_memory_equal(sink.text, "k000=0 k001=1 ", 14);
    world_close(&world); /* with the snapshot still out */
}

static void a_scan_outlives_the_snapshot_it_began_with(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, (struct memtable_options){.shard_count = 2, .locks = MEMTABLE_LOCKS_SHARDS});
    struct memtable *memtable = world.memtable;
    char key[16];
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof(key), "k%03d", i);
        put(memtable, key, i);
    }
    struct memtable_scan *scan = memtable_scan_open(memtable, &(struct memtable_scan_options){0});
    struct key_item item;
    for (int i = 0; i < 10; i++) {
        assert_true(memtable_scan_next(scan, &item));
    }
    assert_int_equal(memtable_snapshot(memtable), STATUS_OK);
    for (int i = 0; i < 400; i += 2) {
        snprintf(key, sizeof(key), "k%03d", i);
        put(memtable, key, 1000 + i);
    }
    assert_int_equal(memtable_release(memtable), STATUS_PENDING);
    assert_int_equal(memtable_snapshot(memtable), STATUS_PENDING);
    for (int i = 10; i < 400; i++) {
        snprintf(key, sizeof(key), "k%03d", i);
        assert_true(memtable_scan_next(scan, &item));
        assert_bytes_equal(item.key, bytes_of_text(key));
    }
    assert_false(memtable_scan_next(scan, &item));
    assert_int_equal(get(memtable, "k001"), -1); /* it is in the sink now */
    struct memtable_scan *later = memtable_scan_open(memtable, &(struct memtable_scan_options){0});
    memtable_scan_close(scan);
    assert_int_equal(memtable_release(memtable), STATUS_OK); /* the later one does not hold it */
    uint32_t count = 0;
    while (memtable_scan_next(later, &item)) {
        count += 1;
    }
    assert_int_equal(count, 200);
    memtable_scan_close(later);
    world_close(&world);
}

/* ---- model ---- */

struct model {
    struct {
        bool there;
        int64_t offset; /* of the entry, or of the removal */
    } keys[KEYS];
};

static size_t model_key(uint32_t number, char key[16])
{
    return (size_t)snprintf(key, 16, number % 3 == 0 ? "%u" : "prefix-%05u", number);
}

static int by_key(const void *a, const void *b)
{
    char left[16];
    char right[16];
    size_t left_size = model_key(*(const uint32_t *)a, left);
    size_t right_size = model_key(*(const uint32_t *)b, right);
    return bytes_compare(bytes_of(left, left_size), bytes_of(right, right_size));
}

static void expect_model_scan(struct random *random, struct memtable *memtable,
                              const struct model *model, const uint32_t *sorted)
{
    char begin_key[16];
    char until_key[16];
    struct bytes begin =
        bytes_of(begin_key, model_key((uint32_t)random_below(random, KEYS), begin_key));
    struct bytes until =
        bytes_of(until_key, model_key((uint32_t)random_below(random, KEYS), until_key));
    bool bounded = random_below(random, 2) == 0;
    struct memtable_scan_options options = {
        .begin = random_below(random, 2) == 0 ? begin : BYTES_NULL,
        .until = bounded ? until : BYTES_NULL,
        .count_hint = (uint32_t)random_below(random, 100),
    };
    struct memtable_scan *scan = memtable_scan_open(memtable, &options);
    struct key_item item;
    for (size_t i = 0; i < KEYS; i++) {
        char text[16];
        struct bytes key = bytes_of(text, model_key(sorted[i], text));
        if (!model->keys[sorted[i]].there || bytes_compare(key, options.begin) < 0 ||
            (bounded && bytes_compare(key, until) >= 0)) {
            continue;
        }
        assert_true(memtable_scan_next(scan, &item));
        assert_bytes_equal(item.key, key);
        assert_int_equal(item.entry.offset, model->keys[sorted[i]].offset);
    }
    assert_false(memtable_scan_next(scan, &item));
    assert_false(memtable_scan_next(scan, &item));
    memtable_scan_close(scan);
}

/* The model of keys over snapshots: what the sink took counts as older than what is in memory. */
struct model_sink {
    struct key_sink sink;
    const struct model *model; /* as of the snapshot */
    uint32_t taken;
};

static enum status model_take(struct key_sink *sink, const struct key_item *items, uint32_t count)
{
    struct model_sink *to = CONTAINER_OF(sink, struct model_sink, sink);
    for (uint32_t i = 0; i < count; i++) {
        to->taken += (items[i].entry.flags & KEY_REMOVED) == 0;
        assert_true(i == 0 || bytes_compare(items[i - 1].key, items[i].key) < 0);
    }
    return STATUS_OK;
}

static uint32_t model_count(const struct model *model)
{
    uint32_t count = 0;
    for (size_t i = 0; i < KEYS; i++) {
        count += model->keys[i].there;
    }
    return count;
}

static void model_step(struct random *random, struct memtable *memtable, struct model *model)
{
    uint32_t number = (uint32_t)random_below(random, KEYS);
    char text[16];
    struct bytes key = bytes_of(text, model_key(number, text));
    int64_t offset = (int64_t)random_below(random, 1000);
    struct key_entry entry;
    if (random_below(random, 3) > 0) {
        struct key_item item = {key, {.offset = offset}};
        uint32_t taken;
        assert_int_equal(memtable_put(memtable, &item, 1, &taken), STATUS_OK);
        if (offset >= model->keys[number].offset) {
            model->keys[number].there = true;
            model->keys[number].offset = offset;
        }
    } else {
        assert_int_equal(memtable_remove(memtable, key, offset), STATUS_OK);
        if (model->keys[number].there && offset >= model->keys[number].offset) {
            model->keys[number].there = false;
            model->keys[number].offset = offset;
        }
    }
    assert_int_equal(memtable_get(memtable, key, &entry), model->keys[number].there);
    if (model->keys[number].there) {
        assert_int_equal(entry.offset, model->keys[number].offset);
    }
}

static void random_histories_agree_with_a_model(void **state)
{
    (void)state;
    static const uint32_t shard_counts[] = {1, 2, 7, 32, 128};
    struct random random;
    random_init(&random, 17);
    uint32_t sorted[KEYS];
    for (uint32_t i = 0; i < KEYS; i++) {
        sorted[i] = i;
    }
    qsort(sorted, KEYS, sizeof(sorted[0]), by_key);
    for (uint32_t round = 0; round < 30; round++) {
        struct world world;
        world_open(&world, (struct memtable_options){
                               .shard_count = shard_counts[round % ARRAY_COUNT(shard_counts)],
                               .locks = policies[round % ARRAY_COUNT(policies)],
                               .hash_seed = round,
                               .bloom_rate = round % 2 == 0 ? 0.05 : 0,
                               .bloom_count = 200});
        static struct model model;
        model = (struct model){0};
        struct model frozen = {0};
        bool snapshot = false;
        for (uint32_t step = 0; step < 2000; step++) {
            model_step(&random, world.memtable, &model);
            if (step % 50 == 0) {
                expect_model_scan(&random, world.memtable, &model, sorted);
            }
            if (!snapshot && step % 500 == 250) {
                frozen = model;
                assert_int_equal(memtable_snapshot(world.memtable), STATUS_OK);
                snapshot = true;
            } else if (snapshot && step % 500 == 400) {
                struct model_sink sink = {.sink = {.take = model_take}};
                assert_int_equal(memtable_flush(world.memtable, &sink.sink, UINT64_MAX), STATUS_OK);
                assert_int_equal(sink.taken, model_count(&frozen));
                /* From now on the memory holds only what came after the snapshot: begin anew. */
                assert_int_equal(memtable_release(world.memtable), STATUS_OK);
                assert_int_equal(memtable_snapshot(world.memtable), STATUS_OK);
                assert_int_equal(memtable_release(world.memtable), STATUS_OK);
                assert_int_equal(memtable_counters(world.memtable).count, 0);
                model = (struct model){0};
                snapshot = false;
            }
        }
        world_close(&world);
    }
}

/* ---- memory, counters ---- */

static void a_full_table_takes_what_fits_and_says_so(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, (struct memtable_options){.shard_count = 8, .size_max = 200000});
    static char keys[10000][8];
    static struct key_item items[10000];
    for (uint32_t i = 0; i < 10000; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%05u", i);
        items[i] = (struct key_item){bytes_of(keys[i], 5), {.offset = i}};
    }
    uint32_t taken;
    assert_int_equal(memtable_put(world.memtable, items, 10000, &taken), STATUS_NO_MEMORY);
    assert_true(taken > 1000);
    struct memtable_shard_counters counters = memtable_counters(world.memtable);
    assert_int_equal(counters.count, taken);
    assert_true(memtable_size(world.memtable) <= 200000);
    assert_true(counters.size <= memtable_size(world.memtable));
    for (uint32_t i = 0; i < 10000; i++) {
        struct key_entry entry;
        assert_int_equal(memtable_get(world.memtable, items[i].key, &entry), i < taken);
    }
    /* A newer entry of a key that is there needs no memory. */
    items[0].entry.offset = 99999;
    assert_int_equal(memtable_put(world.memtable, items, 1, &taken), STATUS_OK);
    assert_int_equal(memtable_snapshot(world.memtable), STATUS_OK);
    assert_int_equal(memtable_release(world.memtable), STATUS_OK);
    assert_int_equal(memtable_put(world.memtable, items, 1000, &taken), STATUS_OK);
    world_close(&world);
}

static void a_snapshot_without_room_for_filters_changes_nothing(void **state)
{
    (void)state;
    uint32_t refused = 0;
    uint32_t taken = 0;
    for (uint64_t more = 0; more < 40000; more += 500) {
        struct world world;
        world_open(&world, (struct memtable_options){.shard_count = 8,
                                                     .locks = MEMTABLE_LOCKS_SHARDS,
                                                     .bloom_rate = 0.01,
                                                     .bloom_count = 10000,
                                                     .size_max = 25000 + more});
        struct memtable *memtable = world.memtable;
        put(memtable, "a", 1);
        put(memtable, "b", 2);
        uint64_t size = memtable_size(memtable);
        uint64_t filters = memtable_counters(memtable).filters;
        enum status status = memtable_snapshot(memtable);
        assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
        refused += status == STATUS_NO_MEMORY;
        taken += status == STATUS_OK;
        if (status == STATUS_NO_MEMORY) {
            assert_int_equal(memtable_size(memtable), size);
            assert_int_equal(memtable_counters(memtable).filters, filters);
            put(memtable, "a", 3);
        }
        expect_scan(memtable, status == STATUS_OK ? "a=1 b=2 " : "a=3 b=2 ");
        assert_int_equal(memtable_release(memtable), STATUS_OK);
        expect_scan(memtable, status == STATUS_OK ? "" : "a=3 b=2 ");
        assert_int_equal(memtable_counters(memtable).filters, filters);
        world_close(&world);
    }
    assert_true(refused > 0 && taken > 0);
}

static void a_warm_table_allocates_nothing_but_blocks(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, (struct memtable_options){.shard_count = 32});
    char keys[1000][8];
    struct key_item items[1000];
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%05u", i);
        items[i] = (struct key_item){bytes_of(keys[i], 5), {.offset = i}};
    }
    uint32_t taken;
    struct key_item item;
    struct memtable_scan_options all = {0};
    uint64_t calls = 0;
    for (int round = 0; round < 3; round++) {
        assert_int_equal(memtable_put(world.memtable, items, 1000, &taken), STATUS_OK);
        struct memtable_scan *scan = memtable_scan_open(world.memtable, &all);
        for (int i = 0; i < 1000; i++) {
            assert_true(memtable_scan_next(scan, &item));
        }
        memtable_scan_close(scan);
        assert_true(memtable_remove(world.memtable, items[0].key, 5) == STATUS_OK);
        /* Of the first round: the slots of a shard of 31 keys up to four times; some 30 blocks of
         * records and nodes, and their table; the memtable and one scan. */
        assert_true(round > 0 ? calls == world.heap.calls : world.heap.calls <= 4 * 32 + 40);
        assert_int_equal(memtable_allocations(world.memtable) + 1, world.heap.calls);
        calls = world.heap.calls;
        items[0].entry.offset += 10;
    }
    world_close(&world);
}

static void operations_are_counted_and_timed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(policies); i++) {
        struct world world;
        world_open(&world, (struct memtable_options){.shard_count = 4,
                                                     .locks = policies[i],
                                                     .sample_one_in = 1,
                                                     .now_ns = clock_step,
                                                     .clock = &world.now_ns});
        struct memtable *memtable = world.memtable;
        put(memtable, "a", 1);
        put(memtable, "b", 2);
        get(memtable, "a");
        assert_int_equal(memtable_remove(memtable, BYTES_LITERAL("b"), 2), STATUS_OK);
        expect_scan(memtable, "a=1 ");
        struct memtable_shard_counters counters = memtable_counters(memtable);
        assert_int_equal(counters.write_ops, 3);
        assert_int_equal(counters.read_ops, 1);
        assert_int_equal(counters.contention, 0);
        struct memtable_shard_counters one =
            memtable_shard_counters(memtable, memtable_shard_of(memtable, BYTES_LITERAL("a")));
        assert_int_equal(one.read_ops, 1);
        assert_true(one.count >= 1);
        static struct memtable_latencies latencies;
        latencies = (struct memtable_latencies){0};
        memtable_latencies(memtable, &latencies);
        assert_int_equal(latencies.write.count, 3);
        assert_int_equal(latencies.read.count, 1);
        assert_int_equal(latencies.scan.count, 1);
        assert_int_equal(latencies.wait.count, 0);
        assert_int_equal(latencies.write.max, 100);
        world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_offset_wins),
        cmocka_unit_test(every_field_comes_back),
        cmocka_unit_test(a_snapshot_stays_as_it_was),
        cmocka_unit_test(a_flush_goes_in_slices_and_again_after_a_failure),
        cmocka_unit_test(a_scan_outlives_the_snapshot_it_began_with),
        cmocka_unit_test(random_histories_agree_with_a_model),
        cmocka_unit_test(a_full_table_takes_what_fits_and_says_so),
        cmocka_unit_test(a_snapshot_without_room_for_filters_changes_nothing),
        cmocka_unit_test(a_warm_table_allocates_nothing_but_blocks),
        cmocka_unit_test(operations_are_counted_and_timed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
