/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/clients/librdkafka/client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VALUE_SIZE_MAX 1024
#define ERROR_SIZE 512

struct record {
    char key[32];
    size_t key_size;
    bool key_null;
    char value[VALUE_SIZE_MAX];
    size_t value_size;
    bool value_null;
    int header_count;
    int64_t time_ms;
};

void client_expect(bool holds, const char *condition, const char *place, const char *format, ...)
{
    va_list arguments;

    if (holds) {
        return;
    }
    printf("FAILED %s: %s: ", place, condition);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    exit(1);
}

int64_t client_first_time_ms(void)
{
    static int64_t first_ms;

    if (first_ms == 0) {
        first_ms = ((int64_t)time(NULL) - 86400) * 1000;
    }
    return first_ms;
}

/* Every kind of null and empty occurs, and values from 0 to 700 bytes that compress a little. */
static void record_make(struct record *record, int index)
{
    record->key_null = index % 7 == 0;
    record->key_size = (size_t)snprintf(record->key, sizeof(record->key), "key-%d", index % 100);
    record->value_null = index % 11 == 0;
    record->value_size = index % 13 == 0 ? 0 : (size_t)(index * 37) % 701;
    uint32_t state = (uint32_t)index * 2654435761u + 1;
    for (size_t i = 0; i < record->value_size; i++) {
        state = state * 1664525u + 1013904223u;
        record->value[i] = i % 3 == 0 ? (char)(state >> 24) : (char)('a' + index % 26);
    }
    record->header_count = index % 4;
    record->time_ms = client_first_time_ms() + index * TIME_STEP_MS;
}

static rd_kafka_headers_t *record_headers(const struct record *record, int index)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new((size_t)record->header_count);

    for (int i = 0; i < record->header_count; i++) {
        char text[16];
        int size = snprintf(text, sizeof(text), "%d", index);
        /* Three kinds of header, the first two under one name: order and repeats are kept. */
        const void *value = i == 0 ? text : i == 1 ? "" : NULL;
        rd_kafka_header_add(headers, i < 2 ? "same" : "null", -1, value, i == 0 ? size : 0);
    }
    return headers;
}

const char *client_topic(const char *name)
{
    static char names[8][128];
    static unsigned next;
    const char *prefix = getenv("TOPIC_PREFIX");
    char *topic = names[next++ % 8];

    snprintf(topic, sizeof(names[0]), "%s%s", prefix != NULL ? prefix : "rdkafka-", name);
    return topic;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    (void)opaque;
    struct run *run = message->_private;

    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        run->failed_count++;
        run->error = message->err;
        return;
    }
    if (run->offsets_known) {
        EXPECT(message->offset == run->next_offset[message->partition],
               "%s [%d]: delivered at %lld, expected %lld", run->topic, message->partition,
               (long long)message->offset, (long long)run->next_offset[message->partition]);
    }
    run->next_offset[message->partition]++;
}

static void on_error(rd_kafka_t *rk, int error, const char *reason, void *opaque)
{
    (void)rk;
    (void)opaque;
    /* Single broker, loopback: a lost connection is a finding, whatever retries make of it. */
    EXPECT(false, "client error %s: %s", rd_kafka_err2name(error), reason);
}

rd_kafka_t *client_open(rd_kafka_type_t type, const struct setting *settings)
{
    char text[ERROR_SIZE];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *bootstrap = getenv("BOOTSTRAP");

    EXPECT(bootstrap != NULL, "set BOOTSTRAP=host:port");
    EXPECT(rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, text, sizeof(text)) == 0, "%s",
           text);
    for (; settings != NULL && settings->name != NULL; settings++) {
        EXPECT(rd_kafka_conf_set(conf, settings->name, settings->value, text, sizeof(text)) == 0,
               "%s", text);
    }
    rd_kafka_conf_set_error_cb(conf, on_error);
    if (type == RD_KAFKA_PRODUCER) {
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    }
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof(text));
    EXPECT(rk != NULL, "%s", text);
    return rk;
}

rd_kafka_t *client_open_consumer(const struct setting *settings)
{
    struct setting all[16] = {{"group.id", "none: partitions are assigned by hand"},
                              {"enable.auto.commit", "false"},
                              {"auto.offset.reset", "error"},
                              {"check.crcs", "true"},
                              {"fetch.wait.max.ms", "50"}};

    for (size_t i = 5; settings != NULL && settings->name != NULL && i < 15; i++) {
        all[i] = *settings++;
    }
    rd_kafka_t *rk = client_open(RD_KAFKA_CONSUMER, all);
    rd_kafka_poll_set_consumer(rk);
    return rk;
}

int client_partition_count(rd_kafka_t *rk, const char *topic)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, handle, &metadata, WAIT_MS);

    EXPECT(error == 0, "metadata: %s", rd_kafka_err2str(error));
    EXPECT(metadata->topic_cnt == 1, "%d topics", metadata->topic_cnt);
    int count = metadata->topics[0].err == 0 ? metadata->topics[0].partition_cnt : 0;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
    return count;
}

static bool is_served(rd_kafka_t *rk, const char *topic, int partition_count)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partition_count);
    bool served = client_partition_count(rk, topic) == partition_count;

    for (int i = 0; i < partition_count; i++) {
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = 0;
    }
    served = served && rd_kafka_offsets_for_times(rk, list, WAIT_MS) == 0;
    for (int i = 0; i < partition_count; i++) {
        served = served && list->elems[i].err == 0;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return served;
}

/*
 * Apache Kafka's broker learns of a topic a little after its controller answered: metadata shows it
 * first, its logs open one by one later. What is sent in between is dropped (acks=0) or tried again
 * behind its successors (no idempotence).
 */
static void wait_served(rd_kafka_t *rk, const char *topic, int partition_count)
{
    for (int i = 0; !is_served(rk, topic, partition_count); i++) {
        EXPECT(i < 100, "%s is created, but not served", topic);
        usleep(50000);
    }
}

rd_kafka_resp_err_t client_create(rd_kafka_t *rk, const char *topic, int partition_count,
                                  const struct setting *config)
{
    char text[ERROR_SIZE];
    size_t count;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_NewTopic_t *wish =
        rd_kafka_NewTopic_new(topic, partition_count, 1, text, sizeof(text));

    EXPECT(wish != NULL, "%s", text);
    for (; config != NULL && config->name != NULL; config++) {
        rd_kafka_NewTopic_set_config(wish, config->name, config->value);
    }
    rd_kafka_CreateTopics(rk, &wish, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    EXPECT(event != NULL && rd_kafka_event_error(event) == 0, "%s",
           rd_kafka_event_error_string(event));
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    EXPECT(count == 1, "%zu results", count);
    rd_kafka_resp_err_t error = rd_kafka_topic_result_error(results[0]);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(wish);
    if (error == 0) {
        wait_served(rk, topic, partition_count);
    }
    return error;
}

rd_kafka_resp_err_t client_delete(rd_kafka_t *rk, const char *topic)
{
    size_t count;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopic_t *wish = rd_kafka_DeleteTopic_new(topic);

    rd_kafka_DeleteTopics(rk, &wish, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    EXPECT(event != NULL && rd_kafka_event_error(event) == 0, "%s",
           rd_kafka_event_error_string(event));
    const rd_kafka_topic_result_t **results =
        rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
    EXPECT(count == 1, "%zu results", count);
    rd_kafka_resp_err_t error = rd_kafka_topic_result_error(results[0]);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy(wish);
    return error;
}

void client_send(rd_kafka_t *rk, struct run *run, int index)
{
    struct record record;
    record_make(&record, index);
    rd_kafka_headers_t *headers = record_headers(&record, index);
    rd_kafka_resp_err_t error;

    do {
        error = rd_kafka_producev(
            rk, RD_KAFKA_V_TOPIC(run->topic), RD_KAFKA_V_PARTITION(index % run->partition_count),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(record.key_null ? NULL : record.key, record.key_size),
            RD_KAFKA_V_VALUE(record.value_null ? NULL : record.value, record.value_size),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_TIMESTAMP(record.time_ms),
            RD_KAFKA_V_OPAQUE(run), RD_KAFKA_V_END);
        rd_kafka_poll(rk, error == RD_KAFKA_RESP_ERR__QUEUE_FULL ? 10 : 0);
    } while (error == RD_KAFKA_RESP_ERR__QUEUE_FULL);
    EXPECT(error == 0, "produce: %s", rd_kafka_err2str(error));
}

void client_flush(rd_kafka_t *rk, struct run *run)
{
    int64_t delivered_count = 0;

    EXPECT(rd_kafka_flush(rk, WAIT_MS) == 0, "%s: records still queued", run->topic);
    EXPECT(run->failed_count == 0, "%s: %d records failed, the last with %s", run->topic,
           run->failed_count, rd_kafka_err2name(run->error));
    for (int i = 0; i < run->partition_count; i++) {
        delivered_count += run->next_offset[i];
    }
    EXPECT(delivered_count == run->count, "%s: %lld delivered of %d", run->topic,
           (long long)delivered_count, run->count);
}

rd_kafka_resp_err_t client_send_large(rd_kafka_t *rk, const char *topic, size_t size)
{
    struct run run = {.topic = topic, .partition_count = 1, .count = 1};
    char *value = malloc(size);

    EXPECT(value != NULL, "no memory");
    memset(value, 'L', size);
    rd_kafka_resp_err_t error =
        rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_FREE), RD_KAFKA_V_VALUE(value, size),
                          RD_KAFKA_V_OPAQUE(&run), RD_KAFKA_V_END);
    EXPECT(error == 0, "produce: %s", rd_kafka_err2str(error));
    EXPECT(rd_kafka_flush(rk, WAIT_MS) == 0, "a record of %zu bytes is still queued", size);
    return run.error;
}

void client_assign(rd_kafka_t *rk, const char *topic, int partition, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    rd_kafka_resp_err_t error = rd_kafka_assign(rk, list);
    EXPECT(error == 0, "assign: %s", rd_kafka_err2str(error));
    rd_kafka_topic_partition_list_destroy(list);
}

rd_kafka_message_t *client_next(rd_kafka_t *rk)
{
    rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, WAIT_MS);

    EXPECT(message != NULL, "nothing arrived within %d ms", WAIT_MS);
    EXPECT(message->err == 0, "consume: %s", rd_kafka_message_errstr(message));
    return message;
}

static void compare_headers(const rd_kafka_message_t *message, const struct record *record,
                            int index)
{
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_resp_err_t error = rd_kafka_message_headers(message, &headers);
    size_t count = error == 0 ? rd_kafka_header_cnt(headers) : 0;

    EXPECT(count == (size_t)record->header_count, "record %d: %zu headers", index, count);
    for (size_t i = 0; i < count; i++) {
        const char *name;
        const void *value;
        size_t size;
        char text[16];
        int text_size = snprintf(text, sizeof(text), "%d", index);
        EXPECT(rd_kafka_header_get_all(headers, i, &name, &value, &size) == 0, "header %zu", i);
        EXPECT(strcmp(name, i < 2 ? "same" : "null") == 0, "record %d: header %s", index, name);
        EXPECT((value == NULL) == (i == 2), "record %d: null header %zu", index, i);
        EXPECT(size == (i == 0 ? (size_t)text_size : 0), "record %d: header %zu", index, i);
        EXPECT(i != 0 || memcmp(value, text, size) == 0, "record %d: header value", index);
    }
}

void client_compare(const rd_kafka_message_t *message, int index)
{
    struct record record;
    rd_kafka_timestamp_type_t type;

    record_make(&record, index);
    EXPECT((message->key == NULL) == record.key_null, "record %d: key null", index);
    EXPECT(record.key_null || (message->key_len == record.key_size &&
                               memcmp(message->key, record.key, record.key_size) == 0),
           "record %d: key differs", index);
    EXPECT((message->payload == NULL) == record.value_null, "record %d: value null", index);
    EXPECT(record.value_null || (message->len == record.value_size &&
                                 memcmp(message->payload, record.value, message->len) == 0),
           "record %d: value differs", index);
    int64_t time_ms = rd_kafka_message_timestamp(message, &type);
    EXPECT(type == RD_KAFKA_TIMESTAMP_CREATE_TIME && time_ms == record.time_ms,
           "record %d: timestamp %lld of type %d", index, (long long)time_ms, type);
    compare_headers(message, &record, index);
}

void client_read_run(rd_kafka_t *rk, const struct run *run)
{
    int64_t next[PARTITION_COUNT_MAX] = {0};
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(run->partition_count);

    for (int i = 0; i < run->partition_count; i++) {
        rd_kafka_topic_partition_list_add(list, run->topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    /* A leader that is known beforehand spares the consumer half a second of backing off. */
    EXPECT(is_served(rk, run->topic, run->partition_count), "%s is not served", run->topic);
    EXPECT(rd_kafka_assign(rk, list) == 0, "assign");
    for (int i = 0; i < run->count; i++) {
        rd_kafka_message_t *message = client_next(rk);
        int partition = message->partition;
        EXPECT(message->offset == next[partition], "%s [%d]: offset %lld, expected %lld",
               run->topic, partition, (long long)message->offset, (long long)next[partition]);
        /* Inverse of the distribution: the n-th record of a partition. */
        client_compare(message, (int)next[partition] * run->partition_count + partition);
        next[partition]++;
        rd_kafka_message_destroy(message);
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_assign(rk, NULL);
}
