/* SPDX-License-Identifier: Apache-2.0 */
/* Sorts structs in place and without memory of its own: the C library's qsort may call malloc. Heap
 * sort: n log n whatever order a peer arranged; one pass when sorted already. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* size: bytes of one item; is_before(a, b): a has to stand before b. Equal items keep no order. */
void sort_items(void *items, size_t count, size_t size,
                bool (*is_before)(const void *a, const void *b));
/* By one int64_t field; key: offsetof() it. */
void sort_by_key(void *items, size_t count, size_t size, size_t key);
