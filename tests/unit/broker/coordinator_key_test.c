/* SPDX-License-Identifier: Apache-2.0 */
/* The partition of a key is Kafka's, or a folder that came from Kafka would be read in vain. */
#include "tests/lib/test.h"

#include "broker/coordinator.h"

/* String.hashCode() of the same text in Java. */
static void test_hash_is_javas(void **state)
{
    (void)state;
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("")), 0);
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("a")), 97);
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("hello")), 99162322);
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("polygenelubricants")), INT32_MIN);
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("\xc3\xa9")), 0xe9);
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("\xe2\x82\xac")), 0x20ac);
    /* U+1F600 is two units, d83d and de00. */
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("\xf0\x9f\x98\x80")), 0xd83d * 31 + 0xde00);
}

static void test_broken_text_counts_as_replacement(void **state)
{
    (void)state;
    const int32_t one = 0xfffd;
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("\xff")), one);
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("\x80")), one);
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("\xe2\x82")), one * 31 + one);
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("\xc0\x80")), one * 31 + one);
    /* A surrogate by itself, and behind the last code point. */
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("\xed\xa0\x80")),
                     (int32_t)((uint32_t)one * 31 * 31 + (uint32_t)one * 31 + (uint32_t)one));
    assert_int_equal(coordinator_key_hash(BYTES_LITERAL("\xf5")), one);
}

static void test_partition(void **state)
{
    (void)state;
    assert_int_equal(coordinator_key_partition(BYTES_LITERAL("hello"), 50), 22);
    assert_int_equal(coordinator_key_partition(BYTES_LITERAL("polygenelubricants"), 50), 0);
    assert_int_equal(coordinator_key_partition(BYTES_LITERAL("test-group"), 50), 12);
    assert_int_equal(coordinator_key_partition(BYTES_LITERAL("anything"), 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_is_javas),
        cmocka_unit_test(test_broken_text_counts_as_replacement),
        cmocka_unit_test(test_partition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
