/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tail file `<20-digit base offset>.tail` (FORMAT.md): the block table of one segment and a
 * position D below which the log is durable for certain. Written past the page cache, DSYNC.
 *
 *   page 0, 1   header slots, written in turn: the one with the higher sequence counts; the first
 *               header goes to both, so that they lie side by side on the disk and are one read
 *   page 2...   127 rows and a trailer each; rows of full blocks below D, never changed again
 *
 * T1  Rows are durable before the header that counts them.
 * T2  A torn or damaged page makes D older, never wrong: a row page that fails its checksum takes
 *     the rows from there on with it, and D falls back to the last batch start that is left.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"
#include "storage/epochs.h"
#include "storage/job.h"
#include "storage/segment.h"

#define TAIL_PAGE_SIZE 4096
#define TAIL_PAGE_ROWS 127
#define TAIL_HEADER_PAGES 2
#define TAIL_MAGIC UINT64_C(0x4c49415452494557) /* "WEIRTAIL" in the file */
#define TAIL_VERSION 1

enum tail_flags {
    TAIL_CLEAN = 1,         /* written at a clean stop: D is the end, the file is log_size bytes */
    TAIL_SEALED = 2,        /* D is the end for ever */
    TAIL_REBUILT = 4,       /* rows come from a scan */
    TAIL_ABORTED = 8,       /* below D lies the marker of an aborted transaction: see .txnindex */
    TAIL_NO_PRODUCERS = 16, /* no producer state as of D: nothing to replay before it */
    TAIL_LOST = 32,         /* records below an older D are gone, and no leader epoch began since */
};

/* As it lies in the file, little-endian, behind it zeros and at byte 4088 the checksum. */
struct tail_header {
    uint64_t magic;
    uint32_t version;
    int32_t index;
    struct uuid topic_id;
    int64_t base_offset;
    uint64_t sequence;
    int64_t position;   /* D */
    int64_t offset;     /* of the first record at or behind D */
    int64_t log_size;   /* bytes of log in the file; equal to D when clean or sealed */
    uint32_t row_count; /* rows in the pages: of the full blocks below D */
    uint32_t flags;
    int64_t timestamp_first;
    int64_t timestamp_max;
    int64_t created_ms;
    int64_t log_start_offset;
    struct block_row running; /* of the block that contains D, its sum covers the bytes below D */
    uint64_t aborted_sum;     /* of the .txnindex as last written, which has none; 0: not known */
    int64_t epochs_stamp; /* of the leader-epoch-checkpoint that says what follows; 0: nothing */
    uint32_t epoch_count;
    uint32_t zero;
    struct tail_epoch {
        int64_t start_offset;
        int32_t epoch;
        uint32_t zero;
    } epochs[EPOCHS_MAX];
};
_Static_assert(sizeof(struct tail_header) == 168 + EPOCHS_MAX * 16, "the header has no padding");

struct tail_trailer {
    uint64_t magic;
    uint32_t page; /* 0 is the first row page */
    uint32_t count;
    uint64_t zero;
    uint64_t checksum; /* XXH3-64 of the page up to here, seeded with segment_seed(UINT32_MAX) */
};

/* Which segment a tail file must belong to. */
struct tail_identity {
    struct uuid topic_id;
    int32_t index;
    int64_t base_offset;
    uint64_t seed;
};
struct tail_identity tail_identity_of(const struct segment *segment);

/* page: TAIL_PAGE_SIZE bytes. False: not a header of this segment. Pure. */
bool tail_decode_header(const uint8_t *page, const struct tail_identity *identity,
                        struct tail_header *header);
void tail_encode_header(uint8_t *page, const struct tail_header *header, uint64_t seed);
/* Room for 127 rows; answers how many, 0 when the page is damaged. Pure. */
uint32_t tail_decode_rows(const uint8_t *page, uint32_t index, uint64_t seed,
                          struct block_row *rows);
void tail_encode_rows(uint8_t *page, uint32_t index, uint64_t seed, const struct block_row *rows,
                      uint32_t count);
/* The valid slot with the higher sequence of two pages. */
bool tail_decode_slots(const uint8_t *pages, const struct tail_identity *identity,
                       struct tail_header *header);

/* What leader-epoch-checkpoint said when it had that stamp; 0: the header does not tell. Pure. */
int64_t tail_take_epochs(const struct tail_header *header, struct epochs *epochs);

/* All rows from the first `size` bytes of the file; false when they are not all there and sound. */
bool tail_take_run(struct segment *segment, const struct tail_header *header, const uint8_t *run,
                   size_t size);

/* Writes rows and header as of segment->visible; `flags` of CLEAN. NULL: no memory. */
[[nodiscard]] struct job *tail_write_job(struct segment *segment, uint32_t flags);
/* Reads the rows of a finished segment; 0, -EBADMSG (rebuild it) or another -errno. */
[[nodiscard]] struct job *tail_read_job(struct segment *segment);
