/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One group of either kind with its log, as broker/groups/group_migration.c holds it together, and
 * what clients of both protocols know: for migration_history_test.c.
 */
#pragma once

#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "broker/groups/classic_state.h"
#include "broker/groups/consumer_state.h"
#include "broker/groups/embedded.h"
#include "broker/groups/migration.h"
#include "broker/groups/records.h"

#define TOPICS 2
#define CLIENTS 4
#define STATICS 2 /* the first ones */
#define LOG_MAX 20000
#define PARTS_MAX 32
#define ID_SIZE_MAX 48
#define METADATA_SIZE_MAX 512
#define SESSION_MS 10000
#define REBALANCE_MS 20000

static const char *const NAMES[TOPICS] = {"apples", "bears"};

enum phase { OUT, JOINING, JOINED, SYNCING, IN };

struct blob {
    uint8_t bytes[METADATA_SIZE_MAX];
    size_t size;
};

struct client {
    bool alive;
    bool classic;
    int number;
    int incarnation;
    char id[ID_SIZE_MAX];
    uint32_t names; /* a bit a topic */
    bool removed;   /* what it has was taken from it, and it has not learned so */
    int32_t epoch;  /* or generation */
    struct part owned[PARTS_MAX];
    int32_t owned_count;
    /* of the newer protocol */
    bool member;
    bool tell_all;
    /* of the classic one */
    enum phase phase;
    bool rejoin;
    bool changed; /* it has to say that it reads other topics */
    bool leader;
    bool deaf;        /* the answer to what is under way gets lost */
    uint64_t version; /* of the topics that it joined with */
    struct blob metadata;
    struct join_group_request_protocol protocol;
    struct classic_join join;
    struct classic_sync sync;
    char plan_ids[CLIENTS * 4][ID_SIZE_MAX];
    struct blob plan_blobs[CLIENTS * 4];
    struct sync_group_request_assignment plan[CLIENTS * 4];
    int32_t plan_count;
};

struct world {
    struct heap heap;
    struct pages *pages;
    struct arena arena;
    struct classic_config classic_config;
    struct consumer_config config;
    struct classic *classic; /* one of these two, or none */
    struct consumer *consumer;
    bool cooperative; /* classic clients keep what they have while they join */
    int64_t now_ms;
    uint64_t version;
    uint64_t uuids;
    int32_t counts[TOPICS];
    struct client clients[CLIENTS];
    struct shard_record log[LOG_MAX];
    int32_t log_count;
    const char *wrong;
};

/* ---- topics ---- */

static inline bool topic_fill(const struct world *world, int index, struct consumer_topic *topic)
{
    *topic = (struct consumer_topic){.name = bytes_of_text(NAMES[index]),
                                     .partition_count = world->counts[index]};
    topic->id.bytes[0] = (uint8_t)(9 - index);
    return true;
}

static inline bool topic_find(void *context, struct bytes name, struct consumer_topic *topic)
{
    for (int i = 0; i < TOPICS; i++) {
        if (bytes_equal(name, bytes_of_text(NAMES[i]))) {
            return topic_fill(context, i, topic);
        }
    }
    return false;
}

static inline bool topic_find_id(void *context, const struct uuid *id, struct consumer_topic *topic)
{
    for (int i = 0; i < TOPICS; i++) {
        if (topic_fill(context, i, topic) && uuid_equal(&topic->id, id)) {
            return true;
        }
    }
    return false;
}

static inline bool topic_next(void *context, void **cursor, struct consumer_topic *topic)
{
    uintptr_t i = (uintptr_t)*cursor;
    *cursor = (void *)(i + 1);
    return i < TOPICS && topic_fill(context, (int)i, topic);
}

static inline struct consumer_catalog catalog_of(struct world *world)
{
    return (struct consumer_catalog){topic_find, topic_find_id, topic_next, world, world->version};
}

/* ---- the log ---- */

static inline struct bytes kept(struct bytes bytes)
{
    if (bytes.data == NULL) {
        return bytes;
    }
    void *copy = malloc(bytes.size + 1);
    memcpy(copy, bytes.data, bytes.size);
    return bytes_of(copy, bytes.size);
}

static inline void log_append(struct world *world, const struct shard_record *records,
                              int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        assert_true(world->log_count < LOG_MAX);
        world->log[world->log_count++] =
            (struct shard_record){kept(records[i].key), kept(records[i].value)};
    }
}

static inline void log_classic(struct world *world, const struct group_metadata_value *value)
{
    struct shard_record record;
    assert_int_equal(record_group_metadata(&world->arena, BYTES_LITERAL("group"), value, &record),
                     STATUS_OK);
    log_append(world, &record, 1);
}

static inline void replay_classic(struct world *world, struct bytes value)
{
    struct group_metadata_value metadata;
    struct reader reader;
    if (value.data == NULL) {
        classic_close(world->classic);
        world->classic = NULL;
        return;
    }
    if (world->consumer != NULL) {
        world->wrong = "M2: a classic record before the consumer group was taken back";
        return;
    }
    reader_init(&reader, value);
    int16_t version = reader_i16(&reader);
    assert_int_equal(group_metadata_value_decode(&reader, version, &world->arena, &metadata),
                     STATUS_OK);
    if (world->classic == NULL) {
        world->classic = classic_open(&world->heap, 5, &world->classic_config);
    }
    assert_int_equal(classic_load(world->classic, &metadata, world->now_ms), STATUS_OK);
}

static inline void replay_consumer(struct world *world, const struct shard_record *record)
{
    if (world->consumer == NULL && record->value.data == NULL) {
        return;
    }
    if (world->classic != NULL) {
        world->wrong = "M2: a consumer record before the classic group was taken back";
        return;
    }
    if (world->consumer == NULL) {
        world->consumer = consumer_open(&world->heap, 7, &world->config, BYTES_LITERAL("group"));
    }
    assert_int_equal(consumer_replay(world->consumer, record, &world->arena), STATUS_OK);
    if (consumer_is_blank(world->consumer)) {
        consumer_close(world->consumer);
        world->consumer = NULL;
    }
}

static inline void log_replay(struct world *world)
{
    for (int32_t i = 0; i < world->log_count && world->wrong == NULL; i++) {
        struct record_key key;
        assert_true(record_key_read(world->log[i].key, &key));
        if (key.number == GROUP_METADATA_KEY_KEY) {
            replay_classic(world, world->log[i].value);
        } else {
            replay_consumer(world, &world->log[i]);
        }
    }
    if (world->consumer != NULL) {
        assert_true(consumer_loaded(world->consumer, world->now_ms));
        consumer_verify(world->consumer);
    }
    if (world->classic != NULL) {
        classic_resume(world->classic, world->now_ms);
    }
    arena_reset(&world->arena);
}

/* ---- who has what ---- */

static inline bool is_known(const struct world *world, const struct client *client)
{
    struct bytes id = bytes_of_text(client->id);
    return (world->consumer != NULL && member_find(world->consumer, id) != NULL) ||
           (world->classic != NULL && classic_find(world->classic, id) != NULL);
}

static inline bool is_counted(const struct world *world, const struct client *client)
{
    return client->alive && !client->removed && is_known(world, client);
}

static inline void owners_check(struct world *world)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &world->clients[i];
        client->removed |= client->owned_count > 0 && !is_known(world, client);
    }
    for (int i = 0; i < CLIENTS; i++) {
        for (int k = i + 1; k < CLIENTS; k++) {
            struct client *a = &world->clients[i];
            struct client *b = &world->clients[k];
            struct parts owned_a = {a->owned, a->owned_count};
            struct parts owned_b = {b->owned, b->owned_count};
            if (is_counted(world, a) && is_counted(world, b) && parts_meet(owned_a, owned_b)) {
                world->wrong = "two living members have one partition";
            }
        }
    }
}

static inline void client_lose(struct client *client)
{
    client->owned_count = 0;
    client->epoch = 0;
    client->member = false;
    client->removed = false;
}

static inline void client_die(struct client *client)
{
    client_lose(client);
    client->alive = false;
    client->phase = OUT;
    client->rejoin = false;
    client->leader = false;
    client->id[0] = 0;
}

/* ---- classic clients: answers ---- */

/* The leader's plan: in turn to all who subscribe; of cooperative members each keeps what it has
 * until it has given it up. */
struct plan_member {
    struct consumer_protocol_subscription subscription;
    struct parts owned;
    struct part given[PARTS_MAX];
    int32_t given_count;
};

static inline bool names_topic(const struct consumer_protocol_subscription *subscription, int topic)
{
    for (int32_t i = 0; i < subscription->topics_count; i++) {
        if (bytes_equal(subscription->topics[i], bytes_of_text(NAMES[topic]))) {
            return true;
        }
    }
    return false;
}

static inline bool owned_by_other(const struct world *world, const struct plan_member *members,
                                  int32_t count, int32_t who, const struct part *part)
{
    for (int32_t i = 0; world->cooperative && i < count; i++) {
        if (i != who && parts_find(members[i].owned, part) != NULL) {
            return true;
        }
    }
    return false;
}

static inline void plan_topic(struct world *world, int topic, struct plan_member *members,
                              int32_t count)
{
    struct consumer_topic info;
    int32_t turn = 0;
    topic_fill(world, topic, &info);
    for (int32_t index = 0; index < info.partition_count; index++) {
        for (int32_t tried = 0; tried < count; tried++) {
            int32_t who = turn++ % count;
            struct plan_member *member = &members[who];
            struct part part = {.topic_id = info.id, .index = index};
            if (names_topic(&member->subscription, topic)) {
                if (!owned_by_other(world, members, count, who, &part)) {
                    member->given[member->given_count++] = part;
                }
                break;
            }
        }
    }
}

static inline void plan_make(struct world *world, struct client *client)
{
    struct consumer_catalog catalog = catalog_of(world);
    struct plan_member *members = calloc(CLIENTS * 4, sizeof(*members));
    const struct classic_member *member = NULL;
    int32_t count = 0;
    while ((member = classic_member_next(world->classic, member)) != NULL) {
        struct classic_member_view view = classic_member_view(world->classic, member);
        assert_true(count < CLIENTS * 4);
        assert_int_equal(
            embedded_subscription_read(view.metadata, &world->arena, &members[count].subscription),
            STATUS_OK);
        assert_true(embedded_owned(&members[count].subscription, &catalog, &world->arena,
                                   &members[count].owned));
        snprintf(client->plan_ids[count], ID_SIZE_MAX, "%.*s", (int)view.member_id.size,
                 (const char *)view.member_id.data);
        count++;
    }
    for (int topic = 0; topic < TOPICS; topic++) {
        plan_topic(world, topic, members, count);
    }
    for (int32_t i = 0; i < count; i++) {
        struct parts given = {members[i].given,
                              parts_sort(members[i].given, members[i].given_count)};
        struct bytes blob =
            embedded_assignment_make(given, BYTES_LITERAL("\0\1"), &catalog, &world->arena);
        assert_true(blob.data != NULL && blob.size <= METADATA_SIZE_MAX);
        memcpy(client->plan_blobs[i].bytes, blob.data, blob.size);
        client->plan[i].member_id = bytes_of_text(client->plan_ids[i]);
        client->plan[i].assignment = bytes_of(client->plan_blobs[i].bytes, blob.size);
    }
    client->plan_count = count;
    free(members);
}

/* What every answer of the classic protocol may say. */
static inline void client_refused(struct world *world, struct client *client, enum status status)
{
    client->phase = OUT;
    client->rejoin = false;
    switch (status) {
    case STATUS_REBALANCE_IN_PROGRESS:
    case STATUS_COORDINATOR_LOAD_IN_PROGRESS:
    case STATUS_MEMBER_ID_REQUIRED:
        break;
    case STATUS_ILLEGAL_GENERATION:
        client_lose(client);
        break;
    case STATUS_UNKNOWN_MEMBER_ID:
        client_lose(client);
        client->id[0] = 0;
        break;
    case STATUS_FENCED_INSTANCE_ID:
        client_die(client);
        break;
    default:
        fprintf(stderr, "answer %d\n", (int)status);
        world->wrong = "an answer that nobody understands";
    }
}

static inline void join_answered(struct world *world, struct client *client)
{
    const struct classic_join *join = &client->join;
    if (client->phase != JOINING) { /* it is somebody else by now */
        return;
    }
    if (client->deaf) {
        client->phase = OUT;
        return;
    }
    if (join->answer.status == STATUS_OK || join->answer.status == STATUS_MEMBER_ID_REQUIRED) {
        snprintf(client->id, ID_SIZE_MAX, "%.*s", (int)join->answer.member_id.size,
                 (const char *)join->answer.member_id.data);
    }
    if (join->answer.status != STATUS_OK) {
        client_refused(world, client, join->answer.status);
        return;
    }
    client->phase = JOINED;
    client->epoch = join->answer.generation;
    client->leader = bytes_equal(join->answer.leader, join->answer.member_id);
    client->plan_count = 0;
    if (client->leader && world->classic == NULL) {
        world->wrong = "a leader in a consumer group";
    } else if (client->leader && join->answer.lists_members) {
        plan_make(world, client);
    }
}

static inline void sync_answered(struct world *world, struct client *client)
{
    struct consumer_catalog catalog = catalog_of(world);
    const struct classic_sync *sync = &client->sync;
    struct consumer_protocol_assignment assignment;
    struct parts given;
    if (client->phase != SYNCING) {
        return;
    }
    if (client->deaf) {
        client->phase = OUT;
        return;
    }
    if (sync->answer.status != STATUS_OK) {
        client_refused(world, client, sync->answer.status);
        return;
    }
    assert_int_equal(embedded_assignment_read(sync->answer.assignment, &world->arena, &assignment),
                     STATUS_OK);
    assert_true(embedded_assigned(&assignment, &catalog, 0, &world->arena, &given));
    struct parts owned = {client->owned, client->owned_count};
    /* What was revoked is told by joining once more. */
    client->rejoin = world->cooperative && !parts_are_within(owned, given);
    /* A static one that came back interrupts nobody, not even those who would have joined once more
     * for what it was to give up. */
    client->changed |= world->cooperative && client->join.member_id.size == 0;
    assert_true(given.count <= PARTS_MAX);
    if (given.count > 0) {
        memcpy(client->owned, given.items, (size_t)given.count * sizeof(*given.items));
    }
    client->owned_count = given.count;
    client->removed = false;
    client->phase = IN;
    owners_check(world);
}

/* ---- the two machines, and what is between them ---- */

static inline void classic_event(struct world *world, struct classic_event *event)
{
    struct classic_output output;
    event->now_ms = world->now_ms;
    event->wall_ms = 1;
    classic_step(world->classic, event, &output);
    bool write = output.write;
    uint64_t write_id = output.write_id;
    if (write) {
        struct group_metadata_value value;
        assert_int_equal(classic_value(world->classic, &world->arena, &value), STATUS_OK);
        log_classic(world, &value);
    }
    for (struct list_node *node; (node = list_pop_head(&output.joins)) != NULL;) {
        join_answered(
            world, CONTAINER_OF(LIST_ENTRY(node, struct classic_join, node), struct client, join));
    }
    for (struct list_node *node; (node = list_pop_head(&output.syncs)) != NULL;) {
        sync_answered(
            world, CONTAINER_OF(LIST_ENTRY(node, struct classic_sync, node), struct client, sync));
    }
    if (write) {
        struct classic_event persisted = {.kind = CLASSIC_PERSISTED};
        persisted.write_id = write_id;
        classic_event(world, &persisted);
    }
}

static inline void classic_retire(struct world *world, enum status status)
{
    struct classic_event event = {.kind = CLASSIC_RETIRE};
    event.status = status;
    classic_event(world, &event);
    classic_close(world->classic);
    world->classic = NULL;
}

static inline struct consumer_event event_of(struct world *world, enum consumer_event_kind kind,
                                             const struct consumer_catalog *catalog)
{
    return (struct consumer_event){
        .kind = kind, .now_ms = world->now_ms, .wall_ms = 1, .catalog = catalog};
}

static inline void consumer_follow(struct world *world, const struct consumer_event *event,
                                   struct consumer_output *output)
{
    if (output->downgrade) {
        struct classic *classic = classic_open(&world->heap, 5, &world->classic_config);
        assert_non_null(classic);
        assert_true(migration_downgrade(world->consumer, event, &world->arena, classic, output));
        if (event->kind == CONSUMER_JOIN) { /* before its texts are gone */
            join_answered(world, CONTAINER_OF(event->join, struct client, join));
        }
        consumer_close(world->consumer);
        world->consumer = NULL;
        world->classic = classic;
        classic_verify(classic);
    } else if (event->kind == CONSUMER_JOIN) {
        join_answered(world, CONTAINER_OF(event->join, struct client, join));
    }
    log_append(world, output->records, output->record_count);
    if (output->downgrade) {
        struct classic_event rebalance = {.kind = CLASSIC_REBALANCE};
        classic_event(world, &rebalance);
    }
}

static inline void consumer_event(struct world *world, struct consumer_event *event,
                                  struct consumer_output *output)
{
    consumer_step(world->consumer, event, &world->arena, output);
    assert_false(output->broken);
    consumer_verify(world->consumer);
    consumer_follow(world, event, output);
}

/* A consumer machine for a heartbeat that joins. False: none. */
static inline bool consumer_enter(struct world *world, struct consumer_event *event,
                                  struct shard_record *tombstone)
{
    const char *message;
    if (world->consumer != NULL) {
        return true;
    }
    world->consumer = consumer_open(&world->heap, 7, &world->config, BYTES_LITERAL("group"));
    if (world->classic == NULL) {
        return true;
    }
    assert_int_equal(record_group_metadata(&world->arena, BYTES_LITERAL("group"), NULL, tombstone),
                     STATUS_OK);
    event->first = tombstone;
    if (classic_view(world->classic).member_count == 0) {
        classic_retire(world, STATUS_REBALANCE_IN_PROGRESS);
        return true;
    }
    enum status status =
        migration_upgrade(world->classic, event, &world->arena, world->consumer, &message);
    if (status != STATUS_OK) {
        fprintf(stderr, "%s\n", message == NULL ? "no memory" : message);
        world->wrong = "the group cannot be upgraded";
        consumer_close(world->consumer);
        world->consumer = NULL;
        return false;
    }
    consumer_verify(world->consumer);
    event->upgraded = true;
    return true;
}

/* ---- life ---- */

static inline struct world *world_open(void)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    const struct pages_limits limits = {.size_max = {[PAGES_REQUEST] = 16 << 20}};
    world->pages = pages_open(&limits);
    assert_non_null(world->pages);
    arena_init(&world->arena, world->pages, 8 << 20);
    heap_init(&world->heap, 64 << 20);
    world->classic_config = (struct classic_config){.session_ms_min = 1,
                                                    .session_ms_max = 60000,
                                                    .member_count_max = 100,
                                                    .new_member_join_ms = 300000};
    world->config = (struct consumer_config){.heartbeat_ms = 1000,
                                             .session_ms = SESSION_MS,
                                             .member_count_max = 100,
                                             .assignors = 3,
                                             .upgrade = true,
                                             .downgrade = true,
                                             .classic = &world->classic_config};
    world->version = 1;
    world->counts[0] = 3;
    world->counts[1] = 2;
    for (int i = 0; i < CLIENTS; i++) {
        world->clients[i].number = i;
    }
    return world;
}

static inline void world_close(struct world *world)
{
    if (world->classic != NULL) {
        classic_retire(world, STATUS_COORDINATOR_LOAD_IN_PROGRESS);
    }
    consumer_close(world->consumer);
    arena_reset(&world->arena);
    heap_deinit(&world->heap);
    pages_close(world->pages);
    for (int32_t i = 0; i < world->log_count; i++) {
        free((void *)(uintptr_t)world->log[i].key.data);
        free((void *)(uintptr_t)world->log[i].value.data);
    }
    free(world);
}
