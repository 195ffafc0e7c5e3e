/* SPDX-License-Identifier: Apache-2.0 */
/* The one program: `weir VERB ...`. Verbs are rows of a table; help is printed from it. */
#include <stdio.h>
#include <string.h>

#include "broker/cli/cli.h"
#include "broker/serve.h"

struct verb {
    const char *name;
    const char *sentence;
    int (*run)(int count, char **arguments);
};

static const struct verb VERBS[] = {
    {"serve", "run a broker in the foreground", serve_run},
    {"topic", "make, list, describe and delete topics", topic_run},
    {"produce", "write records to a topic", produce_run},
    {"consume", "print the records of a topic", consume_run},
    {"group", "list, describe, reset and delete consumer groups", group_run},
    {"transaction", "list, describe and abort transactions", transaction_run},
    {"log", "read and check log files; give up what is damaged", log_run},
    {"status", "show the cluster, its round trip, and what a durable write costs", status_run},
};

static void usage(FILE *to)
{
    fprintf(to, "usage: weir VERB [--help] ...\n\n");
    for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++) {
        fprintf(to, "  %-11s %s\n", VERBS[i].name, VERBS[i].sentence);
    }
}

int main(int count, char **arguments)
{
    if (count < 2) {
        usage(stderr);
        return 1;
    }
    if (strcmp(arguments[1], "--help") == 0 || strcmp(arguments[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++) {
        if (strcmp(VERBS[i].name, arguments[1]) == 0) {
            return VERBS[i].run(count - 1, arguments + 1);
        }
    }
    fprintf(stderr, "weir: there is no verb \"%s\"\n", arguments[1]);
    usage(stderr);
    return 1;
}
