/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/transactions_calls.h"

#include "wire/add_partitions_to_txn.h"
#include "wire/describe_transactions.h"
#include "wire/end_txn.h"
#include "wire/find_coordinator.h"
#include "wire/init_producer_id.h"
#include "wire/metadata.h"
#include "wire/produce.h"
#include "wire/record.h"

uint64_t transactions_seed;

struct reader transactions_call(struct sim_client *client, struct writer *writer)
{
    sim_client_send(client, writer);
    return sim_client_receive(client, true);
}

struct bytes producer_name(const struct producer *producer)
{
    static const char *const names[PRODUCERS] = {"first", "second", "classic"};
    return bytes_of_text(names[producer->number]);
}

bool is_classic(const struct producer *producer)
{
    return producer->number == CLASSIC_PRODUCER;
}

void topic_create(struct sim_client *client)
{
    struct metadata_request request;
    metadata_request_init(&request);
    struct metadata_request_topic topic = {.name = BYTES_LITERAL("sim")};
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    metadata_request_encode(sim_client_request(client, &writer, METADATA_KEY, 12, true), 12,
                            &request);
    struct reader reader = transactions_call(client, &writer);
    struct metadata_response response;
    expect(metadata_response_decode(&reader, 12, &client->arena, &response) == STATUS_OK);
    expect(response.topics[0].error_code == 0);
}

void coordinator_find(struct sim_client *client)
{
    struct find_coordinator_request request;
    find_coordinator_request_init(&request);
    request.key = BYTES_LITERAL("first");
    request.key_type = 1;
    struct writer writer;
    find_coordinator_request_encode(
        sim_client_request(client, &writer, FIND_COORDINATOR_KEY, 3, true), 3, &request);
    struct reader reader = transactions_call(client, &writer);
    struct find_coordinator_response response;
    expect(find_coordinator_response_decode(&reader, 3, &client->arena, &response) == STATUS_OK);
    expect(response.error_code == 0);
}

enum status init_call(struct sim_client *client, struct producer *producer)
{
    struct init_producer_id_request request;
    init_producer_id_request_init(&request);
    request.transactional_id = producer_name(producer);
    request.transaction_timeout_ms = TIMEOUT_MS;
    struct writer writer;
    init_producer_id_request_encode(
        sim_client_request(client, &writer, INIT_PRODUCER_ID_KEY, 4, true), 4, &request);
    struct reader reader = transactions_call(client, &writer);
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

enum status add_call(struct sim_client *client, const struct producer *producer, int32_t partition)
{
    struct add_partitions_to_txn_request_topic topic = {
        .name = BYTES_LITERAL("sim"), .partitions = &partition, .partitions_count = 1};
    struct add_partitions_to_txn_request request;
    add_partitions_to_txn_request_init(&request);
    request.v3_and_below_transactional_id = producer_name(producer);
    request.v3_and_below_producer_id = producer->id;
    request.v3_and_below_producer_epoch = producer->epoch;
    request.v3_and_below_topics = &topic;
    request.v3_and_below_topics_count = 1;
    struct writer writer;
    add_partitions_to_txn_request_encode(
        sim_client_request(client, &writer, ADD_PARTITIONS_TO_TXN_KEY, 3, true), 3, &request);
    struct reader reader = transactions_call(client, &writer);
    struct add_partitions_to_txn_response response;
    expect(add_partitions_to_txn_response_decode(&reader, 3, &client->arena, &response) ==
           STATUS_OK);
    return status_from_code(
        response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code);
}

enum status describe_call(struct sim_client *client, const struct producer *producer)
{
    struct bytes id = producer_name(producer);
    struct describe_transactions_request request = {&id, 1};
    struct writer writer;
    describe_transactions_request_encode(
        sim_client_request(client, &writer, DESCRIBE_TRANSACTIONS_KEY, 0, true), 0, &request);
    struct reader reader = transactions_call(client, &writer);
    struct describe_transactions_response response;
    expect(describe_transactions_response_decode(&reader, 0, &client->arena, &response) ==
           STATUS_OK);
    return status_from_code(response.transaction_states[0].error_code);
}

void produce_send(struct sim_client *client, struct producer *producer, int32_t partition,
                  int32_t count, bool post)
{
    uint8_t memory[512];
    uint8_t value[VALUE_SIZE];
    struct batch_builder builder;
    batch_builder_init(&builder, memory, sizeof(memory));
    int64_t now_ms = ring_wall_ms(client->broker->client_ring); /* older goes by retention */
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
    request.transactional_id = producer_name(producer);
    request.acks = -1;
    request.timeout_ms = TIMEOUT_MS;
    request.topic_data = &topic;
    request.topic_data_count = 1;
    int16_t version = is_classic(producer) ? 9 : 12;
    struct writer writer;
    produce_request_encode(sim_client_request(client, &writer, PRODUCE_KEY, version, true), version,
                           &request);
    (post ? sim_client_post : sim_client_send)(client, &writer);
}

enum status produce_receive(struct sim_client *client, struct producer *producer, int32_t partition,
                            int32_t count)
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

void end_send(struct sim_client *client, const struct producer *producer, bool commit, bool post)
{
    struct end_txn_request request;
    end_txn_request_init(&request);
    request.transactional_id = producer_name(producer);
    request.producer_id = producer->id;
    request.producer_epoch = producer->epoch;
    request.committed = commit;
    int16_t version = is_classic(producer) ? 3 : 5;
    struct writer writer;
    end_txn_request_encode(sim_client_request(client, &writer, END_TXN_KEY, version, true), version,
                           &request);
    (post ? sim_client_post : sim_client_send)(client, &writer);
}

enum status end_receive(struct sim_client *client, struct producer *producer)
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
