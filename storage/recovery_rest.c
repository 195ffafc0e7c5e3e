/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/recovery_rest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/recovery_names.h"
#include "storage/scan.h"

void recovery_copy_name(const struct partition *partition, int64_t base_offset, int64_t position,
                        uint32_t number, char path[STORE_PATH_SIZE])
{
    char suffix[48];
    int size = snprintf(suffix, sizeof(suffix), ".cut-%lld", (long long)position);
    if (number > 1) {
        snprintf(suffix + size, sizeof(suffix) - (size_t)size, "-%u", number);
    }
    store_path_offset(partition->store, path, partition->name, base_offset, suffix);
}

/* A block of the log from its start, up to `until`, as its row knows it from the walk: what is read
 * here is about to take the place of what was checked. NULL: it cannot be had. */
static const uint8_t *rest_block(struct scan *scan, int64_t start, int64_t until)
{
    const struct block_row *row = &scan->segment->rows[start / BLOCK_SIZE];
    uint32_t number = (uint32_t)(start / BLOCK_SIZE);
    for (int attempt = 0; attempt < 2; attempt++) {
        const uint8_t *data = scan_bytes(scan, start, until - start);
        if (data == NULL || (row->flags & ROW_SUMMED) == 0 ||
            segment_sum(scan->segment, number, data, (size_t)(until - start)) == row->sum) {
            return data;
        }
        scan_forget(scan); /* it may have been misread */
    }
    return NULL;
}

static int64_t rest_put(struct ring *ring, int64_t file, struct bytes data, int64_t position)
{
    struct iovec slice = {(void *)(uintptr_t)data.data, data.size};
    struct op op = {.kind = OP_WRITE,
                    .file = (int32_t)file,
                    .vector = &slice,
                    .vector_count = 1,
                    .position = (uint64_t)position};
    return ring_call(ring, &op);
}

/* Closes what was opened. 0 or -errno. */
static int64_t rest_end(struct ring *ring, int64_t file, int64_t result)
{
    if (file >= 0) {
        struct op op = {.kind = OP_CLOSE, .file = (int32_t)file};
        (void)ring_call(ring, &op);
    }
    return result < 0 ? result : 0;
}

int64_t recovery_write_range(struct scan *scan, int64_t position, int64_t until)
{
    check(until == scan->segment->size);
    struct store *store = scan->store;
    char path[STORE_PATH_SIZE];
    store_path_offset(store, path, scan->segment->partition->name, scan->segment->base_offset,
                      ".log");
    struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_WRITE};
    int64_t file = ring_call(store->ring, &op);
    int64_t result = file;
    for (int64_t at = position; result >= 0 && at < until;) {
        int64_t start = at / BLOCK_SIZE * BLOCK_SIZE;
        int64_t end = start + BLOCK_SIZE < until ? start + BLOCK_SIZE : until;
        const uint8_t *data = rest_block(scan, start, end);
        if (data == NULL) {
            result = scan->error < 0 ? scan->error : -EIO;
            break;
        }
        result = rest_put(store->ring, file, bytes_of(data + (at - start), (size_t)(end - at)), at);
        at = end;
    }
    return rest_end(store->ring, file, result);
}

/* A copy of its own of [position, until) of the log, synced. 0 or -errno. */
static int64_t rest_write(struct scan *scan, const char *path, int64_t position, int64_t until)
{
    struct store *store = scan->store;
    struct op op = {
        .kind = OP_OPEN, .path = path, .flags = OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE};
    int64_t file = ring_call(store->ring, &op);
    int64_t at = position;
    int64_t result = file;
    while (result >= 0 && at < until) {
        int64_t part = BLOCK_SIZE - at % BLOCK_SIZE;
        part = part < until - at ? part : until - at;
        const uint8_t *data = scan_bytes(scan, at, part);
        if (data == NULL) {
            result = scan->error < 0 ? scan->error : -EIO;
            break;
        }
        result = rest_put(store->ring, file, bytes_of(data, (size_t)part), at - position);
        at += part;
    }
    if (result >= 0) {
        op = (struct op){.kind = OP_SYNC, .file = (int32_t)file};
        result = ring_call(store->ring, &op);
    }
    return rest_end(store->ring, file, result);
}

/* Whether the open file holds nothing but what the log holds from `position` on. -errno. */
static int64_t rest_compare(struct scan *scan, int32_t file, uint8_t *block, int64_t position,
                            int64_t until)
{
    struct ring *ring = scan->store->ring;
    struct op op = {.kind = OP_STAT, .file = file};
    int64_t size = ring_call(ring, &op);
    if (size < 0 || size > until - position) {
        return size < 0 ? size : false;
    }
    for (int64_t at = 0; at < size; at += BLOCK_SIZE) {
        int64_t part = size - at < BLOCK_SIZE ? size - at : BLOCK_SIZE;
        struct iovec slice = {block, (size_t)part};
        op = (struct op){.kind = OP_READ,
                         .file = file,
                         .vector = &slice,
                         .vector_count = 1,
                         .position = (uint64_t)at};
        int64_t result = ring_call(ring, &op);
        const uint8_t *data = result < 0 ? NULL : scan_bytes(scan, position + at, part);
        if (data == NULL) {
            return result < 0 ? result : scan->error < 0 ? scan->error : -EIO;
        }
        if (result != part || memcmp(block, data, (size_t)part) != 0) {
            return false;
        }
    }
    return true;
}

/* Whether a copy may be written to that name: nothing is there, or what a start left that died
 * before the cut. -errno. */
static int64_t rest_is_free(struct scan *scan, const char *path, int64_t position, int64_t until)
{
    struct store *store = scan->store;
    struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_READ};
    int64_t file = ring_call(store->ring, &op);
    if (file < 0) {
        return file == -ENOENT ? true : file;
    }
    uint8_t *block = cache_acquire_run(store, (size_t)BLOCK_SIZE);
    int64_t result = -ENOMEM;
    if (block != NULL) {
        result = rest_compare(scan, (int32_t)file, block, position, until);
        cache_release_run(store, block, (size_t)BLOCK_SIZE);
    }
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    (void)ring_call(store->ring, &op);
    return result;
}

static int64_t rest_copy(struct scan *scan, struct partition *partition, int64_t position,
                         int64_t until)
{
    char path[STORE_PATH_SIZE];
    int64_t result = false;
    for (uint32_t number = 1; result == false && number <= RECOVERY_COPIES_MAX; number++) {
        recovery_copy_name(partition, scan->segment->base_offset, position, number, path);
        result = rest_is_free(scan, path, position, until);
    }
    if (result <= 0) {
        return result == false ? -EEXIST : result;
    }
    result = rest_write(scan, path, position, until);
    return result < 0 ? result : recovery_sync_names(partition);
}

int64_t recovery_keep_rest(struct scan *scan, struct partition *partition, int64_t position,
                           int64_t until)
{
    struct store *store = partition->store;
    int64_t result = rest_copy(scan, partition, position, until);
    if (result < 0) {
        diag_line(store->diag, DIAG_ERROR, "storage/recovery",
                  "bytes behind the last good batch cannot be put aside, so nothing is cut and the "
                  "log is not opened",
                  "partition=%s offset=%lld position=%lld size=%lld error=\"%s\" "
                  "remedy=\"make room for a copy of them in the folder, or repair the disk; then "
                  "start again\"",
                  partition->name, (long long)scan->segment->end_offset, (long long)position,
                  (long long)(until - position), strerrordesc_np((int)-result));
        return result;
    }
    partition->cut_size += (uint64_t)(until - position);
    diag_line(store->diag, DIAG_WARN, "storage/recovery",
              "bytes behind the last good batch are cut; a copy is kept",
              "partition=%s offset=%lld position=%lld size=%lld", partition->name,
              (long long)scan->segment->end_offset, (long long)position,
              (long long)(until - position));
    return 0;
}
