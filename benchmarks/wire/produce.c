/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Produce requests, version 7, one record set each. Everything is built before the clock starts:
 * a slot of the queue holds its request's head, in which only correlation id and partition are
 * patched; the record sets are shared and never copied. Answers come in request order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "benchmarks/wire/load.h"

enum { VECTOR_REQUESTS = 64, ANSWER_CAPACITY = 64 << 10 };

/* Writes a head; the record set of batch_size bytes follows it. */
static void head_encode(struct load *load, struct out *head, size_t batch_size)
{
    frame_begin(head, API_PRODUCE, PRODUCE_VERSION, 0);
    out_string(head, NULL); /* no transaction */
    out_i16(head, load->options.acks);
    out_i32(head, 30000); /* ms */
    out_i32(head, 1);
    out_string(head, load->options.topic);
    out_i32(head, 1);
    load->head_partition_position = head->size;
    out_i32(head, 0);
    out_i32(head, (int64_t)batch_size);
    load->head_size = head->size;
    store_be32(head->data, (uint32_t)(head->size + batch_size - FRAME_SIZE_BYTES));
}

void produce_prepare(struct load *load)
{
    struct options *options = &load->options;
    load->batches = calloc((size_t)options->batch_count, sizeof(*load->batches));
    load->extents = calloc((size_t)options->partition_count, sizeof(*load->extents));
    if (load->batches == NULL || load->extents == NULL) {
        die("out of memory");
    }
    for (int i = 0; i < options->batch_count; i++) {
        options->shape.seed = (uint64_t)i + 1;
        batch_encode(&load->batches[i], &options->shape);
    }
    double requests = options->record_rate / options->shape.record_count;
    load->interval_ns = requests > 0 ? options->connection_count * 1e9 / requests : 0;
}

void produce_connect(struct load *load, struct connection *connection)
{
    const struct options *options = &load->options;
    struct out head = {0};
    head_encode(load, &head, load->batches[0].size); /* all batches have one size */
    size_t depth = (size_t)options->depth;
    size_t partitions = (size_t)options->partition_count;
    connection->heads = malloc(depth * load->head_size);
    connection->requests = calloc(depth, sizeof(*connection->requests));
    connection->input = malloc(ANSWER_CAPACITY);
    connection->offset_until = calloc(partitions, sizeof(*connection->offset_until));
    if (connection->heads == NULL || connection->requests == NULL || connection->input == NULL ||
        connection->offset_until == NULL) {
        die("out of memory");
    }
    for (size_t i = 0; i < depth; i++) {
        memcpy(connection->heads + i * load->head_size, head.data, load->head_size);
    }
    connection->input_capacity = ANSWER_CAPACITY;
    out_deinit(&head);
    connection->due_ns =
        (double)load->begin_ns + load->interval_ns * connection->index / options->connection_count;
}

/* Connection c serves the partitions c, c + connections, ...; or shares one when they are fewer. */
static int partition_next(const struct load *load, struct connection *connection)
{
    int partition = connection->index + connection->turn * load->options.connection_count;
    if (partition < load->options.partition_count) {
        connection->turn++;
        return partition;
    }
    connection->turn = 1;
    return connection->index % load->options.partition_count;
}

static void request_add(struct load *load, struct connection *connection, uint64_t begin_ns)
{
    size_t slot = connection->tail % (size_t)load->options.depth;
    struct request *request = &connection->requests[slot];
    request->begin_ns = begin_ns;
    request->correlation = connection->correlation++;
    request->partition = partition_next(load, connection);
    request->batch = request->correlation % load->options.batch_count;
    uint8_t *head = connection->heads + slot * load->head_size;
    store_be32(head + CORRELATION_POSITION, (uint32_t)request->correlation);
    store_be32(head + load->head_partition_position, (uint32_t)request->partition);
    connection->tail++;
    load->in_flight++;
}

static void requests_fill(struct load *load, struct connection *connection)
{
    uint64_t depth = (uint64_t)load->options.depth;
    if (load->phase == PHASE_DRAIN) {
        return;
    }
    while (connection->tail - connection->head < depth) {
        if (load->interval_ns <= 0) {
            request_add(load, connection, load->now_ns);
        } else if (connection->due_ns <= (double)load->now_ns) {
            request_add(load, connection, (uint64_t)connection->due_ns);
            connection->due_ns += load->interval_ns;
        } else {
            break;
        }
    }
}

/* The unsent bytes of up to VECTOR_REQUESTS requests; returns the pieces used. */
static size_t vector_build(const struct load *load, const struct connection *connection,
                           struct iovec *vector)
{
    size_t count = 0;
    size_t skip = connection->sent_bytes;
    uint64_t until = connection->tail;
    if (until - connection->sent > VECTOR_REQUESTS) {
        until = connection->sent + VECTOR_REQUESTS;
    }
    for (uint64_t i = connection->sent; i < until; i++) {
        size_t slot = i % (size_t)load->options.depth;
        const struct out *batch = &load->batches[connection->requests[slot].batch];
        if (skip < load->head_size) {
            vector[count++] = (struct iovec){connection->heads + slot * load->head_size + skip,
                                             load->head_size - skip};
            skip = 0;
        } else {
            skip -= load->head_size;
        }
        vector[count++] = (struct iovec){batch->data + skip, batch->size - skip};
        skip = 0;
    }
    return count;
}

/* Moves `sent` past the bytes that the socket took. Without acks that is all there is to know. */
static void sent_add(struct load *load, struct connection *connection, size_t size)
{
    size_t frame_size = load->head_size + load->batches[0].size;
    connection->sent_bytes += size;
    while (connection->sent_bytes >= frame_size) {
        connection->sent_bytes -= frame_size;
        if (load->options.acks == 0) {
            size_t slot = connection->sent % (size_t)load->options.depth;
            load->in_flight--;
            load_count(load, connection->requests[slot].begin_ns,
                       (uint64_t)load->options.shape.record_count, load->batches[0].size);
            connection->head++;
        }
        connection->sent++;
    }
}

void produce_advance(struct load *load, struct connection *connection)
{
    struct iovec vector[2 * VECTOR_REQUESTS];
    requests_fill(load, connection);
    while (connection->sent < connection->tail) {
        struct msghdr message = {.msg_iov = vector};
        message.msg_iovlen = vector_build(load, connection, vector);
        ssize_t size = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        if (size < 0) {
            if (errno == EAGAIN) {
                load_want_output(load, connection, true);
                return;
            }
            die("send: %s", strerror(errno));
        }
        sent_add(load, connection, (size_t)size);
    }
    load_want_output(load, connection, false);
}

static void extent_add(struct extent *extent, int64_t offset, int record_count)
{
    if (extent->batch_count == 0 || offset < extent->first) {
        extent->first = offset;
    }
    if (offset + record_count > extent->until) {
        extent->until = offset + record_count;
    }
    extent->batch_count++;
    extent->offset_sum += (uint64_t)offset;
}

static void answer_check(struct load *load, struct connection *connection, struct in in)
{
    size_t slot = connection->head % (size_t)load->options.depth;
    const struct request *request = &connection->requests[slot];
    char topic[TOPIC_SIZE_MAX];
    if (connection->head == connection->sent) {
        die("an answer that nobody asked for");
    }
    int32_t correlation = in_i32(&in);
    int topics = in_i32(&in);
    in_string(&in, topic, sizeof(topic));
    int partitions = in_i32(&in);
    int partition = in_i32(&in);
    int error = in_i16(&in);
    int64_t offset = in_i64(&in);
    in_skip(&in, 8 + 8 + 4); /* append time, log start, throttle */
    if (in.failed || in.position != in.size || correlation != request->correlation || topics != 1 ||
        partitions != 1 || partition != request->partition ||
        strcmp(topic, load->options.topic) != 0) {
        die("a malformed Produce answer: %zu bytes, correlation %d (expected %d), partition %d",
            in.size, correlation, request->correlation, partition);
    }
    connection->head++;
    load->in_flight--;
    if (error != 0) {
        load_error(load, "produce to %s-%d: error %d", topic, partition, error);
        return;
    }
    if (offset < connection->offset_until[partition]) {
        load_error(load, "produce to %s-%d: offset %lld after %lld", topic, partition,
                   (long long)offset, (long long)connection->offset_until[partition]);
    }
    int record_count = load->options.shape.record_count;
    connection->offset_until[partition] = offset + record_count;
    extent_add(&load->extents[partition], offset, record_count);
    load_count(load, request->begin_ns, (uint64_t)record_count, load->batches[0].size);
}

void produce_receive(struct load *load, struct connection *connection)
{
    ssize_t size = recv(connection->fd, connection->input + connection->input_size,
                        connection->input_capacity - connection->input_size, 0);
    if (size < 0 && errno == EAGAIN) {
        return;
    }
    if (size <= 0) {
        die("the broker closed connection %d", connection->index);
    }
    connection->input_size += (size_t)size;
    load->now_ns = clock_ns();
    size_t position = 0;
    while (connection->input_size - position >= FRAME_SIZE_BYTES) {
        size_t frame = load_be32(connection->input + position);
        if (frame > ANSWER_CAPACITY - FRAME_SIZE_BYTES) {
            die("a Produce answer of %zu bytes", frame);
        }
        if (connection->input_size - position < FRAME_SIZE_BYTES + frame) {
            break;
        }
        answer_check(
            load, connection,
            (struct in){.data = connection->input + position + FRAME_SIZE_BYTES, .size = frame});
        position += FRAME_SIZE_BYTES + frame;
    }
    connection->input_size -= position;
    memmove(connection->input, connection->input + position, connection->input_size);
}

void produce_verify(struct load *load)
{
    uint64_t records = (uint64_t)load->options.shape.record_count;
    for (int i = 0; i < load->options.partition_count; i++) {
        const struct extent *extent = &load->extents[i];
        uint64_t count = extent->batch_count;
        uint64_t pairs = (count & 1) == 0 ? count / 2 * (count - 1) : (count - 1) / 2 * count;
        uint64_t sum = (uint64_t)extent->first * count + records * pairs;
        if (load->options.acks != 0 && count > 0 &&
            ((uint64_t)(extent->until - extent->first) != count * records ||
             extent->offset_sum != sum)) {
            load_error(load, "%s-%d: %llu batches were given the offsets %lld to %lld",
                       load->options.topic, i, (unsigned long long)count, (long long)extent->first,
                       (long long)extent->until);
        }
    }
}
