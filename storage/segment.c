/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/segment.h"

#include <errno.h>

#include "base/check.h"
#include "storage/hint_reader.h"
#include "storage/key_build.h"
#include "storage/keyed.h"
#include "storage/partition_state.h"
#include "storage/rebuild.h"
#include "storage/store_state.h"
#include "storage/tail.h"
#include "storage/tend.h"

#define ROWS_ROOM_FIRST 64

struct segment *segment_open(struct store *store, struct partition *partition, int64_t base_offset)
{
    struct segment *segment = heap_acquire(store->heap, sizeof(*segment));
    if (segment == NULL) {
        return NULL;
    }
    *segment = (struct segment){
        .magic = SEGMENT_MAGIC,
        .store = store,
        .partition = partition,
        .instance = store->instance_next++,
        .holders = 1,
        .base_offset = base_offset,
        .end_offset = base_offset,
        .timestamp_first = -1,
        .timestamp_max = -1,
        .timestamp_visible = -1,
        .hint_offset = -1,
        .read_position = -1,
        .producers_none_offset = -1,
        .known = true,
        .aborted_loaded = true,
    };
    file_init(&segment->file);
    list_init(&segment->slab);
    list_init(&segment->rows_waiters);
    list_init(&segment->keys_waiters);
    return segment;
}

void segment_hold(struct segment *segment)
{
    check_magic(segment, SEGMENT_MAGIC);
    segment->holders += 1;
}

void segment_unload_rows(struct segment *segment)
{
    heap_release(segment->store->heap, segment->rows, segment->row_room * sizeof(segment->rows[0]));
    segment->rows = NULL;
    segment->row_count = segment->row_room = 0;
    segment->rows_loaded = false;
}

void segment_close_keys(struct segment *segment)
{
    if (segment->keyed != NULL) {
        keyed_close(segment->keyed);
        segment->keyed = NULL;
        segment->store->key_indexes -= 1;
    }
}

void segment_drop(struct segment *segment)
{
    check_magic(segment, SEGMENT_MAGIC);
    check(segment->holders > 0);
    segment->holders -= 1;
    if (segment->holders > 0) {
        return;
    }
    struct store *store = segment->store;
    check(list_is_empty(&segment->slab) && list_is_empty(&segment->file.waiters));
    check(segment->file.users == 0);
    file_condemn(store, segment);
    if (list_is_linked(&segment->file.node)) {
        list_remove(&segment->file.node);
    }
    segment_unload_rows(segment);
    segment_close_keys(segment);
    segment->magic = 0;
    heap_release(store->heap, segment, sizeof(*segment));
}

uint64_t segment_seed_of(const struct uuid *topic_id, int32_t index, int64_t base_offset,
                         uint32_t number)
{
    uint8_t key[32];
    memcpy(key, topic_id->bytes, 16);
    put_be32(key + 16, (uint32_t)index);
    put_be64(key + 20, (uint64_t)base_offset);
    put_be32(key + 28, number);
    return hash_bytes(bytes_of(key, sizeof(key)), 0);
}

uint64_t segment_seed(const struct segment *segment, uint32_t number)
{
    const struct partition *partition = segment->partition;
    return segment_seed_of(&partition->topic_id, partition->index, segment->base_offset, number);
}

uint64_t segment_sum(const struct segment *segment, uint32_t number, const uint8_t *data,
                     size_t size)
{
    return hash_bytes(bytes_of(data, size), segment_seed(segment, number));
}

bool segment_reserve_rows(struct segment *segment, int64_t size)
{
    uint32_t needed = (uint32_t)((size + BLOCK_SIZE - 1) / BLOCK_SIZE);
    if (needed <= segment->row_room) {
        return true;
    }
    uint32_t room = segment->row_room == 0 ? ROWS_ROOM_FIRST : segment->row_room;
    while (room < needed) {
        room *= 2;
    }
    size_t unit = sizeof(segment->rows[0]);
    struct heap *heap = segment->store->heap;
    struct block_row *rows =
        segment->rows == NULL
            ? heap_acquire(heap, room * unit)
            : heap_resize(heap, segment->rows, segment->row_room * unit, room * unit);
    if (rows == NULL) {
        return false;
    }
    segment->rows = rows;
    segment->row_room = room;
    return true;
}

void segment_note_batch(struct segment *segment, int64_t position,
                        const struct batch_header *header, int64_t size)
{
    uint32_t first = (uint32_t)(position / BLOCK_SIZE);
    uint32_t last = (uint32_t)((position + size - 1) / BLOCK_SIZE);
    check(last < segment->row_room);
    if (header->max_timestamp > segment->timestamp_max) {
        segment->timestamp_max = header->max_timestamp;
    }
    if (position == 0) {
        segment->timestamp_first = header->base_timestamp;
    }
    while (segment->row_count <= last) {
        segment->rows[segment->row_count] = (struct block_row){
            .position = ROW_NONE,
            .flags = segment->rows[segment->row_count].flags & ROW_SUMMED,
            .sum = segment->rows[segment->row_count].sum,
        };
        segment->row_count += 1;
    }
    for (uint32_t number = first; number <= last; number++) {
        segment->rows[number].timestamp_max = segment->timestamp_max;
    }
    struct block_row *row = &segment->rows[first];
    if (row->position == ROW_NONE) {
        row->position = (uint32_t)position;
        row->base_offset = header->base_offset;
    }
    segment->end_offset = batch_last_offset(header) + 1;
}

void segment_cut_rows(struct segment *segment, int64_t size)
{
    uint32_t count = (uint32_t)((size + BLOCK_SIZE - 1) / BLOCK_SIZE);
    check(count <= segment->row_room);
    for (uint32_t number = count; number < segment->row_room; number++) {
        segment->rows[number] = (struct block_row){0};
    }
    if (segment->row_count > count) {
        segment->row_count = count;
    }
    if (count > 0) {
        struct block_row *row = &segment->rows[count - 1];
        if (size % BLOCK_SIZE != 0) {
            row->flags &= ~ROW_SUMMED;
        }
        if (row->position != ROW_NONE && row->position >= size) {
            row->position = ROW_NONE;
        }
    }
}

bool segment_is_listed(const struct segment *segment)
{
    const struct partition *partition = segment->partition;
    int32_t index = partition == NULL ? -1 : partition_segment_of(partition, segment->base_offset);
    return index >= 0 && partition->segments[index] == segment;
}

static void wake(struct list *waiting)
{
    struct list waiters;
    list_init(&waiters);
    list_splice_tail(&waiters, waiting);
    for (;;) {
        struct list_node *node = list_pop_head(&waiters);
        if (node == NULL) {
            return;
        }
        struct block_waiter *waiter = LIST_ENTRY(node, struct block_waiter, node);
        waiter->ready(waiter);
    }
}

void segment_wake_keys(struct segment *segment, int64_t fault)
{
    segment->keys_fault = fault;
    wake(&segment->keys_waiters);
}

void segment_wait_keys(struct segment *segment, struct block_waiter *waiter)
{
    list_push_tail(&segment->keys_waiters, &waiter->node);
    tend_start(segment->partition);
    key_build_start(segment->partition, false);
}

void segment_note_keys(struct segment *segment, bool there)
{
    segment->keys = there && !segment->keys_damaged ? SEGMENT_KEYS_THERE : SEGMENT_KEYS_ABSENT;
    if (segment->keys_instance == 0) {
        segment->keys_instance = segment->store->instance_next++;
    }
}

void segment_lose_keys(struct segment *segment)
{
    segment->keys_damaged = true;
    segment->keys = SEGMENT_KEYS_ABSENT;
}

void segment_keys_written(struct segment *segment, bool there)
{
    segment->keys_damaged = false;
    segment->keys_instance = 0;
    segment_note_keys(segment, there);
    segment->keyed_lent = false;
    segment_close_keys(segment);
    segment->key_index = false;
    if (there) {
        segment->keys_refused = false;
        segment_wake_keys(segment, 0);
    }
}

void segment_wake_rows(struct segment *segment)
{
    wake(&segment->rows_waiters);
}

/* Starts a job that ends in ended(); the segment is held meanwhile. */
static void segment_load(struct segment *segment, struct job *job,
                         void (*ended)(struct job *job, int64_t result))
{
    if (job == NULL) {
        segment->rows_fault = -ENOMEM;
        segment_wake_rows(segment);
        return;
    }
    segment->rows_loading = true;
    segment->rows_fault = 0;
    job->owner = segment;
    job->ended = ended;
    segment_hold(segment);
    job->run(job);
}

void segment_lose_aborted(struct segment *segment)
{
    struct partition *partition = segment->partition;
    segment->aborted_lost = true;
    if (!list_is_linked(&partition->broken_node)) {
        list_push_tail(&segment->store->broken, &partition->broken_node);
        store_arm(segment->store, ring_now_ns(segment->store->ring));
    }
}

static void segment_rebuilt(struct job *job, int64_t result)
{
    struct segment *segment = job->owner;
    struct partition *partition = job->partition;
    segment->rows_loading = false;
    segment->rows_fault = result;
    if (result == -EBADMSG && segment_is_listed(segment)) {
        segment->rows_fault = 0;
        segment_lose_aborted(segment); /* who waits for them waits again */
    }
    segment_wake_rows(segment);
    segment_drop(segment);
    tend_start(partition);
}

static void segment_rows_loaded(struct job *job, int64_t result)
{
    struct segment *segment = job->owner;
    segment->rows_loading = false;
    segment->rows_fault = result;
    /* One that retention took meanwhile is not scanned: its readers are told. */
    if ((result == -EBADMSG || result == -ENOENT) && segment_is_listed(segment)) {
        segment_load(segment, rebuild_job(segment), segment_rebuilt);
    } else {
        segment_wake_rows(segment);
    }
    segment_drop(segment);
}

/* Whether an upkeep will come: not for a segment that is gone, and not while the partition is
 * drained for a reload, a close or a removal, because that waits for those who wait. */
static bool segment_is_served(const struct segment *segment)
{
    const struct partition *partition = segment->partition;
    return segment_is_listed(segment) && !partition->broken && !partition->stopping &&
           !partition->removing;
}

void segment_wait_rows(struct segment *segment, struct block_waiter *waiter)
{
    check(!segment->rows_loaded || !segment->aborted_loaded);
    list_push_tail(&segment->rows_waiters, &waiter->node);
    if (segment->aborted_lost && !segment_is_served(segment)) {
        segment->rows_fault = -EIO;
        segment_wake_rows(segment);
        return;
    }
    if (segment->aborted_lost) {
        segment_lose_aborted(segment);
    }
    if (segment->rows_loading || segment->aborted_lost) {
        return;
    }
    struct job *job = NULL;
    if (segment->partition != NULL) {
        job = segment->hinted ? hint_read_job(segment, HINT_TABLE) : tail_read_job(segment);
    }
    segment_load(segment, job, segment_rows_loaded);
}

int32_t segment_row_of(const struct segment *segment, int64_t offset)
{
    /* Rows without a start are skipped towards the front: they take the start before them. */
    int32_t low = 0;
    int32_t high = (int32_t)segment->row_count;
    int32_t found = -1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        int32_t probe = middle;
        while (probe >= low && segment->rows[probe].position == ROW_NONE) {
            probe -= 1;
        }
        if (probe < low) {
            low = middle + 1;
        } else if (segment->rows[probe].base_offset <= offset) {
            found = probe;
            low = middle + 1;
        } else {
            high = probe;
        }
    }
    return found;
}

bool segment_header_is_sane(const struct batch_header *header)
{
    return header->magic == BATCH_MAGIC &&
           header->batch_length >= BATCH_HEADER_SIZE - BATCH_PREFIX_SIZE &&
           header->base_offset >= 0 && header->last_offset_delta >= 0 && header->count >= 0 &&
           header->last_offset_delta >= header->count - 1 &&
           header->base_offset <= INT64_MAX - 1 - header->last_offset_delta &&
           (header->attributes & BATCH_CODEC_MASK) <= 4;
}

/* Copies `size` bytes that may lie in two blocks. */
static enum segment_verdict segment_gather(struct segment *segment, struct segment_cursor *cursor,
                                           uint8_t *target, size_t size)
{
    int64_t position = cursor->position;
    while (size > 0) {
        uint32_t number = (uint32_t)(position / BLOCK_SIZE);
        struct block *block = cache_find(segment->store, segment, number);
        if (block == NULL || block->state == BLOCK_LOADING) {
            cursor->number = number;
            return SEGMENT_NEEDS;
        }
        size_t within = (size_t)(position % BLOCK_SIZE);
        size_t part = (size_t)BLOCK_SIZE - within;
        part = part > size ? size : part;
        check(within + part <= block->size);
        memcpy(target, block->memory + within, part);
        target += part;
        size -= part;
        position += (int64_t)part;
    }
    return SEGMENT_FOUND;
}

/* Passes over gaps, and refused ranges that the search does not end in. False: it does. */
static bool segment_cross(const struct segment *segment, struct segment_cursor *cursor)
{
    const struct partition *partition = segment->partition;
    if (partition == NULL || partition->quarantine.count == 0) {
        return true;
    }
    for (;;) {
        const struct quarantine_range *range =
            quarantine_at_position(&partition->quarantine, segment->base_offset, cursor->position);
        if (range == NULL || range->position_from > cursor->position) {
            return true;
        }
        if (!range->skipped && range->offset_until > cursor->offset_wanted) {
            return false;
        }
        cursor->position = range->position_until;
    }
}

enum segment_verdict segment_header_at(struct segment *segment, struct segment_cursor *cursor,
                                       int64_t limit)
{
    if (!segment_cross(segment, cursor)) {
        return SEGMENT_CORRUPT;
    }
    if (cursor->position >= limit) { /* a row may name a batch that is not visible yet */
        return SEGMENT_END;
    }
    if (cursor->position + BATCH_HEADER_SIZE > limit) {
        return SEGMENT_CORRUPT;
    }
    uint8_t data[BATCH_HEADER_SIZE];
    enum segment_verdict verdict = segment_gather(segment, cursor, data, sizeof(data));
    if (verdict != SEGMENT_FOUND) {
        return verdict;
    }
    batch_header_decode(&cursor->header, data);
    if (!segment_header_is_sane(&cursor->header) ||
        cursor->position + batch_size_of(data) > limit) {
        return SEGMENT_CORRUPT;
    }
    return SEGMENT_FOUND;
}

#define MARK_SIZE (BLOCK_SIZE / BLOCK_MARKS)

/* The batch under the cursor is one to begin with, when it is the first one met in its page. */
static void segment_mark(struct segment *segment, const struct segment_cursor *cursor)
{
    uint32_t number = (uint32_t)(cursor->position / BLOCK_SIZE);
    int64_t within = cursor->position % BLOCK_SIZE;
    const struct block_row *row = &segment->rows[number];
    struct block *block = cache_find(segment->store, segment, number);
    if (block == NULL || row->position == ROW_NONE || (int64_t)row->position > cursor->position) {
        return;
    }
    int64_t delta = cursor->header.base_offset - row->base_offset;
    struct block_mark *mark = &block->marks[within / MARK_SIZE];
    if (mark->within == 0 && delta >= 0 && delta <= UINT32_MAX) {
        *mark = (struct block_mark){(uint32_t)delta, (uint16_t)within};
    }
}

/* Position of the last marked batch of a row's block that begins at or before the offset. */
static int64_t segment_marked(struct segment *segment, int32_t index, int64_t offset)
{
    const struct block_row *row = &segment->rows[index];
    const struct block *block = cache_find(segment->store, segment, (uint32_t)index);
    for (int i = BLOCK_MARKS; block != NULL && i-- > 0;) {
        const struct block_mark *mark = &block->marks[i];
        if (mark->within != 0 && row->base_offset + mark->delta <= offset) {
            return index * BLOCK_SIZE + mark->within;
        }
    }
    return row->position;
}

enum segment_verdict segment_find(struct segment *segment, int64_t offset, int64_t limit,
                                  struct segment_cursor *cursor)
{
    check(segment->rows_loaded);
    int32_t index = segment_row_of(segment, offset);
    cursor->offset_wanted = offset;
    cursor->position = index < 0 ? 0 : segment_marked(segment, index, offset);
    int64_t page = cursor->position / MARK_SIZE;
    if (segment->hint_offset >= 0 && segment->hint_offset <= offset &&
        segment->hint_position > cursor->position && segment->hint_position <= limit) {
        cursor->position = segment->hint_position;
    }
    for (;;) {
        enum segment_verdict verdict = segment_header_at(segment, cursor, limit);
        if (verdict != SEGMENT_FOUND) {
            return verdict;
        }
        if (cursor->position / MARK_SIZE != page) {
            page = cursor->position / MARK_SIZE;
            segment_mark(segment, cursor);
        }
        if (batch_last_offset(&cursor->header) >= offset) {
            return SEGMENT_FOUND;
        }
        cursor->position += cursor->header.batch_length + BATCH_PREFIX_SIZE;
    }
}
