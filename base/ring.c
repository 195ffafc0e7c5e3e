/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/ring_backend.h"

#define LISTEN_BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

int ring_open(struct ring **out, struct ring_options *options)
{
    options->refusal[0] = 0;
    switch (options->kind) {
    case RING_URING:
        return ring_open_uring(out, options);
    case RING_POSIX:
        return ring_open_posix(out);
    case RING_AUTO:
        /* Whatever the reason: a broker that runs beats one that insists on io_uring. */
        return ring_open_uring(out, options) == 0 ? 0 : ring_open_posix(out);
    case RING_SIMULATED:
        return -EINVAL; /* sim_ring_open() opens those: they need a world */
    }
    unreachable();
}

void ring_close(struct ring *ring)
{
    check(ring->in_flight == 0);
    check(list_is_empty(&ring->queue) && list_is_empty(&ring->completed));
    ring->backend->close(ring);
}

enum ring_kind ring_kind(const struct ring *ring)
{
    return ring->backend->kind;
}

const char *ring_kind_name(enum ring_kind kind)
{
    switch (kind) {
    case RING_AUTO:
        return "auto";
    case RING_URING:
        return "uring";
    case RING_POSIX:
        return "posix";
    case RING_SIMULATED:
        return "simulated";
    }
    unreachable();
}

static bool op_has_vector(enum op_kind kind)
{
    return kind == OP_READ || kind == OP_WRITE || kind == OP_RECV || kind == OP_SEND;
}

void ring_submit(struct ring *ring, struct op *op)
{
    check(op->kind < OP_KINDS && op->done != NULL);
    if (op_has_vector(op->kind)) {
        check(op->vector_count >= 1 && op->vector_count <= OP_VECTOR_MAX);
    }
    op->result = 0;
    op->moved = 0;
    op->due_ns = 0;
    op->backend = NULL;
    ring->in_flight += 1;
    list_push_tail(&ring->queue, &op->node); /* checks that it is not submitted already */
    if (ring->backend->submitted != NULL) {
        ring->backend->submitted(ring, op);
    }
}

/* One of the calls of ring_overlap(). */
struct strand {
    struct list_node node; /* in ring->parked */
    struct ring *ring;
    struct fiber *fiber;
    const bool *flag; /* waits until it is set; NULL: until something completed */
    void (*run)(void *argument);
    void *argument;
};

/* From inside: the ring's own stack goes on, until what is waited for has come. */
static void strand_park(struct strand *strand, const bool *flag)
{
    strand->flag = flag;
    list_push_tail(&strand->ring->parked, &strand->node);
    fiber_stop(strand->fiber);
}

static void strand_main(void *argument)
{
    struct strand *strand = argument;
    strand->run(strand->argument);
}

static void strand_go(struct strand *strand)
{
    struct ring *ring = strand->ring;
    check(ring->strand == NULL);
    ring->strand = strand;
    if (fiber_is_active(strand->fiber)) {
        fiber_resume(strand->fiber);
    } else {
        fiber_start(strand->fiber, strand_main, strand);
    }
    ring->strand = NULL;
}

/* Once around: who parks again waits for the next step. */
static void strands_go(struct ring *ring)
{
    struct list parked;
    list_init(&parked);
    list_splice_tail(&parked, &ring->parked);
    for (;;) {
        struct list_node *node = list_pop_head(&parked);
        if (node == NULL) {
            return;
        }
        struct strand *strand = LIST_ENTRY(node, struct strand, node);
        if (strand->flag == NULL || *strand->flag) {
            strand_go(strand);
        } else {
            list_push_tail(&ring->parked, node);
        }
    }
}

size_t ring_step(struct ring *ring, uint64_t wait_until_ns)
{
    check(ring->strand == NULL);
    ring->backend->step(ring, wait_until_ns);
    size_t count = 0;
    struct list_node *node;
    while ((node = list_pop_head(&ring->completed)) != NULL) {
        struct op *op = LIST_ENTRY(node, struct op, node);
        ring->in_flight -= 1;
        count += 1;
        op->done(op); /* last: it may submit the op again or free it */
    }
    if (!list_is_empty(&ring->parked)) {
        strands_go(ring);
    }
    return count;
}

void ring_wake(struct ring *ring)
{
    ring->backend->wake(ring);
}

static void ring_call_done(struct op *op)
{
    *(bool *)op->owner = true;
}

int64_t ring_call(struct ring *ring, struct op *op)
{
    bool finished = false;
    void *owner = op->owner;
    void (*done)(struct op *) = op->done;
    op->owner = &finished;
    op->done = ring_call_done;
    ring_submit(ring, op);
    ring_await(ring, &finished);
    op->owner = owner;
    op->done = done;
    return op->result;
}

void ring_await(struct ring *ring, const bool *flag)
{
    if (ring->strand != NULL && !*flag) {
        strand_park(ring->strand, flag);
        return;
    }
    bool outer = ring->calling;
    ring->calling = true;
    while (!*flag) {
        (void)ring_step(ring, UINT64_MAX);
    }
    ring->calling = outer;
}

void ring_wait(struct ring *ring)
{
    if (ring->strand != NULL) {
        strand_park(ring->strand, NULL);
        return;
    }
    bool outer = ring->calling;
    ring->calling = true;
    (void)ring_step(ring, UINT64_MAX);
    ring->calling = outer;
}

void ring_overlap(struct ring *ring, uint32_t count, void (*run)(void *argument), void *argument)
{
    check(ring->strand == NULL && list_is_empty(&ring->parked) && count > 0);
    struct strand *strands = calloc(count, sizeof(*strands));
    uint32_t opened = 0;
    while (strands != NULL && opened < count) {
        struct strand *strand = &strands[opened];
        *strand = (struct strand){.ring = ring, .run = run, .argument = argument};
        strand->fiber = fiber_open(RING_STACK_SIZE);
        if (strand->fiber == NULL) {
            break;
        }
        opened += 1;
    }
    for (uint32_t i = 0; i < opened; i++) {
        strand_go(&strands[i]);
    }
    if (opened == 0) {
        run(argument);
    }
    while (!list_is_empty(&ring->parked)) {
        ring_wait(ring);
    }
    for (uint32_t i = 0; i < opened; i++) {
        fiber_close(strands[i].fiber);
    }
    free(strands);
}

size_t ring_in_flight(const struct ring *ring)
{
    return ring->in_flight;
}

int ring_listen(struct ring *ring, const char *host, uint16_t port, int32_t *out,
                uint16_t *port_out)
{
    return ring->backend->listen(ring, host, port, out, port_out);
}

uint64_t ring_now_ns(const struct ring *ring)
{
    return ring->now_ns;
}

int64_t ring_wall_ms(const struct ring *ring)
{
    return ring->wall_ms;
}

void ring_peer(const struct ring *ring, int32_t socket, char text[RING_PEER_SIZE])
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    snprintf(text, RING_PEER_SIZE, "0.0.0.0");
    if (ring->backend->kind == RING_SIMULATED ||
        getpeername(socket, (struct sockaddr *)&address, &size) != 0) {
        return;
    }
    if (address.ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((struct sockaddr_in *)&address)->sin_addr, text, RING_PEER_SIZE);
    } else if (address.ss_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&address)->sin6_addr, text,
                        RING_PEER_SIZE);
    }
}

/* For the back ends. */

void ring_init(struct ring *ring, const struct ring_backend *backend)
{
    ring->backend = backend;
    list_init(&ring->queue);
    list_init(&ring->completed);
    list_init(&ring->parked);
}

void ring_refresh_clocks(struct ring *ring)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ring->now_ns = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
    clock_gettime(CLOCK_REALTIME, &now);
    ring->wall_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint64_t op_size(const struct op *op)
{
    uint64_t size = 0;
    for (int32_t i = 0; i < op->vector_count; i++) {
        size += op->vector[i].iov_len;
    }
    return size;
}

int op_rest(const struct op *op, struct iovec *out)
{
    uint64_t skip = op->moved;
    int count = 0;
    for (int32_t i = 0; i < op->vector_count; i++) {
        const struct iovec *slice = &op->vector[i];
        if (skip >= slice->iov_len) {
            skip -= slice->iov_len;
            continue;
        }
        out[count++] = (struct iovec){(uint8_t *)slice->iov_base + skip, slice->iov_len - skip};
        skip = 0;
    }
    return count;
}

int open_flags_native(uint32_t flags)
{
    int native = O_CLOEXEC;
    if ((flags & OPEN_WRITE) != 0) {
        native |= (flags & OPEN_READ) != 0 ? O_RDWR : O_WRONLY;
    }
    native |= (flags & OPEN_CREATE) != 0 ? O_CREAT : 0;
    native |= (flags & OPEN_EXCLUSIVE) != 0 ? O_EXCL : 0;
    native |= (flags & OPEN_DIRECT) != 0 ? O_DIRECT : 0;
    native |= (flags & OPEN_DIRECTORY) != 0 ? O_DIRECTORY : 0;
    native |= (flags & OPEN_TRUNCATE) != 0 ? O_TRUNC : 0;
    return native;
}

/* One -errno for the many answers of getaddrinfo(). */
static int resolve(const char *host, const char *port, int flags, struct addrinfo **out)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    switch (getaddrinfo(host, port, &hints, out)) {
    case 0:
        return 0;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_SYSTEM:
        return errno != 0 ? -errno : -EADDRNOTAVAIL;
    default:
        return -EADDRNOTAVAIL;
    }
}

int address_parse(const char *text, struct sockaddr_storage *address, socklen_t *size)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    const char *first = text;
    if (colon == NULL) {
        return -EINVAL;
    }
    const char *until = colon;
    if (*first == '[' && until > first && until[-1] == ']') {
        first += 1;
        until -= 1;
    }
    size_t host_size = (size_t)(until - first);
    if (host_size >= sizeof(host)) {
        return -EINVAL;
    }
    memcpy(host, first, host_size);
    host[host_size] = 0;
    struct addrinfo *found;
    int error = resolve(host, colon + 1, AI_NUMERICHOST, &found);
    if (error == 0) {
        memcpy(address, found->ai_addr, found->ai_addrlen);
        *size = found->ai_addrlen;
        freeaddrinfo(found);
    }
    return error;
}

static int socket_set(int file, int level, int name)
{
    int on = 1;
    return setsockopt(file, level, name, &on, sizeof(on));
}

int socket_open(const struct sockaddr_storage *address)
{
    int file = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0) {
        return -errno;
    }
    if (socket_set(file, IPPROTO_TCP, TCP_NODELAY) != 0) {
        int error = -errno;
        close(file);
        return error;
    }
    return file;
}

static uint16_t socket_port(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6) {
        return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    }
    return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

static int socket_bind(int file, const struct sockaddr_storage *address, socklen_t size,
                       uint16_t *port_out)
{
    struct sockaddr_storage bound;
    socklen_t bound_size = sizeof(bound);
    if (socket_set(file, SOL_SOCKET, SO_REUSEADDR) != 0 ||
        bind(file, (const struct sockaddr *)address, size) != 0 ||
        listen(file, LISTEN_BACKLOG) != 0 ||
        getsockname(file, (struct sockaddr *)&bound, &bound_size) != 0) {
        return -errno;
    }
    *port_out = socket_port(&bound);
    return 0;
}

int socket_listen(const char *host, uint16_t port, int32_t *out, uint16_t *port_out)
{
    char text[8];
    struct sockaddr_storage address;
    struct addrinfo *found;
    snprintf(text, sizeof(text), "%u", port);
    int error = resolve(host[0] == 0 ? NULL : host, text, AI_PASSIVE, &found);
    if (error != 0) {
        return error;
    }
    socklen_t size = found->ai_addrlen;
    memcpy(&address, found->ai_addr, size);
    freeaddrinfo(found);
    int file = socket_open(&address);
    if (file < 0) {
        return file;
    }
    error = socket_bind(file, &address, size, port_out);
    if (error != 0) {
        close(file);
        return error;
    }
    *out = file;
    return 0;
}

int wakeup_open(struct wakeup *wakeup)
{
    wakeup->file = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_init(&wakeup->pending, false);
    return wakeup->file < 0 ? -errno : 0;
}

void wakeup_close(struct wakeup *wakeup)
{
    close(wakeup->file);
}

void wakeup_signal(struct wakeup *wakeup)
{
    if (!atomic_exchange(&wakeup->pending, true)) {
        uint64_t one = 1;
        ssize_t size = write(wakeup->file, &one, sizeof(one));
        check(size == sizeof(one));
    }
}

void wakeup_notice(struct wakeup *wakeup)
{
    /* A waker that still finds `pending` set did its work before this line: we see it. */
    (void)atomic_exchange(&wakeup->pending, false);
}
