/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/subscription.h"

#include "tests/lib/test.h"

/* Version 1: topics ta and t-b, user data "u", then what later versions add. */
static const uint8_t two_topics[] = {0,   1,   0,   0, 0, 2, 0, 2,   't', 'a', 0, 3,
                                     't', '-', 'b', 0, 0, 0, 1, 'u', 0,   0,   0, 0};
#define PREFIX_SIZE 20 /* up to the end of user data */

static void topics_are_listed_in_order(void **state)
{
    (void)state;
    struct subscription subscription;
    struct bytes topic;
    subscription_init(&subscription, bytes_of(two_topics, sizeof(two_topics)));
    assert_false(subscription_is_whole(&subscription));
    assert_true(subscription_next(&subscription, &topic));
    assert_bytes_equal(topic, BYTES_LITERAL("ta"));
    assert_true(subscription_next(&subscription, &topic));
    assert_bytes_equal(topic, BYTES_LITERAL("t-b"));
    assert_false(subscription_next(&subscription, &topic));
    assert_true(subscription_is_whole(&subscription));
    assert_false(subscription_next(&subscription, &topic));
    assert_true(subscription_is_whole(&subscription));
}

static void every_cut_is_noticed(void **state)
{
    (void)state;
    for (size_t size = 0; size <= sizeof(two_topics); size++) {
        struct bytes metadata = bytes_of(two_topics, size);
        assert_int_equal(subscription_holds(metadata, BYTES_LITERAL("other")), size < PREFIX_SIZE);
        assert_true(subscription_holds(metadata, BYTES_LITERAL("t-b")));
    }
}

static void versions_to_come_are_read_and_negative_ones_are_not(void **state)
{
    (void)state;
    uint8_t metadata[sizeof(two_topics)];
    memcpy(metadata, two_topics, sizeof(metadata));
    metadata[0] = 0x7f;
    assert_false(subscription_holds(bytes_of(metadata, sizeof(metadata)), BYTES_LITERAL("other")));
    metadata[0] = 0xff;
    assert_true(subscription_holds(bytes_of(metadata, sizeof(metadata)), BYTES_LITERAL("other")));
}

static void a_name_that_begins_alike_is_another(void **state)
{
    (void)state;
    struct bytes metadata = bytes_of(two_topics, sizeof(two_topics));
    assert_false(subscription_holds(metadata, BYTES_LITERAL("t")));
    assert_false(subscription_holds(metadata, BYTES_LITERAL("taa")));
    assert_false(subscription_holds(metadata, BYTES_LITERAL("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_listed_in_order),
        cmocka_unit_test(every_cut_is_noticed),
        cmocka_unit_test(versions_to_come_are_read_and_negative_ones_are_not),
        cmocka_unit_test(a_name_that_begins_alike_is_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
