/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "broker/cli/cli.h"
#include "wire/reader.h"

#define OPTIONS_MAX 40
#define HELP_INDENT 30

const struct option_row OPTIONS_COMMON[OPTIONS_COMMON_COUNT] = {
    {"bootstrap", "HOST:PORT", OPTION_TEXT, offsetof(struct cli_options, bootstrap), 0, 0,
     "a broker of the cluster, default 127.0.0.1:9092"},
    {"timeout-ms", "N", OPTION_INTEGER, offsetof(struct cli_options, timeout_ms), 1, 3600000,
     "how long to wait for an answer, default 30000"},
    {"json", NULL, OPTION_FLAG, offsetof(struct cli_options, json), 0, 0,
     "print JSON instead of text"},
    {"help", NULL, OPTION_FLAG, 0, 0, 0, "print this and end"},
};

bool integer_parse(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool digits = (text[0] >= '0' && text[0] <= '9') || (text[0] == '-' && text[1] >= '0');
    if (!digits || *end != '\0' || errno != 0 || value < min || value > max) {
        return false;
    }
    *out = value;
    return true;
}

static const struct option_row *row_at(const struct command *command, int32_t index)
{
    return index < command->row_count ? &command->rows[index]
                                      : &OPTIONS_COMMON[index - command->row_count];
}

static int32_t row_total(const struct command *command)
{
    return command->row_count + OPTIONS_COMMON_COUNT;
}

void options_help(const struct command *command, FILE *to)
{
    fprintf(to, "usage: %s [OPTION]...%s%s\n\n%s\n\n", command->name,
            command->operands[0] == '\0' ? "" : " ", command->operands, command->sentence);
    for (int32_t i = 0; i < row_total(command); i++) {
        const struct option_row *row = row_at(command, i);
        char head[128];
        snprintf(head, sizeof(head), "  --%s%s%s", row->name, row->argument == NULL ? "" : " ",
                 row->argument == NULL ? "" : row->argument);
        if (strlen(head) < HELP_INDENT) {
            fprintf(to, "%-*s %s\n", HELP_INDENT, head, row->sentence);
        } else {
            fprintf(to, "%s\n%*s %s\n", head, HELP_INDENT, "", row->sentence);
        }
    }
}

/* Index of the word in "a|b|c"; -1 when it is none of them. */
static int32_t choice_find(const char *choices, const char *word)
{
    size_t size = strlen(word);
    int32_t index = 0;
    for (const char *at = choices;; index++) {
        const char *bar = strchrnul(at, '|');
        if ((size_t)(bar - at) == size && memcmp(at, word, size) == 0) {
            return index;
        }
        if (*bar == '\0') {
            return -1;
        }
        at = bar + 1;
    }
}

static bool row_take(const struct command *command, const struct option_row *row, void *target,
                     const char *text)
{
    void *member = (char *)target + row->member;
    struct option_words *words = member;
    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)member = true;
        return true;
    case OPTION_TEXT:
        *(const char **)member = text;
        return true;
    case OPTION_INTEGER:
        if (!integer_parse(text, row->min, row->max, member)) {
            fprintf(stderr, "%s: --%s \"%s\" is not a whole number from %lld to %lld\n",
                    command->name, row->name, text, (long long)row->min, (long long)row->max);
            return false;
        }
        return true;
    case OPTION_CHOICE: {
        int32_t index = choice_find(row->argument, text);
        if (index < 0) {
            fprintf(stderr, "%s: --%s \"%s\" is none of %s\n", command->name, row->name, text,
                    row->argument);
            return false;
        }
        *(int32_t *)member = index;
        return true;
    }
    case OPTION_WORDS:
        if (words->count == OPTION_WORDS_MAX) {
            fprintf(stderr, "%s: --%s may be given %d times\n", command->name, row->name,
                    OPTION_WORDS_MAX);
            return false;
        }
        words->items[words->count++] = text;
        return true;
    default:
        unreachable();
    }
}

static bool operands_take(const struct command *command, struct cli_options *options, int count,
                          char **arguments)
{
    options->operands = arguments + optind;
    options->operand_count = count - optind;
    if (options->operand_count < command->operand_count_min) {
        fprintf(stderr, "%s: %s is missing\n", command->name, command->operands);
        return false;
    }
    if (options->operand_count > command->operand_count_max) {
        fprintf(stderr, "%s: \"%s\" is one operand too many\n", command->name,
                options->operands[command->operand_count_max]);
        return false;
    }
    return true;
}

/* Names and values go into strings of the protocol, which has none that are longer. */
static bool arguments_fit(const struct command *command, int count, char *const *arguments)
{
    for (int i = 1; i < count; i++) {
        if (strlen(arguments[i]) > STRING_SIZE_MAX) {
            fprintf(stderr, "%s: \"%.40s...\" is longer than %d bytes\n", command->name,
                    arguments[i], STRING_SIZE_MAX);
            return false;
        }
    }
    return true;
}

bool options_parse(const struct command *command, void *target, int count, char **arguments,
                   int *code)
{
    struct option options[OPTIONS_MAX + 1] = {0};
    check(row_total(command) <= OPTIONS_MAX);
    for (int32_t i = 0; i < row_total(command); i++) {
        const struct option_row *row = row_at(command, i);
        options[i].name = row->name;
        options[i].has_arg = row->argument == NULL ? no_argument : required_argument;
    }
    *code = CLI_USAGE;
    /* getopt_long names the program by its first argument in messages. */
    char *name = arguments[0];
    arguments[0] = (char *)(uintptr_t)command->name;
    optind = 0;
    bool good = arguments_fit(command, count, arguments);
    int index;
    int found;
    while (good && (found = getopt_long(count, arguments, "", options, &index)) != -1) {
        if (found != 0) {
            good = false;
            break;
        }
        const struct option_row *row = row_at(command, index);
        if (strcmp(row->name, "help") == 0) {
            options_help(command, stdout);
            arguments[0] = name;
            *code = CLI_OK;
            return false;
        }
        good = row_take(command, row, target, optarg);
    }
    good = good && operands_take(command, target, count, arguments);
    arguments[0] = name;
    if (!good) {
        fprintf(stderr, "say %s --help\n", command->name);
    }
    return good;
}
