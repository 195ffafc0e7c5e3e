/* SPDX-License-Identifier: Apache-2.0 */
/* Sorts structs by one int64_t field, in place and without memory of its own: the C library's qsort
 * may call malloc. Heap sort: n log n whatever order a peer arranged; one pass when sorted already.
 */
#pragma once

#include <stddef.h>

/* size: bytes of one item; key: offsetof() the int64_t field. Equal keys keep no order. */
void sort_by_key(void *items, size_t count, size_t size, size_t key);
