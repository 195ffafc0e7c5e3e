/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request has named already: byte strings, each with a number, in the request's arena. A
 * peer chooses how many names he sends, so asking all that came before would cost him nothing and
 * us the square of it.
 */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"

#define BYTE_SET_ABSENT (-1)

struct byte_set_slot {
    struct bytes key; /* borrowed */
    int32_t value;    /* one more than it was added with; 0: free */
};

struct byte_set {
    struct byte_set_slot *slots;
    size_t mask;
    uint64_t seed;
};

/* Room for `count` keys; the seed must be secret. False: no memory. */
[[nodiscard]] bool byte_set_init(struct byte_set *set, struct arena *arena, size_t count,
                                 uint64_t seed);
/* Adds an absent key with its value, 0..INT32_MAX - 1, and answers BYTE_SET_ABSENT; of one that is
 * there answers the value it was added with. */
int32_t byte_set_add(struct byte_set *set, struct bytes key, int32_t value);
int32_t byte_set_find(const struct byte_set *set, struct bytes key);
