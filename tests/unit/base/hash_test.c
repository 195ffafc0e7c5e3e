/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include "base/check.h"
#include "tests/lib/test.h"

struct item {
    struct table_node node;
    uint64_t key;
};

static struct item *item_find(struct table *table, uint64_t key)
{
    struct table_node *node = table_find(table, hash_u64(key, table->seed));
    while (node != NULL) {
        struct item *item = CONTAINER_OF(node, struct item, node);
        if (item->key == key) {
            return item;
        }
        node = table_find_next(node);
    }
    return NULL;
}

/* Vectors of XXH3's reference: the sums on disk depend on them. */
static void known_hashes(void **state)
{
    (void)state;
    assert_int_equal(hash_bytes(BYTES_NULL, 0), UINT64_C(0x2d06800538d394c2));
    assert_int_equal(hash_bytes(BYTES_LITERAL("abc"), 0), UINT64_C(0x78af5f94892f3950));
    assert_int_not_equal(hash_u64(1, 1), hash_u64(1, 2));
    uint64_t key = 77;
    assert_int_equal(hash_u64(key, 5), hash_bytes(bytes_of(&key, sizeof(key)), 5));
}

static void table_grows_finds_and_forgets(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static struct item items[COUNT];
    struct heap heap;
    struct table table;
    heap_init(&heap, MIB);
    assert_true(table_init(&table, &heap, 99));
    for (uint64_t i = 0; i < COUNT; i++) {
        items[i].key = i;
        items[i].node.hash = hash_u64(i, table.seed);
        table_insert(&table, &items[i].node);
    }
    assert_true(table.slot_count >= COUNT);
    for (uint64_t i = 0; i < COUNT; i += 2) {
        table_remove(&table, &items[i].node);
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_ptr_equal(item_find(&table, i), i % 2 == 0 ? NULL : &items[i]);
    }
    /* The body of an iteration may remove what it holds. */
    size_t count = 0;
    struct table_cursor cursor;
    struct table_node *node = table_first(&table, &cursor);
    while (node != NULL) {
        table_remove(&table, node);
        memset(CONTAINER_OF(node, struct item, node), 0xff, sizeof(struct item));
        count += 1;
        node = table_next(&table, &cursor);
    }
    assert_int_equal(count, COUNT / 2);
    assert_int_equal(table.count, 0);
    table_deinit(&table);
    heap_deinit(&heap);
}

static void table_without_memory_stays_correct(void **state)
{
    (void)state;
    struct item items[100];
    struct heap heap;
    struct table table;
    heap_init(&heap, 64);
    assert_false(table_init(&table, &heap, 1));
    heap_init(&heap, 160);
    assert_true(table_init(&table, &heap, 1));
    for (uint64_t i = 0; i < ARRAY_COUNT(items); i++) {
        /* Two keys of one hash, too. */
        items[i] = (struct item){.key = i, .node.hash = i / 2};
        table_insert(&table, &items[i].node);
    }
    assert_int_equal(table.slot_count, 16);
    struct table_node *node = table_find(&table, 7);
    assert_non_null(node);
    struct table_node *second = table_find_next(node);
    assert_non_null(second);
    assert_null(table_find_next(second));
    table_deinit(&table);
    heap_deinit(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_hashes),
        cmocka_unit_test(table_grows_finds_and_forgets),
        cmocka_unit_test(table_without_memory_stays_correct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
