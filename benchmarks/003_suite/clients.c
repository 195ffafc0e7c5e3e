/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producers and consumers on threads of their own, one log. The log belongs to one core; the others
 * send it letters, each with one on its way, and verify what they get themselves.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mailbox.h"
#include "base/random.h"
#include "benchmarks/003_suite/suite.h"
#include "wire/batch.h"

#define CLIENTS_MAX 8
#define CONSUMER_RECORDS 10000

struct client {
    struct mail mail;
    struct hub *hub;
    pthread_t thread;
    sem_t answered;
    bool consumer;
    uint64_t count; /* operations done */
    struct partition_append append;
    struct partition_read read;
    struct random random;
    uint8_t *memory;
    size_t size;
    struct latency latency;
};

struct hub {
    struct mailbox mailbox;
    struct bench_log *log;
    struct plain_log *plain; /* the anchor: no letters, its lock */
    size_t record_size;
    uint64_t until_ns;
    atomic_int running;
};

static void client_answer(struct client *client)
{
    sem_post(&client->answered);
}

static void append_done(struct partition_append *append)
{
    check(append->status == STATUS_OK);
    client_answer(append->owner);
}

static void read_done(struct partition_read *read)
{
    struct client *client = read->owner;
    check(read->status == STATUS_OK && read->size == client->size);
    size_t used = 0;
    for (int32_t i = 0; i < read->slice_count; i++) {
        memcpy(client->memory + used, read->slices[i].data, read->slices[i].size);
        used += read->slices[i].size;
    }
    partition_read_release(client->hub->log->partition, read);
    client_answer(client);
}

static void client_deliver(struct mail *mail)
{
    struct client *client = CONTAINER_OF(mail, struct client, mail);
    struct partition *partition = client->hub->log->partition;
    if (client->consumer) {
        client->read = (struct partition_read){
            .offset = (int64_t)random_below(&client->random, CONSUMER_RECORDS),
            .size_max = 1,
            .first_whole = true,
            .done = read_done,
            .owner = client};
        partition_read(partition, &client->read);
    } else {
        partition_append(partition, &client->append);
    }
}

static void client_plain(struct client *client)
{
    struct hub *hub = client->hub;
    if (client->consumer) {
        uint64_t offset = random_below(&client->random, CONSUMER_RECORDS);
        check(plain_read(hub->plain, offset, client->memory, (uint32_t)client->size) > 0);
    } else {
        plain_append(hub->plain, client->memory, (uint32_t)hub->record_size);
        plain_sync(hub->plain);
    }
}

static void client_letter(struct client *client)
{
    struct hub *hub = client->hub;
    struct bytes batch = bytes_of(client->memory, client->size);
    struct batch_header header;
    if (!client->consumer) {
        client->append = (struct partition_append){.batch = client->memory,
                                                   .size = client->size,
                                                   .now_ms = 1000,
                                                   .done = append_done,
                                                   .owner = client};
        check(batch_check(batch, &client->append.header) == STATUS_OK);
    }
    if (mailbox_send(&hub->mailbox, &client->mail)) {
        ring_wake(hub->log->world.ring);
    }
    while (sem_wait(&client->answered) != 0) {
    }
    check(!client->consumer || batch_check(batch, &header) == STATUS_OK);
}

static void *client_run(void *argument)
{
    struct client *client = argument;
    struct hub *hub = client->hub;
    uint64_t now_ns = clock_ns();
    while (now_ns < hub->until_ns) {
        if (hub->plain != NULL) {
            client_plain(client);
        } else {
            client_letter(client);
        }
        client->count += 1;
        uint64_t end_ns = clock_ns();
        latency_add(&client->latency, end_ns - now_ns);
        now_ns = end_ns;
    }
    atomic_fetch_sub(&hub->running, 1);
    if (hub->plain == NULL) {
        ring_wake(hub->log->world.ring);
    }
    return NULL;
}

/* The core's loop until every client has left. */
static void hub_run(struct hub *hub)
{
    struct log_world *world = &hub->log->world;
    while (atomic_load(&hub->running) > 0) {
        if (mailbox_drain(&hub->mailbox) > 0) {
            store_commit(world->store);
            ring_step(world->ring, 0);
        } else if (mailbox_sleep(&hub->mailbox) && !log_world_tick(world) &&
                   atomic_load(&hub->running) > 0) {
            ring_step(world->ring, UINT64_MAX);
        }
        mailbox_awake(&hub->mailbox);
    }
}

static void run_clients(struct suite *suite, struct hub *hub, bool consumer, struct row *row)
{
    struct client *clients = calloc((size_t)row->threads, sizeof(*clients));
    check(clients != NULL);
    mailbox_init(&hub->mailbox);
    atomic_store(&hub->running, row->threads);
    size_t size = hub->log == NULL ? hub->record_size : hub->log->batch_size;
    for (int i = 0; i < row->threads; i++) {
        struct client *client = &clients[i];
        client->hub = hub;
        client->consumer = consumer;
        client->mail.deliver = client_deliver;
        client->size = size;
        client->memory = calloc(1, size);
        check(client->memory != NULL);
        if (hub->log != NULL) {
            memcpy(client->memory, hub->log->slots[0].memory, size);
        }
        random_init(&client->random, 42 + (uint64_t)i);
        sem_init(&client->answered, 0, 0);
    }
    row_begin(row);
    hub->until_ns = clock_ns() + (uint64_t)(suite->run_seconds * 1e9);
    for (int i = 0; i < row->threads; i++) {
        check(pthread_create(&clients[i].thread, NULL, client_run, &clients[i]) == 0);
    }
    if (hub->plain == NULL) {
        hub_run(hub);
    }
    uint64_t count = 0;
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    for (int i = 0; i < row->threads; i++) {
        pthread_join(clients[i].thread, NULL);
        count += clients[i].count;
        least = clients[i].count < least ? clients[i].count : least;
        most = clients[i].count > most ? clients[i].count : most;
    }
    row_end(row, count, count * hub->record_size);
    for (int i = 0; i < row->threads; i++) {
        latency_merge(row->latency, &clients[i].latency);
        sem_destroy(&clients[i].answered);
        free(clients[i].memory);
    }
    free(clients);
    snprintf(row->extra, sizeof(row->extra), "fairness=%.2f", (double)least / (double)most);
}

/* Rates of 1, 2, 4, 8 clients; the anchor of each row is its own rate with one client. */
static void group_clients(struct suite *suite, size_t record_size, bool consumer)
{
    static const int threads[] = {1, 2, 4, 8};
    static struct row rows[2][ARRAY_COUNT(threads)];
    static struct latency latencies[2][ARRAY_COUNT(threads)];
    const char *names[] = {consumer ? "plain_consumers" : "plain_producers",
                           consumer ? "consumers" : "producers"};
    for (int ours = 0; ours < 2; ours++) {
        for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
            latencies[ours][i] = (struct latency){0};
            struct row *row = &rows[ours][i];
            *row = suite_row(names[ours], consumer ? SYNC_GROUP : SYNC_EACH, record_size,
                             &latencies[ours][i]);
            row->threads = threads[i];
            row->figure = FIGURE_OPS;
            snprintf(row->params, sizeof(row->params), "loop=closed partitions=1");
        }
    }
    if (!options_want(&suite->options, names[1], rows[1][0].params)) {
        return;
    }
    struct bench_log *log = malloc(sizeof(*log));
    check(log != NULL);
    struct log_place place = suite_place(suite, SYNC_GROUP);
    struct log_shape shape = {.batch_records = 1, .record_size = record_size, .window = 256};
    bench_log_open(log, &place, &shape);
    bench_log_append(log, CONSUMER_RECORDS);
    struct plain_log plain;
    plain_open(&plain, suite->options.data);
    uint8_t *record = calloc(1, record_size);
    check(record != NULL);
    for (int i = 0; i < CONSUMER_RECORDS; i++) {
        plain_append(&plain, record, (uint32_t)record_size);
    }
    plain_sync(&plain);
    struct hub hubs[] = {{.plain = &plain, .record_size = record_size},
                         {.log = log, .record_size = record_size}};
    for (int run = 0; run < suite->runs; run++) {
        for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
            run_clients(suite, &hubs[0], consumer, &rows[0][i]);
            run_clients(suite, &hubs[1], consumer, &rows[1][i]);
        }
    }
    free(record);
    plain_close(&plain);
    bench_log_close(log);
    free(log);
    int cores = suite->report.machine.cores;
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        report_row(&suite->report, &rows[0][i], NULL);
        struct row *row = &rows[1][i];
        size_t used = strlen(row->extra);
        double scaling = row_ratio(row, &rows[1][0]);
        snprintf(row->extra + used, sizeof(row->extra) - used,
                 " scaling=%.2f efficiency=%.2f cores=%d", scaling,
                 scaling / (threads[i] < cores ? threads[i] : cores), cores);
        report_row(&suite->report, row, &rows[0][i]);
    }
}

void rows_clients(struct suite *suite)
{
    static const size_t sizes[] = {100, 1024};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        if (suite->options.full || sizes[i] == 1024) {
            group_clients(suite, sizes[i], false);
            group_clients(suite, sizes[i], true);
        }
    }
}
