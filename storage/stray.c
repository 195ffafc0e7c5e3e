/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/stray.h"

#include <errno.h>

#include "base/check.h"
#include "storage/folder.h"
#include "storage/partition_state.h"
#include "storage/removal.h"

#define STRAY_METADATA_SIZE 256

/* What the making of a folder leaves before partition.metadata stands in it. */
static const char *const made_names[] = {
    "leader-epoch-checkpoint",
    "leader-epoch-checkpoint.tmp",
    "partition.metadata.tmp",
    "weir.next",
};

static bool stray_is_made(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(made_names); i++) {
        if (strcmp(name, made_names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool stray_is_unfinished(const struct ring_listing *listing)
{
    const char *name = listing->names;
    for (uint32_t i = 0; i < listing->count; i++) {
        if (!stray_is_made(name)) {
            return false;
        }
        name += strlen(name) + 1;
    }
    return true;
}

static bool stray_names_us(const struct job *job)
{
    struct uuid id;
    return folder_decode_metadata((const char *)job->memory, &id) &&
           uuid_equal(&id, &job->partition->topic_id);
}

/* Hex that no other folder has: the time, and the topic that takes the place. */
static void stray_target(struct job *job)
{
    uint8_t unique[16];
    char name[FOLDER_NAME_SIZE];
    put_be64(unique, (uint64_t)ring_wall_ms(job->store->ring));
    memcpy(unique + 8, job->partition->topic_id.bytes, 8);
    removal_name(job->partition, unique, "-stray", name);
    store_path(job->store, job->path, job->partition->name, NULL, NULL);
    store_path(job->store, job->path_target, name, NULL, NULL);
}

static void stray_tell(const struct job *job)
{
    diag_line(job->store->diag, DIAG_WARN, "storage/stray",
              "folder belongs to no topic and made place for a partition",
              "folder=%s moved=%s "
              "remedy=\"nothing in it was changed; take it to where it belongs, or delete it if "
              "you do not need it\"",
              job->path, job->path_target);
}

/* job->flag: it is ours. job->size: what to answer. */
static void stray_run(struct job *job)
{
    struct store *store = job->store;
    struct ring_listing *listing = (void *)job->memory;
    JOB_BEGIN(job);
    store_path(store, job->path, job->partition->name, "partition.metadata", NULL);
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path, .flags = OPEN_READ);
    if (job->op.result >= 0) {
        job->file = (int32_t)job->op.result;
        job->slice = (struct iovec){job->memory, STRAY_METADATA_SIZE - 1};
        JOB_AWAIT(job, .kind = OP_READ, .file = job->file, .vector = &job->slice,
                  .vector_count = 1);
        job->size = job->op.result;
        JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
        if (job->size < 0) {
            goto end;
        }
        job->memory[job->size] = 0;
        job->flag = stray_names_us(job);
    } else if (job->op.result == -ENOENT) {
        listing->names = (char *)(job->memory + sizeof(*listing));
        listing->size_max = job->memory_size - sizeof(*listing);
        store_path(store, job->path, job->partition->name, NULL, NULL);
        JOB_AWAIT(job, .kind = OP_LIST, .path = job->path, .listing = listing);
        job->size = job->op.result == -ENOENT ? STRAY_NOTHING : job->op.result;
        if (job->op.result < 0 && job->op.result != -ENOBUFS) {
            goto end;
        }
        job->flag = job->op.result >= 0 && stray_is_unfinished(listing);
    } else {
        job->size = job->op.result;
        goto end;
    }
    job->size = STRAY_OURS;
    if (!job->flag) {
        stray_target(job);
        JOB_AWAIT(job, .kind = OP_RENAME, .path = job->path, .path_target = job->path_target);
        job->size = job->op.result;
        if (job->op.result >= 0) {
            JOB_CALL(job, job_sync_folder(job, store->data_dir));
            job->size = job->op.result < 0 ? job->op.result : STRAY_NOTHING;
            stray_tell(job);
        }
    }
end:
    cache_release_run(store, job->memory, job->memory_size);
    JOB_END(job, job->size);
}

struct job *stray_job(struct partition *partition)
{
    struct job *job = job_take_memory(partition->store, partition, stray_run, (size_t)BLOCK_SIZE);
    if (job != NULL) {
        memset(job->memory, 0, sizeof(struct ring_listing));
    }
    return job;
}
