/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/aborted.h"

#include <string.h>

#include "base/check.h"
#include "storage/sort.h"

#define ABORTED_ROOM_FIRST ((size_t)8)

void aborted_init(struct aborted *aborted, struct heap *heap)
{
    *aborted = (struct aborted){.heap = heap};
}

void aborted_deinit(struct aborted *aborted)
{
    heap_release(aborted->heap, aborted->entries, aborted->room * sizeof(aborted->entries[0]));
    *aborted = (struct aborted){0};
}

/* Index of the first entry whose marker is at or above `offset`. */
static size_t aborted_search(const struct aborted *aborted, int64_t offset)
{
    size_t low = 0;
    size_t high = aborted->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (aborted->entries[middle].last_offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool aborted_reserve(struct aborted *aborted)
{
    if (aborted->count < aborted->room) {
        return true;
    }
    size_t room = aborted->room == 0 ? ABORTED_ROOM_FIRST : aborted->room * 2;
    size_t unit = sizeof(aborted->entries[0]);
    struct producers_aborted *entries =
        aborted->room == 0
            ? heap_acquire(aborted->heap, room * unit)
            : heap_resize(aborted->heap, aborted->entries, aborted->room * unit, room * unit);
    if (entries == NULL) {
        return false;
    }
    aborted->entries = entries;
    aborted->room = room;
    return true;
}

enum status aborted_add(struct aborted *aborted, const struct producers_aborted *entry)
{
    size_t index = aborted_search(aborted, entry->last_offset);
    if (index < aborted->count && aborted->entries[index].last_offset == entry->last_offset) {
        return STATUS_OK;
    }
    if (!aborted_reserve(aborted)) {
        return STATUS_NO_MEMORY;
    }
    memmove(&aborted->entries[index + 1], &aborted->entries[index],
            (aborted->count - index) * sizeof(aborted->entries[0]));
    aborted->entries[index] = *entry;
    aborted->count += 1;
    check_slow(index == 0 || aborted->entries[index - 1].last_offset < entry->last_offset);
    return STATUS_OK;
}

int32_t aborted_list(const struct aborted *aborted, int64_t offset_first, int64_t offset_until,
                     struct producers_aborted *out, int32_t count_max)
{
    check(count_max >= 0);
    int32_t count = 0;
    for (size_t i = aborted_search(aborted, offset_first); i < aborted->count; i++) {
        const struct producers_aborted *entry = &aborted->entries[i];
        if (entry->first_offset < offset_until) {
            if (count < count_max) {
                out[count] = *entry;
            }
            count += 1;
        }
        if (entry->last_stable_offset >= offset_until) {
            break; /* A2 */
        }
    }
    sort_by_key(out, (size_t)(count < count_max ? count : count_max), sizeof(out[0]),
                offsetof(struct producers_aborted, first_offset));
    return count;
}

bool aborted_covers(const struct aborted *aborted, int64_t producer_id, int64_t offset)
{
    for (size_t i = aborted_search(aborted, offset); i < aborted->count; i++) {
        const struct producers_aborted *entry = &aborted->entries[i];
        if (entry->producer_id == producer_id && entry->first_offset <= offset) {
            return true;
        }
        if (entry->last_stable_offset > offset) {
            return false; /* A2 */
        }
    }
    return false;
}

void aborted_cut_start(struct aborted *aborted, int64_t log_start_offset)
{
    size_t index = aborted_search(aborted, log_start_offset);
    if (index == 0) {
        return;
    }
    memmove(&aborted->entries[0], &aborted->entries[index],
            (aborted->count - index) * sizeof(aborted->entries[0]));
    aborted->count -= index;
    if (aborted->count == 0) {
        struct heap *heap = aborted->heap;
        aborted_deinit(aborted);
        aborted_init(aborted, heap);
    }
}
