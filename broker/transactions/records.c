/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/transactions/records.h"

#include "wire/reader.h"
#include "wire/transaction_state.h"
#include "wire/writer.h"

#define VALUE_VERSION 1 /* what Kafka writes since transaction.version 1; we read 0 as well */

static struct bytes record_whole(struct writer *writer, struct arena *arena)
{
    size_t size = writer_size(writer);
    uint8_t *memory = arena_acquire_bytes(arena, size);
    if (writer->failed || memory == NULL) {
        return BYTES_NULL;
    }
    writer_copy(writer, memory);
    return bytes_of(memory, size);
}

static enum status value_encode(struct arena *arena, const struct transaction_value *value,
                                const struct partition_set *partitions, struct bytes *out)
{
    struct transaction_log_value log;
    transaction_log_value_init(&log);
    log.producer_id = value->producer_id;
    log.previous_producer_id = value->previous_producer_id;
    log.next_producer_id = value->next_producer_id;
    log.producer_epoch = value->epoch;
    log.transaction_timeout_ms = value->timeout_ms;
    log.transaction_status = (int8_t)value->state;
    log.transaction_last_update_timestamp_ms = value->update_ms;
    log.transaction_start_timestamp_ms = value->start_ms;
    log.client_transaction_version = value->client_version;
    log.transaction_partitions_count = -1; /* Kafka: null in Empty, an empty array in Complete */
    if (value->state != TRANSACTION_EMPTY) {
        size_t count = (size_t)partitions->topic_count;
        log.transaction_partitions =
            arena_new_array(arena, struct transaction_log_value_transaction_partition, count);
        if (log.transaction_partitions == NULL) {
            return STATUS_NO_MEMORY;
        }
        log.transaction_partitions_count = partitions->topic_count;
        for (size_t i = 0; i < count; i++) {
            const struct partition_set_topic *topic = &partitions->topics[i];
            log.transaction_partitions[i].topic = topic->name;
            log.transaction_partitions[i].partition_ids = topic->indexes;
            log.transaction_partitions[i].partition_ids_count = topic->count;
        }
    }
    struct writer writer;
    writer_init(&writer, arena);
    writer_i16(&writer, VALUE_VERSION);
    transaction_log_value_encode(&writer, VALUE_VERSION, &log);
    *out = record_whole(&writer, arena);
    return arena->failed ? STATUS_NO_MEMORY : STATUS_OK;
}

enum status transaction_record_encode(struct arena *arena, struct bytes id,
                                      const struct transaction_value *value,
                                      const struct partition_set *partitions,
                                      struct shard_record *record)
{
    const struct transaction_log_key key = {.transactional_id = id};
    struct writer writer;
    writer_init(&writer, arena);
    writer_i16(&writer, TRANSACTION_LOG_KEY_KEY);
    transaction_log_key_encode(&writer, 0, &key);
    record->key = record_whole(&writer, arena);
    record->value = BYTES_NULL;
    if (value->state == TRANSACTION_DEAD) {
        return arena->failed ? STATUS_NO_MEMORY : STATUS_OK;
    }
    return value_encode(arena, value, partitions, &record->value);
}

static enum status partitions_decode(const struct transaction_log_value *log, struct heap *heap,
                                     struct partition_set *partitions)
{
    for (int32_t i = 0; i < log->transaction_partitions_count; i++) {
        const struct transaction_log_value_transaction_partition *topic =
            &log->transaction_partitions[i];
        if (topic->topic.size == 0) {
            partition_set_clear(partitions, heap);
            return STATUS_CORRUPT_MESSAGE;
        }
        for (int32_t k = 0; k < topic->partition_ids_count; k++) {
            enum status status =
                partition_set_add(partitions, heap, topic->topic, topic->partition_ids[k]);
            if (status != STATUS_OK) {
                partition_set_clear(partitions, heap);
                return status;
            }
        }
    }
    return STATUS_OK;
}

static enum status damage(enum status status)
{
    return status == STATUS_OK || status == STATUS_NO_MEMORY ? status : STATUS_CORRUPT_MESSAGE;
}

static enum status value_decode(struct bytes bytes, struct arena *arena,
                                struct transaction_log_value *log)
{
    struct reader reader;
    reader_init(&reader, bytes);
    int16_t version = reader_i16(&reader);
    if (reader_status(&reader) != STATUS_OK || version < TRANSACTION_LOG_VALUE_VERSION_MIN ||
        version > TRANSACTION_LOG_VALUE_VERSION_MAX) {
        return STATUS_CORRUPT_MESSAGE;
    }
    return damage(transaction_log_value_decode(&reader, version, arena, log));
}

enum status transaction_record_decode(const struct shard_record *record, struct arena *arena,
                                      struct heap *heap, struct bytes *id,
                                      struct transaction_value *value,
                                      struct partition_set *partitions, bool *tombstone)
{
    struct reader reader;
    reader_init(&reader, record->key);
    struct transaction_log_key key;
    if (reader_i16(&reader) != TRANSACTION_LOG_KEY_KEY) {
        return STATUS_CORRUPT_MESSAGE;
    }
    enum status status = damage(transaction_log_key_decode(&reader, 0, arena, &key));
    if (status != STATUS_OK) {
        return status;
    }
    *id = key.transactional_id;
    *tombstone = record->value.data == NULL;
    if (*tombstone) {
        return STATUS_OK;
    }
    struct transaction_log_value log;
    status = value_decode(record->value, arena, &log);
    if (status != STATUS_OK) {
        return status;
    }
    if (log.transaction_status < 0 || log.transaction_status >= TRANSACTION_STATES) {
        return STATUS_CORRUPT_MESSAGE;
    }
    *value = (struct transaction_value){
        .producer_id = log.producer_id,
        .previous_producer_id = log.previous_producer_id,
        .next_producer_id = log.next_producer_id,
        .start_ms = log.transaction_start_timestamp_ms,
        .update_ms = log.transaction_last_update_timestamp_ms,
        .timeout_ms = log.transaction_timeout_ms,
        .epoch = log.producer_epoch,
        .last_epoch = -1,
        .client_version = log.client_transaction_version,
        .state = (enum transaction_state)log.transaction_status,
    };
    return value->state == TRANSACTION_EMPTY ? STATUS_OK
                                             : partitions_decode(&log, heap, partitions);
}
