/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"
#include "broker/cli/groups.h"
#include "broker/cli/logs.h"
#include "broker/cli/options.h"
#include "broker/cli/records.h"
#include "broker/cli/status.h"
#include "broker/cli/topics.h"
#include "broker/cli/transactions.h"

const struct command *const CLI_COMMANDS[] = {
    &TOPIC_CREATE,
    &TOPIC_LIST,
    &TOPIC_DESCRIBE,
    &TOPIC_DELETE,
    &PRODUCE_COMMAND,
    &CONSUME_COMMAND,
    &GROUP_LIST,
    &GROUP_DESCRIBE,
    &GROUP_OFFSETS,
    &GROUP_RESET,
    &GROUP_DELETE,
    &TRANSACTION_LIST,
    &TRANSACTION_DESCRIBE,
    &TRANSACTION_ABORT,
    &LOG_DUMP,
    &LOG_VERIFY,
    &LOG_SKIP,
    &LOG_REOPEN,
    &STATUS_COMMAND,
    NULL,
};
