/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/consumer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "wire/fetch.h"

#define FETCH_BYTES_MAX (16 * 1024 * 1024)
#define PARTITION_BYTES_MAX (4 * 1024 * 1024)
#define WAIT_MS 500
#define WAIT_MS_SHARED 100 /* with several leaders, asked one after the other */
#define RETRY_PAUSE_MS 100
#define DECOMPRESSED_SIZE_MAX (CLIENT_MEMORY_MAX / 4)
#define MARKER_ABORT 0

/* One answered partition on its way to take(). */
struct walk {
    struct consumer *consumer;
    struct position *position;
    const struct fetch_response_partition_data *data;
    bool ended; /* take() has enough */
};

static bool corrupt(const struct walk *walk, int64_t offset, const char *why)
{
    return client_fail(walk->consumer->client, CLI_REFUSED,
                       "topic \"%s\" partition %d: the batch at offset %" PRId64
                       " cannot be read: %s; say --from with an offset behind it",
                       walk->consumer->topic, walk->position->partition, offset, why);
}

/*
 * Aborted transactions of the answer are (producer, first offset); one reaches to the producer's
 * next abort marker. `first_offset` is set to INT64_MAX once that was seen.
 */
static bool batch_is_aborted(const struct walk *walk, const struct batch_header *header)
{
    const struct fetch_response_partition_data *data = walk->data;
    if ((header->attributes & BATCH_TRANSACTIONAL) == 0) {
        return false;
    }
    for (int32_t i = 0; i < data->aborted_transactions_count; i++) {
        const struct fetch_response_aborted_transaction *aborted = &data->aborted_transactions[i];
        if (aborted->producer_id == header->producer_id &&
            aborted->first_offset <= header->base_offset) {
            return true;
        }
    }
    return false;
}

static void marker_take(const struct walk *walk, const struct batch_header *header,
                        const struct record *record)
{
    if (record->key.size < 4 || get_be16(record->key.data + 2) != MARKER_ABORT) {
        return;
    }
    struct fetch_response_aborted_transaction *first = NULL;
    for (int32_t i = 0; i < walk->data->aborted_transactions_count; i++) {
        struct fetch_response_aborted_transaction *aborted = &walk->data->aborted_transactions[i];
        if (aborted->producer_id == header->producer_id &&
            aborted->first_offset <= record->offset &&
            (first == NULL || aborted->first_offset < first->first_offset)) {
            first = aborted;
        }
    }
    if (first != NULL) {
        first->first_offset = INT64_MAX;
    }
}

static bool records_walk(struct walk *walk, const struct batch_header *header, struct bytes batch)
{
    struct consumer *consumer = walk->consumer;
    bool control = (header->attributes & BATCH_CONTROL) != 0;
    if (!control && consumer->committed && batch_is_aborted(walk, header)) {
        return true;
    }
    struct record_stream *stream;
    struct record record;
    enum status status =
        record_stream_open(&stream, batch, consumer->client->scratch, DECOMPRESSED_SIZE_MAX);
    if (status != STATUS_OK) {
        return corrupt(walk, header->base_offset, status_sentence(status));
    }
    while (!walk->ended && record_stream_next(stream, &record)) {
        if (control) {
            marker_take(walk, header, &record);
        } else if (record.offset >= walk->position->until) {
            break;
        } else if (record.offset >= walk->position->next) {
            walk->ended = !consumer->take(consumer->context, walk->position->partition, &record);
        }
    }
    status = record_stream_status(stream);
    record_stream_close(stream);
    return status == STATUS_OK || corrupt(walk, header->base_offset, status_sentence(status));
}

/* The batches of one partition; the last one may be cut off by the size of the answer. */
static bool batches_walk(struct walk *walk, struct bytes records)
{
    struct position *position = walk->position;
    while (!walk->ended && !position->done && records.size >= BATCH_HEADER_SIZE) {
        int64_t size = batch_size_of(records.data);
        struct batch_header header;
        batch_header_decode(&header, records.data);
        if (header.magic != BATCH_MAGIC) {
            return corrupt(walk, header.base_offset, "it has a format from before Kafka 0.11");
        }
        if (size > (int64_t)records.size) {
            return true;
        }
        if (size < BATCH_HEADER_SIZE) {
            return corrupt(walk, header.base_offset, "its length is below a header's");
        }
        struct bytes batch = bytes_of(records.data, (size_t)size);
        enum status status = batch_check(batch, &header);
        if (status != STATUS_OK) {
            return corrupt(walk, header.base_offset, status_sentence(status));
        }
        if (!records_walk(walk, &header, batch)) {
            return false;
        }
        int64_t next = batch_last_offset(&header) + 1;
        position->next = next > position->next ? next : position->next;
        position->done = position->next >= position->until;
        records = bytes_of(records.data + size, records.size - (size_t)size);
    }
    return true;
}

static struct position *position_of(struct consumer *consumer, int32_t partition)
{
    for (int32_t i = 0; i < consumer->position_count; i++) {
        if (consumer->positions[i].partition == partition) {
            return &consumer->positions[i];
        }
    }
    return NULL;
}

static bool partition_take(struct walk *walk, bool *retry)
{
    const struct fetch_response_partition_data *data = walk->data;
    enum status status = status_from_code(data->error_code);
    if (status == STATUS_OK) {
        for (int32_t i = 0; i < data->records.count; i++) {
            if (!batches_walk(walk, data->records.items[i])) {
                return false;
            }
        }
        return true;
    }
    char what[400];
    snprintf(what, sizeof(what), "topic \"%.250s\" partition %d at offset %" PRId64,
             walk->consumer->topic, data->partition_index, walk->position->next);
    (void)client_refused(walk->consumer->client, what, data->error_code, BYTES_NULL);
    *retry = true;
    return status_is_retriable(status) && status != STATUS_CORRUPT_MESSAGE;
}

static bool answer_take(struct consumer *consumer, const struct fetch_response *response,
                        bool *retry, bool *ended)
{
    if (response->error_code != 0) {
        return client_refused(consumer->client, "Fetch", response->error_code, BYTES_NULL);
    }
    for (int32_t i = 0; i < response->responses_count; i++) {
        for (int32_t k = 0; k < response->responses[i].partitions_count; k++) {
            const struct fetch_response_partition_data *data =
                &response->responses[i].partitions[k];
            struct walk walk = {consumer, position_of(consumer, data->partition_index), data,
                                false};
            if (walk.position == NULL || walk.position->done) {
                continue;
            }
            if (!partition_take(&walk, retry)) {
                return false;
            }
            if (walk.ended) {
                *ended = true;
                return true;
            }
        }
    }
    return true;
}

/* The positions that this node leads, in an order that turns with each round. */
static bool positions_gather(const struct consumer *consumer, int32_t node, struct arena *arena,
                             struct fetch_request_topic *topic)
{
    const struct metadata_response_topic *known = &consumer->cluster->metadata.topics[0];
    size_t count = (size_t)consumer->position_count;
    topic->partitions = arena_new_array(arena, struct fetch_request_partition, count);
    if (topic->partitions == NULL) {
        return client_fail(consumer->client, CLI_USAGE, "%zu partitions do not fit in memory",
                           count);
    }
    for (size_t i = 0; i < count; i++) {
        const struct position *position = &consumer->positions[(i + consumer->round_count) % count];
        for (int32_t k = 0; k < known->partitions_count && !position->done; k++) {
            const struct metadata_response_partition *partition = &known->partitions[k];
            if (partition->partition_index == position->partition && partition->leader_id == node) {
                struct fetch_request_partition *to = &topic->partitions[topic->partitions_count++];
                fetch_request_partition_init(to);
                to->partition = position->partition;
                to->fetch_offset = position->next;
                to->partition_max_bytes = PARTITION_BYTES_MAX;
                break; /* a broker that names a partition twice is asked for it once */
            }
        }
    }
    return true;
}

static bool node_fetch(struct consumer *consumer, int32_t node, bool *retry, bool *ended)
{
    struct client *client = consumer->client;
    const struct metadata_response *metadata = &consumer->cluster->metadata;
    struct arena arena;
    struct fetch_request request;
    struct fetch_response response;
    struct fetch_request_topic topic;
    client_arena_init(client, &arena);
    fetch_request_topic_init(&topic);
    topic.topic = bytes_of_text(consumer->topic);
    topic.topic_id = metadata->topics[0].topic_id;
    fetch_request_init(&request);
    request.max_wait_ms = metadata->brokers_count > 1 ? WAIT_MS_SHARED : WAIT_MS;
    request.min_bytes = 1;
    request.max_bytes = FETCH_BYTES_MAX;
    request.isolation_level = consumer->committed;
    request.topics = &topic;
    request.topics_count = 1;
    bool good = positions_gather(consumer, node, &arena, &topic);
    if (good && topic.partitions_count > 0) {
        struct connection *connection = cluster_node(consumer->cluster, node);
        good = connection != NULL &&
               client_call(client, connection, FETCH_KEY, &request, &arena, &response) &&
               answer_take(consumer, &response, retry, ended);
    }
    arena_reset(&arena);
    return good;
}

static bool all_done(const struct consumer *consumer)
{
    for (int32_t i = 0; i < consumer->position_count; i++) {
        if (!consumer->positions[i].done) {
            return false;
        }
    }
    return true;
}

enum consumer_result consumer_poll(struct consumer *consumer)
{
    struct client *client = consumer->client;
    bool retry = false;
    bool ended = all_done(consumer);
    for (int32_t i = 0; i < consumer->cluster->metadata.brokers_count && !ended; i++) {
        int32_t node = consumer->cluster->metadata.brokers[i].node_id;
        if (!node_fetch(consumer, node, &retry, &ended)) {
            return client->stopped ? CONSUMER_DONE : CONSUMER_FAILED;
        }
    }
    consumer->round_count++;
    if (ended || client->stopped) {
        return CONSUMER_DONE;
    }
    if (retry) {
        if (!client_pause(client, RETRY_PAUSE_MS)) {
            return CONSUMER_DONE;
        }
        if (cluster_await_topic(consumer->cluster, consumer->topic, CLUSTER_ONLY_LOOK) == NULL) {
            return client->stopped ? CONSUMER_DONE : CONSUMER_FAILED;
        }
    }
    return all_done(consumer) ? CONSUMER_DONE : CONSUMER_MORE;
}
