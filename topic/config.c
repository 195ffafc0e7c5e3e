/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/config.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"

#define TOPIC_CONFIG(field_, name_, kind_, default_, low_, high_, choices_, flags_, sentence_,     \
                     ...)                                                                          \
    {                                                                                              \
        .name = name_,                                                                             \
        .kind = SETTING_##kind_,                                                                   \
        .offset = offsetof(struct topic_config, field_),                                           \
        .default_text = default_,                                                                  \
        .low = low_,                                                                               \
        .high = high_,                                                                             \
        .choices = choices_,                                                                       \
        .flags = flags_,                                                                           \
        .sentence = sentence_,                                                                     \
        .synonyms = {__VA_ARGS__},                                                                 \
    },
static const struct setting table[] = {
#include "topic/config.def"
};
#undef TOPIC_CONFIG

/* producer.id.expiration.ms as Kafka has it. */
#define PRODUCER_EXPIRATION_MS INT64_C(86400000)

/* The order of `choices` in the table. */
enum { CLEANUP_DELETE = 1, CLEANUP_COMPACT = 2 };
enum { COMPRESSION_PRODUCER = CODEC_COUNT };
enum { TIMESTAMP_LOG_APPEND = 1 };

size_t topic_config_count(void)
{
    return ARRAY_COUNT(table);
}

const struct setting *topic_config_row(size_t index)
{
    check(index < ARRAY_COUNT(table));
    return &table[index];
}

const struct setting *topic_config_find(struct bytes name)
{
    return setting_find(table, ARRAY_COUNT(table), name);
}

static int32_t level_of(const struct topic_config *config)
{
    switch (config->compression) {
    case CODEC_GZIP:
        return config->gzip_level;
    case CODEC_LZ4:
        return config->lz4_level;
    case CODEC_ZSTD:
        return config->zstd_level;
    case CODEC_NONE:
    case CODEC_SNAPPY:
    case CODEC_COUNT:
        break;
    }
    return -1;
}

static void derive(struct topic_config *config)
{
    config->delete_old = (config->cleanup_policy & CLEANUP_DELETE) != 0;
    config->compact = (config->cleanup_policy & CLEANUP_COMPACT) != 0;
    config->log_append_time = config->timestamp_type == TIMESTAMP_LOG_APPEND;
    config->compression_producer = config->compression_type == COMPRESSION_PRODUCER;
    config->compression =
        config->compression_producer ? CODEC_NONE : (enum codec)config->compression_type;
    config->compression_level = level_of(config);
}

void topic_config_defaults(struct topic_config *config)
{
    setting_store_defaults(table, ARRAY_COUNT(table), config);
    config->producer_expiration_ms = PRODUCER_EXPIRATION_MS;
    derive(config);
}

enum status topic_config_inherit(struct topic_config *config, struct setting_lookup broker,
                                 char message[TOPIC_CONFIG_MESSAGE_SIZE])
{
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        char number[SETTING_NUMBER_SIZE];
        const char *text = setting_from_below(&table[i], broker, number);
        if (text == NULL) {
            continue;
        }
        struct setting_value value;
        enum status status = setting_parse(&table[i], bytes_of_text(text), &value, message);
        if (status != STATUS_OK) {
            return status;
        }
        setting_store(&table[i], &value, config);
    }
    derive(config);
    return STATUS_OK;
}

enum status topic_config_set(struct topic_config *config, struct bytes key, struct bytes value,
                             char message[TOPIC_CONFIG_MESSAGE_SIZE])
{
    const struct setting *setting = topic_config_find(key);
    if (setting == NULL) {
        int size = key.size < 100 ? (int)key.size : 100;
        snprintf(message, TOPIC_CONFIG_MESSAGE_SIZE, "%.*s: no topic config has this name", size,
                 (const char *)key.data);
        return STATUS_INVALID_CONFIG;
    }
    struct setting_value parsed;
    enum status status = setting_parse(setting, value, &parsed, message);
    if (status == STATUS_OK) {
        setting_store(setting, &parsed, config);
        derive(config);
    }
    return status;
}

enum status topic_config_check(const struct topic_config *config,
                               char message[TOPIC_CONFIG_MESSAGE_SIZE])
{
    if (config->compaction_lag_ms_min > config->compaction_lag_ms_max) {
        snprintf(message, TOPIC_CONFIG_MESSAGE_SIZE,
                 "min.compaction.lag.ms=%" PRId64
                 " must not be above max.compaction.lag.ms=%" PRId64,
                 config->compaction_lag_ms_min, config->compaction_lag_ms_max);
        return STATUS_INVALID_CONFIG;
    }
    return STATUS_OK;
}

void topic_config_to_partition(const struct topic_config *config,
                               struct partition_config *partition)
{
    int64_t segment_age_ms = config->segment_ms_max;
    if (config->compact && config->compaction_lag_ms_max < segment_age_ms) {
        segment_age_ms = config->compaction_lag_ms_max; /* the active segment is never compacted */
    }
    *partition = (struct partition_config){
        .segment_size_max = config->segment_size_max,
        .segment_age_ms_max = segment_age_ms,
        .retention_ms = config->retention_ms,
        .retention_size = config->retention_size < 0 ? -1 : config->retention_size,
        .producer_expiration_ms = config->producer_expiration_ms,
        .file_delete_delay_ms = config->file_delete_delay_ms,
        .delete_old = config->delete_old,
        .compact = config->compact,
        .log_append_time = config->log_append_time,
        .key_index = config->compact || config->key_index,
    };
}

void topic_config_describe(size_t index, struct setting_lookup topic, struct setting_lookup broker,
                           struct setting_row *row)
{
    check(index < ARRAY_COUNT(table));
    setting_describe(&table[index], topic, SETTING_SOURCE_TOPIC, broker, row);
}
