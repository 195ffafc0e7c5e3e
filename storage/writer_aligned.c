/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"
#include "storage/segment.h"
#include "storage/store_state.h"
#include "storage/writer.h"

static int64_t page_floor(int64_t position)
{
    return position / (int64_t)PAGE_SIZE * (int64_t)PAGE_SIZE;
}

/* The last page with its first `size` bytes; sets S2 and S3. */
static void write_last_page(struct store *store, struct write *write, uint8_t *page, size_t size)
{
    uint8_t *bounce = pages_acquire_page(store->pages, PAGES_SLAB);
    if (bounce == NULL) {
        /* No page to be had: zero the rest in place and keep appends out until the write is done.
         */
        memset(page + size, 0, PAGE_SIZE - size);
        write->frozen = true;
    } else {
        memcpy(bounce, page, size);
        memset(bounce + size, 0, PAGE_SIZE - size);
        write->bounce = bounce;
        page = bounce;
    }
    write->vector[write->vector_count] = (struct iovec){page, PAGE_SIZE};
    write->vector_count += 1;
}

void writer_aligned_build(struct store *store, struct write *write)
{
    struct segment *segment = write->segment;
    int64_t position = page_floor(segment->durable);
    write->from = position;
    write->vector_count = 0;
    LIST_EACH (&segment->slab, node) {
        struct block *block = LIST_ENTRY(node, struct block, node);
        int64_t start = (int64_t)block->number * BLOCK_SIZE;
        int64_t end = start + block->size;
        check(block->state == BLOCK_SLAB && position >= start && position < end);
        if (write->vector_count == OP_VECTOR_MAX - 1) {
            break; /* one slice is kept for the last page */
        }
        int64_t whole = page_floor(end);
        if (whole > position) {
            write->vector[write->vector_count] =
                (struct iovec){block->memory + (position - start), (size_t)(whole - position)};
            write->vector_count += 1;
        }
        position = whole;
        write->until = end;
        if (whole < end) {
            write_last_page(store, write, block->memory + (whole - start), (size_t)(end - whole));
            position = whole + (int64_t)PAGE_SIZE;
            break; /* only the last block is partly filled */
        }
    }
    write->written_until = position;
    check(write->vector_count > 0 && write->until > segment->durable);
    check(write->written_until <= segment->allocated);
}
