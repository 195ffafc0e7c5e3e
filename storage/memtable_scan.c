/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways through a memtable in key order: the scan, and the flush of a snapshot. A scan goes over the
 * tree of each generation that it sees, one or two, and merges them.
 *
 * What it sees is settled when it is opened. A scan that was opened before a snapshot was detached
 * goes on to see it to its end: its memory stays until such scans are closed. So a key is never
 * lost between two generations.
 */
#include "base/check.h"
#include "storage/memtable_state.h"
#include "storage/merge.h"

/* Records that a run reads at a time. */
#define RUN_ROOM 128
/* Records lie anywhere: so many are asked of the memory before the scan gets to them. With all 128
 * at once a key took 105 ns instead of 80. */
#define AHEAD 16
/* When nobody says how many keys are wanted. */
#define RUN_ROOM_FIRST 16
#define FLUSH_BATCH 64

/* The tree of one generation. */
struct scan_run {
    struct merge_run run;
    struct memtable_scan *scan;
    struct keytree_cursor cursor;
    bool ended;
    uint32_t count;
    uint32_t next;
    struct key_entry entry; /* of the record it stands on */
    struct key_record *records[RUN_ROOM];
};

struct memtable_scan {
    struct memtable *memtable;
    struct memtable_scan *free_next;
    struct memtable_scan_options options;
    uint64_t detach_count; /* as the scan began */
    uint64_t begin_ns;
    uint32_t room; /* records that a run reads next time */
    uint32_t run_count;
    struct merge merge;
    struct merge_run *merge_runs[2];
    struct merge_node merge_nodes[2];
    struct scan_run runs[2];
};

/* One lock for everything is taken for the tree as well, beside the tree's own. */
static struct memtable_shard *scan_guard(struct memtable *memtable)
{
    return memtable->options.locks == MEMTABLE_LOCKS_ONE ? &memtable->shards[0] : NULL;
}

/* Its entry, and the line behind it where most keys end. */
static void record_prefetch(const struct key_record *record)
{
    __builtin_prefetch(record);
    __builtin_prefetch((const uint8_t *)record + 47);
}

static void run_fill(struct scan_run *run)
{
    struct memtable_scan *scan = run->scan;
    struct memtable_shard *guard = scan_guard(scan->memtable);
    if (guard != NULL) {
        shard_lock(scan->memtable, guard);
    }
    run->count = keytree_read(&run->cursor, run->records, scan->room);
    if (guard != NULL) {
        shard_unlock(guard);
    }
    run->next = 0;
    run->ended = run->count < scan->room;
    for (uint32_t i = 0; i < AHEAD && i < run->count; i++) {
        record_prefetch(run->records[i]);
    }
}

static enum status scan_advance(struct merge_run *merge_run)
{
    struct scan_run *run = CONTAINER_OF(merge_run, struct scan_run, run);
    if (run->next == run->count) {
        if (!run->ended) {
            run->scan->room = RUN_ROOM; /* more than was thought at first */
            run_fill(run);
        }
        if (run->next == run->count) {
            return STATUS_NOT_FOUND;
        }
    }
    const struct key_record *record = run->records[run->next];
    run->next += 1;
    if (run->next + AHEAD <= run->count) {
        record_prefetch(run->records[run->next + AHEAD - 1]);
    }
    run->entry = memtable_entry(run->scan->memtable, record);
    run->run.key = key_record_key(record);
    run->run.offset = run->entry.offset;
    run->run.value = &run->entry;
    return STATUS_OK;
}

/* A scan with the generations it sees: the newest first, as the merge prefers it. */
static struct memtable_scan *scan_acquire(struct memtable *memtable)
{
    memtable_lock(memtable);
    struct memtable_scan *scan = memtable->scans_free;
    if (scan == NULL) {
        scan = supply_acquire_beside(&memtable->supply, sizeof(*scan));
    } else {
        memtable->scans_free = scan->free_next;
    }
    if (scan != NULL) {
        uint64_t generation = atomic_load(&memtable->generation);
        scan->detach_count = memtable->detach_count;
        memtable->scan_counts[scan->detach_count & 1] += 1;
        scan->run_count = memtable->state == MEMTABLE_FROZEN ? 2 : 1;
        for (uint32_t i = 0; i < scan->run_count; i++) {
            scan->runs[i].cursor.tree = &memtable->generations[(generation + i) & 1].tree;
        }
    }
    memtable_unlock(memtable);
    return scan;
}

struct memtable_scan *memtable_scan_open(struct memtable *memtable,
                                         const struct memtable_scan_options *options)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    const struct memtable_options *made = &memtable->options;
    uint64_t begin_ns = made->now_ns == NULL ? 0 : made->now_ns(made->clock);
    struct memtable_scan *scan = scan_acquire(memtable);
    if (scan == NULL) {
        return NULL;
    }
    scan->memtable = memtable;
    scan->options = *options;
    scan->begin_ns = begin_ns;
    scan->room = options->count_hint == 0         ? RUN_ROOM_FIRST
                 : options->count_hint > RUN_ROOM ? RUN_ROOM
                                                  : options->count_hint;
    for (uint32_t i = 0; i < scan->run_count; i++) {
        struct scan_run *run = &scan->runs[i];
        run->run = (struct merge_run){.advance = scan_advance};
        run->scan = scan;
        keytree_seek(run->cursor.tree, options->begin, &run->cursor);
        run_fill(run);
        scan->merge_runs[i] = &run->run;
    }
    merge_init(&scan->merge, scan->merge_runs, scan->merge_nodes, scan->run_count, MERGE_NEWEST);
    return scan;
}

bool memtable_scan_next(struct memtable_scan *scan, struct key_item *item)
{
    struct bytes until = scan->options.until;
    for (;;) {
        const struct merge_run *run;
        enum status status = merge_next(&scan->merge, &run);
        check(status == STATUS_OK || status == STATUS_NOT_FOUND); /* memory fails at nothing */
        if (status != STATUS_OK || (until.data != NULL && bytes_compare(run->key, until) >= 0)) {
            return false;
        }
        *item = (struct key_item){run->key, *(const struct key_entry *)run->value};
        if ((item->entry.flags & KEY_REMOVED) == 0) {
            return true;
        }
    }
}

void memtable_scan_close(struct memtable_scan *scan)
{
    struct memtable *memtable = scan->memtable;
    struct memtable_shard *shard = &memtable->shards[0];
    if (shard->latencies != NULL) {
        uint64_t end_ns = memtable->options.now_ns(memtable->options.clock);
        shard_lock(memtable, shard);
        histogram_add(&shard->latencies->scan, end_ns - scan->begin_ns);
        shard_unlock(shard);
    }
    memtable_lock(memtable);
    check(memtable->scan_counts[scan->detach_count & 1] > 0);
    memtable->scan_counts[scan->detach_count & 1] -= 1;
    scan->free_next = memtable->scans_free;
    memtable->scans_free = scan;
    memtable_unlock(memtable);
}

void memtable_scan_dispose(struct memtable *memtable)
{
    while (memtable->scans_free != NULL) {
        struct memtable_scan *scan = memtable->scans_free;
        memtable->scans_free = scan->free_next;
        supply_release_beside(&memtable->supply, scan, sizeof(*scan));
    }
}

/* ---- flush ---- */

enum status memtable_flush(struct memtable *memtable, struct key_sink *sink, uint64_t count_max)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    check(memtable->state == MEMTABLE_FROZEN);
    if (!memtable->flushing) {
        uint64_t generation = atomic_load(&memtable->generation);
        keytree_seek(&memtable->generations[~generation & 1].tree, BYTES_LITERAL(""),
                     &memtable->flush_cursor);
        memtable->flushing = true;
    }
    uint64_t given = 0;
    for (;;) {
        struct key_record *records[FLUSH_BATCH];
        struct key_item items[FLUSH_BATCH];
        uint32_t count = keytree_read(&memtable->flush_cursor, records, FLUSH_BATCH);
        for (uint32_t i = 0; i < count; i++) {
            items[i].key = key_record_key(records[i]);
            check(key_record_read(records[i], &items[i].entry)); /* T3 */
        }
        enum status taken = count == 0 ? STATUS_OK : sink->take(sink, items, count);
        if (taken != STATUS_OK && taken != STATUS_PENDING) {
            memtable->flushing = false;
            return taken;
        }
        if (count < FLUSH_BATCH) {
            memtable->flushing = false;
            return STATUS_OK; /* its last batch was taken, PENDING or not */
        }
        given += count;
        if (taken == STATUS_PENDING || given >= count_max) {
            return STATUS_PENDING;
        }
    }
}
