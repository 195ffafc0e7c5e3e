/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways through a memtable in key order: the scan, which copies a few entries of a shard at a time
 * under its lock, and the flush of a snapshot, which needs no lock. Both merge their shards.
 *
 * A scan that was opened before a snapshot was detached goes on to see it to its end: its memory
 * stays until such scans are closed. So a key is never lost between two halves.
 */
#include "base/check.h"
#include "storage/memtable_state.h"

/* Entries that a run copies at a time, at most: 32 shards have 98 KiB of them. */
#define RUN_ROOM 64
/* When nobody says how many keys are wanted. */
#define RUN_ROOM_FIRST 16
#define FLUSH_BATCH 64
/* Shards that a scan asks for their first keys side by side, and whose locks it holds meanwhile. */
#define RUNS_TOGETHER 8

struct scan_run {
    struct merge_run run;
    struct memtable_scan *scan;
    struct memtable_shard *shard;
    /* Where both halves stand, and how many records they had: unless that changed, the cursors
     * still hold. */
    struct keytree_cursor cursors[2];
    struct keytree_record *at[2];
    uint64_t counts[2];
    uint64_t generation;
    bool begun;
    bool ended;
    struct bytes last; /* the key copied last; data NULL: none yet */
    uint32_t count;
    uint32_t next;
    struct key_item *items; /* scan->room of them */
};

struct memtable_scan {
    struct memtable *memtable;
    struct memtable_scan *free_next;
    struct memtable_scan_options options;
    uint64_t detach_count; /* as the scan began */
    uint64_t begin_ns;
    uint32_t room; /* entries that a run copies at a time */
    struct merge merge;
    struct merge_run *merge_runs[MEMTABLE_SHARDS_MAX];
    struct merge_node merge_nodes[MEMTABLE_SHARDS_MAX];
    /* One a shard, and behind them their items: the few of a short scan lie close together. */
    struct scan_run runs[];
};

/* Half 0 is the active one, 1 the snapshot, when the scan sees it. */
static struct memtable_half *run_half(const struct scan_run *run, int index)
{
    if (index == 0) {
        return shard_active(run->shard);
    }
    const struct memtable_scan *scan = run->scan;
    bool sees =
        run->shard->frozen || scan->detach_count < counter_get(&scan->memtable->detach_count);
    return sees ? shard_other(run->shard) : NULL;
}

/* Where the next copy begins. */
static struct bytes run_from(const struct scan_run *run)
{
    return run->last.data != NULL ? run->last : run->scan->options.begin;
}

/* Sends both cursors on their way, run_place() follows. The shard's lock is held. */
static void run_approach(struct scan_run *run)
{
    for (int i = 0; i < 2; i++) {
        const struct memtable_half *half = run_half(run, i);
        if (half != NULL) {
            keytree_approach(&half->tree, run_from(run), &run->cursors[i]);
        }
    }
}

/* Puts both cursors behind what was copied last, under the same lock as run_approach(). */
static void run_place(struct scan_run *run)
{
    uint32_t room = run->scan->room;
    uint32_t wanted = room < RUN_ROOM_FIRST ? room : UINT32_MAX; /* few, or who knows */
    struct bytes from = run_from(run);
    for (int i = 0; i < 2; i++) {
        const struct memtable_half *half = run_half(run, i);
        run->at[i] = NULL;
        run->counts[i] = half == NULL ? 0 : half->tree.count;
        if (half == NULL) {
            continue;
        }
        run->at[i] = keytree_arrive(from, wanted, &run->cursors[i]);
        if (run->last.data != NULL && run->at[i] != NULL &&
            bytes_equal(keytree_key(run->at[i]), from)) {
            run->at[i] = keytree_step(&run->cursors[i]);
        }
    }
    run->generation = run->shard->generation;
    run->begun = true;
}

static bool run_is_placed(const struct scan_run *run)
{
    if (!run->begun || run->generation != run->shard->generation) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        const struct memtable_half *half = run_half(run, i);
        if (run->counts[i] != (half == NULL ? 0 : half->tree.count)) {
            return false;
        }
    }
    return true;
}

/* The newest record of the next key, past it in both halves. NULL: the end. */
static struct keytree_record *run_take(struct scan_run *run)
{
    struct keytree_record *active = run->at[0];
    struct keytree_record *frozen = run->at[1];
    if (frozen == NULL) {
        run->at[0] = active == NULL ? NULL : keytree_step(&run->cursors[0]);
        return active;
    }
    int order = active == NULL ? 1 : bytes_compare(keytree_key(active), keytree_key(frozen));
    if (order <= 0) {
        run->at[0] = keytree_step(&run->cursors[0]);
    }
    if (order >= 0) {
        run->at[1] = keytree_step(&run->cursors[1]);
    }
    return order < 0 || (order == 0 && active->offset >= frozen->offset) ? active : frozen;
}

/* The shard's lock is held. */
static void run_copy(struct scan_run *run)
{
    struct bytes until = run->scan->options.until;
    uint32_t room = run->scan->room;
    if (!run_is_placed(run)) {
        run_approach(run);
        run_place(run);
    }
    while (run->count < room) {
        const struct keytree_record *record = run_take(run);
        if (record == NULL ||
            (until.data != NULL && bytes_compare(keytree_key(record), until) >= 0)) {
            run->ended = true;
            return;
        }
        run->last = keytree_key(record);
        if ((record->flags & KEY_REMOVED) == 0) {
            run->items[run->count] = (struct key_item){run->last, keytree_entry(record)};
            run->count += 1;
        }
    }
}

static enum status scan_advance(struct merge_run *merge_run)
{
    struct scan_run *run = CONTAINER_OF(merge_run, struct scan_run, run);
    if (run->next == run->count) {
        if (run->ended) {
            return STATUS_NOT_FOUND;
        }
        run->next = 0;
        run->count = 0;
        shard_lock(run->scan->memtable, run->shard);
        run_copy(run);
        shard_unlock(run->shard);
        if (run->count == 0) {
            return STATUS_NOT_FOUND;
        }
    }
    const struct key_item *item = &run->items[run->next];
    run->next += 1;
    run->run.key = item->key;
    run->run.offset = item->entry.offset;
    run->run.value = &item->entry;
    return STATUS_OK;
}

static size_t scan_size(const struct memtable *memtable)
{
    return sizeof(struct memtable_scan) +
           memtable->shard_count * (sizeof(struct scan_run) + RUN_ROOM * sizeof(struct key_item));
}

static struct memtable_scan *scan_acquire(struct memtable *memtable)
{
    memtable_lock(memtable);
    struct memtable_scan *scan = memtable->scans_free;
    if (scan == NULL) {
        scan = supply_acquire_beside(&memtable->supply, scan_size(memtable));
    } else {
        memtable->scans_free = scan->free_next;
    }
    if (scan != NULL) {
        scan->detach_count = counter_get(&memtable->detach_count);
        memtable->scan_counts[scan->detach_count & 1] += 1;
    }
    memtable_unlock(memtable);
    return scan;
}

/* The run's lock is not the one before it in the scan: one lock may guard all shards. */
static bool run_has_own_lock(const struct memtable_scan *scan, uint32_t index)
{
    return scan->runs[index].shard->guard != scan->runs[index - 1].shard->guard;
}

/*
 * The first copies of some runs from `first` on, `until` at most; answers where it stopped. Step by
 * step for all of them, so that memory answers side by side and not one after the other: that needs
 * their locks together, because a locked instruction waits for the loads before it. Only the first
 * lock is waited for: who waits holds none. With a million keys a scan of 10 takes 10 us so, of 32
 * shards, and 18 when they are asked in turn.
 */
static uint32_t scan_begin_runs(struct memtable_scan *scan, uint32_t first, uint32_t until)
{
    struct scan_run *runs = scan->runs;
    shard_lock(scan->memtable, runs[first].shard);
    uint32_t end = first + 1;
    while (end < until && (!run_has_own_lock(scan, end) || shard_trylock(runs[end].shard))) {
        end += 1;
    }
    for (uint32_t i = first; i < end; i++) {
        run_approach(&runs[i]);
    }
    for (uint32_t i = first; i < end; i++) {
        run_place(&runs[i]);
    }
    for (uint32_t i = first; i < end; i++) {
        run_copy(&runs[i]);
    }
    for (uint32_t i = first; i < end; i++) {
        if (i == first || run_has_own_lock(scan, i)) {
            shard_unlock(runs[i].shard);
        }
    }
    return end;
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
    uint32_t count = memtable->shard_count;
    scan->memtable = memtable;
    scan->options = *options;
    scan->begin_ns = begin_ns;
    /* What a shard has to give when keys are spread evenly, and a little more. */
    uint64_t share = (uint64_t)options->count_hint * 5 / 4 / count + 2;
    scan->room = options->count_hint == 0 ? RUN_ROOM_FIRST
                 : share > RUN_ROOM       ? RUN_ROOM
                                          : (uint32_t)share;
    for (uint32_t i = 0; i < count; i++) {
        struct scan_run *run = &scan->runs[i];
        run->run = (struct merge_run){.advance = scan_advance};
        run->scan = scan;
        run->shard = &memtable->shards[i];
        run->begun = run->ended = false;
        run->last = BYTES_NULL;
        run->count = run->next = 0;
        run->items = (struct key_item *)&scan->runs[count] + (size_t)i * scan->room;
        scan->merge_runs[i] = &run->run;
    }
    for (uint32_t i = 0; i < count;) {
        i = scan_begin_runs(scan, i, i + RUNS_TOGETHER < count ? i + RUNS_TOGETHER : count);
    }
    merge_init(&scan->merge, scan->merge_runs, scan->merge_nodes, count, MERGE_ALL);
    return scan;
}

bool memtable_scan_next(struct memtable_scan *scan, struct key_item *item)
{
    const struct merge_run *run;
    enum status status = merge_next(&scan->merge, &run);
    check(status == STATUS_OK || status == STATUS_NOT_FOUND); /* runs in memory fail at nothing */
    if (status == STATUS_OK) {
        item->key = run->key;
        item->entry = *(const struct key_entry *)run->value;
    }
    return status == STATUS_OK;
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
        supply_release_beside(&memtable->supply, scan, scan_size(memtable));
    }
}

/* ---- flush ---- */

static enum status flush_advance(struct merge_run *merge_run)
{
    struct memtable_flush_run *run = CONTAINER_OF(merge_run, struct memtable_flush_run, run);
    const struct keytree_record *record =
        run->begun ? keytree_step(&run->cursor)
                   : keytree_seek(run->tree, BYTES_LITERAL(""), UINT32_MAX, &run->cursor);
    run->begun = true;
    if (record == NULL) {
        return STATUS_NOT_FOUND;
    }
    merge_run->key = keytree_key(record);
    merge_run->offset = record->offset;
    merge_run->value = record;
    return STATUS_OK;
}

static void flush_begin(struct memtable *memtable)
{
    for (uint32_t i = 0; i < memtable->shard_count; i++) {
        struct memtable_flush_run *run = &memtable->flush_runs[i];
        *run = (struct memtable_flush_run){
            .run = {.advance = flush_advance},
            .tree = &shard_other(&memtable->shards[i])->tree,
        };
        memtable->merge_runs[i] = &run->run;
    }
    merge_init(&memtable->merge, memtable->merge_runs, memtable->merge_nodes, memtable->shard_count,
               MERGE_ALL);
    memtable->flushing = true;
}

enum status memtable_flush(struct memtable *memtable, struct key_sink *sink, uint64_t count_max)
{
    check_magic(memtable, MEMTABLE_MAGIC);
    check(memtable->state == MEMTABLE_FROZEN);
    if (!memtable->flushing) {
        flush_begin(memtable);
    }
    struct key_item items[FLUSH_BATCH];
    uint64_t given = 0;
    for (;;) {
        uint32_t count = 0;
        enum status merged = STATUS_OK;
        while (count < FLUSH_BATCH) {
            const struct merge_run *run;
            merged = merge_next(&memtable->merge, &run);
            if (merged != STATUS_OK) {
                break;
            }
            items[count++] = (struct key_item){run->key, keytree_entry(run->value)};
        }
        check(merged == STATUS_OK || merged == STATUS_NOT_FOUND);
        enum status taken = count == 0 ? STATUS_OK : sink->take(sink, items, count);
        if (taken != STATUS_OK && taken != STATUS_PENDING) {
            memtable->flushing = false;
            return taken;
        }
        if (merged == STATUS_NOT_FOUND) {
            memtable->flushing = false;
            return STATUS_OK; /* its last batch was taken, PENDING or not */
        }
        given += count;
        if (taken == STATUS_PENDING || given >= count_max) {
            return STATUS_PENDING;
        }
    }
}
