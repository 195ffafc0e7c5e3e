/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/partition_history.h"

#include <string.h>

#include "base/check.h"
#include "storage/tail.h"
#include "tests/sim/log_oracle.h"
#include "tests/sim/sim_run.h"
#include "wire/batch.h"

const char *const partition_event_names[EVENTS] = {
    [EVENT_CUT] = "power cuts",
    [EVENT_KILL] = "kills",
    [EVENT_STOP] = "clean stops",
    [EVENT_CUT_IN_RECOVERY] = "power cuts within recovery",
    [EVENT_OPEN_REFUSED] = "opens refused by the disk",
    [EVENT_BYTES_CUT] = "recoveries that cut bytes",
    [EVENT_APPEND_FAILED] = "appends failed by the disk",
    [EVENT_FULL] = "times out of space",
    [EVENT_FAILED] = "logs read-only",
    [EVENT_RELOADED] = "logs that went on after an error",
    [EVENT_RETENTION] = "segments taken by retention",
    [EVENT_KEYS] = "looks at key indexes",
    [EVENT_KEYS_FOUND] = "keys found in hints",
    [EVENT_ROT] = "folders with rot, stopped cleanly",
    [EVENT_ROT_BELOW_D] = "folders with rot below D, cut",
    [EVENT_TAILS_LOST] = "folders with tail files damaged or lost",
    [EVENT_LIES] = "disks that lied",
    [EVENT_CORRUPT_READ] = "reads refused for damage",
};

static struct sim_run *run;

static void note(enum partition_event event)
{
    run->marks->events[event] += 1;
}

/* ---- the swarm: which faults this seed has, and how often ---- */

static const enum sim_fault honest_faults[] = {SIM_READ_ERROR, SIM_WRITE_ERROR, SIM_SYNC_ERROR,
                                               SIM_NAME_ERROR, SIM_NO_SPACE,    SIM_NO_FILE};

static uint32_t swarm_rates[SIM_FAULTS];

static void swarm_draw(struct oracle *oracle)
{
    static const uint32_t rates[] = {300, 2000, 10000, 50000};
    memset(swarm_rates, 0, sizeof(swarm_rates));
    swarm_rates[SIM_SHORT] = pick(oracle, 3) == 0 ? 100000 : 0;
    swarm_rates[SIM_STALL] = pick(oracle, 6) == 0 ? 2000 : 0;
    swarm_rates[SIM_GARBAGE] = pick(oracle, 3) == 0 ? 10000 : 0;
    if (pick(oracle, 2) == 0) {
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(honest_faults); i++) {
        if (pick(oracle, 3) == 0) {
            swarm_rates[honest_faults[i]] = rates[pick(oracle, ARRAY_COUNT(rates))];
        }
    }
}

/* Errors begin or end; what does not fail an op goes on always. */
static void swarm_switch(struct oracle *oracle, bool errors)
{
    oracle->faulty = false;
    for (enum sim_fault fault = 0; fault < SIM_FAULTS; fault++) {
        bool harmless = fault == SIM_SHORT || fault == SIM_STALL || fault == SIM_GARBAGE;
        sim_world_set_fault(oracle->world.world, fault,
                            errors || harmless ? swarm_rates[fault] : 0);
    }
    for (size_t i = 0; errors && i < ARRAY_COUNT(honest_faults); i++) {
        oracle->faulty = oracle->faulty || swarm_rates[honest_faults[i]] > 0;
    }
}

/* ---- files ---- */

static void data_file(char *path, size_t size, const char *name)
{
    int length = snprintf(path, size, "/data/t-0/%s", name);
    check(length > 0 && (size_t)length < size);
}

/* Names of the partition's files that end in `suffix`. */
static int list_files(struct oracle *oracle, const char *suffix, char names[64][64])
{
    static char memory[65536];
    struct ring_listing listing = {.names = memory, .size_max = sizeof(memory)};
    struct op op = {.kind = OP_LIST, .path = "/data/t-0", .listing = &listing};
    int64_t count = ring_call(oracle->world.ring, &op);
    const char *name = memory;
    int found = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t size = strlen(name);
        if (size > strlen(suffix) && size < 64 && found < 64 &&
            strcmp(name + size - strlen(suffix), suffix) == 0) {
            snprintf(names[found], 64, "%.63s", name);
            found += 1;
        }
        name += size + 1;
    }
    return found;
}

struct span {
    uint64_t from;
    uint64_t until;
};

static const struct span span_all = {0, UINT64_MAX};

/* Among the bytes of a span of each file. */
static void flip_some(struct oracle *oracle, const char *suffix, struct span span, uint64_t flips)
{
    char names[64][64];
    char path[128];
    int count = list_files(oracle, suffix, names);
    for (uint64_t i = 0; count > 0 && i < flips; i++) {
        data_file(path, sizeof(path), names[pick(oracle, (uint64_t)count)]);
        uint64_t size = 0;
        if (sim_world_file(oracle->world.world, path, &size) == NULL || size <= span.from) {
            continue;
        }
        uint64_t until = size < span.until ? size : span.until;
        (void)sim_world_flip(oracle->world.world, path, span.from + pick(oracle, until - span.from),
                             (int)pick(oracle, 8));
    }
}

/* Of all log files, whatever their order and the space taken ahead. */
static uint64_t hash_logs(struct oracle *oracle)
{
    char names[64][64];
    char path[128];
    uint64_t sum = 0;
    int count = list_files(oracle, ".log", names);
    for (int i = 0; i < count; i++) {
        data_file(path, sizeof(path), names[i]);
        uint64_t size = 0;
        const uint8_t *data = sim_world_file(oracle->world.world, path, &size);
        check(data != NULL);
        while (size > 0 && data[size - 1] == 0) {
            size -= 1;
        }
        /* An empty one that an error kept from going may go the next time. */
        sum += size == 0
                   ? 0
                   : hash_bytes(bytes_of(data, size), hash_bytes(bytes_of(path, strlen(path)), 0));
    }
    return sum;
}

/* ---- ends and beginnings ---- */

static void close_partition(struct oracle *oracle, bool clean)
{
    struct partition *partition = oracle->partition;
    oracle->faulty = true; /* what is in flight is refused */
    partition_close(partition, clean);
    oracle->partition = NULL;
    oracle_reader_step(oracle);
    require(oracle_is_answered(oracle)); /* O12 */
}

/* Opens what a cut, a kill or a stop left: perhaps under errors, perhaps with more cuts. Errors and
 * rot at once are more than one copy can stand. */
static void reopen(struct oracle *oracle, bool may_fail)
{
    bool errors = may_fail && pick(oracle, 3) == 0;
    uint64_t cuts = pick(oracle, 3) == 0 ? pick(oracle, 4) : 0;
    for (;;) {
        oracle->partition = NULL;
        oracle_forget_flights(oracle);
        swarm_switch(oracle, false);
        if (errors) {
            oracle->faulty = true;
            sim_world_set_fault(oracle->world.world,
                                honest_faults[pick(oracle, ARRAY_COUNT(honest_faults))], 50000);
        }
        log_world_cut_after(&oracle->world, cuts > 0 ? 1 + pick(oracle, 120) : 0);
        if (setjmp(oracle->world.cut_point) != 0) {
            log_world_crash(&oracle->world);
            note(EVENT_CUT_IN_RECOVERY);
            cuts -= 1;
            continue;
        }
        enum status status = oracle_open(oracle, false);
        if (status == STATUS_OK) {
            break;
        }
        require(oracle->faulty && status == STATUS_KAFKA_STORAGE_ERROR);
        note(EVENT_OPEN_REFUSED);
        errors = false;
    }
    log_world_cut_after(&oracle->world, 0);
    swarm_switch(oracle, false);
    if (partition_facts(oracle->partition).cut_size > 0) {
        note(EVENT_BYTES_CUT);
    }
}

static void power_cut(struct oracle *oracle)
{
    log_world_crash(&oracle->world);
    note(EVENT_CUT);
    reopen(oracle, true);
    if (pick(oracle, 2) == 0) {
        int64_t found = partition_facts(oracle->partition).high_watermark;
        uint64_t hash = hash_logs(oracle);
        log_world_crash(&oracle->world); /* nothing was written: the same again */
        oracle_forget_flights(oracle);
        require(oracle_open(oracle, false) == STATUS_OK);
        require(partition_facts(oracle->partition).high_watermark == found); /* O13 */
        require(partition_facts(oracle->partition).cut_size == 0);
        require(hash_logs(oracle) == hash);
    }
    oracle_settle(oracle);
}

static void kill_process(struct oracle *oracle)
{
    for (uint64_t i = pick(oracle, 4); i > 0; i--) { /* perhaps a roll is under way */
        oracle_send(oracle);
        (void)log_world_tick(&oracle->world);
    }
    log_world_kill(&oracle->world);
    note(EVENT_KILL);
    reopen(oracle, true);
    oracle_settle(oracle);
    if (pick(oracle, 4) > 0) {
        power_cut(oracle); /* what was found and served has to stay */
    }
}

static void clean_stop(struct oracle *oracle)
{
    swarm_switch(oracle, false);
    close_partition(oracle, true);
    log_world_restart(&oracle->world);
    require(sim_world_open_handles(oracle->world.world) == 0); /* O12 */
    note(EVENT_STOP);
    reopen(oracle, true);
    oracle_settle(oracle);
}

/* A log that an error closed for writes is still read; then the operator restarts. */
static void after_failure(struct oracle *oracle)
{
    note(EVENT_FAILED);
    swarm_switch(oracle, false);
    if (pick(oracle, 2) == 0) {
        close_partition(oracle, true);
        log_world_restart(&oracle->world);
        reopen(oracle, true);
        oracle_settle(oracle);
    } else {
        power_cut(oracle);
    }
}

/* ---- what somebody did to the files ---- */

/* A while without faults. */
static void live(struct oracle *oracle, uint64_t steps)
{
    for (; steps > 0; steps--) {
        oracle_send(oracle);
        oracle_send_twin(oracle);
        for (uint64_t ticks = pick(oracle, 10); ticks > 0; ticks--) {
            (void)log_world_tick(&oracle->world);
        }
        oracle_reader_step(oracle);
    }
}

/* After damage that must have cost nothing: all is there, goes on, and lasts. */
static void reopen_and_live(struct oracle *oracle)
{
    reopen(oracle, true);
    oracle_settle(oracle);
    for (int i = 0; i < 4; i++) {
        oracle_look_up(oracle);
    }
    live(oracle, 15);
    power_cut(oracle);
}

/* Every batch is served as it was, or refused. */
static void read_tolerantly(struct oracle *oracle)
{
    oracle->lying = true;
    for (size_t i = 0; i < oracle->count; i++) {
        struct partition_facts facts = partition_facts(oracle->partition);
        int64_t offset = oracle_offset(oracle->entries[i]);
        if (offset >= facts.log_start_offset && offset < facts.high_watermark &&
            oracle_read(oracle, offset, 1) == offset) {
            note(EVENT_CORRUPT_READ);
        }
    }
}

static void damage_tails(struct oracle *oracle)
{
    uint64_t row = TAIL_HEADER_PAGES * TAIL_PAGE_SIZE;
    uint64_t slot = pick(oracle, TAIL_HEADER_PAGES) * TAIL_PAGE_SIZE;
    struct span header = {slot, slot + sizeof(struct tail_header)};
    struct span rows = {row, row + 4 * sizeof(struct block_row)};
    char names[64][64];
    int count = list_files(oracle, ".tail", names);
    int newest = 0; /* the one that recovery reads first of all */
    for (int i = 1; i < count; i++) {
        newest = strcmp(names[i], names[newest]) > 0 ? i : newest;
    }
    if (count > 0) {
        flip_some(oracle, names[newest] + 1, header, pick(oracle, 6));
        flip_some(oracle, names[newest] + 1, rows, pick(oracle, 6));
    }
    flip_some(oracle, ".tail", span_all, 1 + pick(oracle, 6));
    flip_some(oracle, ".hint", span_all, pick(oracle, 6));
    if (oracle->low == 0) { /* else it is all that is known of some producers */
        flip_some(oracle, ".snapshot", span_all, pick(oracle, 8));
    }
    note(EVENT_TAILS_LOST);
    reopen_and_live(oracle);
}

/* Files with this suffix go, in their place come empty ones of Kafka's. */
static void lose_some(struct oracle *oracle, const char *suffix, const char *suffix_kafka)
{
    char names[64][64];
    char path[128];
    int count = list_files(oracle, suffix, names);
    for (int i = 0; i < count; i++) {
        data_file(path, sizeof(path), names[i]);
        struct op op = {.kind = OP_UNLINK, .path = path};
        require(ring_call(oracle->world.ring, &op) == 0);
        snprintf(strrchr(path, '.'), 16, "%s", suffix_kafka);
        op = (struct op){.kind = OP_OPEN, .path = path, .flags = OPEN_WRITE | OPEN_CREATE};
        int64_t file = ring_call(oracle->world.ring, &op);
        require(file >= 0);
        op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
        (void)ring_call(oracle->world.ring, &op);
    }
}

/* A folder as Kafka leaves it. */
static void lose_tails(struct oracle *oracle)
{
    lose_some(oracle, ".tail", ".index");
    lose_some(oracle, ".hint", ".timeindex");
    note(EVENT_TAILS_LOST);
    reopen_and_live(oracle);
}

/* Bits of the log after a clean stop: found out, never served, and nothing is cut. */
static void damage_logs(struct oracle *oracle)
{
    struct oracle_entry *last = oracle->entries[oracle->count - 1];
    int64_t end = oracle_offset_last(last) + 1;
    flip_some(oracle, ".log", span_all, 1 + pick(oracle, 4));
    note(EVENT_ROT);
    reopen(oracle, false);
    require(partition_facts(oracle->partition).high_watermark == end);
    read_tolerantly(oracle);
}

/* D of the newest segment; -1: no tail file yet. */
static int64_t durable_position(struct oracle *oracle, char path_log[128])
{
    char names[64][64];
    char path[128];
    int count = list_files(oracle, ".tail", names);
    int newest = -1;
    for (int i = 0; i < count; i++) {
        newest = newest < 0 || strcmp(names[i], names[newest]) > 0 ? i : newest;
    }
    if (newest < 0) {
        return -1;
    }
    data_file(path, sizeof(path), names[newest]);
    uint64_t size = 0;
    const uint8_t *data = sim_world_file(oracle->world.world, path, &size);
    struct tail_identity identity = {.base_offset = strtoll(names[newest], NULL, 10)};
    memset(identity.topic_id.bytes, 7, 16);
    identity.seed = segment_seed_of(&identity.topic_id, 0, identity.base_offset, UINT32_MAX);
    struct tail_header header;
    if (data == NULL || size < 2 * TAIL_PAGE_SIZE || !tail_decode_slots(data, &identity, &header)) {
        return -1;
    }
    /* A row page that this cut tore takes D back (T2). */
    for (uint32_t i = 0; i * TAIL_PAGE_ROWS < header.row_count; i++) {
        struct block_row rows[TAIL_PAGE_ROWS];
        uint32_t wanted = header.row_count - i * TAIL_PAGE_ROWS;
        uint64_t place = (TAIL_HEADER_PAGES + (uint64_t)i) * TAIL_PAGE_SIZE;
        if (place + TAIL_PAGE_SIZE > size ||
            tail_decode_rows(data + place, i, identity.seed, rows) <
                (wanted < TAIL_PAGE_ROWS ? wanted : TAIL_PAGE_ROWS)) {
            return -1;
        }
    }
    snprintf(path_log, 128, "%.*s.log", (int)(strlen(path) - strlen(".tail")), path);
    return header.position;
}

/* Rot below D and a power cut: nothing that was acknowledged is cut. */
static void damage_below(struct oracle *oracle)
{
    char path[128];
    live(oracle, 20);
    log_world_sleep(&oracle->world, 2000); /* for a tail */
    live(oracle, 10);
    log_world_crash(&oracle->world);
    oracle_forget_flights(oracle);
    int64_t position = durable_position(oracle, path);
    if (position > 0) {
        for (uint64_t i = 1 + pick(oracle, 3); i > 0; i--) {
            (void)sim_world_flip(oracle->world.world, path, pick(oracle, (uint64_t)position),
                                 (int)pick(oracle, 8));
        }
        note(EVENT_ROT_BELOW_D);
    }
    int64_t end = 0;
    for (size_t i = 0; i < oracle->count; i++) {
        struct oracle_entry *entry = oracle->entries[i];
        if ((entry->fate == FATE_ACKED || entry->seen) && oracle_offset_last(entry) >= end) {
            end = oracle_offset_last(entry) + 1;
        }
    }
    reopen(oracle, false);
    require(partition_facts(oracle->partition).high_watermark >= end);
    read_tolerantly(oracle);
}

/* Writes that are lost or land elsewhere, bits that turn: found out, or never noticed. */
static void live_with_liar(struct oracle *oracle)
{
    static const enum sim_fault lies[] = {SIM_LOST_WRITE, SIM_MISDIRECT, SIM_ROT};
    oracle->lying = true;
    note(EVENT_LIES);
    for (size_t i = 0; i < ARRAY_COUNT(lies); i++) {
        if (pick(oracle, 2) == 0) {
            sim_world_set_fault(oracle->world.world, lies[i], 20000);
        }
    }
    live(oracle, 60);
    log_world_sleep(&oracle->world, 3000);
    read_tolerantly(oracle);
    close_partition(oracle, true);
    log_world_restart(&oracle->world);
    for (size_t i = 0; i < ARRAY_COUNT(lies); i++) {
        sim_world_set_fault(oracle->world.world, lies[i], 0);
    }
    oracle_forget_flights(oracle);
    require(oracle_open(oracle, false) == STATUS_OK);
    read_tolerantly(oracle);
}

/* The last act; all but lies after a clean stop. */
static void damage(struct oracle *oracle)
{
    uint64_t manner = pick(oracle, 5);
    swarm_switch(oracle, false);
    if (oracle->count == 0) {
        return;
    }
    if (manner == 3) {
        damage_below(oracle);
        return;
    }
    if (manner == 4) {
        live_with_liar(oracle);
        return;
    }
    oracle->low = partition_facts(oracle->partition).log_start_offset;
    close_partition(oracle, true);
    log_world_restart(&oracle->world);
    switch (manner) {
    case 0:
        damage_tails(oracle);
        break;
    case 1:
        lose_tails(oracle);
        break;
    default:
        damage_logs(oracle);
        break;
    }
}

/* ---- the bystander ---- */

struct bystander {
    struct partition_append append;
    uint8_t memory[2048];
    size_t size;
    bool done;
};

static struct partition_options bystander_options(void)
{
    struct partition_options options = {
        .topic = "t-0", .index = 0, .leader_epoch = 1, .config = log_config_default()};
    memset(options.topic_id.bytes, 9, 16);
    return options;
}

static void bystander_done(struct partition_append *append)
{
    ((struct bystander *)append->owner)->done = true;
}

static void bystander_write(struct oracle *oracle, struct bystander *bystander)
{
    struct partition_options options = bystander_options();
    struct partition *partition;
    options.fresh = true;
    require(partition_open(&partition, oracle->world.store, &options) == STATUS_OK);
    bystander->size =
        log_batch_make(bystander->memory, sizeof(bystander->memory), 77, 3, 900, 5000);
    bystander->append = (struct partition_append){.batch = bystander->memory,
                                                  .size = bystander->size,
                                                  .done = bystander_done,
                                                  .owner = bystander};
    batch_header_decode(&bystander->append.header, bystander->memory);
    partition_append(partition, &bystander->append);
    require(log_world_until(&oracle->world, &bystander->done, 100000));
    require(bystander->append.status == STATUS_OK);
    partition_close(partition, true);
}

static void bystander_check(struct oracle *oracle, const struct bystander *bystander)
{
    uint64_t size = 0;
    const uint8_t *data =
        sim_world_file(oracle->world.world, "/data/t-0-0/00000000000000000000.log", &size);
    require(data != NULL && size == bystander->size);
    require(memcmp(data, bystander->memory, size) == 0); /* O11 */
}

/* ---- a history ---- */

static void tick(struct oracle *oracle, uint64_t count)
{
    while (count > 0 && log_world_tick(&oracle->world)) {
        oracle_reader_step(oracle);
        count -= 1;
    }
}

/* True when the history went through an end. */
static bool run_end(struct oracle *oracle)
{
    switch (pick(oracle, 5)) {
    case 0:
    case 1:
        power_cut(oracle);
        return true;
    case 2:
        kill_process(oracle);
        return true;
    case 3:
        clean_stop(oracle);
        return true;
    default:
        return false;
    }
}

static void run_step(struct oracle *oracle)
{
    uint64_t choice = pick(oracle, 100);
    if (choice < 50) {
        oracle_send(oracle);
    } else if (choice < 80) {
        tick(oracle, 1 + pick(oracle, 12));
    } else if (choice < 83) {
        log_world_sleep(&oracle->world, pick(oracle, 15) == 0 ? 20000 : pick(oracle, 3000));
    } else if (choice < 87) {
        struct partition_facts facts = partition_facts(oracle->partition);
        if (facts.high_watermark > facts.log_start_offset) {
            uint64_t span = (uint64_t)(facts.high_watermark - facts.log_start_offset);
            (void)oracle_read(oracle, facts.log_start_offset + (int64_t)pick(oracle, span),
                              1 + (uint32_t)pick(oracle, 500000));
        }
    } else if (choice < 89) {
        oracle_look_up(oracle);
    } else if (choice < 93) {
        oracle_send_twin(oracle);
    } else if (choice < 95) {
        oracle_send_failed(oracle);
    } else if (choice == 95) {
        oracle_send_wrong(oracle);
    } else if (choice == 96 && oracle->epoch < 20) {
        oracle->epoch += 1;
        partition_set_epoch(oracle->partition, oracle->epoch);
    } else if (choice == 97) {
        oracle_check_transactions(oracle);
        oracle_check_epochs(oracle);
        if (oracle->config.key_index && oracle_check_keys(oracle) > 0) {
            note(EVENT_KEYS);
        }
        if (oracle->config.key_index && oracle_find_keys(oracle, 3) > 0) {
            note(EVENT_KEYS_FOUND);
        }
    } else if (choice == 98) {
        swarm_switch(oracle, pick(oracle, 2) == 0);
    }
}

/* What changed since the last step; after an error that the log survived it is compared whole. */
static void watch(struct oracle *oracle, enum partition_state *state, bool *failed)
{
    struct partition_facts facts = partition_facts(oracle->partition);
    if (facts.log_start_offset > oracle->low && oracle->low >= 0) {
        note(EVENT_RETENTION);
    }
    oracle_check_facts(oracle);
    if (oracle->config.key_index && pick(oracle, 4) == 0) {
        (void)oracle_check_keys(oracle);
    }
    if (facts.state == PARTITION_FULL && *state != PARTITION_FULL) {
        note(EVENT_FULL);
    }
    *state = facts.state;
    bool fails = false;
    for (size_t i = 0; i < oracle->count; i++) {
        fails = fails || oracle->entries[i]->fate == FATE_FAILED;
    }
    if (fails && !*failed) {
        note(EVENT_APPEND_FAILED);
    }
    *failed = fails;
}

static void set_up(struct oracle *oracle)
{
    static const enum writer_kind writers[] = {WRITER_ALIGNED, WRITER_ALIGNED, WRITER_ALIGNED,
                                               WRITER_DIRECT, WRITER_BUFFERED};
    oracle->big = pick(oracle, 3) == 0;
    oracle->clock_ms = 1000;
    oracle->epoch = 1;
    oracle->config = log_config_default();
    oracle->config.key_index = oracle->seed % 4 == 0;
    oracle->config.segment_size_max = (int64_t)(UINT64_C(65536) << pick(oracle, 6));
    if (oracle->big) {
        oracle->config.segment_size_max += 400000;
    } else if (oracle->config.segment_size_max < 80000) {
        oracle->config.segment_size_max = 80000;
    }
    if (pick(oracle, 3) == 0) {
        oracle->config.retention_size = 1 + (int64_t)pick(oracle, 600000);
    }
    oracle->producers[2].transactional = oracle->producers[3].transactional = true;
    struct log_world_options options = {
        .seed = oracle->seed,
        .slab_size = (size_t)(2 + pick(oracle, 30)) * 65536,
        .cache_size = (size_t)(64 + pick(oracle, 64)) * 65536,
        .files_max = 4 + (uint32_t)pick(oracle, 8),
        .disk_delay_ns_max = 1000 + pick(oracle, 300000),
        .writer = writers[pick(oracle, ARRAY_COUNT(writers))],
    };
    log_world_open(&oracle->world, &options);
    swarm_draw(oracle);
}

void partition_history(struct sim_run *sim_run, uint64_t seed)
{
    static struct oracle history;
    static struct bystander bystander;
    struct oracle *oracle = &history;
    run = sim_run;
    oracle->seed = seed;
    random_init(&oracle->random, seed);
    set_up(oracle);
    bystander_write(oracle, &bystander);
    require(oracle_open(oracle, true) == STATUS_OK);
    swarm_switch(oracle, true);
    enum partition_state state = PARTITION_OPEN;
    bool failed = false;
    uint64_t ends = 8;
    for (uint64_t steps = 100 + pick(oracle, 400); steps > 0; steps--) {
        run_step(oracle);
        oracle_reader_step(oracle);
        watch(oracle, &state, &failed);
        bool over = state == PARTITION_FAILED;
        if (over) {
            after_failure(oracle);
        } else if (ends > 0 && pick(oracle, 60) == 0) {
            over = run_end(oracle);
            ends -= over;
        }
        if (over) {
            swarm_switch(oracle, pick(oracle, 2) == 0);
        }
    }
    swarm_switch(oracle, false);
    sim_world_set_fault(oracle->world.world, SIM_STALL, 0); /* two in a row have no end */
    log_world_sleep(&oracle->world, 40000);                 /* longer than any stall */
    require(oracle_is_answered(oracle));                    /* O12 */
    require(partition_facts(oracle->partition).state != PARTITION_FULL);
    if (failed && partition_facts(oracle->partition).state == PARTITION_OPEN) {
        note(EVENT_RELOADED);
    }
    power_cut(oracle);
    oracle_send(oracle);
    clean_stop(oracle);
    damage(oracle);
    if (!oracle->lying) {
        bystander_check(oracle, &bystander);
    }
    if (oracle->partition != NULL) {
        close_partition(oracle, true);
    }
    sim_run_note_faults(run, oracle->world.world);
    log_world_close(&oracle->world);
    oracle_free(oracle);
}
