/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/scan.h"

#include <errno.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "wire/crc32c.h"

#define BATCH_CRC_FROM 21 /* the CRC covers attributes to the end */

int64_t scan_open(struct scan *scan, struct segment *segment)
{
    struct store *store = segment->store;
    *scan = (struct scan){.store = store, .segment = segment, .file = -1, .sum_from = UINT32_MAX};
    scan->run = cache_acquire_run(store, (size_t)SCAN_RUN_SIZE);
    if (scan->run == NULL) {
        return -ENOMEM;
    }
    char path[STORE_PATH_SIZE];
    store_path_offset(store, path, segment->partition->name, segment->base_offset, ".log");
    struct op op = {
        .kind = OP_OPEN, .path = path, .flags = OPEN_READ | OPEN_WRITE | store_direct(store)};
    int64_t file = ring_call(store->ring, &op);
    if (file < 0) {
        scan_close(scan);
        return file;
    }
    scan->file = (int32_t)file;
    op = (struct op){.kind = OP_STAT, .file = scan->file};
    scan->file_size = ring_call(store->ring, &op);
    if (scan->file_size < 0) {
        int64_t error = scan->file_size;
        scan_close(scan);
        return error;
    }
    return 0;
}

void scan_close(struct scan *scan)
{
    if (scan->file >= 0) {
        struct op op = {.kind = OP_CLOSE, .file = scan->file};
        (void)ring_call(scan->store->ring, &op);
        scan->file = -1;
    }
    if (scan->run != NULL) {
        cache_release_run(scan->store, scan->run, (size_t)SCAN_RUN_SIZE);
        scan->run = NULL;
    }
}

static void scan_sum_blocks(struct scan *scan)
{
    struct segment *segment = scan->segment;
    if (scan->sum_from == UINT32_MAX) {
        return;
    }
    if (!segment_reserve_rows(segment, scan->end)) {
        scan->error = -ENOMEM;
        return;
    }
    for (int64_t at = scan->start; at + BLOCK_SIZE <= scan->end; at += BLOCK_SIZE) {
        uint32_t number = (uint32_t)(at / BLOCK_SIZE);
        if (number >= scan->sum_from) {
            struct block_row *row = &segment->rows[number];
            row->sum =
                segment_sum(segment, number, scan->run + (at - scan->start), (size_t)BLOCK_SIZE);
            row->flags |= ROW_SUMMED;
        }
    }
}

/* A look at one header costs one block; a walk soon reads whole runs. */
static void scan_fill(struct scan *scan, int64_t position, int64_t size)
{
    int64_t start = position / BLOCK_SIZE * BLOCK_SIZE;
    int64_t wanted = scan->end == 0 || start < scan->start ? BLOCK_SIZE : scan->read_size * 2;
    while (wanted < position + size - start) {
        wanted *= 2;
    }
    scan->read_size = wanted < SCAN_RUN_SIZE ? wanted : SCAN_RUN_SIZE;
    struct iovec slice = {scan->run, (size_t)scan->read_size};
    scan->start = start;
    scan->end = scan->start;
    struct op op = {.kind = OP_READ,
                    .file = scan->file,
                    .vector = &slice,
                    .vector_count = 1,
                    .position = (uint64_t)scan->start};
    int64_t result = ring_call(scan->store->ring, &op);
    if (result < 0) {
        scan->error = result;
        return;
    }
    scan->end = scan->start + result;
    scan_sum_blocks(scan);
}

const uint8_t *scan_bytes(struct scan *scan, int64_t position, int64_t size)
{
    check(size <= SCAN_RUN_SIZE - BLOCK_SIZE && position >= 0);
    if (scan->error != 0 || position + size > scan->file_size) {
        return NULL;
    }
    if (position < scan->start || position + size > scan->end) {
        scan_fill(scan, position, size);
        if (scan->error == 0 && position + size > scan->end) {
            scan->error = -EIO; /* taken for the end of the file, it would be cut here */
        }
        if (scan->error != 0) {
            return NULL;
        }
    }
    return scan->run + (position - scan->start);
}

void scan_forget(struct scan *scan)
{
    scan->end = scan->start;
}

bool scan_crc(struct scan *scan, int64_t position, int64_t size, uint32_t *crc)
{
    int64_t at = position + BATCH_CRC_FROM;
    int64_t end = position + size;
    *crc = 0;
    while (at < end) {
        int64_t part = SCAN_RUN_SIZE - BLOCK_SIZE;
        /* What the run holds already is taken first, so that nothing is read twice. */
        if (at >= scan->start && at < scan->end && scan->end - at < part) {
            part = scan->end - at;
        }
        part = part < end - at ? part : end - at;
        const uint8_t *data = scan_bytes(scan, at, part);
        if (data == NULL) {
            return false;
        }
        *crc = crc32c(*crc, data, (size_t)part);
        at += part;
    }
    return true;
}

/* Space that was taken and never written is not read: its zeros cost as much as bytes. */
static int64_t scan_pass_hole(struct scan *scan, int64_t position)
{
    if (position >= scan->start && position < scan->end) {
        return position;
    }
    struct op op = {.kind = OP_DATA, .file = scan->file, .position = (uint64_t)position};
    int64_t result = ring_call(scan->store->ring, &op);
    return result == -ENXIO ? scan->file_size : result < position ? position : result;
}

int64_t scan_nonzero(struct scan *scan, int64_t position, int64_t gap)
{
    int64_t until = position + gap < scan->file_size ? position + gap : scan->file_size;
    while ((position = scan_pass_hole(scan, position)) < until) {
        int64_t part = BLOCK_SIZE - position % BLOCK_SIZE;
        part = part < until - position ? part : until - position;
        const uint8_t *data = scan_bytes(scan, position, part);
        if (data == NULL) {
            return -1;
        }
        bool zeros = data[0] == 0 && memcmp(data, data + 1, (size_t)part - 1) == 0;
        for (int64_t i = 0; !zeros && i < part; i++) {
            if (data[i] != 0) {
                return position + i;
            }
        }
        position += part;
    }
    return -1;
}

static bool scan_is_good(struct scan *scan, const struct scan_walk *walk,
                         const struct batch_header *header, int64_t size)
{
    if (!segment_header_is_sane(header) || walk->position + size > scan->file_size ||
        walk->position + size > SEGMENT_SIZE_LIMIT || header->base_offset < walk->offset ||
        (walk->dense && header->base_offset != walk->offset) ||
        header->leader_epoch < walk->epoch) {
        return false;
    }
    uint32_t crc;
    return scan_crc(scan, walk->position, size, &crc) &&
           (crc == header->crc || PLANTED(TORN_ACCEPTED));
}

/* The batch under the walk. One that is bad is read once more: taken for the end of the log, bytes
 * that were misread would be cut with all that follows. Zeros are what lies behind an end. */
static bool scan_judge(struct scan *scan, const struct scan_walk *walk, struct batch_header *header,
                       int64_t *size)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        const uint8_t *data = scan_bytes(scan, walk->position, BATCH_HEADER_SIZE);
        *size = data == NULL ? 0 : batch_size_of(data);
        if (data == NULL) {
            return false;
        }
        batch_header_decode(header, data);
        if (scan_is_good(scan, walk, header, *size)) {
            if (attempt > 0) {
                diag_line(
                    scan->store->diag, DIAG_WARN, "storage/scan",
                    "batch was misread once and is right now; the device or memory is failing",
                    "partition=%s base_offset=%lld position=%lld", scan->segment->partition->name,
                    (long long)scan->segment->base_offset, (long long)walk->position);
            }
            return true;
        }
        if (scan->error != 0 || (header->magic == 0 && header->batch_length == 0)) {
            return false;
        }
        scan_forget(scan);
    }
    return false;
}

void scan_batches(struct scan *scan, struct scan_walk *walk)
{
    struct segment *segment = scan->segment;
    while (walk->offset < walk->offset_until) {
        struct batch_header header = {0};
        int64_t size;
        bool good = scan_judge(scan, walk, &header, &size);
        if (PLANTED(WALK_PAST_BAD) && !good && header.base_offset == walk->offset && size > 0) {
            walk->position += size;
            walk->offset = batch_last_offset(&header) + 1;
            continue;
        }
        if (!good || batch_last_offset(&header) >= walk->offset_until) {
            return;
        }
        if (!segment_reserve_rows(segment, walk->position + size)) {
            scan->error = -ENOMEM;
            return;
        }
        if ((header.attributes & BATCH_CONTROL) != 0) {
            struct producers_marker marker;
            const uint8_t *batch =
                size <= SCAN_RUN_SIZE - BLOCK_SIZE ? scan_bytes(scan, walk->position, size) : NULL;
            if (batch != NULL && partition_decode_marker(batch, (size_t)size, &marker) &&
                !marker.is_commit) {
                segment->aborted = true;
            }
        }
        segment_note_batch(segment, walk->position, &header, size);
        if (walk->epochs != NULL && header.leader_epoch >= 0) {
            (void)epochs_learn(walk->epochs, header.leader_epoch, header.base_offset);
        }
        walk->epoch = header.leader_epoch;
        walk->position += size;
        walk->offset = batch_last_offset(&header) + 1;
        if (header.producer_id >= 0) {
            walk->producers_until = walk->offset;
        }
    }
}

void scan_finish(struct scan *scan, int64_t position)
{
    struct segment *segment = scan->segment;
    if (!segment_reserve_rows(segment, position)) {
        scan->error = -ENOMEM;
        return;
    }
    scan->sum_from = UINT32_MAX;
    segment_cut_rows(segment, position);
    segment->size = segment->durable = segment->visible = position;
    int64_t partial = position % BLOCK_SIZE;
    if (partial != 0) {
        uint32_t number = (uint32_t)(position / BLOCK_SIZE);
        const uint8_t *data = scan_bytes(scan, position - partial, partial);
        if (data != NULL) {
            segment->rows[number].sum = segment_sum(segment, number, data, (size_t)partial);
            segment->rows[number].flags |= ROW_SUMMED;
        }
    }
}
