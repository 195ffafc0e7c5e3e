/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions on a simulated broker of two cores. Producers of both versions write, end, fence
 * themselves and send late; now and then the power fails, a write fails, or the broker stops in
 * order. In the end everything is decided, and the logs are walked batch by batch:
 *
 *   V1  between two markers of a producer lie records of one transaction alone: no write came late
 *   V2  the marker says what the answer to EndTxn said, and the same in every partition
 *   V3  a transaction has one marker in each partition that it wrote to
 *   V4  of a committed transaction every acknowledged record is there
 *   V5  nothing stays open: the last stable offset is the high watermark
 *
 * Every request is answered, and one seed makes one trace. With every third seed writes fail.
 *
 *   transactions_sim [SEED [COUNT]]     replays seeds
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim_broker.h"
#include "wire/add_partitions_to_txn.h"
#include "wire/end_txn.h"
#include "wire/fetch.h"
#include "wire/find_coordinator.h"
#include "wire/init_producer_id.h"
#include "wire/metadata.h"
#include "wire/produce.h"
#include "wire/record.h"

#define CORES 2
#define PARTITIONS 3
#define PRODUCERS 3
#define STEPS 70
#define TRANSACTIONS_MAX 4096
#define VALUE_SIZE 12 /* producer, transaction, record: 4 bytes each */
#define TIMEOUT_MS 20000
#define FAULTY_ONE_IN 3         /* seeds */
#define FAULT_PER_MILLION 20000 /* of writes */
#define SETTLE_NS UINT64_C(5000000)
#define STALL_STEPS 60
#define STALL_NS UINT64_C(2000000) /* timers are further away than that */
#define CLASSIC_PRODUCER 2         /* speaks version 1; the others version 2 */

static uint64_t current_seed;
static uint64_t fault_count;
static uint64_t outcome_counts[3];

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr,                                                                        \
                    "seed %llu: %s:%d: %s\nreplay: build/tests/sim/transactions_sim %llu\n",       \
                    (unsigned long long)current_seed, __FILE__, __LINE__, #condition,              \
                    (unsigned long long)current_seed);                                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static const char *const NAMES[PRODUCERS] = {"first", "second", "classic"};

enum outcome { OUTCOME_UNKNOWN, OUTCOME_COMMITTED, OUTCOME_ABORTED };

/* What the world was told of one transaction, then what the logs hold. */
struct told {
    enum outcome outcome;
    int32_t acknowledged[PARTITIONS]; /* records */
    int32_t found[PARTITIONS];
    int32_t marked[PARTITIONS];
    enum outcome marker;
};

struct producer {
    int32_t number;
    int64_t id;
    int16_t epoch;
    bool ready; /* false: what is open under its pair is given up, it needs a new one */
    int32_t sequences[PARTITIONS];
    int32_t serial; /* of the open transaction, or the next one */
    int32_t record;
    bool open;
    struct told *told; /* by serial */
};

struct history {
    struct sim_broker broker;
    struct sim_client clients[PRODUCERS];
    struct sim_client other; /* overtakes */
    struct random random;
    struct producer producers[PRODUCERS];
    bool faulty;
};

static struct reader call(struct sim_client *client, struct writer *writer, bool flexible)
{
    sim_client_send(client, writer);
    return sim_client_receive(client, flexible);
}

static bool is_classic(const struct producer *producer)
{
    return producer->number == CLASSIC_PRODUCER;
}

/* ---- requests ---- */

static void topic_create(struct sim_client *client)
{
    struct metadata_request request;
    metadata_request_init(&request);
    struct metadata_request_topic topic = {.name = BYTES_LITERAL("sim")};
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    metadata_request_encode(sim_client_request(client, &writer, METADATA_KEY, 12, true), 12,
                            &request);
    struct reader reader = call(client, &writer, true);
    struct metadata_response response;
    expect(metadata_response_decode(&reader, 12, &client->arena, &response) == STATUS_OK);
    expect(response.topics[0].error_code == 0);
}

static void coordinator_find(struct sim_client *client)
{
    struct find_coordinator_request request;
    find_coordinator_request_init(&request);
    request.key = BYTES_LITERAL("first");
    request.key_type = 1;
    struct writer writer;
    find_coordinator_request_encode(
        sim_client_request(client, &writer, FIND_COORDINATOR_KEY, 3, true), 3, &request);
    struct reader reader = call(client, &writer, true);
    struct find_coordinator_response response;
    expect(find_coordinator_response_decode(&reader, 3, &client->arena, &response) == STATUS_OK);
    expect(response.error_code == 0);
}

static enum status init_call(struct sim_client *client, struct producer *producer)
{
    struct init_producer_id_request request;
    init_producer_id_request_init(&request);
    request.transactional_id = bytes_of_text(NAMES[producer->number]);
    request.transaction_timeout_ms = TIMEOUT_MS;
    struct writer writer;
    init_producer_id_request_encode(
        sim_client_request(client, &writer, INIT_PRODUCER_ID_KEY, 4, true), 4, &request);
    struct reader reader = call(client, &writer, true);
    struct init_producer_id_response response;
    expect(init_producer_id_response_decode(&reader, 4, &client->arena, &response) == STATUS_OK);
    if (response.error_code == 0) {
        expect(response.producer_id > producer->id ||
               (response.producer_id == producer->id && response.producer_epoch > producer->epoch));
        producer->id = response.producer_id;
        producer->epoch = response.producer_epoch;
        memset(producer->sequences, 0, sizeof(producer->sequences));
    }
    return status_from_code(response.error_code);
}

static enum status add_call(struct sim_client *client, const struct producer *producer,
                            int32_t partition)
{
    struct add_partitions_to_txn_request_topic topic = {
        .name = BYTES_LITERAL("sim"), .partitions = &partition, .partitions_count = 1};
    struct add_partitions_to_txn_request request;
    add_partitions_to_txn_request_init(&request);
    request.v3_and_below_transactional_id = bytes_of_text(NAMES[producer->number]);
    request.v3_and_below_producer_id = producer->id;
    request.v3_and_below_producer_epoch = producer->epoch;
    request.v3_and_below_topics = &topic;
    request.v3_and_below_topics_count = 1;
    struct writer writer;
    add_partitions_to_txn_request_encode(
        sim_client_request(client, &writer, ADD_PARTITIONS_TO_TXN_KEY, 3, true), 3, &request);
    struct reader reader = call(client, &writer, true);
    struct add_partitions_to_txn_response response;
    expect(add_partitions_to_txn_response_decode(&reader, 3, &client->arena, &response) ==
           STATUS_OK);
    return status_from_code(
        response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code);
}

/* One batch of the open transaction; sent, not waited for. Answers the number of its records. */
static int32_t produce_send(struct history *history, struct sim_client *client,
                            struct producer *producer, int32_t partition)
{
    uint8_t memory[512];
    uint8_t value[VALUE_SIZE];
    struct batch_builder builder;
    batch_builder_init(&builder, memory, sizeof(memory));
    int32_t count = 1 + (int32_t)random_below(&history->random, 3);
    int64_t now_ms = ring_wall_ms(history->broker.client_ring); /* older goes by retention */
    for (int32_t i = 0; i < count; i++) {
        put_be32(value, (uint32_t)producer->number);
        put_be32(value + 4, (uint32_t)producer->serial);
        put_be32(value + 8, (uint32_t)producer->record++);
        batch_builder_add(&builder, now_ms, BYTES_NULL, bytes_of(value, sizeof(value)), NULL, 0);
    }
    builder.header.attributes |= BATCH_TRANSACTIONAL;
    builder.header.producer_id = producer->id;
    builder.header.producer_epoch = producer->epoch;
    builder.header.base_sequence = producer->sequences[partition];
    struct bytes batch;
    expect(batch_builder_finish(&builder, CODEC_NONE, 0, (struct batch_scratch){0}, 0, &batch) ==
           STATUS_OK);
    struct produce_request_partition_data data;
    produce_request_partition_data_init(&data);
    data.index = partition;
    data.records = (struct slices){&batch, 1};
    struct produce_request_topic_data topic = {
        .name = BYTES_LITERAL("sim"), .partition_data = &data, .partition_data_count = 1};
    struct produce_request request;
    produce_request_init(&request);
    request.transactional_id = bytes_of_text(NAMES[producer->number]);
    request.acks = -1;
    request.timeout_ms = TIMEOUT_MS;
    request.topic_data = &topic;
    request.topic_data_count = 1;
    int16_t version = is_classic(producer) ? 9 : 12;
    struct writer writer;
    produce_request_encode(sim_client_request(client, &writer, PRODUCE_KEY, version, true), version,
                           &request);
    sim_client_send(client, &writer);
    return count;
}

static enum status produce_receive(struct sim_client *client, struct producer *producer,
                                   int32_t partition, int32_t count)
{
    struct reader reader = sim_client_receive(client, true);
    struct produce_response response;
    int16_t version = is_classic(producer) ? 9 : 12;
    expect(produce_response_decode(&reader, version, &client->arena, &response) == STATUS_OK);
    enum status status = status_from_code(response.responses[0].partition_responses[0].error_code);
    if (status == STATUS_OK) {
        producer->sequences[partition] += count;
        producer->told[producer->serial].acknowledged[partition] += count;
    }
    return status;
}

static void end_send(struct sim_client *client, const struct producer *producer, bool commit)
{
    struct end_txn_request request;
    end_txn_request_init(&request);
    request.transactional_id = bytes_of_text(NAMES[producer->number]);
    request.producer_id = producer->id;
    request.producer_epoch = producer->epoch;
    request.committed = commit;
    int16_t version = is_classic(producer) ? 3 : 5;
    struct writer writer;
    end_txn_request_encode(sim_client_request(client, &writer, END_TXN_KEY, version, true), version,
                           &request);
    sim_client_send(client, &writer);
}

static enum status end_receive(struct sim_client *client, struct producer *producer)
{
    struct reader reader = sim_client_receive(client, true);
    struct end_txn_response response;
    int16_t version = is_classic(producer) ? 3 : 5;
    expect(end_txn_response_decode(&reader, version, &client->arena, &response) == STATUS_OK);
    if (response.error_code == 0 && !is_classic(producer)) {
        expect(response.producer_epoch == producer->epoch + 1);
        producer->epoch = response.producer_epoch;
        memset(producer->sequences, 0, sizeof(producer->sequences));
    }
    return status_from_code(response.error_code);
}

/* ---- what producers do ---- */

/* The outcome of what is open is not known; an init will end it. */
static void give_up(struct producer *producer)
{
    if (producer->open) {
        producer->serial++;
        expect(producer->serial < TRANSACTIONS_MAX);
    }
    producer->open = false;
    producer->ready = false;
    producer->record = 0;
}

/* As a new instance: whatever is open under the old pair is aborted. */
static bool init(struct history *history, struct producer *producer)
{
    give_up(producer);
    enum status status = init_call(&history->clients[producer->number], producer);
    expect(status == STATUS_OK || status == STATUS_CONCURRENT_TRANSACTIONS ||
           status == STATUS_COORDINATOR_NOT_AVAILABLE ||
           status == STATUS_COORDINATOR_LOAD_IN_PROGRESS);
    producer->ready = status == STATUS_OK;
    return producer->ready;
}

static bool prepare_write(struct history *history, struct producer *producer, int32_t partition)
{
    struct sim_client *client = &history->clients[producer->number];
    producer->open = true;
    if (!is_classic(producer)) {
        return true;
    }
    enum status status = add_call(client, producer, partition);
    return status == STATUS_OK;
}

static void write(struct history *history, struct producer *producer)
{
    struct sim_client *client = &history->clients[producer->number];
    int32_t partition = (int32_t)random_below(&history->random, PARTITIONS);
    if (!prepare_write(history, producer, partition)) {
        (void)init(history, producer);
        return;
    }
    int32_t count = produce_send(history, client, producer, partition);
    if (produce_receive(client, producer, partition, count) != STATUS_OK) {
        (void)init(history, producer);
    }
}

static void ended(struct producer *producer, enum status status, bool commit)
{
    if (status == STATUS_OK) {
        producer->told[producer->serial].outcome = commit ? OUTCOME_COMMITTED : OUTCOME_ABORTED;
    }
    outcome_counts[producer->told[producer->serial].outcome]++;
    give_up(producer);
    producer->ready = status == STATUS_OK;
}

static void end(struct history *history, struct producer *producer)
{
    struct sim_client *client = &history->clients[producer->number];
    if (!producer->open) {
        return;
    }
    bool commit = random_below(&history->random, 3) > 0;
    end_send(client, producer, commit);
    enum status status = end_receive(client, producer);
    ended(producer, status, commit);
    if (status != STATUS_OK) {
        (void)init(history, producer);
    }
}

/* One tick of one core, and the next thing the disk or the network does. */
static void tick(struct history *history, uint64_t core)
{
    struct sim_world *world = history->broker.world;
    (void)server_step_core(&history->broker.server.cores[core], false);
    uint64_t next_ns = sim_world_next_ns(world);
    if (next_ns < sim_world_now_ns(world) + STALL_NS) {
        sim_world_advance(world, next_ns);
    }
}

static void some_ticks(struct history *history)
{
    for (uint64_t i = random_below(&history->random, STALL_STEPS); i > 0; i--) {
        tick(history, random_below(&history->random, CORES));
    }
}

/* A core may be held up between any two of its ticks: the other one goes on alone for a while. */
static void stall(struct history *history)
{
    uint64_t core = random_below(&history->random, CORES);
    for (int i = 0; i < STALL_STEPS; i++) {
        tick(history, core);
    }
}

/* A write and, on another connection, the end that does not wait for it: the write is before the
 * marker or it is refused (V1). Whether it counts is told by its answer alone. */
static void race(struct history *history, struct producer *producer)
{
    struct sim_client *client = &history->clients[producer->number];
    int32_t partition = (int32_t)random_below(&history->random, PARTITIONS);
    if (!producer->open) {
        return;
    }
    if (!prepare_write(history, producer, partition)) {
        (void)init(history, producer);
        return;
    }
    struct producer writing = *producer;
    bool commit = random_below(&history->random, 2) == 0;
    bool first = random_below(&history->random, 2) == 0;
    if (first) {
        end_send(&history->other, producer, commit);
        some_ticks(history);
    }
    int32_t count = produce_send(history, client, &writing, partition);
    if (!first) {
        some_ticks(history);
        end_send(&history->other, producer, commit);
    }
    stall(history);
    (void)produce_receive(client, &writing, partition, count);
    enum status status = end_receive(&history->other, producer);
    ended(producer, status, commit);
    (void)init(history, producer); /* the sequence is not known any more */
}

/* ---- the broker's life ---- */

static void clients_open(struct history *history)
{
    for (int i = 0; i < PRODUCERS; i++) {
        sim_client_open(&history->clients[i], &history->broker);
    }
    sim_client_open(&history->other, &history->broker);
}

static void clients_close(struct history *history)
{
    for (int i = 0; i < PRODUCERS; i++) {
        sim_client_close(&history->clients[i]);
    }
    sim_client_close(&history->other);
}

static void faults_set(struct history *history, bool on)
{
    sim_world_set_fault(history->broker.world, SIM_WRITE_ERROR,
                        on && history->faulty ? FAULT_PER_MILLION : 0);
}

struct moment {
    const struct sim_broker *broker;
    uint64_t due_ns;
};

static bool has_come(void *context)
{
    const struct moment *moment = context;
    return sim_world_now_ns(moment->broker->world) >= moment->due_ns;
}

/* What a start still writes to the metadata log is written: a failure there ends the broker, which
 * is its right (W3 of topic/metadata.h) and no subject of this simulation. */
static void start_settles(struct history *history)
{
    struct moment moment = {&history->broker, sim_world_now_ns(history->broker.world) + SETTLE_NS};
    sim_broker_run(&history->broker, has_come, &moment);
}

static void restart(struct history *history, bool power_cut)
{
    faults_set(history, false);
    if (power_cut) {
        sim_broker_crash(&history->broker);
        clients_close(history);
    } else {
        clients_close(history);
        sim_broker_stop(&history->broker);
    }
    sim_broker_start(&history->broker, CORES);
    clients_open(history);
    start_settles(history);
    faults_set(history, true);
}

/* The power fails while an end is under way: nobody is told. */
static void cut_in_the_end(struct history *history, struct producer *producer)
{
    struct sim_client *client = &history->clients[producer->number];
    if (!producer->open) {
        return;
    }
    end_send(client, producer, random_below(&history->random, 2) == 0);
    for (uint64_t i = random_below(&history->random, 40); i > 0; i--) {
        for (int32_t core = 0; core < CORES; core++) {
            (void)server_step_core(&history->broker.server.cores[core], false);
        }
    }
    restart(history, true);
    ended(producer, STATUS_CLOSED, false);
}

static void history_step(struct history *history)
{
    struct random *random = &history->random;
    struct producer *producer = &history->producers[random_below(random, PRODUCERS)];
    uint64_t choice = random_below(random, 24);
    if (choice == 0) {
        restart(history, random_below(random, 2) == 0);
    } else if (!producer->ready || choice == 1) {
        (void)init(history, producer);
    } else if (choice == 2) {
        cut_in_the_end(history, producer);
    } else if (choice < 6) {
        race(history, producer);
    } else if (choice < 12) {
        end(history, producer);
    } else {
        write(history, producer);
    }
}

/* ---- the logs ---- */

struct log_view {
    int64_t high_watermark;
    int64_t last_stable;
    struct bytes bytes;
};

static struct log_view log_fetch(struct sim_client *client, int32_t partition, int64_t offset)
{
    struct fetch_request_partition asked;
    fetch_request_partition_init(&asked);
    asked.partition = partition;
    asked.fetch_offset = offset;
    asked.partition_max_bytes = SIM_REPLY_SIZE_MAX / 2;
    struct fetch_request_topic topic = {
        .topic = BYTES_LITERAL("sim"), .partitions = &asked, .partitions_count = 1};
    struct fetch_request request;
    fetch_request_init(&request);
    request.max_bytes = SIM_REPLY_SIZE_MAX / 2;
    request.session_epoch = -1;
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    fetch_request_encode(sim_client_request(client, &writer, FETCH_KEY, 12, true), 12, &request);
    struct reader reader = call(client, &writer, true);
    struct fetch_response response;
    expect(fetch_response_decode(&reader, 12, &client->arena, &response) == STATUS_OK);
    const struct fetch_response_partition_data *data = &response.responses[0].partitions[0];
    expect(data->error_code == 0);
    return (struct log_view){data->high_watermark, data->last_stable_offset,
                             data->records.count == 1 ? data->records.items[0] : BYTES_NULL};
}

/* Per producer id the transaction whose records lie behind the last marker. */
struct open_row {
    int64_t id;
    int32_t number;
    int32_t serial; /* -1: none */
    int16_t marked; /* epoch of the last marker, -1 none */
};

static struct open_row *open_find(struct open_row *rows, int64_t id)
{
    for (int i = 0; i < PRODUCERS; i++) {
        if (rows[i].id == id || rows[i].id < 0) {
            rows[i].id = id;
            return &rows[i];
        }
    }
    expect(!"more producer ids than producers");
    return NULL;
}

static void record_check(struct history *history, struct open_row *row, int32_t partition,
                         const struct record *record)
{
    expect(record->value.size == VALUE_SIZE);
    int32_t number = (int32_t)get_be32(record->value.data);
    int32_t serial = (int32_t)get_be32(record->value.data + 4);
    expect(row->serial < 0 || row->serial == serial); /* V1 */
    row->serial = serial;
    row->number = number;
    history->producers[number].told[serial].found[partition]++;
}

static void marker_check(struct history *history, struct open_row *row, int32_t partition,
                         const struct record *record, int16_t epoch)
{
    bool classic = row->id == history->producers[CLASSIC_PRODUCER].id;
    expect(classic || epoch > row->marked); /* V3: version 2 has an epoch for each */
    row->marked = epoch;
    if (row->serial < 0) {
        return; /* added, and nothing written; or a fence of nothing */
    }
    enum outcome outcome =
        get_be16(record->key.data + 2) == 1 ? OUTCOME_COMMITTED : OUTCOME_ABORTED;
    struct told *told = &history->producers[row->number].told[row->serial];
    expect(told->marker == OUTCOME_UNKNOWN || told->marker == outcome); /* V2 */
    expect(told->outcome == OUTCOME_UNKNOWN || told->outcome == outcome);
    told->marker = outcome;
    told->marked[partition]++;
    row->serial = -1;
}

static int64_t log_walk(struct history *history, struct open_row *rows, int32_t partition,
                        struct bytes bytes)
{
    static uint8_t scratch_memory[BATCH_SCRATCH_SIZE];
    const struct batch_scratch scratch = {.memory = scratch_memory, .size = sizeof(scratch_memory)};
    int64_t next = -1;
    while (bytes.size >= BATCH_HEADER_SIZE && batch_size_of(bytes.data) <= (int64_t)bytes.size) {
        struct bytes batch = bytes_of(bytes.data, (size_t)batch_size_of(bytes.data));
        struct batch_header header;
        batch_header_decode(&header, batch.data);
        struct open_row *row = open_find(rows, header.producer_id);
        struct record_stream *stream;
        expect(record_stream_open(&stream, batch, scratch, 1 << 20) == STATUS_OK);
        struct record record;
        while (record_stream_next(stream, &record)) {
            if ((header.attributes & BATCH_CONTROL) != 0) {
                marker_check(history, row, partition, &record, header.producer_epoch);
            } else {
                record_check(history, row, partition, &record);
            }
        }
        expect(record_stream_status(stream) == STATUS_OK);
        record_stream_close(stream);
        next = batch_last_offset(&header) + 1;
        bytes = bytes_of(bytes.data + batch.size, bytes.size - batch.size);
    }
    return next;
}

static void partition_verify(struct history *history, int32_t partition)
{
    struct sim_client *client = &history->clients[0];
    struct log_view view = log_fetch(client, partition, 0);
    for (int32_t i = 0; view.last_stable < view.high_watermark; i++) { /* V5 */
        expect(i < 100000);
        view = log_fetch(client, partition, 0);
    }
    struct open_row rows[PRODUCERS];
    for (int i = 0; i < PRODUCERS; i++) {
        rows[i] = (struct open_row){-1, -1, -1, -1};
    }
    int64_t offset = 0;
    while (offset < view.high_watermark) {
        view = log_fetch(client, partition, offset);
        offset = log_walk(history, rows, partition, view.bytes);
        expect(offset > 0);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        expect(rows[i].serial < 0);
    }
}

static void verify(struct history *history)
{
    for (int i = 0; i < PRODUCERS; i++) {
        while (!init(history, &history->producers[i])) {
        }
    }
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        partition_verify(history, partition);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        const struct producer *producer = &history->producers[i];
        for (int32_t serial = 0; serial < producer->serial; serial++) {
            const struct told *told = &producer->told[serial];
            for (int32_t k = 0; k < PARTITIONS; k++) {
                expect(told->marked[k] == (told->found[k] > 0)); /* V3 */
                expect(told->found[k] >= told->acknowledged[k]); /* V4 */
            }
        }
    }
}

/* ---- histories ---- */

static uint64_t history_run(uint64_t seed)
{
    current_seed = seed;
    struct history *history = calloc(1, sizeof(*history));
    expect(history != NULL);
    random_init(&history->random, seed);
    for (int i = 0; i < PRODUCERS; i++) {
        history->producers[i] = (struct producer){.number = i, .id = -1, .epoch = -1};
        history->producers[i].told = calloc(TRANSACTIONS_MAX, sizeof(struct told));
        expect(history->producers[i].told != NULL);
    }
    sim_broker_open(&history->broker, seed, CORES);
    history->broker.config.partition_count = PARTITIONS;
    clients_open(history);
    restart(history, false);
    topic_create(&history->clients[0]);
    coordinator_find(&history->clients[1]);
    for (int i = 0; i < PRODUCERS; i++) { /* the first one takes its id from the metadata log */
        while (!init(history, &history->producers[i])) {
        }
    }
    history->faulty = seed % FAULTY_ONE_IN == 0;
    faults_set(history, true);
    for (int step = 0; step < STEPS; step++) {
        history_step(history);
    }
    history->faulty = false;
    restart(history, seed % 2 == 0);
    verify(history);
    clients_close(history);
    sim_broker_stop(&history->broker);
    uint64_t trace = sim_world_trace_hash(history->broker.world);
    fault_count += sim_world_fault_count(history->broker.world, SIM_WRITE_ERROR);
    sim_broker_close(&history->broker);
    for (int i = 0; i < PRODUCERS; i++) {
        free(history->producers[i].told);
    }
    free(history);
    return trace;
}

int main(int count, char **arguments)
{
    uint64_t first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    uint64_t seeds = count > 2 ? strtoull(arguments[2], NULL, 10) : count > 1 ? 1 : 20;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint64_t trace = history_run(seed);
        expect(history_run(seed) == trace);
    }
    printf("%llu seeds, each twice with equal traces; transactions: %llu committed, %llu aborted, "
           "%llu unknown; %llu writes failed\n",
           (unsigned long long)seeds, (unsigned long long)outcome_counts[OUTCOME_COMMITTED],
           (unsigned long long)outcome_counts[OUTCOME_ABORTED],
           (unsigned long long)outcome_counts[OUTCOME_UNKNOWN], (unsigned long long)fault_count);
    return 0;
}
