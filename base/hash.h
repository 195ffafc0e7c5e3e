/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeded XXH3 (a peer who cannot guess the seed cannot pile keys on one slot), and an intrusive
 * hash table that grows by doubling. Iteration order depends on hashes only, never on addresses,
 * so that two runs from one seed behave alike.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/heap.h"

uint64_t hash_bytes(struct bytes key, uint64_t seed); /* XXH3_64bits_withSeed */
uint64_t hash_u64(uint64_t key, uint64_t seed);

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

/* Chains of nodes that live inside their owners' structs; the table owns the slot array alone. */
struct table {
    struct heap *heap; /* borrowed */
    struct table_node **slots;
    size_t slot_count; /* a power of two */
    size_t count;
    uint64_t seed;
};

/* False when the heap refuses the first slots. */
[[nodiscard]] bool table_init(struct table *table, struct heap *heap, uint64_t seed);
void table_deinit(struct table *table); /* the nodes stay with their owners */
/* node->hash must be set. When growing is refused the table stays correct and gets slower. */
void table_insert(struct table *table, struct table_node *node);
void table_remove(struct table *table, struct table_node *node);
/* First node of the chain with this hash, and the next one; the caller compares keys. */
struct table_node *table_find(const struct table *table, uint64_t hash);
struct table_node *table_find_next(const struct table_node *node);

/* Every node in slot order. The body may remove `node` and free its owner. */
struct table_cursor {
    size_t slot;
    struct table_node *next;
};
struct table_node *table_first(const struct table *table, struct table_cursor *cursor);
struct table_node *table_next(const struct table *table, struct table_cursor *cursor);
