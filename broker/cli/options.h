/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options as one table per command: parsing, --help and the manual come from the same rows. A row
 * names the member of the command's options struct that it fills; every such struct begins with
 * `struct cli_options`, whose rows all commands share.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OPTION_WORDS_MAX 64

enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char *, borrowed from the command line */
    OPTION_INTEGER, /* int64_t between min and max */
    OPTION_CHOICE,  /* int32_t: index of the word among the argument's, "lines|json|length" */
    OPTION_WORDS,   /* struct option_words: may be given several times */
};

struct option_words {
    const char *items[OPTION_WORDS_MAX];
    int32_t count;
};

struct option_row {
    const char *name;
    const char *argument; /* what stands behind it in help; NULL for flags */
    enum option_kind kind;
    size_t member;
    int64_t min;
    int64_t max;
    const char *sentence;
};

struct cli_options {
    const char *bootstrap;
    int64_t timeout_ms;
    bool json;
    char **operands;
    int32_t operand_count;
};

#define CLI_OPTIONS_DEFAULT                                                                        \
    (struct cli_options)                                                                           \
    {                                                                                              \
        .bootstrap = "127.0.0.1:9092", .timeout_ms = 30000                                         \
    }

struct command {
    const char *name;     /* "weir topic create" */
    const char *operands; /* "NAME...", "" */
    int32_t operand_count_min;
    int32_t operand_count_max;
    const char *sentence;
    const struct option_row *rows;
    int32_t row_count;
};

#define OPTIONS_COMMON_COUNT 4
extern const struct option_row OPTIONS_COMMON[OPTIONS_COMMON_COUNT]; /* --help is one of them */

/*
 * Fills `target`, which holds the defaults; arguments[0] is passed over. False: there is nothing
 * more to do and *code is the exit code, because help was printed or the arguments are wrong.
 */
bool options_parse(const struct command *command, void *target, int count, char **arguments,
                   int *code);
void options_help(const struct command *command, FILE *to);

/* A whole decimal number between the bounds, and nothing else. */
bool integer_parse(const char *text, int64_t min, int64_t max, int64_t *out);
