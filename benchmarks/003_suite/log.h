/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One log of storage/ on a real ring, with the loop that a core would be around it: appends with a
 * window, reads, both with their latencies. A batch's checksum is verified before it is appended
 * and after it was read, as a broker and a consumer have to.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/timer.h"
#include "benchmarks/lib/report.h"
#include "storage/partition.h"
#include "tests/lib/log_world.h"

#define LOG_WINDOW_MAX 1024

struct log_slot {
    struct partition_append append;
    uint8_t *memory;
    uint64_t started_ns; /* or due */
    struct bench_log *log;
    struct list_node node;
};

struct log_shape {
    int32_t batch_records;
    size_t record_size; /* bytes of a value */
    int window;         /* batches on their way at once */
    bool random;        /* values; else zeros */
};

struct bench_log {
    struct log_world world;
    struct partition *partition;
    struct log_shape shape;
    char folder[512];
    size_t batch_size; /* bytes, encoded; all batches are equal */
    struct log_slot *slots;
    struct list free;
    struct row *row; /* latencies go here; NULL: nowhere */
    uint64_t answered;
    uint8_t *buffer; /* what a consumer would read into */
    size_t buffer_size;
    struct timer due;
};

struct log_place {
    const char *data; /* folder to make the log's own folder in */
    enum writer_kind writer;
    size_t cache_size;
};

/* The log exists and has taken one batch when it returns: no row pays for making files. */
void bench_log_open(struct bench_log *log, const struct log_place *place,
                    const struct log_shape *shape);
void bench_log_close(struct bench_log *log); /* removes its files */
/* The same log with nothing in memory. */
void bench_log_reopen(struct bench_log *log);
/* Another shape of batches from here on. */
void bench_log_reshape(struct bench_log *log, const struct log_shape *shape);
/* Appends until memory turns over: from here on nothing grows but the log. */
void bench_log_warm(struct bench_log *log);
/* Appends so many batches and waits for all answers. */
void bench_log_append(struct bench_log *log, uint64_t count);
/* The same at a fixed rate; a latency counts from the moment that a batch was due. */
void bench_log_append_paced(struct bench_log *log, uint64_t count, uint64_t interval_ns);
/* One read of at most `size` bytes but one batch at least; pinned until partition_read_release().
 */
void bench_log_take(struct bench_log *log, int64_t offset, size_t size,
                    struct partition_read *read);
/* Copies what a read holds into log->buffer; answers the bytes. */
size_t bench_log_copy(struct bench_log *log, const struct partition_read *read);
/* Reads from `offset`, at most `size` bytes but one batch at least, copies, verifies; answers the
 * records of it. */
uint64_t bench_log_read(struct bench_log *log, int64_t offset, size_t size);
/* Waits until a moment, running what is due. */
void bench_log_wait_until(struct bench_log *log, uint64_t until_ns);
