/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors. Log files are opened at first use, shared by all users of a segment, closed when
 * they are the longest unused and somebody needs the descriptor; a job's own files are counted with
 * them, from before the open to behind the close. When every descriptor is in use, who wants one
 * more waits: the number is a promise to the accept loop.
 *
 *   CLOSED -> OPENING -> OPEN (users > 0) <-> OPEN (users 0, in `idle`) -> CLOSED
 *
 * F1  A job that holds a descriptor, its own or a segment's, asks for no second one, so whoever
 *     holds one gets on without those that wait. Key builds (storage/key_build) do; there are two
 *     of them at most, which leaves two of the least count_max for the others.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/ring.h"

struct job;
struct segment;
struct store;

enum file_state { FILE_CLOSED, FILE_OPENING, FILE_OPEN };

struct file_user {
    struct list_node node;
    void (*ready)(struct file_user *user, int32_t result); /* descriptor or -errno */
};

struct file {
    enum file_state state;
    int32_t descriptor;
    uint32_t users;
    bool condemned;        /* closed as soon as its users are gone */
    struct list_node node; /* in files->idle */
    struct list waiters;   /* of struct file_user */
};

struct files {
    uint32_t count;     /* open, opening and closing */
    uint32_t count_max; /* 4 at least, F1 */
    uint32_t waiting_count;
    uint32_t closing_count; /* of `count`: on their way back */
    struct list idle;       /* of struct file, longest unused first */
    struct list waiting;    /* of struct job, whose next op is an open; first come first served */
};

void files_init(struct files *files, uint32_t count_max);
void file_init(struct file *file);
/* The descriptor, now used once more; -EAGAIN: user->ready() brings it; or another -errno. Without
 * memory for the open ready() has been called with -ENOMEM, and the user may be gone, before
 * -EAGAIN is returned. */
int32_t file_use(struct store *store, struct segment *segment, struct file_user *user);
/* A descriptor that a job opened becomes the segment's; it is idle afterwards. */
void file_adopt(struct store *store, struct segment *segment, int32_t descriptor);
void file_unuse(struct store *store, struct segment *segment);
/* Closes now, or when the last user lets go. */
void file_condemn(struct store *store, struct segment *segment);
/* Closes in the background; nobody waits for it. */
void files_close_descriptor(struct store *store, int32_t descriptor);

/* ---- for storage/job.c ---- */

/* Before a job's open. False: no descriptor is free; the job's op is submitted when one is. */
[[nodiscard]] bool files_take(struct store *store, struct job *job);
/* A job's close is about to be submitted. */
void files_begin_close(struct store *store);
/* A job's open failed, or its close is through (`closed`). */
void files_give(struct store *store, bool closed);
