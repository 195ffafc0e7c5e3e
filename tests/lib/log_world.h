/* SPDX-License-Identifier: Apache-2.0 */
/* A store on a ring, simulated or real, with the driver that a core would be. For tests. */
#pragma once

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/diag.h"
#include "base/heap.h"
#include "base/pages.h"
#include "base/random.h"
#include "base/ring.h"
#include "base/ring_simulated.h"
#include "base/timer.h"
#include "storage/partition.h"
#include "storage/store.h"

struct log_world_options {
    uint64_t seed;
    size_t slab_size;           /* bytes; 0: 16 MiB */
    size_t cache_size;          /* bytes; 0: 32 MiB */
    uint32_t files_max;         /* 0: 64 */
    uint64_t disk_delay_ns_max; /* 0: 100 us */
    enum writer_kind writer;
    const char *data_dir; /* NULL: "/data" of a simulated world */
    enum ring_kind kind;  /* of a real ring, when data_dir is set */
};

struct log_world {
    struct log_world_options options;
    struct sim_world *world; /* NULL: a real ring */
    struct ring *ring;
    struct pages *pages;
    struct heap heap;
    struct timers timers;
    struct diag diag;
    struct store *store;
    struct random fail_random;
    uint32_t fail_one_in;
    uint32_t fail_kinds;
    int fail_error;
    uint64_t cut_after;
    bool trace; /* WEIR_TEST_TRACE=1: every op on the standard error */
    jmp_buf cut_point;
    char diag_buffer[65536];
};

void log_world_open(struct log_world *world, const struct log_world_options *options);
void log_world_close(struct log_world *world);
/* Power cut: the old store is gone (its memory with it), a new one stands on what is left. */
void log_world_crash(struct log_world *world);
/* The process alone dies: the disk keeps all it was told, synced or not. */
void log_world_kill(struct log_world *world);
/* The power fails at the op of that number, from 1, and control goes to world->cut_point, where
 * log_world_crash() has to follow; 0 calls it off. For cuts within blocking calls. */
void log_world_cut_after(struct log_world *world, uint64_t ops);
/* A new store on the same disk after a clean stop. All partitions must be closed. */
void log_world_restart(struct log_world *world);
/* One tick of a core. False: nothing is in flight and no timer is armed. */
bool log_world_tick(struct log_world *world);
/* Ticks until *flag, at most `ticks` times; answers *flag. */
bool log_world_until(struct log_world *world, const bool *flag, uint32_t ticks);
/* Ticks for so long (virtual or real). */
void log_world_sleep(struct log_world *world, uint64_t ms);

/* From now on one op in `one_in` fails with -`error` after it took effect, only of the kinds in the
 * mask (1 << enum op_kind); one_in 0 ends it. Simulated rings only. */
void log_world_fail(struct log_world *world, uint32_t one_in, uint32_t kinds, int error);
/* Flips one bit of a file; false when there is no such byte. */
bool log_world_flip(struct log_world *world, const char *path, uint64_t position, int bit);

/* A valid batch of `count` records, about `size` bytes in all, into memory; answers its size. The
 * content depends on `tag` alone. */
size_t log_batch_make(uint8_t *memory, size_t size_max, uint64_t tag, int32_t count, size_t size,
                      int64_t timestamp);
/* The same from a struct; `keyed` gives each record a key of one byte, from 'a' on. */
#define LOG_BATCH_KEYS 26
struct log_batch {
    uint64_t tag;
    int32_t count;
    size_t size;
    int64_t timestamp;
    bool keyed;
};
uint8_t log_batch_key(uint64_t tag, int32_t index);
size_t log_batch_encode(uint8_t *memory, size_t size_max, const struct log_batch *batch);
/* Appends the batch, at 1,000 ms, and ticks until it is answered: status and base_offset say how.
 */
struct partition_append log_world_append(struct log_world *world, struct partition *partition,
                                         uint8_t *batch, size_t size);
struct partition_config log_config_default(void);
