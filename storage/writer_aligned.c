/* SPDX-License-Identifier: Apache-2.0 */
/* The writers of whole pages: aligned takes all there is, direct one batch. */
#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/planted.h"

/* 1 MiB and the last page: from there on a larger write is hardly faster, and what waits behind it
 * is answered later. Two such writes by turns keep the device busy while answers go out. */
#define WRITE_SLICES_MAX 17
_Static_assert(WRITE_SLICES_MAX <= OP_VECTOR_MAX, "slices of one op");

static int64_t page_floor(int64_t position)
{
    return position / (int64_t)PAGE_SIZE * (int64_t)PAGE_SIZE;
}

/* The last page with its first `size` bytes; sets S2 and S3. `bounce` is its copy, or NULL. */
static void write_last_page(struct write *write, uint8_t *bounce, uint8_t *page, size_t size)
{
    if (bounce == NULL) {
        /* No page to be had: zero the rest in place and keep appends out until the write is done.
         */
        memset(page + size, 0, PAGE_SIZE - size);
        write->frozen = !PLANTED(PAGE_CHANGES);
    } else {
        memcpy(bounce, page, size);
        memset(bounce + size, 0, PAGE_SIZE - size);
        write->bounce = bounce;
        page = bounce;
    }
    write->vector[write->vector_count] = (struct iovec){page, PAGE_SIZE};
    write->vector_count += 1;
}

/* What lies above the durable position, up to `limit`, which is the end or a batch boundary. */
static void write_pages(struct store *store, struct write *write, int64_t limit)
{
    struct segment *segment = write->segment;
    int64_t position = page_floor(segment->durable);
    write->from = position;
    write->vector_count = 0;
    LIST_EACH (&segment->slab, node) {
        struct block *block = LIST_ENTRY(node, struct block, node);
        int64_t start = (int64_t)block->number * BLOCK_SIZE;
        int64_t end = start + block->size;
        if (write->vector_count == WRITE_SLICES_MAX - 1 || position >= limit) {
            break; /* one slice is kept for the last page */
        }
        check(block->state == BLOCK_SLAB && position >= start && position < end);
        int64_t until = limit < end ? limit : end;
        uint8_t *bounce = NULL;
        if (page_floor(until) < until) {
            bounce = PLANTED(PAGE_CHANGES) ? NULL : pages_acquire_page(store->pages, PAGES_SLAB);
            until = bounce == NULL ? end : until; /* zeros in place spare nothing behind them */
        }
        int64_t whole = page_floor(until);
        if (whole > position) {
            write->vector[write->vector_count] =
                (struct iovec){block->memory + (position - start), (size_t)(whole - position)};
            write->vector_count += 1;
        }
        position = whole;
        write->until = until;
        if (whole < until) {
            write_last_page(write, bounce, block->memory + (whole - start),
                            (size_t)(until - whole));
            position = whole + (int64_t)PAGE_SIZE;
            break;
        }
    }
    write->written_until = position;
    check(write->vector_count > 0 && write->until > segment->durable);
    check(write->written_until <= segment->allocated);
}

void writer_aligned_build(struct store *store, struct write *write)
{
    write_pages(store, write, write->segment->size);
}

void writer_direct_build(struct store *store, struct write *write)
{
    struct segment *segment = write->segment;
    struct list_node *node = list_first(&write->partition->pending);
    int64_t limit = segment->size;
    if (node != NULL) {
        /* The oldest batch that is not durable begins where `visible` ends; it may be longer than
         * what the slab holds of it so far. */
        int64_t end =
            segment->visible + (int64_t)LIST_ENTRY(node, struct partition_append, node)->size;
        limit = end < limit ? end : limit;
    }
    write_pages(store, write, limit);
}
