/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The anchors: a log as one writes it in an afternoon, and a bare loop of device writes.
 *
 * The plain log keeps three files under one lock: records behind a length, and an entry of 16 bytes
 * for each record in an offset index and in a time index, written with three calls after a stat; a
 * read looks the position up, reads the length, then the record, each with a call of its own.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct plain_log {
    char path[512];
    int file;
    int index;
    int times;
    uint64_t count;
    uint64_t position;
    pthread_mutex_t lock;
};

void plain_open(struct plain_log *log, const char *data);
void plain_close(struct plain_log *log); /* removes its files */
void plain_append(struct plain_log *log, const uint8_t *record, uint32_t size);
void plain_sync(struct plain_log *log);
void plain_drop_cache(struct plain_log *log);
/* Copies the record into memory of `size_max` bytes; answers its size. */
uint32_t plain_read(struct plain_log *log, uint64_t offset, uint8_t *record, uint32_t size_max);

/* Writes of one size, one after the other, past the page cache, each durable when it returns, into
 * space that was allocated first. Seconds, 0 when the device refuses. */
double bare_stream(const char *data, uint64_t total, uint64_t size);
