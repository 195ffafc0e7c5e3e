/* SPDX-License-Identifier: Apache-2.0 */
/* `weir NOUN VERB ...`: the verbs of a noun as one table; its help comes from the commands. */
#pragma once

#include <stdint.h>

#include "broker/cli/options.h"

struct verb_row {
    const char *name;
    const struct command *command;
    int (*run)(int count, char **arguments);
};

/* arguments[0] is the noun. Answers the exit code. */
int verbs_run(const char *noun, const struct verb_row *rows, int32_t row_count, int count,
              char **arguments);
