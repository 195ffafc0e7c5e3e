/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records appended to one file by several writers, in groups that run by turns. The anchor of a
 * cell is the same method in Go (anchor.go, built by benchmarks/run where Go is), or a write for
 * each record where there is no such program. `gain` in a row is its rate over that of a write for
 * each record in C, `vs_buffered` over the buffered writer with a buffer of the same size.
 */
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include "base/check.h"
#include "base/random.h"
#include "benchmarks/001_append/appender.h"
#include "benchmarks/lib/options.h"
#include "benchmarks/lib/report.h"

#define CELLS_MAX 24
#define THREADS_MAX 8
#define RECORD_SIZE_MAX 32768
#define LATENCY_COUNT 100000

struct cell {
    bool go;
    enum appender_method method;
    uint64_t buffer_size;
    uint64_t record_size;
    uint64_t count;
    bool sync;   /* once, at the end */
    bool shared; /* rows of several threads have a name of their own */
    int threads;
    double seed_figure;
    const char *seed_note;
};

struct bench {
    struct options options;
    struct report report;
    char path[PATH_MAX];
    char go[PATH_MAX]; /* the anchor's program; "" when there is none */
    uint8_t ramp[RECORD_SIZE_MAX];
    struct cell cells[CELLS_MAX];
    struct row rows[CELLS_MAX];
    struct latency latencies[CELLS_MAX];
    int count;
};

static const char *const method_names[] = {"direct", "buffered", "stdio", "aligned", "mmap"};

static bool has_buffer(enum appender_method method)
{
    return method != APPENDER_DIRECT && method != APPENDER_MMAP;
}

static void group_begin(struct bench *bench)
{
    bench->count = 0;
}

static void group_add(struct bench *bench, const struct cell *cell)
{
    check(bench->count < CELLS_MAX);
    struct row *row = &bench->rows[bench->count];
    struct latency *latency = &bench->latencies[bench->count];
    bench->cells[bench->count] = *cell;
    bench->count += 1;
    *latency = (struct latency){0};
    *row = (struct row){.suite = "001_append",
                        .name = cell->go       ? "go"
                                : cell->shared ? "shared"
                                               : "append",
                        .threads = cell->threads,
                        .record_size = cell->record_size,
                        .sync = cell->sync ? "end" : "none",
                        .payload = "ramp",
                        .figure = FIGURE_MB,
                        .seed_figure = cell->seed_figure,
                        .seed_note = cell->seed_note};
    char buffer[32] = "";
    if (has_buffer(cell->method)) {
        snprintf(buffer, sizeof(buffer), " buffer=%lluKiB",
                 (unsigned long long)(cell->buffer_size / KIB));
    }
    snprintf(row->params, sizeof(row->params), "method=%s%s count=%llu", method_names[cell->method],
             buffer, (unsigned long long)cell->count);
}

/* The cell in C and, where there is one, its twin in Go behind it. */
static void group_add_pair(struct bench *bench, struct cell cell)
{
    cell.threads = cell.threads == 0 ? 1 : cell.threads;
    group_add(bench, &cell);
    if (bench->go[0] != '\0' && cell.method != APPENDER_STDIO) {
        cell.go = true;
        group_add(bench, &cell);
    }
}

/* ---- runs ---- */

struct worker {
    pthread_t thread;
    struct appender *appender;
    const struct bench *bench;
    uint64_t record_size;
    uint64_t count;
    uint64_t finished_ns;
};

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    for (uint64_t i = 0; i < worker->count; i++) {
        check(appender_write(worker->appender, worker->bench->ramp, worker->record_size) == 0);
    }
    worker->finished_ns = clock_ns();
    return NULL;
}

static struct appender_options options_of(const struct bench *bench, const struct cell *cell)
{
    return (struct appender_options){
        .path = bench->path,
        .method = cell->method,
        .buffer_size = cell->buffer_size,
        .size_max = cell->count * cell->record_size,
        .early = cell->sync,
        .locked = cell->threads > 1,
    };
}

static void run_c(struct bench *bench, const struct cell *cell, struct row *row)
{
    struct appender appender;
    struct appender_options options = options_of(bench, cell);
    check(appender_open(&appender, &options) == 0);
    struct worker workers[THREADS_MAX] = {0};
    row_begin(row);
    for (int i = 0; i < cell->threads; i++) {
        workers[i] = (struct worker){.appender = &appender,
                                     .bench = bench,
                                     .record_size = cell->record_size,
                                     .count = cell->count / (uint64_t)cell->threads};
        if (cell->threads == 1) {
            worker_run(&workers[i]);
        } else {
            check(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) == 0);
        }
    }
    for (int i = 0; cell->threads > 1 && i < cell->threads; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    if (cell->sync) {
        check(appender_sync(&appender) == 0);
    }
    uint64_t count = cell->count / (uint64_t)cell->threads * (uint64_t)cell->threads;
    row_end(row, count, count * cell->record_size);
    uint64_t first = UINT64_MAX;
    uint64_t last = 0;
    for (int i = 0; i < cell->threads; i++) {
        uint64_t ns = workers[i].finished_ns - row->started_ns;
        first = ns < first ? ns : first;
        last = ns > last ? ns : last;
    }
    struct appender_counters counters = appender.counters;
    check(appender_close(&appender) == 0);
    unlink(bench->path);
    row->extra[0] = '\0';
    if (cell->method == APPENDER_ALIGNED || cell->method == APPENDER_DIRECT) {
        snprintf(row->extra, sizeof(row->extra), "syscalls_record=%.4f unaligned=%llu",
                 (double)counters.writes / (double)count, (unsigned long long)counters.unaligned);
    }
    if (cell->threads > 1) {
        size_t used = strlen(row->extra);
        snprintf(row->extra + used, sizeof(row->extra) - used, " contended=%.3f fairness=%.2f",
                 (double)counters.contended / (double)count, (double)first / (double)last);
    }
}

/* In a process of its own, as the Go program is: the kernel remembers how much a task has dirtied
 * and slows down one that did much before. The bench lies in shared memory. */
static void run_child(struct bench *bench, const struct cell *cell, struct row *row)
{
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        run_c(bench, cell, row);
        _exit(0);
    }
    int status = 0;
    check(waitpid(child, &status, 0) == child && status == 0);
}

static void run_go(struct bench *bench, const struct cell *cell, struct row *row)
{
    char command[2 * PATH_MAX + 256];
    snprintf(command, sizeof(command),
             "'%s' --method %s --path '%s' --buffer %llu --record %llu --count %llu --threads %d%s",
             bench->go, method_names[cell->method], bench->path,
             (unsigned long long)cell->buffer_size, (unsigned long long)cell->record_size,
             (unsigned long long)cell->count, cell->threads, cell->sync ? " --sync" : "");
    double seconds = 0;
    row_begin(row);
    FILE *pipe = popen(command, "r");
    check(pipe != NULL);
    int found = fscanf(pipe, "%lf", &seconds);
    check(pclose(pipe) == 0 && found == 1);
    row_end_in(row, cell->count, cell->count * cell->record_size, seconds);
}

/* One more pass with a clock around each record: it would spoil a rate of 10 ns a record. */
static void run_latencies(struct bench *bench, const struct cell *cell, struct row *row,
                          struct latency *latency)
{
    struct appender appender;
    struct appender_options options = options_of(bench, cell);
    check(appender_open(&appender, &options) == 0);
    uint64_t count = cell->count < LATENCY_COUNT ? cell->count : LATENCY_COUNT;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t begin_ns = clock_ns();
        check(appender_write(&appender, bench->ramp, cell->record_size) == 0);
        latency_add(latency, clock_ns() - begin_ns);
    }
    check(appender_close(&appender) == 0);
    unlink(bench->path);
    row->latency = latency;
}

static const struct row *find_row(const struct bench *bench, const struct cell *like, bool go,
                                  enum appender_method method)
{
    for (int i = 0; i < bench->count; i++) {
        const struct cell *cell = &bench->cells[i];
        if (cell->go == go && cell->method == method && cell->threads == like->threads &&
            (!has_buffer(method) || cell->buffer_size == like->buffer_size)) {
            return &bench->rows[i];
        }
    }
    return NULL;
}

static void group_report(struct bench *bench)
{
    for (int i = 0; i < bench->count; i++) {
        struct row *row = &bench->rows[i];
        const struct cell *cell = &bench->cells[i];
        const struct row *direct = find_row(bench, cell, false, APPENDER_DIRECT);
        const struct row *buffered = find_row(bench, cell, false, APPENDER_BUFFERED);
        const struct row *anchor = cell->go ? NULL : find_row(bench, cell, true, cell->method);
        anchor = anchor != NULL || cell->go || direct == row ? anchor : direct;
        size_t used = strlen(row->extra);
        if (direct != NULL && direct != row && !cell->go) {
            used += (size_t)snprintf(row->extra + used, sizeof(row->extra) - used, " gain=%.2f",
                                     row_ratio(row, direct));
        }
        if (buffered != NULL && cell->method == APPENDER_ALIGNED && !cell->go) {
            snprintf(row->extra + used, sizeof(row->extra) - used, " vs_buffered=%.2f",
                     row_ratio(row, buffered));
        }
        report_row(&bench->report, row, anchor);
    }
}

static void group_run(struct bench *bench, int runs, bool latencies)
{
    bool wanted = false;
    for (int i = 0; i < bench->count; i++) {
        wanted =
            wanted || options_want(&bench->options, bench->rows[i].name, bench->rows[i].params);
    }
    runs = bench->options.run_count > 0 ? bench->options.run_count : runs;
    for (int run = 0; wanted && run < runs; run++) {
        for (int i = 0; i < bench->count; i++) {
            machine_settle(bench->options.data);
            (bench->cells[i].go ? run_go : run_child)(bench, &bench->cells[i], &bench->rows[i]);
        }
    }
    for (int i = 0; wanted && latencies && i < bench->count; i++) {
        if (!bench->cells[i].go) {
            run_latencies(bench, &bench->cells[i], &bench->rows[i], &bench->latencies[i]);
        }
    }
    group_report(bench);
}

/* ---- rows ---- */

#define MIB_MB 1.048576 /* the published table divides by 2^20; figures here are 10^6 */

static const uint64_t buffer_sizes[] = {4096, 8192, 16384, 65536};

/* One sync, inside the clock. */
static void rows_end(struct bench *bench, int runs)
{
    static const struct {
        uint64_t record_size;
        uint64_t count;
        double direct;
        double buffered[4];
        double aligned[4];
        double mmap;
    } shapes[] = {
        {128,
         100000,
         240.07,
         {1266.93, 1337.27, 1327.55, 1415.92},
         {1165.22, 1244.86, 1176.88, 1281.76},
         1168.32},
        {1024,
         50000,
         1134.06,
         {2025.50, 2308.94, 2464.45, 2458.15},
         {1970.50, 2262.77, 2311.49, 2499.25},
         2054.37},
        {8192,
         10000,
         2496.41,
         {2450.08, 2384.48, 2551.66, 2693.30},
         {2473.40, 2457.32, 2576.79, 2655.21},
         2207.78},
    };
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) {
        struct cell cell = {.record_size = shapes[i].record_size,
                            .count = shapes[i].count,
                            .sync = true,
                            .seed_note = "001 N1 as MB/s"};
        group_begin(bench);
        cell.method = APPENDER_DIRECT;
        cell.seed_figure = shapes[i].direct * MIB_MB;
        group_add_pair(bench, cell);
        for (size_t k = 0; k < ARRAY_COUNT(buffer_sizes); k++) {
            cell.buffer_size = buffer_sizes[k];
            cell.method = APPENDER_BUFFERED;
            cell.seed_figure = shapes[i].buffered[k] * MIB_MB;
            group_add_pair(bench, cell);
            cell.method = APPENDER_ALIGNED;
            cell.seed_figure = shapes[i].aligned[k] * MIB_MB;
            group_add_pair(bench, cell);
        }
        cell.method = APPENDER_MMAP;
        cell.seed_figure = shapes[i].mmap * MIB_MB;
        group_add_pair(bench, cell);
        cell.method = APPENDER_STDIO;
        cell.seed_figure = 0;
        cell.seed_note = NULL;
        group_add_pair(bench, cell);
        group_run(bench, runs, bench->options.full);
    }
}

/* No sync: into the page cache alone. */
static void rows_none(struct bench *bench, uint64_t total, int runs)
{
    static const struct {
        uint64_t record_size;
        enum appender_method method;
        uint64_t buffer_size;
        double seed_figure;
    } shapes[] = {
        {128, APPENDER_DIRECT, 0, 330.08},        {128, APPENDER_ALIGNED, 16384, 3916.19},
        {1024, APPENDER_DIRECT, 0, 1994.02},      {1024, APPENDER_ALIGNED, 4096, 4290.94},
        {1024, APPENDER_ALIGNED, 16384, 5446.73}, {1024, APPENDER_ALIGNED, 65536, 5803.96},
        {1024, APPENDER_MMAP, 0, 4148.75},        {8192, APPENDER_DIRECT, 0, 5409.65},
        {8192, APPENDER_ALIGNED, 16384, 5723.57},
    };
    for (size_t i = 0; i < ARRAY_COUNT(shapes);) {
        group_begin(bench);
        size_t first = i;
        for (; i < ARRAY_COUNT(shapes) && shapes[i].record_size == shapes[first].record_size; i++) {
            group_add_pair(bench, (struct cell){.record_size = shapes[i].record_size,
                                                .count = total / shapes[i].record_size,
                                                .method = shapes[i].method,
                                                .buffer_size = shapes[i].buffer_size,
                                                .seed_figure = shapes[i].seed_figure,
                                                .seed_note = "001 N2 MB/s"});
        }
        group_run(bench, runs, false);
    }
}

static void rows_threads(struct bench *bench, uint64_t total, int runs)
{
    static const int threads[] = {1, 2, 4, 8};
    for (size_t k = 2; k < ARRAY_COUNT(buffer_sizes); k++) {
        group_begin(bench);
        for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
            group_add_pair(bench, (struct cell){.record_size = 1024,
                                                .count = total / 1024,
                                                .method = APPENDER_ALIGNED,
                                                .buffer_size = buffer_sizes[k],
                                                .threads = threads[i],
                                                .shared = true,
                                                .seed_figure = 5012.58,
                                                .seed_note = "001 N2 concurrent MB/s"});
        }
        group_run(bench, runs, false);
    }
}

/* Records that divide neither page nor buffer. */
static void rows_sizes(struct bench *bench, uint64_t total, int runs)
{
    static const uint64_t sizes[] = {100, 1000, 4097, 20000};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        group_begin(bench);
        struct cell cell = {.record_size = sizes[i],
                            .count = total / sizes[i],
                            .buffer_size = 16384,
                            .sync = true,
                            .method = APPENDER_DIRECT};
        group_add_pair(bench, cell);
        cell.method = APPENDER_BUFFERED;
        group_add_pair(bench, cell);
        cell.method = APPENDER_ALIGNED;
        group_add_pair(bench, cell);
        group_run(bench, runs, false);
    }
}

/* ---- profiles ---- */

struct profile {
    const char *name;
    const char *params;
    uint64_t buffer_size;
    uint64_t batch_size;  /* the caller gathers so much; 0: it does not */
    uint64_t interval_ns; /* between syncs; 0: one at the end */
    uint64_t rate;        /* records a second; 0: as fast as it goes */
};

/* The age of the oldest record that is not on the disk: its largest value is what a power cut
 * could take. A sync begins half an interval after the one before it began, so that it has the
 * other half to end. */
static void run_profile(struct bench *bench, const struct profile *profile, struct row *row,
                        uint64_t count)
{
    struct appender appender;
    machine_settle(bench->options.data);
    struct appender_options options = {.path = bench->path,
                                       .method = APPENDER_ALIGNED,
                                       .buffer_size = profile->buffer_size,
                                       .size_max = count * 1024,
                                       .early = true};
    check(appender_open(&appender, &options) == 0);
    uint8_t *batch = malloc(profile->batch_size + 1024);
    check(batch != NULL);
    uint64_t gathered = 0;
    uint64_t oldest_ns = 0;
    uint64_t window_ns = 0;
    uint64_t at_risk = 0;
    uint64_t unsynced = 0;
    row_begin(row);
    uint64_t begin_ns = clock_ns();
    uint64_t synced_ns = begin_ns;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t now_ns = clock_ns();
        while (profile->rate > 0 && now_ns < begin_ns + i * 1000000000 / profile->rate) {
            now_ns = clock_ns();
        }
        oldest_ns = oldest_ns == 0 ? now_ns : oldest_ns;
        unsynced += 1;
        memcpy(batch + gathered, bench->ramp, 1024);
        gathered += 1024;
        if (gathered >= profile->batch_size) {
            check(appender_write(&appender, batch, gathered) == 0);
            gathered = 0;
        }
        bool due = profile->interval_ns > 0 && now_ns - synced_ns >= profile->interval_ns / 2;
        if (due || i == count - 1) {
            check(appender_write(&appender, batch, gathered) == 0);
            gathered = 0;
            synced_ns = clock_ns();
            check(appender_sync(&appender) == 0);
            uint64_t age_ns = clock_ns() - oldest_ns;
            window_ns = age_ns > window_ns ? age_ns : window_ns;
            at_risk = unsynced > at_risk ? unsynced : at_risk;
            oldest_ns = unsynced = 0;
        }
        row_latency(row, clock_ns() - now_ns);
    }
    row_end(row, count, count * 1024);
    snprintf(row->extra, sizeof(row->extra),
             "loss_window_ms=%.1f records_at_risk=%llu records_write=%.1f", (double)window_ns / 1e6,
             (unsigned long long)at_risk, (double)count / (double)appender.counters.writes);
    check(appender_close(&appender) == 0);
    unlink(bench->path);
    free(batch);
}

static void rows_profiles(struct bench *bench, uint64_t total, int runs)
{
    static const struct profile profiles[] = {
        {"low_latency", "buffer=16KiB sync=100ms rate=50000/s", 16384, 0, 100000000, 50000},
        {"bulk", "buffer=64KiB batch=8192", 65536, 8192, 0, 0},
        {"batches", "buffer=16KiB batch=4096", 16384, 4096, 0, 0},
    };
    static struct latency latency;
    for (size_t i = 0; i < ARRAY_COUNT(profiles); i++) {
        latency = (struct latency){0};
        struct row row = {.suite = "001_append",
                          .name = profiles[i].name,
                          .threads = 1,
                          .record_size = 1024,
                          .sync = profiles[i].interval_ns > 0 ? "100ms" : "end",
                          .payload = "ramp",
                          .figure = FIGURE_MB,
                          .latency = &latency};
        snprintf(row.params, sizeof(row.params), "%s", profiles[i].params);
        uint64_t count = profiles[i].rate > 0 ? profiles[i].rate : total / 1024;
        for (int run = 0; run < runs && options_want(&bench->options, row.name, row.params);
             run++) {
            run_profile(bench, &profiles[i], &row, count);
        }
        report_row(&bench->report, &row, NULL);
    }
}

/* Packed in the process, where a file system in user space would do it: blocks of 64 KiB whose
 * random part sets the ratio. */
static void rows_packed(struct bench *bench, uint64_t total, int runs)
{
    static const struct {
        const char *params;
        uint64_t random_size; /* of each 64 KiB */
        int level;
    } shapes[] = {{"ratio=1:1", 65536, 1}, {"ratio=4:1", 16000, 1}, {"ratio=off", 65536, 0}};
    const uint64_t size = 65536;
    size_t packed_max = ZSTD_compressBound(size);
    uint8_t *block = calloc(1, size);
    uint8_t *packed = malloc(packed_max);
    ZSTD_CCtx *codec = ZSTD_createCCtx();
    check(block != NULL && packed != NULL && codec != NULL);
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) {
        struct random random;
        random_init(&random, 3);
        memset(block, 0, size);
        for (uint64_t at = 0; at + 8 <= shapes[i].random_size; at += 8) {
            uint64_t word = random_u64(&random);
            memcpy(block + at, &word, 8);
        }
        struct row row = {.suite = "001_append",
                          .name = "packed",
                          .threads = 1,
                          .record_size = size,
                          .sync = "end",
                          .payload = "mixed",
                          .codec = shapes[i].level > 0 ? "zstd-1" : NULL,
                          .figure = FIGURE_MB,
                          .seed_figure = i == 1 ? 800 : 0,
                          .seed_note = "001 N4 estimate, MB/s"};
        snprintf(row.params, sizeof(row.params), "buffer=64KiB %s", shapes[i].params);
        bool wanted = options_want(&bench->options, row.name, row.params);
        for (int run = 0; run < runs && wanted; run++) {
            struct appender appender;
            machine_settle(bench->options.data);
            struct appender_options options = {.path = bench->path,
                                               .method = APPENDER_ALIGNED,
                                               .buffer_size = size,
                                               .size_max = total,
                                               .early = true};
            check(appender_open(&appender, &options) == 0);
            row_begin(&row);
            for (uint64_t k = 0; k < total / size; k++) {
                size_t used = size;
                if (shapes[i].level > 0) {
                    used =
                        ZSTD_compressCCtx(codec, packed, packed_max, block, size, shapes[i].level);
                    check(!ZSTD_isError(used));
                }
                const uint8_t *data = shapes[i].level > 0 ? packed : block;
                check(appender_write(&appender, data, used) == 0);
            }
            check(appender_sync(&appender) == 0);
            row_end(&row, total / size, total / size * size);
            snprintf(row.extra, sizeof(row.extra), "packed=%.2f",
                     (double)total / (double)appender.size);
            check(appender_close(&appender) == 0);
            unlink(bench->path);
        }
        report_row(&bench->report, &row, NULL);
    }
    ZSTD_freeCCtx(codec);
    free(packed);
    free(block);
}

/* See run_child(); the rows themselves leave from there. */
static void rows_in_child(struct bench *bench, void (*rows)(struct bench *, uint64_t, int),
                          uint64_t total, int runs)
{
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        rows(bench, total, runs);
        _exit(0);
    }
    int status = 0;
    check(waitpid(child, &status, 0) == child && status == 0);
}

/* The anchor's program lies beside this one. */
static void find_go(struct bench *bench)
{
    char self[PATH_MAX] = "";
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash = size > 0 ? strrchr(self, '/') : NULL;
    if (slash != NULL) {
        *slash = '\0';
        snprintf(bench->go, sizeof(bench->go), "%.4000s/bench_001_anchor", self);
    }
    if (access(bench->go, X_OK) != 0) {
        printf("001_append: no anchors in Go: benchmarks/run builds them where Go is installed\n");
        bench->go[0] = '\0';
    }
}

int main(int argc, char **argv)
{
    struct bench *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(shared != MAP_FAILED);
    shared->options = options_parse(argc, argv, "bench_001_append: records appended to one file");
    if (!report_open(&shared->report, shared->options.csv, shared->options.data)) {
        return 1;
    }
    snprintf(shared->path, sizeof(shared->path), "%.4000s/bench_001.%d", shared->options.data,
             (int)getpid());
    for (size_t i = 0; i < sizeof(shared->ramp); i++) {
        shared->ramp[i] = (uint8_t)(i % 256);
    }
    find_go(shared);
    bool full = shared->options.full;
    int runs = full ? 5 : 3;
    uint64_t total = full ? GIB : 64 * MIB;
    rows_end(shared, runs);
    rows_none(shared, total, full ? 3 : 1);
    rows_threads(shared, total, full ? 3 : 1);
    rows_sizes(shared, full ? 64 * MIB : 16 * MIB, full ? 3 : 1);
    rows_in_child(shared, rows_profiles, total / 4, full ? 3 : 1);
    rows_in_child(shared, rows_packed, total / 4, full ? 3 : 1);
    report_close(&shared->report);
    return 0;
}
