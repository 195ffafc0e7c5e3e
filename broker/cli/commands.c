/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/cli.h"
#include "broker/cli/options.h"
#include "broker/cli/records.h"
#include "broker/cli/status.h"
#include "broker/cli/topics.h"

const struct command *const CLI_COMMANDS[] = {
    &TOPIC_CREATE,    &TOPIC_LIST,      &TOPIC_DESCRIBE, &TOPIC_DELETE,
    &PRODUCE_COMMAND, &CONSUME_COMMAND, &STATUS_COMMAND, NULL,
};
