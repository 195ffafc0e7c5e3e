/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes just appended, which still lie in memory that the slab filled, sent through a socket: by
 * reference, as the broker does it, or copied into an answer first. The receiver is this thread.
 */
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "benchmarks/003_suite/suite.h"

#define BATCH_RECORDS 64
#define RECORD_SIZE 1024
#define BATCH_COUNT 12 /* 0.8 MB */
#define FETCH_SIZE (512 * KIB)
#define PIECE_SIZE (64 * KIB) /* in the socket at a time */

static void pass_piece(const int sockets[2], const uint8_t *data, size_t size, uint8_t *sink)
{
    while (size > 0) {
        ssize_t sent = send(sockets[0], data, size < PIECE_SIZE ? size : PIECE_SIZE, 0);
        check(sent > 0);
        for (ssize_t got = 0; got < sent;) {
            ssize_t more = recv(sockets[1], sink, (size_t)(sent - got), 0);
            check(more > 0);
            got += more;
        }
        data += sent;
        size -= (size_t)sent;
    }
}

static void run(struct suite *suite, struct bench_log *log, bool copy, struct row *row)
{
    static uint8_t sink[PIECE_SIZE];
    int sockets[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    uint64_t size = 0;
    uint64_t fetches = 0;
    row_begin(row);
    uint64_t until_ns = clock_ns() + (uint64_t)(suite->run_seconds * 1e9);
    while (clock_ns() < until_ns) {
        struct partition_read read;
        bench_log_take(log, 0, FETCH_SIZE, &read);
        if (copy) {
            pass_piece(sockets, log->buffer, bench_log_copy(log, &read), sink);
        } else {
            for (int32_t i = 0; i < read.slice_count; i++) {
                pass_piece(sockets, read.slices[i].data, read.slices[i].size, sink);
            }
        }
        size += read.size;
        fetches += 1;
        partition_read_release(log->partition, &read);
    }
    row_end(row, fetches, size);
    close(sockets[0]);
    close(sockets[1]);
}

void rows_slab_fetch(struct suite *suite)
{
    static struct row rows[2];
    bool wanted = false;
    for (int copy = 1; copy >= 0; copy--) {
        struct row *row = &rows[1 - copy];
        *row = suite_row("slabfetch", SYNC_GROUP, RECORD_SIZE, NULL);
        row->figure = FIGURE_MB;
        snprintf(row->params, sizeof(row->params), "fetch=512KiB zero_copy=%s",
                 copy == 1 ? "off" : "on");
        wanted = wanted || options_want(&suite->options, row->name, row->params);
    }
    if (!wanted) {
        return;
    }
    struct bench_log log;
    struct log_place place = suite_place(suite, SYNC_GROUP);
    struct log_shape shape = {
        .batch_records = BATCH_RECORDS, .record_size = RECORD_SIZE, .window = 4};
    bench_log_open(&log, &place, &shape);
    bench_log_append(&log, BATCH_COUNT);
    for (int turn = 0; turn < suite->runs; turn++) {
        run(suite, &log, true, &rows[0]);
        run(suite, &log, false, &rows[1]);
    }
    bench_log_close(&log);
    report_row(&suite->report, &rows[0], NULL);
    report_row(&suite->report, &rows[1], &rows[0]);
}
