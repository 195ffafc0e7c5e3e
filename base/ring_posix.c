/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring where io_uring is refused: epoll for sockets, helper threads for files.
 *
 * A socket operation is tried at once and parked only on EAGAIN. Sockets are registered with epoll
 * once, edge-triggered for both directions, and leave it by being closed (R7 of base/ring.h keeps
 * a registration from outliving its descriptor).
 *
 * P1  an operation behind a parked one of the same socket and direction is parked without a try.
 * P2  a watch with parked operations is registered.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/ring_backend.h"

#define EVENTS_MAX 256
#define WATCHES_PER_BLOCK 256
#define WAKEUP_TAG UINT64_MAX

/* Parked operations, oldest first, linked through op->backend. */
struct parked {
    struct op *first;
    struct op *last;
};

struct watch {
    struct parked reads;  /* RECV, ACCEPT */
    struct parked writes; /* SEND, CONNECT */
    bool registered;
};

struct watch_block {
    struct watch watches[WATCHES_PER_BLOCK];
};

struct ring_posix {
    struct ring ring;
    int epoll;
    bool no_pwait2; /* a kernel or a filter without epoll_pwait2(): waits are whole milliseconds */
    struct wakeup wakeup;
    struct helpers helpers;
    struct watch_block **blocks; /* by descriptor */
    size_t block_count;
    struct epoll_event events[EVENTS_MAX];
};

static struct watch *posix_watch_find(struct ring_posix *posix, int file)
{
    size_t block = (size_t)file / WATCHES_PER_BLOCK;
    if (file < 0 || block >= posix->block_count || posix->blocks[block] == NULL) {
        return NULL;
    }
    return &posix->blocks[block]->watches[(size_t)file % WATCHES_PER_BLOCK];
}

/* NULL when there is no memory. */
static struct watch *posix_watch(struct ring_posix *posix, int file)
{
    size_t block = (size_t)file / WATCHES_PER_BLOCK;
    if (block >= posix->block_count) {
        size_t count = block + 1;
        struct watch_block **blocks = realloc(posix->blocks, count * sizeof(struct watch_block *));
        if (blocks == NULL) {
            return NULL;
        }
        size_t added = count - posix->block_count;
        memset(blocks + posix->block_count, 0, added * sizeof(struct watch_block *));
        posix->blocks = blocks;
        posix->block_count = count;
    }
    if (posix->blocks[block] == NULL) {
        posix->blocks[block] = calloc(1, sizeof(struct watch_block));
    }
    return posix_watch_find(posix, file);
}

static int64_t socket_recv(const struct op *op)
{
    struct msghdr message = {.msg_iov = (struct iovec *)op->vector,
                             .msg_iovlen = (size_t)op->vector_count};
    ssize_t size = recvmsg(op->file, &message, MSG_DONTWAIT);
    return size < 0 ? -errno : size;
}

static int64_t socket_send(struct op *op)
{
    uint64_t size = op_size(op);
    while (op->moved < size) {
        struct iovec rest[OP_VECTOR_MAX];
        struct msghdr message = {.msg_iov = rest, .msg_iovlen = (size_t)op_rest(op, rest)};
        ssize_t moved = sendmsg(op->file, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (moved < 0) {
            return -errno;
        }
        op->moved += (uint64_t)moved;
    }
    return (int64_t)size;
}

/* op->moved: 0 before connect(), afterwards 1. The socket waits in op->file. */
static int64_t socket_connect(struct op *op)
{
    int error = 0;
    if (op->moved == 0) {
        struct sockaddr_storage address;
        socklen_t size;
        error = address_parse(op->path, &address, &size);
        if (error != 0) {
            return error;
        }
        op->file = socket_open(&address);
        if (op->file < 0) {
            return op->file;
        }
        op->moved = 1;
        fcntl(op->file, F_SETFL, O_NONBLOCK);
        if (connect(op->file, (struct sockaddr *)&address, size) != 0) {
            error = errno;
        }
        if (error == EINPROGRESS) {
            return -EAGAIN;
        }
    } else {
        socklen_t size = sizeof(error);
        getsockopt(op->file, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    fcntl(op->file, F_SETFL, 0); /* blocking, like accepted ones: transfers say MSG_DONTWAIT */
    if (error != 0) {
        close(op->file);
        return -error;
    }
    return op->file;
}

static int64_t socket_accept(const struct op *op)
{
    int file = accept4(op->file, NULL, NULL, SOCK_CLOEXEC);
    return file < 0 ? -errno : file;
}

static int64_t socket_try(struct op *op)
{
    int64_t result;
    do {
        switch (op->kind) {
        case OP_RECV:
            result = socket_recv(op);
            break;
        case OP_SEND:
            result = socket_send(op);
            break;
        case OP_CONNECT:
            result = socket_connect(op);
            break;
        case OP_ACCEPT:
            result = socket_accept(op);
            break;
        default:
            unreachable();
        }
    } while (result == -EINTR || (result == -ECONNABORTED && op->kind == OP_ACCEPT));
    return result;
}

static struct parked *watch_side(struct watch *watch, enum op_kind kind)
{
    return kind == OP_RECV || kind == OP_ACCEPT ? &watch->reads : &watch->writes;
}

static void parked_push(struct parked *parked, struct op *op)
{
    op->backend = NULL;
    if (parked->last != NULL) {
        parked->last->backend = op;
    } else {
        parked->first = op;
    }
    parked->last = op;
}

/* 0 or -errno. */
static int posix_park(struct ring_posix *posix, struct op *op)
{
    struct watch *watch = posix_watch(posix, op->file);
    if (watch == NULL) {
        return -ENOMEM;
    }
    if (!watch->registered) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                    .data.u64 = (uint64_t)op->file};
        if (epoll_ctl(posix->epoll, EPOLL_CTL_ADD, op->file, &event) != 0) {
            return -errno;
        }
        watch->registered = true;
    }
    parked_push(watch_side(watch, op->kind), op);
    return 0;
}

static void posix_start_socket(struct ring_posix *posix, struct op *op)
{
    struct watch *watch = op->kind == OP_CONNECT ? NULL : posix_watch_find(posix, op->file);
    int64_t result = -EAGAIN;
    if (watch == NULL || watch_side(watch, op->kind)->first == NULL) {
        result = socket_try(op);
    }
    if (result == -EAGAIN) {
        result = posix_park(posix, op);
        if (result == 0) {
            return;
        }
        if (op->kind == OP_CONNECT) {
            close(op->file);
        }
    }
    ring_complete(&posix->ring, op, result);
}

static void posix_start_close(struct ring_posix *posix, struct op *op)
{
    struct watch *watch = posix_watch_find(posix, op->file);
    if (watch == NULL || !watch->registered) {
        helpers_submit(&posix->helpers, op); /* perhaps a file, whose close may take its time */
        return;
    }
    check(watch->reads.first == NULL && watch->writes.first == NULL);
    watch->registered = false;
    ring_complete(&posix->ring, op, close(op->file) == 0 ? 0 : -errno);
}

static void posix_start(struct ring_posix *posix, struct op *op)
{
    switch (op->kind) {
    case OP_NOP:
        ring_complete(&posix->ring, op, 0);
        return;
    case OP_ACCEPT:
    case OP_CONNECT:
    case OP_RECV:
    case OP_SEND:
        posix_start_socket(posix, op);
        return;
    case OP_SHUTDOWN:
        ring_complete(&posix->ring, op, shutdown(op->file, SHUT_RDWR) == 0 ? 0 : -errno);
        return;
    case OP_CLOSE:
        posix_start_close(posix, op);
        return;
    default:
        helpers_submit(&posix->helpers, op);
    }
}

static void posix_retry(struct ring_posix *posix, struct watch *watch, struct parked *parked)
{
    while (parked->first != NULL) {
        struct op *op = parked->first;
        int64_t result = socket_try(op);
        if (result == -EAGAIN) {
            return;
        }
        parked->first = op->backend;
        if (parked->first == NULL) {
            parked->last = NULL;
        }
        if (op->kind == OP_CONNECT && result < 0) {
            watch->registered = false; /* its socket is closed already */
        }
        ring_complete(&posix->ring, op, result);
    }
}

static int posix_wait(struct ring_posix *posix, uint64_t wait_until_ns)
{
    struct timespec timeout = {0};
    uint64_t wait_ns = 0;
    if (wait_until_ns != 0 && list_is_empty(&posix->ring.completed)) {
        ring_refresh_clocks(&posix->ring);
        uint64_t now_ns = posix->ring.now_ns;
        wait_ns = wait_until_ns > now_ns ? wait_until_ns - now_ns : 0;
    }
    timeout.tv_sec = (time_t)(wait_ns / UINT64_C(1000000000));
    timeout.tv_nsec = (long)(wait_ns % UINT64_C(1000000000));
    bool endless = wait_ns > 0 && wait_until_ns == UINT64_MAX;
    if (!posix->no_pwait2) {
        int count =
            epoll_pwait2(posix->epoll, posix->events, EVENTS_MAX, endless ? NULL : &timeout, NULL);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return count;
        }
        posix->no_pwait2 = true;
    }
    uint64_t wait_ms = wait_ns / 1000000 + (wait_ns % 1000000 != 0);
    int timeout_ms = endless ? -1 : (int)(wait_ms < INT32_MAX ? wait_ms : INT32_MAX);
    return epoll_wait(posix->epoll, posix->events, EVENTS_MAX, timeout_ms);
}

static void posix_step(struct ring *ring, uint64_t wait_until_ns)
{
    struct ring_posix *posix = (struct ring_posix *)ring;
    struct list_node *node;
    while ((node = list_pop_head(&ring->queue)) != NULL) {
        posix_start(posix, LIST_ENTRY(node, struct op, node));
    }
    helpers_reap(&posix->helpers, &ring->completed);
    int count = posix_wait(posix, wait_until_ns);
    check(count >= 0 || errno == EINTR);
    ring_refresh_clocks(ring);
    for (int i = 0; i < count; i++) {
        uint32_t events = posix->events[i].events;
        uint64_t tag = posix->events[i].data.u64;
        if (tag == WAKEUP_TAG) {
            wakeup_notice(&posix->wakeup);
            continue;
        }
        struct watch *watch = posix_watch_find(posix, (int)tag);
        if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
            posix_retry(posix, watch, &watch->reads);
        }
        if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
            posix_retry(posix, watch, &watch->writes);
        }
    }
    helpers_reap(&posix->helpers, &ring->completed);
}

static void posix_wake(struct ring *ring)
{
    wakeup_signal(&((struct ring_posix *)ring)->wakeup);
}

static int posix_listen(struct ring *ring, const char *host, uint16_t port, int32_t *out,
                        uint16_t *port_out)
{
    (void)ring;
    int error = socket_listen(host, port, out, port_out);
    if (error == 0 && fcntl(*out, F_SETFL, O_NONBLOCK) != 0) {
        error = -errno;
        close(*out);
    }
    return error;
}

static void posix_close(struct ring *ring)
{
    struct ring_posix *posix = (struct ring_posix *)ring;
    helpers_deinit(&posix->helpers);
    wakeup_close(&posix->wakeup);
    close(posix->epoll);
    for (size_t i = 0; i < posix->block_count; i++) {
        free(posix->blocks[i]);
    }
    free(posix->blocks);
    free(posix);
}

static const struct ring_backend posix_backend = {
    .kind = RING_POSIX,
    .step = posix_step,
    .wake = posix_wake,
    .listen = posix_listen,
    .close = posix_close,
};

int ring_open_posix(struct ring **out)
{
    struct ring_posix *posix = calloc(1, sizeof(*posix));
    if (posix == NULL) {
        return -ENOMEM;
    }
    int error = wakeup_open(&posix->wakeup);
    if (error != 0) {
        goto failed_wakeup;
    }
    posix->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (posix->epoll < 0) {
        error = -errno;
        goto failed_epoll;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = WAKEUP_TAG};
    if (epoll_ctl(posix->epoll, EPOLL_CTL_ADD, posix->wakeup.file, &event) != 0) {
        error = -errno;
        goto failed_watch;
    }
    ring_init(&posix->ring, &posix_backend);
    ring_refresh_clocks(&posix->ring);
    helpers_init(&posix->helpers, &posix->wakeup);
    *out = &posix->ring;
    return 0;

failed_watch:
    close(posix->epoll);
failed_epoll:
    wakeup_close(&posix->wakeup);
failed_wakeup:
    free(posix);
    return error;
}
