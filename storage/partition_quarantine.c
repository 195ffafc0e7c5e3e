/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rot: from a block whose sum is wrong to a range that is refused, and from there by hand to a gap.
 *
 *   block fails its sum -> noted -> upkeep reads it again -> right: nothing, one line
 *                                                        -> wrong: range, one line, weir.quarantine
 *   weir.request, looked for each second while a range is refused or the log is FAILED, and at open
 *       "skip FROM UNTIL"   ranges inside become gaps; written durably before the request goes
 *       "reopen"            a FAILED log is loaded again
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "storage/folder.h"
#include "storage/partition_state.h"
#include "storage/scan.h"
#include "storage/upkeep.h"

#define QUARANTINE_NAME "weir.quarantine"
#define REQUEST_NAME "weir.request"
#define REQUEST_SIZE_MAX 4096
#define REQUEST_INTERVAL_NS UINT64_C(1000000000)

/* ---- what is found ---- */

/* Files whose own sums are right may still contradict each other: then nothing of the segment below
 * that end is vouched for. */
static struct quarantine_range range_sound(const struct quarantine_range *found)
{
    struct quarantine_range range = *found;
    if (range.offset_from > range.offset_until || range.position_from > range.position_until) {
        range.offset_from = range.base_offset;
        range.position_from = 0;
    }
    if (range.offset_until < range.offset_from) {
        range.offset_until = range.offset_from;
    }
    if (range.position_until < 0) {
        range.position_until = 0;
    }
    return range;
}

void partition_quarantine(struct partition *partition, const struct quarantine_range *found,
                          const char *what)
{
    struct store *store = partition->store;
    struct quarantine_range sound = range_sound(found);
    const struct quarantine_range *range = &sound;
    uint32_t count = partition->quarantine.count;
    if (quarantine_add(&partition->quarantine, range) != STATUS_OK) {
        count = UINT32_MAX; /* not kept: its blocks are refused one by one */
    } else if (count > 0 && count == partition->quarantine.count && partition->quarantine_saved) {
        const struct quarantine_range *known =
            quarantine_at_offset(&partition->quarantine, range->offset_from);
        if (known != NULL && known->skipped) {
            return;
        }
    }
    partition->quarantine_changed = true;
    diag_line(
        store->diag, DIAG_ERROR, "storage/quarantine",
        "log is not what was written; reads of these offsets are refused, others go on",
        "partition=%s offset=%lld until=%lld base_offset=%lld position=%lld "
        "position_until=%lld what=\"%s\" remedy=\"weir log verify; restore the log file from a "
        "copy, its .hint or .tail and weir.quarantine taken away, or "
        "give it up with weir log skip TOPIC %d --from %lld --until %lld\"",
        partition->name, (long long)range->offset_from, (long long)range->offset_until,
        (long long)range->base_offset, (long long)range->position_from,
        (long long)range->position_until, what, partition->index, (long long)range->offset_from,
        (long long)range->offset_until);
    store_arm(store, ring_now_ns(store->ring));
}

void partition_note_rot(struct segment *segment, uint32_t number)
{
    struct partition *partition = segment->partition;
    if (partition == NULL || partition->rot_count == PARTITION_ROT_MAX) {
        return; /* found again by the next read */
    }
    for (uint32_t i = 0; i < partition->rot_count; i++) {
        if (partition->rot[i].base_offset == segment->base_offset &&
            partition->rot[i].number == number) {
            return;
        }
    }
    partition->rot[partition->rot_count] = (struct rot){segment->base_offset, number};
    partition->rot_count += 1;
    if (!list_is_linked(&partition->broken_node)) {
        list_push_tail(&partition->store->broken, &partition->broken_node);
    }
    store_arm(partition->store, ring_now_ns(partition->store->ring));
}

/* The last batch boundary at or before the block, by header hops from the row before it. */
static void rot_from(struct scan *scan, uint32_t number, struct quarantine_range *range)
{
    const struct segment *segment = scan->segment;
    int64_t start = (int64_t)number * BLOCK_SIZE;
    range->position_from = 0;
    range->offset_from = segment->base_offset;
    for (uint32_t i = number + 1; i > 0; i--) {
        const struct block_row *row = &segment->rows[i - 1];
        if (row->position != ROW_NONE && row->position <= start) {
            range->position_from = row->position;
            range->offset_from = row->base_offset;
            break;
        }
    }
    while (range->position_from + BATCH_HEADER_SIZE <= start) {
        const uint8_t *data = scan_bytes(scan, range->position_from, BATCH_HEADER_SIZE);
        struct batch_header header;
        if (data == NULL) {
            return;
        }
        batch_header_decode(&header, data);
        int64_t end = range->position_from + batch_size_of(data);
        if (!segment_header_is_sane(&header) || header.base_offset < range->offset_from ||
            end > start) {
            return;
        }
        range->position_from = end;
        range->offset_from = batch_last_offset(&header) + 1;
    }
}

static void rot_until(const struct segment *segment, uint32_t number,
                      struct quarantine_range *range)
{
    const struct partition *partition = segment->partition;
    for (uint32_t i = number + 1; i < segment->row_count; i++) {
        const struct block_row *row = &segment->rows[i];
        if (row->position != ROW_NONE && row->position < segment->visible) {
            range->position_until = row->position;
            range->offset_until = row->base_offset;
            return;
        }
    }
    range->position_until = segment->visible;
    range->offset_until = segment->end_offset < partition->high_watermark
                              ? segment->end_offset
                              : partition->high_watermark;
}

/* Read once more past every cache: is it really so? */
static bool rot_is_real(struct scan *scan, uint32_t number)
{
    const struct segment *segment = scan->segment;
    const struct block_row *row = &segment->rows[number];
    int64_t start = (int64_t)number * BLOCK_SIZE;
    int64_t size = segment->durable - start < BLOCK_SIZE ? segment->durable - start : BLOCK_SIZE;
    const uint8_t *data = scan_bytes(scan, start, size);
    return data == NULL || segment_sum(segment, number, data, (size_t)size) != row->sum;
}

static void rot_confirm(struct partition *partition, struct rot rot)
{
    int32_t index = partition_segment_of(partition, rot.base_offset);
    struct segment *segment = index < 0 ? NULL : partition->segments[index];
    if (segment == NULL || segment->base_offset != rot.base_offset || !segment->rows_loaded ||
        rot.number >= segment->row_count || (int64_t)rot.number * BLOCK_SIZE >= segment->visible ||
        (segment->rows[rot.number].flags & ROW_SUMMED) == 0) {
        return;
    }
    struct scan scan;
    if (scan_open(&scan, segment) < 0) {
        return;
    }
    struct quarantine_range range = {.base_offset = segment->base_offset};
    if (rot_is_real(&scan, rot.number)) {
        rot_from(&scan, rot.number, &range);
        rot_until(segment, rot.number, &range);
        if (range.offset_from < range.offset_until) {
            partition_quarantine(partition, &range, "block fails its sum");
        }
    } else {
        diag_line(partition->store->diag, DIAG_WARN, "storage/quarantine",
                  "block was misread once and is right now; the device or memory is failing",
                  "partition=%s base_offset=%lld block=%u", partition->name,
                  (long long)segment->base_offset, rot.number);
    }
    scan_close(&scan);
}

void partition_check_tail(struct scan *scan, const struct block_row *running)
{
    struct segment *segment = scan->segment;
    struct partition *partition = segment->partition;
    int64_t partial = segment->size % BLOCK_SIZE;
    uint32_t number = (uint32_t)(segment->size / BLOCK_SIZE);
    if (partial == 0 || (running->flags & ROW_SUMMED) == 0) {
        return;
    }
    for (int attempt = 0; attempt < 2; attempt++) {
        const uint8_t *data = scan_bytes(scan, segment->size - partial, partial);
        if (data == NULL || segment_sum(segment, number, data, (size_t)partial) == running->sum) {
            return;
        }
        scan_forget(scan); /* it may have been misread */
    }
    struct quarantine_range range = {
        .base_offset = segment->base_offset,
        .position_until = segment->size,
        .offset_until = segment->end_offset,
    };
    rot_from(scan, number, &range);
    partition_quarantine(partition, &range, "block that holds the durable position fails its sum");
    partition->epoch_bump_due = true;
}

void upkeep_rot(struct partition *partition)
{
    uint32_t count = partition->rot_count;
    for (uint32_t i = 0; i < count; i++) {
        rot_confirm(partition, partition->rot[i]);
    }
    partition->rot_count = 0;
    partition_ask(partition);
}

/* ---- its file ---- */

static void quarantine_run(struct job *job)
{
    struct partition *partition = job->partition;
    JOB_BEGIN(job);
    partition->quarantine_changed = false;
    job->memory_size =
        ((size_t)(partition->quarantine.count + 2) * QUARANTINE_LINE_SIZE + (size_t)BLOCK_SIZE) /
        (size_t)BLOCK_SIZE * (size_t)BLOCK_SIZE;
    job->memory = cache_acquire_run(job->store, job->memory_size);
    if (job->memory == NULL) {
        job->op.result = -ENOMEM;
        goto end;
    }
    job->size =
        (int64_t)quarantine_encode(&partition->quarantine, (char *)job->memory, job->memory_size);
    check((size_t)job->size <= job->memory_size);
    store_path(job->store, job->path, partition->name, QUARANTINE_NAME, NULL);
    JOB_CALL(job, job_save(job, job->path, job->memory, (size_t)job->size));
    if (job->op.result >= 0) {
        store_path(job->store, job->path, partition->name, NULL, NULL);
        JOB_CALL(job, job_sync_folder(job, job->path));
    }
    cache_release_run(job->store, job->memory, job->memory_size);
end:
    if (job->op.result < 0) {
        partition->quarantine_changed = true;
    } else {
        partition->quarantine_saved = true;
    }
    JOB_END(job, job->op.result);
}

struct job *quarantine_write_job(struct partition *partition)
{
    return job_take(partition->store, partition, quarantine_run);
}

/* ---- what somebody asks for ---- */

/* Takes a request in; true: the log is to be loaded again. */
static bool request_take(struct partition *partition, const char *text)
{
    int64_t from;
    int64_t until;
    if (strcmp(text, "reopen\n") == 0) {
        return partition->state == PARTITION_FAILED;
    }
    uint32_t count = 0;
    if (sscanf(text, "skip %" SCNd64 " %" SCNd64, &from, &until) == 2 && from < until) {
        count = quarantine_skip(&partition->quarantine, from, until);
        partition->quarantine_changed = partition->quarantine_changed || count > 0;
    }
    diag_line(partition->store->diag, DIAG_WARN, "storage/quarantine",
              count > 0 ? "offsets were given up by hand; readers cross the gap"
                        : "request names no quarantined range; nothing changed",
              "partition=%s ranges=%u request=\"%.*s\"", partition->name, count,
              (int)strcspn(text, "\n"), text);
    return false;
}

static void request_run(struct job *job)
{
    struct partition *partition = job->partition;
    struct store *store = job->store;
    JOB_BEGIN(job);
    store_path(store, job->path, partition->name, REQUEST_NAME, NULL);
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path, .flags = OPEN_READ);
    if (job->op.result < 0) {
        goto end;
    }
    job->file = (int32_t)job->op.result;
    job->slice = (struct iovec){job->path_target, sizeof(job->path_target) - 1};
    JOB_AWAIT(job, .kind = OP_READ, .file = job->file, .vector = &job->slice, .vector_count = 1);
    job->path_target[job->op.result < 0 ? 0 : job->op.result] = '\0';
    JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
    job->flag = !partition->removing && request_take(partition, job->path_target);
    if (partition->quarantine_changed) {
        JOB_CALL(job, job_call(job, quarantine_write_job(partition)));
        if (job->op.result < 0) {
            goto end; /* still there, so asked again */
        }
    }
    JOB_AWAIT(job, .kind = OP_UNLINK, .path = job->path);
    if (job->flag && !partition->removing && !partition->closing) {
        partition_reopen(partition);
    }
end:
    partition->asking = false;
    partition_ask(partition);
    JOB_END(job, 0);
}

void partition_ask(struct partition *partition)
{
    bool wanted =
        partition->state == PARTITION_FAILED || quarantine_refuses(&partition->quarantine);
    if (wanted && !partition->asking && !list_is_linked(&partition->ask_node)) {
        struct store *store = partition->store;
        partition->ask_ns = ring_now_ns(store->ring) + REQUEST_INTERVAL_NS;
        list_push_tail(&store->asking, &partition->ask_node);
        store_arm(store, partition->ask_ns);
    }
}

void upkeep_requests(struct store *store, uint64_t now_ns)
{
    for (;;) {
        struct list_node *node = list_first(&store->asking);
        if (node == NULL) {
            return;
        }
        struct partition *partition = LIST_ENTRY(node, struct partition, ask_node);
        if (now_ns < partition->ask_ns) {
            store_arm(store, partition->ask_ns);
            return;
        }
        list_remove(node);
        struct job *job = partition->removing || partition->closing
                              ? NULL
                              : job_take(store, partition, request_run);
        if (job != NULL) {
            partition->asking = true;
            job->run(job);
        }
    }
}

/* ---- at open, blocking ---- */

/* Damaged, it is told and done without; not to be had just now, the log stays closed: rows that
 * were rebuilt over bad bytes vouch for them, and the next write of the file would forget them. */
static enum status load_ranges(struct partition *partition)
{
    struct store *store = partition->store;
    char path[STORE_PATH_SIZE];
    store_path(store, path, partition->name, QUARANTINE_NAME, NULL);
    int64_t result = folder_file_size(store, path);
    size_t run_size =
        ((size_t)(result < 0 ? 0 : result) / (size_t)BLOCK_SIZE + 1) * (size_t)BLOCK_SIZE;
    bool sane = run_size <= QUARANTINE_RANGES_MAX * QUARANTINE_LINE_SIZE * 2;
    uint8_t *run = result >= 0 && sane ? cache_acquire_run(store, run_size) : NULL;
    size_t size = 0;
    enum status status = STATUS_CORRUPT_MESSAGE;
    if (result >= 0 && sane) {
        result = run == NULL ? -ENOMEM : folder_read(store, path, 0, run, run_size, &size);
    }
    if (result < 0) {
        status = result == -ENOMEM ? STATUS_NO_MEMORY : STATUS_KAFKA_STORAGE_ERROR;
    } else if (sane) {
        status = quarantine_decode(&partition->quarantine, bytes_of(run, size));
    }
    if (run != NULL) {
        cache_release_run(store, run, run_size);
    }
    partition->quarantine_saved = status == STATUS_OK;
    if (status != STATUS_OK) {
        bool damaged = status == STATUS_CORRUPT_MESSAGE;
        diag_line(store->diag, DIAG_ERROR, "storage/quarantine",
                  damaged
                      ? "weir.quarantine is damaged; damage is found again, gaps have to be asked "
                        "for again"
                      : "weir.quarantine cannot be read now, and what it names must not be served; "
                        "the log stays closed",
                  "partition=%s status=%s remedy=\"%s\"", partition->name, status_name(status),
                  damaged ? "weir log verify" : "see to the disk, then start again");
    }
    return status == STATUS_CORRUPT_MESSAGE ? STATUS_OK : status;
}

enum status partition_load_quarantine(struct partition *partition, bool has_ranges,
                                      bool has_request)
{
    struct store *store = partition->store;
    enum status status = has_ranges ? load_ranges(partition) : STATUS_OK;
    if (status == STATUS_OK && has_request) {
        char path[STORE_PATH_SIZE];
        uint8_t text[REQUEST_SIZE_MAX];
        size_t size = 0;
        store_path(store, path, partition->name, REQUEST_NAME, NULL);
        bool read = folder_read(store, path, 0, text, sizeof(text) - 1, &size) == 0;
        if (read) {
            text[size] = 0;
            (void)request_take(partition, (const char *)text);
        }
        if (read &&
            (!partition->quarantine_changed || job_wait(quarantine_write_job(partition)) >= 0)) {
            struct op op = {.kind = OP_UNLINK, .path = path};
            (void)ring_call(store->ring, &op);
        }
    }
    return status;
}
