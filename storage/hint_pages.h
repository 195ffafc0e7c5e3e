/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of hints in memory, for look-ups of keys: the longest unused one goes when there are too
 * many. A page is in here only after its sum was found right, and belongs to an instance of a hint
 * (segment->keys_instance), so one of a hint that was replaced is never met again.
 */
#pragma once

#include <stdint.h>

#include "base/hash.h"
#include "base/list.h"
#include "storage/pool.h"

struct store;

struct hint_pages {
    struct table table;
    struct list pages; /* longest unused first */
    struct pool pool;
    uint32_t count;
    uint32_t count_max;
};

/* Part of the cache share that they may take. */
#define HINT_PAGES_SHARE 16

[[nodiscard]] bool hint_pages_init(struct store *store);
void hint_pages_deinit(struct store *store);
/* NULL: not there. Valid until the next call of anything here. */
const uint8_t *hint_pages_find(struct store *store, uint64_t instance, uint32_t number);
/* Copies a page that was checked; without memory for it nothing happens. */
void hint_pages_add(struct store *store, uint64_t instance, uint32_t number, const uint8_t *page);
