/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/log_oracle.h"

#include <string.h>

#include "base/check.h"
#include "storage/producers.h"
#include "wire/batch.h"
#include "wire/record.h"

#define TICKS_MAX 1000000

static const char *const fate_names[] = {"sent", "acked", "failed", "refused"};

void oracle_fail(const struct oracle *oracle, const char *file, int line, const char *what)
{
    fprintf(stderr, "seed %llu: %s:%d: %s\n", (unsigned long long)oracle->seed, file, line, what);
    for (size_t i = 0; oracle->world.trace && i < oracle->count; i++) {
        const struct oracle_entry *entry = oracle->entries[i];
        fprintf(stderr, "%4zu %s offsets %lld..%lld size %zu life %u timestamp %lld", i,
                fate_names[entry->fate], (long long)oracle_offset(entry),
                (long long)oracle_offset_last(entry), entry->size, entry->life,
                (long long)entry->timestamp);
        fprintf(stderr, " producer %d sequence %d%s%s%s\n", entry->producer, entry->sequence,
                entry->marker ? " marker" : "", entry->wrong ? " wrong" : "",
                entry->seen ? " seen" : "");
    }
    abort();
}

int64_t oracle_offset(const struct oracle_entry *entry)
{
    return (int64_t)get_be64(entry->memory);
}

int64_t oracle_offset_last(const struct oracle_entry *entry)
{
    return oracle_offset(entry) + entry->append.header.last_offset_delta;
}

enum status oracle_open(struct oracle *oracle, bool fresh)
{
    struct partition_options options = {.topic = "t",
                                        .index = 0,
                                        .leader_epoch = oracle->epoch,
                                        .fresh = fresh,
                                        .config = oracle->config};
    memset(options.topic_id.bytes, 7, 16);
    oracle->life += 1;
    oracle->shaken = false;
    oracle->low = -1;
    oracle->high = 0;
    return partition_open(&oracle->partition, oracle->world.store, &options);
}

/* ---- sending ---- */

static void entry_done(struct partition_append *append)
{
    struct oracle_entry *entry = append->owner;
    struct oracle *oracle = entry->oracle;
    require(entry->fate == FATE_SENT); /* one answer each */
    switch (append->status) {
    case STATUS_OK:
        require(!entry->wrong);
        require(append->base_offset == oracle_offset(entry));
        entry->fate = FATE_ACKED;
        break;
    case STATUS_KAFKA_STORAGE_ERROR:
        entry->fate = FATE_FAILED;
        oracle->shaken = true;
        break;
    default:
        require(entry->wrong);
        entry->fate = FATE_REFUSED;
        break;
    }
}

static size_t make_marker(uint8_t *memory, size_t size_max, bool commit, int64_t timestamp)
{
    struct batch_builder builder;
    batch_builder_init(&builder, memory, size_max);
    uint8_t key[4] = {0, 0, 0, commit};
    uint8_t value[6] = {0, 0, 0, 0, 0, 1};
    batch_builder_add(&builder, timestamp, bytes_of(key, 4), bytes_of(value, 6), NULL, 0);
    struct bytes out;
    struct batch_scratch scratch = {0};
    check(batch_builder_finish(&builder, CODEC_NONE, 0, scratch, 0, &out) == STATUS_OK);
    memmove(memory, out.data, out.size);
    return out.size;
}

static size_t pick_size(struct oracle *oracle)
{
    switch (pick(oracle, oracle->big ? 9 : 7)) {
    case 0:
    case 1:
        return 120;
    case 2:
    case 3:
        return 100 + pick(oracle, 2000);
    case 4:
    case 5:
        return 100 + pick(oracle, 30000);
    case 6:
        return 60000 + pick(oracle, 12000);
    default:
        return 65536 + pick(oracle, 300000);
    }
}

static void set_producer(struct oracle *oracle, struct oracle_entry *entry, int16_t epoch)
{
    struct batch_header header;
    batch_header_decode(&header, entry->memory);
    header.producer_id = 1000 + entry->producer;
    header.producer_epoch = epoch;
    header.base_sequence = entry->marker ? -1 : entry->sequence;
    if (oracle->producers[entry->producer].transactional) {
        header.attributes |= BATCH_TRANSACTIONAL;
    }
    if (entry->marker) {
        header.attributes |= BATCH_CONTROL;
    }
    batch_header_encode(&header, entry->memory);
    batch_seal(entry->memory, entry->size);
}

static void submit(struct oracle *oracle, struct oracle_entry *entry)
{
    entry->append = (struct partition_append){.batch = entry->memory,
                                              .size = entry->size,
                                              .now_ms = ring_wall_ms(oracle->world.ring),
                                              .done = entry_done,
                                              .owner = entry};
    uint8_t before[16]; /* offset and epoch of an earlier attempt, which may be on the disk */
    memcpy(before, entry->memory, sizeof(before));
    batch_stamp(entry->memory, 0, -1);
    batch_header_decode(&entry->append.header, entry->memory);
    batch_stamp(entry->memory, -1, -1);
    entry->fate = FATE_SENT;
    entry->life = oracle->life;
    partition_append(oracle->partition, &entry->append);
    if (entry->fate == FATE_FAILED && oracle_offset(entry) < 0) {
        memcpy(entry->memory, before, sizeof(before));
    }
}

static struct oracle_entry *entry_new(struct oracle *oracle, size_t room)
{
    struct oracle_entry *entry = calloc(1, sizeof(*entry));
    check(entry != NULL);
    entry->oracle = oracle;
    entry->memory = malloc(room);
    check(entry->memory != NULL);
    entry->producer = -1;
    oracle->clock_ms += 6 + (int64_t)pick(oracle, 20); /* never the same twice */
    entry->timestamp = oracle->clock_ms;
    oracle->entries[oracle->count] = entry;
    oracle->count += 1;
    return entry;
}

static bool producer_has(const struct oracle *oracle, int producer, enum oracle_fate fate)
{
    for (size_t i = 0; i < oracle->count; i++) {
        const struct oracle_entry *entry = oracle->entries[i];
        if (entry->producer == producer && entry->fate == fate && !entry->wrong &&
            !(entry->marker && fate == FATE_FAILED)) {
            return true;
        }
    }
    return false;
}

static int pick_producer(struct oracle *oracle)
{
    int producer = (int)pick(oracle, (uint64_t)ORACLE_PRODUCERS * 2) - ORACLE_PRODUCERS;
    /* What failed has to come first again. */
    return producer < 0 || producer_has(oracle, producer, FATE_FAILED) ? -1 : producer;
}

void oracle_send(struct oracle *oracle)
{
    if (oracle->count == ORACLE_ENTRIES_MAX) {
        return;
    }
    int number = pick_producer(oracle);
    int32_t records = 1 + (int32_t)pick(oracle, 5);
    size_t wanted = pick_size(oracle);
    size_t room = wanted + 4096;
    struct oracle_entry *entry = entry_new(oracle, room);
    struct oracle_producer *producer = number < 0 ? NULL : &oracle->producers[number];
    entry->producer = number;
    if (producer != NULL && producer->transactional && pick(oracle, 3) == 0) {
        entry->marker = true;
        entry->commit = pick(oracle, 2) == 0;
        entry->size = make_marker(entry->memory, room, entry->commit, entry->timestamp);
    } else {
        entry->size = log_batch_encode(entry->memory, room,
                                       &(struct log_batch){.tag = oracle->sent_total,
                                                           .count = records,
                                                           .size = wanted,
                                                           .timestamp = entry->timestamp,
                                                           .keyed = oracle->config.key_index});
    }
    if (producer != NULL) {
        entry->sequence = producer->next_sequence;
        producer->next_sequence += entry->marker ? 0 : records;
        set_producer(oracle, entry, 3);
    }
    oracle->sent_total += 1;
    submit(oracle, entry);
}

/* The newest acknowledged batch of a producer that lies in the log for sure. */
static bool producer_is_known(const struct oracle *oracle, int producer)
{
    for (size_t i = 0; i < oracle->count; i++) {
        const struct oracle_entry *entry = oracle->entries[i];
        if (entry->producer == producer && !entry->marker && entry->fate == FATE_ACKED &&
            oracle_offset(entry) >= partition_facts(oracle->partition).log_start_offset) {
            return true;
        }
    }
    return false;
}

void oracle_send_wrong(struct oracle *oracle)
{
    int number = pick_producer(oracle);
    if (oracle->count == ORACLE_ENTRIES_MAX || number < 0 || !producer_is_known(oracle, number)) {
        return;
    }
    struct oracle_entry *entry = entry_new(oracle, 4096);
    entry->producer = number;
    entry->wrong = true;
    bool old = pick(oracle, 2) == 0;
    entry->sequence = oracle->producers[number].next_sequence + (old ? 0 : 7);
    entry->size = log_batch_make(entry->memory, 4096, oracle->sent_total, 1, 200, entry->timestamp);
    set_producer(oracle, entry, old ? 2 : 3);
    oracle->sent_total += 1;
    submit(oracle, entry);
}

/* ---- sending again ---- */

static void twin_done(struct partition_append *append)
{
    struct oracle_twin *twin = append->owner;
    struct oracle *oracle = twin->oracle;
    struct oracle_entry *original = twin->original;
    if (append->status == STATUS_OK) {
        require(append->base_offset == oracle_offset(original)); /* O6 */
        original->seen = true;
    } else {
        /* A snapshot, read at an open or after an error, knows a producer's last batch alone. */
        bool forgotten =
            !twin->last && (original->life != oracle->life || oracle_is_shaken(oracle));
        require(append->status == STATUS_KAFKA_STORAGE_ERROR ||
                (forgotten && append->status == STATUS_OUT_OF_ORDER_SEQUENCE_NUMBER));
    }
    free(twin->memory);
    twin->original = NULL;
}

/* One of the last five data batches of one producer, no marker behind it. */
static struct oracle_entry *pick_original(struct oracle *oracle, bool *last)
{
    int producer = (int)pick(oracle, ORACLE_PRODUCERS);
    uint64_t skip = pick(oracle, 5);
    int64_t log_start = partition_facts(oracle->partition).log_start_offset;
    *last = true;
    for (size_t i = oracle->count; i > 0; i--) {
        struct oracle_entry *entry = oracle->entries[i - 1];
        if (entry->producer != producer || entry->wrong || entry->fate == FATE_REFUSED) {
            continue;
        }
        if (entry->marker || entry->fate == FATE_FAILED ||
            (oracle_offset(entry) >= 0 && oracle_offset(entry) < log_start)) {
            return NULL;
        }
        if (skip == 0) {
            return entry;
        }
        skip -= 1;
        *last = false;
    }
    return NULL;
}

void oracle_send_twin(struct oracle *oracle)
{
    struct oracle_twin *twin = oracle->twins;
    while (twin < oracle->twins + ORACLE_TWINS && twin->original != NULL) {
        twin += 1;
    }
    bool last;
    struct oracle_entry *original = pick_original(oracle, &last);
    if (twin == oracle->twins + ORACLE_TWINS || original == NULL) {
        return;
    }
    *twin = (struct oracle_twin){.oracle = oracle, .original = original, .last = last};
    twin->memory = malloc(original->size);
    check(twin->memory != NULL);
    memcpy(twin->memory, original->memory, original->size);
    twin->append = (struct partition_append){.batch = twin->memory,
                                             .size = original->size,
                                             .now_ms = ring_wall_ms(oracle->world.ring),
                                             .header = original->append.header,
                                             .done = twin_done,
                                             .owner = twin};
    twin->append.header.base_offset = 0;
    partition_append(oracle->partition, &twin->append);
}

void oracle_send_failed(struct oracle *oracle)
{
    size_t count = oracle->count;
    for (size_t i = 0; i < count; i++) {
        struct oracle_entry *entry = oracle->entries[i];
        if (partition_facts(oracle->partition).state != PARTITION_OPEN) {
            return;
        }
        if (entry->fate != FATE_FAILED || entry->producer < 0 || entry->marker || entry->wrong ||
            entry->life != oracle->life || producer_has(oracle, entry->producer, FATE_SENT)) {
            continue;
        }
        /* The whole train of this producer, in its order, goes to the end. */
        int producer = entry->producer;
        for (size_t k = i; k < count;) {
            struct oracle_entry *next = oracle->entries[k];
            if (next->producer != producer || next->fate != FATE_FAILED || next->marker ||
                next->wrong) {
                k += 1;
                continue;
            }
            memmove(&oracle->entries[k], &oracle->entries[k + 1],
                    (oracle->count - k - 1) * sizeof(next));
            oracle->entries[oracle->count - 1] = next;
            count -= 1;
            submit(oracle, next);
        }
        i -= 1;
    }
}

/* ---- reading ---- */

/* The batch at `offset` whose bytes begin as these do. */
static struct oracle_entry *oracle_match(struct oracle *oracle, int64_t offset, struct bytes bytes)
{
    for (size_t i = 0; i < oracle->count; i++) {
        struct oracle_entry *entry = oracle->entries[i];
        if (oracle_offset(entry) != offset || entry->wrong) {
            continue;
        }
        size_t part = entry->size < bytes.size ? entry->size : bytes.size;
        if (memcmp(entry->memory, bytes.data, part) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* Compares an answer with the array; answers the offset behind its last whole batch. */
static int64_t oracle_compare(struct oracle *oracle, struct partition_read *read)
{
    uint8_t *memory = malloc(read->size + 1);
    check(memory != NULL);
    size_t size = 0;
    for (int32_t i = 0; i < read->slice_count; i++) {
        memcpy(memory + size, read->slices[i].data, read->slices[i].size);
        size += read->slices[i].size;
    }
    require(size == read->size);
    int64_t offset = read->offset;
    size_t at = 0;
    while (at < size) {
        struct bytes rest = bytes_of(memory + at, size - at);
        if (at == 0 && rest.size >= 8) { /* the batch that contains the offset, whole */
            offset = (int64_t)get_be64(memory);
            require(offset <= read->offset || oracle->lying); /* a hole that two lies made */
        }
        struct oracle_entry *entry = oracle_match(oracle, offset, rest);
        require(entry != NULL);
        require(oracle_offset_last(entry) < read->high_watermark); /* O4 */
        require(at != 0 || oracle_offset_last(entry) >= read->offset);
        require(at != 0 || entry->size <= size);
        at += entry->size;
        if (at <= size) { /* the first bytes alone may be those of another one with this offset */
            entry->seen = true;
            offset = oracle_offset_last(entry) + 1;
        }
    }
    free(memory);
    return offset > read->offset ? offset : read->offset;
}

struct got {
    struct partition_read read;
    bool done;
};

static void got_done(struct partition_read *read)
{
    ((struct got *)read->owner)->done = true;
}

/* A read may fail where the disk does, and where retention was faster. */
static void check_refusal(struct oracle *oracle, const struct partition_read *read)
{
    if (read->offset < partition_facts(oracle->partition).log_start_offset) {
        return;
    }
    switch (read->status) {
    case STATUS_OK:
    case STATUS_NO_MEMORY:
        return;
    case STATUS_OFFSET_OUT_OF_RANGE:
        require(oracle->faulty || oracle->lying);
        return;
    case STATUS_CORRUPT_MESSAGE:
        require(oracle->lying);
        return;
    default:
        require(read->status == STATUS_KAFKA_STORAGE_ERROR);
        require(oracle->faulty || oracle->lying || oracle_is_shaken(oracle));
        return;
    }
}

int64_t oracle_read(struct oracle *oracle, int64_t offset, uint32_t size_max)
{
    struct got got = {.read = {.offset = offset, .size_max = size_max, .first_whole = true}};
    got.read.done = got_done;
    got.read.owner = &got;
    partition_read(oracle->partition, &got.read);
    require(log_world_until(&oracle->world, &got.done, TICKS_MAX));
    int64_t next = offset;
    if (got.read.status == STATUS_OK) {
        next = oracle_compare(oracle, &got.read);
        require(next > offset || got.read.high_watermark <= offset || oracle->lying);
    } else {
        check_refusal(oracle, &got.read);
    }
    partition_read_release(oracle->partition, &got.read);
    return next;
}

static void reader_done(struct partition_read *read)
{
    ((struct oracle *)read->owner)->reader.done = true;
}

void oracle_reader_step(struct oracle *oracle)
{
    struct partition_read *read = &oracle->reader.read;
    if (oracle->reader.busy && oracle->reader.done) {
        if (read->status == STATUS_OK) {
            (void)oracle_compare(oracle, read);
        } else if (oracle->partition != NULL) {
            /* What it met was decided while it was under way: the disk may be sound again by now.
             */
            bool faulty = oracle->faulty;
            oracle->faulty = faulty || oracle->reader.faulty;
            check_refusal(oracle, read);
            oracle->faulty = faulty;
        }
        partition_read_release(oracle->partition, read);
        oracle->reader.busy = false;
    }
    if (oracle->reader.busy || oracle->partition == NULL) {
        return;
    }
    struct partition_facts facts = partition_facts(oracle->partition);
    if (facts.high_watermark <= facts.log_start_offset || pick(oracle, 2) == 0) {
        return;
    }
    uint64_t span = (uint64_t)(facts.high_watermark - facts.log_start_offset);
    uint64_t back = pick(oracle, 3) == 0 ? pick(oracle, span) : pick(oracle, span < 9 ? span : 9);
    *read = (struct partition_read){.offset = facts.high_watermark - 1 - (int64_t)back,
                                    .size_max = (uint32_t)pick(oracle, 300000),
                                    .first_whole = pick(oracle, 2) == 0,
                                    .done = reader_done,
                                    .owner = oracle};
    oracle->reader.busy = true;
    oracle->reader.done = false;
    oracle->reader.faulty = oracle->faulty;
    partition_read(oracle->partition, read);
}

struct looked {
    struct partition_lookup lookup;
    bool done;
};

static void looked_done(struct partition_lookup *lookup)
{
    ((struct looked *)lookup->owner)->done = true;
}

void oracle_look_up(struct oracle *oracle)
{
    struct looked looked = {
        .lookup = {.timestamp = 1 + (int64_t)pick(oracle, (uint64_t)(oracle->clock_ms + 20))}};
    struct partition_facts facts = partition_facts(oracle->partition);
    bool max = pick(oracle, 4) == 0;
    if (max) {
        looked.lookup.timestamp = LOOKUP_MAX_TIMESTAMP;
    }
    looked.lookup.done = looked_done;
    looked.lookup.owner = &looked;
    partition_lookup(oracle->partition, &looked.lookup);
    int64_t expected = -1;
    int64_t best = INT64_MIN;
    for (size_t i = 0; i < oracle->count; i++) {
        struct oracle_entry *entry = oracle->entries[i];
        if (entry->fate == FATE_FAILED || oracle_offset(entry) < facts.log_start_offset ||
            oracle_offset(entry) >= facts.high_watermark) {
            continue;
        }
        for (int32_t k = 0; k <= entry->append.header.last_offset_delta; k++) {
            int64_t timestamp = entry->timestamp + k;
            if (max ? timestamp > best : (expected < 0 && timestamp >= looked.lookup.timestamp)) {
                best = timestamp;
                expected = oracle_offset(entry) + k;
            }
        }
    }
    require(log_world_until(&oracle->world, &looked.done, TICKS_MAX));
    bool moved = partition_facts(oracle->partition).log_start_offset != facts.log_start_offset;
    /* A failed write's reload ends look-ups too, also when the fault is over by then. */
    require(looked.lookup.status == STATUS_OK || oracle->faulty || oracle_is_shaken(oracle) ||
            moved);
    if (looked.lookup.status == STATUS_OK && !moved) {
        require(looked.lookup.offset == expected);
        require(expected < 0 || looked.lookup.timestamp_found == best);
    }
}

/* ---- states ---- */

void oracle_check_facts(struct oracle *oracle)
{
    struct partition_facts facts = partition_facts(oracle->partition);
    require(facts.log_start_offset <= facts.last_stable_offset);
    require(facts.last_stable_offset <= facts.high_watermark);
    require(facts.high_watermark <= facts.end_offset);
    require(facts.high_watermark >= oracle->high);
    require(facts.log_start_offset >= oracle->low);
    if (facts.log_start_offset > oracle->low && oracle->low >= 0 && !oracle->faulty) {
        require(facts.size >= oracle->config.retention_size);
    }
    oracle->low = facts.log_start_offset;
    oracle->high = facts.high_watermark;
}

/* A log learns of aborted transactions in a sealed segment when that is first read. False: it could
 * not be. */
static bool touch_aborted(struct oracle *oracle)
{
    bool touched = true;
    uint64_t failures = store_counters(oracle->world.store)->failures;
    for (size_t i = 0; i < oracle->count; i++) {
        struct oracle_entry *entry = oracle->entries[i];
        struct partition_facts facts = partition_facts(oracle->partition);
        int64_t offset = oracle_offset(entry);
        if (entry->marker && !entry->commit && entry->fate != FATE_FAILED &&
            offset >= facts.log_start_offset && offset < facts.high_watermark) {
            touched = oracle_read(oracle, offset, 1) > offset && touched;
        }
    }
    for (int i = 0; i < 4; i++) { /* upkeep replays what no hint could tell */
        (void)log_world_tick(&oracle->world);
    }
    /* A failed write has the log loaded again, and forget. */
    return touched && store_counters(oracle->world.store)->failures == failures;
}

void oracle_check_transactions(struct oracle *oracle)
{
    bool touched = touch_aborted(oracle);
    struct partition_facts facts = partition_facts(oracle->partition);
    if (facts.log_start_offset > 0 || facts.state == PARTITION_FAILED) {
        return; /* what began before it is half known */
    }
    int64_t open[ORACLE_PRODUCERS];
    int64_t stable = facts.high_watermark;
    int32_t aborted = 0;
    for (int i = 0; i < ORACLE_PRODUCERS; i++) {
        open[i] = -1;
    }
    for (size_t i = 0; i < oracle->count; i++) {
        struct oracle_entry *entry = oracle->entries[i];
        int64_t offset = oracle_offset(entry);
        if (entry->fate == FATE_FAILED || offset < 0 || offset >= facts.high_watermark ||
            entry->producer < 0 || !oracle->producers[entry->producer].transactional) {
            continue;
        }
        if (entry->marker) {
            aborted += !entry->commit && open[entry->producer] >= 0;
            open[entry->producer] = -1;
        } else if (open[entry->producer] < 0) {
            open[entry->producer] = offset;
        }
    }
    for (int i = 0; i < ORACLE_PRODUCERS; i++) {
        if (open[i] >= 0 && open[i] < stable) {
            stable = open[i];
        }
    }
    require(facts.last_stable_offset == stable);
    static struct producers_aborted list[ORACLE_ENTRIES_MAX];
    int32_t count = producers_aborted_list(partition_producers(oracle->partition), 0,
                                           facts.high_watermark, list, ORACLE_ENTRIES_MAX);
    int32_t durable = 0;
    for (int32_t i = 0; i < count; i++) {
        durable += list[i].last_offset < facts.high_watermark;
    }
    require(touched ? durable == aborted : durable <= aborted);
}

void oracle_check_epochs(struct oracle *oracle)
{
    struct partition_facts facts = partition_facts(oracle->partition);
    if (facts.log_start_offset > 0) {
        return;
    }
    if (facts.state == PARTITION_FAILED) {
        return; /* it may not even have been read back */
    }
    for (int32_t epoch = 1; epoch <= oracle->epoch; epoch++) {
        bool any = false;
        int64_t behind = 0;                /* of the epoch's last batch */
        int64_t before = facts.end_offset; /* the first one of a later epoch */
        for (size_t i = 0; i < oracle->count; i++) {
            const struct oracle_entry *entry = oracle->entries[i];
            int64_t offset = oracle_offset(entry);
            if (entry->fate == FATE_FAILED || offset < 0 || offset >= facts.high_watermark) {
                continue;
            }
            int32_t its = (int32_t)get_be32(entry->memory + 12);
            any = any || its == epoch;
            if (its <= epoch && oracle_offset_last(entry) >= behind) {
                behind = oracle_offset_last(entry) + 1;
            }
            if (its > epoch && offset < before) {
                before = offset;
            }
        }
        struct partition_epoch_end end = partition_epoch_end(oracle->partition, epoch);
        if (any) {
            require(end.epoch == epoch);
            require(end.end_offset >= behind && end.end_offset <= before);
        }
    }
}

bool oracle_is_answered(const struct oracle *oracle)
{
    for (size_t i = 0; i < oracle->count; i++) {
        if (oracle->entries[i]->fate == FATE_SENT) {
            return false;
        }
    }
    return true;
}

/* ---- ends ---- */

static void entry_free(struct oracle_entry *entry)
{
    free(entry->memory);
    free(entry);
}

void oracle_forget_flights(struct oracle *oracle)
{
    oracle->reader.busy = false;
    for (struct oracle_twin *twin = oracle->twins; twin < oracle->twins + ORACLE_TWINS; twin++) {
        if (twin->original != NULL) {
            free(twin->memory);
            twin->original = NULL;
        }
    }
    for (size_t i = 0; i < oracle->count; i++) {
        struct oracle_entry *entry = oracle->entries[i];
        entry->fate = entry->fate == FATE_SENT ? FATE_FAILED : entry->fate;
    }
}

/* Marks as acknowledged what the log holds; everything must be found, without holes. */
static void settle_read(struct oracle *oracle, bool *kept)
{
    struct partition_facts facts = partition_facts(oracle->partition);
    int64_t offset = facts.log_start_offset;
    while (offset < facts.high_watermark) {
        struct got got = {.read = {.offset = offset,
                                   .size_max = 1 + (uint32_t)pick(oracle, 500000),
                                   .first_whole = true}};
        got.read.done = got_done;
        got.read.owner = &got;
        partition_read(oracle->partition, &got.read);
        require(log_world_until(&oracle->world, &got.done, TICKS_MAX));
        require(got.read.status == STATUS_OK);
        int64_t next = oracle_compare(oracle, &got.read);
        partition_read_release(oracle->partition, &got.read);
        require(next > offset); /* O2: the comparison goes from batch to batch */
        offset = next;
    }
    require(offset == facts.high_watermark);
    /* Of two with one offset the bytes decided, and `seen` was set by them. */
    for (size_t i = 0; i < oracle->count; i++) {
        const struct oracle_entry *entry = oracle->entries[i];
        int64_t at = oracle_offset(entry);
        kept[i] = entry->seen && at >= 0 && at < facts.high_watermark;
    }
}

static void settle_producers(struct oracle *oracle)
{
    for (int i = 0; i < ORACLE_PRODUCERS; i++) {
        oracle->producers[i].next_sequence = 0;
    }
    for (size_t i = 0; i < oracle->count; i++) {
        const struct oracle_entry *entry = oracle->entries[i];
        if (entry->producer >= 0 && !entry->marker) {
            oracle->producers[entry->producer].next_sequence =
                entry->sequence + entry->append.header.last_offset_delta + 1;
        }
    }
}

static int order_offsets(const void *a, const void *b)
{
    int64_t left = oracle_offset(*(struct oracle_entry *const *)a);
    int64_t right = oracle_offset(*(struct oracle_entry *const *)b);
    return (left > right) - (left < right);
}

void oracle_settle(struct oracle *oracle)
{
    static bool kept[ORACLE_ENTRIES_MAX];
    static bool must[ORACLE_ENTRIES_MAX];
    struct partition_facts facts = partition_facts(oracle->partition);
    oracle_forget_flights(oracle);
    require(facts.high_watermark == facts.end_offset);
    require(!facts.epoch_bump_due);
    oracle_check_facts(oracle);
    struct partition_config keep_all = oracle->config;
    keep_all.retention_size = -1; /* nothing goes while it is compared */
    partition_configure(oracle->partition, &keep_all);
    for (size_t i = 0; i < oracle->count; i++) {
        struct oracle_entry *entry = oracle->entries[i];
        must[i] = entry->fate == FATE_ACKED || entry->seen;
        /* What retention took was there. */
        entry->seen = must[i] && oracle_offset_last(entry) < facts.log_start_offset;
    }
    settle_read(oracle, kept);
    size_t count = 0;
    for (size_t i = 0; i < oracle->count; i++) {
        struct oracle_entry *entry = oracle->entries[i];
        require(kept[i] || !must[i]); /* O1 */
        if (!kept[i]) {
            entry_free(entry);
            continue;
        }
        entry->fate = FATE_ACKED;
        oracle->entries[count] = entry;
        count += 1;
    }
    oracle->count = count;
    qsort(oracle->entries, count, sizeof(oracle->entries[0]), order_offsets);
    for (size_t i = 1; i < count; i++) {
        require(oracle_offset(oracle->entries[i]) ==
                oracle_offset_last(oracle->entries[i - 1]) + 1); /* O2, O6 */
    }
    partition_configure(oracle->partition, &oracle->config);
    settle_producers(oracle);
    oracle_check_transactions(oracle);
    if (oracle->config.key_index) {
        (void)oracle_check_keys(oracle);
        (void)oracle_find_keys(oracle, LOG_BATCH_KEYS);
    }
    oracle_check_epochs(oracle);
}

void oracle_free(struct oracle *oracle)
{
    oracle_forget_flights(oracle);
    for (size_t i = 0; i < oracle->count; i++) {
        entry_free(oracle->entries[i]);
    }
    oracle->count = 0;
}
