/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/properties.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/test.h"

/* Entries as "key|value;" each; "!" and the line where the text is malformed. */
static void expect(struct bytes text, const char *expected)
{
    uint8_t *copy = malloc(text.size + 1);
    uint8_t *memory = malloc(text.size + 1); /* one byte too early: an overrun is seen */
    memcpy(copy + 1, text.data, text.size);
    struct properties properties;
    properties_init(&properties, bytes_of(copy + 1, text.size), memory + 1);
    char shown[512];
    size_t size = 0;
    for (;;) {
        struct bytes key;
        struct bytes value;
        enum status status = properties_next(&properties, &key, &value);
        if (status == STATUS_NOT_FOUND) {
            break;
        }
        if (status != STATUS_OK) {
            assert_int_equal(status, STATUS_MALFORMED);
            size += (size_t)snprintf(shown + size, sizeof(shown) - size, "!%d", properties.line);
            break;
        }
        size += (size_t)snprintf(shown + size, sizeof(shown) - size, "%.*s|%.*s;", (int)key.size,
                                 (const char *)key.data, (int)value.size, (const char *)value.data);
    }
    shown[size] = '\0';
    assert_string_equal(shown, expected);
    free(copy);
    free(memory);
}

#define EXPECT(text, expected) expect(BYTES_LITERAL(text), expected)

static void separators(void **state)
{
    (void)state;
    EXPECT("", "");
    EXPECT("a=1", "a|1;");
    EXPECT("a:1\nb 2\nc\t3", "a|1;b|2;c|3;");
    EXPECT(" a = 1 ", "a|1 ;"); /* blanks at the end belong to the value */
    EXPECT("a==1\nb=:2\nc : = 3", "a|=1;b|:2;c|= 3;");
    EXPECT("a\nb=\n=c", "a|;b|;|c;");
    EXPECT("listeners=A://h:1,B://h:2", "listeners|A://h:1,B://h:2;");
}

static void comments_and_ends_of_lines(void **state)
{
    (void)state;
    EXPECT("# a=1\n  ! b=2\n\n\r\nc=3 # no comment", "c|3 # no comment;");
    EXPECT("a=1\rb=2\r\nc=3\n\n", "a|1;b|2;c|3;");
    EXPECT("# ends with a backslash \\\na=1", "a|1;");
}

static void joined_lines(void **state)
{
    (void)state;
    EXPECT("a=1,\\\n    2,\\\r\n\t3\nb=4", "a|1,2,3;b|4;");
    EXPECT("a=1\\\\\nb=2", "a|1\\;b|2;"); /* two backslashes are one, and join nothing */
    EXPECT("ke\\\n  y=1", "key|1;");
    EXPECT("a\\\n  =1", "a|1;");
    EXPECT("a \\\n = \\\n 1", "a|1;");
    EXPECT("a=1\\", "a|1;");
    EXPECT("a=1\\\n\nb=2", "a|1;b|2;");
}

static void escapes(void **state)
{
    (void)state;
    EXPECT("a\\=b\\:c\\ d=1", "a=b:c d|1;");
    EXPECT("a=\\t\\n\\r\\f\\x\\\"", "a|\t\n\r\fx\";");
    EXPECT("a=C:\\\\dir", "a|C:\\dir;");
    EXPECT("\\#a=1\n\\!b=2", "#a|1;!b|2;");
    EXPECT("a=\\u0041\\u00e9\\u20AC", "a|A\xc3\xa9\xe2\x82\xac;");
    EXPECT("a=\\ud83d\\ude00", "a|\xf0\x9f\x98\x80;");
    EXPECT("a=\\ud83dx\nb=\\ude00", "a|\xef\xbf\xbdx;b|\xef\xbf\xbd;");
    EXPECT("a=\\ud83d\\u0041", "a|\xef\xbf\xbd"
                               "A;");
    EXPECT("a=\xc3\xa9", "a|\xc3\xa9;");
}

static void malformed_escapes_name_their_line(void **state)
{
    (void)state;
    EXPECT("a=1\nb=\\u12", "a|1;!2");
    EXPECT("# one\n\na=1\\\n2\nb=\\u12g4\nc=1", "a|12;!5");
    EXPECT("\\u", "!1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(separators),
        cmocka_unit_test(comments_and_ends_of_lines),
        cmocka_unit_test(joined_lines),
        cmocka_unit_test(escapes),
        cmocka_unit_test(malformed_escapes_name_their_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
