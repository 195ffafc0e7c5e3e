/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world in memory for deterministic tests: files, folders, byte streams, one virtual clock, one
 * generator. Rings opened on one world share it; one thread steps them all. Same seed and same
 * calls give the same completions at the same virtual times.
 *
 * The driver is the test: it advances the clock to the next completion or timer and steps every
 * ring. An op takes effect when the clock reaches its time, whichever ring it belongs to, and its
 * done() runs when that ring steps. Only ring_call() moves the clock by itself.
 *
 * What base/ring.h asks of its users is checked live: memory of writes and sends does not change
 * under way, writes in flight on one file share no page, direct files are used aligned, a socket
 * has one RECV and one SEND in flight, nothing is in flight on what is closed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/ring.h"

struct sim_world;

/* What may go wrong with files, each with a rate of its own; all are off at first. */
enum sim_fault {
    SIM_READ_ERROR,  /* READ fails: EIO */
    SIM_WRITE_ERROR, /* WRITE fails: EIO; some blocks arrived, or only seem to have */
    SIM_SYNC_ERROR,  /* SYNC fails: EIO; what was pending is clean and maybe not stable. The next
                        one succeeds and proves nothing. Names of a folder stay pending. */
    SIM_NAME_ERROR,  /* any other op on a file or path fails: EIO; it took effect or not */
    SIM_NO_SPACE,    /* ENOSPC from what takes space */
    SIM_NO_FILE,     /* OPEN fails: EMFILE, and nothing happened */
    SIM_SHORT,       /* READ and WRITE happen in parts, at different times */
    SIM_STALL,       /* an op takes up to 30 s */
    SIM_LOST_WRITE,  /* WRITE says it is done and nothing is stored */
    SIM_MISDIRECT,   /* WRITE says it is done and lies in another place or another file */
    SIM_ROT,         /* READ finds a bit turned, and so does everybody after it */
    SIM_GARBAGE,     /* a pending block without a stable byte is noise after a crash */
    SIM_FAULTS,
};

/* An op that fails, by its number, and some after it. */
struct sim_failure {
    uint32_t kinds; /* 1 << enum op_kind; 0: none */
    uint64_t first; /* from 1, of the ops of these kinds */
    uint64_t more;  /* and so many after it */
    bool lasting;   /* and all of them after it */
    int error;
};

struct sim_options {
    uint64_t seed;
    uint32_t stream_cut_max; /* RECV gives 1..this many bytes at once; 0 = no cutting */
    uint64_t disk_delay_ns_max;
    uint64_t net_delay_ns_max;
};

struct sim_world *sim_world_open(const struct sim_options *options);
void sim_world_close(struct sim_world *world);
/* A ring of this world; it is stepped only by the thread that owns the world. */
struct ring *sim_ring_open(struct sim_world *world);
/* Virtual time of the next completion of any ring (now, if one waits for its ring to step);
 * UINT64_MAX when nothing is in flight or all of it is blocked. */
uint64_t sim_world_next_ns(const struct sim_world *world);
/* Moves the clock; never backwards. */
void sim_world_advance(struct sim_world *world, uint64_t now_ns);
uint64_t sim_world_now_ns(const struct sim_world *world);
/*
 * Power cut: bytes and names that were not made durable may be lost; all open files are gone. Ops
 * in flight are forgotten without done(), so rings may be closed; their memory must still be there
 * at this call, because writes under way reach the disk in part.
 */
void sim_world_crash(struct sim_world *world);
/* The process alone died: the same, but what the disk was told is still there for readers. Writes
 * under way arrive in part, awaiting a sync. */
void sim_world_kill(struct sim_world *world);
void sim_world_set_fault(struct sim_world *world, enum sim_fault fault, uint32_t per_million);
/* Counts from now on. */
void sim_world_set_failure(struct sim_world *world, const struct sim_failure *failure);
/* Ops of the failure's kinds since then. */
uint64_t sim_world_failure_seen(struct sim_world *world);
/* How often it struck. */
uint64_t sim_world_fault_count(struct sim_world *world, enum sim_fault fault);
/* Turns a bit at rest; false when there is no such byte. */
bool sim_world_flip(struct sim_world *world, const char *path, uint64_t position, int bit);
/* Handles that nobody closed yet. */
size_t sim_world_open_handles(const struct sim_world *world);
/* Order-sensitive hash over all completions so far: equal traces, equal hashes. */
uint64_t sim_world_trace_hash(const struct sim_world *world);
/* Whole content of a file for assertions; NULL when absent. */
const uint8_t *sim_world_file(const struct sim_world *world, const char *path, uint64_t *size);
