/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only door to disk, sockets and time. A core fills plain operations during its tick and hands
 * them over whole in ring_step(), which submits, waits once and runs the completions.
 *
 * Back ends, one pointer per core: uring (Linux 6.1, liburing 2.3), posix (epoll for sockets and
 * helper threads for files; chosen by itself when io_uring is refused), simulated (deterministic:
 * memory files, byte streams cut at random, virtual time).
 *
 * R1  An op and all memory it names belong to the ring from ring_submit() until done() is called.
 * R2  done() runs on the owner core, from ring_step(), never from ring_submit().
 * R3  Every submitted op completes exactly once. Ops complete in any order.
 * R4  result is >= 0 or -errno. WRITE and SEND complete with all bytes moved or with an error
 *     (short transfers are continued inside); READ is short only at the end of the file; RECV
 *     gives at least one byte, 0 at the end of the stream.
 * R5  Writes to a file opened with OPEN_DIRECT are page-aligned in memory, position and size.
 *
 * R6  One thread steps a ring: the first that calls ring_step() or ring_call(), which need not be
 *     the one that opened it. Any thread may close it when nothing is in flight.
 * R7  A socket stays with the ring that first sent or received on it, which also closes it.
 *
 * Nothing here knows what the bytes mean.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"

enum op_kind {
    OP_NOP,
    OP_OPEN,     /* path, flags: enum open_flags; result: file */
    OP_CLOSE,    /* file */
    OP_READ,     /* file, vector, position; result: bytes */
    OP_WRITE,    /* file, vector, position, flags: OP_DSYNC */
    OP_SYNC,     /* file, flags: OP_DATA_ONLY (fdatasync) */
    OP_ALLOCATE, /* file, position, size: space is reserved and the file's size covers it */
    OP_TRUNCATE, /* file, size */
    OP_STAT,     /* file, flags: OP_STAMP; result: size in bytes, or the stamp */
    OP_DATA,     /* file, position; result: where the next bytes are that may not be zeros, or
                    -ENXIO: from there on all are. Another error: it cannot be told here */
    OP_RENAME,   /* path -> path_target */
    OP_UNLINK,   /* path, flags: OP_DIRECTORY */
    OP_MKDIR,    /* path; -EEXIST when there */
    OP_LIST,     /* path; names of the folder into `listing`; result: count of names */
    OP_ACCEPT,   /* file: listener; result: socket (nodelay, close on exec) */
    OP_CONNECT,  /* path: "host:port" numeric; result: socket. Simulation and tests. */
    OP_RECV,     /* file, vector */
    OP_SEND,     /* file, vector */
    OP_SHUTDOWN, /* file: both directions; pending RECV and ACCEPT complete */
    OP_KINDS,
};

enum open_flags {
    OPEN_READ = 1,
    OPEN_WRITE = 2,
    OPEN_CREATE = 4,
    OPEN_EXCLUSIVE = 8,
    OPEN_DIRECT = 16,    /* O_DIRECT; -EINVAL where the file system refuses it */
    OPEN_DIRECTORY = 32, /* to sync a folder */
    OPEN_TRUNCATE = 64,
};

enum op_flags {
    OP_DSYNC = 1,     /* WRITE completes when the bytes are on stable storage (RWF_DSYNC) */
    OP_DATA_ONLY = 2, /* SYNC: data and what is needed to read it */
    OP_DIRECTORY = 4, /* UNLINK removes an empty folder */
    OP_STAMP = 8,     /* STAT answers a number above 0 that another file in this one's place, or
                         this one once its content was changed, does not have (ctime, inode) */
};

#define OP_VECTOR_MAX 64 /* slices in one op; more are sent as several ops by the caller */

struct op {
    enum op_kind kind;
    uint32_t flags;
    int32_t file;
    int32_t vector_count; /* 1..OP_VECTOR_MAX for READ, WRITE, RECV, SEND */
    const struct iovec *vector;
    uint64_t position; /* bytes */
    uint64_t size;     /* bytes */
    const char *path;
    const char *path_target;
    struct ring_listing *listing;
    int64_t result;
    void (*done)(struct op *op);
    void *owner; /* the submitter's; the ring never looks */

    /* The ring's own from submit to done. */
    struct list_node node;
    uint64_t moved;  /* bytes already transferred of a continued op */
    uint64_t due_ns; /* simulated */
    void *backend;
};

/* Names of a folder without "." and "..", in no order. The caller owns the memory. */
struct ring_listing {
    char *names;     /* NUL-separated */
    size_t size;     /* bytes used */
    size_t size_max; /* bytes available; a longer listing ends with -ENOBUFS */
    uint32_t count;
};

enum ring_kind { RING_AUTO, RING_URING, RING_POSIX, RING_SIMULATED };

struct ring;

struct ring_options {
    enum ring_kind kind;
    uint32_t entries;  /* submission queue size, a power of two; 0 = 1024 */
    char refusal[160]; /* out: why io_uring was not taken, else "" */
};

/* 0 or -errno. AUTO takes io_uring where it works, posix elsewhere and says why in `refusal`. */
int ring_open(struct ring **out, struct ring_options *options);
void ring_close(struct ring *ring); /* checks that nothing is in flight */
enum ring_kind ring_kind(const struct ring *ring);
const char *ring_kind_name(enum ring_kind kind);

/* Hands one op to the ring; it is submitted by the next step. Cannot fail. */
void ring_submit(struct ring *ring, struct op *op);

/*
 * Submits what was handed over, waits until at least one op completes, ring_wake() is called or the
 * monotonic clock reaches wait_until_ns (0: do not wait; UINT64_MAX: no limit), then runs done() of
 * every completion. Answers the number of completions.
 */
size_t ring_step(struct ring *ring, uint64_t wait_until_ns);

/* Any core: ends the current or the next wait of `ring`. */
void ring_wake(struct ring *ring);

/* Runs one op to its end while other completions run too; start-up and shutdown only. */
int64_t ring_call(struct ring *ring, struct op *op);

/* Waits for at least one completion and runs what completed; start-up and shutdown only. Like
 * ring_call() it moves a simulated clock by itself. Something must be in flight. */
void ring_wait(struct ring *ring);
/* The same until *flag is set, which some completion does. */
void ring_await(struct ring *ring, const bool *flag);

/*
 * Calls run(argument) `count` times at once and returns when all of them have returned: each has a
 * stack of its own (RING_STACK_SIZE), and while one is inside of ring_call(), ring_wait() or
 * ring_await(), the others go on. So code that does one thing after the other, a recovery, still
 * keeps the disk busy. With less memory there are fewer of them, at the least one, on the stack of
 * the caller. Start-up and shutdown only; not from inside of run().
 */
#define RING_STACK_SIZE ((size_t)256 << 10)
void ring_overlap(struct ring *ring, uint32_t count, void (*run)(void *argument), void *argument);

/* Ops submitted and not yet completed. */
size_t ring_in_flight(const struct ring *ring);

/* Listens on "host:port" (numeric or a name; port 0 picks one). Start-up only.
 * 0 or -errno; *out is the listener, *port what the kernel gave. */
int ring_listen(struct ring *ring, const char *host, uint16_t port, int32_t *out,
                uint16_t *port_out);

#define RING_PEER_SIZE 46 /* the longest IPv6 address as text */
/* Numeric address of a connected socket's other end, without the port; "0.0.0.0" when unknown. */
void ring_peer(const struct ring *ring, int32_t socket, char text[RING_PEER_SIZE]);

/* Clocks as of the last step (refreshed after the wait): monotonic ns, wall ms. */
uint64_t ring_now_ns(const struct ring *ring);
int64_t ring_wall_ms(const struct ring *ring);
