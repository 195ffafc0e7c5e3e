/* SPDX-License-Identifier: Apache-2.0 */
/* Fetch without a broker: a thread per connection sends the same 1 MiB of batches from memory. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "benchmarks/wire/bare.h"

enum { ANSWER_SIZE = 1 << 20, RECORDS = 64, REQUEST_SIZE_MAX = 4096 };

struct reader {
    const struct bare *bare;
    int fd;
    struct out batches; /* of this thread: base offsets are patched in place */
    size_t batch_size;
};

static bool receive_all(int fd, uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t count = recv(fd, data, size, 0);
        if (count <= 0) {
            return false;
        }
        data += count;
        size -= (size_t)count;
    }
    return true;
}

static bool send_all(int fd, struct iovec *vector, size_t count)
{
    while (count > 0) {
        struct msghdr message = {.msg_iov = vector, .msg_iovlen = count};
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            return false;
        }
        size_t size = (size_t)sent;
        for (; count > 0 && size >= vector->iov_len; vector++, count--) {
            size -= vector->iov_len;
        }
        if (count > 0) {
            vector->iov_base = (uint8_t *)vector->iov_base + size;
            vector->iov_len -= size;
        }
    }
    return true;
}

/* Reads a Fetch version 11 of one partition and writes what stands before the records. */
static void answer_encode(struct reader *reader, const uint8_t *frame, size_t size, struct out *out)
{
    struct in in = {.data = frame, .size = size, .position = FRAME_SIZE_BYTES + 2};
    char name[NAME_SIZE_MAX];
    int version = in_i16(&in);
    int32_t correlation = in_i32(&in);
    in_string(&in, name, sizeof(name));
    in_skip(&in, 4 + 4 + 4 + 4 + 1 + 4 + 4); /* replica to session epoch */
    int topics = in_i32(&in);
    in_string(&in, name, sizeof(name));
    int partitions = in_i32(&in);
    int partition = in_i32(&in);
    in_skip(&in, 4);
    int64_t offset = in_i64(&in);
    if (in.failed || version != FETCH_VERSION_MAX || topics != 1 || partitions != 1) {
        die("a Fetch that the bare loop does not know: version %d", version);
    }
    for (size_t position = 0; position < reader->batches.size; position += reader->batch_size) {
        store_be64(reader->batches.data + position, (uint64_t)offset);
        offset += RECORDS;
    }
    out_i32(out, 0);
    out_i32(out, correlation);
    out_i32(out, 0); /* throttle */
    out_i16(out, 0);
    out_i32(out, 0); /* session */
    out_i32(out, 1);
    out_string(out, name);
    out_i32(out, 1);
    out_i32(out, partition);
    out_i16(out, 0);
    out_i64(out, INT64_MAX); /* high watermark: the log never ends */
    out_i64(out, INT64_MAX);
    out_i64(out, 0);
    out_i32(out, -1); /* aborted */
    out_i32(out, -1); /* preferred replica */
    out_i32(out, (int64_t)reader->batches.size);
    store_be32(out->data, (uint32_t)(out->size + reader->batches.size - FRAME_SIZE_BYTES));
}

static void *reader_run(void *argument)
{
    struct reader *reader = argument;
    uint8_t frame[REQUEST_SIZE_MAX];
    struct out out = {0};
    while (receive_all(reader->fd, frame, FRAME_SIZE_BYTES)) {
        size_t size = load_be32(frame);
        if (size < 10 || size > sizeof(frame) - FRAME_SIZE_BYTES) {
            die("a request of %zu bytes", size);
        }
        if (!receive_all(reader->fd, frame + FRAME_SIZE_BYTES, size)) {
            break;
        }
        size += FRAME_SIZE_BYTES;
        out.size = 0;
        struct iovec vector[2] = {{0}, {0}};
        if (frame[FRAME_SIZE_BYTES] == 0 && frame[FRAME_SIZE_BYTES + 1] == API_FETCH) {
            answer_encode(reader, frame, size, &out);
            vector[1] = (struct iovec){reader->batches.data, reader->batches.size};
        } else {
            bare_control(reader->bare, frame, size, &out);
        }
        vector[0] = (struct iovec){out.data, out.size};
        if (!send_all(reader->fd, vector, 2)) {
            break;
        }
    }
    close(reader->fd);
    out_deinit(&out);
    out_deinit(&reader->batches);
    free(reader);
    return NULL;
}

static void batches_build(struct reader *reader)
{
    struct batch_shape shape = {.record_count = RECORDS, .value_size = 1024, .random = true};
    do {
        batch_encode(&reader->batches, &shape);
        reader->batch_size = reader->batch_size == 0 ? reader->batches.size : reader->batch_size;
    } while (reader->batches.size + reader->batch_size <= ANSWER_SIZE);
}

void bare_fetch(const struct bare *bare, int listener)
{
    fprintf(stderr, "ready port=%d mode=fetch\n", bare->port);
    for (;;) {
        struct reader *reader = calloc(1, sizeof(*reader));
        pthread_t thread;
        if (reader == NULL) {
            die("out of memory");
        }
        *reader = (struct reader){.bare = bare, .fd = accept(listener, NULL, NULL)};
        int on = 1;
        setsockopt(reader->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        batches_build(reader);
        if (reader->fd < 0 || pthread_create(&thread, NULL, reader_run, reader) != 0) {
            die("accept: %s", strerror(errno));
        }
        pthread_detach(thread);
    }
}
