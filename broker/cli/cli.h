/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin verbs: `weir topic|produce|consume|group|transaction|status`. They speak the Kafka
 * protocol through wire/ and nothing else, so they drive any broker that does. A verb answers the
 * program's exit code.
 */
#pragma once

enum cli_code {
    CLI_OK = 0,
    CLI_USAGE = 1,       /* options, operands, local files */
    CLI_REFUSED = 2,     /* the broker said no */
    CLI_UNREACHABLE = 3, /* no connection, or it broke */
};

int topic_run(int count, char **arguments);
int produce_run(int count, char **arguments);
int consume_run(int count, char **arguments);
int group_run(int count, char **arguments);
int transaction_run(int count, char **arguments);
int log_run(int count, char **arguments);
int status_run(int count, char **arguments);

/* Every command of the CLI, for the manual: NULL ends the list. */
struct command;
extern const struct command *const CLI_COMMANDS[];
