/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scenario list of tests/clients/README.md with librdkafka, partitions assigned by hand.
 * BOOTSTRAP=host:port names the broker, TOPIC_PREFIX keeps runs on one broker apart.
 */
#include "tests/clients/librdkafka/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN_COUNT 3000

static void write_and_read(const char *name, const struct setting *settings)
{
    struct run run = {.topic = client_topic(name),
                      .partition_count = 3,
                      .count = RUN_COUNT,
                      .offsets_known = true};
    rd_kafka_t *producer = client_open(RD_KAFKA_PRODUCER, settings);
    rd_kafka_t *consumer = client_open_consumer(NULL);

    for (; settings->name != NULL; settings++) {
        if (strcmp(settings->name, "acks") == 0 && strcmp(settings->value, "0") == 0) {
            run.offsets_known = false;
        }
    }
    EXPECT(client_create(producer, run.topic, run.partition_count, NULL) == 0, "create");
    for (int i = 0; i < run.count; i++) {
        client_send(producer, &run, i);
    }
    client_flush(producer, &run);
    client_read_run(consumer, &run);
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    printf("ok %s\n", name);
}

static void test_codecs(void)
{
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    static const char *const idempotence[] = {"false", "true"};

    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        for (size_t j = 0; j < 2; j++) {
            char name[64];
            snprintf(name, sizeof(name), "codec-%s-idempotence-%s", codecs[i], idempotence[j]);
            write_and_read(name, (struct setting[]){{"compression.codec", codecs[i]},
                                                    {"enable.idempotence", idempotence[j]},
                                                    {"linger.ms", "5"},
                                                    {NULL, NULL}});
        }
    }
}

static void test_acks(void)
{
    write_and_read("acks-0", (struct setting[]){{"acks", "0"}, {NULL, NULL}});
    write_and_read("acks-1", (struct setting[]){{"acks", "1"}, {NULL, NULL}});
    write_and_read("acks-all", (struct setting[]){{"acks", "all"}, {NULL, NULL}});
    /* One record a batch, many batches in flight. */
    write_and_read("single", (struct setting[]){{"batch.num.messages", "1"},
                                                {"linger.ms", "0"},
                                                {"max.in.flight", "100"},
                                                {NULL, NULL}});
}

static void test_large(void)
{
    const char *topic = client_topic("large");
    rd_kafka_t *producer = client_open(
        RD_KAFKA_PRODUCER, (struct setting[]){{"message.max.bytes", "8000000"}, {NULL, NULL}});
    rd_kafka_t *consumer = client_open_consumer(NULL);
    rd_kafka_resp_err_t error;

    EXPECT(client_create(producer, topic, 1, NULL) == 0, "create");
    /* The limit of 1,048,588 counts the batch: 61 bytes of header and about 12 of the record. */
    error = client_send_large(producer, topic, 1048576 - 128);
    EXPECT(error == 0, "just below 1 MiB: %s", rd_kafka_err2name(error));
    error = client_send_large(producer, topic, 1048576);
    EXPECT(error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "1 MiB: %s", rd_kafka_err2name(error));
    error = client_send_large(producer, topic, 7000000);
    EXPECT(error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "7 MB: %s", rd_kafka_err2name(error));
    error = client_send_large(producer, topic, 1000000);
    EXPECT(error == 0, "after the refusals: %s", rd_kafka_err2name(error));
    client_assign(consumer, topic, 0, 0);
    for (int i = 0; i < 2; i++) {
        rd_kafka_message_t *message = client_next(consumer);
        EXPECT(message->offset == i, "offset %lld", (long long)message->offset);
        EXPECT(message->len == (i == 0 ? 1048576 - 128 : 1000000), "%zu bytes", message->len);
        rd_kafka_message_destroy(message);
    }
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    printf("ok large\n");
}

/* Where the first record at or after time_ms is. */
static int64_t offset_for_time(rd_kafka_t *rk, const char *topic, int64_t time_ms)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = time_ms;
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(rk, list, WAIT_MS);
    EXPECT(error == 0 && list->elems[0].err == 0, "offsets_for_times: %s", rd_kafka_err2str(error));
    int64_t offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return offset;
}

static void expect_time(rd_kafka_t *rk, const char *topic, int64_t time_ms, int64_t expected)
{
    int64_t offset = offset_for_time(rk, topic, time_ms);
    EXPECT(offset == expected, "time %lld: offset %lld, expected %lld", (long long)time_ms,
           (long long)offset, (long long)expected);
}

static void expect_at(rd_kafka_t *rk, const char *topic, int64_t offset)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    rd_kafka_resp_err_t error = rd_kafka_seek(handle, 0, offset, WAIT_MS);

    EXPECT(error == 0, "seek: %s", rd_kafka_err2str(error));
    for (int64_t i = offset; i < offset + 5; i++) {
        rd_kafka_message_t *message = client_next(rk);
        EXPECT(message->offset == i, "after a seek to %lld: offset %lld", (long long)offset,
               (long long)message->offset);
        client_compare(message, (int)i);
        rd_kafka_message_destroy(message);
    }
    rd_kafka_topic_destroy(handle);
}

static void test_seek(const char *codec)
{
    char name[32];
    snprintf(name, sizeof(name), "seek-%s", codec);
    struct run run = {.topic = client_topic(name),
                      .partition_count = 1,
                      .count = RUN_COUNT,
                      .offsets_known = true};
    rd_kafka_t *producer =
        client_open(RD_KAFKA_PRODUCER, (struct setting[]){{"compression.codec", codec},
                                                          {"batch.num.messages", "70"},
                                                          {NULL, NULL}});
    rd_kafka_t *consumer = client_open_consumer(NULL);
    int64_t first_ms = client_first_time_ms();
    int64_t low, high;

    EXPECT(client_create(producer, run.topic, 1, NULL) == 0, "create");
    EXPECT(rd_kafka_query_watermark_offsets(consumer, run.topic, 0, &low, &high, WAIT_MS) == 0 &&
               low == 0 && high == 0,
           "empty log: %lld to %lld", (long long)low, (long long)high);
    expect_time(consumer, run.topic, first_ms, RD_KAFKA_OFFSET_END);
    for (int i = 0; i < run.count; i++) {
        client_send(producer, &run, i);
    }
    client_flush(producer, &run);
    EXPECT(rd_kafka_query_watermark_offsets(consumer, run.topic, 0, &low, &high, WAIT_MS) == 0 &&
               low == 0 && high == run.count,
           "full log: %lld to %lld", (long long)low, (long long)high);

    expect_time(consumer, run.topic, 1, 0);
    expect_time(consumer, run.topic, first_ms, 0);
    expect_time(consumer, run.topic, first_ms + 1, 1);
    for (int i = 1; i < run.count; i += 311) {
        expect_time(consumer, run.topic, first_ms + i * TIME_STEP_MS, i);
        expect_time(consumer, run.topic, first_ms + i * TIME_STEP_MS - 1, i);
    }
    expect_time(consumer, run.topic, first_ms + (run.count - 1) * TIME_STEP_MS, run.count - 1);
    expect_time(consumer, run.topic, first_ms + run.count * TIME_STEP_MS, RD_KAFKA_OFFSET_END);

    client_assign(consumer, run.topic, 0, run.count - 5);
    rd_kafka_message_destroy(client_next(consumer));
    for (int i = 0; i < 12; i++) {
        expect_at(consumer, run.topic, (i * 1237) % (run.count - 5));
    }
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    printf("ok %s\n", name);
}

static void test_out_of_range(void)
{
    const char *topic = client_topic("range");
    rd_kafka_t *consumer = client_open_consumer(NULL);

    EXPECT(client_create(consumer, topic, 1, NULL) == 0, "create");
    client_assign(consumer, topic, 0, 1000);
    rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, WAIT_MS);
    EXPECT(message != NULL && message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET,
           "an offset behind the end: %s",
           message != NULL ? rd_kafka_err2name(message->err) : "nothing");
    rd_kafka_message_destroy(message);
    rd_kafka_destroy(consumer);
    printf("ok out of range\n");
}

static void test_unknown_topic(void)
{
    const char *topic = client_topic("unknown");
    struct run run = {.topic = topic, .partition_count = 1, .count = 100, .offsets_known = true};
    rd_kafka_t *consumer = client_open_consumer(NULL);

    /* A consumer's metadata forbids the broker to create what it asks for. */
    EXPECT(client_partition_count(consumer, topic) == 0, "the topic exists");
    EXPECT(client_partition_count(consumer, topic) == 0, "a consumer created the topic");
    rd_kafka_destroy(consumer);

    rd_kafka_t *producer = client_open(RD_KAFKA_PRODUCER, NULL);
    for (int i = 0; i < run.count; i++) {
        client_send(producer, &run, i);
    }
    client_flush(producer, &run);
    consumer = client_open_consumer(NULL);
    client_read_run(consumer, &run);
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    printf("ok unknown topic\n");
}

static void expect_config(rd_kafka_t *rk, const char *topic, const char *name, const char *expected)
{
    size_t count;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    const char *found = NULL;

    rd_kafka_DescribeConfigs(rk, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    EXPECT(event != NULL && rd_kafka_event_error(event) == 0, "%s",
           rd_kafka_event_error_string(event));
    const rd_kafka_ConfigResource_t **results = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event), &count);
    EXPECT(count == 1 && rd_kafka_ConfigResource_error(results[0]) == 0, "describe %s", topic);
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(results[0], &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0) {
            found = rd_kafka_ConfigEntry_value(entries[i]);
        }
    }
    EXPECT(found != NULL && strcmp(found, expected) == 0, "%s is %s, expected %s", name,
           found != NULL ? found : "absent", expected);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
}

static void test_admin(void)
{
    const char *topic = client_topic("admin");
    rd_kafka_t *rk = client_open_consumer(NULL);
    rd_kafka_resp_err_t error;

    error = client_create(rk, topic, 5,
                          (struct setting[]){{"retention.ms", "123456789"}, {NULL, NULL}});
    EXPECT(error == 0, "create: %s", rd_kafka_err2name(error));
    EXPECT(client_partition_count(rk, topic) == 5, "partitions");
    error = client_create(rk, topic, 5, NULL);
    EXPECT(error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS, "again: %s", rd_kafka_err2name(error));
    error = client_create(rk, client_topic("bad name!"), 1, NULL);
    EXPECT(error == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, "name: %s", rd_kafka_err2name(error));
    expect_config(rk, topic, "retention.ms", "123456789");
    expect_config(rk, topic, "max.message.bytes", "1048588");
    expect_config(rk, topic, "cleanup.policy", "delete");
    error = client_delete(rk, topic);
    EXPECT(error == 0, "delete: %s", rd_kafka_err2name(error));
    error = client_delete(rk, client_topic("never"));
    EXPECT(error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "absent: %s",
           rd_kafka_err2name(error));
    /* The name is free again, and what it held is gone. */
    for (int i = 0; client_partition_count(rk, topic) != 0; i++) {
        EXPECT(i < 10000, "%s is still there", topic);
    }
    EXPECT(client_create(rk, topic, 2, NULL) == 0, "create again");
    expect_config(rk, topic, "retention.ms", "604800000");
    rd_kafka_destroy(rk);
    printf("ok admin\n");
}

/* A fetch that is parked must wake for each record: its own time-out is far away. */
static void test_long_poll(void)
{
    struct run run = {
        .topic = client_topic("poll"), .partition_count = 1, .count = 200, .offsets_known = true};
    rd_kafka_t *producer =
        client_open(RD_KAFKA_PRODUCER, (struct setting[]){{"linger.ms", "0"}, {NULL, NULL}});
    rd_kafka_t *consumer = client_open_consumer((struct setting[]){
        {"fetch.wait.max.ms", "30000"}, {"socket.timeout.ms", "60000"}, {NULL, NULL}});

    EXPECT(client_create(producer, run.topic, 1, NULL) == 0, "create");
    client_assign(consumer, run.topic, 0, 0);
    for (int i = 0; i < run.count; i++) {
        client_send(producer, &run, i);
        rd_kafka_message_t *message = client_next(consumer);
        EXPECT(message->offset == i, "offset %lld", (long long)message->offset);
        client_compare(message, i);
        rd_kafka_message_destroy(message);
    }
    client_flush(producer, &run);
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    printf("ok long poll\n");
}

static void test_many_partitions(void)
{
    enum { TOPIC_COUNT = 4 };
    struct run runs[TOPIC_COUNT];
    rd_kafka_t *producer = client_open(RD_KAFKA_PRODUCER, NULL);
    rd_kafka_t *consumer = client_open_consumer(NULL);

    for (int i = 0; i < TOPIC_COUNT; i++) {
        char name[16];
        snprintf(name, sizeof(name), "many-%d", i);
        runs[i] = (struct run){.topic = client_topic(name),
                               .partition_count = 30,
                               .count = RUN_COUNT,
                               .offsets_known = true};
        EXPECT(client_create(producer, runs[i].topic, 30, NULL) == 0, "create");
    }
    for (int i = 0; i < RUN_COUNT; i++) {
        for (int j = 0; j < TOPIC_COUNT; j++) {
            client_send(producer, &runs[j], i);
        }
    }
    for (int i = 0; i < TOPIC_COUNT; i++) {
        client_flush(producer, &runs[i]);
        client_read_run(consumer, &runs[i]);
    }
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    printf("ok many partitions\n");
}

/* The next `count` records of the topic, whatever partition each is of; commits and leaves. */
static void group_read(const char *group, const struct run *run, int count, int64_t *next)
{
    const struct setting settings[] = {
        {"group.id", group}, {"auto.offset.reset", "earliest"}, {NULL, NULL}};
    rd_kafka_t *consumer = client_open_consumer(settings);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, run->topic, RD_KAFKA_PARTITION_UA);
    EXPECT(rd_kafka_subscribe(consumer, list) == 0, "subscribe");
    for (int i = 0; i < count; i++) {
        rd_kafka_message_t *message = client_next(consumer);
        int partition = message->partition;
        EXPECT(message->offset == next[partition], "%s [%d]: offset %lld, expected %lld",
               run->topic, partition, (long long)message->offset, (long long)next[partition]);
        client_compare(message, (int)next[partition] * run->partition_count + partition);
        next[partition]++;
        rd_kafka_message_destroy(message);
    }
    EXPECT(rd_kafka_commit(consumer, NULL, 0) == 0, "commit");
    EXPECT(rd_kafka_consumer_close(consumer) == 0, "leave");
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(consumer);
}

/* The second member begins where the first one committed. */
static void test_group(void)
{
    enum { ROUND_COUNT = 1200 };
    rd_kafka_t *producer = client_open(RD_KAFKA_PRODUCER, NULL);
    struct run run = {.topic = client_topic("group"), .partition_count = 4, .offsets_known = true};
    const char *group = client_topic("members");
    int64_t next[PARTITION_COUNT_MAX] = {0};
    EXPECT(client_create(producer, run.topic, run.partition_count, NULL) == 0, "create");
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < ROUND_COUNT; i++) {
            client_send(producer, &run, run.count++);
        }
        client_flush(producer, &run);
        group_read(group, &run, ROUND_COUNT, next);
    }
    rd_kafka_destroy(producer);
    printf("ok group\n");
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    test_codecs();
    test_acks();
    test_large();
    test_seek("none");
    test_seek("zstd");
    test_out_of_range();
    test_unknown_topic();
    test_admin();
    test_long_poll();
    test_many_partitions();
    test_group();
    return 0;
}
