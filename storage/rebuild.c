/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/rebuild.h"

#include <errno.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/tend.h"
#include "storage/transaction_index.h"
#include "storage/walk.h"

#define REBUILD_PIECE_SIZE (INT64_C(16) * BLOCK_SIZE)

/* Lies behind the piece in the job's run. */
struct rebuild {
    struct walk walk;
    struct segment *segment;
    int64_t end_offset; /* as the next segment's name says; batches move the segment's */
    int64_t file_size;
    uint64_t abort_count; /* markers seen */
    bool refused;         /* the heap */
    int64_t damage_until; /* offset; -1: none */
};

#define REBUILD_RUN_SIZE ((size_t)(REBUILD_PIECE_SIZE + BLOCK_SIZE))
_Static_assert(sizeof(struct rebuild) <= BLOCK_SIZE, "the state takes one block");

static struct rebuild *rebuild_of(struct job *job)
{
    return (void *)(job->memory + REBUILD_PIECE_SIZE);
}

static void rebuild_batch(struct walk *walk, const struct walk_batch *batch)
{
    struct rebuild *rebuild = walk->owner;
    struct segment *segment = rebuild->segment;
    if (!segment_reserve_rows(segment, batch->position + batch->size)) {
        rebuild->refused = true;
        return;
    }
    segment_note_batch(segment, batch->position, &batch->header, batch->size);
    struct producers_marker marker;
    if ((batch->header.attributes & BATCH_CONTROL) != 0 && batch->size <= WALK_HEAD_SIZE &&
        partition_decode_marker(batch->head, (size_t)batch->size, &marker) && !marker.is_commit) {
        rebuild->abort_count += 1;
    }
}

static void rebuild_damage(struct walk *walk, const struct walk_damage *damage)
{
    struct rebuild *rebuild = walk->owner;
    rebuild->damage_until = damage->offset_until;
    struct quarantine_range range = {
        .base_offset = rebuild->segment->base_offset,
        .position_from = damage->position_from,
        .position_until = damage->position_until,
        .offset_from = damage->offset_from,
        .offset_until = damage->offset_until,
    };
    partition_quarantine(rebuild->segment->partition, &range, damage->what);
}

/* Sums of the blocks of a piece; the last one may be partial. */
static void rebuild_sums(struct rebuild *rebuild, int64_t start, const uint8_t *data, int64_t size)
{
    struct segment *segment = rebuild->segment;
    if (!segment_reserve_rows(segment, start + size)) {
        rebuild->refused = true;
        return;
    }
    for (int64_t at = 0; at < size; at += BLOCK_SIZE) {
        uint32_t number = (uint32_t)((start + at) / BLOCK_SIZE);
        int64_t part = size - at < BLOCK_SIZE ? size - at : BLOCK_SIZE;
        segment->rows[number].sum = segment_sum(segment, number, data + at, (size_t)part);
        segment->rows[number].flags |= ROW_SUMMED;
    }
}

static void rebuild_take(struct job *job)
{
    struct rebuild *rebuild = rebuild_of(job);
    struct segment *segment = rebuild->segment;
    int64_t start = job->position;
    int64_t size = job->op.result;
    int64_t left = rebuild->walk.size - start;
    size = size < left ? size : left;
    walk_feed(&rebuild->walk, job->memory, (size_t)size);
    if (!segment->known && rebuild->walk.state == WALK_DONE) {
        /* Space taken ahead may follow: the log ends where the next segment's offset is reached. A
         * header that was looked at in vain may have begun in the piece before. */
        size = rebuild->walk.position > start ? rebuild->walk.position - start : 0;
        rebuild->walk.size = start + size;
    }
    rebuild_sums(rebuild, start, job->memory, size);
    job->position += REBUILD_PIECE_SIZE;
}

/* Without compaction one segment ends where the next begins: what lacks between them was lost. */
static void rebuild_note_hole(struct rebuild *rebuild)
{
    const struct partition *partition = rebuild->segment->partition;
    int64_t offset = rebuild->walk.offset;
    offset = offset < rebuild->damage_until ? rebuild->damage_until : offset;
    if (offset < rebuild->end_offset && !partition->config.compact) {
        struct walk_damage hole = {
            .what = "log ends before the next segment",
            .position_from = rebuild->walk.size,
            .position_until = rebuild->walk.size,
            .offset_from = offset,
            .offset_until = rebuild->end_offset,
        };
        rebuild_damage(&rebuild->walk, &hole);
    }
}

/* Rows behind the last batch, and the facts. False: the heap refuses. */
static bool rebuild_finish(struct rebuild *rebuild)
{
    struct segment *segment = rebuild->segment;
    int64_t size = rebuild->walk.size;
    walk_end(&rebuild->walk);
    rebuild_note_hole(rebuild);
    if (rebuild->refused || !segment_reserve_rows(segment, size)) {
        return false;
    }
    uint32_t count = (uint32_t)((size + BLOCK_SIZE - 1) / BLOCK_SIZE);
    while (segment->row_count < count) {
        struct block_row *row = &segment->rows[segment->row_count];
        row->position = ROW_NONE;
        row->timestamp_max = segment->timestamp_max;
        segment->row_count += 1;
    }
    segment->end_offset = rebuild->end_offset;
    segment->timestamp_visible = segment->timestamp_max;
    segment->size = segment->durable = segment->visible = size;
    segment->allocated = segment->written_until = rebuild->file_size;
    segment->known = segment->rows_loaded = segment->rebuilt = true;
    segment->aborted = rebuild->abort_count > 0;
    segment->aborted_until = rebuild->end_offset;
    segment->hinted = segment->finished = false; /* a hint follows */
    segment->keys = SEGMENT_KEYS_ABSENT;
    segment->tail_rows = 0;
    return true;
}

static void rebuild_start(struct job *job, int64_t file_size)
{
    struct rebuild *rebuild = rebuild_of(job);
    struct segment *segment = job->segment;
    int64_t size = segment->known ? segment->size : file_size;
    *rebuild = (struct rebuild){
        .segment = segment,
        .end_offset = segment->end_offset,
        .file_size = file_size,
        .damage_until = -1,
        .walk = {.offset = segment->base_offset,
                 .offset_until = segment->end_offset,
                 .size = size,
                 .batch = rebuild_batch,
                 .damage = rebuild_damage,
                 .owner = rebuild},
    };
    segment_unload_rows(segment);
    segment->timestamp_first = segment->timestamp_max = -1;
}

/* Whether `.txnindex`, just read, names every abort marker that was seen; takes it in. */
static bool rebuild_take_aborted(struct job *job, uint64_t count)
{
    struct bytes text = bytes_of(job->memory, job->op.result < 0 ? 0 : (size_t)job->op.result);
    uint64_t found = 0;
    struct producers_aborted entry;
    while (transaction_index_decode(text, found, &entry)) {
        if (entry.last_offset < job->segment->base_offset ||
            entry.last_offset >= job->segment->end_offset ||
            producers_restore_aborted(job->partition->producers, &entry) != STATUS_OK) {
            return false;
        }
        found += 1;
    }
    return found == count;
}

/* A reload needs it itself: the partition is broken until that is done. */
static bool rebuild_is_over(const struct job *job)
{
    const struct partition *partition = job->partition;
    return partition->closing || partition->removing || (partition->broken && !partition->loading);
}

static void rebuild_report(const struct job *job, const struct rebuild *rebuild)
{
    diag_line(job->store->diag, DIAG_WARN, "storage/rebuild",
              "hint was missing or damaged; rebuilt from the log",
              "partition=%s base_offset=%lld size=%lld damaged=%d", job->partition->name,
              (long long)job->segment->base_offset, (long long)rebuild->walk.size,
              rebuild->damage_until >= 0);
}

/* The log, piece by piece. */
static void rebuild_scan_run(struct job *job)
{
    struct rebuild *rebuild = rebuild_of(job);
    JOB_BEGIN(job);
    JOB_CALL(job, job_use_file(job, job->segment));
    if (job->op.result < 0) {
        return job_end(job, job->op.result);
    }
    job->file = (int32_t)job->op.result;
    JOB_AWAIT(job, .kind = OP_STAT, .file = job->file);
    if (job->op.result < 0) {
        goto end;
    }
    rebuild_start(job, job->op.result);
    job->position = 0;
    while (job->position < rebuild->walk.size && rebuild->walk.state != WALK_DONE) {
        job->slice = (struct iovec){job->memory, (size_t)REBUILD_PIECE_SIZE};
        JOB_AWAIT(job, .kind = OP_READ, .file = job->file, .vector = &job->slice, .vector_count = 1,
                  .position = (uint64_t)job->position);
        if (rebuild_is_over(job)) {
            job->op.result = -ECANCELED;
        }
        if (job->op.result < 0) {
            goto end;
        }
        if (job->op.result == 0) {
            break; /* shorter than it was: the rest is damage */
        }
        rebuild_take(job);
    }
    job->op.result = rebuild_finish(rebuild) ? 0 : -ENOMEM;
end:
    job->size = job->op.result;
    file_unuse(job->store, job->segment);
    JOB_END(job, job->size);
}

static struct job *scan_job(struct job *parent)
{
    struct job *job = job_take(parent->store, parent->partition, rebuild_scan_run);
    if (job != NULL) {
        job->segment = parent->segment;
        job->memory = parent->memory;
    }
    return job;
}

static void rebuild_run(struct job *job)
{
    struct segment *segment = job->segment;
    JOB_BEGIN(job);
    JOB_CALL(job, job_call(job, scan_job(job)));
    if (job->op.result < 0) {
        segment->end_offset = job->position;
        segment_unload_rows(segment);
        goto end;
    }
    rebuild_report(job, rebuild_of(job));
    if (rebuild_of(job)->abort_count == 0 || segment->aborted_loaded) {
        segment->aborted_loaded = true;
        goto end;
    }
    store_path_offset(job->store, job->path, job->partition->name, segment->base_offset,
                      ".txnindex");
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path, .flags = OPEN_READ);
    if (job->op.result >= 0) {
        job->file = (int32_t)job->op.result;
        job->slice = (struct iovec){job->memory, (size_t)REBUILD_PIECE_SIZE};
        JOB_AWAIT(job, .kind = OP_READ, .file = job->file, .vector = &job->slice,
                  .vector_count = 1);
        job->size = job->op.result;
        JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
        job->op.result = job->size;
    }
    segment->aborted_loaded = rebuild_take_aborted(job, rebuild_of(job)->abort_count);
    job->op.result = segment->aborted_loaded ? 0 : -EBADMSG;
end:
    segment_drop(segment);
    cache_release_run(job->store, job->memory, job->memory_size);
    JOB_END(job, job->op.result < 0 ? job->op.result : 0);
}

struct job *rebuild_job(struct segment *segment)
{
    struct store *store = segment->store;
    struct job *job = job_take_memory(store, segment->partition, rebuild_run, REBUILD_RUN_SIZE);
    if (job == NULL) {
        return NULL;
    }
    job->segment = segment;
    job->position = segment->end_offset;
    segment_hold(segment);
    return job;
}
