/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of partitions: sorted arrays without duplicates, ordered by topic id and index. They are
 * what assignments are made of. A set owns its array (heap), a span borrows one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/heap.h"
#include "base/uuid.h"

struct part {
    struct uuid topic_id;
    int32_t index;
    int32_t epoch; /* of the assignment that gave it; no part of the order */
};

struct parts {
    const struct part *items;
    int32_t count;
};

struct parts_set {
    struct part *items;
    int32_t count;
};

static inline int part_compare(const struct part *a, const struct part *b)
{
    int order = memcmp(&a->topic_id, &b->topic_id, sizeof(a->topic_id));
    return order != 0 ? order : (a->index > b->index) - (a->index < b->index);
}

static inline struct parts parts_of(const struct parts_set *set)
{
    return (struct parts){set->items, set->count};
}

/* Sorts, and drops all but one of equal ones; answers the new count. */
int32_t parts_sort(struct part *items, int32_t count);
/* NULL: it is not in there. */
const struct part *parts_find(struct parts parts, const struct part *part);
bool parts_equal(struct parts a, struct parts b);
/* Every one of `parts` is in `of`. */
bool parts_are_within(struct parts parts, struct parts of);
bool parts_meet(struct parts a, struct parts b);
/* Into `out`, which has room for a.count: those of `a` that are in `b`, or that are not. The epochs
 * are those of `a`. */
int32_t parts_filter(struct parts a, struct parts b, bool in_b, struct part *out);

/* Replaces the content. False: no memory, the set is as it was. */
[[nodiscard]] bool parts_set_assign(struct parts_set *set, struct heap *heap, struct parts parts);
void parts_set_release(struct parts_set *set, struct heap *heap);
