/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator's one struct: options, connections, and what was counted. One thread, level-
 * triggered epoll. Produce and fetch each give two verbs: advance (send what may be sent now) and
 * receive (read and judge what arrived).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "benchmarks/lib/measure.h"
#include "benchmarks/wire/protocol.h"

enum { DEPTH_MAX = 1024, CONFIG_MAX = 16, TOPIC_SIZE_MAX = 200 };

struct options {
    const char *host;
    const char *port;
    const char *topic;
    int partition_count;
    int connection_count;
    int depth;
    struct batch_shape shape;
    int batch_count; /* different prebuilt batches, used in turn */
    int acks;
    double record_rate; /* open loop when above 0 */
    double seconds;
    double warmup_seconds;
    int64_t byte_limit; /* ends the measured time early when above 0 */
    int fetch_size;
    int fetch_version;
    bool tail;    /* fetch: from the end, else from the beginning again and again */
    bool discard; /* fetch: leave the bytes behind the first batch header in the kernel */
    bool create;
    bool delete;
    const char *config[CONFIG_MAX]; /* key=value of the topic made by create */
    int config_count;
    pid_t pid;
    const char *csv;
    const char *label;
    double wait_seconds;
};

/* Answered batches of one partition: dense and unique when count, sum and range agree. */
struct extent {
    int64_t first;
    int64_t until;
    uint64_t batch_count;
    uint64_t offset_sum; /* modulo 2^64 */
};

struct request {
    uint64_t begin_ns; /* the scheduled time in an open loop */
    int32_t correlation;
    int partition;
    int batch;
};

struct connection {
    int fd;
    int index;
    bool wants_output; /* EPOLLOUT asked for */
    int32_t correlation;
    uint8_t *input;
    size_t input_size;
    size_t input_capacity;

    /* produce: a queue of depth requests, [head, sent) wait for answers, [sent, tail) to be sent */
    struct request *requests;
    uint8_t *heads; /* one prebuilt request head for each slot */
    uint64_t head;
    uint64_t sent;
    uint64_t tail;
    size_t sent_bytes;     /* of request `sent` */
    int turn;              /* next of the partitions that this connection serves */
    int64_t *offset_until; /* by partition: what the last answer reached */
    double due_ns;         /* next scheduled request of an open loop */

    /* fetch */
    struct out fetch;
    size_t fetch_sent;
    size_t offset_position; /* of the fetch offset in the frame */
    int64_t fetch_offset;
    int64_t offset_first;
    uint64_t begin_ns;
    bool waiting;       /* a request is out */
    size_t frame_size;  /* of the answer being read, 0: unknown yet */
    size_t frame_taken; /* bytes of it received, kept or discarded */
};

enum phase { PHASE_WARMUP, PHASE_MEASURE, PHASE_DRAIN };

struct load {
    struct options options;
    int epoll;
    struct connection *connections;
    void (*advance)(struct load *load, struct connection *connection);
    void (*receive)(struct load *load, struct connection *connection);

    struct out *batches; /* produce: record sets, shared by all connections */
    size_t head_size;    /* produce: bytes before the record set */
    size_t head_partition_position;
    struct extent *extents;
    double interval_ns; /* between two requests of one connection, open loop */

    enum phase phase;
    uint64_t now_ns;
    uint64_t begin_ns;
    uint64_t measure_ns; /* begin of the measured time */
    uint64_t until_ns;
    uint64_t in_flight;
    uint64_t request_count; /* of the measured time, as are the next four */
    uint64_t record_count;
    uint64_t byte_count;
    struct latency latency;
    struct usage usage_begin;
    struct usage usage_until;
    double own_cpu;
    uint64_t error_count; /* of the whole run */
};

/* Counts an answer that arrived within the measured time. */
void load_count(struct load *load, uint64_t begin_ns, uint64_t records, uint64_t bytes);
/* Counts an error and prints the first few. */
__attribute__((format(printf, 2, 3))) void load_error(struct load *load, const char *format, ...);
void load_want_output(struct load *load, struct connection *connection, bool wanted);
/* Connects, runs warm-up, measured time and drain, and disconnects. */
void load_run(struct load *load);

void produce_prepare(struct load *load);
void produce_connect(struct load *load, struct connection *connection);
void produce_advance(struct load *load, struct connection *connection);
void produce_receive(struct load *load, struct connection *connection);
/* After the drain: the offsets answered are dense and each was given once. */
void produce_verify(struct load *load);

void fetch_connect(struct load *load, struct connection *connection);
void fetch_advance(struct load *load, struct connection *connection);
void fetch_receive(struct load *load, struct connection *connection);

/* Blocking calls on a connection of their own; they die with the broker's error code. */
int control_connect(const struct options *options);
void control_check_versions(int fd);
void control_create_topic(int fd, const struct options *options);
void control_await_topic(int fd, const struct options *options);
void control_delete_topic(int fd, const struct options *options);
int64_t control_offset(int fd, const struct options *options, int partition, int64_t timestamp);
