/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/004_memtable/drive.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

/* ---- clock ---- */

static double ns_of_tick = 1.0;
static uint64_t ticks_of_nothing; /* between two reads of the clock with nothing to time */

uint64_t tick_now(void)
{
#if defined(__x86_64__)
    /* The counter waits for nothing: without fences it is read while the loads of what is timed are
     * still on their way, and what comes behind it has begun. */
    __builtin_ia32_lfence();
    uint64_t ticks = __builtin_ia32_rdtsc();
    __builtin_ia32_lfence();
    return ticks;
#else
    return clock_ns();
#endif
}

double tick_ns(void)
{
    return ns_of_tick;
}

uint64_t tick_span(uint64_t begin, uint64_t end)
{
    uint64_t ticks = end - begin;
    ticks = ticks < ticks_of_nothing ? 0 : ticks - ticks_of_nothing;
    return (uint64_t)((double)ticks * ns_of_tick);
}

double tick_cost_ns(void)
{
    return (double)ticks_of_nothing * ns_of_tick;
}

void drive_init_clock(void)
{
    uint64_t begin_ns = clock_ns();
    uint64_t begin = tick_now();
    while (clock_ns() - begin_ns < 20000000) {
    }
    ns_of_tick = (double)(clock_ns() - begin_ns) / (double)(tick_now() - begin);
    /* The shortest of many: no more is taken off than the clock took each time. */
    ticks_of_nothing = UINT64_MAX;
    for (int i = 0; i < 100000; i++) {
        uint64_t first = tick_now();
        uint64_t ticks = tick_now() - first;
        ticks_of_nothing = ticks < ticks_of_nothing ? ticks : ticks_of_nothing;
    }
}

/* ---- threads ---- */

struct worker {
    struct drive *drive;
    int index;
    uint64_t op_count;
    uint64_t begin_ns;
    uint64_t end_ns;
    uint64_t missed;
    _Atomic bool *go;
    _Atomic bool *stop; /* of writers that overwrite meanwhile; NULL: op_count ends it */
    struct latency latency;
    struct latency service;
    pthread_t thread;
};

static uint64_t worker_number(const struct worker *worker, struct random *random, uint64_t i)
{
    const struct drive *drive = worker->drive;
    if (worker->stop == NULL && drive->op == DRIVE_PUT) {
        uint64_t place = (uint64_t)worker->index * drive->op_count / (uint64_t)drive->threads + i;
        return 2 * (uint64_t)drive->order[place];
    }
    uint64_t number = 2 * random_below(random, drive->key_count);
    return worker->stop == NULL && drive->op == DRIVE_GET_MISS ? number + 1 : number;
}

static void worker_op(struct worker *worker, struct bytes key, int64_t offset)
{
    const struct drive *drive = worker->drive;
    if (worker->stop != NULL || drive->op <= DRIVE_OVERWRITE) {
        drive->kind->put(drive->table, key, offset);
        return;
    }
    struct key_entry entry;
    worker->missed += !drive->kind->get(drive->table, key, &entry);
}

static void worker_time(struct worker *worker, uint64_t due, uint64_t begin, uint64_t end)
{
    latency_add(&worker->latency, tick_span(due, end));
    latency_add(&worker->service, tick_span(begin, end));
}

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    const struct drive *drive = worker->drive;
    struct random random;
    random_init(&random, (uint64_t)worker->index + 1);
    while (!atomic_load(worker->go)) {
        sched_yield();
    }
    worker->begin_ns = clock_ns();
    uint64_t first = tick_now();
    double step = drive->rate > 0 ? 1e9 / drive->rate * drive->threads / tick_ns() : 0;
    for (uint64_t i = 0; worker->stop == NULL ? i < worker->op_count : !atomic_load(worker->stop);
         i++) {
        uint8_t memory[KEY_SIZE];
        struct bytes key = key_of(worker_number(worker, &random, i), memory);
        uint64_t due = first + (uint64_t)((double)i * step);
        if (step > 0 || i % drive->time_one_in == 0) {
            uint64_t begin = tick_now();
            while (step > 0 && begin < due) {
                begin = tick_now();
            }
            worker_op(worker, key, (int64_t)i);
            worker_time(worker, step > 0 ? due : begin, begin, tick_now());
        } else {
            worker_op(worker, key, (int64_t)i);
        }
    }
    worker->end_ns = clock_ns();
    return NULL;
}

static uint32_t *shuffled(uint64_t count)
{
    struct random random;
    random_init(&random, 1);
    uint32_t *order = calloc(count, sizeof(*order));
    check(order != NULL);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t other = random_below(&random, i + 1);
        order[i] = order[other];
        order[other] = (uint32_t)i;
    }
    return order;
}

void drive_run(struct drive *drive)
{
    drive->order = drive->op == DRIVE_PUT ? shuffled(drive->key_count) : NULL;
    int count = drive->threads + drive->writers;
    struct worker *workers = calloc((size_t)count, sizeof(*workers));
    check(workers != NULL);
    _Atomic bool go = false;
    _Atomic bool stop = false;
    for (int i = 0; i < count; i++) {
        struct worker *worker = &workers[i];
        worker->drive = drive;
        worker->index = i;
        worker->go = &go;
        worker->stop = i < drive->threads ? NULL : &stop;
        if (i < drive->threads) {
            uint64_t from = (uint64_t)i * drive->op_count / (uint64_t)drive->threads;
            uint64_t until = (uint64_t)(i + 1) * drive->op_count / (uint64_t)drive->threads;
            worker->op_count = until - from;
        }
        check(pthread_create(&worker->thread, NULL, worker_run, worker) == 0);
    }
    atomic_store(&go, true);
    uint64_t begin_ns = UINT64_MAX;
    uint64_t end_ns = 0;
    for (int i = 0; i < count; i++) {
        struct worker *worker = &workers[i];
        if (i == drive->threads) {
            atomic_store(&stop, true);
        }
        pthread_join(worker->thread, NULL);
        if (i < drive->threads) {
            begin_ns = worker->begin_ns < begin_ns ? worker->begin_ns : begin_ns;
            end_ns = worker->end_ns > end_ns ? worker->end_ns : end_ns;
            drive->missed += worker->missed;
            latency_merge(drive->latency, &worker->latency);
            if (drive->service != NULL) {
                latency_merge(drive->service, &worker->service);
            }
        }
    }
    drive->seconds = (double)(end_ns - begin_ns) / 1e9;
    free(workers);
    free(drive->order);
}

/* ---- Zipf, after Gray and others, "Quickly generating billion-record synthetic databases" ---- */

void zipf_init(struct zipf *zipf, uint64_t count, double theta)
{
    double zeta = 0;
    for (uint64_t i = 1; i <= count; i++) {
        zeta += 1.0 / pow((double)i, theta);
    }
    double two = 1.0 + 1.0 / pow(2.0, theta);
    *zipf = (struct zipf){
        .count = count,
        .theta = theta,
        .zeta = zeta,
        .alpha = 1.0 / (1.0 - theta),
        .eta = (1.0 - pow(2.0 / (double)count, 1.0 - theta)) / (1.0 - two / zeta),
    };
}

uint64_t zipf_next(const struct zipf *zipf, struct random *random)
{
    double share = (double)(random_u64(random) >> 11) / 9007199254740992.0;
    double at = share * zipf->zeta;
    uint64_t rank =
        (uint64_t)((double)zipf->count * pow(zipf->eta * share - zipf->eta + 1.0, zipf->alpha));
    if (at < 1.0) {
        rank = 0;
    } else if (at < 1.0 + pow(0.5, zipf->theta)) {
        rank = 1;
    }
    return hash_u64(rank, 0) % zipf->count;
}
