/* SPDX-License-Identifier: Apache-2.0 */
/* Everything around the load itself, on a blocking connection: find, create, delete a topic. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "benchmarks/wire/load.h"

static int connect_once(const struct options *options)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    int failed = getaddrinfo(options->host, options->port, &hints, &list);
    if (failed != 0) {
        die("%s:%s: %s", options->host, options->port, gai_strerror(failed));
    }
    int fd = -1;
    for (struct addrinfo *address = list; address != NULL && fd < 0; address = address->ai_next) {
        fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    return fd;
}

int control_connect(const struct options *options)
{
    uint64_t until_ns = clock_ns() + (uint64_t)(options->wait_seconds * 1e9);
    int fd = connect_once(options);
    while (fd < 0 && clock_ns() < until_ns) {
        usleep(1000);
        fd = connect_once(options);
    }
    if (fd < 0) {
        die("no broker at %s:%s: %s", options->host, options->port, strerror(errno));
    }
    return fd;
}

static void read_all(int fd, uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t count = recv(fd, data, size, 0);
        if (count <= 0) {
            die("the broker closed the connection in the middle of an answer");
        }
        data += count;
        size -= (size_t)count;
    }
}

/* Sends the frame and reads the answer into frame's memory; in starts behind the header. */
static struct in call(int fd, struct out *frame)
{
    frame_end(frame);
    uint32_t correlation = load_be32(frame->data + CORRELATION_POSITION);
    for (size_t sent = 0; sent < frame->size;) {
        ssize_t count = send(fd, frame->data + sent, frame->size - sent, MSG_NOSIGNAL);
        if (count < 0) {
            die("send: %s", strerror(errno));
        }
        sent += (size_t)count;
    }
    uint8_t prefix[FRAME_SIZE_BYTES];
    read_all(fd, prefix, sizeof(prefix));
    size_t size = load_be32(prefix);
    if (size < 4 || size > 64U << 20) {
        die("an answer of %zu bytes", size);
    }
    out_deinit(frame);
    frame->data = malloc(size);
    if (frame->data == NULL) {
        die("out of memory: %zu bytes", size);
    }
    read_all(fd, frame->data, size);
    if (load_be32(frame->data) != correlation) {
        die("answer %u to request %u", load_be32(frame->data), correlation);
    }
    return (struct in){.data = frame->data, .size = size, .position = 4};
}

static int version_needed(int key)
{
    switch (key) {
    case API_PRODUCE:
        return PRODUCE_VERSION;
    case API_FETCH:
        return FETCH_VERSION_MAX;
    case API_METADATA:
        return METADATA_VERSION;
    case API_CREATE_TOPICS:
        return CREATE_TOPICS_VERSION;
    default:
        return -1;
    }
}

void control_check_versions(int fd)
{
    struct out frame = {0};
    frame_begin(&frame, API_VERSIONS, 0, 1);
    struct in in = call(fd, &frame);
    int error = in_i16(&in);
    int count = in_i32(&in);
    int found = 0;
    for (int i = 0; i < count && !in.failed; i++) {
        int key = in_i16(&in);
        int first = in_i16(&in);
        int last = in_i16(&in);
        int needed = version_needed(key);
        found += needed >= 0;
        if (needed >= 0 && (needed < first || needed > last)) {
            die("api %d: the load needs version %d, the broker has %d to %d", key, needed, first,
                last);
        }
    }
    if (error != 0 || in.failed || found < 4) {
        die("ApiVersions: error %d, %d of the 4 needed APIs found", error, found);
    }
    out_deinit(&frame);
}

void control_create_topic(int fd, const struct options *options)
{
    struct out frame = {0};
    frame_begin(&frame, API_CREATE_TOPICS, CREATE_TOPICS_VERSION, 2);
    out_i32(&frame, 1);
    out_string(&frame, options->topic);
    out_i32(&frame, options->partition_count);
    out_i16(&frame, 1); /* replication factor */
    out_i32(&frame, 0); /* no assignment by hand */
    out_i32(&frame, options->config_count);
    for (int i = 0; i < options->config_count; i++) {
        const char *value = strchr(options->config[i], '=');
        if (value == NULL) {
            die("--topic-config %s: key=value wanted", options->config[i]);
        }
        int key_size = (int)(value - options->config[i]);
        out_i16(&frame, key_size);
        out_bytes(&frame, options->config[i], (size_t)key_size);
        out_string(&frame, value + 1);
    }
    out_i32(&frame, 30000); /* ms */
    out_i8(&frame, 0);      /* not only validated */
    struct in in = call(fd, &frame);
    char name[TOPIC_SIZE_MAX];
    char message[256];
    in_skip(&in, 4); /* throttle */
    in_skip(&in, 4); /* one topic */
    in_string(&in, name, sizeof(name));
    int error = in_i16(&in);
    in_string(&in, message, sizeof(message));
    if (error != 0 || in.failed) {
        die("create topic %s: error %d %s", options->topic, error, message);
    }
    out_deinit(&frame);
}

/* Skips an array of 4-byte node ids. */
static void skip_nodes(struct in *in)
{
    in_skip(in, 4 * (int64_t)in_i32(in));
}

/* How many partitions of the topic have a leader. */
static int led_partitions(int fd, const struct options *options)
{
    struct out frame = {0};
    char text[TOPIC_SIZE_MAX];
    frame_begin(&frame, API_METADATA, METADATA_VERSION, 3);
    out_i32(&frame, 1);
    out_string(&frame, options->topic);
    out_i8(&frame, 0); /* do not create it */
    struct in in = call(fd, &frame);
    in_skip(&in, 4); /* throttle */
    for (int brokers = in_i32(&in); brokers > 0 && !in.failed; brokers--) {
        in_skip(&in, 4);
        in_string(&in, text, sizeof(text));
        in_skip(&in, 4);
        in_string(&in, text, sizeof(text));
    }
    in_string(&in, text, sizeof(text)); /* cluster id */
    in_skip(&in, 4);                    /* controller */
    in_skip(&in, 4);                    /* one topic */
    int error = in_i16(&in);
    in_string(&in, text, sizeof(text));
    in_skip(&in, 1);
    int led = 0;
    for (int partitions = in_i32(&in); partitions > 0 && !in.failed; partitions--) {
        int partition_error = in_i16(&in);
        int partition = in_i32(&in);
        int leader = in_i32(&in);
        led += partition_error == 0 && leader >= 0 && partition < options->partition_count;
        skip_nodes(&in);
        skip_nodes(&in);
    }
    if (in.failed) {
        die("Metadata: the answer ends too early");
    }
    out_deinit(&frame);
    return error == 0 ? led : 0;
}

/* Sets error to the broker's answer about the partition. */
static int64_t offset_ask(int fd, const struct options *options, int partition, int64_t timestamp,
                          int *error)
{
    struct out frame = {0};
    frame_begin(&frame, API_LIST_OFFSETS, LIST_OFFSETS_VERSION, 5);
    out_i32(&frame, -1); /* a consumer */
    out_i32(&frame, 1);
    out_string(&frame, options->topic);
    out_i32(&frame, 1);
    out_i32(&frame, partition);
    out_i64(&frame, timestamp);
    struct in in = call(fd, &frame);
    char name[TOPIC_SIZE_MAX];
    in_skip(&in, 4); /* one topic */
    in_string(&in, name, sizeof(name));
    in_skip(&in, 8); /* one partition, its index */
    *error = in_i16(&in);
    in_skip(&in, 8); /* timestamp */
    int64_t offset = in_i64(&in);
    if (in.failed) {
        die("ListOffsets: the answer ends too early");
    }
    out_deinit(&frame);
    return offset;
}

int64_t control_offset(int fd, const struct options *options, int partition, int64_t timestamp)
{
    int error;
    int64_t offset = offset_ask(fd, options, partition, timestamp, &error);
    if (error != 0) {
        die("offsets of %s-%d: error %d", options->topic, partition, error);
    }
    return offset;
}

/*
 * A leader in the metadata is not yet one that takes records: Kafka names it a moment before the
 * broker knows that it is meant (error 6). So each partition is asked for its end as well.
 */
void control_await_topic(int fd, const struct options *options)
{
    uint64_t until_ns = clock_ns() + 30000000000U;
    int led = led_partitions(fd, options);
    int ready = 0;
    while (ready < options->partition_count && clock_ns() < until_ns) {
        int error = 0;
        if (led < options->partition_count) {
            led = led_partitions(fd, options);
        } else {
            (void)offset_ask(fd, options, ready, -1, &error);
            ready += error == 0;
        }
        if (error != 0 || led < options->partition_count) {
            usleep(20000);
        }
    }
    if (ready < options->partition_count) {
        die("topic %s: %d of %d partitions lead and %d answer after 30 s", options->topic, led,
            options->partition_count, ready);
    }
}

void control_delete_topic(int fd, const struct options *options)
{
    struct out frame = {0};
    frame_begin(&frame, API_DELETE_TOPICS, DELETE_TOPICS_VERSION, 4);
    out_i32(&frame, 1);
    out_string(&frame, options->topic);
    out_i32(&frame, 30000); /* ms */
    struct in in = call(fd, &frame);
    char name[TOPIC_SIZE_MAX];
    in_skip(&in, 4); /* throttle */
    in_skip(&in, 4); /* one topic */
    in_string(&in, name, sizeof(name));
    int error = in_i16(&in);
    if (error != 0 || in.failed) {
        die("delete topic %s: error %d", options->topic, error);
    }
    out_deinit(&frame);
}
