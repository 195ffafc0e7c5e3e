/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds a message as a vector of slices for one scatter/gather send: small values are put one
 * after the other into blocks of the arena, record sets are spliced in by reference and never
 * copied.
 *
 * Sticky: when the arena refuses, `failed` stays set, everything else does nothing, and the caller
 * asks once at the end. Whatever is spliced in must outlive the send. `flexible` as in
 * wire/reader.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/uuid.h"
#include "wire/reader.h"

struct writer {
    struct arena *arena;  /* borrowed */
    struct iovec *slices; /* closed ones, in the arena */
    int slice_count;
    int slice_count_max;
    uint8_t *start; /* of the open slice, which ends at the cursor */
    uint8_t *cursor;
    uint8_t *limit;     /* of the block */
    size_t closed_size; /* bytes in closed slices */
    size_t block_size;  /* bytes of the next block */
    bool failed;
};

/* Touches no memory until the first value. */
void writer_init(struct writer *writer, struct arena *arena);

/* Bytes written so far. */
static inline size_t writer_size(const struct writer *writer)
{
    return writer->closed_size + (size_t)(writer->cursor - writer->start);
}

/* The message as slices, in the arena; valid until the next write. Nothing when failed. */
const struct iovec *writer_slices(struct writer *writer, int *count);
/* The message as one piece; target holds writer_size() bytes. Not for a failed writer. */
void writer_copy(struct writer *writer, uint8_t *target);

/* Room of `size` adjacent bytes in a new block. NULL when the arena refuses. */
uint8_t *writer_grow(struct writer *writer, size_t size);

/* `size` adjacent bytes, to be filled at once; NULL after a failure. */
static inline uint8_t *writer_room(struct writer *writer, size_t size)
{
    if (__builtin_expect((size_t)(writer->limit - writer->cursor) < size, 0)) {
        return writer_grow(writer, size);
    }
    uint8_t *to = writer->cursor;
    writer->cursor += size;
    return to;
}

static inline void writer_i8(struct writer *writer, int8_t value)
{
    uint8_t *to = writer_room(writer, 1);
    if (to != NULL) {
        *to = (uint8_t)value;
    }
}

static inline void writer_bool(struct writer *writer, bool value)
{
    writer_i8(writer, value);
}

static inline void writer_u16(struct writer *writer, uint16_t value)
{
    uint8_t *to = writer_room(writer, 2);
    if (to != NULL) {
        put_be16(to, value);
    }
}

static inline void writer_i16(struct writer *writer, int16_t value)
{
    writer_u16(writer, (uint16_t)value);
}

static inline void writer_u32(struct writer *writer, uint32_t value)
{
    uint8_t *to = writer_room(writer, 4);
    if (to != NULL) {
        put_be32(to, value);
    }
}

static inline void writer_i32(struct writer *writer, int32_t value)
{
    writer_u32(writer, (uint32_t)value);
}

static inline void writer_u64(struct writer *writer, uint64_t value)
{
    uint8_t *to = writer_room(writer, 8);
    if (to != NULL) {
        put_be64(to, value);
    }
}

static inline void writer_i64(struct writer *writer, int64_t value)
{
    writer_u64(writer, (uint64_t)value);
}

void writer_f64(struct writer *writer, double value);
void writer_uuid(struct writer *writer, struct uuid value);
void writer_uvarint(struct writer *writer, uint32_t value);
void writer_uvarlong(struct writer *writer, uint64_t value);
void writer_varint(struct writer *writer, int32_t value);  /* zigzag */
void writer_varlong(struct writer *writer, int64_t value); /* zigzag */

/* Copies the bytes as they are, without a size. */
void writer_raw(struct writer *writer, struct bytes bytes);
/* Refers to the bytes: they go out from where they are. */
void writer_splice(struct writer *writer, struct bytes bytes);

/* data NULL is written as an empty string, by the nullable forms as null. */
void writer_string(struct writer *writer, bool flexible, struct bytes value);
void writer_string_nullable(struct writer *writer, bool flexible, struct bytes value);
void writer_bytes(struct writer *writer, bool flexible, struct bytes value);
void writer_bytes_nullable(struct writer *writer, bool flexible, struct bytes value);
void writer_records(struct writer *writer, bool flexible, struct slices value);
void writer_records_nullable(struct writer *writer, bool flexible, struct slices value);

/* The count before an array's elements; a negative one is written as 0, or as null. */
void writer_count(struct writer *writer, bool flexible, int32_t count);
void writer_count_nullable(struct writer *writer, bool flexible, int32_t count);
/* The byte before a struct that may be null. */
void writer_presence(struct writer *writer, bool present);

/* A place for a number that is known later, a frame's size say. NULL after a failure. */
uint8_t *writer_reserve_i32(struct writer *writer);
static inline void writer_patch_i32(uint8_t *place, int32_t value)
{
    if (place != NULL) {
        put_be32(place, (uint32_t)value);
    }
}

/* A tagged field of unknown size: its value is written into `body` between the two calls. */
void writer_tag_begin(struct writer *writer, struct writer *body, uint32_t tag);
void writer_tag_end(struct writer *writer, struct writer *body);
/* The head of a tagged field whose value takes exactly `size` bytes. */
void writer_tag(struct writer *writer, uint32_t tag, uint32_t size);
