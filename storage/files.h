/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors of log files: opened at first use, shared by all users of a segment, closed when
 * they are the longest unused and `count_max` would be passed. When every descriptor is in use,
 * who wants one more waits: the number is a promise to the accept loop.
 *
 *   CLOSED -> OPENING -> OPEN (users > 0) <-> OPEN (users 0, in `idle`) -> CLOSED
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/ring.h"

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
    bool queued;           /* in files->wanted, waiting for a free descriptor */
    bool condemned;        /* closed as soon as its users are gone */
    struct list_node node; /* in files->idle or files->wanted */
    struct list waiters;   /* of struct file_user */
};

struct files {
    uint32_t count; /* open and opening */
    uint32_t count_max;
    struct list idle;   /* longest unused first */
    struct list wanted; /* of struct file */
};

void files_init(struct files *files, uint32_t count_max);
void file_init(struct file *file);
/* The descriptor, now used once more; -EAGAIN: user->ready() will bring it; or another -errno. */
int32_t file_use(struct store *store, struct segment *segment, struct file_user *user);
/* A descriptor that a job opened itself; it counts and is idle afterwards. */
void file_adopt(struct store *store, struct segment *segment, int32_t descriptor);
void file_unuse(struct store *store, struct segment *segment);
/* Closes now, or when the last user lets go. */
void file_condemn(struct store *store, struct segment *segment);
/* Closes in the background; nobody waits for it. */
void files_close_descriptor(struct store *store, int32_t descriptor);
