/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/recovery_producers.h"

#include <errno.h>

#include "base/check.h"
#include "storage/folder.h"
#include "storage/hint_reader.h"
#include "storage/partition_state.h"
#include "storage/recovery.h"
#include "storage/recovery_names.h"
#include "storage/scan.h"
#include "storage/tail.h"
#include "storage/transaction_index.h"

/* Reads a whole small file into a run: 0 or -errno. */
static int64_t read_whole(struct store *store, const char *path, uint8_t **run, size_t *size,
                          size_t *run_size)
{
    int64_t file_size = folder_file_size(store, path);
    if (file_size < 0 || file_size > SEGMENT_SIZE_LIMIT) {
        return file_size < 0 ? file_size : -EFBIG;
    }
    *run_size = ((size_t)file_size / (size_t)BLOCK_SIZE + 1) * (size_t)BLOCK_SIZE;
    *run = cache_acquire_run(store, *run_size);
    if (*run == NULL) {
        return -ENOMEM;
    }
    int64_t result = folder_read(store, path, store_direct(store), *run, *run_size, size);
    if (result < 0) {
        cache_release_run(store, *run, *run_size);
    }
    return result;
}

/* Snapshots of a log that was longer go for good: one that stays, or comes back with a power cut,
 * would be believed when this log gets there. */
static enum status drop_snapshots(struct partition *partition, const struct folder *folder)
{
    enum status status = STATUS_OK;
    bool dropped = false;
    for (uint32_t i = folder->snapshot_count; status == STATUS_OK && i > 0; i--) {
        if (folder->snapshots[i - 1] <= partition->end_offset) {
            break;
        }
        status = recovery_unlink(partition, folder->snapshots[i - 1], ".snapshot");
        dropped = true;
    }
    if (status == STATUS_OK && dropped && recovery_sync_names(partition) < 0) {
        status = STATUS_KAFKA_STORAGE_ERROR;
    }
    return status;
}

/* The newest good snapshot; its offset, or -1. One that the disk does not give is not passed over:
 * what the log behind it knows of producers is less. */
static enum status load_snapshot(struct partition *partition, const struct folder *folder,
                                 int64_t *found)
{
    *found = -1;
    struct store *store = partition->store;
    int64_t now_ms = ring_wall_ms(store->ring);
    for (uint32_t i = folder->snapshot_count; i > 0; i--) {
        int64_t offset = folder->snapshots[i - 1];
        if (offset > partition->end_offset || offset < partition->log_start_offset) {
            continue;
        }
        char path[STORE_PATH_SIZE];
        store_path_offset(store, path, partition->name, offset, ".snapshot");
        size_t size = 0;
        size_t run_size = 0;
        uint8_t *run = NULL;
        int64_t result = read_whole(store, path, &run, &size, &run_size);
        if (result < 0 && result != -ENOENT) {
            return folder_refuse(partition, path, result);
        }
        if (result < 0) {
            continue;
        }
        enum status status = producers_decode(partition->producers, bytes_of(run, size), now_ms);
        cache_release_run(store, run, run_size);
        if (status == STATUS_OK) {
            partition->snapshot_offset = offset;
            partition->snapshot_previous = i >= 2 ? folder->snapshots[i - 2] : -1;
            *found = offset;
            break;
        }
    }
    return STATUS_OK;
}

/* Entries of a segment whose marker lies below `offset`. False: replay instead. */
static bool load_aborted(struct partition *partition, struct segment *segment, int64_t offset)
{
    struct store *store = partition->store;
    char path[STORE_PATH_SIZE];
    store_path_offset(store, path, partition->name, segment->base_offset, ".txnindex");
    size_t size = 0;
    size_t run_size = 0;
    uint8_t *run = NULL;
    if (read_whole(store, path, &run, &size, &run_size) < 0) {
        return false;
    }
    bool good = size % TRANSACTION_INDEX_ENTRY_SIZE == 0 &&
                (segment->aborted_sum == 0 ||
                 segment->aborted_sum == transaction_index_sum(segment, bytes_of(run, size)));
    for (size_t i = 0; good && i < size / TRANSACTION_INDEX_ENTRY_SIZE; i++) {
        struct producers_aborted entry;
        good = transaction_index_decode(bytes_of(run, size), i, &entry);
        if (good && entry.last_offset < offset) {
            good = producers_restore_aborted(partition->producers, &entry) == STATUS_OK;
        }
    }
    cache_release_run(store, run, run_size);
    segment->aborted_until = offset < segment->end_offset ? offset : segment->end_offset;
    return good;
}

/* Ended transactions are kept until they are known to be settled. */
#define REPLAY_SETTLE_COUNT 4096

static void know_run(struct job *job)
{
    JOB_BEGIN(job);
    JOB_CALL(job, job_wait_rows(job, job->segment));
    segment_drop(job->segment);
    JOB_END(job, job->op.result);
}

static enum status status_of(const struct segment *segment, int64_t result)
{
    if (result >= 0) {
        return STATUS_OK;
    }
    char path[STORE_PATH_SIZE];
    store_path_offset(segment->store, path, segment->partition->name, segment->base_offset, ".log");
    return folder_refuse(segment->partition, path, result);
}

/* Blocking; through the segment's own door: somebody else may be rebuilding it. */
static int64_t load_rows(struct segment *segment)
{
    struct job *job = job_take(segment->store, segment->partition, know_run);
    if (job != NULL) {
        job->segment = segment;
        segment_hold(segment);
    }
    return job_wait(job);
}

enum status recovery_know(struct segment *segment)
{
    if (segment->known) {
        return STATUS_OK;
    }
    int64_t result = segment->hinted ? job_wait(hint_read_job(segment, HINT_FACTS)) : -ENOENT;
    if (result == -EBADMSG || result == -ENOENT) {
        result = load_rows(segment);
    }
    return status_of(segment, result);
}

/* The headers of [offset, until) of one segment. */
struct replay {
    struct producers *producers;
    struct segment *segment;
    struct scan scan;
    int64_t offset;
    int64_t until;
    int64_t position;
    int64_t offset_least; /* of the batch there */
    int64_t now_ms;
    uint32_t unsettled;
};

static enum status replay_batch(struct replay *replay, const struct batch_header *header,
                                int64_t size)
{
    struct segment *segment = replay->segment;
    if (batch_last_offset(header) < replay->offset || header->producer_id < 0) {
        return STATUS_OK;
    }
    struct producers_marker marker = {0};
    if ((header->attributes & BATCH_CONTROL) != 0) {
        const uint8_t *batch = size <= SCAN_RUN_SIZE - BLOCK_SIZE
                                   ? scan_bytes(&replay->scan, replay->position, size)
                                   : NULL;
        if (batch != NULL) {
            (void)partition_decode_marker(batch, (size_t)size, &marker);
        }
        segment->aborted = segment->aborted || (marker.is_marker && !marker.is_commit);
    }
    enum status status = producers_add(replay->producers, header, marker, replay->now_ms);
    /* What lies here is below the high watermark. */
    replay->unsettled += marker.is_marker ? 1 : 0;
    if (replay->unsettled == REPLAY_SETTLE_COUNT) {
        (void)producers_first_unstable(replay->producers, batch_last_offset(header) + 1);
        replay->unsettled = 0;
    }
    return status;
}

static bool replay_is_sound(const struct replay *replay, const struct batch_header *header,
                            int64_t size)
{
    const struct segment *segment = replay->segment;
    return segment_header_is_sane(header) && replay->position + size <= segment->size &&
           header->base_offset >= replay->offset_least &&
           batch_last_offset(header) < segment->end_offset;
}

/* Rot: what it said of producers is lost. Not what others behind it say: a marker that nobody heard
 * of would hold the last stable offset for good. They begin where the next row says. */
static enum status replay_pass_rot(struct replay *replay)
{
    struct segment *segment = replay->segment;
    int64_t position = segment->size;
    if (!segment->rows_loaded && !segment->aborted_lost) { /* its rows wait for who is here */
        enum status status = status_of(segment, load_rows(segment));
        if (status != STATUS_OK) {
            return status;
        }
    }
    for (uint32_t i = 0; segment->rows_loaded && i < segment->row_count; i++) {
        const struct block_row *row = &segment->rows[i];
        if (row->position != ROW_NONE && row->position > replay->position) {
            position = row->position;
            break;
        }
    }
    replay->position = position;
    return STATUS_OK;
}

static enum status replay_walk(struct replay *replay)
{
    struct segment *segment = replay->segment;
    const struct quarantine *quarantine = &segment->partition->quarantine;
    enum status status = STATUS_OK;
    bool again = false; /* it may have been misread */
    while (status == STATUS_OK && replay->position < segment->size) {
        const uint8_t *data = scan_bytes(&replay->scan, replay->position, BATCH_HEADER_SIZE);
        if (data == NULL) {
            break;
        }
        const struct quarantine_range *range =
            quarantine_at_position(quarantine, segment->base_offset, replay->position);
        if (range != NULL && range->position_from <= replay->position) {
            replay->position = range->position_until;
            continue;
        }
        struct batch_header header;
        batch_header_decode(&header, data);
        int64_t size = batch_size_of(data);
        if (!replay_is_sound(replay, &header, size)) {
            status = again ? replay_pass_rot(replay) : STATUS_OK;
            again = !again;
            scan_forget(&replay->scan);
            continue;
        }
        if (header.base_offset >= replay->until) {
            break;
        }
        again = false;
        status = replay_batch(replay, &header, size);
        replay->position += size;
        replay->offset_least = batch_last_offset(&header) + 1;
    }
    return replay->scan.error == 0 ? status : status_of(segment, replay->scan.error);
}

static enum status replay_segment(struct producers *producers, struct segment *segment,
                                  int64_t offset, int64_t until)
{
    struct replay replay = {
        .producers = producers,
        .segment = segment,
        .offset = offset,
        .until = until,
        .offset_least = segment->base_offset,
        .now_ms = ring_wall_ms(segment->store->ring),
    };
    int64_t result = scan_open(&replay.scan, segment);
    if (result < 0) {
        return status_of(segment, result);
    }
    if (segment->rows_loaded) {
        int32_t row = segment_row_of(segment, offset);
        replay.position = row < 0 ? 0 : segment->rows[row].position;
    }
    enum status status = replay_walk(&replay);
    if (replay.unsettled > 0) {
        (void)producers_first_unstable(producers,
                                       until < segment->end_offset ? until : segment->end_offset);
    }
    scan_close(&replay.scan);
    return status;
}

/* Into `producers`, which need not be the partition's own: others use that while this one waits. */
static enum status replay(struct partition *partition, struct producers *producers, int64_t offset,
                          int64_t until)
{
    enum status status = STATUS_OK;
    for (int32_t i = 0; status == STATUS_OK && i < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (segment->end_offset <= offset || segment->base_offset >= until) {
            continue;
        }
        status = recovery_know(segment);
        if (status == STATUS_OK) {
            status = replay_segment(producers, segment, offset, until);
        }
    }
    return status;
}

/* Aborted transactions below `from`, as the segments' indexes name them; what hints know comes from
 * them when somebody asks. *whole false: one is missing, and all are to be found again in the log.
 */
static void load_all_aborted(struct partition *partition, int64_t from, bool *whole)
{
    *whole = true;
    for (int32_t i = 0; *whole && i < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (segment->aborted_loaded && segment->aborted && segment->base_offset < from) {
            *whole = !segment->rebuilt && load_aborted(partition, segment, from);
        }
    }
}

/* The newest statement that there is nothing to know, where it is newer than the snapshot. */
static enum status find_none(struct partition *partition, int64_t *from)
{
    for (int32_t i = partition->segment_count - 1; i >= 0; i--) {
        struct segment *segment = partition->segments[i];
        if (segment->end_offset <= *from && i + 1 < partition->segment_count) {
            break; /* nothing older can be newer than the snapshot */
        }
        enum status status = recovery_know(segment);
        if (status != STATUS_OK) {
            return status;
        }
        if (segment->producers_none_offset > *from &&
            segment->producers_none_offset <= partition->end_offset) {
            *from = segment->producers_none_offset;
            return partition_forget_producers(partition);
        }
    }
    return STATUS_OK;
}

enum status recovery_load_producers(struct partition *partition, const struct folder *folder,
                                    int64_t plain_offset)
{
    int64_t snapshot = -1;
    enum status status = drop_snapshots(partition, folder);
    if (status == STATUS_OK) {
        status = load_snapshot(partition, folder, &snapshot);
    }
    int64_t from = snapshot;
    if (status == STATUS_OK) {
        status = find_none(partition, &from);
    }
    snapshot = from == snapshot ? snapshot : -1;
    bool whole = true;
    if (status == STATUS_OK && from >= 0) {
        load_all_aborted(partition, from, &whole);
    }
    int64_t start = partition->segments[0]->base_offset;
    int64_t replayed = from < start ? start : from;
    if (status == STATUS_OK && !whole) {
        replayed = start;
        status = partition_forget_producers(partition);
        if (status == STATUS_OK && snapshot >= 0) {
            /* For the aborted transactions alone: the snapshot knows producers from before the
             * log's start too. */
            status = replay(partition, partition->producers, start, snapshot);
            int64_t again = -1;
            if (status == STATUS_OK) {
                status = load_snapshot(partition, folder, &again);
            }
            if (status == STATUS_OK && again != snapshot) {
                snapshot = -1; /* read a second time it was not there, or another one was */
                status = partition_forget_producers(partition);
            }
        }
        from = snapshot;
    }
    if (status == STATUS_OK && from < plain_offset) {
        status = replay(partition, partition->producers, from < start ? start : from, INT64_MAX);
    }
    for (int32_t i = 0; i < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (segment->base_offset >= replayed) {
            segment->aborted_loaded = true;
            segment->aborted_lost = false;
        }
    }
    partition->snapshot_position = partition_active(partition)->log_position;
    return status;
}

enum status recovery_replay_aborted(struct partition *partition)
{
    struct producers *scratch = partition_new_producers(partition);
    if (scratch == NULL) {
        return STATUS_NO_MEMORY;
    }
    int64_t until = partition->end_offset;
    enum status status = replay(partition, scratch, 0, until);
    int32_t count = producers_aborted_list(scratch, 0, until, NULL, 0);
    size_t size = (size_t)count * sizeof(struct producers_aborted);
    struct heap *heap = partition->store->heap;
    struct producers_aborted *list = count == 0 ? NULL : heap_acquire(heap, size);
    if (status == STATUS_OK && count > 0 && list == NULL) {
        status = STATUS_NO_MEMORY;
    }
    if (status == STATUS_OK && count > 0) {
        (void)producers_aborted_list(scratch, 0, until, list, count);
        for (int32_t i = 0; status == STATUS_OK && i < count; i++) {
            status = producers_restore_aborted(partition->producers, &list[i]);
        }
    }
    heap_release(heap, list, size);
    producers_close(scratch);
    return status;
}
