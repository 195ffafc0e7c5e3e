/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/000_slab/slab.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/pages.h"

static uint8_t *memory_map(uint64_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    check(memory != MAP_FAILED);
    return memory;
}

/* O_DIRECT where the file system has it. */
static int file_open(const char *path, int flags, bool *direct)
{
    unlink(path);
    int file = open(path, flags | O_DIRECT | O_CREAT | O_CLOEXEC, 0600);
    *direct = file >= 0;
    if (file < 0) {
        file = open(path, flags | O_CREAT | O_CLOEXEC, 0600);
    }
    if (file < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    }
    return file;
}

bool slab_open(struct slab *slab, const struct slab_options *options, struct latency *flushes)
{
    *slab = (struct slab){.options = *options, .flushes = flushes};
    if (slab->options.piece_size == 0 || slab->options.piece_size > options->capacity) {
        slab->options.piece_size = options->capacity;
    }
    check(options->capacity % slab->options.piece_size == 0);
    slab->file = file_open(options->path, O_RDWR, &slab->counters.direct);
    if (slab->file < 0) {
        return false;
    }
    if (options->engine != SLAB_PWRITE) {
        struct ring_options ring = {.kind = options->engine == SLAB_URING ? RING_URING : RING_POSIX,
                                    .entries = 64};
        if (ring_open(&slab->ring, &ring) != 0) {
            fprintf(stderr, "%s\n", ring.refusal);
            close(slab->file);
            return false;
        }
    }
    slab->memory_size = options->capacity * (uint64_t)options->slab_count;
    slab->memory = memory_map(slab->memory_size);
    slab->piece_count = slab->memory_size / slab->options.piece_size;
    slab->pieces = calloc(slab->piece_count, sizeof(*slab->pieces));
    check(slab->pieces != NULL);
    uint64_t size = (options->total + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
    if (options->space != SLAB_GROWING) {
        check(posix_fallocate(slab->file, 0, (off_t)size) == 0);
    }
    for (uint64_t at = 0; at < size && options->space == SLAB_WRITTEN;) {
        uint64_t part = size - at < slab->memory_size ? size - at : slab->memory_size;
        check(pwrite(slab->file, slab->memory, part, (off_t)at) == (ssize_t)part);
        at += part;
    }
    return true;
}

static void piece_done(struct slab *slab, struct slab_piece *piece, int64_t result)
{
    piece->busy = false;
    slab->counters.flushes += 1;
    if (result < 0 && slab->error == 0) {
        slab->error = (int)-result;
    }
    if (slab->flushes != NULL) {
        latency_add(slab->flushes, clock_ns() - piece->started_ns);
    }
}

static void piece_op_done(struct op *op)
{
    struct slab *slab = op->owner;
    slab->in_flight -= 1;
    piece_done(slab, CONTAINER_OF(op, struct slab_piece, op), op->result);
}

static void piece_write(struct slab *slab, struct slab_piece *piece)
{
    struct iovec rest = piece->vector;
    uint64_t position = piece->op.position;
    int64_t result = 0;
    while (rest.iov_len > 0 && result >= 0) {
        ssize_t moved =
            pwritev2(slab->file, &rest, 1, (off_t)position, slab->options.dsync ? RWF_DSYNC : 0);
        if (moved <= 0) {
            result = moved < 0 ? -errno : -EIO;
        } else {
            rest = (struct iovec){(uint8_t *)rest.iov_base + moved, rest.iov_len - (size_t)moved};
            position += (uint64_t)moved;
        }
    }
    piece_done(slab, piece, result);
}

/* Hands full pieces over, oldest first, as far as the depth allows. */
static void slab_submit(struct slab *slab)
{
    while (slab->full > 0 && slab->in_flight < slab->options.depth) {
        struct slab_piece *piece = &slab->pieces[slab->submit];
        slab->submit = (slab->submit + 1) % slab->piece_count;
        slab->full -= 1;
        piece->started_ns = clock_ns();
        if (slab->error != 0) {
            piece->busy = false; /* a failed write is the last one of its file */
        } else if (slab->ring == NULL) {
            piece_write(slab, piece);
        } else {
            slab->in_flight += 1;
            ring_submit(slab->ring, &piece->op);
        }
    }
}

void slab_poll(struct slab *slab)
{
    slab_submit(slab);
    if (slab->ring != NULL && slab->in_flight > 0) {
        ring_step(slab->ring, 0);
        slab_submit(slab);
    }
}

static void slab_wait(struct slab *slab)
{
    slab_submit(slab);
    if (slab->ring != NULL && slab->in_flight > 0) {
        ring_step(slab->ring, UINT64_MAX);
        slab_submit(slab);
    }
}

/* The piece that takes records is full, or the last one. */
static void slab_seal(struct slab *slab, uint64_t size)
{
    struct slab_piece *piece = &slab->pieces[slab->filling];
    uint8_t *memory = slab->memory + slab->filling * slab->options.piece_size;
    piece->vector = (struct iovec){memory, size};
    piece->op = (struct op){.kind = OP_WRITE,
                            .flags = slab->options.dsync ? OP_DSYNC : 0,
                            .file = slab->file,
                            .vector = &piece->vector,
                            .vector_count = 1,
                            .position = slab->position,
                            .done = piece_op_done,
                            .owner = slab};
    piece->busy = true;
    slab->position += size;
    slab->full += 1;
    slab->filling = (slab->filling + 1) % slab->piece_count;
    slab->used = 0;
    slab_poll(slab);
}

bool slab_put(struct slab *slab, const uint8_t *record, uint64_t size)
{
    while (size > 0 && slab->error == 0) {
        if (slab->used == 0 && slab->pieces[slab->filling].busy) {
            uint64_t begin_ns = clock_ns();
            while (slab->pieces[slab->filling].busy) {
                slab_wait(slab);
            }
            slab->counters.stall_ns += clock_ns() - begin_ns;
        }
        uint64_t room = slab->options.piece_size - slab->used;
        uint64_t part = size < room ? size : room;
        memcpy(slab->memory + slab->filling * slab->options.piece_size + slab->used, record, part);
        slab->used += part;
        record += part;
        size -= part;
        if (slab->used == slab->options.piece_size) {
            slab_seal(slab, slab->used);
        }
    }
    return slab->error == 0;
}

bool slab_finish(struct slab *slab)
{
    uint64_t size = slab->position + slab->used;
    slab->counters.tail_size = slab->used;
    if (slab->used > 0) {
        uint64_t padded = (slab->used + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
        memset(slab->memory + slab->filling * slab->options.piece_size + slab->used, 0,
               padded - slab->used);
        slab_seal(slab, padded);
    }
    while (slab->in_flight > 0 || slab->full > 0) {
        slab_wait(slab);
    }
    slab->counters.final_size = size;
    return slab->error == 0 && ftruncate(slab->file, (off_t)size) == 0;
}

void slab_close(struct slab *slab)
{
    check(slab->in_flight == 0);
    if (slab->ring != NULL) {
        ring_close(slab->ring);
    }
    munmap(slab->memory, slab->memory_size);
    free(slab->pieces);
    close(slab->file);
}

bool single_open(struct single *single, const char *path, uint64_t capacity, bool dsync,
                 struct latency *latency)
{
    *single = (struct single){.capacity = capacity, .latency = latency};
    bool direct;
    single->file = file_open(path, O_WRONLY | O_APPEND | (dsync ? O_DSYNC : 0), &direct);
    if (single->file < 0) {
        return false;
    }
    single->memory = memory_map(capacity);
    return true;
}

bool single_put(struct single *single, const uint8_t *record, uint64_t size)
{
    if (single->used + size > single->capacity) {
        uint64_t begin_ns = clock_ns();
        for (uint64_t moved = 0; moved < single->capacity;) {
            ssize_t part = write(single->file, single->memory + moved, single->capacity - moved);
            if (part <= 0) {
                return false;
            }
            moved += (uint64_t)part;
        }
        single->flushes += 1;
        single->used = 0;
        if (single->latency != NULL) {
            latency_add(single->latency, clock_ns() - begin_ns);
        }
    }
    memcpy(single->memory + single->used, record, size);
    single->used += size;
    return true;
}

void single_close(struct single *single)
{
    munmap(single->memory, single->capacity);
    close(single->file);
}
