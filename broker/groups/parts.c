/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/parts.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    return part_compare(a, b);
}

int32_t parts_sort(struct part *items, int32_t count)
{
    if (count == 0) {
        return 0;
    }
    qsort(items, (size_t)count, sizeof(*items), compare);
    int32_t kept = 1;
    for (int32_t i = 1; i < count; i++) {
        if (part_compare(&items[i], &items[kept - 1]) != 0) {
            items[kept++] = items[i];
        }
    }
    return kept;
}

const struct part *parts_find(struct parts parts, const struct part *part)
{
    return parts.count == 0
               ? NULL
               : bsearch(part, parts.items, (size_t)parts.count, sizeof(*part), compare);
}

bool parts_equal(struct parts a, struct parts b)
{
    return a.count == b.count && parts_are_within(a, b);
}

bool parts_are_within(struct parts parts, struct parts of)
{
    for (int32_t i = 0; i < parts.count; i++) {
        if (parts_find(of, &parts.items[i]) == NULL) {
            return false;
        }
    }
    return true;
}

bool parts_meet(struct parts a, struct parts b)
{
    for (int32_t i = 0; i < a.count; i++) {
        if (parts_find(b, &a.items[i]) != NULL) {
            return true;
        }
    }
    return false;
}

int32_t parts_filter(struct parts a, struct parts b, bool in_b, struct part *out)
{
    int32_t count = 0;
    for (int32_t i = 0; i < a.count; i++) {
        if ((parts_find(b, &a.items[i]) != NULL) == in_b) {
            out[count++] = a.items[i];
        }
    }
    return count;
}

bool parts_set_assign(struct parts_set *set, struct heap *heap, struct parts parts)
{
    struct part *items = NULL;
    if (parts.count > 0) {
        items = heap_acquire(heap, (size_t)parts.count * sizeof(*items));
        if (items == NULL) {
            return false;
        }
        memcpy(items, parts.items, (size_t)parts.count * sizeof(*items));
    }
    parts_set_release(set, heap);
    *set = (struct parts_set){items, parts.count};
    return true;
}

void parts_set_release(struct parts_set *set, struct heap *heap)
{
    heap_release(heap, set->items, (size_t)set->count * sizeof(*set->items));
    *set = (struct parts_set){0};
}
