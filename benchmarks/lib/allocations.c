/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/lib/allocations.h"

#include <errno.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

bool allocations_are_counted(void)
{
    return false;
}

struct allocations allocations_read(void)
{
    return (struct allocations){0};
}

#else

/* What glibc's own names lead to. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static uint64_t allocation_count;
static uint64_t allocation_size;

static void allocations_note(size_t size)
{
    __atomic_fetch_add(&allocation_count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&allocation_size, size, __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
    allocations_note(size);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations_note(count * size);
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    allocations_note(size);
    return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size);

void *memalign(size_t alignment, size_t size)
{
    allocations_note(size);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *block = memalign(alignment, size);
    if (block == NULL) {
        return ENOMEM;
    }
    *out = block;
    return 0;
}

bool allocations_are_counted(void)
{
    return true;
}

struct allocations allocations_read(void)
{
    return (struct allocations){
        .count = __atomic_load_n(&allocation_count, __ATOMIC_RELAXED),
        .size = __atomic_load_n(&allocation_size, __ATOMIC_RELAXED),
    };
}

#endif
