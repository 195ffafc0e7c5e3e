/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/removal.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/slab.h"
#include "storage/tend.h"

/* A job that waits for its time in store->deleting. */
struct deletion {
    struct list_node node;
    uint64_t due_ns;
    struct job *job;
};

static void path_append(char path[STORE_PATH_SIZE], const char *text)
{
    size_t size = strlen(path);
    size_t text_size = strlen(text) + 1;
    check(size + text_size <= STORE_PATH_SIZE);
    memcpy(path + size, text, text_size);
}

static const char *const segment_suffixes[] = {".log",      ".tail",  ".hint",
                                               ".txnindex", ".index", ".timeindex"};

/* job->path_target holds "<name>", job->position the base offset. */
static void delete_segment_run(struct job *job)
{
    struct store *store = job->store;
    struct deletion *deletion = (void *)job->memory;
    JOB_BEGIN(job);
    for (job->index = 0; job->index < ARRAY_COUNT(segment_suffixes); job->index++) {
        store_path_offset(store, job->path, job->path_target, job->position,
                          segment_suffixes[job->index]);
        path_append(job->path, ".deleted");
        JOB_AWAIT(job, .kind = OP_UNLINK, .path = job->path);
    }
    heap_release(store->heap, deletion, sizeof(*deletion));
    store->retry_ns = 0; /* space came free: who was refused asks at once */
    JOB_END(job, 0);
}

bool removal_is_held(const struct partition *partition)
{
    for (int32_t i = 0; i < partition->retired_count; i++) {
        if (partition->retired[i]->holders > 1) {
            return true;
        }
    }
    return false;
}

void removal_forget(struct partition *partition)
{
    for (int32_t i = 0; i < partition->retired_count; i++) {
        if (partition->retired[i]->holders > 1) {
            partition_detach(partition->retired[i]);
        }
        segment_drop(partition->retired[i]);
    }
    heap_release(partition->store->heap, partition->retired,
                 (size_t)partition->retired_count * sizeof(partition->retired[0]));
    partition->retired = NULL;
    partition->retired_count = 0;
    partition->retired_renamed = false;
}

/* Oldest first and one after the other: names reach the disk in the order of their changes, so a
 * power cut leaves no hole in the log. */
static void rename_segments_run(struct job *job)
{
    struct store *store = job->store;
    struct partition *partition = job->partition;
    JOB_BEGIN(job);
    for (; job->position < partition->retired_count; job->position++) {
        for (job->index = 0; job->index < ARRAY_COUNT(segment_suffixes); job->index++) {
            store_path_offset(store, job->path, partition->name,
                              partition->retired[job->position]->base_offset,
                              segment_suffixes[job->index]);
            memcpy(job->path_target, job->path, sizeof(job->path));
            path_append(job->path_target, ".deleted");
            JOB_AWAIT(job, .kind = OP_RENAME, .path = job->path, .path_target = job->path_target);
            if (job->op.result < 0 && job->op.result != -ENOENT) {
                goto end;
            }
        }
    }
    store_path(store, job->path, partition->name, NULL, NULL);
    JOB_CALL(job, job_sync_folder(job, job->path));
end:
    partition->retiring = false;
    if (job->op.result >= 0) {
        partition->retired_renamed = true;
        (void)removal_resume(partition);
    }
    JOB_END(job, 0);
}

bool removal_resume(struct partition *partition)
{
    if (partition->retired_renamed && !removal_is_held(partition)) {
        removal_forget(partition);
    }
    if (partition->retired_count > 0 && !partition->retiring && !partition->retired_renamed) {
        struct job *job = job_take(partition->store, partition, rename_segments_run);
        if (job != NULL) {
            partition->retiring = true;
            job->run(job);
        }
    }
    return partition->retired_count > 0;
}

/* False: no memory; the next round tries again. */
static bool removal_retire(struct partition *partition, int32_t count)
{
    size_t unit = sizeof(partition->retired[0]);
    partition->retired = heap_acquire(partition->store->heap, (size_t)count * unit);
    if (partition->retired == NULL) {
        return false;
    }
    partition->retired_count = count;
    for (int32_t i = 0; i < count; i++) {
        partition->retired[i] = partition->segments[i];
        segment_hold(partition->retired[i]);
    }
    return true;
}

/* Puts the unlinking off; whatever cannot be put off is found by the next open. */
static void removal_put_off(struct partition *partition, const struct segment *segment)
{
    struct store *store = partition->store;
    struct deletion *deletion = heap_acquire(store->heap, sizeof(*deletion));
    if (deletion == NULL) {
        return;
    }
    deletion->job = job_take(store, NULL, delete_segment_run);
    if (deletion->job == NULL) {
        heap_release(store->heap, deletion, sizeof(*deletion));
        return;
    }
    deletion->job->memory = (void *)deletion;
    deletion->job->position = segment->base_offset;
    snprintf(deletion->job->path_target, sizeof(deletion->job->path_target), "%s", partition->name);
    deletion->due_ns = ring_now_ns(store->ring) +
                       (uint64_t)partition->config.file_delete_delay_ms * UINT64_C(1000000);
    list_push_tail(&store->deleting, &deletion->node);
    store_arm(store, deletion->due_ns);
}

void removal_due(struct store *store, uint64_t now_ns)
{
    LIST_EACH (&store->deleting, node) {
        struct deletion *deletion = LIST_ENTRY(node, struct deletion, node);
        if (now_ns == UINT64_MAX) {
            /* Closing: nobody waits for the time; the next open unlinks them. */
            list_remove(node);
            pool_give(&store->jobs, deletion->job);
            heap_release(store->heap, deletion, sizeof(*deletion));
        } else if (deletion->due_ns <= now_ns) {
            list_remove(node);
            deletion->job->run(deletion->job);
        } else {
            store_arm(store, deletion->due_ns);
        }
    }
}

void removal_segments(struct partition *partition, int32_t count)
{
    struct store *store = partition->store;
    check(count > 0 && count < partition->segment_count && partition->retired_count == 0);
    if (!removal_retire(partition, count)) {
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        struct segment *segment = partition->segments[i];
        check(segment->sealed && segment->visible == segment->size);
        removal_put_off(partition, segment);
        if (segment->aborted_lost) { /* nobody replays it any more */
            segment->rows_fault = -ENOENT;
            segment_wake_rows(segment);
        }
        segment_wake_keys(segment, -ENOENT);
        slab_discard(segment);
        cache_forget(store, segment);
        file_condemn(store, segment);
    }
    int64_t base = partition->segments[count]->base_offset;
    for (int32_t i = 0; i < count; i++) {
        segment_drop(partition->segments[i]);
    }
    partition->segment_count -= count;
    memmove(partition->segments, partition->segments + count,
            (size_t)partition->segment_count * sizeof(partition->segments[0]));
    if (partition->log_start_offset < base) {
        partition->log_start_offset = base;
    }
    epochs_cut_start(&partition->epochs, partition->log_start_offset);
    partition->epochs_changed = true;
    if (quarantine_cut_start(&partition->quarantine, base)) {
        partition->quarantine_changed = true;
    }
    producers_forget_below(partition->producers, partition->log_start_offset);
    (void)removal_resume(partition);
    tend_start(partition);
}

/* ---- whole partitions ---- */

/* Unlinks the files of the renamed folder (its name is in path_target) and removes it. */
static void sweep_run(struct job *job)
{
    struct store *store = job->store;
    struct ring_listing *listing = (void *)job->memory;
    JOB_BEGIN(job);
    listing->names = (char *)(job->memory + sizeof(*listing));
    listing->size_max = job->memory_size - sizeof(*listing);
    store_path(store, job->path, job->path_target, NULL, NULL);
    JOB_AWAIT(job, .kind = OP_LIST, .path = job->path, .listing = listing);
    if (job->op.result >= 0) {
        job->size = job->op.result;
        job->position = 0;
        for (job->index = 0; (int64_t)job->index < job->size; job->index++) {
            store_path(store, job->path, job->path_target, listing->names + job->position, NULL);
            job->position += (int64_t)strlen(listing->names + job->position) + 1;
            JOB_AWAIT(job, .kind = OP_UNLINK, .path = job->path);
        }
        store_path(store, job->path, job->path_target, NULL, NULL);
        JOB_AWAIT(job, .kind = OP_UNLINK, .flags = OP_DIRECTORY, .path = job->path);
    }
    cache_release_run(store, job->memory, job->memory_size);
    JOB_END(job, 0);
}

static void removal_sweep(struct store *store, const char *name)
{
    struct job *job = job_take(store, NULL, sweep_run);
    if (job == NULL) {
        return;
    }
    job->memory_size = (size_t)BLOCK_SIZE * 4;
    job->memory = cache_acquire_run(store, job->memory_size);
    if (job->memory == NULL) {
        pool_give(&store->jobs, job);
        return;
    }
    memset(job->memory, 0, sizeof(struct ring_listing));
    snprintf(job->path_target, sizeof(job->path_target), "%s", name);
    job->run(job);
}

static bool removal_is_blocked(const struct partition *partition)
{
    return partition->write != NULL || partition->job_count > 1 || partition->loading_tail ||
           partition_is_held(partition);
}

/* The folder's new name, "<topic>-<index>.<32 hex>-delete", from the topic id. */
static void removal_name(const struct partition *partition, char *name, size_t size)
{
    int length = snprintf(name, size, "%s.", partition->name);
    for (int i = 0; i < 16; i++) {
        length +=
            snprintf(name + length, size - (size_t)length, "%02x", partition->topic_id.bytes[i]);
    }
    snprintf(name + length, size - (size_t)length, "-delete");
}

static void remove_run(struct job *job)
{
    struct partition *partition = job->partition;
    struct store *store = job->store;
    JOB_BEGIN(job);
    while (removal_is_blocked(partition)) {
        JOB_AWAIT(job, .kind = OP_NOP);
    }
    job->position = 0;
    if (partition->folder || partition->next != NULL) {
        char name[320];
        removal_name(partition, name, sizeof(name));
        store_path(store, job->path, partition->name, NULL, NULL);
        store_path(store, job->path_target, name, NULL, NULL);
        JOB_AWAIT(job, .kind = OP_RENAME, .path = job->path, .path_target = job->path_target);
        job->position = job->op.result;
        if (job->position >= 0) {
            JOB_CALL(job, job_sync_folder(job, store->data_dir));
            job->position = job->op.result;
        }
    }
    JOB_END(job, job->position);
}

static void remove_ended(struct job *job, int64_t result)
{
    struct partition_removal *removal = job->owner;
    struct partition *partition = job->partition;
    struct store *store = job->store;
    char name[320];
    removal_name(partition, name, sizeof(name));
    bool folder = partition->folder || partition->next != NULL;
    partition_dispose(partition);
    if (folder && result >= 0) {
        removal_sweep(store, name);
    }
    removal->status = result < 0 && result != -ENOENT ? STATUS_KAFKA_STORAGE_ERROR : STATUS_OK;
    removal->done(removal);
}

void partition_remove(struct partition *partition, struct partition_removal *removal)
{
    check_magic(partition, PARTITION_MAGIC);
    check(!partition->removing);
    struct store *store = partition->store;
    struct job *job = job_take(store, partition, remove_run);
    if (job == NULL) {
        removal->status = STATUS_NO_MEMORY;
        removal->done(removal);
        return;
    }
    partition->removing = true;
    partition_refuse(partition, STATUS_UNKNOWN_TOPIC_OR_PARTITION, true);
    partition_cancel_reads(partition);
    partition_fire_watches(partition, true);
    job->owner = removal;
    job->ended = remove_ended;
    job->run(job);
}
