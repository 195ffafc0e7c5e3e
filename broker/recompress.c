/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/recompress.h"

#include "base/check.h"

bool recompress_wanted(const struct topic_config *config, enum codec codec)
{
    return !config->compression_producer && config->compression != codec;
}

#define RECOMPRESS_SIZE_MAX (100 * MIB)

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
        batch_builder_copy(builder, &record);
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

static enum status keep(struct arena *arena, struct bytes rebuilt, struct bytes *batch)
{
    uint8_t *copy = arena_acquire_bytes(arena, rebuilt.size);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(copy, rebuilt.data, rebuilt.size);
    *batch = bytes_of(copy, rebuilt.size);
    return STATUS_OK;
}

enum status recompress(struct pages *pages, struct arena *arena, struct batch_scratch scratch,
                       const struct topic_config *config, struct bytes *batch)
{
    size_t limit = pages_size_max(pages, PAGES_REQUEST) / 2;
    for (size_t size = batch->size * 4;; size *= 4) {
        size = size > limit ? limit : size;
        uint8_t *run = pages_acquire_run(pages, size, PAGES_REQUEST);
        if (run == NULL) {
            return STATUS_NO_MEMORY;
        }
        struct batch_builder builder;
        batch_builder_init(&builder, run, size);
        struct bytes rebuilt;
        enum status status = rebuild(&builder, scratch, config, *batch, &rebuilt);
        bool more = status == STATUS_MESSAGE_TOO_LARGE && size < limit;
        if (status == STATUS_OK) {
            status = (int64_t)rebuilt.size > config->message_size_max ? STATUS_MESSAGE_TOO_LARGE
                                                                      : keep(arena, rebuilt, batch);
        }
        pages_release_run(pages, run, size, PAGES_REQUEST);
        if (!more) {
            return status;
        }
    }
}
