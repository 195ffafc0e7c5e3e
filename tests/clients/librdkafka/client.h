/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the librdkafka scenarios share: handles, a sequence of records that is a function of an
 * index, and a consumer that compares what it reads with that function. A failed expectation ends
 * the program with the line that names it.
 */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAIT_MS 20000
#define PARTITION_COUNT_MAX 32
#define TIME_STEP_MS 10LL

#define TEXT_OF(token) #token
#define LINE_TEXT(line) TEXT_OF(line)
#define EXPECT(condition, ...)                                                                     \
    client_expect((condition), #condition, __FILE__ ":" LINE_TEXT(__LINE__), __VA_ARGS__)

/* Name and value, as librdkafka takes them; a list ends with {NULL, NULL}. */
struct setting {
    const char *name;
    const char *value;
};

/* One produce run; the delivery reports write into it. */
struct run {
    const char *topic;
    int partition_count;
    int count;                 /* records; record i goes to partition i % partition_count */
    bool offsets_known;        /* false with acks=0 */
    int failed_count;          /* delivery reports with an error */
    rd_kafka_resp_err_t error; /* the last such error */
    int64_t next_offset[PARTITION_COUNT_MAX];
};

[[gnu::format(printf, 4, 5)]] void client_expect(bool holds, const char *condition,
                                                 const char *place, const char *format, ...);

/* The timestamp of record 0, a day before the program started: retention must not take it. */
int64_t client_first_time_ms(void);
/* A topic name of this run: borrowed, valid until the eighth call from here. */
const char *client_topic(const char *name);
rd_kafka_t *client_open(rd_kafka_type_t type, const struct setting *settings);
rd_kafka_t *client_open_consumer(const struct setting *settings);

/* Creates the topic and waits until metadata shows it. `config` may be NULL. */
rd_kafka_resp_err_t client_create(rd_kafka_t *rk, const char *topic, int partition_count,
                                  const struct setting *config);
rd_kafka_resp_err_t client_delete(rd_kafka_t *rk, const char *topic);
/* Partition count as metadata says; 0 while the topic is unknown. */
int client_partition_count(rd_kafka_t *rk, const char *topic);

/* Record `index` of a run is sent and every delivery report awaited in client_flush. */
void client_send(rd_kafka_t *rk, struct run *run, int index);
void client_flush(rd_kafka_t *rk, struct run *run);
/* One value of `size` bytes; the error of its delivery report. */
rd_kafka_resp_err_t client_send_large(rd_kafka_t *rk, const char *topic, size_t size);

void client_assign(rd_kafka_t *rk, const char *topic, int partition, int64_t offset);
/* The next message, which must not be an error. */
rd_kafka_message_t *client_next(rd_kafka_t *rk);
/* Compares with record `index`: key, value, headers, timestamp. */
void client_compare(const rd_kafka_message_t *message, int index);
/* Reads the whole run from the start of all its partitions. */
void client_read_run(rd_kafka_t *rk, const struct run *run);
