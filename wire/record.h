/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records inside one batch: walk and build. Compressed batches are unpacked through their codec
 * in slices with a cap on output.
 */
#pragma once

#include "base/bytes.h"
#include "wire/batch.h"
#include "wire/compress.h"
#include "wire/status.h"

struct record {
    int64_t offset;
    int64_t timestamp; /* milliseconds; the batch's max when LogAppendTime */
    int32_t offset_delta;
    int64_t timestamp_delta;
    struct bytes key;   /* data NULL: null */
    struct bytes value; /* data NULL: null */
    int32_t header_count;
    struct bytes headers; /* raw and well formed, for record_header_next */
    size_t size;          /* bytes of the record with its length */
};

struct record_header {
    struct bytes key;
    struct bytes value; /* data NULL: null */
};

/*
 * A stream over the records of a checked batch. The object lives in the scratch, which needs
 * BATCH_SCRATCH_SIZE bytes; the batch is borrowed until close. Records of an uncompressed batch lie
 * in the batch; of a compressed one in the codec's slice or, where one is cut by a slice's end, in
 * a buffer from the scratch's heap that grows to the largest such record: at most twice
 * decompressed_size_max, NO_MEMORY when the heap has no room. Slices are valid until the next call.
 */
struct record_stream;
enum status record_stream_open(struct record_stream **out, struct bytes batch,
                               struct batch_scratch scratch, uint64_t decompressed_size_max);
/* False at the end (status OK) or on trouble: CORRUPT_MESSAGE when bytes are not records or their
 * offsets do not ascend within the batch, or what unpack_next answered. */
bool record_stream_next(struct record_stream *stream, struct record *record);
enum status record_stream_status(const struct record_stream *stream);
void record_stream_close(struct record_stream *stream); /* frees buffers; NULL is fine */

/* Next header of a record; false at the end or when malformed (then *headers has data NULL). */
bool record_header_next(struct bytes *headers, struct record_header *header);

/* Builds one batch from records: CLI, tests, internal logs, markers. Output into the caller's
 * memory. */
struct batch_builder {
    uint8_t *memory;
    size_t size;
    size_t size_max;
    struct batch_header header;
    bool failed; /* out of room; sticky */
};

void batch_builder_init(struct batch_builder *builder, uint8_t *memory, size_t size_max);
/*
 * The first record's time becomes the base timestamp; deltas count up. Producer fields, attributes
 * and max timestamp may be set in builder->header before finish, leader epoch (0 at first) as well.
 */
void batch_builder_add(struct batch_builder *builder, int64_t timestamp, struct bytes key,
                       struct bytes value, const struct record_header *headers,
                       int32_t header_count);
/* The same of a record that a stream gave out, its headers as they are. */
void batch_builder_copy(struct batch_builder *builder, const struct record *record);
/* Compresses when the codec asks for it (the packed copy is made in the scratch or its heap),
 * stamps base_offset, counts, CRC. *out lies in the builder's memory. MESSAGE_TOO_LARGE when
 * records or packed bytes do not fit. */
enum status batch_builder_finish(struct batch_builder *builder, enum codec codec, int level,
                                 struct batch_scratch scratch, int64_t base_offset,
                                 struct bytes *out);
