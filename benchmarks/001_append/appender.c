/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/001_append/appender.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/pages.h"

#define EARLY_SIZE (2 * MIB)

int appender_open(struct appender *appender, const struct appender_options *options)
{
    *appender = (struct appender){.options = *options};
    bool append = options->method == APPENDER_DIRECT || options->method == APPENDER_BUFFERED;
    int flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | (append ? O_APPEND : 0);
    appender->file = open(options->path, flags, 0600);
    if (appender->file < 0) {
        return -errno;
    }
    if (options->pwrite == NULL) {
        appender->options.pwrite = pwrite;
    }
    if (options->locked) {
        pthread_mutexattr_t kind;
        pthread_mutexattr_init(&kind);
        pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
        pthread_mutex_init(&appender->lock, &kind);
        pthread_mutexattr_destroy(&kind);
    }
    if (options->method == APPENDER_MMAP) {
        check(ftruncate(appender->file, (off_t)options->size_max) == 0);
        appender->buffer =
            mmap(NULL, options->size_max, PROT_READ | PROT_WRITE, MAP_SHARED, appender->file, 0);
        check(appender->buffer != MAP_FAILED);
    } else if (options->method == APPENDER_STDIO) {
        appender->stream = fdopen(dup(appender->file), "w");
        check(appender->stream != NULL);
        setvbuf(appender->stream, NULL, _IOFBF, options->buffer_size);
    } else if (options->method != APPENDER_DIRECT) {
        check(options->buffer_size > 0 && options->buffer_size % PAGE_SIZE == 0);
        check(posix_memalign((void **)&appender->buffer, PAGE_SIZE, options->buffer_size) == 0);
    }
    if (options->method == APPENDER_ALIGNED && options->size_max > 0) {
        /* Not a matter of right or wrong: without space ahead it is merely slower. */
        (void)fallocate(appender->file, FALLOC_FL_KEEP_SIZE, 0, (off_t)options->size_max);
    }
    return 0;
}

static int appender_fail(struct appender *appender, int error)
{
    appender->error = error;
    return -error;
}

/* O_APPEND chooses the place. */
static int write_behind(struct appender *appender, const uint8_t *data, uint64_t size)
{
    while (size > 0) {
        ssize_t moved = write(appender->file, data, size);
        appender->counters.writes += 1;
        if (moved <= 0) {
            return appender_fail(appender, moved < 0 ? errno : EIO);
        }
        appender->counters.write_size += (uint64_t)moved;
        data += moved;
        size -= (uint64_t)moved;
    }
    return 0;
}

static int buffered_flush(struct appender *appender)
{
    uint64_t size = appender->used;
    appender->used = 0;
    return write_behind(appender, appender->buffer, size);
}

static int buffered_write(struct appender *appender, const uint8_t *record, uint64_t size)
{
    uint64_t room = appender->options.buffer_size - appender->used;
    if (size > room) {
        int error = buffered_flush(appender);
        if (error != 0 || size >= appender->options.buffer_size) {
            return error != 0 ? error : write_behind(appender, record, size);
        }
    }
    memcpy(appender->buffer + appender->used, record, size);
    appender->used += size;
    return 0;
}

/* ---- aligned ---- */

static int write_pages(struct appender *appender, const uint8_t *data, uint64_t size)
{
    uint64_t position = appender->position;
    check(position % PAGE_SIZE == 0 && size % PAGE_SIZE == 0); /* A3 */
    appender->counters.rewritten += appender->partial ? 1 : 0;
    appender->partial = false;
    uint64_t end = position + size;
    while (position < end) {
        ssize_t moved =
            appender->options.pwrite(appender->file, data, end - position, (off_t)position);
        appender->counters.writes += 1;
        appender->counters.unaligned += (position | (end - position)) % PAGE_SIZE != 0 ? 1 : 0;
        if (moved <= 0) {
            return appender_fail(appender, moved < 0 ? errno : EIO);
        }
        appender->counters.write_size += (uint64_t)moved;
        data += moved;
        position += (uint64_t)moved;
    }
    if (appender->options.early && end >= appender->told + EARLY_SIZE) {
        (void)sync_file_range(appender->file, (off_t)appender->told, (off_t)(end - appender->told),
                              SYNC_FILE_RANGE_WRITE);
        appender->told = end;
    }
    return 0;
}

/* The buffer is full: all of it goes, and the next one begins behind it. */
static int aligned_flush_full(struct appender *appender)
{
    int error = write_pages(appender, appender->buffer, appender->used);
    appender->position += appender->used;
    appender->used = 0;
    return error;
}

/* What there is, padded; the partial page stays in front of the buffer. */
static int aligned_flush(struct appender *appender)
{
    uint64_t used = appender->used;
    uint64_t whole = used / PAGE_SIZE * PAGE_SIZE;
    uint64_t padded = whole < used ? whole + PAGE_SIZE : whole;
    if (padded == 0) {
        return 0;
    }
    memset(appender->buffer + used, 0, padded - used);
    int error = write_pages(appender, appender->buffer, padded);
    appender->position += whole;
    appender->used = used - whole;
    appender->partial = used > whole;
    appender->counters.padded += used > whole ? 1 : 0;
    if (whole > 0) {
        memcpy(appender->buffer, appender->buffer + whole, used - whole);
    }
    return error;
}

static int aligned_write(struct appender *appender, const uint8_t *record, uint64_t size)
{
    uint64_t buffer_size = appender->options.buffer_size;
    while (size > 0) {
        uint64_t part = buffer_size - appender->used;
        int error = 0;
        if (appender->used == 0 && size >= buffer_size) {
            /* Whole pages of a large record go without a copy. */
            part = size / PAGE_SIZE * PAGE_SIZE;
            error = write_pages(appender, record, part);
            appender->position += part;
        } else {
            part = size < part ? size : part;
            memcpy(appender->buffer + appender->used, record, part);
            appender->used += part;
            if (appender->used == buffer_size) {
                error = aligned_flush_full(appender);
            }
        }
        if (error != 0) {
            return error;
        }
        record += part;
        size -= part;
    }
    return 0;
}

/* ---- the interface ---- */

static int write_one(struct appender *appender, const void *record, uint64_t size)
{
    if (appender->error != 0) {
        return -appender->error; /* A1 */
    }
    switch (appender->options.method) {
    case APPENDER_DIRECT:
        return write_behind(appender, record, size);
    case APPENDER_BUFFERED:
        return buffered_write(appender, record, size);
    case APPENDER_STDIO:
        return fwrite_unlocked(record, 1, size, appender->stream) == size
                   ? 0
                   : appender_fail(appender, EIO);
    case APPENDER_ALIGNED:
        return aligned_write(appender, record, size);
    default:
        if (size > appender->options.size_max - appender->size) {
            return -ENOSPC;
        }
        memcpy(appender->buffer + appender->size, record, size);
        return 0;
    }
}

static void appender_lock(struct appender *appender)
{
    if (appender->options.locked && pthread_mutex_trylock(&appender->lock) != 0) {
        pthread_mutex_lock(&appender->lock);
        appender->counters.contended += 1;
    }
}

static void appender_unlock(struct appender *appender)
{
    if (appender->options.locked) {
        pthread_mutex_unlock(&appender->lock);
    }
}

int appender_write(struct appender *appender, const void *record, uint64_t size)
{
    appender_lock(appender);
    int error = write_one(appender, record, size);
    appender->size += error == 0 ? size : 0;
    appender_unlock(appender);
    return error;
}

/* From the buffer into the page cache. */
static int appender_flush(struct appender *appender)
{
    if (appender->error != 0) {
        return -appender->error;
    }
    switch (appender->options.method) {
    case APPENDER_BUFFERED:
        return buffered_flush(appender);
    case APPENDER_STDIO:
        return fflush(appender->stream) == 0 ? 0 : appender_fail(appender, errno);
    case APPENDER_ALIGNED:
        return aligned_flush(appender);
    default:
        return 0;
    }
}

int appender_sync(struct appender *appender)
{
    appender_lock(appender);
    int error = appender_flush(appender);
    appender_unlock(appender);
    if (error != 0) {
        return error;
    }
    bool failed = appender->options.method == APPENDER_MMAP
                      ? msync(appender->buffer, appender->options.size_max, MS_SYNC) != 0
                      : fdatasync(appender->file) != 0;
    return failed ? appender_fail(appender, errno) : 0;
}

int appender_close(struct appender *appender)
{
    int error = appender_flush(appender);
    if (appender->options.method == APPENDER_MMAP) {
        munmap(appender->buffer, appender->options.size_max);
    } else {
        free(appender->buffer);
    }
    if (appender->stream != NULL) {
        fclose(appender->stream);
    }
    bool fixed =
        appender->options.method == APPENDER_MMAP || appender->options.method == APPENDER_ALIGNED;
    if (error == 0 && fixed && ftruncate(appender->file, (off_t)appender->size) != 0) {
        error = -errno;
    }
    if (appender->options.locked) {
        pthread_mutex_destroy(&appender->lock);
    }
    close(appender->file);
    return error;
}
