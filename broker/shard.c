/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/shard.h"

#include "broker/coordinator.h"
#include "broker/core.h"
#include "broker/planted.h"
#include "broker/server.h"
#include "wire/record.h"

#define LOAD_RETRY_NS UINT64_C(10000000000) /* the log cannot be read */
#define LOAD_PAUSE_NS                                                                              \
    UINT64_C(1000000000)                   /* between the end of a load and the next one's begin   \
                                            */
#define LOAD_MEMORY_NS UINT64_C(100000000) /* the cache share is spent at the moment */
#define UNPACKED_SIZE_MAX (100 * MIB)      /* of a batch that a foreign broker compressed */
/* Length, attributes, two deltas and two sizes as varints, no headers: at most this per record. */
#define RECORD_OVERHEAD 32
#define MARKER_KEY_SIZE 4
#define MARKER_VALUE_SIZE 6

bool shard_is_busy(const struct shard *shard)
{
    return !list_is_empty(&shard->appends) || shard->holds > 0 || shard->turn_due ||
           shard->read_state == SHARD_READ_UNDER_WAY;
}

static void shard_turn(struct mail *mail);

/* What changes the shard's state waits for a turn of its own, so that no done() of a machine finds
 * its shard gone. */
static void shard_wake(struct shard *shard)
{
    if (!shard->turn_due) {
        shard->turn_due = true;
        shard->turn_mail.deliver = shard_turn;
        peers_send(&shard->core->server->peers, shard->core->index, &shard->turn_mail);
    }
}

void shard_hold(struct shard *shard)
{
    check_magic(shard, SHARD_MAGIC);
    shard->holds++;
}

void shard_unhold(struct shard *shard)
{
    check_magic(shard, SHARD_MAGIC);
    check(shard->holds > 0);
    shard->holds--;
    if (shard->holds == 0 && shard->state != SHARD_READY) {
        shard_wake(shard);
    }
}

/* ---- appends ---- */

static void append_finish(struct shard_append *append, enum status status)
{
    struct shard *shard = append->shard;
    if (append->memory != NULL && append->memory_size == 0) {
        pages_release_page(shard->core->pages, append->memory, PAGES_REQUEST);
    } else if (append->memory != NULL) {
        pages_release_run(shard->core->pages, append->memory, append->memory_size, PAGES_REQUEST);
    }
    append->memory = NULL;
    append->status = status;
    append->done(append); /* the append is its owner's again */
}

/* Barriers with nothing in front of them any more. */
static void barriers_pass(struct shard *shard)
{
    for (;;) {
        struct list_node *node = list_first(&shard->appends);
        struct shard_append *append =
            node == NULL ? NULL : LIST_ENTRY(node, struct shard_append, node);
        if (append == NULL || append->memory != NULL) {
            break;
        }
        list_remove(node);
        append_finish(append, STATUS_OK);
    }
    if (shard->reload_due || shard->state == SHARD_GONE) {
        shard_wake(shard);
    }
}

static void appended(struct partition_append *partition_append)
{
    struct shard_append *append = partition_append->owner;
    struct shard *shard = append->shard;
    append->base_offset = partition_append->base_offset;
    list_remove(&append->node);
    append_finish(append, partition_append->status);
    barriers_pass(shard);
}

static size_t append_size(const struct shard_append *append)
{
    size_t size = BATCH_HEADER_SIZE;
    for (int32_t i = 0; i < append->record_count; i++) {
        const struct shard_record *record = &append->records[i];
        size += record->key.size + record->value.size + RECORD_OVERHEAD;
    }
    if (append->marker != NULL) {
        size += MARKER_KEY_SIZE + MARKER_VALUE_SIZE + RECORD_OVERHEAD;
    }
    return size;
}

static bool append_reserve(struct shard *shard, struct shard_append *append, size_t size)
{
    if (size <= PAGE_SIZE) {
        append->memory_size = 0;
        append->memory = pages_acquire_page(shard->core->pages, PAGES_REQUEST);
    } else {
        append->memory_size = size;
        append->memory = pages_acquire_run(shard->core->pages, size, PAGES_REQUEST);
    }
    return append->memory != NULL;
}

static void marker_add(struct batch_builder *builder, const struct shard_marker *marker,
                       int64_t now_ms)
{
    uint8_t key[MARKER_KEY_SIZE] = {0};
    uint8_t value[MARKER_VALUE_SIZE] = {0};
    put_be16(key + 2, marker->commit ? 1 : 0);
    put_be32(value + 2, (uint32_t)marker->coordinator_epoch);
    batch_builder_add(builder, now_ms, bytes_of(key, sizeof(key)), bytes_of(value, sizeof(value)),
                      NULL, 0);
    builder->header.attributes |= BATCH_TRANSACTIONAL | BATCH_CONTROL;
    builder->header.producer_id = marker->producer_id;
    builder->header.producer_epoch = marker->producer_epoch;
}

/* Sequence -1 in all of them: they are this broker's own, and their retries come from memory. */
static enum status append_build(struct shard_append *append, size_t size, int64_t now_ms)
{
    struct batch_builder builder;
    batch_builder_init(&builder, append->memory, size);
    if (append->marker != NULL) {
        marker_add(&builder, append->marker, now_ms);
    }
    for (int32_t i = 0; i < append->record_count; i++) {
        const struct shard_record *record = &append->records[i];
        batch_builder_add(&builder, now_ms, record->key, record->value, NULL, 0);
    }
    if (append->transactional) {
        builder.header.attributes |= BATCH_TRANSACTIONAL;
        builder.header.producer_id = append->producer_id;
        builder.header.producer_epoch = append->producer_epoch;
    }
    struct bytes batch;
    enum status status =
        batch_builder_finish(&builder, CODEC_NONE, 0, (struct batch_scratch){0}, 0, &batch);
    if (status != STATUS_OK) {
        return status;
    }
    check(batch.data == append->memory);
    append->append = (struct partition_append){
        .batch = append->memory,
        .size = batch.size,
        .now_ms = now_ms,
        .done = appended,
        .owner = append,
    };
    batch_header_decode(&append->append.header, append->memory);
    return STATUS_OK;
}

static void early_done(struct shard_append *append)
{
    heap_release(&append->shard->core->heap, append, sizeof(*append));
}

/* Planted: what was asked for goes on by itself, and nobody waits for it. */
static void append_early(struct shard *shard, struct shard_append *append)
{
    struct shard_append *early = heap_acquire(&shard->core->heap, sizeof(*early));
    check(early != NULL);
    *early = *append;
    early->done = early_done;
    shard_append(shard, early);
    append->shard = shard;
    append->memory = NULL;
    append->base_offset = partition_facts(shard->partition).end_offset - append->record_count;
    append_finish(append, STATUS_OK);
}

void shard_append(struct shard *shard, struct shard_append *append)
{
    check_magic(shard, SHARD_MAGIC);
    if (PLANTED(ANSWER_EARLY) && append->done != early_done && append->record_count > 0 &&
        shard->partition != NULL) {
        append_early(shard, append);
        return;
    }
    append->shard = shard;
    append->memory = NULL;
    append->base_offset = -1;
    list_node_init(&append->node);
    bool barrier = append->record_count == 0 && append->marker == NULL;
    if (barrier && !list_is_empty(&shard->appends)) {
        list_push_tail(&shard->appends, &append->node);
        return;
    }
    size_t size = append_size(append);
    enum status status = STATUS_OK;
    if (shard->partition == NULL || shard->state == SHARD_GONE) {
        status = STATUS_NOT_COORDINATOR;
    } else if (size > SHARD_APPEND_SIZE_MAX) {
        status = STATUS_MESSAGE_TOO_LARGE;
    } else if (!barrier && !append_reserve(shard, append, size)) {
        status = STATUS_NO_MEMORY;
    } else if (!barrier) {
        status = append_build(append, size, ring_wall_ms(shard->core->ring));
    }
    if (status != STATUS_OK || barrier) {
        append_finish(append, status);
        return;
    }
    list_push_tail(&shard->appends, &append->node);
    partition_append(shard->partition, &append->append);
}

enum status shard_client_status(enum status status)
{
    switch (status) {
    case STATUS_OK:
    case STATUS_NOT_COORDINATOR:
    case STATUS_INVALID_PRODUCER_EPOCH:
    case STATUS_TRANSACTION_COORDINATOR_FENCED:
        return status;
    case STATUS_UNKNOWN_TOPIC_OR_PARTITION: /* the internal topic was deleted under way */
        return STATUS_NOT_COORDINATOR;
    case STATUS_MESSAGE_TOO_LARGE:
    case STATUS_RECORD_LIST_TOO_LARGE:
        return STATUS_UNKNOWN_SERVER_ERROR; /* trying again would not help */
    default:
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
}

/* ---- loading ---- */

static void machine_close(struct shard *shard, enum status status)
{
    const struct coordinator_machine *machine = shard->coordinator->machine;
    if (shard->serving) {
        shard->serving = false;
        machine->stop(shard, status);
    }
    if (shard->machine != NULL) {
        machine->close(shard);
        shard->machine = NULL;
    }
}

static void retry_fire(struct timer *timer)
{
    shard_wake(CONTAINER_OF(timer, struct shard, retry));
}

static void load_failed(struct shard *shard, enum status status)
{
    machine_close(shard, STATUS_COORDINATOR_NOT_AVAILABLE);
    shard->state = SHARD_FAILED;
    diag_line(
        &shard->core->diag, DIAG_ERROR, "broker/shard", "coordinator cannot be loaded",
        "partition=%s offset=%lld status=%s remedy=\"tried again in 10 s; for NO_MEMORY raise "
        "memory.bytes, else see the line of storage above\"",
        partition_name(shard->partition), (long long)shard->load_offset, status_name(status));
    timer_arm(&shard->core->timers, &shard->retry, ring_now_ns(shard->core->ring) + LOAD_RETRY_NS);
}

static void load_begin(struct shard *shard)
{
    struct partition_facts facts = partition_facts(shard->partition);
    shard->state = SHARD_LOADING;
    shard->load_offset = facts.log_start_offset;
    shard->load_until = facts.high_watermark;
    enum status status = shard->coordinator->machine->open(shard);
    if (status != STATUS_OK) {
        load_failed(shard, status);
    }
}

static enum status replay_control(struct shard *shard, const struct batch_header *header,
                                  const struct record *record)
{
    const struct coordinator_machine *machine = shard->coordinator->machine;
    if (machine->replay_marker == NULL || record->key.size < MARKER_KEY_SIZE ||
        record->value.size < MARKER_VALUE_SIZE || get_be16(record->key.data + 2) > 1) {
        return STATUS_OK; /* other control records mean nothing here */
    }
    const struct shard_marker marker = {
        .producer_id = header->producer_id,
        .producer_epoch = header->producer_epoch,
        .commit = get_be16(record->key.data + 2) == 1,
        .coordinator_epoch = (int32_t)get_be32(record->value.data + 2),
    };
    return machine->replay_marker(shard, &marker);
}

static enum status replay_batch(struct shard *shard, struct bytes batch,
                                const struct batch_header *header)
{
    struct core *core = shard->core;
    const struct batch_scratch scratch = {
        .memory = core->scratch, .size = BATCH_SCRATCH_SIZE, .heap = &core->heap};
    struct record_stream *stream;
    enum status status = record_stream_open(&stream, batch, scratch, UNPACKED_SIZE_MAX);
    if (status != STATUS_OK) {
        return status;
    }
    struct record record;
    while (status == STATUS_OK && record_stream_next(stream, &record)) {
        if ((header->attributes & BATCH_CONTROL) != 0) {
            status = replay_control(shard, header, &record);
            continue;
        }
        const struct shard_record taken = {.key = record.key, .value = record.value};
        const struct shard_origin origin = {
            .offset = record.offset,
            .timestamp = record.timestamp,
            .producer_id = header->producer_id,
            .producer_epoch = header->producer_epoch,
            .transactional = (header->attributes & BATCH_TRANSACTIONAL) != 0,
        };
        status = shard->coordinator->machine->replay(shard, &taken, &origin);
    }
    if (status == STATUS_OK) {
        status = record_stream_status(stream);
    }
    record_stream_close(stream);
    return status;
}

/* Whole batches of one read, in one piece of memory because blocks cut them anywhere. */
static enum status replay_run(struct shard *shard, const uint8_t *run, size_t size)
{
    enum status status = STATUS_OK;
    size_t position = 0;
    int64_t offset = shard->load_offset;
    while (status == STATUS_OK && size - position >= BATCH_HEADER_SIZE) {
        int64_t batch_size = batch_size_of(run + position);
        if (batch_size > (int64_t)(size - position)) {
            break; /* cut at the end of the read */
        }
        struct batch_header header;
        batch_header_decode(&header, run + position);
        if (batch_last_offset(&header) >= shard->load_offset) {
            status = replay_batch(shard, bytes_of(run + position, (size_t)batch_size), &header);
            shard->load_offset = batch_last_offset(&header) + 1;
        }
        position += (size_t)batch_size;
    }
    if (status == STATUS_OK && shard->load_offset == offset) {
        shard->load_offset = shard->load_until; /* a gap to the end: nothing more to read */
    }
    return status;
}

static enum status replay_read(struct shard *shard)
{
    struct core *core = shard->core;
    const struct partition_read *read = &shard->read;
    if (read->status != STATUS_OK || read->size == 0) {
        shard->load_offset = read->status == STATUS_OK ? shard->load_until : shard->load_offset;
        return read->status;
    }
    uint8_t *run = pages_acquire_run(core->pages, read->size, PAGES_REQUEST);
    if (run == NULL) {
        return STATUS_NO_MEMORY;
    }
    size_t filled = 0;
    for (int32_t i = 0; i < read->slice_count; i++) {
        memcpy(run + filled, read->slices[i].data, read->slices[i].size);
        filled += read->slices[i].size;
    }
    enum status status = replay_run(shard, run, filled);
    pages_release_run(core->pages, run, read->size, PAGES_REQUEST);
    return status;
}

static void read_done(struct partition_read *read)
{
    struct shard *shard = read->owner;
    shard->read_state = SHARD_READ_DONE;
    shard_wake(shard);
}

static void load_read(struct shard *shard)
{
    shard->read_state = SHARD_READ_UNDER_WAY;
    shard->read = (struct partition_read){
        .offset = shard->load_offset,
        .size_max = SHARD_LOAD_SIZE,
        .first_whole = true,
        .isolation = READ_UNCOMMITTED, /* what is undecided is kept as pending */
        .done = read_done,
        .owner = shard,
    };
    partition_read(shard->partition, &shard->read);
}

static void load_step(struct shard *shard)
{
    enum status status = STATUS_OK;
    if (shard->read_state == SHARD_READ_DONE) {
        bool starved = shard->read.status == STATUS_NO_MEMORY;
        status = replay_read(shard);
        store_yield_keys(shard->core->store); /* S6 */
        partition_read_release(shard->partition, &shard->read);
        shard->read_state = SHARD_READ_NONE;
        if (starved) {
            timer_arm(&shard->core->timers, &shard->retry,
                      ring_now_ns(shard->core->ring) + LOAD_MEMORY_NS);
            return;
        }
    }
    if (status != STATUS_OK) {
        load_failed(shard, status);
    } else if (shard->load_offset < shard->load_until) {
        load_read(shard);
    } else {
        shard->state = SHARD_READY;
        shard->serving = true;
        shard->loaded_ns = ring_now_ns(shard->core->ring);
        shard->coordinator->machine->loaded(shard);
    }
}

/* ---- life ---- */

static void shard_free(struct shard *shard)
{
    check(!shard_is_busy(shard));
    timer_disarm(&shard->core->timers, &shard->retry);
    machine_close(shard, STATUS_COORDINATOR_NOT_AVAILABLE);
    list_remove(&shard->node);
    shard->coordinator->shard_count--;
    shard->magic = 0;
    heap_release(&shard->core->heap, shard, sizeof(*shard));
}

static void shard_turn(struct mail *mail)
{
    struct shard *shard = CONTAINER_OF(mail, struct shard, turn_mail);
    check_magic(shard, SHARD_MAGIC);
    shard->turn_due = false;
    if (!list_is_empty(&shard->appends) || shard->holds > 0 ||
        shard->read_state == SHARD_READ_UNDER_WAY) {
        return; /* their end wakes again */
    }
    if (shard->state == SHARD_GONE) {
        if (shard->read_state == SHARD_READ_DONE) {
            partition_read_release(shard->partition, &shard->read);
            shard->read_state = SHARD_READ_NONE;
        }
        if (!shard->coordinator->stopping) {
            shard_free(shard);
        }
        return;
    }
    uint64_t reload_ns = shard->loaded_ns + LOAD_PAUSE_NS;
    if (shard->reload_due && shard->loaded_ns > 0 && ring_now_ns(shard->core->ring) < reload_ns) {
        timer_arm(&shard->core->timers, &shard->retry, reload_ns);
        return; /* what fails again at once must not keep the core busy */
    }
    if (shard->reload_due || shard->state == SHARD_FAILED) {
        shard->reload_due = false;
        machine_close(shard, STATUS_COORDINATOR_LOAD_IN_PROGRESS);
        load_begin(shard);
    }
    if (shard->state == SHARD_LOADING) {
        load_step(shard);
    }
}

void shard_reload(struct shard *shard)
{
    check_magic(shard, SHARD_MAGIC);
    if (shard->state != SHARD_READY) {
        return;
    }
    shard->state = SHARD_LOADING;
    shard->reload_due = true;
    shard->serving = false;
    diag_line(&shard->core->diag, DIAG_WARN, "broker/shard", "coordinator reads its log again",
              "partition=%s remedy=\"an append failed; see the line of storage above\"",
              partition_name(shard->partition));
    shard->coordinator->machine->stop(shard, STATUS_COORDINATOR_LOAD_IN_PROGRESS);
    shard_wake(shard);
}

enum status shard_open(struct coordinator *coordinator, const struct image_topic *topic,
                       int32_t index)
{
    struct core *core = coordinator->core;
    struct shard *shard = heap_acquire(&core->heap, sizeof(*shard));
    if (shard == NULL) {
        return STATUS_NO_MEMORY;
    }
    shard->magic = SHARD_MAGIC;
    shard->coordinator = coordinator;
    shard->core = core;
    shard->index = index;
    shard->topic_id = topic->id;
    shard->partition = topic->partitions[index].local;
    shard->retry.fire = retry_fire;
    list_init(&shard->appends);
    list_push_tail(&coordinator->shards, &shard->node);
    coordinator->shard_count++;
    load_begin(shard);
    if (shard->state == SHARD_LOADING && shard->load_offset == shard->load_until) {
        load_step(shard); /* a new topic serves the request that made it */
    } else if (shard->state == SHARD_LOADING) {
        shard_wake(shard);
    }
    return STATUS_OK;
}

void shard_leave(struct shard *shard, enum status status)
{
    check_magic(shard, SHARD_MAGIC);
    if (shard->state == SHARD_GONE) {
        return;
    }
    shard->state = SHARD_GONE;
    timer_disarm(&shard->core->timers, &shard->retry);
    if (shard->serving) {
        shard->serving = false;
        shard->coordinator->machine->stop(shard, status);
    }
    shard_wake(shard);
}

void shard_close(struct shard *shard)
{
    check(shard->state == SHARD_GONE);
    shard_free(shard);
}
