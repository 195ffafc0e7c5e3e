/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for bytes: parked fetches. */
#include "base/check.h"
#include "storage/partition_state.h"

/* Of what is not known it is enough that it is much: a read that finds less is answered. */
#define WATCH_UNKNOWN_SIZE INT64_C(1073741824)
#define WATCH_SIZE_MAX INT64_C(4294967296)

/* Where `offset` lies in its segment, or up to a block before that. */
static struct partition_place place_below(const struct partition *partition, int32_t index,
                                          int64_t offset)
{
    const struct segment *segment = partition->segments[index];
    struct partition_place place = {.base_offset = segment->base_offset};
    if (offset == partition->high_watermark) {
        place.position = segment->visible;
        place.known = true;
        return place;
    }
    if (segment->rows_loaded) {
        int32_t row = segment_row_of(segment, offset);
        place.position = row < 0 ? 0 : segment->rows[row].position;
    }
    if (segment->hint_offset >= 0 && segment->hint_offset <= offset &&
        segment->hint_position > place.position) {
        place.position = segment->hint_position;
        place.known = segment->hint_offset == offset;
    }
    return place;
}

/* Where the readable bytes end in the segment of the limit, or up to a block behind that. */
static int64_t position_above(const struct partition *partition, int32_t index, int64_t limit)
{
    const struct segment *segment = partition->segments[index];
    if (limit == partition->high_watermark || !segment->rows_loaded) {
        return segment->visible;
    }
    int32_t row = segment_row_of(segment, limit);
    bool exact = row >= 0 && segment->rows[row].base_offset == limit;
    for (uint32_t i = (uint32_t)(exact ? row : row + 1); i < segment->row_count; i++) {
        if (segment->rows[i].position != ROW_NONE) {
            int64_t position = segment->rows[i].position;
            return position < segment->visible ? position : segment->visible;
        }
    }
    return segment->visible;
}

static uint64_t readable_size(const struct partition *partition,
                              const struct partition_watch *watch)
{
    int64_t limit = partition_limit(partition, watch->isolation);
    if (watch->offset >= limit) {
        return 0;
    }
    int64_t start = partition->log_start_offset;
    int64_t first = watch->offset < start ? start : watch->offset;
    first = quarantine_cross(&partition->quarantine, first);
    if (first >= limit) {
        return 0;
    }
    int32_t index = partition_segment_of(partition, first);
    int32_t last = partition_segment_of(partition, limit);
    bool placed = watch->place.known && first == watch->offset &&
                  watch->place.base_offset == partition->segments[index]->base_offset;
    int64_t size =
        -(placed ? watch->place.position : place_below(partition, index, first).position);
    for (; index < last && size < WATCH_SIZE_MAX; index++) {
        const struct segment *segment = partition->segments[index];
        size += segment->known ? segment->size : WATCH_UNKNOWN_SIZE;
    }
    size += position_above(partition, last, limit);
    return size > 0 ? (uint64_t)size : 1;
}

static bool watch_holds(const struct partition *partition, const struct partition_watch *watch)
{
    return partition->broken || partition->removing || partition->closing ||
           partition->state == PARTITION_FAILED ||
           readable_size(partition, watch) >= watch->size_wanted;
}

void partition_watch_add(struct partition *partition, struct partition_watch *watch)
{
    check_magic(partition, PARTITION_MAGIC);
    list_node_init(&watch->node);
    int32_t index = partition_segment_of(partition, watch->offset);
    if (!watch->place.known && index >= 0) {
        watch->place = place_below(partition, index, watch->offset); /* later it is not the end */
    }
    if (watch_holds(partition, watch)) {
        watch->fire(watch);
        return;
    }
    list_push_tail(&partition->watches, &watch->node);
}

void partition_watch_remove(struct partition_watch *watch)
{
    if (list_is_linked(&watch->node)) {
        list_remove(&watch->node);
    }
}

void partition_fire_watches(struct partition *partition, bool all)
{
    /* Those that hold move to a list first: firing may add and remove watches. */
    struct list fired;
    list_init(&fired);
    LIST_EACH (&partition->watches, node) {
        struct partition_watch *watch = LIST_ENTRY(node, struct partition_watch, node);
        if (all || watch_holds(partition, watch)) {
            list_remove(node);
            list_push_tail(&fired, node);
        }
    }
    for (;;) {
        struct list_node *node = list_pop_head(&fired);
        if (node == NULL) {
            return;
        }
        struct partition_watch *watch = LIST_ENTRY(node, struct partition_watch, node);
        watch->fire(watch);
    }
}
