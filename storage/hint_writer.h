/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the hint of a sealed segment from what is in memory: block table, aborted transactions,
 * and of a keyed one the key table. Nothing of the log is read. H2 of hint.h: aside, DSYNC,
 * renamed, folder synced; then the tail file goes, because nothing is left that only it knows, and
 * the key index in memory, because the table answers in its place.
 *
 * Without memory for a key table the hint is written without one: keys can be had from the log
 * (key_build.h), everything else of a hint is wanted sooner.
 */
#pragma once

#include "storage/job.h"
#include "storage/key_source.h"
#include "storage/segment.h"

/* Sorted runs of keys in a file, for segments whose keys do not fit into memory. */
struct key_spill {
    int32_t file;
    uint32_t page;   /* behind the last one */
    uint8_t *memory; /* KEY_RUNS_SIZE, to read them */
    uint32_t run_count;
    struct key_run runs[KEY_RUNS_MAX];
};

/* The rows must be loaded and the whole segment visible. `spill`, which may be NULL, goes into the
 * key table besides what segment->keyed has; it was made with hint_header_of() and the seed of the
 * hint. NULL: no memory. 0 or -errno. */
[[nodiscard]] struct job *hint_write_job(struct segment *segment, const struct key_spill *spill);
/* What its hint says of a segment, but for the numbers of transactions and keys. */
struct hint_header hint_header_of(const struct segment *segment);
