/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One reservation of address space, cut in two:
 *
 *   singles  1x the budget: runs of one chunk and the chunks that hold pages. Linked lists, so
 *            that the commonest sizes cost O(1); the list of warm chunks is last in, first out.
 *   runs     3x the budget: runs of two chunks and more, first fit in a bitmap, 64 chunks a look.
 *
 * A released chunk stays committed ("warm") until pages_trim() or until a run that needs fresh
 * chunks would pass the budget; then warm chunks that do not fit go first.
 *
 * All tables are zero at first and lie in one lazily committed mapping: an opened `struct pages`
 * costs a few pages of memory, whatever the budget.
 */
#include "base/pages.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define pages_poison(memory, size) __asan_poison_memory_region(memory, size)
#define pages_unpoison(memory, size) __asan_unpoison_memory_region(memory, size)
#else
#define pages_poison(memory, size) ((void)(memory), (void)(size))
#define pages_unpoison(memory, size) ((void)(memory), (void)(size))
#endif

#define PAGES_MAGIC UINT64_C(0x7061676573706f6f)
#define PAGES_RUNS_FACTOR 3 /* address space of runs over the budget: room for fragments */
#define PAGES_PER_CHUNK (CHUNK_SIZE / PAGE_SIZE)
#define PAGES_FULL 0xffff
#define PAGES_TRIM_CHUNKS 32 /* a call of pages_trim(): about 150 us of madvise() */
#define CHUNK_NONE UINT32_MAX

enum chunk_state {
    CHUNK_COLD,     /* never used, or given back to the kernel */
    CHUNK_WARM,     /* free but committed */
    CHUNK_RUN,      /* first chunk of a run */
    CHUNK_RUN_MORE, /* any further chunk of a run */
    CHUNK_PAGES,    /* holds single pages */
};

struct chunk {
    uint8_t state;
    uint8_t share;     /* of CHUNK_PAGES */
    uint16_t page_map; /* of CHUNK_PAGES: a set bit is a page in use */
    uint32_t previous; /* in the list of warm, cold or partly used chunks; singles only */
    uint32_t next;
};

struct chunk_list {
    uint32_t first;
    uint32_t last;
};

struct pages {
    uint64_t magic;
    size_t table_size; /* bytes of the mapping this struct lies in */
    uint8_t *memory;
    size_t memory_size;
    size_t chunk_max[PAGES_SHARES]; /* counts of chunks from here on */
    size_t chunk_count[PAGES_SHARES];
    size_t budget;
    size_t warm; /* free and committed: singles and runs */
    size_t warm_runs;
    size_t charged;        /* sum of chunk_count */
    uint32_t singles;      /* chunks [0, singles) are single ones, the rest runs */
    uint32_t singles_used; /* chunks from here to `singles` were never touched */
    struct chunk_list warm_singles;
    struct chunk_list cold_singles;
    struct chunk_list partly[PAGES_SHARES]; /* chunks with a free page */
    size_t word_count;
    size_t word_hint;    /* no free chunk lies in a word before this one */
    uint64_t *used;      /* runs: bit set = in use */
    uint64_t *committed; /* runs: bit set = free but warm */
    struct chunk *chunks;
};

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static void *map_anonymous(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    /* A huge page would commit 2 MiB for one chunk; refused where the kernel has none. */
    (void)madvise(memory, size, MADV_NOHUGEPAGE);
    return memory;
}

struct pages *pages_open(const struct pages_limits *limits)
{
    size_t budget = 0;
    for (size_t i = 0; i < PAGES_SHARES; i++) {
        check(limits->size_max[i] % CHUNK_SIZE == 0);
        budget += limits->size_max[i] / CHUNK_SIZE;
    }
    check(budget > 0 && budget < UINT32_MAX / (PAGES_RUNS_FACTOR + 2));
    size_t word_count = round_up(budget * PAGES_RUNS_FACTOR, 64) / 64;
    size_t chunk_count = budget + word_count * 64;
    size_t head_size = round_up(sizeof(struct pages), 64);
    size_t map_size = word_count * sizeof(uint64_t);
    size_t table_size =
        round_up(head_size + 2 * map_size + chunk_count * sizeof(struct chunk), PAGE_SIZE);
    struct pages *pages = map_anonymous(table_size);
    if (pages == NULL) {
        return NULL;
    }
    pages->memory_size = chunk_count * CHUNK_SIZE;
    pages->memory = map_anonymous(pages->memory_size);
    if (pages->memory == NULL) {
        int error = errno;
        munmap(pages, table_size);
        errno = error;
        return NULL;
    }
    pages->magic = PAGES_MAGIC;
    pages->table_size = table_size;
    pages->budget = budget;
    pages->singles = (uint32_t)budget;
    pages->word_count = word_count;
    pages->used = (void *)((uint8_t *)pages + head_size);
    pages->committed = pages->used + word_count;
    pages->chunks = (void *)(pages->committed + word_count);
    pages->warm_singles = pages->cold_singles = (struct chunk_list){CHUNK_NONE, CHUNK_NONE};
    for (size_t i = 0; i < PAGES_SHARES; i++) {
        pages->chunk_max[i] = limits->size_max[i] / CHUNK_SIZE;
        pages->partly[i] = (struct chunk_list){CHUNK_NONE, CHUNK_NONE};
    }
    return pages;
}

void pages_close(struct pages *pages)
{
    check_magic(pages, PAGES_MAGIC);
    check(pages->charged == 0);
    pages->magic = 0;
    pages_unpoison(pages->memory, pages->memory_size);
    munmap(pages->memory, pages->memory_size);
    munmap(pages, pages->table_size);
}

static uint8_t *chunk_memory(const struct pages *pages, uint32_t index)
{
    return pages->memory + (size_t)index * CHUNK_SIZE;
}

static uint32_t chunk_index(const struct pages *pages, const uint8_t *memory)
{
    size_t position = (size_t)(memory - pages->memory);
    check(memory >= pages->memory && position < pages->memory_size);
    return (uint32_t)(position / CHUNK_SIZE);
}

static void chunk_list_push(struct pages *pages, struct chunk_list *list, uint32_t index)
{
    struct chunk *chunk = &pages->chunks[index];
    chunk->previous = CHUNK_NONE;
    chunk->next = list->first;
    if (list->first != CHUNK_NONE) {
        pages->chunks[list->first].previous = index;
    } else {
        list->last = index;
    }
    list->first = index;
}

static void chunk_list_remove(struct pages *pages, struct chunk_list *list, uint32_t index)
{
    struct chunk *chunk = &pages->chunks[index];
    if (chunk->previous != CHUNK_NONE) {
        pages->chunks[chunk->previous].next = chunk->next;
    } else {
        list->first = chunk->next;
    }
    if (chunk->next != CHUNK_NONE) {
        pages->chunks[chunk->next].previous = chunk->previous;
    } else {
        list->last = chunk->previous;
    }
}

static void chunk_discard(struct pages *pages, uint32_t index, size_t count)
{
    int error = madvise(chunk_memory(pages, index), count * CHUNK_SIZE, MADV_DONTNEED);
    check(error == 0);
    check(pages->warm >= count);
    pages->warm -= count;
}

/* Gives one span of warm chunks of runs back, at most `count_max`; answers how many. */
static size_t pages_trim_runs(struct pages *pages, size_t count_max)
{
    /* From the top: first fit comes back to the low ones soonest. */
    for (size_t word = pages->word_count; word-- > 0;) {
        uint64_t bits = pages->committed[word];
        if (bits == 0) {
            continue;
        }
        uint32_t top = 63 - (uint32_t)__builtin_clzll(bits);
        uint32_t first = top;
        while (first > 0 && bits >> (first - 1) & 1 && top - first + 1 < count_max) {
            first -= 1;
        }
        size_t count = top - first + 1;
        uint64_t mask = (count == 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1) << first;
        pages->committed[word] &= ~mask;
        pages->warm_runs -= count;
        chunk_discard(pages, (uint32_t)(pages->singles + word * 64 + first), count);
        return count;
    }
    unreachable();
}

static void pages_trim_single(struct pages *pages)
{
    uint32_t index = pages->warm_singles.last; /* the one idle for longest */
    check(index != CHUNK_NONE);
    chunk_list_remove(pages, &pages->warm_singles, index);
    pages->chunks[index].state = CHUNK_COLD;
    chunk_list_push(pages, &pages->cold_singles, index);
    chunk_discard(pages, index, 1);
}

static void pages_trim_count(struct pages *pages, size_t count)
{
    while (count > 0) {
        if (pages->warm_runs > 0) {
            count -= pages_trim_runs(pages, count);
        } else {
            pages_trim_single(pages);
            count -= 1;
        }
    }
}

void pages_trim(struct pages *pages, size_t keep)
{
    check_magic(pages, PAGES_MAGIC);
    size_t keep_count = keep / CHUNK_SIZE;
    if (pages->warm > keep_count) {
        size_t count = pages->warm - keep_count;
        pages_trim_count(pages, count < PAGES_TRIM_CHUNKS ? count : PAGES_TRIM_CHUNKS);
    }
}

static bool pages_charge(struct pages *pages, size_t count, enum pages_share share)
{
    if (count > pages->chunk_max[share] - pages->chunk_count[share]) {
        return false;
    }
    pages->chunk_count[share] += count;
    pages->charged += count;
    return true;
}

static void pages_discharge(struct pages *pages, size_t count, enum pages_share share)
{
    check(pages->chunk_count[share] >= count);
    pages->chunk_count[share] -= count;
    pages->charged -= count;
}

/* P1 over all shares: charged plus warm stays within the budget. */
static void pages_hold_budget(struct pages *pages)
{
    if (pages->charged + pages->warm > pages->budget) {
        pages_trim_count(pages, pages->charged + pages->warm - pages->budget);
    }
}

/* Already charged, so there is one: singles have address space for the whole budget. */
static uint32_t single_acquire(struct pages *pages)
{
    uint32_t index = pages->warm_singles.first;
    if (index != CHUNK_NONE) {
        chunk_list_remove(pages, &pages->warm_singles, index);
        pages->warm -= 1;
    } else if (pages->cold_singles.first != CHUNK_NONE) {
        index = pages->cold_singles.first;
        chunk_list_remove(pages, &pages->cold_singles, index);
    } else {
        check(pages->singles_used < pages->singles);
        index = pages->singles_used++;
    }
    pages_hold_budget(pages);
    pages_unpoison(chunk_memory(pages, index), CHUNK_SIZE);
    return index;
}

static void single_release(struct pages *pages, uint32_t index)
{
    check(index < pages->singles);
    pages->chunks[index].state = CHUNK_WARM;
    chunk_list_push(pages, &pages->warm_singles, index);
    pages->warm += 1;
    pages_poison(chunk_memory(pages, index), CHUNK_SIZE);
}

static bool bit_get(const uint64_t *words, size_t bit)
{
    return words[bit / 64] >> (bit % 64) & 1;
}

static void bit_set(uint64_t *words, size_t bit)
{
    words[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static void bit_clear(uint64_t *words, size_t bit)
{
    words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

/* First bit at or after `bit` that is set (or clear, if `invert`); `limit` when there is none. */
static size_t bit_find(const uint64_t *words, size_t bit, size_t limit, bool invert)
{
    uint64_t flip = invert ? ~UINT64_C(0) : 0;
    while (bit < limit) {
        uint64_t word = (words[bit / 64] ^ flip) >> (bit % 64);
        if (word != 0) {
            bit += (size_t)__builtin_ctzll(word);
            return bit < limit ? bit : limit;
        }
        bit = (bit / 64 + 1) * 64;
    }
    return limit;
}

/* First fit; SIZE_MAX when no gap is long enough. */
static size_t run_find(struct pages *pages, size_t count)
{
    size_t limit = pages->word_count * 64;
    size_t bit = bit_find(pages->used, pages->word_hint * 64, limit, true);
    pages->word_hint = bit / 64;
    while (bit + count <= limit) {
        size_t until = bit_find(pages->used, bit, bit + count, false);
        if (until == bit + count) {
            return bit;
        }
        bit = bit_find(pages->used, until, limit, true);
    }
    return SIZE_MAX;
}

static uint8_t *run_acquire(struct pages *pages, size_t count)
{
    size_t first = run_find(pages, count);
    if (first == SIZE_MAX) {
        return NULL;
    }
    struct chunk *chunks = &pages->chunks[pages->singles + first];
    for (size_t i = 0; i < count; i++) {
        if (bit_get(pages->committed, first + i)) {
            bit_clear(pages->committed, first + i);
            pages->warm -= 1;
            pages->warm_runs -= 1;
        }
        bit_set(pages->used, first + i);
        chunks[i].state = CHUNK_RUN_MORE;
    }
    chunks[0].state = CHUNK_RUN;
    pages_hold_budget(pages);
    uint8_t *run = chunk_memory(pages, (uint32_t)(pages->singles + first));
    pages_unpoison(run, count * CHUNK_SIZE);
    return run;
}

static void run_release(struct pages *pages, uint32_t index, size_t count)
{
    size_t first = index - pages->singles;
    size_t limit = pages->word_count * 64;
    check(first + count <= limit);
    struct chunk *chunks = &pages->chunks[index];
    /* P2: the next chunk begins another run or is free. */
    check(first + count == limit || chunks[count].state != CHUNK_RUN_MORE);
    for (size_t i = 0; i < count; i++) {
        check(chunks[i].state == (i == 0 ? CHUNK_RUN : CHUNK_RUN_MORE));
        chunks[i].state = CHUNK_WARM;
        bit_clear(pages->used, first + i);
        bit_set(pages->committed, first + i);
    }
    pages->warm += count;
    pages->warm_runs += count;
    if (first / 64 < pages->word_hint) {
        pages->word_hint = first / 64;
    }
    pages_poison(chunk_memory(pages, index), count * CHUNK_SIZE);
}

/* Chunks of a run; the size is at least one byte. */
static size_t run_chunks(size_t size)
{
    check(size > 0);
    return (size - 1) / CHUNK_SIZE + 1;
}

uint8_t *pages_acquire_run(struct pages *pages, size_t size, enum pages_share share)
{
    check_magic(pages, PAGES_MAGIC);
    size_t count = run_chunks(size);
    if (!pages_charge(pages, count, share)) {
        return NULL;
    }
    if (count == 1) {
        uint32_t index = single_acquire(pages);
        pages->chunks[index].state = CHUNK_RUN;
        return chunk_memory(pages, index);
    }
    uint8_t *run = run_acquire(pages, count);
    if (run == NULL) {
        pages_discharge(pages, count, share);
    }
    return run;
}

void pages_release_run(struct pages *pages, uint8_t *run, size_t size, enum pages_share share)
{
    check_magic(pages, PAGES_MAGIC);
    size_t count = run_chunks(size);
    uint32_t index = chunk_index(pages, run);
    check(run == chunk_memory(pages, index));
    check(pages->chunks[index].state == CHUNK_RUN);
    if (index < pages->singles) {
        check(count == 1); /* P2 */
        single_release(pages, index);
    } else {
        run_release(pages, index, count);
    }
    pages_discharge(pages, count, share);
}

uint8_t *pages_acquire_page(struct pages *pages, enum pages_share share)
{
    check_magic(pages, PAGES_MAGIC);
    struct chunk_list *partly = &pages->partly[share];
    uint32_t index = partly->first;
    if (index == CHUNK_NONE) {
        if (!pages_charge(pages, 1, share)) {
            return NULL;
        }
        index = single_acquire(pages);
        pages->chunks[index].state = CHUNK_PAGES;
        pages->chunks[index].share = (uint8_t)share;
        pages->chunks[index].page_map = 0;
        chunk_list_push(pages, partly, index);
        pages_poison(chunk_memory(pages, index), CHUNK_SIZE);
    }
    struct chunk *chunk = &pages->chunks[index];
    check(chunk->state == CHUNK_PAGES && chunk->page_map != PAGES_FULL);
    uint32_t page = (uint32_t)__builtin_ctz(~(uint32_t)chunk->page_map);
    chunk->page_map = (uint16_t)(chunk->page_map | 1U << page);
    if (chunk->page_map == PAGES_FULL) {
        chunk_list_remove(pages, partly, index);
    }
    uint8_t *memory = chunk_memory(pages, index) + page * PAGE_SIZE;
    pages_unpoison(memory, PAGE_SIZE);
    return memory;
}

void pages_release_page(struct pages *pages, uint8_t *page, enum pages_share share)
{
    check_magic(pages, PAGES_MAGIC);
    uint32_t index = chunk_index(pages, page);
    struct chunk *chunk = &pages->chunks[index];
    size_t position = (size_t)(page - chunk_memory(pages, index));
    uint32_t bit = 1U << (position / PAGE_SIZE);
    check(position % PAGE_SIZE == 0);
    check(chunk->state == CHUNK_PAGES && chunk->share == share);
    check((chunk->page_map & bit) != 0);
    if (chunk->page_map == PAGES_FULL) {
        chunk_list_push(pages, &pages->partly[share], index);
    }
    chunk->page_map = (uint16_t)(chunk->page_map & ~bit);
    pages_poison(page, PAGE_SIZE);
    if (chunk->page_map == 0) {
        chunk_list_remove(pages, &pages->partly[share], index);
        single_release(pages, index);
        pages_discharge(pages, 1, share);
    }
}

bool pages_move_run(struct pages *pages, size_t size, enum pages_share source,
                    enum pages_share target)
{
    check_magic(pages, PAGES_MAGIC);
    size_t count = run_chunks(size);
    if (!pages_charge(pages, count, target)) {
        return false;
    }
    pages_discharge(pages, count, source);
    return true;
}

size_t pages_size(const struct pages *pages, enum pages_share share)
{
    return pages->chunk_count[share] * CHUNK_SIZE;
}

size_t pages_size_max(const struct pages *pages, enum pages_share share)
{
    return pages->chunk_max[share] * CHUNK_SIZE;
}
