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
    list_init(&files->wanted);
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
        (void)ring_call(store->ring, &op);
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
    files_close_descriptor(store, file->descriptor);
    file->state = FILE_CLOSED;
    file->descriptor = -1;
    file->condemned = false;
    store->files.count -= 1;
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
        job->store->files.count -= 1;
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
    store->files.count += 1;
    job->segment = segment;
    segment_hold(segment);
    check(segment->partition != NULL);
    store_path_offset(store, job->path, segment->partition->name, segment->base_offset, ".log");
    job->run(job);
}

/* Opens as many of the wanted files as the limit allows, closing idle ones for them. */
static void files_serve(struct store *store)
{
    struct files *files = &store->files;
    while (!list_is_empty(&files->wanted)) {
        if (files->count >= files->count_max) {
            struct list_node *node = list_first(&files->idle);
            if (node == NULL) {
                return;
            }
            file_close(store, LIST_ENTRY(node, struct file, node));
        }
        struct list_node *node = list_pop_head(&files->wanted);
        struct file *file = LIST_ENTRY(node, struct file, node);
        file->queued = false;
        file_open(store, CONTAINER_OF(file, struct segment, file));
    }
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
    if (file->state == FILE_CLOSED && !file->queued) {
        file->queued = true;
        list_push_tail(&store->files.wanted, &file->node);
        files_serve(store);
    }
    return -EAGAIN;
}

void file_adopt(struct store *store, struct segment *segment, int32_t descriptor)
{
    struct file *file = &segment->file;
    check(file->state == FILE_CLOSED && !file->queued);
    file->state = FILE_OPEN;
    file->descriptor = descriptor;
    store->files.count += 1;
    list_push_tail(&store->files.idle, &file->node);
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
    }
    files_serve(store);
}

void file_condemn(struct store *store, struct segment *segment)
{
    struct file *file = &segment->file;
    if (file->state == FILE_OPEN && file->users == 0) {
        file_close(store, file);
        files_serve(store);
    } else if (file->state != FILE_CLOSED) {
        file->condemned = true;
    }
}
