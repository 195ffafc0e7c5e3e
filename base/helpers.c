/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ring_backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"

#define HELPER_STACK_SIZE (256 * KIB)
#define ZEROES_SIZE (64 * KIB)
#define ALIGNMENT UINT64_C(4096)

/* 0 at the end of the file, else bytes or -errno. */
static int64_t helper_read_once(const struct op *op)
{
    struct iovec rest[OP_VECTOR_MAX];
    int count = op_rest(op, rest);
    ssize_t size = preadv(op->file, rest, count, (off_t)(op->position + op->moved));
    return size < 0 ? -errno : size;
}

static int64_t helper_write_once(const struct op *op)
{
    struct iovec rest[OP_VECTOR_MAX];
    int count = op_rest(op, rest);
    off_t position = (off_t)(op->position + op->moved);
    bool dsync = (op->flags & OP_DSYNC) != 0;
    ssize_t size = pwritev2(op->file, rest, count, position, dsync ? RWF_DSYNC : 0);
    if (size < 0 && dsync && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        size = pwritev(op->file, rest, count, position);
        if (size >= 0 && fdatasync(op->file) != 0) {
            return -errno;
        }
    }
    return size < 0 ? -errno : size;
}

static int64_t helper_transfer(struct op *op)
{
    uint64_t size = op_size(op);
    while (op->moved < size) {
        int64_t moved = op->kind == OP_READ ? helper_read_once(op) : helper_write_once(op);
        if (moved == -EINTR) {
            continue;
        }
        if (op->kind == OP_READ && (moved == 0 || (moved == -EINVAL && op->moved > 0))) {
            break; /* the end of the file; direct reads tell an unaligned one by -EINVAL */
        }
        if (moved <= 0) {
            return moved == 0 ? -EIO : moved;
        }
        op->moved += (uint64_t)moved;
    }
    return (int64_t)op->moved;
}

/* Where the file system cannot reserve: zeros are written behind the end of the file. */
static int64_t helper_allocate_by_writing(const struct op *op)
{
    struct stat stat;
    if (fstat(op->file, &stat) != 0) {
        return -errno;
    }
    uint64_t until = op->position + op->size;
    uint64_t position =
        (uint64_t)stat.st_size > op->position ? (uint64_t)stat.st_size : op->position;
    if (until <= (uint64_t)stat.st_size) {
        return 0;
    }
    void *zeroes = mmap(NULL, ZEROES_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (zeroes == MAP_FAILED) {
        return -ENOMEM;
    }
    /* Whole pages, so that it works for direct files too; ftruncate() sets the exact size. */
    int64_t result = 0;
    position = (position + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    while (position < until && result == 0) {
        uint64_t size = (until - position + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
        size = size < ZEROES_SIZE ? size : ZEROES_SIZE;
        ssize_t written = pwrite(op->file, zeroes, size, (off_t)position);
        if (written > 0) {
            position += (uint64_t)written;
        } else if (written == 0 || errno != EINTR) {
            result = written == 0 ? -EIO : -errno;
        }
    }
    munmap(zeroes, ZEROES_SIZE);
    if (result == 0 && ftruncate(op->file, (off_t)until) != 0) {
        result = -errno;
    }
    return result;
}

static int64_t helper_allocate(const struct op *op)
{
    int result;
    do {
        result = fallocate(op->file, 0, (off_t)op->position, (off_t)op->size);
    } while (result != 0 && errno == EINTR);
    if (result != 0 && errno == EOPNOTSUPP) {
        return helper_allocate_by_writing(op);
    }
    return result == 0 ? 0 : -errno;
}

static bool listing_add(struct ring_listing *listing, const char *name)
{
    size_t size = strlen(name) + 1;
    if (size > listing->size_max - listing->size) {
        return false;
    }
    memcpy(listing->names + listing->size, name, size);
    listing->size += size;
    listing->count += 1;
    return true;
}

static int64_t helper_list(const struct op *op)
{
    struct ring_listing *listing = op->listing;
    listing->size = 0;
    listing->count = 0;
    DIR *folder = opendir(op->path);
    if (folder == NULL) {
        return -errno;
    }
    int64_t result = 0;
    struct dirent *entry;
    while (result == 0 && (errno = 0, entry = readdir(folder)) != NULL) {
        bool dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!dots && !listing_add(listing, entry->d_name)) {
            result = -ENOBUFS;
        }
    }
    if (result == 0 && errno != 0) {
        result = -errno;
    }
    closedir(folder);
    return result == 0 ? (int64_t)listing->count : result;
}

int64_t file_stat(const struct op *op)
{
    struct stat stat;
    if (fstat(op->file, &stat) != 0) {
        return -errno;
    }
    if ((op->flags & OP_STAMP) == 0) {
        return (int64_t)stat.st_size;
    }
    /* Whoever sets st_mtim back does not set st_ctim. */
    const uint64_t facts[] = {
        (uint64_t)stat.st_ino,         (uint64_t)stat.st_size,
        (uint64_t)stat.st_mtim.tv_sec, (uint64_t)stat.st_mtim.tv_nsec,
        (uint64_t)stat.st_ctim.tv_sec, (uint64_t)stat.st_ctim.tv_nsec,
    };
    return stamp_of(hash_bytes(bytes_of(facts, sizeof(facts)), 0));
}

int64_t file_next_data(const struct op *op)
{
    off_t position = lseek(op->file, (off_t)op->position, SEEK_DATA);
    return position < 0 ? -errno : (int64_t)position;
}

static int64_t answer(int result)
{
    return result < 0 ? -errno : result;
}

static int64_t helper_run(struct op *op)
{
    switch (op->kind) {
    case OP_OPEN:
        return answer(open(op->path, open_flags_native(op->flags), FILE_MODE));
    case OP_CLOSE:
        /* The descriptor is gone whatever close() says. */
        return close(op->file) == 0 || errno == EINTR ? 0 : -errno;
    case OP_READ:
    case OP_WRITE:
        return helper_transfer(op);
    case OP_SYNC:
        return answer((op->flags & OP_DATA_ONLY) != 0 ? fdatasync(op->file) : fsync(op->file));
    case OP_ALLOCATE:
        return helper_allocate(op);
    case OP_TRUNCATE:
        return answer(ftruncate(op->file, (off_t)op->size));
    case OP_STAT:
        return file_stat(op);
    case OP_DATA:
        return file_next_data(op);
    case OP_RENAME:
        return answer(rename(op->path, op->path_target));
    case OP_UNLINK:
        return answer((op->flags & OP_DIRECTORY) != 0 ? rmdir(op->path) : unlink(op->path));
    case OP_MKDIR:
        return answer(mkdir(op->path, FOLDER_MODE));
    case OP_LIST:
        return helper_list(op);
    default:
        unreachable();
    }
}

/* With the lock held. */
static void helpers_finish(struct helpers *helpers, struct op *op)
{
    list_push_tail(&helpers->finished, &op->node);
    atomic_store_explicit(&helpers->any_finished, true, memory_order_release);
    wakeup_signal(helpers->wakeup);
}

static void *helper_main(void *argument)
{
    struct helpers *helpers = argument;
    pthread_mutex_lock(&helpers->mutex);
    for (;;) {
        struct list_node *node = list_pop_head(&helpers->queue);
        if (node == NULL) {
            if (helpers->stopping) {
                break;
            }
            helpers->idle_count += 1;
            pthread_cond_wait(&helpers->work, &helpers->mutex);
            helpers->idle_count -= 1;
            continue;
        }
        helpers->queue_count -= 1;
        pthread_mutex_unlock(&helpers->mutex);
        struct op *op = LIST_ENTRY(node, struct op, node);
        op->result = helper_run(op);
        pthread_mutex_lock(&helpers->mutex);
        helpers_finish(helpers, op);
    }
    pthread_mutex_unlock(&helpers->mutex);
    return NULL;
}

void helpers_init(struct helpers *helpers, struct wakeup *wakeup)
{
    *helpers = (struct helpers){.wakeup = wakeup};
    pthread_mutex_init(&helpers->mutex, NULL);
    pthread_cond_init(&helpers->work, NULL);
    list_init(&helpers->queue);
    list_init(&helpers->finished);
}

void helpers_deinit(struct helpers *helpers)
{
    pthread_mutex_lock(&helpers->mutex);
    check(list_is_empty(&helpers->queue) && list_is_empty(&helpers->finished));
    helpers->stopping = true;
    pthread_cond_broadcast(&helpers->work);
    pthread_mutex_unlock(&helpers->mutex);
    for (uint32_t i = 0; i < helpers->thread_count; i++) {
        pthread_join(helpers->threads[i], NULL);
    }
    pthread_cond_destroy(&helpers->work);
    pthread_mutex_destroy(&helpers->mutex);
}

/* With the lock held. Signals stay with the threads that were there before. */
static void helpers_start_one(struct helpers *helpers)
{
    sigset_t all;
    sigset_t before;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, HELPER_STACK_SIZE);
    pthread_t *thread = &helpers->threads[helpers->thread_count];
    if (pthread_create(thread, &attributes, helper_main, helpers) == 0) {
        helpers->thread_count += 1;
    }
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void helpers_submit(struct helpers *helpers, struct op *op)
{
    pthread_mutex_lock(&helpers->mutex);
    if (helpers->idle_count <= helpers->queue_count && helpers->thread_count < HELPERS_MAX) {
        helpers_start_one(helpers);
    }
    if (helpers->thread_count == 0) {
        op->result = helper_run(op); /* no thread to be had: slow, but right */
        helpers_finish(helpers, op);
    } else {
        list_push_tail(&helpers->queue, &op->node);
        helpers->queue_count += 1;
        pthread_cond_signal(&helpers->work);
    }
    pthread_mutex_unlock(&helpers->mutex);
}

void helpers_reap(struct helpers *helpers, struct list *completed)
{
    if (!atomic_load_explicit(&helpers->any_finished, memory_order_acquire)) {
        return;
    }
    pthread_mutex_lock(&helpers->mutex);
    atomic_store_explicit(&helpers->any_finished, false, memory_order_relaxed);
    list_splice_tail(completed, &helpers->finished);
    pthread_mutex_unlock(&helpers->mutex);
}
