/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/retention.h"

#include "base/check.h"
#include "base/random.h"
#include "tests/lib/test.h"

#define HOUR INT64_C(3600000)

/* Four segments of 100 bytes and 10 records, an hour apart; the last is the active one. */
static const struct retention_segment segments[] = {
    {0, 10, 100, 1 * HOUR},
    {10, 20, 100, 2 * HOUR},
    {20, 30, 100, 3 * HOUR},
    {30, 40, 100, 4 * HOUR},
};

static struct retention_rules rules_that_keep(void)
{
    return (struct retention_rules){
        .delete_old = true,
        .retention_ms = -1,
        .retention_size = -1,
        .now_ms = 5 * HOUR,
        .log_start_offset = 0,
        .high_watermark = 40,
    };
}

static void expect(const struct retention_rules *rules, int32_t count, bool roll)
{
    bool roll_active = !roll;
    assert_int_equal(retention_pick(segments, ARRAY_COUNT(segments), rules, &roll_active), count);
    assert_int_equal(roll_active, roll);
}

static void nothing_goes_without_a_rule(void **state)
{
    (void)state;
    struct retention_rules rules = rules_that_keep();
    expect(&rules, 0, false);
    bool roll = true;
    assert_int_equal(retention_pick(segments, 0, &rules, &roll), 0);
    assert_false(roll);
}

static void segments_below_the_log_start_go_whatever_the_policy(void **state)
{
    (void)state;
    struct retention_rules rules = rules_that_keep();
    rules.delete_old = false;
    rules.retention_ms = 0;
    rules.retention_size = 0;
    rules.log_start_offset = 19;
    expect(&rules, 1, false);
    rules.log_start_offset = 20;
    expect(&rules, 2, false);
    rules.log_start_offset = 40;
    expect(&rules, 3, false);
}

static void size_never_cuts_below_its_limit(void **state)
{
    (void)state;
    struct retention_rules rules = rules_that_keep();
    rules.retention_size = 301;
    expect(&rules, 0, false);
    rules.retention_size = 300;
    expect(&rules, 1, false);
    rules.retention_size = 200;
    expect(&rules, 2, false);
    rules.retention_size = 0;
    expect(&rules, 3, true);
}

static void size_counts_segments_that_are_not_passed(void **state)
{
    (void)state;
    struct retention_rules rules = rules_that_keep();
    rules.retention_size = 500;
    rules.size_behind = 200;
    expect(&rules, 1, false);
    rules.size_behind = 300;
    expect(&rules, 2, false);
    rules.size_behind = 199;
    expect(&rules, 0, false);
}

static void size_counts_what_the_log_start_left(void **state)
{
    (void)state;
    struct retention_rules rules = rules_that_keep();
    rules.log_start_offset = 10;
    rules.retention_size = 300;
    expect(&rules, 1, false);
    rules.retention_size = 200;
    expect(&rules, 2, false);
}

static void time_goes_by_the_largest_timestamp(void **state)
{
    (void)state;
    struct retention_rules rules = rules_that_keep();
    rules.retention_ms = 3 * HOUR;
    expect(&rules, 1, false);
    rules.retention_ms = 3 * HOUR - 1;
    expect(&rules, 2, false);
    rules.retention_ms = HOUR;
    expect(&rules, 3, false);
    rules.retention_ms = HOUR - 1;
    expect(&rules, 3, true);
}

static void a_future_or_unknown_timestamp_blocks(void **state)
{
    (void)state;
    struct retention_rules rules = rules_that_keep();
    rules.retention_ms = 0;
    struct retention_segment odd[] = {{0, 10, 100, 1}, {10, 20, 100, 9 * HOUR}, {20, 20, 0, -1}};
    bool roll;
    assert_int_equal(retention_pick(odd, 3, &rules, &roll), 1);
    odd[1].timestamp_max = -1;
    assert_int_equal(retention_pick(odd, 3, &rules, &roll), 1);
    odd[1].timestamp_max = 1;
    assert_int_equal(retention_pick(odd, 3, &rules, &roll), 2);
    assert_false(roll); /* an empty active segment is never rolled */
}

static void the_high_watermark_holds(void **state)
{
    (void)state;
    struct retention_rules rules = rules_that_keep();
    rules.retention_ms = 0;
    rules.high_watermark = 25;
    expect(&rules, 2, false);
    rules.high_watermark = 30;
    expect(&rules, 3, false);
    rules.high_watermark = 40;
    expect(&rules, 3, true);
}

/* The rules as the text says them: three passes, each over what is left. */
static int32_t model_pick(const struct retention_segment *list, int32_t count,
                          const struct retention_rules *rules, bool *roll)
{
    int32_t gone = 0;
    int64_t total = 0;
    for (int32_t i = 0; i < count; i++) {
        total += list[i].size;
    }
    while (gone < count - 1 && list[gone].end_offset <= rules->log_start_offset &&
           list[gone].end_offset <= rules->high_watermark) {
        total -= list[gone++].size;
    }
    bool by_size = rules->delete_old && rules->retention_size >= 0;
    while (by_size && gone < count && list[gone].end_offset <= rules->high_watermark &&
           total - rules->retention_size >= list[gone].size) {
        total -= list[gone++].size;
    }
    bool by_time = rules->delete_old && rules->retention_ms >= 0;
    while (by_time && gone < count && list[gone].end_offset <= rules->high_watermark &&
           list[gone].timestamp_max >= 0 &&
           rules->now_ms - list[gone].timestamp_max > rules->retention_ms) {
        gone += 1;
    }
    *roll = gone == count && count > 0 && list[count - 1].size > 0;
    return gone == count && count > 0 ? count - 1 : gone;
}

static void random_logs_agree_with_three_passes(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 7);
    for (int round = 0; round < 20000; round++) {
        struct retention_segment list[6];
        int32_t count = (int32_t)random_below(&random, 7);
        int64_t offset = 0;
        for (int32_t i = 0; i < count; i++) {
            list[i].base_offset = offset;
            offset += (int64_t)random_below(&random, 4);
            list[i].end_offset = offset;
            list[i].size = list[i].base_offset == offset ? 0 : (int64_t)random_below(&random, 5);
            list[i].timestamp_max = (int64_t)random_below(&random, 12) - 1;
        }
        struct retention_rules rules = {
            .delete_old = random_below(&random, 4) > 0,
            .retention_ms = (int64_t)random_below(&random, 8) - 1,
            .retention_size = (int64_t)random_below(&random, 16) - 1,
            .now_ms = 9,
            .log_start_offset = (int64_t)random_below(&random, (uint64_t)offset + 1),
            .high_watermark = (int64_t)random_below(&random, (uint64_t)offset + 1),
        };
        bool roll;
        bool roll_expected;
        int32_t expected = model_pick(list, count, &rules, &roll_expected);
        assert_int_equal(retention_pick(list, count, &rules, &roll), expected);
        assert_int_equal(roll, roll_expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_goes_without_a_rule),
        cmocka_unit_test(segments_below_the_log_start_go_whatever_the_policy),
        cmocka_unit_test(size_never_cuts_below_its_limit),
        cmocka_unit_test(size_counts_segments_that_are_not_passed),
        cmocka_unit_test(size_counts_what_the_log_start_left),
        cmocka_unit_test(time_goes_by_the_largest_timestamp),
        cmocka_unit_test(a_future_or_unknown_timestamp_blocks),
        cmocka_unit_test(the_high_watermark_holds),
        cmocka_unit_test(random_logs_agree_with_three_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
