/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/files.h"

#include <errno.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/segment.h"
#include "storage/store_state.h"

void files_init(struct files *files, uint32_t count_max)
{
    *files = (struct files){.count_max = count_max < 4 ? 4 : count_max};
    list_init(&files->idle);
    list_init(&files->waiting);
}

void file_init(struct file *file)
{
    *file = (struct file){.state = FILE_CLOSED, .descriptor = -1};
    list_init(&file->waiters);
}

static void close_run(struct job *job)
{
    JOB_BEGIN(job);
    JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
    JOB_END(job, 0);
}

void files_close_descriptor(struct store *store, int32_t descriptor)
{
    struct job *job = job_take(store, NULL, close_run);
    if (job == NULL) {
        struct op op = {.kind = OP_CLOSE, .file = descriptor};
        files_begin_close(store);
        (void)ring_call(store->ring, &op);
        files_give(store, true);
        return;
    }
    job->file = descriptor;
    job->run(job);
}

static void file_close(struct store *store, struct file *file)
{
    check(file->state == FILE_OPEN && file->users == 0);
    if (list_is_linked(&file->node)) {
        list_remove(&file->node);
    }
    int32_t descriptor = file->descriptor;
    file->state = FILE_CLOSED;
    file->descriptor = -1;
    file->condemned = false;
    files_close_descriptor(store, descriptor);
}

/* Lets those that wait open, and closes as many idle files as the others among them need. */
static void files_serve(struct store *store)
{
    struct files *files = &store->files;
    while (files->waiting_count > 0 && files->count < files->count_max) {
        struct job *job = LIST_ENTRY(list_pop_head(&files->waiting), struct job, node);
        files->waiting_count -= 1;
        files->count += 1;
        ring_submit(store->ring, &job->op);
    }
    while (files->waiting_count > files->closing_count && !list_is_empty(&files->idle)) {
        file_close(store, LIST_ENTRY(list_first(&files->idle), struct file, node));
    }
}

bool files_take(struct store *store, struct job *job)
{
    struct files *files = &store->files;
    if (files->waiting_count == 0 && files->count < files->count_max) {
        files->count += 1;
        return true;
    }
    list_push_tail(&files->waiting, &job->node);
    files->waiting_count += 1;
    files_serve(store);
    return false;
}

void files_begin_close(struct store *store)
{
    store->files.closing_count += 1;
}

void files_give(struct store *store, bool closed)
{
    struct files *files = &store->files;
    check(files->count > 0);
    files->count -= 1;
    if (closed) {
        check(files->closing_count > 0);
        files->closing_count -= 1;
    }
    files_serve(store);
}

static void file_answer(struct store *store, struct segment *segment, int32_t result)
{
    struct file *file = &segment->file;
    struct list waiters;
    list_init(&waiters);
    list_splice_tail(&waiters, &file->waiters);
    segment_hold(segment);
    /* Used once more by us, so that a waiter that is done at once does not close it for the next.
     */
    file->users += 1;
    for (;;) {
        struct list_node *node = list_pop_head(&waiters);
        if (node == NULL) {
            break;
        }
        file->users += result >= 0 ? 1 : 0;
        struct file_user *user = LIST_ENTRY(node, struct file_user, node);
        user->ready(user, result);
    }
    if (result >= 0) {
        file_unuse(store, segment);
    } else {
        file->users -= 1;
    }
    segment_drop(segment);
}

static void open_run(struct job *job)
{
    struct file *file = &job->segment->file;
    JOB_BEGIN(job);
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path,
              .flags = OPEN_READ | OPEN_WRITE | store_direct(job->store));
    if (job->op.result < 0) {
        file->state = FILE_CLOSED;
    } else {
        file->state = FILE_OPEN;
        file->descriptor = (int32_t)job->op.result;
    }
    job->file = (int32_t)job->op.result;
    file_answer(job->store, job->segment, job->file);
    segment_drop(job->segment);
    JOB_END(job, job->file);
}

static void file_open(struct store *store, struct segment *segment)
{
    struct file *file = &segment->file;
    struct job *job = job_take(store, segment->partition, open_run);
    if (job == NULL) {
        file_answer(store, segment, -ENOMEM);
        return;
    }
    file->state = FILE_OPENING;
    job->segment = segment;
    segment_hold(segment);
    check(segment->partition != NULL);
    store_path_offset(store, job->path, segment->partition->name, segment->base_offset, ".log");
    job->run(job);
}

int32_t file_use(struct store *store, struct segment *segment, struct file_user *user)
{
    struct file *file = &segment->file;
    if (file->state == FILE_OPEN) {
        if (file->users == 0 && list_is_linked(&file->node)) {
            list_remove(&file->node);
        }
        file->users += 1;
        return file->descriptor;
    }
    if (segment->partition == NULL) {
        return -ENOENT;
    }
    list_push_tail(&file->waiters, &user->node);
    if (file->state == FILE_CLOSED) {
        file_open(store, segment);
    }
    return -EAGAIN;
}

void file_adopt(struct store *store, struct segment *segment, int32_t descriptor)
{
    struct file *file = &segment->file;
    check(file->state == FILE_CLOSED);
    file->state = FILE_OPEN;
    file->descriptor = descriptor;
    list_push_tail(&store->files.idle, &file->node);
    files_serve(store);
}

void file_unuse(struct store *store, struct segment *segment)
{
    struct file *file = &segment->file;
    check(file->users > 0 && file->state == FILE_OPEN);
    file->users -= 1;
    if (file->users > 0) {
        return;
    }
    if (file->condemned) {
        file_close(store, file);
    } else {
        list_push_tail(&store->files.idle, &file->node);
        files_serve(store);
    }
}

void file_condemn(struct store *store, struct segment *segment)
{
    struct file *file = &segment->file;
    if (file->state == FILE_OPEN && file->users == 0) {
        file_close(store, file);
    } else if (file->state != FILE_CLOSED) {
        file->condemned = true;
    }
}
