/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/003_suite/plain.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"
#include "benchmarks/lib/machine.h"
#include "benchmarks/lib/measure.h"

#define ENTRY_SIZE 16

static int plain_file(const struct plain_log *log, const char *suffix)
{
    char path[640];
    snprintf(path, sizeof(path), "%s%s", log->path, suffix);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(file >= 0);
    return file;
}

void plain_open(struct plain_log *log, const char *data)
{
    *log = (struct plain_log){0};
    machine_settle(data);
    snprintf(log->path, sizeof(log->path), "%s/bench_003_plain.%d", data, (int)getpid());
    pthread_mutex_init(&log->lock, NULL);
    log->file = plain_file(log, ".log");
    log->index = plain_file(log, ".index");
    log->times = plain_file(log, ".timeindex");
}

void plain_close(struct plain_log *log)
{
    static const char *const suffixes[] = {".log", ".index", ".timeindex"};
    close(log->file);
    close(log->index);
    close(log->times);
    for (size_t i = 0; i < ARRAY_COUNT(suffixes); i++) {
        char path[640];
        snprintf(path, sizeof(path), "%s%s", log->path, suffixes[i]);
        unlink(path);
    }
    pthread_mutex_destroy(&log->lock);
}

void plain_append(struct plain_log *log, const uint8_t *record, uint32_t size)
{
    pthread_mutex_lock(&log->lock);
    struct stat stat;
    check(fstat(log->file, &stat) == 0);
    uint8_t head[4];
    put_be32(head, size);
    struct iovec parts[] = {{head, sizeof(head)}, {(uint8_t *)record, size}};
    check(writev(log->file, parts, 2) == (ssize_t)(size + 4));
    uint8_t entry[ENTRY_SIZE];
    put_be64(entry, log->count);
    put_be64(entry + 8, (uint64_t)stat.st_size);
    check(write(log->index, entry, ENTRY_SIZE) == ENTRY_SIZE);
    put_be64(entry, clock_ns());
    check(write(log->times, entry, ENTRY_SIZE) == ENTRY_SIZE);
    log->count += 1;
    log->position += size + 4;
    pthread_mutex_unlock(&log->lock);
}

void plain_sync(struct plain_log *log)
{
    check(fdatasync(log->file) == 0);
}

void plain_drop_cache(struct plain_log *log)
{
    int files[] = {log->file, log->index, log->times};
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        check(fsync(files[i]) == 0);
        (void)posix_fadvise(files[i], 0, 0, POSIX_FADV_DONTNEED);
    }
}

uint32_t plain_read(struct plain_log *log, uint64_t offset, uint8_t *record, uint32_t size_max)
{
    pthread_mutex_lock(&log->lock);
    uint8_t entry[ENTRY_SIZE];
    uint8_t head[4];
    check(pread(log->index, entry, ENTRY_SIZE, (off_t)(offset * ENTRY_SIZE)) == ENTRY_SIZE);
    off_t position = (off_t)get_be64(entry + 8);
    check(pread(log->file, head, sizeof(head), position) == sizeof(head));
    uint32_t size = get_be32(head);
    check(size <= size_max && pread(log->file, record, size, position + 4) == (ssize_t)size);
    pthread_mutex_unlock(&log->lock);
    return size;
}

double bare_stream(const char *data, uint64_t total, uint64_t size)
{
    char path[640];
    snprintf(path, sizeof(path), "%s/bench_003_bare.%d", data, (int)getpid());
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    if (file < 0) {
        return 0;
    }
    uint8_t *memory;
    check(posix_memalign((void **)&memory, 4096, size) == 0);
    memset(memory, 0, size);
    check(posix_fallocate(file, 0, (off_t)total) == 0);
    check(fsync(file) == 0);
    uint64_t begin_ns = clock_ns();
    for (uint64_t position = 0; position + size <= total; position += size) {
        struct iovec slice = {memory, size};
        check(pwritev2(file, &slice, 1, (off_t)position, RWF_DSYNC) == (ssize_t)size);
    }
    double seconds = (double)(clock_ns() - begin_ns) / 1e9;
    free(memory);
    close(file);
    unlink(path);
    return seconds;
}
