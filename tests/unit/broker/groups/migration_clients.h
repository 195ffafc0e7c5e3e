/* SPDX-License-Identifier: Apache-2.0 */
/* What clients of both protocols ask: for migration_history_test.c. */
#pragma once

#include "tests/unit/broker/groups/migration_world.h"

/* ---- the newer protocol ---- */

struct wire {
    struct consumer_group_heartbeat_request request;
    struct consumer_group_heartbeat_request_topic_partition rows[PARTS_MAX];
    struct bytes names[TOPICS];
    char instance[16];
};

static int32_t names_fill(const struct client *client, struct bytes names[TOPICS])
{
    int32_t count = 0;
    for (int i = 0; i < TOPICS; i++) {
        if ((client->names >> i & 1) != 0) {
            names[count++] = bytes_of_text(NAMES[i]);
        }
    }
    return count;
}

static inline struct bytes instance_fill(const struct client *client, char text[16])
{
    snprintf(text, 16, "instance-%d", client->number);
    return client->number < STATICS ? bytes_of_text(text) : BYTES_NULL;
}

static inline void request_fill(struct wire *wire, struct client *client, int32_t epoch)
{
    struct consumer_group_heartbeat_request *request = &wire->request;
    consumer_group_heartbeat_request_init(request);
    request->group_id = BYTES_LITERAL("group");
    request->member_id = bytes_of_text(client->id);
    request->member_epoch = epoch;
    request->instance_id = instance_fill(client, wire->instance);
    if (epoch < 0) {
        return;
    }
    request->topic_partitions = wire->rows;
    request->topic_partitions_count = client->owned_count;
    for (int32_t i = 0; i < client->owned_count; i++) {
        wire->rows[i] = (struct consumer_group_heartbeat_request_topic_partition){
            client->owned[i].topic_id, &client->owned[i].index, 1};
    }
    if (epoch == 0 || client->tell_all) {
        request->rebalance_timeout_ms = REBALANCE_MS;
        request->subscribed_topic_names = wire->names;
        request->subscribed_topic_names_count = names_fill(client, wire->names);
    }
}

static inline void assignment_take(struct world *world, struct client *client,
                                   const struct consumer_group_heartbeat_response *answer)
{
    client->epoch = answer->member_epoch;
    client->member = true;
    client->tell_all = false;
    if (!answer->has_assignment) {
        return;
    }
    client->removed = false;
    client->owned_count = 0;
    for (int32_t i = 0; i < answer->assignment.topic_partitions_count; i++) {
        const struct consumer_group_heartbeat_response_topic_partitions *row =
            &answer->assignment.topic_partitions[i];
        for (int32_t k = 0; k < row->partitions_count; k++) {
            client->owned[client->owned_count++] =
                (struct part){.topic_id = row->topic_id, .index = row->partitions[k]};
        }
    }
    client->owned_count = parts_sort(client->owned, client->owned_count);
    owners_check(world);
}

static inline void newer_beat(struct world *world, struct client *client, int32_t epoch, bool deaf)
{
    struct wire wire;
    struct consumer_output output;
    struct shard_record tombstone;
    struct consumer_catalog catalog = catalog_of(world);
    struct consumer_event event = event_of(world, CONSUMER_HEARTBEAT, &catalog);
    request_fill(&wire, client, epoch);
    const struct consumer_heartbeat heartbeat = {
        .request = &wire.request,
        .version = 1,
        .client_id = BYTES_LITERAL("client"),
        .client_host = BYTES_LITERAL("/127.0.0.1"),
    };
    event.heartbeat = &heartbeat;
    if (epoch != 0 && world->consumer == NULL) {
        client_lose(client); /* GROUP_ID_NOT_FOUND: it was forgotten, and the group changed */
        return;
    }
    if (!consumer_enter(world, &event, &tombstone)) {
        return;
    }
    consumer_step(world->consumer, &event, &world->arena, &output);
    assert_false(output.broken);
    const struct consumer_group_heartbeat_response answer = output.answer;
    if (answer.error_code != 0 && event.upgraded) {
        consumer_close(world->consumer);
        world->consumer = NULL;
    } else {
        if (event.upgraded) {
            classic_retire(world, STATUS_REBALANCE_IN_PROGRESS);
        }
        consumer_verify(world->consumer);
        consumer_follow(world, &event, &output);
    }
    if (epoch < 0 || deaf) {
        client->tell_all = true;
    } else if (answer.error_code == 0) {
        assignment_take(world, client, &answer);
    } else {
        client_lose(client);
    }
}

/* ---- classic clients: requests ---- */

static inline void metadata_make(struct world *world, struct client *client)
{
    struct consumer_protocol_subscription subscription;
    struct consumer_protocol_subscription_owned_partition rows[PARTS_MAX];
    struct bytes names[TOPICS];
    struct writer writer;
    consumer_protocol_subscription_init(&subscription);
    subscription.topics = names;
    subscription.topics_count = names_fill(client, names);
    subscription.owned_partitions = rows;
    for (int32_t i = 0; i < client->owned_count; i++) {
        int topic = 9 - client->owned[i].topic_id.bytes[0];
        rows[subscription.owned_partitions_count++] =
            (struct consumer_protocol_subscription_owned_partition){bytes_of_text(NAMES[topic]),
                                                                    &client->owned[i].index, 1};
    }
    writer_init(&writer, &world->arena);
    writer_i16(&writer, 1);
    consumer_protocol_subscription_encode(&writer, 1, &subscription);
    client->metadata.size = writer_size(&writer);
    assert_true(client->metadata.size <= METADATA_SIZE_MAX);
    writer_copy(&writer, client->metadata.bytes);
}

static inline void classic_join_send(struct world *world, struct client *client, bool deaf)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    static char instances[CLIENTS][16];
    if (!world->cooperative) {
        client->owned_count = 0;
        client->removed = false;
    }
    metadata_make(world, client);
    client->protocol = (struct join_group_request_protocol){
        .name = BYTES_LITERAL("p"),
        .metadata = bytes_of(client->metadata.bytes, client->metadata.size)};
    client->join = (struct classic_join){
        .member_id = bytes_of_text(client->id),
        .instance_id = instance_fill(client, instances[client->number]),
        .client_id = BYTES_LITERAL("client"),
        .client_host = BYTES_LITERAL("/127.0.0.1"),
        .protocol_type = EMBEDDED_PROTOCOL_TYPE,
        .protocols = &client->protocol,
        .protocol_count = 1,
        .session_ms = SESSION_MS,
        .rebalance_ms = REBALANCE_MS,
        .requires_member_id = client->number % 2 == 0,
    };
    world->uuids++;
    memcpy(client->join.uuid.bytes, &world->uuids, sizeof(world->uuids));
    client->phase = JOINING;
    client->rejoin = false;
    client->changed = false;
    client->deaf = deaf;
    client->version = world->version;
    if (world->consumer != NULL && consumer_member_count(world->consumer) > 0) {
        struct consumer_event event = event_of(world, CONSUMER_JOIN, &catalog);
        event.join = &client->join;
        consumer_event(world, &event, &output);
        return;
    }
    if (world->consumer != NULL) {
        consumer_erase(world->consumer, &world->arena, &output);
        log_append(world, output.records, output.record_count);
        consumer_close(world->consumer);
        world->consumer = NULL;
    }
    if (world->classic == NULL) {
        world->classic = classic_open(&world->heap, 5, &world->classic_config);
    }
    struct classic_event event = {.kind = CLASSIC_JOIN};
    event.join = &client->join;
    classic_event(world, &event);
}

static inline void classic_sync_send(struct world *world, struct client *client, bool deaf)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    client->sync = (struct classic_sync){
        .member_id = bytes_of_text(client->id),
        .instance_id = client->join.instance_id,
        .protocol_type = EMBEDDED_PROTOCOL_TYPE,
        .protocol = BYTES_LITERAL("p"),
        .assignments = client->plan,
        .assignment_count = client->plan_count,
        .generation = client->epoch,
    };
    client->phase = SYNCING;
    client->deaf = deaf;
    if (world->consumer != NULL) {
        struct consumer_event event = event_of(world, CONSUMER_SYNC, &catalog);
        event.sync = &client->sync;
        consumer_event(world, &event, &output);
        sync_answered(world, client);
    } else if (world->classic != NULL) {
        struct classic_event event = {.kind = CLASSIC_SYNC};
        event.sync = &client->sync;
        classic_event(world, &event);
    } else {
        client_refused(world, client, STATUS_UNKNOWN_MEMBER_ID);
    }
}

static inline void classic_beat_send(struct world *world, struct client *client)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    struct classic_call call = {
        .member_id = bytes_of_text(client->id),
        .instance_id = client->join.instance_id,
        .generation = client->epoch,
        .status = STATUS_UNKNOWN_MEMBER_ID,
    };
    if (world->consumer != NULL) {
        struct consumer_event event = event_of(world, CONSUMER_CLASSIC_HEARTBEAT, &catalog);
        event.call = &call;
        consumer_event(world, &event, &output);
    } else if (world->classic != NULL) {
        struct classic_event event = {.kind = CLASSIC_HEARTBEAT};
        event.call = &call;
        classic_event(world, &event);
    }
    if (call.status == STATUS_REBALANCE_IN_PROGRESS) {
        client->rejoin = true;
    } else if (call.status != STATUS_OK) {
        client_refused(world, client, call.status);
    }
}

static inline void classic_leave_send(struct world *world, struct client *client)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    struct classic_leaver leaver = {.member_id = bytes_of_text(client->id),
                                    .instance_id = client->join.instance_id};
    client->owned_count = 0;
    client->phase = OUT;
    if (world->consumer != NULL) {
        struct consumer_event event = event_of(world, CONSUMER_LEAVE, &catalog);
        event.leavers = &leaver;
        event.leaver_count = 1;
        consumer_event(world, &event, &output);
    } else if (world->classic != NULL) {
        struct classic_event event = {.kind = CLASSIC_LEAVE};
        event.leavers = &leaver;
        event.leaver_count = 1;
        classic_event(world, &event);
    }
}

static inline void classic_act(struct world *world, struct client *client, bool deaf)
{
    switch (client->phase) {
    case OUT:
        classic_join_send(world, client, deaf);
        break;
    case JOINED:
        classic_sync_send(world, client, deaf);
        break;
    case IN:
        if (client->rejoin || client->changed ||
            (client->leader && client->version != world->version)) {
            classic_join_send(world, client, deaf);
        } else {
            classic_beat_send(world, client);
        }
        break;
    case JOINING:
    case SYNCING:
        break; /* parked */
    }
}

/* ---- any of them ---- */

static inline void client_act(struct world *world, struct client *client, bool deaf)
{
    if (!client->alive) {
        return;
    }
    if (client->classic) {
        classic_act(world, client, deaf);
    } else {
        if (!client->member) {
            client_lose(client);
        }
        newer_beat(world, client, client->member ? client->epoch : 0, deaf);
    }
    arena_reset(&world->arena);
}

static inline void time_pass(struct world *world, int64_t ms)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    world->now_ms += ms;
    if (world->consumer != NULL && consumer_deadline_ms(world->consumer) <= world->now_ms) {
        struct consumer_event event = event_of(world, CONSUMER_TICK, &catalog);
        consumer_event(world, &event, &output);
    } else if (world->classic != NULL && classic_deadline_ms(world->classic) <= world->now_ms) {
        struct classic_event event = {.kind = CLASSIC_TICK};
        classic_event(world, &event);
    }
    arena_reset(&world->arena);
}

static inline void world_reload(struct world *world)
{
    if (world->classic != NULL) {
        classic_retire(world, STATUS_COORDINATOR_LOAD_IN_PROGRESS);
    }
    consumer_close(world->consumer);
    world->consumer = NULL;
    log_replay(world);
}
