/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ring_simulated.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/random.h"
#include "tests/lib/test.h"

#define PAGE 4096
#define SEEDS 200

static const struct sim_options options_plain = {
    .stream_cut_max = 100, .disk_delay_ns_max = 80000, .net_delay_ns_max = 20000};

static struct sim_world *world_of_seed(uint64_t seed)
{
    struct sim_options options = options_plain;
    options.seed = seed;
    return sim_world_open(&options);
}

static int64_t call(struct ring *ring, struct op op)
{
    return ring_call(ring, &op);
}

static int32_t open_file(struct ring *ring, const char *path, uint32_t flags)
{
    int64_t file = call(ring, (struct op){.kind = OP_OPEN, .path = path, .flags = flags});
    assert_true(file >= 0);
    return (int32_t)file;
}

static int64_t write_at(struct ring *ring, int32_t file, const void *data, size_t size,
                        uint64_t position, uint32_t flags)
{
    struct iovec slice = {(void *)data, size};
    return call(ring, (struct op){.kind = OP_WRITE,
                                  .file = file,
                                  .vector = &slice,
                                  .vector_count = 1,
                                  .position = position,
                                  .flags = flags});
}

static int64_t on_file(struct ring *ring, enum op_kind kind, int32_t file)
{
    return call(ring, (struct op){.kind = kind, .file = file});
}

static void sync_folder(struct ring *ring, const char *path)
{
    int32_t folder = open_file(ring, path, OPEN_READ | OPEN_DIRECTORY);
    assert_int_equal(on_file(ring, OP_SYNC, folder), 0);
    assert_int_equal(on_file(ring, OP_CLOSE, folder), 0);
}

static void count_done(struct op *op)
{
    *(size_t *)op->owner += 1;
}

static void run(struct sim_world *world, struct ring *ring)
{
    while (ring_in_flight(ring) > 0) {
        uint64_t next_ns = sim_world_next_ns(world);
        assert_true(next_ns != UINT64_MAX);
        sim_world_advance(world, next_ns);
        ring_step(ring, 0);
    }
}

/* Two rings, a stream between them, a file: the trace of one seed. */
static uint64_t trace_of(uint64_t seed)
{
    struct sim_world *world = world_of_seed(seed);
    struct ring *rings[2] = {sim_ring_open(world), sim_ring_open(world)};
    int32_t listener;
    uint16_t port;
    size_t count = 0;
    uint8_t data[3000] = {1, 2, 3};
    assert_int_equal(ring_listen(rings[0], "broker", 9092, &listener, &port), 0);
    assert_int_equal(ring_listen(rings[0], "broker", 9092, &listener, &port), -EADDRINUSE);
    struct op connect = {
        .kind = OP_CONNECT, .path = "broker:9092", .done = count_done, .owner = &count};
    struct op accept = {.kind = OP_ACCEPT, .file = listener, .done = count_done, .owner = &count};
    ring_submit(rings[0], &accept);
    ring_submit(rings[1], &connect);
    ring_step(rings[0], 0);
    ring_step(rings[1], 0);
    while (count < 2) {
        sim_world_advance(world, sim_world_next_ns(world));
        ring_step(rings[0], 0);
        ring_step(rings[1], 0);
    }
    int32_t file = open_file(rings[0], "log", OPEN_WRITE | OPEN_CREATE);
    assert_int_equal(write_at(rings[0], file, data, sizeof(data), 0, OP_DSYNC), sizeof(data));
    struct iovec slice = {data, sizeof(data)};
    assert_int_equal(call(rings[1], (struct op){.kind = OP_SEND,
                                                .file = (int32_t)connect.result,
                                                .vector = &slice,
                                                .vector_count = 1}),
                     sizeof(data));
    size_t received = 0;
    while (received < sizeof(data)) {
        struct iovec target = {data + received, sizeof(data) - received};
        int64_t size = call(rings[0], (struct op){.kind = OP_RECV,
                                                  .file = (int32_t)accept.result,
                                                  .vector = &target,
                                                  .vector_count = 1});
        assert_true(size > 0 && size <= 100);
        received += (size_t)size;
    }
    uint64_t trace = sim_world_trace_hash(world);
    ring_close(rings[0]);
    ring_close(rings[1]);
    sim_world_close(world);
    return trace;
}

static void one_seed_one_trace(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        assert_true(trace_of(seed) == trace_of(seed));
        assert_true(trace_of(seed) != trace_of(seed + 1));
    }
}

static void time_is_virtual(void **state)
{
    (void)state;
    struct sim_world *world = world_of_seed(5);
    struct ring *ring = sim_ring_open(world);
    size_t count = 0;
    uint64_t start = ring_now_ns(ring);
    struct op op = {.kind = OP_MKDIR, .path = "folder", .done = count_done, .owner = &count};
    ring_submit(ring, &op);
    assert_int_equal(sim_world_next_ns(world), start); /* handed over, not yet stepped */
    ring_step(ring, UINT64_MAX); /* does not move the clock: that is the driver's */
    assert_int_equal(count, 0);
    assert_int_equal(ring_now_ns(ring), start);
    uint64_t next_ns = sim_world_next_ns(world);
    assert_true(next_ns > start && next_ns <= start + options_plain.disk_delay_ns_max);
    sim_world_advance(world, next_ns);
    assert_int_equal(count, 0); /* R2: done() waits for its ring */
    assert_int_equal(ring_step(ring, 0), 1);
    assert_int_equal(count, 1);
    assert_int_equal(ring_now_ns(ring), next_ns);
    assert_true(sim_world_next_ns(world) == UINT64_MAX);
    ring_close(ring);
    sim_world_close(world);
}

/* What a DSYNC write or a sync covered is there after every crash; the rest in some only. */
static void crash_keeps_what_is_durable(void **state)
{
    (void)state;
    size_t lost = 0;
    size_t kept = 0;
    size_t mixed = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim_world *world = world_of_seed(seed);
        struct ring *ring = sim_ring_open(world);
        uint8_t old[2 * PAGE];
        uint8_t new[2 * PAGE];
        memset(old, 'o', sizeof(old));
        memset(new, 'n', sizeof(new));
        int32_t file = open_file(ring, "a", OPEN_WRITE | OPEN_CREATE);
        sync_folder(ring, "/");
        assert_int_equal(write_at(ring, file, old, sizeof(old), 0, OP_DSYNC), sizeof(old));
        assert_int_equal(write_at(ring, file, new, PAGE, 0, 0), PAGE);
        assert_int_equal(write_at(ring, file, new, PAGE, sizeof(old), 0), PAGE);
        sim_world_crash(world);
        uint64_t size;
        const uint8_t *data = sim_world_file(world, "a", &size);
        assert_non_null(data);
        assert_true(size == 2 * PAGE || size == 3 * PAGE);
        size_t fresh = 0;
        for (size_t i = 0; i < PAGE; i += 512) {
            uint8_t first = data[i];
            assert_true(first == 'o' || first == 'n');
            for (size_t j = 1; j < 512; j++) {
                assert_int_equal(data[i + j], first); /* a block is old or new */
            }
            fresh += first == 'n';
        }
        assert_memory_equal(data + PAGE, old, PAGE);
        lost += fresh == 0;
        kept += fresh == PAGE / 512;
        mixed += fresh > 0 && fresh < PAGE / 512;
        ring_close(ring);
        sim_world_close(world);
    }
    assert_true(lost > 0 && kept > 0 && mixed > 0);
}

static void crash_tears_what_is_in_flight(void **state)
{
    (void)state;
    size_t seen[3] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim_world *world = world_of_seed(seed);
        struct ring *ring = sim_ring_open(world);
        uint8_t data[2 * PAGE];
        size_t count = 0;
        memset(data, 'x', sizeof(data));
        int32_t file = open_file(ring, "a", OPEN_WRITE | OPEN_CREATE);
        sync_folder(ring, "/");
        struct iovec slice = {data, sizeof(data)};
        struct op write = {.kind = OP_WRITE,
                           .file = file,
                           .flags = OP_DSYNC,
                           .vector = &slice,
                           .vector_count = 1,
                           .done = count_done,
                           .owner = &count};
        ring_submit(ring, &write);
        ring_step(ring, 0);
        sim_world_crash(world);
        assert_int_equal(count, 0);
        assert_int_equal(ring_in_flight(ring), 0);
        uint64_t size;
        const uint8_t *found = sim_world_file(world, "a", &size);
        size_t arrived = 0;
        for (size_t i = 0; i < size; i += 512) {
            arrived += found[i] == 'x';
        }
        seen[arrived == 0 ? 0 : arrived == sizeof(data) / 512 ? 1 : 2] += 1;
        /* The world goes on: the machine starts again. */
        assert_true(open_file(ring, "a", OPEN_READ) >= 0);
        ring_close(ring);
        sim_world_close(world);
    }
    assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
}

/* D4: after a failed sync the next one succeeds and proves nothing. */
static void failed_sync_proves_nothing(void **state)
{
    (void)state;
    size_t lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim_world *world = world_of_seed(seed);
        struct ring *ring = sim_ring_open(world);
        uint8_t data[PAGE];
        memset(data, 'x', sizeof(data));
        int32_t file = open_file(ring, "a", OPEN_WRITE | OPEN_CREATE);
        sync_folder(ring, "/");
        assert_int_equal(write_at(ring, file, data, PAGE, 0, 0), PAGE);
        sim_world_set_failure(
            world, &(struct sim_failure){.kinds = 1U << OP_SYNC, .first = 1, .error = EIO});
        assert_int_equal(on_file(ring, OP_SYNC, file), -EIO);
        assert_int_equal(on_file(ring, OP_SYNC, file), 0);
        sim_world_crash(world);
        uint64_t size;
        const uint8_t *found = sim_world_file(world, "a", &size);
        assert_int_equal(size, PAGE); /* the size is metadata: the second sync took it */
        lost += memcmp(found, data, PAGE) != 0;
        ring_close(ring);
        sim_world_close(world);
    }
    assert_true(lost > 0);
}

static int64_t read_at(struct ring *ring, int32_t file, void *data, size_t size)
{
    struct iovec slice = {data, size};
    return call(ring,
                (struct op){.kind = OP_READ, .file = file, .vector = &slice, .vector_count = 1});
}

/* Each at a rate of one strikes always, and is counted. */
static void faults_strike(void **state)
{
    (void)state;
    struct sim_world *world = world_of_seed(1);
    struct ring *ring = sim_ring_open(world);
    uint8_t data[2 * PAGE];
    uint8_t found[2 * PAGE];
    memset(data, 'x', sizeof(data));
    int32_t file = open_file(ring, "a", OPEN_READ | OPEN_WRITE | OPEN_CREATE);
    sim_world_set_fault(world, SIM_SHORT, 1000000);
    assert_int_equal(write_at(ring, file, data, sizeof(data), 0, OP_DSYNC), sizeof(data));
    assert_int_equal(read_at(ring, file, found, sizeof(found)), sizeof(found));
    assert_memory_equal(found, data, sizeof(data)); /* in parts, but whole (R4) */
    assert_true(sim_world_fault_count(world, SIM_SHORT) >= 2);
    sim_world_set_fault(world, SIM_SHORT, 0);
    sim_world_set_fault(world, SIM_LOST_WRITE, 1000000);
    memset(data, 'y', sizeof(data));
    assert_int_equal(write_at(ring, file, data, sizeof(data), 0, OP_DSYNC), sizeof(data));
    sim_world_set_fault(world, SIM_LOST_WRITE, 0);
    assert_int_equal(read_at(ring, file, found, sizeof(found)), sizeof(found));
    assert_int_equal(found[0], 'x');
    sim_world_set_fault(world, SIM_NO_SPACE, 1000000);
    assert_int_equal(write_at(ring, file, data, PAGE, 0, 0), PAGE); /* has its space */
    assert_int_equal(write_at(ring, file, data, PAGE, sizeof(data), 0), -ENOSPC);
    sim_world_set_fault(world, SIM_NO_SPACE, 0);
    sim_world_set_fault(world, SIM_READ_ERROR, 1000000);
    assert_int_equal(read_at(ring, file, found, sizeof(found)), -EIO);
    sim_world_set_fault(world, SIM_READ_ERROR, 0);
    assert_true(sim_world_flip(world, "a", 0, 0));
    assert_false(sim_world_flip(world, "a", sizeof(data), 0));
    assert_int_equal(read_at(ring, file, found, sizeof(found)), sizeof(found));
    assert_int_equal(found[0], 'y' ^ 1);
    assert_int_equal(sim_world_open_handles(world), 1);
    ring_close(ring);
    sim_world_close(world);
}

/* A kill takes the process alone: readers find what was written, a power cut may still take it. */
static void kill_keeps_what_was_written(void **state)
{
    (void)state;
    size_t lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim_world *world = world_of_seed(seed);
        struct ring *ring = sim_ring_open(world);
        uint8_t data[PAGE];
        memset(data, 'x', sizeof(data));
        int32_t file = open_file(ring, "a", OPEN_WRITE | OPEN_CREATE);
        sync_folder(ring, "/");
        assert_int_equal(write_at(ring, file, data, PAGE, 0, 0), PAGE);
        sim_world_kill(world);
        uint64_t size;
        const uint8_t *found = sim_world_file(world, "a", &size);
        assert_int_equal(size, PAGE);
        assert_memory_equal(found, data, PAGE);
        sim_world_crash(world);
        found = sim_world_file(world, "a", &size);
        lost += size == 0 || memcmp(found, data, PAGE) != 0;
        ring_close(ring);
        sim_world_close(world);
    }
    assert_true(lost > 0);
}

static bool exists(struct sim_world *world, const char *path)
{
    uint64_t size;
    return sim_world_file(world, path, &size) != NULL;
}

static void make_file(struct ring *ring, const char *path, const char *text)
{
    int32_t file = open_file(ring, path, OPEN_WRITE | OPEN_CREATE);
    assert_int_equal(write_at(ring, file, text, strlen(text), 0, OP_DSYNC), strlen(text));
    assert_int_equal(on_file(ring, OP_CLOSE, file), 0);
}

static void crash_keeps_names_of_synced_folders(void **state)
{
    (void)state;
    size_t new_seen = 0;
    size_t loose_seen = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim_world *world = world_of_seed(seed);
        struct ring *ring = sim_ring_open(world);
        assert_int_equal(call(ring, (struct op){.kind = OP_MKDIR, .path = "d"}), 0);
        make_file(ring, "d/a", "old");
        sync_folder(ring, "d");
        sync_folder(ring, "/");
        make_file(ring, "d/a.new", "new");
        struct op rename = {.kind = OP_RENAME, .path = "d/a.new", .path_target = "d/a"};
        assert_int_equal(ring_call(ring, &rename), 0);
        make_file(ring, "loose", "x");
        sim_world_crash(world);
        /* The rename is there whole or not at all. */
        uint64_t size;
        const uint8_t *data = sim_world_file(world, "d/a", &size);
        assert_non_null(data);
        assert_int_equal(size, 3);
        bool renamed = memcmp(data, "new", 3) == 0;
        assert_true(renamed || memcmp(data, "old", 3) == 0);
        assert_false(renamed && exists(world, "d/a.new"));
        new_seen += renamed;
        loose_seen += exists(world, "loose");
        ring_close(ring);
        sim_world_close(world);
    }
    assert_in_range(new_seen, 1, SEEDS - 1);
    assert_in_range(loose_seen, 1, SEEDS - 1);
}

static void synced_changes_survive(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim_world *world = world_of_seed(seed);
        struct ring *ring = sim_ring_open(world);
        assert_int_equal(call(ring, (struct op){.kind = OP_MKDIR, .path = "d"}), 0);
        make_file(ring, "d/a", "a");
        make_file(ring, "d/b", "b");
        struct op rename = {.kind = OP_RENAME, .path = "d", .path_target = "e"};
        struct op unlink = {.kind = OP_UNLINK, .path = "e/b"};
        assert_int_equal(ring_call(ring, &rename), 0);
        assert_int_equal(ring_call(ring, &unlink), 0);
        sync_folder(ring, "e");
        sync_folder(ring, "/");
        sim_world_crash(world);
        sim_world_crash(world); /* once more changes nothing */
        assert_true(exists(world, "e/a"));
        assert_false(exists(world, "e/b"));
        assert_false(exists(world, "d/a"));
        ring_close(ring);
        sim_world_close(world);
    }
}

/* Breaking a promise stops the process: each case runs in one of its own. */

static void write_two(bool same_page, bool change, bool aligned)
{
    _Alignas(PAGE) static uint8_t data[3 * PAGE];
    struct sim_world *world = world_of_seed(1);
    struct ring *ring = sim_ring_open(world);
    size_t count = 0;
    int32_t file = open_file(ring, "a", OPEN_WRITE | OPEN_CREATE | OPEN_DIRECT);
    struct iovec slices[2] = {{data, PAGE}, {data + PAGE + (aligned ? 0 : 512), PAGE}};
    struct op ops[2];
    for (size_t i = 0; i < 2; i++) {
        ops[i] = (struct op){.kind = OP_WRITE,
                             .file = file,
                             .vector = &slices[i],
                             .vector_count = 1,
                             .position = same_page ? 0 : i * PAGE,
                             .done = count_done,
                             .owner = &count};
        ring_submit(ring, &ops[i]);
    }
    ring_step(ring, 0);
    if (change) {
        data[PAGE / 2] = 1;
    }
    run(world, ring);
}

static int status_of(bool same_page, bool change, bool aligned)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        write_two(same_page, change, aligned);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void broken_promises_are_seen(void **state)
{
    (void)state;
    assert_int_equal(status_of(false, false, true), 0);
    int status = status_of(true, false, true);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = status_of(false, true, true);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = status_of(false, false, false);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_seed_one_trace),
        cmocka_unit_test(time_is_virtual),
        cmocka_unit_test(crash_keeps_what_is_durable),
        cmocka_unit_test(crash_tears_what_is_in_flight),
        cmocka_unit_test(failed_sync_proves_nothing),
        cmocka_unit_test(faults_strike),
        cmocka_unit_test(kill_keeps_what_was_written),
        cmocka_unit_test(crash_keeps_names_of_synced_folders),
        cmocka_unit_test(synced_changes_survive),
        cmocka_unit_test(broken_promises_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
