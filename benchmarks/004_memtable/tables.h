/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What benchmarks/004_memtable measures, behind one face: the memtable in its forms, a plain map
 * (the C library's red-black tree under one lock: the anchor) and RocksDB's memtable where it is
 * installed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/memtable.h"

#define KEY_SIZE 16

struct form {
    uint32_t shards;
    enum memtable_locks locks;
    double bloom_rate;
    uint64_t key_count; /* the filters are made for */
    uint64_t seed;
    uint64_t size_max;      /* 0: 16 GiB */
    uint32_t sample_one_in; /* 0: only waits for locks are timed */
    uint64_t (*now_ns)(void *);
    void *clock;
};

struct table_kind {
    const char *name;
    void *(*open)(const struct form *form); /* NULL with a line on stderr: it cannot */
    void (*put)(void *table, struct bytes key, int64_t offset);
    bool (*get)(void *table, struct bytes key, struct key_entry *entry);
    void (*close)(void *table);
};

extern const struct table_kind table_memtable;
extern const struct table_kind table_plain;
/* NULL: this program was built without it. */
const struct table_kind *table_rocksdb(void);

struct memtable *table_of(void *table); /* of a table_memtable */
uint64_t table_heap_size(void *table);  /* bytes its heap holds, of a table_memtable */

/* "key" and 13 digits, like the seed's keys. */
static inline struct bytes key_of(uint64_t number, uint8_t key[KEY_SIZE])
{
    memcpy(key, "key", 3);
    for (int i = KEY_SIZE - 1; i >= 3; i--) {
        key[i] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
    return bytes_of(key, KEY_SIZE);
}
