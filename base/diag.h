/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Diagnostic lines in logfmt, one call a line:
 *
 *   time=2026-01-31T12:00:00.123Z level=warn core=0 at=storage event="..." key=value ...
 *
 * A line names the object, the number seen, the limit, the remedy. Lines go to a bounded buffer per
 * core that diag_flush() writes to the descriptor; what does not fit is counted and reported, never
 * waited for. The same `at` and event are limited to DIAG_BURST lines a second; the next line that
 * passes says how many were held back.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

enum diag_level { DIAG_DEBUG, DIAG_INFO, DIAG_WARN, DIAG_ERROR };

#define DIAG_BURST 10
#define DIAG_SITES 64

struct diag_site {
    const char *at;
    const char *event;
    uint64_t second;
    uint32_t count;
    uint32_t held;
};

struct diag {
    int file; /* descriptor; -1 swallows (tests) */
    int core; /* -1: no core */
    enum diag_level level_min;
    int64_t wall_ms; /* set by the core each tick */
    char *buffer;
    size_t size;
    size_t size_max;
    uint64_t dropped;
    struct diag_site sites[DIAG_SITES];
};

void diag_init(struct diag *diag, int file, int core, enum diag_level level_min, char *buffer,
               size_t size_max);
/* `at` is folder/noun, event a fixed sentence, fields a printf format of "key=value key=\"%s\"". */
void diag_line(struct diag *diag, enum diag_level level, const char *at, const char *event,
               const char *fields, ...) __attribute__((format(printf, 5, 6)));
/* Writes what is buffered; called once a tick and before exit. */
void diag_flush(struct diag *diag);
/* Copies at most size-1 bytes of untrusted text, quoting control characters, for a field. */
const char *diag_escape(char *out, size_t size, const void *text, size_t text_size);
