/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

/* Inlined: a call into the shared library costs more than hashing a short key. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.h"

#define TABLE_SLOTS_FIRST ((size_t)16)

uint64_t hash_bytes(struct bytes key, uint64_t seed)
{
    return XXH3_64bits_withSeed(key.data, key.size, seed);
}

uint64_t hash_u64(uint64_t key, uint64_t seed)
{
    return XXH3_64bits_withSeed(&key, sizeof(key), seed);
}

bool table_init(struct table *table, struct heap *heap, uint64_t seed)
{
    *table = (struct table){.heap = heap, .seed = seed};
    table->slots = heap_acquire(heap, TABLE_SLOTS_FIRST * sizeof(struct table_node *));
    if (table->slots == NULL) {
        return false;
    }
    table->slot_count = TABLE_SLOTS_FIRST;
    return true;
}

void table_deinit(struct table *table)
{
    heap_release(table->heap, table->slots, table->slot_count * sizeof(struct table_node *));
    *table = (struct table){0};
}

static struct table_node **table_slot(const struct table *table, uint64_t hash)
{
    return &table->slots[hash & (table->slot_count - 1)];
}

static void table_grow(struct table *table)
{
    size_t count = table->slot_count * 2;
    struct table_node **slots = heap_acquire(table->heap, count * sizeof(struct table_node *));
    if (slots == NULL) {
        return; /* longer chains, still correct */
    }
    for (size_t i = 0; i < table->slot_count; i++) {
        struct table_node *node = table->slots[i];
        while (node != NULL) {
            struct table_node *next = node->next;
            struct table_node **slot = &slots[node->hash & (count - 1)];
            node->next = *slot;
            *slot = node;
            node = next;
        }
    }
    heap_release(table->heap, table->slots, table->slot_count * sizeof(struct table_node *));
    table->slots = slots;
    table->slot_count = count;
}

void table_insert(struct table *table, struct table_node *node)
{
    if (table->count >= table->slot_count) {
        table_grow(table);
    }
    struct table_node **slot = table_slot(table, node->hash);
    node->next = *slot;
    *slot = node;
    table->count += 1;
}

void table_remove(struct table *table, struct table_node *node)
{
    struct table_node **link = table_slot(table, node->hash);
    while (*link != node) {
        check(*link != NULL); /* the node is in this table */
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    table->count -= 1;
}

static struct table_node *table_match(struct table_node *node, uint64_t hash)
{
    while (node != NULL && node->hash != hash) {
        node = node->next;
    }
    return node;
}

struct table_node *table_find(const struct table *table, uint64_t hash)
{
    return table_match(*table_slot(table, hash), hash);
}

struct table_node *table_find_next(const struct table_node *node)
{
    return table_match(node->next, node->hash);
}

struct table_node *table_next(const struct table *table, struct table_cursor *cursor)
{
    while (cursor->next == NULL && cursor->slot < table->slot_count) {
        cursor->next = table->slots[cursor->slot];
        cursor->slot += 1;
    }
    struct table_node *node = cursor->next;
    if (node != NULL) {
        cursor->next = node->next; /* taken now: the body may free the node */
    }
    return node;
}

struct table_node *table_first(const struct table *table, struct table_cursor *cursor)
{
    *cursor = (struct table_cursor){0};
    return table_next(table, cursor);
}
