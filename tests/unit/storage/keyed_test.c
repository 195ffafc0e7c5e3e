/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keyed.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "tests/lib/test.h"
#include "wire/record.h"

#define SIZE_MAX_DEFAULT (UINT64_C(1) << 20)

struct world {
    struct heap heap;
    struct keyed *keyed;
    int64_t offset;
    uint32_t position;
    uint8_t scratch[BATCH_SCRATCH_SIZE];
    uint8_t memory[65536];
};

static struct world *world_open(uint64_t size_max)
{
    struct world *world = calloc(1, sizeof(*world));
    heap_init(&world->heap, UINT64_C(1) << 26);
    world->keyed = keyed_open(&world->heap, 1, size_max, MEMTABLE_SHARDS_DEFAULT);
    assert_non_null(world->keyed);
    return world;
}

static void world_close(struct world *world)
{
    keyed_close(world->keyed);
    heap_deinit(&world->heap);
    free(world);
}

struct key_value {
    const char *key; /* NULL: null */
    const char *value;
};

static void note(struct world *world, int64_t producer_id, const struct key_value *records,
                 size_t count, enum codec codec)
{
    struct batch_builder builder;
    batch_builder_init(&builder, world->memory, sizeof(world->memory));
    for (size_t i = 0; i < count; i++) {
        struct bytes key = records[i].key == NULL ? BYTES_NULL : bytes_of_text(records[i].key);
        struct bytes value =
            records[i].value == NULL ? BYTES_NULL : bytes_of_text(records[i].value);
        batch_builder_add(&builder, 1000 + (int64_t)i, key, value, NULL, 0);
    }
    if (producer_id >= 0) {
        builder.header.producer_id = producer_id;
        builder.header.producer_epoch = 0;
        builder.header.attributes |= BATCH_TRANSACTIONAL;
    }
    struct batch_scratch scratch = {world->scratch, sizeof(world->scratch), &world->heap};
    struct bytes batch;
    assert_int_equal(batch_builder_finish(&builder, codec, -1, scratch, world->offset, &batch),
                     STATUS_OK);
    keyed_note(world->keyed, batch, world->position, (struct producers_marker){0}, scratch);
    world->offset += (int64_t)count;
    world->position += (uint32_t)batch.size;
}

static void note_one(struct world *world, int64_t producer_id, const char *key, const char *value)
{
    note(world, producer_id, &(struct key_value){key, value}, 1, CODEC_NONE);
}

static void note_marker(struct world *world, int64_t producer_id, bool is_commit)
{
    struct batch_builder builder;
    batch_builder_init(&builder, world->memory, sizeof(world->memory));
    batch_builder_add(&builder, 1000, BYTES_LITERAL("\0\0\0\1"), BYTES_LITERAL("\0\0\0\0\0\0"),
                      NULL, 0);
    builder.header.producer_id = producer_id;
    builder.header.attributes |= BATCH_TRANSACTIONAL | BATCH_CONTROL;
    struct bytes batch;
    assert_int_equal(batch_builder_finish(&builder, CODEC_NONE, -1, (struct batch_scratch){0},
                                          world->offset, &batch),
                     STATUS_OK);
    struct producers_marker marker = {.is_marker = true, .is_commit = is_commit};
    keyed_note(world->keyed, batch, world->position, marker, (struct batch_scratch){0});
    world->offset += 1;
    world->position += (uint32_t)batch.size;
}

/* -1: not there. */
static int64_t get(struct world *world, const char *key)
{
    struct key_entry entry;
    return keyed_get(world->keyed, bytes_of_text(key), &entry) ? entry.offset : -1;
}

static void the_newest_record_of_a_key_is_known(void **state)
{
    (void)state;
    static const enum codec codecs[] = {CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4,
                                        CODEC_ZSTD};
    for (size_t i = 0; i < ARRAY_COUNT(codecs); i++) {
        struct world *world = world_open(SIZE_MAX_DEFAULT);
        note_one(world, -1, "x", "0");
        uint32_t position = world->position;
        struct key_value records[] = {{"a", "1"}, {"b", "2"}, {"a", NULL}, {NULL, "3"}, {"", "4"}};
        note(world, -1, records, ARRAY_COUNT(records), codecs[i]);
        assert_int_equal(get(world, "a"), 3);
        assert_int_equal(get(world, "b"), 2);
        assert_int_equal(get(world, ""), 5);
        assert_int_equal(get(world, "c"), -1);
        struct key_entry entry;
        assert_true(keyed_get(world->keyed, BYTES_LITERAL("a"), &entry));
        assert_int_equal(entry.position, position);
        assert_int_equal(entry.size, world->position - position);
        assert_int_equal(entry.timestamp, 1002);
        assert_int_equal(entry.flags, KEY_TOMBSTONE);
        assert_true(keyed_get(world->keyed, BYTES_LITERAL("b"), &entry));
        assert_int_equal(entry.flags, 0);
        world_close(world);
    }
}

static void keys_of_a_transaction_wait_for_its_marker(void **state)
{
    (void)state;
    struct world *world = world_open(SIZE_MAX_DEFAULT);
    note_one(world, 7, "a", "1"); /* offset 0 */
    note_one(world, 8, "a", "2");
    note_one(world, 8, "b", "3");
    note_one(world, -1, "c", "4"); /* 3 */
    assert_int_equal(get(world, "a"), -1);
    assert_int_equal(get(world, "c"), 3);
    note_marker(world, 8, true); /* 4 */
    assert_int_equal(get(world, "a"), 1);
    assert_int_equal(get(world, "b"), 2);
    note_marker(world, 7, true);
    assert_int_equal(get(world, "a"), 1); /* committed later, but older */
    note_one(world, 7, "a", "5");         /* 6 */
    note_one(world, 7, "d", "6");
    note_marker(world, 7, false);
    assert_int_equal(get(world, "a"), 1);
    assert_int_equal(get(world, "d"), -1);
    note_marker(world, 99, true); /* of a transaction that wrote elsewhere */
    note_one(world, 7, "a", "7"); /* 10 */
    note_marker(world, 7, true);
    assert_int_equal(get(world, "a"), 10);
    world_close(world);
}

static void what_is_undecided_can_be_listed(void **state)
{
    (void)state;
    struct world *world = world_open(SIZE_MAX_DEFAULT);
    note_one(world, 5, "a", "1");
    note_one(world, 6, "b", "2");
    note_one(world, 5, "c", NULL);
    struct keyed_cursor cursor = {0};
    int64_t producer_id;
    struct key_item item;
    bool seen[3] = {0};
    int count = 0;
    while (keyed_next_undecided(world->keyed, &cursor, &producer_id, &item)) {
        assert_int_equal(producer_id, item.entry.offset == 1 ? 6 : 5);
        assert_int_equal(item.key.data[0], 'a' + item.entry.offset);
        assert_int_equal(item.entry.flags, item.entry.offset == 2 ? KEY_TOMBSTONE : 0);
        seen[item.entry.offset] = true;
        count += 1;
    }
    assert_int_equal(count, 3);
    assert_true(seen[0] && seen[1] && seen[2]);
    note_marker(world, 5, false);
    note_marker(world, 6, true);
    cursor = (struct keyed_cursor){0};
    assert_false(keyed_next_undecided(world->keyed, &cursor, &producer_id, &item));
    world_close(world);
}

static void an_index_without_memory_says_so(void **state)
{
    (void)state;
    for (int transactional = 0; transactional < 2; transactional++) {
        struct world *world = world_open(200000);
        bool full = false;
        for (int i = 0; i < 10000 && keyed_is_whole(world->keyed); i++) {
            char key[32];
            snprintf(key, sizeof(key), "key-%08d", i);
            full = full || keyed_is_full(world->keyed);
            note_one(world, transactional ? 3 : -1, key, "v");
            assert_true(keyed_size(world->keyed) <= 200000);
        }
        assert_false(keyed_is_whole(world->keyed));
        /* Held-back keys double their memory; the memtable goes block by block. */
        assert_true(full || transactional);
        assert_true(keyed_is_full(world->keyed));
        assert_int_equal(get(world, "key-00000000"), -1);
        note_one(world, -1, "later", "v");
        assert_int_equal(get(world, "later"), -1);
        world_close(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_record_of_a_key_is_known),
        cmocka_unit_test(keys_of_a_transaction_wait_for_its_marker),
        cmocka_unit_test(what_is_undecided_can_be_listed),
        cmocka_unit_test(an_index_without_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
