/* SPDX-License-Identifier: Apache-2.0 */
/* The door of a log: append, read, roll, restart, look up, duplicates, retention; simulated ring.
 */
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/epochs.h"
#include "storage/producers.h"
#include "storage/tail.h"
#include "tests/lib/log_world.h"
#include "wire/batch.h"

struct sent {
    struct partition_append append;
    uint8_t *memory;
    bool done;
};

static void sent_done(struct partition_append *append)
{
    struct sent *sent = append->owner;
    check(!sent->done);
    sent->done = true;
}

static struct partition *open_one(struct log_world *world, const struct partition_config *config,
                                  bool fresh)
{
    struct partition_options options = {
        .topic = "orders", .index = 3, .leader_epoch = 5, .fresh = fresh, .config = *config};
    memset(options.topic_id.bytes, 0x42, 16);
    struct partition *partition = NULL;
    assert_int_equal(partition_open(&partition, world->store, &options), STATUS_OK);
    assert_string_equal(partition_name(partition), "orders-3");
    return partition;
}

static void send_memory(struct partition *partition, struct sent *sent, size_t size, int64_t now_ms)
{
    sent->done = false;
    sent->append = (struct partition_append){.batch = sent->memory, .size = size, .now_ms = now_ms};
    batch_header_decode(&sent->append.header, sent->memory);
    sent->append.done = sent_done;
    sent->append.owner = sent;
    partition_append(partition, &sent->append);
}

static void send(struct partition *partition, struct sent *sent, uint64_t tag, int32_t count,
                 size_t size, int64_t timestamp)
{
    sent->memory = malloc(size + 65536);
    assert_non_null(sent->memory);
    size_t made = log_batch_make(sent->memory, size + 65536, tag, count, size, timestamp);
    send_memory(partition, sent, made, timestamp);
}

struct got {
    struct partition_read read;
    bool done;
    uint8_t *bytes;
};

static void got_done(struct partition_read *read)
{
    struct got *got = read->owner;
    got->done = true;
}

static void fetch(struct log_world *world, struct partition *partition, struct got *got,
                  int64_t offset, uint32_t size_max)
{
    *got = (struct got){.read = {.offset = offset, .size_max = size_max, .first_whole = true}};
    got->read.done = got_done;
    got->read.owner = got;
    partition_read(partition, &got->read);
    assert_true(log_world_until(world, &got->done, 100000));
    got->bytes = malloc(got->read.size + 1);
    size_t at = 0;
    for (int32_t i = 0; i < got->read.slice_count; i++) {
        memcpy(got->bytes + at, got->read.slices[i].data, got->read.slices[i].size);
        at += got->read.slices[i].size;
    }
    assert_int_equal(at, got->read.size);
    partition_read_release(partition, &got->read);
}

/* Everything from 0 on equals what was sent. */
static void expect_all(struct log_world *world, struct partition *partition,
                       const struct sent *sent, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (int32_t delta = 0; delta <= sent[i].append.header.last_offset_delta; delta += 7) {
            struct got got;
            fetch(world, partition, &got, sent[i].append.base_offset + delta, 1);
            assert_int_equal(got.read.status, STATUS_OK);
            assert_int_equal(got.read.size, sent[i].append.size);
            assert_memory_equal(got.bytes, sent[i].memory, got.read.size);
            free(got.bytes);
        }
    }
}

static void free_sent(struct sent *sent, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(sent[i].memory);
    }
}

static void test_append_read(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent[20] = {0};
    int64_t offset = 0;
    for (size_t i = 0; i < 20; i++) {
        send(partition, &sent[i], i, (int32_t)i + 1, 1000 * (i + 1), 1000 + (int64_t)i);
    }
    assert_true(log_world_until(&world, &sent[19].done, 10000));
    for (size_t i = 0; i < 20; i++) {
        assert_true(sent[i].done);
        assert_int_equal(sent[i].append.status, STATUS_OK);
        assert_int_equal(sent[i].append.base_offset, offset);
        offset += (int64_t)i + 1;
    }
    assert_int_equal(partition_facts(partition).high_watermark, offset);
    expect_all(&world, partition, sent, 20);
    partition_close(partition, true);
    log_world_restart(&world);
    partition = open_one(&world, &config, false);
    struct partition_facts facts = partition_facts(partition);
    assert_int_equal(facts.high_watermark, offset);
    assert_int_equal(facts.end_offset, offset);
    expect_all(&world, partition, sent, 20);
    partition_close(partition, true);
    free_sent(sent, 20);
    log_world_close(&world);
}

static void test_offsets_and_sizes(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 2});
    struct partition_config config = log_config_default();
    config.segment_size_max = 200000;
    struct partition *partition = open_one(&world, &config, true);
    assert_null(sim_world_file(world.world, "/data/orders-3/partition.metadata", &(uint64_t){0}));
    struct got got;
    fetch(&world, partition, &got, 0, 100);
    assert_int_equal(got.read.status, STATUS_OK); /* at the high watermark: nothing */
    assert_int_equal(got.read.size, 0);
    free(got.bytes);
    fetch(&world, partition, &got, 1, 100);
    assert_int_equal(got.read.status, STATUS_OFFSET_OUT_OF_RANGE);
    free(got.bytes);

    struct sent large = {0};
    send(partition, &large, 1, 1, 300000, 1000);
    assert_true(large.done);
    assert_int_equal(large.append.status, STATUS_RECORD_LIST_TOO_LARGE);
    struct sent sent[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        send(partition, &sent[i], i, 2, 150000, 1000);
    }
    assert_false(sent[2].done); /* nothing is answered before it is durable */
    assert_int_equal(partition_facts(partition).high_watermark, 0);
    assert_true(log_world_until(&world, &sent[2].done, 100000));
    assert_int_equal(partition_facts(partition).segment_count, 3);
    expect_all(&world, partition, sent, 3);
    uint64_t size = 0;
    const uint8_t *text = sim_world_file(world.world, "/data/orders-3/partition.metadata", &size);
    assert_non_null(text);
    static const char metadata[] = "version: 0\ntopic_id: QkJCQkJCQkJCQkJCQkJCQg\n";
    assert_int_equal(size, sizeof(metadata) - 1);
    assert_memory_equal(text, metadata, size);
    text = sim_world_file(world.world, "/data/orders-3/leader-epoch-checkpoint", &size);
    assert_non_null(text);
    assert_memory_equal(text, "0\n1\n5 0\n", size);

    /* A first batch larger than asked for comes whole, or not at all. */
    struct got part = {.read = {.offset = 0, .size_max = 1000}};
    part.read.done = got_done;
    part.read.owner = &part;
    partition_read(partition, &part.read);
    assert_true(log_world_until(&world, &part.done, 1000));
    assert_int_equal(part.read.status, STATUS_OK);
    assert_int_equal(part.read.size, 0);
    partition_read_release(partition, &part.read);
    partition_close(partition, true);
    free_sent(sent, 3);
    free_sent(&large, 1);
    log_world_close(&world);
}

struct watched {
    struct partition_watch watch;
    int fired;
    int64_t high_watermark; /* when it fired */
    struct partition *partition;
};

static void watched_fire(struct partition_watch *watch)
{
    struct watched *watched = watch->owner;
    watched->fired += 1;
    watched->high_watermark = partition_facts(watched->partition).high_watermark;
}

static void watch_at(struct partition *partition, struct watched *watched, int64_t offset,
                     uint32_t size_wanted)
{
    *watched = (struct watched){.partition = partition};
    watched->watch.offset = offset;
    watched->watch.size_wanted = size_wanted;
    watched->watch.fire = watched_fire;
    watched->watch.owner = watched;
    partition_watch_add(partition, &watched->watch);
}

static void test_watch(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 3});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct watched first;
    struct watched second;
    struct watched third;
    watch_at(partition, &first, 0, 1);
    watch_at(partition, &second, 0, 15000);
    watch_at(partition, &third, 0, 1000000);
    struct sent sent[2] = {0};
    send(partition, &sent[0], 1, 1, 10000, 1000);
    assert_int_equal(first.fired, 0);
    assert_true(log_world_until(&world, &sent[0].done, 10000));
    assert_int_equal(first.fired, 1);
    assert_int_equal(first.high_watermark, 1);
    assert_int_equal(second.fired, 0);
    send(partition, &sent[1], 2, 1, 10000, 1000);
    assert_true(log_world_until(&world, &sent[1].done, 10000));
    assert_int_equal(second.fired, 1);
    assert_int_equal(first.fired, 1);
    partition_watch_remove(&first.watch); /* idle: left alone */
    struct watched at_once;
    watch_at(partition, &at_once, 1, 1);
    assert_int_equal(at_once.fired, 1);
    assert_int_equal(third.fired, 0);
    partition_close(partition, true);
    assert_int_equal(third.fired, 1);
    free_sent(sent, 2);
    log_world_close(&world);
}

/* Who waits at the end counts what came since, not what else lies in the block; nor does who waits
 * further back, once a read told where. */
static void test_watch_exact(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 21});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent[6] = {0};
    send(partition, &sent[0], 1, 1, 40000, 1000);
    assert_true(log_world_until(&world, &sent[0].done, 10000));
    struct watched watched;
    watch_at(partition, &watched, 1, 5000);
    for (int i = 1; i <= 3; i++) {
        send(partition, &sent[i], 1, 1, 1000, 1000);
        assert_true(log_world_until(&world, &sent[i].done, 10000));
        assert_int_equal(watched.fired, 0);
    }
    partition_watch_remove(&watched.watch);
    struct got got;
    fetch(&world, partition, &got, 2, 1000000);
    free(got.bytes);
    assert_int_equal(got.read.size, sent[2].append.size + sent[3].append.size);
    assert_true(got.read.place.known);
    watched.watch.offset = 2;
    watched.watch.place = got.read.place;
    watched.watch.size_wanted = (uint32_t)(got.read.size + sent[0].append.size);
    partition_watch_add(partition, &watched.watch);
    assert_int_equal(watched.fired, 0);
    send(partition, &sent[4], 1, 1, 1000, 1000);
    assert_true(log_world_until(&world, &sent[4].done, 10000));
    assert_int_equal(watched.fired, 0);
    send(partition, &sent[5], 1, 1, 40000, 1000);
    assert_true(log_world_until(&world, &sent[5].done, 10000));
    assert_int_equal(watched.fired, 1);
    partition_close(partition, true);
    free_sent(sent, 6);
    log_world_close(&world);
}

static void test_log_append_time(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 4});
    struct partition_config config = log_config_default();
    config.log_append_time = true;
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent = {.memory = malloc(4096)};
    size_t size = log_batch_make(sent.memory, 4096, 1, 3, 1000, 77);
    send_memory(partition, &sent, size, 123456);
    assert_true(log_world_until(&world, &sent.done, 10000));
    assert_int_equal(sent.append.append_time_ms, 123456);
    struct got got;
    fetch(&world, partition, &got, 0, 4096);
    struct batch_header header;
    assert_int_equal(batch_check(bytes_of(got.bytes, got.read.size), &header), STATUS_OK);
    assert_int_equal(header.max_timestamp, 123456);
    assert_true((header.attributes & BATCH_LOG_APPEND_TIME) != 0);
    assert_int_equal(header.leader_epoch, 5);
    free(got.bytes);
    partition_close(partition, true);
    free_sent(&sent, 1);
    log_world_close(&world);
}

static void put_file(struct log_world *world, const char *path, const void *data, size_t size)
{
    struct op op = {
        .kind = OP_OPEN, .path = path, .flags = OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE};
    int64_t file = ring_call(world->ring, &op);
    assert_true(file >= 0);
    struct iovec slice = {(void *)(uintptr_t)data, size};
    op = (struct op){.kind = OP_WRITE,
                     .file = (int32_t)file,
                     .flags = OP_DSYNC,
                     .vector = &slice,
                     .vector_count = 1};
    assert_int_equal(ring_call(world->ring, &op), size);
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    assert_int_equal(ring_call(world->ring, &op), 0);
}

/* Both slots of the tail file of segment 0 tell that epoch 9 began there. */
static void turn_tail(struct log_world *world, int64_t start_offset)
{
    static const char path[] = "/data/orders-3/00000000000000000000.tail";
    uint64_t size = 0;
    const uint8_t *found = sim_world_file(world->world, path, &size);
    assert_int_equal(size, TAIL_HEADER_PAGES * TAIL_PAGE_SIZE);
    uint8_t pages[TAIL_HEADER_PAGES * TAIL_PAGE_SIZE];
    struct tail_identity identity = {.index = 3};
    struct tail_header header;
    memset(identity.topic_id.bytes, 0x42, 16);
    identity.seed = segment_seed_of(&identity.topic_id, 3, 0, UINT32_MAX);
    assert_true(tail_decode_slots(found, &identity, &header));
    assert_true(header.epochs_stamp > 0);
    assert_int_equal(header.epoch_count, 2);
    assert_int_equal(header.epochs[1].epoch, 9);
    header.epochs[1].start_offset = start_offset;
    tail_encode_header(pages, &header, identity.seed);
    tail_encode_header(pages + TAIL_PAGE_SIZE, &header, identity.seed);
    put_file(world, path, pages, sizeof(pages));
}

/* What the tail file repeats is taken while the checkpoint is the same file, and no longer. */
static void test_epochs_of_tail(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 6});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent[2] = {0};
    send(partition, &sent[0], 1, 4, 1000, 1000);
    assert_true(log_world_until(&world, &sent[0].done, 10000));
    partition_set_epoch(partition, 9);
    send(partition, &sent[1], 2, 2, 1000, 1000);
    assert_true(log_world_until(&world, &sent[1].done, 10000));
    static const int64_t starts[] = {3, 2, 2};
    for (size_t i = 0; i < ARRAY_COUNT(starts); i++) {
        partition_close(partition, true);
        log_world_restart(&world);
        turn_tail(&world, starts[i]);
        if (i == 1) { /* Kafka was here: written anew */
            static const char text[] = "0\n2\n5 0\n9 1\n";
            put_file(&world, "/data/orders-3/leader-epoch-checkpoint", text, sizeof(text) - 1);
        }
        partition = open_one(&world, &config, false);
        assert_int_equal(partition_epoch_end(partition, 5).end_offset, i == 1 ? 1 : starts[i]);
    }
    partition_close(partition, true);
    free_sent(sent, 2);
    log_world_close(&world);
}

static void test_epochs(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 5});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent[2] = {0};
    send(partition, &sent[0], 1, 4, 1000, 1000);
    assert_true(log_world_until(&world, &sent[0].done, 10000));
    partition_set_epoch(partition, 9);
    send(partition, &sent[1], 2, 2, 1000, 1000);
    assert_true(log_world_until(&world, &sent[1].done, 10000));
    for (int round = 0; round < 2; round++) {
        struct partition_epoch_end end = partition_epoch_end(partition, 5);
        assert_int_equal(end.epoch, 5);
        assert_int_equal(end.end_offset, 4);
        end = partition_epoch_end(partition, 9);
        assert_int_equal(end.epoch, 9);
        assert_int_equal(end.end_offset, 6);
        end = partition_epoch_end(partition, 10);
        assert_int_equal(end.epoch, -1);
        if (round == 0) {
            /* Once with the checkpoint, and it is what a restart reads. */
            partition_close(partition, true);
            log_world_restart(&world);
            partition = open_one(&world, &config, false);
        }
    }
    partition_close(partition, true);
    free_sent(sent, 2);
    log_world_close(&world);
}

static void test_retention(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 6});
    struct partition_config config = log_config_default();
    config.segment_size_max = 100000;
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent[10] = {0};
    for (size_t i = 0; i < 10; i++) {
        send(partition, &sent[i], i, 1, 60000, 1000 + (int64_t)i);
    }
    assert_true(log_world_until(&world, &sent[9].done, 100000));
    assert_int_equal(partition_facts(partition).segment_count, 10);

    /* A reader keeps its bytes, whatever happens to the segment. */
    struct got held = {.read = {.offset = 0, .size_max = 1, .first_whole = true}};
    held.read.done = got_done;
    held.read.owner = &held;
    partition_read(partition, &held.read);
    assert_true(log_world_until(&world, &held.done, 1000));

    config.retention_size = 200000;
    partition_configure(partition, &config);
    log_world_sleep(&world, 30000);
    struct partition_facts facts = partition_facts(partition);
    assert_in_range(facts.size, 180000, 270000);
    assert_int_equal(facts.log_start_offset, 10 - facts.segment_count);
    assert_memory_equal(held.read.slices[0].data, sent[0].memory, 1000);
    partition_read_release(partition, &held.read);
    struct got got;
    fetch(&world, partition, &got, 0, 1);
    assert_int_equal(got.read.status, STATUS_OFFSET_OUT_OF_RANGE);
    free(got.bytes);
    size_t first = (size_t)facts.log_start_offset;
    expect_all(&world, partition, sent + first, 10 - first);
    uint64_t size;
    assert_null(sim_world_file(world.world, "/data/orders-3/00000000000000000000.log", &size));
    assert_null(
        sim_world_file(world.world, "/data/orders-3/00000000000000000000.log.deleted", &size));

    partition_close(partition, true);
    log_world_restart(&world);
    partition = open_one(&world, &config, false);
    assert_int_equal(partition_facts(partition).log_start_offset, facts.log_start_offset);
    expect_all(&world, partition, sent + first, 10 - first);

    /* By time even the active segment goes: it is rolled first. */
    config.retention_ms = 1000;
    partition_configure(partition, &config);
    log_world_sleep(&world, 60000);
    facts = partition_facts(partition);
    assert_int_equal(facts.log_start_offset, 10);
    assert_int_equal(facts.end_offset, 10);
    assert_int_equal(facts.size, 0);
    partition_close(partition, true);
    log_world_restart(&world);
    partition = open_one(&world, &config, false);
    assert_int_equal(partition_facts(partition).end_offset, 10);
    partition_close(partition, true);
    free_sent(sent, 10);
    log_world_close(&world);
}

static void removal_done(void *owner, enum status status)
{
    assert_int_equal(status, STATUS_OK);
    *(bool *)owner = true;
}

static void test_remove(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 7});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent[2] = {0};
    send(partition, &sent[0], 1, 1, 10000, 1000);
    assert_true(log_world_until(&world, &sent[0].done, 10000));
    send(partition, &sent[1], 1, 1, 10000, 1000); /* still under way */
    bool removed = false;
    struct watched watched;
    watch_at(partition, &watched, 1, 100000);
    partition_remove(partition, removal_done, &removed);
    assert_true(sent[1].done);
    assert_int_equal(sent[1].append.status, STATUS_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(watched.fired, 1);
    assert_true(log_world_until(&world, &removed, 10000));
    uint64_t size;
    assert_null(sim_world_file(world.world, "/data/orders-3/00000000000000000000.log", &size));

    /* The name may come back at once. */
    partition = open_one(&world, &config, true);
    free_sent(sent, 2);
    send(partition, &sent[0], 9, 1, 10000, 1000);
    assert_true(log_world_until(&world, &sent[0].done, 10000));
    assert_int_equal(sent[0].append.base_offset, 0);
    log_world_sleep(&world, 1000);
    partition_close(partition, true);
    assert_null(sim_world_file(
        world.world,
        "/data/orders-3.42424242424242424242424242424242-delete/00000000000000000000.log", &size));
    free_sent(sent, 1);
    log_world_close(&world);
}

static void test_other_topic_id(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 8});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent = {0};
    send(partition, &sent, 1, 1, 10000, 1000);
    assert_true(log_world_until(&world, &sent.done, 10000));
    partition_close(partition, true);
    struct partition_options options = {.topic = "orders", .index = 3, .config = config};
    memset(options.topic_id.bytes, 0x43, 16);
    assert_int_equal(partition_open(&partition, world.store, &options),
                     STATUS_INCONSISTENT_TOPIC_ID);
    free_sent(&sent, 1);
    log_world_close(&world);
}

/* Space that is refused ahead of need stops no append, and is told once, with what to do. */
static void test_no_space_ahead(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 12});
    FILE *lines = tmpfile();
    assert_non_null(lines);
    world.diag.file = fileno(lines);
    struct partition_config config = log_config_default();
    config.segment_size_max = 200000;
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent[4] = {0};
    send(partition, &sent[0], 0, 1, 40000, 1000);
    assert_true(log_world_until(&world, &sent[0].done, 10000));
    struct sim_failure failure = {
        .kinds = 1U << OP_ALLOCATE, .first = 1, .lasting = true, .error = ENOSPC};
    sim_world_set_failure(world.world, &failure);
    for (size_t i = 1; i < 4; i++) {
        send(partition, &sent[i], i, 1, 40000, 1000);
        assert_true(log_world_until(&world, &sent[i].done, 10000));
        assert_int_equal(sent[i].append.status, STATUS_OK);
        log_world_sleep(&world, 3000);
    }
    char text[8192];
    diag_flush(&world.diag);
    rewind(lines);
    size_t size = fread(text, 1, sizeof(text) - 1, lines);
    text[size] = '\0';
    const char *line = strstr(text, "no space ahead of need");
    assert_non_null(line);
    assert_non_null(strstr(line, "error=\"No space left on device\" remedy=\"make room"));
    assert_null(strstr(line + 1, "no space ahead of need"));
    assert_null(strstr(text, "appends are refused"));
    world.diag.file = -1;
    fclose(lines);
    sim_world_set_failure(world.world, &(struct sim_failure){0});
    partition_close(partition, true);
    free_sent(sent, 4);
    log_world_close(&world);
}

static void set_opens(struct log_world *world, bool fail)
{
    struct sim_failure failure = {
        .kinds = fail ? 1U << OP_OPEN : 0, .first = 1, .lasting = true, .error = EMFILE};
    sim_world_set_failure(world->world, &failure);
}

/* An append that meets no descriptor waits, those behind it are refused, and both end by
 * themselves when there is one: nothing is taken for a failure of the disk. */
static void expect_wait(struct log_world *world, struct partition *partition, struct sent sent[2],
                        uint64_t tag)
{
    set_opens(world, true);
    send(partition, &sent[0], tag, 1, 40000, 1000);
    log_world_sleep(world, 3500);
    assert_false(sent[0].done);
    assert_int_equal(partition_facts(partition).state, PARTITION_FULL);
    send(partition, &sent[1], tag + 1, 1, 40000, 1000);
    assert_true(sent[1].done);
    assert_int_equal(sent[1].append.status, STATUS_KAFKA_STORAGE_ERROR);
    set_opens(world, false);
    log_world_sleep(world, 1500);
    assert_true(sent[0].done);
    assert_int_equal(sent[0].append.status, STATUS_OK);
    assert_int_equal(partition_facts(partition).state, PARTITION_OPEN);
    free_sent(&sent[1], 1);
    sent[1] = (struct sent){0};
    send(partition, &sent[1], tag + 1, 1, 40000, 1000);
    assert_true(log_world_until(world, &sent[1].done, 10000));
    assert_int_equal(sent[1].append.status, STATUS_OK);
}

/* The opens on the way of an append: of a roll, of a file that was closed at rest, of the tail
 * block after a start. And a stop while one waits. */
static void test_no_descriptor(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 13});
    FILE *lines = tmpfile();
    assert_non_null(lines);
    world.diag.file = fileno(lines);
    struct partition_config config = log_config_default();
    config.segment_size_max = 100000;
    struct partition *partition = open_one(&world, &config, true);
    enum { COUNT = 9 };
    struct sent sent[COUNT] = {0};
    for (size_t i = 0; i < 2; i++) {
        send(partition, &sent[i], i, 1, 40000, 1000);
        assert_true(log_world_until(&world, &sent[i].done, 10000));
    }
    log_world_sleep(&world, 500); /* the next file is made ahead */
    expect_wait(&world, partition, &sent[2], 2);
    assert_int_equal(partition_facts(partition).segment_count, 2);
    send(partition, &sent[4], 4, 1, 10000, 1000);
    log_world_sleep(&world, 3000); /* at rest */
    config.segment_size_max = 1000000;
    partition_configure(partition, &config);
    expect_wait(&world, partition, &sent[5], 5);
    partition_close(partition, false); /* with the space that it took ahead */
    log_world_restart(&world);
    world.diag.file = fileno(lines);
    partition = open_one(&world, &config, false);
    expect_wait(&world, partition, &sent[7], 7);
    expect_all(&world, partition, sent, COUNT);

    log_world_sleep(&world, 3000);
    set_opens(&world, true);
    struct sent last = {0};
    send(partition, &last, COUNT, 1, 40000, 1000);
    log_world_sleep(&world, 1500);
    partition_close(partition, true);
    assert_true(last.done);
    assert_int_equal(last.append.status, STATUS_KAFKA_STORAGE_ERROR);
    set_opens(&world, false);
    log_world_restart(&world);
    world.diag.file = fileno(lines);
    partition = open_one(&world, &config, false);
    assert_int_equal(partition_facts(partition).end_offset, COUNT);
    expect_all(&world, partition, sent, COUNT);

    char text[32768];
    diag_flush(&world.diag);
    rewind(lines);
    text[fread(text, 1, sizeof(text) - 1, lines)] = '\0';
    int told = 0;
    for (const char *at = text; (at = strstr(at, "no descriptor or memory")) != NULL; at++) {
        told += 1;
        assert_non_null(strstr(at, "error=\"Too many open files\" remedy=\"raise the limit"));
    }
    assert_int_equal(told, 4); /* once each time, however often it was tried */
    assert_null(strstr(text, "write failed"));
    assert_non_null(strstr(text, "step=name limit="));
    assert_non_null(strstr(text, "step=open limit="));
    assert_non_null(strstr(text, "step=tail limit="));
    world.diag.file = -1;
    fclose(lines);
    partition_close(partition, true);
    free_sent(&last, 1);
    free_sent(sent, COUNT);
    log_world_close(&world);
}

/* Headers at every distance from a block's end, batches of up to five blocks. */
static void test_straddling(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 9});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    enum { COUNT = 140 };
    static struct sent sent[COUNT];
    memset(sent, 0, sizeof(sent));
    for (size_t i = 0; i < COUNT; i++) {
        /* Each pair ends one byte later in its block than the pair before. */
        size_t size = i % 2 == 0 ? 1000 : 65536 * (1 + i % 5) - 999;
        send(partition, &sent[i], i, 1, size, 1000);
        assert_true(log_world_until(&world, &sent[i].done, 10000));
    }
    for (int round = 0; round < 2; round++) {
        expect_all(&world, partition, sent, COUNT);
        partition_close(partition, true);
        log_world_restart(&world);
        partition = open_one(&world, &config, false);
    }
    partition_close(partition, true);
    free_sent(sent, COUNT);
    log_world_close(&world);
}

/* Once warm neither an append nor a read asks the heap; at rest a partition holds no descriptor. */
static void test_no_allocation(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 10, .cache_size = 4 * MIB});
    struct partition_config config = log_config_default();
    struct partition *partition = open_one(&world, &config, true);
    struct sent sent = {.memory = malloc(40000)};
    size_t size = log_batch_make(sent.memory, 40000, 1, 1, 30000, 1000);
    uint64_t calls = 0;
    for (int i = 0; i < 400; i++) {
        calls = i == 200 ? world.heap.calls : calls;
        send_memory(partition, &sent, size, 1000);
        assert_true(log_world_until(&world, &sent.done, 10000));
        struct got got = {.read = {.offset = i, .size_max = 1, .first_whole = true}};
        got.read.done = got_done;
        got.read.owner = &got;
        partition_read(partition, &got.read);
        assert_true(log_world_until(&world, &got.done, 1000));
        assert_int_equal(got.read.size, size);
        partition_read_release(partition, &got.read);
    }
    /* The block table doubles once (128 to 256 rows); nothing else. */
    assert_in_range(world.heap.calls - calls, 0, 1);
    log_world_sleep(&world, 5000);
    assert_int_equal(pages_size(world.pages, PAGES_SLAB), 0);
    partition_close(partition, true);
    free_sent(&sent, 1);
    log_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_read),     cmocka_unit_test(test_offsets_and_sizes),
        cmocka_unit_test(test_watch),           cmocka_unit_test(test_watch_exact),
        cmocka_unit_test(test_log_append_time), cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_epochs_of_tail),  cmocka_unit_test(test_retention),
        cmocka_unit_test(test_remove),          cmocka_unit_test(test_other_topic_id),
        cmocka_unit_test(test_straddling),      cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_no_space_ahead),  cmocka_unit_test(test_no_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
