/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of struct partition: for the files of this folder alone. */
#pragma once

#include "storage/epochs.h"
#include "storage/partition.h"
#include "storage/producers.h"
#include "storage/quarantine.h"
#include "storage/segment.h"
#include "storage/store_state.h"
#include "storage/writer.h"

struct scan;

/*
 * Who may point where, and who waits for it:
 *
 * L1  A job that was taken for a partition is in job_count, a log write in `write`: whoever frees
 *     or reloads the partition waits until there is none (partition_drain, storage/removal).
 * L2  A segment is held by its list, and by each load, job, read and look-up that uses it. While
 *     its `partition` is set, who holds it may use the partition as well: so a partition goes when
 *     nobody but its lists holds a segment, those that retention took among them
 *     (partition_is_held).
 * L3  Reads and look-ups wait for blocks, rows and keys alone, so a drain ends them: what they wait
 *     for is an op or job under way, or is refused by partition_cancel_reads(). While the partition
 *     is broken, closing or removed they end at their next step and nothing new waits for upkeep,
 *     which may be what waits for them.
 * L4  partition_detach() clears the pointer. What is left then (pins of blocks, the segment itself)
 *     belongs to the store.
 */

#define PARTITION_MAGIC UINT64_C(0x7765697270617274)
/* A second failed write within this time ends in FAILED. */
#define PARTITION_FAILURE_NS UINT64_C(60000000000)

/* Blocks noted at a time; more are found again by the next read of them. */
#define PARTITION_ROT_MAX 8

struct rot {
    int64_t base_offset;
    uint32_t number;
};

struct partition {
    uint64_t magic;
    struct store *store;
    struct list_node node; /* store->partitions */
    char *name;            /* "<topic>-<index>" */
    size_t name_size;      /* with the NUL */
    int32_t index;
    struct uuid topic_id;
    int32_t leader_epoch;
    struct partition_config config;
    enum partition_state state;

    bool folder;      /* exists, with its first files, synced */
    bool creating;    /* a job makes `next` (and the folder) */
    bool naming;      /* a job gives a rolled-in segment its name, or will: name_wanted */
    bool name_wanted; /* that had no descriptor, or no memory; tried again each second */
    bool fileless;    /* an open on the way of an append had none: FULL until one works */
    bool spacing;     /* a job allocates */
    bool spaceless;   /* told that space ahead of need was refused */
    bool tending;     /* the upkeep job runs (seal, tail, snapshot, epochs) */
    bool retiring;    /* a job renames `retired` */
    bool loading;     /* recovery is not done: nothing of the state may be written yet */
    bool attended;    /* upkeep reads it back, blocking: a removal waits */
    bool broken;      /* a write failed; nothing is accepted until the reload */
    bool removing;
    bool stopping; /* closing follows once what was accepted is durable */
    bool closing;
    bool epochs_changed;     /* the checkpoint on disk is older */
    bool quarantine_changed; /* weir.quarantine on disk is older */
    bool quarantine_saved;
    bool asking;  /* a job looks for weir.request */
    bool keying;  /* a job makes a key table from the log */
    bool knowing; /* a job brings facts of sealed segments */
    bool tail_wanted;
    bool untended;            /* what stands beside the log could not be written; told */
    bool next_wanted;         /* an append waits for the next segment */
    bool roll_due;            /* the next append begins a new segment, whatever the size */
    bool loading_tail;        /* waits for the partial block to come back */
    int64_t failed_watermark; /* the high watermark when it failed */
    uint64_t failed_ns;       /* time of the last failed write, 0 never */

    struct segment **segments; /* by base offset; the last one is active */
    int32_t segment_count;
    int32_t segment_room;
    struct segment **retired; /* held: taken by retention, to be renamed or still in use (L2) */
    int32_t retired_count;
    bool retired_renamed;
    struct segment *next;    /* made ahead, not yet in the list */
    struct segment *writing; /* first one with durable < size, or the active one; NULL when none */
    int64_t log_start_offset;
    int64_t high_watermark;
    int64_t end_offset;
    int64_t snapshot_offset;   /* of the newest snapshot on disk; -1 none */
    int64_t snapshot_previous; /* the one before it; -1 none */
    int64_t snapshot_position; /* log position where the next one is measured from */
    struct {
        uint8_t *memory; /* producers as of `offset`, encoded; a run, NULL none */
        size_t size;
        size_t run_size;
        int64_t offset; /* written when the high watermark is there */
    } capture;
    uint64_t cut_size;
    bool epoch_bump_due;

    struct epochs epochs;
    int64_t epochs_stamp; /* of the checkpoint on disk, when it said this; 0 not known */
    struct producers *producers;
    struct quarantine quarantine;
    struct rot rot[PARTITION_ROT_MAX]; /* blocks to be looked at by upkeep */
    uint32_t rot_count;

    struct list waiting;    /* appends not placed; the first may be partly copied */
    size_t copied;          /* bytes of the first one already in the slab */
    struct list pending;    /* placed, not durable; offset order */
    struct list duplicates; /* by wait_offset */
    bool placed;            /* the first one has its offset; it cannot be refused any more */
    bool pumping;
    uint64_t refusals; /* so often `waiting` was answered: the first one may be another */
    struct list watches;
    struct list reads; /* under way */

    struct write *write;   /* in flight: at most one (S1) */
    bool frozen;           /* the write uses the tail block itself: nothing is appended to it */
    uint32_t small_writes; /* since the last zeros ahead */
    uint32_t job_count;
    struct list_node dirty_node;
    struct list_node quiet_node;
    struct list_node starved_node;
    struct list_node rest_node;
    struct list_node tail_node;
    struct list_node refused_node;
    struct list_node broken_node;
    struct list_node ask_node;
    struct list_node remove_node;                     /* store->removing */
    void (*removed)(void *owner, enum status status); /* while removing */
    void *removed_owner;
    struct list_node key_node; /* store->key_wanted */
    uint64_t ask_ns;
    uint64_t idle_since_ns;
    uint64_t uncovered_since_ns;
    struct block_waiter tail_waiter; /* for loading_tail */
    struct block *tail_block;        /* pinned while loading_tail */
};

static inline struct segment *partition_active(const struct partition *partition)
{
    return partition->segment_count == 0 ? NULL : partition->segments[partition->segment_count - 1];
}

/* Whether anybody but the partition holds one of its segments, L2. */
bool partition_is_held(const struct partition *partition);
/* Takes a segment from its partition; who waits for something of it is told. Not dropped. */
void partition_detach(struct segment *segment);
/* Index of the segment that holds `offset`; -1 below the first. */
int32_t partition_segment_of(const struct partition *partition, int64_t offset);
int64_t partition_last_stable(const struct partition *partition);
/* High watermark or last stable offset. */
int64_t partition_limit(const struct partition *partition, enum partition_isolation isolation);
[[nodiscard]] struct producers *partition_new_producers(const struct partition *partition);
/* Begins anew with none; without memory for that the old ones stay. */
enum status partition_forget_producers(struct partition *partition);
/* Room for one more segment in the list. */
[[nodiscard]] bool partition_add_segment(struct partition *partition, struct segment *segment);
/* Places what waits, as far as it goes. Called whenever something that appends wait for came. */
void partition_pump(struct partition *partition);
/* A new segment without an append: the active one is past its retention. */
void partition_roll_idle(struct partition *partition);
/* Answers every waiting append with an error; pending ones too when `pending`. */
void partition_refuse(struct partition *partition, enum status status, bool pending);
void partition_fire_watches(struct partition *partition, bool all);
/* The leader epoch begins at the end of the log. False: the log knows it, or a newer one. */
bool partition_begin_epoch(struct partition *partition);
/* A write failed: P5. The reload follows from upkeep. */
void partition_break(struct partition *partition, int64_t error, const char *what);
/* The high watermark passed the batch, which lies at segment->visible; its memory is still there.
 */
void partition_keys_note(struct segment *segment, struct bytes batch);
/* Blocking: the keys of the active segment, from its log. */
void partition_keys_load(struct partition *partition);
/* After a change of the configuration. */
void partition_keys_configure(struct partition *partition);
/* One batch of a segment into an index: `position` is its place in the segment. */
void partition_keys_feed(struct store *store, struct keyed *keyed, struct bytes batch,
                         int64_t position);
/* A segment that was to end because it cannot have an index ends; the next one has one. */
void partition_keys_catch_up(struct partition *partition);
/* Nobody will make the key tables that are waited for. */
void partition_keys_cancel(struct partition *partition, int64_t fault);
/* A range that is not what was written: refused from now on, told in one line, kept. */
void partition_quarantine(struct partition *partition, const struct quarantine_range *found,
                          const char *what);
/* Blocking: the bytes below D of the block that holds it, against the tail file's running row. */
void partition_check_tail(struct scan *scan, const struct block_row *running);
/* A block failed its sum; upkeep looks at it again. */
void partition_note_rot(struct segment *segment, uint32_t number);
/* Looks for a request in a second, if there is anything that one could be about. */
void partition_ask(struct partition *partition);
/* Leaves FAILED by loading the log again; follows from upkeep. */
void partition_reopen(struct partition *partition);
/* Blocking, at open. */
enum status partition_load_quarantine(struct partition *partition, bool has_ranges,
                                      bool has_request);
[[nodiscard]] struct job *quarantine_write_job(struct partition *partition);
/* Takes the marker out of a control batch; false when it is not one of a transaction. */
bool partition_decode_marker(const uint8_t *batch, size_t size, struct producers_marker *marker);
/* Blocking: runs the ring until nothing of the partition is in flight. */
void partition_drain(struct partition *partition);
/* Lets go of segments and slab: volatile state only. The producers stay. */
void partition_unload(struct partition *partition);
/* Wakes reads and lookups that wait for rows; those that wait for blocks end by themselves. */
void partition_cancel_reads(struct partition *partition);
/* Unloads and frees it; nothing may be in flight. */
void partition_dispose(struct partition *partition);
