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
#include "tests/sim/sims.h"
#include "tests/sim/transactions_calls.h"
#include "wire/fetch.h"
#include "wire/record.h"

#define CORES 2
#define STEPS 70
#define TRANSACTIONS_MAX 4096
#define FAULTY_ONE_IN 3         /* seeds */
#define FAULT_PER_MILLION 20000 /* of writes */
#define SETTLE_NS UINT64_C(5000000)
#define STALL_STEPS 60
#define RUNS_MAX 10
#define INITS_MAX 100
#define RECORDS_MAX 3              /* of a batch */
#define STALL_NS UINT64_C(2000000) /* timers are further away than that */

static uint64_t fault_count;
static uint64_t outcome_counts[3];

struct history {
    struct sim_broker broker;
    struct sim_client clients[PRODUCERS];
    struct sim_client other; /* overtakes */
    struct random random;
    struct producer producers[PRODUCERS];
    bool faulty;
};

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

/* Whatever stands in its way ends within seconds. */
static void init_surely(struct history *history, struct producer *producer)
{
    for (int i = 0; !init(history, producer); i++) {
        expect(i < INITS_MAX);
    }
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
    int32_t count = 1 + (int32_t)random_below(&history->random, RECORDS_MAX);
    produce_send(client, producer, partition, count, false);
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
    end_send(client, producer, commit, false);
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
    (void)ring_step(history->broker.client_ring, 0);
    uint64_t next_ns = sim_world_next_ns(world);
    if (next_ns < sim_world_now_ns(world) + STALL_NS) {
        sim_world_advance(world, next_ns);
    }
}

/* A core may be held up between any two of its ticks: the other one goes on alone, for a tick or
 * two or for as long as writes take. */
static void some_ticks(struct history *history)
{
    for (uint64_t run = random_below(&history->random, RUNS_MAX); run > 0; run--) {
        uint64_t core = random_below(&history->random, CORES);
        bool held_up = random_below(&history->random, 3) == 0;
        uint64_t ticks = held_up ? STALL_STEPS : random_below(&history->random, 3);
        for (; ticks > 0; ticks--) {
            tick(history, core);
        }
    }
}

/* A write and, on another connection, the end that does not wait for it: the write is before the
 * marker or it is refused (V1). Whether it counts is told by its answer alone. Both are on their
 * way before a core sees the first. */
static void race(struct history *history, struct producer *producer)
{
    struct sim_client *client = &history->clients[producer->number];
    int32_t partition = (int32_t)random_below(&history->random, PARTITIONS);
    if (!prepare_write(history, producer, partition)) {
        (void)init(history, producer);
        return;
    }
    struct producer writing = *producer;
    bool commit = random_below(&history->random, 2) == 0;
    bool first = random_below(&history->random, 2) == 0;
    int32_t count = 1 + (int32_t)random_below(&history->random, RECORDS_MAX);
    if (first) {
        end_send(&history->other, producer, commit, true);
        some_ticks(history);
    }
    produce_send(client, &writing, partition, count, true);
    some_ticks(history);
    if (!first) {
        end_send(&history->other, producer, commit, true);
    }
    some_ticks(history);
    (void)produce_receive(client, &writing, partition, count);
    enum status status = end_receive(&history->other, producer);
    ended(producer, status, commit);
    (void)init(history, producer); /* the sequence is not known any more */
}

/* ---- the broker's life ---- */

/* Who comes first lands on another core. */
static void clients_open(struct history *history)
{
    bool before = random_below(&history->random, 2) == 0;
    if (before) {
        sim_client_open(&history->other, &history->broker);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        sim_client_open(&history->clients[i], &history->broker);
    }
    if (!before) {
        sim_client_open(&history->other, &history->broker);
    }
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
    end_send(client, producer, random_below(&history->random, 2) == 0, false);
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
    struct reader reader = transactions_call(client, &writer);
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
        init_surely(history, &history->producers[i]);
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

static struct history *history_open(uint64_t seed)
{
    transactions_seed = seed;
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
        init_surely(history, &history->producers[i]);
    }
    return history;
}

/* Answers the trace. */
static uint64_t history_close(struct history *history)
{
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

static uint64_t history_run(uint64_t seed)
{
    struct history *history = history_open(seed);
    history->faulty = seed % FAULTY_ONE_IN == 0;
    faults_set(history, true);
    for (int step = 0; step < STEPS; step++) {
        history_step(history);
    }
    history->faulty = false;
    restart(history, seed % 2 == 0);
    verify(history);
    return history_close(history);
}

/* ---- time ---- */

static void time_pass(struct history *history, uint64_t seconds)
{
    struct moment moment = {&history->broker, sim_world_now_ns(history->broker.world) +
                                                  seconds * UINT64_C(1000000000)};
    sim_broker_run(&history->broker, has_come, &moment);
}

static void transact(struct history *history, struct producer *producer)
{
    write(history, producer);
    end_send(&history->clients[producer->number], producer, true, false);
    expect(end_receive(&history->clients[producer->number], producer) == STATUS_OK);
    ended(producer, STATUS_OK, true);
}

/* Whether the coordinator knows the id; if not, the pair that it had is nobody's any more. */
static bool is_known(struct history *history, struct producer *producer)
{
    struct sim_client *client = &history->clients[producer->number];
    enum status status = describe_call(client, producer);
    expect(status == STATUS_OK || status == STATUS_TRANSACTIONAL_ID_NOT_FOUND);
    if (status != STATUS_OK) {
        end_send(client, producer, true, false);
        expect(end_receive(client, producer) == STATUS_INVALID_PRODUCER_ID_MAPPING);
        expect(add_call(client, producer, 0) == STATUS_INVALID_PRODUCER_ID_MAPPING);
        produce_send(client, producer, 0, 1, false);
        expect(produce_receive(client, producer, 0, 1) == STATUS_INVALID_PRODUCER_ID_MAPPING);
    }
    return status == STATUS_OK;
}

/* An id that was not used for a minute here is forgotten, for the next start as well; one that is
 * used, or open, stays. The next producer of that name gets an id of its own. */
static void expiry_run(void)
{
    struct history *history = history_open(0);
    struct producer *producers = history->producers;
    history->broker.config.transactional_id_expiration_ms = 60000;
    history->broker.config.transaction_expiration_check_ms = 1000;
    history->broker.config.transaction_abort_check_ms = 1000;
    restart(history, false);
    transact(history, &producers[0]);
    time_pass(history, 40);
    expect(is_known(history, &producers[1]));
    transact(history, &producers[0]);
    time_pass(history, 40);
    expect(is_known(history, &producers[0]));
    expect(!is_known(history, &producers[1]));
    expect(!is_known(history, &producers[CLASSIC_PRODUCER]));
    time_pass(history, 40);
    expect(!is_known(history, &producers[0]));
    restart(history, true);
    for (int i = 0; i < PRODUCERS; i++) {
        int64_t old = producers[i].id;
        expect(!is_known(history, &producers[i]));
        expect(init(history, &producers[i]));
        expect(producers[i].id > old);
        transact(history, &producers[i]);
        expect(is_known(history, &producers[i]));
    }
    (void)history_close(history);
}

int transactions_sim(int count, char **arguments)
{
    if (count == 1) {
        expiry_run();
    }
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
