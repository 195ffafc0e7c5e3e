/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch sessions: the rules one by one, then random histories of several clients that keep their
 * own side as KIP-227 describes it. After each step both sides must know the same partitions in the
 * same order, and the client the same watermarks as the world.
 */
#include "tests/lib/test.h"

#include "base/check.h"
#include "broker/sessions.h"

#define SLOTS 3
#define CLIENTS 5
#define TOPICS 3
#define PARTITIONS 4
#define PLACES (TOPICS * PARTITIONS)
#define HISTORIES 200
#define STEPS 400

static const char *const NAMES[TOPICS] = {"apples", "a", "apples-and-more"};

struct fixture {
    struct heap heap;
    struct sessions sessions;
    uint64_t now_ns;
};

static void fixture_open(struct fixture *fixture, uint32_t slot_max, size_t size_max, uint64_t seed)
{
    heap_init(&fixture->heap, 1 << 20);
    const struct sessions_options options = {
        .heap = &fixture->heap,
        .slot_max = slot_max,
        .size_max = size_max,
        .core = 2,
        .core_count = 5,
        .seed = seed,
    };
    assert_true(sessions_init(&fixture->sessions, &options));
    fixture->now_ns = 1;
}

static void fixture_close(struct fixture *fixture)
{
    sessions_deinit(&fixture->sessions);
    heap_deinit(&fixture->heap);
}

static struct session_partition asked(bool by_ids, int place, int64_t offset)
{
    struct session_partition partition = {
        .index = place % PARTITIONS,
        .leader_epoch = -1,
        .offset = offset,
        .size_max = 1000,
    };
    if (by_ids) {
        partition.topic_id.bytes[0] = (uint8_t)(1 + place / PARTITIONS);
    } else {
        partition.topic = bytes_of_text(NAMES[place / PARTITIONS]);
    }
    return partition;
}

static struct session *create(struct fixture *fixture, bool by_ids, int count)
{
    struct session *session = sessions_create(&fixture->sessions, by_ids, count, fixture->now_ns);
    for (int i = 0; session != NULL && i < count; i++) {
        struct session_partition partition = asked(by_ids, i, 0);
        assert_non_null(session_put(session, &partition));
    }
    return session;
}

static enum status enter(struct fixture *fixture, int32_t id, int32_t epoch,
                         struct session **session)
{
    const struct session_ask ask = {.id = id, .epoch = epoch};
    return sessions_enter(&fixture->sessions, &ask, fixture->now_ns, session);
}

static void rules(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, SLOTS, 1 << 16, 1);
    struct session *found;
    struct session *session = create(&fixture, false, 2);
    int32_t id = session->id;
    assert_true(id > 0);
    assert_int_equal(id % 5, 2);
    assert_int_equal(enter(&fixture, id, 2, &found), STATUS_INVALID_FETCH_SESSION_EPOCH);
    assert_int_equal(enter(&fixture, id, -2, &found), STATUS_INVALID_FETCH_SESSION_EPOCH);
    assert_int_equal(enter(&fixture, id + 5, 1, &found), STATUS_FETCH_SESSION_ID_NOT_FOUND);
    assert_int_equal(enter(&fixture, 0, 1, &found), STATUS_FETCH_SESSION_ID_NOT_FOUND);
    const struct session_ask other = {.id = id, .epoch = 1, .by_ids = true};
    assert_int_equal(sessions_enter(&fixture.sessions, &other, 1, &found),
                     STATUS_FETCH_SESSION_TOPIC_ID_ERROR);
    assert_int_equal(enter(&fixture, id, 1, &found), STATUS_OK);
    assert_ptr_equal(found, session);
    assert_int_equal(enter(&fixture, id, 1, &found), STATUS_INVALID_FETCH_SESSION_EPOCH);
    uint64_t serial = session->serial;
    assert_ptr_equal(sessions_find(&fixture.sessions, id, serial, 2), session);
    assert_null(sessions_find(&fixture.sessions, id, serial, 1));
    session->epoch = INT32_MAX;
    assert_int_equal(enter(&fixture, id, INT32_MAX, &found), STATUS_OK);
    assert_int_equal(session->epoch, 1);
    assert_int_equal(enter(&fixture, 0, 0, &found), STATUS_OK); /* another client's first */
    assert_null(found);
    assert_int_equal(enter(&fixture, id, 1, &found), STATUS_OK);
    assert_int_equal(enter(&fixture, id, SESSION_EPOCH_FINAL, &found), STATUS_OK);
    assert_null(found);
    assert_int_equal(enter(&fixture, id, 2, &found), STATUS_FETCH_SESSION_ID_NOT_FOUND);
    assert_null(sessions_find(&fixture.sessions, id, serial, 2));
    id = create(&fixture, false, 1)->id;
    assert_int_equal(enter(&fixture, id, SESSION_EPOCH_FIRST, &found), STATUS_OK);
    assert_int_equal(enter(&fixture, id, 1, &found), STATUS_FETCH_SESSION_ID_NOT_FOUND);
    assert_int_equal(fixture.sessions.size, 0);
    fixture_close(&fixture);
}

static void eviction(void **state)
{
    (void)state;
    struct fixture fixture;
    struct session *found;
    fixture_open(&fixture, SLOTS, 1 << 16, 2);
    int32_t ids[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        ids[i] = create(&fixture, false, 4 - i)->id;
        fixture.now_ns++;
    }
    assert_null(create(&fixture, false, 8)); /* all are young */
    fixture.now_ns += SESSION_IDLE_NS;
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(enter(&fixture, ids[i], 1, &found), STATUS_OK);
    }
    assert_null(create(&fixture, false, 2)); /* none is idle, none smaller */
    assert_non_null(create(&fixture, false, 3));
    assert_int_equal(enter(&fixture, ids[2], 2, &found), STATUS_FETCH_SESSION_ID_NOT_FOUND);
    assert_int_equal(enter(&fixture, ids[0], 2, &found), STATUS_OK);
    fixture.now_ns += SESSION_IDLE_NS;
    assert_int_equal(enter(&fixture, ids[0], 3, &found), STATUS_OK);
    assert_non_null(create(&fixture, false, 1)); /* idle longest, whatever its size */
    assert_int_equal(enter(&fixture, ids[1], 2, &found), STATUS_FETCH_SESSION_ID_NOT_FOUND);
    fixture_close(&fixture);

    fixture_open(&fixture, 0, 1 << 16, 3);
    assert_null(create(&fixture, false, 1));
    fixture_close(&fixture);

    size_t room = sizeof(struct session) + 4 * sizeof(struct session_entry);
    fixture_open(&fixture, SLOTS, room, 4);
    assert_null(sessions_create(&fixture.sessions, true, 5, 1));
    struct session *session = create(&fixture, true, 4);
    struct session_partition more = asked(true, 5, 0);
    assert_null(session_put(session, &more));
    assert_int_equal(session->entry_count, 4);
    assert_null(create(&fixture, true, 1));
    fixture.now_ns += SESSION_IDLE_NS;
    assert_non_null(create(&fixture, true, 1));
    assert_int_equal(fixture.sessions.ids.count, 1);
    fixture_close(&fixture);
}

/* ---- random histories ---- */

struct place {
    bool wanted; /* by the client */
    bool held;   /* in the session, as the client believes */
    int64_t offset;
    int64_t offset_sent;
    int64_t high_seen; /* -1: an error */
    int64_t start_seen;
};

struct client {
    bool by_ids;
    int32_t id;
    int32_t epoch; /* of the next request */
    struct place places[PLACES];
    int order[PLACES]; /* of service, as the client can compute it */
    int order_count;
};

struct world {
    struct fixture fixture;
    struct random random;
    int64_t high[PLACES];
    int64_t start[PLACES];
    bool broken[PLACES];
    struct client clients[CLIENTS];
    int steps;    /* incremental answers compared */
    int restarts; /* sessions that were gone */
};

static bool chance(struct world *world, uint64_t one_in)
{
    return random_below(&world->random, one_in) == 0;
}

static void order_remove(struct client *client, int place)
{
    int kept = 0;
    for (int i = 0; i < client->order_count; i++) {
        if (client->order[i] != place) {
            client->order[kept++] = client->order[i];
        }
    }
    client->order_count = kept;
}

static struct session_answer answer_of(const struct world *world, int place, bool records)
{
    return (struct session_answer){
        .high_watermark = world->broken[place] ? -1 : world->high[place],
        .log_start_offset = world->broken[place] ? -1 : world->start[place],
        .records = records && !world->broken[place],
        .error = world->broken[place],
    };
}

static void client_see(struct client *client, int place, const struct session_answer *answer)
{
    client->places[place].high_seen = answer->high_watermark;
    client->places[place].start_seen = answer->log_start_offset;
}

static void client_begin(struct world *world, struct client *client)
{
    struct session *session;
    const struct session_ask ask = {client->id, SESSION_EPOCH_FIRST, client->by_ids};
    struct sessions *sessions = &world->fixture.sessions;
    assert_int_equal(sessions_enter(sessions, &ask, world->fixture.now_ns, &session), STATUS_OK);
    assert_null(session);
    client->id = 0;
    client->epoch = 0;
    client->order_count = 0;
    for (int i = 0; i < PLACES; i++) {
        client->places[i].held = false;
        client->order_count += client->places[i].wanted;
    }
    session =
        client->order_count == 0
            ? NULL
            : sessions_create(sessions, client->by_ids, client->order_count, world->fixture.now_ns);
    client->order_count = 0;
    if (session == NULL) {
        return;
    }
    for (int i = 0; i < PLACES; i++) {
        struct place *place = &client->places[i];
        if (!place->wanted) {
            continue;
        }
        struct session_partition partition = asked(client->by_ids, i, place->offset);
        struct session_entry *entry = session_put(session, &partition);
        assert_non_null(entry);
        struct session_answer answer = answer_of(world, i, false);
        session_entry_told(entry, &answer);
        client_see(client, i, &answer);
        place->held = true;
        place->offset_sent = place->offset;
        client->order[client->order_count++] = i;
    }
    client->id = session->id;
    client->epoch = 1;
}

static void client_change(struct world *world, struct client *client, struct session *session)
{
    for (int i = 0; i < PLACES; i++) {
        struct place *place = &client->places[i];
        struct session_partition partition = asked(client->by_ids, i, place->offset);
        if (place->wanted && (!place->held || place->offset != place->offset_sent)) {
            assert_non_null(session_put(session, &partition));
            if (!place->held) {
                client->order[client->order_count++] = i;
                place->high_seen = -1;
            }
            place->held = true;
            place->offset_sent = place->offset;
        } else if (!place->wanted && (place->held || chance(world, 10))) {
            session_forget(session, partition.topic, &partition.topic_id, partition.index);
            order_remove(client, i);
            place->held = false;
        }
    }
}

/* Both sides agree; then the answer, and what the client knows after it. */
static void client_compare(struct world *world, struct client *client, struct session *session)
{
    assert_int_equal(session->entry_count, client->order_count);
    int order[PLACES];
    memcpy(order, client->order, sizeof(order));
    int count = client->order_count;
    struct list_node *node = list_first(&session->entries);
    for (int i = 0; i < count; i++) {
        struct session_entry *entry = LIST_ENTRY(node, struct session_entry, order);
        struct place *place = &client->places[order[i]];
        struct session_partition partition = asked(client->by_ids, order[i], place->offset);
        assert_bytes_equal(entry->asked.topic, partition.topic);
        assert_true(uuid_equal(&entry->asked.topic_id, &partition.topic_id));
        assert_int_equal(entry->asked.index, partition.index);
        assert_int_equal(entry->asked.offset, partition.offset);
        node = node->next;
        struct session_answer answer = answer_of(world, order[i], chance(world, 4));
        bool listed = session_entry_told(entry, &answer);
        if (listed) {
            client_see(client, order[i], &answer);
        }
        if (answer.records) {
            assert_true(listed);
            order_remove(client, order[i]);
            client->order[client->order_count++] = order[i];
            place->offset++;
        }
        assert_int_equal(place->high_seen, answer.high_watermark);
        assert_int_equal(place->start_seen, answer.log_start_offset);
        if (!listed) { /* and silence means that there was nothing to say */
            assert_false(answer.error);
        }
    }
    world->steps++;
}

static void client_fetch(struct world *world, struct client *client)
{
    struct fixture *fixture = &world->fixture;
    if (client->id == 0 || chance(world, 40)) {
        client_begin(world, client);
        return;
    }
    struct session *session;
    const struct session_ask ask = {client->id, client->epoch, client->by_ids};
    enum status status = sessions_enter(&fixture->sessions, &ask, fixture->now_ns, &session);
    if (status != STATUS_OK) {
        assert_int_equal(status, STATUS_FETCH_SESSION_ID_NOT_FOUND);
        world->restarts++;
        client_begin(world, client);
        return;
    }
    client->epoch++;
    client_change(world, client, session);
    if (session->entry_count == 0) {
        session_close(session);
        client->id = 0;
        return;
    }
    client_compare(world, client, session);
}

static void world_step(struct world *world)
{
    struct client *client = &world->clients[random_below(&world->random, CLIENTS)];
    int place = (int)random_below(&world->random, PLACES);
    switch (random_below(&world->random, 8)) {
    case 0:
        world->high[place]++;
        break;
    case 1:
        world->start[place] = world->high[place];
        break;
    case 2:
        world->broken[place] = chance(world, 3);
        break;
    case 3:
        client->places[place].wanted = !client->places[place].wanted;
        break;
    case 4:
        client->places[place].offset = (int64_t)random_below(&world->random, 100);
        break;
    case 5:
        world->fixture.now_ns += random_below(&world->random, SESSION_IDLE_NS / 2);
        break;
    default:
        client_fetch(world, client);
        break;
    }
    assert_true(world->fixture.sessions.ids.count <= SLOTS);
}

static void histories(void **state)
{
    (void)state;
    int steps = 0;
    int restarts = 0;
    for (uint64_t seed = 0; seed < HISTORIES; seed++) {
        struct world world = {0};
        fixture_open(&world.fixture, SLOTS, 1 << 16, seed);
        random_init(&world.random, seed);
        for (int i = 0; i < CLIENTS; i++) {
            world.clients[i].by_ids = i % 2 == 0;
        }
        for (int i = 0; i < STEPS; i++) {
            world_step(&world);
        }
        steps += world.steps;
        restarts += world.restarts;
        fixture_close(&world.fixture);
    }
    assert_true(steps > HISTORIES * 5); /* the histories did reach what they are for */
    assert_true(restarts > HISTORIES / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules),
        cmocka_unit_test(eviction),
        cmocka_unit_test(histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
