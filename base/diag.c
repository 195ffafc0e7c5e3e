/* SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"

void diag_init(struct diag *diag, int file, int core, enum diag_level level_min, char *buffer,
               size_t size_max)
{
    *diag = (struct diag){
        .file = file, .core = core, .level_min = level_min, .buffer = buffer, .size_max = size_max};
}

static const char *diag_level_name(enum diag_level level)
{
    switch (level) {
    case DIAG_DEBUG:
        return "debug";
    case DIAG_INFO:
        return "info";
    case DIAG_WARN:
        return "warn";
    case DIAG_ERROR:
        return "error";
    }
    unreachable();
}

static uint32_t diag_hash(uint32_t hash, const char *text)
{
    for (; *text != 0; text++) {
        hash = (hash ^ (uint8_t)*text) * UINT32_C(16777619);
    }
    return hash;
}

/* The site of (at, event); when all are busy this second, the one it collides with makes room. */
static struct diag_site *diag_site(struct diag *diag, const char *at, const char *event,
                                   uint64_t second)
{
    uint32_t home = diag_hash(diag_hash(UINT32_C(2166136261), at), event) % DIAG_SITES;
    struct diag_site *idle = NULL;
    for (uint32_t i = 0; i < DIAG_SITES; i++) {
        struct diag_site *site = &diag->sites[(home + i) % DIAG_SITES];
        if (site->event == NULL) {
            idle = idle == NULL ? site : idle;
            break; /* sites are never emptied: a known one lies before the first empty one */
        }
        if (strcmp(site->event, event) == 0 && strcmp(site->at, at) == 0) {
            return site;
        }
        if (idle == NULL && site->second != second) {
            idle = site;
        }
    }
    struct diag_site *site = idle != NULL ? idle : &diag->sites[home];
    diag->dropped += site->held; /* nobody will report them any more */
    *site = (struct diag_site){.at = at, .event = event, .second = second};
    return site;
}

/* False: this line is held back. */
static bool diag_site_pass(struct diag_site *site, uint64_t second)
{
    if (site->second != second) {
        site->second = second;
        site->count = 0;
    }
    if (site->count >= DIAG_BURST) {
        site->held += 1;
        return false;
    }
    site->count += 1;
    return true;
}

/* Appends to the buffer behind *size; false when it does not fit. */
[[gnu::format(printf, 3, 0)]] static bool diag_append(struct diag *diag, size_t *size,
                                                      const char *format, va_list arguments)
{
    size_t room = diag->size_max - *size;
    int count = vsnprintf(diag->buffer + *size, room, format, arguments);
    if (count < 0 || (size_t)count >= room) {
        return false;
    }
    *size += (size_t)count;
    return true;
}

[[gnu::format(printf, 3, 4)]] static bool diag_print(struct diag *diag, size_t *size,
                                                     const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    bool fits = diag_append(diag, size, format, arguments);
    va_end(arguments);
    return fits;
}

static bool diag_print_head(struct diag *diag, size_t *size, enum diag_level level, const char *at,
                            const char *event)
{
    time_t seconds = diag->wall_ms / 1000;
    struct tm tm;
    char core[32] = "";
    if (gmtime_r(&seconds, &tm) == NULL) {
        return false;
    }
    if (diag->core >= 0) {
        snprintf(core, sizeof(core), " core=%d", diag->core);
    }
    return diag_print(
        diag, size, "time=%04d-%02d-%02dT%02d:%02d:%02d.%03dZ level=%s%s at=%s event=\"%s\"",
        tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
        (int)(diag->wall_ms % 1000), diag_level_name(level), core, at, event);
}

void diag_line(struct diag *diag, enum diag_level level, const char *at, const char *event,
               const char *fields, ...)
{
    if (level < diag->level_min || diag->file < 0) {
        return;
    }
    uint64_t second = (uint64_t)(diag->wall_ms / 1000);
    struct diag_site *site = diag_site(diag, at, event, second);
    if (!diag_site_pass(site, second)) {
        return;
    }
    size_t size = diag->size;
    bool fits = diag_print_head(diag, &size, level, at, event);
    if (fits && site->held > 0) {
        fits = diag_print(diag, &size, " held=%u", site->held);
    }
    if (fits && fields != NULL && fields[0] != 0) {
        va_list arguments;
        va_start(arguments, fields);
        fits = diag_print(diag, &size, " ") && diag_append(diag, &size, fields, arguments);
        va_end(arguments);
    }
    if (fits && diag_print(diag, &size, "\n")) {
        diag->size = size; /* a line is taken whole or not at all */
        site->held = 0;
    } else {
        diag->dropped += 1;
    }
}

/* False: the descriptor takes nothing now. */
static bool diag_write(struct diag *diag)
{
    size_t done = 0;
    while (done < diag->size) {
        ssize_t count = write(diag->file, diag->buffer + done, diag->size - done);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0 && errno != EAGAIN) {
            diag->dropped += 1; /* nowhere to report it; better than keeping it for ever */
            done = diag->size;
            break;
        }
        if (count <= 0) {
            break;
        }
        done += (size_t)count;
    }
    diag->size -= done;
    memmove(diag->buffer, diag->buffer + done, diag->size);
    return diag->size == 0;
}

void diag_flush(struct diag *diag)
{
    if (diag->size == 0 || !diag_write(diag) || diag->dropped == 0) {
        return;
    }
    size_t size = 0;
    if (diag_print_head(diag, &size, DIAG_WARN, "base/diag", "lines dropped") &&
        diag_print(diag, &size, " count=%llu remedy=\"read the output faster\"\n",
                   (unsigned long long)diag->dropped)) {
        diag->size = size;
        diag->dropped = 0;
        diag_write(diag);
    }
}

const char *diag_escape(char *out, size_t size, const void *text, size_t text_size)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = text;
    size_t length = 0;
    check(size > 0);
    for (size_t i = 0; i < text_size; i++) {
        bool plain = from[i] >= 0x20 && from[i] < 0x7f && from[i] != '"' && from[i] != '\\';
        size_t width = plain ? 1 : 4;
        if (width > size - 1 - length) {
            break;
        }
        if (plain) {
            out[length] = (char)from[i];
        } else {
            out[length] = '\\';
            out[length + 1] = 'x';
            out[length + 2] = digits[from[i] >> 4];
            out[length + 3] = digits[from[i] & 15];
        }
        length += width;
    }
    out[length] = 0;
    return out;
}
