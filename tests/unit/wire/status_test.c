/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/status.h"

#include <string.h>

#include "tests/lib/test.h"

/* Every code of the protocol has exactly one row, and the way there and back ends where it began.
 */
static void test_codes_are_complete(void **state)
{
    (void)state;
    for (int16_t code = -1; code <= 133; code++) {
        enum status status = status_from_code(code);
        assert_int_equal(status_code(status), code);
    }
    for (int index = 0; index < STATUS_COUNT; index++) {
        enum status status = (enum status)index;
        if (status_code(status) >= 0) {
            assert_int_equal(status_from_code(status_code(status)), status);
        }
    }
    assert_int_equal(status_from_code(134), STATUS_UNKNOWN_SERVER_ERROR);
    assert_int_equal(status_from_code(-2), STATUS_UNKNOWN_SERVER_ERROR);
}

/* A sample from each end of the table, against the protocol's published numbers. */
static void test_known_numbers(void **state)
{
    (void)state;
    assert_int_equal(STATUS_OK, 0);
    assert_int_equal(status_code(STATUS_OK), 0);
    assert_int_equal(status_code(STATUS_UNKNOWN_SERVER_ERROR), -1);
    assert_int_equal(status_code(STATUS_OFFSET_OUT_OF_RANGE), 1);
    assert_int_equal(status_code(STATUS_MESSAGE_TOO_LARGE), 10);
    assert_int_equal(status_code(STATUS_INVALID_TIMESTAMP), 32);
    assert_int_equal(status_code(STATUS_UNSUPPORTED_VERSION), 35);
    assert_int_equal(status_code(STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER), 45);
    assert_int_equal(status_code(STATUS_KAFKA_STORAGE_ERROR), 56);
    assert_int_equal(status_code(STATUS_GROUP_ID_NOT_FOUND), 69);
    assert_int_equal(status_code(STATUS_FENCED_LEADER_EPOCH), 74);
    assert_int_equal(status_code(STATUS_INVALID_RECORD), 87);
    assert_int_equal(status_code(STATUS_UNKNOWN_TOPIC_ID), 100);
    assert_int_equal(status_code(STATUS_TRANSACTION_ABORTABLE), 120);
    assert_int_equal(status_code(STATUS_SHARE_SESSION_LIMIT_REACHED), 133);
    assert_int_equal(status_code(STATUS_TRUNCATED), -1);
    assert_true(status_is_retriable(STATUS_CORRUPT_MESSAGE));
    assert_true(status_is_retriable(STATUS_NOT_LEADER_OR_FOLLOWER));
    assert_false(status_is_retriable(STATUS_INVALID_RECORD));
    assert_false(status_is_retriable(STATUS_OK));
}

static void test_names_and_sentences(void **state)
{
    (void)state;
    assert_string_equal(status_name(STATUS_OFFSET_OUT_OF_RANGE), "OFFSET_OUT_OF_RANGE");
    for (int index = 0; index < STATUS_COUNT; index++) {
        assert_true(strlen(status_name((enum status)index)) > 1);
        assert_true(strlen(status_sentence((enum status)index)) > 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes_are_complete),
        cmocka_unit_test(test_known_numbers),
        cmocka_unit_test(test_names_and_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
