/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two programs that benchmarks/000_slab holds against each other. Both take records into
 * aligned memory of a fixed capacity and write it past the page cache.
 *
 * The slab writer (ours)          its file is allocated first, its offsets are its own, O_APPEND is
 *                                 not used; `slab_count` capacities of memory are a ring of pieces,
 *                                 so records go in while pieces are on their way; a short last
 * piece is padded to pages, written, and the file cut to its real size The single buffer (the
 * anchor)  one buffer; a record that does not fit writes all of it with one synchronous O_APPEND
 * write; what remains at the end is dropped
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/ring.h"
#include "benchmarks/lib/measure.h"

enum slab_engine {
    SLAB_URING,
    SLAB_POSIX,  /* helper threads */
    SLAB_PWRITE, /* the caller's own thread, which waits */
};

enum slab_space {
    SLAB_ALLOCATED, /* fallocate: extents that were never written */
    SLAB_GROWING,   /* none: each write makes the file longer */
    SLAB_WRITTEN,   /* zeros were written before: what a write costs without the file system */
};

struct slab_options {
    const char *path;
    uint64_t capacity;   /* bytes, a multiple of the page */
    uint64_t total;      /* bytes that will come, for the allocation */
    uint64_t piece_size; /* bytes handed over at once; 0: the whole capacity */
    int slab_count;
    int depth; /* writes in flight at most */
    bool dsync;
    enum slab_space space;
    enum slab_engine engine;
};

struct slab_counters {
    uint64_t flushes;
    uint64_t stall_ns;   /* a record waited for memory */
    uint64_t tail_size;  /* bytes of the last, short write before padding */
    uint64_t final_size; /* bytes of the file at the end */
    bool direct;         /* false: O_DIRECT was refused */
};

struct slab_piece {
    struct op op;
    struct iovec vector;
    bool busy;
    uint64_t started_ns;
};

struct slab {
    struct slab_options options;
    struct slab_counters counters;
    struct latency *flushes; /* NULL: not kept */
    struct ring *ring;       /* NULL with SLAB_PWRITE */
    int file;
    uint8_t *memory;
    uint64_t memory_size;
    struct slab_piece *pieces;
    uint64_t piece_count;
    uint64_t filling; /* index of the piece that takes records */
    uint64_t used;    /* bytes in it */
    uint64_t submit;  /* index of the oldest full piece that is not submitted */
    uint64_t full;    /* how many are */
    uint64_t position;
    int in_flight;
    int error; /* errno of the first failed write, 0 none: final, later records are refused */
};

/* False with a line on stderr. Memory is touched before it returns. */
bool slab_open(struct slab *slab, const struct slab_options *options, struct latency *flushes);
/* Copies the record, which may span pieces. Waits when there is no memory. False: a write failed.
 */
bool slab_put(struct slab *slab, const uint8_t *record, uint64_t size);
/* Runs completions without waiting. */
void slab_poll(struct slab *slab);
/* Writes the tail, waits, cuts the file. False: a write failed. */
bool slab_finish(struct slab *slab);
void slab_close(struct slab *slab);

struct single {
    int file;
    uint8_t *memory;
    uint64_t capacity;
    uint64_t used;
    uint64_t flushes;
    struct latency *latency;
};

bool single_open(struct single *single, const char *path, uint64_t capacity, bool dsync,
                 struct latency *latency);
bool single_put(struct single *single, const uint8_t *record, uint64_t size);
void single_close(struct single *single);
