/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Record batch v2 (KIP-98): a 61-byte header and one stream of records. A batch is kept verbatim
 * from producer to disk to consumer; only base offset and leader epoch are stamped, and both lie
 * before the CRC's range.
 *
 * offset  0 base offset      i64      23 last offset delta i32     51 producer epoch  i16
 *         8 batch length     i32      27 base timestamp    i64     53 base sequence   i32
 *        12 leader epoch     i32      35 max timestamp     i64     57 count           i32
 *        16 magic            i8       43 producer id       i64     61 records
 *        17 crc              u32
 *        21 attributes       i16   (CRC-32C covers 21 to the end)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/status.h"

#define BATCH_HEADER_SIZE 61
#define BATCH_PREFIX_SIZE 12 /* base offset and length: what batch_length does not count */
#define BATCH_MAGIC 2

enum batch_attribute {
    BATCH_CODEC_MASK = 0x07,
    BATCH_LOG_APPEND_TIME = 0x08,
    BATCH_TRANSACTIONAL = 0x10,
    BATCH_CONTROL = 0x20,
    BATCH_DELETE_HORIZON = 0x40,
};

struct batch_header {
    int64_t base_offset;
    int32_t batch_length;      /* bytes after the prefix */
    int32_t leader_epoch;
    int8_t magic;
    uint32_t crc;
    uint16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;       /* -1 none */
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t count;
};

/* Whole size in bytes of the batch whose first 12 bytes are here; no judgement. */
static inline int64_t batch_size_of(const uint8_t *prefix)
{
    return (int64_t)(int32_t)get_be32(prefix + 8) + BATCH_PREFIX_SIZE;
}

/* Reads 61 bytes; judges nothing. */
void batch_header_decode(struct batch_header *header, const uint8_t *data);
void batch_header_encode(const struct batch_header *header, uint8_t *data);

static inline int64_t batch_last_offset(const struct batch_header *header)
{
    return header->base_offset + header->last_offset_delta;
}

/* Sequence of the last record; wraps from 2147483647 to 0. -1 without a base sequence. */
int32_t batch_last_sequence(const struct batch_header *header);

/*
 * The form of one whole batch, as a log must hold it: size covers the batch exactly, magic 2, length
 * >= 49, known codec, reserved attribute bits zero, count >= 0, last delta >= count - 1, CRC right.
 * STATUS_CORRUPT_MESSAGE otherwise; STATUS_TRUNCATED when `data` is shorter than the batch.
 */
enum status batch_check(struct bytes data, struct batch_header *header);

/*
 * What a producer may send (protocol of Produce): one batch with the form above, base offset 0,
 * last delta + 1 == count > 0, not control, sequence >= 0 when a producer id is set. Then, when
 * walk is asked for, every record: count, deltas 0..n-1, lengths, headers; keys where required.
 * Compressed batches are streamed through their codec in slices, output capped, nothing kept.
 */
struct batch_rules {
    bool walk;                       /* off: weir.validate.records=false */
    bool key_required;               /* compacted topics: null key -> INVALID_RECORD */
    bool log_append_time;            /* timestamps are ours: skip the client's */
    int64_t now_ms;
    int64_t timestamp_before_ms_max; /* message.timestamp.before.max.ms */
    int64_t timestamp_after_ms_max;
    uint64_t decompressed_size_max;  /* bytes one batch may unpack to */
};

/* What a failed check says about single records: RecordErrors of Produce v8. */
struct batch_fault {
    int32_t index;         /* of the first bad record, -1 when the whole batch is meant */
    const char *message;   /* fixed text */
};

/* scratch: at least BATCH_SCRATCH_SIZE bytes for codecs. max_timestamp_out: largest timestamp of the
 * records (CreateTime), to be compared with the header's. */
#define BATCH_SCRATCH_SIZE (192 * 1024)
struct batch_scratch {
    uint8_t *memory;
    size_t size;
};

enum status batch_validate(struct bytes data, const struct batch_rules *rules,
                           struct batch_scratch scratch, struct batch_header *header,
                           int64_t *max_timestamp_out, struct batch_fault *fault);

/* Stamps in place what lies before the CRC's range. */
void batch_stamp(uint8_t *data, int64_t base_offset, int32_t leader_epoch);
/* Stamps max timestamp and (for LogAppendTime) the attribute bit, then the CRC. */
void batch_stamp_time(uint8_t *data, size_t size, bool log_append_time, int64_t max_timestamp);
/* Recomputes the CRC of a batch that was built or changed. */
void batch_seal(uint8_t *data, size_t size);
