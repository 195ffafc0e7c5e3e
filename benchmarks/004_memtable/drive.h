/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that put and get, by turns or at a given rate. */
#pragma once

#include <stdatomic.h>

#include "base/random.h"
#include "benchmarks/004_memtable/tables.h"
#include "benchmarks/lib/measure.h"

enum drive_op {
    DRIVE_PUT,       /* each key once, shuffled */
    DRIVE_OVERWRITE, /* keys that are there, at random */
    DRIVE_GET,       /* keys that are there, at random */
    DRIVE_GET_MISS,  /* keys that are not, between those that are */
};

struct drive {
    const struct table_kind *kind;
    void *table;
    enum drive_op op;
    int threads;
    uint64_t key_count; /* numbers 0, 2, 4, ...: misses are the odd ones */
    uint64_t op_count;  /* of all threads */
    double rate;        /* operations a second of all threads, each due at its time; 0: at once */
    uint32_t time_one_in;
    /* Threads that overwrite meanwhile. */
    int writers;
    uint32_t *order; /* of DRIVE_PUT; drive_run() makes it */
    /* out */
    double seconds;
    struct latency *latency; /* caller's; of timed operations, from when they were due */
    struct latency *service; /* the same from when they began; NULL: not wanted */
    uint64_t missed;         /* gets that found nothing */
};

void drive_run(struct drive *drive);

/* A cheap clock: the processor's counter where it has one. */
uint64_t tick_now(void);
void drive_init_clock(void); /* once, before what follows */
double tick_ns(void);        /* of one tick */
/* Nanoseconds of what lies between two reads, without what the reads take themselves. */
uint64_t tick_span(uint64_t begin, uint64_t end);
double tick_cost_ns(void); /* what is taken off */

/* Ranks by Zipf's law, scattered over 0..count-1 by a hash. */
struct zipf {
    uint64_t count;
    double theta;
    double zeta;
    double alpha;
    double eta;
};

void zipf_init(struct zipf *zipf, uint64_t count, double theta);
uint64_t zipf_next(const struct zipf *zipf, struct random *random);
