/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of keys, eight bytes at a time. Where all keys of a place share their first `skip`
 * bytes, the next eight decide nearly every comparison as one number, the head.
 */
#pragma once

#include "base/bytes.h"

/* Bytes skip to skip + 8, big-endian, zeros behind a short key. Heads order as their keys do; equal
 * ones say nothing about what follows: "a" and "a\0" have the same. The key is not shorter than
 * skip. */
static inline uint64_t key_head(struct bytes key, size_t skip)
{
    size_t rest = key.size - skip;
    if (rest >= 8) {
        return get_be64(key.data + skip);
    }
    if (rest == 0) {
        return 0;
    }
    if (key.size >= 8) { /* the last eight bytes, less those before skip */
        return get_be64(key.data + key.size - 8) << (8 * (8 - rest));
    }
    uint64_t head = 0;
    for (size_t i = 0; i < rest; i++) {
        head |= (uint64_t)key.data[skip + i] << (56 - 8 * i);
    }
    return head;
}

/* Compares what stands from byte `at` on; before it the keys agree. A shorter one that ends before
 * `at` is smaller. In words: most keys are short, and a call of memcmp costs more than this. */
static inline int key_compare_from(struct bytes a, struct bytes b, size_t at)
{
    size_t size = a.size < b.size ? a.size : b.size;
    for (; at + 8 <= size; at += 8) {
        uint64_t left = get_be64(a.data + at);
        uint64_t right = get_be64(b.data + at);
        if (left != right) {
            return left < right ? -1 : 1;
        }
    }
    for (; at < size; at++) {
        if (a.data[at] != b.data[at]) {
            return a.data[at] < b.data[at] ? -1 : 1;
        }
    }
    return (a.size > b.size) - (a.size < b.size);
}

/* Bytes that both keys begin with. */
static inline size_t key_common(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t left = get_be64(a.data + at);
        uint64_t right = get_be64(b.data + at);
        if (left != right) {
            return at + (size_t)__builtin_clzll(left ^ right) / 8;
        }
    }
    while (at < size && a.data[at] == b.data[at]) {
        at += 1;
    }
    return at;
}
