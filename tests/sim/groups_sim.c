/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups on a simulated broker of two cores. Clients commit, join, sync and vanish by a seed; now
 * and then the power fails, a write fails, or the broker stops in order. Whatever happens:
 *
 *   - an offset that was acknowledged is there afterwards, and no group goes back behind it;
 *   - nobody is shown an offset that was never sent;
 *   - every request is answered, and one seed makes one trace.
 *
 * With every third seed writes, syncs, names or space fail now and then: what was refused may come
 * to light after the next start, and what was acknowledged stays.
 *
 *   groups_sim [SEED [COUNT]]     replays seeds
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim_broker.h"
#include "tests/sim/sims.h"
#include "wire/delete_groups.h"
#include "wire/find_coordinator.h"
#include "wire/heartbeat.h"
#include "wire/join_group.h"
#include "wire/leave_group.h"
#include "wire/metadata.h"
#include "wire/offset_commit.h"
#include "wire/offset_fetch.h"
#include "wire/sync_group.h"

#define CORES 2
#define GROUPS 3
#define PARTITIONS 2
#define CLIENTS 3
#define STEPS 60
#define SESSION_MS 6000
#define WIDE 460 /* partitions: more than one batch of tombstones */
#define WIDE_TICKS 24
#define STALL_NS UINT64_C(20000000) /* longer than what the disk or the network does */
#define BIG_GROUPS_MAX 100000
#define BIG_DELETED_ONE_IN 10
#define FAULTY_ONE_IN 3         /* seeds */
#define FAULT_PER_MILLION 30000 /* of ops */

static uint64_t current_seed;
static uint64_t fault_count;

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed %llu: %s:%d: %s\nreplay: build/tests/sim/groups_sim %llu\n",     \
                    (unsigned long long)current_seed, __FILE__, __LINE__, #condition,              \
                    (unsigned long long)current_seed);                                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static const char *const NAMES[GROUPS] = {"first", "second", "third"};

struct place {
    int64_t acknowledged; /* -1: none */
    int64_t sent;         /* the largest ever sent */
};

struct history {
    struct sim_broker broker;
    struct sim_client clients[CLIENTS];
    struct random random;
    struct place places[GROUPS][PARTITIONS];
    int64_t next;
    bool faulty;
};

static struct reader call(struct sim_client *client, struct writer *writer, bool flexible)
{
    sim_client_send(client, writer);
    return sim_client_receive(client, flexible);
}

static void topic_create(struct sim_client *client, struct bytes name)
{
    struct metadata_request request;
    metadata_request_init(&request);
    struct metadata_request_topic topic = {.name = name};
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    metadata_request_encode(sim_client_request(client, &writer, METADATA_KEY, 12, true), 12,
                            &request);
    struct reader reader = call(client, &writer, true);
    struct metadata_response response;
    expect(metadata_response_decode(&reader, 12, &client->arena, &response) == STATUS_OK);
    expect(response.topics[0].error_code == 0);
}

static void coordinator_find(struct sim_client *client)
{
    struct find_coordinator_request request;
    find_coordinator_request_init(&request);
    request.key = BYTES_LITERAL("first");
    struct writer writer;
    find_coordinator_request_encode(
        sim_client_request(client, &writer, FIND_COORDINATOR_KEY, 3, true), 3, &request);
    struct reader reader = call(client, &writer, true);
    struct find_coordinator_response response;
    expect(find_coordinator_response_decode(&reader, 3, &client->arena, &response) == STATUS_OK);
    expect(response.error_code == 0);
    expect(response.node_id == 1);
}

/* ---- offsets ---- */

static int16_t commit_call(struct sim_client *client, struct bytes group,
                           const struct offset_commit_request_partition *item)
{
    struct offset_commit_request_topic topic = {
        .name = BYTES_LITERAL("sim"),
        .partitions = (struct offset_commit_request_partition *)(uintptr_t)item,
        .partitions_count = 1};
    struct offset_commit_request request;
    offset_commit_request_init(&request);
    request.group_id = group;
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    offset_commit_request_encode(sim_client_request(client, &writer, OFFSET_COMMIT_KEY, 8, true), 8,
                                 &request);
    struct reader reader = call(client, &writer, true);
    struct offset_commit_response response;
    expect(offset_commit_response_decode(&reader, 8, &client->arena, &response) == STATUS_OK);
    return response.topics[0].partitions[0].error_code;
}

static void commit(struct history *history, struct sim_client *client, int group, int32_t partition)
{
    struct place *place = &history->places[group][partition];
    place->sent = ++history->next;
    struct offset_commit_request_partition item;
    offset_commit_request_partition_init(&item);
    item.partition_index = partition;
    item.committed_offset = place->sent;
    item.committed_metadata = BYTES_LITERAL("note");
    int16_t code = commit_call(client, bytes_of_text(NAMES[group]), &item);
    if (code == 0) {
        place->acknowledged = place->sent;
    } else {
        expect(code == status_code(STATUS_UNKNOWN_MEMBER_ID) || /* the group has members */
               code == status_code(STATUS_COORDINATOR_LOAD_IN_PROGRESS) ||
               code == status_code(STATUS_COORDINATOR_NOT_AVAILABLE));
    }
}

/* False: the group is not ready. */
static bool fetch(struct history *history, struct sim_client *client, int group)
{
    int32_t indexes[PARTITIONS] = {0, 1};
    struct offset_fetch_request_group_topic topic = {.name = BYTES_LITERAL("sim"),
                                                     .partition_indexes = indexes,
                                                     .partition_indexes_count = PARTITIONS};
    struct offset_fetch_request_group asked;
    offset_fetch_request_group_init(&asked);
    asked.group_id = bytes_of_text(NAMES[group]);
    asked.topics = &topic;
    asked.topics_count = 1;
    struct offset_fetch_request request;
    offset_fetch_request_init(&request);
    request.groups = &asked;
    request.groups_count = 1;
    struct writer writer;
    offset_fetch_request_encode(sim_client_request(client, &writer, OFFSET_FETCH_KEY, 8, true), 8,
                                &request);
    struct reader reader = call(client, &writer, true);
    struct offset_fetch_response response;
    expect(offset_fetch_response_decode(&reader, 8, &client->arena, &response) == STATUS_OK);
    if (response.groups[0].error_code != 0) {
        expect(response.groups[0].error_code == status_code(STATUS_COORDINATOR_LOAD_IN_PROGRESS));
        return false;
    }
    for (int32_t i = 0; i < PARTITIONS; i++) {
        int64_t offset = response.groups[0].topics[0].partitions[i].committed_offset;
        struct place *place = &history->places[group][i];
        expect(offset >= place->acknowledged);
        expect(offset <= place->sent);
        expect(offset < 0 || bytes_equal(response.groups[0].topics[0].partitions[i].metadata,
                                         BYTES_LITERAL("note")));
        place->acknowledged = offset; /* what was shown may not be taken back either */
    }
    return true;
}

/* ---- members ---- */

static void join_send(struct sim_client *client, int group, struct bytes member)
{
    struct join_group_request_protocol protocol = {.name = BYTES_LITERAL("range"),
                                                   .metadata = BYTES_LITERAL("meta")};
    struct join_group_request request;
    join_group_request_init(&request);
    request.group_id = bytes_of_text(NAMES[group]);
    request.session_timeout_ms = SESSION_MS;
    request.rebalance_timeout_ms = SESSION_MS;
    request.member_id = member;
    request.protocol_type = BYTES_LITERAL("consumer");
    request.protocols = &protocol;
    request.protocols_count = 1;
    struct writer writer;
    join_group_request_encode(sim_client_request(client, &writer, JOIN_GROUP_KEY, 6, true), 6,
                              &request);
    sim_client_send(client, &writer);
}

static void leave(struct sim_client *client, int group, struct bytes member)
{
    struct leave_group_request_member leaver = {.member_id = member};
    struct leave_group_request request;
    leave_group_request_init(&request);
    request.group_id = bytes_of_text(NAMES[group]);
    request.members = &leaver;
    request.members_count = 1;
    struct writer writer;
    leave_group_request_encode(sim_client_request(client, &writer, LEAVE_GROUP_KEY, 4, true), 4,
                               &request);
    struct reader reader = call(client, &writer, true);
    struct leave_group_response response;
    expect(leave_group_response_decode(&reader, 4, &client->arena, &response) == STATUS_OK);
}

static void sync(struct sim_client *client, int group, struct bytes member, int32_t generation)
{
    struct sync_group_request_assignment assignment = {.member_id = member,
                                                       .assignment = BYTES_LITERAL("all of it")};
    struct sync_group_request request;
    sync_group_request_init(&request);
    request.group_id = bytes_of_text(NAMES[group]);
    request.generation_id = generation;
    request.member_id = member;
    request.assignments = &assignment;
    request.assignments_count = 1;
    struct writer writer;
    sync_group_request_encode(sim_client_request(client, &writer, SYNC_GROUP_KEY, 4, true), 4,
                              &request);
    struct reader reader = call(client, &writer, true);
    struct sync_group_response response;
    expect(sync_group_response_decode(&reader, 4, &client->arena, &response) == STATUS_OK);
    if (response.error_code == 0) {
        expect(bytes_equal(response.assignment, BYTES_LITERAL("all of it")));
    }
}

static struct join_group_response join_receive(struct sim_client *client)
{
    struct reader reader = sim_client_receive(client, true);
    struct join_group_response response;
    expect(join_group_response_decode(&reader, 6, &client->arena, &response) == STATUS_OK);
    return response;
}

/* The only member of its group comes, gets everything, and goes; or vanishes while it waits, or
 * without a word once it is in. */
static void member_visit(struct history *history, struct sim_client *client, int group)
{
    char member[128] = "";
    join_send(client, group, BYTES_LITERAL(""));
    struct join_group_response response = join_receive(client);
    if (response.error_code != status_code(STATUS_MEMBER_ID_REQUIRED)) {
        return; /* loading */
    }
    expect(response.member_id.size < sizeof(member));
    memcpy(member, response.member_id.data, response.member_id.size);
    struct bytes id = bytes_of_text(member);
    join_send(client, group, id);
    if (random_below(&history->random, 4) == 0) {
        sim_client_close(client); /* parked */
        sim_client_open(client, &history->broker);
        return;
    }
    response = join_receive(client);
    if (response.error_code != 0) {
        return;
    }
    int32_t generation = response.generation_id;
    if (bytes_equal(response.leader, id)) {
        expect(response.members_count >= 1);
        sync(client, group, id, generation);
    }
    if (random_below(&history->random, 2) == 0) {
        leave(client, group, id);
    }
}

/* ---- histories ---- */

static void clients_open(struct history *history)
{
    for (int i = 0; i < CLIENTS; i++) {
        sim_client_open(&history->clients[i], &history->broker);
    }
}

static void clients_close(struct history *history)
{
    for (int i = 0; i < CLIENTS; i++) {
        sim_client_close(&history->clients[i]);
    }
}

/* One kind for each history. */
static enum sim_fault fault_of(uint64_t seed)
{
    static const enum sim_fault kinds[] = {SIM_WRITE_ERROR, SIM_SYNC_ERROR, SIM_NAME_ERROR,
                                           SIM_NO_SPACE};
    return kinds[seed / FAULTY_ONE_IN % ARRAY_COUNT(kinds)];
}

static void faults_set(struct history *history, bool on)
{
    sim_world_set_fault(history->broker.world, fault_of(current_seed),
                        on && history->faulty ? FAULT_PER_MILLION : 0);
}

static void restart(struct history *history, bool power_cut)
{
    faults_set(history, false);
    if (power_cut) {
        sim_broker_crash(&history->broker);
        clients_close(history);
    } else {
        clients_close(history);
        sim_broker_stop(&history->broker);
    }
    sim_broker_start(&history->broker, CORES);
    clients_open(history);
    for (int group = 0; group < GROUPS; group++) {
        while (!fetch(history, &history->clients[0], group)) {
        }
    }
    faults_set(history, true);
}

static void history_step(struct history *history)
{
    struct random *random = &history->random;
    struct sim_client *client = &history->clients[random_below(random, CLIENTS)];
    int group = (int)random_below(random, GROUPS);
    switch (random_below(random, 16)) {
    case 0:
        restart(history, random_below(random, 2) == 0);
        return;
    case 1:
    case 2:
        member_visit(history, client, group);
        return;
    case 3:
    case 4:
    case 5:
        (void)fetch(history, client, group);
        return;
    default:
        commit(history, client, group, (int32_t)random_below(random, PARTITIONS));
        return;
    }
}

static struct history *history_open(uint64_t seed)
{
    current_seed = seed;
    struct history *history = calloc(1, sizeof(*history));
    expect(history != NULL);
    random_init(&history->random, seed);
    for (int group = 0; group < GROUPS; group++) {
        for (int i = 0; i < PARTITIONS; i++) {
            history->places[group][i] = (struct place){.acknowledged = -1, .sent = -1};
        }
    }
    sim_broker_open(&history->broker, seed, CORES);
    clients_open(history);
    topic_create(&history->clients[0], BYTES_LITERAL("sim"));
    coordinator_find(&history->clients[1]);
    return history;
}

static uint64_t history_run(uint64_t seed)
{
    struct history *history = history_open(seed);
    history->faulty = seed % FAULTY_ONE_IN == 0;
    faults_set(history, true);
    for (int step = 0; step < STEPS; step++) {
        history_step(history);
    }
    restart(history, seed % 2 == 0);
    faults_set(history, false);
    clients_close(history);
    sim_broker_stop(&history->broker);
    uint64_t trace = sim_world_trace_hash(history->broker.world);
    fault_count += sim_world_fault_count(history->broker.world, fault_of(seed));
    sim_broker_close(&history->broker);
    free(history);
    return trace;
}

/* ---- memory ---- */

static struct bytes big_name(char text[32], int index)
{
    return bytes_of(text, (size_t)snprintf(text, 32, "big-%d", index));
}

static int16_t big_commit(struct sim_client *client, int index)
{
    static const uint8_t note[4096] = {'x'};
    char text[32];
    struct offset_commit_request_partition item;
    offset_commit_request_partition_init(&item);
    item.committed_offset = index;
    item.committed_metadata = bytes_of(note, sizeof(note));
    return commit_call(client, big_name(text, index), &item);
}

static void big_delete(struct sim_client *client, int index)
{
    char text[32];
    struct bytes name = big_name(text, index);
    struct delete_groups_request request = {.groups_names = &name, .groups_names_count = 1};
    struct writer writer;
    delete_groups_request_encode(sim_client_request(client, &writer, DELETE_GROUPS_KEY, 2, true), 2,
                                 &request);
    struct reader reader = call(client, &writer, true);
    struct delete_groups_response response;
    expect(delete_groups_response_decode(&reader, 2, &client->arena, &response) == STATUS_OK);
    expect(response.results[0].error_code == 0);
}

/* Groups without end: at some point a core's memory is spent, which is an answer; what was
 * committed before is served, also by the next start, and room that is made can be used. */
static void memory_run(void)
{
    struct history *history = history_open(0);
    struct sim_client *client = &history->clients[0];
    int index = 0;
    int16_t code;
    while ((code = big_commit(client, index)) == 0) {
        index++;
        expect(index < BIG_GROUPS_MAX);
    }
    expect(code == status_code(STATUS_COORDINATOR_NOT_AVAILABLE));
    expect(index > 0);
    expect(big_commit(client, index) == code);
    for (int i = 0; i < index; i += BIG_DELETED_ONE_IN) {
        big_delete(client, i);
    }
    expect(big_commit(client, index) == 0);
    restart(history, true);
    client = &history->clients[0];
    while ((code = big_commit(client, index)) == status_code(STATUS_COORDINATOR_LOAD_IN_PROGRESS)) {
    }
    expect(code == 0);
    clients_close(history);
    sim_broker_stop(&history->broker);
    sim_broker_close(&history->broker);
    free(history);
    printf("memory was spent by %d groups\n", index);
}

/* ---- time ---- */

struct moment {
    const struct sim_broker *broker;
    uint64_t due_ns;
};

static bool has_come(void *context)
{
    const struct moment *moment = context;
    return sim_world_now_ns(moment->broker->world) >= moment->due_ns;
}

static void time_pass(struct history *history, uint64_t seconds)
{
    struct sim_broker *broker = &history->broker;
    struct moment moment = {broker,
                            sim_world_now_ns(broker->world) + seconds * UINT64_C(1000000000)};
    sim_broker_run(broker, has_come, &moment);
}

static int64_t shown(struct history *history, int group, int32_t partition)
{
    while (!fetch(history, &history->clients[0], group)) {
    }
    return history->places[group][partition].acknowledged;
}

/* Offsets of a group without members are kept for a minute here, counted from each one's commit;
 * what expired is gone for the next start as well. */
static void expiry_run(void)
{
    struct history *history = history_open(0);
    history->broker.config.offsets_retention_minutes = 1;
    history->broker.config.offsets_check_ms = 1000;
    restart(history, false);
    commit(history, &history->clients[0], 0, 0);
    time_pass(history, 40);
    expect(shown(history, 0, 0) >= 0);
    commit(history, &history->clients[0], 0, 1);
    time_pass(history, 40);
    history->places[0][0].acknowledged = -1;
    expect(shown(history, 0, 0) == -1);
    expect(shown(history, 0, 1) >= 0);
    restart(history, true);
    expect(shown(history, 0, 0) == -1);
    expect(shown(history, 0, 1) >= 0);
    time_pass(history, 70);
    history->places[0][1].acknowledged = -1;
    expect(shown(history, 0, 1) == -1);
    clients_close(history);
    sim_broker_stop(&history->broker);
    sim_broker_close(&history->broker);
    free(history);
}

/* ---- somebody comes while a group is deleted ---- */

static void wide_commit(struct sim_client *client)
{
    struct offset_commit_request_partition items[WIDE];
    for (int32_t i = 0; i < WIDE; i++) {
        offset_commit_request_partition_init(&items[i]);
        items[i].partition_index = i;
    }
    struct offset_commit_request_topic topic = {
        .name = BYTES_LITERAL("wide"), .partitions = items, .partitions_count = WIDE};
    struct offset_commit_request request;
    offset_commit_request_init(&request);
    request.group_id = bytes_of_text(NAMES[0]);
    request.topics = &topic;
    request.topics_count = 1;
    struct writer writer;
    offset_commit_request_encode(sim_client_request(client, &writer, OFFSET_COMMIT_KEY, 8, true), 8,
                                 &request);
    struct reader reader = call(client, &writer, true);
    struct offset_commit_response response;
    expect(offset_commit_response_decode(&reader, 8, &client->arena, &response) == STATUS_OK);
    expect(response.topics[0].partitions[WIDE - 1].error_code == 0);
}

static int16_t heartbeat(struct sim_client *client, struct bytes member, int32_t generation)
{
    struct heartbeat_request request;
    heartbeat_request_init(&request);
    request.group_id = bytes_of_text(NAMES[0]);
    request.member_id = member;
    request.generation_id = generation;
    struct writer writer;
    heartbeat_request_encode(sim_client_request(client, &writer, HEARTBEAT_KEY, 4, true), 4,
                             &request);
    struct reader reader = call(client, &writer, true);
    struct heartbeat_response response;
    expect(heartbeat_response_decode(&reader, 4, &client->arena, &response) == STATUS_OK);
    return response.error_code;
}

static void some_ticks(struct history *history, int ticks)
{
    for (int i = 0; i < ticks; i++) {
        (void)server_step_core(&history->broker.server.cores[i % CORES], false);
        (void)ring_step(history->broker.client_ring, 0);
        uint64_t next_ns = sim_world_next_ns(history->broker.world);
        if (next_ns < sim_world_now_ns(history->broker.world) + STALL_NS) {
            sim_world_advance(history->broker.world, next_ns);
        }
    }
}

/* A member that was let in, and given its assignment, is one after a restart as well: the rest of
 * the deletion does not go over it. */
static void deletion_visit(struct history *history, int ticks)
{
    char text[128] = "";
    struct sim_client *deleter = &history->clients[0];
    struct sim_client *client = &history->clients[1];
    wide_commit(client);
    join_send(client, 0, BYTES_LITERAL(""));
    struct join_group_response response = join_receive(client);
    expect(response.member_id.size < sizeof(text));
    memcpy(text, response.member_id.data, response.member_id.size);
    struct bytes member = bytes_of_text(text);
    struct bytes name = bytes_of_text(NAMES[0]);
    struct delete_groups_request request = {.groups_names = &name, .groups_names_count = 1};
    struct writer writer;
    delete_groups_request_encode(sim_client_request(deleter, &writer, DELETE_GROUPS_KEY, 2, true),
                                 2, &request);
    sim_client_post(deleter, &writer);
    some_ticks(history, ticks);
    join_send(client, 0, member);
    response = join_receive(client);
    if (response.error_code == 0) {
        int32_t generation = response.generation_id;
        sync(client, 0, member, generation);
        (void)sim_client_receive(deleter, true);
        restart(history, true);
        expect(heartbeat(&history->clients[1], member, generation) == 0);
        leave(&history->clients[1], 0, member);
    } else { /* all of it was deleted first */
        expect(response.error_code == status_code(STATUS_UNKNOWN_MEMBER_ID));
        (void)sim_client_receive(deleter, true);
    }
}

static void deletion_run(void)
{
    struct history *history = history_open(0);
    history->broker.config.partition_count = WIDE;
    history->broker.config.group_initial_delay_ms = 0;
    restart(history, false);
    topic_create(&history->clients[0], BYTES_LITERAL("wide"));
    for (int ticks = 0; ticks < WIDE_TICKS; ticks++) {
        deletion_visit(history, ticks);
    }
    clients_close(history);
    sim_broker_stop(&history->broker);
    sim_broker_close(&history->broker);
    free(history);
}

int groups_sim(int count, char **arguments)
{
    if (count == 1) {
        deletion_run();
        memory_run();
        expiry_run();
    }
    uint64_t first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    uint64_t seeds = count > 2 ? strtoull(arguments[2], NULL, 10) : count > 1 ? 1 : 60;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint64_t trace = history_run(seed);
        expect(history_run(seed) == trace);
    }
    printf("%llu seeds, each twice with equal traces; %llu ops failed\n", (unsigned long long)seeds,
           (unsigned long long)fault_count);
    return 0;
}
