/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/sort.h"

#include <stdint.h>
#include <string.h>

struct sort {
    uint8_t *items;
    size_t size;
    size_t key; /* where is_before is NULL */
    bool (*is_before)(const void *a, const void *b);
};

static int64_t key_of(const struct sort *sort, size_t index)
{
    int64_t key;
    memcpy(&key, sort->items + index * sort->size + sort->key, sizeof(key));
    return key;
}

static bool is_before(const struct sort *sort, size_t a, size_t b)
{
    if (sort->is_before == NULL) {
        return key_of(sort, a) < key_of(sort, b);
    }
    return sort->is_before(sort->items + a * sort->size, sort->items + b * sort->size);
}

static void swap(const struct sort *sort, size_t a, size_t b)
{
    uint8_t *left = sort->items + a * sort->size;
    uint8_t *right = sort->items + b * sort->size;
    for (size_t i = 0; i < sort->size; i++) {
        uint8_t byte = left[i];
        left[i] = right[i];
        right[i] = byte;
    }
}

static void sift_down(const struct sort *sort, size_t root, size_t count)
{
    for (size_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && is_before(sort, child, child + 1)) {
            child += 1;
        }
        if (!is_before(sort, root, child)) {
            return;
        }
        swap(sort, root, child);
        root = child;
    }
}

static void sort_run(const struct sort *sort, size_t count)
{
    size_t sorted = 1;
    while (sorted < count && !is_before(sort, sorted, sorted - 1)) {
        sorted += 1;
    }
    if (sorted >= count) {
        return;
    }
    for (size_t root = count / 2; root-- > 0;) {
        sift_down(sort, root, count);
    }
    for (size_t last = count - 1; last > 0; last--) {
        swap(sort, 0, last);
        sift_down(sort, 0, last);
    }
}

void sort_items(void *items, size_t count, size_t size,
                bool (*is_before_item)(const void *a, const void *b))
{
    sort_run(&(struct sort){.items = items, .size = size, .is_before = is_before_item}, count);
}

void sort_by_key(void *items, size_t count, size_t size, size_t key)
{
    sort_run(&(struct sort){.items = items, .size = size, .key = key}, count);
}
