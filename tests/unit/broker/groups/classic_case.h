/* SPDX-License-Identifier: Apache-2.0 */
/* A group, its clients and a clock, for the tests of broker/groups/classic. After each step the
 * invariants are checked and the answers are taken down by their clients. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/pages.h"
#include "base/random.h"
#include "broker/groups/classic.h"
#include "broker/groups/classic_state.h"
#include "tests/lib/test.h"

#define TEXT_MAX 128
#define VALUE_MAX 65536
#define SESSION_MS 10000
#define REBALANCE_MS 60000
#define DELAY_MS 3000
#define WALL_MS INT64_C(1700000000000)

struct client {
    const char *name; /* client id */
    const char *instance;
    const char *type;
    struct join_group_request_protocol protocols[4];
    int32_t protocol_count;
    int32_t session_ms;
    int32_t rebalance_ms;
    int version; /* of JoinGroup */

    struct classic_join join;
    struct classic_sync sync;
    int joins_parked; /* handed in and not answered: 0 or 1 */
    int syncs_parked;

    /* the last answers, copied */
    char id[TEXT_MAX];
    enum status joined;
    int32_t generation;
    char leader[TEXT_MAX];
    char protocol[TEXT_MAX];
    bool leads;
    bool skips;
    enum status synced;
    char assignment[TEXT_MAX];
    size_t assignment_size;
};

struct scene {
    struct heap heap;
    struct classic_config config;
    struct classic *group;
    struct classic_output output;
    struct random random;
    struct pages *pages;
    int64_t now_ms;
    bool large;               /* too many members to look at each of them after each step */
    uint64_t write_id;        /* of the last step; 0 none */
    uint8_t value[VALUE_MAX]; /* what the last write wrote */
    size_t value_size;
    char reason[TEXT_MAX];
};

static inline void text_of(char text[TEXT_MAX], struct bytes from)
{
    size_t size = from.size < TEXT_MAX - 1 ? from.size : TEXT_MAX - 1;
    if (size > 0) {
        memmove(text, from.data, size); /* an echoed id comes from where it goes */
    }
    text[size] = '\0';
}

static inline void scene_open(struct scene *scene)
{
    memset(scene, 0, sizeof(*scene));
    heap_init(&scene->heap, (size_t)(64 * MIB));
    scene->config = (struct classic_config){
        .initial_delay_ms = DELAY_MS,
        .session_ms_min = 6000,
        .session_ms_max = 1800000,
        .member_count_max = INT32_MAX,
        .new_member_join_ms = 300000,
    };
    random_init(&scene->random, 7);
    scene->pages =
        pages_open(&(struct pages_limits){.size_max = {64 * CHUNK_SIZE, CHUNK_SIZE, CHUNK_SIZE}});
    assert_non_null(scene->pages);
    scene->now_ms = 1000;
    scene->group = classic_open(&scene->heap, 3, &scene->config);
    assert_non_null(scene->group);
}

/* What the step wants written, as bytes of version 3. */
static inline void scene_take_value(struct scene *scene)
{
    struct arena arena;
    struct writer writer;
    struct group_metadata_value value;
    arena_init(&arena, scene->pages, (size_t)(4 * MIB));
    assert_int_equal(classic_value(scene->group, &arena, &value), STATUS_OK);
    writer_init(&writer, &arena);
    group_metadata_value_encode(&writer, 3, &value);
    assert_false(writer.failed);
    scene->value_size = writer_size(&writer);
    assert_true(scene->value_size <= VALUE_MAX);
    writer_copy(&writer, scene->value);
    arena_reset(&arena);
}

static inline void scene_take_join(struct scene *scene, struct classic_join *join)
{
    struct client *client = CONTAINER_OF(join, struct client, join);
    assert_int_equal(client->joins_parked, 1); /* G1 */
    client->joins_parked = 0;
    client->joined = join->answer.status;
    client->generation = join->answer.generation;
    text_of(client->id, join->answer.member_id);
    text_of(client->leader, join->answer.leader);
    text_of(client->protocol, join->answer.protocol);
    client->leads = join->answer.lists_members;
    client->skips = join->answer.skip_assignment;
    if (join->answer.status == STATUS_OK) {
        assert_int_equal(join->answer.generation, classic_view(scene->group).generation);
        assert_non_null(join->answer.protocol_type.data);
        assert_non_null(join->answer.protocol.data);
    } else {
        assert_int_equal(join->answer.generation, -1);
        assert_null(join->answer.protocol.data);
    }
}

static inline void scene_take_sync(struct classic_sync *sync)
{
    struct client *client = CONTAINER_OF(sync, struct client, sync);
    assert_int_equal(client->syncs_parked, 1); /* G1 */
    client->syncs_parked = 0;
    client->synced = sync->answer.status;
    text_of(client->assignment, sync->answer.assignment);
    client->assignment_size = sync->answer.assignment.size;
    assert_true(sync->answer.status == STATUS_OK || sync->answer.assignment.size == 0);
}

static inline void scene_step(struct scene *scene, struct classic_event event)
{
    event.now_ms = scene->now_ms;
    event.wall_ms = WALL_MS + scene->now_ms;
    classic_step(scene->group, &event, &scene->output);
    assert_true(scene->large || classic_verify(scene->group));
    for (struct list_node *node; (node = list_pop_head(&scene->output.joins)) != NULL;) {
        scene_take_join(scene, LIST_ENTRY(node, struct classic_join, node));
    }
    for (struct list_node *node; (node = list_pop_head(&scene->output.syncs)) != NULL;) {
        scene_take_sync(LIST_ENTRY(node, struct classic_sync, node));
    }
    scene->write_id = scene->output.write ? scene->output.write_id : 0;
    if (scene->output.write && !scene->large) {
        scene_take_value(scene);
    }
    text_of(scene->reason, bytes_of_text(scene->output.reason == NULL ? "" : scene->output.reason));
}

static inline void scene_close(struct scene *scene)
{
    scene_step(scene,
               (struct classic_event){.kind = CLASSIC_RETIRE, .status = STATUS_NOT_COORDINATOR});
    classic_close(scene->group);
    assert_int_equal(scene->heap.size, 0);
    heap_deinit(&scene->heap);
    pages_close(scene->pages);
}

/* Lets time pass, with a tick whenever one is due. */
static inline void scene_wait(struct scene *scene, int64_t ms)
{
    int64_t until_ms = scene->now_ms + ms;
    for (int64_t due; (due = classic_deadline_ms(scene->group)) <= until_ms;) {
        scene->now_ms = due > scene->now_ms ? due : scene->now_ms;
        scene_step(scene, (struct classic_event){.kind = CLASSIC_TICK});
    }
    scene->now_ms = until_ms;
}

static inline void scene_persisted(struct scene *scene, uint64_t write_id)
{
    assert_true(write_id > 0);
    scene_step(scene, (struct classic_event){.kind = CLASSIC_PERSISTED, .write_id = write_id});
}

static inline void scene_persist_failed(struct scene *scene, uint64_t write_id, enum status status)
{
    assert_true(write_id > 0);
    scene_step(scene, (struct classic_event){
                          .kind = CLASSIC_PERSIST_FAILED, .write_id = write_id, .status = status});
}

static inline enum classic_state scene_state(const struct scene *scene)
{
    return classic_view(scene->group).state;
}

/* A consumer of the newest version that lists one protocol. */
static inline void client_init(struct client *client, const char *name)
{
    memset(client, 0, sizeof(*client));
    client->name = name;
    client->type = "consumer";
    client->protocols[0].name = bytes_of_text("range");
    client->protocols[0].metadata = bytes_of_text(name);
    client->protocol_count = 1;
    client->session_ms = SESSION_MS;
    client->rebalance_ms = REBALANCE_MS;
    client->version = 9;
}

static inline void client_join(struct scene *scene, struct client *client)
{
    assert_int_equal(client->joins_parked, 0);
    client->joins_parked = 1;
    client->join = (struct classic_join){
        .member_id = bytes_of_text(client->id),
        .instance_id = client->instance == NULL ? BYTES_NULL : bytes_of_text(client->instance),
        .client_id = bytes_of_text(client->name),
        .client_host = BYTES_LITERAL("/127.0.0.1"),
        .protocol_type = bytes_of_text(client->type),
        .protocols = client->protocols,
        .protocol_count = client->protocol_count,
        .session_ms = client->session_ms,
        .rebalance_ms = client->version == 0 ? -1 : client->rebalance_ms,
        .requires_member_id = client->version >= 4,
        .may_skip_assignment = client->version >= 9,
    };
    random_uuid(&scene->random, client->join.uuid.bytes);
    scene_step(scene, (struct classic_event){.kind = CLASSIC_JOIN, .join = &client->join});
}

/* Both rounds of a first join: the id, and the join that parks. */
static inline void client_enter(struct scene *scene, struct client *client)
{
    client_join(scene, client);
    if (client->joins_parked == 0 && client->joined == STATUS_MEMBER_ID_REQUIRED) {
        client_join(scene, client);
    }
}

static inline void client_sync_with(struct scene *scene, struct client *client,
                                    const struct sync_group_request_assignment *assignments,
                                    int32_t count)
{
    assert_int_equal(client->syncs_parked, 0);
    client->syncs_parked = 1;
    client->sync = (struct classic_sync){
        .member_id = bytes_of_text(client->id),
        .instance_id = client->instance == NULL ? BYTES_NULL : bytes_of_text(client->instance),
        .protocol_type = bytes_of_text(client->type),
        .protocol = bytes_of_text(client->protocol),
        .generation = client->generation,
        .assignments = assignments,
        .assignment_count = count,
    };
    scene_step(scene, (struct classic_event){.kind = CLASSIC_SYNC, .sync = &client->sync});
}

static inline void client_sync(struct scene *scene, struct client *client)
{
    client_sync_with(scene, client, NULL, 0);
}

static inline struct classic_call client_call(const struct client *client)
{
    return (struct classic_call){
        .member_id = bytes_of_text(client->id),
        .instance_id = client->instance == NULL ? BYTES_NULL : bytes_of_text(client->instance),
        .generation = client->generation,
    };
}

static inline enum status client_heartbeat(struct scene *scene, const struct client *client)
{
    struct classic_call call = client_call(client);
    scene_step(scene, (struct classic_event){.kind = CLASSIC_HEARTBEAT, .call = &call});
    return call.status;
}

static inline enum status scene_commit(struct scene *scene, struct classic_call call)
{
    scene_step(scene, (struct classic_event){.kind = CLASSIC_COMMIT, .call = &call});
    return call.status;
}

static inline enum status scene_leave(struct scene *scene, const char *id, const char *instance)
{
    struct classic_leaver leaver = {
        .member_id = bytes_of_text(id),
        .instance_id = instance == NULL ? BYTES_NULL : bytes_of_text(instance),
    };
    scene_step(scene, (struct classic_event){
                          .kind = CLASSIC_LEAVE, .leavers = &leaver, .leaver_count = 1});
    return leaver.status;
}

/* The leader assigns to each client its own name. */
static inline void scene_assign(struct scene *scene, struct client **clients, int32_t count)
{
    struct sync_group_request_assignment assignments[16];
    struct client *leader = NULL;
    assert_true(count <= 16);
    for (int32_t i = 0; i < count; i++) {
        assignments[i].member_id = bytes_of_text(clients[i]->id);
        assignments[i].assignment = bytes_of_text(clients[i]->name);
        leader = strcmp(clients[i]->id, clients[i]->leader) == 0 ? clients[i] : leader;
    }
    assert_non_null(leader);
    for (int32_t i = 0; i < count; i++) {
        if (clients[i] != leader) {
            client_sync(scene, clients[i]);
        }
    }
    client_sync_with(scene, leader, assignments, count);
    scene_persisted(scene, scene->write_id);
    assert_int_equal(scene_state(scene), CLASSIC_STABLE);
    for (int32_t i = 0; i < count; i++) {
        assert_int_equal(clients[i]->synced, STATUS_OK);
        assert_string_equal(clients[i]->assignment, clients[i]->name);
    }
}

/* Everybody comes into an Empty group and is assigned its name. */
static inline void scene_settle(struct scene *scene, struct client **clients, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        client_enter(scene, clients[i]);
    }
    scene_wait(scene, (int64_t)DELAY_MS * (count + 1));
    for (int32_t i = 0; i < count; i++) {
        assert_int_equal(clients[i]->joined, STATUS_OK);
    }
    scene_assign(scene, clients, count);
}
