/* SPDX-License-Identifier: Apache-2.0 */
/* The command line that every storage benchmark has. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *csv;  /* file that rows are added to; NULL: none, the table on stdout alone */
    const char *data; /* folder on the disk to measure; "." */
    const char *only; /* rows whose "name params" contains this text; NULL: all */
    bool full;        /* every row of the tables; without it the quick set: under a minute */
    int threads;      /* rows of so many threads, where a suite knows them; 0: all */
    int run_count;    /* of each row, alternating with its anchor; 0: the suite's own choice */
};

/* Ends the program with 1 and a usage text when an argument is not one of
 * --csv FILE --data DIR --only TEXT --threads N --full --runs N. `purpose` is its first line. */
struct options options_parse(int argc, char **argv, const char *purpose);
/* Whether the row called "name params" is asked for. */
bool options_want(const struct options *options, const char *name, const char *params);
