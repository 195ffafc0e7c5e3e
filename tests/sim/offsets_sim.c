/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may commit offsets, and when they count, on a simulated broker of two cores. Producers of
 * both versions commit in transactions that end one way or the other, or are left to a power cut;
 * members of groups of both kinds commit under the generation they have, and under others.
 *
 *   F1  An offset of a transaction is shown when the transaction committed, and not before.
 *   F2  One of a transaction that was aborted, or never ended, is never shown.
 *   F3  When nothing waits any more, what was committed is what is shown, after a restart as well.
 *   F4  A commit under a generation or member epoch that is not the member's is refused and leaves
 *       no trace.
 *   F5  Expiry does not touch a place that a transaction has committed to. What was deleted, with
 * its group, by itself or with its topic, is not brought back by a transaction that commits later.
 *
 * Every request is answered, and one seed makes one trace.
 *
 *   offsets_sim [SEED [COUNT]]     replays seeds
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim_broker.h"
#include "tests/sim/sims.h"
#include "wire/add_offsets_to_txn.h"
#include "wire/consumer_group_heartbeat.h"
#include "wire/delete_groups.h"
#include "wire/delete_topics.h"
#include "wire/end_txn.h"
#include "wire/find_coordinator.h"
#include "wire/init_producer_id.h"
#include "wire/join_group.h"
#include "wire/leave_group.h"
#include "wire/metadata.h"
#include "wire/offset_commit.h"
#include "wire/offset_delete.h"
#include "wire/offset_fetch.h"
#include "wire/sync_group.h"
#include "wire/txn_offset_commit.h"

#define CORES 2
#define PARTITIONS 2
#define PRODUCERS 2
#define CLASSIC_PRODUCER 1 /* speaks version 1; the other one version 2 */
#define STEPS 60
#define ROUNDS_MAX 100000
#define TIMEOUT_MS 60000
#define TICKS_MAX 40
#define STALL_NS UINT64_C(20000000) /* longer than what the disk or the network does */
#define IN_FLIGHT_TICKS 80          /* longer than a topic takes to be deleted */

static uint64_t current_seed;

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed %llu: %s:%d: %s\nreplay: build/tests/sim/offsets_sim %llu\n",    \
                    (unsigned long long)current_seed, __FILE__, __LINE__, #condition,              \
                    (unsigned long long)current_seed);                                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static const char *const NAMES[PRODUCERS] = {"first", "classic"};

enum outcome { OUTCOME_OPEN, OUTCOME_COMMITTED, OUTCOME_ABORTED, OUTCOME_UNKNOWN };

struct place {
    int64_t shown;   /* what counts; -1 none */
    int64_t waiting; /* of the last transaction; -1 none */
};

/* Commits for the group of its own name. */
struct producer {
    int number;
    int64_t id;
    int16_t epoch;
    bool ready;
    bool open;
    enum outcome outcome; /* of the last transaction */
    struct place places[PARTITIONS];
};

struct history {
    struct sim_broker broker;
    struct sim_client client;
    struct random random;
    struct producer producers[PRODUCERS];
    int64_t next;
    int64_t classic_shown; /* of the groups with members; -1 none */
    int64_t consumer_shown;
    int32_t member_number;
};

/* A call and its answer, in flexible versions. */
#define CALL(history, KEY, name, version, in, out)                                                 \
    do {                                                                                           \
        struct sim_client *call_client = &(history)->client;                                       \
        struct writer call_writer;                                                                 \
        name##_request_encode(                                                                     \
            sim_client_request(call_client, &call_writer, KEY##_KEY, (version), true), (version),  \
            (in));                                                                                 \
        sim_client_send(call_client, &call_writer);                                                \
        struct reader call_reader = sim_client_receive(call_client, true);                         \
        expect(name##_response_decode(&call_reader, (version), &call_client->arena, (out)) ==      \
               STATUS_OK);                                                                         \
    } while (0)

static bool is_classic(const struct producer *producer)
{
    return producer->number == CLASSIC_PRODUCER;
}

/* ---- what stands around ---- */

static void topic_create(struct history *history)
{
    struct metadata_request request;
    metadata_request_init(&request);
    struct metadata_request_topic topic = {.name = BYTES_LITERAL("sim")};
    request.topics = &topic;
    request.topics_count = 1;
    struct metadata_response response;
    CALL(history, METADATA, metadata, 12, &request, &response);
    expect(response.topics[0].error_code == 0);
}

static void coordinator_find(struct history *history, int8_t type)
{
    struct find_coordinator_request request;
    find_coordinator_request_init(&request);
    request.key = BYTES_LITERAL("first");
    request.key_type = type;
    struct find_coordinator_response response;
    CALL(history, FIND_COORDINATOR, find_coordinator, 3, &request, &response);
    expect(response.error_code == 0);
}

/* ---- what is shown ---- */

/* The offsets of a group, -1 for none; `codes` says what an offset's own answer was. False: its
 * coordinator is loading. */
static bool offsets_fetch(struct history *history, struct bytes group, bool stable,
                          int64_t offsets[PARTITIONS], int16_t codes[PARTITIONS])
{
    int32_t indexes[PARTITIONS] = {0, 1};
    struct offset_fetch_request_group_topic topic = {.name = BYTES_LITERAL("sim"),
                                                     .partition_indexes = indexes,
                                                     .partition_indexes_count = PARTITIONS};
    struct offset_fetch_request_group asked;
    offset_fetch_request_group_init(&asked);
    asked.group_id = group;
    asked.topics = &topic;
    asked.topics_count = 1;
    struct offset_fetch_request request;
    offset_fetch_request_init(&request);
    request.groups = &asked;
    request.groups_count = 1;
    request.require_stable = stable;
    struct offset_fetch_response response;
    CALL(history, OFFSET_FETCH, offset_fetch, 8, &request, &response);
    if (response.groups[0].error_code != 0) {
        expect(response.groups[0].error_code == status_code(STATUS_COORDINATOR_LOAD_IN_PROGRESS));
        return false;
    }
    for (int i = 0; i < PARTITIONS; i++) {
        offsets[i] = response.groups[0].topics[0].partitions[i].committed_offset;
        codes[i] = response.groups[0].topics[0].partitions[i].error_code;
    }
    return true;
}

/* True: nothing of the producer waits any more. */
static bool producer_look(struct history *history, struct producer *producer, bool stable)
{
    int64_t offsets[PARTITIONS];
    int16_t codes[PARTITIONS];
    if (!offsets_fetch(history, bytes_of_text(NAMES[producer->number]), stable, offsets, codes)) {
        return false;
    }
    bool settled = stable;
    for (int i = 0; i < PARTITIONS; i++) {
        struct place *place = &producer->places[i];
        if (codes[i] != 0) {
            expect(stable && codes[i] == status_code(STATUS_UNSTABLE_OFFSET_COMMIT));
            expect(place->waiting >= 0);
            settled = false;
            continue;
        }
        bool may = producer->outcome == OUTCOME_COMMITTED || producer->outcome == OUTCOME_UNKNOWN;
        bool must = producer->outcome == OUTCOME_COMMITTED && stable && place->waiting >= 0;
        if (place->waiting >= 0 && offsets[i] == place->waiting) {
            expect(may); /* F1, F2 */
            place->shown = place->waiting;
            place->waiting = -1;
        } else {
            expect(offsets[i] == place->shown);
            expect(!must); /* F3 */
        }
    }
    return settled;
}

/* ---- producers ---- */

static bool producer_init(struct history *history, struct producer *producer)
{
    struct init_producer_id_request request;
    init_producer_id_request_init(&request);
    request.transactional_id = bytes_of_text(NAMES[producer->number]);
    request.transaction_timeout_ms = TIMEOUT_MS;
    struct init_producer_id_response response;
    CALL(history, INIT_PRODUCER_ID, init_producer_id, 4, &request, &response);
    producer->ready = response.error_code == 0;
    if (producer->ready) {
        producer->id = response.producer_id;
        producer->epoch = response.producer_epoch;
    }
    return producer->ready;
}

/* The last transaction is over, and everybody sees how. */
static void producer_settle(struct history *history, struct producer *producer)
{
    for (int i = 0; !producer->ready && !producer_init(history, producer); i++) {
        expect(i < ROUNDS_MAX);
    }
    for (int i = 0; !producer_look(history, producer, true); i++) {
        expect(i < ROUNDS_MAX);
    }
    for (int i = 0; i < PARTITIONS; i++) {
        producer->places[i].waiting = -1;
    }
    producer->outcome = OUTCOME_OPEN;
}

static void producer_ended(struct producer *producer, enum outcome outcome, bool ready)
{
    producer->open = false;
    producer->outcome = outcome;
    producer->ready = ready;
}

static bool offsets_add(struct history *history, const struct producer *producer)
{
    const struct add_offsets_to_txn_request request = {
        .transactional_id = bytes_of_text(NAMES[producer->number]),
        .producer_id = producer->id,
        .producer_epoch = producer->epoch,
        .group_id = bytes_of_text(NAMES[producer->number]),
    };
    struct add_offsets_to_txn_response response;
    CALL(history, ADD_OFFSETS_TO_TXN, add_offsets_to_txn, 3, &request, &response);
    return response.error_code == 0;
}

static void producer_commit(struct history *history, struct producer *producer)
{
    if (!producer->open) {
        producer_settle(history, producer);
    }
    int32_t partition = (int32_t)random_below(&history->random, PARTITIONS);
    struct txn_offset_commit_request_partition item;
    txn_offset_commit_request_partition_init(&item);
    item.partition_index = partition;
    item.committed_offset = ++history->next;
    struct txn_offset_commit_request_topic topic = {
        .name = BYTES_LITERAL("sim"), .partitions = &item, .partitions_count = 1};
    struct txn_offset_commit_request request;
    txn_offset_commit_request_init(&request);
    request.transactional_id = bytes_of_text(NAMES[producer->number]);
    request.group_id = request.transactional_id;
    request.producer_id = producer->id;
    request.producer_epoch = producer->epoch;
    request.topics = &topic;
    request.topics_count = 1;
    producer->open = true;
    if (is_classic(producer) && !offsets_add(history, producer)) {
        producer_ended(producer, OUTCOME_ABORTED, false);
        return;
    }
    producer->places[partition].waiting = item.committed_offset;
    struct txn_offset_commit_response response;
    int16_t version = is_classic(producer) ? 3 : 5;
    CALL(history, TXN_OFFSET_COMMIT, txn_offset_commit, version, &request, &response);
    if (response.topics[0].partitions[0].error_code != 0) {
        producer_ended(producer, OUTCOME_ABORTED, false);
    }
}

static void end_send(struct history *history, const struct producer *producer, bool commit)
{
    struct end_txn_request request;
    end_txn_request_init(&request);
    request.transactional_id = bytes_of_text(NAMES[producer->number]);
    request.producer_id = producer->id;
    request.producer_epoch = producer->epoch;
    request.committed = commit;
    int16_t version = is_classic(producer) ? 3 : 5;
    struct writer writer;
    end_txn_request_encode(
        sim_client_request(&history->client, &writer, END_TXN_KEY, version, true), version,
        &request);
    sim_client_send(&history->client, &writer);
}

static void producer_end(struct history *history, struct producer *producer)
{
    if (!producer->open) {
        return;
    }
    bool commit = random_below(&history->random, 2) == 0;
    end_send(history, producer, commit);
    struct reader reader = sim_client_receive(&history->client, true);
    struct end_txn_response response;
    int16_t version = is_classic(producer) ? 3 : 5;
    expect(end_txn_response_decode(&reader, version, &history->client.arena, &response) ==
           STATUS_OK);
    bool good = response.error_code == 0;
    if (good && !is_classic(producer)) {
        producer->epoch = response.producer_epoch;
    }
    enum outcome lost = commit ? OUTCOME_UNKNOWN : OUTCOME_ABORTED;
    enum outcome told = commit ? OUTCOME_COMMITTED : OUTCOME_ABORTED;
    producer_ended(producer, good ? told : lost, good);
}

/* ---- members ---- */

static int16_t member_commit(struct history *history, struct bytes group, struct bytes member,
                             int32_t generation, int64_t offset)
{
    struct offset_commit_request_partition item;
    offset_commit_request_partition_init(&item);
    item.committed_offset = offset;
    struct offset_commit_request_topic topic = {
        .name = BYTES_LITERAL("sim"), .partitions = &item, .partitions_count = 1};
    struct offset_commit_request request;
    offset_commit_request_init(&request);
    request.group_id = group;
    request.member_id = member;
    request.generation_id_or_member_epoch = generation;
    request.topics = &topic;
    request.topics_count = 1;
    struct offset_commit_response response;
    CALL(history, OFFSET_COMMIT, offset_commit, 9, &request, &response);
    return response.topics[0].partitions[0].error_code;
}

/* F4, F3. The group has one member, who commits under its own number and under the one before. */
static void member_commits(struct history *history, struct bytes group, struct bytes member,
                           int32_t generation, enum status refusal, int64_t *shown)
{
    int64_t offsets[PARTITIONS];
    int16_t codes[PARTITIONS];
    int64_t offset = ++history->next;
    expect(member_commit(history, group, member, generation, offset) == 0);
    *shown = offset;
    int16_t code = member_commit(history, group, member, generation - 1, ++history->next);
    expect(code == status_code(refusal));
    code = member_commit(history, group, member, generation + 1, ++history->next);
    expect(code == status_code(refusal));
    code = member_commit(history, group, BYTES_LITERAL("stranger"), generation, ++history->next);
    expect(code == status_code(STATUS_UNKNOWN_MEMBER_ID));
    expect(offsets_fetch(history, group, false, offsets, codes));
    expect(offsets[0] == offset);
}

static void members_look(struct history *history)
{
    int64_t offsets[PARTITIONS];
    int16_t codes[PARTITIONS];
    if (offsets_fetch(history, BYTES_LITERAL("members"), false, offsets, codes)) {
        expect(offsets[0] == history->classic_shown);
    }
    if (offsets_fetch(history, BYTES_LITERAL("consumers"), false, offsets, codes)) {
        expect(offsets[0] == history->consumer_shown);
    }
}

static struct join_group_response join(struct history *history, struct bytes member)
{
    struct join_group_request_protocol protocol = {BYTES_LITERAL("range"), BYTES_LITERAL("meta")};
    struct join_group_request request;
    join_group_request_init(&request);
    request.group_id = BYTES_LITERAL("members");
    request.session_timeout_ms = TIMEOUT_MS;
    request.rebalance_timeout_ms = TIMEOUT_MS;
    request.member_id = member;
    request.protocol_type = BYTES_LITERAL("consumer");
    request.protocols = &protocol;
    request.protocols_count = 1;
    struct join_group_response response;
    CALL(history, JOIN_GROUP, join_group, 6, &request, &response);
    return response;
}

static void sync(struct history *history, struct bytes member, int32_t generation)
{
    struct sync_group_request_assignment all = {member, BYTES_LITERAL("all of it")};
    struct sync_group_request request;
    sync_group_request_init(&request);
    request.group_id = BYTES_LITERAL("members");
    request.generation_id = generation;
    request.member_id = member;
    request.assignments = &all;
    request.assignments_count = 1;
    struct sync_group_response response;
    CALL(history, SYNC_GROUP, sync_group, 4, &request, &response);
    expect(response.error_code == 0);
}

static void leave(struct history *history, struct bytes member)
{
    struct leave_group_request_member leaver = {.member_id = member};
    struct leave_group_request request;
    leave_group_request_init(&request);
    request.group_id = BYTES_LITERAL("members");
    request.members = &leaver;
    request.members_count = 1;
    struct leave_group_response response;
    CALL(history, LEAVE_GROUP, leave_group, 4, &request, &response);
    expect(response.error_code == 0);
}

static void classic_visit(struct history *history)
{
    char text[128] = "";
    struct join_group_response response = join(history, BYTES_LITERAL(""));
    if (response.error_code != status_code(STATUS_MEMBER_ID_REQUIRED)) {
        expect(response.error_code == status_code(STATUS_COORDINATOR_LOAD_IN_PROGRESS));
        return;
    }
    expect(response.member_id.size < sizeof(text));
    memcpy(text, response.member_id.data, response.member_id.size);
    struct bytes member = bytes_of_text(text);
    response = join(history, member);
    expect(response.error_code == 0);
    int32_t generation = response.generation_id;
    sync(history, member, generation);
    member_commits(history, BYTES_LITERAL("members"), member, generation, STATUS_ILLEGAL_GENERATION,
                   &history->classic_shown);
    leave(history, member);
}

static struct consumer_group_heartbeat_response heartbeat(struct history *history,
                                                          struct bytes member, int32_t epoch)
{
    struct bytes topic = BYTES_LITERAL("sim");
    struct consumer_group_heartbeat_request request;
    consumer_group_heartbeat_request_init(&request);
    request.group_id = BYTES_LITERAL("consumers");
    request.member_id = member;
    request.member_epoch = epoch;
    request.rebalance_timeout_ms = TIMEOUT_MS;
    request.subscribed_topic_names = &topic;
    request.subscribed_topic_names_count = 1;
    request.topic_partitions_count = 0;
    struct consumer_group_heartbeat_response response;
    CALL(history, CONSUMER_GROUP_HEARTBEAT, consumer_group_heartbeat, 1, &request, &response);
    return response;
}

static void consumer_visit(struct history *history)
{
    char text[32];
    snprintf(text, sizeof(text), "member-%d", (int)++history->member_number);
    struct bytes member = bytes_of_text(text);
    struct consumer_group_heartbeat_response response = heartbeat(history, member, 0);
    if (response.error_code != 0) {
        expect(response.error_code == status_code(STATUS_COORDINATOR_LOAD_IN_PROGRESS));
        return;
    }
    member_commits(history, BYTES_LITERAL("consumers"), member, response.member_epoch,
                   STATUS_STALE_MEMBER_EPOCH, &history->consumer_shown);
    response = heartbeat(history, member, -1);
    expect(response.error_code == 0);
}

/* ---- histories ---- */

static void restart(struct history *history, bool power_cut)
{
    if (power_cut) {
        sim_broker_crash(&history->broker);
        sim_client_close(&history->client);
    } else {
        sim_client_close(&history->client);
        sim_broker_stop(&history->broker);
    }
    sim_broker_start(&history->broker, CORES);
    sim_client_open(&history->client, &history->broker);
}

/* The power fails while an end is under way: nobody is told. */
static void cut_in_the_end(struct history *history, struct producer *producer)
{
    if (!producer->open) {
        return;
    }
    bool commit = random_below(&history->random, 2) == 0;
    end_send(history, producer, commit);
    for (uint64_t i = random_below(&history->random, TICKS_MAX); i > 0; i--) {
        for (int32_t core = 0; core < CORES; core++) {
            (void)server_step_core(&history->broker.server.cores[core], false);
        }
    }
    restart(history, true);
    producer_ended(producer, commit ? OUTCOME_UNKNOWN : OUTCOME_ABORTED, false);
}

static void history_step(struct history *history)
{
    struct random *random = &history->random;
    struct producer *producer = &history->producers[random_below(random, PRODUCERS)];
    uint64_t what = random_below(random, 20);
    if (what == 0) {
        restart(history, random_below(random, 2) == 0);
    } else if (what == 1) {
        cut_in_the_end(history, producer);
    } else if (what == 2) {
        classic_visit(history);
    } else if (what == 3) {
        consumer_visit(history);
    } else if (what == 4) {
        members_look(history);
    } else if (what == 5 && producer->open) { /* as a new instance: what is open is aborted */
        producer_ended(producer, OUTCOME_ABORTED, false);
        (void)producer_init(history, producer);
    } else if (what < 9) {
        producer_end(history, producer);
    } else if (what < 14) {
        (void)producer_look(history, producer, random_below(random, 2) == 0);
    } else {
        producer_commit(history, producer);
    }
}

static void finish(struct history *history)
{
    for (int i = 0; i < PRODUCERS; i++) {
        struct producer *producer = &history->producers[i];
        if (producer->open) {
            producer_ended(producer, OUTCOME_ABORTED, false);
        }
        producer_settle(history, producer);
    }
    members_look(history);
}

static struct history *history_open(uint64_t seed, int32_t core_count)
{
    current_seed = seed;
    struct history *history = calloc(1, sizeof(*history));
    expect(history != NULL);
    random_init(&history->random, seed);
    history->classic_shown = -1;
    history->consumer_shown = -1;
    for (int i = 0; i < PRODUCERS; i++) {
        history->producers[i] = (struct producer){.number = i};
        for (int k = 0; k < PARTITIONS; k++) {
            history->producers[i].places[k] = (struct place){-1, -1};
        }
    }
    sim_broker_open(&history->broker, seed, core_count);
    history->broker.config.group_initial_delay_ms = 0;
    sim_client_open(&history->client, &history->broker);
    topic_create(history);
    coordinator_find(history, 0);
    coordinator_find(history, 1);
    return history;
}

static uint64_t history_close(struct history *history)
{
    sim_client_close(&history->client);
    sim_broker_stop(&history->broker);
    uint64_t trace = sim_world_trace_hash(history->broker.world);
    sim_broker_close(&history->broker);
    free(history);
    return trace;
}

static uint64_t history_run(uint64_t seed)
{
    struct history *history = history_open(seed, CORES);
    for (int step = 0; step < STEPS; step++) {
        history_step(history);
    }
    restart(history, seed % 2 == 0);
    finish(history);
    return history_close(history);
}

/* ---- F5, step by step ---- */

static void end_as(struct history *history, struct producer *producer, bool commit)
{
    struct end_txn_response response;
    do { /* until the coordinator has read its log */
        end_send(history, producer, commit);
        struct reader reader = sim_client_receive(&history->client, true);
        expect(end_txn_response_decode(&reader, 5, &history->client.arena, &response) == STATUS_OK);
    } while (response.error_code == status_code(STATUS_COORDINATOR_LOAD_IN_PROGRESS));
    expect(response.error_code == 0);
    producer_ended(producer, commit ? OUTCOME_COMMITTED : OUTCOME_ABORTED, false);
}

/* A transaction is opened, and has committed to both partitions. */
static void transaction_open(struct history *history, struct producer *producer)
{
    bool both = false;
    producer_settle(history, producer);
    while (!both) {
        producer_commit(history, producer);
        expect(producer->open);
        both = producer->places[0].waiting >= 0 && producer->places[1].waiting >= 0;
    }
}

/* Retention ends while a transaction is open: what it commits counts. */
static void expiry_run(void)
{
    struct history *history = history_open(1, CORES);
    struct producer *producer = &history->producers[0];
    struct bytes group = bytes_of_text(NAMES[producer->number]);
    history->broker.config.offsets_retention_minutes = 1;
    history->broker.config.offsets_check_ms = 1000;
    restart(history, false);
    int64_t offset = ++history->next;
    while (member_commit(history, group, BYTES_LITERAL(""), -1, offset) != 0) {
    }
    producer->places[0].shown = offset;
    sim_broker_sleep(&history->broker, 40000);
    transaction_open(history, producer);
    sim_broker_sleep(&history->broker, 30000);
    end_as(history, producer, true);
    producer_settle(history, producer);
    restart(history, true);
    producer_settle(history, producer);
    sim_broker_sleep(&history->broker, 70000); /* and now nothing stands in its way */
    producer->places[0].shown = -1;
    producer->places[1].shown = -1;
    producer_settle(history, producer);
    (void)history_close(history);
}

static void group_delete(struct history *history, struct bytes group)
{
    const struct delete_groups_request request = {.groups_names = &group, .groups_names_count = 1};
    struct delete_groups_response response;
    CALL(history, DELETE_GROUPS, delete_groups, 2, &request, &response);
    expect(response.results[0].error_code == 0);
}

static void offsets_delete(struct history *history, struct bytes group)
{
    struct offset_delete_request_partition partitions[PARTITIONS] = {{0}, {1}};
    struct offset_delete_request_topic topic = {
        .name = BYTES_LITERAL("sim"), .partitions = partitions, .partitions_count = PARTITIONS};
    const struct offset_delete_request request = {
        .group_id = group, .topics = &topic, .topics_count = 1};
    struct writer writer;
    offset_delete_request_encode(
        sim_client_request(&history->client, &writer, OFFSET_DELETE_KEY, 0, false), 0, &request);
    sim_client_send(&history->client, &writer);
    struct reader reader = sim_client_receive(&history->client, false);
    struct offset_delete_response response;
    expect(offset_delete_response_decode(&reader, 0, &history->client.arena, &response) ==
           STATUS_OK);
    expect(response.error_code == 0);
    for (int i = 0; i < PARTITIONS; i++) {
        expect(response.topics[0].partitions[i].error_code == 0);
    }
}

static void topic_delete_post(struct sim_client *client)
{
    struct bytes name = BYTES_LITERAL("sim");
    const struct delete_topics_request request = {
        .topic_names = &name, .topic_names_count = 1, .timeout_ms = TIMEOUT_MS};
    struct writer writer;
    delete_topics_request_encode(sim_client_request(client, &writer, DELETE_TOPICS_KEY, 5, true), 5,
                                 &request);
    sim_client_post(client, &writer);
}

static void topic_deleted(struct sim_client *client)
{
    struct reader reader = sim_client_receive(client, true);
    struct delete_topics_response response;
    expect(delete_topics_response_decode(&reader, 5, &client->arena, &response) == STATUS_OK);
    expect(response.responses[0].error_code == 0);
}

static void topic_anew(struct history *history)
{
    topic_delete_post(&history->client);
    topic_deleted(&history->client);
    topic_create(history);
}

enum deletion { DELETE_GROUP, DELETE_OFFSETS, DELETE_TOPIC, DELETIONS };

/* Something is deleted while a transaction is open: its commit brings nothing back, neither here
 * nor when the log is read again. */
static void deletion_run(enum deletion deletion, bool restarts)
{
    int64_t offsets[PARTITIONS];
    int16_t codes[PARTITIONS];
    struct history *history = history_open(2 + (uint64_t)deletion, CORES);
    struct producer *producer = &history->producers[0];
    struct bytes group = bytes_of_text(NAMES[producer->number]);
    transaction_open(history, producer);
    if (deletion == DELETE_GROUP) {
        group_delete(history, group);
    } else if (deletion == DELETE_OFFSETS) {
        offsets_delete(history, group);
    } else {
        topic_anew(history);
    }
    if (restarts) {
        restart(history, false);
    }
    end_as(history, producer, true);
    do {
        while (!offsets_fetch(history, group, true, offsets, codes)) {
        }
    } while (codes[0] != 0 || codes[1] != 0);
    for (int i = 0; i < PARTITIONS; i++) {
        producer->places[i] = (struct place){-1, -1};
    }
    producer_settle(history, producer);
    restart(history, true);
    producer_settle(history, producer);
    (void)history_close(history);
}

/* A commit is being written while its topic is deleted: one core, so it was let in before the topic
 * was gone. It does not count for the topic that is made anew. */
static void commit_in_flight_run(uint64_t ticks)
{
    int64_t offsets[PARTITIONS];
    int16_t codes[PARTITIONS];
    struct sim_client deleter;
    struct history *history = history_open(10 + ticks, 1);
    struct bytes group = bytes_of_text(NAMES[0]);
    while (member_commit(history, group, BYTES_LITERAL(""), -1, ++history->next) != 0) {
    }
    sim_client_open(&deleter, &history->broker);
    topic_delete_post(&deleter);
    for (uint64_t i = 0; i < ticks; i++) {
        (void)server_step_core(&history->broker.server.cores[0], false);
        (void)ring_step(history->broker.client_ring, 0);
        uint64_t next_ns = sim_world_next_ns(history->broker.world);
        if (next_ns < sim_world_now_ns(history->broker.world) + STALL_NS) {
            sim_world_advance(history->broker.world, next_ns);
        }
    }
    (void)member_commit(history, group, BYTES_LITERAL(""), -1, ++history->next);
    topic_deleted(&deleter);
    topic_create(history);
    sim_broker_sleep(&history->broker, 1000);
    expect(offsets_fetch(history, group, true, offsets, codes));
    expect(codes[0] == 0 && offsets[0] == -1);
    sim_client_close(&deleter);
    (void)history_close(history);
}

int offsets_sim(int count, char **arguments)
{
    if (count == 1) {
        for (uint64_t ticks = 0; ticks < IN_FLIGHT_TICKS; ticks++) {
            commit_in_flight_run(ticks);
        }
        expiry_run();
        for (enum deletion deletion = 0; deletion < DELETIONS; deletion++) {
            deletion_run(deletion, false);
            deletion_run(deletion, true);
        }
    }
    uint64_t first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    uint64_t seeds = count > 2 ? strtoull(arguments[2], NULL, 10) : count > 1 ? 1 : 40;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint64_t trace = history_run(seed);
        expect(history_run(seed) == trace);
    }
    printf("%llu seeds, each twice with equal traces\n", (unsigned long long)seeds);
    return 0;
}
