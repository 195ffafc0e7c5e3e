/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/wire/protocol.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

int64_t number_parse(const char *text, const char *what)
{
    char *end;
    long long value = strtoll(text, &end, 10);
    const char *units = "KMG";
    const char *unit = *end == '\0' ? NULL : strchr(units, *end);
    if (end == text || value < 0 || (*end != '\0' && (unit == NULL || end[1] != '\0'))) {
        die("%s: '%s' is not a number with an optional K, M or G", what, text);
    }
    return unit == NULL ? value : value << (10 * (unit - units + 1));
}

uint32_t load_be32(const uint8_t *data)
{
    uint32_t value;
    memcpy(&value, data, sizeof(value));
    return __builtin_bswap32(value);
}

uint64_t load_be64(const uint8_t *data)
{
    uint64_t value;
    memcpy(&value, data, sizeof(value));
    return __builtin_bswap64(value);
}

void store_be32(uint8_t *data, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(data, &value, sizeof(value));
}

void store_be64(uint8_t *data, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(data, &value, sizeof(value));
}

static uint8_t *out_reserve(struct out *out, size_t size)
{
    if (out->size + size > out->capacity) {
        size_t capacity = out->capacity * 2 + size + 256;
        uint8_t *data = realloc(out->data, capacity);
        if (data == NULL) {
            die("out of memory: %zu bytes", capacity);
        }
        out->data = data;
        out->capacity = capacity;
    }
    uint8_t *target = out->data + out->size;
    out->size += size;
    return target;
}

void out_bytes(struct out *out, const void *data, size_t size)
{
    if (size > 0) {
        memcpy(out_reserve(out, size), data, size);
    }
}

void out_i8(struct out *out, int value)
{
    *out_reserve(out, 1) = (uint8_t)value;
}

void out_i16(struct out *out, int value)
{
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    out_bytes(out, bytes, sizeof(bytes));
}

void out_i32(struct out *out, int64_t value)
{
    store_be32(out_reserve(out, 4), (uint32_t)value);
}

void out_i64(struct out *out, int64_t value)
{
    store_be64(out_reserve(out, 8), (uint64_t)value);
}

void out_string(struct out *out, const char *text)
{
    if (text == NULL) {
        out_i16(out, -1);
        return;
    }
    size_t size = strlen(text);
    out_i16(out, (int)size);
    out_bytes(out, text, size);
}

void out_varint(struct out *out, int64_t value)
{
    uint64_t rest = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    while (rest >= 0x80) {
        out_i8(out, (int)(rest & 0x7f) | 0x80);
        rest >>= 7;
    }
    out_i8(out, (int)rest);
}

void out_deinit(struct out *out)
{
    free(out->data);
    *out = (struct out){0};
}

void frame_begin(struct out *out, enum api_key key, int version, int32_t correlation)
{
    out->size = 0;
    out_i32(out, 0);
    out_i16(out, (int)key);
    out_i16(out, version);
    out_i32(out, correlation);
    out_string(out, "weir-load");
}

void frame_end(struct out *out)
{
    store_be32(out->data, (uint32_t)(out->size - FRAME_SIZE_BYTES));
}

/* NULL, and failed, when fewer than size bytes are left. */
static const uint8_t *in_take(struct in *in, int64_t size)
{
    if (in->failed || size < 0 || (uint64_t)size > in->size - in->position) {
        in->failed = true;
        return NULL;
    }
    const uint8_t *data = in->data + in->position;
    in->position += (size_t)size;
    return data;
}

int in_i8(struct in *in)
{
    const uint8_t *data = in_take(in, 1);
    return data == NULL ? 0 : (int8_t)data[0];
}

int in_i16(struct in *in)
{
    const uint8_t *data = in_take(in, 2);
    return data == NULL ? 0 : (int16_t)(data[0] << 8 | data[1]);
}

int32_t in_i32(struct in *in)
{
    const uint8_t *data = in_take(in, 4);
    return data == NULL ? 0 : (int32_t)load_be32(data);
}

int64_t in_i64(struct in *in)
{
    const uint8_t *data = in_take(in, 8);
    return data == NULL ? 0 : (int64_t)load_be64(data);
}

void in_skip(struct in *in, int64_t size)
{
    (void)in_take(in, size);
}

void in_string(struct in *in, char *name, size_t capacity)
{
    int size = in_i16(in);
    const uint8_t *data = size < 0 ? NULL : in_take(in, size);
    size_t kept = data == NULL ? 0 : (size_t)size;
    kept = kept < capacity ? kept : capacity - 1;
    if (kept > 0) {
        memcpy(name, data, kept);
    }
    name[kept] = '\0';
}

#define CRC_POLYNOMIAL 0x82F63B78U /* Castagnoli, bits reflected */

/* One bit at a time: only for machines without the instruction, where batches are built once. */
static uint32_t crc_plain(uint32_t crc, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (-(crc & 1) & CRC_POLYNOMIAL);
        }
    }
    return crc;
}

#ifdef __x86_64__
#include <immintrin.h>

#define CRC_STRIDE                                                                                 \
    1024 /* bytes per stream: short enough for 4 KiB records, long enough to hide                  \
            the instruction's latency of 3 behind three independent streams */

/* x^(8 * size - 33) mod P: carry-less multiplying by it and reducing shifts a CRC by size bytes. */
static uint32_t crc_power(size_t size)
{
    uint32_t power = 0x80000000U;
    for (size_t bit = 0; bit < 8 * size - 33; bit++) {
        power = (power >> 1) ^ (-(power & 1) & CRC_POLYNOMIAL);
    }
    return power;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc_shift(uint64_t crc, uint32_t power)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc), _mm_cvtsi32_si128((int)power), 0);
    return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

static uint64_t load_word(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof(word));
    return word;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc_fast(uint32_t crc, const uint8_t *data,
                                                                  size_t size)
{
    static uint32_t power_one; /* constants, computed at the first call */
    static uint32_t power_two;
    if (power_one == 0) {
        power_two = crc_power(2 * CRC_STRIDE);
        power_one = crc_power(CRC_STRIDE);
    }
    uint64_t a = crc;
    for (; size >= 3 * CRC_STRIDE; data += 3 * CRC_STRIDE, size -= 3 * CRC_STRIDE) {
        uint64_t b = 0;
        uint64_t c = 0;
        for (size_t i = 0; i < CRC_STRIDE; i += 8) {
            a = _mm_crc32_u64(a, load_word(data + i));
            b = _mm_crc32_u64(b, load_word(data + CRC_STRIDE + i));
            c = _mm_crc32_u64(c, load_word(data + 2 * CRC_STRIDE + i));
        }
        a = crc_shift(a, power_two) ^ crc_shift(b, power_one) ^ c;
    }
    for (; size >= 8; data += 8, size -= 8) {
        a = _mm_crc32_u64(a, load_word(data));
    }
    for (; size > 0; data++, size--) {
        a = _mm_crc32_u8((uint32_t)a, *data);
    }
    return (uint32_t)a;
}
#endif

uint32_t checksum(const uint8_t *data, size_t size)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
        return ~crc_fast(~0U, data, size);
    }
#endif
    return ~crc_plain(~0U, data, size);
}

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15U; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
}

static int varint_size(int64_t value)
{
    uint64_t rest = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    int size = 1;
    for (; rest >= 0x80; rest >>= 7) {
        size++;
    }
    return size;
}

static void record_encode(struct out *out, int index, const struct batch_shape *shape,
                          uint64_t *state)
{
    /* attributes, timestamp delta, offset delta, null key, value, no headers */
    int body =
        1 + 1 + varint_size(index) + 1 + varint_size(shape->value_size) + shape->value_size + 1;
    out_varint(out, body);
    out_i8(out, 0);
    out_varint(out, 0);
    out_varint(out, index);
    out_varint(out, -1);
    out_varint(out, shape->value_size);
    uint8_t *value = out_reserve(out, (size_t)shape->value_size);
    for (int i = 0; i < shape->value_size; i++) {
        value[i] = shape->random ? (uint8_t)random_next(state) : 0;
    }
    out_varint(out, 0);
}

void batch_encode(struct out *out, const struct batch_shape *shape)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    int64_t wall_ms = wall.tv_sec * 1000 + wall.tv_nsec / 1000000;
    uint64_t state = shape->seed;
    size_t begin = out->size;
    out_i64(out, 0);  /* base offset: the broker's to give */
    out_i32(out, 0);  /* length, below */
    out_i32(out, -1); /* leader epoch */
    out_i8(out, 2);   /* magic */
    out_i32(out, 0);  /* CRC, below */
    out_i16(out, 0);  /* attributes: no codec */
    out_i32(out, shape->record_count - 1);
    out_i64(out, wall_ms);
    out_i64(out, wall_ms);
    out_i64(out, -1); /* no producer */
    out_i16(out, -1);
    out_i32(out, -1);
    out_i32(out, shape->record_count);
    for (int i = 0; i < shape->record_count; i++) {
        record_encode(out, i, shape, &state);
    }
    uint8_t *batch = out->data + begin;
    size_t size = out->size - begin;
    store_be32(batch + BATCH_LENGTH_POSITION, (uint32_t)(size - BATCH_PREFIX_SIZE));
    store_be32(batch + BATCH_CRC_POSITION, checksum(batch + BATCH_CRC_FROM, size - BATCH_CRC_FROM));
}
