/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/recovery_names.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "storage/folder.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/recovery_rest.h"
#include "storage/scan.h"

int64_t recovery_sync_folder(struct store *store, const char *path)
{
    struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_READ | OPEN_DIRECTORY};
    int64_t file = ring_call(store->ring, &op);
    if (file < 0) {
        return file;
    }
    op = (struct op){.kind = OP_SYNC, .file = (int32_t)file};
    int64_t result = ring_call(store->ring, &op);
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    (void)ring_call(store->ring, &op);
    return result;
}

/* R6: whoever made these names may have died before they were synced. */
int64_t recovery_sync_names(struct partition *partition)
{
    struct store *store = partition->store;
    char path[STORE_PATH_SIZE];
    if (PLANTED(NAMES_BELIEVED)) {
        return 0;
    }
    store_path(store, path, partition->name, NULL, NULL);
    int64_t result = recovery_sync_folder(store, path);
    if (result >= 0 && !store->names_synced) {
        result = recovery_sync_folder(store, store->data_dir);
        store->names_synced = result >= 0; /* later ones are synced by who makes them */
    }
    if (result < 0) {
        (void)folder_refuse(partition, path, result);
    }
    return result;
}

static bool recovery_is_empty(struct partition *partition, int64_t base_offset)
{
    struct segment *segment = segment_open(partition->store, partition, base_offset);
    struct scan scan;
    bool empty = false;
    if (segment == NULL) {
        return false;
    }
    if (scan_open(&scan, segment) == 0) {
        empty = scan_nonzero(&scan, 0, scan.file_size) < 0 && scan.error == 0;
        scan_close(&scan);
    }
    segment_drop(segment);
    return empty;
}

/* A name that is wrong where it stands and cannot be taken away: with it the next start would take
 * for the log what is none, and cut what is. */
static enum status recovery_unnamed(struct partition *partition, const char *path, int64_t result)
{
    if (result >= 0 || result == -ENOENT) {
        return STATUS_OK;
    }
    diag_line(partition->store->diag, DIAG_ERROR, "storage/recovery",
              "file that is no part of the log cannot be taken away; the log stays closed",
              "partition=%s file=%s error=\"%s\" remedy=\"see to the disk, then start the broker "
              "again, or "
              "weir log reopen where the log was open before\"",
              partition->name, path, strerrordesc_np((int)-result));
    return STATUS_KAFKA_STORAGE_ERROR;
}

enum status recovery_unlink(struct partition *partition, int64_t base_offset, const char *suffix)
{
    char path[STORE_PATH_SIZE];
    store_path_offset(partition->store, path, partition->name, base_offset, suffix);
    struct op op = {.kind = OP_UNLINK, .path = path};
    return recovery_unnamed(partition, path, ring_call(partition->store->ring, &op));
}

static void recovery_tell_aside(struct partition *partition, int64_t base_offset, const char *path)
{
    struct store *store = partition->store;
    int64_t size = folder_file_size(store, path);
    diag_line(store->diag, DIAG_WARN, "storage/recovery",
              "segment does not continue the log and is put aside",
              "partition=%s first_offset=%lld size=%lld file=%s remedy=\"its records are not "
              "served; copied as %020lld.log into a folder of its own weir log dump reads it\"",
              partition->name, (long long)base_offset, (long long)size, path,
              (long long)base_offset);
}

/* A name of a copy at which nothing stands: what was put aside before is not written over. */
static enum status recovery_free_name(struct partition *partition, int64_t base_offset,
                                      char path[STORE_PATH_SIZE])
{
    for (uint32_t number = 1; number <= RECOVERY_COPIES_MAX; number++) {
        recovery_copy_name(partition, base_offset, 0, number, path);
        int64_t result = folder_file_size(partition->store, path);
        if (result == -ENOENT) {
            return STATUS_OK;
        }
        if (result < 0) {
            return recovery_unnamed(partition, path, result);
        }
    }
    return recovery_unnamed(partition, path, -EEXIST);
}

/*
 * Files that were made ahead go when they are empty; whatever else cannot follow is kept aside. The
 * log goes last: as long as one of them is there, the next start comes here again.
 */
static enum status recovery_drop_file(struct partition *partition, int64_t base_offset)
{
    struct store *store = partition->store;
    bool empty = recovery_is_empty(partition, base_offset);
    static const char *const beside[] = {".tail", ".hint", ".txnindex"};
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < ARRAY_COUNT(beside); i++) {
        status = recovery_unlink(partition, base_offset, beside[i]);
    }
    if (status != STATUS_OK) {
        return status;
    }
    char path[STORE_PATH_SIZE];
    char path_target[STORE_PATH_SIZE];
    store_path_offset(store, path, partition->name, base_offset, ".log");
    status = empty ? STATUS_OK : recovery_free_name(partition, base_offset, path_target);
    if (status != STATUS_OK) {
        return status;
    }
    struct op op = {
        .kind = empty ? OP_UNLINK : OP_RENAME, .path = path, .path_target = path_target};
    status = recovery_unnamed(partition, path, ring_call(store->ring, &op));
    if (status == STATUS_OK && !empty) {
        recovery_tell_aside(partition, base_offset, path_target);
    }
    return status;
}

enum status recovery_drop_files(struct partition *partition, const struct folder *folder,
                                uint32_t first)
{
    enum status status = STATUS_OK;
    for (uint32_t i = first; status == STATUS_OK && i < folder->base_count; i++) {
        status = recovery_drop_file(partition, folder->bases[i]);
    }
    return status;
}

enum status recovery_renew(struct partition *partition, int64_t base_offset)
{
    struct store *store = partition->store;
    char path[STORE_PATH_SIZE];
    enum status status = recovery_drop_file(partition, base_offset);
    if (status != STATUS_OK) {
        return status;
    }
    store_path_offset(store, path, partition->name, base_offset, ".log");
    struct op op = {
        .kind = OP_OPEN, .path = path, .flags = OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE};
    int64_t file = ring_call(store->ring, &op);
    if (file < 0) {
        return folder_refuse(partition, path, file);
    }
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    (void)ring_call(store->ring, &op);
    return recovery_sync_names(partition) < 0 ? STATUS_KAFKA_STORAGE_ERROR : STATUS_OK;
}
