/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/job.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/store_state.h"

bool job_is_short(int64_t error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

struct job *job_take(struct store *store, struct partition *partition, void (*run)(struct job *job))
{
    struct job *job = pool_take(&store->jobs);
    if (job == NULL) {
        return NULL;
    }
    job->store = store;
    job->run = run;
    job->file = -1;
    job->partition = partition;
    if (partition != NULL) {
        partition->job_count += 1;
    }
    return job;
}

struct job *job_take_memory(struct store *store, struct partition *partition,
                            void (*run)(struct job *job), size_t size)
{
    struct job *job = job_take(store, partition, run);
    if (job == NULL) {
        return NULL;
    }
    job->memory_size = size;
    job->memory = cache_acquire_run(store, size);
    if (job->memory == NULL) {
        job_end(job, -ENOMEM);
        return NULL;
    }
    return job;
}

static void job_done(struct op *op)
{
    struct job *job = op->owner;
    if (op->kind == OP_CLOSE || (op->kind == OP_OPEN && op->result < 0)) {
        files_give(job->store, op->kind == OP_CLOSE);
    }
    job->run(job);
}

void job_submit(struct job *job)
{
    job->op.owner = job;
    job->op.done = job_done;
    if (job->op.kind == OP_CLOSE) {
        files_begin_close(job->store);
    }
    if (job->op.kind != OP_OPEN || files_take(job->store, job)) {
        ring_submit(job->store->ring, &job->op);
    }
}

void job_end(struct job *job, int64_t result)
{
    struct store *store = job->store;
    struct job *parent = job->parent;
    if (job->partition != NULL) {
        check(job->partition->job_count > 0);
        job->partition->job_count -= 1;
    }
    if (job->ended != NULL) {
        job->ended(job, result);
    }
    pool_give(&store->jobs, job);
    if (parent != NULL) {
        parent->op.result = result;
        parent->run(parent);
    }
}

void job_call(struct job *parent, struct job *child)
{
    if (child == NULL) {
        parent->op.result = -ENOMEM;
        parent->run(parent);
        return;
    }
    child->parent = parent;
    child->run(child);
}

struct job_outcome {
    bool ended;
    int64_t result;
};

static void job_note_outcome(struct job *job, int64_t result)
{
    struct job_outcome *outcome = job->owner;
    *outcome = (struct job_outcome){true, result};
}

int64_t job_wait(struct job *job)
{
    if (job == NULL) {
        return -ENOMEM;
    }
    struct job_outcome outcome = {false, 0};
    struct ring *ring = job->store->ring;
    check(job->ended == NULL);
    job->ended = job_note_outcome;
    job->owner = &outcome;
    job->run(job);
    ring_await(ring, &outcome.ended);
    return outcome.result;
}

static void job_file_ready(struct file_user *user, int32_t result)
{
    struct job *job = CONTAINER_OF(user, struct job, user);
    job->op.result = result;
    job->run(job);
}

void job_use_file(struct job *job, struct segment *segment)
{
    job->user = (struct file_user){.ready = job_file_ready};
    int32_t descriptor = file_use(job->store, segment, &job->user);
    if (descriptor != -EAGAIN) {
        job_file_ready(&job->user, descriptor);
    }
}

static void job_rows_ready(struct block_waiter *waiter)
{
    struct job *job = CONTAINER_OF(waiter, struct job, waiter);
    struct segment *segment = job->awaited;
    job->op.result = segment->rows_loaded ? 0 : segment->rows_fault;
    job->run(job);
}

void job_wait_rows(struct job *job, struct segment *segment)
{
    if (segment->rows_loaded) {
        job->op.result = 0;
        job->run(job);
        return;
    }
    job->awaited = segment;
    job->waiter.ready = job_rows_ready;
    segment_wait_rows(segment, &job->waiter);
}

static void job_keys_ready(struct block_waiter *waiter)
{
    struct job *job = CONTAINER_OF(waiter, struct job, waiter);
    job->op.result = job->awaited->keys == SEGMENT_KEYS_THERE ? 0 : job->awaited->keys_fault;
    job->run(job);
}

void job_wait_keys(struct job *job, struct segment *segment)
{
    check(segment->keys != SEGMENT_KEYS_THERE);
    job->awaited = segment;
    job->waiter.ready = job_keys_ready;
    segment_wait_keys(segment, &job->waiter);
}

static void job_aborted_ready(struct block_waiter *waiter)
{
    struct job *job = CONTAINER_OF(waiter, struct job, waiter);
    if (!job->awaited->aborted_loaded && job->awaited->rows_fault == 0) {
        segment_wait_rows(job->awaited, waiter); /* rows came, a replay has to follow */
        return;
    }
    job->op.result = job->awaited->aborted_loaded ? 0 : job->awaited->rows_fault;
    job->run(job);
}

void job_wait_aborted(struct job *job, struct segment *segment)
{
    if (segment->aborted_loaded) {
        job->op.result = 0;
        job->run(job);
        return;
    }
    job->awaited = segment;
    job->waiter.ready = job_aborted_ready;
    segment_wait_rows(segment, &job->waiter);
}

static void sync_folder_run(struct job *job)
{
    JOB_BEGIN(job);
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path, .flags = OPEN_READ | OPEN_DIRECTORY);
    if (job->op.result < 0) {
        return job_end(job, job->op.result);
    }
    job->file = (int32_t)job->op.result;
    JOB_AWAIT(job, .kind = OP_SYNC, .file = job->file);
    /* Only an open may be tried again: a second sync would prove nothing. */
    job->position = job_is_short(job->op.result) ? -EIO : job->op.result;
    JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
    JOB_END(job, job->position);
}

void job_sync_folder(struct job *parent, const char *path)
{
    struct job *job = job_take(parent->store, parent->partition, sync_folder_run);
    if (job != NULL) {
        snprintf(job->path, sizeof(job->path), "%s", path);
    }
    job_call(parent, job);
}

/* path_target is the final name, path the one it is written under. */
static void save_run(struct job *job)
{
    JOB_BEGIN(job);
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path,
              .flags = OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE | store_direct(job->store));
    if (job->op.result < 0) {
        return job_end(job, job->op.result);
    }
    job->file = (int32_t)job->op.result;
    JOB_AWAIT(job, .kind = OP_WRITE, .file = job->file, .vector = &job->slice, .vector_count = 1);
    if (job->op.result >= 0) {
        JOB_AWAIT(job, .kind = OP_TRUNCATE, .file = job->file, .size = (uint64_t)job->size);
    }
    if (job->op.result >= 0) {
        JOB_AWAIT(job, .kind = OP_SYNC, .file = job->file);
    }
    job->position = job->op.result;
    JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
    if (job->position < 0) {
        return job_end(job, job->position);
    }
    JOB_AWAIT(job, .kind = OP_RENAME, .path = job->path, .path_target = job->path_target);
    JOB_END(job, job->op.result < 0 ? job->op.result : 0);
}

void job_save(struct job *parent, const char *path, uint8_t *memory, size_t size)
{
    struct job *job = job_take(parent->store, parent->partition, save_run);
    if (job == NULL) {
        job_call(parent, NULL);
        return;
    }
    size_t padded = (size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
    if (padded == 0) {
        padded = PAGE_SIZE;
    }
    memset(memory + size, 0, padded - size);
    job->size = (int64_t)size;
    job->slice = (struct iovec){memory, padded};
    int length = snprintf(job->path, sizeof(job->path), "%s.tmp", path);
    check(length > 0 && (size_t)length < sizeof(job->path));
    snprintf(job->path_target, sizeof(job->path_target), "%s", path);
    job_call(parent, job);
}
