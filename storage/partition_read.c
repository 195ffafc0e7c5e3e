/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A read is one state machine, run again each time a block it waits for has come:
 *
 *   rows loaded? -> where does the limit lie -> where does the offset lie (header hops)
 *     -> pin or load every block of the range -> all there: slices
 *
 * Whatever is in memory is served without leaving partition_read().
 */
#include <errno.h>

#include "base/check.h"
#include "storage/hops.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/upkeep.h"

#define READ_AHEAD_MIN 4  /* blocks */
#define READ_AHEAD_MAX 32 /* 2 MiB */
#define LOADING_MAX 128   /* blocks of a core on their way: beyond it nothing is read ahead */

struct read_state {
    struct block_waiter waiter;
    struct list_node node; /* partition->reads until done */
    struct store *store;
    struct partition *partition;
    struct partition_read *read;
    struct read_hops hops;
    struct segment *segment; /* held until done */
    int64_t offset;          /* the one asked for, or the end of the gap it lies in */
    int64_t limit_offset;
    int64_t limit;    /* position where readable bytes end; -1 not known yet */
    int64_t position; /* of the first batch; -1 not known yet */
    int64_t end;
    int64_t first_end;     /* of the first batch */
    struct block **blocks; /* pinned; blocks_inline or in list */
    int32_t block_count;
    uint8_t *list; /* a page or a run: slices, then block pointers */
    size_t list_size;
    struct block *blocks_inline[READ_SLICES_INLINE];
};

size_t partition_read_state_size(void)
{
    return sizeof(struct read_state);
}

static void read_release_state(struct read_state *state)
{
    struct store *store = state->store;
    for (int32_t i = 0; i < state->block_count; i++) {
        block_unpin(state->blocks[i]);
    }
    if (state->list != NULL) {
        cache_release_run(store, state->list, state->list_size);
    }
    pool_give(&store->reads, state);
}

void partition_read_release(struct partition *partition, struct partition_read *read)
{
    (void)partition; /* may be gone already: pins belong to the store */
    struct read_state *state = read->state;
    if (state == NULL) {
        return;
    }
    read->state = NULL;
    struct store *store = state->store;
    if (read->aborted != NULL) {
        heap_release(store->heap, read->aborted,
                     (size_t)read->aborted_count * sizeof(read->aborted[0]));
        read->aborted = NULL;
        read->aborted_count = 0;
    }
    read_release_state(state);
}

static void read_end(struct read_state *state, enum status status)
{
    struct partition_read *read = state->read;
    if (status != STATUS_OK) {
        read->slice_count = 0;
        read->size = 0;
    }
    hops_release(&state->hops);
    if (state->segment != NULL) {
        segment_drop(state->segment);
        state->segment = NULL;
    }
    list_remove(&state->node);
    state->partition = NULL;
    read->status = status;
    read->done(read);
}

/* Offset of the first batch known to start at or behind the end of the answer. */
static int64_t read_offset_end(const struct read_state *state)
{
    const struct segment *segment = state->segment;
    for (uint32_t i = (uint32_t)(state->end / BLOCK_SIZE); i < segment->row_count; i++) {
        const struct block_row *row = &segment->rows[i];
        if (row->position != ROW_NONE && row->position >= state->end &&
            row->base_offset < state->limit_offset) {
            return row->base_offset;
        }
    }
    return state->limit_offset;
}

/*
 * The markers of transactions that touch the answer lie in this segment or a later one; a segment
 * at whose end everything below the answer's end was decided is the last to ask. NULL: all are
 * known, else the one whose hint has to come first.
 */
static struct segment *read_aborted_missing(const struct read_state *state, int64_t until)
{
    const struct partition *partition = state->partition;
    int32_t index = partition_segment_of(partition, state->segment->base_offset);
    for (; index >= 0 && index < partition->segment_count; index++) {
        struct segment *segment = partition->segments[index];
        if (!segment->aborted_loaded) {
            return segment;
        }
        if (segment->base_offset >= state->limit_offset || segment->stable_offset >= until) {
            return NULL;
        }
    }
    return NULL;
}

static enum status read_list_aborted(struct read_state *state, int64_t until)
{
    struct partition_read *read = state->read;
    const struct producers *producers = state->partition->producers;
    int32_t count = producers_aborted_list(producers, read->offset, until, NULL, 0);
    if (count == 0) {
        return STATUS_OK;
    }
    struct heap *heap = state->store->heap;
    size_t scratch_size = (size_t)count * sizeof(struct producers_aborted);
    struct producers_aborted *found = heap_acquire(heap, scratch_size);
    struct aborted_transaction *aborted =
        heap_acquire(heap, (size_t)count * sizeof(read->aborted[0]));
    if (found == NULL || aborted == NULL) {
        heap_release(heap, found, scratch_size);
        heap_release(heap, aborted, (size_t)count * sizeof(read->aborted[0]));
        return STATUS_NO_MEMORY;
    }
    (void)producers_aborted_list(producers, read->offset, until, found, count);
    for (int32_t i = 0; i < count; i++) {
        aborted[i] = (struct aborted_transaction){found[i].producer_id, found[i].first_offset};
    }
    heap_release(heap, found, scratch_size);
    read->aborted = aborted;
    read->aborted_count = count;
    return STATUS_OK;
}

static void read_fail_rows(struct read_state *state, struct segment *segment)
{
    bool memory = segment->rows_fault == -ENOMEM;
    segment->rows_fault = 0;
    read_end(state, memory ? STATUS_NO_MEMORY : STATUS_KAFKA_STORAGE_ERROR);
}

static void read_serve(struct read_state *state)
{
    struct partition_read *read = state->read;
    int64_t decided = read->isolation == READ_COMMITTED ? read_offset_end(state) : 0;
    if (read->isolation == READ_COMMITTED) {
        struct segment *missing = read_aborted_missing(state, decided);
        if (missing != NULL && missing->rows_fault != 0) {
            read_fail_rows(state, missing);
            return;
        }
        if (missing != NULL) {
            segment_wait_rows(missing, &state->waiter);
            return;
        }
    }
    struct bytes *slices =
        state->list == NULL ? read->inline_slices : (struct bytes *)(void *)state->list;
    int64_t at = state->position;
    for (int32_t i = 0; i < state->block_count && at < state->end; i++) {
        int64_t start = (int64_t)state->blocks[i]->number * BLOCK_SIZE;
        int64_t until = start + BLOCK_SIZE < state->end ? start + BLOCK_SIZE : state->end;
        check(at >= start && until - start <= state->blocks[i]->size);
        slices[i] = bytes_of(state->blocks[i]->memory + (at - start), (size_t)(until - at));
        at = until;
        read->slice_count = i + 1;
    }
    check(at == state->end);
    read->slices = slices;
    read->size = (size_t)(state->end - state->position);
    read->place = (struct partition_place){true, state->segment->base_offset, state->position};
    state->segment->read_position = state->end;
    enum status status =
        read->isolation == READ_COMMITTED ? read_list_aborted(state, decided) : STATUS_OK;
    read_end(state, status);
}

/* Shortens the answer to what lies before block `index`; false when the first batch needs it. */
static bool read_cut(struct read_state *state, int32_t index)
{
    int64_t first = state->position / BLOCK_SIZE;
    int64_t end = (first + index) * BLOCK_SIZE;
    if (end < state->first_end || index == 0) {
        return false;
    }
    while (state->block_count > index) {
        state->block_count -= 1;
        block_unpin(state->blocks[state->block_count]);
    }
    state->end = end < state->end ? end : state->end;
    return true;
}

/* Room for pointers to `count` blocks and slices. */
static bool read_reserve(struct read_state *state, int32_t count)
{
    state->blocks = state->blocks_inline;
    if (count <= READ_SLICES_INLINE) {
        return true;
    }
    size_t unit = sizeof(struct bytes) + sizeof(struct block *);
    state->list_size =
        ((size_t)count * unit + (size_t)BLOCK_SIZE - 1) / (size_t)BLOCK_SIZE * (size_t)BLOCK_SIZE;
    state->list = cache_acquire_run(state->store, state->list_size);
    if (state->list == NULL) {
        return false;
    }
    state->blocks = (void *)(state->list + (size_t)count * sizeof(struct bytes));
    return true;
}

/*
 * One who reads on finds the next answer under way: as much again is read ahead as he asked for.
 * With a fixed 4 blocks every megabyte waited for 12 of its 16 (765 MB/s where the page cache's
 * own read-ahead made 1,500). Started by a block that was absent, kept up until he stops.
 */
static void read_ahead(struct read_state *state, uint32_t count, bool cold)
{
    struct store *store = state->store;
    struct segment *segment = state->segment;
    uint32_t next = (uint32_t)((state->end - 1) / BLOCK_SIZE) + 1;
    if (!cold && segment->ahead_block < next) {
        return;
    }
    uint32_t ahead = count < READ_AHEAD_MIN ? READ_AHEAD_MIN : count;
    uint32_t until = next + (ahead > READ_AHEAD_MAX ? READ_AHEAD_MAX : ahead);
    if (!cold && segment->ahead_block > next) {
        next = segment->ahead_block;
    }
    while (next < until && (int64_t)(next + 1) * BLOCK_SIZE <= segment->durable &&
           store->cache.loading < LOADING_MAX) {
        if (cache_find(store, segment, next) == NULL && cache_load(store, segment, next) == NULL) {
            break;
        }
        next += 1;
    }
    segment->ahead_block = next;
}

/* Pins all blocks of the range, starting loads of absent ones. */
static enum status read_pin_range(struct read_state *state)
{
    struct store *store = state->store;
    struct segment *segment = state->segment;
    uint32_t first = (uint32_t)(state->position / BLOCK_SIZE);
    uint32_t last = (uint32_t)((state->end - 1) / BLOCK_SIZE);
    if (!read_reserve(state, (int32_t)(last - first + 1))) {
        return STATUS_NO_MEMORY;
    }
    bool cold = false;
    for (uint32_t number = first; number <= last; number++) {
        struct block *block = cache_find(store, segment, number);
        if (block == NULL) {
            block = cache_load(store, segment, number);
            cold = true;
        } else {
            store->counters.cache_hits += 1;
        }
        if (block == NULL) {
            return read_cut(state, (int32_t)(number - first)) ? STATUS_OK : STATUS_NO_MEMORY;
        }
        block_pin(block);
        state->blocks[state->block_count] = block;
        state->block_count += 1;
    }
    if (segment->read_position == state->position ||
        segment->read_position / BLOCK_SIZE == (int64_t)first) {
        read_ahead(state, last - first + 1, cold);
    } else {
        segment->ahead_block = 0;
    }
    return STATUS_OK;
}

/* Waits for the next block that is still under way; all there: serves. */
static void read_gather(struct read_state *state)
{
    for (int32_t i = 0; i < state->block_count; i++) {
        struct block *block = state->blocks[i];
        if (block->state == BLOCK_LOADING) {
            block_wait(block, &state->waiter);
            return;
        }
        if (block->state == BLOCK_FAILED) {
            enum status fault = block->fault;
            if (!read_cut(state, i)) {
                read_end(state, fault);
                return;
            }
        }
    }
    read_serve(state);
}

/* What a verdict other than FOUND means; true: the state machine goes on later or has ended. */
static bool read_waits(struct read_state *state, enum segment_verdict verdict,
                       const struct segment_cursor *cursor)
{
    if (verdict == SEGMENT_NEEDS) {
        enum status status =
            hops_bring(&state->hops, state->segment, cursor->number, &state->waiter);
        if (status != STATUS_OK) {
            read_end(state, status);
        }
        return true;
    }
    if (verdict == SEGMENT_CORRUPT) {
        read_end(state, STATUS_CORRUPT_MESSAGE);
        return true;
    }
    return false;
}

/* Position where the readable bytes of this segment end. */
static bool read_find_limit(struct read_state *state)
{
    struct partition *partition = state->partition;
    struct segment *segment = state->segment;
    if (state->limit >= 0) {
        return true;
    }
    if (state->limit_offset >= segment->end_offset ||
        state->limit_offset == partition->high_watermark) {
        state->limit = PLANTED(READ_ABOVE) ? segment->size : segment->visible;
        return true;
    }
    struct segment_cursor cursor = {0};
    enum segment_verdict verdict =
        segment_find(segment, state->limit_offset, segment->visible, &cursor);
    if (read_waits(state, verdict, &cursor)) {
        return false;
    }
    state->limit = cursor.position;
    return true;
}

static void read_step(struct read_state *state);

static void read_ready(struct block_waiter *waiter)
{
    read_step(CONTAINER_OF(waiter, struct read_state, waiter));
}

/* The log has a gap here (compacted, or given up): on with the next segment. */
static bool read_next_segment(struct read_state *state)
{
    struct partition *partition = state->partition;
    struct segment *segment = state->segment;
    int32_t index = partition_segment_of(partition, segment->base_offset) + 1;
    if (index >= partition->segment_count ||
        partition->segments[index]->base_offset >= state->limit_offset) {
        read_end(state, STATUS_OK);
        return false;
    }
    state->segment = partition->segments[index];
    segment_hold(state->segment);
    segment_drop(segment);
    state->limit = -1;
    return true;
}

/* What is refused or given up ends the answer before it. */
static void read_clip(struct read_state *state)
{
    const struct quarantine *quarantine = &state->partition->quarantine;
    if (quarantine->count == 0) {
        return;
    }
    const struct quarantine_range *range =
        quarantine_at_position(quarantine, state->segment->base_offset, state->first_end);
    if (range != NULL && range->position_from < state->end) {
        state->end =
            range->position_from < state->first_end ? state->first_end : range->position_from;
    }
}

/* Finds the first batch and the end of the answer. */
static bool read_locate(struct read_state *state)
{
    struct partition_read *read = state->read;
    if (!read_find_limit(state)) {
        return false;
    }
    struct segment_cursor cursor = {0};
    enum segment_verdict verdict =
        segment_find(state->segment, state->offset, state->limit, &cursor);
    if (read_waits(state, verdict, &cursor)) {
        return false;
    }
    if (verdict == SEGMENT_END) {
        if (read_next_segment(state)) {
            read_step(state);
        }
        return false;
    }
    int64_t size = (int64_t)cursor.header.batch_length + BATCH_PREFIX_SIZE;
    state->position = cursor.position;
    state->first_end = cursor.position + size;
    if (size > (int64_t)read->size_max && !read->first_whole) {
        read_end(state, STATUS_OK);
        return false;
    }
    int64_t wanted = size > (int64_t)read->size_max ? size : (int64_t)read->size_max;
    int64_t end = state->position + wanted;
    state->end = end < state->limit ? end : state->limit;
    read_clip(state);
    hops_release(&state->hops);
    enum status status = read_pin_range(state);
    if (status != STATUS_OK) {
        read_end(state, status);
        return false;
    }
    return true;
}

static void read_step(struct read_state *state)
{
    struct partition *partition = state->partition;
    if (partition->removing || partition->closing || partition->broken ||
        state->segment->partition == NULL) {
        read_end(state, partition->removing ? STATUS_UNKNOWN_TOPIC_OR_PARTITION
                                            : STATUS_KAFKA_STORAGE_ERROR);
        return;
    }
    if (!segment_is_listed(state->segment)) {
        /* Retention took it meanwhile, and what was known of its aborted transactions with it. */
        state->read->log_start_offset = partition->log_start_offset;
        read_end(state, STATUS_OFFSET_OUT_OF_RANGE);
        return;
    }
    if (!state->segment->rows_loaded) {
        if (state->segment->rows_fault != 0) {
            read_fail_rows(state, state->segment);
            return;
        }
        segment_wait_rows(state->segment, &state->waiter);
        return;
    }
    state->segment->rows_used = 2;
    if (state->position < 0 && !read_locate(state)) {
        return;
    }
    read_gather(state);
}

/* An answer that needs no segment. */
static void read_answer(struct partition_read *read, enum status status)
{
    read->status = status;
    read->done(read);
}

void partition_read(struct partition *partition, struct partition_read *read)
{
    check_magic(partition, PARTITION_MAGIC);
    struct store *store = partition->store;
    read->state = NULL;
    read->slices = read->inline_slices;
    read->slice_count = 0;
    read->size = 0;
    read->place.known = false;
    read->aborted = NULL;
    read->aborted_count = 0;
    read->high_watermark = partition->high_watermark;
    read->log_start_offset = partition->log_start_offset;
    if (partition->removing || partition->broken || partition->closing) {
        read->last_stable_offset = partition->high_watermark;
        read_answer(read, partition->removing ? STATUS_UNKNOWN_TOPIC_OR_PARTITION
                                              : STATUS_KAFKA_STORAGE_ERROR);
        return;
    }
    read->last_stable_offset = partition_last_stable(partition);
    int64_t offset = quarantine_cross(&partition->quarantine, read->offset);
    if (read->offset < partition->log_start_offset || read->offset > partition->end_offset) {
        read_answer(read, STATUS_OFFSET_OUT_OF_RANGE);
        return;
    }
    int64_t limit =
        read->isolation == READ_COMMITTED ? read->last_stable_offset : read->high_watermark;
    if (offset >= limit) {
        read_answer(read, STATUS_OK);
        return;
    }
    if (quarantine_at_offset(&partition->quarantine, offset) != NULL) {
        read_answer(read, STATUS_CORRUPT_MESSAGE);
        return;
    }
    struct read_state *state = pool_take(&store->reads);
    if (state == NULL) {
        read_answer(read, STATUS_NO_MEMORY);
        return;
    }
    read->state = state;
    state->store = store;
    state->partition = partition;
    state->read = read;
    state->waiter.ready = read_ready;
    state->offset = offset;
    state->limit_offset = limit;
    state->limit = state->position = -1;
    state->blocks = state->blocks_inline;
    state->segment = partition->segments[partition_segment_of(partition, offset)];
    segment_hold(state->segment);
    list_push_tail(&partition->reads, &state->node);
    read_step(state);
}
