/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that stop: in the middle of a frame, without taking their answers, or for good. They hold
 * memory of a broker that has little of it, and the others must be served all the same.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim_broker.h"
#include "wire/create_topics.h"
#include "wire/fetch.h"
#include "wire/list_offsets.h"
#include "wire/metadata.h"
#include "wire/produce.h"
#include "wire/record.h"

#define TIMESTAMP                                                                                  \
    INT64_C(1767225600000) /* where the simulated wall clock begins: not too old to keep */
#define LARGE_SIZE 700000
#define BATCH_SIZE_MAX (LARGE_SIZE + 4096)

static const char *current;

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s: %s:%d: %s\n", current, __FILE__, __LINE__, #condition);           \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- requests ---- */

static void topic_create(struct sim_client *client, struct bytes name, int32_t partition_count)
{
    struct create_topics_request_topic topic = {
        .name = name, .num_partitions = partition_count, .replication_factor = 1};
    struct create_topics_request request;
    create_topics_request_init(&request);
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    create_topics_request_encode(sim_client_request(client, &writer, CREATE_TOPICS_KEY, 4, false),
                                 4, &request);
    sim_client_send(client, &writer);
    struct reader reader = sim_client_receive(client, false);
    struct create_topics_response response;
    expect(create_topics_response_decode(&reader, 4, &client->arena, &response) == STATUS_OK);
    expect(response.topics[0].error_code == 0);
}

static void metadata_send(struct sim_client *client, struct bytes name)
{
    struct metadata_request request;
    metadata_request_init(&request);
    struct metadata_request_topic topic = {.name = name};
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    metadata_request_encode(sim_client_request(client, &writer, METADATA_KEY, 8, false), 8,
                            &request);
    sim_client_send(client, &writer);
}

static int32_t metadata_receive(struct sim_client *client)
{
    arena_reset(&client->arena);
    struct reader reader = sim_client_receive(client, false);
    struct metadata_response response;
    expect(metadata_response_decode(&reader, 8, &client->arena, &response) == STATUS_OK);
    expect(response.topics_count == 1 && response.topics[0].error_code == 0);
    return response.topics[0].partitions_count;
}

/* One batch of one record of zeros. */
static void produce_encode(struct sim_client *client, struct writer *writer, struct bytes name,
                           struct bytes value)
{
    uint8_t *memory = arena_acquire_bytes(&client->arena, BATCH_SIZE_MAX);
    struct batch_builder builder;
    batch_builder_init(&builder, memory, BATCH_SIZE_MAX);
    batch_builder_add(&builder, TIMESTAMP, BYTES_NULL, value, NULL, 0);
    struct bytes batch;
    expect(batch_builder_finish(&builder, CODEC_NONE, 0, (struct batch_scratch){0}, 0, &batch) ==
           STATUS_OK);
    batch_stamp(memory, 0, -1);
    struct produce_request_partition_data partition = {.records = {.items = &batch, .count = 1}};
    struct produce_request_topic_data topic = {
        .name = name, .partition_data = &partition, .partition_data_count = 1};
    struct produce_request request;
    produce_request_init(&request);
    request.acks = -1;
    request.timeout_ms = 100000;
    request.topic_data = &topic;
    request.topic_data_count = 1;
    produce_request_encode(writer, 8, &request);
}

static int64_t produce_receive(struct sim_client *client)
{
    arena_reset(&client->arena);
    struct reader reader = sim_client_receive(client, false);
    struct produce_response response;
    expect(produce_response_decode(&reader, 8, &client->arena, &response) == STATUS_OK);
    expect(response.responses[0].partition_responses[0].error_code == 0);
    return response.responses[0].partition_responses[0].base_offset;
}

static int64_t produce(struct sim_client *client, struct bytes name, size_t size)
{
    struct writer writer;
    uint8_t *value = calloc(1, size);
    (void)sim_client_request(client, &writer, PRODUCE_KEY, 8, false);
    produce_encode(client, &writer, name, bytes_of(value, size));
    sim_client_send(client, &writer);
    free(value);
    return produce_receive(client);
}

struct wanted {
    struct bytes topic;
    int64_t offset;
    int32_t size_max;
    int32_t wait_ms;
};

static void fetch_send(struct sim_client *client, struct wanted wanted)
{
    struct fetch_request_partition partition;
    fetch_request_partition_init(&partition);
    partition.fetch_offset = wanted.offset;
    partition.partition_max_bytes = wanted.size_max;
    struct fetch_request_topic topic = {
        .topic = wanted.topic, .partitions = &partition, .partitions_count = 1};
    struct fetch_request request;
    fetch_request_init(&request);
    request.max_wait_ms = wanted.wait_ms;
    request.min_bytes = 1;
    request.max_bytes = INT32_MAX;
    request.session_epoch = -1;
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    fetch_request_encode(sim_client_request(client, &writer, FETCH_KEY, 7, false), 7, &request);
    sim_client_send(client, &writer);
}

/* Bytes of records. */
static size_t fetch_receive(struct sim_client *client)
{
    struct reader reader = sim_client_receive(client, false);
    struct fetch_response response;
    expect(fetch_response_decode(&reader, 7, &client->arena, &response) == STATUS_OK);
    const struct fetch_response_partition_data *answer = &response.responses[0].partitions[0];
    expect(answer->error_code == 0);
    return answer->records.count == 1 ? answer->records.items[0].size : 0;
}

static int16_t offset_of_time(struct sim_client *client, struct bytes name)
{
    struct list_offsets_request_partition partition = {.timestamp = TIMESTAMP};
    struct list_offsets_request_topic topic = {
        .name = name, .partitions = &partition, .partitions_count = 1};
    struct list_offsets_request request;
    list_offsets_request_init(&request);
    request.replica_id = -1;
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    list_offsets_request_encode(sim_client_request(client, &writer, LIST_OFFSETS_KEY, 1, false), 1,
                                &request);
    sim_client_send(client, &writer);
    struct reader reader = sim_client_receive(client, false);
    struct list_offsets_response response;
    expect(list_offsets_response_decode(&reader, 1, &client->arena, &response) == STATUS_OK);
    return response.topics[0].partitions[0].error_code;
}

/* ---- histories ---- */

#define SILENT_COUNT 300
#define SILENT_FRAME_SIZE 65000 /* a chunk: 256 of them are all request memory of the one core */
#define SILENT_LARGE 4

static void frame_begin_silent(struct sim_client *client, struct sim_broker *broker, uint32_t size)
{
    uint8_t head[100] = {0};
    put_be32(head, size);
    sim_client_open(client, broker);
    sim_client_send_bytes(client, bytes_of(head, sizeof(head)));
}

/* Frames that never end take what frames may have. Whoever needs a page is served at once, as is a
 * large frame; when large ones do not end either, the next is served after those are cut off. */
static void half_frames(void)
{
    current = "half_frames";
    struct sim_broker broker;
    sim_broker_open(&broker, 1, 1);
    struct sim_client first;
    sim_client_open(&first, &broker);
    topic_create(&first, BYTES_LITERAL("small"), 1);
    struct sim_client *silent = calloc(SILENT_COUNT, sizeof(*silent));
    for (int i = 0; i < SILENT_COUNT; i++) {
        frame_begin_silent(&silent[i], &broker, SILENT_FRAME_SIZE);
    }
    sim_broker_sleep(&broker, 100);
    struct sim_client later;
    sim_client_open(&later, &broker);
    metadata_send(&later, BYTES_LITERAL("small"));
    expect(metadata_receive(&later) == 1);
    expect(produce(&later, BYTES_LITERAL("small"), 100) == 0);
    fetch_send(&first, (struct wanted){BYTES_LITERAL("small"), 0, 1 << 20, 500});
    expect(fetch_receive(&first) > 100);
    uint64_t begin_ns = sim_world_now_ns(broker.world);
    expect(produce(&first, BYTES_LITERAL("small"), LARGE_SIZE) == 1);
    expect(sim_world_now_ns(broker.world) - begin_ns < UINT64_C(10000000000));
    struct sim_client large[SILENT_LARGE];
    for (int i = 0; i < SILENT_LARGE; i++) {
        frame_begin_silent(&large[i], &broker, LARGE_SIZE);
    }
    expect(produce(&first, BYTES_LITERAL("small"), LARGE_SIZE) == 2);
    for (int i = 0; i < SILENT_COUNT; i++) {
        sim_client_close(&silent[i]);
    }
    for (int i = 0; i < SILENT_LARGE; i++) {
        sim_client_close(&large[i]);
    }
    free(silent);
    sim_client_close(&later);
    sim_client_close(&first);
    sim_broker_close(&broker);
}

#define WIDE_PARTITIONS 1000
#define UNREAD_COUNT 400

/* Answers that nobody takes: the next requests wait, and each gets its answer in the end. */
static void unread_answers(void)
{
    current = "unread_answers";
    struct sim_broker broker;
    sim_broker_open(&broker, 2, 1);
    struct sim_client asking;
    struct sim_client other;
    sim_client_open(&asking, &broker);
    sim_client_open(&other, &broker);
    topic_create(&other, BYTES_LITERAL("wide"), WIDE_PARTITIONS);
    int32_t correlation = asking.correlation;
    for (int i = 0; i < UNREAD_COUNT; i++) {
        metadata_send(&asking, BYTES_LITERAL("wide"));
    }
    sim_broker_sleep(&broker, 100);
    metadata_send(&other, BYTES_LITERAL("wide"));
    expect(metadata_receive(&other) == WIDE_PARTITIONS);
    expect(produce(&other, BYTES_LITERAL("wide"), LARGE_SIZE) == 0);
    for (int i = 0; i < UNREAD_COUNT; i++) {
        asking.correlation = correlation + i + 1;
        expect(metadata_receive(&asking) == WIDE_PARTITIONS);
    }
    sim_client_close(&asking);
    sim_client_close(&other);
    sim_broker_close(&broker);
}

#define BLOCK 65536
#define BLOCK_VALUE (BLOCK - 72) /* with header and frame the batch is one block of log */
#define BULK_COUNT 448           /* blocks: more than the cache holds */
#define READERS 7                /* of a quarter of the cache each */
#define SOAKERS 8                /* of a block each: what the readers could not use */

/* Fetches that nobody takes pin all of the cache; one that needs a block of it is served when those
 * that stopped are cut off. */
static void unread_fetches(void)
{
    current = "unread_fetches";
    struct sim_broker broker;
    sim_broker_open(&broker, 3, 1);
    struct sim_client healthy;
    sim_client_open(&healthy, &broker);
    topic_create(&healthy, BYTES_LITERAL("cold"), 1);
    topic_create(&healthy, BYTES_LITERAL("bulk"), 1);
    expect(produce(&healthy, BYTES_LITERAL("cold"), 100) == 0);
    sim_broker_sleep(&broker, 5000);
    for (int i = 0; i < BULK_COUNT; i++) {
        expect(produce(&healthy, BYTES_LITERAL("bulk"), BLOCK_VALUE) == i);
    }
    sim_broker_sleep(&broker, 5000);
    struct sim_client readers[READERS + SOAKERS];
    for (int i = 0; i < READERS + SOAKERS; i++) {
        bool soaks = i >= READERS;
        sim_client_open(&readers[i], &broker);
        fetch_send(&readers[i], (struct wanted){.topic = BYTES_LITERAL("bulk"),
                                                .offset = soaks ? BULK_COUNT - 1 - i : i * 60,
                                                .size_max = soaks ? BLOCK : INT32_MAX,
                                                .wait_ms = 500});
    }
    sim_broker_sleep(&broker, 1000);
    expect(offset_of_time(&healthy, BYTES_LITERAL("cold")) ==
           status_code(STATUS_KAFKA_STORAGE_ERROR)); /* to be tried again */
    uint64_t limit_ns = sim_world_now_ns(broker.world) + UINT64_C(60000000000);
    size_t size = 0;
    while (size == 0) {
        expect(sim_world_now_ns(broker.world) < limit_ns);
        fetch_send(&healthy, (struct wanted){BYTES_LITERAL("cold"), 0, 1 << 20, 500});
        size = fetch_receive(&healthy);
    }
    for (int i = 0; i < READERS + SOAKERS; i++) {
        sim_client_close(&readers[i]);
    }
    sim_client_close(&healthy);
    sim_broker_close(&broker);
}

#define STREAMS 60
#define STREAM_FRAMES 2
#define STREAM_SIZE 500000 /* its frame leaves room for the begin of the next in its run */

/* More frames than there is memory for, each with the begin of the next behind it: nobody keeps the
 * memory of the one while he waits for that of the other. */
static void many_streams(void)
{
    current = "many_streams";
    struct sim_broker broker;
    sim_broker_open(&broker, 5, 1);
    struct sim_client *streams = calloc(STREAMS, sizeof(*streams));
    uint8_t *value = calloc(1, STREAM_SIZE);
    uint8_t *frames = malloc(SIM_REPLY_SIZE_MAX);
    for (int i = 0; i < STREAMS; i++) {
        sim_client_open(&streams[i], &broker);
    }
    topic_create(&streams[0], BYTES_LITERAL("stream"), 1);
    for (int i = 0; i < STREAMS; i++) {
        size_t size = 0;
        for (int k = 0; k < STREAM_FRAMES; k++) {
            struct writer writer;
            (void)sim_client_request(&streams[i], &writer, PRODUCE_KEY, 8, false);
            produce_encode(&streams[i], &writer, BYTES_LITERAL("stream"),
                           bytes_of(value, STREAM_SIZE));
            writer_copy(&writer, frames + size);
            put_be32(frames + size, (uint32_t)(writer_size(&writer) - 4));
            size += writer_size(&writer);
        }
        sim_client_post_bytes(&streams[i], bytes_of(frames, size));
    }
    for (int i = 0; i < STREAMS; i++) {
        for (int k = STREAM_FRAMES; k-- > 0;) {
            streams[i].correlation -= k;
            (void)produce_receive(&streams[i]);
            streams[i].correlation += k;
        }
    }
    for (int i = 0; i < STREAMS; i++) {
        sim_client_close(&streams[i]);
    }
    free(frames);
    free(value);
    free(streams);
    sim_broker_close(&broker);
}

/* A client goes while its fetch waits: nothing of it stays until the wait is over. */
static void gone_while_parked(void)
{
    current = "gone_while_parked";
    struct sim_broker broker;
    sim_broker_open(&broker, 4, 1);
    struct sim_client first;
    struct sim_client second;
    sim_client_open(&first, &broker);
    sim_client_open(&second, &broker);
    topic_create(&first, BYTES_LITERAL("small"), 1);
    fetch_send(&second, (struct wanted){BYTES_LITERAL("small"), 0, 1 << 20, 100000});
    sim_broker_sleep(&broker, 1000);
    expect(broker.server.cores[0].connection_count == 2);
    sim_client_close(&second);
    sim_broker_sleep(&broker, 1000);
    expect(broker.server.cores[0].connection_count == 1);
    sim_client_close(&first);
    sim_broker_close(&broker);
}

int main(void)
{
    many_streams();
    gone_while_parked();
    half_frames();
    unread_answers();
    unread_fetches();
    return 0;
}
