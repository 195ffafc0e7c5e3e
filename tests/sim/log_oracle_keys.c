/* SPDX-License-Identifier: Apache-2.0 */
/* O9: the key index against a walk over the array. */
#include "storage/key_entry.h"
#include "tests/sim/log_oracle.h"
#include "wire/record.h"

struct newest {
    int64_t decided[LOG_BATCH_KEYS];
    int64_t held[ORACLE_PRODUCERS][LOG_BATCH_KEYS]; /* of open transactions */
};

static void raise_to(int64_t *offset, int64_t to)
{
    *offset = to > *offset ? to : *offset;
}

static void newest_decide(struct newest *newest, const struct oracle_entry *marker)
{
    for (int key = 0; key < LOG_BATCH_KEYS; key++) {
        int64_t *held = &newest->held[marker->producer][key];
        if (marker->commit) {
            raise_to(&newest->decided[key], *held);
        }
        *held = -1;
    }
}

static void newest_note(struct oracle *oracle, struct newest *newest,
                        const struct oracle_entry *entry)
{
    uint8_t scratch[1024];
    struct record_stream *stream = NULL;
    struct record record;
    bool held = entry->producer >= 0 && oracle->producers[entry->producer].transactional;
    int64_t *offsets = held ? newest->held[entry->producer] : newest->decided;
    require(record_stream_open(&stream, bytes_of(entry->memory, entry->size),
                               (struct batch_scratch){scratch, sizeof(scratch), NULL},
                               UINT64_C(1) << 30) == STATUS_OK);
    while (record_stream_next(stream, &record)) {
        if (record.key.data == NULL) {
            continue; /* of a batch that must be refused, and was not given a key */
        }
        raise_to(&offsets[record.key.data[0] - 'a'], record.offset);
    }
    require(record_stream_status(stream) == STATUS_OK);
    record_stream_close(stream);
}

/* Of every key, below the high watermark. */
static struct newest newest_of(struct oracle *oracle)
{
    struct partition_facts facts = partition_facts(oracle->partition);
    struct newest newest;
    memset(&newest, 0xff, sizeof(newest)); /* -1 */
    for (size_t i = 0; i < oracle->count; i++) {
        const struct oracle_entry *entry = oracle->entries[i];
        int64_t offset = oracle_offset(entry);
        if (entry->fate == FATE_FAILED || offset < 0 || offset >= facts.high_watermark) {
            continue;
        }
        if (entry->marker) {
            newest_decide(&newest, entry);
        } else {
            newest_note(oracle, &newest, entry);
        }
    }
    return newest;
}

uint64_t oracle_check_keys(struct oracle *oracle)
{
    struct newest newest = newest_of(oracle);
    uint64_t known = 0;
    for (int i = 0; i < LOG_BATCH_KEYS; i++) {
        uint8_t key = (uint8_t)('a' + i);
        struct key_entry entry;
        if (partition_key_get(oracle->partition, bytes_of(&key, 1), &entry)) {
            require(entry.offset == newest.decided[i]);
            known += 1;
        }
    }
    return known;
}

static void found_done(struct partition_key_find *find)
{
    *(bool *)find->owner = true;
}

/* While it waits the log goes on: what it finds was the newest at some moment of that time. */
static bool find_key(struct oracle *oracle, int index)
{
    uint8_t key = (uint8_t)('a' + index);
    bool done = false;
    bool faulty = oracle->faulty || oracle->lying || oracle_is_shaken(oracle);
    struct partition_key_find find = {.key = {&key, 1}, .done = found_done, .owner = &done};
    struct newest before = newest_of(oracle);
    partition_key_find(oracle->partition, &find);
    require(log_world_until(&oracle->world, &done, 1000000));
    if (find.status != STATUS_OK) {
        require(faulty || oracle_is_shaken(oracle) || find.status == STATUS_NO_MEMORY ||
                find.status == STATUS_PENDING);
        return false;
    }
    struct newest after = newest_of(oracle);
    if (oracle->lying) {
        return true;
    }
    int64_t start = partition_facts(oracle->partition).log_start_offset;
    require(find.offset <= after.decided[index]);
    require(find.offset >= before.decided[index] ||
            (find.offset < 0 && before.decided[index] < start));
    return find.from_hint;
}

uint64_t oracle_find_keys(struct oracle *oracle, int count)
{
    uint64_t from_hints = 0;
    for (int i = 0; i < count; i++) {
        if (oracle->partition == NULL ||
            partition_facts(oracle->partition).state == PARTITION_FAILED) {
            break;
        }
        int index = count == LOG_BATCH_KEYS ? i : (int)pick(oracle, LOG_BATCH_KEYS);
        from_hints += find_key(oracle, index);
    }
    return from_hints;
}
