/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keytree.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/random.h"
#include "storage/key_map.h"
#include "storage/key_order.h"
#include "tests/lib/test.h"

#define KEYS_MAX 6000
#define KEY_SIZE_MAX 40

struct model_key {
    uint8_t data[KEY_SIZE_MAX];
    size_t size;
};

struct world {
    struct heap heap;
    struct supply supply;
    struct key_blocks blocks;
    struct key_map map;
    struct keytree tree;
    uint64_t count;
};

static void world_open(struct world *world, uint64_t size_max)
{
    heap_init(&world->heap, UINT64_C(1) << 30);
    supply_init(&world->supply, &world->heap, size_max, false);
    key_blocks_init(&world->blocks, &world->supply);
    key_map_init(&world->map, &world->blocks);
    keytree_init(&world->tree, &world->blocks);
    world->count = 0;
}

static void world_close(struct world *world)
{
    keytree_deinit(&world->tree);
    key_map_deinit(&world->map);
    key_blocks_deinit(&world->blocks);
    supply_deinit(&world->supply);
    heap_deinit(&world->heap);
}

/* The record of the key, made when there is none. NULL: refused. */
static struct key_record *put_by(struct world *world, struct bytes key, uint64_t hash)
{
    struct key_record *record = key_map_find(&world->map, key, hash);
    if (record != NULL) {
        return record;
    }
    struct keytree_place place;
    assert_true(keytree_approach(&world->tree, key, &place));
    uint32_t handle = key_map_make(&world->map, key);
    if (handle == 0 || keytree_insert(&world->tree, handle, &place) != STATUS_OK) {
        return NULL;
    }
    key_map_add(&world->map, hash, handle);
    world->count += 1;
    return key_blocks_record(&world->blocks, handle);
}

static struct key_record *put(struct world *world, struct bytes key)
{
    return put_by(world, key, hash_bytes(key, 1));
}

static struct key_record *find(const struct world *world, struct bytes key)
{
    return key_map_find(&world->map, key, hash_bytes(key, 1));
}

/* The rules of both, and that they hold the same records. */
static void world_check(const struct world *world)
{
    assert_int_equal(keytree_check(&world->tree), key_map_check(&world->map));
    assert_int_equal(world->map.slots.count, world->count);
    uint64_t held = world->map.slots.block_size + world->tree.held + world->blocks.held;
    assert_int_equal(held, world->supply.size);
}

static struct bytes bytes_of_model(const struct model_key *key)
{
    return bytes_of(key->data, key->size);
}

static int by_bytes(const void *a, const void *b)
{
    return bytes_compare(bytes_of_model(a), bytes_of_model(b));
}

/* Shapes that real keys have, and some that are made to hurt: common beginnings longer than a head,
 * keys that end in zeros, keys that are the beginning of others. */
static void make_key(struct random *random, uint32_t shape, uint32_t number, struct model_key *key)
{
    char text[KEY_SIZE_MAX + 1];
    switch (shape) {
    case 0:
        key->size = (size_t)snprintf(text, sizeof(text), "key%013u", number);
        memcpy(key->data, text, key->size);
        break;
    case 1:
        key->size = (size_t)snprintf(text, sizeof(text), "key%llu",
                                     (unsigned long long)(random_u64(random) % 1000000));
        memcpy(key->data, text, key->size);
        break;
    case 2:
        key->size = random_below(random, 14);
        for (size_t i = 0; i < key->size; i++) {
            key->data[i] = (uint8_t)random_below(random, 2);
        }
        break;
    case 3:
        memset(key->data, 'x', KEY_SIZE_MAX);
        key->size = 20 + random_below(random, KEY_SIZE_MAX - 19);
        for (size_t i = key->size - 4; i < key->size; i++) {
            key->data[i] = (uint8_t)random_u64(random);
        }
        break;
    default:
        key->size = 16;
        for (size_t i = 0; i < key->size; i++) {
            key->data[i] = (uint8_t)random_u64(random);
        }
    }
}

/* Sorts, and takes out what stands twice. */
static size_t unique(struct model_key *keys, size_t count)
{
    qsort(keys, count, sizeof(keys[0]), by_bytes);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || by_bytes(&keys[kept - 1], &keys[i]) != 0) {
            keys[kept++] = keys[i];
        }
    }
    return kept;
}

/* In reads of all sizes. */
static void expect_order(struct world *world, const struct model_key *keys, size_t count)
{
    struct keytree_cursor cursor;
    keytree_seek(&world->tree, BYTES_LITERAL(""), &cursor);
    size_t at = 0;
    for (uint32_t room = 1;; room = room % 200 + 1) {
        struct key_record *records[200];
        uint32_t got = keytree_read(&cursor, records, room);
        for (uint32_t i = 0; i < got; i++, at++) {
            assert_true(at < count);
            assert_bytes_equal(key_record_key(records[i]), bytes_of_model(&keys[at]));
        }
        if (got < room) {
            break;
        }
    }
    assert_int_equal(at, count);
}

static void expect_seeks(struct random *random, struct world *world, const struct model_key *keys,
                         size_t count, uint32_t shape)
{
    for (int i = 0; i < 300; i++) {
        struct model_key wanted;
        make_key(random, shape, (uint32_t)random_below(random, KEYS_MAX * 2), &wanted);
        size_t at = 0;
        while (at < count && by_bytes(&keys[at], &wanted) < 0) {
            at += 1;
        }
        struct keytree_cursor cursor;
        struct bytes key = bytes_of_model(&wanted);
        struct key_record *record;
        keytree_seek(&world->tree, key, &cursor);
        bool there = at < count && by_bytes(&keys[at], &wanted) == 0;
        assert_int_equal(find(world, key) != NULL, there);
        assert_int_equal(keytree_read(&cursor, &record, 1), at < count);
        if (at < count) {
            assert_bytes_equal(key_record_key(record), bytes_of_model(&keys[at]));
        }
    }
}

static void random_keys_agree_with_a_sorted_list(void **state)
{
    (void)state;
    static struct model_key keys[KEYS_MAX];
    struct random random;
    random_init(&random, 3);
    for (uint32_t round = 0; round < 20; round++) {
        struct world world;
        world_open(&world, UINT64_C(1) << 24);
        uint32_t shape = round % 5;
        for (uint32_t i = 0; i < KEYS_MAX; i++) {
            make_key(&random, shape, round < 10 ? i : KEYS_MAX - i, &keys[i]);
            struct bytes key = bytes_of_model(&keys[i]);
            const struct key_record *before = find(&world, key);
            struct key_record *record = put(&world, key);
            assert_non_null(record);
            assert_true(before == NULL ? key_record_offset(record) == 0 : before == record);
            key_record_write(record, &(struct key_entry){.offset = i + 1});
            assert_ptr_equal(find(&world, key), record);
        }
        world_check(&world);
        size_t count = unique(keys, KEYS_MAX);
        assert_int_equal(world.count, count);
        expect_order(&world, keys, count);
        expect_seeks(&random, &world, keys, count, shape);
        assert_int_equal(world.heap.calls, world.supply.calls);
        world_close(&world);
    }
}

/* A cursor that stands still while leaves split under it loses nothing and repeats nothing. */
static void keys_made_meanwhile_do_not_disturb_a_cursor(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 11);
    for (int round = 0; round < 30; round++) {
        struct world world;
        world_open(&world, UINT64_C(1) << 24);
        struct model_key key;
        for (uint32_t i = 0; i < 1000; i++) {
            make_key(NULL, 0, i * 7, &key);
            assert_non_null(put(&world, bytes_of_model(&key)));
        }
        struct keytree_cursor cursor;
        keytree_seek(&world.tree, BYTES_LITERAL(""), &cursor);
        struct key_record *records[40];
        struct bytes last = BYTES_LITERAL("");
        uint32_t kept = 0;
        for (uint32_t room = 40, got = room; got == room;) {
            room = 1 + (uint32_t)random_below(&random, 40);
            got = keytree_read(&cursor, records, room);
            for (uint32_t i = 0; i < got; i++) {
                struct bytes found = key_record_key(records[i]);
                assert_true(bytes_compare(last, found) < 0);
                last = found;
                kept += key_record_offset(records[i]) == 0;
            }
            for (uint32_t i = 0; i < 60; i++) {
                make_key(NULL, 0, (uint32_t)random_below(&random, 7000), &key);
                bool there = find(&world, bytes_of_model(&key)) != NULL;
                struct key_record *record = put(&world, bytes_of_model(&key));
                if (!there) {
                    key_record_write(record, &(struct key_entry){.offset = 1});
                }
            }
        }
        assert_int_equal(kept, 1000);
        world_check(&world);
        world_close(&world);
    }
}

static void ascending_keys_fill_their_leaves(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, UINT64_C(1) << 24);
    for (uint32_t i = 0; i < 64 * 100; i++) {
        struct model_key key;
        make_key(NULL, 0, i, &key);
        assert_non_null(put(&world, bytes_of_model(&key)));
    }
    world_check(&world);
    /* 100 leaves of 896 bytes and three inner nodes, a little more where mutexes are larger: a
     * half-full tree would take twice that. */
    assert_true(world.tree.size < 100 * 960 + 4 * 1792);
    world_close(&world);
}

/* At every possible limit: what was refused is not there, what was taken stays. */
static void a_refused_key_leaves_a_whole_tree(void **state)
{
    (void)state;
    for (uint64_t size_max = 0; size_max < 40000; size_max += 997) {
        struct world world;
        world_open(&world, size_max);
        struct random random;
        random_init(&random, size_max);
        uint32_t made = 0;
        uint32_t refused = 0;
        for (uint32_t i = 0; i < 600; i++) {
            struct model_key key;
            make_key(&random, 4, i, &key);
            struct bytes bytes = bytes_of_model(&key);
            bool ok = put(&world, bytes) != NULL;
            assert_int_equal(find(&world, bytes) != NULL, ok);
            made += ok;
            refused += !ok;
        }
        assert_int_equal(world.count, made);
        assert_true(refused > 0);
        assert_true(world.supply.size <= size_max);
        world_check(&world);
        world_close(&world);
    }
}

static void large_keys_get_blocks_of_their_own(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, UINT64_C(1) << 26);
    size_t size = 300000;
    uint8_t *data = malloc(size);
    memset(data, 'k', size);
    for (uint8_t i = 0; i < 100; i++) {
        data[size - 1] = i;
        struct bytes key = bytes_of(data, size);
        assert_non_null(put(&world, key));
    }
    for (uint8_t i = 0; i < 100; i++) {
        data[size - 1] = i;
        struct bytes key = bytes_of(data, size);
        assert_non_null(find(&world, key));
    }
    world_check(&world);
    free(data);
    world_close(&world);
}

/* The size and the bytes of a key by its number: at the limit between the stream and blocks of
 * their own, and everywhere below and above it. */
static struct bytes sized_key(uint32_t number, uint8_t *memory)
{
    const size_t limit = KEY_RECORD_SIZE_STREAM - sizeof(struct key_record);
    struct random random;
    random_init(&random, number);
    static const size_t most[] = {32, 300, 3000, KEY_RECORD_SIZE_STREAM * 2};
    size_t size = number % 5 == 4 ? limit - 20 + random_below(&random, 40)
                                  : 4 + random_below(&random, most[number % 5]);
    memset(memory, (int)(number % 251), size);
    memcpy(memory, &number, sizeof(number));
    return bytes_of(memory, size);
}

static void records_of_all_sizes_keep_their_bytes(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, UINT64_C(1) << 26);
    static uint8_t memory[KEY_RECORD_SIZE_STREAM * 2 + 4];
    static uint32_t handles[8000];
    for (uint32_t i = 0; i < ARRAY_COUNT(handles); i++) {
        handles[i] = key_blocks_make(&world.blocks, sized_key(i, memory));
        assert_int_not_equal(handles[i], 0);
        struct key_record *record = key_blocks_record(&world.blocks, handles[i]);
        assert_int_equal(key_record_offset(record), 0);
        key_record_write(record, &(struct key_entry){.offset = i, .size = i, .flags = i & 7});
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(handles); i++) {
        const struct key_record *record = key_blocks_record(&world.blocks, handles[i]);
        struct key_entry entry;
        assert_bytes_equal(key_record_key(record), sized_key(i, memory));
        assert_true(key_record_read(record, &entry));
        assert_int_equal(entry.offset, i);
        assert_int_equal(entry.size, i);
        assert_int_equal(entry.flags, i & 7);
    }
    world_close(&world);
}

/* N4. */
static void records_of_two_maps_lie_one_behind_the_other(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, UINT64_C(1) << 24);
    struct key_map other;
    key_map_init(&other, &world.blocks);
    uint32_t apart = 0;
    const uint8_t *end = NULL;
    for (uint32_t i = 0; i < 1000; i++) {
        struct model_key key;
        make_key(NULL, 0, i, &key);
        uint32_t handle = key_map_make(i % 2 == 0 ? &world.map : &other, bytes_of_model(&key));
        assert_int_not_equal(handle, 0);
        const uint8_t *record = (const uint8_t *)key_blocks_record(&world.blocks, handle);
        apart += record != end;
        end = record + key_record_size(bytes_of_model(&key));
    }
    assert_int_equal(apart, world.blocks.count);
    key_map_deinit(&other);
    world_close(&world);
}

/* A hash that says nothing: keys alone decide. */
static void keys_of_one_hash_are_told_apart(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, UINT64_C(1) << 24);
    for (uint32_t i = 0; i < 1000; i++) {
        struct model_key key;
        make_key(NULL, 0, i * 2, &key);
        struct key_record *record = put_by(&world, bytes_of_model(&key), UINT64_MAX);
        assert_non_null(record);
        assert_int_equal(key_record_offset(record), 0);
        key_record_write(record, &(struct key_entry){.offset = i});
    }
    world_check(&world);
    for (uint32_t i = 0; i < 2000; i++) {
        struct model_key key;
        make_key(NULL, 0, i, &key);
        struct bytes bytes = bytes_of_model(&key);
        const struct key_record *record = key_map_find(&world.map, bytes, UINT64_MAX);
        assert_int_equal(record != NULL, i % 2 == 0);
        assert_true(record == NULL || key_record_offset(record) == i / 2);
        assert_int_equal(put_by(&world, bytes, UINT64_MAX) == record, i % 2 == 0);
    }
    world_close(&world);
}

static void heads_order_as_keys_do(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 5);
    for (int i = 0; i < 200000; i++) {
        struct model_key a;
        struct model_key b;
        make_key(&random, (uint32_t)i % 5, (uint32_t)random_below(&random, 100), &a);
        make_key(&random, (uint32_t)i % 5, (uint32_t)random_below(&random, 100), &b);
        struct bytes left = bytes_of_model(&a);
        struct bytes right = bytes_of_model(&b);
        size_t common = key_common(left, right);
        size_t skip = common == 0 ? 0 : random_below(&random, common + 1);
        int order = bytes_compare(left, right);
        uint64_t left_head = key_head(left, skip);
        uint64_t right_head = key_head(right, skip);
        if (left_head != right_head) {
            assert_true(left_head < right_head ? order < 0 : order > 0);
        } else {
            int rest = key_compare_from(left, right, skip + 8);
            assert_true(order < 0 ? rest < 0 : order > 0 ? rest > 0 : rest == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_keys_agree_with_a_sorted_list),
        cmocka_unit_test(keys_made_meanwhile_do_not_disturb_a_cursor),
        cmocka_unit_test(ascending_keys_fill_their_leaves),
        cmocka_unit_test(a_refused_key_leaves_a_whole_tree),
        cmocka_unit_test(large_keys_get_blocks_of_their_own),
        cmocka_unit_test(records_of_all_sizes_keep_their_bytes),
        cmocka_unit_test(records_of_two_maps_lie_one_behind_the_other),
        cmocka_unit_test(keys_of_one_hash_are_told_apart),
        cmocka_unit_test(heads_order_as_keys_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
