/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keytree.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/random.h"
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
    struct keytree tree;
};

static void world_open(struct world *world, uint64_t size_max)
{
    heap_init(&world->heap, UINT64_C(1) << 30);
    supply_init(&world->supply, &world->heap, size_max, false);
    keytree_init(&world->tree, &world->supply);
}

static void world_close(struct world *world)
{
    keytree_deinit(&world->tree);
    supply_deinit(&world->supply);
    heap_deinit(&world->heap);
}

/* A new key; false: refused. */
static bool put(struct keytree *tree, struct bytes key)
{
    bool made;
    struct keytree_record *record = keytree_put(tree, key, hash_bytes(key, 1), &made);
    return record != NULL && made;
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

static void expect_order(const struct keytree *tree, const struct model_key *keys, size_t count)
{
    struct keytree_cursor cursor;
    struct keytree_record *record = keytree_seek(tree, BYTES_LITERAL(""), UINT32_MAX, &cursor);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(record);
        assert_bytes_equal(keytree_key(record), bytes_of_model(&keys[i]));
        record = keytree_step(&cursor);
    }
    assert_null(record);
}

static void expect_seeks(struct random *random, const struct keytree *tree,
                         const struct model_key *keys, size_t count, uint32_t shape)
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
        struct keytree_record *record = keytree_seek(tree, key, 1, &cursor);
        bool there = at < count && by_bytes(&keys[at], &wanted) == 0;
        assert_int_equal(keytree_find(tree, key, hash_bytes(key, 1)) != NULL, there);
        assert_int_equal(record == NULL, at == count);
        if (record != NULL) {
            assert_bytes_equal(keytree_key(record), bytes_of_model(&keys[at]));
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
            uint64_t hash = hash_bytes(key, 1);
            bool there = keytree_find(&world.tree, key, hash) != NULL;
            bool made;
            struct keytree_record *record = keytree_put(&world.tree, key, hash, &made);
            assert_non_null(record);
            assert_int_equal(made, !there);
            assert_int_equal(record->offset == 0, made);
            record->offset = i + 1;
            assert_ptr_equal(keytree_find(&world.tree, key, hash), record);
        }
        keytree_check(&world.tree);
        size_t count = unique(keys, KEYS_MAX);
        assert_int_equal(world.tree.count, count);
        expect_order(&world.tree, keys, count);
        expect_seeks(&random, &world.tree, keys, count, shape);
        assert_int_equal(world.heap.calls, world.supply.calls);
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
        struct bytes bytes = bytes_of_model(&key);
        assert_true(put(&world.tree, bytes));
    }
    keytree_check(&world.tree);
    /* 100 leaves of 896 bytes and three inner nodes: a half-full tree would take twice that. */
    uint64_t nodes = world.tree.size - world.tree.payload - world.tree.slots.block_size;
    assert_true(nodes < 100 * 896 + 4 * 2304);
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
            uint64_t hash = hash_bytes(bytes, 1);
            bool ok = put(&world.tree, bytes);
            assert_int_equal(keytree_find(&world.tree, bytes, hash) != NULL, ok);
            made += ok;
            refused += !ok;
        }
        assert_int_equal(world.tree.count, made);
        assert_true(refused > 0);
        assert_true(world.supply.size <= size_max);
        keytree_check(&world.tree);
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
        assert_true(put(&world.tree, key));
    }
    for (uint8_t i = 0; i < 100; i++) {
        data[size - 1] = i;
        struct bytes key = bytes_of(data, size);
        assert_non_null(keytree_find(&world.tree, key, hash_bytes(key, 1)));
    }
    keytree_check(&world.tree);
    free(data);
    world_close(&world);
}

/* A hash that says nothing: keys alone decide. */
static void keys_of_one_hash_are_told_apart(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, UINT64_C(1) << 24);
    bool made;
    for (uint32_t i = 0; i < 1000; i++) {
        struct model_key key;
        make_key(NULL, 0, i * 2, &key);
        struct keytree_record *record =
            keytree_put(&world.tree, bytes_of_model(&key), UINT64_MAX, &made);
        assert_non_null(record);
        assert_true(made);
        record->offset = i;
    }
    keytree_check(&world.tree);
    for (uint32_t i = 0; i < 2000; i++) {
        struct model_key key;
        make_key(NULL, 0, i, &key);
        struct bytes bytes = bytes_of_model(&key);
        const struct keytree_record *record = keytree_find(&world.tree, bytes, UINT64_MAX);
        assert_int_equal(record != NULL, i % 2 == 0);
        assert_true(record == NULL || record->offset == i / 2);
        assert_int_equal(keytree_put(&world.tree, bytes, UINT64_MAX, &made) == record, i % 2 == 0);
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
        cmocka_unit_test(ascending_keys_fill_their_leaves),
        cmocka_unit_test(a_refused_key_leaves_a_whole_tree),
        cmocka_unit_test(large_keys_get_blocks_of_their_own),
        cmocka_unit_test(keys_of_one_hash_are_told_apart),
        cmocka_unit_test(heads_order_as_keys_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
