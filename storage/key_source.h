/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of a key table, in order: what a segment's memtable holds, the keys of transactions that
 * are still open, and runs that were put aside on disk, through the one merge. Of each key the
 * newest decided record, and before it, newest first, the undecided ones that are newer (B1 of
 * hint_keys.h).
 *
 * No I/O: a run on disk says which bytes it needs. Work comes in small steps, because the core has
 * other work: undecided keys are sorted in chunks, and merged like everything else.
 */
#pragma once

#include "storage/hint_keys.h"
#include "storage/keyed.h"
#include "storage/merge.h"

/* Pages of one run that are in memory at a time. */
#define KEY_RUN_PAGES 4
#define KEY_RUN_SIZE ((size_t)KEY_RUN_PAGES * HINT_PAGE_SIZE)
/* Runs merged at once: 1 MiB of memory. */
#define KEY_RUNS_MAX 64

/* Memory that all of them need, aligned to pages. */
#define KEY_RUNS_SIZE (KEY_RUNS_MAX * KEY_RUN_SIZE)

/* Sorted rows in a file, as pages of kind HINT_KEYS from `page` on. */
struct key_run {
    uint32_t page;
    uint32_t page_count;
};

struct key_source;

/*
 * `keyed`, whole, may be NULL; it takes no more batches until the source is closed. The runs are
 * those of a file, and lent like `memory`, of KEY_RUNS_SIZE bytes; both NULL without any. NULL: no
 * memory.
 */
[[nodiscard]] struct key_source *key_source_open(struct heap *heap, const struct keyed *keyed,
                                                 const struct key_run *runs, uint32_t run_count,
                                                 uint8_t *memory);
void key_source_close(struct key_source *source);

/* Sorts a little more of what is undecided. STATUS_OK: done; STATUS_PENDING: call again;
 * STATUS_NO_MEMORY. Comes before the first row. The pages of runs were made with this seed and this
 * header's values. */
enum status key_source_prepare(struct key_source *source, const struct hint_header *header,
                               uint64_t seed);

/*
 * The next row, lent until the next call. STATUS_NOT_FOUND: that was the last one.
 * STATUS_PENDING: `need` has to be read first. STATUS_MALFORMED: a run is not what was written.
 */
enum status key_source_next(struct key_source *source, const struct hint_key **key);

/* KEY_RUN_SIZE bytes at most, from a page of the file of runs on; whole pages. */
struct key_need {
    uint8_t *memory;
    uint32_t page;
    uint32_t page_count;
};
struct key_need key_source_need(const struct key_source *source);
/* They are there. */
void key_source_give(struct key_source *source);
