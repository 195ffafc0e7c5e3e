/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/recovery_producers.h"

#include <errno.h>

#include "base/check.h"
#include "storage/folder.h"
#include "storage/partition_state.h"
#include "storage/scan.h"
#include "storage/tail.h"
#include "storage/transaction_index.h"

/* Reads a whole small file into a run. NULL: missing, unreadable or no memory. */
static uint8_t *read_whole(struct store *store, const char *path, size_t *size, size_t *run_size)
{
    int64_t file_size = folder_file_size(store, path);
    if (file_size < 0 || file_size > SEGMENT_SIZE_LIMIT) {
        return NULL;
    }
    *run_size = ((size_t)file_size / (size_t)BLOCK_SIZE + 1) * (size_t)BLOCK_SIZE;
    uint8_t *run = cache_acquire_run(store, *run_size);
    if (run == NULL) {
        return NULL;
    }
    if (folder_read(store, path, store_direct(store), run, *run_size, size) < 0) {
        cache_release_run(store, run, *run_size);
        return NULL;
    }
    return run;
}

/* The newest readable snapshot; its offset, or -1. */
static int64_t load_snapshot(struct partition *partition, const struct folder *folder)
{
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
        uint8_t *run = read_whole(store, path, &size, &run_size);
        if (run == NULL) {
            continue;
        }
        enum status status = producers_decode(partition->producers, bytes_of(run, size), now_ms);
        cache_release_run(store, run, run_size);
        if (status == STATUS_OK) {
            partition->snapshot_offset = offset;
            partition->snapshot_previous = i >= 2 ? folder->snapshots[i - 2] : -1;
            return offset;
        }
    }
    return -1;
}

/* Entries of a segment whose marker lies below `offset`. False: replay instead. */
static bool load_aborted(struct partition *partition, struct segment *segment, int64_t offset)
{
    struct store *store = partition->store;
    char path[STORE_PATH_SIZE];
    store_path_offset(store, path, partition->name, segment->base_offset, ".txnindex");
    size_t size = 0;
    size_t run_size = 0;
    uint8_t *run = read_whole(store, path, &size, &run_size);
    if (run == NULL) {
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

/* Takes the headers of [offset, until) of one segment in. */
static enum status replay_segment(struct partition *partition, struct segment *segment,
                                  int64_t offset, int64_t until)
{
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
    while (status == STATUS_OK && position < segment->size) {
        const uint8_t *data = scan_bytes(&scan, position, BATCH_HEADER_SIZE);
        struct batch_header header;
        if (data == NULL) {
            break;
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
            status = producers_add(partition->producers, &header, marker, now_ms);
        }
        position += size;
    }
    if (scan.error != 0) {
        status = STATUS_KAFKA_STORAGE_ERROR;
    }
    scan_close(&scan);
    return status;
}

static enum status replay(struct partition *partition, int64_t offset, int64_t until)
{
    enum status status = STATUS_OK;
    for (int32_t i = 0; status == STATUS_OK && i < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (segment->end_offset > offset && segment->base_offset < until) {
            status = replay_segment(partition, segment, offset, until);
        }
    }
    return status;
}

static enum status forget_producers(struct partition *partition)
{
    producers_close(partition->producers);
    partition->producers = partition_new_producers(partition);
    return partition->producers == NULL ? STATUS_NO_MEMORY : STATUS_OK;
}

/* Aborted transactions below `from`, as the segments' indexes name them. *whole false: one is
 * missing, and all are to be found again in the log. */
static void load_all_aborted(struct partition *partition, int64_t from, bool *whole)
{
    *whole = true;
    for (int32_t i = 0; *whole && i < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (segment->aborted && segment->base_offset < from) {
            *whole = !segment->rebuilt && load_aborted(partition, segment, from);
        }
    }
}

enum status recovery_load_producers(struct partition *partition, const struct folder *folder)
{
    enum status status = STATUS_OK;
    int64_t snapshot = load_snapshot(partition, folder);
    int64_t from = snapshot;
    /* The newest statement that there is nothing to know counts as a snapshot. */
    for (int32_t i = partition->segment_count - 1; status == STATUS_OK && i >= 0; i--) {
        struct segment *segment = partition->segments[i];
        if (segment->producers_none_offset > from &&
            segment->producers_none_offset <= partition->end_offset) {
            from = segment->producers_none_offset;
            snapshot = -1;
            status = forget_producers(partition);
        }
    }
    bool whole = true;
    if (status == STATUS_OK && from >= 0) {
        load_all_aborted(partition, from, &whole);
    }
    int64_t start = partition->segments[0]->base_offset;
    if (status == STATUS_OK && !whole) {
        status = forget_producers(partition);
        if (status == STATUS_OK && snapshot >= 0) {
            /* For the aborted transactions alone: the snapshot knows producers from before the
             * log's start too. */
            status = replay(partition, start, snapshot);
            if (status == STATUS_OK && load_snapshot(partition, folder) != snapshot) {
                snapshot = -1; /* read a second time it was not there, or another one was */
                status = forget_producers(partition);
            }
        }
        from = snapshot;
    }
    if (status == STATUS_OK) {
        status = replay(partition, from < start ? start : from, INT64_MAX);
    }
    partition->snapshot_position = partition_active(partition)->log_position;
    return status;
}
