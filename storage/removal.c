/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/removal.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "storage/partition_state.h"
#include "storage/slab.h"
#include "storage/stray.h"
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
        /* Not before: an unlink that comes first finds nothing, and the file stays for good. */
        for (int32_t i = 0; i < partition->retired_count; i++) {
            removal_put_off(partition, partition->retired[i]);
        }
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

/* What nobody brings any more. Not before all of them are out of the log: who is woken goes on with
 * the next older segment, and would wait for that one. */
static void removal_wake(struct partition *partition)
{
    for (int32_t i = 0; i < partition->retired_count; i++) {
        struct segment *segment = partition->retired[i];
        if (segment->aborted_lost) {
            segment->rows_fault = -ENOENT;
            segment_wake_rows(segment);
        }
        segment_wake_keys(segment, -ENOENT);
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
    removal_wake(partition);
    (void)removal_resume(partition);
    tend_start(partition);
}

/* ---- whole partitions ---- */

/* Unlinks the files of the renamed folder (its name is in path_target) and removes it. More names
 * than the listing holds come in several. */
static void sweep_run(struct job *job)
{
    struct store *store = job->store;
    struct ring_listing *listing = (void *)job->memory;
    JOB_BEGIN(job);
    listing->names = (char *)(job->memory + sizeof(*listing));
    listing->size_max = job->memory_size - sizeof(*listing);
    do {
        store_path(store, job->path, job->path_target, NULL, NULL);
        JOB_AWAIT(job, .kind = OP_LIST, .path = job->path, .listing = listing);
        job->size = job->op.result;
        job->position = 0;
        job->flag = false; /* something went */
        if (job->size < 0 && job->size != -ENOBUFS) {
            break;
        }
        for (job->index = 0; job->index < listing->count; job->index++) {
            store_path(store, job->path, job->path_target, listing->names + job->position, NULL);
            job->position += (int64_t)strlen(listing->names + job->position) + 1;
            JOB_AWAIT(job, .kind = OP_UNLINK, .path = job->path);
            job->flag = job->flag || job->op.result >= 0;
        }
    } while (job->size == -ENOBUFS && job->flag);
    if (job->size >= 0) {
        store_path(store, job->path, job->path_target, NULL, NULL);
        JOB_AWAIT(job, .kind = OP_UNLINK, .flags = OP_DIRECTORY, .path = job->path);
    }
    cache_release_run(store, job->memory, job->memory_size);
    JOB_END(job, 0);
}

static void removal_sweep(struct store *store, const char *name)
{
    struct job *job = job_take_memory(store, NULL, sweep_run, (size_t)BLOCK_SIZE * 4);
    if (job == NULL) {
        return;
    }
    memset(job->memory, 0, sizeof(struct ring_listing));
    snprintf(job->path_target, sizeof(job->path_target), "%s", name);
    job->run(job);
}

static bool removal_is_blocked(const struct partition *partition)
{
    return partition->write != NULL || partition->job_count > 1 || partition->loading_tail ||
           partition->attended || partition_is_held(partition);
}

/* Kafka cuts the topic's name as well: a file name has at most 255 bytes. */
void removal_name(const struct partition *partition, const uint8_t unique[16], const char *suffix,
                  char name[FOLDER_NAME_SIZE])
{
    char hex[33];
    for (int i = 0; i < 16; i++) {
        snprintf(hex + 2 * (size_t)i, 3, "%02x", unique[i]);
    }
    char end[64];
    int end_size = snprintf(end, sizeof(end), "-%d.%s%s", partition->index, hex, suffix);
    int topic_size = (int)(strrchr(partition->name, '-') - partition->name);
    int topic_size_max = FOLDER_NAME_SIZE - 1 - end_size;
    snprintf(name, FOLDER_NAME_SIZE, "%.*s%s",
             topic_size < topic_size_max ? topic_size : topic_size_max, partition->name, end);
}

static void removal_delete_name(const struct partition *partition, char name[FOLDER_NAME_SIZE])
{
    removal_name(partition, partition->topic_id.bytes, "-delete", name);
}

/* job->flag: the folder is the partition's own, to be swept. */
static void remove_run(struct job *job)
{
    struct partition *partition = job->partition;
    struct store *store = job->store;
    JOB_BEGIN(job);
    while (removal_is_blocked(partition)) {
        JOB_AWAIT(job, .kind = OP_NOP);
    }
    job->position = 0;
    job->flag = partition->folder || partition->next != NULL;
    if (!job->flag) {
        /* Never appended to, half made, or never loaded: it may be anybody's. */
        JOB_CALL(job, job_call(job, stray_job(partition)));
        job->position = job->op.result < 0 ? job->op.result : 0;
        job->flag = job->op.result == STRAY_OURS;
    }
    if (job->flag) {
        char name[FOLDER_NAME_SIZE];
        removal_delete_name(partition, name);
        store_path(store, job->path, partition->name, NULL, NULL);
        store_path(store, job->path_target, name, NULL, NULL);
        JOB_AWAIT(job, .kind = OP_RENAME, .path = job->path, .path_target = job->path_target);
        job->position = job->op.result == -ENOENT ? 0 : job->op.result; /* done by a try before */
        if (job->position >= 0) {
            JOB_CALL(job, job_sync_folder(job, store->data_dir));
            job->position = job->op.result;
        }
    }
    JOB_END(job, job->position);
}

static void removal_tell(const struct partition *partition, int64_t error)
{
    diag_line(
        partition->store->diag, DIAG_ERROR, "storage/removal",
        "folder of a removed topic cannot be renamed; its space is not free",
        "folder=%s/%s error=\"%s\" remedy=\"the next start removes it; see to the disk of the "
        "data folder first\"",
        partition->store->data_dir, partition->name, strerrordesc_np((int)-error));
}

static void remove_later(struct partition *partition)
{
    struct store *store = partition->store;
    list_push_tail(&store->removing, &partition->remove_node);
    store_arm(store, ring_now_ns(store->ring) + STORE_RETRY_NS);
}

static void remove_ended(struct job *job, int64_t result)
{
    struct partition *partition = job->partition;
    struct store *store = job->store;
    if (result == -ENOMEM) {
        remove_later(partition);
        return;
    }
    if (result < 0) {
        removal_tell(partition, result);
    }
    char name[FOLDER_NAME_SIZE];
    removal_delete_name(partition, name);
    void (*done)(void *owner, enum status status) = partition->removed;
    void *owner = partition->removed_owner;
    bool sweeps = job->flag && result >= 0;
    partition_dispose(partition);
    if (sweeps) {
        removal_sweep(store, name);
    }
    done(owner, result < 0 ? STATUS_KAFKA_STORAGE_ERROR : STATUS_OK);
}

static void remove_start(struct partition *partition)
{
    struct job *job = job_take(partition->store, partition, remove_run);
    if (job == NULL) {
        remove_later(partition);
        return;
    }
    job->ended = remove_ended;
    job->run(job);
}

void removal_retry(struct store *store)
{
    struct list removing;
    list_init(&removing);
    list_splice_tail(&removing, &store->removing);
    for (;;) {
        struct list_node *node = list_pop_head(&removing);
        if (node == NULL) {
            return;
        }
        remove_start(LIST_ENTRY(node, struct partition, remove_node));
    }
}

void removal_give_up(struct store *store)
{
    for (;;) {
        struct list_node *node = list_pop_head(&store->removing);
        if (node == NULL) {
            return;
        }
        struct partition *partition = LIST_ENTRY(node, struct partition, remove_node);
        removal_tell(partition, -ENOMEM);
        partition_dispose(partition);
    }
}

void partition_remove(struct partition *partition, void (*done)(void *owner, enum status status),
                      void *owner)
{
    check_magic(partition, PARTITION_MAGIC);
    check(!partition->removing);
    partition->removing = true;
    partition->removed = done;
    partition->removed_owner = owner;
    partition_refuse(partition, STATUS_UNKNOWN_TOPIC_OR_PARTITION, true);
    partition_cancel_reads(partition);
    partition_fire_watches(partition, true);
    remove_start(partition);
}
