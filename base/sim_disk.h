/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk of a simulated world: files and folders in memory, each twice. What a reader sees, and
 * what a power cut leaves for certain (`stable`). Only ring_simulated.c and sim_faults.c include
 * this.
 *
 * D1  bytes become stable by a completed DSYNC write of them or by a sync of their file; until then
 *     each 512-byte block is, after a crash, the new one or the stable one, by chance.
 * D2  a size becomes stable by a sync, or by a DSYNC write as far as that write reaches.
 * D3  changes of names become stable by a sync of their folder. A crash keeps, per folder, the
 *     first few of the changes in their order, by chance; a rename is kept whole or not at all.
 * D4  a failed DSYNC write or sync leaves its blocks clean and not stable: no later sync proves
 *     anything about them, only writing them again does.
 * D5  at a crash a pending block without a stable byte may turn into noise (SIM_GARBAGE).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/random.h"
#include "base/ring_simulated.h"

struct sim_disk;
struct sim_inode;

/* Each kind draws from a generator of its own: switching one off leaves the others' draws alone. */
struct sim_faults {
    struct sim_disk *disk; /* borrowed */
    struct random random[SIM_FAULTS];
    uint32_t per_million[SIM_FAULTS];
    uint64_t counts[SIM_FAULTS];
    struct sim_failure failure;
    uint64_t failure_seen; /* ops of the failure's kinds */
};

void sim_faults_init(struct sim_faults *faults, struct sim_disk *disk, uint64_t seed);
/* Whether it strikes now; counted when it does. */
bool sim_faults_strike(struct sim_faults *faults, enum sim_fault fault);
/* What strikes this op as it takes effect; SIM_FAULTS: nothing. `size`: of its file. */
enum sim_fault sim_faults_judge(struct sim_faults *faults, const struct op *op, uint64_t size);

/* Cuts the vector of a transfer of `left` bytes short; answers the bytes that stay. */
uint64_t sim_faults_cut(struct sim_faults *faults, struct iovec *vector, int32_t *count,
                        uint64_t left);
struct sim_faults *sim_world_faults(struct sim_world *world);

struct sim_disk {
    struct random *random;     /* borrowed */
    struct sim_faults *faults; /* borrowed */
    struct list inodes;        /* in order of creation */
    struct list changes;       /* of names, not yet stable, oldest first */
    struct sim_inode *root;
    bool garbage; /* some inode has no holder any more */
};

void sim_disk_init(struct sim_disk *disk, struct random *random, struct sim_faults *faults);
void sim_disk_deinit(struct sim_disk *disk);
/* Every file must be released before. */
void sim_disk_crash(struct sim_disk *disk);

/* 0 or -errno; the caller holds the inode until it releases it. */
int sim_disk_open(struct sim_disk *disk, const char *path, uint32_t flags, struct sim_inode **out);
void sim_disk_release(struct sim_disk *disk, struct sim_inode *inode);
int sim_disk_mkdir(struct sim_disk *disk, const char *path);
int sim_disk_unlink(struct sim_disk *disk, const char *path, bool folder);
int sim_disk_rename(struct sim_disk *disk, const char *path, const char *path_target);
int64_t sim_disk_list(struct sim_disk *disk, const char *path, struct ring_listing *listing);
/* Of a file or a folder. */
void sim_disk_sync(struct sim_disk *disk, struct sim_inode *inode);
/* NULL when there is no such file. Valid until the next call for this file. */
const uint8_t *sim_disk_file(struct sim_disk *disk, const char *path, uint64_t *size);

/* `direct`: what the device has, where that differs from what is believed to be on it (D4); and
 * from there on it is certain. */
int64_t sim_inode_read(struct sim_inode *inode, const struct op *op, bool direct);
void sim_inode_write(struct sim_inode *inode, const struct op *op);
/* A write that a crash cut: each block of it arrived or did not. `stable` false: only the process
 * died, and what arrived awaits a sync. */
void sim_inode_write_torn(struct sim_inode *inode, const struct op *op, struct random *random,
                          bool stable);
/* D4. */
void sim_inode_write_failed(struct sim_inode *inode, const struct op *op, struct random *random);
void sim_inode_sync_failed(struct sim_inode *inode, struct random *random);
/* The device says yes and stores nothing, or in another place of this or another file. */
void sim_inode_write_lost(struct sim_inode *inode, const struct op *op);
void sim_disk_misdirect(struct sim_disk *disk, struct sim_inode *inode, const struct op *op,
                        struct random *random);
/* Rot: a bit turns, at rest. False: the file is shorter. */
bool sim_inode_flip(struct sim_inode *inode, uint64_t position, int bit);
bool sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t position, int bit);
void sim_inode_allocate(struct sim_inode *inode, uint64_t position, uint64_t size);
void sim_inode_truncate(struct sim_inode *inode, uint64_t size);
uint64_t sim_inode_size(const struct sim_inode *inode);
/* OP_STAT (sim_stat.c). */
int64_t sim_inode_stat(struct sim_inode *inode, const struct op *op);
/* The first byte from there on whose page was ever written, or -ENXIO. */
int64_t sim_inode_next_data(const struct sim_inode *inode, uint64_t position);
bool sim_inode_is_folder(const struct sim_inode *inode);

/* A bit of what this read asks for turns. */
void sim_faults_rot(struct sim_faults *faults, struct sim_inode *inode, const struct op *op);
/* What a struck op does to the disk and answers. */
int64_t sim_faults_apply(struct sim_faults *faults, struct sim_inode *inode, const struct op *op,
                         enum sim_fault fault);
