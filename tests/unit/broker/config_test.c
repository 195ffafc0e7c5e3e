/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config.h"

#include <stdio.h>

#include "base/check.h"
#include "base/ring.h"
#include "tests/lib/test.h"

struct fixture {
    struct heap heap;
    struct broker_config config;
    char message[400];
};

static int setup(void **state)
{
    static struct fixture fixture;
    heap_init(&fixture.heap, MIB);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    heap_deinit(&fixture->heap);
    return 0;
}

static int load(struct fixture *fixture, const char *text, const char *override)
{
    return broker_config_load(&fixture->config, &fixture->heap, text, &override, override != NULL,
                              fixture->message, sizeof(fixture->message));
}

static struct broker_config *good(struct fixture *fixture, const char *text, const char *override)
{
    fixture->message[0] = '\0';
    int code = load(fixture, text, override);
    assert_string_equal(fixture->message, "");
    assert_int_equal(code, 0);
    return &fixture->config;
}

static void release(struct fixture *fixture)
{
    broker_config_unload(&fixture->config);
    assert_int_equal(fixture->heap.size, 0);
}

static void refused(struct fixture *fixture, const char *text, const char *message)
{
    assert_int_equal(load(fixture, text, NULL), 2);
    assert_string_equal(fixture->message, message);
    assert_int_equal(fixture->heap.size, 0);
}

static void the_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < BROKER_CONFIG_COUNT; i++) {
        const struct setting *row = broker_config_row(i);
        assert_true(i == 0 || strcmp(broker_config_row(i - 1)->name, row->name) < 0);
        assert_int_equal(row->sentence[strlen(row->sentence) - 1], '.');
        assert_true(row->low <= row->high);
        bool worded = row->kind == SETTING_CHOICE || row->kind == SETTING_SET;
        assert_int_equal(row->choices != NULL, worded);
        if (row->kind == SETTING_INT) {
            assert_true(row->low >= INT32_MIN && row->high <= INT32_MAX);
        }
        if (row->kind == SETTING_SHORT) {
            assert_true(row->low >= INT16_MIN && row->high <= INT16_MAX);
        }
    }
}

static void defaults(void **state)
{
    struct broker_config *config = good(*state, "", NULL);
    assert_int_equal(config->node_id, 1);
    assert_string_equal(config->cluster_id, "");
    assert_string_equal(config->data_dir, "data");
    assert_int_equal(config->listener_count, 1);
    assert_string_equal(config->listeners[0].name, "PLAINTEXT");
    assert_string_equal(config->listeners[0].host, "127.0.0.1");
    assert_int_equal(config->listeners[0].port, 9092);
    assert_int_equal(config->advertised_count, 0);
    assert_int_equal(config->partition_count, 1);
    assert_true(config->topics_auto_create);
    assert_int_equal(config->request_size_max, 104857600);
    assert_int_equal(config->fetch_size_max, 57671680);
    assert_int_equal(config->connection_idle_ms_max, 600000);
    assert_int_equal(config->writer, WRITER_ALIGNED);
    assert_int_equal(config->ring, RING_AUTO);
    assert_int_equal(config->pin, BROKER_PIN_AUTO);
    assert_int_equal(config->memory_size, 0);
    assert_int_equal(config->unknown_count, 0);
    assert_int_equal(config->inert_count, 0);
    release(*state);
}

/* A topic inherits from the file only what is set there, so the two tables' defaults must agree. */
static void topics_defaults_are_the_brokers(void **state)
{
    struct broker_config *config = good(*state, "", NULL);
    for (size_t i = 0; i < topic_config_count(); i++) {
        const struct setting *topic = topic_config_row(i);
        struct setting_row row;
        topic_config_describe(i, (struct setting_lookup){0}, broker_config_lookup(config), &row);
        for (int s = 0; s < SETTING_SYNONYMS_MAX && topic->synonyms[s].name != NULL; s++) {
            const struct setting *broker = NULL;
            for (size_t b = 0; b < BROKER_CONFIG_COUNT; b++) {
                if (strcmp(broker_config_row(b)->name, topic->synonyms[s].name) == 0) {
                    broker = broker_config_row(b);
                }
            }
            assert_non_null(broker);
            bool last = s + 1 == SETTING_SYNONYMS_MAX || topic->synonyms[s + 1].name == NULL;
            if (last) {
                assert_string_equal(row.origins[0].name, broker->name);
                assert_string_equal(row.origins[0].value, broker->default_text);
            } else {
                assert_null(broker->default_text);
            }
        }
    }
    release(*state);
}

static void the_words_are_in_the_order_of_the_enums(void **state)
{
    struct broker_config *config = good(*state, "ring=posix\npin=off\nlog.writer=buffered\n", NULL);
    assert_int_equal(config->ring, RING_POSIX);
    assert_int_equal(config->pin, BROKER_PIN_OFF);
    assert_int_equal(config->writer, WRITER_BUFFERED);
    release(*state);
    config = good(*state, "ring=uring\npin=on\nlog.writer=direct\n", NULL);
    assert_int_equal(config->writer, WRITER_DIRECT);
    assert_int_equal(config->ring, RING_URING);
    assert_int_equal(config->pin, BROKER_PIN_ON);
    release(*state);
}

/* What Apache Kafka ships as config/server.properties, without its comments. */
static void kafkas_own_file_works(void **state)
{
    static const char text[] = "process.roles=broker,controller\n"
                               "node.id=7\n"
                               "controller.quorum.bootstrap.servers=localhost:9093\n"
                               "listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n"
                               "inter.broker.listener.name=PLAINTEXT\n"
                               "advertised.listeners=PLAINTEXT://localhost:9092,"
                               "CONTROLLER://localhost:9093\n"
                               "controller.listener.names=CONTROLLER\n"
                               "listener.security.protocol.map=CONTROLLER:PLAINTEXT,"
                               "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,"
                               "SASL_SSL:SASL_SSL\n"
                               "num.network.threads=3\n"
                               "num.io.threads=8\n"
                               "socket.send.buffer.bytes=102400\n"
                               "socket.receive.buffer.bytes=102400\n"
                               "socket.request.max.bytes=104857600\n"
                               "log.dirs=/var/lib/weir\n"
                               "num.partitions=3\n"
                               "num.recovery.threads.per.data.dir=2\n"
                               "offsets.topic.replication.factor=1\n"
                               "share.coordinator.state.topic.replication.factor=1\n"
                               "share.coordinator.state.topic.min.isr=1\n"
                               "transaction.state.log.replication.factor=1\n"
                               "transaction.state.log.min.isr=1\n"
                               "log.retention.hours=48\n"
                               "log.segment.bytes=1073741824\n"
                               "log.retention.check.interval.ms=300000\n";
    struct broker_config *config = good(*state, text, NULL);
    assert_int_equal(config->unknown_count, 0);
    assert_int_equal(config->node_id, 7);
    assert_int_equal(config->listener_count, 1);
    assert_string_equal(config->listeners[0].host, "");
    assert_int_equal(config->advertised_count, 1);
    assert_string_equal(config->advertised[0].host, "localhost");
    assert_string_equal(config->data_dir, "/var/lib/weir");
    assert_int_equal(config->partition_count, 3);
    assert_int_equal(config->topic_defaults.retention_ms, INT64_C(48) * 3600000);
    assert_true(config->inert_count > 5);
    release(*state);
}

static void overrides_win(void **state)
{
    struct broker_config *config =
        good(*state, "num.partitions=3\nnum.partitions = 4 \nbroker.id=9", "num.partitions=5");
    assert_int_equal(config->partition_count, 5);
    assert_int_equal(config->node_id, 9);
    release(*state);
    struct fixture *fixture = *state;
    assert_int_equal(load(fixture, "", "num.partitions"), 2);
    assert_string_equal(fixture->message, "--set num.partitions: say KEY=VALUE");
}

/* What is accepted and changes nothing is told at the start. */
static void keys_without_effect_are_collected(void **state)
{
    struct broker_config *config = good(*state,
                                        "log.roll.jitter.ms=1000\nlog.cleaner.enable=false\n"
                                        "log.index.size.max.bytes=4096\nlog.roll.ms=1000\n"
                                        "transaction.partition.verification.enable=false\n",
                                        NULL);
    static const char *const expected[] = {"log.cleaner.enable", "log.index.size.max.bytes",
                                           "log.roll.jitter.ms",
                                           "transaction.partition.verification.enable"};
    assert_int_equal(config->inert_count, ARRAY_COUNT(expected));
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        assert_string_equal(config->inert[i], expected[i]);
    }
    release(*state);
}

static void unknown_keys_are_collected_once(void **state)
{
    struct broker_config *config = good(*state,
                                        "zookeeper.connect=x\nnum.io.threads=1\n"
                                        "zookeeper.connect=y\nmy.key=1\n",
                                        NULL);
    assert_int_equal(config->unknown_count, 2);
    assert_string_equal(config->unknown[0], "zookeeper.connect");
    assert_string_equal(config->unknown[1], "my.key");
    assert_int_equal(config->inert_count, 1);
    assert_string_equal(config->inert[0], "num.io.threads");
    release(*state);
    char text[16 * 40] = "";
    size_t size = 0;
    for (int i = 0; i < BROKER_UNKNOWN_MAX + 3; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "k%d=1\n", i);
    }
    config = good(*state, text, NULL);
    assert_int_equal(config->unknown_count, BROKER_UNKNOWN_MAX);
    assert_int_equal(config->unknown_dropped, 3);
    release(*state);
}

#define SIXTY_FOUR "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void refusals_name_key_value_and_what_is_allowed(void **state)
{
    refused(*state, "num.partitions=0",
            "num.partitions=0: must be a whole number from 1 to 100000");
    refused(*state, "offsets.topic.num.partitions=100001",
            "offsets.topic.num.partitions=100001: must be a whole number from 1 to 100000");
    static const char cluster[] =
        "cluster.id: must be at most 63 printable ASCII characters without a backslash";
    refused(*state, "cluster.id=a\\nb", cluster);
    refused(*state, "cluster.id=a\\\\b", cluster);
    refused(*state, "cluster.id=" SIXTY_FOUR, cluster);
    refused(*state, "broker.rack=a\\nb",
            "broker.rack: must be at most 255 printable ASCII characters without a backslash");
    refused(*state, "log.segment.bytes=5",
            "log.segment.bytes=5: must be a whole number from 1048576 to 2147483647");
    refused(*state, "pin=maybe", "pin=maybe: must be one of: auto on off");
    refused(*state, "memory.bytes=1000",
            "memory.bytes=1000: must be 0 or a whole number of 67108864 or more");
    refused(*state, "memtable.shards=129",
            "memtable.shards=129: must be a whole number from 1 to 128");
    refused(*state, "node.id=1\nbroker.id=2", "node.id=1 and broker.id=2 must be equal");
    refused(*state, "process.roles=controller", "process.roles=controller: must contain broker");
    refused(*state, "log.dirs=/a,/b", "log.dirs=/a,/b: must name one folder");
    refused(*state, "log.dir=", "log.dir=: must name one folder");
    refused(*state, "authorizer.class.name=x.Y",
            "authorizer.class.name=x.Y: is not supported; only \"\" is accepted");
    refused(*state, "a=\\u1", "line 1: \\u must be followed by four hexadecimal digits");
    refused(*state, "log.cleaner.min.compaction.lag.ms=5\nlog.cleaner.max.compaction.lag.ms=4",
            "min.compaction.lag.ms=5 must not be above max.compaction.lag.ms=4");
    refused(*state, "log.retention.ms=1\nlog.retention.ms=x",
            "log.retention.ms=x: must be a whole number of -1 or more");
}

static void only_plaintext_listeners_are_served(void **state)
{
    refused(*state, "listeners=SASL_SSL://:9092",
            "listeners: SASL_SSL uses the protocol SASL_SSL, but only PLAINTEXT is served; see "
            "listener.security.protocol.map");
    refused(*state,
            "listeners=IN://:9092,EXTERNAL://:9093\n"
            "listener.security.protocol.map=IN:PLAINTEXT,EXTERNAL:SSL",
            "listeners: EXTERNAL uses the protocol SSL, but only PLAINTEXT is served; see "
            "listener.security.protocol.map");
    refused(*state, "listeners=", "listeners: must name at least one");
    refused(*state, "listeners=A://:1,B://:1",
            "listeners: A and B have one host and port; give each its own");
    refused(*state, "listeners=A://:1\nadvertised.listeners=B://h:1",
            "advertised.listeners: B is not among listeners");
    refused(*state, "listeners=A://:1\nadvertised.listeners=A://0.0.0.0:1",
            "advertised.listeners: A must have a host that clients can connect to, not "
            "\"0.0.0.0\"");
    struct broker_config *config = good(*state,
                                        "listeners=EXTERNAL://0.0.0.0:9094,IN://:0\n"
                                        "advertised.listeners=external://kafka.test:19094",
                                        NULL);
    assert_int_equal(config->listener_count, 2);
    assert_string_equal(config->advertised[0].name, "EXTERNAL");
    assert_int_equal(config->advertised[0].port, 19094);
    release(*state);
}

static void topics_inherit(void **state)
{
    struct broker_config *config =
        good(*state,
             "log.retention.minutes=3\nlog.retention.hours=1\nlog.cleanup.policy=compact\n"
             "message.max.bytes=7\nproducer.id.expiration.ms=99\ncompression.type=zstd",
             NULL);
    assert_int_equal(config->topic_defaults.retention_ms, 180000);
    assert_true(config->topic_defaults.compact);
    assert_int_equal(config->topic_defaults.message_size_max, 7);
    assert_int_equal(config->topic_defaults.producer_expiration_ms, 99);
    assert_int_equal(config->topic_defaults.compression, CODEC_ZSTD);
    release(*state);
}

static void rows_show_value_and_source(void **state)
{
    struct broker_config *config = good(*state,
                                        "log.cleanup.policy = delete , compact\n"
                                        "num.partitions=+04",
                                        NULL);
    int explicit = 0;
    for (size_t i = 0; i < BROKER_CONFIG_COUNT; i++) {
        struct setting_row row;
        broker_config_describe(config, i, &row);
        const char *name = row.setting->name;
        if (strcmp(name, "log.cleanup.policy") == 0) {
            assert_string_equal(row.value, "delete,compact");
            explicit += row.source == SETTING_SOURCE_STATIC && row.origin_count == 2;
        } else if (strcmp(name, "num.partitions") == 0) {
            assert_string_equal(row.value, "4");
            explicit += row.source == SETTING_SOURCE_STATIC && row.origin_count == 2;
        } else {
            assert_int_equal(row.source, SETTING_SOURCE_DEFAULT);
            assert_int_equal(row.value == NULL, row.setting->default_text == NULL);
        }
    }
    assert_int_equal(explicit, 2);
    release(*state);
}

static void a_spent_heap_is_a_refusal(void **state)
{
    struct fixture *fixture = *state;
    for (size_t size = 0; size < 700; size += 20) {
        fixture->heap.size_max = size;
        if (load(fixture, "num.partitions=3\nunknown=1\nlog.dirs=/a/b/c\n", NULL) == 0) {
            release(fixture);
            assert_true(size > 100);
            return;
        }
        assert_string_equal(fixture->message, "the configuration does not fit in memory");
        assert_int_equal(fixture->heap.size, 0);
    }
    fail();
}

int main(void)
{
#define FRESH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        FRESH(the_table_is_sound),
        FRESH(defaults),
        FRESH(topics_defaults_are_the_brokers),
        FRESH(the_words_are_in_the_order_of_the_enums),
        FRESH(kafkas_own_file_works),
        FRESH(overrides_win),
        FRESH(keys_without_effect_are_collected),
        FRESH(unknown_keys_are_collected_once),
        FRESH(refusals_name_key_value_and_what_is_allowed),
        FRESH(only_plaintext_listeners_are_served),
        FRESH(topics_inherit),
        FRESH(rows_show_value_and_source),
        FRESH(a_spent_heap_is_a_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
