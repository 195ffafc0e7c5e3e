/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a key table into an open file, from sorted rows (key_source.h), a few pages at a time with
 * the core's other work between: pages of keys first, then, from these as they lie in the file, the
 * first keys and the filter. So memory does not grow with the table but for the filter, which is
 * made for as many keys as there are and stays below KEY_FILTER_SIZE_MAX.
 *
 * The same pages of keys, without the rest, are the runs that a large segment's keys are put aside
 * in (key_build.h).
 */
#pragma once

#include "storage/job.h"
#include "storage/key_source.h"

#define KEY_TABLE_PAGES 8 /* written at a time: 32 KiB, filled in some 0.2 ms */
/* Of what is read back at a time, eight pages, no page has more than one first key. */
#define KEY_TABLE_RUN_SIZE ((size_t)2 * KEY_TABLE_PAGES * HINT_PAGE_SIZE)

struct key_table {
    /* in */
    uint8_t *memory; /* KEY_TABLE_RUN_SIZE, aligned to pages */
    struct hint_header *header;
    uint64_t seed;
    uint64_t bloom_seed;
    int32_t file;
    int32_t runs_file; /* of the source's runs; -1: it has none */
    bool direct_sync;  /* each write durable by itself */
    struct key_source *source;
    /* out */
    uint32_t page; /* in: where the table begins; out: behind its last page written */
    uint64_t count;
    /* its own */
    struct hint_key_page filling;
    bool fills; /* `filling` is begun */
    uint32_t filled;
    const struct hint_key *row; /* did not fit into the last page */
    enum status status;
    uint32_t next; /* page of keys to be read back */
    struct hint_key_cursor cursor;
    uint8_t last[KEY_FORM_MAX];
    uint32_t last_size;
    struct bloom bloom;
    uint64_t bloom_room;
};

/* Pages of keys from table->page on. 0 or -errno; -EBADMSG: a run is not what was written. NULL: no
 * memory. */
[[nodiscard]] struct job *key_pages_job(struct job *parent, struct key_table *table);
/* First keys and filter behind the pages of keys that key_pages_job() wrote; the header's numbers.
 * 0 or -errno; -EBADMSG: the file does not give back what was written. */
[[nodiscard]] struct job *key_index_job(struct job *parent, struct key_table *table);
