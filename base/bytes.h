/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A borrowed slice of memory, and big-endian loads and stores. A slice owns nothing: whoever hands
 * it out says how long it lives. data == NULL is "absent" (a null string); size is then 0.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data;
    size_t size;
};

#define BYTES_LITERAL(text) ((struct bytes){(const uint8_t *)("" text), sizeof(text) - 1})
#define BYTES_NULL ((struct bytes){NULL, 0})

static inline struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){(const uint8_t *)data, size};
}

static inline struct bytes bytes_of_text(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Order of unsigned bytes, shorter first when one is the beginning of the other. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size == 0 ? 0 : memcmp(a.data, b.data, size);
    if (order != 0) {
        return order;
    }
    return (a.size > b.size) - (a.size < b.size);
}

static inline uint16_t get_be16(const void *from)
{
    uint16_t value;
    memcpy(&value, from, sizeof(value));
    return __builtin_bswap16(value);
}

static inline uint32_t get_be32(const void *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof(value));
    return __builtin_bswap32(value);
}

static inline uint64_t get_be64(const void *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return __builtin_bswap64(value);
}

static inline void put_be16(void *to, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(to, &value, sizeof(value));
}

static inline void put_be32(void *to, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(to, &value, sizeof(value));
}

static inline void put_be64(void *to, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(to, &value, sizeof(value));
}
