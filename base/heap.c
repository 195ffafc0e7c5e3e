/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define HEAP_MAGIC UINT64_C(0x68656170626c6f63)

/* In front of every block: the size it was acquired with, so that a release with another size is
 * caught where it happens. 16 bytes keep malloc's alignment. */
struct heap_header {
    uint64_t magic;
    uint64_t size;
};

_Static_assert(sizeof(struct heap_header) == 16, "blocks stay aligned to 16");

void heap_init(struct heap *heap, size_t size_max)
{
    *heap = (struct heap){.size_max = size_max};
}

void heap_deinit(struct heap *heap)
{
    check(heap->size == 0);
}

static bool heap_charge(struct heap *heap, size_t size)
{
    size_t charge;
    if (__builtin_add_overflow(size, sizeof(struct heap_header), &charge) ||
        charge > heap->size_max - heap->size) {
        return false;
    }
    heap->size += charge;
    if (heap->size > heap->size_peak) {
        heap->size_peak = heap->size;
    }
    return true;
}

static void heap_discharge(struct heap *heap, size_t size)
{
    size_t charge = size + sizeof(struct heap_header);
    check(heap->size >= charge);
    heap->size -= charge;
}

static struct heap_header *heap_header_of(void *block, size_t size)
{
    struct heap_header *header = (struct heap_header *)block - 1;
    check(header->magic == HEAP_MAGIC);
    check(header->size == size);
    return header;
}

void *heap_acquire(struct heap *heap, size_t size)
{
    if (!heap_charge(heap, size)) {
        return NULL;
    }
    struct heap_header *header = calloc(1, sizeof(*header) + size);
    if (header == NULL) {
        heap_discharge(heap, size);
        return NULL;
    }
    heap->calls += 1;
    header->magic = HEAP_MAGIC;
    header->size = size;
    return header + 1;
}

void heap_release(struct heap *heap, void *block, size_t size)
{
    if (block == NULL) {
        return;
    }
    struct heap_header *header = heap_header_of(block, size);
    header->magic = 0;
    heap_discharge(heap, size);
    free(header);
}

void *heap_resize(struct heap *heap, void *block, size_t size_old, size_t size_new)
{
    if (block == NULL) {
        check(size_old == 0);
        return heap_acquire(heap, size_new);
    }
    struct heap_header *header = heap_header_of(block, size_old);
    /* Only the growth is charged: realloc() may hold both copies for a moment, the owner never. */
    size_t growth = size_new > size_old ? size_new - size_old : 0;
    if (growth > heap->size_max - heap->size) {
        return NULL;
    }
    struct heap_header *moved = realloc(header, sizeof(*moved) + size_new);
    if (moved == NULL) {
        return NULL;
    }
    heap->calls += 1;
    heap->size = heap->size - size_old + size_new;
    if (heap->size > heap->size_peak) {
        heap->size_peak = heap->size;
    }
    moved->size = size_new;
    uint8_t *bytes = (uint8_t *)(moved + 1);
    if (growth > 0) {
        memset(bytes + size_old, 0, growth);
    }
    return bytes;
}
