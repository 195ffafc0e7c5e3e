/* SPDX-License-Identifier: Apache-2.0 */
/* Records in: lines, JSON, sizes. Records out: names and templates. What goes out comes in again.
 */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "broker/cli/record_input.h"
#include "broker/cli/record_output.h"

/* One header: key "h", value "1"; one with null; as they stand in a record. */
static const uint8_t HEADERS[] = {2, 'h', 2, '1', 2, 'n', 1};

static struct record sample_record(void)
{
    return (struct record){
        .offset = 42,
        .timestamp = 1700000000123,
        .key = BYTES_LITERAL("k\xff"),
        .value = BYTES_LITERAL("va\nl"),
        .header_count = 2,
        .headers = {HEADERS, sizeof(HEADERS)},
    };
}

static void check_format(const struct record *record, const char *format, const char *delimiter,
                         struct bytes expected)
{
    char message[400];
    struct output output;
    struct text text = {0};
    assert_true(output_init(&output, format, delimiter, message, sizeof(message)));
    output.null_marker = BYTES_LITERAL("~");
    struct output_record row = {BYTES_LITERAL("topic"), 3, record};
    output_append(&output, &row, &text);
    assert_bytes_equal(text_bytes(&text), expected);
    text_deinit(&text);
    output_deinit(&output);
}

static void formats(void **state)
{
    (void)state;
    struct record record = sample_record();
    check_format(&record, "value", NULL, BYTES_LITERAL("va\nl\n"));
    check_format(&record, "raw", NULL, BYTES_LITERAL("va\nl"));
    check_format(&record, "raw", "\\0", BYTES_LITERAL("va\nl\0"));
    check_format(&record, "key-value", "--", BYTES_LITERAL("k\xff\tva\nl--"));
    check_format(&record, "full", NULL,
                 BYTES_LITERAL("topic\t3\t42\t1700000000123\th=1,n=~\tk\xff\tva\nl\n"));
    check_format(&record, "%o:%p:%t:%T:%h:%k:%v%s\\n", NULL,
                 BYTES_LITERAL("42:3:topic:1700000000123:h=1,n=~:k\xff:va\nlva\nl\n"));
    check_format(&record, "100%% %K %V %S\\x41", NULL,
                 BYTES_LITERAL("100% 2 4 4"
                               "A"));
    check_format(&record, "json", NULL,
                 BYTES_LITERAL("{\"topic\":\"topic\",\"partition\":3,\"offset\":42,"
                               "\"timestamp\":1700000000123,\"headers\":[{\"key\":\"h\",\"value\":"
                               "\"1\"},{\"key\":\"n\",\"value\":null}],\"key\":\"a/8=\","
                               "\"key_encoding\":\"base64\",\"value\":\"va\\nl\"}\n"));
    check_format(&record, "length", NULL, bytes_of("\0\0\0\2k\xff\0\0\0\4va\nl", 14));
    record.key = BYTES_NULL;
    record.value = BYTES_NULL;
    check_format(&record, "%k %v %K %V", NULL, BYTES_LITERAL("~ ~ -1 -1"));
    check_format(&record, "length", NULL, bytes_of("\xff\xff\xff\xff\xff\xff\xff\xff", 8));
}

static void formats_wrong(void **state)
{
    (void)state;
    static const char *const WRONG[] = {"", "values", "%", "%q", "%v\\", "%v\\q", "a%"};
    char message[400];
    struct output output;
    for (size_t i = 0; i < ARRAY_COUNT(WRONG); i++) {
        assert_false(output_init(&output, WRONG[i], NULL, message, sizeof(message)));
    }
    assert_false(output_init(&output, "value", "\\q", message, sizeof(message)));
}

static void check_bytes(struct bytes bytes, const char *expected)
{
    if (expected == NULL) {
        assert_null(bytes.data);
        return;
    }
    assert_non_null(bytes.data);
    assert_bytes_equal(bytes, bytes_of_text(expected));
}

struct line_case {
    const char *line;
    const char *delimiter;
    const char *null_marker;
    bool headers;
    const char *key;
    const char *value;
    int32_t header_count;
    const char *header_key;
    const char *header_value;
};

static void lines(void **state)
{
    (void)state;
    static const struct line_case CASES[] = {
        {"", NULL, NULL, false, NULL, "", 0, NULL, NULL},
        {"a:b", NULL, NULL, false, NULL, "a:b", 0, NULL, NULL},
        {"a:b:c", ":", NULL, false, "a", "b:c", 0, NULL, NULL},
        {":b", ":", NULL, false, "", "b", 0, NULL, NULL},
        {"b", ":", NULL, false, NULL, "b", 0, NULL, NULL},
        {"k=>NIL", "=>", "NIL", false, "k", NULL, 0, NULL, NULL},
        {"NIL=>v", "=>", "NIL", false, NULL, "v", 0, NULL, NULL},
        {"\tv", NULL, NULL, true, NULL, "v", 0, NULL, NULL},
        {"a=1=2,b\tk:v", ":", NULL, true, "k", "v", 2, "a", "1=2"},
        {"b,a=\tv", NULL, NULL, true, NULL, "v", 2, "b", NULL},
    };
    struct input_record *record = malloc(sizeof(*record));
    assert_non_null(record);
    for (size_t i = 0; i < ARRAY_COUNT(CASES); i++) {
        const struct line_case *row = &CASES[i];
        struct input_options options = {
            .format = INPUT_LINES,
            .headers = row->headers,
            .key_delimiter = row->delimiter == NULL ? BYTES_NULL : bytes_of_text(row->delimiter),
            .null_marker = row->null_marker == NULL ? BYTES_NULL : bytes_of_text(row->null_marker),
        };
        struct input input;
        input_init(&input, &options, NULL, 0);
        assert_true(input_parse_line(&input, bytes_of_text(row->line), record));
        check_bytes(record->key, row->key);
        check_bytes(record->value, row->value);
        assert_int_equal(record->header_count, row->header_count);
        if (row->header_count > 0) {
            check_bytes(record->headers[0].key, row->header_key);
            check_bytes(record->headers[0].value, row->header_value);
        }
        input_deinit(&input);
    }
    free(record);
}

static void json_lines(void **state)
{
    (void)state;
    static const char *const WRONG[] = {
        "",
        "{",
        "[]",
        "1",
        "{\"value\":1}",
        "{\"timestamp\":\"x\"}",
        "{\"headers\":{}}",
        "{\"headers\":[{\"value\":\"v\"}]}",
        "{\"headers\":[1]}",
        "{\"value\":\"*\",\"value_encoding\":\"base64\"}",
    };
    struct input_record *record = malloc(sizeof(*record));
    assert_non_null(record);
    struct input_options options = {.format = INPUT_JSON};
    struct input input;
    input_init(&input, &options, NULL, 0);
    assert_true(input_parse_json(
        &input,
        BYTES_LITERAL(
            "{\"key\":\"k\",\"value\":\"/wA=\",\"value_encoding\":\"base64\",\"timestamp\":"
            "5,\"headers\":[{\"key\":\"a\",\"value\":null},{\"key\":\"\",\"value\":\"\"}],"
            "\"offset\":9}"),
        record));
    check_bytes(record->key, "k");
    assert_bytes_equal(record->value, bytes_of("\xff\0", 2));
    assert_int_equal(record->timestamp, 5);
    assert_int_equal(record->header_count, 2);
    check_bytes(record->headers[0].value, NULL);
    check_bytes(record->headers[1].value, "");
    assert_true(input_parse_json(&input, BYTES_LITERAL("{}"), record));
    check_bytes(record->key, NULL);
    check_bytes(record->value, NULL);
    assert_int_equal(record->timestamp, -1);
    for (size_t i = 0; i < ARRAY_COUNT(WRONG); i++) {
        assert_false(input_parse_json(&input, bytes_of_text(WRONG[i]), record));
    }
    input_deinit(&input);
    free(record);
}

/* A file with these bytes; the caller unlinks it. */
static void file_make(char path[32], struct bytes bytes)
{
    snprintf(path, 32, "cli_format_test.XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, bytes.data, bytes.size), bytes.size);
    close(file);
}

/* Lines across files: the last one of a file needs no newline, and lines do not join. */
static void files(void **state)
{
    (void)state;
    static const char *const EXPECTED[] = {"one", "", "two", "three"};
    char first[32];
    char second[32];
    file_make(first, BYTES_LITERAL("one\n\ntwo"));
    file_make(second, BYTES_LITERAL("three\n"));
    char *paths[] = {first, second};
    struct input_options options = {.format = INPUT_LINES};
    struct input_record *record = malloc(sizeof(*record));
    assert_non_null(record);
    struct input input;
    input_init(&input, &options, paths, 2);
    for (size_t i = 0; i < ARRAY_COUNT(EXPECTED); i++) {
        assert_int_equal(input_next(&input, record, -1), INPUT_GIVEN);
        check_bytes(record->value, EXPECTED[i]);
    }
    assert_int_equal(input_next(&input, record, -1), INPUT_END);
    input_deinit(&input);
    unlink(first);
    unlink(second);
    char missing[] = "/nonexistent/file";
    char *none[] = {missing};
    input_init(&input, &options, none, 1);
    assert_int_equal(input_next(&input, record, -1), INPUT_WRONG);
    input_deinit(&input);
    free(record);
}

static void lengths(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t size;
        enum input_result second;
    } TAILS[] = {
        {"", 0, INPUT_END},
        {"\0\0", 2, INPUT_WRONG},
        {"\0\0\0\1k\0\0\0\2v", 10, INPUT_WRONG},
        {"\xff\xff\xff\xfe\0\0\0\0", 8, INPUT_WRONG},
        {"\x7f\0\0\0\0\0\0\0", 8, INPUT_WRONG},
        {"\0\0\0\0\0\0\0\0", 8, INPUT_GIVEN},
    };
    struct input_record *record = malloc(sizeof(*record));
    assert_non_null(record);
    for (size_t i = 0; i < ARRAY_COUNT(TAILS); i++) {
        struct text bytes = {0};
        char path[32];
        char *paths[] = {path};
        text_append(&bytes, bytes_of("\xff\xff\xff\xff\0\0\0\2a\n", 10));
        text_append(&bytes, bytes_of(TAILS[i].data, TAILS[i].size));
        file_make(path, text_bytes(&bytes));
        struct input_options options = {.format = INPUT_LENGTH};
        struct input input;
        input_init(&input, &options, paths, 1);
        assert_int_equal(input_next(&input, record, -1), INPUT_GIVEN);
        check_bytes(record->key, NULL);
        check_bytes(record->value, "a\n");
        assert_int_equal(input_next(&input, record, -1), TAILS[i].second);
        input_deinit(&input);
        text_deinit(&bytes);
        unlink(path);
    }
    free(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),    cmocka_unit_test(formats_wrong), cmocka_unit_test(lines),
        cmocka_unit_test(json_lines), cmocka_unit_test(files),         cmocka_unit_test(lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
