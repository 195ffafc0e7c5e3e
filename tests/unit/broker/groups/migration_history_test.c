/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random histories of one group and clients of both protocols. Clients are born with either, join,
 * sync, heartbeat, lose answers, leave and die; the group becomes a consumer group and a classic
 * one again around them, and is read from its records now and then. After each step no partition
 * may be with two living members; at the end everybody behaves, and everything must be with exactly
 * one of them, in a group of the right kind. A failing history is shrunk.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "tests/unit/broker/groups/migration_clients.h"

#define HISTORIES 8000
#define HISTORY_MAX 140
#define ROUNDS_MAX 80

/* ---- acts ---- */

enum act_kind {
    ACT_GO,
    ACT_GO_DEAF,
    ACT_BORN,
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

/* Parked requests lie in the client: it is told before it is somebody else. */
static bool is_parked(const struct client *client)
{
    return client->alive && client->classic &&
           (client->phase == JOINING || client->phase == SYNCING);
}

static void client_leave(struct world *world, struct client *client, uint32_t choice)
{
    if (!client->alive || is_parked(client)) {
        return;
    }
    if (client->classic && client->id[0] != 0 && client->number >= STATICS) {
        classic_leave_send(world, client);
    } else if (!client->classic && client->member) {
        client->owned_count = 0;
        newer_beat(world, client, client->number < STATICS && choice % 2 == 0 ? -2 : -1, false);
    }
    client_die(client);
    arena_reset(&world->arena);
}

/* What static members read stays: a classic group does not look at it when one comes back. */
static uint32_t names_choose(const struct client *client, uint32_t choice)
{
    return client->number < STATICS ? (1u << TOPICS) - 1 : 1 + choice % 3;
}

static void client_born(struct client *client, uint32_t choice)
{
    if (client->alive) {
        return;
    }
    client_die(client);
    client->alive = true;
    client->classic = choice % 2 == 0;
    client->names = names_choose(client, choice / 2);
    client->incarnation++;
    if (!client->classic) {
        snprintf(client->id, ID_SIZE_MAX, "newer-%d-%d", client->number, client->incarnation);
    }
}

static void act_run(struct world *world, const struct act *act)
{
    static const int64_t times[] = {300, 2000, 6000, 11000};
    struct client *client = &world->clients[act->who % CLIENTS];
    switch (act->kind) {
    case ACT_GO:
    case ACT_GO_DEAF:
        client_act(world, client, act->kind == ACT_GO_DEAF);
        break;
    case ACT_BORN:
        client_born(client, act->choice);
        break;
    case ACT_LEAVE:
        client_leave(world, client, act->choice);
        break;
    case ACT_DIE:
        if (!is_parked(client)) {
            client_die(client);
        }
        break;
    case ACT_SUBSCRIBE:
        client->names = names_choose(client, act->choice);
        client->tell_all = true;
        client->changed = true;
        break;
    case ACT_TOPIC:
        if (world->counts[act->choice % TOPICS] < 6) {
            world->counts[act->choice % TOPICS]++;
            world->version++;
        }
        break;
    case ACT_TIME:
        time_pass(world, times[act->choice % ARRAY_COUNT(times)]);
        break;
    default:
        world_reload(world);
        break;
    }
    owners_check(world);
}

/* ---- the end of a history ---- */

static void kind_check(struct world *world)
{
    bool any = false;
    bool newer = false;
    for (int i = 0; i < CLIENTS; i++) {
        any |= world->clients[i].alive;
        newer |= world->clients[i].alive && !world->clients[i].classic;
    }
    if (newer && world->consumer == NULL) {
        world->wrong = "a member of the newer protocol in a classic group";
    } else if (any && !newer && world->config.downgrade && world->classic == NULL) {
        world->wrong = "classic members alone, and the group is a consumer group";
    }
}

static void cover_check(struct world *world)
{
    for (int topic = 0; topic < TOPICS; topic++) {
        struct consumer_topic info;
        int32_t owned = 0;
        bool subscribed = false;
        topic_fill(world, topic, &info);
        for (int i = 0; i < CLIENTS; i++) {
            const struct client *client = &world->clients[i];
            subscribed |= client->alive && (client->names >> topic & 1) != 0;
            for (int32_t k = 0; client->alive && k < client->owned_count; k++) {
                owned += uuid_equal(&client->owned[k].topic_id, &info.id);
            }
        }
        if (owned != (subscribed ? info.partition_count : 0)) {
            world->wrong = "not every partition is with one of them";
        }
    }
}

static void world_settle(struct world *world)
{
    for (int i = 0; i < CLIENTS; i++) {
        world->clients[i].tell_all = true;
    }
    for (int round = 0; round < ROUNDS_MAX && world->wrong == NULL; round++) {
        time_pass(world, 1000);
        owners_check(world);
        for (int i = 0; i < CLIENTS && world->wrong == NULL; i++) {
            client_act(world, &world->clients[i], false);
            owners_check(world);
        }
    }
    if (world->wrong == NULL) {
        kind_check(world);
    }
    if (world->wrong == NULL) {
        cover_check(world);
    }
}

static const char *history_run(const struct act *acts, int count)
{
    struct world *world = world_open();
    world->config.downgrade = acts[0].choice % 4 != 0;
    world->cooperative = acts[0].choice / 4 % 2 == 0;
    for (int i = 1; i < count && world->wrong == NULL; i++) {
        act_run(world, &acts[i]);
    }
    if (world->wrong == NULL) {
        world_settle(world);
    }
    const char *wrong = world->wrong;
    world_close(world);
    return wrong;
}

/* ---- histories ---- */

/* The first act says what all of the history is about, and stays. */
static int history_make(struct act *acts, uint64_t seed)
{
    static const uint8_t weights[ACT_KINDS] = {38, 4, 10, 3, 4, 2, 1, 4, 4};
    struct random random;
    random_init(&random, seed);
    for (int i = 0; i < HISTORY_MAX; i++) {
        uint64_t pick = random_below(&random, 70);
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
        for (int i = 1; i + size <= count;) {
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
        fprintf(stderr, "    {%d, %u, %u},\n", (int)acts[i].kind, acts[i].who % CLIENTS,
                acts[i].choice);
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
