/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page-aligned memory in runs of adjacent 64 KiB chunks, and single 4 KiB pages: the only memory
 * that devices and sockets see.
 *
 * Address space is reserved once (4x the budget, free of charge) and committed on use; committed
 * bytes are what the budget limits. A run is contiguous, so a frame, a CRC and a codec always see
 * one slice. Each core has its own `struct pages`; only that core acquires and releases.
 *
 * P1  committed bytes of a share never pass the share's limit.
 * P2  a run is released with the size it was acquired with (checked against the chunk map).
 * P3  contents of a fresh run are undefined; whoever sends or writes bytes fills them first.
 *
 * Idle chunks go back to the kernel (MADV_DONTNEED) from pages_trim().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE UINT64_C(4096)
#define CHUNK_SIZE UINT64_C(65536)

/* Who is charged. Limits are per share and per core: the budget's fraction divided by the cores. */
enum pages_share {
    PAGES_REQUEST, /* frames and arenas: a quarter */
    PAGES_SLAB,    /* bytes not yet on disk: a quarter */
    PAGES_CACHE,   /* blocks read or written lately, evicted by their owner: the rest */
    PAGES_SHARES,
};

struct pages;

struct pages_limits {
    size_t size_max[PAGES_SHARES]; /* bytes, multiples of CHUNK_SIZE */
};

/* NULL with errno set when address space is refused. */
[[nodiscard]] struct pages *pages_open(const struct pages_limits *limits);
void pages_close(struct pages *pages); /* checks that every run came back */

/* size is rounded up to chunks. NULL when the share is spent: the caller waits or refuses. */
[[nodiscard]] uint8_t *pages_acquire_run(struct pages *pages, size_t size, enum pages_share share);
void pages_release_run(struct pages *pages, uint8_t *run, size_t size, enum pages_share share);

/* One 4 KiB page, carved from a chunk that holds only pages of this share. */
[[nodiscard]] uint8_t *pages_acquire_page(struct pages *pages, enum pages_share share);
void pages_release_page(struct pages *pages, uint8_t *page, enum pages_share share);

/* Moves the charge of a run (a slab block that became a cache block).
 * False: the target share is spent. */
[[nodiscard]] bool pages_move_run(struct pages *pages, size_t size, enum pages_share source,
                                  enum pages_share target);

/* Bytes charged now; chunk granular. */
size_t pages_size(const struct pages *pages, enum pages_share share);
size_t pages_size_max(const struct pages *pages, enum pages_share share);

/* Gives free chunks beyond `keep` bytes back to the kernel; a bounded slice of work per call. */
void pages_trim(struct pages *pages, size_t keep);
