/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writers, readers, scans and snapshots at once. The thread sanitizer runs it too.
 *
 * The cut is proved by tickets. Each put carries a ticket from one counter, and a floor: all
 * tickets below it belong to puts that had returned before this one was called. A snapshot that
 * holds a put must hold everything below its floor (T2); and what no snapshot holds must still be
 * in the table.
 *
 * The crowd of the second half is for the tree: leaves and inner nodes split everywhere, while
 * scans go through them.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/heap.h"
#include "base/random.h"
#include "storage/memtable.h"
#include "tests/lib/test.h"

#define WRITERS 4
#define PUTS 20000 /* of each writer */
#define SNAPSHOTS 40
#define TICKETS (WRITERS * PUTS)
#define RUN_SIZE_MAX (UINT64_C(1) << 28)

struct world {
    struct heap heap;
    struct memtable *memtable;
    _Atomic uint64_t tickets;
    /* A ticket that this writer's put is not below; UINT64_MAX: it has none in hand. */
    _Atomic uint64_t pending[WRITERS];
    _Atomic uint32_t running;
    _Atomic uint64_t scanned;
    uint8_t seen[TICKETS]; /* times a ticket was flushed */
};

struct writer {
    struct world *world;
    uint32_t index;
    pthread_t thread;
};

static size_t ticket_key(uint64_t ticket, char key[24])
{
    return (size_t)snprintf(key, 24, "ticket-%010llu", (unsigned long long)ticket);
}

static void *writer_run(void *argument)
{
    struct writer *writer = argument;
    struct world *world = writer->world;
    for (uint32_t i = 0; i < PUTS; i++) {
        atomic_store(&world->pending[writer->index], atomic_load(&world->tickets));
        uint64_t ticket = atomic_fetch_add(&world->tickets, 1);
        uint64_t floor = ticket;
        for (uint32_t other = 0; other < WRITERS; other++) {
            uint64_t pending = atomic_load(&world->pending[other]);
            floor = pending < floor ? pending : floor;
        }
        char key[24];
        struct key_item item = {bytes_of(key, ticket_key(ticket, key)),
                                {.offset = (int64_t)ticket, .timestamp = (int64_t)floor}};
        uint32_t taken;
        check(memtable_put(world->memtable, &item, 1, &taken) == STATUS_OK);
        atomic_store(&world->pending[writer->index], UINT64_MAX);
        struct key_entry entry;
        if (memtable_get(world->memtable, item.key, &entry)) {
            check(entry.offset == (int64_t)ticket);
        }
        while (writer->index == 0 && i == PUTS / 2 && atomic_load(&world->scanned) == 0) {
            sched_yield(); /* so that scans and puts do meet */
        }
    }
    atomic_fetch_sub(&world->running, 1);
    return NULL;
}

/* Counters are read by anybody at any time, while a release gives back what they tell of. */
static void expect_counters(const struct world *world, uint64_t *write_ops)
{
    struct memtable_shard_counters counters = memtable_counters(world->memtable);
    check(counters.count <= TICKETS);
    check(counters.size <= RUN_SIZE_MAX);
    check(counters.write_ops >= *write_ops && counters.write_ops <= TICKETS);
    *write_ops = counters.write_ops;
}

static void *scanner_run(void *argument)
{
    struct world *world = argument;
    uint64_t write_ops = 0;
    while (atomic_load(&world->running) > 0) {
        struct memtable_scan *scan =
            memtable_scan_open(world->memtable, &(struct memtable_scan_options){0});
        struct key_item item;
        char last[24];
        size_t last_size = 0;
        while (memtable_scan_next(scan, &item)) {
            check(last_size == 0 || bytes_compare(bytes_of(last, last_size), item.key) < 0);
            char key[24];
            check(
                bytes_equal(item.key, bytes_of(key, ticket_key((uint64_t)item.entry.offset, key))));
            memcpy(last, item.key.data, item.key.size);
            last_size = item.key.size;
        }
        memtable_scan_close(scan);
        expect_counters(world, &write_ops);
        /* Scans, not items: snapshots may have taken everything there was to see. */
        atomic_fetch_add_explicit(&world->scanned, 1, memory_order_relaxed);
    }
    return NULL;
}

struct ticket_sink {
    struct key_sink sink;
    struct world *world;
    int64_t floor; /* largest of the snapshot */
};

static enum status ticket_take(struct key_sink *sink, const struct key_item *items, uint32_t count)
{
    struct ticket_sink *to = CONTAINER_OF(sink, struct ticket_sink, sink);
    for (uint32_t i = 0; i < count; i++) {
        to->world->seen[items[i].entry.offset] += 1;
        to->floor = items[i].entry.timestamp > to->floor ? items[i].entry.timestamp : to->floor;
    }
    return STATUS_OK;
}

static void flush_snapshot(struct world *world)
{
    while (memtable_snapshot(world->memtable) != STATUS_OK) {
        sched_yield();
    }
    struct ticket_sink sink = {.sink = {.take = ticket_take}, .world = world};
    assert_int_equal(memtable_flush(world->memtable, &sink.sink, UINT64_MAX), STATUS_OK);
    for (int64_t i = 0; i < sink.floor; i++) {
        assert_int_equal(world->seen[i], 1);
    }
    while (memtable_release(world->memtable) != STATUS_OK) {
        sched_yield();
    }
}

static void run(enum memtable_locks locks, uint32_t shard_count)
{
    struct world *world = calloc(1, sizeof(*world));
    heap_init(&world->heap, UINT64_C(1) << 30);
    world->memtable = memtable_open(&(struct memtable_options){.heap = &world->heap,
                                                               .shard_count = shard_count,
                                                               .locks = locks,
                                                               .size_max = RUN_SIZE_MAX,
                                                               .bloom_rate = 0.01,
                                                               .bloom_count = TICKETS});
    assert_non_null(world->memtable);
    struct writer writers[WRITERS];
    pthread_t scanner;
    world->running = WRITERS;
    for (uint32_t i = 0; i < WRITERS; i++) {
        atomic_store(&world->pending[i], UINT64_MAX);
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.world = world, .index = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, writer_run, &writers[i]), 0);
    }
    assert_int_equal(pthread_create(&scanner, NULL, scanner_run, world), 0);
    for (uint64_t i = 1; i <= SNAPSHOTS; i++) {
        while (atomic_load(&world->tickets) < i * TICKETS / (SNAPSHOTS + 1)) {
            sched_yield();
        }
        flush_snapshot(world);
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
    }
    pthread_join(scanner, NULL);
    flush_snapshot(world);
    for (uint64_t i = 0; i < TICKETS; i++) {
        assert_int_equal(world->seen[i], 1);
    }
    assert_int_equal(memtable_counters(world->memtable).count, 0);
    assert_int_equal(memtable_counters(world->memtable).write_ops, TICKETS);
    memtable_close(world->memtable);
    heap_deinit(&world->heap);
    free(world);
}

/* ---- scans among writers of keys at random places ---- */

#define CROWD_WRITERS 4
#define CROWD_SCANNERS 2
#define CROWD_KEYS 16384 /* a power of two; of each writer */

struct crowd {
    struct memtable *memtable;
    _Atomic uint32_t written[CROWD_WRITERS]; /* keys that are there for good */
    _Atomic uint32_t running;
};

struct crowd_member {
    struct crowd *crowd;
    uint32_t index;
    pthread_t thread;
};

/* All numbers of a writer once, in no order. */
static uint32_t crowd_number(uint32_t writer, uint32_t i)
{
    return (i * 2654435761U % CROWD_KEYS) * CROWD_WRITERS + writer;
}

static size_t crowd_key(uint32_t number, char key[16])
{
    return (size_t)snprintf(key, 16, "crowd-%08u", number);
}

/* An entry of which every field tells the others. */
static struct key_entry crowd_entry(uint32_t number, uint32_t round)
{
    int64_t offset = (int64_t)round * CROWD_KEYS * CROWD_WRITERS + number;
    return (struct key_entry){.offset = offset,
                              .timestamp = offset * 3,
                              .position = (uint32_t)offset * 5,
                              .size = (uint32_t)offset * 7};
}

static void crowd_put(struct crowd *crowd, uint32_t number, uint32_t round)
{
    char key[16];
    struct key_item item = {bytes_of(key, crowd_key(number, key)), crowd_entry(number, round)};
    uint32_t taken;
    check(memtable_put(crowd->memtable, &item, 1, &taken) == STATUS_OK);
}

static void *crowd_write(void *argument)
{
    struct crowd_member *member = argument;
    struct crowd *crowd = member->crowd;
    for (uint32_t i = 0; i < CROWD_KEYS; i++) {
        crowd_put(crowd, crowd_number(member->index, i), 0);
        atomic_store(&crowd->written[member->index], i + 1);
        crowd_put(crowd, crowd_number(member->index, i / 2), i + 1); /* one that scans look at */
    }
    atomic_fetch_sub(&crowd->running, 1);
    return NULL;
}

/* Every key that was there before the scan, once, in order, with a whole entry. */
static void crowd_scan_once(struct crowd *crowd, uint8_t *seen)
{
    uint32_t written[CROWD_WRITERS];
    for (uint32_t i = 0; i < CROWD_WRITERS; i++) {
        written[i] = atomic_load(&crowd->written[i]);
    }
    memset(seen, 0, (size_t)CROWD_KEYS * CROWD_WRITERS);
    struct memtable_scan *scan =
        memtable_scan_open(crowd->memtable, &(struct memtable_scan_options){0});
    check(scan != NULL);
    struct key_item item;
    int64_t last = -1;
    while (memtable_scan_next(scan, &item)) {
        uint32_t number = (uint32_t)(item.entry.offset % (CROWD_KEYS * CROWD_WRITERS));
        uint32_t round = (uint32_t)(item.entry.offset / (CROWD_KEYS * CROWD_WRITERS));
        struct key_entry whole = crowd_entry(number, round);
        char key[16];
        check(bytes_equal(item.key, bytes_of(key, crowd_key(number, key))));
        check(item.entry.timestamp == whole.timestamp);
        check(item.entry.position == whole.position);
        check(item.entry.size == whole.size);
        check((int64_t)number > last);
        last = number;
        seen[number] = 1;
    }
    memtable_scan_close(scan);
    for (uint32_t writer = 0; writer < CROWD_WRITERS; writer++) {
        for (uint32_t i = 0; i < written[writer]; i++) {
            check(seen[crowd_number(writer, i)] == 1);
        }
    }
}

/* A scan from a key that is there begins with it. */
static void crowd_seek(struct crowd *crowd, struct random *random)
{
    uint32_t writer = (uint32_t)random_below(random, CROWD_WRITERS);
    uint32_t written = atomic_load(&crowd->written[writer]);
    if (written == 0) {
        return;
    }
    char key[16];
    uint32_t number = crowd_number(writer, (uint32_t)random_below(random, written));
    struct bytes begin = bytes_of(key, crowd_key(number, key));
    struct memtable_scan *scan = memtable_scan_open(
        crowd->memtable, &(struct memtable_scan_options){.begin = begin, .count_hint = 1});
    check(scan != NULL);
    struct key_item item;
    check(memtable_scan_next(scan, &item));
    check(bytes_equal(item.key, begin));
    memtable_scan_close(scan);
}

static void *crowd_scan(void *argument)
{
    struct crowd_member *member = argument;
    struct random random;
    random_init(&random, member->index);
    uint8_t *seen = malloc((size_t)CROWD_KEYS * CROWD_WRITERS);
    do {
        crowd_scan_once(member->crowd, seen);
        for (int i = 0; i < 2000; i++) {
            crowd_seek(member->crowd, &random);
        }
    } while (atomic_load(&member->crowd->running) > 0);
    crowd_scan_once(member->crowd, seen);
    free(seen);
    return NULL;
}

static void run_crowd(enum memtable_locks locks, uint32_t shard_count)
{
    struct heap heap;
    heap_init(&heap, UINT64_C(1) << 30);
    struct crowd crowd = {
        .memtable = memtable_open(&(struct memtable_options){.heap = &heap,
                                                             .shard_count = shard_count,
                                                             .locks = locks,
                                                             .size_max = UINT64_C(1) << 28})};
    assert_non_null(crowd.memtable);
    crowd.running = CROWD_WRITERS;
    struct crowd_member members[CROWD_WRITERS + CROWD_SCANNERS] = {0};
    for (uint32_t i = 0; i < ARRAY_COUNT(members); i++) {
        members[i].crowd = &crowd;
        members[i].index = i;
        assert_int_equal(pthread_create(&members[i].thread, NULL,
                                        i < CROWD_WRITERS ? crowd_write : crowd_scan, &members[i]),
                         0);
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(members); i++) {
        pthread_join(members[i].thread, NULL);
    }
    assert_int_equal(memtable_counters(crowd.memtable).count, CROWD_KEYS * CROWD_WRITERS);
    memtable_close(crowd.memtable);
    heap_deinit(&heap);
}

/* ---- a table that gets full while several write ---- */

#define FULL_WRITERS 4
#define FULL_KEYS 4000 /* tried by each writer: far more than there is room for */
#define FULL_SIZE_MAX 300000

struct full_writer {
    struct memtable *memtable;
    uint32_t index;
    pthread_t thread;
    bool taken[FULL_KEYS];
};

static size_t full_key(uint32_t number, char key[24])
{
    return (size_t)snprintf(key, 24, "%08x", number * 2654435761U);
}

/* Goes on behind the first refusal: smaller needs may still be met, and what was refused must not
 * stand anywhere. */
static void *full_write(void *argument)
{
    struct full_writer *writer = argument;
    for (uint32_t i = 0; i < FULL_KEYS; i++) {
        char key[24];
        uint32_t number = i * FULL_WRITERS + writer->index;
        struct key_item item = {bytes_of(key, full_key(number, key)), {.offset = number}};
        uint32_t taken;
        enum status status = memtable_put(writer->memtable, &item, 1, &taken);
        check(status == (taken == 1 ? STATUS_OK : STATUS_NO_MEMORY));
        writer->taken[i] = taken == 1;
    }
    return NULL;
}

struct full_sink {
    struct key_sink sink;
    uint64_t count;
};

static enum status full_take(struct key_sink *sink, const struct key_item *items, uint32_t count)
{
    struct full_sink *to = CONTAINER_OF(sink, struct full_sink, sink);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(items[i].entry.flags, 0);
    }
    to->count += count;
    return STATUS_OK;
}

/* Every key that was taken is there, and no other: by hash, in order, in a snapshot. */
static void expect_taken(struct memtable *memtable, const struct full_writer *writers)
{
    uint64_t taken = 0;
    for (uint32_t number = 0; number < FULL_KEYS * FULL_WRITERS; number++) {
        char key[24];
        struct key_entry entry;
        bool there = writers[number % FULL_WRITERS].taken[number / FULL_WRITERS];
        struct bytes bytes = bytes_of(key, full_key(number, key));
        assert_int_equal(memtable_get(memtable, bytes, &entry), there);
        taken += there;
    }
    assert_in_range(taken, 1000, FULL_KEYS * FULL_WRITERS - 1);
    assert_int_equal(memtable_counters(memtable).count, taken);
    struct memtable_scan *scan = memtable_scan_open(memtable, &(struct memtable_scan_options){0});
    uint64_t scanned = 0;
    for (struct key_item item; memtable_scan_next(scan, &item); scanned++) {
        uint32_t number = (uint32_t)item.entry.offset;
        assert_true(writers[number % FULL_WRITERS].taken[number / FULL_WRITERS]);
    }
    memtable_scan_close(scan);
    assert_int_equal(scanned, taken);
    assert_int_equal(memtable_snapshot(memtable), STATUS_OK);
    struct full_sink sink = {.sink = {.take = full_take}};
    assert_int_equal(memtable_flush(memtable, &sink.sink, UINT64_MAX), STATUS_OK);
    assert_int_equal(sink.count, taken);
}

static void run_full(enum memtable_locks locks, uint32_t shard_count)
{
    struct heap heap;
    heap_init(&heap, UINT64_C(1) << 30);
    struct memtable *memtable = memtable_open(&(struct memtable_options){
        .heap = &heap, .shard_count = shard_count, .locks = locks, .size_max = FULL_SIZE_MAX});
    assert_non_null(memtable);
    struct full_writer *writers = calloc(FULL_WRITERS, sizeof(*writers));
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < FULL_WRITERS; i++) {
            writers[i].memtable = memtable;
            writers[i].index = i;
            assert_int_equal(pthread_create(&writers[i].thread, NULL, full_write, &writers[i]), 0);
        }
        for (uint32_t i = 0; i < FULL_WRITERS; i++) {
            pthread_join(writers[i].thread, NULL);
        }
        assert_in_range(memtable_size(memtable), 1, FULL_SIZE_MAX);
        expect_taken(memtable, writers);
        assert_int_equal(memtable_release(memtable), STATUS_OK);
        assert_int_equal(memtable_size(memtable), 0);
    }
    free(writers);
    memtable_close(memtable);
    heap_deinit(&heap);
}

static void a_table_that_gets_full_keeps_what_it_took(void **state)
{
    (void)state;
    run_full(MEMTABLE_LOCKS_SHARDS, 32);
    run_full(MEMTABLE_LOCKS_SHARDS, 1);
    run_full(MEMTABLE_LOCKS_ONE, 8);
}

/* ---- keys that stay while generations come and go ---- */

#define STAY_KEYS 1000
#define STAY_ROUNDS 60
#define STAY_SCANS_MIN 20

/* Every key is put again after each snapshot, before that is released: so at any time each one is
 * there, in one generation or in two. The entry's offset is the round. */
struct stay {
    struct memtable *memtable;
    _Atomic int64_t begun; /* rounds */
    _Atomic int64_t done;
    _Atomic uint32_t scans;
    _Atomic bool over;
};

static size_t stay_key(uint32_t number, char key[24])
{
    return (size_t)snprintf(key, 24, "stay-%08u", number);
}

static void stay_put_all(struct stay *stay, int64_t round)
{
    atomic_store(&stay->begun, round);
    for (uint32_t i = 0; i < STAY_KEYS; i++) {
        char key[24];
        /* 577 and STAY_KEYS have no divisor in common. */
        struct key_item item = {bytes_of(key, stay_key(i * 577 % STAY_KEYS, key)),
                                {.offset = round}};
        uint32_t taken;
        check(memtable_put(stay->memtable, &item, 1, &taken) == STATUS_OK);
    }
    atomic_store(&stay->done, round);
}

static void stay_scan_once(struct stay *stay)
{
    int64_t least = atomic_load(&stay->done);
    struct memtable_scan *scan = memtable_scan_open(
        stay->memtable, &(struct memtable_scan_options){.begin = BYTES_LITERAL("stay-"),
                                                        .until = BYTES_LITERAL("stay.")});
    check(scan != NULL);
    struct key_item item;
    for (uint32_t i = 0; i < STAY_KEYS; i++) {
        char key[24];
        check(memtable_scan_next(scan, &item));
        check(bytes_equal(item.key, bytes_of(key, stay_key(i, key))));
        check(item.entry.offset >= least);
        check(item.entry.offset <= atomic_load(&stay->begun));
    }
    check(!memtable_scan_next(scan, &item));
    memtable_scan_close(scan);
}

static void *stay_scan(void *argument)
{
    struct stay *stay = argument;
    while (!atomic_load(&stay->over)) {
        stay_scan_once(stay);
        atomic_fetch_add(&stay->scans, 1);
    }
    return NULL;
}

static void *stay_get(void *argument)
{
    struct stay *stay = argument;
    for (uint32_t i = 0; !atomic_load(&stay->over); i++) {
        char key[24];
        struct key_entry entry;
        int64_t least = atomic_load(&stay->done);
        check(memtable_get(stay->memtable, bytes_of(key, stay_key(i % STAY_KEYS, key)), &entry));
        check(entry.offset >= least);
    }
    return NULL;
}

/* A key that was removed stays so, whatever becomes of the generation that had it. */
static void *stay_remove(void *argument)
{
    struct stay *stay = argument;
    for (int64_t offset = 1; !atomic_load(&stay->over); offset++) {
        char text[24];
        struct bytes key =
            bytes_of(text, (size_t)snprintf(text, 24, "go-%u", (uint32_t)offset % 50));
        struct key_item item = {key, {.offset = offset}};
        uint32_t taken;
        struct key_entry entry;
        check(memtable_put(stay->memtable, &item, 1, &taken) == STATUS_OK);
        check(memtable_remove(stay->memtable, key, offset) == STATUS_OK);
        check(!memtable_get(stay->memtable, key, &entry));
        sched_yield();
    }
    return NULL;
}

static void run_stay(enum memtable_locks locks, uint32_t shard_count)
{
    struct heap heap;
    heap_init(&heap, UINT64_C(1) << 30);
    struct stay stay = {
        .memtable = memtable_open(&(struct memtable_options){.heap = &heap,
                                                             .shard_count = shard_count,
                                                             .locks = locks,
                                                             .size_max = UINT64_C(1) << 28})};
    assert_non_null(stay.memtable);
    stay_put_all(&stay, 0);
    void *(*const runs[])(void *) = {stay_scan, stay_scan, stay_get, stay_remove};
    pthread_t threads[ARRAY_COUNT(runs)];
    for (size_t i = 0; i < ARRAY_COUNT(runs); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, runs[i], &stay), 0);
    }
    for (int64_t round = 1; round <= STAY_ROUNDS || atomic_load(&stay.scans) < STAY_SCANS_MIN;
         round++) {
        assert_int_equal(memtable_snapshot(stay.memtable), STATUS_OK);
        stay_put_all(&stay, round);
        while (memtable_release(stay.memtable) != STATUS_OK) {
            sched_yield();
        }
    }
    atomic_store(&stay.over, true);
    for (size_t i = 0; i < ARRAY_COUNT(runs); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(memtable_counters(stay.memtable).count, STAY_KEYS);
    memtable_close(stay.memtable);
    heap_deinit(&heap);
}

static void a_key_is_never_lost_between_two_generations(void **state)
{
    (void)state;
    run_stay(MEMTABLE_LOCKS_SHARDS, 32);
    run_stay(MEMTABLE_LOCKS_SHARDS, 1);
    run_stay(MEMTABLE_LOCKS_ONE, 8);
}

static void scans_among_writers_miss_nothing_that_was_there(void **state)
{
    (void)state;
    run_crowd(MEMTABLE_LOCKS_SHARDS, 32);
    run_crowd(MEMTABLE_LOCKS_SHARDS, 1);
    run_crowd(MEMTABLE_LOCKS_ONE, 8);
}

static void every_snapshot_is_one_cut_with_a_lock_for_each_shard(void **state)
{
    (void)state;
    run(MEMTABLE_LOCKS_SHARDS, 32);
    run(MEMTABLE_LOCKS_SHARDS, 5);
}

static void every_snapshot_is_one_cut_with_one_lock(void **state)
{
    (void)state;
    run(MEMTABLE_LOCKS_ONE, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_snapshot_is_one_cut_with_a_lock_for_each_shard),
        cmocka_unit_test(every_snapshot_is_one_cut_with_one_lock),
        cmocka_unit_test(scans_among_writers_miss_nothing_that_was_there),
        cmocka_unit_test(a_table_that_gets_full_keeps_what_it_took),
        cmocka_unit_test(a_key_is_never_lost_between_two_generations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
