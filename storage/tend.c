/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/tend.h"

#include <errno.h>

#include "base/check.h"
#include "storage/hint_writer.h"
#include "storage/key_build.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/tail.h"
#include "storage/transaction_index.h"

#define TEND_EPOCHS_SIZE 8192

void tend_discard_capture(struct partition *partition)
{
    if (partition->capture.memory != NULL) {
        cache_release_run(partition->store, partition->capture.memory, partition->capture.run_size);
        partition->capture.memory = NULL;
    }
}

static int64_t tend_log_end(const struct partition *partition)
{
    const struct segment *segment = partition_active(partition);
    return segment == NULL ? 0 : segment->log_position + segment->size;
}

void tend_capture(struct partition *partition)
{
    tend_discard_capture(partition);
    partition->snapshot_position = tend_log_end(partition);
    if (producers_count(partition->producers) == 0 ||
        partition->snapshot_offset == partition->end_offset) {
        return;
    }
    size_t size = producers_encode(partition->producers, NULL, 0);
    size_t run_size =
        (size + PAGE_SIZE + (size_t)BLOCK_SIZE - 1) / (size_t)BLOCK_SIZE * (size_t)BLOCK_SIZE;
    uint8_t *memory = cache_acquire_run(partition->store, run_size);
    if (memory == NULL) {
        return; /* recovery replays more instead */
    }
    check(producers_encode(partition->producers, memory, run_size) == size);
    partition->capture.memory = memory;
    partition->capture.size = size;
    partition->capture.run_size = run_size;
    partition->capture.offset = partition->end_offset;
}

static bool tend_capture_is_due(const struct partition *partition)
{
    return partition->capture.memory != NULL && partition->folder &&
           partition->capture.offset <= partition->high_watermark;
}

/*
 * The oldest segment that is full and durable but not finished. The next one must have its name on
 * the disk: a hint says that the log goes on behind it.
 */
static struct segment *tend_sealed(const struct partition *partition)
{
    for (int32_t i = 0; i + 1 < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (segment->sealed && !segment->finished && !segment->keying && segment->named &&
            segment->known && segment->aborted_loaded && segment->visible == segment->size &&
            partition->segments[i + 1]->named) {
            return segment;
        }
        if (!segment->sealed) {
            break;
        }
    }
    return NULL;
}

/* Trimmed first: the hint's name says so. */
static void seal_run(struct job *job)
{
    struct segment *segment = job->segment;
    JOB_BEGIN(job);
    JOB_CALL(job, job_wait_rows(job, segment));
    if (job->op.result < 0) {
        goto end;
    }
    if (segment->aborted && segment->aborted_until < segment->end_offset) {
        JOB_CALL(job, job_call(job, transaction_index_job(segment, segment->end_offset)));
        if (job->op.result < 0) {
            goto end;
        }
    }
    JOB_CALL(job, job_use_file(job, segment));
    if (job->op.result < 0) {
        goto end;
    }
    job->file = (int32_t)job->op.result;
    JOB_AWAIT(job, .kind = OP_TRUNCATE, .file = job->file, .size = (uint64_t)segment->size);
    if (job->op.result >= 0) {
        JOB_AWAIT(job, .kind = OP_SYNC, .file = job->file);
    }
    file_unuse(job->store, segment);
    if (job->op.result < 0 || segment->partition == NULL) {
        goto end;
    }
    segment->allocated = segment->size;
    JOB_CALL(job, job_call(job, hint_write_job(segment, NULL)));
    if (job->op.result >= 0) {
        segment->finished = true;
    }
end:
    segment_drop(segment);
    JOB_END(job, job->op.result);
}

static struct job *seal_job(struct partition *partition, struct segment *segment)
{
    struct job *job = job_take(partition->store, partition, seal_run);
    if (job != NULL) {
        job->segment = segment;
        segment_hold(segment);
    }
    return job;
}

/* The oldest segment whose aborted transactions below `offset` are not all on disk. */
static struct segment *tend_unindexed(const struct partition *partition, int64_t offset)
{
    for (int32_t i = 0; i < partition->segment_count; i++) {
        struct segment *segment = partition->segments[i];
        if (segment->aborted && segment->aborted_until < segment->end_offset &&
            segment->aborted_until < offset) {
            return segment;
        }
    }
    return NULL;
}

static void snapshot_run(struct job *job)
{
    struct partition *partition = job->partition;
    struct store *store = job->store;
    JOB_BEGIN(job);
    /* The snapshot lets recovery skip what is before it, so aborted transactions go first. */
    while ((job->segment = tend_unindexed(partition, job->position)) != NULL) {
        JOB_CALL(job, job_call(job, transaction_index_job(job->segment, job->position)));
        if (job->op.result < 0) {
            goto end;
        }
    }
    store_path_offset(store, job->path, partition->name, job->position, ".snapshot");
    JOB_CALL(job, job_save(job, job->path, job->memory, (size_t)job->size));
    if (job->op.result < 0) {
        goto end;
    }
    store_path(store, job->path, partition->name, NULL, NULL);
    JOB_CALL(job, job_sync_folder(job, job->path));
    if (job->op.result < 0) {
        goto end;
    }
    if (partition->snapshot_previous >= 0) {
        store_path_offset(store, job->path, partition->name, partition->snapshot_previous,
                          ".snapshot");
        JOB_AWAIT(job, .kind = OP_UNLINK, .path = job->path);
        job->op.result = 0; /* one too many does no harm */
    }
    partition->snapshot_previous = partition->snapshot_offset;
    partition->snapshot_offset = job->position;
end:
    cache_release_run(store, job->memory, job->memory_size);
    JOB_END(job, job->op.result);
}

/* Takes the capture over. */
static struct job *snapshot_job(struct partition *partition)
{
    struct job *job = job_take(partition->store, partition, snapshot_run);
    if (job != NULL) {
        job->memory = partition->capture.memory;
        job->memory_size = partition->capture.run_size;
        job->size = (int64_t)partition->capture.size;
        job->position = partition->capture.offset;
        partition->capture.memory = NULL;
    }
    return job;
}

static void epochs_run(struct job *job)
{
    struct partition *partition = job->partition;
    JOB_BEGIN(job);
    partition->epochs_changed = false;
    partition->epochs_stamp = 0;
    job->size = (int64_t)epochs_encode(&partition->epochs, (char *)job->memory, TEND_EPOCHS_SIZE);
    check(job->size <= TEND_EPOCHS_SIZE);
    store_path(job->store, job->path, partition->name, "leader-epoch-checkpoint", NULL);
    JOB_CALL(job, job_save(job, job->path, job->memory, (size_t)job->size));
    if (job->op.result >= 0) {
        store_path(job->store, job->path, partition->name, NULL, NULL);
        JOB_CALL(job, job_sync_folder(job, job->path));
    }
    cache_release_run(job->store, job->memory, job->memory_size);
    if (job->op.result < 0) {
        partition->epochs_changed = true;
    }
    JOB_END(job, job->op.result);
}

static struct job *epochs_job(struct partition *partition)
{
    return job_take_memory(partition->store, partition, epochs_run, (size_t)BLOCK_SIZE);
}

static struct job *tail_now_job(struct partition *partition)
{
    partition->tail_wanted = false;
    if (list_is_linked(&partition->tail_node)) {
        list_remove(&partition->tail_node);
    }
    return tail_write_job(partition_active(partition), 0);
}

static void tend_uncover(struct partition *partition)
{
    struct store *store = partition->store;
    if (!list_is_linked(&partition->tail_node)) {
        partition->uncovered_since_ns = ring_now_ns(store->ring);
        list_push_tail(&store->uncovered, &partition->tail_node);
        store_arm(store, partition->uncovered_since_ns + TAIL_INTERVAL_MS * UINT64_C(1000000));
    }
}

/* One line when it begins to fail and one when it is over. Tried again when the interval has
 * passed, not with each append. */
static void tend_failed(struct partition *partition, int64_t error)
{
    if (partition->broken || partition->removing) {
        return;
    }
    if (!partition->untended) {
        diag_line(partition->store->diag, DIAG_WARN, "storage/tend",
                  "tail, snapshot or checkpoint not written; a start would read more of the log",
                  "partition=%s error=\"%s\" remedy=\"tried again each second; see to the disk\"",
                  partition->name, strerrordesc_np((int)-error));
    }
    partition->untended = true;
    tend_uncover(partition);
}

static void tend_succeeded(struct partition *partition)
{
    if (partition->untended) {
        diag_line(partition->store->diag, DIAG_INFO, "storage/tend",
                  "tail, snapshot and checkpoint are written again", "partition=%s",
                  partition->name);
    }
    partition->untended = false;
}

static bool tend_tail_is_due(const struct partition *partition)
{
    const struct segment *segment = partition_active(partition);
    return partition->tail_wanted && segment != NULL && segment->named &&
           segment->visible > segment->tail_position;
}

static void tend_run(struct job *job)
{
    struct partition *partition = job->partition;
    JOB_BEGIN(job);
    for (;;) {
        if (partition->broken || partition->removing) {
            break;
        }
        if (partition->quarantine_changed) {
            /* Before any table: a new sum may stand for bytes that are known to be bad. */
            JOB_CALL(job, job_call(job, quarantine_write_job(partition)));
        } else if (partition->epochs_changed && partition->folder && !PLANTED(EPOCHS_LATE)) {
            /* First: below D no batch is looked at again to learn where an epoch began. */
            JOB_CALL(job, job_call(job, epochs_job(partition)));
        } else if ((job->segment = tend_sealed(partition)) != NULL) {
            JOB_CALL(job, job_call(job, seal_job(partition, job->segment)));
        } else if (tend_capture_is_due(partition)) {
            JOB_CALL(job, job_call(job, snapshot_job(partition)));
        } else if (tend_tail_is_due(partition)) {
            JOB_CALL(job, job_call(job, tail_now_job(partition)));
        } else {
            job->op.result = 0;
            tend_succeeded(partition);
            break;
        }
        if (job->op.result < 0) {
            tend_failed(partition, job->op.result);
            break;
        }
    }
    partition->tending = false;
    if (job->op.result < 0 || partition->broken || partition->removing) {
        partition_keys_cancel(partition, job->op.result < 0 ? job->op.result : -ECANCELED);
    }
    key_build_start(partition, false);
    JOB_END(job, 0);
}

void tend_start(struct partition *partition)
{
    if (partition->tending || partition->loading || partition->broken || partition->removing) {
        return;
    }
    if (partition->untended && list_is_linked(&partition->tail_node)) {
        return; /* tend_uncovered() comes */
    }
    if (tend_sealed(partition) == NULL && !tend_capture_is_due(partition) &&
        !partition->quarantine_changed && !(partition->epochs_changed && partition->folder) &&
        !tend_tail_is_due(partition)) {
        return;
    }
    struct job *job = job_take(partition->store, partition, tend_run);
    if (job == NULL) {
        return;
    }
    partition->tending = true;
    job->run(job);
}

void tend_note_visible(struct partition *partition)
{
    struct segment *segment = partition_active(partition);
    int64_t uncovered = segment->visible - segment->tail_position;
    if (uncovered >= TAIL_INTERVAL_SIZE) {
        partition->tail_wanted = true;
    } else if (uncovered > 0) {
        tend_uncover(partition);
    }
    if (partition->capture.memory == NULL &&
        tend_log_end(partition) - partition->snapshot_position >= SNAPSHOT_INTERVAL_SIZE) {
        tend_capture(partition);
    }
    tend_start(partition);
}

void tend_uncovered(struct store *store, uint64_t now_ns)
{
    for (;;) {
        struct list_node *node = list_first(&store->uncovered);
        if (node == NULL) {
            return;
        }
        struct partition *partition = LIST_ENTRY(node, struct partition, tail_node);
        uint64_t due = partition->uncovered_since_ns + TAIL_INTERVAL_MS * UINT64_C(1000000);
        if (now_ns < due) {
            store_arm(store, due);
            return;
        }
        list_remove(node);
        partition->tail_wanted = true;
        tend_start(partition);
    }
}

/* In the order of tend_run(). */
static void renew_run(struct job *job)
{
    struct partition *partition = job->partition;
    JOB_BEGIN(job);
    if (partition->quarantine_changed) {
        JOB_CALL(job, job_call(job, quarantine_write_job(partition)));
        if (job->op.result < 0) {
            goto end;
        }
    }
    if (partition->epochs_changed) {
        JOB_CALL(job, job_call(job, epochs_job(partition)));
        if (job->op.result < 0) {
            goto end;
        }
    }
    JOB_CALL(job, job_call(job, tail_write_job(partition_active(partition), 0)));
end:
    JOB_END(job, job->op.result);
}

int64_t tend_renew_tail(struct partition *partition)
{
    return job_wait(job_take(partition->store, partition, renew_run));
}

/* What the checkpoint on disk is known by, so that the next start need not read it. */
static void stamp_run(struct job *job)
{
    struct partition *partition = job->partition;
    JOB_BEGIN(job);
    store_path(job->store, job->path, partition->name, "leader-epoch-checkpoint", NULL);
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path, .flags = OPEN_READ);
    if (job->op.result >= 0) {
        job->file = (int32_t)job->op.result;
        JOB_AWAIT(job, .kind = OP_STAT, .flags = OP_STAMP, .file = job->file);
        partition->epochs_stamp = job->op.result < 0 ? 0 : job->op.result;
        JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
    }
    JOB_END(job, 0);
}

/* Clean stop, top down. */
static void stop_run(struct job *job)
{
    struct partition *partition = job->partition;
    struct segment *segment = job->segment;
    JOB_BEGIN(job);
    if (tend_capture_is_due(partition)) {
        JOB_CALL(job, job_call(job, snapshot_job(partition)));
    }
    if (partition->epochs_changed) {
        JOB_CALL(job, job_call(job, epochs_job(partition)));
        if (job->op.result < 0) {
            goto end;
        }
    }
    if (partition->epochs_stamp == 0) {
        JOB_CALL(job, job_call(job, job_take(job->store, partition, stamp_run)));
    }
    if (segment->aborted) {
        JOB_CALL(job, job_call(job, transaction_index_job(segment, segment->end_offset)));
    }
    JOB_CALL(job, job_use_file(job, segment));
    if (job->op.result < 0) {
        goto end;
    }
    job->file = (int32_t)job->op.result;
    JOB_AWAIT(job, .kind = OP_TRUNCATE, .file = job->file, .size = (uint64_t)segment->size);
    if (job->op.result >= 0) {
        JOB_AWAIT(job, .kind = OP_SYNC, .file = job->file);
    }
    file_unuse(job->store, segment);
    if (job->op.result >= 0) {
        /* Last, because it vouches for the trimmed file. */
        JOB_CALL(job, job_call(job, tail_write_job(segment, TAIL_CLEAN)));
    }
end:
    segment_drop(segment);
    JOB_END(job, job->op.result);
}

void tend_stop(struct partition *partition)
{
    struct segment *segment = partition_active(partition);
    if (segment == NULL || !segment->named) {
        return;
    }
    tend_capture(partition);
    struct job *job = job_take(partition->store, partition, stop_run);
    if (job != NULL) {
        job->segment = segment;
        segment_hold(segment);
    }
    int64_t result = job_wait(job);
    if (result < 0) {
        diag_line(partition->store->diag, DIAG_WARN, "storage/tend",
                  "partition not stopped cleanly; the next start scans its tail",
                  "partition=%s error=\"%s\" remedy=\"none needed; see to the disk\"",
                  partition->name, strerrordesc_np((int)-result));
    }
}
