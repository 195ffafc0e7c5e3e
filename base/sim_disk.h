/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk of a simulated world: files and folders in memory, each twice. What a reader sees, and
 * what a power cut leaves for certain (`stable`). Only ring_simulated.c includes this.
 *
 * D1  bytes become stable by a completed DSYNC write of them or by a sync of their file; until then
 *     each 512-byte block is, after a crash, the new one or the stable one, by chance.
 * D2  a size becomes stable by a sync, or by a DSYNC write as far as that write reaches.
 * D3  changes of names become stable by a sync of their folder. A crash keeps, per folder, the
 *     first few of the changes in their order, by chance; a rename is kept whole or not at all.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/random.h"
#include "base/ring.h"

struct sim_inode;

struct sim_disk {
    struct random *random; /* borrowed */
    struct list inodes;    /* in order of creation */
    struct list changes;   /* of names, not yet stable, oldest first */
    struct sim_inode *root;
    bool garbage; /* some inode has no holder any more */
};

void sim_disk_init(struct sim_disk *disk, struct random *random);
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

int64_t sim_inode_read(const struct sim_inode *inode, const struct op *op);
void sim_inode_write(struct sim_inode *inode, const struct op *op);
/* A write that a crash cut: each block of it arrived or did not. */
void sim_inode_write_torn(struct sim_inode *inode, const struct op *op, struct random *random);
void sim_inode_allocate(struct sim_inode *inode, uint64_t position, uint64_t size);
void sim_inode_truncate(struct sim_inode *inode, uint64_t size);
uint64_t sim_inode_size(const struct sim_inode *inode);
bool sim_inode_is_folder(const struct sim_inode *inode);
