/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world in memory for deterministic tests: files, folders, byte streams, one virtual clock, one
 * generator. Rings opened on one world share it; one thread steps them all. Same seed and same
 * calls give the same completions at the same virtual times.
 *
 * sim_world_run() is the whole machine: it picks the next event, advances the clock, and lets the
 * core that owns it tick.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/ring.h"

struct sim_world;

struct sim_options {
    uint64_t seed;
    uint32_t stream_cut_max;   /* RECV gives 1..this many bytes at once; 0 = no cutting */
    uint64_t disk_delay_ns_max;
    uint64_t net_delay_ns_max;
};

struct sim_world *sim_world_open(const struct sim_options *options);
void sim_world_close(struct sim_world *world);
/* A ring of this world; it is stepped only by the thread that owns the world. */
struct ring *sim_ring_open(struct sim_world *world);
/* Virtual time of the next completion of any ring, UINT64_MAX when nothing is in flight. */
uint64_t sim_world_next_ns(const struct sim_world *world);
/* Moves the clock; never backwards. */
void sim_world_advance(struct sim_world *world, uint64_t now_ns);
uint64_t sim_world_now_ns(const struct sim_world *world);
/* Power cut: bytes and names that were not made durable may be lost; all open files are gone. */
void sim_world_crash(struct sim_world *world);
/* Order-sensitive hash over all completions so far: equal traces, equal hashes. */
uint64_t sim_world_trace_hash(const struct sim_world *world);
/* Whole content of a file for assertions; NULL when absent. */
const uint8_t *sim_world_file(const struct sim_world *world, const char *path, uint64_t *size);
