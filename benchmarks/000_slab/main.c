/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16 KiB records into aligned memory of a fixed capacity, written past the page cache: the slab
 * writer against a program with one buffer. Rows come in groups: the first cell of a group is the
 * anchor of the others, and all cells of a group run by turns.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>
#include <zstd.h>

#include "base/check.h"
#include "base/mailbox.h"
#include "base/random.h"
#include "benchmarks/000_slab/slab.h"
#include "benchmarks/lib/options.h"
#include "benchmarks/lib/report.h"

#define RECORD_SIZE 16384
#define TAIL_RECORDS 3 /* beyond the last full capacity, so that a tail exists */
#define PIECE_SIZE (4 * MIB)
#define GROUP_MAX 8
#define CREDITS 32 /* records of one producer on their way to the core */
#define RANDOM_COUNT 64

struct cell {
    const char *name;
    uint64_t capacity;
    uint64_t total;
    uint64_t record_size; /* 0: RECORD_SIZE */
    bool single;          /* the anchor program */
    bool whole;           /* a slab is handed over when it is full, not in pieces */
    bool dsync;
    enum slab_space space;
    bool no_pin;
    enum slab_engine engine;
    int slab_count; /* 0: 2 */
    int depth;      /* 0: 4 */
    int producers;  /* 0: the core makes the records itself */
    int zstd_level; /* 0: none */
    bool random;
    double seed_figure;
    const char *seed_note;
};

struct bench {
    struct options options;
    struct report report;
    char path[4096];
    uint8_t *ramp;
    uint8_t *noise; /* RANDOM_COUNT records */
    ZSTD_CCtx *codec;
    uint8_t *packed;
    size_t packed_size;
};

/* What one run leaves for the row. */
struct outcome {
    uint64_t flushes;
    uint64_t switches;
    uint64_t stored_size;
    uint64_t tail_size;
    uint64_t stall_ns;
    double cpu_seconds;
    struct latency flush_latency;
};

static const char *const space_names[] = {"allocated", "growing", "written"};
static const char *const engine_names[] = {"uring", "posix", "pwrite"};

static void cell_params(const struct cell *cell, char *out, size_t size)
{
    char capacity[32];
    uint64_t kib = cell->capacity / KIB;
    if (kib >= MIB) {
        snprintf(capacity, sizeof(capacity), "%lluGiB", (unsigned long long)(kib / MIB));
    } else if (kib >= 1024) {
        snprintf(capacity, sizeof(capacity), "%lluMiB", (unsigned long long)(kib / 1024));
    } else {
        snprintf(capacity, sizeof(capacity), "%lluKiB", (unsigned long long)kib);
    }
    unsigned long long total = cell->total / MIB;
    if (cell->single) {
        snprintf(out, size, "capacity=%s total=%lluMiB", capacity, total);
        return;
    }
    snprintf(out, size,
             "capacity=%s total=%lluMiB slabs=%d flush=%s space=%s engine=%s depth=%d pin=%s "
             "producers=%d zstd=%d",
             capacity, total, cell->slab_count, cell->whole ? "whole" : "early",
             space_names[cell->space], engine_names[cell->engine], cell->depth,
             cell->no_pin ? "off" : "on", cell->producers == 0 ? 1 : cell->producers,
             cell->zstd_level);
}

static void pin(bool on)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = 0; i < cores; i++) {
        if (!on || i == cores - 1) {
            CPU_SET((unsigned)i, &set);
        }
    }
    (void)sched_setaffinity(0, sizeof(set), &set); /* not allowed here: the kernel chooses */
}

static uint64_t switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_nvcsw + usage.ru_nivcsw);
}

/* ---- producers ---- */

struct hub {
    struct mailbox mailbox;
    struct slab *slab;
    struct row *row;
    const uint8_t *record;
    uint64_t received;
};

struct letter {
    struct mail mail;
    struct producer *producer;
};

struct producer {
    struct hub *hub;
    pthread_t thread;
    uint64_t count;
    sem_t credits;
    struct letter letters[CREDITS];
};

static void letter_deliver(struct mail *mail)
{
    struct letter *letter = CONTAINER_OF(mail, struct letter, mail);
    struct hub *hub = letter->producer->hub;
    uint64_t begin_ns = clock_ns();
    check(slab_put(hub->slab, hub->record, RECORD_SIZE));
    row_latency(hub->row, clock_ns() - begin_ns);
    hub->received += 1;
    sem_post(&letter->producer->credits);
}

/* Letters come back in the order they were sent, so the oldest one is free with each credit. */
static void *producer_run(void *argument)
{
    struct producer *producer = argument;
    struct hub *hub = producer->hub;
    pin(false);
    for (uint64_t i = 0; i < producer->count; i++) {
        while (sem_wait(&producer->credits) != 0) {
        }
        struct letter *letter = &producer->letters[i % CREDITS];
        letter->producer = producer;
        letter->mail.deliver = letter_deliver;
        if (mailbox_send(&hub->mailbox, &letter->mail)) {
            ring_wake(hub->slab->ring);
        }
    }
    return NULL;
}

static void produce_from_threads(struct hub *hub, int thread_count, uint64_t count)
{
    struct producer *producers = calloc((size_t)thread_count, sizeof(*producers));
    check(producers != NULL);
    for (int i = 0; i < thread_count; i++) {
        uint64_t share = count / (uint64_t)thread_count;
        producers[i].hub = hub;
        producers[i].count = i == 0 ? count - share * (uint64_t)(thread_count - 1) : share;
        sem_init(&producers[i].credits, 0, CREDITS);
        check(pthread_create(&producers[i].thread, NULL, producer_run, &producers[i]) == 0);
    }
    while (hub->received < count) {
        size_t drained = mailbox_drain(&hub->mailbox);
        slab_poll(hub->slab);
        if (drained == 0 && mailbox_sleep(&hub->mailbox)) {
            ring_step(hub->slab->ring, UINT64_MAX);
        }
        mailbox_awake(&hub->mailbox);
    }
    for (int i = 0; i < thread_count; i++) {
        pthread_join(producers[i].thread, NULL);
        sem_destroy(&producers[i].credits);
    }
    free(producers);
}

/* ---- runs ---- */

static const uint8_t *record_of(const struct bench *bench, const struct cell *cell, uint64_t i)
{
    return cell->random ? bench->noise + i % RANDOM_COUNT * RECORD_SIZE : bench->ramp;
}

/* Bytes put, which are fewer than the records' when they are packed. */
static uint64_t put_all(struct bench *bench, const struct cell *cell, struct slab *slab,
                        struct row *row, uint64_t count)
{
    uint64_t stored = 0;
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *record = record_of(bench, cell, i);
        uint64_t size = cell->record_size;
        uint64_t begin_ns = clock_ns();
        if (cell->zstd_level > 0) {
            size = ZSTD_compressCCtx(bench->codec, bench->packed, bench->packed_size, record, size,
                                     cell->zstd_level);
            check(!ZSTD_isError(size));
            record = bench->packed;
        }
        check(slab_put(slab, record, size));
        row_latency(row, clock_ns() - begin_ns);
        stored += size;
    }
    return stored;
}

/* The file holds what was put, the tail included: reads back its size and its last record. */
static void verify(const struct bench *bench, const struct cell *cell, uint64_t count)
{
    struct stat stat;
    uint64_t size = count * cell->record_size;
    check(lstat(bench->path, &stat) == 0 && (uint64_t)stat.st_size == size);
    uint8_t record[RECORD_SIZE];
    int file = open(bench->path, O_RDONLY | O_CLOEXEC);
    check(file >= 0);
    check(pread(file, record, cell->record_size, (off_t)(size - cell->record_size)) ==
          (ssize_t)cell->record_size);
    check(memcmp(record, record_of(bench, cell, count - 1), cell->record_size) == 0);
    close(file);
}

static void run_slab(struct bench *bench, const struct cell *cell, struct row *row,
                     struct outcome *outcome)
{
    struct slab slab;
    struct slab_options options = {
        .path = bench->path,
        .capacity = cell->capacity,
        .total = cell->total + TAIL_RECORDS * RECORD_SIZE,
        .piece_size = cell->whole ? 0 : PIECE_SIZE,
        .slab_count = cell->slab_count,
        .depth = cell->depth,
        .dsync = cell->dsync,
        .space = cell->space,
        .engine = cell->engine,
    };
    if (!slab_open(&slab, &options, &outcome->flush_latency)) {
        exit(1);
    }
    uint64_t count = cell->total / cell->record_size + TAIL_RECORDS;
    struct hub hub = {.slab = &slab, .row = row, .record = bench->ramp};
    mailbox_init(&hub.mailbox);
    pin(!cell->no_pin);
    double cpu = usage_read(getpid()).cpu_seconds;
    uint64_t switches_before = switches();
    row_begin(row);
    uint64_t stored = count * cell->record_size;
    if (cell->producers > 0) {
        produce_from_threads(&hub, cell->producers, count);
    } else {
        stored = put_all(bench, cell, &slab, row, count);
    }
    check(slab_finish(&slab));
    row_end(row, count, count * cell->record_size);
    outcome->switches += switches() - switches_before;
    outcome->cpu_seconds += usage_read(getpid()).cpu_seconds - cpu;
    outcome->flushes += slab.counters.flushes;
    outcome->stored_size += stored;
    outcome->tail_size = slab.counters.tail_size;
    outcome->stall_ns += slab.counters.stall_ns;
    slab_close(&slab);
    if (cell->zstd_level == 0) {
        verify(bench, cell, count);
    }
    pin(false);
    unlink(bench->path);
}

static void run_single(struct bench *bench, const struct cell *cell, struct row *row,
                       struct outcome *outcome)
{
    struct single single;
    if (!single_open(&single, bench->path, cell->capacity, cell->dsync, &outcome->flush_latency)) {
        exit(1);
    }
    /* One record more than fits, or the last full buffer would stay in memory. */
    uint64_t count = cell->total / RECORD_SIZE + 1;
    pin(true);
    uint64_t switches_before = switches();
    double cpu = usage_read(getpid()).cpu_seconds;
    row_begin(row);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t begin_ns = clock_ns();
        check(single_put(&single, bench->ramp, RECORD_SIZE));
        row_latency(row, clock_ns() - begin_ns);
    }
    row_end(row, count, count * RECORD_SIZE);
    outcome->switches += switches() - switches_before;
    outcome->cpu_seconds += usage_read(getpid()).cpu_seconds - cpu;
    outcome->flushes += single.flushes;
    outcome->stored_size += count * RECORD_SIZE;
    single_close(&single);
    pin(false);
    unlink(bench->path);
}

static void note_extra(struct row *row, const struct outcome *outcome, const struct cell *cell)
{
    double seconds = 0;
    double size = 0;
    for (int i = 0; i < row->run_count; i++) {
        seconds += row->runs[i].seconds;
        size += (double)row->runs[i].size;
    }
    double flushes = (double)outcome->flushes;
    double runs = (double)row->run_count;
    snprintf(row->extra, sizeof(row->extra),
             "flushes=%.0f flushes_s=%.1f flush_p50_us=%.0f flush_p99_us=%.0f flush_max_us=%.0f "
             "stall=%.2f switches=%.0f cpu_s_gb=%.2f",
             flushes / runs, flushes / seconds, latency_us(&outcome->flush_latency, 0.5),
             latency_us(&outcome->flush_latency, 0.99),
             (double)outcome->flush_latency.max_ns / 1000,
             (double)outcome->stall_ns / 1e9 / seconds, (double)outcome->switches / runs,
             outcome->cpu_seconds / size * 1e9);
    size_t used = strlen(row->extra);
    if (!cell->single) {
        snprintf(row->extra + used, sizeof(row->extra) - used, " tail=%llu packed=%.2f",
                 (unsigned long long)outcome->tail_size, size / (double)outcome->stored_size);
    }
}

static void run_group(struct bench *bench, struct cell *cells, int count, int runs)
{
    static struct row rows[GROUP_MAX];
    static struct outcome outcomes[GROUP_MAX];
    static struct latency latencies[GROUP_MAX];
    check(count <= GROUP_MAX);
    bool wanted = false;
    for (int i = 0; i < count; i++) {
        struct cell *cell = &cells[i];
        cell->record_size = cell->record_size == 0 ? RECORD_SIZE : cell->record_size;
        cell->slab_count = cell->slab_count == 0 ? 2 : cell->slab_count;
        cell->depth = cell->depth == 0 ? 4 : cell->depth;
        outcomes[i] = (struct outcome){0};
        latencies[i] = (struct latency){0};
        rows[i] = (struct row){.suite = "000_slab",
                               .name = cell->name,
                               .threads = cell->producers == 0 ? 1 : cell->producers,
                               .record_size = cell->record_size,
                               .sync = cell->dsync ? "dsync" : "none",
                               .payload = cell->random ? "random" : "ramp",
                               .codec = cell->zstd_level > 0 ? "zstd" : NULL,
                               .figure = FIGURE_OPS,
                               .seed_figure = cell->seed_figure,
                               .seed_note = cell->seed_note,
                               .latency = &latencies[i]};
        cell_params(cell, rows[i].params, sizeof(rows[i].params));
        wanted = wanted || options_want(&bench->options, cell->name, rows[i].params);
    }
    runs = bench->options.run_count > 0 ? bench->options.run_count : runs;
    for (int run = 0; wanted && run < runs; run++) {
        for (int i = 0; i < count; i++) {
            machine_settle(bench->options.data);
            (cells[i].single ? run_single : run_slab)(bench, &cells[i], &rows[i], &outcomes[i]);
        }
    }
    for (int i = 0; wanted && i < count; i++) {
        note_extra(&rows[i], &outcomes[i], &cells[i]);
        report_row(&bench->report, &rows[i], i == 0 ? NULL : &rows[0]);
    }
}

/* ---- the rows ---- */

/* Published figures of the same shape: records/s by capacity, without and with DSYNC. */
static const struct {
    uint64_t capacity;
    double none;
    double dsync;
} seed[] = {
    {64 * KIB, 785, 482},      {128 * KIB, 1568, 970},    {256 * KIB, 3214, 1934},
    {512 * KIB, 6499, 3930},   {1 * MIB, 12769, 7659},    {2 * MIB, 25013, 15186},
    {4 * MIB, 46907, 24932},   {8 * MIB, 84494, 41206},   {16 * MIB, 138896, 50840},
    {32 * MIB, 170877, 66387}, {64 * MIB, 213214, 73646}, {128 * MIB, 250319, 76413},
    {256 * MIB, 88229, 76672}, {512 * MIB, 81517, 77174}, {1024 * MIB, 83717, 82203},
};

static void rows_capacity(struct bench *bench, uint64_t total, int runs, uint64_t least)
{
    for (size_t i = 0; i < ARRAY_COUNT(seed); i++) {
        if (seed[i].capacity < least) {
            continue;
        }
        bool quick = i == 0 || i == 4 || i == 8 || i == 11;
        for (int dsync = 0; dsync < 2 && (bench->options.full || quick); dsync++) {
            double figure = dsync == 0 ? seed[i].none : seed[i].dsync;
            struct cell cells[] = {
                {.name = "single", .single = true, .seed_note = "000 N1 records/s"},
                {.name = "slab16k", .seed_note = "000 N1 records/s"},
            };
            for (size_t k = 0; k < ARRAY_COUNT(cells); k++) {
                cells[k].capacity = seed[i].capacity;
                cells[k].total = total;
                cells[k].dsync = dsync == 1;
                cells[k].seed_figure = figure;
            }
            run_group(bench, cells, ARRAY_COUNT(cells), runs);
        }
    }
}

static void rows_engine(struct bench *bench, uint64_t total, int runs)
{
    static const uint64_t capacities[] = {64 * KIB, 256 * KIB, 1 * MIB, 2 * MIB, 4 * MIB};
    static const struct {
        enum slab_space space;
        enum slab_engine engine;
    } variants[] = {{SLAB_GROWING, SLAB_PWRITE}, {SLAB_ALLOCATED, SLAB_PWRITE},
                    {SLAB_WRITTEN, SLAB_PWRITE}, {SLAB_ALLOCATED, SLAB_POSIX},
                    {SLAB_GROWING, SLAB_URING},  {SLAB_ALLOCATED, SLAB_URING},
                    {SLAB_WRITTEN, SLAB_URING}};
    for (size_t i = 0; i < ARRAY_COUNT(capacities); i++) {
        for (int dsync = 0; dsync < 2; dsync++) {
            struct cell cells[ARRAY_COUNT(variants)];
            for (size_t k = 0; k < ARRAY_COUNT(variants); k++) {
                cells[k] = (struct cell){.name = "space",
                                         .capacity = capacities[i],
                                         .total = total,
                                         .dsync = dsync == 1,
                                         .space = variants[k].space,
                                         .engine = variants[k].engine};
            }
            run_group(bench, cells, ARRAY_COUNT(cells), runs);
        }
    }
}

static void rows_slabs(struct bench *bench, uint64_t total, int runs)
{
    static const uint64_t capacities[] = {1 * MIB, 16 * MIB, 128 * MIB};
    static const int counts[] = {1, 2, 4};
    for (size_t i = 0; i < ARRAY_COUNT(capacities); i++) {
        for (int dsync = 0; dsync < 2; dsync++) {
            struct cell cells[ARRAY_COUNT(counts)];
            for (size_t k = 0; k < ARRAY_COUNT(counts); k++) {
                cells[k] = (struct cell){.name = "slabs",
                                         .capacity = capacities[i],
                                         .total = total,
                                         .whole = true,
                                         .dsync = dsync == 1,
                                         .slab_count = counts[k]};
            }
            run_group(bench, cells, ARRAY_COUNT(cells), runs);
        }
    }
}

static void rows_pin(struct bench *bench, uint64_t total)
{
    static const struct {
        uint64_t capacity;
        double off;
        double on;
    } pinned[] = {
        {128 * MIB, 220000, 250319}, {256 * MIB, 85000, 88229}, {1024 * MIB, 81000, 83717}};
    for (size_t i = 0; i < ARRAY_COUNT(pinned); i++) {
        struct cell cells[] = {
            {.name = "pin", .no_pin = true, .seed_figure = pinned[i].off},
            {.name = "pin", .seed_figure = pinned[i].on},
        };
        for (size_t k = 0; k < ARRAY_COUNT(cells); k++) {
            cells[k].capacity = pinned[i].capacity;
            cells[k].total = total;
            cells[k].seed_note = "000 N3 records/s";
        }
        run_group(bench, cells, ARRAY_COUNT(cells), 5);
    }
}

static void rows_producers(struct bench *bench, uint64_t total, int runs)
{
    static const uint64_t capacities[] = {4 * MIB, 128 * MIB};
    for (size_t i = 0; i < ARRAY_COUNT(capacities); i++) {
        struct cell cells[] = {
            {.name = "producers", .capacity = capacities[i], .total = total, .producers = 1},
            {.name = "producers", .capacity = capacities[i], .total = total, .producers = 8},
        };
        run_group(bench, cells, ARRAY_COUNT(cells), runs);
    }
}

static void rows_more(struct bench *bench, uint64_t total, int runs)
{
    static const int depths[] = {1, 4, 16};
    for (int dsync = 0; dsync < 2; dsync++) {
        struct cell cells[ARRAY_COUNT(depths)];
        for (size_t k = 0; k < ARRAY_COUNT(depths); k++) {
            cells[k] = (struct cell){.name = "depth",
                                     .capacity = 256 * KIB,
                                     .total = total,
                                     .slab_count = 16,
                                     .dsync = dsync == 1,
                                     .depth = depths[k]};
        }
        run_group(bench, cells, ARRAY_COUNT(cells), runs);
    }
    for (int noise = 0; noise < 2; noise++) {
        static const int levels[] = {0, 1, 3};
        struct cell cells[ARRAY_COUNT(levels)];
        for (size_t k = 0; k < ARRAY_COUNT(levels); k++) {
            cells[k] = (struct cell){.name = "zstd",
                                     .capacity = 4 * MIB,
                                     .total = total,
                                     .dsync = true,
                                     .random = noise == 1,
                                     .zstd_level = levels[k]};
        }
        run_group(bench, cells, ARRAY_COUNT(cells), runs);
    }
    /* A record that does not divide the page: the tail is padded, written, cut, read back. */
    struct cell tail = {.name = "tail",
                        .capacity = 1 * MIB,
                        .total = total / 16000 * 16000,
                        .record_size = 16000,
                        .dsync = true};
    run_group(bench, &tail, 1, runs);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    bench.options = options_parse(argc, argv, "bench_000_slab: 16 KiB records into slabs");
    if (!report_open(&bench.report, bench.options.csv, bench.options.data)) {
        return 1;
    }
    snprintf(bench.path, sizeof(bench.path), "%s/bench_000_slab.%d", bench.options.data,
             (int)getpid());
    bench.ramp = malloc(RECORD_SIZE);
    bench.noise = malloc((size_t)RANDOM_COUNT * RECORD_SIZE);
    bench.packed_size = ZSTD_compressBound(RECORD_SIZE);
    bench.packed = malloc(bench.packed_size);
    bench.codec = ZSTD_createCCtx();
    check(bench.ramp != NULL && bench.noise != NULL && bench.packed != NULL && bench.codec != NULL);
    for (size_t i = 0; i < RECORD_SIZE; i++) {
        bench.ramp[i] = (uint8_t)(i % 256);
    }
    struct random random;
    random_init(&random, 1);
    for (size_t i = 0; i < (size_t)RANDOM_COUNT * RECORD_SIZE; i += 8) {
        uint64_t word = random_u64(&random);
        memcpy(bench.noise + i, &word, 8);
    }
    bool full = bench.options.full;
    uint64_t total = full ? GIB : 128 * MIB;
    int runs = full ? 3 : 1;
    rows_capacity(&bench, total, runs, 0);
    rows_producers(&bench, total, runs);
    rows_slabs(&bench, full ? total : 64 * MIB, runs);
    if (full) {
        rows_engine(&bench, total / 4, runs);
        rows_pin(&bench, total);
        rows_more(&bench, total / 4, runs);
        if (machine_disk_free(bench.options.data) > 24 * GIB) {
            rows_capacity(&bench, 8 * GIB, 1, 128 * MIB); /* where length and size were mixed up */
        } else {
            printf("000_slab: less than 24 GiB free, no rows of 8 GiB\n");
        }
    }
    ZSTD_freeCCtx(bench.codec);
    free(bench.packed);
    free(bench.noise);
    free(bench.ramp);
    report_close(&bench.report);
    return 0;
}
