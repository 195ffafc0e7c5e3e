/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hint file `<20-digit base offset>.hint` of a sealed segment (FORMAT.md): everything that is
 * known of the segment without its log. Pages of 4 KiB, each with its own sum:
 *
 *   header | block table | aborted transactions | key table | first keys of it | bloom filter
 *
 * H1  A hint is a cache of the log: who finds a page that is not what was written throws the whole
 *     file away and has it rebuilt (rebuild.h). It is never a reason to change a log.
 * H2  It appears under its name only when it is whole and durable: written aside, synced, renamed,
 *     folder synced. So the name alone says that the segment is sealed and durable, and recovery
 *     opens no hint.
 * H3  It is never changed. Another one takes its place by H2.
 * H4  A page knows segment, place and kind, so that a page of another file, an older one or one in
 *     the wrong place is damage like any other.
 *
 * Everything here is pure; the pages of keys are in hint_keys.h; hint_reader.h and hint_writer.h do
 * the disk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/uuid.h"
#include "storage/aborted.h"
#include "storage/segment.h"

#define HINT_PAGE_SIZE 4096
#define HINT_PAGE_PAYLOAD 4064
#define HINT_PAGE_ROWS 127                      /* rows, or aborted transactions, in a page */
#define HINT_BLOOM_PAYLOAD 4032                 /* whole blocks of the filter */
#define HINT_MAGIC UINT64_C(0x544e494852494557) /* "WEIRHINT" in the file */
#define HINT_VERSION 1
#define HINT_SEED_NUMBER (UINT32_MAX - 1) /* "block number" of the file's own pages */
/* More than any segment of 2 GiB can need; what a header says is bounded by it. */
#define HINT_PAGES_MAX (UINT32_C(1) << 20)

enum hint_flags {
    HINT_REBUILT = 1,      /* from a scan of the log: it cannot vouch for the time before it */
    HINT_NO_PRODUCERS = 2, /* no producer was known at the end: nothing to replay before it */
    HINT_KEYED = 4,        /* the key table is there, and whole */
};

enum hint_kind { HINT_HEADER, HINT_ROWS, HINT_ABORTED, HINT_KEYS, HINT_INDEX, HINT_BLOOM };

/* As it lies in page 0, little-endian; behind it zeros. */
struct hint_header {
    uint64_t magic;
    uint32_t version;
    int32_t index; /* of the partition */
    struct uuid topic_id;
    int64_t base_offset;
    int64_t end_offset;    /* base offset of the next segment */
    int64_t log_size;      /* bytes */
    int64_t stable_offset; /* first offset of the oldest transaction open at the end, or the end */
    int64_t timestamp_first;
    int64_t timestamp_max;
    int64_t created_ms;
    uint32_t flags;
    uint32_t row_count;
    uint32_t aborted_count;
    uint32_t key_page_count;
    uint32_t index_page_count;
    uint32_t bloom_page_count;
    uint64_t key_count;  /* entries */
    uint64_t bloom_size; /* bytes, bloom.h */
};
_Static_assert(sizeof(struct hint_header) == 128, "the header has no padding");

/* The last 32 bytes of every page. */
struct hint_trailer {
    uint64_t magic;
    uint32_t page; /* number in the file */
    uint16_t kind;
    uint16_t count;    /* rows, transactions, entries, first keys; bytes of a filter */
    uint64_t first;    /* number of the first of them in its section */
    uint64_t checksum; /* XXH3-64 of the page up to here */
};
_Static_assert(sizeof(struct hint_trailer) == 32, "the trailer has no padding");

/* Which segment a hint must belong to. */
struct hint_identity {
    struct uuid topic_id;
    int32_t index;
    int64_t base_offset;
    uint64_t seed;
};
struct hint_identity hint_identity_of(const struct uuid *topic_id, int32_t index,
                                      int64_t base_offset);

/* Where the sections lie, in pages. */
struct hint_layout {
    uint32_t rows;
    uint32_t aborted;
    uint32_t keys;
    uint32_t index;
    uint32_t bloom;
    uint32_t end;
};
struct hint_layout hint_layout_of(const struct hint_header *header);

/* Puts trailer and sum on a page whose payload is there. */
void hint_page_seal(uint8_t *page, const struct hint_trailer *trailer, uint64_t seed);
/* The trailer of a page that is whole, of this file, in its place; false otherwise. */
bool hint_page_open(const uint8_t *page, uint32_t number, enum hint_kind kind, uint64_t seed,
                    struct hint_trailer *trailer);

void hint_encode_header(uint8_t *page, const struct hint_header *header, uint64_t seed);
/* False: not a header of this segment, or one that says what cannot be. */
bool hint_decode_header(const uint8_t *page, const struct hint_identity *identity,
                        struct hint_header *header);

/* Page `number` of the file, which lies in the section of rows or of aborted transactions. */
void hint_encode_rows(uint8_t *page, const struct hint_header *header, uint32_t number,
                      const struct block_row *rows, uint64_t seed);
/* Into rows[]: all rows of the segment. False: damaged, or rows that contradict the header. */
bool hint_decode_rows(const uint8_t *page, const struct hint_header *header, uint32_t number,
                      struct block_row *rows, uint64_t seed);
void hint_encode_aborted(uint8_t *page, const struct hint_header *header, uint32_t number,
                         const struct producers_aborted *aborted, uint64_t seed);
/* Into `aborted`, room for 127; answers how many, -1: damaged. */
int32_t hint_decode_aborted(const uint8_t *page, const struct hint_header *header, uint32_t number,
                            struct producers_aborted *aborted, uint64_t seed);
