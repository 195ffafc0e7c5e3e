/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A durable Produce without a broker. One thread, one io_uring: receive, check the CRC, copy once
 * into the partition's slab, write it O_DIRECT with RWF_DSYNC, answer in request order.
 *
 * B1 a file has one write in flight; what gathers meanwhile leaves with the next.
 * B2 a slab under a write is not touched: its last, partial page is copied to the other slab, where
 *    the log goes on, and written again with what follows.
 * B3 an answer leaves after the write that holds its last byte is complete.
 */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "benchmarks/wire/bare.h"

enum {
    PAGE = 4096,
    SLAB_SIZE = 2 << 20,
    INPUT_SIZE = 1 << 20,    /* the largest frame */
    OUTPUT_SIZE = 64 << 10,  /* a ring, power of two */
    PENDING_COUNT = 1 << 10, /* a ring, power of two */
    ENTRY_COUNT = 1024,
    CONNECTION_MAX = 512,
};

enum operation { OPERATION_ACCEPT, OPERATION_RECEIVE, OPERATION_SEND, OPERATION_WRITE };

struct partition {
    int fd;
    uint8_t *slabs[2];
    int fill;          /* the slab that takes appends */
    size_t fill_size;  /* bytes in it, those carried over included */
    int64_t position;  /* of the slab's first byte in the file: a page boundary */
    size_t write_size; /* of the write in flight, 0: none */
    uint64_t appended; /* bytes since the start: taken, handed to the write in flight, durable */
    uint64_t writing;
    uint64_t durable;
    int64_t next_offset;
};

/* Up to output_until of the connection's output may leave when the partition is durable to until.
 */
struct pending {
    const struct partition *partition;
    uint64_t until;
    uint64_t output_until;
};

struct connection {
    int fd;
    bool receiving;
    bool stalled; /* a whole frame waits for room */
    bool closed;
    uint8_t *input;
    size_t input_begin;
    size_t input_end;
    uint8_t *output;         /* encoded at append, in request order */
    uint64_t output_encoded; /* positions since the start, each at most the one before */
    uint64_t output_ready;
    uint64_t output_sent;
    size_t send_size; /* of the send in flight, 0: none */
    struct pending *pending;
    uint64_t pending_head;
    uint64_t pending_tail;
};

struct server {
    const struct bare *bare;
    int listener;
    struct io_uring ring;
    struct partition *partitions;
    struct connection *connections[CONNECTION_MAX];
    int connection_count;
};

static void *pages_map(size_t size)
{
    void *pages =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (pages == MAP_FAILED) {
        die("out of memory: %zu bytes", size);
    }
    return pages;
}

/* The tag rides in the low bits of the pointer, which alignment leaves free. */
static struct io_uring_sqe *operation_begin(struct server *server, enum operation operation,
                                            void *object)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&server->ring);
    if (entry == NULL) {
        io_uring_submit(&server->ring);
        entry = io_uring_get_sqe(&server->ring);
    }
    if (entry == NULL) {
        die("the submission queue stays full");
    }
    entry->user_data = (uintptr_t)object | (uintptr_t)operation;
    return entry;
}

static void accept_start(struct server *server)
{
    struct io_uring_sqe *entry = operation_begin(server, OPERATION_ACCEPT, NULL);
    uint64_t data = entry->user_data;
    io_uring_prep_accept(entry, server->listener, NULL, NULL, SOCK_CLOEXEC);
    entry->user_data = data;
}

/* Moves a frame's beginning to the front when its rest may not fit behind it. */
static void input_compact(struct connection *connection)
{
    size_t size = connection->input_end - connection->input_begin;
    if (connection->input_begin > 0 &&
        (size == 0 || INPUT_SIZE - connection->input_end < INPUT_SIZE / 4)) {
        memmove(connection->input, connection->input + connection->input_begin, size);
        connection->input_begin = 0;
        connection->input_end = size;
    }
}

static void receive_start(struct server *server, struct connection *connection)
{
    input_compact(connection);
    struct io_uring_sqe *entry = operation_begin(server, OPERATION_RECEIVE, connection);
    uint64_t data = entry->user_data;
    io_uring_prep_recv(entry, connection->fd, connection->input + connection->input_end,
                       INPUT_SIZE - connection->input_end, 0);
    entry->user_data = data;
    connection->receiving = true;
}

static void send_start(struct server *server, struct connection *connection)
{
    size_t begin = connection->output_sent % OUTPUT_SIZE;
    size_t size = connection->output_ready - connection->output_sent;
    size = size < OUTPUT_SIZE - begin ? size : OUTPUT_SIZE - begin;
    struct io_uring_sqe *entry = operation_begin(server, OPERATION_SEND, connection);
    uint64_t data = entry->user_data;
    io_uring_prep_send(entry, connection->fd, connection->output + begin, size, MSG_NOSIGNAL);
    entry->user_data = data;
    connection->send_size = size;
}

/* Writes the slab up to its last page, padded with zeros, and swaps (B1, B2). */
static void write_start(struct server *server, struct partition *partition)
{
    uint8_t *slab = partition->slabs[partition->fill];
    uint8_t *other = partition->slabs[1 - partition->fill];
    size_t size = partition->fill_size;
    size_t tail = size / PAGE * PAGE;
    size_t padded = (size + PAGE - 1) / PAGE * PAGE;
    memset(slab + size, 0, padded - size);
    struct io_uring_sqe *entry = operation_begin(server, OPERATION_WRITE, partition);
    uint64_t data = entry->user_data;
    io_uring_prep_write(entry, partition->fd, slab, (unsigned)padded,
                        (uint64_t)partition->position);
    entry->rw_flags = RWF_DSYNC;
    entry->user_data = data;
    partition->write_size = padded;
    partition->writing = partition->appended;
    memcpy(other, slab + tail, size - tail);
    partition->fill = 1 - partition->fill;
    partition->fill_size = size - tail;
    partition->position += (int64_t)tail;
    if (partition->position + SLAB_SIZE > server->bare->file_size) {
        partition->position = 0;
    }
}

static void output_add(struct connection *connection, const struct out *out)
{
    size_t begin = connection->output_encoded % OUTPUT_SIZE;
    size_t first = out->size < OUTPUT_SIZE - begin ? out->size : OUTPUT_SIZE - begin;
    memcpy(connection->output + begin, out->data, first);
    memcpy(connection->output, out->data + first, out->size - first);
    connection->output_encoded += out->size;
}

static size_t output_room(const struct connection *connection)
{
    return OUTPUT_SIZE - (size_t)(connection->output_encoded - connection->output_sent);
}

struct produce {
    int32_t correlation;
    int acks;
    char topic[NAME_SIZE_MAX];
    int partition;
    const uint8_t *batch;
    size_t batch_size;
};

static struct produce produce_decode(const struct server *server, const uint8_t *frame, size_t size)
{
    struct produce produce;
    struct in in = {.data = frame, .size = size, .position = FRAME_SIZE_BYTES + 2};
    int version = in_i16(&in);
    produce.correlation = in_i32(&in);
    in_string(&in, produce.topic, sizeof(produce.topic)); /* client, then transaction */
    in_string(&in, produce.topic, sizeof(produce.topic));
    produce.acks = in_i16(&in);
    in_skip(&in, 4); /* timeout */
    int topics = in_i32(&in);
    in_string(&in, produce.topic, sizeof(produce.topic));
    int partitions = in_i32(&in);
    produce.partition = in_i32(&in);
    produce.batch_size = (size_t)in_i32(&in);
    produce.batch = frame + in.position;
    if (in.failed || version != PRODUCE_VERSION || topics != 1 || partitions != 1 ||
        produce.partition < 0 || produce.partition >= server->bare->partition_count ||
        produce.batch_size != size - in.position || produce.batch_size < BATCH_HEADER_SIZE) {
        die("a Produce that the bare loop does not know: version %d, %d topics, partition %d",
            version, topics, produce.partition);
    }
    return produce;
}

static void batch_check(const uint8_t *batch, size_t size)
{
    uint32_t sum = checksum(batch + BATCH_CRC_FROM, size - BATCH_CRC_FROM);
    if (batch[BATCH_MAGIC_POSITION] != 2 || sum != load_be32(batch + BATCH_CRC_POSITION) ||
        load_be32(batch + BATCH_LENGTH_POSITION) + BATCH_PREFIX_SIZE != size) {
        die("a broken batch of %zu bytes", size);
    }
}

/* Encodes the answer now, to be sent when the partition is durable that far (B3). */
static void answer_add(struct connection *connection, const struct produce *produce,
                       const struct partition *partition, int64_t offset)
{
    uint8_t bytes[256];
    struct out out = {.data = bytes, .capacity = sizeof(bytes)};
    out_i32(&out, 0);
    out_i32(&out, produce->correlation);
    out_i32(&out, 1);
    out_string(&out, produce->topic);
    out_i32(&out, 1);
    out_i32(&out, produce->partition);
    out_i16(&out, 0);
    out_i64(&out, offset);
    out_i64(&out, -1); /* append time */
    out_i64(&out, 0);  /* log start */
    out_i32(&out, 0);  /* throttle */
    store_be32(out.data, (uint32_t)(out.size - FRAME_SIZE_BYTES));
    output_add(connection, &out);
    connection->pending[connection->pending_tail++ % PENDING_COUNT] =
        (struct pending){partition, partition->appended, connection->output_encoded};
}

/* False, and nothing done, when slab, output or pending have no room. */
static bool produce_take(struct server *server, struct connection *connection, const uint8_t *frame,
                         size_t size)
{
    struct produce produce = produce_decode(server, frame, size);
    struct partition *partition = &server->partitions[produce.partition];
    if (partition->fill_size + produce.batch_size > SLAB_SIZE || output_room(connection) < 256 ||
        connection->pending_tail - connection->pending_head == PENDING_COUNT) {
        return false;
    }
    batch_check(produce.batch, produce.batch_size);
    uint8_t *target = partition->slabs[partition->fill] + partition->fill_size;
    memcpy(target, produce.batch, produce.batch_size);
    int64_t offset = partition->next_offset;
    store_be64(target, (uint64_t)offset);
    partition->next_offset += (int64_t)load_be32(target + BATCH_LAST_DELTA_POSITION) + 1;
    partition->fill_size += produce.batch_size;
    partition->appended += produce.batch_size;
    if (produce.acks != 0) {
        answer_add(connection, &produce, partition, offset);
    }
    return true;
}

/* Control answers leave at once, so everything before them must have been answered. */
static bool control_take(struct server *server, struct connection *connection, const uint8_t *frame,
                         size_t size)
{
    if (connection->output_encoded != connection->output_sent) {
        return false;
    }
    struct out out = {0};
    bare_control(server->bare, frame, size, &out);
    if (out.size > OUTPUT_SIZE) {
        die("an answer of %zu bytes", out.size);
    }
    output_add(connection, &out);
    connection->output_ready = connection->output_encoded;
    out_deinit(&out);
    return true;
}

static void frames_take(struct server *server, struct connection *connection)
{
    connection->stalled = false;
    while (connection->input_end - connection->input_begin >= FRAME_SIZE_BYTES + 2) {
        const uint8_t *frame = connection->input + connection->input_begin;
        size_t size = FRAME_SIZE_BYTES + (size_t)load_be32(frame);
        if (size > INPUT_SIZE) {
            die("a frame of %zu bytes", size);
        }
        if (connection->input_end - connection->input_begin < size) {
            break;
        }
        int key = frame[FRAME_SIZE_BYTES] << 8 | frame[FRAME_SIZE_BYTES + 1];
        bool taken = key == API_PRODUCE ? produce_take(server, connection, frame, size)
                                        : control_take(server, connection, frame, size);
        if (!taken) {
            connection->stalled = true;
            break;
        }
        connection->input_begin += size;
    }
}

static void connection_open(struct server *server, int fd)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL || server->connection_count == CONNECTION_MAX) {
        die("more than %d connections", CONNECTION_MAX);
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connection->fd = fd;
    connection->input = pages_map(INPUT_SIZE);
    connection->output = pages_map(OUTPUT_SIZE);
    connection->pending = pages_map(PENDING_COUNT * sizeof(*connection->pending));
    server->connections[server->connection_count++] = connection;
    receive_start(server, connection);
}

static void connection_close(struct connection *connection)
{
    close(connection->fd);
    munmap(connection->input, INPUT_SIZE);
    munmap(connection->output, OUTPUT_SIZE);
    munmap(connection->pending, PENDING_COUNT * sizeof(*connection->pending));
    free(connection);
}

/* What a connection can do at the end of a tick: go on, release answers, send, receive. */
static void connection_step(struct server *server, struct connection *connection)
{
    if (connection->stalled) {
        frames_take(server, connection);
    }
    while (connection->pending_head < connection->pending_tail) {
        struct pending *first = &connection->pending[connection->pending_head % PENDING_COUNT];
        if (first->partition->durable < first->until) {
            break;
        }
        connection->output_ready = first->output_until;
        connection->pending_head++;
    }
    if (connection->send_size == 0 && connection->output_sent < connection->output_ready) {
        send_start(server, connection);
    }
    if (!connection->receiving && !connection->stalled) {
        receive_start(server, connection);
    }
}

static void completion_take(struct server *server, const struct io_uring_cqe *completion)
{
    enum operation operation = (enum operation)(completion->user_data & 3);
    void *object = (void *)(uintptr_t)(completion->user_data & ~(uint64_t)3);
    struct connection *connection = object;
    struct partition *partition = object;
    int result = completion->res;
    switch (operation) {
    case OPERATION_ACCEPT:
        if (result < 0) {
            die("accept: %s", strerror(-result));
        }
        connection_open(server, result);
        accept_start(server);
        break;
    case OPERATION_RECEIVE:
        connection->receiving = false;
        if (result <= 0) {
            connection->closed = true;
        } else {
            connection->input_end += (size_t)result;
            frames_take(server, connection);
        }
        break;
    case OPERATION_SEND:
        connection->send_size = 0;
        connection->closed = connection->closed || result < 0;
        connection->output_sent += result > 0 ? (uint64_t)result : 0;
        break;
    case OPERATION_WRITE:
        if (result != (int)partition->write_size) {
            die("write: %d of %zu bytes", result, partition->write_size);
        }
        partition->write_size = 0;
        partition->durable = partition->writing;
        break;
    }
}

static void tick(struct server *server)
{
    struct io_uring_cqe *completion;
    unsigned head;
    unsigned count = 0;
    io_uring_for_each_cqe(&server->ring, head, completion)
    {
        completion_take(server, completion);
        count++;
    }
    io_uring_cq_advance(&server->ring, count);
    for (int i = server->connection_count - 1; i >= 0; i--) {
        struct connection *connection = server->connections[i];
        if (!connection->closed) {
            connection_step(server, connection);
        } else if (!connection->receiving && connection->send_size == 0) {
            connection_close(connection);
            server->connections[i] = server->connections[--server->connection_count];
        } else {
            shutdown(connection->fd, SHUT_RDWR); /* ends what is still in flight */
        }
    }
    for (int i = 0; i < server->bare->partition_count; i++) {
        struct partition *partition = &server->partitions[i];
        if (partition->write_size == 0 && partition->appended > partition->writing) {
            write_start(server, partition);
        }
    }
}

void bare_produce(const struct bare *bare, int listener)
{
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        die("out of memory");
    }
    server->bare = bare;
    server->listener = listener;
    int failed = io_uring_queue_init(ENTRY_COUNT, &server->ring,
                                     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (failed == -EINVAL) {
        failed = io_uring_queue_init(ENTRY_COUNT, &server->ring, 0);
    }
    if (failed != 0) {
        fprintf(stderr, "io_uring is refused: %s\n", strerror(-failed));
        exit(SKIPPED);
    }
    server->partitions = calloc((size_t)bare->partition_count, sizeof(*server->partitions));
    for (int i = 0; i < bare->partition_count; i++) {
        struct partition *partition = &server->partitions[i];
        partition->fd = bare_file(bare->folder, bare->file_size, bare->unwritten);
        partition->slabs[0] = pages_map(SLAB_SIZE);
        partition->slabs[1] = pages_map(SLAB_SIZE);
    }
    fprintf(stderr, "ready port=%d mode=produce\n", bare->port);
    accept_start(server);
    for (;;) {
        int result = io_uring_submit_and_wait(&server->ring, 1);
        if (result < 0 && result != -EINTR) {
            die("io_uring: %s", strerror(-result));
        }
        tick(server);
    }
}
