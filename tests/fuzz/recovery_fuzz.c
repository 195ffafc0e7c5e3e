/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder with any bytes in it opens on the simulated ring, without a crash and twice alike. The
 * input's first byte says which files there are, the second whose checksums are put right first, so
 * that the fields behind them are reached too; each file is two bytes of size and its bytes:
 *   1 .log   2 .tail   4 .snapshot   8 leader-epoch-checkpoint   16 .txnindex   32 a second .log
 * Every record that is served afterwards lies in a batch with the right CRC.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "storage/tail.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/log_world.h"
#include "wire/batch.h"
#include "wire/crc32c.h"

static const char *const names[] = {
    "00000000000000000000.log", "00000000000000000000.tail",     "00000000000000000005.snapshot",
    "leader-epoch-checkpoint",  "00000000000000000000.txnindex", "00000000000000000010.log",
};

static void put_file(struct log_world *world, const char *name, const uint8_t *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof(path), "/data/t-0/%s", name);
    struct op op = {.kind = OP_OPEN, .path = path, .flags = OPEN_WRITE | OPEN_CREATE};
    int64_t file = ring_call(world->ring, &op);
    check(file >= 0);
    if (size > 0) {
        struct iovec slice = {(void *)(uintptr_t)data, size};
        op = (struct op){
            .kind = OP_WRITE, .file = (int32_t)file, .vector = &slice, .vector_count = 1};
        check(ring_call(world->ring, &op) == (int64_t)size);
    }
    op = (struct op){.kind = OP_CLOSE, .file = (int32_t)file};
    check(ring_call(world->ring, &op) == 0);
}

struct got {
    struct partition_read read;
    bool done;
};

static void got_done(struct partition_read *read)
{
    ((struct got *)read->owner)->done = true;
}

/* One read of everything; what comes is whole batches with right CRCs, but for the last. */
static void read_all(struct log_world *world, struct partition *partition)
{
    struct partition_facts facts = partition_facts(partition);
    check(facts.log_start_offset <= facts.last_stable_offset &&
          facts.last_stable_offset <= facts.high_watermark &&
          facts.high_watermark <= facts.end_offset);
    struct got got = {.read = {.offset = facts.log_start_offset,
                               .size_max = 1 << 20,
                               .first_whole = true,
                               .isolation = READ_COMMITTED}};
    got.read.done = got_done;
    got.read.owner = &got;
    partition_read(partition, &got.read);
    check(log_world_until(world, &got.done, 100000));
    uint8_t *bytes = malloc(got.read.size + 1);
    check(bytes != NULL);
    size_t size = 0;
    for (int32_t i = 0; i < got.read.slice_count; i++) {
        memcpy(bytes + size, got.read.slices[i].data, got.read.slices[i].size);
        size += got.read.slices[i].size;
    }
    size_t at = 0;
    while (size - at >= BATCH_HEADER_SIZE && batch_size_of(bytes + at) <= (int64_t)(size - at)) {
        size_t one = (size_t)batch_size_of(bytes + at);
        if (batch_size_of(bytes + at) < BATCH_HEADER_SIZE) {
            break; /* below D a block whose sum is right is believed, and the sums were put right */
        }
        struct batch_header header;
        batch_header_decode(&header, bytes + at);
        uint32_t crc = header.crc;
        batch_seal(bytes + at, one);
        batch_header_decode(&header, bytes + at);
        check(header.crc == crc);
        at += one;
    }
    free(bytes);
    partition_read_release(partition, &got.read);
}

enum folder_file { FILE_LOG, FILE_TAIL, FILE_SNAPSHOT, FILE_EPOCHS, FILE_ABORTED, FILE_LOG_NEXT };

static void repair_log(uint8_t *data, size_t size)
{
    size_t at = 0;
    while (size - at >= BATCH_HEADER_SIZE) {
        int64_t one = batch_size_of(data + at);
        if (one < BATCH_HEADER_SIZE || (uint64_t)one > size - at) {
            return;
        }
        batch_seal(data + at, (size_t)one);
        at += (size_t)one;
    }
}

static void repair_tail(uint8_t *data, size_t size, const struct uuid *topic_id)
{
    uint64_t seed = segment_seed_of(topic_id, 0, 0, UINT32_MAX);
    for (size_t at = 0; at + TAIL_PAGE_SIZE <= size; at += TAIL_PAGE_SIZE) {
        uint64_t sum = hash_bytes(bytes_of(data + at, TAIL_PAGE_SIZE - 8), seed);
        memcpy(data + at + TAIL_PAGE_SIZE - 8, &sum, sizeof(sum));
    }
}

static void repair(enum folder_file file, uint8_t *data, size_t size, const struct uuid *topic_id)
{
    switch (file) {
    case FILE_LOG:
    case FILE_LOG_NEXT:
        repair_log(data, size);
        break;
    case FILE_TAIL:
        repair_tail(data, size, topic_id);
        break;
    case FILE_SNAPSHOT:
        if (size >= 6) {
            put_be32(data + 2, crc32c(0, data + 6, size - 6));
        }
        break;
    case FILE_EPOCHS:
    case FILE_ABORTED:
        break;
    }
}

static void put_files(struct log_world *world, const uint8_t *data, size_t size,
                      const struct uuid *topic_id)
{
    static uint8_t memory[65536];
    size_t at = 2;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if ((data[0] & 1U << i) == 0 || size - at < 2) {
            continue;
        }
        size_t part = get_be16(data + at);
        at += 2;
        part = part < size - at ? part : size - at;
        memcpy(memory, data + at, part);
        at += part;
        if ((data[1] & 1U << i) != 0) {
            repair((enum folder_file)i, memory, part, topic_id);
        }
        put_file(world, names[i], memory, part);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 300000) {
        return 0;
    }
    static struct log_world world;
    log_world_open(&world, &(struct log_world_options){
                               .seed = 1, .slab_size = 1 * MIB, .cache_size = 4 * MIB});
    struct op op = {.kind = OP_MKDIR, .path = "/data/t-0"};
    check(ring_call(world.ring, &op) == 0);
    struct partition_options options = {
        .topic = "t", .index = 0, .leader_epoch = 1, .config = log_config_default()};
    for (uint8_t i = 0; i < 16; i++) {
        options.topic_id.bytes[i] = i;
    }
    put_files(&world, data, size, &options.topic_id);
    int64_t end = -1;
    for (int round = 0; round < 2; round++) {
        struct partition *partition;
        enum status status = partition_open(&partition, world.store, &options);
        check(status == STATUS_OK);
        struct partition_facts facts = partition_facts(partition);
        check(round == 0 || facts.high_watermark == end);
        end = facts.high_watermark;
        read_all(&world, partition);
        partition_close(partition, false);
    }
    log_world_close(&world);
    return 0;
}
