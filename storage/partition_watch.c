/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for bytes: parked fetches. */
#include "base/check.h"
#include "storage/partition_state.h"

/* Of what is not known it is enough that it is much: a read that finds less is answered. */
#define WATCH_UNKNOWN_SIZE INT64_C(1073741824)
#define WATCH_SIZE_MAX INT64_C(4294967296)

/* Where `offset` lies in its segment, exact to one block; rows that are not loaded count as none.
 */
static int64_t watch_position(const struct partition *partition, int32_t index, int64_t offset)
{
    const struct segment *segment = partition->segments[index];
    int64_t position = 0;
    if (offset == partition->high_watermark) {
        return segment->visible;
    }
    if (segment->rows_loaded) {
        int32_t row = segment_row_of(segment, offset);
        position = row < 0 ? 0 : segment->rows[row].position;
    }
    if (segment->hint_offset >= 0 && segment->hint_offset <= offset &&
        segment->hint_position > position) {
        position = segment->hint_position;
    }
    return position;
}

uint64_t partition_readable_size(const struct partition *partition, int64_t offset,
                                 enum partition_isolation isolation)
{
    int64_t limit = partition_limit(partition, isolation);
    if (offset >= limit) {
        return 0;
    }
    int64_t first = offset < partition->log_start_offset ? partition->log_start_offset : offset;
    first = quarantine_cross(&partition->quarantine, first);
    if (first >= limit) {
        return 0;
    }
    int32_t index = partition_segment_of(partition, first);
    int32_t last = partition_segment_of(partition, limit);
    int64_t size = -watch_position(partition, index, first);
    for (; index < last && size < WATCH_SIZE_MAX; index++) {
        const struct segment *segment = partition->segments[index];
        size += segment->known ? segment->size : WATCH_UNKNOWN_SIZE;
    }
    size += watch_position(partition, last, limit);
    return size > 0 ? (uint64_t)size : 1;
}

static bool watch_holds(const struct partition *partition, const struct partition_watch *watch)
{
    return partition->broken || partition->removing || partition->closing ||
           partition->state == PARTITION_FAILED ||
           partition_readable_size(partition, watch->offset, watch->isolation) >=
               watch->size_wanted;
}

void partition_watch_add(struct partition *partition, struct partition_watch *watch)
{
    check_magic(partition, PARTITION_MAGIC);
    list_node_init(&watch->node);
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
