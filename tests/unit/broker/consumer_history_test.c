/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random histories of a consumer group and of clients that keep their own side of KIP-848. They
 * join, heartbeat, lose answers, die, change what they read,
 * while topics come, grow and go. After each step the group must be sound (consumer_verify), no two
 * living clients may have the same partition, and what its records make, replayed, must be the same
 * group. At the end everybody behaves, and everybody must arrive. A failing history is shrunk.
 */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/random.h"
#include "broker/groups/assignor.h"
#include "broker/groups/consumer_state.h"

#define TOPICS 4
#define CLIENTS 5
#define HISTORIES 400
#define HISTORY_MAX 150
#define LOG_MAX 20000
#define HEAP_SIZE (64 << 20)
#define SESSION_MS 45000
#define REBALANCE_MS 10000
#define ROUNDS_MAX 40

static const struct consumer_config CONFIG = {
    .heartbeat_ms = 5000,
    .session_ms = SESSION_MS,
    .member_count_max = CLIENTS,
    .assignors = 3,
};
static const char *const NAMES[TOPICS] = {"apples", "bears", "apes", "cats"};
static const char *const PATTERNS[] = {"", "a.*", "(bears|cats)", ".*s"};

/* ---- topics ---- */

struct world_topic {
    int32_t partition_count; /* 0: there is no such topic */
    uint8_t incarnation;
};

struct client {
    bool alive;
    bool member; /* as far as it knows */
    int id;      /* its number of incarnations is part of its member id */
    int incarnation;
    bool is_static;
    int32_t epoch;
    uint32_t names; /* a bit a topic */
    int pattern;
    bool range;
    bool tell_all; /* the next heartbeat is a full one */
    struct part owned[64];
    int32_t owned_count;
    struct part wanted[64]; /* the last assignment */
    int32_t wanted_count;
};

struct world {
    struct heap heap;
    struct pages *pages;
    struct arena arena;
    struct consumer *group;
    int64_t now_ms;
    uint64_t version;
    struct world_topic topics[TOPICS];
    struct client clients[CLIENTS];
    struct shard_record log[LOG_MAX];
    int32_t log_count;
    int32_t epoch_seen;
    int32_t target_seen;
    const char *wrong;
};

static bool topic_fill(const struct world *world, int index, struct consumer_topic *topic)
{
    if (world->topics[index].partition_count == 0) {
        return false;
    }
    *topic = (struct consumer_topic){
        .name = bytes_of_text(NAMES[index]),
        .partition_count = world->topics[index].partition_count,
    };
    topic->id.bytes[0] = (uint8_t)(10 - index);
    topic->id.bytes[15] = world->topics[index].incarnation;
    return true;
}

static bool topic_find(void *context, struct bytes name, struct consumer_topic *topic)
{
    for (int i = 0; i < TOPICS; i++) {
        if (bytes_equal(name, bytes_of_text(NAMES[i]))) {
            return topic_fill(context, i, topic);
        }
    }
    return false;
}

static bool topic_find_id(void *context, const struct uuid *id, struct consumer_topic *topic)
{
    for (int i = 0; i < TOPICS; i++) {
        if (topic_fill(context, i, topic) && uuid_equal(&topic->id, id)) {
            return true;
        }
    }
    return false;
}

static bool topic_next(void *context, void **cursor, struct consumer_topic *topic)
{
    for (uintptr_t i = (uintptr_t)*cursor; i < TOPICS; i++) {
        if (topic_fill(context, (int)i, topic)) {
            *cursor = (void *)(i + 1);
            return true;
        }
    }
    return false;
}

static struct consumer_catalog catalog_of(struct world *world)
{
    return (struct consumer_catalog){topic_find, topic_find_id, topic_next, world, world->version};
}

/* ---- the log ---- */

static struct bytes kept(struct bytes bytes)
{
    if (bytes.data == NULL) {
        return bytes;
    }
    void *copy = malloc(bytes.size + 1);
    memcpy(copy, bytes.data, bytes.size);
    return bytes_of(copy, bytes.size);
}

static void log_append(struct world *world, const struct consumer_output *output)
{
    for (int32_t i = 0; i < output->record_count; i++) {
        assert_true(world->log_count < LOG_MAX);
        world->log[world->log_count++] =
            (struct shard_record){kept(output->records[i].key), kept(output->records[i].value)};
    }
}

static struct consumer *log_replay(struct world *world)
{
    struct consumer *group = consumer_open(&world->heap, 7, &CONFIG, BYTES_LITERAL("group"));
    assert_non_null(group);
    for (int32_t i = 0; i < world->log_count; i++) {
        struct bytes name;
        assert_true(consumer_owns_key((int16_t)get_be16(world->log[i].key.data)));
        assert_int_equal(consumer_key_group(world->log[i].key, &name), STATUS_OK);
        assert_bytes_equal(name, BYTES_LITERAL("group"));
        assert_int_equal(consumer_replay(group, &world->log[i], &world->arena), STATUS_OK);
    }
    assert_true(consumer_loaded(group, world->now_ms));
    arena_reset(&world->arena);
    consumer_verify(group);
    return group;
}

static bool sets_equal(const struct parts_set *a, const struct parts_set *b)
{
    return parts_equal(parts_of(a), parts_of(b));
}

static const char *members_differ(const struct consumer_member *a, const struct consumer_member *b)
{
    return !bytes_equal(a->instance_id, b->instance_id) ? "instance"
           : a->epoch != b->epoch                       ? "epoch"
           : a->previous_epoch != b->previous_epoch     ? "previous epoch"
           : a->state != b->state                       ? "state"
           : !sets_equal(&a->assigned, &b->assigned)    ? "assigned"
           : !sets_equal(&a->revoking, &b->revoking)    ? "revoking"
           : !sets_equal(&a->target, &b->target)        ? "target"
           : !names_equal(&a->names, &b->names)         ? "names"
           : !bytes_equal(a->pattern, b->pattern)       ? "pattern"
           : !bytes_equal(a->assignor, b->assignor)     ? "assignor"
           : a->rebalance_ms != b->rebalance_ms         ? "rebalance timeout"
                                                        : NULL;
}

/* I6 */
static const char *groups_differ(const struct consumer *a, const struct consumer *b)
{
    if (a->epoch != b->epoch || a->target_epoch != b->target_epoch || a->hash != b->hash) {
        return "replay: epochs or hash";
    }
    if (a->member_count != b->member_count) {
        return "replay: count of members";
    }
    LIST_EACH (&a->members, node) {
        const struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
        const struct consumer_member *other = member_find(b, member->id);
        const char *wrong = other == NULL ? "a member is missing" : members_differ(member, other);
        if (wrong != NULL) {
            return wrong;
        }
    }
    LIST_EACH (&a->patterns, node) {
        const struct consumer_pattern *pattern = LIST_ENTRY(node, struct consumer_pattern, node);
        const struct consumer_pattern *other = pattern_find(b, pattern->text);
        if (other == NULL || !names_equal(&pattern->topics, &other->topics) ||
            pattern->member_count != other->member_count) {
            return "replay: pattern";
        }
    }
    return NULL;
}

/* ---- clients ---- */

struct wire {
    struct consumer_group_heartbeat_request request;
    struct consumer_group_heartbeat_request_topic_partition rows[64];
    struct bytes names[TOPICS];
    char id[32];
    char instance[32];
};

static const char *client_id(const struct client *client, char text[32])
{
    snprintf(text, 32, "member-%d-%d", client->id, client->incarnation);
    return text;
}

static void owned_fill(struct wire *wire, struct client *client)
{
    wire->request.topic_partitions = wire->rows;
    wire->request.topic_partitions_count = client->owned_count;
    for (int32_t i = 0; i < client->owned_count; i++) {
        wire->rows[i] = (struct consumer_group_heartbeat_request_topic_partition){
            client->owned[i].topic_id, &client->owned[i].index, 1};
    }
}

static void request_fill(struct wire *wire, struct client *client, int32_t epoch)
{
    consumer_group_heartbeat_request_init(&wire->request);
    wire->request.group_id = BYTES_LITERAL("group");
    wire->request.member_id = bytes_of_text(client_id(client, wire->id));
    wire->request.member_epoch = epoch;
    if (client->is_static) {
        snprintf(wire->instance, sizeof(wire->instance), "instance-%d", client->id);
        wire->request.instance_id = bytes_of_text(wire->instance);
    }
    if (epoch < 0) {
        return;
    }
    owned_fill(wire, client);
    if (epoch != 0 && !client->tell_all) {
        return;
    }
    wire->request.rebalance_timeout_ms = REBALANCE_MS;
    wire->request.server_assignor =
        client->range ? BYTES_LITERAL("range") : BYTES_LITERAL("uniform");
    wire->request.subscribed_topic_regex = bytes_of_text(PATTERNS[client->pattern]);
    wire->request.subscribed_topic_names = wire->names;
    wire->request.subscribed_topic_names_count = 0;
    for (int i = 0; i < TOPICS; i++) {
        if ((client->names >> i & 1) != 0) {
            wire->names[wire->request.subscribed_topic_names_count++] = bytes_of_text(NAMES[i]);
        }
    }
}

static bool owns(const struct client *client, const struct part *part)
{
    struct parts owned = {client->owned, client->owned_count};
    return parts_find(owned, part) != NULL;
}

static bool is_counted(const struct world *world, const struct client *client)
{
    char text[32];
    return client->alive && client->member &&
           member_find(world->group, bytes_of_text(client_id(client, text))) != NULL;
}

/* It gives up what it may not keep, then takes what is new. Whoever was removed in its absence
 * learns that later, and does not count. */
static void client_adopt(struct world *world, struct client *client)
{
    memcpy(client->owned, client->wanted, sizeof(client->owned));
    client->owned_count = client->wanted_count;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *other = &world->clients[i];
        if (other == client || !is_counted(world, client) || !is_counted(world, other)) {
            continue;
        }
        for (int32_t k = 0; k < client->owned_count; k++) {
            if (owns(other, &client->owned[k])) {
                world->wrong = "I1: two living clients have one partition";
            }
        }
    }
}

static void client_read(struct client *client,
                        const struct consumer_group_heartbeat_response *answer)
{
    client->epoch = answer->member_epoch;
    if (!answer->has_assignment) {
        return;
    }
    client->wanted_count = 0;
    for (int32_t i = 0; i < answer->assignment.topic_partitions_count; i++) {
        const struct consumer_group_heartbeat_response_topic_partitions *row =
            &answer->assignment.topic_partitions[i];
        for (int32_t k = 0; k < row->partitions_count; k++) {
            client->wanted[client->wanted_count++] =
                (struct part){.topic_id = row->topic_id, .index = row->partitions[k]};
        }
    }
    client->wanted_count = parts_sort(client->wanted, client->wanted_count);
}

static void client_lose_all(struct client *client)
{
    client->member = false;
    client->owned_count = 0;
    client->wanted_count = 0;
    client->epoch = 0;
}

static void step(struct world *world, const struct consumer_event *event,
                 struct consumer_output *output)
{
    consumer_step(world->group, event, &world->arena, output);
    assert_false(output->broken);
    if (output->answer.error_code != 0 && output->record_count > 0) {
        world->wrong = "I5: an error wrote something";
    }
    log_append(world, output);
    consumer_verify(world->group);
    if (world->group->epoch < world->epoch_seen ||
        world->group->target_epoch < world->target_seen) {
        world->wrong = "I2: an epoch fell";
    }
    world->epoch_seen = world->group->epoch;
    world->target_seen = world->group->target_epoch;
}

/* `lost`: the answer does not arrive. `lazy`: it keeps what it has for now. */
static void client_beat(struct world *world, struct client *client, int32_t epoch, bool lost,
                        bool lazy)
{
    struct wire wire;
    struct consumer_output output;
    const char *message;
    struct consumer_catalog catalog = catalog_of(world);
    request_fill(&wire, client, epoch);
    const struct consumer_heartbeat heartbeat = {
        .request = &wire.request,
        .version = 1,
        .client_id = BYTES_LITERAL("client"),
        .client_host = BYTES_LITERAL("/127.0.0.1"),
    };
    const struct consumer_event event = {
        .kind = CONSUMER_HEARTBEAT,
        .now_ms = world->now_ms,
        .wall_ms = 1,
        .catalog = &catalog,
        .heartbeat = &heartbeat,
    };
    if (consumer_check(&CONFIG, &heartbeat, &world->arena, &message) != STATUS_OK) {
        world->wrong = message;
        return;
    }
    step(world, &event, &output);
    const struct consumer_group_heartbeat_response *answer = &output.answer;
    if (!lost && epoch >= 0) {
        if (answer->error_code == 0) {
            client->member = true;
            client->tell_all = false;
            client_read(client, answer);
        } else {
            client_lose_all(client);
        }
        if (!lazy) {
            client_adopt(world, client);
        }
    } else if (lost) {
        client->tell_all = true;
    }
    arena_reset(&world->arena);
}

/* ---- operations ---- */

enum act_kind {
    ACT_BEAT,
    ACT_BEAT_LAZY,
    ACT_BEAT_LOST,
    ACT_JOIN,
    ACT_LEAVE,
    ACT_DIE,
    ACT_SUBSCRIBE,
    ACT_TOPIC,
    ACT_TIME,
    ACT_RELOAD,
    ACT_KINDS
};

struct act {
    enum act_kind kind;
    uint32_t who;
    uint32_t choice;
};

static void topic_change(struct world *world, uint32_t choice)
{
    struct world_topic *topic = &world->topics[choice % TOPICS];
    if (topic->partition_count == 0) {
        topic->partition_count = 1 + (int32_t)(choice / TOPICS % 5);
        topic->incarnation++;
    } else if (choice / 64 % 3 == 0) {
        topic->partition_count = 0;
    } else {
        topic->partition_count = topic->partition_count >= 9 ? 9 : topic->partition_count + 1;
    }
    world->version++;
}

static void time_pass(struct world *world, uint32_t choice)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    static const int64_t steps[] = {500, 3000, 11000, 46000};
    world->now_ms += steps[choice % ARRAY_COUNT(steps)];
    if (consumer_deadline_ms(world->group) > world->now_ms) {
        return;
    }
    const struct consumer_event event = {
        .kind = CONSUMER_TICK, .now_ms = world->now_ms, .wall_ms = 1, .catalog = &catalog};
    step(world, &event, &output);
    if (consumer_deadline_ms(world->group) <= world->now_ms) {
        world->wrong = "a deadline stays behind its tick";
    }
    arena_reset(&world->arena);
}

static void client_join(struct world *world, struct client *client, uint32_t choice)
{
    if (!client->alive) {
        client->alive = true;
        client->incarnation++;
        client->is_static = client->id < 2;
        client->names = choice & 15;
        client->pattern = (int)(choice / 16 % ARRAY_COUNT(PATTERNS));
        client->range = choice / 64 % 3 == 0;
        client_lose_all(client);
    }
    if (!client->member) {
        client_lose_all(client);
        client_beat(world, client, 0, choice / 256 % 5 == 0, false);
    }
}

static void act_run(struct world *world, const struct act *act)
{
    struct client *client = &world->clients[act->who % CLIENTS];
    switch (act->kind) {
    case ACT_BEAT:
    case ACT_BEAT_LAZY:
    case ACT_BEAT_LOST:
        if (client->alive && client->member) {
            client_adopt(world, client);
            client_beat(world, client, client->epoch, act->kind == ACT_BEAT_LOST,
                        act->kind == ACT_BEAT_LAZY);
        }
        break;
    case ACT_JOIN:
        client_join(world, client, act->choice);
        break;
    case ACT_LEAVE:
        if (client->alive && client->member) {
            client_beat(world, client, client->is_static && act->choice % 2 == 0 ? -2 : -1, false,
                        false);
            client->alive = false;
        }
        break;
    case ACT_DIE:
        client->alive = act->choice % 4 == 0 ? false : client->alive;
        break;
    case ACT_SUBSCRIBE:
        client->names = act->choice & 15;
        client->pattern = (int)(act->choice / 16 % ARRAY_COUNT(PATTERNS));
        client->tell_all = true;
        break;
    case ACT_TOPIC:
        topic_change(world, act->choice);
        break;
    case ACT_TIME:
        time_pass(world, act->choice);
        break;
    default:
        consumer_close(world->group);
        world->group = log_replay(world);
        break;
    }
}

/* I4 */
static void world_settle(struct world *world)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        world->now_ms += 1000;
        time_pass(world, 0); /* those that died are waited for */
        for (int i = 0; i < CLIENTS; i++) {
            struct client *client = &world->clients[i];
            if (client->alive && client->member) {
                client_adopt(world, client);
                client->tell_all = true;
                client_beat(world, client, client->epoch, false, false);
            } else if (client->alive) {
                client_join(world, client, 257);
            }
        }
    }
    if (consumer_state(world->group) > CONSUMER_EMPTY &&
        consumer_state(world->group) != CONSUMER_STABLE) {
        world->wrong = "I4: the group does not settle";
    }
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &world->clients[i];
        char text[32];
        const struct consumer_member *member =
            member_find(world->group, bytes_of_text(client_id(client, text)));
        struct parts owned = {client->owned, client->owned_count};
        if (client->alive && member == NULL) {
            world->wrong = "I4: a living client is no member";
        } else if (member != NULL && (!parts_equal(owned, parts_of(&member->target)) ||
                                      !sets_equal(&member->assigned, &member->target))) {
            world->wrong = "I4: a client has not what it should have";
        }
    }
}

/* I3, when all is quiet: what is subscribed is owned. */
static void world_cover(struct world *world)
{
    for (int i = 0; i < TOPICS; i++) {
        struct consumer_topic topic;
        int32_t owned = 0;
        if (!topic_fill(world, i, &topic)) {
            continue;
        }
        LIST_EACH (&world->group->members, node) {
            const struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
            for (int32_t k = 0; k < member->target.count; k++) {
                if (uuid_equal(&member->target.items[k].topic_id, &topic.id)) {
                    owned++;
                    if (!member_subscribes(world->group, member, topic.name)) {
                        world->wrong = "I3: assigned, and not subscribed";
                    }
                }
            }
        }
        if (owned != (consumer_subscribes(world->group, topic.name) ? topic.partition_count : 0)) {
            world->wrong = "I3: not every partition is in the target once";
        }
    }
}

static const char *history_run(const struct act *acts, int count)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    const struct pages_limits limits = {.size_max = {[PAGES_REQUEST] = 16 << 20}};
    world->pages = pages_open(&limits);
    assert_non_null(world->pages);
    arena_init(&world->arena, world->pages, 8 << 20);
    heap_init(&world->heap, HEAP_SIZE);
    world->group = consumer_open(&world->heap, 7, &CONFIG, BYTES_LITERAL("group"));
    assert_non_null(world->group);
    world->version = 1;
    for (int i = 0; i < CLIENTS; i++) {
        world->clients[i].id = i;
    }
    for (int i = 0; i < count && world->wrong == NULL; i++) {
        act_run(world, &acts[i]);
        if (i % 16 == 0 && world->wrong == NULL) {
            struct consumer *copy = log_replay(world);
            world->wrong = groups_differ(world->group, copy);
            consumer_close(copy);
        }
    }
    if (world->wrong == NULL) {
        world_settle(world);
        world_cover(world);
    }
    const char *wrong = world->wrong;
    consumer_close(world->group);
    heap_deinit(&world->heap);
    arena_reset(&world->arena);
    pages_close(world->pages);
    for (int32_t i = 0; i < world->log_count; i++) {
        free((void *)(uintptr_t)world->log[i].key.data);
        free((void *)(uintptr_t)world->log[i].value.data);
    }
    free(world);
    return wrong;
}

static int history_make(struct act *acts, uint64_t seed)
{
    static const uint8_t weights[ACT_KINDS] = {20, 8, 6, 12, 2, 3, 4, 4, 6, 1};
    struct random random;
    random_init(&random, seed);
    for (int i = 0; i < HISTORY_MAX; i++) {
        uint64_t pick = random_below(&random, 66);
        int kind = 0;
        while (pick >= weights[kind]) {
            pick -= weights[kind++];
        }
        acts[i] = (struct act){(enum act_kind)kind, (uint32_t)random_below(&random, CLIENTS),
                               (uint32_t)random_below(&random, 1 << 16)};
    }
    return HISTORY_MAX;
}

/* In a process of its own: a broken rule inside the group ends that. */
static bool history_fails(const struct act *acts, int count, bool loud)
{
    pid_t child = fork();
    if (child == 0) {
        if (!loud) {
            fclose(stderr);
        }
        const char *wrong = history_run(acts, count);
        if (wrong != NULL && loud) {
            fprintf(stderr, "%s\n", wrong);
        }
        _exit(wrong != NULL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status != 0;
}

static void history_shrink(struct act *acts, int count)
{
    for (int size = count / 2; size > 0; size /= 2) {
        for (int i = 0; i + size <= count;) {
            struct act less[HISTORY_MAX];
            memcpy(less, acts, (size_t)i * sizeof(*acts));
            memcpy(less + i, acts + i + size, (size_t)(count - i - size) * sizeof(*acts));
            if (history_fails(less, count - size, false)) {
                count -= size;
                memcpy(acts, less, (size_t)count * sizeof(*acts));
            } else {
                i += size;
            }
        }
    }
    for (int i = 0; i < count; i++) {
        fprintf(stderr, "    {%d, %u, %u},\n", (int)acts[i].kind, acts[i].who, acts[i].choice);
    }
    history_fails(acts, count, true);
}

static void histories(void **state)
{
    (void)state;
    struct act acts[HISTORY_MAX];
    for (uint64_t first = 0; first < HISTORIES; first += 50) {
        pid_t child = fork();
        if (child == 0) {
            bool wrong = false;
            for (uint64_t seed = first; seed < first + 50 && !wrong; seed++) {
                wrong = history_run(acts, history_make(acts, seed)) != NULL;
            }
            _exit(wrong);
        }
        int status = 0;
        waitpid(child, &status, 0);
        for (uint64_t seed = first; status != 0 && seed < first + 50; seed++) {
            int count = history_make(acts, seed);
            if (history_fails(acts, count, true)) {
                fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
                history_shrink(acts, count);
                fail();
            }
        }
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
