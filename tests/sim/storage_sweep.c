/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One script (appends, duplicates, rolls, retention, snapshots, clean stop, start, reads, power
 * cut, start), run once for every op it hands to the disk: the k-th op fails, once or from then on,
 * with EIO, ENOSPC or EMFILE. Whatever k is, the outcome is an error or the right data, everything
 * is answered, and without the fault the log has every record that was acknowledged.
 *
 *   storage_sweep [SECONDS]   every k; each manner ends early when its seconds are over
 *   storage_sweep NUMBER      one run here: 100000 x manner + k
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/log_oracle.h"
#include "tests/sim/sim_run.h"

#define MANNER 100000 /* manners count from 1 */
#define KINDS                                                                                      \
    (1U << OP_OPEN | 1U << OP_READ | 1U << OP_WRITE | 1U << OP_SYNC | 1U << OP_ALLOCATE |          \
     1U << OP_TRUNCATE | 1U << OP_STAT | 1U << OP_RENAME | 1U << OP_UNLINK | 1U << OP_MKDIR |      \
     1U << OP_LIST | 1U << OP_DATA)
#define KINDS_SPACE (1U << OP_ALLOCATE | 1U << OP_WRITE | 1U << OP_MKDIR | 1U << OP_RENAME)

enum event { EVENT_OPS, EVENT_ERRORS, EVENT_REFUSED_OPENS, EVENT_FULL, EVENT_FAILED, EVENTS };
static const char *const event_names[EVENTS] = {"ops of the last script",
                                                "runs with failed appends", "opens refused",
                                                "runs out of space", "runs with a log read-only"};

struct manner {
    const char *name;
    struct sim_failure failure;
};

static const struct manner manners[] = {
    {"EIO once", {.kinds = KINDS, .error = EIO}},
    {"EIO from then on", {.kinds = KINDS, .error = EIO, .lasting = true}},
    {"ENOSPC once", {.kinds = KINDS_SPACE, .error = ENOSPC}},
    {"ENOSPC from then on", {.kinds = KINDS_SPACE, .error = ENOSPC, .lasting = true}},
    {"EIO from then on, writes", {.kinds = 1U << OP_WRITE, .error = EIO, .lasting = true}},
    {"EIO from then on, syncs", {.kinds = 1U << OP_SYNC, .error = EIO, .lasting = true}},
    {"EMFILE once", {.kinds = 1U << OP_OPEN, .error = EMFILE}},
    {"EMFILE three times", {.kinds = 1U << OP_OPEN, .error = EMFILE, .more = 2}},
    {"EMFILE from then on", {.kinds = 1U << OP_OPEN, .error = EMFILE, .lasting = true}},
    {"EIO from then on, reads", {.kinds = 1U << OP_READ, .error = EIO, .lasting = true}},
};

static void append_some(struct oracle *oracle, int count)
{
    for (int i = 0; i < count; i++) {
        oracle_send(oracle);
        oracle_send_twin(oracle);
        for (int ticks = 0; ticks < 6 && log_world_tick(&oracle->world); ticks++) {
            oracle_reader_step(oracle);
        }
        oracle_send_failed(oracle);
        oracle_check_facts(oracle);
    }
}

static void read_all(struct oracle *oracle)
{
    int64_t offset = partition_facts(oracle->partition).log_start_offset;
    for (;;) {
        int64_t next = oracle_read(oracle, offset, 100000);
        if (next == offset) {
            return;
        }
        offset = next;
    }
}

static void heal(struct oracle *oracle)
{
    sim_world_set_failure(oracle->world.world, &(struct sim_failure){0});
}

/* False: the disk refused, and is healed now. */
static void start(struct oracle *oracle, struct sim_run *run)
{
    oracle_forget_flights(oracle);
    enum status status = oracle_open(oracle, false);
    if (status != STATUS_OK) {
        require(status == STATUS_KAFKA_STORAGE_ERROR);
        run->marks->events[EVENT_REFUSED_OPENS] += 1;
        heal(oracle);
        require(oracle_open(oracle, false) == STATUS_OK);
    }
}

static void stop(struct oracle *oracle)
{
    partition_close(oracle->partition, true);
    oracle->partition = NULL;
    oracle_reader_step(oracle);
    require(oracle_is_answered(oracle));
    log_world_restart(&oracle->world);
    require(sim_world_open_handles(oracle->world.world) == 0);
}

static void note_state(struct oracle *oracle, struct sim_run *run, int error)
{
    enum partition_state state = partition_facts(oracle->partition).state;
    require(error != EMFILE || state != PARTITION_FAILED); /* nothing is wrong with the disk */
    run->marks->events[EVENT_FULL] += state == PARTITION_FULL;
    run->marks->events[EVENT_FAILED] += state == PARTITION_FAILED;
    run->marks->events[EVENT_ERRORS] += oracle->shaken;
}

static void script(struct sim_run *run, uint64_t number)
{
    static struct oracle history;
    struct oracle *oracle = &history;
    uint64_t manner = number / MANNER - 1;
    require(manner < ARRAY_COUNT(manners));
    oracle->seed = number;
    random_init(&oracle->random, 1);
    oracle->clock_ms = 1000;
    oracle->epoch = 1;
    oracle->config = log_config_default();
    oracle->config.segment_size_max = 100000;
    oracle->config.retention_size = 250000;
    oracle->config.key_index = true;
    oracle->producers[2].transactional = oracle->producers[3].transactional = true;
    log_world_open(&oracle->world, &(struct log_world_options){.seed = 1, .files_max = 6});
    struct sim_failure failure = manners[manner].failure;
    failure.first = number % MANNER == 0 ? UINT64_MAX : number % MANNER;
    sim_world_set_failure(oracle->world.world, &failure);
    oracle->faulty = true;
    require(oracle_open(oracle, true) == STATUS_OK);
    append_some(oracle, 30);
    log_world_sleep(&oracle->world, 12000); /* tails, retention */
    append_some(oracle, 4);
    read_all(oracle);
    oracle_look_up(oracle);
    (void)oracle_find_keys(oracle, 3);
    note_state(oracle, run, failure.error);
    stop(oracle);
    start(oracle, run);
    read_all(oracle);
    append_some(oracle, 10);
    note_state(oracle, run, failure.error);
    log_world_crash(&oracle->world);
    start(oracle, run);
    read_all(oracle);
    log_world_sleep(&oracle->world, 2000);
    run->marks->events[EVENT_OPS] = sim_world_failure_seen(oracle->world.world);
    heal(oracle);
    log_world_sleep(&oracle->world, 3000);
    require(oracle_is_answered(oracle));
    log_world_crash(&oracle->world);
    oracle->faulty = false;
    start(oracle, run);
    oracle_settle(oracle);
    append_some(oracle, 3);
    stop(oracle);
    start(oracle, run);
    oracle_settle(oracle);
    stop(oracle);
    log_world_close(&oracle->world);
    oracle_free(oracle);
}

int main(int argc, char **argv)
{
    struct sim_run run;
    sim_run_init(&run, argv[0], script);
    uint64_t number = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    if (number >= MANNER) {
        script(&run, number);
        return 0;
    }
    uint64_t failed = 0;
    for (uint64_t manner = 0; manner < ARRAY_COUNT(manners); manner++) {
        check(sim_run_seed(&run, (manner + 1) * MANNER, false)); /* nothing fails */
        uint64_t count = run.marks->events[EVENT_OPS];
        printf("%s, ops 1 to %llu: ", manners[manner].name, (unsigned long long)count);
        failed += sim_run_seeds(&run, (manner + 1) * MANNER + 1, count, (uint32_t)number);
    }
    for (int i = 1; i < EVENTS; i++) {
        printf("%10llu %s\n", (unsigned long long)run.marks->events[i], event_names[i]);
    }
    return failed == 0 ? 0 : 1;
}
