/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key of the memtable with its entry: 32 bytes and the key. Made once, it never moves, and its
 * key never changes; so trees and scans point at it without asking anybody.
 *
 * R1  One writer at a time: who holds the lock of the key's shard.
 * R2  Anybody may read an entry and knows whether he got a whole one: `state` counts the writes
 *     above its flags, and is odd there while one is under way. Loads acquire and stores release,
 *     which costs nothing on x86 and needs no fence; so the first store and the last load, both of
 *     `state`, stay where they are without.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/check.h"
#include "storage/key_entry.h"

/* Flags below, the count of writes above. */
#define KEY_RECORD_FLAGS UINT32_C(0xff)
#define KEY_RECORD_WRITE UINT32_C(0x100)

struct key_record {
    _Atomic int64_t offset;
    _Atomic int64_t timestamp;
    _Atomic uint64_t place; /* position << 32 | size */
    _Atomic uint32_t state;
    uint32_t key_size;
    uint8_t key[];
};

_Static_assert(sizeof(struct key_record) == 32, "what is said of memory counts on it");

/* Bytes that the record of a key takes: a multiple of 8. */
static inline uint64_t key_record_size(struct bytes key)
{
    return (sizeof(struct key_record) + key.size + 7) & ~(uint64_t)7;
}

static inline struct bytes key_record_key(const struct key_record *record)
{
    return (struct bytes){record->key, record->key_size};
}

/* False: it is being written just now (R2); never for who holds its shard's lock. */
static inline bool key_record_read(const struct key_record *record, struct key_entry *entry)
{
    uint32_t state = atomic_load_explicit(&record->state, memory_order_acquire);
    uint64_t place = atomic_load_explicit(&record->place, memory_order_acquire);
    *entry = (struct key_entry){
        .offset = atomic_load_explicit(&record->offset, memory_order_acquire),
        .timestamp = atomic_load_explicit(&record->timestamp, memory_order_acquire),
        .position = (uint32_t)(place >> 32),
        .size = (uint32_t)place,
        .flags = state & KEY_RECORD_FLAGS,
    };
    return (state & KEY_RECORD_WRITE) == 0 &&
           state == atomic_load_explicit(&record->state, memory_order_relaxed);
}

/* R1 holds for these. */
static inline int64_t key_record_offset(const struct key_record *record)
{
    return atomic_load_explicit(&record->offset, memory_order_relaxed);
}

static inline uint32_t key_record_flags(const struct key_record *record)
{
    return atomic_load_explicit(&record->state, memory_order_relaxed) & KEY_RECORD_FLAGS;
}

static inline void key_record_write(struct key_record *record, const struct key_entry *entry)
{
    check((entry->flags & ~KEY_RECORD_FLAGS) == 0); /* they would count as writes */
    uint32_t state = atomic_load_explicit(&record->state, memory_order_relaxed);
    uint32_t begun = (state & ~KEY_RECORD_FLAGS) + KEY_RECORD_WRITE;
    uint64_t place = (uint64_t)entry->position << 32 | entry->size;
    atomic_store_explicit(&record->state, begun | (state & KEY_RECORD_FLAGS), memory_order_relaxed);
    atomic_store_explicit(&record->offset, entry->offset, memory_order_release);
    atomic_store_explicit(&record->timestamp, entry->timestamp, memory_order_release);
    atomic_store_explicit(&record->place, place, memory_order_release);
    atomic_store_explicit(&record->state, (begun + KEY_RECORD_WRITE) | entry->flags,
                          memory_order_release);
}
