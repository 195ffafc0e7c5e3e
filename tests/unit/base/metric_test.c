/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metric.h"

#include "tests/lib/test.h"

static uint64_t quantile_of_one(uint64_t value)
{
    /* With a larger value behind it, so that the bucket's bound is told and not the maximum. */
    struct histogram histogram;
    histogram_init(&histogram);
    histogram_add(&histogram, value);
    histogram_add(&histogram, UINT64_MAX);
    return histogram_quantile(&histogram, 0.5);
}

static void buckets_err_by_a_sixteenth(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 16; value++) {
        assert_int_equal(quantile_of_one(value), value);
    }
    for (uint64_t value = 16; value < UINT64_MAX / 3; value = value * 2 + value / 7) {
        uint64_t told = quantile_of_one(value);
        assert_true(told >= value);
        assert_true(told - value <= value / 16);
    }
    assert_true(quantile_of_one(UINT64_MAX) == UINT64_MAX);
}

static void quantiles_of_a_ramp(void **state)
{
    (void)state;
    struct histogram a;
    struct histogram b;
    histogram_init(&a);
    histogram_init(&b);
    assert_int_equal(histogram_quantile(&a, 0.5), 0);
    for (uint64_t i = 1; i <= 10000; i++) {
        histogram_add(i % 2 == 0 ? &a : &b, i);
    }
    histogram_merge(&a, &b);
    assert_int_equal(a.count, 10000);
    assert_int_equal(a.sum, 50005000);
    assert_int_equal(a.max, 10000);
    assert_in_range(histogram_quantile(&a, 0.5), 5000, 5313);
    assert_in_range(histogram_quantile(&a, 0.99), 9900, 10000);
    assert_int_equal(histogram_quantile(&a, 1.0), 10000);
    assert_int_equal(histogram_quantile(&a, 0.0001), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_err_by_a_sixteenth),
        cmocka_unit_test(quantiles_of_a_ramp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
