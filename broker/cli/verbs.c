/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/verbs.h"

#include <stdio.h>
#include <string.h>

#include "broker/cli/cli.h"

static void verbs_usage(const char *noun, const struct verb_row *rows, int32_t row_count, FILE *to)
{
    fprintf(to, "usage: weir %s VERB [--help] ...\n\n", noun);
    for (int32_t i = 0; i < row_count; i++) {
        fprintf(to, "  %-10s %s\n", rows[i].name, rows[i].command->sentence);
    }
}

int verbs_run(const char *noun, const struct verb_row *rows, int32_t row_count, int count,
              char **arguments)
{
    if (count < 2) {
        verbs_usage(noun, rows, row_count, stderr);
        return CLI_USAGE;
    }
    if (strcmp(arguments[1], "--help") == 0) {
        verbs_usage(noun, rows, row_count, stdout);
        return CLI_OK;
    }
    for (int32_t i = 0; i < row_count; i++) {
        if (strcmp(rows[i].name, arguments[1]) == 0) {
            return rows[i].run(count - 1, arguments + 1);
        }
    }
    fprintf(stderr, "weir: %s has no verb \"%s\"\n", noun, arguments[1]);
    verbs_usage(noun, rows, row_count, stderr);
    return CLI_USAGE;
}
