/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"
#include "storage/segment.h"
#include "storage/store_state.h"
#include "storage/writer.h"

/* S2 holds by itself: appends go behind the bytes of the write, which need no padding. */
void writer_buffered_build(struct store *store, struct write *write)
{
    (void)store;
    struct segment *segment = write->segment;
    int64_t position = segment->durable;
    write->from = position;
    write->vector_count = 0;
    LIST_EACH (&segment->slab, node) {
        struct block *block = LIST_ENTRY(node, struct block, node);
        int64_t start = (int64_t)block->number * BLOCK_SIZE;
        int64_t end = start + block->size;
        check(block->state == BLOCK_SLAB && position >= start && position < end);
        if (write->vector_count == OP_VECTOR_MAX) {
            break;
        }
        write->vector[write->vector_count] =
            (struct iovec){block->memory + (position - start), (size_t)(end - position)};
        write->vector_count += 1;
        position = end;
    }
    write->until = write->written_until = position;
    check(write->vector_count > 0 && write->until > segment->durable);
}
