/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole broker in one thread: two cores, a produce to a partition of each, a fetch of both, a
 * stop or a power cut, and a fetch again. Run twice from one seed the traces must be equal.
 *
 *   broker_sim [SEED [COUNT]]     replays seeds
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim_broker.h"
#include "wire/fetch.h"
#include "wire/metadata.h"
#include "wire/produce.h"
#include "wire/record.h"

#define CORES 2
#define PARTITIONS 2
#define ROUNDS 6
#define BATCH_SIZE_MAX 4096
#define TIMESTAMP                                                                                  \
    INT64_C(1767225600000) /* where the simulated wall clock begins: not too old to keep */

static uint64_t current_seed;
static int64_t late_count; /* answers REQUEST_TIMED_OUT, over all seeds */

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed %llu: %s:%d: %s\nreplay: build/tests/sim/broker_sim %llu\n",     \
                    (unsigned long long)current_seed, __FILE__, __LINE__, #condition,              \
                    (unsigned long long)current_seed);                                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static struct bytes batch_make(uint8_t *memory, int round, int32_t partition)
{
    struct batch_builder builder;
    batch_builder_init(&builder, memory, BATCH_SIZE_MAX);
    for (int i = 0; i <= round; i++) {
        char value[64];
        int size =
            snprintf(value, sizeof(value), "round %d partition %d record %d", round, partition, i);
        batch_builder_add(&builder, TIMESTAMP, BYTES_NULL, bytes_of(value, (size_t)size), NULL, 0);
    }
    struct bytes batch;
    expect(batch_builder_finish(&builder, CODEC_NONE, 0, (struct batch_scratch){0}, 0, &batch) ==
           STATUS_OK);
    batch_stamp(memory, 0, -1);
    return batch;
}

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
    sim_client_send(client, &writer);
    struct reader reader = sim_client_receive(client, true);
    struct metadata_response response;
    expect(metadata_response_decode(&reader, 12, &client->arena, &response) == STATUS_OK);
    expect(response.topics_count == 1);
    expect(response.topics[0].error_code == 0);
    expect(response.topics[0].partitions_count == PARTITIONS);
}

/* With a timeout of 1 ms some writes are late: the answer is an error, the records are kept. */
static void produce_all(struct sim_client *client, int round, int32_t timeout_ms)
{
    uint8_t memory[PARTITIONS][BATCH_SIZE_MAX];
    struct bytes batches[PARTITIONS];
    struct produce_request_partition_data partitions[PARTITIONS];
    for (int32_t i = 0; i < PARTITIONS; i++) {
        batches[i] = batch_make(memory[i], round, i);
        partitions[i] = (struct produce_request_partition_data){
            .index = i, .records = {.items = &batches[i], .count = 1}};
    }
    struct produce_request_topic_data topic = {.name = BYTES_LITERAL("sim"),
                                               .partition_data = partitions,
                                               .partition_data_count = PARTITIONS};
    struct produce_request request;
    produce_request_init(&request);
    request.acks = -1;
    request.timeout_ms = timeout_ms;
    request.topic_data = &topic;
    request.topic_data_count = 1;
    struct writer writer;
    produce_request_encode(sim_client_request(client, &writer, PRODUCE_KEY, 9, true), 9, &request);
    sim_client_send(client, &writer);
    struct reader reader = sim_client_receive(client, true);
    struct produce_response response;
    expect(produce_response_decode(&reader, 9, &client->arena, &response) == STATUS_OK);
    for (int32_t i = 0; i < PARTITIONS; i++) {
        const struct produce_response_partition *answer =
            &response.responses[0].partition_responses[i];
        if (timeout_ms == 1 && answer->error_code == status_code(STATUS_REQUEST_TIMED_OUT)) {
            expect(answer->base_offset == -1);
            late_count++;
            continue;
        }
        expect(answer->error_code == 0);
        expect(answer->base_offset == round * (round + 1) / 2);
    }
}

/* Everything a partition holds must be what the rounds sent, byte for byte behind the stamps. */
static void records_compare(const struct slices *records, int32_t partition)
{
    expect(records->count == 1);
    struct bytes log = records->items[0];
    size_t position = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t memory[BATCH_SIZE_MAX];
        struct bytes batch = batch_make(memory, round, partition);
        batch_stamp(memory, round * (round + 1) / 2, 0);
        expect(log.size - position >= batch.size);
        expect(memcmp(log.data + position, batch.data, 12) == 0);
        expect(memcmp(log.data + position + 16, batch.data + 16, batch.size - 16) == 0);
        position += batch.size;
    }
    expect(position == log.size);
}

static void fetch_all(struct sim_client *client)
{
    struct fetch_request_partition partitions[PARTITIONS];
    for (int32_t i = 0; i < PARTITIONS; i++) {
        fetch_request_partition_init(&partitions[i]);
        partitions[i].partition = i;
        partitions[i].partition_max_bytes = 1 << 20;
    }
    struct fetch_request_topic topic = {
        .topic = BYTES_LITERAL("sim"), .partitions = partitions, .partitions_count = PARTITIONS};
    struct fetch_request request;
    fetch_request_init(&request);
    request.max_wait_ms = 500;
    request.min_bytes = 1;
    request.max_bytes = 1 << 20;
    request.session_epoch = -1;
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    fetch_request_encode(sim_client_request(client, &writer, FETCH_KEY, 12, true), 12, &request);
    sim_client_send(client, &writer);
    struct reader reader = sim_client_receive(client, true);
    struct fetch_response response;
    expect(fetch_response_decode(&reader, 12, &client->arena, &response) == STATUS_OK);
    expect(response.responses_count == 1);
    for (int32_t i = 0; i < PARTITIONS; i++) {
        const struct fetch_response_partition_data *answer = &response.responses[0].partitions[i];
        expect(answer->error_code == 0);
        expect(answer->high_watermark == ROUNDS * (ROUNDS + 1) / 2);
        records_compare(&answer->records, i);
    }
}

/* An unknown topic, alone or beside one that is waited for. */
static void fetch_unknown(struct sim_client *client, bool alone)
{
    struct fetch_request_partition partitions[2];
    fetch_request_partition_init(&partitions[0]);
    fetch_request_partition_init(&partitions[1]);
    partitions[1].fetch_offset = ROUNDS * (ROUNDS + 1) / 2;
    struct fetch_request_topic topics[2] = {
        {.topic = BYTES_LITERAL("nobody"), .partitions = &partitions[0], .partitions_count = 1},
        {.topic = BYTES_LITERAL("sim"), .partitions = &partitions[1], .partitions_count = 1}};
    struct fetch_request request;
    fetch_request_init(&request);
    request.max_wait_ms = 500;
    request.min_bytes = 1;
    request.max_bytes = 1 << 20;
    request.session_epoch = -1;
    request.topics = topics;
    request.topics_count = alone ? 1 : 2;
    uint64_t begin_ns = sim_world_now_ns(client->broker->world);
    struct writer writer;
    fetch_request_encode(sim_client_request(client, &writer, FETCH_KEY, 12, true), 12, &request);
    sim_client_send(client, &writer);
    struct reader reader = sim_client_receive(client, true);
    struct fetch_response response;
    expect(fetch_response_decode(&reader, 12, &client->arena, &response) == STATUS_OK);
    expect(response.responses[0].partitions[0].error_code ==
           status_code(STATUS_UNKNOWN_TOPIC_OR_PARTITION));
    expect(alone || response.responses[1].partitions[0].error_code == 0);
    bool waited = sim_world_now_ns(client->broker->world) - begin_ns >= UINT64_C(500000000);
    expect(waited != alone);
}

static uint64_t history(uint64_t seed)
{
    current_seed = seed;
    struct sim_broker broker;
    struct sim_client client;
    sim_broker_open(&broker, seed, CORES);
    sim_client_open(&client, &broker);
    topic_create(&client);
    for (int round = 0; round < ROUNDS; round++) {
        produce_all(&client, round, round % 2 == 1 ? 1000 : 1);
    }
    fetch_all(&client);
    fetch_unknown(&client, true);
    fetch_unknown(&client, false);
    if (seed % 2 == 0) {
        sim_client_close(&client);
        sim_broker_stop(&broker);
    } else {
        sim_broker_crash(&broker);
        sim_client_close(&client);
    }
    sim_broker_start(&broker, CORES);
    sim_client_open(&client, &broker);
    fetch_all(&client);
    sim_client_close(&client);
    sim_broker_stop(&broker);
    uint64_t trace = sim_world_trace_hash(broker.world);
    sim_broker_close(&broker);
    return trace;
}

int main(int count, char **arguments)
{
    uint64_t first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    uint64_t seeds = count > 2 ? strtoull(arguments[2], NULL, 10) : count > 1 ? 1 : 40;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint64_t trace = history(seed);
        expect(history(seed) == trace);
        if (seed > first) {
            continue;
        }
        expect(history(seed + 1) != trace); /* the trace does see what happens */
    }
    expect(late_count > 0 || seeds < 40);
    printf("%llu seeds, each twice with equal traces; %lld late answers\n",
           (unsigned long long)seeds, (long long)late_count);
    return 0;
}
