/* SPDX-License-Identifier: Apache-2.0 */
/*
 * (api) What can be set for a topic. One table (topic/config.def) makes the struct, the parser and
 * what DescribeConfigs answers.
 *
 * Effective values: the defaults of the table, changed by the broker's file through synonyms
 * (topic_config_inherit), changed by the topic's own settings (topic_config_set). A struct
 * topic_config is plain data: copy it by assignment.
 */
#pragma once

#include "base/bytes.h"
#include "storage/config.h"
#include "topic/setting.h"
#include "wire/compress.h"
#include "wire/status.h"

struct topic_config {
#define TOPIC_CONFIG(field, name, kind, ...) SETTING_FIELD_##kind field;
#include "topic/config.def"
#undef TOPIC_CONFIG
    /* What follows from the fields above, kept up by every function that sets one. */
    bool delete_old;
    bool compact;
    bool log_append_time;
    bool compression_producer; /* batches stay as they were sent */
    enum codec compression;    /* otherwise */
    int32_t compression_level;
    /* The broker's, for all topics alike; 24 hours unless its owner says otherwise. */
    int64_t producer_expiration_ms;
};

#define TOPIC_CONFIG_MESSAGE_SIZE SETTING_MESSAGE_SIZE

/* Rows in alphabetical order of names. */
size_t topic_config_count(void);
const struct setting *topic_config_row(size_t index);
/* NULL: no topic config has this name. */
const struct setting *topic_config_find(struct bytes name);

void topic_config_defaults(struct topic_config *config);
/* Takes over what the broker's file sets. STATUS_INVALID_CONFIG: a value that the broker accepts
 * does not suit topics (hours that are no int64 of milliseconds, ...). */
enum status topic_config_inherit(struct topic_config *config, struct setting_lookup broker,
                                 char message[TOPIC_CONFIG_MESSAGE_SIZE]);
/* One explicit key. STATUS_INVALID_CONFIG with one sentence: unknown key, or key, value and what is
 * allowed; nothing is changed then. */
enum status topic_config_set(struct topic_config *config, struct bytes key, struct bytes value,
                             char message[TOPIC_CONFIG_MESSAGE_SIZE]);
/* What single keys cannot tell: settings that contradict each other. After all of them are set. */
enum status topic_config_check(const struct topic_config *config,
                               char message[TOPIC_CONFIG_MESSAGE_SIZE]);

/* What storage is told of a topic. */
void topic_config_to_partition(const struct topic_config *config,
                               struct partition_config *partition);

/* Row `index` for DescribeConfigs; topic: its explicit settings, broker: those of the file. */
void topic_config_describe(size_t index, struct setting_lookup topic, struct setting_lookup broker,
                           struct setting_row *row);
