/* SPDX-License-Identifier: Apache-2.0 */
/* Which op goes wrong, and how: by rates drawn from the seed, or one op by its number. */
#include <errno.h>

#include "base/ring_backend.h"
#include "base/sim_disk.h"

#define MILLION 1000000
#define SHORT_UNIT UINT64_C(512) /* direct transfers break off between such pieces */
#define KINDS_NAME                                                                                 \
    (1U << OP_OPEN | 1U << OP_RENAME | 1U << OP_UNLINK | 1U << OP_MKDIR | 1U << OP_LIST |          \
     1U << OP_STAT | 1U << OP_TRUNCATE)
#define KINDS_SPACE (1U << OP_ALLOCATE | 1U << OP_MKDIR | 1U << OP_OPEN | 1U << OP_WRITE)

/* What each fault can happen to; STALL is drawn when an op starts, GARBAGE at a crash. */
static const uint32_t fault_kinds[SIM_FAULTS] = {
    [SIM_READ_ERROR] = 1U << OP_READ,  [SIM_WRITE_ERROR] = 1U << OP_WRITE,
    [SIM_SYNC_ERROR] = 1U << OP_SYNC,  [SIM_NAME_ERROR] = KINDS_NAME,
    [SIM_NO_SPACE] = KINDS_SPACE,      [SIM_SHORT] = 1U << OP_READ | 1U << OP_WRITE,
    [SIM_LOST_WRITE] = 1U << OP_WRITE, [SIM_MISDIRECT] = 1U << OP_WRITE,
    [SIM_ROT] = 1U << OP_READ,         [SIM_NO_FILE] = 1U << OP_OPEN,
};

void sim_faults_init(struct sim_faults *faults, struct sim_disk *disk, uint64_t seed)
{
    *faults = (struct sim_faults){.disk = disk};
    for (uint64_t i = 0; i < SIM_FAULTS; i++) {
        random_init(&faults->random[i], seed * SIM_FAULTS + i);
    }
}

bool sim_faults_strike(struct sim_faults *faults, enum sim_fault fault)
{
    bool strikes = faults->per_million[fault] > 0 &&
                   random_below(&faults->random[fault], MILLION) < faults->per_million[fault];
    faults->counts[fault] += strikes;
    return strikes;
}

static bool op_takes_space(const struct op *op, uint64_t size)
{
    switch (op->kind) {
    case OP_OPEN:
        return (op->flags & OPEN_CREATE) != 0;
    case OP_WRITE:
        return op->position + op_size(op) > size;
    default:
        return true;
    }
}

static enum sim_fault fault_of_kind(const struct op *op, int error)
{
    if (error == ENOSPC) {
        return SIM_NO_SPACE;
    }
    if (error == EMFILE) {
        return SIM_NO_FILE;
    }
    switch (op->kind) {
    case OP_READ:
        return SIM_READ_ERROR;
    case OP_WRITE:
        return SIM_WRITE_ERROR;
    case OP_SYNC:
        return SIM_SYNC_ERROR;
    default:
        return SIM_NAME_ERROR;
    }
}

enum sim_fault sim_faults_judge(struct sim_faults *faults, const struct op *op, uint64_t size)
{
    const struct sim_failure *failure = &faults->failure;
    uint32_t kind = 1U << op->kind;
    if ((failure->kinds & kind) != 0) {
        faults->failure_seen += 1;
        if (faults->failure_seen >= failure->first &&
            (failure->lasting || faults->failure_seen - failure->first <= failure->more)) {
            return fault_of_kind(op, failure->error);
        }
    }
    for (enum sim_fault fault = 0; fault < SIM_FAULTS; fault++) {
        if ((fault_kinds[fault] & kind) != 0 &&
            (fault != SIM_NO_SPACE || op_takes_space(op, size)) &&
            sim_faults_strike(faults, fault)) {
            return fault;
        }
    }
    return SIM_FAULTS;
}

uint64_t sim_faults_cut(struct sim_faults *faults, struct iovec *vector, int32_t *count,
                        uint64_t left)
{
    if (left <= SHORT_UNIT) {
        return left;
    }
    uint64_t pieces = (left - 1) / SHORT_UNIT;
    uint64_t size = (1 + random_below(&faults->random[SIM_SHORT], pieces)) * SHORT_UNIT;
    uint64_t reach = 0;
    for (*count = 0; reach < size; *count += 1) {
        uint64_t piece = vector[*count].iov_len;
        piece = piece < size - reach ? piece : size - reach;
        vector[*count].iov_len = piece;
        reach += piece;
    }
    return size;
}

void sim_faults_rot(struct sim_faults *faults, struct sim_inode *inode, const struct op *op)
{
    struct random *random = &faults->random[SIM_ROT];
    uint64_t position = op->position + random_below(random, op_size(op));
    (void)sim_inode_flip(inode, position, (int)random_below(random, 8));
}

int64_t sim_faults_apply(struct sim_faults *faults, struct sim_inode *inode, const struct op *op,
                         enum sim_fault fault)
{
    struct random *random = &faults->random[fault];
    switch (fault) {
    case SIM_WRITE_ERROR:
        sim_inode_write_failed(inode, op, random);
        return -EIO;
    case SIM_SYNC_ERROR:
        if (!sim_inode_is_folder(inode)) {
            sim_inode_sync_failed(inode, random);
        }
        return -EIO;
    case SIM_NO_SPACE:
        return -ENOSPC;
    case SIM_NO_FILE:
        return -EMFILE;
    case SIM_LOST_WRITE:
        sim_inode_write_lost(inode, op);
        return (int64_t)op_size(op);
    case SIM_MISDIRECT:
        sim_disk_misdirect(faults->disk, inode, op, random);
        return (int64_t)op_size(op);
    default:
        return -EIO;
    }
}

void sim_world_set_fault(struct sim_world *world, enum sim_fault fault, uint32_t per_million)
{
    sim_world_faults(world)->per_million[fault] = per_million;
}

void sim_world_set_failure(struct sim_world *world, const struct sim_failure *failure)
{
    sim_world_faults(world)->failure = *failure;
    sim_world_faults(world)->failure_seen = 0;
}

uint64_t sim_world_failure_seen(struct sim_world *world)
{
    return sim_world_faults(world)->failure_seen;
}

uint64_t sim_world_fault_count(struct sim_world *world, enum sim_fault fault)
{
    return sim_world_faults(world)->counts[fault];
}

bool sim_world_flip(struct sim_world *world, const char *path, uint64_t position, int bit)
{
    return sim_disk_flip(sim_world_faults(world)->disk, path, position, bit);
}
