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
#include "wire/compress.h"
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
    int32_t batch_length; /* bytes after the prefix */
    int32_t leader_epoch;
    int8_t magic;
    uint32_t crc;
    uint16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id; /* -1 none */
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
 * The form of one whole batch, as a log must hold it: size covers the batch exactly, magic 2,
 * length of at least 49, known codec, reserved attribute bits zero, count not negative, last delta
 * at least count - 1, CRC right.
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
    bool walk;            /* off: weir.validate.records=false */
    bool key_required;    /* compacted topics: null key -> INVALID_RECORD */
    bool log_append_time; /* timestamps are ours: skip the client's */
    int64_t now_ms;
    int64_t timestamp_before_ms_max; /* message.timestamp.before.max.ms */
    int64_t timestamp_after_ms_max;  /* message.timestamp.after.max.ms */
    uint64_t decompressed_size_max;  /* bytes one batch may unpack to */
    int64_t record_size_max; /* bytes of one of its records: max.decompressed.message.bytes */
};

/* What a failed check says about single records: RecordErrors of Produce v8. */
#define BATCH_FAULTS_MAX 128
struct batch_fault {
    int32_t index;       /* of the first bad record, -1 when the whole batch is meant */
    const char *message; /* fixed text, NULL when there is no fault */
    int32_t count;       /* of bad records, or BATCH_FAULTS_MAX when there are more */
    int32_t indexes[BATCH_FAULTS_MAX];
};

static inline void batch_fault_init(struct batch_fault *fault)
{
    fault->index = -1;
    fault->message = NULL;
    fault->count = 0;
}

/*
 * Scratch for codecs (struct batch_scratch of wire/codec_memory.h). With BATCH_SCRATCH_SIZE what
 * clients send by default is checked without an allocation, but for zstd, whose window of 2 MiB
 * comes from the heap; BATCH_SCRATCH_SIZE_ZSTD has room for that one too. Memory that no codec
 * asks for is never touched.
 */
#define BATCH_SCRATCH_SIZE (256 * 1024)
/* The least: a record stream itself. What a codec asks for comes from the heap then. */
#define BATCH_STREAM_SIZE 1024
#define BATCH_SCRATCH_SIZE_ZSTD (2816 * 1024)

/*
 * In this order; `header` is filled as soon as 61 bytes are there:
 *   INVALID_RECORD                not exactly one whole batch, or magic is not 2
 *   CORRUPT_MESSAGE               length below 49, or the CRC is wrong
 *   UNSUPPORTED_COMPRESSION_TYPE  codecs 5 to 7; a zstd window above 128 MiB
 *   INVALID_RECORD                a rule above is broken; packed bytes do not unpack, or are
 *                                 lz4 with linked blocks, which Java's consumers cannot read
 *   INVALID_TIMESTAMP             LogAppendTime where the topic keeps CreateTime; a record's time
 *   MESSAGE_TOO_LARGE             unpacks to more than decompressed_size_max (clients split it)
 *   NO_MEMORY                     scratch and heap have no room for the codec: retry
 * max_timestamp_out: largest timestamp of the records, to be compared with the header's; the
 * header's own without a walk, now_ms under log_append_time.
 */
enum status batch_validate(struct bytes data, const struct batch_rules *rules,
                           struct batch_scratch scratch, struct batch_header *header,
                           int64_t *max_timestamp_out, struct batch_fault *fault);

/* Stamps in place what lies before the CRC's range. */
void batch_stamp(uint8_t *data, int64_t base_offset, int32_t leader_epoch);
/* Stamps max timestamp and the attribute bit of LogAppendTime, then the CRC. */
void batch_stamp_time(uint8_t *data, size_t size, bool log_append_time, int64_t max_timestamp);
/* Recomputes the CRC of a batch that was built or changed. */
void batch_seal(uint8_t *data, size_t size);
