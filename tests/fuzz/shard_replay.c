/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/shard_replay.h"

#include <stdlib.h>

#include "base/check.h"
#include "wire/find_coordinator.h"
#include "wire/metadata.h"
#include "wire/record.h"

#define INPUT_SIZE_MAX ((size_t)65536)
#define BATCH_SIZE_MAX (2 * INPUT_SIZE_MAX)
#define PRODUCER_FIRST 1000
#define NS_PER_SECOND UINT64_C(1000000000)
/* What the state may take: the largest single thing that a few bytes ask for, and so much for each
 * byte of the input. */
#define STATE_SIZE_BASE ((size_t)1 << 20)
#define STATE_SIZE_PER_BYTE 64

/* One input at a time: what the machine's own functions are called through. */
static struct {
    const struct shard_replay_kind *kind;
    struct coordinator_machine machine;
    const struct coordinator_machine *real;
    int32_t load_count;
    bool serves; /* the real machine's loaded() has run, its stop() has not */
    char *text;  /* of the first load */
    size_t text_size;
    size_t heap_size_empty;
    size_t heap_size;
    size_t input_size;
} run;

/* ---- loads ---- */

static void load_compare(const struct shard *shard)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    check(out != NULL);
    run.kind->print(out, shard);
    check(fclose(out) == 0);
    size_t held = shard->core->heap.size;
    if (run.text == NULL) {
        run.text = text;
        run.text_size = size;
        run.heap_size = held;
        check(held - run.heap_size_empty <= STATE_SIZE_BASE + run.input_size * STATE_SIZE_PER_BYTE);
        return;
    }
    bool equal = size == run.text_size && memcmp(text, run.text, size) == 0;
    if (!equal) {
        fprintf(stderr, "---- first load\n%s\n---- second load\n%s\n", run.text, text);
    }
    check(equal);
    check(held == run.heap_size);
    free(text);
}

/* The first load is of the empty log, and before a state is let go on it is read twice. */
static void loaded(struct shard *shard)
{
    run.load_count++;
    if (run.load_count == 1) {
        run.heap_size_empty = shard->core->heap.size;
        return;
    }
    if (run.load_count <= 3) {
        load_compare(shard);
    }
    if (run.load_count == 2) {
        shard_reload(shard);
        return;
    }
    run.serves = true;
    run.real->loaded(shard);
}

static void stop(struct shard *shard, enum status status)
{
    if (run.serves) {
        run.serves = false;
        run.real->stop(shard, status);
    }
}

static struct shard *shard_of(struct shard_replay *replay)
{
    struct list_node *node =
        list_first(&replay->broker.server.cores[0].coordinators[run.kind->kind].shards);
    check(node != NULL);
    return LIST_ENTRY(node, struct shard, node);
}

struct wait {
    const struct shard *shard;
    int32_t load_count;
};

static bool is_loaded(void *context)
{
    const struct wait *wait = context;
    return wait->shard->state == SHARD_FAILED ||
           (run.load_count >= wait->load_count && wait->shard->state == SHARD_READY);
}

/* False: it cannot be loaded. */
static bool load(struct shard_replay *replay, int32_t load_count)
{
    struct wait wait = {shard_of(replay), load_count};
    shard_reload(shard_of(replay));
    sim_broker_run(&replay->broker, is_loaded, &wait);
    return wait.shard->state == SHARD_READY;
}

/* ---- batches ---- */

struct cursor {
    struct bytes rest;
};

static struct bytes take(struct cursor *cursor, size_t size)
{
    size_t got = size < cursor->rest.size ? size : cursor->rest.size;
    struct bytes taken = bytes_of(cursor->rest.data, got);
    cursor->rest = bytes_of(cursor->rest.data + got, cursor->rest.size - got);
    return taken;
}

static uint8_t take_u8(struct cursor *cursor)
{
    struct bytes taken = take(cursor, 1);
    return taken.size == 1 ? taken.data[0] : 0;
}

static uint16_t take_u16(struct cursor *cursor)
{
    uint16_t high = take_u8(cursor);
    return (uint16_t)(high << 8 | take_u8(cursor));
}

static void marker_add(struct batch_builder *builder, bool commit, int64_t now_ms)
{
    uint8_t key[4] = {0, 0, 0, commit};
    uint8_t value[6] = {0};
    batch_builder_add(builder, now_ms, bytes_of(key, sizeof(key)), bytes_of(value, sizeof(value)),
                      NULL, 0);
}

static void records_add(struct batch_builder *builder, struct cursor *cursor, int64_t now_ms)
{
    for (uint8_t count = take_u8(cursor); count > 0; count--) {
        uint16_t key_size = take_u16(cursor);
        uint16_t value_size = take_u16(cursor);
        struct bytes key = key_size == UINT16_MAX ? BYTES_NULL : take(cursor, key_size);
        struct bytes value = value_size == UINT16_MAX ? BYTES_NULL : take(cursor, value_size);
        batch_builder_add(builder, now_ms, key, value, NULL, 0);
    }
}

/* A header that is right over bytes that need not be. */
static struct bytes raw_make(uint8_t *memory, struct cursor *cursor, struct batch_header *header)
{
    header->count = take_u8(cursor);
    header->last_offset_delta = header->count == 0 ? 0 : header->count - 1;
    struct bytes body = take(cursor, take_u16(cursor));
    size_t size = BATCH_HEADER_SIZE + body.size;
    header->batch_length = (int32_t)(size - BATCH_PREFIX_SIZE);
    header->magic = BATCH_MAGIC;
    batch_header_encode(header, memory);
    if (body.size > 0) {
        memcpy(memory + BATCH_HEADER_SIZE, body.data, body.size);
    }
    batch_seal(memory, size);
    return bytes_of(memory, size);
}

enum { KIND_RECORDS, KIND_TRANSACTIONAL, KIND_MARKER, KIND_RAW };

/* NULL: the input has no such batch. */
static struct bytes batch_make(struct heap *heap, uint8_t *memory, struct cursor *cursor,
                               int64_t now_ms)
{
    static uint8_t scratch[BATCH_SCRATCH_SIZE];
    struct batch_builder builder;
    batch_builder_init(&builder, memory, BATCH_SIZE_MAX);
    uint8_t flags = take_u8(cursor);
    int kind = flags & 3;
    if (kind == KIND_TRANSACTIONAL || kind == KIND_MARKER || (flags & 0x20) != 0) {
        builder.header.attributes |= kind == KIND_RECORDS ? 0 : BATCH_TRANSACTIONAL;
        builder.header.producer_id = PRODUCER_FIRST + (flags >> 2 & 3);
        builder.header.producer_epoch = flags >> 6 & 1;
    }
    if (kind == KIND_MARKER || (kind == KIND_RECORDS && (flags & 0x20) != 0)) {
        builder.header.attributes |= BATCH_CONTROL;
    }
    if (kind == KIND_RAW) {
        builder.header.attributes |= (flags & 0x80) != 0 ? CODEC_LZ4 : CODEC_NONE;
        return raw_make(memory, cursor, &builder.header);
    }
    if (kind == KIND_MARKER) {
        marker_add(&builder, (flags & 0x10) != 0, now_ms);
    } else {
        records_add(&builder, cursor, now_ms);
    }
    if (builder.header.count == 0) {
        return BYTES_NULL;
    }
    struct bytes batch;
    enum codec codec = (flags & 0x80) != 0 && kind != KIND_MARKER ? CODEC_LZ4 : CODEC_NONE;
    const struct batch_scratch room = {.memory = scratch, .size = sizeof(scratch), .heap = heap};
    enum status status = batch_builder_finish(&builder, codec, 0, room, 0, &batch);
    return status == STATUS_OK ? batch : BYTES_NULL;
}

struct appending {
    struct partition_append append;
    bool done;
};

static void appended(struct partition_append *append)
{
    ((struct appending *)append->owner)->done = true;
}

static bool is_appended(void *context)
{
    return ((const struct appending *)context)->done;
}

/* What the log itself refuses (an epoch that fell) is not in it. */
static void log_fill(struct shard_replay *replay, struct bytes input)
{
    struct core *core = &replay->broker.server.cores[0];
    struct cursor cursor = {input};
    uint8_t *memory = malloc(BATCH_SIZE_MAX);
    check(memory != NULL);
    while (cursor.rest.size > 0) {
        struct bytes batch = batch_make(&core->heap, memory, &cursor, ring_wall_ms(core->ring));
        struct appending appending = {.append = {.batch = memory,
                                                 .size = batch.size,
                                                 .now_ms = ring_wall_ms(core->ring),
                                                 .done = appended}};
        appending.append.owner = &appending;
        if (batch.data != NULL && batch_check(batch, &appending.append.header) == STATUS_OK) {
            check(batch.data == memory);
            partition_append(shard_of(replay)->partition, &appending.append);
            sim_broker_run(&replay->broker, is_appended, &appending);
        }
    }
    free(memory);
}

/* ---- the world ---- */

static void topic_create(struct shard_replay *replay)
{
    struct metadata_request request;
    metadata_request_init(&request);
    struct metadata_request_topic topic = {.name = BYTES_LITERAL("t")};
    request.topics = &topic;
    request.topics_count = 1;
    struct metadata_response response;
    SHARD_REPLAY_CALL(replay, METADATA, metadata, 12, &request, &response);
    check(response.topics[0].error_code == 0);
}

static void coordinator_create(struct shard_replay *replay, enum coordinator_kind kind)
{
    struct find_coordinator_request request;
    find_coordinator_request_init(&request);
    request.key = BYTES_LITERAL("any");
    request.key_type = kind == COORDINATOR_GROUP ? 0 : 1;
    struct find_coordinator_response response;
    SHARD_REPLAY_CALL(replay, FIND_COORDINATOR, find_coordinator, 3, &request, &response);
    check(response.error_code == 0);
}

static void world_open(struct shard_replay *replay)
{
    sim_broker_open(&replay->broker, 1, 1);
    replay->broker.config.offsets_partition_count = 1;
    replay->broker.config.transaction_partition_count = 1;
    replay->broker.config.offsets_check_ms = 10000;
    replay->broker.config.transaction_expiration_check_ms = 10000;
    struct coordinator *coordinator = &replay->broker.server.cores[0].coordinators[run.kind->kind];
    run.real = coordinator->machine;
    run.machine = *run.real;
    run.machine.loaded = loaded;
    run.machine.stop = stop;
    coordinator->machine = &run.machine;
    sim_client_open(&replay->client, &replay->broker);
    topic_create(replay);
    coordinator_create(replay, COORDINATOR_GROUP);
    coordinator_create(replay, COORDINATOR_TRANSACTION);
}

void shard_replay_run(const struct shard_replay_kind *kind, struct bytes input)
{
    if (input.size > INPUT_SIZE_MAX) {
        return;
    }
    struct shard_replay *replay = calloc(1, sizeof(*replay));
    check(replay != NULL);
    memset(&run, 0, sizeof(run));
    run.kind = kind;
    run.input_size = input.size;
    world_open(replay);
    log_fill(replay, input);
    bool good = load(replay, 3);
    kind->serve(replay, good);
    if (good) {
        check(load(replay, run.load_count + 1));
    }
    sim_client_close(&replay->client);
    sim_broker_close(&replay->broker);
    free(run.text);
    free(replay);
}

/* ---- for print and serve ---- */

void shard_replay_print_bytes(FILE *out, struct bytes bytes)
{
    if (bytes.data == NULL) {
        fputs(" -", out);
        return;
    }
    fprintf(out, " %zu:", bytes.size);
    for (size_t i = 0; i < bytes.size; i++) {
        bool plain = bytes.data[i] > ' ' && bytes.data[i] <= '~';
        fprintf(out, plain ? "%c" : "\\%02x", bytes.data[i]);
    }
}

struct moment {
    const struct sim_broker *broker;
    uint64_t due_ns;
};

static bool has_come(void *context)
{
    const struct moment *moment = context;
    return sim_world_now_ns(moment->broker->world) >= moment->due_ns;
}

void shard_replay_pass(struct shard_replay *replay, uint64_t seconds)
{
    struct moment moment = {&replay->broker,
                            sim_world_now_ns(replay->broker.world) + seconds * NS_PER_SECOND};
    sim_broker_run(&replay->broker, has_come, &moment);
}
