/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random histories of one log on the simulated ring, against an oracle: a plain array of batches.
 *
 *   partition_sim FIRST COUNT     seeds FIRST.. ; each in a process of its own
 *   partition_sim SEED            one seed here, for a debugger
 *
 * After each power cut, clean stop and reopen, and now and then:
 *   - every acknowledged batch is at its offset with its bytes; offsets are dense
 *   - no read gives a byte at or above the high watermark, and the high watermark covers exactly a
 *     prefix of what was sent
 *   - recovery run twice finds what it found once
 *   - duplicates get the offset of the original; last stable offset and aborted transactions are
 *     those of the oracle; a look-up by time finds the oracle's record
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "storage/epochs.h"
#include "storage/producers.h"
#include "tests/lib/log_world.h"
#include "wire/batch.h"
#include "wire/record.h"

#define ENTRIES_MAX 4096
#define PRODUCERS 4

#define require(expression)                                                                        \
    ((expression) ? (void)0                                                                        \
                  : (fprintf(stderr, "seed %llu: %s:%d: %s\n", (unsigned long long)history->seed,  \
                             __FILE__, __LINE__, #expression),                                     \
                     abort()))

struct entry {
    struct partition_append append;
    uint8_t *memory;
    bool done;
    bool marker;
    bool commit;
    int producer; /* -1 none */
    int32_t sequence;
    int64_t timestamp;
};

struct producer_model {
    int32_t next_sequence;
    bool transactional;
};

struct history {
    uint64_t seed;
    struct random random;
    struct log_world world;
    struct partition *partition;
    struct partition_config config;
    struct entry *entries[ENTRIES_MAX]; /* in the order sent; offsets rise */
    size_t count;
    size_t sent_total;
    struct producer_model producers[PRODUCERS];
    int64_t clock_ms;
    uint64_t ends;
    bool big;
};

static uint64_t pick(struct history *history, uint64_t bound)
{
    return random_below(&history->random, bound);
}

static void entry_done(struct partition_append *append)
{
    struct entry *entry = append->owner;
    check(!entry->done);
    entry->done = true;
}

static void open_partition(struct history *history, bool fresh)
{
    struct partition_options options = {
        .topic = "t", .index = 0, .leader_epoch = 1, .fresh = fresh, .config = history->config};
    memset(options.topic_id.bytes, 7, 16);
    enum status status = partition_open(&history->partition, history->world.store, &options);
    require(status == STATUS_OK);
}

static void tick(struct history *history, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (!log_world_tick(&history->world)) {
            return;
        }
    }
}

static size_t make_marker(uint8_t *memory, size_t size_max, bool commit, int64_t timestamp)
{
    struct batch_builder builder;
    batch_builder_init(&builder, memory, size_max);
    uint8_t key[4] = {0, 0, 0, commit};
    uint8_t value[6] = {0, 0, 0, 0, 0, 1};
    batch_builder_add(&builder, timestamp, bytes_of(key, 4), bytes_of(value, 6), NULL, 0);
    struct bytes out;
    struct batch_scratch scratch = {0};
    check(batch_builder_finish(&builder, CODEC_NONE, 0, scratch, 0, &out) == STATUS_OK);
    memmove(memory, out.data, out.size);
    return out.size;
}

static size_t pick_size(struct history *history)
{
    switch (pick(history, history->big ? 8 : 6)) {
    case 0:
        return 120;
    case 1:
    case 2:
        return 100 + pick(history, 2000);
    case 3:
    case 4:
        return 100 + pick(history, 30000);
    case 5:
        return 60000 + pick(history, 12000);
    default:
        return 65536 + pick(history, 300000);
    }
}

static void set_producer(struct history *history, struct entry *entry, size_t size)
{
    struct batch_header header;
    batch_header_decode(&header, entry->memory);
    header.producer_id = 1000 + entry->producer;
    header.producer_epoch = 3;
    header.base_sequence = entry->marker ? -1 : entry->sequence;
    if (history->producers[entry->producer].transactional) {
        header.attributes |= BATCH_TRANSACTIONAL;
    }
    if (entry->marker) {
        header.attributes |= BATCH_CONTROL;
    }
    batch_header_encode(&header, entry->memory);
    batch_seal(entry->memory, size);
}

static void submit(struct history *history, struct entry *entry, size_t size)
{
    entry->append = (struct partition_append){.batch = entry->memory,
                                              .size = size,
                                              .base_offset = -1,
                                              .now_ms = ring_wall_ms(history->world.ring),
                                              .done = entry_done,
                                              .owner = entry};
    batch_header_decode(&entry->append.header, entry->memory);
    partition_append(history->partition, &entry->append);
}

static void send_one(struct history *history)
{
    if (history->count == ENTRIES_MAX) {
        return;
    }
    struct entry *entry = calloc(1, sizeof(*entry));
    check(entry != NULL);
    entry->producer = (int)pick(history, PRODUCERS * 2) - PRODUCERS;
    entry->producer = entry->producer < 0 ? -1 : entry->producer;
    history->clock_ms += (int64_t)pick(history, 20);
    int32_t records = 1 + (int32_t)pick(history, 5);
    size_t wanted = pick_size(history);
    size_t room = wanted + 4096;
    entry->memory = malloc(room);
    check(entry->memory != NULL);
    entry->timestamp = history->clock_ms;
    size_t size;
    struct producer_model *producer =
        entry->producer < 0 ? NULL : &history->producers[entry->producer];
    if (producer != NULL && producer->transactional && pick(history, 3) == 0) {
        entry->marker = true;
        entry->commit = pick(history, 2) == 0;
        records = 1;
        size = make_marker(entry->memory, room, entry->commit, entry->timestamp);
    } else {
        size = log_batch_make(entry->memory, room, history->sent_total, records, wanted,
                              entry->timestamp);
    }
    if (producer != NULL) {
        entry->sequence = producer->next_sequence;
        producer->next_sequence += entry->marker ? 0 : records;
        set_producer(history, entry, size);
    }
    history->sent_total += 1;
    history->entries[history->count] = entry;
    history->count += 1;
    submit(history, entry, size);
}

/* ---- reads ---- */

struct got {
    struct partition_read read;
    bool done;
};

static void got_done(struct partition_read *read)
{
    ((struct got *)read->owner)->done = true;
}

/* Compares one read from `offset` with the oracle; answers the offset behind it. */
static int64_t read_and_compare(struct history *history, int64_t offset)
{
    struct got got = {.read = {.offset = offset,
                               .size_max = 1 + (uint32_t)pick(history, 500000),
                               .first_whole = true}};
    got.read.done = got_done;
    got.read.owner = &got;
    partition_read(history->partition, &got.read);
    require(log_world_until(&history->world, &got.done, 1000000));
    require(got.read.status == STATUS_OK);
    require(got.read.size > 0);
    size_t index = 0;
    while (index < history->count &&
           history->entries[index]->append.base_offset +
                   history->entries[index]->append.header.last_offset_delta <
               offset) {
        index += 1;
    }
    size_t within = 0;
    int64_t next = offset;
    for (int32_t i = 0; i < got.read.slice_count; i++) {
        struct bytes slice = got.read.slices[i];
        while (slice.size > 0) {
            require(index < history->count);
            struct entry *entry = history->entries[index];
            require(entry->append.base_offset >= 0);
            require(entry->append.base_offset < got.read.high_watermark);
            size_t part = entry->append.size - within;
            part = part < slice.size ? part : slice.size;
            require(memcmp(slice.data, entry->memory + within, part) == 0);
            within += part;
            slice.data += part;
            slice.size -= part;
            if (within == entry->append.size) {
                next = entry->append.base_offset + entry->append.header.last_offset_delta + 1;
                within = 0;
                index += 1;
            }
        }
    }
    partition_read_release(history->partition, &got.read);
    require(next > offset);
    return next;
}

static void read_everything(struct history *history)
{
    struct partition_facts facts = partition_facts(history->partition);
    int64_t offset = facts.log_start_offset;
    while (offset < facts.high_watermark) {
        offset = read_and_compare(history, offset);
    }
}

struct looked {
    struct partition_lookup lookup;
    bool done;
};

static void looked_done(struct partition_lookup *lookup)
{
    ((struct looked *)lookup->owner)->done = true;
}

static void look_up(struct history *history)
{
    struct looked looked = {
        .lookup = {.timestamp = 1 + (int64_t)pick(history, (uint64_t)(history->clock_ms + 20))}};
    int64_t high_watermark = partition_facts(history->partition).high_watermark;
    bool max = pick(history, 4) == 0;
    if (max) {
        looked.lookup.timestamp = LOOKUP_MAX_TIMESTAMP;
    }
    looked.lookup.done = looked_done;
    looked.lookup.owner = &looked;
    partition_lookup(history->partition, &looked.lookup);
    int64_t expected = -1;
    int64_t best = INT64_MIN;
    for (size_t i = 0; i < history->count; i++) {
        struct entry *entry = history->entries[i];
        if (entry->append.base_offset < 0 || entry->append.base_offset >= high_watermark) {
            continue;
        }
        for (int32_t k = 0; k <= entry->append.header.last_offset_delta; k++) {
            int64_t timestamp = entry->timestamp + k;
            if (max ? timestamp > best : (expected < 0 && timestamp >= looked.lookup.timestamp)) {
                best = timestamp;
                expected = entry->append.base_offset + k;
            }
        }
    }
    require(log_world_until(&history->world, &looked.done, 1000000));
    if (looked.lookup.status != STATUS_OK) {
        fprintf(stderr, "look-up: %s\n", status_name(looked.lookup.status));
    }
    require(looked.lookup.status == STATUS_OK);
    require(looked.lookup.offset == expected);
    require(expected < 0 || looked.lookup.timestamp_found == best);
}

/* Aborted transactions and last stable offset of the oracle, over everything below the high
 * watermark, against a read_committed read and the facts. */
static void check_transactions(struct history *history)
{
    struct partition_facts facts = partition_facts(history->partition);
    int64_t open[PRODUCERS];
    int64_t stable = facts.high_watermark;
    size_t aborted = 0;
    for (int i = 0; i < PRODUCERS; i++) {
        open[i] = -1;
    }
    for (size_t i = 0; i < history->count; i++) {
        struct entry *entry = history->entries[i];
        if (entry->append.base_offset < 0 || entry->append.base_offset >= facts.high_watermark ||
            entry->producer < 0 || !history->producers[entry->producer].transactional) {
            continue;
        }
        if (entry->marker) {
            aborted += !entry->commit && open[entry->producer] >= 0;
            open[entry->producer] = -1;
        } else if (open[entry->producer] < 0) {
            open[entry->producer] = entry->append.base_offset;
        }
    }
    for (int i = 0; i < PRODUCERS; i++) {
        if (open[i] >= 0 && open[i] < stable) {
            stable = open[i];
        }
    }
    require(facts.last_stable_offset == stable);
    static struct producers_aborted list[ENTRIES_MAX];
    int32_t count = producers_aborted_list(partition_producers(history->partition), 0,
                                           facts.high_watermark, list, ENTRIES_MAX);
    size_t durable = 0;
    for (int32_t i = 0; i < count; i++) {
        durable += list[i].last_offset < facts.high_watermark;
    }
    require(durable == aborted);
}

/* ---- ends ---- */

/* What the log must be after it was opened again: a prefix of what was sent. */
static void settle(struct history *history, bool all)
{
    struct partition_facts facts = partition_facts(history->partition);
    require(facts.high_watermark == facts.end_offset);
    require(!facts.epoch_bump_due);
    size_t kept = 0;
    int64_t offset = 0;
    for (size_t i = 0; i < history->count; i++) {
        struct entry *entry = history->entries[i];
        bool acked = entry->done && entry->append.status == STATUS_OK;
        bool placed = entry->append.base_offset >= 0 &&
                      entry->append.base_offset + entry->append.header.last_offset_delta <
                          facts.high_watermark;
        bool refused = entry->done && entry->append.status != STATUS_OK;
        require(placed || (!acked && (refused || !all)));
        if (!placed) {
            free(entry->memory);
            free(entry);
            continue;
        }
        require(entry->append.base_offset == offset);
        offset = entry->append.base_offset + entry->append.header.last_offset_delta + 1;
        entry->done = true; /* a power cut took the answer */
        entry->append.status = STATUS_OK;
        history->entries[kept] = entry;
        kept += 1;
    }
    require(offset == facts.high_watermark);
    history->count = kept;
    for (int i = 0; i < PRODUCERS; i++) {
        history->producers[i].next_sequence = 0;
    }
    for (size_t i = 0; i < kept; i++) {
        struct entry *entry = history->entries[i];
        if (entry->producer >= 0 && !entry->marker) {
            history->producers[entry->producer].next_sequence =
                entry->sequence + entry->append.header.last_offset_delta + 1;
        }
    }
    read_everything(history);
    check_transactions(history);
}

/* The last batch of a producer sent again gets the offset of the original. */
static void send_duplicate(struct history *history)
{
    for (size_t i = history->count; i > 0; i--) {
        struct entry *original = history->entries[i - 1];
        if (original->producer < 0 || original->marker || original->append.base_offset < 0) {
            continue;
        }
        for (size_t k = i; k < history->count; k++) {
            if (history->entries[k]->producer == original->producer) {
                return; /* a marker or a batch behind it: not the last one */
            }
        }
        struct entry twin = {.memory = malloc(original->append.size)};
        check(twin.memory != NULL);
        memcpy(twin.memory, original->memory, original->append.size);
        submit(history, &twin, original->append.size);
        require(log_world_until(&history->world, &twin.done, 1000000));
        require(twin.append.status == STATUS_OK);
        require(twin.append.base_offset == original->append.base_offset);
        free(twin.memory);
        return;
    }
}

static void power_cut(struct history *history)
{
    log_world_crash(&history->world);
    open_partition(history, false);
    int64_t found = partition_facts(history->partition).high_watermark;
    settle(history, false);
    if (pick(history, 2) == 0) {
        log_world_crash(&history->world); /* nothing was written: the same again */
        open_partition(history, false);
        require(partition_facts(history->partition).high_watermark == found);
        require(partition_facts(history->partition).cut_size == 0);
        settle(history, true);
    }
}

static void clean_stop(struct history *history)
{
    partition_close(history->partition, true);
    log_world_restart(&history->world);
    open_partition(history, false);
    settle(history, true);
}

/* A while of failing ops; afterwards everything is answered and the log goes on. False: the log is
 * read-only and what lies behind its end is anybody's guess. */
static bool fault_episode(struct history *history)
{
    static const uint32_t kinds[] = {1U << OP_WRITE, 1U << OP_WRITE, 1U << OP_ALLOCATE,
                                     1U << OP_SYNC | 1U << OP_OPEN | 1U << OP_RENAME |
                                         1U << OP_TRUNCATE | 1U << OP_MKDIR,
                                     1U << OP_READ};
    tick(history, 500);
    size_t choice = pick(history, 5);
    log_world_fail(&history->world, 1 + (uint32_t)pick(history, 10), kinds[choice],
                   choice == 2 ? ENOSPC : EIO);
    for (uint64_t i = 3 + pick(history, 10); i > 0; i--) {
        send_one(history);
        tick(history, pick(history, 10));
    }
    log_world_fail(&history->world, 0, 0, 0);
    log_world_sleep(&history->world, 5000);
    for (size_t i = 0; i < history->count; i++) {
        require(history->entries[i]->done);
    }
    struct partition_facts facts = partition_facts(history->partition);
    require(facts.state != PARTITION_FULL);
    if (facts.state == PARTITION_FAILED) {
        return false;
    }
    settle(history, true);
    return true;
}

static void data_file(char *path, size_t size, const char *name)
{
    int length = snprintf(path, size, "/data/t-0/%s", name);
    check(length > 0 && (size_t)length < size);
}

/* Names of the partition's files that end in `suffix`. */
static int list_files(struct history *history, const char *suffix, char names[64][64])
{
    static char memory[65536];
    struct ring_listing listing = {.names = memory, .size_max = sizeof(memory)};
    struct op op = {.kind = OP_LIST, .path = "/data/t-0", .listing = &listing};
    int64_t count = ring_call(history->world.ring, &op);
    const char *name = memory;
    int found = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t size = strlen(name);
        if (size > strlen(suffix) && size < 64 && found < 64 &&
            strcmp(name + size - strlen(suffix), suffix) == 0) {
            snprintf(names[found], 64, "%.63s", name);
            found += 1;
        }
        name += size + 1;
    }
    return found;
}

static void flip_some(struct history *history, const char *suffix, uint64_t flips)
{
    char names[64][64];
    char path[128];
    int count = list_files(history, suffix, names);
    for (uint64_t i = 0; count > 0 && i < flips; i++) {
        data_file(path, sizeof(path), names[pick(history, (uint64_t)count)]);
        uint64_t size = 0;
        if (sim_world_file(history->world.world, path, &size) != NULL && size > 0) {
            (void)log_world_flip(&history->world, path, pick(history, size), (int)pick(history, 8));
        }
    }
}

/* Every batch is served as it was, or refused. */
static void read_tolerantly(struct history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        struct entry *entry = history->entries[i];
        struct got got = {.read = {.offset = entry->append.base_offset, .first_whole = true}};
        got.read.size_max = 1;
        got.read.done = got_done;
        got.read.owner = &got;
        partition_read(history->partition, &got.read);
        require(log_world_until(&history->world, &got.done, 1000000));
        require(got.read.status == STATUS_OK || got.read.status == STATUS_CORRUPT_MESSAGE);
        size_t within = 0;
        for (int32_t k = 0; k < got.read.slice_count; k++) {
            struct bytes slice = got.read.slices[k];
            require(within + slice.size <= entry->append.size);
            require(memcmp(slice.data, entry->memory + within, slice.size) == 0);
            within += slice.size;
        }
        require(got.read.status != STATUS_OK || within == entry->append.size);
        partition_read_release(history->partition, &got.read);
    }
}

/* After a clean stop somebody damages or loses files. */
static void damage(struct history *history)
{
    char names[64][64];
    char path[128];
    partition_close(history->partition, true);
    log_world_restart(&history->world);
    int64_t end = history->count == 0 ? 0 : -1;
    if (end == 0) {
        open_partition(history, false);
        return;
    }
    switch (pick(history, 3)) {
    case 0: /* bits of tail files: D gets older at worst */
        flip_some(history, ".tail", 1 + pick(history, 6));
        open_partition(history, false);
        settle(history, true);
        break;
    case 1: { /* a folder as Kafka leaves it */
        int count = list_files(history, ".tail", names);
        for (int i = 0; i < count; i++) {
            data_file(path, sizeof(path), names[i]);
            struct op op = {.kind = OP_UNLINK, .path = path};
            require(ring_call(history->world.ring, &op) == 0);
            snprintf(strrchr(path, '.'), 8, ".index");
            op = (struct op){.kind = OP_OPEN, .path = path, .flags = OPEN_WRITE | OPEN_CREATE};
            int64_t file = ring_call(history->world.ring, &op);
            require(file >= 0);
            op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
            (void)ring_call(history->world.ring, &op);
        }
        open_partition(history, false);
        settle(history, true);
        break;
    }
    default: { /* bits of the log: found out, never served */
        struct entry *last = history->entries[history->count - 1];
        flip_some(history, ".log", 1 + pick(history, 4));
        open_partition(history, false);
        struct partition_facts facts = partition_facts(history->partition);
        require(facts.high_watermark ==
                last->append.base_offset + last->append.header.last_offset_delta + 1);
        read_tolerantly(history);
        partition_close(history->partition, false);
        history->partition = NULL;
        break;
    }
    }
}

/* One random step; false: the log is read-only now. */
static bool run_step(struct history *history, bool faulty)
{
    uint64_t choice = pick(history, 100);
    if (choice < 55) {
        send_one(history);
    } else if (choice < 85) {
        tick(history, 1 + pick(history, 12));
    } else if (choice < 88) {
        log_world_sleep(&history->world, pick(history, 3000));
    } else if (choice < 92) {
        struct partition_facts facts = partition_facts(history->partition);
        if (facts.high_watermark > 0) {
            (void)read_and_compare(history, (int64_t)pick(history, (uint64_t)facts.high_watermark));
        }
    } else if (choice < 94) {
        look_up(history);
    } else if (choice < 96) {
        send_duplicate(history);
    } else if (choice == 96 && history->ends < 8) {
        power_cut(history);
        history->ends += 1;
    } else if (choice == 97 && history->ends < 8) {
        clean_stop(history);
        history->ends += 1;
    } else if (choice == 98) {
        check_transactions(history);
    } else if (choice == 99 && faulty) {
        return fault_episode(history);
    }
    return true;
}

static void run_history(struct history *history, uint64_t seed)
{
    history->seed = seed;
    random_init(&history->random, seed);
    history->big = pick(history, 3) == 0;
    static const enum writer_kind writers[] = {WRITER_ALIGNED, WRITER_ALIGNED, WRITER_ALIGNED,
                                               WRITER_DIRECT, WRITER_BUFFERED};
    history->clock_ms = 1000;
    history->config = log_config_default();
    history->config.segment_size_max = (int64_t)(UINT64_C(65536) << pick(history, 6));
    if (history->big) {
        history->config.segment_size_max += 400000;
    } else if (history->config.segment_size_max < 80000) {
        history->config.segment_size_max = 80000;
    }
    history->producers[2].transactional = history->producers[3].transactional = true;
    struct log_world_options options = {
        .seed = seed,
        .slab_size = (size_t)(2 + pick(history, 30)) * 65536,
        .cache_size = (size_t)(64 + pick(history, 64)) * 65536,
        .files_max = 4 + (uint32_t)pick(history, 8),
        .disk_delay_ns_max = 1000 + pick(history, 300000),
        .writer = writers[pick(history, ARRAY_COUNT(writers))],
    };
    log_world_open(&history->world, &options);
    open_partition(history, true);
    bool faulty = pick(history, 4) == 0;
    bool writable = true;
    for (uint64_t steps = 100 + pick(history, 400); steps > 0 && writable; steps--) {
        writable = run_step(history, faulty);
    }
    if (writable) {
        power_cut(history);
        send_one(history);
        clean_stop(history);
        damage(history);
    }
    if (history->partition != NULL) {
        partition_close(history->partition, true);
    }
    log_world_close(&history->world);
    for (size_t i = 0; i < history->count; i++) {
        free(history->entries[i]->memory);
        free(history->entries[i]);
    }
}

/* A crash drops a store with all its memory, so each seed gets a process that ends with it. */
static bool run_seed(uint64_t seed)
{
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        static struct history history;
        run_history(&history, seed);
        _exit(0);
    }
    int result = 0;
    check(waitpid(child, &result, 0) == child);
    return WIFEXITED(result) && WEXITSTATUS(result) == 0;
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    if (argc == 2) {
        static struct history history;
        run_history(&history, first);
        _exit(0);
    }
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 100;
    uint64_t failed = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (!run_seed(seed)) {
            fprintf(stderr, "FAILED seed %llu; again with: %s %llu\n", (unsigned long long)seed,
                    argv[0], (unsigned long long)seed);
            failed += 1;
        }
    }
    printf("%llu histories, %llu failed\n", (unsigned long long)count, (unsigned long long)failed);
    return failed == 0 ? 0 : 1;
}
