/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/space.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/check.h"
#include "storage/commit.h"
#include "storage/partition_state.h"
#include "storage/planted.h"
#include "storage/stray.h"
#include "storage/tend.h"

#define SPACE_NEXT_NAME "weir.next"
#define SPACE_FILE_SIZE 8192 /* metadata and epochs fit: 64 entries of at most 32 characters */

static int64_t round_up(int64_t size, int64_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static const char *space_remedy(int64_t error)
{
    switch (-error) {
    case ENOSPC:
    case EDQUOT:
        return "make room on the disk of the data folder: delete topics, or lower their retention";
    case EMFILE:
        return "raise the limit of open files: ulimit -n, or LimitNOFILE of the service";
    case ENFILE:
        return "raise the system's limit of open files: sysctl fs.file-max";
    case ENOMEM:
        return "raise memory.bytes, or spread the partitions over more brokers";
    default:
        return "see to the disk of the data folder, and to owner and permissions there";
    }
}

static const char *space_event(int64_t error, bool refuses)
{
    if (!refuses) {
        return "no space ahead of need; appends go on in what is left, tried again each second";
    }
    return job_is_short(error) ? "no descriptor or memory for a file of the log; appends are "
                                 "refused, tried again each second"
                               : "no space for the log; appends are refused, tried again each "
                                 "second";
}

/* " limit=1024" where that is what was reached. */
static void space_limit(int64_t error, char *text, size_t size)
{
    struct rlimit limit;
    text[0] = '\0';
    if (error == -EMFILE && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        snprintf(text, size, " limit=%llu", (unsigned long long)limit.rlim_cur);
    }
}

/* One line when appends begin to be refused, one when only space ahead of need is, not one a try.
 */
static void space_tell(struct partition *partition, int64_t error, const char *what, bool refuses)
{
    if (partition->state != PARTITION_OPEN || (partition->spaceless && !refuses)) {
        return;
    }
    partition->spaceless = true;
    char limit[32];
    space_limit(error, limit, sizeof(limit));
    diag_line(partition->store->diag, refuses ? DIAG_ERROR : DIAG_WARN, "storage/space",
              space_event(error, refuses), "partition=%s step=%s%s error=\"%s\" remedy=\"%s\"",
              partition->name, what, limit, strerrordesc_np((int)-error), space_remedy(error));
}

/* Answers appends: what the caller knows of the first waiting one is no longer true. */
static void space_refuse(struct partition *partition, int64_t error, const char *what)
{
    struct store *store = partition->store;
    bool refuses = !list_is_empty(&partition->waiting) || partition->state == PARTITION_FULL ||
                   partition->fileless;
    space_tell(partition, error, what, refuses);
    if (!list_is_linked(&partition->refused_node)) {
        list_push_tail(&store->refused, &partition->refused_node);
        store_arm(store, ring_now_ns(store->ring) + STORE_RETRY_NS);
    }
    if (refuses) {
        partition->state = partition->state == PARTITION_OPEN ? PARTITION_FULL : partition->state;
        partition_refuse(partition, STATUS_KAFKA_STORAGE_ERROR, false);
    }
}

static void space_granted(struct partition *partition)
{
    if (!partition->fileless) {
        if (list_is_linked(&partition->refused_node)) {
            list_remove(&partition->refused_node);
        }
        if (partition->state == PARTITION_FULL) {
            partition->state = PARTITION_OPEN;
            diag_line(partition->store->diag, DIAG_INFO, "storage/space",
                      "what was refused is there again; appends go on", "partition=%s",
                      partition->name);
        }
    }
    partition_pump(partition);
}

void space_wait_file(struct partition *partition, int64_t error, const char *what)
{
    partition->fileless = true;
    space_refuse(partition, error, what);
}

void space_note_file(struct partition *partition)
{
    if (partition->fileless && !partition->name_wanted) {
        partition->fileless = false;
        space_granted(partition);
    }
}

static bool space_is_gone(const struct partition *partition)
{
    return partition->broken || partition->removing;
}

static size_t space_metadata_text(const struct partition *partition, char *text, size_t size_max)
{
    char id[UUID_TEXT_SIZE];
    uuid_format(&partition->topic_id, id);
    int length = snprintf(text, size_max, "version: 0\ntopic_id: %s\n", id);
    check(length > 0 && (size_t)length < size_max);
    return (size_t)length;
}

static void create_folder_run(struct job *job)
{
    struct partition *partition = job->partition;
    struct store *store = job->store;
    size_t size;
    JOB_BEGIN(job);
    JOB_AWAIT(job, .kind = OP_MKDIR, .path = job->path);
    if (job->op.result == -EEXIST) {
        JOB_CALL(job, job_call(job, stray_job(partition)));
        if (job->op.result == STRAY_NOTHING) {
            JOB_AWAIT(job, .kind = OP_MKDIR, .path = job->path);
        }
    }
    if (job->op.result < 0) {
        goto end;
    }
    size = space_metadata_text(partition, (char *)job->memory, SPACE_FILE_SIZE);
    store_path(store, job->path, partition->name, "partition.metadata", NULL);
    JOB_CALL(job, job_save(job, job->path, job->memory, size));
    if (job->op.result < 0) {
        goto end;
    }
    partition->epochs_changed = false;
    partition->epochs_stamp = 0;
    size = epochs_encode(&partition->epochs, (char *)job->memory, SPACE_FILE_SIZE);
    check(size <= SPACE_FILE_SIZE);
    store_path(store, job->path, partition->name, "leader-epoch-checkpoint", NULL);
    JOB_CALL(job, job_save(job, job->path, job->memory, size));
end:
    cache_release_run(store, job->memory, job->memory_size);
    JOB_END(job, job->op.result);
}

static struct job *create_folder_job(struct partition *partition)
{
    struct store *store = partition->store;
    struct job *job = job_take_memory(store, partition, create_folder_run, (size_t)BLOCK_SIZE);
    if (job != NULL) {
        store_path(store, job->path, partition->name, NULL, NULL);
    }
    return job;
}

/* First step of a file: the whole segment where that is small. */
static int64_t space_first_step(const struct partition *partition)
{
    int64_t whole = round_up(partition->config.segment_size_max, BLOCK_SIZE);
    return whole < SPACE_STEP_MIN ? whole : SPACE_STEP_MIN;
}

static void create_end(struct job *job)
{
    struct partition *partition = job->partition;
    struct store *store = job->store;
    int64_t result = job->op.result;
    struct segment *segment = NULL;
    partition->creating = false;
    if (result >= 0 && !space_is_gone(partition)) {
        segment = segment_open(store, partition, 0);
        result = segment == NULL ? -ENOMEM : 0;
    }
    if (segment == NULL) {
        if (job->file >= 0) {
            files_close_descriptor(store, job->file);
        }
        if (!space_is_gone(partition)) {
            space_refuse(partition, result, "create");
        }
        return;
    }
    segment->allocated = segment->allocate_step = job->size;
    segment->created_ms = ring_wall_ms(store->ring);
    segment->rows_loaded = true;
    file_adopt(store, segment, job->file);
    partition->next = segment;
    partition->next_wanted = partition->spaceless = false;
    space_granted(partition);
}

static void create_run(struct job *job)
{
    struct partition *partition = job->partition;
    JOB_BEGIN(job);
    if (!partition->folder) {
        JOB_CALL(job, job_call(job, create_folder_job(partition)));
        if (job->op.result < 0) {
            goto end;
        }
    }
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path,
              .flags =
                  OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE | store_direct(job->store));
    if (job->op.result < 0) {
        goto end;
    }
    job->file = (int32_t)job->op.result;
    job->size = space_first_step(partition);
    JOB_AWAIT(job, .kind = OP_ALLOCATE, .file = job->file, .size = (uint64_t)job->size);
    if (job->op.result < 0) {
        goto end;
    }
    JOB_AWAIT(job, .kind = OP_SYNC, .file = job->file);
end:
    create_end(job);
    JOB_END(job, 0);
}

void space_prepare(struct partition *partition)
{
    partition->next_wanted = true;
    if (partition->next != NULL || partition->creating || partition->naming ||
        space_is_gone(partition) || partition->closing) {
        return;
    }
    struct store *store = partition->store;
    struct job *job = job_take(store, partition, create_run);
    if (job == NULL) {
        space_refuse(partition, -ENOMEM, "create");
        return;
    }
    partition->creating = true;
    store_path(store, job->path, partition->name, SPACE_NEXT_NAME, NULL);
    job->run(job);
}

static void extend_run(struct job *job)
{
    struct partition *partition = job->partition;
    struct segment *segment = job->segment;
    JOB_BEGIN(job);
    JOB_CALL(job, job_use_file(job, segment));
    if (job->op.result < 0) {
        goto end;
    }
    job->file = (int32_t)job->op.result;
    JOB_AWAIT(job, .kind = OP_ALLOCATE, .file = job->file, .position = (uint64_t)segment->allocated,
              .size = (uint64_t)job->size);
    if (job->op.result >= 0) {
        JOB_AWAIT(job, .kind = OP_SYNC, .file = job->file, .flags = OP_DATA_ONLY);
    }
    file_unuse(job->store, segment);
end:
    partition->spacing = false;
    if (!space_is_gone(partition)) {
        if (job->op.result >= 0) {
            segment->allocated += job->size;
            segment->allocate_step = job->size;
            partition->spaceless = false;
            space_granted(partition);
        } else {
            space_refuse(partition, job->op.result, "extend");
        }
    }
    segment_drop(segment);
    JOB_END(job, 0);
}

/* `needed`: position that must be covered; 0 asks for the next step ahead of need. May refuse at
 * once: with no memory for its job, or for the open of the file. */
static void space_extend(struct partition *partition, int64_t needed)
{
    struct segment *segment = partition_active(partition);
    struct store *store = partition->store;
    if (partition->spacing || space_is_gone(partition) || partition->closing || !segment->named) {
        return; /* naming ends with a pump, which asks again */
    }
    int64_t step = segment->allocate_step * 2;
    step = step < SPACE_STEP_MIN ? SPACE_STEP_MIN : step;
    step = step > SPACE_STEP_MAX ? SPACE_STEP_MAX : step;
    int64_t cap = round_up(partition->config.segment_size_max, BLOCK_SIZE);
    if (segment->allocated + step > cap) {
        step = cap > segment->allocated ? cap - segment->allocated : 0;
    }
    if (segment->allocated + step < needed) {
        step = round_up(needed - segment->allocated, BLOCK_SIZE);
    }
    if (step == 0) {
        return;
    }
    struct job *job = job_take(store, partition, extend_run);
    if (job == NULL) {
        space_refuse(partition, -ENOMEM, "extend");
        return;
    }
    partition->spacing = true;
    job->segment = segment;
    segment_hold(segment);
    job->size = step;
    job->run(job);
}

bool space_check(struct partition *partition, int64_t size)
{
    struct segment *segment = partition_active(partition);
    int64_t needed = segment->size + size;
    /* A write covers whole pages. */
    needed = round_up(needed, (int64_t)PAGE_SIZE);
    if (needed > segment->allocated) {
        space_extend(partition, needed);
        return needed <= segment->allocated;
    }
    if (segment->allocated - needed < segment->allocate_step / 2 &&
        !list_is_linked(&partition->refused_node)) {
        space_extend(partition, 0);
    }
    if (needed > partition->config.segment_size_max / 2 && partition->next == NULL &&
        !list_is_linked(&partition->refused_node)) {
        space_prepare(partition);
        partition->next_wanted = false;
    }
    return true;
}

/* It stays `naming`, which keeps the next roll, and `weir.next`, away from the file. */
static void name_put_off(struct partition *partition, int64_t error)
{
    partition->name_wanted = true;
    space_wait_file(partition, error, "name");
    partition_keys_cancel(partition, error); /* the segment before it is not sealed meanwhile */
}

static void name_end(struct job *job)
{
    struct partition *partition = job->partition;
    struct segment *segment = job->segment;
    int64_t result = job->op.result;
    if (result < 0 && segment->renamed && job_is_short(result) && !space_is_gone(partition)) {
        name_put_off(partition, result);
        return;
    }
    partition->naming = false;
    if (space_is_gone(partition)) {
        return;
    }
    if (result < 0) {
        partition_break(partition, result, "log file cannot be named");
        return;
    }
    partition->folder = true;
    segment->named = true;
    commit_mark_dirty(partition);
    if (partition->next_wanted) {
        space_prepare(partition);
    }
    space_note_file(partition);
    partition_pump(partition);
    tend_start(partition);
}

static void name_run(struct job *job)
{
    struct partition *partition = job->partition;
    struct segment *segment = job->segment;
    struct store *store = job->store;
    JOB_BEGIN(job);
    if (!segment->renamed) {
        JOB_AWAIT(job, .kind = OP_RENAME, .path = job->path, .path_target = job->path_target);
        if (job->op.result < 0) {
            goto end;
        }
        segment->renamed = true;
    }
    store_path_offset(store, job->path, partition->name, segment->base_offset, ".tail");
    /* Files of a segment that recovery dropped would vouch for bytes that are not there. */
    JOB_AWAIT(job, .kind = OP_UNLINK, .path = job->path);
    store_path_offset(store, job->path, partition->name, segment->base_offset, ".hint");
    JOB_AWAIT(job, .kind = OP_UNLINK, .path = job->path);
    store_path_offset(store, job->path, partition->name, segment->base_offset, ".tail");
    JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path, .flags = OPEN_WRITE | OPEN_CREATE);
    if (job->op.result < 0) {
        goto end;
    }
    job->file = (int32_t)job->op.result;
    JOB_AWAIT(job, .kind = OP_CLOSE, .file = job->file);
    if (!PLANTED(NAME_NOT_SYNCED)) {
        store_path(store, job->path, partition->name, NULL, NULL);
        JOB_CALL(job, job_sync_folder(job, job->path));
    }
    if (job->op.result >= 0 && !partition->folder) {
        JOB_CALL(job, job_sync_folder(job, store->data_dir));
    }
end:
    name_end(job);
    segment_drop(segment);
    JOB_END(job, 0);
}

static void name_start(struct partition *partition, struct segment *segment)
{
    struct store *store = partition->store;
    struct job *job = job_take(store, partition, name_run);
    if (job == NULL) {
        name_put_off(partition, -ENOMEM);
        return;
    }
    partition->name_wanted = false;
    job->segment = segment;
    segment_hold(segment);
    store_path(store, job->path, partition->name, SPACE_NEXT_NAME, NULL);
    store_path_offset(store, job->path_target, partition->name, segment->base_offset, ".log");
    job->run(job);
}

void space_name(struct partition *partition, struct segment *segment)
{
    check(!partition->naming && !segment->named);
    partition->naming = true;
    name_start(partition, segment);
}

/* Whichever open it was, it comes again. */
static void space_retry_file(struct partition *partition)
{
    if (partition->name_wanted) {
        name_start(partition, partition_active(partition));
    }
    if (partition->writing->durable < partition->writing->size) {
        commit_mark_dirty(partition);
    }
    partition_pump(partition);
}

void space_retry(struct partition *partition)
{
    struct segment *segment = partition_active(partition);
    if (partition->fileless) {
        space_retry_file(partition);
        return;
    }
    if (partition->next_wanted || segment == NULL) {
        space_prepare(partition);
    } else if (segment->allocated - segment->size < segment->allocate_step) {
        space_extend(partition, 0);
    }
    if (!partition->creating && !partition->spacing) {
        space_granted(partition);
    }
}
