/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A consumer group (KIP-848) on a simulated broker of two cores. Members join, heartbeat, lose
 * answers, leave and come back by a seed; the power fails, the broker stops in order, a write of
 * the group's log fails. Whatever happens:
 *
 *   - what a member was told is durable: its epoch is still good after a power cut, and its next
 *     heartbeat is not refused;
 *   - no member's epoch falls, and no two members have the same partition;
 *   - every request is answered, and one seed makes one trace;
 *   - at the end all arrive, and everything is with exactly one of them.
 *
 *   consumer_sim [SEED [COUNT]]     replays seeds
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim_broker.h"
#include "tests/sim/sims.h"
#include "wire/consumer_group_heartbeat.h"
#include "wire/find_coordinator.h"
#include "wire/metadata.h"

#define CORES 2
#define TOPICS 3
#define PARTITIONS 2 /* of each */
#define PLACES (TOPICS * PARTITIONS)
#define MEMBERS 3
#define STEPS 80
#define ROUNDS 30
/* The broker's session timeout is 45 s; virtual seconds go by between two steps. */
#define SESSION_NS UINT64_C(40000000000)
#define PAUSE_NS UINT64_C(2000000000)

static uint64_t current_seed;

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed %llu: %s:%d: %s\nreplay: build/tests/sim/consumer_sim %llu\n",   \
                    (unsigned long long)current_seed, __FILE__, __LINE__, #condition,              \
                    (unsigned long long)current_seed);                                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static const char *const NAMES[TOPICS] = {"sim-a", "sim-b", "sim-c"};

struct member {
    struct sim_client client;
    char id[32];
    int32_t number;    /* of the id */
    int32_t epoch;     /* 0: not in the group, as far as it knows */
    bool unsure;       /* an answer was lost: what the coordinator thinks is open */
    uint64_t heard_ns; /* when its last heartbeat was sent that was answered */
    uint64_t sent_ns;
    uint32_t owned; /* a bit a place */
    uint32_t told;  /* the last assignment */
};

struct history {
    struct sim_broker broker;
    struct random random;
    struct member members[MEMBERS];
    struct uuid topics[TOPICS];
    int32_t restarts;
};

static void topics_create(struct history *history, struct sim_client *client)
{
    struct metadata_request_topic topics[TOPICS];
    struct metadata_request request;
    metadata_request_init(&request);
    for (int i = 0; i < TOPICS; i++) {
        metadata_request_topic_init(&topics[i]);
        topics[i].name = bytes_of_text(NAMES[i]);
    }
    request.topics = topics;
    request.topics_count = TOPICS;
    struct writer writer;
    metadata_request_encode(sim_client_request(client, &writer, METADATA_KEY, 12, true), 12,
                            &request);
    sim_client_send(client, &writer);
    struct reader reader = sim_client_receive(client, true);
    struct metadata_response response;
    expect(metadata_response_decode(&reader, 12, &client->arena, &response) == STATUS_OK);
    for (int i = 0; i < TOPICS; i++) {
        expect(response.topics[i].error_code == 0);
        expect(bytes_equal(response.topics[i].name, bytes_of_text(NAMES[i])));
        history->topics[i] = response.topics[i].topic_id;
    }
}

/* Which also makes the topic that keeps the group. */
static void coordinator_find(struct sim_client *client)
{
    struct find_coordinator_request request;
    find_coordinator_request_init(&request);
    request.key = BYTES_LITERAL("group");
    struct writer writer;
    find_coordinator_request_encode(
        sim_client_request(client, &writer, FIND_COORDINATOR_KEY, 3, true), 3, &request);
    sim_client_send(client, &writer);
    struct reader reader = sim_client_receive(client, true);
    struct find_coordinator_response response;
    expect(find_coordinator_response_decode(&reader, 3, &client->arena, &response) == STATUS_OK);
    expect(response.error_code == 0);
}

/* ---- heartbeats ---- */

static void heartbeat_send(struct history *history, struct member *member, int32_t epoch)
{
    struct consumer_group_heartbeat_request_topic_partition rows[TOPICS];
    int32_t indexes[TOPICS][PARTITIONS];
    struct bytes names[TOPICS];
    struct consumer_group_heartbeat_request request;
    consumer_group_heartbeat_request_init(&request);
    request.group_id = BYTES_LITERAL("group");
    request.member_id = bytes_of_text(member->id);
    request.member_epoch = epoch;
    request.topic_partitions = rows;
    request.topic_partitions_count = 0;
    for (int i = 0; i < TOPICS; i++) {
        struct consumer_group_heartbeat_request_topic_partition *row =
            &rows[request.topic_partitions_count];
        *row = (struct consumer_group_heartbeat_request_topic_partition){
            .topic_id = history->topics[i], .partitions = indexes[i]};
        for (int32_t k = 0; k < PARTITIONS; k++) {
            if ((member->owned >> (i * PARTITIONS + k) & 1) != 0) {
                indexes[i][row->partitions_count++] = k;
            }
        }
        request.topic_partitions_count += row->partitions_count > 0;
        names[i] = bytes_of_text(NAMES[i]);
    }
    if (epoch == 0 || member->unsure) {
        request.rebalance_timeout_ms = 3600000;
        request.subscribed_topic_names = names;
        request.subscribed_topic_names_count = TOPICS;
    }
    member->sent_ns = sim_world_now_ns(history->broker.world);
    struct writer writer;
    consumer_group_heartbeat_request_encode(
        sim_client_request(&member->client, &writer, CONSUMER_GROUP_HEARTBEAT_KEY, 1, true), 1,
        &request);
    sim_client_send(&member->client, &writer);
}

static uint32_t places_of(const struct history *history,
                          const struct consumer_group_heartbeat_response *response)
{
    uint32_t places = 0;
    for (int32_t i = 0; i < response->assignment.topic_partitions_count; i++) {
        const struct consumer_group_heartbeat_response_topic_partitions *row =
            &response->assignment.topic_partitions[i];
        int topic = 0;
        while (!uuid_equal(&row->topic_id, &history->topics[topic])) {
            topic++;
            expect(topic < TOPICS);
        }
        for (int32_t k = 0; k < row->partitions_count; k++) {
            places |= 1u << (topic * PARTITIONS + row->partitions[k]);
        }
    }
    return places;
}

/* Its session may have ended: it cannot tell whether it is a member. */
static bool is_late(const struct history *history, const struct member *member)
{
    return sim_world_now_ns(history->broker.world) - member->heard_ns >= SESSION_NS;
}

/* It has what it was told to have. Those that do not know whether they are members do not count. */
static void member_adopt(struct history *history, struct member *member)
{
    member->owned = member->told;
    for (int i = 0; i < MEMBERS; i++) {
        const struct member *other = &history->members[i];
        bool counts = other != member && other->epoch > 0 && !other->unsure && !member->unsure &&
                      !is_late(history, other) && !is_late(history, member);
        expect(!counts || (other->owned & member->owned) == 0);
    }
}

static void member_forget(struct member *member)
{
    member->epoch = 0;
    member->owned = 0;
    member->told = 0;
    member->unsure = false;
}

static void heartbeat_receive(struct history *history, struct member *member, int32_t epoch)
{
    struct reader reader = sim_client_receive(&member->client, true);
    struct consumer_group_heartbeat_response response;
    expect(consumer_group_heartbeat_response_decode(&reader, 1, &member->client.arena, &response) ==
           STATUS_OK);
    int16_t code = response.error_code;
    member->unsure = member->unsure || (member->epoch > 0 && is_late(history, member));
    if (code == status_code(STATUS_COORDINATOR_LOAD_IN_PROGRESS) ||
        code == status_code(STATUS_COORDINATOR_NOT_AVAILABLE) ||
        code == status_code(STATUS_NOT_COORDINATOR)) {
        member->unsure = true; /* an append that failed may be on the disk all the same */
        return;
    }
    if (epoch < 0) {
        expect(code == 0 || member->unsure);
        member_forget(member);
        return;
    }
    if (code != 0) {
        expect(epoch > 0); /* a join is always taken */
        expect(member->unsure);
        expect(code == status_code(STATUS_FENCED_MEMBER_EPOCH) ||
               code == status_code(STATUS_UNKNOWN_MEMBER_ID) ||
               code == status_code(STATUS_GROUP_ID_NOT_FOUND));
        member_forget(member);
        return;
    }
    expect(response.member_epoch >= epoch);
    expect(response.member_epoch > 0);
    expect(epoch > 0 || response.has_assignment);
    member->epoch = response.member_epoch;
    member->heard_ns = member->sent_ns;
    member->unsure = false;
    member->told = response.has_assignment ? places_of(history, &response) : member->told;
}

static void member_beat(struct history *history, struct member *member, int32_t epoch)
{
    if (epoch == 0) {
        member->owned = 0;
        member->told = 0;
    }
    heartbeat_send(history, member, epoch);
    heartbeat_receive(history, member, epoch);
}

/* The connection ends before the answer. */
static void member_lose(struct history *history, struct member *member)
{
    heartbeat_send(history, member, member->epoch);
    member->unsure = true;
    sim_client_close(&member->client);
    sim_client_open(&member->client, &history->broker);
}

static void member_name(struct member *member, int index)
{
    member->number++;
    snprintf(member->id, sizeof(member->id), "member-%d-%d", index, (int)member->number);
}

/* ---- histories ---- */

static void restart(struct history *history, bool power_cut)
{
    if (power_cut) {
        sim_broker_crash(&history->broker);
    }
    for (int i = 0; i < MEMBERS; i++) {
        sim_client_close(&history->members[i].client);
    }
    if (!power_cut) {
        sim_broker_stop(&history->broker);
    }
    sim_broker_start(&history->broker, CORES);
    for (int i = 0; i < MEMBERS; i++) {
        sim_client_open(&history->members[i].client, &history->broker);
    }
    history->restarts++;
}

static void write_fails(struct history *history)
{
    const struct sim_failure failure = {.kinds = 1u << OP_WRITE, .first = 1, .error = EIO};
    sim_world_set_failure(history->broker.world, &failure);
}

static void history_step(struct history *history)
{
    struct random *random = &history->random;
    int index = (int)random_below(random, MEMBERS);
    struct member *member = &history->members[index];
    uint64_t what = random_below(random, 40);
    if (what == 0) {
        restart(history, random_below(random, 2) == 0);
    } else if (member->epoch == 0 && !member->unsure) {
        member_name(member, index);
        member_beat(history, member, 0);
    } else if (what == 1) {
        member_beat(history, member, -1);
        if (member->unsure) { /* it does not care for the answer */
            member_forget(member);
        }
    } else if (what < 5) {
        member_lose(history, member);
    } else {
        member_adopt(history, member);
        member_beat(history, member, member->epoch);
    }
}

struct pause {
    const struct history *history;
    uint64_t until_ns;
};

static bool pause_is_over(void *context)
{
    const struct pause *pause = context;
    return sim_world_now_ns(pause->history->broker.world) >= pause->until_ns;
}

/* Everybody behaves, and everybody arrives; those that died unheard are waited for. */
static void settle(struct history *history)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct pause pause = {history, sim_world_now_ns(history->broker.world) + PAUSE_NS};
        sim_broker_run(&history->broker, pause_is_over, &pause);
        for (int i = 0; i < MEMBERS; i++) {
            struct member *member = &history->members[i];
            if (member->epoch == 0 && !member->unsure) {
                member_name(member, i);
            }
            member_adopt(history, member);
            member_beat(history, member, member->epoch);
        }
    }
}

static void arrived(struct history *history)
{
    uint32_t all = 0;
    for (int i = 0; i < MEMBERS; i++) {
        struct member *member = &history->members[i];
        expect(member->epoch > 0);
        expect((all & member->owned) == 0);
        all |= member->owned;
    }
    expect(all == (1u << PLACES) - 1);
}

static uint64_t history_run(uint64_t seed)
{
    current_seed = seed;
    struct history *history = calloc(1, sizeof(*history));
    expect(history != NULL);
    random_init(&history->random, seed);
    sim_broker_open(&history->broker, seed, CORES);
    for (int i = 0; i < MEMBERS; i++) {
        sim_client_open(&history->members[i].client, &history->broker);
    }
    topics_create(history, &history->members[0].client);
    coordinator_find(&history->members[1].client);
    for (int step = 0; step < STEPS; step++) {
        if (seed % 4 == 0 && step == STEPS / 2) {
            write_fails(history);
        }
        history_step(history);
    }
    restart(history, seed % 2 == 0);
    settle(history);
    arrived(history);
    for (int i = 0; i < MEMBERS; i++) {
        sim_client_close(&history->members[i].client);
    }
    sim_broker_stop(&history->broker);
    uint64_t trace = sim_world_trace_hash(history->broker.world);
    sim_broker_close(&history->broker);
    free(history);
    return trace;
}

int consumer_sim(int count, char **arguments)
{
    uint64_t first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    uint64_t seeds = count > 2 ? strtoull(arguments[2], NULL, 10) : count > 1 ? 1 : 20;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint64_t trace = history_run(seed);
        expect(history_run(seed) == trace);
    }
    printf("%llu seeds, each twice with equal traces\n", (unsigned long long)seeds);
    return 0;
}
