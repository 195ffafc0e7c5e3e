/* SPDX-License-Identifier: Apache-2.0 */
/* Text, base64, UTF-8 and what JSON makes of bytes. */
#include "tests/lib/test.h"

#include <stdlib.h>

#include "broker/cli/json.h"
#include "broker/cli/text.h"

static void check_escaped(const char *words, struct bytes expected)
{
    struct text text = {0};
    assert_true(text_append_escaped(&text, words));
    assert_bytes_equal(text_bytes(&text), expected);
    text_deinit(&text);
}

static void escapes(void **state)
{
    (void)state;
    struct text text = {0};
    check_escaped("", BYTES_LITERAL(""));
    check_escaped("a\\tb\\n", BYTES_LITERAL("a\tb\n"));
    check_escaped("\\\\n", BYTES_LITERAL("\\n"));
    check_escaped("\\0\\x00\\xfF", bytes_of("\0\0\xff", 3));
    assert_false(text_append_escaped(&text, "\\"));
    assert_false(text_append_escaped(&text, "\\q"));
    assert_false(text_append_escaped(&text, "\\x1"));
    assert_false(text_append_escaped(&text, "\\xg0"));
    text_deinit(&text);
}

static void check_base64(const char *plain, const char *packed)
{
    struct text text = {0};
    text_append_base64(&text, bytes_of_text(plain));
    assert_bytes_equal(text_bytes(&text), bytes_of_text(packed));
    text.size = 0;
    assert_true(text_append_base64_decoded(&text, bytes_of_text(packed)));
    assert_bytes_equal(text_bytes(&text), bytes_of_text(plain));
    text_deinit(&text);
}

/* The vectors of RFC 4648, 10. */
static void base64(void **state)
{
    (void)state;
    check_base64("", "");
    check_base64("f", "Zg==");
    check_base64("fo", "Zm8=");
    check_base64("foo", "Zm9v");
    check_base64("foob", "Zm9vYg==");
    check_base64("fooba", "Zm9vYmE=");
    check_base64("foobar", "Zm9vYmFy");
    struct text text = {0};
    assert_false(text_append_base64_decoded(&text, BYTES_LITERAL("Zg=")));
    assert_false(text_append_base64_decoded(&text, BYTES_LITERAL("Z===")));
    assert_false(text_append_base64_decoded(&text, BYTES_LITERAL("Zm9*")));
    assert_false(text_append_base64_decoded(&text, BYTES_LITERAL("=m9v")));
    text_deinit(&text);
}

static void utf8(void **state)
{
    (void)state;
    assert_true(bytes_are_utf8(BYTES_LITERAL("")));
    assert_true(bytes_are_utf8(BYTES_LITERAL("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80")));
    assert_true(bytes_are_utf8(bytes_of("\0", 1)));
    assert_true(bytes_are_utf8(BYTES_LITERAL("\xf4\x8f\xbf\xbf")));
    assert_false(bytes_are_utf8(BYTES_LITERAL("\xff")));
    assert_false(bytes_are_utf8(BYTES_LITERAL("\x80")));
    assert_false(bytes_are_utf8(BYTES_LITERAL("\xc3")));
    assert_false(bytes_are_utf8(BYTES_LITERAL("\xc0\x80")));
    assert_false(bytes_are_utf8(BYTES_LITERAL("\xe0\x80\x80")));
    assert_false(bytes_are_utf8(BYTES_LITERAL("\xed\xa0\x80")));
    assert_false(bytes_are_utf8(BYTES_LITERAL("\xf4\x90\x80\x80")));
    assert_false(bytes_are_utf8(BYTES_LITERAL("\xe2\x82")));
}

/* What json_set_bytes() makes of the bytes, as text; the way back gives the bytes again. */
static void check_json(struct bytes bytes, const char *expected)
{
    json_t *object = json_object();
    json_set_bytes(object, "key", bytes);
    char *dumped = json_dumps(object, JSON_COMPACT);
    assert_string_equal(dumped, expected);
    struct text text = {0};
    bool present;
    assert_true(json_take_bytes(object, "key", &text, &present));
    assert_int_equal(present, bytes.data != NULL);
    assert_bytes_equal(text_bytes(&text),
                       bytes_of(bytes.data == NULL ? "" : (const char *)bytes.data, bytes.size));
    text_deinit(&text);
    free(dumped);
    json_decref(object);
}

static void json_bytes(void **state)
{
    (void)state;
    check_json(BYTES_NULL, "{\"key\":null}");
    check_json(BYTES_LITERAL(""), "{\"key\":\"\"}");
    check_json(BYTES_LITERAL("a\"b\\c\n\x01"), "{\"key\":\"a\\\"b\\\\c\\n\\u0001\"}");
    check_json(bytes_of("a\0b", 3), "{\"key\":\"a\\u0000b\"}");
    check_json(BYTES_LITERAL("\xc3\xa4"), "{\"key\":\"\xc3\xa4\"}");
    check_json(BYTES_LITERAL("\xff\x00"), "{\"key\":\"/wA=\",\"key_encoding\":\"base64\"}");
}

static void json_wrong(void **state)
{
    (void)state;
    static const char *const WRONG[] = {
        "{\"key\":1}",
        "{\"key\":\"a\",\"key_encoding\":\"base64\"}",
        "{\"key\":\"YQ==\",\"key_encoding\":\"rot13\"}",
        "{\"key\":\"YQ==\",\"key_encoding\":64}",
    };
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        struct text text = {0};
        bool present;
        json_t *object = json_loads(WRONG[i], 0, NULL);
        assert_non_null(object);
        assert_false(json_take_bytes(object, "key", &text, &present));
        json_decref(object);
        text_deinit(&text);
    }
    json_t *repaired = json_of_text(BYTES_LITERAL("a\xff"));
    assert_string_equal(json_string_value(repaired), "a\xef\xbf\xbd");
    json_decref(repaired);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes),    cmocka_unit_test(base64),     cmocka_unit_test(utf8),
        cmocka_unit_test(json_bytes), cmocka_unit_test(json_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
