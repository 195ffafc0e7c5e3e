/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An op's way: ring_submit() watches its memory; the ring's step() gives it a time; when the clock
 * of the world gets there it takes effect, for all to see, and lies in `ready` of its ring until
 * that ring steps. An op that cannot go on yet (a RECV without bytes) is blocked at its handle and
 * gets a new time when that changes. All order comes from the timer heap: (time, order of arming).
 *
 * Live checks of what base/ring.h and its users promise:
 *   W1  memory of a WRITE or SEND does not change from submit to completion (R1)
 *   W2  two writes in flight on one file never share a page
 *   W3  ops on a direct file are aligned to pages in memory, position and size (R5)
 *   W4  one RECV and one SEND in flight a socket: real rings may swap two
 *   W5  nothing is in flight on what is closed
 */
#include "base/ring_simulated.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/ring_backend.h"
#include "base/sim_disk.h"
#include "base/timer.h"

#define SIM_ALIGNMENT UINT64_C(4096)
#define INBOX_SIZE ((size_t)65536) /* bytes under way to one end of a stream */
#define PORT_FIRST 40000
#define WALL_MS_FIRST INT64_C(1767225600000) /* 2026-01-01 */
#define FILE_FIRST 3                         /* as if the standard streams were open */
#define STALL_NS_MAX UINT64_C(30000000000)

enum handle_kind { HANDLE_FILE, HANDLE_LISTENER, HANDLE_STREAM };

struct sim_handle {
    enum handle_kind kind;
    uint32_t in_flight;
    struct sim_inode *inode; /* file */
    uint32_t open_flags;
    bool shut;               /* no bytes from or to this end any more */
    char address[80];        /* listener */
    struct list backlog;     /* listener: ends not accepted yet */
    struct list_node node;   /* in a backlog */
    struct sim_handle *peer; /* stream; NULL when that end is closed */
    uint8_t *inbox;          /* stream: bytes that arrived, a circle */
    size_t inbox_first;
    size_t inbox_count;
    struct list reads;   /* blocked RECV, ACCEPT */
    struct list writes;  /* blocked SEND */
    uint32_t recv_count; /* in flight, W4 */
    uint32_t send_count;
};

/* One op in flight. */
struct sim_op {
    struct timer timer;
    struct list_node node;    /* in world->flying */
    struct list_node blocked; /* at a handle */
    struct op *op;
    struct ring_simulated *ring;
    struct sim_handle *handle; /* NULL when the op has none or a wrong one */
    uint64_t sum;              /* of the memory, W1 */
};

struct sim_world {
    struct sim_options options;
    struct random random;
    struct sim_faults faults;
    struct sim_disk disk;
    struct timers timers;
    struct list rings;
    struct list flying; /* every op from submit to effect, oldest first */
    struct list spare;  /* sim_ops to use again, linked by node */
    struct sim_handle **handles;
    size_t handle_count;
    uint64_t now_ns;
    uint64_t trace;
    uint16_t port_next;
    uint32_t ring_count;
};

struct ring_simulated {
    struct ring ring;
    struct sim_world *world;
    struct list_node node;
    struct list ready;
    uint32_t index;
};

static void *must_calloc(size_t size)
{
    void *memory = calloc(1, size);
    check(memory != NULL);
    return memory;
}

/* Handles. */

static struct sim_handle *handle_new(enum handle_kind kind)
{
    struct sim_handle *handle = must_calloc(sizeof(*handle));
    handle->kind = kind;
    list_init(&handle->backlog);
    list_init(&handle->reads);
    list_init(&handle->writes);
    return handle;
}

static int32_t handle_add(struct sim_world *world, struct sim_handle *handle)
{
    size_t i = 0;
    while (i < world->handle_count && world->handles[i] != NULL) {
        i += 1;
    }
    if (i == world->handle_count) {
        size_t count = world->handle_count * 2 + 16;
        struct sim_handle **handles = realloc(world->handles, count * sizeof(handle));
        check(handles != NULL);
        memset(handles + i, 0, (count - i) * sizeof(handle));
        world->handles = handles;
        world->handle_count = count;
    }
    world->handles[i] = handle;
    return (int32_t)i + FILE_FIRST;
}

static struct sim_handle *handle_find(const struct sim_world *world, int32_t file)
{
    size_t i = (size_t)file - FILE_FIRST;
    return file >= FILE_FIRST && i < world->handle_count ? world->handles[i] : NULL;
}

/* Whoever is blocked there looks again, each after a delay of its own. */
static void wake_blocked(struct sim_world *world, struct list *blocked)
{
    struct list_node *node;
    while ((node = list_pop_head(blocked)) != NULL) {
        struct sim_op *flight = LIST_ENTRY(node, struct sim_op, blocked);
        uint64_t delay = random_below(&world->random, world->options.net_delay_ns_max + 1);
        timer_arm(&world->timers, &flight->timer, world->now_ns + delay);
    }
}

static void handle_shut(struct sim_world *world, struct sim_handle *handle)
{
    handle->shut = true;
    wake_blocked(world, &handle->reads);
    wake_blocked(world, &handle->writes);
    if (handle->peer != NULL) {
        wake_blocked(world, &handle->peer->reads);
        wake_blocked(world, &handle->peer->writes);
    }
}

static void handle_free(struct sim_world *world, struct sim_handle *handle)
{
    struct list_node *node;
    if (handle->kind == HANDLE_STREAM) {
        handle_shut(world, handle);
        if (handle->peer != NULL) {
            handle->peer->peer = NULL;
        }
    }
    while ((node = list_pop_head(&handle->backlog)) != NULL) {
        handle_free(world, LIST_ENTRY(node, struct sim_handle, node));
    }
    if (handle->inode != NULL) {
        sim_disk_release(&world->disk, handle->inode);
    }
    free(handle->inbox);
    free(handle);
}

static void handle_close(struct sim_world *world, int32_t file)
{
    struct sim_handle **slot = &world->handles[file - FILE_FIRST];
    struct sim_handle *handle = *slot;
    *slot = NULL;
    handle_free(world, handle);
}

/* Streams. */

static struct sim_handle *stream_new(void)
{
    struct sim_handle *handle = handle_new(HANDLE_STREAM);
    handle->inbox = must_calloc(INBOX_SIZE);
    return handle;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void inbox_put(struct sim_handle *end, const uint8_t *from, size_t size)
{
    while (size > 0) {
        size_t place = (end->inbox_first + end->inbox_count) % INBOX_SIZE;
        size_t piece = smaller(size, INBOX_SIZE - place);
        memcpy(end->inbox + place, from, piece);
        end->inbox_count += piece;
        from += piece;
        size -= piece;
    }
}

static void inbox_get(struct sim_handle *end, uint8_t *to, size_t size)
{
    while (size > 0) {
        size_t piece = smaller(size, INBOX_SIZE - end->inbox_first);
        memcpy(to, end->inbox + end->inbox_first, piece);
        end->inbox_first = (end->inbox_first + piece) % INBOX_SIZE;
        end->inbox_count -= piece;
        to += piece;
        size -= piece;
    }
}

static int64_t stream_recv(struct sim_world *world, struct sim_handle *end, struct op *op)
{
    if (end->inbox_count == 0) {
        bool over = end->shut || end->peer == NULL || end->peer->shut;
        return over ? 0 : -EAGAIN;
    }
    size_t size = smaller(op_size(op), end->inbox_count);
    if (world->options.stream_cut_max > 0 && size > 1) {
        size_t cut = smaller(size, world->options.stream_cut_max);
        size = 1 + random_below(&world->random, cut);
    }
    size_t left = size;
    for (int32_t i = 0; i < op->vector_count && left > 0; i++) {
        size_t piece = smaller(left, op->vector[i].iov_len);
        inbox_get(end, op->vector[i].iov_base, piece);
        left -= piece;
    }
    if (end->peer != NULL) {
        wake_blocked(world, &end->peer->writes);
    }
    return (int64_t)size;
}

static int64_t stream_send(struct sim_world *world, struct sim_handle *end, struct op *op)
{
    struct iovec rest[OP_VECTOR_MAX];
    if (end->shut || end->peer == NULL || end->peer->shut) {
        return -EPIPE;
    }
    int count = op_rest(op, rest);
    for (int i = 0; i < count; i++) {
        size_t piece = smaller(rest[i].iov_len, INBOX_SIZE - end->peer->inbox_count);
        inbox_put(end->peer, rest[i].iov_base, piece);
        op->moved += piece;
    }
    wake_blocked(world, &end->peer->reads);
    return op->moved == op_size(op) ? (int64_t)op->moved : -EAGAIN;
}

static int64_t stream_connect(struct sim_world *world, const struct op *op)
{
    for (size_t i = 0; i < world->handle_count; i++) {
        struct sim_handle *listener = world->handles[i];
        if (listener == NULL || listener->kind != HANDLE_LISTENER || listener->shut ||
            strcmp(listener->address, op->path) != 0) {
            continue;
        }
        struct sim_handle *client = stream_new();
        struct sim_handle *server = stream_new();
        client->peer = server;
        server->peer = client;
        list_push_tail(&listener->backlog, &server->node);
        wake_blocked(world, &listener->reads);
        return handle_add(world, client);
    }
    return -ECONNREFUSED;
}

static int64_t stream_accept(struct sim_world *world, struct sim_handle *listener)
{
    if (listener->shut) {
        return -EINVAL;
    }
    struct list_node *node = list_pop_head(&listener->backlog);
    if (node == NULL) {
        return -EAGAIN;
    }
    return handle_add(world, LIST_ENTRY(node, struct sim_handle, node));
}

/* What an op does at its time; -EAGAIN: it is to be blocked. */

static int64_t file_open(struct sim_world *world, const struct op *op)
{
    struct sim_inode *inode;
    int error = sim_disk_open(&world->disk, op->path, op->flags, &inode);
    if (error != 0) {
        return error;
    }
    struct sim_handle *handle = handle_new(HANDLE_FILE);
    handle->inode = inode;
    handle->open_flags = op->flags;
    return handle_add(world, handle);
}

static int64_t perform_on_file(struct sim_world *world, struct sim_handle *handle, struct op *op)
{
    bool may_write = (handle->open_flags & OPEN_WRITE) != 0;
    bool direct = (handle->open_flags & OPEN_DIRECT) != 0;
    bool may_read = (handle->open_flags & OPEN_READ) != 0 || !may_write;
    if (!may_write && (op->kind == OP_WRITE || op->kind == OP_ALLOCATE)) {
        return -EBADF;
    }
    switch (op->kind) {
    case OP_READ:
        if (sim_inode_is_folder(handle->inode)) {
            return -EISDIR;
        }
        return may_read ? sim_inode_read(handle->inode, op, direct) : -EBADF;
    case OP_WRITE:
        sim_inode_write(handle->inode, op);
        return (int64_t)op_size(op);
    case OP_SYNC:
        sim_disk_sync(&world->disk, handle->inode);
        return 0;
    case OP_ALLOCATE:
        sim_inode_allocate(handle->inode, op->position, op->size);
        return 0;
    case OP_TRUNCATE:
        if (!may_write) {
            return -EINVAL;
        }
        sim_inode_truncate(handle->inode, op->size);
        return 0;
    case OP_STAT:
        return sim_inode_stat(handle->inode, op);
    case OP_DATA:
        return sim_inode_next_data(handle->inode, op->position);
    default:
        return -ENOTSOCK;
    }
}

static int64_t perform_on_handle(struct sim_world *world, struct sim_handle *handle, struct op *op)
{
    if (handle == NULL) {
        return -EBADF;
    }
    if (op->kind == OP_CLOSE) {
        check(handle->in_flight == 1); /* W5: this op alone */
        handle_close(world, op->file);
        return 0;
    }
    if (handle->kind == HANDLE_FILE) {
        return perform_on_file(world, handle, op);
    }
    if (op->kind == OP_SHUTDOWN) {
        handle_shut(world, handle);
        return 0;
    }
    if (op->kind == OP_ACCEPT && handle->kind == HANDLE_LISTENER) {
        return stream_accept(world, handle);
    }
    if (handle->kind == HANDLE_STREAM && op->kind == OP_RECV) {
        return stream_recv(world, handle, op);
    }
    if (handle->kind == HANDLE_STREAM && op->kind == OP_SEND) {
        return stream_send(world, handle, op);
    }
    return -EINVAL;
}

static int64_t perform(struct sim_world *world, struct sim_op *flight)
{
    struct op *op = flight->op;
    switch (op->kind) {
    case OP_NOP:
        return 0;
    case OP_OPEN:
        return file_open(world, op);
    case OP_RENAME:
        return sim_disk_rename(&world->disk, op->path, op->path_target);
    case OP_UNLINK:
        return sim_disk_unlink(&world->disk, op->path, (op->flags & OP_DIRECTORY) != 0);
    case OP_MKDIR:
        return sim_disk_mkdir(&world->disk, op->path);
    case OP_LIST:
        return sim_disk_list(&world->disk, op->path, op->listing);
    case OP_CONNECT:
        return stream_connect(world, op);
    default:
        return perform_on_handle(world, flight->handle, op);
    }
}

/* Does what is left of a transfer, or less when it breaks off; -EAGAIN: the rest comes later. */
static int64_t perform_transfer(struct sim_world *world, struct sim_op *flight, bool breaks)
{
    struct iovec rest[OP_VECTOR_MAX];
    struct op *op = flight->op;
    struct op part = *op;
    part.vector_count = op_rest(op, rest);
    part.vector = rest;
    part.position += op->moved;
    uint64_t left = op_size(op) - op->moved;
    uint64_t size = breaks ? sim_faults_cut(&world->faults, rest, &part.vector_count, left) : left;
    int64_t result = perform_on_file(world, flight->handle, &part);
    if (result < 0) {
        return result;
    }
    op->moved += (uint64_t)result;
    return (uint64_t)result == size && size < left ? -EAGAIN : (int64_t)op->moved;
}

/* What an op on a file or path does and answers under a fault. */
static int64_t perform_struck(struct sim_world *world, struct sim_op *flight, enum sim_fault fault)
{
    struct op *op = flight->op;
    struct sim_inode *inode = flight->handle == NULL ? NULL : flight->handle->inode;
    switch (fault) {
    case SIM_NAME_ERROR:
        if (op->kind != OP_OPEN && random_below(&world->faults.random[fault], 2) == 0) {
            (void)perform(world, flight);
        }
        return -EIO;
    case SIM_ROT:
        sim_faults_rot(&world->faults, inode, op);
        return perform_transfer(world, flight, false);
    case SIM_SHORT:
        return perform_transfer(world, flight, true);
    default:
        return sim_faults_apply(&world->faults, inode, op, fault);
    }
}

static int64_t perform_on_disk(struct sim_world *world, struct sim_op *flight)
{
    const struct op *op = flight->op;
    struct sim_handle *handle = flight->handle;
    bool on_file = handle != NULL && handle->kind == HANDLE_FILE;
    bool transfer = on_file && (op->kind == OP_READ || op->kind == OP_WRITE) &&
                    !sim_inode_is_folder(handle->inode);
    if (op_has_file(op->kind) && !on_file) {
        return perform(world, flight);
    }
    uint64_t size = on_file ? sim_inode_size(handle->inode) : 0;
    enum sim_fault fault = sim_faults_judge(&world->faults, op, size);
    if (fault != SIM_FAULTS) {
        return perform_struck(world, flight, fault);
    }
    return transfer ? perform_transfer(world, flight, false) : perform(world, flight);
}

/* Ops in flight. */

static uint64_t memory_sum(const struct op *op)
{
    uint64_t sum = 0;
    if (op->kind == OP_WRITE || op->kind == OP_SEND) {
        for (int32_t i = 0; i < op->vector_count; i++) {
            struct iovec slice = op->vector[i];
            sum = hash_bytes(bytes_of(slice.iov_base, slice.iov_len), sum);
        }
    }
    return sum;
}

/* W3 */
static void check_aligned(const struct op *op)
{
    check(op->position % SIM_ALIGNMENT == 0);
    for (int32_t i = 0; i < op->vector_count; i++) {
        check((uintptr_t)op->vector[i].iov_base % SIM_ALIGNMENT == 0);
        check(op->vector[i].iov_len % SIM_ALIGNMENT == 0);
    }
}

/* W2 */
static void check_apart(struct sim_world *world, const struct sim_op *flight)
{
    const struct op *op = flight->op;
    uint64_t first = op->position / SIM_ALIGNMENT;
    uint64_t until = (op->position + op_size(op) + SIM_ALIGNMENT - 1) / SIM_ALIGNMENT;
    LIST_EACH (&world->flying, node) {
        const struct sim_op *other = LIST_ENTRY(node, struct sim_op, node);
        const struct op *write = other->op;
        if (other == flight || write->kind != OP_WRITE || other->handle == NULL ||
            other->handle->inode != flight->handle->inode) {
            continue;
        }
        uint64_t end = write->position + op_size(write);
        check(write->position / SIM_ALIGNMENT >= until ||
              (end + SIM_ALIGNMENT - 1) / SIM_ALIGNMENT <= first);
    }
}

static void flight_check(struct sim_world *world, struct sim_op *flight)
{
    struct sim_handle *handle = flight->handle;
    const struct op *op = flight->op;
    bool transfer = op->kind == OP_READ || op->kind == OP_WRITE;
    if (transfer && handle->kind == HANDLE_FILE) {
        if ((handle->open_flags & OPEN_DIRECT) != 0) {
            check_aligned(op);
        }
        if (op->kind == OP_WRITE) {
            check_apart(world, flight);
        }
    }
    handle->recv_count += op->kind == OP_RECV;
    handle->send_count += op->kind == OP_SEND;
    check(handle->recv_count <= 1 && handle->send_count <= 1); /* W4 */
}

static void flight_complete(struct sim_world *world, struct sim_op *flight, int64_t result)
{
    struct op *op = flight->op;
    uint64_t facts[] = {world->now_ns, flight->ring->index, op->kind, (uint64_t)op->file,
                        (uint64_t)result};
    world->trace = hash_bytes(bytes_of(facts, sizeof(facts)), world->trace);
    if (flight->handle != NULL && op->kind != OP_CLOSE) {
        flight->handle->in_flight -= 1;
        flight->handle->recv_count -= op->kind == OP_RECV;
        flight->handle->send_count -= op->kind == OP_SEND;
    }
    op->result = result;
    op->backend = NULL;
    list_push_tail(&flight->ring->ready, &op->node);
    list_remove(&flight->node);
    list_push_tail(&world->spare, &flight->node);
}

static void flight_arm(struct sim_world *world, struct sim_op *flight)
{
    struct op *op = flight->op;
    bool net = op_is_net(op->kind);
    uint64_t delay_max = net ? world->options.net_delay_ns_max : world->options.disk_delay_ns_max;
    op->due_ns = world->now_ns + random_below(&world->random, delay_max + 1);
    if (!net && sim_faults_strike(&world->faults, SIM_STALL)) {
        op->due_ns += random_below(&world->faults.random[SIM_STALL], STALL_NS_MAX);
    }
    timer_arm(&world->timers, &flight->timer, op->due_ns);
}

static void flight_fire(struct timer *timer)
{
    struct sim_op *flight = CONTAINER_OF(timer, struct sim_op, timer);
    struct sim_world *world = flight->ring->world;
    struct op *op = flight->op;
    check(memory_sum(op) == flight->sum); /* W1 */
    bool net = op_is_net(op->kind) || op->kind == OP_NOP || op->kind == OP_CLOSE;
    int64_t result = net ? perform(world, flight) : perform_on_disk(world, flight);
    if (result != -EAGAIN) {
        flight_complete(world, flight, result);
        return;
    }
    if (!net) { /* the rest of a transfer */
        flight_arm(world, flight);
        return;
    }
    bool writes = op->kind == OP_SEND;
    list_push_tail(writes ? &flight->handle->writes : &flight->handle->reads, &flight->blocked);
}

/* At ring_submit(). */
static void simulated_submitted(struct ring *ring, struct op *op)
{
    struct ring_simulated *simulated = (struct ring_simulated *)ring;
    struct sim_world *world = simulated->world;
    struct list_node *node = list_pop_head(&world->spare);
    struct sim_op *flight =
        node != NULL ? LIST_ENTRY(node, struct sim_op, node) : must_calloc(sizeof(*flight));
    *flight = (struct sim_op){.timer.fire = flight_fire, .op = op, .ring = simulated};
    flight->sum = memory_sum(op);
    op->backend = flight;
    list_push_tail(&world->flying, &flight->node);
}

static void simulated_start(struct sim_world *world, struct op *op)
{
    struct sim_op *flight = op->backend;
    flight->handle = op_has_file(op->kind) ? handle_find(world, op->file) : NULL;
    if (flight->handle != NULL) {
        flight->handle->in_flight += 1;
        flight_check(world, flight);
    }
    flight_arm(world, flight);
}

static void simulated_step(struct ring *ring, uint64_t wait_until_ns)
{
    struct ring_simulated *simulated = (struct ring_simulated *)ring;
    struct sim_world *world = simulated->world;
    struct list_node *node;
    while ((node = list_pop_head(&ring->queue)) != NULL) {
        simulated_start(world, LIST_ENTRY(node, struct op, node));
    }
    sim_world_advance(world, world->now_ns);
    /* Nobody but ring_call() moves the clock from here: the test's driver does. */
    while (ring->calling && wait_until_ns != 0 && list_is_empty(&simulated->ready)) {
        uint64_t next_ns = timers_next(&world->timers);
        check(next_ns != TIMER_NEVER); /* else this call would wait for ever */
        sim_world_advance(world, next_ns);
    }
    list_splice_tail(&ring->completed, &simulated->ready);
    ring->now_ns = world->now_ns;
    ring->wall_ms = WALL_MS_FIRST + (int64_t)(world->now_ns / 1000000);
}

/* Rings never wait here: the driver steps whoever has something to do. */
static void simulated_wake(struct ring *ring)
{
    (void)ring;
}

static int simulated_listen(struct ring *ring, const char *host, uint16_t port, int32_t *out,
                            uint16_t *port_out)
{
    struct sim_world *world = ((struct ring_simulated *)ring)->world;
    struct sim_handle *handle = handle_new(HANDLE_LISTENER);
    port = port != 0 ? port : world->port_next++;
    snprintf(handle->address, sizeof(handle->address), "%s:%u", host, port);
    for (size_t i = 0; i < world->handle_count; i++) {
        struct sim_handle *other = world->handles[i];
        if (other != NULL && strcmp(other->address, handle->address) == 0) {
            free(handle);
            return -EADDRINUSE;
        }
    }
    *out = handle_add(world, handle);
    *port_out = port;
    return 0;
}

static void simulated_close(struct ring *ring)
{
    struct ring_simulated *simulated = (struct ring_simulated *)ring;
    check(list_is_empty(&simulated->ready));
    list_remove(&simulated->node);
    free(simulated);
}

static const struct ring_backend simulated_backend = {
    .kind = RING_SIMULATED,
    .step = simulated_step,
    .submitted = simulated_submitted,
    .wake = simulated_wake,
    .listen = simulated_listen,
    .close = simulated_close,
};

struct ring *sim_ring_open(struct sim_world *world)
{
    struct ring_simulated *simulated = must_calloc(sizeof(*simulated));
    ring_init(&simulated->ring, &simulated_backend);
    simulated->world = world;
    simulated->index = world->ring_count++;
    simulated->ring.now_ns = world->now_ns;
    simulated->ring.wall_ms = WALL_MS_FIRST + (int64_t)(world->now_ns / 1000000);
    list_init(&simulated->ready);
    list_push_tail(&world->rings, &simulated->node);
    return &simulated->ring;
}

/* The world. */

struct sim_world *sim_world_open(const struct sim_options *options)
{
    struct sim_world *world = must_calloc(sizeof(*world));
    world->options = *options;
    random_init(&world->random, options->seed);
    sim_faults_init(&world->faults, &world->disk, options->seed);
    sim_disk_init(&world->disk, &world->random, &world->faults);
    timers_init(&world->timers);
    list_init(&world->rings);
    list_init(&world->flying);
    list_init(&world->spare);
    world->port_next = PORT_FIRST;
    world->now_ns = 1; /* 0 means "do not wait" to ring_step() */
    return world;
}

static void world_close_handles(struct sim_world *world)
{
    for (size_t i = 0; i < world->handle_count; i++) {
        if (world->handles[i] != NULL) {
            handle_close(world, (int32_t)i + FILE_FIRST);
        }
    }
}

void sim_world_close(struct sim_world *world)
{
    check(list_is_empty(&world->rings) && list_is_empty(&world->flying));
    struct list_node *node;
    world_close_handles(world);
    while ((node = list_pop_head(&world->spare)) != NULL) {
        free(LIST_ENTRY(node, struct sim_op, node));
    }
    sim_disk_deinit(&world->disk);
    free(world->handles);
    free(world);
}

uint64_t sim_world_next_ns(const struct sim_world *world)
{
    LIST_EACH (&world->rings, node) {
        const struct ring_simulated *ring = LIST_ENTRY(node, struct ring_simulated, node);
        if (!list_is_empty(&ring->ready) || !list_is_empty(&ring->ring.queue)) {
            return world->now_ns;
        }
    }
    return timers_next(&world->timers);
}

void sim_world_advance(struct sim_world *world, uint64_t now_ns)
{
    check(now_ns >= world->now_ns);
    uint64_t next_ns;
    while ((next_ns = timers_next(&world->timers)) <= now_ns) {
        world->now_ns = next_ns > world->now_ns ? next_ns : world->now_ns;
        timers_fire(&world->timers, world->now_ns);
    }
    world->now_ns = now_ns;
}

uint64_t sim_world_now_ns(const struct sim_world *world)
{
    return world->now_ns;
}

static void drop_ops(struct list *list)
{
    while (list_pop_head(list) != NULL) {
    }
}

/* What was in flight is forgotten; writes arrive in part. */
static void world_die(struct sim_world *world, bool power)
{
    struct list_node *node;
    while ((node = list_pop_head(&world->flying)) != NULL) {
        struct sim_op *flight = LIST_ENTRY(node, struct sim_op, node);
        bool started = flight->timer.armed && flight->handle != NULL;
        if (started && flight->op->kind == OP_WRITE && flight->handle->kind == HANDLE_FILE) {
            check(memory_sum(flight->op) == flight->sum); /* W1 */
            sim_inode_write_torn(flight->handle->inode, flight->op, &world->random, power);
        }
        timer_disarm(&world->timers, &flight->timer);
        if (list_is_linked(&flight->blocked)) {
            list_remove(&flight->blocked);
        }
        list_push_tail(&world->spare, &flight->node);
    }
    world_close_handles(world);
    LIST_EACH (&world->rings, ring_node) {
        struct ring_simulated *ring = LIST_ENTRY(ring_node, struct ring_simulated, node);
        drop_ops(&ring->ring.queue);
        drop_ops(&ring->ring.completed);
        drop_ops(&ring->ready);
        ring->ring.in_flight = 0;
    }
}

void sim_world_crash(struct sim_world *world)
{
    world_die(world, true);
    sim_disk_crash(&world->disk);
}

void sim_world_kill(struct sim_world *world)
{
    world_die(world, false);
}

struct sim_faults *sim_world_faults(struct sim_world *world)
{
    return &world->faults;
}

size_t sim_world_open_handles(const struct sim_world *world)
{
    size_t count = 0;
    for (size_t i = 0; i < world->handle_count; i++) {
        count += world->handles[i] != NULL;
    }
    return count;
}

uint64_t sim_world_trace_hash(const struct sim_world *world)
{
    return world->trace;
}

const uint8_t *sim_world_file(const struct sim_world *world, const char *path, uint64_t *size)
{
    return sim_disk_file((struct sim_disk *)&world->disk, path, size);
}
