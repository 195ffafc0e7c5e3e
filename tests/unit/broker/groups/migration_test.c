/* SPDX-License-Identifier: Apache-2.0 */
/* Classic members of consumer groups, and groups that change their kind, rule by rule. Histories
 * are in migration_history_test.c. */
#include "tests/unit/broker/groups/migration_clients.h"

static void client_begin(struct world *world, int number, bool classic, uint32_t names)
{
    struct client *client = &world->clients[number];
    client->alive = true;
    client->classic = classic;
    client->names = names;
    if (!classic) {
        snprintf(client->id, ID_SIZE_MAX, "newer-%d", number);
    }
}

/* Everybody goes on until nothing happens any more. */
static void settle(struct world *world)
{
    for (int round = 0; round < 20; round++) {
        time_pass(world, 100);
        for (int i = 0; i < CLIENTS; i++) {
            client_act(world, &world->clients[i], false);
            owners_check(world);
        }
    }
    assert_null(world->wrong);
}

/* The numbers of the keys from the first record on. */
static void log_expect(const struct world *world, int32_t first, const int16_t *numbers,
                       int32_t count)
{
    assert_true(world->log_count >= first + count);
    for (int32_t i = 0; i < count; i++) {
        struct record_key key;
        assert_true(record_key_read(world->log[first + i].key, &key));
        assert_int_equal(key.number, numbers[i]);
    }
}

static struct consumer_member *member_of(const struct world *world, int number)
{
    struct consumer_member *member =
        member_find(world->consumer, bytes_of_text(world->clients[number].id));
    assert_non_null(member);
    return member;
}

static void there_and_back(void **state)
{
    (void)state;
    struct world *world = world_open();
    client_begin(world, 2, true, 3);
    client_begin(world, 3, true, 3);
    settle(world);
    assert_non_null(world->classic);
    int32_t generation = classic_view(world->classic).generation;
    int32_t first = world->log_count;
    client_begin(world, 1, false, 3);
    client_act(world, &world->clients[1], false);
    /* Kafka's order: the old kind is taken back, then members, epoch, targets, assignments. */
    static const int16_t upgraded[] = {2, 5, 5, 3, 7, 7, 6, 8, 8, 5, 3};
    log_expect(world, first, upgraded, ARRAY_COUNT(upgraded));
    assert_null(world->log[first].value.data);
    assert_int_equal(world->consumer->epoch, generation + 1);
    assert_int_equal(world->consumer->classic_count, 2);
    assert_int_equal(member_of(world, 2)->epoch, generation);
    assert_true(member_of(world, 2)->classic && !member_of(world, 1)->classic);
    settle(world);
    assert_int_equal(member_of(world, 2)->epoch, generation + 1);
    assert_int_equal(consumer_state(world->consumer), CONSUMER_STABLE);
    for (int i = 1; i < CLIENTS; i++) {
        assert_in_range(world->clients[i].owned_count, 1, 2);
    }
    int32_t epoch = world->consumer->epoch;
    first = world->log_count;
    newer_beat(world, &world->clients[1], -1, false);
    client_die(&world->clients[1]);
    static const int16_t downgraded[] = {8, 7, 5, 8, 7, 5, 8, 7, 5, 6, 3, 2};
    log_expect(world, first, downgraded, ARRAY_COUNT(downgraded));
    assert_non_null(world->log[first + 11].value.data);
    assert_int_equal(classic_view(world->classic).state, CLASSIC_PREPARING_REBALANCE);
    assert_int_equal(classic_view(world->classic).generation, epoch);
    settle(world);
    assert_int_equal(classic_view(world->classic).state, CLASSIC_STABLE);
    assert_int_equal(world->clients[2].owned_count + world->clients[3].owned_count, 5);
    world_close(world);
}

/* ---- what may not be upgraded ---- */

static const struct group_metadata_value_member_metadata MEMBER = {
    .member_id = {(const uint8_t *)"a", 1},
    .client_id = {(const uint8_t *)"c", 1},
    .client_host = {(const uint8_t *)"h", 1},
    .session_timeout = 6000,
    .rebalance_timeout = 7000,
    /* Version 1; "apples"; no user data; nothing owned. */
    .subscription = {(const uint8_t *)"\0\1\0\0\0\1\0\6apples\377\377\377\377\0\0\0\0", 22},
};

static struct group_metadata_value group_of(struct group_metadata_value_member_metadata *members,
                                            int32_t count)
{
    return (struct group_metadata_value){
        .protocol_type = BYTES_LITERAL("consumer"),
        .generation = 7,
        .protocol = BYTES_LITERAL("range"),
        .leader = BYTES_LITERAL("a"),
        .members = members,
        .members_count = count,
    };
}

/* The consumer group stays in the world when OK. */
static enum status upgrade(struct world *world, const struct group_metadata_value *value)
{
    const char *message;
    struct consumer_catalog catalog = catalog_of(world);
    struct consumer_event event = event_of(world, CONSUMER_HEARTBEAT, &catalog);
    struct classic *classic = classic_open(&world->heap, 1, &world->classic_config);
    assert_int_equal(classic_load(classic, value, world->now_ms), STATUS_OK);
    consumer_close(world->consumer);
    world->consumer = consumer_open(&world->heap, 1, &world->config, BYTES_LITERAL("group"));
    enum status status =
        migration_upgrade(classic, &event, &world->arena, world->consumer, &message);
    assert_true((status == STATUS_GROUP_ID_NOT_FOUND) == (message != NULL));
    if (status == STATUS_OK) {
        consumer_verify(world->consumer);
    }
    classic_close(classic);
    arena_reset(&world->arena);
    return status;
}

static void who_may_not_be_upgraded(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct group_metadata_value_member_metadata members[2] = {MEMBER, MEMBER};
    struct group_metadata_value value = group_of(members, 1);
    assert_int_equal(upgrade(world, &value), STATUS_OK);
    world->config.upgrade = false;
    assert_int_equal(upgrade(world, &value), STATUS_GROUP_ID_NOT_FOUND);
    world->config.upgrade = true;
    value.protocol_type = BYTES_LITERAL("connect");
    assert_int_equal(upgrade(world, &value), STATUS_GROUP_ID_NOT_FOUND);
    value = group_of(members, 1);
    value.generation = INT32_MAX;
    assert_int_equal(upgrade(world, &value), STATUS_GROUP_ID_NOT_FOUND);
    value = group_of(members, 2);
    members[1].member_id = BYTES_LITERAL("b");
    world->config.member_count_max = 1;
    assert_int_equal(upgrade(world, &value), STATUS_GROUP_ID_NOT_FOUND);
    world->config.member_count_max = 2;
    assert_int_equal(upgrade(world, &value), STATUS_OK);
    members[1].subscription = BYTES_LITERAL("\0\1\0\0");
    assert_int_equal(upgrade(world, &value), STATUS_GROUP_ID_NOT_FOUND);
    members[1].subscription = MEMBER.subscription;
    members[1].assignment = BYTES_LITERAL("\377\377\0\0\0\0\377\377\377\377");
    assert_int_equal(upgrade(world, &value), STATUS_GROUP_ID_NOT_FOUND);
    members[1].assignment = BYTES_LITERAL("\0\0\0\0\0\0\0\0\0\1x"); /* an assignor's own data */
    assert_int_equal(upgrade(world, &value), STATUS_GROUP_ID_NOT_FOUND);
    members[1].assignment = BYTES_LITERAL("\0\0\0\0\0\0\0\0\0\0");
    assert_int_equal(upgrade(world, &value), STATUS_OK);
    world_close(world);
}

/* Bytes of clients: one partition twice, one that is none, topics that are not there. */
static void what_was_assigned(void **state)
{
    (void)state;
    struct world *world = world_open();
    struct group_metadata_value_member_metadata members[2] = {MEMBER, MEMBER};
    struct group_metadata_value value = group_of(members, 2);
    members[0].assignment = BYTES_LITERAL("\0\11\0\0\0\1\0\6apples\0\0\0\3\0\0\0\0\0\0\0\1\0\0\0\1"
                                          "\377\377\377\377 and what version 9 has more");
    members[1].member_id = BYTES_LITERAL("b");
    members[1].assignment =
        BYTES_LITERAL("\0\1\0\0\0\2\0\6apples\0\0\0\4\0\0\0\1\0\0\0\2\0\0\0\3\377\377\377\377"
                      "\0\1x\0\0\0\1\0\0\0\0\377\377\377\377");
    assert_int_equal(upgrade(world, &value), STATUS_OK);
    const struct consumer_member *a = member_find(world->consumer, BYTES_LITERAL("a"));
    const struct consumer_member *b = member_find(world->consumer, BYTES_LITERAL("b"));
    assert_int_equal(a->assigned.count, 2);
    assert_int_equal(b->assigned.count, 1);
    assert_int_equal(b->assigned.items[0].index, 2);
    assert_int_equal(a->epoch, 7);
    assert_int_equal(a->session_deadline_ms, world->now_ms + 6000);
    assert_int_equal(a->rebalance_ms, 7000);
    assert_true(names_have(&a->names, BYTES_LITERAL("apples")));
    world_close(world);
}

/* ---- classic members in a consumer group ---- */

static enum status join_send(struct world *world, struct classic_join *join)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    struct consumer_event event = event_of(world, CONSUMER_JOIN, &catalog);
    event.join = join;
    consumer_step(world->consumer, &event, &world->arena, &output);
    assert_false(output.broken);
    assert_true(join->answer.status == STATUS_OK || output.record_count == 0);
    consumer_verify(world->consumer);
    return join->answer.status;
}

static enum status sync_send(struct world *world, struct classic_sync *sync)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    struct consumer_event event = event_of(world, CONSUMER_SYNC, &catalog);
    event.sync = sync;
    consumer_step(world->consumer, &event, &world->arena, &output);
    assert_int_equal(output.record_count, 0);
    return sync->answer.status;
}

static enum status beat_send(struct world *world, struct classic_call call)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    struct consumer_event event = event_of(world, CONSUMER_CLASSIC_HEARTBEAT, &catalog);
    event.call = &call;
    consumer_step(world->consumer, &event, &world->arena, &output);
    assert_int_equal(output.record_count, 0);
    return call.status;
}

static const struct join_group_request_protocol RANGE = {
    .name = {(const uint8_t *)"range", 5},
    .metadata = {(const uint8_t *)"\0\1\0\0\0\1\0\6apples\377\377\377\377\0\0\0\0", 22},
};

static struct classic_join join_of(const struct join_group_request_protocol *protocol,
                                   const char *id)
{
    return (struct classic_join){
        .member_id = bytes_of_text(id),
        .client_host = BYTES_LITERAL("h"),
        .protocol_type = BYTES_LITERAL("consumer"),
        .protocols = protocol,
        .protocol_count = 1,
        .session_ms = 6000,
        .rebalance_ms = 7000,
    };
}

/* A consumer group of one member of the newer protocol, and one classic one, "a". */
static struct world *mixed_open(void)
{
    struct world *world = world_open();
    client_begin(world, 2, false, 1);
    client_act(world, &world->clients[2], false);
    struct classic_join join = join_of(&RANGE, "a");
    assert_int_equal(join_send(world, &join), STATUS_OK);
    assert_int_equal(join.answer.generation, 2);
    assert_bytes_equal(join.answer.protocol, BYTES_LITERAL("range"));
    assert_int_equal(join.answer.leader.size, 0);
    return world;
}

static void joins(void **state)
{
    (void)state;
    struct world *world = mixed_open();
    struct join_group_request_protocol other = RANGE;
    other.name = BYTES_LITERAL("sticky");
    struct classic_join join = join_of(&other, "b");
    assert_int_equal(join_send(world, &join), STATUS_INCONSISTENT_GROUP_PROTOCOL);
    join = join_of(&RANGE, "b");
    join.protocol_type = BYTES_LITERAL("connect");
    assert_int_equal(join_send(world, &join), STATUS_INCONSISTENT_GROUP_PROTOCOL);
    join = join_of(&RANGE, "b");
    join.protocol_count = 0;
    assert_int_equal(join_send(world, &join), STATUS_INCONSISTENT_GROUP_PROTOCOL);
    join = join_of(&RANGE, "b");
    join.session_ms = 60001;
    assert_int_equal(join_send(world, &join), STATUS_INVALID_SESSION_TIMEOUT);
    join = join_of(&RANGE, "");
    join.requires_member_id = true;
    assert_int_equal(join_send(world, &join), STATUS_MEMBER_ID_REQUIRED);
    assert_int_equal(join.answer.member_id.size, UUID_TEXT_SIZE - 1);
    join.member_id = join.answer.member_id;
    assert_int_equal(join_send(world, &join), STATUS_OK);
    join = join_of(&RANGE, "b");
    join.instance_id = BYTES_LITERAL("i");
    assert_int_equal(join_send(world, &join), STATUS_UNKNOWN_MEMBER_ID);
    join.member_id = BYTES_LITERAL("");
    assert_int_equal(join_send(world, &join), STATUS_OK);
    join.member_id = BYTES_LITERAL("b");
    assert_int_equal(join_send(world, &join), STATUS_FENCED_INSTANCE_ID);
    other = (struct join_group_request_protocol){BYTES_LITERAL("range"), BYTES_LITERAL("\0")};
    join = join_of(&other, "b");
    assert_int_equal(join_send(world, &join), STATUS_UNKNOWN_SERVER_ERROR);
    uint8_t *large = test_calloc(1, MEMBER_TEXT_SIZE_MAX);
    other.metadata = bytes_of(large, MEMBER_TEXT_SIZE_MAX);
    assert_int_equal(join_send(world, &join), STATUS_INVALID_REQUEST);
    test_free(large);
    world->config.member_count_max = world->consumer->member_count;
    join = join_of(&RANGE, "b");
    assert_int_equal(join_send(world, &join), STATUS_GROUP_MAX_SIZE_REACHED);
    join = join_of(&RANGE, "a");
    assert_int_equal(join_send(world, &join), STATUS_OK);
    world_close(world);
}

static void syncs_and_heartbeats(void **state)
{
    (void)state;
    struct world *world = mixed_open();
    struct classic_sync sync = {.member_id = BYTES_LITERAL("a"), .generation = 2};
    struct classic_sync wrong = sync;
    wrong.generation = 1;
    assert_int_equal(sync_send(world, &wrong), STATUS_ILLEGAL_GENERATION);
    wrong = sync;
    wrong.member_id = bytes_of_text(world->clients[2].id);
    assert_int_equal(sync_send(world, &wrong), STATUS_UNKNOWN_MEMBER_ID);
    wrong = sync;
    wrong.protocol = BYTES_LITERAL("sticky");
    assert_int_equal(sync_send(world, &wrong), STATUS_INCONSISTENT_GROUP_PROTOCOL);
    wrong = sync;
    wrong.protocol_type = BYTES_LITERAL("connect");
    assert_int_equal(sync_send(world, &wrong), STATUS_INCONSISTENT_GROUP_PROTOCOL);
    assert_int_equal(sync_send(world, &sync), STATUS_OK);
    assert_bytes_equal(sync.answer.assignment, BYTES_LITERAL("\0\1\0\0\0\0\377\377\377\377"));
    struct classic_call call = {.member_id = BYTES_LITERAL("a"), .generation = 2};
    assert_int_equal(beat_send(world, call), STATUS_OK); /* what it waits for is not free yet */
    call.instance_id = BYTES_LITERAL("i");
    assert_int_equal(beat_send(world, call), STATUS_UNKNOWN_MEMBER_ID);
    call.instance_id = BYTES_NULL;
    call.generation = 3;
    assert_int_equal(beat_send(world, call), STATUS_ILLEGAL_GENERATION);
    call.generation = 2;
    client_act(world, &world->clients[2], false); /* is told what to give up */
    client_act(world, &world->clients[2], false); /* has given it up */
    assert_int_equal(beat_send(world, call), STATUS_REBALANCE_IN_PROGRESS);
    struct classic_join join = join_of(&RANGE, "a");
    assert_int_equal(join_send(world, &join), STATUS_OK);
    assert_int_equal(sync_send(world, &sync), STATUS_OK);
    assert_true(sync.answer.assignment.size > 10);
    assert_int_equal(beat_send(world, call), STATUS_OK);
    /* A third one comes: the epoch has grown, and a sync is too late. */
    join = join_of(&RANGE, "b");
    assert_int_equal(join_send(world, &join), STATUS_OK);
    assert_int_equal(sync_send(world, &sync), STATUS_REBALANCE_IN_PROGRESS);
    assert_int_equal(beat_send(world, call), STATUS_REBALANCE_IN_PROGRESS);
    world_close(world);
}

static bool is_member(const struct world *world, const char *id)
{
    return member_find(world->consumer, bytes_of_text(id)) != NULL;
}

static void tick(struct world *world, int64_t ms)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    world->now_ms += ms;
    struct consumer_event event = event_of(world, CONSUMER_TICK, &catalog);
    consumer_step(world->consumer, &event, &world->arena, &output);
    consumer_verify(world->consumer);
}

/* Whoever does not sync, or does not join when it is told to, is out, however often it says that it
 * is alive; and so is who says nothing. */
static void waiting_has_an_end(void **state)
{
    (void)state;
    struct world *world = mixed_open();
    struct classic_call call = {.member_id = BYTES_LITERAL("a"), .generation = 2};
    struct classic_sync sync = {.member_id = BYTES_LITERAL("a"), .generation = 2};
    tick(world, 4000);
    assert_int_equal(beat_send(world, call), STATUS_OK);
    client_act(world, &world->clients[2], false);
    tick(world, 2999);
    assert_true(is_member(world, "a"));
    tick(world, 1); /* it has not synced for 7 s */
    assert_false(is_member(world, "a"));
    struct classic_join join = join_of(&RANGE, "a");
    assert_int_equal(join_send(world, &join), STATUS_OK);
    sync.generation = join.answer.generation;
    call.generation = join.answer.generation;
    assert_int_equal(sync_send(world, &sync), STATUS_OK);
    join = join_of(&RANGE, "b");
    assert_int_equal(join_send(world, &join), STATUS_OK);
    assert_int_equal(beat_send(world, call), STATUS_REBALANCE_IN_PROGRESS);
    tick(world, 4000);
    assert_int_equal(beat_send(world, call), STATUS_REBALANCE_IN_PROGRESS);
    tick(world, 2999);
    assert_true(is_member(world, "a"));
    assert_false(is_member(world, "b")); /* silent for its session of 6 s */
    tick(world, 1);
    assert_false(is_member(world, "a")); /* it has not joined for 7 s */
    world_close(world);
}

static void commits(void **state)
{
    (void)state;
    struct world *world = mixed_open();
    struct consumer_commit commit = {BYTES_LITERAL("a"), 2, false, 2};
    assert_int_equal(consumer_check_commit(world->consumer, &commit), STATUS_OK);
    commit.epoch = 1;
    assert_int_equal(consumer_check_commit(world->consumer, &commit), STATUS_ILLEGAL_GENERATION);
    assert_int_equal(consumer_check_fetch(world->consumer, BYTES_LITERAL("a"), 1),
                     STATUS_ILLEGAL_GENERATION);
    commit.member_id = bytes_of_text(world->clients[2].id);
    assert_int_equal(consumer_check_commit(world->consumer, &commit), STATUS_UNSUPPORTED_VERSION);
    world_close(world);
}

/* ---- when the last one leaves ---- */

static bool leaves(struct world *world, const char *id)
{
    struct consumer_output output;
    struct consumer_catalog catalog = catalog_of(world);
    struct consumer_event event = event_of(world, CONSUMER_LEAVE, &catalog);
    struct classic_leaver leavers[2] = {{.member_id = bytes_of_text(id)},
                                        {.member_id = BYTES_LITERAL("nobody")}};
    event.leavers = leavers;
    event.leaver_count = 2;
    int32_t epoch = world->consumer->epoch;
    consumer_step(world->consumer, &event, &world->arena, &output);
    assert_int_equal(leavers[0].status, STATUS_OK);
    assert_int_equal(leavers[1].status, STATUS_UNKNOWN_MEMBER_ID);
    assert_int_equal(world->consumer->epoch, output.downgrade ? epoch : epoch + 1);
    return output.downgrade;
}

static void who_may_not_be_downgraded(void **state)
{
    (void)state;
    struct world *world = mixed_open();
    assert_false(leaves(world, "a"));                  /* one of the newer protocol is left */
    assert_false(leaves(world, world->clients[2].id)); /* nobody is left */
    world_close(world);
    world = mixed_open();
    world->config.downgrade = false;
    assert_false(leaves(world, world->clients[2].id));
    world_close(world);
    world = mixed_open();
    world->classic_config.member_count_max = 0;
    assert_false(leaves(world, world->clients[2].id));
    world_close(world);
    world = mixed_open();
    assert_true(leaves(world, world->clients[2].id));
    world_close(world);
}

/* One record has to hold all members of a classic group. */
static void too_large_for_a_classic_group(void **state)
{
    (void)state;
    struct world *world = mixed_open();
    size_t size = MEMBER_TEXT_SIZE_MAX / 2;
    uint8_t *metadata = test_calloc(1, size);
    memcpy(metadata, RANGE.metadata.data, RANGE.metadata.size);
    const struct join_group_request_protocol protocol = {RANGE.name, bytes_of(metadata, size)};
    static const char *const ids[] = {"b", "c", "d", "e"};
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        struct classic_join join = join_of(&protocol, ids[i]);
        assert_int_equal(join_send(world, &join), STATUS_OK);
    }
    assert_false(leaves(world, world->clients[2].id));
    assert_true(leaves(world, "b")); /* the others fit */
    test_free(metadata);
    world_close(world);
}

/* ---- the log ---- */

static void a_restart(void **state)
{
    (void)state;
    struct world *world = world_open();
    client_begin(world, 2, true, 3);
    client_begin(world, 3, false, 3);
    settle(world);
    int32_t owned = world->clients[2].owned_count;
    world->now_ms += 100000;
    world_reload(world);
    const struct consumer_member *member = member_of(world, 2);
    assert_true(member->classic);
    assert_int_equal(member->session_deadline_ms, world->now_ms + SESSION_MS);
    assert_int_equal(member->assigned.count, owned);
    assert_bytes_equal(member->protocols.list.protocols[0].name, BYTES_LITERAL("p"));
    client_act(world, &world->clients[2], false);
    assert_int_equal(world->clients[2].phase, IN); /* goes on as if nothing had happened */
    newer_beat(world, &world->clients[3], -1, false);
    client_die(&world->clients[3]);
    world_reload(world);
    assert_int_equal(classic_view(world->classic).state, CLASSIC_PREPARING_REBALANCE);
    settle(world);
    assert_int_equal(world->clients[2].owned_count, 5);
    world_close(world);
}

/* Wherever memory runs out: the one kind is as it was, and what was made of it can be closed. */
static void memory_spent(void **state)
{
    (void)state;
    struct world *world = world_open();
    client_begin(world, 2, true, 3);
    client_begin(world, 3, true, 3);
    settle(world);
    const size_t size_max = world->heap.size_max;
    struct consumer_catalog catalog = catalog_of(world);
    struct consumer_event event = event_of(world, CONSUMER_TICK, &catalog);
    enum status status = STATUS_NO_MEMORY;
    struct consumer *consumer = NULL;
    int32_t refused = 0;
    for (size_t room = 0; status != STATUS_OK; room += 16) {
        const char *message;
        consumer = consumer_open(&world->heap, 1, &world->config, BYTES_LITERAL("group"));
        world->heap.size_max = world->heap.size + room;
        status = migration_upgrade(world->classic, &event, &world->arena, consumer, &message);
        world->heap.size_max = size_max;
        assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
        if (status != STATUS_OK) {
            consumer_close(consumer);
            refused++;
        }
        classic_verify(world->classic);
    }
    assert_true(refused > 10);
    consumer_verify(consumer);
    bool made = false;
    for (size_t room = 0; !made; room += 16) {
        struct consumer_output output = {0};
        struct classic *classic = classic_open(&world->heap, 1, &world->classic_config);
        world->heap.size_max = world->heap.size + room;
        made = migration_downgrade(consumer, &event, &world->arena, classic, &output);
        world->heap.size_max = size_max;
        if (made) {
            classic_verify(classic);
        }
        classic_close(classic);
        consumer_verify(consumer);
        refused += !made;
    }
    assert_true(refused > 20);
    consumer_close(consumer);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(who_may_not_be_upgraded),
        cmocka_unit_test(what_was_assigned),
        cmocka_unit_test(joins),
        cmocka_unit_test(syncs_and_heartbeats),
        cmocka_unit_test(waiting_has_an_end),
        cmocka_unit_test(commits),
        cmocka_unit_test(who_may_not_be_downgraded),
        cmocka_unit_test(too_large_for_a_classic_group),
        cmocka_unit_test(a_restart),
        cmocka_unit_test(memory_spent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
