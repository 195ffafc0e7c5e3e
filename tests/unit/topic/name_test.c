/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/name.h"

#include "tests/lib/test.h"

static void good_names_pass(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "orders", "A-Z_a.z-09", "...", "__consumer_offsets"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(topic_name_check(bytes_of_text(names[i])), STATUS_OK);
        assert_null(topic_name_fault(bytes_of_text(names[i])));
    }
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"",    ".",   "..",       "a b",     "a/b",
                                        "a:b", "a\n", "\xc3\xa9", "../../x", METADATA_NAME};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(topic_name_check(bytes_of_text(names[i])), STATUS_INVALID_TOPIC_EXCEPTION);
        assert_non_null(topic_name_fault(bytes_of_text(names[i])));
    }
    assert_int_equal(topic_name_check(BYTES_LITERAL("a\0b")), STATUS_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(topic_name_check(BYTES_NULL), STATUS_INVALID_TOPIC_EXCEPTION);
}

static void the_longest_name_has_249_characters(void **state)
{
    (void)state;
    char name[TOPIC_NAME_SIZE_MAX + 1];
    memset(name, 'x', sizeof(name));
    assert_int_equal(topic_name_check(bytes_of(name, TOPIC_NAME_SIZE_MAX)), STATUS_OK);
    assert_int_equal(topic_name_check(bytes_of(name, sizeof(name))),
                     STATUS_INVALID_TOPIC_EXCEPTION);
}

static void dots_and_underscores_collide(void **state)
{
    (void)state;
    struct bytes dotted = BYTES_LITERAL("a.b_c");
    assert_true(topic_name_collides(dotted, BYTES_LITERAL("a_b.c")));
    assert_true(topic_name_collides(dotted, dotted));
    assert_false(topic_name_collides(dotted, BYTES_LITERAL("a-b.c")));
    assert_false(topic_name_collides(dotted, BYTES_LITERAL("a_b")));
    char key[TOPIC_NAME_SIZE_MAX];
    size_t size = topic_name_collision_key(dotted, key);
    assert_bytes_equal(bytes_of(key, size), BYTES_LITERAL("a_b_c"));
}

static void internal_topics_are_known(void **state)
{
    (void)state;
    assert_true(topic_name_is_internal(BYTES_LITERAL("__consumer_offsets")));
    assert_true(topic_name_is_internal(BYTES_LITERAL("__transaction_state")));
    assert_false(topic_name_is_internal(BYTES_LITERAL("__consumer_offset")));
    assert_false(topic_name_is_internal(BYTES_LITERAL("__mine")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_names_pass),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(the_longest_name_has_249_characters),
        cmocka_unit_test(dots_and_underscores_collide),
        cmocka_unit_test(internal_topics_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
