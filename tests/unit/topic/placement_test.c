/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/placement.h"

#include "base/check.h"
#include "base/random.h"
#include "tests/lib/test.h"

static void empty_cores_are_filled_in_turn(void **state)
{
    (void)state;
    uint32_t counts[3] = {0};
    static const int32_t expected[] = {0, 1, 2, 0, 1, 2, 0};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        int32_t core = placement_pick(counts, 3);
        assert_int_equal(core, expected[i]);
        counts[core] += 1;
    }
    counts[2] = 0; /* its topics were deleted */
    assert_int_equal(placement_pick(counts, 3), 2);
}

static void imbalance_is_the_busiest_over_the_mean(void **state)
{
    (void)state;
    assert_int_equal(placement_imbalance((uint64_t[]){0, 0}, 2), 0);
    assert_int_equal(placement_imbalance((uint64_t[]){5, 5, 5}, 3), 0);
    assert_int_equal(placement_imbalance((uint64_t[]){3, 1}, 2), 500);
    assert_int_equal(placement_imbalance((uint64_t[]){9, 0, 0}, 3), 2000);
    assert_int_equal(placement_imbalance((uint64_t[]){UINT64_MAX, UINT64_MAX}, 2), 0);
    assert_int_equal(placement_imbalance((uint64_t[]){UINT64_MAX, 0}, 2), 1000);
}

static void the_cheapest_good_move_is_proposed(void **state)
{
    (void)state;
    /* Core 0 has 20, core 1 has 4: the best move takes 8. */
    const struct placement_partition partitions[] = {
        {1, 4, 0}, {0, 8, 900}, {0, 5, 100}, {0, 3, 1}, {0, 4, 100},
    };
    const uint64_t loads[] = {20, 4};
    struct placement_move move = placement_propose(partitions, 5, loads, 2);
    assert_int_equal(move.index, 2); /* 3 is cheaper and wins too little, 4 costs the same */
    assert_int_equal(move.target, 1);
}

static void nothing_is_moved_in_vain(void **state)
{
    (void)state;
    const struct placement_partition one[] = {{0, 10, 1}};
    assert_int_equal(placement_propose(one, 1, (uint64_t[]){10, 0}, 2).index, -1);
    const struct placement_partition even[] = {{0, 5, 1}, {1, 5, 1}};
    assert_int_equal(placement_propose(even, 2, (uint64_t[]){5, 5}, 2).index, -1);
    const struct placement_partition idle[] = {{0, 0, 1}, {0, 10, 1}};
    assert_int_equal(placement_propose(idle, 2, (uint64_t[]){10, 0}, 2).index, -1);
    assert_int_equal(placement_propose(NULL, 0, (uint64_t[]){0}, 1).index, -1);
}

static void proposals_end_and_never_make_it_worse(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 3);
    for (int round = 0; round < 2000; round++) {
        struct placement_partition partitions[24];
        uint64_t loads[5] = {0};
        int32_t cores = 1 + (int32_t)random_below(&random, 5);
        int32_t count = (int32_t)random_below(&random, 25);
        for (int32_t i = 0; i < count; i++) {
            partitions[i] =
                (struct placement_partition){(int32_t)random_below(&random, (uint64_t)cores),
                                             random_below(&random, 100), random_below(&random, 10)};
            loads[partitions[i].core] += partitions[i].load;
        }
        uint32_t imbalance = placement_imbalance(loads, cores);
        int moves = 0;
        for (;;) {
            struct placement_move move = placement_propose(partitions, count, loads, cores);
            if (move.index < 0) {
                break;
            }
            struct placement_partition *moved = &partitions[move.index];
            assert_true(loads[moved->core] > loads[move.target] + moved->load);
            loads[moved->core] -= moved->load;
            loads[move.target] += moved->load;
            moved->core = move.target;
            uint32_t next = placement_imbalance(loads, cores);
            assert_true(next <= imbalance);
            imbalance = next;
            assert_true(++moves < 500);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_cores_are_filled_in_turn),
        cmocka_unit_test(imbalance_is_the_busiest_over_the_mean),
        cmocka_unit_test(the_cheapest_good_move_is_proposed),
        cmocka_unit_test(nothing_is_moved_in_vain),
        cmocka_unit_test(proposals_end_and_never_make_it_worse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
