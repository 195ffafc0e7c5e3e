/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Working memory of one codec call. The caller's scratch is cut up from its start; what no longer
 * fits comes from the caller's heap and goes back at the end, so a core with a roomy scratch never
 * allocates and one with a small scratch still reads everything that its budget allows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"

/* heap NULL: only `memory` may be used; more answers STATUS_NO_MEMORY. */
struct batch_scratch {
    uint8_t *memory;
    size_t size;
    struct heap *heap;
};

struct codec_block;

struct codec_memory {
    struct batch_scratch scratch;
    size_t used;                /* bytes of the scratch */
    struct codec_block *blocks; /* of the heap */
    bool failed;                /* sticky: something did not fit */
};

void codec_memory_init(struct codec_memory *memory, struct batch_scratch scratch);
/* Gives everything back at once. */
void codec_memory_deinit(struct codec_memory *memory);

/* Aligned to 16, content undefined. NULL, and `failed` set, when there is no room. */
[[nodiscard]] void *codec_memory_acquire(struct codec_memory *memory, size_t size);
/* NULL does nothing; bytes of the scratch are not used twice. */
void codec_memory_release(struct codec_memory *memory, void *block);

/* What the scratch still has, for a call further down. */
struct batch_scratch codec_memory_rest(const struct codec_memory *memory);
