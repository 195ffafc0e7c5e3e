/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writers that append records to one file, behind one interface. Bytes, no format.
 *
 *   direct    one write(2) for each record, O_APPEND
 *   buffered  a buffer as bufio and stdio have it: flushed when the next record does not fit, a
 *             larger record goes past it
 *   stdio     fwrite() with a buffer of that size
 *   aligned   the buffer stands for whole pages of the file: every write begins at a page and is
 *             whole pages long, whatever the records' sizes; the partial last page stays in the
 *             buffer and is written again, padded, when there is more behind it
 *   mmap      memcpy into a mapped file of a fixed size
 *
 * A1  After a failed write the appender refuses everything: the error is final for its file.
 * A2  Records are whole and in order: what was synced is a prefix of what was written.
 * A3  aligned: position % page == 0 and size % page == 0 for every write (counted, and checked).
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum appender_method {
    APPENDER_DIRECT,
    APPENDER_BUFFERED,
    APPENDER_STDIO,
    APPENDER_ALIGNED,
    APPENDER_MMAP,
};

struct appender_options {
    const char *path;
    enum appender_method method;
    uint64_t buffer_size; /* a multiple of the page; buffered, stdio, aligned */
    uint64_t size_max;    /* of the file: mmap's fixed size; aligned allocates so much, 0 nothing */
    bool early;           /* aligned: tells the kernel to begin writing back what is whole */
    bool locked;          /* several threads write */
    /* Tests: stands in for pwrite(2). NULL: the real one. */
    ssize_t (*pwrite)(int file, const void *data, size_t size, off_t position);
};

struct appender_counters {
    uint64_t writes;
    uint64_t write_size;
    uint64_t unaligned; /* writes that are not whole pages at a page */
    uint64_t rewritten; /* writes that begin with a page written before */
    uint64_t padded;    /* writes that end in padding */
    uint64_t contended; /* lock found taken */
};

struct appender {
    struct appender_options options;
    struct appender_counters counters;
    int file;
    int error; /* A1: errno, 0 none */
    uint8_t *buffer;
    uint64_t used;
    uint64_t position; /* of the buffer's first byte */
    uint64_t size;     /* bytes appended */
    uint64_t told;     /* write-back was asked for up to here */
    bool partial;      /* the page at `position` is on its way already, with padding */
    FILE *stream;
    pthread_mutex_t lock;
};

/* 0 or -errno. The file is made anew. */
int appender_open(struct appender *appender, const struct appender_options *options);
/* 0 or -errno: of this write, or of the one that failed before. Any thread when locked. */
int appender_write(struct appender *appender, const void *record, uint64_t size);
/* All that was written is on the disk when it returns 0. */
int appender_sync(struct appender *appender);
/* Writes what is left, cuts the file to its size. Not a sync. */
int appender_close(struct appender *appender);
