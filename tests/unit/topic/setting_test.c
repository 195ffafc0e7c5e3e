/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/setting.h"

#include <stdlib.h>

#include "base/check.h"
#include "tests/lib/test.h"

struct sample {
    bool flag;
    int16_t small;
    int32_t medium;
    int64_t large;
    double share;
    int32_t choice;
    uint32_t set;
    bool replicas;
    const char *text;
    const char *secret;
};

#define FIELD(member) .offset = offsetof(struct sample, member)

static const struct setting table[] = {
    {"flag", SETTING_BOOLEAN, FIELD(flag), .default_text = "true"},
    {"small", SETTING_SHORT, FIELD(small), .default_text = "3", .low = -1, .high = INT16_MAX},
    {"medium", SETTING_INT, FIELD(medium), .default_text = "-1", .low = -1, .high = 9,
     .flags = SETTING_NOT_ZERO},
    {"large", SETTING_LONG, FIELD(large), .default_text = "7200000", .low = INT64_MIN,
     .high = INT64_MAX,
     .synonyms = {{"low.ms", 1}, {"low.minutes", 60000}, {"low.hours", 3600000}}},
    {"share", SETTING_DOUBLE, FIELD(share), .default_text = "0.5", .low = 0, .high = 1},
    {"choice", SETTING_CHOICE, FIELD(choice), .default_text = "two", .choices = "one two three"},
    {"set", SETTING_SET, FIELD(set), .default_text = "two", .choices = "one two three"},
    {"replicas", SETTING_REPLICAS, FIELD(replicas), .default_text = ""},
    {"text", SETTING_STRING, FIELD(text), .default_text = NULL},
    {"secret", SETTING_PASSWORD, FIELD(secret), .default_text = NULL},
    {"fixed", SETTING_BOOLEAN, FIELD(flag), .default_text = "false", .flags = SETTING_FIXED},
};

static const struct setting *row(const char *name)
{
    const struct setting *setting = setting_find(table, ARRAY_COUNT(table), bytes_of_text(name));
    assert_non_null(setting);
    return setting;
}

static enum status parse(const char *name, const char *text, struct setting_value *value)
{
    char message[SETTING_MESSAGE_SIZE] = "";
    size_t size = strlen(text);
    uint8_t *exact = malloc(size + 1); /* one byte too early: an over-read is seen */
    memcpy(exact + 1, text, size);
    enum status status = setting_parse(row(name), bytes_of(exact + 1, size), value, message);
    if (status != STATUS_OK) {
        assert_int_equal(status, STATUS_INVALID_CONFIG);
        assert_memory_equal(message, name, strlen(name)); /* every refusal names its key */
    } else {
        char canonical[128];
        assert_true(setting_canonical(row(name), bytes_of(exact + 1, size), canonical) <= size);
    }
    free(exact);
    return status;
}

static void expect_number(const char *name, const char *text, int64_t number)
{
    struct setting_value value;
    assert_int_equal(parse(name, text, &value), STATUS_OK);
    assert_int_equal(value.number, number);
}

static void expect_refusal(const char *name, const char *text)
{
    struct setting_value value;
    assert_int_equal(parse(name, text, &value), STATUS_INVALID_CONFIG);
}

static void booleans(void **state)
{
    (void)state;
    expect_number("flag", "true", 1);
    expect_number("flag", " FALSE ", 0);
    expect_refusal("flag", "");
    expect_refusal("flag", "1");
    expect_refusal("flag", "yes");
}

static void whole_numbers(void **state)
{
    (void)state;
    expect_number("large", "9223372036854775807", INT64_MAX);
    expect_number("large", "-9223372036854775808", INT64_MIN);
    expect_number("large", "\t+7\n", 7);
    expect_refusal("large", "9223372036854775808");
    expect_refusal("large", "-9223372036854775809");
    expect_refusal("large", "99999999999999999999999999");
    expect_refusal("large", "");
    expect_refusal("large", "-");
    expect_refusal("large", "1.0");
    expect_refusal("large", "0x10");
    expect_refusal("large", "1 2");
    expect_number("small", "32767", 32767);
    expect_refusal("small", "32768");
    expect_refusal("small", "-2");
    expect_number("medium", "-1", -1);
    expect_refusal("medium", "0");
    expect_number("medium", "9", 9);
}

static void real_numbers(void **state)
{
    (void)state;
    struct setting_value value;
    assert_int_equal(parse("share", "0.25", &value), STATUS_OK);
    assert_true(value.real == 0.25);
    assert_int_equal(parse("share", "1e-3", &value), STATUS_OK);
    expect_refusal("share", "1.1");
    expect_refusal("share", "-0.1");
    expect_refusal("share", "nan");
    expect_refusal("share", "inf");
    expect_refusal("share", "0x1p-1");
    expect_refusal("share", "");
    expect_refusal("share", "-");
}

static void words(void **state)
{
    (void)state;
    expect_number("choice", "one", 0);
    expect_number("choice", " three", 2);
    expect_refusal("choice", "four");
    expect_refusal("choice", "");
    expect_refusal("choice", "one two");
    expect_refusal("choice", "tw");
    expect_number("set", "", 0);
    expect_number("set", "three", 4);
    expect_number("set", "one , three", 5);
    expect_refusal("set", "one,one");
    expect_refusal("set", "one,");
    expect_refusal("set", ",");
    expect_refusal("set", "one,four");
}

static void replicas(void **state)
{
    (void)state;
    expect_number("replicas", "", 0);
    expect_number("replicas", "*", 1);
    expect_number("replicas", "0:1, 12:3", 1);
    expect_refusal("replicas", "0");
    expect_refusal("replicas", "0:");
    expect_refusal("replicas", ":1");
    expect_refusal("replicas", "0:1,");
    expect_refusal("replicas", "0:1:2");
    expect_refusal("replicas", "a:1");
}

static void only_the_default_is_accepted_where_nothing_else_is_there(void **state)
{
    (void)state;
    expect_number("fixed", "false", 0);
    expect_refusal("fixed", "true");
}

static void messages_name_key_value_and_range(void **state)
{
    (void)state;
    struct setting_value value;
    char message[SETTING_MESSAGE_SIZE];
    assert_int_equal(setting_parse(row("medium"),
                                   BYTES_LITERAL("1\x01"
                                                 "0"),
                                   &value, message),
                     STATUS_INVALID_CONFIG);
    assert_string_equal(message, "medium=1?0: must be a whole number from -1 to 9, without 0");
    assert_int_equal(setting_parse(row("set"), BYTES_LITERAL("x"), &value, message),
                     STATUS_INVALID_CONFIG);
    assert_string_equal(message, "set=x: must be a list of different words out of: one two three");
    assert_int_equal(setting_parse(row("fixed"), BYTES_LITERAL("true"), &value, message),
                     STATUS_INVALID_CONFIG);
    assert_string_equal(message, "fixed=true: is not supported; only \"false\" is accepted");
    char longest[1000];
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(
        setting_parse(row("flag"), bytes_of(longest, sizeof(longest)), &value, message),
        STATUS_INVALID_CONFIG);
    assert_true(strlen(message) < 100);
    assert_int_equal(setting_parse(row("secret"), BYTES_LITERAL("pass\0word"), &value, message),
                     STATUS_INVALID_CONFIG);
    assert_null(strstr(message, "pass"));
}

static void fields_are_typed(void **state)
{
    (void)state;
    struct sample sample;
    memset(&sample, 0xff, sizeof(sample));
    setting_store_defaults(table, ARRAY_COUNT(table) - 1, &sample);
    assert_true(sample.flag);
    assert_int_equal(sample.small, 3);
    assert_int_equal(sample.medium, -1);
    assert_int_equal(sample.large, 7200000);
    assert_true(sample.share == 0.5);
    assert_int_equal(sample.choice, 1);
    assert_int_equal(sample.set, 2);
    assert_false(sample.replicas);
    assert_null(sample.text);
}

static void expect_canonical(const char *name, const char *text, const char *expected)
{
    char out[128];
    size_t size = setting_canonical(row(name), bytes_of_text(text), out);
    assert_bytes_equal(bytes_of(out, size), bytes_of_text(expected));
}

static void texts_have_one_form(void **state)
{
    (void)state;
    expect_canonical("flag", " TRUE", "true");
    expect_canonical("flag", "False", "false");
    expect_canonical("large", "+007 ", "7");
    expect_canonical("large", "-0", "0");
    expect_canonical("set", " one ,\ttwo ", "one,two");
    expect_canonical("set", "  ", "");
    expect_canonical("text", "  a, b  ", "a, b");
    expect_canonical("share", " 1e-3 ", "1e-3");
}

struct pair {
    const char *name;
    const char *value;
};

static const char *find_pair(const void *context, const char *name)
{
    for (const struct pair *pair = context; pair->name != NULL; pair++) {
        if (strcmp(pair->name, name) == 0) {
            return pair->value;
        }
    }
    return NULL;
}

static struct setting_lookup in(const struct pair *pairs)
{
    return (struct setting_lookup){find_pair, pairs};
}

static void expect_origin(const struct setting_row *shown, int32_t index, const char *name,
                          const char *value, enum setting_source source)
{
    assert_true(index < shown->origin_count);
    assert_string_equal(shown->origins[index].name, name);
    assert_string_equal(shown->origins[index].value, value);
    assert_int_equal(shown->origins[index].source, source);
}

static void defaults_are_shown_as_defaults(void **state)
{
    (void)state;
    struct setting_row shown;
    setting_describe(row("large"), (struct setting_lookup){0}, SETTING_SOURCE_TOPIC,
                     (struct setting_lookup){0}, &shown);
    assert_string_equal(shown.value, "7200000");
    assert_int_equal(shown.source, SETTING_SOURCE_DEFAULT);
    assert_int_equal(shown.origin_count, 1);
    expect_origin(&shown, 0, "low.hours", "2", SETTING_SOURCE_DEFAULT);
    setting_describe(row("text"), (struct setting_lookup){0}, SETTING_SOURCE_TOPIC,
                     (struct setting_lookup){0}, &shown);
    assert_null(shown.value);
    assert_int_equal(shown.origin_count, 0);
}

static void the_smaller_unit_wins_and_all_levels_are_shown(void **state)
{
    (void)state;
    const struct pair below[] = {{"low.hours", "1"}, {"low.minutes", "90"}, {NULL, NULL}};
    const struct pair own[] = {{"large", "5"}, {NULL, NULL}};
    struct setting_row shown;
    setting_describe(row("large"), (struct setting_lookup){0}, SETTING_SOURCE_TOPIC, in(below),
                     &shown);
    assert_string_equal(shown.value, "5400000");
    assert_int_equal(shown.source, SETTING_SOURCE_STATIC);
    assert_int_equal(shown.origin_count, 3);
    expect_origin(&shown, 0, "low.minutes", "90", SETTING_SOURCE_STATIC);
    expect_origin(&shown, 1, "low.hours", "1", SETTING_SOURCE_STATIC);

    setting_describe(row("large"), in(own), SETTING_SOURCE_TOPIC, in(below), &shown);
    assert_string_equal(shown.value, "5");
    assert_int_equal(shown.source, SETTING_SOURCE_TOPIC);
    assert_int_equal(shown.origin_count, 4);
    expect_origin(&shown, 0, "large", "5", SETTING_SOURCE_TOPIC);
    expect_origin(&shown, 3, "low.hours", "2", SETTING_SOURCE_DEFAULT);
}

static void units_neither_turn_no_limit_into_one_nor_overflow(void **state)
{
    (void)state;
    const struct pair unlimited[] = {{"low.hours", "-1"}, {NULL, NULL}};
    const struct pair huge[] = {{"low.hours", "9223372036854775807"}, {NULL, NULL}};
    char number[SETTING_NUMBER_SIZE];
    assert_string_equal(setting_from_below(row("large"), in(unlimited), number), "-1");
    assert_string_equal(setting_from_below(row("large"), in(huge), number), "9223372036854775807");
}

static void passwords_are_not_shown(void **state)
{
    (void)state;
    const struct pair own[] = {{"secret", "hunter2"}, {NULL, NULL}};
    struct setting_row shown;
    setting_describe(row("secret"), in(own), SETTING_SOURCE_STATIC, (struct setting_lookup){0},
                     &shown);
    assert_null(shown.value);
    assert_int_equal(shown.source, SETTING_SOURCE_STATIC);
    assert_null(shown.origins[0].value);
}

static void type_codes_are_those_of_describe_configs(void **state)
{
    (void)state;
    static const int8_t expected[] = {1, 4, 3, 5, 6, 2, 7, 7, 2, 9};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        assert_int_equal(setting_type_code(&table[i]), expected[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(booleans),
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(real_numbers),
        cmocka_unit_test(words),
        cmocka_unit_test(replicas),
        cmocka_unit_test(only_the_default_is_accepted_where_nothing_else_is_there),
        cmocka_unit_test(messages_name_key_value_and_range),
        cmocka_unit_test(fields_are_typed),
        cmocka_unit_test(texts_have_one_form),
        cmocka_unit_test(defaults_are_shown_as_defaults),
        cmocka_unit_test(the_smaller_unit_wins_and_all_levels_are_shown),
        cmocka_unit_test(units_neither_turn_no_limit_into_one_nor_overflow),
        cmocka_unit_test(passwords_are_not_shown),
        cmocka_unit_test(type_codes_are_those_of_describe_configs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
