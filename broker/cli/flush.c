/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/flush.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/pages.h"
#include "base/ring.h"

/* Enough for a p99 of two samples; 0.2 s on a fast disk, 20 s on a slow one stops early. */
#define WRITES_MAX 256
#define WRITES_MIN 32
#define TIME_NS_MAX UINT64_C(3000000000)

struct flush {
    struct ring *ring;
    struct pages *pages;
    uint8_t *page;
    int32_t file;
    char path[4096];
    uint64_t times_ns[WRITES_MAX];
    int32_t count;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int64_t file_open(struct flush *flush)
{
    struct op op = {
        .kind = OP_OPEN,
        .path = flush->path,
        .flags = OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE | OPEN_DIRECT,
    };
    return ring_call(flush->ring, &op);
}

static int64_t space_take(struct flush *flush)
{
    struct op allocate = {.kind = OP_ALLOCATE, .file = flush->file, .size = WRITES_MAX * PAGE_SIZE};
    int64_t result = ring_call(flush->ring, &allocate);
    if (result < 0) {
        return result;
    }
    struct op sync = {.kind = OP_SYNC, .file = flush->file};
    return ring_call(flush->ring, &sync);
}

static int64_t writes_run(struct flush *flush)
{
    struct iovec slice = {flush->page, PAGE_SIZE};
    uint64_t start_ns = now_ns();
    for (int32_t i = 0; i < WRITES_MAX; i++) {
        struct op op = {
            .kind = OP_WRITE,
            .flags = OP_DSYNC,
            .file = flush->file,
            .vector = &slice,
            .vector_count = 1,
            .position = (uint64_t)i * PAGE_SIZE,
        };
        uint64_t before_ns = now_ns();
        int64_t result = ring_call(flush->ring, &op);
        if (result < 0) {
            return result;
        }
        uint64_t after_ns = now_ns();
        flush->times_ns[flush->count++] = after_ns - before_ns;
        if (flush->count >= WRITES_MIN && after_ns - start_ns > TIME_NS_MAX) {
            break;
        }
    }
    return 0;
}

static int64_t file_remove(struct flush *flush)
{
    struct op close = {.kind = OP_CLOSE, .file = flush->file};
    (void)ring_call(flush->ring, &close);
    struct op unlink = {.kind = OP_UNLINK, .path = flush->path};
    return ring_call(flush->ring, &unlink);
}

static int time_order(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *)a;
    uint64_t second = *(const uint64_t *)b;
    return (first > second) - (first < second);
}

static int measure(struct flush *flush, struct flush_figures *figures, char *message, size_t size)
{
    int64_t result = file_open(flush);
    if (result < 0) {
        snprintf(message, size, "%s cannot be made with O_DIRECT: %s; choose a folder with --data",
                 flush->path, strerror((int)-result));
        return (int)result;
    }
    flush->file = (int32_t)result;
    result = space_take(flush);
    if (result >= 0) {
        memset(flush->page, 0xa5, PAGE_SIZE);
        result = writes_run(flush);
    }
    int64_t removed = file_remove(flush);
    result = result < 0 ? result : removed;
    if (result < 0) {
        snprintf(message, size, "%s cannot be written: %s", flush->path, strerror((int)-result));
        return (int)result;
    }
    qsort(flush->times_ns, (size_t)flush->count, sizeof(flush->times_ns[0]), time_order);
    *figures = (struct flush_figures){
        .write_count = flush->count,
        .p50_ns = flush->times_ns[flush->count / 2],
        .p99_ns = flush->times_ns[flush->count * 99 / 100],
        .ring = ring_kind_name(ring_kind(flush->ring)),
    };
    return 0;
}

int flush_measure(const char *folder, struct flush_figures *figures, char *message,
                  size_t message_size)
{
    struct flush flush = {.file = -1};
    struct ring_options options = {.kind = RING_AUTO, .entries = 8};
    struct pages_limits limits = {.size_max = {[PAGES_SLAB] = CHUNK_SIZE}};
    snprintf(flush.path, sizeof(flush.path), "%s/weir.flush-%d", folder, (int)getpid());
    int result = ring_open(&flush.ring, &options);
    if (result < 0) {
        snprintf(message, message_size, "no ring: %s", strerror(-result));
        return result;
    }
    flush.pages = pages_open(&limits);
    flush.page = flush.pages == NULL ? NULL : pages_acquire_page(flush.pages, PAGES_SLAB);
    if (flush.page == NULL) {
        result = -ENOMEM;
        snprintf(message, message_size, "no memory for one page");
    } else {
        result = measure(&flush, figures, message, message_size);
        pages_release_page(flush.pages, flush.page, PAGES_SLAB);
    }
    if (flush.pages != NULL) {
        pages_close(flush.pages);
    }
    ring_close(flush.ring);
    return result;
}
