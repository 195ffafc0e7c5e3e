/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few Kafka messages that the benchmarks need, encoded by hand. Nothing here comes from wire/:
 * a load generator that shared codecs with the broker could not see their mistakes. Integers are
 * big-endian; versions are the last ones before the flexible encoding.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum api_key {
    API_PRODUCE = 0,
    API_FETCH = 1,
    API_LIST_OFFSETS = 2,
    API_METADATA = 3,
    API_VERSIONS = 18,
    API_CREATE_TOPICS = 19,
    API_DELETE_TOPICS = 20,
};

enum {
    PRODUCE_VERSION = 7,
    LIST_OFFSETS_VERSION = 1,
    METADATA_VERSION = 4,
    CREATE_TOPICS_VERSION = 4,
    DELETE_TOPICS_VERSION = 3,
    FETCH_VERSION_MIN = 4,
    FETCH_VERSION_MAX = 11,

    FRAME_SIZE_BYTES = 4,
    CORRELATION_POSITION = 8, /* in a request frame: size 4, key 2, version 2 */

    BATCH_HEADER_SIZE = 61,
    BATCH_LENGTH_POSITION = 8,
    BATCH_PREFIX_SIZE = 12, /* what the length field leaves out */
    BATCH_MAGIC_POSITION = 16,
    BATCH_CRC_POSITION = 17,
    BATCH_CRC_FROM = 21,
    BATCH_LAST_DELTA_POSITION = 23,
    BATCH_COUNT_POSITION = 57,
};

/* A message being written. Grows; dies when memory is refused. */
struct out {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void out_bytes(struct out *out, const void *data, size_t size);
void out_i8(struct out *out, int value);
void out_i16(struct out *out, int value);
void out_i32(struct out *out, int64_t value);
void out_i64(struct out *out, int64_t value);
void out_string(struct out *out, const char *text); /* NULL: the null string */
void out_varint(struct out *out, int64_t value);
void out_deinit(struct out *out);

/* Starts a frame with request header version 1; frame_end fills in its size. */
void frame_begin(struct out *out, enum api_key key, int version, int32_t correlation);
void frame_end(struct out *out);

/* A message being read: sticky, reading past the end gives zeros and sets failed. */
struct in {
    const uint8_t *data;
    size_t size;
    size_t position;
    bool failed;
};

int in_i8(struct in *in);
int in_i16(struct in *in);
int32_t in_i32(struct in *in);
int64_t in_i64(struct in *in);
void in_skip(struct in *in, int64_t size);
/* Copies the string into name, cut to capacity, and ends it; the null string reads as "". */
void in_string(struct in *in, char *name, size_t capacity);

uint32_t load_be32(const uint8_t *data);
uint64_t load_be64(const uint8_t *data);
void store_be32(uint8_t *data, uint32_t value);
void store_be64(uint8_t *data, uint64_t value);

/* CRC-32C as the batch header has it: 3 streams of the CPU's instruction where there is one. */
uint32_t checksum(const uint8_t *data, size_t size);

struct batch_shape {
    int record_count;
    int value_size;
    bool random; /* else zeros */
    uint64_t seed;
};

/* Appends one uncompressed v2 batch of records without keys. */
void batch_encode(struct out *out, const struct batch_shape *shape);

/* Prints to stderr and exits 1: a benchmark has nobody to hand an error to. */
_Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...);
/* Reads a number with an optional K, M or G (1024-based); dies on anything else. */
int64_t number_parse(const char *text, const char *what);
