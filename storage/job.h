/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job is a function that does several things to disk one after the other and reads from top to
 * bottom: at each JOB_AWAIT it hands one op to the ring and returns; the completion calls it again
 * and it goes on behind that line. Local variables do not survive an await: what must lives in the
 * struct. A job may call another one (JOB_CALL) and finds its result in op.result.
 *
 *   JOB_BEGIN(job);
 *   JOB_AWAIT(job, .kind = OP_OPEN, .path = job->path, .flags = OPEN_READ);
 *   ...
 *   JOB_END(job, 0);
 *
 * The price is that no switch statement may stand around an await.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/ring.h"
#include "storage/cache.h"

struct partition;
struct segment;
struct store;

/* Folder of the data (at most 512 bytes), "<topic>-<index>", a file name and a suffix. */
#define STORE_PATH_SIZE 896
#define STORE_DATA_DIR_MAX 512

struct job {
    struct op op;
    int line;
    struct store *store;
    void (*run)(struct job *job);
    struct job *parent;                             /* goes on when this one ends, or NULL */
    void (*ended)(struct job *job, int64_t result); /* before the job is given back, or NULL */
    struct partition *partition;                    /* counted in partition->job_count, or NULL */
    struct segment *segment;
    void *owner;
    int32_t file;
    int64_t position;
    int64_t size;
    uint32_t index;
    bool flag;
    struct list_node node; /* in files->waiting */
    uint8_t *memory;       /* a run or page of the job */
    size_t memory_size;
    struct iovec slice;
    struct file_user user;
    struct block_waiter waiter;
    struct segment *awaited; /* whose rows */
    char path[STORE_PATH_SIZE];
    char path_target[STORE_PATH_SIZE];
};

#define JOB_BEGIN(job)                                                                             \
    switch ((job)->line) {                                                                         \
    case 0:
#define JOB_AWAIT(job, ...)                                                                        \
    do {                                                                                           \
        (job)->line = __LINE__;                                                                    \
        (job)->op = (struct op){__VA_ARGS__};                                                      \
        job_submit(job);                                                                           \
        return;                                                                                    \
    case __LINE__:;                                                                                \
    } while (0)
#define JOB_CALL(job, call)                                                                        \
    do {                                                                                           \
        (job)->line = __LINE__;                                                                    \
        call;                                                                                      \
        return;                                                                                    \
    case __LINE__:;                                                                                \
    } while (0)
#define JOB_END(job, result)                                                                       \
    break;                                                                                         \
    default:                                                                                       \
        unreachable();                                                                             \
        }                                                                                          \
        job_end((job), (result))

/* NULL when the heap refuses. `partition` may be NULL; the job holds it until it ends. */
[[nodiscard]] struct job *job_take(struct store *store, struct partition *partition,
                                   void (*run)(struct job *job));
/* The same with `size` bytes at job->memory, of the cache's share; the job gives them back. */
[[nodiscard]] struct job *job_take_memory(struct store *store, struct partition *partition,
                                          void (*run)(struct job *job), size_t size);
/* Whether an open, or the job for it, failed for want of descriptors or memory: nothing is wrong
 * with the disk, and it may work in a second. */
bool job_is_short(int64_t error);
/* An open waits until a descriptor is free (storage/files). */
void job_submit(struct job *job);
/* Gives the job back, then lets the parent go on with `result` in its op. */
void job_end(struct job *job, int64_t result);
/* Runs `child`, which lets `parent` go on at its end; NULL is a child that ended with -ENOMEM. */
void job_call(struct job *parent, struct job *child);
/* Blocking: runs a job to its end while the ring goes on. NULL answers -ENOMEM. */
int64_t job_wait(struct job *job);

/* ---- jobs that everybody needs ---- */

/*
 * Each lets the job go on, at once where nothing has to be waited for or without memory: then the
 * job may have ended, and done what it does at its end, before the call returns. So may a job's
 * run() and whoever starts one.
 */

/* The descriptor of a segment's file as op.result, or -errno; file_unuse() gives it back. */
void job_use_file(struct job *job, struct segment *segment);
/* Rows and facts of a sealed segment: op.result 0 when they are there, or -errno. */
void job_wait_rows(struct job *job, struct segment *segment);
/* The key table of a sealed segment: op.result 0 when its hint has it, or -errno. */
void job_wait_keys(struct job *job, struct segment *segment);
/* Every aborted transaction that ended in the segment: op.result 0 when they are known, or -errno.
 */
void job_wait_aborted(struct job *job, struct segment *segment);
/* Opens, syncs and closes a folder. `path` is copied. Answers 0 or -errno to `parent`. */
void job_sync_folder(struct job *parent, const char *path);
/*
 * Writes parent->memory[0..size) as `path`: to a new name, synced, renamed. Whole pages, so that
 * nothing passes through the page cache under the aligned writer; the file is then cut to `size`.
 * memory must be a run whose size is a multiple of 4 KiB and which has room for the padding.
 */
void job_save(struct job *parent, const char *path, uint8_t *memory, size_t size);
