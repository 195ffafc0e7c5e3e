/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/recovery_producers.h"

#include <errno.h>

#include "base/check.h"
#include "storage/folder.h"
#include "storage/hint_reader.h"
#include "storage/partition_state.h"
#include "storage/recovery.h"
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
        char path[STORE_PATH_SIZE];
        store_path_offset(store, path, partition->name, offset, ".snapshot");
        if (offset > partition->end_offset) {
            /* Of a log that was longer: it must not be believed when this one gets there. */
            struct op op = {.kind = OP_UNLINK, .path = path};
            (void)ring_call(store->ring, &op);
            continue;
        }
        if (offset < partition->log_start_offset) {
            continue;
        }
        size_t size = 0;
        size_t run_size = 0;
        uint8_t *run = NULL;
        int64_t result = read_whole(store, path, &run, &size, &run_size);
        if (result < 0 && result != -ENOENT) {
            return result == -ENOMEM ? STATUS_NO_MEMORY : STATUS_KAFKA_STORAGE_ERROR;
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

/* Takes the headers of [offset, until) of one segment in. */
static enum status replay_segment(struct producers *producers, struct segment *segment,
                                  int64_t offset, int64_t until)
{
    struct partition *partition = segment->partition;
    struct scan scan;
    if (scan_open(&scan, segment) < 0) {
        return STATUS_KAFKA_STORAGE_ERROR;
    }
    int64_t now_ms = ring_wall_ms(partition->store->ring);
    int64_t position = 0;
    if (segment->rows_loaded) {
        int32_t row = segment_row_of(segment, offset);
        position = row < 0 ? 0 : segment->rows[row].position;
    }
    enum status status = STATUS_OK;
    uint32_t unsettled = 0;
    while (status == STATUS_OK && position < segment->size) {
        const uint8_t *data = scan_bytes(&scan, position, BATCH_HEADER_SIZE);
        struct batch_header header;
        if (data == NULL) {
            break;
        }
        const struct quarantine_range *range =
            quarantine_at_position(&partition->quarantine, segment->base_offset, position);
        if (range != NULL && range->position_from <= position) {
            position = range->position_until; /* what it said of producers is lost */
            continue;
        }
        batch_header_decode(&header, data);
        int64_t size = batch_size_of(data);
        if (!segment_header_is_sane(&header) || position + size > segment->size) {
            break; /* rot: reads of it are refused, what it said of producers is lost */
        }
        if (header.base_offset >= until) {
            break;
        }
        if (batch_last_offset(&header) >= offset && header.producer_id >= 0) {
            struct producers_marker marker = {0};
            if ((header.attributes & BATCH_CONTROL) != 0) {
                const uint8_t *batch =
                    size <= SCAN_RUN_SIZE - BLOCK_SIZE ? scan_bytes(&scan, position, size) : NULL;
                if (batch != NULL) {
                    (void)partition_decode_marker(batch, (size_t)size, &marker);
                }
                segment->aborted = segment->aborted || (marker.is_marker && !marker.is_commit);
            }
            status = producers_add(producers, &header, marker, now_ms);
            /* What lies here is below the high watermark. */
            unsettled += marker.is_marker ? 1 : 0;
            if (unsettled == REPLAY_SETTLE_COUNT) {
                (void)producers_first_unstable(producers, batch_last_offset(&header) + 1);
                unsettled = 0;
            }
        }
        position += size;
    }
    if (unsettled > 0) {
        (void)producers_first_unstable(producers,
                                       until < segment->end_offset ? until : segment->end_offset);
    }
    if (scan.error != 0) {
        status = STATUS_KAFKA_STORAGE_ERROR;
    }
    scan_close(&scan);
    return status;
}

static void know_run(struct job *job)
{
    JOB_BEGIN(job);
    JOB_CALL(job, job_wait_rows(job, job->segment));
    segment_drop(job->segment);
    JOB_END(job, job->op.result);
}

enum status recovery_know(struct segment *segment)
{
    if (segment->known) {
        return STATUS_OK;
    }
    int64_t result = segment->hinted ? job_wait(hint_read_job(segment, HINT_FACTS)) : -ENOENT;
    if (result == -EBADMSG || result == -ENOENT) {
        /* Through the segment's own door: somebody else may be rebuilding it. */
        struct job *job = job_take(segment->store, segment->partition, know_run);
        if (job != NULL) {
            job->segment = segment;
            segment_hold(segment);
        }
        result = job_wait(job);
    }
    return result == 0         ? STATUS_OK
           : result == -ENOMEM ? STATUS_NO_MEMORY
                               : STATUS_KAFKA_STORAGE_ERROR;
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
    int64_t snapshot;
    enum status status = load_snapshot(partition, folder, &snapshot);
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
