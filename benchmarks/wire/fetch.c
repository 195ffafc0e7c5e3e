/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch requests, one in flight on a connection, one partition each: the next offset is known only
 * from the answer. The batch headers of an answer are walked. With discard the bytes behind the
 * first header never leave the kernel (MSG_TRUNC), and the next offset is computed on the promise
 * that all batches have the first one's shape; the next answer proves it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "benchmarks/wire/load.h"

enum { HEAD_SIZE = 512, SLACK = 64 << 10 };

struct fetched {
    int error;
    int64_t watermark;
    const uint8_t *records; /* the part that was kept */
    size_t records_kept;
    size_t records_size;
};

static void fetch_encode(const struct load *load, struct connection *connection)
{
    const struct options *options = &load->options;
    struct out *out = &connection->fetch;
    int version = options->fetch_version;
    frame_begin(out, API_FETCH, version, 0);
    out_i32(out, -1);  /* a consumer */
    out_i32(out, 500); /* ms to wait for one byte */
    out_i32(out, 1);
    out_i32(out, options->fetch_size);
    out_i8(out, 0); /* read uncommitted */
    if (version >= 7) {
        out_i32(out, 0);
        out_i32(out, -1); /* no session */
    }
    out_i32(out, 1);
    out_string(out, options->topic);
    out_i32(out, 1);
    out_i32(out, connection->index % options->partition_count);
    if (version >= 9) {
        out_i32(out, -1); /* leader epoch unknown */
    }
    connection->offset_position = out->size;
    out_i64(out, 0);
    if (version >= 5) {
        out_i64(out, -1); /* log start: a follower's field */
    }
    out_i32(out, options->fetch_size);
    if (version >= 7) {
        out_i32(out, 0); /* forgotten topics */
    }
    if (version >= 11) {
        out_string(out, ""); /* rack */
    }
    frame_end(out);
}

void fetch_connect(struct load *load, struct connection *connection)
{
    const struct options *options = &load->options;
    int partition = connection->index % options->partition_count;
    fetch_encode(load, connection);
    connection->input_capacity = (size_t)options->fetch_size + SLACK;
    connection->input = malloc(connection->input_capacity);
    if (connection->input == NULL) {
        die("out of memory");
    }
    int fd = control_connect(options);
    connection->offset_first = control_offset(fd, options, partition, -2);
    connection->fetch_offset =
        options->tail ? control_offset(fd, options, partition, -1) : connection->offset_first;
    close(fd);
}

void fetch_advance(struct load *load, struct connection *connection)
{
    struct out *frame = &connection->fetch;
    if (!connection->waiting) {
        if (load->phase == PHASE_DRAIN) {
            return;
        }
        store_be32(frame->data + CORRELATION_POSITION, (uint32_t)++connection->correlation);
        store_be64(frame->data + connection->offset_position, (uint64_t)connection->fetch_offset);
        connection->waiting = true;
        connection->fetch_sent = 0;
        connection->begin_ns = load->now_ns;
        load->in_flight++;
    }
    while (connection->fetch_sent < frame->size) {
        ssize_t size = send(connection->fd, frame->data + connection->fetch_sent,
                            frame->size - connection->fetch_sent, MSG_NOSIGNAL);
        if (size < 0) {
            if (errno != EAGAIN) {
                die("send: %s", strerror(errno));
            }
            load_want_output(load, connection, true);
            return;
        }
        connection->fetch_sent += (size_t)size;
    }
    load_want_output(load, connection, false);
}

static struct fetched answer_decode(const struct load *load, const struct connection *connection)
{
    int version = load->options.fetch_version;
    struct fetched fetched = {0};
    struct in in = {.data = connection->input, .size = connection->input_size};
    char topic[TOPIC_SIZE_MAX];
    in_skip(&in, FRAME_SIZE_BYTES);
    int32_t correlation = in_i32(&in);
    in_skip(&in, 4); /* throttle */
    int error = version >= 7 ? in_i16(&in) : 0;
    in_skip(&in, version >= 7 ? 4 : 0); /* session */
    int topics = in_i32(&in);
    in_string(&in, topic, sizeof(topic));
    int partitions = in_i32(&in);
    int partition = in_i32(&in);
    fetched.error = in_i16(&in);
    fetched.watermark = in_i64(&in);
    in_skip(&in, version >= 5 ? 16 : 8); /* last stable offset, log start */
    int aborted = in_i32(&in);
    in_skip(&in, aborted > 0 ? 16 * (int64_t)aborted : 0);
    in_skip(&in, version >= 11 ? 4 : 0); /* preferred replica */
    int32_t size = in_i32(&in);
    fetched.records_size = size > 0 ? (size_t)size : 0;
    fetched.records = in.data + in.position;
    fetched.records_kept = in.size - in.position;
    if (in.failed || correlation != connection->correlation || error != 0 || topics != 1 ||
        partitions != 1 || partition != connection->index % load->options.partition_count ||
        in.position + fetched.records_size != connection->frame_size) {
        die("a malformed Fetch answer: %zu bytes, correlation %d (expected %d), error %d",
            connection->frame_size, correlation, connection->correlation, error);
    }
    return fetched;
}

/* Whole size of the batch whose header begins at data; dies when it cannot be one. */
static size_t batch_size(const uint8_t *data, int64_t offset_expected, bool first)
{
    int64_t base = (int64_t)load_be64(data);
    int64_t last = base + (int32_t)load_be32(data + BATCH_LAST_DELTA_POSITION);
    size_t size = BATCH_PREFIX_SIZE + (size_t)load_be32(data + BATCH_LENGTH_POSITION);
    bool reached = first ? base <= offset_expected && last >= offset_expected
                         : base >= offset_expected && last >= base;
    if (data[BATCH_MAGIC_POSITION] != 2 || size < BATCH_HEADER_SIZE || !reached) {
        die("a batch of magic %d, %zu bytes, offsets %lld to %lld where %lld was expected",
            data[BATCH_MAGIC_POSITION], size, (long long)base, (long long)last,
            (long long)offset_expected);
    }
    return size;
}

/* Moves the connection past the whole batches of an answer; returns their records. */
static uint64_t batches_walk(struct load *load, struct connection *connection,
                             const struct fetched *fetched)
{
    uint64_t records = 0;
    size_t position = 0;
    int64_t offset = connection->fetch_offset;
    while (fetched->records_size - position >= BATCH_HEADER_SIZE &&
           fetched->records_kept - position >= BATCH_HEADER_SIZE) {
        const uint8_t *batch = fetched->records + position;
        size_t size = batch_size(batch, offset, position == 0);
        size_t whole = (fetched->records_size - position) / size;
        if (whole == 0) {
            break; /* cut by the size asked for */
        }
        whole = load->options.discard ? whole : 1;
        int64_t delta = (int64_t)load_be32(batch + BATCH_LAST_DELTA_POSITION) + 1;
        records += whole * load_be32(batch + BATCH_COUNT_POSITION);
        offset = (int64_t)load_be64(batch) + (int64_t)whole * delta;
        position += whole * size;
        if (load->options.discard) {
            break;
        }
    }
    if (fetched->records_size > 0 && position == 0) {
        die("a Fetch answer of %zu bytes without one whole batch", fetched->records_size);
    }
    connection->fetch_offset = offset;
    return records;
}

static void answer_take(struct load *load, struct connection *connection)
{
    struct fetched fetched = answer_decode(load, connection);
    uint64_t records = 0;
    if (fetched.error != 0) {
        load_error(load, "fetch from %s-%d at %lld: error %d", load->options.topic,
                   connection->index % load->options.partition_count,
                   (long long)connection->fetch_offset, fetched.error);
        if (load->error_count > 100) {
            die("too many errors");
        }
    } else {
        records = batches_walk(load, connection, &fetched);
    }
    if (!load->options.tail && connection->fetch_offset >= fetched.watermark) {
        connection->fetch_offset = connection->offset_first;
    }
    connection->waiting = false;
    connection->frame_size = 0;
    connection->frame_taken = 0;
    connection->input_size = 0;
    load->in_flight--;
    if (records > 0) {
        load_count(load, connection->begin_ns, records, fetched.records_size);
    }
}

static void input_reserve(struct connection *connection, size_t size)
{
    if (size > connection->input_capacity) {
        uint8_t *input = realloc(connection->input, size);
        if (input == NULL || size > 1U << 30) {
            die("an answer of %zu bytes", size);
        }
        connection->input = input;
        connection->input_capacity = size;
    }
}

/* Bytes still to be kept of the answer being read; the size field first. */
static size_t keep_size(const struct load *load, const struct connection *connection)
{
    if (connection->frame_size == 0) {
        return HEAD_SIZE - connection->input_size;
    }
    size_t keep = load->options.discard && connection->frame_size > HEAD_SIZE
                      ? HEAD_SIZE
                      : connection->frame_size;
    return keep > connection->input_size ? keep - connection->input_size : 0;
}

void fetch_receive(struct load *load, struct connection *connection)
{
    while (connection->waiting) {
        size_t keep = keep_size(load, connection);
        ssize_t size;
        if (keep > 0) {
            size = recv(connection->fd, connection->input + connection->input_size, keep, 0);
        } else {
            size = recv(connection->fd, NULL, connection->frame_size - connection->frame_taken,
                        MSG_TRUNC);
        }
        if (size < 0 && errno == EAGAIN) {
            return;
        }
        if (size <= 0) {
            die("the broker closed connection %d", connection->index);
        }
        connection->frame_taken += (size_t)size;
        connection->input_size += keep > 0 ? (size_t)size : 0;
        if (connection->frame_size == 0 && connection->input_size >= FRAME_SIZE_BYTES) {
            connection->frame_size = FRAME_SIZE_BYTES + load_be32(connection->input);
            if (!load->options.discard) {
                input_reserve(connection, connection->frame_size);
            }
        }
        if (connection->frame_size > 0 && connection->frame_taken >= connection->frame_size) {
            load->now_ns = clock_ns();
            answer_take(load, connection);
        }
    }
}
