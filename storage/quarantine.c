/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/quarantine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

#define QUARANTINE_TITLE "weir quarantine 1\n"

void quarantine_init(struct quarantine *quarantine, struct heap *heap)
{
    *quarantine = (struct quarantine){.heap = heap};
}

void quarantine_deinit(struct quarantine *quarantine)
{
    heap_release(quarantine->heap, quarantine->ranges,
                 quarantine->room * sizeof(quarantine->ranges[0]));
    quarantine->ranges = NULL;
    quarantine->count = quarantine->room = 0;
}

static bool quarantine_reserve(struct quarantine *quarantine)
{
    if (quarantine->count < quarantine->room) {
        return true;
    }
    if (quarantine->count == QUARANTINE_RANGES_MAX) {
        return false;
    }
    uint32_t room = quarantine->room == 0 ? 4 : quarantine->room * 2;
    size_t unit = sizeof(quarantine->ranges[0]);
    struct quarantine_range *grown = quarantine->room == 0
                                         ? heap_acquire(quarantine->heap, room * unit)
                                         : heap_resize(quarantine->heap, quarantine->ranges,
                                                       quarantine->room * unit, room * unit);
    if (grown == NULL) {
        return false;
    }
    quarantine->ranges = grown;
    quarantine->room = room;
    return true;
}

static void quarantine_remove(struct quarantine *quarantine, uint32_t index)
{
    quarantine->count -= 1;
    memmove(&quarantine->ranges[index], &quarantine->ranges[index + 1],
            (quarantine->count - index) * sizeof(quarantine->ranges[0]));
}

/* Whether `range` lies before `other` with at least one good batch between. */
static bool range_is_before(const struct quarantine_range *range,
                            const struct quarantine_range *other)
{
    return range->base_offset < other->base_offset ||
           (range->base_offset == other->base_offset &&
            range->position_until < other->position_from);
}

static bool range_holds(const struct quarantine_range *range, const struct quarantine_range *other)
{
    return range->base_offset == other->base_offset &&
           range->position_from <= other->position_from &&
           range->position_until >= other->position_until;
}

static void range_widen(struct quarantine_range *range, const struct quarantine_range *other)
{
    if (other->position_from < range->position_from) {
        range->position_from = other->position_from;
        range->offset_from = other->offset_from;
    }
    if (other->position_until > range->position_until) {
        range->position_until = other->position_until;
        range->offset_until = other->offset_until;
    }
}

enum status quarantine_add(struct quarantine *quarantine, const struct quarantine_range *range)
{
    check(range->position_from <= range->position_until &&
          range->offset_from <= range->offset_until);
    struct quarantine_range merged = *range;
    uint32_t index = 0;
    while (index < quarantine->count) {
        const struct quarantine_range *other = &quarantine->ranges[index];
        if (range_holds(other, &merged) && (other->skipped || !merged.skipped)) {
            return STATUS_OK;
        }
        if (range_is_before(other, &merged) || other->skipped != merged.skipped) {
            if (range_is_before(&merged, other)) {
                break;
            }
            index += 1;
            continue;
        }
        if (range_is_before(&merged, other)) {
            break;
        }
        range_widen(&merged, other);
        quarantine_remove(quarantine, index);
    }
    if (!quarantine_reserve(quarantine)) {
        return STATUS_NO_MEMORY;
    }
    memmove(&quarantine->ranges[index + 1], &quarantine->ranges[index],
            (quarantine->count - index) * sizeof(quarantine->ranges[0]));
    quarantine->ranges[index] = merged;
    quarantine->count += 1;
    return STATUS_OK;
}

const struct quarantine_range *quarantine_at_offset(const struct quarantine *quarantine,
                                                    int64_t offset)
{
    for (uint32_t i = 0; i < quarantine->count; i++) {
        const struct quarantine_range *range = &quarantine->ranges[i];
        if (range->offset_from <= offset && offset < range->offset_until) {
            return range;
        }
    }
    return NULL;
}

const struct quarantine_range *quarantine_at_position(const struct quarantine *quarantine,
                                                      int64_t base_offset, int64_t position)
{
    const struct quarantine_range *found = NULL;
    for (uint32_t i = 0; i < quarantine->count; i++) {
        const struct quarantine_range *range = &quarantine->ranges[i];
        if (range->base_offset == base_offset && position < range->position_until &&
            (found == NULL || range->position_from < found->position_from)) {
            found = range;
        }
    }
    return found;
}

int64_t quarantine_cross(const struct quarantine *quarantine, int64_t offset)
{
    for (;;) {
        const struct quarantine_range *range = quarantine_at_offset(quarantine, offset);
        if (range == NULL || !range->skipped) {
            return offset;
        }
        offset = range->offset_until;
    }
}

uint32_t quarantine_skip(struct quarantine *quarantine, int64_t offset_from, int64_t offset_until)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < quarantine->count; i++) {
        struct quarantine_range *range = &quarantine->ranges[i];
        if (!range->skipped && range->offset_from >= offset_from &&
            range->offset_until <= offset_until) {
            range->skipped = true;
            count += 1;
        }
    }
    return count;
}

bool quarantine_refuses(const struct quarantine *quarantine)
{
    for (uint32_t i = 0; i < quarantine->count; i++) {
        if (!quarantine->ranges[i].skipped) {
            return true;
        }
    }
    return false;
}

bool quarantine_cut_start(struct quarantine *quarantine, int64_t base_offset)
{
    uint32_t before = quarantine->count;
    for (uint32_t i = quarantine->count; i > 0; i--) {
        if (quarantine->ranges[i - 1].base_offset < base_offset) {
            quarantine_remove(quarantine, i - 1);
        }
    }
    return quarantine->count < before;
}

bool quarantine_cut_end(struct quarantine *quarantine, int64_t base_offset, int64_t size,
                        int64_t end_offset)
{
    bool changed = false;
    for (uint32_t i = quarantine->count; i > 0; i--) {
        struct quarantine_range *range = &quarantine->ranges[i - 1];
        bool longer = range->base_offset == base_offset && range->position_until > size;
        if (range->offset_from >= end_offset || (longer && range->position_from >= size)) {
            quarantine_remove(quarantine, i - 1);
            changed = true;
        } else if (longer || range->offset_until > end_offset) {
            range->position_until = longer ? size : range->position_until;
            range->offset_until =
                range->offset_until < end_offset ? range->offset_until : end_offset;
            changed = true;
        }
    }
    return changed;
}

/* ---- text ---- */

static void text_put(char *text, size_t size_max, size_t *size, const char *line)
{
    size_t line_size = strlen(line);
    if (*size + line_size <= size_max) {
        memcpy(text + *size, line, line_size);
    }
    *size += line_size;
}

size_t quarantine_encode(const struct quarantine *quarantine, char *text, size_t size_max)
{
    size_t size = 0;
    char line[QUARANTINE_LINE_SIZE];
    text_put(text, size_max, &size, QUARANTINE_TITLE);
    for (uint32_t i = 0; i < quarantine->count; i++) {
        const struct quarantine_range *range = &quarantine->ranges[i];
        snprintf(
            line, sizeof(line), "%s %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n",
            range->skipped ? "skipped" : "quarantined", range->base_offset, range->position_from,
            range->position_until, range->offset_from, range->offset_until);
        text_put(text, size_max, &size, line);
    }
    uint64_t sum = size <= size_max ? hash_bytes(bytes_of(text, size), 0) : 0;
    snprintf(line, sizeof(line), "sum %016" PRIx64 "\n", sum);
    text_put(text, size_max, &size, line);
    return size;
}

/* One line without its end; false: not a range. */
static bool line_decode(const char *line, struct quarantine_range *range)
{
    char state[16];
    int end = 0;
    int got = sscanf(line, "%15s %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 "%n",
                     state, &range->base_offset, &range->position_from, &range->position_until,
                     &range->offset_from, &range->offset_until, &end);
    range->skipped = strcmp(state, "skipped") == 0;
    return got == 6 && line[end] == '\0' && (range->skipped || strcmp(state, "quarantined") == 0) &&
           range->base_offset >= 0 && range->position_from >= 0 &&
           range->position_until >= range->position_from &&
           range->offset_from >= range->base_offset && range->offset_until >= range->offset_from;
}

enum status quarantine_decode(struct quarantine *quarantine, struct bytes text)
{
    struct quarantine decoded;
    quarantine_init(&decoded, quarantine->heap);
    size_t at = strlen(QUARANTINE_TITLE);
    enum status status = STATUS_OK;
    bool summed = false;
    if (text.size < at || memcmp(text.data, QUARANTINE_TITLE, at) != 0) {
        return STATUS_CORRUPT_MESSAGE;
    }
    while (status == STATUS_OK && at < text.size && !summed) {
        const uint8_t *end = memchr(text.data + at, '\n', text.size - at);
        char line[QUARANTINE_LINE_SIZE];
        size_t size = end == NULL ? sizeof(line) : (size_t)(end - (text.data + at));
        struct quarantine_range range;
        uint64_t sum;
        if (size >= sizeof(line)) {
            status = STATUS_CORRUPT_MESSAGE;
            break;
        }
        memcpy(line, text.data + at, size);
        line[size] = '\0';
        if (size == 20 && sscanf(line, "sum %16" SCNx64, &sum) == 1) {
            summed = sum == hash_bytes(bytes_of(text.data, at), 0) && at + size + 1 == text.size;
            status = summed ? STATUS_OK : STATUS_CORRUPT_MESSAGE;
        } else {
            status = line_decode(line, &range) ? quarantine_add(&decoded, &range)
                                               : STATUS_CORRUPT_MESSAGE;
        }
        at += size + 1;
    }
    if (status != STATUS_OK || !summed) {
        quarantine_deinit(&decoded);
        return status == STATUS_OK ? STATUS_CORRUPT_MESSAGE : status;
    }
    quarantine_deinit(quarantine);
    *quarantine = decoded;
    return STATUS_OK;
}
