/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"

#include "base/check.h"
#include "tests/lib/test.h"

static void same_seed_same_numbers(void **state)
{
    (void)state;
    struct random a;
    struct random b;
    struct random c;
    random_init(&a, 7);
    random_init(&b, 7);
    random_init(&c, 8);
    for (size_t i = 0; i < 100; i++) {
        uint64_t value = random_u64(&a);
        assert_int_equal(value, random_u64(&b));
        assert_int_not_equal(value, random_u64(&c));
    }
}

/* First outputs of the authors' xoshiro256** for the state 1, 2, 3, 4. */
static void reference_numbers(void **state)
{
    (void)state;
    struct random random = {.state = {1, 2, 3, 4}};
    static const uint64_t expected[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        assert_int_equal(random_u64(&random), expected[i]);
    }
}

static void below_stays_below_and_reaches_all(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 3);
    size_t seen[7] = {0};
    for (size_t i = 0; i < 7000; i++) {
        uint64_t value = random_below(&random, 7);
        assert_true(value < 7);
        seen[value] += 1;
    }
    for (size_t i = 0; i < 7; i++) {
        assert_true(seen[i] > 800 && seen[i] < 1200);
    }
    assert_int_equal(random_below(&random, 1), 0);
}

static void uuids_are_version_4(void **state)
{
    (void)state;
    struct random random;
    uint8_t uuid[16];
    random_init(&random, 0);
    for (size_t i = 0; i < 100; i++) {
        random_uuid(&random, uuid);
        assert_int_equal(uuid[6] >> 4, 4);
        assert_int_equal(uuid[8] >> 6, 2);
    }
    assert_int_not_equal(random_seed_from_kernel(), random_seed_from_kernel());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_numbers),
        cmocka_unit_test(reference_numbers),
        cmocka_unit_test(below_stays_below_and_reaches_all),
        cmocka_unit_test(uuids_are_version_4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
