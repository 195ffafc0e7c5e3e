/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots while others write (R41). What a snapshot costs its caller, what it costs a put that
 * meets it, and whether it is one cut: each put carries a ticket, and every 16th a floor below
 * which all tickets belong to puts that had returned before; a snapshot that holds the put must
 * hold everything below its floor. At the end nothing may be lost or handed out twice.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/check.h"
#include "benchmarks/004_memtable/suite.h"

#define WRITERS_MAX 64
#define NUMBER_FIRST (UINT64_C(1) << 32) /* above the keys that are there from the start */

struct stage {
    struct memtable *memtable;
    uint64_t ticket_count; /* in all */
    uint8_t *seen;         /* times a ticket was flushed */
    uint64_t whole;        /* tickets below were all seen */
    _Atomic uint64_t tickets;
    _Atomic bool turning; /* a snapshot is being taken */
    _Atomic bool go;
    double step_seconds; /* of all snapshots */
    int writer_count;
    struct {
        _Alignas(64) _Atomic uint64_t ticket; /* no put of this writer is below */
    } pending[WRITERS_MAX];
};

struct stage_writer {
    struct stage *stage;
    int index;
    struct latency meeting; /* puts that met a snapshot */
    struct latency others;
    pthread_t thread;
};

static void *stage_writer_run(void *argument)
{
    struct stage_writer *writer = argument;
    struct stage *stage = writer->stage;
    _Atomic uint64_t *own = &stage->pending[writer->index].ticket;
    while (!atomic_load(&stage->go)) {
        sched_yield();
    }
    for (uint64_t i = 0;; i++) {
        atomic_store(own, atomic_load(&stage->tickets));
        uint64_t ticket = atomic_fetch_add(&stage->tickets, 1);
        if (ticket >= stage->ticket_count) {
            break;
        }
        uint64_t floor = i % 16 == 0 ? ticket : 0;
        for (int other = 0; floor > 0 && other < stage->writer_count; other++) {
            uint64_t pending = atomic_load(&stage->pending[other].ticket);
            floor = pending < floor ? pending : floor;
        }
        uint8_t memory[KEY_SIZE];
        struct key_item item = {key_of(NUMBER_FIRST + ticket, memory),
                                {.offset = (int64_t)ticket, .timestamp = (int64_t)floor}};
        uint32_t taken;
        bool met = atomic_load(&stage->turning);
        uint64_t begin = tick_now();
        check(memtable_put(stage->memtable, &item, 1, &taken) == STATUS_OK);
        uint64_t ns = tick_span(begin, tick_now());
        met = met || atomic_load(&stage->turning);
        latency_add(met ? &writer->meeting : &writer->others, ns);
    }
    atomic_store(own, UINT64_MAX);
    return NULL;
}

struct stage_sink {
    struct key_sink sink;
    struct stage *stage;
    uint64_t floor;
    uint64_t count;
};

static enum status stage_take(struct key_sink *sink, const struct key_item *items, uint32_t count)
{
    struct stage_sink *to = CONTAINER_OF(sink, struct stage_sink, sink);
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].key.data[6] != '0') { /* a ticket's key */
            to->stage->seen[items[i].entry.offset] += 1;
            uint64_t floor = (uint64_t)items[i].entry.timestamp;
            to->floor = floor > to->floor ? floor : to->floor;
        }
    }
    to->count += count;
    return STATUS_OK;
}

/* One snapshot, flushed, checked and given back; adds its time to `steps`. */
static uint64_t stage_flush(struct stage *stage, struct latency *steps)
{
    atomic_store(&stage->turning, true);
    uint64_t begin = tick_now();
    check(memtable_snapshot(stage->memtable) == STATUS_OK);
    double ns = (double)(tick_now() - begin) * tick_ns();
    latency_add(steps, (uint64_t)ns);
    stage->step_seconds += ns / 1e9;
    atomic_store(&stage->turning, false);
    struct stage_sink sink = {.sink = {.take = stage_take}, .stage = stage};
    check(memtable_flush(stage->memtable, &sink.sink, UINT64_MAX) == STATUS_OK);
    for (; stage->whole < sink.floor; stage->whole++) {
        check(stage->seen[stage->whole] == 1); /* one cut */
    }
    check(memtable_release(stage->memtable) == STATUS_OK);
    return sink.count;
}

static void stage_note(struct row *row, const struct stage *stage, const struct latency *steps,
                       const struct latency *meeting, const struct latency *others)
{
    snprintf(
        row->extra, sizeof(row->extra),
        "step_us p50=%.1f p99=%.1f max=%.1f put_meeting_us p50=%.2f p99=%.2f max=%.0f (n=%llu) "
        "put_else_us p50=%.2f p99=%.2f max=%.0f one_cut lost=0 of %llu stepping=%.5f",
        latency_us(steps, 0.5), latency_us(steps, 0.99), (double)steps->max_ns / 1e3,
        latency_us(meeting, 0.5), latency_us(meeting, 0.99), (double)meeting->max_ns / 1e3,
        (unsigned long long)meeting->count, latency_us(others, 0.5), latency_us(others, 0.99),
        (double)others->max_ns / 1e3, (unsigned long long)stage->ticket_count,
        stage->step_seconds / row->runs[0].seconds);
}

static void stage_run(struct suite *suite, enum memtable_locks locks, int writer_count,
                      struct row *row)
{
    void *table = suite_filled(&table_memtable, &(struct form){.shards = 32,
                                                               .locks = locks,
                                                               .key_count = suite->key_count,
                                                               .seed = SUITE_SEED});
    uint32_t flush_count = suite->options.full ? 100 : 20;
    struct stage *stage = aligned_alloc(64, sizeof(*stage));
    *stage = (struct stage){.memtable = table_of(table),
                            .ticket_count = (uint64_t)flush_count * 20000,
                            .writer_count = writer_count};
    stage->seen = calloc(stage->ticket_count, 1);
    struct stage_writer *writers = calloc((size_t)writer_count, sizeof(*writers));
    struct latency *steps = calloc(1, sizeof(*steps));
    struct latency *meeting = calloc(1, sizeof(*meeting));
    struct latency *others = calloc(1, sizeof(*others));
    for (int i = 0; i < writer_count; i++) {
        writers[i].stage = stage;
        writers[i].index = i;
        check(pthread_create(&writers[i].thread, NULL, stage_writer_run, &writers[i]) == 0);
    }
    uint64_t flushed = 0;
    row_begin(row);
    atomic_store(&stage->go, true);
    for (uint64_t i = 1; i <= flush_count; i++) {
        while (atomic_load(&stage->tickets) < i * stage->ticket_count / (flush_count + 1)) {
            sched_yield();
        }
        flushed += stage_flush(stage, steps);
    }
    for (int i = 0; i < writer_count; i++) {
        pthread_join(writers[i].thread, NULL);
        latency_merge(meeting, &writers[i].meeting);
        latency_merge(others, &writers[i].others);
    }
    row_end(row, stage->ticket_count, stage->ticket_count * KEY_SIZE);
    struct latency *last = calloc(1, sizeof(*last));
    flushed += stage_flush(stage, last);
    for (uint64_t i = 0; i < stage->ticket_count; i++) {
        check(stage->seen[i] == 1);
    }
    check(flushed == suite->key_count + stage->ticket_count);
    latency_merge(row->latency, steps);
    stage_note(row, stage, steps, meeting, others);
    free(last);
    free(steps);
    free(meeting);
    free(others);
    free(writers);
    free(stage->seen);
    free(stage);
    table_memtable.close(table);
}

void rows_snapshot(struct suite *suite)
{
    static const struct {
        enum memtable_locks locks;
        int writers;
    } cases[] = {
        {MEMTABLE_LOCKS_ONE, 64},
        {MEMTABLE_LOCKS_SHARDS, 64},
        {MEMTABLE_LOCKS_SHARDS, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct row row =
            suite_row("snapshot", cases[i].writers, FIGURE_P99, calloc(1, sizeof(struct latency)));
        snprintf(row.params, sizeof(row.params), "op=snapshot shards=32 locks=%s keys=%llu",
                 suite_locks_name(cases[i].locks), (unsigned long long)suite->key_count);
        row.seed_figure = 0.125;
        row.seed_note = "004 N4 us a lock is held; projected";
        if (suite_wants(suite, "snapshot", &row)) {
            stage_run(suite, cases[i].locks, cases[i].writers, &row);
        }
        report_row(&suite->report, &row, NULL);
        free(row.latency);
    }
}
