/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/reader.h"

void reader_fail(struct reader *reader, enum status status)
{
    if (reader->status == STATUS_OK) {
        reader->status = status;
    }
    reader->cursor = reader->limit;
}

double reader_f64(struct reader *reader)
{
    uint64_t raw = reader_u64(reader);
    double value;
    memcpy(&value, &raw, sizeof(value));
    return value;
}

struct uuid reader_uuid(struct reader *reader)
{
    struct uuid uuid = {{0}};
    const uint8_t *from = reader_take(reader, sizeof(uuid.bytes));
    if (from != NULL) {
        memcpy(uuid.bytes, from, sizeof(uuid.bytes));
    }
    return uuid;
}

/* Longer than needed (0x80 0x00) is accepted, as Kafka does; more than `bits` are not. */
static uint64_t read_varint(struct reader *reader, unsigned bits)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        const uint8_t *from = reader_take(reader, 1);
        if (from == NULL) {
            return 0;
        }
        uint64_t part = *from & 0x7f;
        if (bits - shift < 7 && part >> (bits - shift) != 0) {
            break;
        }
        value |= part << shift;
        if (*from < 0x80) {
            return value;
        }
    }
    reader_fail(reader, STATUS_MALFORMED);
    return 0;
}

uint32_t reader_uvarint_long(struct reader *reader)
{
    return (uint32_t)read_varint(reader, 32);
}

uint64_t reader_uvarlong(struct reader *reader)
{
    return read_varint(reader, 64);
}

struct bytes reader_slice(struct reader *reader, size_t size)
{
    return (struct bytes){reader_take(reader, size), reader->status == STATUS_OK ? size : 0};
}

/* Size of what follows; -1 is null. */
static int64_t read_size(struct reader *reader, bool flexible, bool wide)
{
    if (flexible) {
        return (int64_t)reader_uvarint(reader) - 1;
    }
    return wide ? reader_i32(reader) : reader_i16(reader);
}

static struct bytes read_sized(struct reader *reader, int64_t size, int64_t size_max, bool nullable)
{
    if (reader->status != STATUS_OK) {
        return BYTES_NULL;
    }
    if (size > size_max || size < (nullable ? -1 : 0)) {
        reader_fail(reader, STATUS_MALFORMED);
        return BYTES_NULL;
    }
    return size < 0 ? BYTES_NULL : reader_slice(reader, (size_t)size);
}

struct bytes reader_string(struct reader *reader, bool flexible)
{
    return read_sized(reader, read_size(reader, flexible, false), STRING_SIZE_MAX, false);
}

struct bytes reader_string_nullable(struct reader *reader, bool flexible)
{
    return read_sized(reader, read_size(reader, flexible, false), STRING_SIZE_MAX, true);
}

struct bytes reader_bytes(struct reader *reader, bool flexible)
{
    return read_sized(reader, read_size(reader, flexible, true), INT32_MAX, false);
}

struct bytes reader_bytes_nullable(struct reader *reader, bool flexible)
{
    return read_sized(reader, read_size(reader, flexible, true), INT32_MAX, true);
}

static struct slices wrap_records(struct reader *reader, struct arena *arena, struct bytes bytes)
{
    if (bytes.data == NULL) {
        return (struct slices){NULL, -1};
    }
    struct bytes *item = arena_new(arena, struct bytes);
    if (item == NULL) {
        reader_fail(reader, STATUS_NO_MEMORY);
        return (struct slices){NULL, -1};
    }
    *item = bytes;
    return (struct slices){item, 1};
}

struct slices reader_records(struct reader *reader, struct arena *arena, bool flexible)
{
    return wrap_records(reader, arena, reader_bytes(reader, flexible));
}

struct slices reader_records_nullable(struct reader *reader, struct arena *arena, bool flexible)
{
    return wrap_records(reader, arena, reader_bytes_nullable(reader, flexible));
}

int32_t reader_count_nullable(struct reader *reader, bool flexible, size_t element_size)
{
    int64_t count = read_size(reader, flexible, true);
    if (reader->status != STATUS_OK) {
        return 0;
    }
    if (count < -1 || count > INT32_MAX) {
        reader_fail(reader, STATUS_MALFORMED);
        return 0;
    }
    if (count > 0 && (uint64_t)count > reader_size(reader) / element_size) {
        reader_fail(reader, STATUS_TRUNCATED);
        return 0;
    }
    return (int32_t)count;
}

int32_t reader_count(struct reader *reader, bool flexible, size_t element_size)
{
    int32_t count = reader_count_nullable(reader, flexible, element_size);
    if (count < 0) {
        reader_fail(reader, STATUS_MALFORMED);
        return 0;
    }
    return count;
}

void *reader_array(struct reader *reader, struct arena *arena, int32_t *count, size_t size)
{
    if (*count <= 0) {
        return NULL;
    }
    void *items = arena_acquire_array(arena, (size_t)*count, size);
    if (items == NULL) {
        reader_fail(reader, STATUS_NO_MEMORY);
        *count = 0;
    }
    return items;
}

bool reader_presence(struct reader *reader)
{
    return reader_i8(reader) >= 0 && reader->status == STATUS_OK;
}

/* Closes the field whose body was handed out: what failed inside fails the whole. */
static void finish_tag(struct reader *reader, const struct reader *body)
{
    if (body->status == STATUS_NO_MEMORY) {
        reader_fail(reader, STATUS_NO_MEMORY);
    } else if (!reader_at_end(body)) {
        reader_fail(reader, STATUS_MALFORMED);
    }
}

struct reader_tags reader_tags(struct reader *reader)
{
    return (struct reader_tags){.left = reader_uvarint(reader), .body = {.status = STATUS_OK}};
}

bool reader_tags_next(struct reader *reader, struct reader_tags *tags)
{
    finish_tag(reader, &tags->body);
    if (tags->left == 0 || reader->status != STATUS_OK) {
        return false;
    }
    tags->left--;
    tags->number = reader_uvarint(reader);
    reader_init(&tags->body, reader_slice(reader, reader_uvarint(reader)));
    return reader->status == STATUS_OK;
}

void reader_skip_tags(struct reader *reader)
{
    uint32_t count = reader_uvarint(reader);
    while (count-- > 0 && reader->status == STATUS_OK) {
        reader_uvarint(reader);
        reader_slice(reader, reader_uvarint(reader));
    }
}
