/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records inside one batch: walk and build. The walk is over plain bytes; compressed batches
 * are opened with record_stream, which unpacks through a codec in slices with a cap on output.
 */
#pragma once

#include "base/bytes.h"
#include "wire/batch.h"
#include "wire/compress.h"
#include "wire/status.h"

struct record {
    int64_t offset;
    int64_t timestamp;         /* milliseconds; the batch's max when LogAppendTime */
    int32_t offset_delta;
    int64_t timestamp_delta;
    struct bytes key;          /* data NULL: null */
    struct bytes value;
    int32_t header_count;
    struct bytes headers;      /* raw, for record_header_next */
    size_t size;               /* bytes of the record with its length */
};

struct record_header {
    struct bytes key;
    struct bytes value;
};

/*
 * A stream over the records of a checked batch. `scratch` must hold the largest single record of a
 * compressed batch plus BATCH_SCRATCH_SIZE of codec state; STATUS_RECORD_TOO_LARGE_FOR_SCRATCH is
 * never sent to a peer. Slices are valid until the next call.
 */
struct record_stream;
/* Returns false at the end (status OK) or on malformed bytes (status set). */
enum status record_stream_open(struct record_stream **out, struct bytes batch, struct batch_scratch scratch,
                               uint64_t decompressed_size_max);
bool record_stream_next(struct record_stream *stream, struct record *record);
enum status record_stream_status(const struct record_stream *stream);
void record_stream_close(struct record_stream *stream); /* frees codec contexts; NULL is fine */

/* Next header of a record; false at the end or when malformed (then *headers has data NULL). */
bool record_header_next(struct bytes *headers, struct record_header *header);

/* Builds one batch from records: CLI, tests, internal logs, markers. Output into the caller's memory. */
struct batch_builder {
    uint8_t *memory;
    size_t size;
    size_t size_max;
    struct batch_header header;
    bool failed;               /* out of room; sticky */
};

void batch_builder_init(struct batch_builder *builder, uint8_t *memory, size_t size_max);
/* Producer fields, attributes and times may be set in builder->header between init and finish. */
void batch_builder_add(struct batch_builder *builder, int64_t timestamp, struct bytes key,
                       struct bytes value, const struct record_header *headers, int32_t header_count);
/* Compresses when the codec asks for it (then `scratch` holds the packed copy), stamps base_offset,
 * counts, CRC. *out lies in the builder's memory. */
enum status batch_builder_finish(struct batch_builder *builder, enum codec codec, int level,
                                 struct batch_scratch scratch, int64_t base_offset, struct bytes *out);
