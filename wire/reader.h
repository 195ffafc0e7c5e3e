/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cursor over bytes of a peer or of the disk. Sticky: after the first failure every read answers
 * zero or an empty slice, so a decoder has no branches of its own and asks for the status once.
 *
 *   STATUS_TRUNCATED   a value goes on behind the end of the bytes
 *   STATUS_MALFORMED   no such value: negative size, null where none may be, varint too long
 *   STATUS_NO_MEMORY   the arena refused
 *
 * Slices that are handed out lie in the bytes that were handed in, and live as long as those.
 * `flexible` chooses between the two forms of the protocol: sizes as int16 or int32 with -1 for
 * null, or as unsigned varint of size + 1 with 0 for null (KIP-482).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/uuid.h"
#include "wire/status.h"

#define STRING_SIZE_MAX 32767 /* Kafka's own limit, in both forms */
#define UVARINT_SIZE_MAX 5
#define UVARLONG_SIZE_MAX 10

struct reader {
    const uint8_t *cursor;
    const uint8_t *limit;
    enum status status; /* the first failure; STATUS_OK until then */
};

/* Record sets: slices of foreign memory that are sent without being copied. count -1: null. */
struct slices {
    const struct bytes *items;
    int32_t count;
};

static inline void reader_init(struct reader *reader, struct bytes bytes)
{
    const uint8_t *data = bytes.data == NULL ? (const uint8_t *)"" : bytes.data;
    *reader = (struct reader){data, data + bytes.size, STATUS_OK};
}

static inline enum status reader_status(const struct reader *reader)
{
    return reader->status;
}

static inline size_t reader_size(const struct reader *reader)
{
    return (size_t)(reader->limit - reader->cursor);
}

/* True when every byte was read and none was missing. */
static inline bool reader_at_end(const struct reader *reader)
{
    return reader->status == STATUS_OK && reader->cursor == reader->limit;
}

/* Keeps the first status; nothing can be read any more. */
void reader_fail(struct reader *reader, enum status status);

/* The next `size` bytes, or NULL when they are not all there. */
static inline const uint8_t *reader_take(struct reader *reader, size_t size)
{
    if (__builtin_expect(reader_size(reader) < size, 0)) {
        reader_fail(reader, STATUS_TRUNCATED);
        return NULL;
    }
    const uint8_t *from = reader->cursor;
    reader->cursor += size;
    return from;
}

static inline int8_t reader_i8(struct reader *reader)
{
    const uint8_t *from = reader_take(reader, 1);
    return from == NULL ? 0 : (int8_t)*from;
}

static inline bool reader_bool(struct reader *reader)
{
    return reader_i8(reader) != 0;
}

static inline uint16_t reader_u16(struct reader *reader)
{
    const uint8_t *from = reader_take(reader, 2);
    return from == NULL ? 0 : get_be16(from);
}

static inline int16_t reader_i16(struct reader *reader)
{
    return (int16_t)reader_u16(reader);
}

static inline uint32_t reader_u32(struct reader *reader)
{
    const uint8_t *from = reader_take(reader, 4);
    return from == NULL ? 0 : get_be32(from);
}

static inline int32_t reader_i32(struct reader *reader)
{
    return (int32_t)reader_u32(reader);
}

static inline uint64_t reader_u64(struct reader *reader)
{
    const uint8_t *from = reader_take(reader, 8);
    return from == NULL ? 0 : get_be64(from);
}

static inline int64_t reader_i64(struct reader *reader)
{
    return (int64_t)reader_u64(reader);
}

double reader_f64(struct reader *reader);
struct uuid reader_uuid(struct reader *reader);

/* The part of reader_uvarint that one byte does not settle. */
uint32_t reader_uvarint_long(struct reader *reader);

static inline uint32_t reader_uvarint(struct reader *reader)
{
    if (__builtin_expect(reader->cursor < reader->limit && *reader->cursor < 0x80, 1)) {
        return *reader->cursor++;
    }
    return reader_uvarint_long(reader);
}

uint64_t reader_uvarlong(struct reader *reader);

/* Zigzag forms, as records use them. */
static inline int32_t reader_varint(struct reader *reader)
{
    uint32_t raw = reader_uvarint(reader);
    return (int32_t)(raw >> 1 ^ (0 - (raw & 1)));
}

static inline int64_t reader_varlong(struct reader *reader)
{
    uint64_t raw = reader_uvarlong(reader);
    return (int64_t)(raw >> 1 ^ (0 - (raw & 1)));
}

/* Exactly `size` bytes as a slice; data NULL when they are missing. */
struct bytes reader_slice(struct reader *reader, size_t size);

/* At most STRING_SIZE_MAX bytes. UTF-8 is not judged here. */
struct bytes reader_string(struct reader *reader, bool flexible);
struct bytes reader_string_nullable(struct reader *reader, bool flexible);
struct bytes reader_bytes(struct reader *reader, bool flexible);
struct bytes reader_bytes_nullable(struct reader *reader, bool flexible);

/* A record set: one slice, its descriptor in the arena; count -1 when null. */
struct slices reader_records(struct reader *reader, struct arena *arena, bool flexible);
struct slices reader_records_nullable(struct reader *reader, struct arena *arena, bool flexible);

/*
 * The count of an array. `element_size` is the fewest bytes an element takes on the wire: a count
 * that the bytes left cannot hold is refused before anything is allocated for it.
 */
int32_t reader_count(struct reader *reader, bool flexible, size_t element_size);
int32_t reader_count_nullable(struct reader *reader, bool flexible, size_t element_size); /* -1 */

/* Room for *count elements, zeroed; NULL without any. When the arena refuses, *count becomes 0. */
void *reader_array(struct reader *reader, struct arena *arena, int32_t *count, size_t size);

/* The byte before a struct that may be null. */
bool reader_presence(struct reader *reader);

/*
 * The tagged fields at the end of a struct:
 *
 *     for (struct reader_tags tags = reader_tags(reader); reader_tags_next(reader, &tags);) {
 *         switch (tags.number) {
 *         case 0: x->leader = reader_i32(&tags.body); break;
 *         default: reader_skip(&tags.body);
 *         }
 *     }
 *
 * A known field must use its bytes up exactly.
 */
struct reader_tags {
    uint32_t left;
    uint32_t number;
    struct reader body;
};

struct reader_tags reader_tags(struct reader *reader);
bool reader_tags_next(struct reader *reader, struct reader_tags *tags);

static inline void reader_skip(struct reader *reader)
{
    reader->cursor = reader->limit;
}

/* The tagged fields of a struct that knows none. */
void reader_skip_tags(struct reader *reader);
