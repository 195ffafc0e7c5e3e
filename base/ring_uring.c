/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring on io_uring as Linux 6.1 and liburing 2.3 have it. One io_uring_enter() a step.
 *
 * U1  an SQE's slot number also names its scratch (message header, address): the kernel has copied
 *     them when the SQE was consumed (IORING_FEAT_SUBMIT_STABLE), which frees both together.
 * U2  a short transfer goes on with the rest of the slice it ended in, as a plain operation, then
 *     with the tail of the caller's vector: no vector is ever copied.
 * U3  completions are moved to a list first; nothing is submitted or called while reaping.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"
#include "base/ring_backend.h"

#define ENTRIES_DEFAULT 1024
#define CQ_FACTOR 4 /* every idle connection waits in a RECV: bursts are wider than the queue */
#define WAKEUP_TAG UINT64_C(1)
/* Threads of the kernel for files that make it wait; its own limit, four a processor, leaves a disk
 * of some milliseconds idle when a start asks for thousands of small files. */
#define WORKERS_MAX 32

/* Memory that the kernel reads when it takes the SQE. */
union scratch {
    struct msghdr message;
    struct sockaddr_storage address;
};

struct ring_uring {
    struct ring ring;
    struct io_uring io;
    bool disabled;     /* until the first step, which decides the thread (R6) */
    bool watching;     /* the wake-up's poll is armed */
    bool woken;        /* in this step */
    struct list again; /* found short or interrupted while reaping */
    struct wakeup wakeup;
    struct helpers helpers;
    union scratch *scratch; /* by slot of the submission queue */
};

/* NULL when the kernel takes nothing now; the caller comes back with the next step. */
static struct io_uring_sqe *uring_sqe(struct ring_uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->io);
    if (sqe == NULL) {
        io_uring_submit(&uring->io); /* a full queue leaves in pieces */
        sqe = io_uring_get_sqe(&uring->io);
    }
    return sqe;
}

static union scratch *uring_scratch(struct ring_uring *uring, const struct io_uring_sqe *sqe)
{
    return &uring->scratch[sqe - uring->io.sq.sqes];
}

/* What is left of the vector as one piece the kernel takes: the rest of a slice, or whole slices.
 */
struct piece {
    const struct iovec *slices;
    unsigned count; /* 0: `rest` alone */
    struct iovec rest;
};

static struct piece piece_of(const struct op *op)
{
    uint64_t skip = op->moved;
    int32_t i = 0;
    while (i < op->vector_count - 1 && skip >= op->vector[i].iov_len) {
        skip -= op->vector[i].iov_len;
        i += 1;
    }
    const struct iovec *slice = &op->vector[i];
    if (skip > 0 || i == op->vector_count - 1) {
        return (struct piece){.rest = {(uint8_t *)slice->iov_base + skip, slice->iov_len - skip}};
    }
    return (struct piece){.slices = slice, .count = (unsigned)(op->vector_count - i)};
}

static void uring_prepare_file(struct io_uring_sqe *sqe, const struct op *op)
{
    struct piece piece = piece_of(op);
    uint64_t position = op->position + op->moved;
    unsigned size = (unsigned)piece.rest.iov_len;
    check(piece.rest.iov_len <= INT32_MAX);
    if (op->kind == OP_READ && piece.count == 0) {
        io_uring_prep_read(sqe, op->file, piece.rest.iov_base, size, position);
    } else if (op->kind == OP_READ) {
        io_uring_prep_readv(sqe, op->file, piece.slices, piece.count, position);
    } else if (piece.count == 0) {
        io_uring_prep_write(sqe, op->file, piece.rest.iov_base, size, position);
    } else {
        io_uring_prep_writev(sqe, op->file, piece.slices, piece.count, position);
    }
    if (op->kind == OP_WRITE && (op->flags & OP_DSYNC) != 0) {
        sqe->rw_flags = RWF_DSYNC;
    }
}

static void uring_prepare_socket(struct ring_uring *uring, struct io_uring_sqe *sqe,
                                 const struct op *op)
{
    struct piece piece = piece_of(op);
    if (piece.count == 0) {
        struct iovec *rest = &piece.rest;
        if (op->kind == OP_RECV) {
            io_uring_prep_recv(sqe, op->file, rest->iov_base, rest->iov_len, 0);
        } else {
            io_uring_prep_send(sqe, op->file, rest->iov_base, rest->iov_len,
                               MSG_WAITALL | MSG_NOSIGNAL);
        }
        return;
    }
    struct msghdr *message = &uring_scratch(uring, sqe)->message; /* U1 */
    *message = (struct msghdr){.msg_iov = (struct iovec *)piece.slices, .msg_iovlen = piece.count};
    if (op->kind == OP_RECV) {
        io_uring_prep_recvmsg(sqe, op->file, message, 0);
    } else {
        io_uring_prep_sendmsg(sqe, op->file, message, MSG_WAITALL | MSG_NOSIGNAL);
    }
}

/* The socket waits in op->file until connect() is through. 0 or -errno. */
static int uring_prepare_connect(struct ring_uring *uring, struct io_uring_sqe *sqe, struct op *op)
{
    struct sockaddr_storage *address = &uring_scratch(uring, sqe)->address; /* U1 */
    socklen_t size = 0;
    int error = address_parse(op->path, address, &size);
    if (error != 0) {
        return error;
    }
    op->file = socket_open(address);
    if (op->file < 0) {
        return op->file;
    }
    io_uring_prep_connect(sqe, op->file, (struct sockaddr *)address, size);
    return 0;
}

/* 0, or -errno with the SQE made a nop whose completion nobody sees. */
static int uring_prepare(struct ring_uring *uring, struct io_uring_sqe *sqe, struct op *op)
{
    switch (op->kind) {
    case OP_OPEN:
        io_uring_prep_openat(sqe, AT_FDCWD, op->path, open_flags_native(op->flags), FILE_MODE);
        return 0;
    case OP_CLOSE:
        io_uring_prep_close(sqe, op->file);
        return 0;
    case OP_READ:
    case OP_WRITE:
        uring_prepare_file(sqe, op);
        return 0;
    case OP_SYNC:
        io_uring_prep_fsync(sqe, op->file,
                            (op->flags & OP_DATA_ONLY) != 0 ? IORING_FSYNC_DATASYNC : 0);
        return 0;
    case OP_ALLOCATE:
        io_uring_prep_fallocate(sqe, op->file, 0, (off_t)op->position, (off_t)op->size);
        return 0;
    case OP_RENAME:
        io_uring_prep_renameat(sqe, AT_FDCWD, op->path, AT_FDCWD, op->path_target, 0);
        return 0;
    case OP_UNLINK:
        io_uring_prep_unlinkat(sqe, AT_FDCWD, op->path,
                               (op->flags & OP_DIRECTORY) != 0 ? AT_REMOVEDIR : 0);
        return 0;
    case OP_MKDIR:
        io_uring_prep_mkdirat(sqe, AT_FDCWD, op->path, FOLDER_MODE);
        return 0;
    case OP_ACCEPT:
        io_uring_prep_accept(sqe, op->file, NULL, NULL, SOCK_CLOEXEC);
        return 0;
    case OP_CONNECT:
        return uring_prepare_connect(uring, sqe, op);
    case OP_RECV:
    case OP_SEND:
        uring_prepare_socket(uring, sqe, op);
        return 0;
    default:
        unreachable();
    }
}

/* False: the submission queue is full and stays so for now. */
static bool uring_start(struct ring_uring *uring, struct op *op)
{
    switch (op->kind) {
    case OP_NOP:
        ring_complete(&uring->ring, op, 0);
        return true;
    case OP_STAT: /* an open file's inode is in memory; through the ring it costs a thread */
        ring_complete(&uring->ring, op, file_stat(op));
        return true;
    case OP_DATA: /* so is its map of extents, but for very scattered files */
        ring_complete(&uring->ring, op, file_next_data(op));
        return true;
    case OP_SHUTDOWN: /* the same */
        ring_complete(&uring->ring, op, shutdown(op->file, SHUT_RDWR) == 0 ? 0 : -errno);
        return true;
    case OP_TRUNCATE:
    case OP_LIST:
        helpers_submit(&uring->helpers, op);
        return true;
    default:
        break;
    }
    struct io_uring_sqe *sqe = uring_sqe(uring);
    if (sqe == NULL) {
        return false;
    }
    int error = uring_prepare(uring, sqe, op);
    if (error != 0) {
        io_uring_prep_nop(sqe); /* a slot taken cannot be given back */
        io_uring_sqe_set_data64(sqe, 0);
        ring_complete(&uring->ring, op, error);
        return true;
    }
    io_uring_sqe_set_data(sqe, op);
    return true;
}

static void uring_watch(struct ring_uring *uring)
{
    struct io_uring_sqe *sqe = uring_sqe(uring);
    if (sqe != NULL) {
        io_uring_prep_poll_multishot(sqe, uring->wakeup.file, POLLIN);
        io_uring_sqe_set_data64(sqe, WAKEUP_TAG);
        uring->watching = true;
    }
}

static void uring_submit(struct ring_uring *uring)
{
    if (uring->disabled) {
        /* By hand: liburing 2.3 declares io_uring_enable_rings() and forgot to export it. */
        long error = syscall(__NR_io_uring_register, uring->io.ring_fd,
                             IORING_REGISTER_ENABLE_RINGS, NULL, 0);
        check(error == 0);
        uring->disabled = false;
    }
    if (!uring->watching) {
        uring_watch(uring);
    }
    struct list_node *node;
    while ((node = list_pop_head(&uring->ring.queue)) != NULL) {
        if (!uring_start(uring, LIST_ENTRY(node, struct op, node))) {
            list_push_head(&uring->ring.queue, node);
            break;
        }
    }
}

/* True: completions may lie in the kernel that only an enter brings out. */
static bool uring_needs_enter(const struct ring_uring *uring)
{
    unsigned flags = IO_URING_READ_ONCE(*uring->io.sq.kflags);
    return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0 ||
           (uring->io.flags & (IORING_SETUP_TASKRUN_FLAG)) == 0;
}

/* One system call, or none when there is nothing to hand over, to wait for or to bring out. */
static void uring_enter(struct ring_uring *uring, uint64_t wait_until_ns)
{
    struct io_uring *io = &uring->io;
    bool wait = wait_until_ns != 0 && list_is_empty(&uring->ring.completed) &&
                list_is_empty(&uring->ring.queue) && io_uring_cq_ready(io) == 0;
    if (wait && wait_until_ns != UINT64_MAX) {
        ring_refresh_clocks(&uring->ring);
        wait = uring->ring.now_ns < wait_until_ns;
    }
    int error = 0;
    if (!wait) {
        if (io_uring_sq_ready(io) > 0 || uring_needs_enter(uring)) {
            error = io_uring_submit_and_get_events(io);
        }
    } else if (wait_until_ns == UINT64_MAX) {
        error = io_uring_submit_and_wait(io, 1);
    } else {
        uint64_t wait_ns = wait_until_ns - uring->ring.now_ns;
        struct __kernel_timespec timeout = {
            .tv_sec = (int64_t)(wait_ns / UINT64_C(1000000000)),
            .tv_nsec = (int64_t)(wait_ns % UINT64_C(1000000000)),
        };
        struct io_uring_cqe *cqe;
        error = io_uring_submit_and_wait_timeout(io, &cqe, 1, &timeout, NULL);
    }
    /* EAGAIN, EBUSY: the kernel is short of memory or of completion slots; what was not taken
     * stays in the queue for the next step. Anything else is a bug of ours. */
    check(error >= 0 || error == -ETIME || error == -EINTR || error == -EAGAIN || error == -EBUSY);
}

static bool op_is_transfer(enum op_kind kind)
{
    return kind == OP_READ || kind == OP_WRITE || kind == OP_SEND;
}

static void uring_finish_transfer(struct ring_uring *uring, struct op *op, int64_t result)
{
    if (result > 0) {
        op->moved += (uint64_t)result;
        if (op->moved < op_size(op)) {
            list_push_tail(&uring->again, &op->node); /* U2 */
        } else {
            ring_complete(&uring->ring, op, (int64_t)op->moved);
        }
        return;
    }
    bool end = result == 0 && (op->kind == OP_READ || op->moved == op_size(op));
    /* A direct read that goes on behind an unaligned end of file is told -EINVAL. */
    end = end || (result == -EINVAL && op->kind == OP_READ && op->moved > 0);
    ring_complete(&uring->ring, op, end ? (int64_t)op->moved : result == 0 ? -EIO : result);
}

static void uring_finish(struct ring_uring *uring, struct op *op, int64_t result)
{
    if (op->kind == OP_CLOSE) {
        /* The descriptor is gone whatever close() says. */
        ring_complete(&uring->ring, op, result == -EINTR ? 0 : result);
    } else if (result == -EINTR || (result == -EAGAIN && op->kind != OP_ACCEPT) ||
               (result == -ECONNABORTED && op->kind == OP_ACCEPT)) {
        if (op->kind == OP_CONNECT) {
            close(op->file); /* started anew with a socket of its own */
        }
        list_push_tail(&uring->again, &op->node);
    } else if (op_is_transfer(op->kind)) {
        uring_finish_transfer(uring, op, result);
    } else if (op->kind == OP_ALLOCATE && result == -EOPNOTSUPP) {
        helpers_submit(&uring->helpers, op); /* which writes zeros instead */
    } else if (op->kind == OP_CONNECT) {
        if (result < 0) {
            close(op->file);
        }
        ring_complete(&uring->ring, op, result < 0 ? result : op->file);
    } else {
        ring_complete(&uring->ring, op, result);
    }
}

static void uring_reap(struct ring_uring *uring)
{
    struct io_uring *io = &uring->io;
    for (;;) {
        unsigned head;
        unsigned count = 0;
        struct io_uring_cqe *cqe;
        io_uring_for_each_cqe(io, head, cqe)
        {
            count += 1;
            if (cqe->user_data == WAKEUP_TAG) {
                uring->watching = (cqe->flags & IORING_CQE_F_MORE) != 0;
                uring->woken = true;
                wakeup_notice(&uring->wakeup);
            } else if (cqe->user_data != 0) {
                uring_finish(uring, (struct op *)(uintptr_t)cqe->user_data, cqe->res);
            }
        }
        io_uring_cq_advance(io, count);
        if (!io_uring_cq_has_overflow(io)) {
            break;
        }
        io_uring_get_events(io); /* the kernel kept them aside: now there is room */
    }
    /* Ahead of what was submitted since: they are older. */
    list_splice_tail(&uring->again, &uring->ring.queue);
    list_splice_tail(&uring->ring.queue, &uring->again);
    helpers_reap(&uring->helpers, &uring->ring.completed);
}

static void uring_step(struct ring *ring, uint64_t wait_until_ns)
{
    struct ring_uring *uring = (struct ring_uring *)ring;
    uring->woken = false;
    do {
        uring_submit(uring);
        helpers_reap(&uring->helpers, &ring->completed);
        uring_enter(uring, wait_until_ns);
        ring_refresh_clocks(ring);
        uring_reap(uring);
        /* A transfer that goes on is no completion: the caller would wake for nothing. */
    } while (!list_is_empty(&ring->queue) && list_is_empty(&ring->completed) && !uring->woken);
}

static void uring_wake(struct ring *ring)
{
    wakeup_signal(&((struct ring_uring *)ring)->wakeup);
}

static int uring_listen(struct ring *ring, const char *host, uint16_t port, int32_t *out,
                        uint16_t *port_out)
{
    (void)ring;
    return socket_listen(host, port, out, port_out);
}

static void uring_close(struct ring *ring)
{
    struct ring_uring *uring = (struct ring_uring *)ring;
    helpers_deinit(&uring->helpers);
    io_uring_queue_exit(&uring->io);
    wakeup_close(&uring->wakeup);
    free(uring->scratch);
    free(uring);
}

static const struct ring_backend uring_backend = {
    .kind = RING_URING,
    .step = uring_step,
    .wake = uring_wake,
    .listen = uring_listen,
    .close = uring_close,
};

/* From the best flags to the plainest. Those of a thread of its own want the ring disabled first,
 * or the opener would be that thread. 0 or -errno. */
static int uring_setup(struct ring_uring *uring, unsigned entries)
{
    static const unsigned flags[] = {
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
            IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        0,
    };
    int error = 0;
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        struct io_uring_params parameters = {.flags = flags[i] | IORING_SETUP_CQSIZE,
                                             .cq_entries = entries * CQ_FACTOR};
        error = io_uring_queue_init_params(entries, &uring->io, &parameters);
        if (error == 0) {
            uring->disabled = (flags[i] & IORING_SETUP_R_DISABLED) != 0;
            return 0;
        }
        if (error != -EINVAL) {
            break;
        }
    }
    return error;
}

/* NULL, or what this kernel lacks. */
static const char *uring_missing(struct ring_uring *uring)
{
    static const struct {
        int code;
        const char *name;
    } needed[] = {
        {IORING_OP_READV, "readv"},       {IORING_OP_WRITEV, "writev"},
        {IORING_OP_READ, "read"},         {IORING_OP_WRITE, "write"},
        {IORING_OP_FSYNC, "fsync"},       {IORING_OP_FALLOCATE, "fallocate"},
        {IORING_OP_OPENAT, "openat"},     {IORING_OP_CLOSE, "close"},
        {IORING_OP_RENAMEAT, "renameat"}, {IORING_OP_UNLINKAT, "unlinkat"},
        {IORING_OP_MKDIRAT, "mkdirat"},   {IORING_OP_ACCEPT, "accept"},
        {IORING_OP_CONNECT, "connect"},   {IORING_OP_RECV, "recv"},
        {IORING_OP_SEND, "send"},         {IORING_OP_RECVMSG, "recvmsg"},
        {IORING_OP_SENDMSG, "sendmsg"},   {IORING_OP_POLL_ADD, "poll_add"},
    };
    unsigned features = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL |
                        IORING_FEAT_EXT_ARG;
    if ((uring->io.features & features) != features) {
        return "a feature of Linux 5.11";
    }
    struct io_uring_probe *probe = io_uring_get_probe_ring(&uring->io);
    if (probe == NULL) {
        return "probing";
    }
    const char *missing = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(needed) && missing == NULL; i++) {
        if (!io_uring_opcode_supported(probe, needed[i].code)) {
            missing = needed[i].name;
        }
    }
    io_uring_free_probe(probe);
    return missing;
}

static int uring_refuse(struct ring_options *options, const char *what, int error)
{
    snprintf(options->refusal, sizeof(options->refusal), "io_uring: %s: %s", what,
             strerrordesc_np(-error));
    return error;
}

int ring_open_uring(struct ring **out, struct ring_options *options)
{
    unsigned entries = options->entries == 0 ? ENTRIES_DEFAULT : options->entries;
    check((entries & (entries - 1)) == 0);
    struct ring_uring *uring = calloc(1, sizeof(*uring));
    union scratch *scratch = calloc(entries, sizeof(*scratch));
    int error = -ENOMEM;
    const char *what = "memory";
    if (uring == NULL || scratch == NULL) {
        goto failed_memory;
    }
    what = "wake-up";
    error = wakeup_open(&uring->wakeup);
    if (error != 0) {
        goto failed_memory;
    }
    what = "setup";
    error = uring_setup(uring, entries);
    if (error != 0) {
        goto failed_setup;
    }
    what = uring_missing(uring);
    if (what != NULL) {
        error = -EOPNOTSUPP;
        goto failed_probe;
    }
    ring_init(&uring->ring, &uring_backend);
    ring_refresh_clocks(&uring->ring);
    unsigned workers[2] = {WORKERS_MAX, 0};                        /* for sockets as it is */
    (void)io_uring_register_iowq_max_workers(&uring->io, workers); /* refused: somewhat slower */
    list_init(&uring->again);
    helpers_init(&uring->helpers, &uring->wakeup);
    uring->scratch = scratch;
    *out = &uring->ring;
    return 0;

failed_probe:
    io_uring_queue_exit(&uring->io);
failed_setup:
    wakeup_close(&uring->wakeup);
failed_memory:
    free(scratch);
    free(uring);
    return uring_refuse(options, what, error);
}
