/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/producer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "broker/cli/partitioner.h"
#include "broker/cli/text.h"
#include "wire/init_producer_id.h"
#include "wire/produce.h"

#define PENDING_SIZE_MAX (8 * MIB)
#define LANES_SIZE_MAX (32 * MIB) /* all lanes together; many of them have smaller batches */
#define BATCH_BYTES_MIN (16 * KIB)
#define RETRY_PAUSE_MS 100
/* Varints of one record: its length, deltas, sizes of key and value, count of headers. */
#define RECORD_OVERHEAD 40
#define HEADER_OVERHEAD 10
/* What packing may add to bytes that do not pack. */
#define PACK_SLACK(size) ((size) / 8 + KIB)

static bool producer_id_ask(struct producer *producer)
{
    struct client *client = producer->client;
    struct init_producer_id_request request;
    struct init_producer_id_response response = {0};
    int64_t deadline_ms = cli_monotonic_ms() + client->timeout_ms;
    init_producer_id_request_init(&request);
    request.producer_id = -1;
    request.producer_epoch = -1;
    for (;;) {
        struct arena arena;
        client_arena_init(client, &arena);
        bool good = client_call(client, producer->cluster->bootstrap, INIT_PRODUCER_ID_KEY,
                                &request, &arena, &response);
        arena_reset(&arena);
        if (!good) {
            return false;
        }
        if (response.error_code == 0) {
            producer->producer_id = response.producer_id;
            producer->producer_epoch = response.producer_epoch;
            return true;
        }
        if (!status_is_retriable(status_from_code(response.error_code)) ||
            cli_monotonic_ms() > deadline_ms) {
            return client_refused(client, "InitProducerId", response.error_code, BYTES_NULL);
        }
        (void)client_pause(client, RETRY_PAUSE_MS);
    }
}

bool producer_open(struct producer *producer, struct cluster *cluster, char *topic,
                   const struct producer_options *options)
{
    struct client *client = cluster->client;
    *producer = (struct producer){
        .client = client,
        .cluster = cluster,
        .options = *options,
        .topic = topic,
        .producer_id = -1,
        .producer_epoch = -1,
    };
    random_init(&producer->random, random_seed_from_kernel());
    const struct metadata_response_topic *found =
        cluster_await_topic(cluster, topic, CLUSTER_MAY_CREATE);
    if (found == NULL) {
        return false;
    }
    producer->lane_count = found->partitions_count;
    if (options->partition >= producer->lane_count || producer->lane_count == 0) {
        return client_fail(client, CLI_REFUSED,
                           "topic \"%s\" has %d partitions, from 0 on; there is no partition %d",
                           topic, producer->lane_count, options->partition);
    }
    producer->lanes = cli_allocate(NULL, (size_t)producer->lane_count * sizeof(struct lane));
    for (int32_t i = 0; i < producer->lane_count; i++) {
        producer->lanes[i] = (struct lane){.partition = found->partitions[i].partition_index,
                                           .first_offset = -1,
                                           .last_offset = -1};
    }
    size_t share = LANES_SIZE_MAX / (size_t)producer->lane_count;
    share = share < BATCH_BYTES_MIN ? BATCH_BYTES_MIN : share;
    if (producer->options.batch_bytes > share) {
        producer->options.batch_bytes = share;
    }
    producer->sticky = (int32_t)random_below(&producer->random, (uint64_t)producer->lane_count);
    return !options->idempotent || producer_id_ask(producer);
}

void producer_close(struct producer *producer)
{
    for (int32_t i = 0; i < producer->lane_count && producer->lanes != NULL; i++) {
        free(producer->lanes[i].memory);
    }
    free(producer->lanes);
    producer->lanes = NULL;
}

/* Lanes */

static bool lane_seal(struct producer *producer, struct lane *lane)
{
    struct batch_header *header = &lane->builder.header;
    if (header->count == 0) {
        return true;
    }
    lane->sealed_count = header->count;
    if (producer->producer_id >= 0) {
        header->producer_id = producer->producer_id;
        header->producer_epoch = producer->producer_epoch;
        header->base_sequence = lane->sequence;
    }
    enum status status = batch_builder_finish(&lane->builder, producer->options.codec, 0,
                                              producer->client->scratch, 0, &lane->sealed);
    if (status != STATUS_OK) {
        return client_fail(producer->client, CLI_USAGE, "a batch of %d records does not pack: %s",
                           lane->sealed_count, status_sentence(status));
    }
    header->count = 0;
    return true;
}

/* The sealed batch was answered, or needs no answer. */
static void lane_settle(struct lane *lane, int64_t base_offset)
{
    if (base_offset >= 0) {
        if (lane->first_offset < 0) {
            lane->first_offset = base_offset;
        }
        lane->last_offset = base_offset + lane->sealed_count - 1;
    }
    lane->record_count += lane->sealed_count;
    lane->sequence =
        (int32_t)(((uint32_t)lane->sequence + (uint32_t)lane->sealed_count) & INT32_MAX);
    lane->sealed = BYTES_NULL;
}

static bool lane_has_room(const struct producer *producer, const struct lane *lane, size_t size)
{
    return lane->sealed.data == NULL &&
           (lane->builder.header.count == 0 ||
            lane->builder.size + size <= BATCH_HEADER_SIZE + producer->options.batch_bytes);
}

/* An empty lane gets memory for one batch, or for the one record that is larger. */
static void lane_begin(const struct producer *producer, struct lane *lane, size_t record_size)
{
    size_t plain =
        producer->options.batch_bytes > record_size ? producer->options.batch_bytes : record_size;
    size_t size = BATCH_HEADER_SIZE + plain + PACK_SLACK(plain);
    if (lane->memory_size < size) {
        lane->memory = cli_allocate(lane->memory, size);
        lane->memory_size = size;
    }
    batch_builder_init(&lane->builder, lane->memory, lane->memory_size);
}

/* The next lane for records without a key; NULL when every one waits to be sent. */
static struct lane *sticky_move(struct producer *producer, size_t size)
{
    int32_t first = (int32_t)random_below(&producer->random, (uint64_t)producer->lane_count);
    for (int32_t i = 0; i < producer->lane_count; i++) {
        producer->sticky = (first + i) % producer->lane_count;
        if (lane_has_room(producer, &producer->lanes[producer->sticky], size)) {
            return &producer->lanes[producer->sticky];
        }
    }
    return NULL;
}

static struct lane *lane_choose(struct producer *producer, struct bytes key, size_t size)
{
    struct lane *lane = &producer->lanes[producer->sticky];
    if (producer->options.partition >= 0) {
        lane = &producer->lanes[producer->options.partition];
    } else if (key.data != NULL) {
        lane = &producer->lanes[partition_of_key(key, producer->lane_count)];
    } else if (!lane_has_room(producer, lane, size)) {
        return sticky_move(producer, size);
    }
    return lane_has_room(producer, lane, size) ? lane : NULL;
}

bool producer_add(struct producer *producer, int64_t timestamp, struct bytes key,
                  struct bytes value, const struct record_header *headers, int32_t header_count)
{
    size_t size = key.size + value.size + RECORD_OVERHEAD;
    for (int32_t i = 0; i < header_count; i++) {
        size += headers[i].key.size + headers[i].value.size + HEADER_OVERHEAD;
    }
    struct lane *lane = lane_choose(producer, key, size);
    if (lane == NULL || producer->pending_size + size > PENDING_SIZE_MAX) {
        if (!producer_flush(producer)) {
            return false;
        }
        lane = lane_choose(producer, key, size);
    }
    if (lane->builder.header.count == 0) {
        lane_begin(producer, lane, size);
    }
    batch_builder_add(&lane->builder, timestamp, key, value, headers, header_count);
    producer->pending_size += size;
    return true;
}

/* Sending */

struct produce_call {
    struct producer *producer;
    const struct metadata_response_topic *topic;
};

static const struct metadata_response_partition *
partition_of(const struct metadata_response_topic *topic, int32_t partition)
{
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        if (topic->partitions[i].partition_index == partition) {
            return &topic->partitions[i];
        }
    }
    return NULL;
}

static struct lane *lane_of(struct producer *producer, int32_t partition)
{
    for (int32_t i = 0; i < producer->lane_count; i++) {
        if (producer->lanes[i].partition == partition) {
            return &producer->lanes[i];
        }
    }
    return NULL;
}

static bool answer_take(struct produce_call *call, const struct produce_response_partition *answer)
{
    struct producer *producer = call->producer;
    struct lane *lane = lane_of(producer, answer->index);
    if (lane == NULL || lane->sealed.data == NULL) {
        return true;
    }
    enum status status = status_from_code(answer->error_code);
    if (status == STATUS_OK || status == STATUS_DUPLICATE_SEQUENCE_NUMBER) {
        lane_settle(lane, answer->base_offset);
        return true;
    }
    char what[320];
    snprintf(what, sizeof(what), "topic \"%.250s\" partition %d", producer->topic, answer->index);
    (void)client_refused(producer->client, what, answer->error_code, answer->error_message);
    return status_is_retriable(status);
}

/* Every sealed batch of the partitions that the node leads. */
static bool batches_gather(const struct produce_call *call, int32_t node, struct arena *arena,
                           struct produce_request_topic_data *topic)
{
    struct producer *producer = call->producer;
    size_t lanes = (size_t)producer->lane_count;
    struct bytes *slices = arena_new_array(arena, struct bytes, lanes);
    produce_request_topic_data_init(topic);
    topic->name = bytes_of_text(producer->topic);
    topic->topic_id = call->topic->topic_id;
    topic->partition_data = arena_new_array(arena, struct produce_request_partition_data, lanes);
    if (arena->failed) {
        return client_fail(producer->client, CLI_USAGE, "%zu partitions do not fit in memory",
                           lanes);
    }
    for (size_t i = 0; i < lanes; i++) {
        const struct lane *lane = &producer->lanes[i];
        const struct metadata_response_partition *found =
            partition_of(call->topic, lane->partition);
        if (lane->sealed.data != NULL && found != NULL && found->leader_id == node) {
            slices[i] = lane->sealed;
            topic->partition_data[topic->partition_data_count++] =
                (struct produce_request_partition_data){.index = lane->partition,
                                                        .records = {&slices[i], 1}};
        }
    }
    return true;
}

static bool answers_take(struct produce_call *call, const struct produce_response *response)
{
    bool good = true;
    for (int32_t i = 0; i < response->responses_count; i++) {
        for (int32_t k = 0; k < response->responses[i].partition_responses_count; k++) {
            good = answer_take(call, &response->responses[i].partition_responses[k]) && good;
        }
    }
    return good;
}

/* One request to one leader, with its answer where there is one. */
static bool node_send(struct produce_call *call, int32_t node, struct arena *arena)
{
    struct producer *producer = call->producer;
    struct client *client = producer->client;
    struct produce_request_topic_data topic;
    if (!batches_gather(call, node, arena, &topic)) {
        return false;
    }
    if (topic.partition_data_count == 0) {
        return true;
    }
    struct produce_request request;
    struct produce_response response;
    produce_request_init(&request);
    request.acks = producer->options.acks;
    request.timeout_ms = (int32_t)client->timeout_ms;
    request.topic_data = &topic;
    request.topic_data_count = 1;
    struct connection *connection = cluster_node(producer->cluster, node);
    if (connection == NULL) {
        return false;
    }
    if (producer->options.acks == 0) {
        if (!client_tell(client, connection, PRODUCE_KEY, &request)) {
            return false;
        }
        for (int32_t i = 0; i < topic.partition_data_count; i++) {
            lane_settle(lane_of(producer, topic.partition_data[i].index), -1);
        }
        return true;
    }
    return client_call(client, connection, PRODUCE_KEY, &request, arena, &response) &&
           answers_take(call, &response);
}

static bool sealed_remain(const struct producer *producer)
{
    for (int32_t i = 0; i < producer->lane_count; i++) {
        if (producer->lanes[i].sealed.data != NULL) {
            return true;
        }
    }
    return false;
}

/* To every leader once. False: no retry would help. */
static bool round_send(struct produce_call *call)
{
    struct producer *producer = call->producer;
    const struct metadata_response *metadata = &producer->cluster->metadata;
    for (int32_t i = 0; i < metadata->brokers_count; i++) {
        struct arena arena;
        client_arena_init(producer->client, &arena);
        bool good = node_send(call, metadata->brokers[i].node_id, &arena);
        arena_reset(&arena);
        if (!good && producer->client->status != STATUS_NETWORK_EXCEPTION) {
            return false;
        }
    }
    return true;
}

bool producer_flush(struct producer *producer)
{
    struct client *client = producer->client;
    int64_t deadline_ms = cli_monotonic_ms() + client->timeout_ms;
    for (int32_t i = 0; i < producer->lane_count; i++) {
        if (producer->lanes[i].sealed.data == NULL && !lane_seal(producer, &producer->lanes[i])) {
            return false;
        }
    }
    struct produce_call call = {.producer = producer,
                                .topic = &producer->cluster->metadata.topics[0]};
    while (sealed_remain(producer)) {
        if (call.topic != NULL && !round_send(&call)) {
            return false;
        }
        if (!sealed_remain(producer)) {
            break;
        }
        if (cli_monotonic_ms() > deadline_ms) {
            return client->code != CLI_OK /* with the sentence of the last failure */
                       ? false
                       : client_fail(client, CLI_UNREACHABLE,
                                     "topic \"%.250s\": no broker answered for some partitions",
                                     producer->topic);
        }
        (void)client_pause(client, RETRY_PAUSE_MS);
        call.topic = cluster_await_topic(producer->cluster, producer->topic, CLUSTER_ONLY_LOOK);
        if (call.topic == NULL && client->status != STATUS_NETWORK_EXCEPTION) {
            return false;
        }
    }
    producer->pending_size = 0;
    return true;
}
