/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/writer.h"

#include "base/check.h"

/* Most answers fit the first block; a large metadata answer grows into 64 KiB ones. */
#define BLOCK_SIZE_FIRST 512
#define BLOCK_SIZE_MAX 65536
#define SLICE_COUNT_FIRST 8

void writer_init(struct writer *writer, struct arena *arena)
{
    *writer = (struct writer){.arena = arena, .block_size = BLOCK_SIZE_FIRST};
}

static void fail(struct writer *writer)
{
    writer->failed = true;
    writer->start = writer->cursor = writer->limit = NULL;
    writer->closed_size = 0;
    writer->slice_count = 0;
}

static void push(struct writer *writer, const uint8_t *data, size_t size)
{
    if (writer->slice_count == writer->slice_count_max) {
        int count_max =
            writer->slice_count_max == 0 ? SLICE_COUNT_FIRST : writer->slice_count_max * 2;
        struct iovec *slices = arena_new_array(writer->arena, struct iovec, (size_t)count_max);
        if (slices == NULL) {
            fail(writer);
            return;
        }
        if (writer->slice_count > 0) {
            memcpy(slices, writer->slices, (size_t)writer->slice_count * sizeof(*slices));
        }
        writer->slices = slices;
        writer->slice_count_max = count_max;
    }
    /* iovec has no const; the sender only reads. */
    writer->slices[writer->slice_count++] = (struct iovec){(void *)(uintptr_t)data, size};
    writer->closed_size += size;
}

/* The next value starts a new slice at the cursor. */
static void close_slice(struct writer *writer)
{
    if (writer->cursor > writer->start) {
        const uint8_t *start = writer->start;
        writer->start = writer->cursor;
        push(writer, start, (size_t)(writer->cursor - start));
    }
}

uint8_t *writer_grow(struct writer *writer, size_t size)
{
    close_slice(writer);
    if (writer->failed) {
        return NULL;
    }
    size_t block_size = size > writer->block_size ? size : writer->block_size;
    uint8_t *block = arena_acquire_bytes(writer->arena, block_size);
    if (block == NULL) {
        fail(writer);
        return NULL;
    }
    if (writer->block_size < BLOCK_SIZE_MAX) {
        writer->block_size *= 4;
    }
    if (writer->block_size > BLOCK_SIZE_MAX) {
        writer->block_size = BLOCK_SIZE_MAX;
    }
    writer->start = block;
    writer->cursor = block + size;
    writer->limit = block + block_size;
    return block;
}

const struct iovec *writer_slices(struct writer *writer, int *count)
{
    close_slice(writer);
    *count = writer->slice_count;
    return writer->slices;
}

void writer_copy(struct writer *writer, uint8_t *target)
{
    close_slice(writer);
    for (int i = 0; i < writer->slice_count; i++) {
        memcpy(target, writer->slices[i].iov_base, writer->slices[i].iov_len);
        target += writer->slices[i].iov_len;
    }
}

void writer_f64(struct writer *writer, double value)
{
    uint64_t raw;
    memcpy(&raw, &value, sizeof(raw));
    writer_u64(writer, raw);
}

void writer_uuid(struct writer *writer, struct uuid value)
{
    writer_raw(writer, bytes_of(value.bytes, sizeof(value.bytes)));
}

void writer_uvarlong(struct writer *writer, uint64_t value)
{
    uint8_t bytes[UVARLONG_SIZE_MAX];
    size_t size = 0;
    while (value >= 0x80) {
        bytes[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[size++] = (uint8_t)value;
    writer_raw(writer, bytes_of(bytes, size));
}

void writer_uvarint(struct writer *writer, uint32_t value)
{
    if (value < 0x80) {
        writer_i8(writer, (int8_t)value);
    } else {
        writer_uvarlong(writer, value);
    }
}

void writer_varint(struct writer *writer, int32_t value)
{
    writer_uvarint(writer, (uint32_t)value << 1 ^ (0 - ((uint32_t)value >> 31)));
}

void writer_varlong(struct writer *writer, int64_t value)
{
    writer_uvarlong(writer, (uint64_t)value << 1 ^ (0 - ((uint64_t)value >> 63)));
}

void writer_raw(struct writer *writer, struct bytes bytes)
{
    if (bytes.size == 0) {
        return;
    }
    uint8_t *to = writer_room(writer, bytes.size);
    if (to != NULL) {
        memcpy(to, bytes.data, bytes.size);
    }
}

void writer_splice(struct writer *writer, struct bytes bytes)
{
    if (bytes.size == 0 || writer->failed) {
        return;
    }
    close_slice(writer);
    if (!writer->failed) {
        push(writer, bytes.data, bytes.size);
    }
}

/* size -1 is null. */
static void write_size(struct writer *writer, bool flexible, bool wide, int64_t size)
{
    if (flexible) {
        writer_uvarint(writer, (uint32_t)(size + 1));
    } else if (wide) {
        writer_i32(writer, (int32_t)size);
    } else {
        writer_i16(writer, (int16_t)size);
    }
}

void writer_string(struct writer *writer, bool flexible, struct bytes value)
{
    check(value.size <= STRING_SIZE_MAX);
    write_size(writer, flexible, false, (int64_t)value.size);
    writer_raw(writer, value);
}

void writer_string_nullable(struct writer *writer, bool flexible, struct bytes value)
{
    if (value.data == NULL) {
        write_size(writer, flexible, false, -1);
    } else {
        writer_string(writer, flexible, value);
    }
}

void writer_bytes(struct writer *writer, bool flexible, struct bytes value)
{
    check(value.size <= INT32_MAX);
    write_size(writer, flexible, true, (int64_t)value.size);
    writer_raw(writer, value);
}

void writer_bytes_nullable(struct writer *writer, bool flexible, struct bytes value)
{
    if (value.data == NULL) {
        write_size(writer, flexible, true, -1);
    } else {
        writer_bytes(writer, flexible, value);
    }
}

void writer_records(struct writer *writer, bool flexible, struct slices value)
{
    size_t size = 0;
    for (int32_t i = 0; i < value.count; i++) {
        size += value.items[i].size;
    }
    check(size <= INT32_MAX);
    write_size(writer, flexible, true, (int64_t)size);
    for (int32_t i = 0; i < value.count; i++) {
        writer_splice(writer, value.items[i]);
    }
}

void writer_records_nullable(struct writer *writer, bool flexible, struct slices value)
{
    if (value.count < 0) {
        write_size(writer, flexible, true, -1);
    } else {
        writer_records(writer, flexible, value);
    }
}

void writer_count(struct writer *writer, bool flexible, int32_t count)
{
    write_size(writer, flexible, true, count < 0 ? 0 : count);
}

void writer_count_nullable(struct writer *writer, bool flexible, int32_t count)
{
    write_size(writer, flexible, true, count < 0 ? -1 : count);
}

void writer_presence(struct writer *writer, bool present)
{
    writer_i8(writer, present ? 1 : -1);
}

uint8_t *writer_reserve_i32(struct writer *writer)
{
    uint8_t *place = writer_room(writer, 4);
    if (place != NULL) {
        put_be32(place, 0);
    }
    return place;
}

void writer_tag_begin(struct writer *writer, struct writer *body, uint32_t tag)
{
    writer_uvarint(writer, tag);
    writer_init(body, writer->arena);
}

void writer_tag_end(struct writer *writer, struct writer *body)
{
    if (body->failed) {
        fail(writer);
        return;
    }
    /* Tagged fields are small: copying keeps the vector short. */
    size_t size = writer_size(body);
    writer_uvarint(writer, (uint32_t)size);
    uint8_t *to = writer_room(writer, size);
    if (to != NULL) {
        writer_copy(body, to);
    }
}

void writer_tag(struct writer *writer, uint32_t tag, uint32_t size)
{
    writer_uvarint(writer, tag);
    writer_uvarint(writer, size);
}
