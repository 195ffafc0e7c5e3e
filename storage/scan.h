/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a log file from front to back, blocking, for recovery and rebuilds: whole blocks into one
 * run, past the page cache when the writer is aligned.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/segment.h"
#include "wire/batch.h"

struct producers;
struct epochs;

#define SCAN_RUN_SIZE (INT64_C(16) * BLOCK_SIZE)

struct scan {
    struct store *store;
    struct segment *segment;
    int32_t file;
    int64_t file_size;
    int64_t error; /* -errno of the first failed op, else 0 */
    uint8_t *run;
    int64_t start; /* the run holds [start, end) of the file */
    int64_t end;
    int64_t read_size; /* of the next read: from one block, doubling while it goes on */
    uint32_t sum_from; /* full blocks from this number on get their sums as they pass */
};

/* 0 or -errno. */
[[nodiscard]] int64_t scan_open(struct scan *scan, struct segment *segment);
void scan_close(struct scan *scan);
/* [position, position + size), size at most SCAN_RUN_SIZE - BLOCK_SIZE; NULL behind the end of the
 * file or after an error. Valid until the next call. */
const uint8_t *scan_bytes(struct scan *scan, int64_t position, int64_t size);
/* The next bytes come from the disk again, past what the run holds. */
void scan_forget(struct scan *scan);
/* CRC of a batch of any size. False: not readable. */
bool scan_crc(struct scan *scan, int64_t position, int64_t size, uint32_t *crc);
/* First byte from `position` on that is not zero, or -1 when `gap` bytes or the file's end came
 * first. */
int64_t scan_nonzero(struct scan *scan, int64_t position, int64_t gap);

struct scan_walk {
    int64_t position;        /* in: a batch boundary; out: behind the last good batch */
    int64_t offset;          /* in: the least next offset; out: behind the last good batch */
    int64_t offset_until;    /* stops at this offset */
    int32_t epoch;           /* in: epochs below it are refused; out: the last one */
    bool dense;              /* offsets must follow without gaps */
    struct epochs *epochs;   /* learns epochs, or NULL */
    int64_t producers_until; /* out: behind the last batch that names a producer */
};
/* Takes good batches into the rows of the segment, and stops at the first bad one. */
void scan_batches(struct scan *scan, struct scan_walk *walk);
/* After a walk: rows, end and sizes are those of [0, position). */
void scan_finish(struct scan *scan, int64_t position);
