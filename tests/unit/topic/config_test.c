/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/config.h"

#include <limits.h>

#include "tests/lib/test.h"

static char message[TOPIC_CONFIG_MESSAGE_SIZE];

static enum status set(struct topic_config *config, const char *key, const char *value)
{
    return topic_config_set(config, bytes_of_text(key), bytes_of_text(value), message);
}

static void the_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < topic_config_count(); i++) {
        const struct setting *row = topic_config_row(i);
        assert_true(i == 0 || strcmp(topic_config_row(i - 1)->name, row->name) < 0);
        assert_non_null(row->default_text);
        assert_non_null(row->sentence);
        assert_int_equal(row->sentence[strlen(row->sentence) - 1], '.');
        assert_true(row->low <= row->high);
        bool worded = row->kind == SETTING_CHOICE || row->kind == SETTING_SET;
        assert_int_equal(row->choices != NULL, worded);
        if (row->kind == SETTING_INT) {
            assert_true(row->low >= INT32_MIN && row->high <= INT32_MAX);
        }
        /* Texts would need memory that a copy of the struct does not have. */
        assert_true(row->kind < SETTING_STRING);
        assert_ptr_equal(topic_config_find(bytes_of_text(row->name)), row);
    }
}

/* Names that clients and tools ask for, or refuse to start without. */
static void every_config_of_kafka_is_known(void **state)
{
    (void)state;
    static const char *const names[] = {
        "cleanup.policy",
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.type",
        "compression.zstd.level",
        "delete.retention.ms",
        "file.delete.delay.ms",
        "flush.messages",
        "flush.ms",
        "follower.replication.throttled.replicas",
        "index.interval.bytes",
        "leader.replication.throttled.replicas",
        "local.retention.bytes",
        "local.retention.ms",
        "max.compaction.lag.ms",
        "max.message.bytes",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "message.timestamp.type",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "min.insync.replicas",
        "preallocate",
        "remote.log.copy.disable",
        "remote.log.delete.on.disable",
        "remote.storage.enable",
        "retention.bytes",
        "retention.ms",
        "segment.bytes",
        "segment.index.bytes",
        "segment.jitter.ms",
        "segment.ms",
        "unclean.leader.election.enable",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_non_null(topic_config_find(bytes_of_text(names[i])));
    }
    assert_null(topic_config_find(BYTES_LITERAL("retention.hours")));
}

static void defaults_are_kafkas(void **state)
{
    (void)state;
    struct topic_config config;
    topic_config_defaults(&config);
    assert_int_equal(topic_config_check(&config, message), STATUS_OK);
    assert_int_equal(config.message_size_max, 1048588);
    assert_int_equal(config.retention_ms, 604800000);
    assert_int_equal(config.retention_size, -1);
    assert_int_equal(config.segment_size_max, 1073741824);
    assert_int_equal(config.replicas_in_sync_min, 1);
    assert_int_equal(config.timestamp_before_ms_max, INT64_MAX);
    assert_int_equal(config.timestamp_after_ms_max, 3600000);
    assert_true(config.delete_old);
    assert_false(config.compact);
    assert_false(config.log_append_time);
    assert_true(config.compression_producer);
    assert_true(config.validate_records);
}

static void what_follows_from_a_key_follows_at_once(void **state)
{
    (void)state;
    struct topic_config config;
    topic_config_defaults(&config);
    assert_int_equal(set(&config, "cleanup.policy", "compact"), STATUS_OK);
    assert_true(config.compact && !config.delete_old);
    assert_int_equal(set(&config, "cleanup.policy", ""), STATUS_OK);
    assert_true(!config.compact && !config.delete_old);
    assert_int_equal(set(&config, "message.timestamp.type", "LogAppendTime"), STATUS_OK);
    assert_true(config.log_append_time);
    static const struct {
        const char *name;
        enum codec codec;
        int32_t level;
    } codecs[] = {{"uncompressed", CODEC_NONE, -1},
                  {"gzip", CODEC_GZIP, -1},
                  {"snappy", CODEC_SNAPPY, -1},
                  {"lz4", CODEC_LZ4, 9},
                  {"zstd", CODEC_ZSTD, 19}};
    assert_int_equal(set(&config, "compression.zstd.level", "19"), STATUS_OK);
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        assert_int_equal(set(&config, "compression.type", codecs[i].name), STATUS_OK);
        assert_false(config.compression_producer);
        assert_int_equal(config.compression, codecs[i].codec);
        assert_int_equal(config.compression_level, codecs[i].level);
    }
    assert_int_equal(set(&config, "compression.type", "producer"), STATUS_OK);
    assert_true(config.compression_producer);
}

static void refusals_say_why_and_change_nothing(void **state)
{
    (void)state;
    struct topic_config config;
    topic_config_defaults(&config);
    struct topic_config before = config;
    assert_int_equal(set(&config, "segment.bytes", "1048575"), STATUS_INVALID_CONFIG);
    assert_string_equal(message, "segment.bytes=1048575: must be a whole number from 1048576 to "
                                 "2147483647");
    assert_int_equal(set(&config, "retention.ms", "-2"), STATUS_INVALID_CONFIG);
    assert_string_equal(message, "retention.ms=-2: must be a whole number of -1 or more");
    assert_int_equal(set(&config, "retention.seconds", "1"), STATUS_INVALID_CONFIG);
    assert_string_equal(message, "retention.seconds: no topic config has this name");
    assert_int_equal(set(&config, "cleanup.policy", "delete,purge"), STATUS_INVALID_CONFIG);
    assert_int_equal(set(&config, "remote.storage.enable", "true"), STATUS_INVALID_CONFIG);
    assert_int_equal(set(&config, "weir.durability", "written"), STATUS_INVALID_CONFIG);
    assert_string_equal(message, "weir.durability=written: is not supported; only \"flushed\" is "
                                 "accepted");
    assert_int_equal(set(&config, "compression.gzip.level", "0"), STATUS_INVALID_CONFIG);
    assert_memory_equal(&config, &before, sizeof(config));
}

static void contradictions_are_found(void **state)
{
    (void)state;
    struct topic_config config;
    topic_config_defaults(&config);
    assert_int_equal(set(&config, "max.compaction.lag.ms", "100"), STATUS_OK);
    assert_int_equal(topic_config_check(&config, message), STATUS_OK);
    assert_int_equal(set(&config, "min.compaction.lag.ms", "101"), STATUS_OK);
    assert_int_equal(topic_config_check(&config, message), STATUS_INVALID_CONFIG);
    assert_non_null(strstr(message, "min.compaction.lag.ms=101"));
}

static const char *find_broker(const void *context, const char *name)
{
    const char *const *pairs = context;
    for (; *pairs != NULL; pairs += 2) {
        if (strcmp(pairs[0], name) == 0) {
            return pairs[1];
        }
    }
    return NULL;
}

static void the_brokers_file_changes_defaults(void **state)
{
    (void)state;
    static const char *const pairs[] = {"log.retention.hours",
                                        "1",
                                        "log.segment.bytes",
                                        "2097152",
                                        "message.max.bytes",
                                        "5000",
                                        "log.cleanup.policy",
                                        "compact, delete",
                                        "log.roll.hours",
                                        "2",
                                        NULL};
    struct setting_lookup broker = {find_broker, pairs};
    struct topic_config config;
    topic_config_defaults(&config);
    assert_int_equal(topic_config_inherit(&config, broker, message), STATUS_OK);
    assert_int_equal(config.retention_ms, 3600000);
    assert_int_equal(config.segment_size_max, 2097152);
    assert_int_equal(config.segment_ms_max, 7200000);
    assert_int_equal(config.message_size_max, 5000);
    assert_true(config.compact && config.delete_old);
    static const char *const more[] = {
        "log.retention.hours", "1", "log.retention.minutes", "3", "log.retention.ms", "7", NULL};
    broker.context = more;
    assert_int_equal(topic_config_inherit(&config, broker, message), STATUS_OK);
    assert_int_equal(config.retention_ms, 7);
    static const char *const bad[] = {"log.segment.bytes", "5", NULL};
    broker.context = bad;
    assert_int_equal(topic_config_inherit(&config, broker, message), STATUS_INVALID_CONFIG);
}

static void storage_is_told_what_it_needs(void **state)
{
    (void)state;
    struct topic_config config;
    struct partition_config partition;
    topic_config_defaults(&config);
    config.producer_expiration_ms = 77;
    topic_config_to_partition(&config, &partition);
    assert_int_equal(partition.segment_size_max, 1073741824);
    assert_int_equal(partition.segment_age_ms_max, 604800000);
    assert_int_equal(partition.retention_ms, 604800000);
    assert_int_equal(partition.retention_size, -1);
    assert_int_equal(partition.producer_expiration_ms, 77);
    assert_int_equal(partition.file_delete_delay_ms, 60000);
    assert_true(partition.delete_old);
    assert_false(partition.compact);
    assert_int_equal(set(&config, "cleanup.policy", "compact"), STATUS_OK);
    assert_int_equal(set(&config, "max.compaction.lag.ms", "5000"), STATUS_OK);
    topic_config_to_partition(&config, &partition);
    assert_true(partition.compact && !partition.delete_old);
    assert_int_equal(partition.segment_age_ms_max, 5000);
}

static void rows_show_value_source_and_origins(void **state)
{
    (void)state;
    static const char *const file[] = {"log.retention.minutes", "10", NULL};
    static const char *const own[] = {"cleanup.policy", "compact", NULL};
    struct setting_lookup broker = {find_broker, file};
    struct setting_lookup topic = {find_broker, own};
    for (size_t i = 0; i < topic_config_count(); i++) {
        struct setting_row row;
        topic_config_describe(i, topic, broker, &row);
        const char *name = row.setting->name;
        assert_non_null(row.value);
        if (strcmp(name, "cleanup.policy") == 0) {
            assert_string_equal(row.value, "compact");
            assert_int_equal(row.source, SETTING_SOURCE_TOPIC);
            assert_int_equal(row.origin_count, 2);
            assert_string_equal(row.origins[1].name, "log.cleanup.policy");
            assert_string_equal(row.origins[1].value, "delete");
        } else if (strcmp(name, "retention.ms") == 0) {
            assert_string_equal(row.value, "600000");
            assert_int_equal(row.source, SETTING_SOURCE_STATIC);
            assert_string_equal(row.origins[0].name, "log.retention.minutes");
            assert_string_equal(row.origins[1].name, "log.retention.hours");
            assert_string_equal(row.origins[1].value, "168");
        } else {
            assert_int_equal(row.source, SETTING_SOURCE_DEFAULT);
            assert_string_equal(row.value, row.setting->default_text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(every_config_of_kafka_is_known),
        cmocka_unit_test(defaults_are_kafkas),
        cmocka_unit_test(what_follows_from_a_key_follows_at_once),
        cmocka_unit_test(refusals_say_why_and_change_nothing),
        cmocka_unit_test(contradictions_are_found),
        cmocka_unit_test(the_brokers_file_changes_defaults),
        cmocka_unit_test(storage_is_told_what_it_needs),
        cmocka_unit_test(rows_show_value_source_and_origins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
