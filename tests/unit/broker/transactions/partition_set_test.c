/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/transactions/partition_set.h"

#include "base/check.h"
#include "base/random.h"
#include "tests/lib/test.h"

static void sets_are_ordered_and_hold_each_once(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, MIB);
    struct partition_set set = {0};
    assert_int_equal(partition_set_add(&set, &heap, BYTES_LITERAL("b"), 7), STATUS_OK);
    assert_int_equal(partition_set_add(&set, &heap, BYTES_LITERAL("b"), 2), STATUS_OK);
    assert_int_equal(partition_set_add(&set, &heap, BYTES_LITERAL("a"), 7), STATUS_OK);
    assert_int_equal(partition_set_add(&set, &heap, BYTES_LITERAL("b"), 7), STATUS_OK);
    assert_int_equal(set.count, 3);
    assert_int_equal(set.topic_count, 2);
    assert_bytes_equal(set.topics[0].name, BYTES_LITERAL("a"));
    assert_int_equal(set.topics[1].indexes[0], 2);
    assert_int_equal(set.topics[1].indexes[1], 7);
    assert_true(partition_set_has(&set, BYTES_LITERAL("b"), 2));
    assert_false(partition_set_has(&set, BYTES_LITERAL("b"), 3));
    assert_false(partition_set_has(&set, BYTES_LITERAL("c"), 2));
    struct partition_set copy = {0};
    assert_int_equal(partition_set_copy(&copy, &set, &heap), STATUS_OK);
    partition_set_clear(&set, &heap);
    assert_false(partition_set_has(&set, BYTES_LITERAL("b"), 2));
    assert_true(partition_set_has(&copy, BYTES_LITERAL("a"), 7));
    assert_int_equal(copy.count, 3);
    partition_set_clear(&copy, &heap);
    heap_deinit(&heap);
}

static void a_refused_addition_changes_nothing(void **state)
{
    (void)state;
    for (size_t size_max = 0; size_max < 2000; size_max += 8) {
        struct heap heap;
        heap_init(&heap, size_max);
        struct partition_set set = {0};
        int32_t added = 0;
        for (int32_t i = 0; i < 30; i++) {
            char name[] = {(char)('a' + i % 5), 0};
            added += partition_set_add(&set, &heap, bytes_of_text(name), i) == STATUS_OK;
            assert_int_equal(set.count, added);
        }
        struct partition_set copy = {0};
        if (partition_set_copy(&copy, &set, &heap) != STATUS_OK) {
            assert_int_equal(copy.count, 0);
        }
        partition_set_clear(&copy, &heap);
        partition_set_clear(&set, &heap);
        heap_deinit(&heap); /* nothing is left behind */
    }
}

static void many_partitions_in_any_order(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, MIB);
    struct partition_set set = {0};
    struct random random;
    random_init(&random, 4);
    bool expected[500] = {false};
    int32_t count = 0;
    for (int32_t i = 0; i < 700; i++) {
        int32_t index = (int32_t)random_below(&random, 500);
        assert_int_equal(partition_set_add(&set, &heap, BYTES_LITERAL("topic"), index), STATUS_OK);
        count += !expected[index];
        expected[index] = true;
    }
    assert_int_equal(set.count, count);
    for (int32_t i = 0; i < 500; i++) {
        assert_int_equal(partition_set_has(&set, BYTES_LITERAL("topic"), i), expected[i]);
    }
    partition_set_clear(&set, &heap);
    heap_deinit(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_ordered_and_hold_each_once),
        cmocka_unit_test(a_refused_addition_changes_nothing),
        cmocka_unit_test(many_partitions_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
