/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mixes of YCSB, A to F, on the index and a log in memory (R46). A write appends its key's
 * number to the log and puts the position into the index; a read gets the position and compares
 * what lies there. At the end every key must be found with the newest position it was given: no
 * update lost.
 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "benchmarks/004_memtable/suite.h"

#define THETA 0.99
#define SCAN_MAX 100

struct mix {
    const char *name;
    int read; /* percent, the rest in this order */
    int update;
    int insert;
    int scan;
    int modify;  /* read, then update */
    bool latest; /* reads go for what was inserted last */
};

struct log {
    const struct table_kind *kind;
    void *table;
    const struct mix *mix;
    struct zipf zipf;
    uint64_t *numbers; /* of the key that was written at this offset */
    uint64_t room;
    _Atomic uint64_t end;
    _Atomic uint64_t key_count; /* keys loaded and inserted */
    _Atomic int64_t *newest;    /* offset of each key */
};

struct client {
    struct log *log;
    int index;
    uint64_t op_count;
    struct latency latency;
    uint64_t begin_ns;
    uint64_t end_ns;
    pthread_t thread;
};

static void log_write(struct log *log, uint64_t number)
{
    uint64_t offset = atomic_fetch_add(&log->end, 1);
    check(offset < log->room);
    uint8_t memory[KEY_SIZE];
    log->numbers[offset] = number;
    log->kind->put(log->table, key_of(number, memory), (int64_t)offset);
    int64_t before = atomic_load(&log->newest[number]);
    while (before < (int64_t)offset &&
           !atomic_compare_exchange_weak(&log->newest[number], &before, (int64_t)offset)) {
    }
}

static void log_read(struct log *log, uint64_t number)
{
    uint8_t memory[KEY_SIZE];
    struct key_entry entry;
    bool found = log->kind->get(log->table, key_of(number, memory), &entry);
    /* An insert counts its key before it is in the index. */
    check(!found || log->numbers[entry.offset] == number);
}

static void log_scan(struct log *log, uint64_t number, uint32_t count)
{
    uint8_t memory[KEY_SIZE];
    struct memtable_scan *scan = memtable_scan_open(
        table_of(log->table),
        &(struct memtable_scan_options){.begin = key_of(number, memory), .count_hint = count});
    struct key_item item;
    for (uint32_t i = 0; i < count && memtable_scan_next(scan, &item); i++) {
        check(item.entry.offset >= 0);
    }
    memtable_scan_close(scan);
}

static uint64_t log_choose(const struct log *log, struct random *random)
{
    uint64_t count = atomic_load(&log->key_count);
    uint64_t number = zipf_next(&log->zipf, random);
    return log->mix->latest ? count - 1 - number % count : number;
}

static void client_op(struct client *client, struct random *random)
{
    struct log *log = client->log;
    const struct mix *mix = log->mix;
    int dice = (int)random_below(random, 100);
    if (dice < mix->read) {
        log_read(log, log_choose(log, random));
    } else if (dice < mix->read + mix->update) {
        log_write(log, log_choose(log, random));
    } else if (dice < mix->read + mix->update + mix->insert) {
        log_write(log, atomic_fetch_add(&log->key_count, 1));
    } else if (dice < mix->read + mix->update + mix->insert + mix->scan) {
        log_scan(log, log_choose(log, random), 1 + (uint32_t)random_below(random, SCAN_MAX));
    } else {
        uint64_t number = log_choose(log, random);
        log_read(log, number);
        log_write(log, number);
    }
}

static void *client_run(void *argument)
{
    struct client *client = argument;
    struct random random;
    random_init(&random, 100 + (uint64_t)client->index);
    client->begin_ns = clock_ns();
    for (uint64_t i = 0; i < client->op_count; i++) {
        uint64_t begin = tick_now();
        client_op(client, &random);
        latency_add(&client->latency, tick_span(begin, tick_now()));
    }
    client->end_ns = clock_ns();
    return NULL;
}

static void log_check(const struct log *log)
{
    for (uint64_t number = 0; number < log->key_count; number++) {
        uint8_t memory[KEY_SIZE];
        struct key_entry entry;
        check(log->kind->get(log->table, key_of(number, memory), &entry));
        check(entry.offset == log->newest[number]);
    }
}

struct rival {
    const char *name; /* of its rows */
    const struct table_kind *kind;
    uint32_t shards;
};

static void ycsb_run(struct suite *suite, const struct rival *rival, const struct mix *mix,
                     struct row *row)
{
    const struct table_kind *kind = rival->kind;
    uint64_t op_count = !suite->options.full ? 100000 : mix->scan > 0 ? 1000000 : 2000000;
    uint64_t room = suite->key_count + op_count;
    struct form form = {
        .shards = rival->shards, .locks = MEMTABLE_LOCKS_SHARDS, .seed = SUITE_SEED};
    struct log log = {.kind = kind, .table = kind->open(&form), .mix = mix, .room = room};
    zipf_init(&log.zipf, suite->key_count, THETA);
    log.numbers = calloc(room, sizeof(*log.numbers));
    log.newest = calloc(room, sizeof(*log.newest));
    for (uint64_t i = 0; i < suite->key_count; i++) {
        log_write(&log, i);
    }
    log.key_count = suite->key_count;
    struct client *clients = calloc((size_t)row->threads, sizeof(*clients));
    row_begin(row);
    for (int i = 0; i < row->threads; i++) {
        clients[i].log = &log;
        clients[i].index = i;
        clients[i].op_count = op_count / (uint64_t)row->threads;
        check(pthread_create(&clients[i].thread, NULL, client_run, &clients[i]) == 0);
    }
    uint64_t begin_ns = UINT64_MAX;
    uint64_t end_ns = 0;
    for (int i = 0; i < row->threads; i++) {
        pthread_join(clients[i].thread, NULL);
        latency_merge(row->latency, &clients[i].latency);
        begin_ns = clients[i].begin_ns < begin_ns ? clients[i].begin_ns : begin_ns;
        end_ns = clients[i].end_ns > end_ns ? clients[i].end_ns : end_ns;
    }
    row_end_in(row, op_count, op_count * KEY_SIZE, (double)(end_ns - begin_ns) / 1e9);
    if (kind == &table_memtable) {
        log_check(&log);
        snprintf(row->extra, sizeof(row->extra), "lost=0 of %llu keys, %llu writes",
                 (unsigned long long)log.key_count, (unsigned long long)log.end);
    }
    kind->close(log.table);
    free(clients);
    free(log.numbers);
    free((void *)log.newest);
}

/* The rivals of one mix run by turns. */
static void ycsb_group(struct suite *suite, const struct mix *mix, int threads)
{
    /* No scan in the others: they are driven by put and get. */
    const struct rival rivals[] = {
        {"plain", &table_plain, 1},
        {"rocksdb", table_rocksdb(), 1},
        {"single", &table_memtable, 1},
        {"ycsb", &table_memtable, 32},
    };
    struct row rows[ARRAY_COUNT(rivals)];
    for (size_t k = 0; k < ARRAY_COUNT(rivals); k++) {
        rows[k] = suite_row(rivals[k].name, threads, FIGURE_OPS, calloc(1, sizeof(struct latency)));
        snprintf(rows[k].params, sizeof(rows[k].params),
                 "op=ycsb mix=%s shards=%u zipf=%.2f keys=%llu", mix->name, rivals[k].shards, THETA,
                 (unsigned long long)suite->key_count);
    }
    for (int run = 0; run < suite->runs; run++) {
        for (size_t k = 0; k < ARRAY_COUNT(rivals); k++) {
            bool able =
                rivals[k].kind != NULL && (rivals[k].kind == &table_memtable || mix->scan == 0);
            if (able && suite_wants(suite, rivals[k].name, &rows[k])) {
                ycsb_run(suite, &rivals[k], mix, &rows[k]);
            }
        }
    }
    for (size_t k = 0; k < ARRAY_COUNT(rivals); k++) {
        /* One shard stands beside the plain map, 32 beside one. */
        const struct row *anchors[] = {NULL, &rows[0], &rows[0], &rows[2]};
        report_row(&suite->report, &rows[k], anchors[k]);
        free(rows[k].latency);
    }
}

void rows_ycsb(struct suite *suite)
{
    static const struct mix mixes[] = {
        {"A", 50, 50, 0, 0, 0, false}, {"B", 95, 5, 0, 0, 0, false}, {"C", 100, 0, 0, 0, 0, false},
        {"D", 95, 0, 5, 0, 0, true},   {"E", 0, 0, 5, 95, 0, false}, {"F", 50, 0, 0, 0, 50, false},
    };
    static const int threads[] = {2, 8, 64};
    for (size_t i = 0; i < ARRAY_COUNT(mixes); i++) {
        for (size_t t = 0; t < (suite->options.full ? ARRAY_COUNT(threads) : 1); t++) {
            ycsb_group(suite, &mixes[i], threads[t]);
        }
    }
}
