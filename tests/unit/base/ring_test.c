/* SPDX-License-Identifier: Apache-2.0 */
/* One scenario for every back end: what the ring promises does not depend on who keeps it. */
#include "base/ring.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/random.h"
#include "base/ring_simulated.h"
#include "tests/lib/test.h"

#define PAGE 4096
#define ECHO_SIZE (3 * MIB + 12345)

struct fixture {
    enum ring_kind kind;
    struct ring *ring;
    struct sim_world *world; /* simulated only */
    char folder[64];
    uint8_t *pages; /* 64 pages for direct files */
};

static int fixture_open(void **state, enum ring_kind kind)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    *state = fixture;
    fixture->kind = kind;
    struct ring_options options = {.kind = kind};
    int error = ring_open(&fixture->ring, &options);
    if (error != 0) {
        assert_int_equal(kind, RING_URING); /* the only one a machine may refuse */
        assert_true(options.refusal[0] != 0);
        fixture->ring = NULL;
        return 0;
    }
    snprintf(fixture->folder, sizeof(fixture->folder), "ring_test.XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    fixture->pages = aligned_alloc(PAGE, (size_t)64 * PAGE);
    return 0;
}

static int open_simulated(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct sim_options options = {
        .seed = 1, .stream_cut_max = 5000, .disk_delay_ns_max = 100000, .net_delay_ns_max = 50000};
    *state = fixture;
    fixture->kind = RING_SIMULATED;
    fixture->world = sim_world_open(&options);
    fixture->ring = sim_ring_open(fixture->world);
    fixture->pages = aligned_alloc(PAGE, (size_t)64 * PAGE);
    snprintf(fixture->folder, sizeof(fixture->folder), "/tests");
    struct op op = {.kind = OP_MKDIR, .path = fixture->folder};
    return (int)ring_call(fixture->ring, &op);
}

static int open_uring(void **state)
{
    return fixture_open(state, RING_URING);
}

static int open_posix(void **state)
{
    return fixture_open(state, RING_POSIX);
}

static int fixture_close(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->ring != NULL) {
        ring_close(fixture->ring);
        if (fixture->world != NULL) {
            sim_world_close(fixture->world);
        } else {
            assert_int_equal(rmdir(fixture->folder), 0); /* empty again */
        }
    }
    free(fixture->pages);
    free(fixture);
    return 0;
}

#define SKIP_IF_REFUSED(fixture)                                                                   \
    if ((fixture)->ring == NULL) {                                                                 \
        skip();                                                                                    \
    }

static int64_t call(struct fixture *fixture, struct op op)
{
    return ring_call(fixture->ring, &op);
}

static const char *path_in(struct fixture *fixture, char *out, size_t size, const char *name)
{
    snprintf(out, size, "%s/%s", fixture->folder, name);
    return out;
}

static int64_t transfer(struct fixture *fixture, enum op_kind kind, int64_t file, void *data,
                        size_t size, uint64_t position)
{
    struct iovec slice = {data, size};
    return call(fixture, (struct op){.kind = kind,
                                     .file = (int32_t)file,
                                     .vector = &slice,
                                     .vector_count = 1,
                                     .position = position,
                                     .flags = kind == OP_WRITE ? OP_DSYNC : 0});
}

static int64_t plain(struct fixture *fixture, enum op_kind kind, int64_t file)
{
    return call(fixture, (struct op){.kind = kind, .file = (int32_t)file});
}

static int64_t with_path(struct fixture *fixture, enum op_kind kind, const char *path,
                         uint32_t flags)
{
    return call(fixture, (struct op){.kind = kind, .path = path, .flags = flags});
}

static void files(void **state)
{
    struct fixture *fixture = *state;
    SKIP_IF_REFUSED(fixture);
    char name[96];
    char target[96];
    uint8_t *pages = fixture->pages;
    path_in(fixture, name, sizeof(name), "a");
    path_in(fixture, target, sizeof(target), "b");
    assert_int_equal(with_path(fixture, OP_OPEN, name, OPEN_READ), -ENOENT);
    uint32_t flags = OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE;
    int64_t file = with_path(fixture, OP_OPEN, name, flags | OPEN_DIRECT);
    if (file == -EINVAL) { /* a file system without direct files, as tmpfs was */
        unlink(name);
        file = with_path(fixture, OP_OPEN, name, flags);
    }
    assert_true(file >= 0);
    assert_int_equal(with_path(fixture, OP_OPEN, name, flags), -EEXIST);
    assert_int_equal(
        call(fixture, (struct op){.kind = OP_ALLOCATE, .file = (int32_t)file, .size = 16 * PAGE}),
        0);
    assert_int_equal(plain(fixture, OP_STAT, file), 16 * PAGE);
    memset(pages, 0xa1, 8 * PAGE);
    assert_int_equal(transfer(fixture, OP_WRITE, file, pages, 2 * PAGE, PAGE), 2 * PAGE);
    struct iovec slices[3] = {{pages, PAGE}, {pages + 2 * PAGE, 2 * PAGE}, {pages, PAGE}};
    assert_int_equal(call(fixture, (struct op){.kind = OP_WRITE,
                                               .file = (int32_t)file,
                                               .flags = OP_DSYNC,
                                               .vector = slices,
                                               .vector_count = 3,
                                               .position = 4 * PAGE}),
                     4 * PAGE);
    memset(pages, 0x55, (size_t)64 * PAGE);
    /* Past the end: a short read tells the size. */
    assert_int_equal(transfer(fixture, OP_READ, file, pages, 32 * PAGE, 0), 16 * PAGE);
    for (size_t i = 0; i < 16; i++) {
        uint8_t expected = (i == 1 || i == 2 || (i >= 4 && i < 8)) ? 0xa1 : 0;
        assert_int_equal(pages[i * PAGE], expected);
        assert_int_equal(pages[i * PAGE + PAGE - 1], expected);
    }
    assert_int_equal(transfer(fixture, OP_READ, file, pages, PAGE, 16 * PAGE), 0);
    assert_int_equal(plain(fixture, OP_SYNC, file), 0);
    assert_int_equal(
        call(fixture, (struct op){.kind = OP_TRUNCATE, .file = (int32_t)file, .size = 5000}), 0);
    assert_int_equal(plain(fixture, OP_STAT, file), 5000);
    struct op stat = {.kind = OP_STAT, .flags = OP_STAMP, .file = (int32_t)file};
    int64_t stamp = call(fixture, stat);
    assert_true(stamp > 0);
    assert_int_equal(transfer(fixture, OP_READ, file, pages, 4 * PAGE, 0), 5000);
    assert_true(call(fixture, stat) == stamp);
    assert_int_equal(
        call(fixture, (struct op){.kind = OP_TRUNCATE, .file = (int32_t)file, .size = 4999}), 0);
    assert_true(call(fixture, stat) != stamp);
    assert_int_equal(
        call(fixture, (struct op){.kind = OP_TRUNCATE, .file = (int32_t)file, .size = 5000}), 0);
    assert_int_equal(plain(fixture, OP_CLOSE, file), 0);
    assert_int_equal(
        call(fixture, (struct op){.kind = OP_RENAME, .path = name, .path_target = target}), 0);
    assert_int_equal(with_path(fixture, OP_UNLINK, name, 0), -ENOENT);
    assert_int_equal(with_path(fixture, OP_UNLINK, target, 0), 0);
}

/* What several calls of ring_overlap() share. */
#define OVERLAP 8
struct overlap {
    struct fixture *fixture;
    int started;
    int ended;
    int wrong;
    size_t in_flight_max;
};

/* No asserts in here: a failed one jumps, and this is another stack. */
static void overlap_run(void *argument)
{
    struct overlap *overlap = argument;
    struct fixture *fixture = overlap->fixture;
    int number = overlap->started++;
    char name[96];
    char text[64];
    char back[64] = "";
    snprintf(name, sizeof(name), "%s/overlap%d", fixture->folder, number);
    int size = snprintf(text, sizeof(text), "written by call %d", number);
    int64_t file = with_path(fixture, OP_OPEN, name, OPEN_READ | OPEN_WRITE | OPEN_CREATE);
    size_t in_flight = ring_in_flight(fixture->ring);
    overlap->in_flight_max =
        in_flight > overlap->in_flight_max ? in_flight : overlap->in_flight_max;
    overlap->wrong += transfer(fixture, OP_WRITE, file, text, (size_t)size, 0) != size;
    for (int i = 0; i < number; i++) {
        overlap->wrong += plain(fixture, OP_SYNC, file) != 0;
        overlap->wrong += transfer(fixture, OP_READ, file, back, sizeof(back), 0) != size;
    }
    overlap->wrong += number > 0 && memcmp(text, back, (size_t)size) != 0;
    overlap->wrong += plain(fixture, OP_CLOSE, file) != 0;
    overlap->wrong += with_path(fixture, OP_UNLINK, name, 0) != 0;
    overlap->ended += 1;
}

static void overlap(void **state)
{
    struct fixture *fixture = *state;
    SKIP_IF_REFUSED(fixture);
    for (int round = 0; round < 3; round++) {
        struct overlap shared = {.fixture = fixture};
        ring_overlap(fixture->ring, OVERLAP, overlap_run, &shared);
        assert_int_equal(shared.ended, OVERLAP);
        assert_int_equal(shared.wrong, 0);
        assert_true(shared.in_flight_max > 1);
        assert_int_equal(ring_in_flight(fixture->ring), 0);
    }
}

static void folders(void **state)
{
    struct fixture *fixture = *state;
    SKIP_IF_REFUSED(fixture);
    char path[96];
    char names[128];
    path_in(fixture, path, sizeof(path), "sub");
    assert_int_equal(with_path(fixture, OP_MKDIR, path, 0), 0);
    assert_int_equal(with_path(fixture, OP_MKDIR, path, 0), -EEXIST);
    for (int i = 0; i < 3; i++) {
        snprintf(names, sizeof(names), "%s/file%d", path, i);
        int64_t file = with_path(fixture, OP_OPEN, names, OPEN_WRITE | OPEN_CREATE);
        assert_true(file >= 0);
        assert_int_equal(plain(fixture, OP_CLOSE, file), 0);
    }
    struct ring_listing listing = {.names = names, .size_max = sizeof(names)};
    struct op list = {.kind = OP_LIST, .path = path, .listing = &listing};
    assert_int_equal(ring_call(fixture->ring, &list), 3);
    assert_int_equal(listing.count, 3);
    assert_int_equal(listing.size, 18);
    listing.size_max = 17;
    assert_int_equal(ring_call(fixture->ring, &list), -ENOBUFS);
    assert_int_equal(with_path(fixture, OP_UNLINK, path, OP_DIRECTORY), -ENOTEMPTY);
    int64_t folder = with_path(fixture, OP_OPEN, path, OPEN_READ | OPEN_DIRECTORY);
    assert_true(folder >= 0);
    assert_int_equal(plain(fixture, OP_SYNC, folder), 0);
    assert_int_equal(plain(fixture, OP_CLOSE, folder), 0);
    for (int i = 0; i < 3; i++) {
        snprintf(names, sizeof(names), "%s/file%d", path, i);
        assert_int_equal(with_path(fixture, OP_UNLINK, names, 0), 0);
    }
    assert_int_equal(with_path(fixture, OP_UNLINK, path, OP_DIRECTORY), 0);
    listing.size_max = sizeof(names);
    assert_int_equal(ring_call(fixture->ring, &list), -ENOENT);
}

static void count_done(struct op *op)
{
    *(size_t *)op->owner += 1;
}

/* A simulated clock is moved by its driver. */
static size_t step(struct fixture *fixture, uint64_t wait_until_ns)
{
    if (fixture->world != NULL && wait_until_ns > sim_world_now_ns(fixture->world)) {
        uint64_t next_ns = sim_world_next_ns(fixture->world);
        next_ns = next_ns < wait_until_ns ? next_ns : wait_until_ns;
        if (next_ns != UINT64_MAX) {
            sim_world_advance(fixture->world, next_ns);
        }
    }
    return ring_step(fixture->ring, wait_until_ns);
}

static int64_t wait_for(struct fixture *fixture, struct op *op, size_t *count, size_t wanted)
{
    while (*count < wanted) {
        step(fixture, UINT64_MAX);
    }
    return op->result;
}

struct pair {
    int32_t listener;
    int32_t client;
    int32_t server;
};

static struct pair connect_pair(struct fixture *fixture)
{
    struct pair pair;
    uint16_t port;
    size_t count = 0;
    assert_int_equal(ring_listen(fixture->ring, "127.0.0.1", 0, &pair.listener, &port), 0);
    assert_true(port > 0);
    char path[32];
    snprintf(path, sizeof(path), "127.0.0.1:%u", port);
    struct op accept = {
        .kind = OP_ACCEPT, .file = pair.listener, .done = count_done, .owner = &count};
    struct op connect = {.kind = OP_CONNECT, .path = path, .done = count_done, .owner = &count};
    ring_submit(fixture->ring, &accept);
    ring_submit(fixture->ring, &connect);
    assert_int_equal(count, 0); /* R2 */
    assert_int_equal(ring_in_flight(fixture->ring), 2);
    pair.server = (int32_t)wait_for(fixture, &accept, &count, 2);
    pair.client = (int32_t)connect.result;
    assert_true(pair.server >= 0 && pair.client >= 0);
    return pair;
}

static void close_pair(struct fixture *fixture, const struct pair *pair)
{
    assert_int_equal(plain(fixture, OP_CLOSE, pair->client), 0);
    assert_int_equal(plain(fixture, OP_CLOSE, pair->server), 0);
    assert_int_equal(plain(fixture, OP_CLOSE, pair->listener), 0);
}

/* Cuts [data, data+size) into slices of uneven sizes. */
static void cut_slices(struct iovec *slices, size_t count, uint8_t *data, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        size_t part = i == count - 1 ? size : size / (count - i) + i % 7;
        slices[i] = (struct iovec){data, part};
        data += part;
        size -= part;
    }
}

static void echo(void **state)
{
    struct fixture *fixture = *state;
    SKIP_IF_REFUSED(fixture);
    struct pair pair = connect_pair(fixture);
    struct random random;
    uint8_t *sent = malloc(ECHO_SIZE);
    uint8_t *received = calloc(1, ECHO_SIZE);
    random_init(&random, 9);
    for (size_t i = 0; i < ECHO_SIZE; i++) {
        sent[i] = (uint8_t)random_u64(&random);
    }
    struct iovec slices[OP_VECTOR_MAX];
    struct iovec targets[3];
    cut_slices(slices, OP_VECTOR_MAX, sent, ECHO_SIZE);
    size_t send_count = 0;
    size_t recv_count = 0;
    struct op send = {.kind = OP_SEND,
                      .file = pair.client,
                      .vector = slices,
                      .vector_count = OP_VECTOR_MAX,
                      .done = count_done,
                      .owner = &send_count};
    ring_submit(fixture->ring, &send);
    size_t size = 0;
    while (size < ECHO_SIZE) {
        bool cut = ECHO_SIZE - size > 100 && size % 2 == 0;
        cut_slices(targets, cut ? 3 : 1, received + size, ECHO_SIZE - size);
        struct op recv = {.kind = OP_RECV,
                          .file = pair.server,
                          .vector = targets,
                          .vector_count = cut ? 3 : 1,
                          .done = count_done,
                          .owner = &recv_count};
        recv_count = 0;
        ring_submit(fixture->ring, &recv);
        int64_t result = wait_for(fixture, &recv, &recv_count, 1);
        assert_true(result > 0);
        size += (size_t)result;
    }
    assert_int_equal(wait_for(fixture, &send, &send_count, 1), ECHO_SIZE);
    assert_memory_equal(sent, received, ECHO_SIZE);
    close_pair(fixture, &pair);
    free(sent);
    free(received);
}

static void shutdown_ends_what_waits(void **state)
{
    struct fixture *fixture = *state;
    SKIP_IF_REFUSED(fixture);
    struct pair pair = connect_pair(fixture);
    size_t count = 0;
    uint8_t byte;
    struct iovec slice = {&byte, 1};
    struct op recv = {.kind = OP_RECV,
                      .file = pair.server,
                      .vector = &slice,
                      .vector_count = 1,
                      .done = count_done,
                      .owner = &count};
    struct op accept = {
        .kind = OP_ACCEPT, .file = pair.listener, .done = count_done, .owner = &count};
    ring_submit(fixture->ring, &recv);
    ring_submit(fixture->ring, &accept);
    step(fixture, 0);
    assert_int_equal(count, 0);
    assert_int_equal(plain(fixture, OP_SHUTDOWN, pair.server), 0);
    assert_int_equal(plain(fixture, OP_SHUTDOWN, pair.listener), 0);
    wait_for(fixture, &recv, &count, 2);
    assert_int_equal(recv.result, 0);
    assert_true(accept.result < 0);
    /* The other end sees the end of the stream, and a send to nobody is an error, not a signal. */
    assert_int_equal(transfer(fixture, OP_RECV, pair.client, &byte, 1, 0), 0);
    assert_true(transfer(fixture, OP_SEND, pair.server, &byte, 1, 0) < 0);
    close_pair(fixture, &pair);
}

static void refused_connection(void **state)
{
    struct fixture *fixture = *state;
    SKIP_IF_REFUSED(fixture);
    int32_t listener;
    uint16_t port;
    char path[32];
    assert_int_equal(ring_listen(fixture->ring, "127.0.0.1", 0, &listener, &port), 0);
    assert_int_equal(plain(fixture, OP_CLOSE, listener), 0);
    snprintf(path, sizeof(path), "127.0.0.1:%u", port);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(with_path(fixture, OP_CONNECT, path, 0), -ECONNREFUSED);
    }
    assert_true(with_path(fixture, OP_CONNECT, "nonsense", 0) < 0);
}

static void *wake_main(void *ring)
{
    ring_wake(ring);
    return NULL;
}

/* Would hang without the wake: nothing else is due. */
static void wake_ends_a_wait(void **state)
{
    struct fixture *fixture = *state;
    SKIP_IF_REFUSED(fixture);
    for (size_t i = 0; i < 50; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wake_main, fixture->ring), 0);
        assert_int_equal(ring_step(fixture->ring, UINT64_MAX), 0);
        pthread_join(thread, NULL);
    }
    ring_wake(fixture->ring); /* before the wait: kept for it */
    assert_int_equal(step(fixture, UINT64_MAX), 0);
}

static void waits_end_in_time(void **state)
{
    struct fixture *fixture = *state;
    SKIP_IF_REFUSED(fixture);
    step(fixture, 0);
    uint64_t start = ring_now_ns(fixture->ring);
    assert_true(start > 0 && ring_wall_ms(fixture->ring) > INT64_C(1500000000000));
    assert_int_equal(step(fixture, start), 0); /* the past */
    uint64_t until = ring_now_ns(fixture->ring) + 3000000;
    while (ring_now_ns(fixture->ring) < until) {
        assert_int_equal(step(fixture, until), 0);
    }
}

struct chain {
    struct op op;
    struct fixture *fixture;
    struct iovec slice;
    uint8_t byte;
    uint32_t left;
};

static void chain_done(struct op *op)
{
    struct chain *chain = op->owner;
    if (chain->left > 0) {
        chain->left -= 1;
        op->kind = chain->left % 2 == 0 ? OP_NOP : OP_READ;
        ring_submit(chain->fixture->ring, op);
    }
}

/* More ops than the submission queue holds, submitted again from done(). */
static void many_at_once(void **state)
{
    enum { COUNT = 5000 };
    struct fixture *fixture = *state;
    SKIP_IF_REFUSED(fixture);
    char path[96];
    path_in(fixture, path, sizeof(path), "many");
    int64_t file = with_path(fixture, OP_OPEN, path, OPEN_READ | OPEN_WRITE | OPEN_CREATE);
    assert_int_equal(transfer(fixture, OP_WRITE, file, fixture->pages, 100, 0), 100);
    struct chain *chains = calloc(COUNT, sizeof(*chains));
    for (size_t i = 0; i < COUNT; i++) {
        chains[i] = (struct chain){.fixture = fixture,
                                   .left = 6,
                                   .op = {.kind = OP_READ,
                                          .file = (int32_t)file,
                                          .position = i % 100,
                                          .vector = &chains[i].slice,
                                          .vector_count = 1,
                                          .done = chain_done}};
        chains[i].slice = (struct iovec){&chains[i].byte, 1};
        chains[i].op.owner = &chains[i];
        ring_submit(fixture->ring, &chains[i].op);
    }
    size_t count = 0;
    while (ring_in_flight(fixture->ring) > 0) {
        count += step(fixture, UINT64_MAX);
    }
    assert_int_equal(count, COUNT * 7);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(chains[i].left, 0);
    }
    free(chains);
    assert_int_equal(plain(fixture, OP_CLOSE, file), 0);
    assert_int_equal(with_path(fixture, OP_UNLINK, path, 0), 0);
}

static void *nop_main(void *argument)
{
    struct fixture *fixture = argument;
    check(plain(fixture, OP_NOP, 0) == 0);
    check(with_path(fixture, OP_OPEN, "no/such/file", OPEN_READ) == -ENOENT);
    return NULL;
}

/* R6: the thread that steps need not be the one that opened the ring. */
static void stepped_by_another_thread(void **state)
{
    struct fixture *fixture = *state;
    SKIP_IF_REFUSED(fixture);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, nop_main, fixture), 0);
    pthread_join(thread, NULL);
}

static void auto_takes_one(void **state)
{
    (void)state;
    struct ring *ring;
    struct ring_options options = {.kind = RING_AUTO};
    assert_int_equal(ring_open(&ring, &options), 0);
    assert_true((ring_kind(ring) == RING_URING) == (options.refusal[0] == 0));
    assert_string_equal(ring_kind_name(ring_kind(ring)),
                        ring_kind(ring) == RING_URING ? "uring" : "posix");
    ring_close(ring);
}

#define REFUSE(call, error)                                                                        \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1),                                             \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))

/* What a container's filter or an older kernel or file system refuses, all at once. */
static void refuse_calls(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        REFUSE(SYS_io_uring_setup, EPERM),
        REFUSE(SYS_epoll_pwait2, ENOSYS),
        REFUSE(SYS_fallocate, EOPNOTSUPP),
        REFUSE(SYS_pwritev2, EOPNOTSUPP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_COUNT(filter), .filter = filter};
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void work_in_a_narrow_place(const char *path)
{
    _Alignas(PAGE) static uint8_t page[PAGE];
    struct fixture fixture = {.kind = RING_AUTO};
    struct ring_options options = {.kind = RING_AUTO};
    refuse_calls();
    check(ring_open(&fixture.ring, &options) == 0);
    check(ring_kind(fixture.ring) == RING_POSIX);
    check(strcmp(options.refusal, "io_uring: setup: Operation not permitted") == 0);
    uint64_t until = ring_now_ns(fixture.ring) + 100000;
    while (ring_now_ns(fixture.ring) < until) {
        ring_step(fixture.ring, until);
    }
    uint32_t flags = OPEN_READ | OPEN_WRITE | OPEN_CREATE | OPEN_DIRECT;
    int64_t file = with_path(&fixture, OP_OPEN, path, flags);
    if (file == -EINVAL) {
        file = with_path(&fixture, OP_OPEN, path, flags & ~(uint32_t)OPEN_DIRECT);
    }
    page[0] = 7;
    check(transfer(&fixture, OP_WRITE, file, page, PAGE, 0) == PAGE);
    struct op allocate = {.kind = OP_ALLOCATE, .file = (int32_t)file, .size = 300001};
    check(ring_call(fixture.ring, &allocate) == 0);
    check(plain(&fixture, OP_STAT, file) == 300001);
    check(transfer(&fixture, OP_READ, file, page, PAGE, 0) == PAGE && page[0] == 7);
    check(transfer(&fixture, OP_READ, file, page, PAGE, 2 * PAGE) == PAGE && page[0] == 0);
    allocate.size = 5;
    check(ring_call(fixture.ring, &allocate) == 0);
    check(plain(&fixture, OP_STAT, file) == 300001);
    check(plain(&fixture, OP_CLOSE, file) == 0);
    ring_close(fixture.ring);
}

/* The filter cannot be taken off again: a process of its own bears it. */
static void works_where_calls_are_refused(void **state)
{
    (void)state;
    int status = 0;
    char path[] = "ring_test.XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        work_in_a_narrow_place(path);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    unlink(path);
    assert_int_equal(status, 0);
}

#define EACH(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, open_uring, fixture_close),                              \
        cmocka_unit_test_setup_teardown(test, open_posix, fixture_close),                          \
        cmocka_unit_test_setup_teardown(test, open_simulated, fixture_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(files),
        EACH(overlap),
        EACH(folders),
        EACH(echo),
        EACH(shutdown_ends_what_waits),
        EACH(refused_connection),
        EACH(wake_ends_a_wait),
        EACH(waits_end_in_time),
        EACH(many_at_once),
        EACH(stepped_by_another_thread),
        cmocka_unit_test(auto_takes_one),
        cmocka_unit_test(works_where_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
