/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/recompress.h"

#include "base/check.h"

bool recompress_wanted(const struct topic_config *config, enum codec codec)
{
    return !config->compression_producer && config->compression != codec;
}

#define RECOMPRESS_SIZE_MAX (100 * MIB)
#define RECOMPRESS_HEADERS_MAX 256 /* of one record; clients send a handful */

/* Copies every record into the builder; MESSAGE_TOO_LARGE asks for more room. */
static enum status records_copy(struct batch_builder *builder, struct bytes batch,
                                struct batch_scratch scratch, uint64_t size_max)
{
    struct record_stream *stream;
    enum status status = record_stream_open(&stream, batch, scratch, size_max);
    if (status != STATUS_OK) {
        return status;
    }
    struct record record;
    while (!builder->failed && record_stream_next(stream, &record)) {
        struct record_header headers[RECOMPRESS_HEADERS_MAX];
        struct bytes rest = record.headers;
        int32_t count = 0;
        while (count < RECOMPRESS_HEADERS_MAX && count < record.header_count &&
               record_header_next(&rest, &headers[count])) {
            count++;
        }
        if (count < record.header_count) {
            record_stream_close(stream);
            return STATUS_INVALID_RECORD;
        }
        batch_builder_add(builder, record.timestamp, record.key, record.value, headers, count);
    }
    status = builder->failed ? STATUS_MESSAGE_TOO_LARGE : record_stream_status(stream);
    record_stream_close(stream);
    return status;
}

static enum status rebuild(struct batch_builder *builder, struct batch_scratch scratch,
                           const struct topic_config *config, struct bytes batch, struct bytes *out)
{
    struct batch_header old;
    batch_header_decode(&old, batch.data);
    enum status status = records_copy(builder, batch, scratch, RECOMPRESS_SIZE_MAX);
    if (status != STATUS_OK) {
        return status;
    }
    builder->header.producer_id = old.producer_id;
    builder->header.producer_epoch = old.producer_epoch;
    builder->header.base_sequence = old.base_sequence;
    builder->header.attributes = old.attributes & (uint16_t)~BATCH_CODEC_MASK;
    return batch_builder_finish(builder, config->compression, config->compression_level, scratch, 0,
                                out);
}

enum status recompress(struct pages *pages, struct arena *arena, struct batch_scratch scratch,
                       const struct topic_config *config, struct bytes *batch)
{
    size_t limit = pages_size_max(pages, PAGES_REQUEST) / 2;
    enum status status = STATUS_MESSAGE_TOO_LARGE;
    for (size_t size = batch->size * 4; status == STATUS_MESSAGE_TOO_LARGE; size *= 4) {
        size = size > limit ? limit : size;
        uint8_t *run = pages_acquire_run(pages, size, PAGES_REQUEST);
        if (run == NULL) {
            return STATUS_NO_MEMORY;
        }
        struct batch_builder builder;
        batch_builder_init(&builder, run, size);
        struct bytes rebuilt;
        status = rebuild(&builder, scratch, config, *batch, &rebuilt);
        if (status == STATUS_OK) {
            uint8_t *copy = arena_acquire_bytes(arena, rebuilt.size);
            if (copy == NULL) {
                status = STATUS_NO_MEMORY;
            } else if ((int64_t)rebuilt.size > config->message_size_max) {
                size = limit;
                status = STATUS_MESSAGE_TOO_LARGE;
            } else {
                memcpy(copy, rebuilt.data, rebuilt.size);
                *batch = bytes_of(copy, rebuilt.size);
            }
        }
        pages_release_run(pages, run, size, PAGES_REQUEST);
        if (size == limit) {
            break;
        }
    }
    return status;
}
