/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/record.h"

#include <string.h>

#include "base/check.h"

#define BUFFER_SIZE_MIN (2 * COMPRESS_SLICE_SIZE)
#define PREFIX_SIZE_MAX 5 /* the varint of a record's length */

/* Reading */

/* Sticky: after the first byte that is missing or wrong, at == NULL and every read answers 0. */
struct reader {
    const uint8_t *at;
    const uint8_t *until;
};

static int64_t read_varint(struct reader *reader, unsigned bits)
{
    uint64_t raw = 0;
    for (unsigned shift = 0; shift < bits && reader->at != reader->until; shift += 7) {
        uint8_t byte = *reader->at++;
        if (bits - shift < 7 && byte >> (bits - shift) != 0) {
            break;
        }
        raw |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
        }
    }
    *reader = (struct reader){NULL, NULL};
    return 0;
}

static struct bytes read_nullable(struct reader *reader)
{
    int64_t size = read_varint(reader, 32);
    if (reader->at != NULL && size == -1) {
        return BYTES_NULL;
    }
    if (reader->at == NULL || size < 0 || size > reader->until - reader->at) {
        *reader = (struct reader){NULL, NULL};
        return BYTES_NULL;
    }
    struct bytes result = bytes_of(reader->at, (size_t)size);
    reader->at += size;
    return result;
}

static void read_header(struct reader *reader, struct record_header *header)
{
    header->key = read_nullable(reader);
    header->value = read_nullable(reader);
    if (header->key.data == NULL) {
        *reader = (struct reader){NULL, NULL};
    }
}

bool record_header_next(struct bytes *headers, struct record_header *header)
{
    if (headers->size == 0) {
        return false;
    }
    struct reader reader = {headers->data, headers->data + headers->size};
    read_header(&reader, header);
    *headers = bytes_of(reader.at, (size_t)(reader.until - reader.at));
    return reader.at != NULL;
}

/* One record that lies whole between the reader's ends, its length already read. */
static bool read_record(struct reader body, struct record *record)
{
    const uint8_t *until = body.until;
    if (body.at == until) {
        return false;
    }
    body.at++; /* attributes: no bit has a meaning yet */
    record->timestamp_delta = read_varint(&body, 64);
    record->offset_delta = (int32_t)read_varint(&body, 32);
    record->key = read_nullable(&body);
    record->value = read_nullable(&body);
    record->header_count = (int32_t)read_varint(&body, 32);
    if (body.at == NULL || record->header_count < 0) {
        return false;
    }
    record->headers = bytes_of(body.at, (size_t)(until - body.at));
    for (int32_t index = 0; index < record->header_count && body.at != NULL; index++) {
        struct record_header header;
        read_header(&body, &header);
    }
    return body.at == until;
}

struct record_stream {
    struct batch_header header;
    struct unpack *unpack; /* NULL: the batch is not compressed */
    struct heap *heap;
    uint8_t *buffer; /* of the heap: the record cut by a slice's end, and the slice behind it */
    size_t buffer_size;
    const uint8_t *at; /* bytes at hand: in the batch, a slice or the buffer */
    const uint8_t *until;
    int32_t index;
    int32_t offset_delta_last;
    enum status status;
};

enum status record_stream_open(struct record_stream **out, struct bytes batch,
                               struct batch_scratch scratch, uint64_t decompressed_size_max)
{
    if (batch.size < BATCH_HEADER_SIZE) {
        return STATUS_TRUNCATED;
    }
    struct codec_memory memory;
    codec_memory_init(&memory, (struct batch_scratch){scratch.memory, scratch.size, NULL});
    struct record_stream *stream = codec_memory_acquire(&memory, sizeof(*stream));
    if (stream == NULL) {
        return STATUS_NO_MEMORY;
    }
    *stream = (struct record_stream){
        .heap = scratch.heap,
        .at = batch.data + BATCH_HEADER_SIZE,
        .until = batch.data + batch.size,
        .offset_delta_last = -1,
    };
    batch_header_decode(&stream->header, batch.data);
    unsigned codec = stream->header.attributes & BATCH_CODEC_MASK;
    if (codec >= CODEC_COUNT) {
        return STATUS_UNSUPPORTED_COMPRESSION_TYPE;
    }
    /* A batch that compaction emptied keeps its codec bits and has no packed bytes behind them. */
    if (codec != CODEC_NONE && stream->header.count > 0) {
        struct batch_scratch rest = codec_memory_rest(&memory);
        rest.heap = scratch.heap;
        enum status status = unpack_open(&stream->unpack, (enum codec)codec,
                                         bytes_of(stream->at, (size_t)(stream->until - stream->at)),
                                         decompressed_size_max, rest);
        if (status != STATUS_OK) {
            return status;
        }
        stream->until = stream->at; /* nothing is unpacked yet */
    }
    *out = stream;
    return STATUS_OK;
}

/* Room for `size` bytes, of which those at hand stay in front. */
static bool buffer_reserve(struct record_stream *stream, size_t size)
{
    size_t kept = (size_t)(stream->until - stream->at);
    bool inside = stream->buffer != NULL && stream->at >= stream->buffer &&
                  stream->at < stream->buffer + stream->buffer_size;
    if (inside && kept > 0) {
        memmove(stream->buffer, stream->at, kept);
        stream->at = stream->buffer;
    }
    if (size > stream->buffer_size) {
        size_t grown = stream->buffer_size * 2;
        grown = grown < BUFFER_SIZE_MIN ? BUFFER_SIZE_MIN : grown;
        grown = grown < size ? size : grown;
        uint8_t *buffer = stream->heap == NULL     ? NULL
                          : stream->buffer == NULL ? heap_acquire(stream->heap, grown)
                                                   : heap_resize(stream->heap, stream->buffer,
                                                                 stream->buffer_size, grown);
        if (buffer == NULL) {
            return false;
        }
        stream->buffer = buffer;
        stream->buffer_size = grown;
    }
    if (!inside && kept > 0) {
        memcpy(stream->buffer, stream->at, kept);
    }
    stream->at = stream->buffer;
    stream->until = stream->buffer + kept;
    return true;
}

/* One more slice behind the bytes at hand. False at the end, and in trouble with the status set. A
 * slice of an empty hand is used where it lies. */
static bool stream_refill(struct record_stream *stream)
{
    if (stream->unpack == NULL) {
        return false;
    }
    size_t kept = (size_t)(stream->until - stream->at);
    /* The bytes at hand may lie in the codec's slice, which the next one overwrites. */
    if (kept > 0 && !buffer_reserve(stream, kept)) {
        stream->status = STATUS_NO_MEMORY;
        return false;
    }
    struct bytes slice;
    stream->status = unpack_next(stream->unpack, &slice);
    if (stream->status != STATUS_OK || slice.size == 0) {
        return false;
    }
    if (kept == 0) {
        stream->at = slice.data;
        stream->until = slice.data + slice.size;
        return true;
    }
    if (!buffer_reserve(stream, kept + slice.size)) {
        stream->status = STATUS_NO_MEMORY;
        return false;
    }
    memcpy(stream->buffer + kept, slice.data, slice.size);
    stream->until += slice.size;
    return true;
}

/* Body of the next record, whole at hand; `size` counts its length as well. */
static bool stream_record(struct record_stream *stream, struct reader *body, size_t *size)
{
    do {
        struct reader prefix = {stream->at, stream->until};
        int64_t length = read_varint(&prefix, 32);
        if (prefix.at != NULL && length < 0) {
            return false;
        }
        if (prefix.at == NULL && stream->until - stream->at >= PREFIX_SIZE_MAX) {
            return false; /* not a varint, whatever follows */
        }
        if (prefix.at != NULL && length <= prefix.until - prefix.at) {
            *body = (struct reader){prefix.at, prefix.at + length};
            *size = (size_t)(body->until - stream->at);
            return true;
        }
    } while (stream_refill(stream));
    return false;
}

static bool stream_fail(struct record_stream *stream)
{
    if (stream->status == STATUS_OK) {
        stream->status = STATUS_CORRUPT_MESSAGE;
    }
    return false;
}

bool record_stream_next(struct record_stream *stream, struct record *record)
{
    const struct batch_header *header = &stream->header;
    if (stream->status != STATUS_OK) {
        return false;
    }
    if (stream->index >= header->count) {
        bool more = stream->at != stream->until || stream_refill(stream);
        return more ? stream_fail(stream) : false;
    }
    struct reader body;
    if (!stream_record(stream, &body, &record->size) || !read_record(body, record)) {
        return stream_fail(stream);
    }
    if (record->offset_delta <= stream->offset_delta_last ||
        record->offset_delta > header->last_offset_delta) {
        return stream_fail(stream);
    }
    stream->at = body.until;
    stream->index++;
    stream->offset_delta_last = record->offset_delta;
    record->offset = header->base_offset + record->offset_delta;
    bool append_time = (header->attributes & BATCH_LOG_APPEND_TIME) != 0;
    record->timestamp =
        append_time
            ? header->max_timestamp
            : (int64_t)((uint64_t)header->base_timestamp + (uint64_t)record->timestamp_delta);
    return true;
}

enum status record_stream_status(const struct record_stream *stream)
{
    return stream->status;
}

void record_stream_close(struct record_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    unpack_close(stream->unpack);
    if (stream->buffer != NULL) {
        heap_release(stream->heap, stream->buffer, stream->buffer_size);
    }
}

/* Building */

static size_t varint_size(int64_t value)
{
    uint64_t raw = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    size_t size = 1;
    for (; raw >= 0x80; raw >>= 7) {
        size++;
    }
    return size;
}

static size_t nullable_size(struct bytes bytes)
{
    return bytes.data == NULL ? 1 : varint_size((int64_t)bytes.size) + bytes.size;
}

static void put_varint(struct batch_builder *builder, int64_t value)
{
    uint64_t raw = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    for (; raw >= 0x80; raw >>= 7) {
        builder->memory[builder->size++] = (uint8_t)(raw | 0x80);
    }
    builder->memory[builder->size++] = (uint8_t)raw;
}

static void put_nullable(struct batch_builder *builder, struct bytes bytes)
{
    put_varint(builder, bytes.data == NULL ? -1 : (int64_t)bytes.size);
    if (bytes.size > 0) {
        memcpy(builder->memory + builder->size, bytes.data, bytes.size);
        builder->size += bytes.size;
    }
}

void batch_builder_init(struct batch_builder *builder, uint8_t *memory, size_t size_max)
{
    *builder = (struct batch_builder){
        .memory = memory,
        .size = BATCH_HEADER_SIZE,
        .size_max = size_max < INT32_MAX ? size_max : INT32_MAX,
        .header =
            {
                .magic = BATCH_MAGIC,
                .base_timestamp = -1,
                .max_timestamp = -1,
                .producer_id = -1,
                .producer_epoch = -1,
                .base_sequence = -1,
            },
        .failed = size_max < BATCH_HEADER_SIZE,
    };
}

/* Writes all of a record but its headers, which the caller appends; false without room for all. */
static bool builder_begin(struct batch_builder *builder, int64_t timestamp, struct bytes key,
                          struct bytes value, int32_t header_count, size_t headers_size)
{
    struct batch_header *header = &builder->header;
    int64_t base_timestamp = header->count == 0 ? timestamp : header->base_timestamp;
    int64_t timestamp_delta = (int64_t)((uint64_t)timestamp - (uint64_t)base_timestamp);
    size_t length = 1 + varint_size(timestamp_delta) + varint_size(header->count) +
                    nullable_size(key) + nullable_size(value) + varint_size(header_count) +
                    headers_size;
    size_t room = builder->size_max - builder->size;
    if (builder->failed || length > room || varint_size((int64_t)length) > room - length) {
        builder->failed = true;
        return false;
    }
    put_varint(builder, (int64_t)length);
    builder->memory[builder->size++] = 0;
    put_varint(builder, timestamp_delta);
    put_varint(builder, header->count);
    put_nullable(builder, key);
    put_nullable(builder, value);
    put_varint(builder, header_count);
    header->base_timestamp = base_timestamp;
    if (header->count == 0 || timestamp > header->max_timestamp) {
        header->max_timestamp = timestamp;
    }
    header->count++;
    return true;
}

void batch_builder_add(struct batch_builder *builder, int64_t timestamp, struct bytes key,
                       struct bytes value, const struct record_header *headers,
                       int32_t header_count)
{
    size_t size = 0;
    for (int32_t index = 0; index < header_count; index++) {
        check(headers[index].key.data != NULL);
        size += nullable_size(headers[index].key) + nullable_size(headers[index].value);
    }
    if (!builder_begin(builder, timestamp, key, value, header_count, size)) {
        return;
    }
    for (int32_t index = 0; index < header_count; index++) {
        put_nullable(builder, headers[index].key);
        put_nullable(builder, headers[index].value);
    }
}

void batch_builder_copy(struct batch_builder *builder, const struct record *record)
{
    if (builder_begin(builder, record->timestamp, record->key, record->value, record->header_count,
                      record->headers.size) &&
        record->headers.size > 0) {
        memcpy(builder->memory + builder->size, record->headers.data, record->headers.size);
        builder->size += record->headers.size;
    }
}

/* Packs the records beside themselves and puts the packed bytes in their place. */
static enum status builder_pack(struct batch_builder *builder, enum codec codec, int level,
                                struct batch_scratch scratch)
{
    uint8_t *records = builder->memory + BATCH_HEADER_SIZE;
    struct bytes plain = bytes_of(records, builder->size - BATCH_HEADER_SIZE);
    struct codec_memory memory;
    codec_memory_init(&memory, scratch);
    struct pack_output output = {.size_max = builder->size_max - BATCH_HEADER_SIZE};
    output.data = codec_memory_acquire(&memory, output.size_max);
    enum status status = STATUS_NO_MEMORY;
    if (output.data != NULL) {
        status = compress_pack(codec, level, plain, codec_memory_rest(&memory), &output);
    }
    if (status == STATUS_OK) {
        memcpy(records, output.data, output.size);
        builder->size = BATCH_HEADER_SIZE + output.size;
    }
    codec_memory_deinit(&memory);
    return status;
}

enum status batch_builder_finish(struct batch_builder *builder, enum codec codec, int level,
                                 struct batch_scratch scratch, int64_t base_offset,
                                 struct bytes *out)
{
    struct batch_header *header = &builder->header;
    if (builder->failed) {
        return STATUS_MESSAGE_TOO_LARGE;
    }
    if (codec != CODEC_NONE) {
        enum status status = builder_pack(builder, codec, level, scratch);
        if (status != STATUS_OK) {
            return status;
        }
    }
    header->base_offset = base_offset;
    header->batch_length = (int32_t)(builder->size - BATCH_PREFIX_SIZE);
    header->attributes = (uint16_t)((header->attributes & ~BATCH_CODEC_MASK) | (unsigned)codec);
    header->last_offset_delta = header->count > 0 ? header->count - 1 : 0;
    batch_header_encode(header, builder->memory);
    batch_seal(builder->memory, builder->size);
    header->crc = get_be32(builder->memory + 17);
    *out = bytes_of(builder->memory, builder->size);
    return STATUS_OK;
}
