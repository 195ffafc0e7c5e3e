/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small pool of threads for what a back end of the ring cannot do without blocking: all file
 * operations of posix, truncate and listing of uring. Threads start at first need and stay.
 * One pool per ring; only the ring's thread submits and reaps.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/ring_backend.h"

#define HELPERS_MAX 4 /* file operations at once; the rest waits its turn */

struct helpers {
    struct wakeup *wakeup; /* borrowed: signalled when something finished */
    pthread_mutex_t mutex; /* guards all but `any_finished` */
    pthread_cond_t work;
    struct list queue;
    struct list finished;
    atomic_bool any_finished; /* spares the lock in helpers_reap() */
    size_t queue_count;
    uint32_t thread_count;
    uint32_t idle_count;
    bool stopping;
    pthread_t threads[HELPERS_MAX];
};

void helpers_init(struct helpers *helpers, struct wakeup *wakeup);
/* Joins the threads; nothing may be in flight. */
void helpers_deinit(struct helpers *helpers);
void helpers_submit(struct helpers *helpers, struct op *op);
/* Moves finished ops, with their results, to the tail of `completed`. */
void helpers_reap(struct helpers *helpers, struct list *completed);
