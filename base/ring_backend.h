/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between ring.c and its back ends; nobody else includes this.
 *
 * An op wanders: queue (ring_submit) -> the back end -> completed -> done(). Back ends take ops out
 * of `queue` and put finished ones into `completed`, both in step() only; ring.c runs done().
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/ring.h"

struct ring_backend {
    enum ring_kind kind;
    /* Submits the queue, waits once (not if completed holds ops already), refreshes the clocks,
     * fills completed. */
    void (*step)(struct ring *ring, uint64_t wait_until_ns);
    /* NULL, or told of every op at ring_submit(): the simulation watches the op's memory. */
    void (*submitted)(struct ring *ring, struct op *op);
    void (*wake)(struct ring *ring);
    int (*listen)(struct ring *ring, const char *host, uint16_t port, int32_t *out,
                  uint16_t *port_out);
    void (*close)(struct ring *ring); /* frees the ring */
};

/* First member of every back end's own struct. */
struct ring {
    const struct ring_backend *backend;
    struct list queue;
    struct list completed;
    size_t in_flight;
    uint64_t now_ns;
    int64_t wall_ms;
    bool calling;          /* inside ring_call() */
    struct strand *strand; /* the call of ring_overlap() that runs just now, NULL: none */
    struct list parked;    /* of struct strand: those that wait */
};

int ring_open_posix(struct ring **out);
/* -errno and a sentence in options->refusal when the kernel has not what it takes. */
int ring_open_uring(struct ring **out, struct ring_options *options);

void ring_init(struct ring *ring, const struct ring_backend *backend);
void ring_refresh_clocks(struct ring *ring);
static inline void ring_complete(struct ring *ring, struct op *op, int64_t result)
{
    op->result = result;
    list_push_tail(&ring->completed, &op->node);
}

/* Whether op->file means something. */
static inline bool op_has_file(enum op_kind kind)
{
    return kind != OP_NOP && kind != OP_OPEN && kind != OP_RENAME && kind != OP_UNLINK &&
           kind != OP_MKDIR && kind != OP_LIST && kind != OP_CONNECT;
}

static inline bool op_is_net(enum op_kind kind)
{
    return kind == OP_ACCEPT || kind == OP_CONNECT || kind == OP_RECV || kind == OP_SEND ||
           kind == OP_SHUTDOWN;
}

/* Bytes of the whole vector. */
uint64_t op_size(const struct op *op);
/* Slices behind op->moved into `out` (OP_VECTOR_MAX long); answers how many. */
int op_rest(const struct op *op, struct iovec *out);

/* "host:port" or "[host]:port", numeric. 0 or -errno. */
int address_parse(const char *text, struct sockaddr_storage *address, socklen_t *size);
/* A listening TCP socket; its accepted sockets inherit nodelay. */
int socket_listen(const char *host, uint16_t port, int32_t *out, uint16_t *port_out);
/* A TCP socket for this address with nodelay, not yet connected; -errno. */
int socket_open(const struct sockaddr_storage *address);
int open_flags_native(uint32_t flags);
/* OP_STAT and OP_DATA, at once. */
int64_t file_stat(const struct op *op);
/* What OP_STAMP answers for a hash of all that tells two files apart. */
static inline int64_t stamp_of(uint64_t hash)
{
    return (int64_t)(hash >> 1 | 1);
}
int64_t file_next_data(const struct op *op);

#define FILE_MODE 0640
#define FOLDER_MODE 0750

/*
 * Wake-ups through one eventfd. It is watched edge-triggered and never read: its counter lasts for
 * 2^64 wakes. `pending` spares the system call while an earlier wake was not noticed yet.
 */
struct wakeup {
    int file;
    atomic_bool pending;
};

int wakeup_open(struct wakeup *wakeup); /* 0 or -errno */
void wakeup_close(struct wakeup *wakeup);
void wakeup_signal(struct wakeup *wakeup); /* any thread */
/* Owner, after its wait and before it looks at what the waker left. */
void wakeup_notice(struct wakeup *wakeup);

/*
 * A small pool of threads for what a back end cannot do without blocking: all file operations of
 * posix, truncate and listing of uring. Threads start at first need and stay. One pool per ring;
 * only the ring's thread submits and reaps.
 */
#define HELPERS_MAX 16 /* file operations at once; the rest waits its turn */

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

/*
 * A call with a stack of its own, which may stop in its midst and go on later: many instances of
 * code that waits can then wait at once (ring_overlap()).
 *
 * One thread opens, starts, resumes and closes a fiber. A fiber stops only itself, and who resumes
 * it is never another fiber.
 */
struct fiber;

/* `stack_size` bytes, whole pages, which the kernel gives as they are touched; the page below them
 * traps. NULL: no memory. */
[[nodiscard]] struct fiber *fiber_open(size_t stack_size);
/* Its call must have returned. */
void fiber_close(struct fiber *fiber);
/* Calls run(argument) inside; returns when that stops or returns. */
void fiber_start(struct fiber *fiber, void (*run)(void *argument), void *argument);
/* Lets a stopped one go on; returns when it stops again or its call returns. */
void fiber_resume(struct fiber *fiber);
/* From inside: back to whoever started or resumed it. */
void fiber_stop(struct fiber *fiber);
/* Started, and its call has not returned. */
bool fiber_is_active(const struct fiber *fiber);
