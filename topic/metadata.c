/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/metadata.h"

#include <stdio.h>

#include "topic/manager.h"
#include "topic/metadata_record.h"
#include "wire/record.h"

#define METADATA_MAGIC 0x6d657461u
#define METADATA_ARENA_SIZE_MAX (64 * MIB)
#define METADATA_READ_SIZE MIB
#define METADATA_VERSION_LEVEL 25 /* feature metadata.version: 4.0-IV3, the oldest we write for */
/* What a batch adds to a frame: the batch header once, at most this much per record. */
#define RECORD_OVERHEAD 32
/* Bytes of a core's memory, rounded up: a topic, one of its settings without its texts, an open
 * partition. */
#define TOPIC_SIZE ((size_t)2048)
#define SETTING_SIZE ((size_t)256)
#define PARTITION_SIZE ((size_t)4096)

/* A record on its way into the batch. */
struct frame {
    struct bytes value;
    struct frame *next;
};

/* Asks a core what room it has for topics. */
struct survey {
    struct mail mail;
    struct metadata *metadata;
    struct manager *manager;
    size_t room;
};

struct metadata {
    uint32_t magic;
    struct metadata_options options;
    struct partition *log;
    struct image *image; /* of METADATA_CORE */
    struct list queue;
    struct change *current;
    bool running;
    bool failed;
    struct arena arena; /* of the current change */
    struct frame *frames;
    struct frame **frames_tail;
    size_t frames_size;
    uint8_t *run; /* the batch */
    size_t run_size;
    struct bytes batch;
    struct partition_append append;
    struct manager_apply applies[CORES_MAX];
    int32_t apply_pending;
    struct survey surveys[CORES_MAX];
    int32_t survey_pending;
    size_t room; /* bytes the topics of the current change may take, of each core */
};

/* The log's id is fixed in KRaft: a UUID of 1. */
static const struct uuid METADATA_ID = {.bytes = {[15] = 1}};

static const struct partition_config METADATA_CONFIG = {
    .segment_size_max = 1 << 30,
    .segment_age_ms_max = INT64_C(7) * 24 * 3600 * 1000,
    .retention_ms = -1,
    .retention_size = -1,
    .producer_expiration_ms = INT64_MAX,
    .file_delete_delay_ms = 60000,
};

static void frames_reset(struct metadata *metadata)
{
    metadata->frames = NULL;
    metadata->frames_tail = &metadata->frames;
    metadata->frames_size = 0;
}

static bool frames_add(struct metadata *metadata, const struct metadata_record *record)
{
    struct frame *frame = arena_new(&metadata->arena, struct frame);
    struct bytes value = metadata_record_encode(record, &metadata->arena);
    if (frame == NULL || value.data == NULL) {
        return false;
    }
    frame->value = value;
    *metadata->frames_tail = frame;
    metadata->frames_tail = &frame->next;
    metadata->frames_size += value.size + RECORD_OVERHEAD;
    return true;
}

static void batch_release(struct metadata *metadata)
{
    if (metadata->run != NULL) {
        pages_release_run(metadata->options.pages, metadata->run, metadata->run_size,
                          PAGES_REQUEST);
        metadata->run = NULL;
    }
    arena_reset(&metadata->arena);
    frames_reset(metadata);
}

static enum status batch_build(struct metadata *metadata)
{
    metadata->run_size = BATCH_HEADER_SIZE + metadata->frames_size;
    metadata->run = pages_acquire_run(metadata->options.pages, metadata->run_size, PAGES_REQUEST);
    if (metadata->run == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct batch_builder builder;
    batch_builder_init(&builder, metadata->run, metadata->run_size);
    int64_t now_ms = ring_wall_ms(metadata->options.ring);
    for (const struct frame *frame = metadata->frames; frame != NULL; frame = frame->next) {
        batch_builder_add(&builder, now_ms, BYTES_NULL, frame->value, NULL, 0);
    }
    return batch_builder_finish(&builder, CODEC_NONE, 0, (struct batch_scratch){0}, 0,
                                &metadata->batch);
}

/* ---- what the kinds of change write ---- */

static enum status write_topic(struct metadata *metadata, const struct change_topic *topic)
{
    struct metadata_record record = {.key = TOPIC_RECORD_KEY};
    record.topic.name = topic->name;
    record.topic.topic_id = topic->id;
    bool whole = frames_add(metadata, &record);
    for (int32_t i = 0; whole && i < topic->setting_count; i++) {
        record = (struct metadata_record){.key = CONFIG_RECORD_KEY};
        record.config.resource_type = 2; /* topic */
        record.config.resource_name = topic->name;
        record.config.name = topic->settings[i].name;
        record.config.value = topic->settings[i].value;
        whole = frames_add(metadata, &record);
    }
    int32_t node = metadata->options.node_id;
    for (int32_t i = 0; whole && i < topic->partition_count; i++) {
        record = (struct metadata_record){.key = PARTITION_RECORD_KEY};
        partition_record_init(&record.partition);
        record.partition.partition_id = i;
        record.partition.topic_id = topic->id;
        record.partition.replicas = &node;
        record.partition.replicas_count = 1;
        record.partition.isr = &node;
        record.partition.isr_count = 1;
        record.partition.leader = node;
        record.partition.leader_epoch = 0;
        record.partition.partition_epoch = 0;
        whole = frames_add(metadata, &record);
    }
    return whole ? STATUS_OK : STATUS_NO_MEMORY;
}

/* Kafka refuses ids that begin with '-' because they look like options on a command line. */
static struct uuid topic_id_new(struct random *random)
{
    struct uuid id;
    char text[UUID_TEXT_SIZE];
    do {
        random_uuid(random, id.bytes);
        uuid_format(&id, text);
    } while (text[0] == '-');
    return id;
}

/* A quarter is left for what else grows there. */
static size_t heap_room(const struct heap *heap)
{
    size_t size_max = heap->size_max / 4 * 3;
    return heap->size < size_max ? size_max - heap->size : 0;
}

/*
 * What a topic takes of a core's memory at most, by and large: every core knows it, and one of them
 * has each partition open. Asked before anything is written, because a record that is durable must
 * find room in every image (W4). `taken` counts what the topics of this change were granted.
 */
static bool has_room(const struct metadata *metadata, const struct change_topic *topic,
                     size_t *taken)
{
    size_t partitions = (size_t)topic->partition_count;
    size_t cores = (size_t)metadata->image->core_count;
    size_t needed = *taken + TOPIC_SIZE + partitions * 2 * sizeof(struct image_partition) +
                    (partitions / cores + 1) * PARTITION_SIZE;
    for (int32_t i = 0; i < topic->setting_count; i++) {
        const struct change_setting *setting = &topic->settings[i];
        needed += SETTING_SIZE + setting->name.size + setting->value.size;
    }
    if (needed > metadata->room) {
        return false; /* and takes nothing from the topics behind it */
    }
    *taken = needed;
    return true;
}

static enum status begin_create(struct metadata *metadata, struct change *change)
{
    size_t taken = 0;
    for (int32_t i = 0; i < change->topic_count; i++) {
        struct change_topic *topic = &change->topics[i];
        if (topic->status != STATUS_OK) {
            continue;
        }
        if (image_find_name(metadata->image, topic->name) != NULL) {
            topic->status = STATUS_TOPIC_ALREADY_EXISTS;
            continue;
        }
        if (image_find_collision(metadata->image, topic->name) != NULL) {
            topic->status = STATUS_INVALID_TOPIC_EXCEPTION;
            topic->message = "the name collides with that of another topic: '.' and '_' are one";
            continue;
        }
        if (!has_room(metadata, topic, &taken)) {
            topic->status = STATUS_POLICY_VIOLATION;
            topic->message = "the topic does not fit into memory: raise memory.bytes";
            continue;
        }
        topic->id = topic_id_new(metadata->options.random);
        if (!change->validate_only) {
            enum status status = write_topic(metadata, topic);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

/* The topic of the change that means the same one, before `index`; -1: none. `last` begins the
 * chain of those that were found: asking all that were named would cost a peer who sends a megabyte
 * of unknown names nothing, and this core the square of them. */
static int32_t named_before(const struct change *change, int32_t index, int32_t last)
{
    int32_t i = last;
    while (i >= 0 && !uuid_equal(&change->topics[i].id, &change->topics[index].id)) {
        i = change->topics[i].before;
    }
    return i;
}

static void repeated_refuse(struct change_topic *topic)
{
    topic->status = STATUS_INVALID_REQUEST;
    topic->message = "the request names the topic twice";
}

/* Finds what is meant. A topic that is named more than once stays, as in Kafka. */
static void deletions_find(const struct metadata *metadata, struct change *change)
{
    int32_t last = -1;
    for (int32_t i = 0; i < change->topic_count; i++) {
        struct change_topic *topic = &change->topics[i];
        if (topic->status != STATUS_OK) {
            continue;
        }
        bool by_id = !uuid_is_zero(&topic->id);
        const struct image_topic *found = by_id ? image_find_id(metadata->image, &topic->id)
                                                : image_find_name(metadata->image, topic->name);
        if (found == NULL) {
            topic->status = by_id ? STATUS_UNKNOWN_TOPIC_ID : STATUS_UNKNOWN_TOPIC_OR_PARTITION;
            continue;
        }
        topic->id = found->id;
        int32_t before = named_before(change, i, last);
        if (before >= 0) {
            repeated_refuse(&change->topics[before]);
            repeated_refuse(topic);
            continue;
        }
        topic->before = last;
        last = i;
    }
}

static enum status begin_delete(struct metadata *metadata, struct change *change)
{
    deletions_find(metadata, change);
    for (int32_t i = 0; i < change->topic_count; i++) {
        struct metadata_record record = {.key = REMOVE_TOPIC_RECORD_KEY};
        record.remove_topic.topic_id = change->topics[i].id;
        if (change->topics[i].status == STATUS_OK && !frames_add(metadata, &record)) {
            return STATUS_NO_MEMORY;
        }
    }
    return STATUS_OK;
}

static enum status begin_producer_ids(struct metadata *metadata, struct change *change)
{
    change->producer_id_first = metadata->image->producer_id_next;
    struct metadata_record record = {.key = PRODUCER_IDS_RECORD_KEY};
    record.producer_ids.broker_id = metadata->options.node_id;
    record.producer_ids.next_producer_id = change->producer_id_first + PRODUCER_ID_BLOCK;
    return frames_add(metadata, &record) ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status begin_leader_epoch(struct metadata *metadata, struct change *change)
{
    for (int32_t i = 0; i < change->topic_count; i++) {
        struct metadata_record record = {.key = PARTITION_CHANGE_RECORD_KEY};
        partition_change_record_init(&record.partition_change);
        record.partition_change.partition_id = change->topics[i].partition_index;
        record.partition_change.topic_id = change->topics[i].id;
        record.partition_change.leader = metadata->options.node_id;
        if (!frames_add(metadata, &record)) {
            return STATUS_NO_MEMORY;
        }
    }
    return STATUS_OK;
}

/* ---- one change after the other ---- */

static void change_returned(struct mail *mail)
{
    struct change *change = CONTAINER_OF(mail, struct change, mail);
    change->done(change);
}

static void change_finish(struct metadata *metadata, enum status status)
{
    struct change *change = metadata->current;
    metadata->current = NULL;
    batch_release(metadata);
    change->status = status;
    if (change->home == METADATA_CORE) {
        change->done(change);
        return;
    }
    change->mail.deliver = change_returned;
    peers_send(change->peers, change->home, &change->mail);
}

static void metadata_run(struct metadata *metadata); /* a change's end starts the next */

static void apply_count_down(struct metadata *metadata)
{
    check(metadata->apply_pending > 0);
    metadata->apply_pending--;
    if (metadata->apply_pending == 0) {
        change_finish(metadata, STATUS_OK);
        metadata_run(metadata);
    }
}

static void apply_returned(struct mail *mail)
{
    struct manager_apply *apply = CONTAINER_OF(mail, struct manager_apply, mail);
    apply_count_down(apply->owner);
}

/* On the core that applied. An image that could not follow is worse than a stopped broker. */
static void apply_done(struct manager_apply *apply)
{
    struct metadata *metadata = apply->owner;
    check(apply->status == STATUS_OK);
    if (apply->manager->core == METADATA_CORE) {
        apply_count_down(metadata);
        return;
    }
    apply->mail.deliver = apply_returned;
    peers_send(apply->manager->peers, METADATA_CORE, &apply->mail);
}

static void apply_arrived(struct mail *mail)
{
    struct manager_apply *apply = CONTAINER_OF(mail, struct manager_apply, mail);
    manager_apply_batch(apply->manager, apply);
}

static void publish(struct metadata *metadata)
{
    const struct peers *peers = metadata->options.peers;
    metadata->apply_pending = peers->count;
    for (int32_t core = peers->count - 1; core >= 0; core--) {
        struct manager_apply *apply = &metadata->applies[core];
        *apply = (struct manager_apply){
            .manager = peers->peers[core].manager,
            .batch = metadata->batch,
            .done = apply_done,
            .owner = metadata,
        };
        if (core == METADATA_CORE) {
            manager_apply_batch(apply->manager, apply);
        } else {
            apply->mail.deliver = apply_arrived;
            peers_send(peers, core, &apply->mail);
        }
    }
}

static void metadata_appended(struct partition_append *append)
{
    struct metadata *metadata = append->owner;
    if (append->status != STATUS_OK) {
        /* W3. Without space, or memory, nothing was written: this change is refused, and reads,
         * appends elsewhere and later changes go on. */
        metadata->failed = partition_facts(metadata->log).state == PARTITION_FAILED;
        diag_line(
            metadata->options.diag, DIAG_ERROR, "topic/metadata", "metadata log cannot be written",
            "status=%s remedy=\"%s\"", status_name(append->status),
            metadata->failed ? "repair the data folder's disk, then start again"
                             : "do as the line of storage/space says; the change was refused");
        change_finish(metadata, STATUS_KAFKA_STORAGE_ERROR);
        metadata_run(metadata);
        return;
    }
    publish(metadata);
}

static enum status change_begin(struct metadata *metadata, struct change *change)
{
    switch (change->kind) {
    case CHANGE_CREATE_TOPICS:
        return begin_create(metadata, change);
    case CHANGE_DELETE_TOPICS:
        return begin_delete(metadata, change);
    case CHANGE_PRODUCER_IDS:
        return begin_producer_ids(metadata, change);
    case CHANGE_LEADER_EPOCH:
        return begin_leader_epoch(metadata, change);
    }
    unreachable();
}

static enum status append_start(struct metadata *metadata)
{
    enum status status = batch_build(metadata);
    if (status != STATUS_OK) {
        return status;
    }
    metadata->append = (struct partition_append){
        .batch = metadata->run,
        .size = metadata->batch.size,
        .now_ms = ring_wall_ms(metadata->options.ring),
        .done = metadata_appended,
        .owner = metadata,
    };
    check(metadata->batch.data == metadata->run);
    batch_header_decode(&metadata->append.header, metadata->run);
    partition_append(metadata->log, &metadata->append);
    return STATUS_OK;
}

/* The current change, once it is known what room there is. */
static void change_work(struct metadata *metadata)
{
    enum status status =
        metadata->failed ? STATUS_KAFKA_STORAGE_ERROR : change_begin(metadata, metadata->current);
    if (status == STATUS_OK && metadata->frames != NULL) {
        status = append_start(metadata);
        if (status == STATUS_OK) {
            return;
        }
    }
    change_finish(metadata, status);
}

static void survey_returned(struct mail *mail)
{
    const struct survey *survey = CONTAINER_OF(mail, struct survey, mail);
    struct metadata *metadata = survey->metadata;
    metadata->room = survey->room < metadata->room ? survey->room : metadata->room;
    check(metadata->survey_pending > 0);
    metadata->survey_pending--;
    if (metadata->survey_pending == 0) {
        change_work(metadata);
        metadata_run(metadata);
    }
}

/* On the core that is asked. */
static void survey_arrived(struct mail *mail)
{
    struct survey *survey = CONTAINER_OF(mail, struct survey, mail);
    survey->room = heap_room(survey->manager->image->heap);
    survey->mail.deliver = survey_returned;
    peers_send(survey->manager->peers, METADATA_CORE, &survey->mail);
}

/* W4. False: there is no core to wait for. */
static bool survey_send(struct metadata *metadata)
{
    const struct peers *peers = metadata->options.peers;
    metadata->room = heap_room(metadata->image->heap);
    for (int32_t core = 0; core < peers->count; core++) {
        if (core == METADATA_CORE) {
            continue;
        }
        struct survey *survey = &metadata->surveys[core];
        *survey = (struct survey){
            .mail = {.deliver = survey_arrived},
            .metadata = metadata,
            .manager = peers->peers[core].manager,
        };
        metadata->survey_pending++;
        peers_send(peers, core, &survey->mail);
    }
    return metadata->survey_pending > 0;
}

static void metadata_run(struct metadata *metadata)
{
    if (metadata->running) {
        return; /* called from a change that ended inside this loop */
    }
    metadata->running = true;
    while (metadata->current == NULL && !list_is_empty(&metadata->queue)) {
        metadata->current = LIST_ENTRY(list_pop_head(&metadata->queue), struct change, node);
        bool creates = metadata->current->kind == CHANGE_CREATE_TOPICS;
        if (!creates || !survey_send(metadata)) {
            change_work(metadata);
        }
    }
    metadata->running = false;
}

static void change_arrived(struct mail *mail)
{
    struct change *change = CONTAINER_OF(mail, struct change, mail);
    struct metadata *metadata = change->metadata;
    list_node_init(&change->node);
    list_push_tail(&metadata->queue, &change->node);
    metadata_run(metadata);
}

void metadata_submit(struct metadata *metadata, const struct peers *peers, int32_t home,
                     struct change *change)
{
    check_magic(metadata, METADATA_MAGIC);
    change->metadata = metadata;
    change->peers = peers;
    change->home = home;
    change->status = STATUS_OK;
    if (home == METADATA_CORE) {
        change_arrived(&change->mail);
        return;
    }
    change->mail.deliver = change_arrived;
    peers_send(peers, METADATA_CORE, &change->mail);
}

/* ---- start ---- */

struct replay {
    struct metadata *metadata;
    struct image **images;
    int32_t image_count;
    struct partition_read read;
    bool done;
    bool appended;
};

static void replay_read_done(struct partition_read *read)
{
    ((struct replay *)read->owner)->done = true;
}

static enum status replay_batch(struct replay *replay, struct bytes batch)
{
    const struct image_listener silent = {0};
    for (int32_t i = 0; i < replay->image_count; i++) {
        enum status status =
            image_apply_batch(replay->images[i], batch, &replay->metadata->arena, &silent);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* Applies the whole batches of one read; *next is the offset behind them. */
static enum status replay_slices(struct replay *replay, int64_t *next)
{
    struct metadata *metadata = replay->metadata;
    size_t size = replay->read.size;
    uint8_t *run = pages_acquire_run(metadata->options.pages, size, PAGES_REQUEST);
    if (run == NULL) {
        return STATUS_NO_MEMORY;
    }
    size_t filled = 0;
    for (int32_t i = 0; i < replay->read.slice_count; i++) {
        memcpy(run + filled, replay->read.slices[i].data, replay->read.slices[i].size);
        filled += replay->read.slices[i].size;
    }
    check(filled == size);
    enum status status = STATUS_OK;
    size_t position = 0;
    while (status == STATUS_OK && size - position >= BATCH_HEADER_SIZE) {
        int64_t batch_size = batch_size_of(run + position);
        if (batch_size > (int64_t)(size - position)) {
            break; /* cut at the end of the read */
        }
        struct batch_header header;
        batch_header_decode(&header, run + position);
        status = replay_batch(replay, bytes_of(run + position, (size_t)batch_size));
        *next = batch_last_offset(&header) + 1;
        position += (size_t)batch_size;
    }
    pages_release_run(metadata->options.pages, run, size, PAGES_REQUEST);
    return status;
}

static enum status replay_all(struct replay *replay)
{
    struct metadata *metadata = replay->metadata;
    struct partition_facts facts = partition_facts(metadata->log);
    int64_t next = facts.log_start_offset;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && next < facts.high_watermark) {
        replay->done = false;
        replay->read = (struct partition_read){
            .offset = next,
            .size_max = METADATA_READ_SIZE,
            .first_whole = true,
            .done = replay_read_done,
            .owner = replay,
        };
        partition_read(metadata->log, &replay->read);
        while (!replay->done) {
            ring_wait(metadata->options.ring);
        }
        status = replay->read.status;
        if (status == STATUS_OK) {
            int64_t before = next;
            status = replay_slices(replay, &next);
            if (status == STATUS_OK && next == before) {
                status = STATUS_CORRUPT_MESSAGE;
            }
        }
        partition_read_release(metadata->log, &replay->read);
    }
    return status;
}

static void first_appended(struct partition_append *append)
{
    ((struct replay *)append->owner)->appended = true;
}

/* A new log begins with the level of its own record formats, as KRaft's does. */
static enum status write_first(struct replay *replay)
{
    struct metadata *metadata = replay->metadata;
    struct metadata_record record = {.key = FEATURE_LEVEL_RECORD_KEY};
    record.feature_level.name = BYTES_LITERAL("metadata.version");
    record.feature_level.feature_level = METADATA_VERSION_LEVEL;
    if (!frames_add(metadata, &record)) {
        return STATUS_NO_MEMORY;
    }
    enum status status = batch_build(metadata);
    if (status == STATUS_OK) {
        metadata->append = (struct partition_append){
            .batch = metadata->run,
            .size = metadata->batch.size,
            .now_ms = ring_wall_ms(metadata->options.ring),
            .done = first_appended,
            .owner = replay,
        };
        batch_header_decode(&metadata->append.header, metadata->run);
        partition_append(metadata->log, &metadata->append);
        while (!replay->appended) {
            store_commit(metadata->options.store);
            ring_wait(metadata->options.ring);
        }
        status = metadata->append.status;
    }
    batch_release(metadata);
    return status;
}

enum status metadata_open(struct metadata **out, const struct metadata_options *options,
                          struct image **images, int32_t image_count)
{
    struct metadata *metadata = heap_acquire(options->heap, sizeof(*metadata));
    if (metadata == NULL) {
        return STATUS_NO_MEMORY;
    }
    metadata->magic = METADATA_MAGIC;
    metadata->options = *options;
    metadata->image = images[METADATA_CORE];
    list_init(&metadata->queue);
    arena_init(&metadata->arena, options->pages, METADATA_ARENA_SIZE_MAX);
    frames_reset(metadata);
    const struct partition_options log = {
        .topic = METADATA_NAME,
        .topic_id = METADATA_ID,
        .config = METADATA_CONFIG,
    };
    enum status status = partition_open(&metadata->log, options->store, &log);
    if (status != STATUS_OK) {
        heap_release(options->heap, metadata, sizeof(*metadata));
        return status;
    }
    struct replay replay = {.metadata = metadata, .images = images, .image_count = image_count};
    status =
        partition_facts(metadata->log).end_offset == 0 ? write_first(&replay) : replay_all(&replay);
    if (status != STATUS_OK) {
        metadata_close(metadata, false);
        return status;
    }
    *out = metadata;
    return STATUS_OK;
}

void metadata_close(struct metadata *metadata, bool clean)
{
    check_magic(metadata, METADATA_MAGIC);
    check(metadata->current == NULL);
    check(list_is_empty(&metadata->queue));
    partition_close(metadata->log, clean);
    metadata->magic = 0;
    heap_release(metadata->options.heap, metadata, sizeof(*metadata));
}

bool metadata_failed(const struct metadata *metadata)
{
    return metadata->failed;
}

struct partition_facts metadata_facts(const struct metadata *metadata)
{
    return partition_facts(metadata->log);
}
