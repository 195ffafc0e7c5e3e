/* SPDX-License-Identifier: Apache-2.0 */
/* Writes weir.8 from the tables that --help is printed from; run by the build. */
#include <stdio.h>

#include "broker/cli/cli.h"
#include "broker/cli/options.h"

static void text_print(const char *words)
{
    for (const char *at = words; *at != '\0'; at++) {
        if (*at == '-') {
            fputs("\\-", stdout);
        } else if (*at == '\\') {
            fputs("\\e", stdout);
        } else {
            putchar(*at);
        }
    }
}

static void rows_print(const struct option_row *rows, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        printf(".TP\n\\fB\\-\\-");
        text_print(rows[i].name);
        printf("\\fR");
        if (rows[i].argument != NULL) {
            printf(" \\fI");
            text_print(rows[i].argument);
            printf("\\fR");
        }
        putchar('\n');
        text_print(rows[i].sentence);
        putchar('\n');
    }
}

int main(void)
{
    printf(".TH WEIR 8\n.SH NAME\nweir \\- a log broker that speaks the Kafka protocol\n"
           ".SH SYNOPSIS\n.B weir serve\n[\\fIOPTION\\fR]...\n");
    for (const struct command *const *at = CLI_COMMANDS; *at != NULL; at++) {
        printf(".br\n.B %s\n[\\fIOPTION\\fR]... %s\n", (*at)->name, (*at)->operands);
    }
    printf(".SH DESCRIPTION\n\\fBweir serve\\fR runs a broker; \\fBweir serve \\-\\-help\\fR shows "
           "its options. The other verbs speak the Kafka protocol to a broker, Weir or any "
           "other.\n.SH OPTIONS OF EVERY VERB BUT SERVE\n");
    rows_print(OPTIONS_COMMON, OPTIONS_COMMON_COUNT);
    for (const struct command *const *at = CLI_COMMANDS; *at != NULL; at++) {
        printf(".SH %s %s\n", (*at)->name, (*at)->operands);
        text_print((*at)->sentence);
        putchar('\n');
        rows_print((*at)->rows, (*at)->row_count);
    }
    printf(".SH EXIT STATUS\n0 done, 1 usage or a local file, 2 the broker said no, 3 no "
           "connection.\n");
    return 0;
}
