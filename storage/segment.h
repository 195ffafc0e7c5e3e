/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file of the log and what is known about it. The log of a segment is an array of 64 KiB
 * blocks; `rows` has one row for each block that holds bytes.
 *
 *   0 <= visible <= durable <= size <= allocated        (positions, bytes of the file)
 *
 * G1  visible is a batch boundary: the high watermark lies there in the segment that contains it.
 * G2  durable only rises; below it the file never changes, except that the page which contains it
 *     is rewritten with the same bytes and more behind them.
 * G3  A row is made when the first byte of its block is appended and is final when the block is
 *     full and durable; the sum covers what the block holds, and ROW_SUMMED says that it is valid:
 *     from when the block is full, or earlier when it rests.
 * G4  A sealed segment comes from its hint: `known` false means that size and timestamps are not
 *     there yet, and rows, facts and aborted transactions come with segment_wait_rows().
 * G5  An instance number is never used twice by one store: cache and pins name the instance.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/uuid.h"
#include "storage/cache.h"
#include "storage/config.h"
#include "storage/files.h"
#include "wire/batch.h"
#include "wire/status.h"

struct keyed;
struct partition;
struct store;

#define ROW_NONE UINT32_MAX /* no batch starts in this block */
#define ROW_SUMMED 1U

struct block_row {
    uint32_t position; /* of the first batch that starts in the block, in the segment; ROW_NONE */
    uint32_t flags;
    int64_t base_offset;   /* of that batch; meaningless with ROW_NONE */
    int64_t timestamp_max; /* of all batches that start in this block or before it */
    uint64_t sum;          /* XXH3-64 of the block's bytes, seeded by segment_seed() */
};
_Static_assert(sizeof(struct block_row) == 32, "rows are written as they are");

#define SEGMENT_MAGIC UINT64_C(0x7765697273656731)

/* What is known of the key table in a sealed segment's hint. */
enum segment_keys {
    SEGMENT_KEYS_UNKNOWN, /* no hint was read or written yet */
    SEGMENT_KEYS_ABSENT,  /* it has to be made, from the index in memory or from the log */
    SEGMENT_KEYS_THERE,
};

struct segment {
    uint64_t magic;
    struct store *store;
    struct partition *partition;
    uint64_t instance;
    uint32_t holders; /* the partition's list, loads, jobs */
    int64_t base_offset;
    int64_t end_offset; /* exclusive; of what was appended */
    int64_t size;       /* bytes appended */
    int64_t durable;
    int64_t visible;
    int64_t allocated;     /* the file covers this many bytes */
    int64_t allocate_step; /* bytes of the last step */
    int64_t written_until; /* extents are written up to here: DSYNC is cheap */
    int64_t log_position;  /* bytes of log before this segment since the partition was opened */
    int64_t created_ms;
    int64_t timestamp_first;   /* of the first batch; -1 while empty */
    int64_t timestamp_max;     /* of visible and invisible batches; -1 none */
    int64_t timestamp_visible; /* the same of what lies below `visible`: what a tail may say */
    int64_t hint_offset;       /* a batch boundary near the tail, to spare header hops */
    int64_t hint_position;
    int64_t read_position; /* end of the last read: the next one from here is sequential */
    uint32_t ahead_block;  /* the first that was not read ahead; 0: nobody reads on from disk */

    struct block_row *rows;
    uint32_t row_count;
    uint32_t row_room;
    uint32_t rows_used; /* clock of the unload rule: set by use, counted down by upkeep */
    bool rows_loaded;   /* always for the active segment */
    bool rows_loading;
    int64_t rows_fault;       /* -errno of the last load */
    struct list rows_waiters; /* of struct block_waiter */

    struct list slab; /* of struct block, ascending, contiguous up to the end */
    struct file file;

    /* tail file */
    int64_t tail_position; /* D */
    uint64_t tail_sequence;
    uint32_t tail_rows; /* rows on disk that stay as they are */

    bool sealed;         /* takes no more appends */
    bool finished;       /* sealed, nothing left to write: hint (or a final tail) there, trimmed */
    bool renamed;        /* the file has its own name */
    bool named;          /* it has, and the folder is synced */
    bool rebuilt;        /* rows come from a scan and cannot vouch for the time before it */
    bool aborted;        /* holds the marker of an aborted transaction */
    bool key_index;      /* its keys are noted from its first batch on */
    struct keyed *keyed; /* from the first visible batch on, until its hint is there; NULL none */
    bool keyed_lent;     /* a hint is being written from it */
    enum segment_keys keys;
    uint64_t keys_instance;        /* of the hint's pages in memory: a new hint gets a new one */
    struct list keys_waiters;      /* of struct block_waiter */
    int64_t keys_fault;            /* -errno of the last attempt to make a table */
    bool keying;                   /* a job makes its table from the log */
    bool keys_refused;             /* that failed; tried again when somebody waits */
    bool keys_damaged;             /* the hint says that there is a table, and it is not whole */
    int64_t producers_none_offset; /* no producer was known here; -1 says nothing */
    int64_t aborted_until;         /* markers below this offset are in .txnindex */
    uint64_t aborted_sum;          /* of .txnindex as last written; 0: not known */
    int64_t stable_offset; /* first offset of the oldest transaction open at the end; 0: unknown */
    bool known;            /* sizes, timestamps and flags are the file's; a hint brings them */
    bool hinted;           /* `.hint` is there: the name alone says sealed, durable, trimmed */
    bool aborted_loaded;   /* the producers know every aborted transaction that ended here */
    bool aborted_lost;     /* aborted transactions need a replay, by the next upkeep */
};

/* An empty segment, held once. NULL: the heap refuses. */
[[nodiscard]] struct segment *segment_open(struct store *store, struct partition *partition,
                                           int64_t base_offset);
void segment_hold(struct segment *segment);
/* Frees it with the last holder. */
void segment_drop(struct segment *segment);

/* Seed of a block's sum: XXH3-64 of topic id, partition index, base offset and block number, the
 * numbers big-endian. UINT32_MAX is the number of the tail file's own pages. */
uint64_t segment_seed_of(const struct uuid *topic_id, int32_t index, int64_t base_offset,
                         uint32_t number);
uint64_t segment_seed(const struct segment *segment, uint32_t number);
uint64_t segment_sum(const struct segment *segment, uint32_t number, const uint8_t *data,
                     size_t size);

/* Room for rows up to `size` bytes of log. False: the heap refuses. */
[[nodiscard]] bool segment_reserve_rows(struct segment *segment, int64_t size);
/* Rows for a batch about to be placed at segment->size; segment_reserve_rows() came before. */
void segment_note_batch(struct segment *segment, int64_t position,
                        const struct batch_header *header, int64_t size);
/* Forgets rows, end and timestamps at and behind `size`, a batch boundary. */
void segment_cut_rows(struct segment *segment, int64_t size);
void segment_unload_rows(struct segment *segment);

/* Calls back when the segment's hint has a key table, or cannot have one now. */
void segment_wait_keys(struct segment *segment, struct block_waiter *waiter);
void segment_wake_keys(struct segment *segment, int64_t fault);
/* Whether it is one of its partition's: retention did not take it. */
bool segment_is_listed(const struct segment *segment);
/* A page of its key table is not what was written: it is made again. */
void segment_lose_keys(struct segment *segment);
/* What the hint on disk says of its key table; one that was just written is another one. */
void segment_note_keys(struct segment *segment, bool there);
/* Gives up the index in memory, if there is one. */
void segment_close_keys(struct segment *segment);
/* Its hint was written, with a key table or without: nobody needs the index in memory any more. */
void segment_keys_written(struct segment *segment, bool there);

/* Calls back when the rows are loaded or cannot be; starts that when needed. At once, before it
 * returns, when it cannot even begin (no memory), or when nobody would serve it any more. */
void segment_wait_rows(struct segment *segment, struct block_waiter *waiter);
/* Its aborted transactions have to be found by a replay, which follows from upkeep. */
void segment_lose_aborted(struct segment *segment);
/* After a load or a rebuild. */
void segment_wake_rows(struct segment *segment);

/* Index of the last row with a batch at or before `offset`, -1 when there is none. */
int32_t segment_row_of(const struct segment *segment, int64_t offset);

/*
 * Finds the batch that holds `offset`, or the first one behind it, by hops over headers in memory.
 * SEGMENT_NEEDS: `number` names a block to bring first.
 */
enum segment_verdict { SEGMENT_FOUND, SEGMENT_END, SEGMENT_NEEDS, SEGMENT_CORRUPT };
struct segment_cursor {
    int64_t position;           /* in: start of a batch; out: of the batch found */
    int64_t offset_wanted;      /* in: refused ranges wholly below it are passed over */
    struct batch_header header; /* out */
    uint32_t number;            /* out of NEEDS */
};
enum segment_verdict segment_header_at(struct segment *segment, struct segment_cursor *cursor,
                                       int64_t limit);
enum segment_verdict segment_find(struct segment *segment, int64_t offset, int64_t limit,
                                  struct segment_cursor *cursor);
/* Whether a header can be the start of a batch at all; nothing about its CRC. */
bool segment_header_is_sane(const struct batch_header *header);
