/* SPDX-License-Identifier: Apache-2.0 */
/* Options of all commands, addresses, where to start, partitions of keys. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "broker/cli/cli.h"
#include "broker/cli/client.h"
#include "broker/cli/options.h"
#include "broker/cli/partitioner.h"
#include "broker/cli/records.h"
#include "wire/reader.h"

struct sample {
    struct cli_options common;
    bool flag;
    const char *text;
    int64_t number;
    int32_t choice;
    struct option_words words;
};

static const struct option_row ROWS[] = {
    {"flag", NULL, OPTION_FLAG, offsetof(struct sample, flag), 0, 0, "a flag"},
    {"text", "TEXT", OPTION_TEXT, offsetof(struct sample, text), 0, 0, "a text"},
    {"number", "N", OPTION_INTEGER, offsetof(struct sample, number), -3, 10, "a number"},
    {"choice", "red|green|blue", OPTION_CHOICE, offsetof(struct sample, choice), 0, 0, "a choice"},
    {"word", "WORD", OPTION_WORDS, offsetof(struct sample, words), 0, 0, "words"},
};

static const struct command SAMPLE = {
    .name = "weir sample",
    .operands = "A [B]",
    .operand_count_min = 1,
    .operand_count_max = 2,
    .sentence = "A sample.",
    .rows = ROWS,
    .row_count = ARRAY_COUNT(ROWS),
};

#define WORDS_MAX 16

/* Parses "a b c"; the exit code, or -1 when it says: go on. */
static int parse(struct sample *sample, const char *line)
{
    static char copy[256];
    static char *arguments[WORDS_MAX + 1];
    int count = 0;
    snprintf(copy, sizeof(copy), "sample %s", line);
    char *rest = copy;
    for (char *word; (word = strsep(&rest, " ")) != NULL && count < WORDS_MAX;) {
        arguments[count++] = word;
    }
    arguments[count] = NULL;
    *sample = (struct sample){.common = CLI_OPTIONS_DEFAULT};
    int code;
    return options_parse(&SAMPLE, sample, count, arguments, &code) ? -1 : code;
}

static void options_given(void **state)
{
    (void)state;
    struct sample sample;
    assert_int_equal(parse(&sample, "x"), -1);
    assert_string_equal(sample.common.bootstrap, "127.0.0.1:9092");
    assert_int_equal(sample.common.operand_count, 1);
    assert_string_equal(sample.common.operands[0], "x");
    assert_int_equal(parse(&sample, "x --flag --number -3 y --choice blue --word 1 --word=2"), -1);
    assert_true(sample.flag);
    assert_int_equal(sample.number, -3);
    assert_int_equal(sample.choice, 2);
    assert_int_equal(sample.words.count, 2);
    assert_string_equal(sample.words.items[1], "2");
    assert_int_equal(sample.common.operand_count, 2);
    assert_string_equal(sample.common.operands[1], "y");
    assert_int_equal(parse(&sample, "--text=--flag --json --bootstrap a:1 -- --x"), -1);
    assert_string_equal(sample.text, "--flag");
    assert_true(sample.common.json);
    assert_string_equal(sample.common.bootstrap, "a:1");
    assert_string_equal(sample.common.operands[0], "--x");
}

static void options_wrong(void **state)
{
    (void)state;
    struct sample sample;
    static const char *const WRONG[] = {
        "--flag",          "x y z",         "x --nosuch",       "x --number",
        "x --number 11",   "x --number 1k", "x --number ",      "x --choice pink",
        "x --choice gree", "x --flag=1",    "x --timeout-ms 0",
    };
    for (size_t i = 0; i < ARRAY_COUNT(WRONG); i++) {
        assert_int_equal(parse(&sample, WRONG[i]), CLI_USAGE);
    }
    assert_int_equal(parse(&sample, "--help"), CLI_OK);
}

/* The protocol's strings end at 32767 bytes; longer ones must not get as far as its writer. */
static void options_long(void **state)
{
    (void)state;
    static char word[STRING_SIZE_MAX + 2];
    memset(word, 'a', STRING_SIZE_MAX + 1);
    char program[] = "sample";
    char option[] = "--text";
    char operand[] = "x";
    char *as_operand[] = {program, word, NULL};
    char *as_argument[] = {program, option, word, operand, NULL};
    struct sample sample = {.common = CLI_OPTIONS_DEFAULT};
    int code;
    assert_false(options_parse(&SAMPLE, &sample, 2, as_operand, &code));
    assert_int_equal(code, CLI_USAGE);
    assert_false(options_parse(&SAMPLE, &sample, 4, as_argument, &code));
    assert_int_equal(code, CLI_USAGE);
    word[STRING_SIZE_MAX] = '\0';
    assert_true(options_parse(&SAMPLE, &sample, 2, as_operand, &code));
}

/* Every row of every command is complete, and no name stands twice. */
static void tables(void **state)
{
    (void)state;
    for (const struct command *const *at = CLI_COMMANDS; *at != NULL; at++) {
        const struct command *command = *at;
        assert_int_equal(strncmp(command->name, "weir ", 5), 0);
        assert_true(command->operand_count_min <= command->operand_count_max);
        for (int32_t i = 0; i < command->row_count; i++) {
            const struct option_row *row = &command->rows[i];
            assert_true(strlen(row->sentence) > 0);
            assert_int_equal(row->argument == NULL, row->kind == OPTION_FLAG);
            assert_true(row->member >= sizeof(struct cli_options));
            for (int32_t k = 0; k < OPTIONS_COMMON_COUNT; k++) {
                assert_string_not_equal(row->name, OPTIONS_COMMON[k].name);
            }
            for (int32_t k = 0; k < i; k++) {
                assert_string_not_equal(row->name, command->rows[k].name);
            }
        }
    }
}

static void addresses(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        const char *host;
        const char *port;
    } GOOD[] = {
        {"a", "a", "9092"},     {"a:1", "a", "1"},        {"127.0.0.1:65535", "127.0.0.1", "65535"},
        {"::1", "::1", "9092"}, {"[::1]", "::1", "9092"}, {"[fe80::1]:19092", "fe80::1", "19092"},
    };
    static const char *const WRONG[] = {"",    ":1",   "a:",     "a:0", "a:65536",
                                        "a:x", "[::1", "[::1]1", "[]:1"};
    char host[256];
    char port[8];
    for (size_t i = 0; i < ARRAY_COUNT(GOOD); i++) {
        assert_true(address_split(GOOD[i].address, host, port));
        assert_string_equal(host, GOOD[i].host);
        assert_string_equal(port, GOOD[i].port);
    }
    for (size_t i = 0; i < ARRAY_COUNT(WRONG); i++) {
        assert_false(address_split(WRONG[i], host, port));
    }
}

static void check_start(const char *text, enum start_kind kind, int64_t number)
{
    struct start start;
    assert_true(start_parse(text, &start));
    assert_int_equal(start.kind, kind);
    assert_int_equal(start.number, number);
}

static void starts(void **state)
{
    (void)state;
    struct start start;
    check_start("beginning", START_BEGINNING, 0);
    check_start("end", START_END, 0);
    check_start("0", START_OFFSET, 0);
    check_start("9223372036854775807", START_OFFSET, INT64_MAX);
    check_start("-5", START_BACK, 5);
    check_start("@1700000000000", START_TIMESTAMP, 1700000000000);
    static const char *const WRONG[] = {
        "", "begin", "@", "@-1", "--5", "5x", "+5", "9223372036854775808", " 5"};
    for (size_t i = 0; i < ARRAY_COUNT(WRONG); i++) {
        assert_false(start_parse(WRONG[i], &start));
    }
}

/* The values that Kafka's own tests of its hash expect. */
static void murmur2_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int32_t hash;
    } VECTORS[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (size_t i = 0; i < ARRAY_COUNT(VECTORS); i++) {
        assert_int_equal(murmur2(bytes_of_text(VECTORS[i].key)), VECTORS[i].hash);
    }
    assert_int_equal(partition_of_key(BYTES_LITERAL("foobar"), 7), (-790332482 & INT32_MAX) % 7);
    assert_int_equal(partition_of_key(BYTES_LITERAL(""), 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_given),   cmocka_unit_test(options_wrong),
        cmocka_unit_test(options_long),    cmocka_unit_test(tables),
        cmocka_unit_test(addresses),       cmocka_unit_test(starts),
        cmocka_unit_test(murmur2_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
