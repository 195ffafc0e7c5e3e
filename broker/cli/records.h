/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that move records, and where a consumer begins. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/cli/options.h"

extern const struct command PRODUCE_COMMAND;
extern const struct command CONSUME_COMMAND;

enum start_kind {
    START_BEGINNING,
    START_END,
    START_OFFSET,
    START_TIMESTAMP, /* first record at or after it */
    START_BACK,      /* so many offsets before the end */
};

struct start {
    enum start_kind kind;
    int64_t number;
};

/* beginning, end, OFFSET, @MILLISECONDS, -COUNT. */
bool start_parse(const char *text, struct start *start);
