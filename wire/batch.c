/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/batch.h"

#include "base/check.h"
#include "wire/crc32c.h"
#include "wire/record_walk.h"

#define LENGTH_MIN (BATCH_HEADER_SIZE - BATCH_PREFIX_SIZE)
#define CRC_POSITION 17
#define CRC_START 21 /* first byte that the CRC covers */
#define ATTRIBUTES_KNOWN 0x7f

void batch_header_decode(struct batch_header *header, const uint8_t *data)
{
    *header = (struct batch_header){
        .base_offset = (int64_t)get_be64(data),
        .batch_length = (int32_t)get_be32(data + 8),
        .leader_epoch = (int32_t)get_be32(data + 12),
        .magic = (int8_t)data[16],
        .crc = get_be32(data + CRC_POSITION),
        .attributes = get_be16(data + 21),
        .last_offset_delta = (int32_t)get_be32(data + 23),
        .base_timestamp = (int64_t)get_be64(data + 27),
        .max_timestamp = (int64_t)get_be64(data + 35),
        .producer_id = (int64_t)get_be64(data + 43),
        .producer_epoch = (int16_t)get_be16(data + 51),
        .base_sequence = (int32_t)get_be32(data + 53),
        .count = (int32_t)get_be32(data + 57),
    };
}

void batch_header_encode(const struct batch_header *header, uint8_t *data)
{
    put_be64(data, (uint64_t)header->base_offset);
    put_be32(data + 8, (uint32_t)header->batch_length);
    put_be32(data + 12, (uint32_t)header->leader_epoch);
    data[16] = (uint8_t)header->magic;
    put_be32(data + CRC_POSITION, header->crc);
    put_be16(data + 21, header->attributes);
    put_be32(data + 23, (uint32_t)header->last_offset_delta);
    put_be64(data + 27, (uint64_t)header->base_timestamp);
    put_be64(data + 35, (uint64_t)header->max_timestamp);
    put_be64(data + 43, (uint64_t)header->producer_id);
    put_be16(data + 51, (uint16_t)header->producer_epoch);
    put_be32(data + 53, (uint32_t)header->base_sequence);
    put_be32(data + 57, (uint32_t)header->count);
}

int32_t batch_last_sequence(const struct batch_header *header)
{
    if (header->base_sequence < 0) {
        return -1;
    }
    uint32_t sum = (uint32_t)header->base_sequence + (uint32_t)header->last_offset_delta;
    return (int32_t)(sum & INT32_MAX);
}

static bool crc_is_right(const struct batch_header *header, struct bytes data)
{
    return crc32c(0, data.data + CRC_START, data.size - CRC_START) == header->crc;
}

enum status batch_check(struct bytes data, struct batch_header *header)
{
    if (data.size < BATCH_PREFIX_SIZE) {
        return STATUS_TRUNCATED;
    }
    int64_t size = batch_size_of(data.data);
    if (size < BATCH_HEADER_SIZE) {
        return STATUS_CORRUPT_MESSAGE;
    }
    if ((uint64_t)size > data.size) {
        return STATUS_TRUNCATED;
    }
    batch_header_decode(header, data.data);
    bool formed = (uint64_t)size == data.size && header->magic == BATCH_MAGIC &&
                  (header->attributes & BATCH_CODEC_MASK) < CODEC_COUNT &&
                  (header->attributes & ~ATTRIBUTES_KNOWN) == 0 && header->count >= 0 &&
                  header->last_offset_delta >= 0 && header->last_offset_delta >= header->count - 1;
    return formed && crc_is_right(header, data) ? STATUS_OK : STATUS_CORRUPT_MESSAGE;
}

static enum status refuse(struct batch_fault *fault, enum status status, const char *message)
{
    fault->message = message;
    return status;
}

/* One whole batch of ours whose bytes are the ones that were sent. */
static enum status validate_form(struct bytes data, struct batch_header *header,
                                 struct batch_fault *fault)
{
    if (data.size == 0) {
        return refuse(fault, STATUS_INVALID_RECORD, "there is no record batch");
    }
    if (data.size < BATCH_HEADER_SIZE) {
        return refuse(fault, STATUS_INVALID_RECORD, "the record batch is cut short");
    }
    batch_header_decode(header, data.data);
    if (header->magic != BATCH_MAGIC) {
        return refuse(fault, STATUS_INVALID_RECORD, "the record batch is not of magic 2");
    }
    if (header->batch_length < LENGTH_MIN) {
        return refuse(fault, STATUS_CORRUPT_MESSAGE, "the batch length is below 49");
    }
    uint64_t size = (uint64_t)batch_size_of(data.data);
    if (size > data.size) {
        return refuse(fault, STATUS_INVALID_RECORD, "the record batch is cut short");
    }
    if (size < data.size) {
        return refuse(fault, STATUS_INVALID_RECORD, "there is more than one record batch");
    }
    if (!crc_is_right(header, data)) {
        return refuse(fault, STATUS_CORRUPT_MESSAGE, "the CRC of the record batch is wrong");
    }
    return STATUS_OK;
}

static enum status validate_header(const struct batch_header *header,
                                   const struct batch_rules *rules, struct batch_fault *fault)
{
    uint16_t attributes = header->attributes;
    if ((attributes & BATCH_CODEC_MASK) >= CODEC_COUNT) {
        return refuse(fault, STATUS_UNSUPPORTED_COMPRESSION_TYPE, "the codec is not known");
    }
    if ((attributes & ~ATTRIBUTES_KNOWN) != 0 || (attributes & BATCH_DELETE_HORIZON) != 0) {
        return refuse(fault, STATUS_INVALID_RECORD, "attributes are set that clients may not set");
    }
    if ((attributes & BATCH_CONTROL) != 0) {
        return refuse(fault, STATUS_INVALID_RECORD, "clients may not send control batches");
    }
    if (header->base_offset != 0) {
        return refuse(fault, STATUS_INVALID_RECORD, "the base offset is not 0");
    }
    if (header->count <= 0 || header->last_offset_delta != header->count - 1) {
        return refuse(fault, STATUS_INVALID_RECORD,
                      "the record count and the last offset delta do not agree");
    }
    if (header->producer_id >= 0 && header->base_sequence < 0) {
        return refuse(fault, STATUS_INVALID_RECORD, "the batch has a producer id but no sequence");
    }
    if ((attributes & BATCH_TRANSACTIONAL) != 0 && header->producer_id < 0) {
        return refuse(fault, STATUS_INVALID_RECORD, "the transaction has no producer id");
    }
    if ((attributes & BATCH_LOG_APPEND_TIME) != 0 && !rules->log_append_time) {
        return refuse(fault, STATUS_INVALID_TIMESTAMP,
                      "the batch says LogAppendTime, the topic keeps CreateTime");
    }
    return STATUS_OK;
}

enum status batch_validate(struct bytes data, const struct batch_rules *rules,
                           struct batch_scratch scratch, struct batch_header *header,
                           int64_t *max_timestamp_out, struct batch_fault *fault)
{
    batch_fault_init(fault);
    enum status status = validate_form(data, header, fault);
    if (status == STATUS_OK) {
        status = validate_header(header, rules, fault);
    }
    if (status != STATUS_OK) {
        return status;
    }
    *max_timestamp_out = rules->log_append_time ? rules->now_ms : header->max_timestamp;
    if (!rules->walk) {
        return STATUS_OK;
    }
    struct bytes records = bytes_of(data.data + BATCH_HEADER_SIZE, data.size - BATCH_HEADER_SIZE);
    return records_walk(records, header, rules, scratch, max_timestamp_out, fault);
}

void batch_stamp(uint8_t *data, int64_t base_offset, int32_t leader_epoch)
{
    put_be64(data, (uint64_t)base_offset);
    put_be32(data + 12, (uint32_t)leader_epoch);
}

void batch_stamp_time(uint8_t *data, size_t size, bool log_append_time, int64_t max_timestamp)
{
    uint16_t attributes = get_be16(data + 21);
    attributes = (uint16_t)(attributes & ~BATCH_LOG_APPEND_TIME);
    if (log_append_time) {
        attributes |= BATCH_LOG_APPEND_TIME;
    }
    put_be16(data + 21, attributes);
    put_be64(data + 35, (uint64_t)max_timestamp);
    batch_seal(data, size);
}

void batch_seal(uint8_t *data, size_t size)
{
    check(size >= BATCH_HEADER_SIZE);
    put_be32(data + CRC_POSITION, crc32c(0, data + CRC_START, size - CRC_START));
}
