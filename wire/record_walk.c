/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads every record of a batch once and keeps none: the place where a produced byte costs most.
 *
 *   record = length varint, attributes i8, timestamp delta varlong, offset delta varint,
 *            key (length varint, -1 null; bytes), value (the same), header count varint,
 *            headers (key length varint >= 0, bytes; value as above)
 *
 * One grammar is compiled twice. A record that lies whole in memory (every record of an
 * uncompressed batch, nearly all of a compressed one) is read between two pointers: W1. One that is
 * cut by the end of an unpacked slice is read with a refill wherever the bytes run out: W2. `whole`
 * is a constant in both, so W1 pays nothing for W2.
 *
 * A varint that is longer than its type, or sets bits beyond it, is refused: clients disagree on
 * what such bytes mean.
 */
#include "wire/record_walk.h"

#include "base/check.h"

#define VARINT_SIZE_MAX 5
#define LZ4_FLAGS_POSITION 4 /* behind the frame's magic */
#define LZ4_FLAG_INDEPENDENT 0x20

#define INLINE static inline __attribute__((always_inline))

struct cursor {
    const uint8_t *at;
    const uint8_t *until;
    uint64_t left;         /* W2: bytes of the record from `at` on */
    struct unpack *source; /* W2: where the next slice comes from; NULL: none will come */
    enum status status;    /* of the source */
};

struct walk {
    struct cursor cursor;
    int64_t base_timestamp;
    int64_t timestamp_min; /* of an acceptable record */
    int64_t timestamp_max;
    int64_t timestamp_largest; /* seen */
    int64_t size_max;          /* of a record */
    int32_t index;
    bool key_required;
    enum status broken; /* the topic's rules, by a record that has the form of one */
    struct batch_fault *fault;
};

static bool cursor_refill(struct cursor *cursor)
{
    if (cursor->source == NULL || cursor->status != STATUS_OK) {
        return false;
    }
    struct bytes slice;
    cursor->status = unpack_next(cursor->source, &slice);
    if (cursor->status != STATUS_OK || slice.size == 0) {
        return false;
    }
    cursor->at = slice.data;
    cursor->until = slice.data + slice.size;
    return true;
}

INLINE bool take_byte(struct cursor *cursor, bool whole, uint8_t *byte)
{
    if (!whole) {
        if (cursor->left == 0 || (cursor->at == cursor->until && !cursor_refill(cursor))) {
            return false;
        }
        cursor->left--;
    } else if (cursor->at == cursor->until) {
        return false;
    }
    *byte = *cursor->at++;
    return true;
}

INLINE bool skip(struct cursor *cursor, bool whole, uint64_t size)
{
    if (whole) {
        if (size > (uint64_t)(cursor->until - cursor->at)) {
            return false;
        }
        cursor->at += size;
        return true;
    }
    if (size > cursor->left) {
        return false;
    }
    cursor->left -= size;
    while (size > (uint64_t)(cursor->until - cursor->at)) {
        size -= (uint64_t)(cursor->until - cursor->at);
        if (!cursor_refill(cursor)) {
            return false;
        }
    }
    cursor->at += size;
    return true;
}

/* Zigzag; bits is 32 or 64. */
INLINE bool take_varint(struct cursor *cursor, bool whole, unsigned bits, int64_t *value)
{
    uint8_t byte;
    if (!take_byte(cursor, whole, &byte)) {
        return false;
    }
    uint64_t raw = byte;
    if (__builtin_expect(byte >= 0x80, 0)) {
        raw &= 0x7f;
        unsigned shift = 7;
        do {
            if (shift >= bits || !take_byte(cursor, whole, &byte)) {
                return false;
            }
            if (bits - shift < 7 && byte >> (bits - shift) != 0) {
                return false;
            }
            raw |= (uint64_t)(byte & 0x7f) << shift;
            shift += 7;
        } while (byte >= 0x80);
    }
    *value = (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
    return true;
}

/* Bytes behind a length; -1 is null. */
INLINE bool take_nullable(struct cursor *cursor, bool whole, bool *null)
{
    int64_t size;
    if (!take_varint(cursor, whole, 32, &size) || size < -1) {
        return false;
    }
    *null = size < 0;
    return *null || skip(cursor, whole, (uint64_t)size);
}

INLINE bool take_headers(struct cursor *cursor, bool whole)
{
    int64_t count;
    if (!take_varint(cursor, whole, 32, &count) || count < 0) {
        return false;
    }
    for (; count > 0; count--) {
        bool null;
        if (!take_nullable(cursor, whole, &null) || null || !take_nullable(cursor, whole, &null)) {
            return false;
        }
    }
    return true;
}

static enum status refuse(const struct walk *walk, enum status status, const char *message)
{
    walk->fault->index = walk->fault->indexes[0] = walk->index;
    walk->fault->count = walk->index < 0 ? 0 : 1;
    walk->fault->message = message;
    return status;
}

/* The walk goes on, so that the producer hears of all records that are in the way of the others. A
 * wrong time decides what the batch is told, as in Kafka. */
static void note(struct walk *walk, enum status status, const char *message)
{
    struct batch_fault *fault = walk->fault;
    if (fault->count == 0) {
        fault->index = walk->index;
    }
    if (fault->count < BATCH_FAULTS_MAX) {
        fault->indexes[fault->count++] = walk->index;
    }
    if (walk->broken == STATUS_OK || status == STATUS_INVALID_TIMESTAMP) {
        walk->broken = status;
        fault->message = message;
    }
}

static enum status refuse_form(const struct walk *walk)
{
    return refuse(walk, STATUS_INVALID_RECORD, "the record does not have the form of a record");
}

/* What follows the length, up to the record's end. */
INLINE enum status walk_body(struct walk *walk, struct cursor *cursor, bool whole)
{
    int64_t timestamp_delta;
    int64_t offset_delta;
    bool key_null;
    bool value_null;
    if (!skip(cursor, whole, 1) || !take_varint(cursor, whole, 64, &timestamp_delta) ||
        !take_varint(cursor, whole, 32, &offset_delta) ||
        !take_nullable(cursor, whole, &key_null) || !take_nullable(cursor, whole, &value_null) ||
        !take_headers(cursor, whole)) {
        return refuse_form(walk);
    }
    if (whole ? cursor->at != cursor->until : cursor->left != 0) {
        return refuse_form(walk);
    }
    if (offset_delta != walk->index) {
        return refuse(walk, STATUS_INVALID_RECORD, "offset deltas do not count up from 0");
    }
    int64_t timestamp = (int64_t)((uint64_t)walk->base_timestamp + (uint64_t)timestamp_delta);
    if (timestamp > walk->timestamp_largest) {
        walk->timestamp_largest = timestamp;
    }
    if (key_null && walk->key_required) {
        note(walk, STATUS_INVALID_RECORD, "a compacted topic needs a key in each record");
    } else if ((timestamp < walk->timestamp_min || timestamp > walk->timestamp_max) &&
               timestamp != -1) {
        note(walk, STATUS_INVALID_TIMESTAMP, "the timestamp is too far from the broker's clock");
    }
    return STATUS_OK;
}

static enum status refuse_size(const struct walk *walk)
{
    return refuse(walk, STATUS_INVALID_RECORD,
                  "the record unpacks to more than max.decompressed.message.bytes");
}

/* W2, from the first byte of the length on. */
static enum status walk_split(struct walk *walk)
{
    struct cursor *cursor = &walk->cursor;
    int64_t size;
    cursor->left = VARINT_SIZE_MAX;
    if (!take_varint(cursor, false, 32, &size) || size < 0) {
        return refuse_form(walk);
    }
    if (size > walk->size_max) {
        return refuse_size(walk);
    }
    cursor->left = (uint64_t)size;
    return walk_body(walk, cursor, false);
}

static enum status walk_record(struct walk *walk)
{
    struct cursor body = walk->cursor;
    int64_t size;
    if (take_varint(&body, true, 32, &size) && size >= 0 && size <= body.until - body.at) {
        body.until = body.at + size;
        walk->cursor.at = body.until;
        return size > walk->size_max ? refuse_size(walk) : walk_body(walk, &body, true);
    }
    return walk_split(walk);
}

/* The batch's count is what its header says: no more, no less. */
static enum status walk_all(struct walk *walk, int32_t count)
{
    for (walk->index = 0; walk->index < count; walk->index++) {
        enum status status = walk_record(walk);
        if (status != STATUS_OK) {
            return status;
        }
    }
    walk->index = -1;
    if (walk->cursor.at != walk->cursor.until || cursor_refill(&walk->cursor)) {
        return refuse(walk, STATUS_INVALID_RECORD, "there are more bytes than the records counted");
    }
    return walk->broken;
}

/* The codec's trouble comes before the record that could not be read because of it. */
static enum status status_of_codec(struct walk *walk, enum status status)
{
    walk->index = -1;
    switch (status) {
    case STATUS_CORRUPT_MESSAGE: /* the CRC was right: sending it again would not help */
        return refuse(walk, STATUS_INVALID_RECORD, "the compressed records do not unpack");
    case STATUS_MESSAGE_TOO_LARGE:
        return refuse(walk, status, "the compressed records unpack to more than the broker allows");
    case STATUS_UNSUPPORTED_COMPRESSION_TYPE:
        return refuse(walk, status, "the zstd window is larger than 128 MiB");
    default:
        return refuse(walk, status, "no memory to unpack the compressed records");
    }
}

/* Java's readers refuse frames whose blocks depend on each other, so Apache Kafka refuses them too:
 * one that was let in would stop such a consumer for good. */
static bool lz4_is_linked(struct bytes packed)
{
    return packed.size > LZ4_FLAGS_POSITION &&
           (packed.data[LZ4_FLAGS_POSITION] & LZ4_FLAG_INDEPENDENT) == 0;
}

static int64_t saturate(int64_t now_ms, int64_t distance_ms, bool after)
{
    int64_t result;
    if (after) {
        return __builtin_add_overflow(now_ms, distance_ms, &result) ? INT64_MAX : result;
    }
    return __builtin_sub_overflow(now_ms, distance_ms, &result) ? INT64_MIN : result;
}

enum status records_walk(struct bytes records, const struct batch_header *header,
                         const struct batch_rules *rules, struct batch_scratch scratch,
                         int64_t *max_timestamp_out, struct batch_fault *fault)
{
    struct walk walk = {
        .cursor = {.at = records.data, .until = records.data + records.size},
        .base_timestamp = header->base_timestamp,
        .timestamp_min = INT64_MIN,
        .timestamp_max = INT64_MAX,
        .timestamp_largest = INT64_MIN,
        .size_max = INT64_MAX,
        .key_required = rules->key_required,
        .fault = fault,
    };
    if (!rules->log_append_time) {
        walk.timestamp_min = saturate(rules->now_ms, rules->timestamp_before_ms_max, false);
        walk.timestamp_max = saturate(rules->now_ms, rules->timestamp_after_ms_max, true);
    }
    enum codec codec = (enum codec)(header->attributes & BATCH_CODEC_MASK);
    struct cursor *cursor = &walk.cursor;
    if (codec == CODEC_LZ4 && lz4_is_linked(records)) {
        walk.index = -1;
        return refuse(&walk, STATUS_INVALID_RECORD, "the lz4 blocks depend on each other");
    }
    if (codec != CODEC_NONE) {
        walk.size_max = rules->record_size_max;
        cursor->status =
            unpack_open(&cursor->source, codec, records, rules->decompressed_size_max, scratch);
        cursor->until = cursor->at; /* nothing is unpacked yet */
    }
    enum status status = STATUS_OK;
    if (cursor->status == STATUS_OK) {
        status = walk_all(&walk, header->count);
    }
    unpack_close(cursor->source);
    if (cursor->status != STATUS_OK) {
        return status_of_codec(&walk, cursor->status);
    }
    if (status == STATUS_OK && !rules->log_append_time) {
        *max_timestamp_out = walk.timestamp_largest;
    }
    return status;
}
