/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One folder, cleanly stopped or cut while it was written, and what may happen to its bytes at
 * rest: bits that turn, blocks that become zero, pages copied over others, files cut short. A
 * child for each damage opens it and reads every batch:
 *
 *   F1  a batch is served as it was sent or refused; never other bytes
 *   F2  damage beside the log costs nothing: every batch is served
 *   F3  damage of the log never lowers the end, but where a file lost its tail
 *   F4  no file of a log goes, and the partition next to it stays as it is
 *   F5  the log goes on: what is appended then is there after a power cut
 *   F6  damage beside the log costs no key: a look-up finds its newest record
 *
 *   storage_flips [SECONDS]   the kinds of damage below, one after the other
 *   storage_flips NUMBER      one damage here
 */
#include <string.h>

#include "base/check.h"
#include "storage/tail.h"
#include "tests/sim/log_oracle.h"
#include "tests/sim/sim_run.h"
#include "wire/batch.h"

#define KIND 100000 /* kinds count from 1 */
#define NEIGHBOUR "/data/t-1/00000000000000000000.log"

enum event { EVENT_SERVED, EVENT_REFUSED, EVENT_CLOSED, EVENT_EPOCHS_WRONG, EVENTS };
static const char *const event_names[EVENTS] = {"batches served", "batches refused for damage",
                                                "folders refused, untouched",
                                                "folders with wrong epochs, unnoticed"};

enum change { CHANGE_BIT, CHANGE_ZERO, CHANGE_COPY, CHANGE_SHORT };

struct kind {
    const char *name;
    const char *suffix; /* of the files that suffer */
    enum change change;
    uint64_t first; /* bytes of a file that suffer: from.. */
    uint64_t until; /* ..to before this */
    bool cut;       /* the folder as a power cut left it */
    uint64_t count;
};

static const struct kind kinds[] = {
    {"bits of batch headers", ".log", CHANGE_BIT, 0, 61, false, 150},
    {"bits of the log", ".log", CHANGE_BIT, 0, UINT64_MAX, false, 250},
    {"bits of the log below D, cut", ".log", CHANGE_BIT, 0, UINT64_MAX, true, 150},
    {"zeros in the log", ".log", CHANGE_ZERO, 0, UINT64_MAX, false, 60},
    {"pages of the log elsewhere", ".log", CHANGE_COPY, 0, UINT64_MAX, false, 100},
    {"logs cut short", ".log", CHANGE_SHORT, 0, UINT64_MAX, false, 60},
    {"bits of tail headers", ".tail", CHANGE_BIT, 0, 8192, false, 200},
    {"bits of tail headers, cut", ".tail", CHANGE_BIT, 0, 8192, true, 200},
    {"bits of block rows", ".tail", CHANGE_BIT, 8192, UINT64_MAX, false, 200},
    {"bits of block rows, cut", ".tail", CHANGE_BIT, 8192, UINT64_MAX, true, 150},
    {"zeros in tails", ".tail", CHANGE_ZERO, 0, UINT64_MAX, true, 60},
    {"pages of tails elsewhere", ".tail", CHANGE_COPY, 0, UINT64_MAX, true, 100},
    {"tails cut short", ".tail", CHANGE_SHORT, 0, UINT64_MAX, false, 60},
    {"bits of producer snapshots", ".snapshot", CHANGE_BIT, 0, UINT64_MAX, false, 200},
    {"producer snapshots cut short", ".snapshot", CHANGE_SHORT, 0, UINT64_MAX, true, 40},
    {"bits of transaction indexes", ".txnindex", CHANGE_BIT, 0, UINT64_MAX, true, 150},
    {"transaction indexes cut short", ".txnindex", CHANGE_SHORT, 0, UINT64_MAX, true, 40},
    {"bits of hints", ".hint", CHANGE_BIT, 0, UINT64_MAX, false, 200},
    {"bits of key tables", ".hint", CHANGE_BIT, 8192, UINT64_MAX, false, 150},
    {"pages of hints elsewhere", ".hint", CHANGE_COPY, 0, UINT64_MAX, false, 60},
    {"hints cut short", ".hint", CHANGE_SHORT, 0, UINT64_MAX, false, 40},
    {"bits of the epoch checkpoint", "-checkpoint", CHANGE_BIT, 0, UINT64_MAX, false, 100},
    {"bits of the metadata", ".metadata", CHANGE_BIT, 0, UINT64_MAX, false, 100},
};

static struct oracle history;
static uint64_t neighbour_hash;
static bool image_cut;
static bool image_made;

/* ---- the image ---- */

static void append_some(struct oracle *oracle, int count, int ticks)
{
    for (int i = 0; i < count; i++) {
        oracle_send(oracle);
        for (int k = 0; k < ticks && log_world_tick(&oracle->world); k++) {
        }
    }
}

static void answer(struct partition_append *append)
{
    *(bool *)append->owner = true;
}

static uint64_t hash_file(struct oracle *oracle, const char *path)
{
    uint64_t size = 0;
    const uint8_t *data = sim_world_file(oracle->world.world, path, &size);
    return data == NULL ? 0 : hash_bytes(bytes_of(data, size), size);
}

static void make_neighbour(struct oracle *oracle)
{
    struct partition_options options = {
        .topic = "t", .index = 1, .leader_epoch = 1, .fresh = true, .config = log_config_default()};
    memset(options.topic_id.bytes, 7, 16); /* the same topic: the same names in its folder */
    struct partition *partition;
    require(partition_open(&partition, oracle->world.store, &options) == STATUS_OK);
    uint8_t memory[40000];
    bool done = false;
    struct partition_append append = {.batch = memory, .done = answer, .owner = &done};
    append.size = log_batch_make(memory, sizeof(memory), 99, 3, 30000, 1000);
    batch_header_decode(&append.header, memory);
    partition_append(partition, &append);
    require(log_world_until(&oracle->world, &done, 100000));
    partition_close(partition, true);
    neighbour_hash = hash_file(oracle, NEIGHBOUR);
}

static void make_image(bool cut)
{
    struct oracle *oracle = &history;
    if (image_made && image_cut == cut) {
        return;
    }
    image_cut = cut;
    if (image_made) {
        log_world_close(&oracle->world);
        oracle_free(oracle);
    }
    image_made = true;
    memset(oracle, 0, sizeof(*oracle));
    random_init(&oracle->random, 5);
    oracle->clock_ms = 1000;
    oracle->epoch = 1;
    oracle->config = log_config_default();
    oracle->config.segment_size_max = 300000;
    oracle->config.key_index = true;
    oracle->producers[2].transactional = oracle->producers[3].transactional = true;
    log_world_open(&oracle->world, &(struct log_world_options){.seed = 5});
    make_neighbour(oracle);
    require(oracle_open(oracle, true) == STATUS_OK);
    append_some(oracle, 30, 6);
    oracle->epoch = 2;
    partition_set_epoch(oracle->partition, 2);
    append_some(oracle, 30, 6);
    log_world_sleep(&oracle->world, 3000);
    if (cut) {
        append_some(oracle, 4, 2);
        log_world_crash(&oracle->world);
        oracle_forget_flights(oracle);
        require(oracle_open(oracle, false) == STATUS_OK);
        oracle_settle(oracle);
        append_some(oracle, 10, 6); /* a clean mark would spare recovery its work */
        log_world_sleep(&oracle->world, 3000);
        log_world_crash(&oracle->world);
    } else {
        partition_close(oracle->partition, true);
        log_world_restart(&oracle->world);
    }
    oracle_forget_flights(oracle);
}

/* ---- damage ---- */

static int list_files(struct oracle *oracle, const char *suffix, char paths[64][128])
{
    static char memory[65536];
    struct ring_listing listing = {.names = memory, .size_max = sizeof(memory)};
    struct op op = {.kind = OP_LIST, .path = "/data/t-0", .listing = &listing};
    int64_t count = ring_call(oracle->world.ring, &op);
    const char *name = memory;
    int found = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t size = strlen(name);
        if (size >= strlen(suffix) && found < 64 &&
            strcmp(name + size - strlen(suffix), suffix) == 0) {
            snprintf(paths[found], 128, "/data/t-0/%.63s", name);
            found += 1;
        }
        name += size + 1;
    }
    return found;
}

static int64_t on_file(struct oracle *oracle, const char *path, struct op op)
{
    struct op open = {.kind = OP_OPEN, .path = path, .flags = OPEN_READ | OPEN_WRITE};
    op.file = (int32_t)ring_call(oracle->world.ring, &open);
    require(op.file >= 0);
    int64_t result = ring_call(oracle->world.ring, &op);
    struct op close = {.kind = OP_CLOSE, .file = op.file};
    (void)ring_call(oracle->world.ring, &close);
    return result;
}

/* Of the newest log above D nothing is turned: without its sums it would be cut, as it must. */
static uint64_t suffering_size(struct oracle *oracle, const struct kind *kind, const char *path)
{
    uint64_t size = 0;
    (void)sim_world_file(oracle->world.world, path, &size);
    if (strcmp(kind->suffix, ".log") == 0 && kind->cut) {
        int64_t end = 0;
        for (size_t i = 0; i < oracle->count; i++) {
            end += (int64_t)oracle->entries[i]->size;
        }
        char paths[64][128];
        int count = list_files(oracle, ".log", paths);
        for (int i = 0; i < count; i++) {
            if (strcmp(paths[i], path) > 0) {
                return size; /* not the newest */
            }
        }
        return 0; /* where D is, the histories of partition_sim look after */
    }
    return size < kind->until ? size : kind->until;
}

static void damage(struct oracle *oracle, const struct kind *kind, struct random *random)
{
    char paths[64][128];
    int count = list_files(oracle, kind->suffix, paths);
    if (count == 0) {
        return; /* not every format is there in every folder */
    }
    const char *path = paths[random_below(random, (uint64_t)count)];
    uint64_t size = suffering_size(oracle, kind, path);
    if (size <= kind->first) {
        return;
    }
    uint64_t position = kind->first + random_below(random, size - kind->first);
    uint8_t page[4096] = {0};
    struct iovec slice = {page, kind->change == CHANGE_ZERO ? 512 : sizeof(page)};
    struct op write = {.kind = OP_WRITE, .flags = OP_DSYNC, .vector = &slice, .vector_count = 1};
    switch (kind->change) {
    case CHANGE_BIT:
        require(sim_world_flip(oracle->world.world, path, position, (int)random_below(random, 8)));
        break;
    case CHANGE_ZERO:
        write.position = position / 512 * 512;
        (void)on_file(oracle, path, write);
        break;
    case CHANGE_COPY: {
        const char *from = paths[random_below(random, (uint64_t)count)];
        uint64_t from_size = 0;
        const uint8_t *data = sim_world_file(oracle->world.world, from, &from_size);
        uint64_t pages = from_size / sizeof(page);
        if (pages > 0 && size >= sizeof(page)) {
            memcpy(page, data + random_below(random, pages) * sizeof(page), sizeof(page));
            write.position = random_below(random, size / sizeof(page)) * sizeof(page);
            (void)on_file(oracle, path, write);
        }
        break;
    }
    case CHANGE_SHORT:
        (void)on_file(oracle, path, (struct op){.kind = OP_TRUNCATE, .size = position});
        break;
    }
}

/* ---- afterwards ---- */

/* F1, F2 */
static void read_all(struct oracle *oracle, struct sim_run *run, bool harmless)
{
    oracle->lying = !harmless;
    int64_t end = partition_facts(oracle->partition).high_watermark;
    for (size_t i = 0; i < oracle->count; i++) {
        int64_t offset = oracle_offset(oracle->entries[i]);
        if (offset >= 0 && offset < end) {
            bool served = oracle_read(oracle, offset, 1) > offset;
            run->marks->events[served ? EVENT_SERVED : EVENT_REFUSED] += 1;
            require(served || !harmless);
        }
    }
}

static int64_t end_of(const struct oracle *oracle)
{
    int64_t end = 0;
    for (size_t i = 0; i < oracle->count; i++) {
        const struct oracle_entry *entry = oracle->entries[i];
        if ((entry->fate == FATE_ACKED || entry->seen) && oracle_offset_last(entry) >= end) {
            end = oracle_offset_last(entry) + 1;
        }
    }
    return end;
}

static void look_at_epochs(struct oracle *oracle, struct sim_run *run)
{
    for (size_t i = 0; i < oracle->count; i++) {
        struct oracle_entry *entry = oracle->entries[i];
        if (get_be32(entry->memory + 12) == 2) {
            struct partition_epoch_end end = partition_epoch_end(oracle->partition, 1);
            bool right = end.epoch == 1 && end.end_offset == oracle_offset(entry);
            run->marks->events[EVENT_EPOCHS_WRONG] += !right;
            return;
        }
    }
}

static void flip(struct sim_run *run, uint64_t number)
{
    struct oracle *oracle = &history;
    const struct kind *kind = &kinds[number / KIND - 1];
    require(number / KIND <= ARRAY_COUNT(kinds));
    make_image(kind->cut);
    oracle->seed = number;
    struct random random;
    random_init(&random, number);
    bool log = strcmp(kind->suffix, ".log") == 0;
    int64_t end = end_of(oracle);
    char paths[64][128];
    int logs = list_files(oracle, ".log", paths);
    damage(oracle, kind, &random);
    enum status status = oracle_open(oracle, false);
    if (status != STATUS_OK) {
        require(strcmp(kind->suffix, ".metadata") == 0);
        require(status == STATUS_INCONSISTENT_TOPIC_ID);
        run->marks->events[EVENT_CLOSED] += 1;
        return;
    }
    require(kind->change == CHANGE_SHORT || kind->change == CHANGE_COPY ||
            partition_facts(oracle->partition).high_watermark >= end); /* F3 */
    require(list_files(oracle, ".log", paths) == logs);                /* F4 */
    read_all(oracle, run, !log);
    look_at_epochs(oracle, run);
    if (!log) {
        oracle_check_transactions(oracle);
        (void)oracle_find_keys(oracle, LOG_BATCH_KEYS); /* F6 */
    }
    size_t before = oracle->count;
    append_some(oracle, 5, 6);
    log_world_sleep(&oracle->world, 2000);
    read_all(oracle, run, !log);
    end = partition_facts(oracle->partition).high_watermark;
    log_world_crash(&oracle->world);
    oracle_forget_flights(oracle);
    require(oracle_open(oracle, false) == STATUS_OK);
    require(partition_facts(oracle->partition).high_watermark >= end); /* F5 */
    read_all(oracle, run, !log);
    for (size_t i = before; i < oracle->count; i++) {
        int64_t offset = oracle_offset(oracle->entries[i]);
        require(oracle->entries[i]->fate != FATE_ACKED || oracle_read(oracle, offset, 1) > offset);
    }                                                        /* F5 */
    require(hash_file(oracle, NEIGHBOUR) == neighbour_hash); /* F4 */
}

int main(int argc, char **argv)
{
    struct sim_run run;
    sim_run_init(&run, argv[0], flip);
    uint64_t number = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    if (number >= KIND) {
        flip(&run, number);
        return 0;
    }
    uint64_t failed = 0;
    for (uint64_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        make_image(kinds[i].cut); /* once for all children */
        printf("%s: ", kinds[i].name);
        failed += sim_run_seeds(&run, (i + 1) * KIND, kinds[i].count, (uint32_t)number);
    }
    for (int i = 0; i < EVENTS; i++) {
        printf("%10llu %s\n", (unsigned long long)run.marks->events[i], event_names[i]);
    }
    return failed == 0 ? 0 : 1;
}
