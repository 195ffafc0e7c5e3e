/* SPDX-License-Identifier: Apache-2.0 */
/* Classic groups: how members come in, agree, and are told. */
#include "tests/unit/broker/groups/classic_case.h"

#ifdef WEIR_CHECK_SLOW /* each step looks at every member by itself */
#define MEMBERS_MANY 300
#else
#define MEMBERS_MANY 10000
#endif

/* ---- coming in ---- */

static void a_first_join_is_sent_back_for_its_id(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    client_init(&a, "a");
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_MEMBER_ID_REQUIRED);
    assert_int_equal(strlen(a.id), 1 + 1 + 36);
    assert_memory_equal(a.id, "a-", 2);
    assert_int_equal(scene_state(&scene), CLASSIC_EMPTY);
    assert_int_equal(classic_view(scene.group).pending_count, 1);
    assert_false(classic_is_idle(scene.group));
    client_join(&scene, &a);
    assert_int_equal(a.joins_parked, 1);
    assert_int_equal(classic_view(scene.group).pending_count, 0);
    assert_int_equal(classic_view(scene.group).member_count, 1);
    scene_close(&scene);
}

static void an_id_that_is_not_used_is_forgotten(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    client_init(&a, "a");
    client_join(&scene, &a);
    assert_int_equal(classic_deadline_ms(scene.group), scene.now_ms + SESSION_MS);
    scene_wait(&scene, SESSION_MS);
    assert_true(classic_is_idle(scene.group));
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_UNKNOWN_MEMBER_ID);
    scene_close(&scene);
}

static void old_clients_and_static_ones_come_in_at_once(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    a.version = 3;
    client_join(&scene, &a);
    assert_int_equal(a.joins_parked, 1);
    client_init(&b, "b");
    b.instance = "i";
    client_join(&scene, &b);
    assert_int_equal(b.joins_parked, 1);
    scene_wait(&scene, 2 * DELAY_MS);
    assert_memory_equal(a.id, "a-", 2);
    assert_memory_equal(b.id, "i-", 2);
    scene_close(&scene);
}

static void an_unknown_id_is_refused(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    client_init(&a, "a");
    text_of(a.id, bytes_of_text("who"));
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_UNKNOWN_MEMBER_ID);
    assert_string_equal(a.id, "who");
    scene_close(&scene);
}

static void session_timeouts_have_bounds(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    client_init(&a, "a");
    const int32_t wrong[] = {INT32_MIN, -1, 0, 5999, 1800001, INT32_MAX};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        a.session_ms = wrong[i];
        client_join(&scene, &a);
        assert_int_equal(a.joined, STATUS_INVALID_SESSION_TIMEOUT);
    }
    assert_true(classic_is_idle(scene.group));
    a.session_ms = 6000;
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_MEMBER_ID_REQUIRED);
    a.session_ms = 1800000;
    client_join(&scene, &a);
    assert_int_equal(a.joins_parked, 1);
    scene_close(&scene);
}

static void a_long_client_id_leaves_room_for_the_uuid(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    char *name = malloc(STRING_SIZE_MAX + 1);
    scene_open(&scene);
    memset(name, 'n', STRING_SIZE_MAX);
    name[STRING_SIZE_MAX] = '\0';
    client_init(&a, "a");
    a.name = name;
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_MEMBER_ID_REQUIRED);
    assert_int_equal(a.join.answer.member_id.size, STRING_SIZE_MAX);
    scene_close(&scene);
    free(name);
}

/* ---- the first rebalance ---- */

static void the_first_rebalance_waits_for_company(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    struct client c;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    client_init(&c, "c");
    client_enter(&scene, &a);
    assert_string_equal(scene.reason, "a member joined");
    scene_wait(&scene, DELAY_MS - 1);
    client_enter(&scene, &b); /* prolongs it once */
    scene_wait(&scene, DELAY_MS);
    assert_int_equal(a.joins_parked, 1);
    scene_wait(&scene, 1);
    assert_int_equal(a.joins_parked, 0);
    assert_int_equal(a.generation, 1);
    assert_int_equal(b.generation, 1);
    assert_string_equal(a.leader, a.id);
    assert_string_equal(b.leader, a.id);
    assert_true(a.leads);
    assert_false(b.leads);
    assert_int_equal(scene_state(&scene), CLASSIC_COMPLETING_REBALANCE);
    scene_close(&scene);
}

static void joiners_prolong_it_up_to_the_rebalance_timeout(void **state)
{
    (void)state;
    struct scene scene;
    struct client clients[12];
    scene_open(&scene);
    int64_t start_ms = scene.now_ms;
    for (int i = 0; i < 12; i++) {
        client_init(&clients[i], "c");
        clients[i].rebalance_ms = 10000;
    }
    int joined = 0;
    while (joined == 0 || clients[0].joins_parked == 1) {
        client_enter(&scene, &clients[joined++]);
        scene_wait(&scene, 1000);
    }
    assert_int_equal(scene.now_ms - start_ms, 10000);
    assert_int_equal(joined, 10);
    scene_close(&scene);
}

static void without_a_delay_it_does_not_wait(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    scene.config.initial_delay_ms = 0;
    client_init(&a, "a");
    client_enter(&scene, &a);
    assert_int_equal(a.joined, STATUS_OK);
    assert_int_equal(a.generation, 1);
    scene_close(&scene);
}

/* ---- later rebalances ---- */

static void a_rebalance_ends_when_all_have_come(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    struct client c;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    client_init(&c, "c");
    scene_settle(&scene, (struct client *[]){&a, &b}, 2);
    client_enter(&scene, &c);
    assert_int_equal(scene_state(&scene), CLASSIC_PREPARING_REBALANCE);
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_REBALANCE_IN_PROGRESS);
    client_join(&scene, &a);
    assert_int_equal(a.joins_parked, 1);
    client_join(&scene, &b);
    assert_int_equal(scene_state(&scene), CLASSIC_COMPLETING_REBALANCE);
    assert_int_equal(a.generation, 2);
    assert_int_equal(b.generation, 2);
    assert_int_equal(c.generation, 2);
    scene_assign(&scene, (struct client *[]){&a, &b, &c}, 3);
    scene_close(&scene);
}

static void a_pending_member_is_waited_for(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    scene_settle(&scene, (struct client *[]){&a}, 1);
    client_join(&scene, &b);
    client_join(&scene, &a); /* the leader asks for a rebalance */
    assert_int_equal(a.joins_parked, 1);
    scene_wait(&scene, SESSION_MS); /* b never comes back */
    assert_int_equal(a.joined, STATUS_OK);
    assert_int_equal(a.generation, 2);
    scene_close(&scene);
}

static void who_misses_the_rebalance_timeout_is_dropped(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    b.session_ms = 1800000;
    scene_settle(&scene, (struct client *[]){&a, &b}, 2);
    client_join(&scene, &a);
    scene_wait(&scene, REBALANCE_MS - 1);
    assert_int_equal(a.joins_parked, 1);
    scene_wait(&scene, 1);
    assert_int_equal(a.joined, STATUS_OK);
    assert_int_equal(classic_view(scene.group).member_count, 1);
    assert_int_equal(client_heartbeat(&scene, &b), STATUS_UNKNOWN_MEMBER_ID);
    scene_close(&scene);
}

static void version_0_waits_for_the_session_timeout(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    a.version = 0;
    b.version = 0;
    a.session_ms = 20000;
    b.session_ms = 20000;
    scene_settle(&scene, (struct client *[]){&a, &b}, 2);
    assert_int_equal(client_heartbeat(&scene, &b), STATUS_OK);
    client_join(&scene, &a);
    scene_wait(&scene, 19999);
    assert_int_equal(a.joins_parked, 1);
    scene_wait(&scene, 1);
    assert_int_equal(a.joined, STATUS_OK);
    scene_close(&scene);
}

static void another_leader_is_found_when_it_does_not_come(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    struct client c;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    client_init(&c, "c");
    a.session_ms = 1800000;
    scene_settle(&scene, (struct client *[]){&a, &b}, 2);
    assert_string_equal(b.leader, a.id);
    b.protocols[0].metadata = bytes_of_text("changed");
    client_join(&scene, &b);
    scene_wait(&scene, REBALANCE_MS);
    assert_string_equal(b.leader, b.id);
    assert_true(b.leads);
    scene_assign(&scene, (struct client *[]){&b}, 1);
    assert_int_equal(scene_leave(&scene, b.id, NULL), STATUS_OK); /* nobody is left */
    assert_int_equal(scene_state(&scene), CLASSIC_EMPTY);
    assert_null(classic_view(scene.group).leader.data);
    client_enter(&scene, &c);
    scene_wait(&scene, DELAY_MS);
    assert_string_equal(c.leader, c.id);
    assert_int_equal(c.generation, 4); /* 3 was the empty one */
    scene_close(&scene);
}

/* ---- joining again ---- */

static void a_follower_that_joins_again_unchanged_disturbs_nobody(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    scene_settle(&scene, (struct client *[]){&a, &b}, 2);
    client_join(&scene, &b);
    assert_int_equal(b.joined, STATUS_OK);
    assert_int_equal(b.generation, 1);
    assert_int_equal(scene_state(&scene), CLASSIC_STABLE);
    client_sync(&scene, &b);
    assert_string_equal(b.assignment, "b");
    b.protocols[0].metadata = bytes_of_text("other topics");
    client_join(&scene, &b);
    assert_int_equal(b.joins_parked, 1);
    assert_string_equal(scene.reason, "a member's metadata changed");
    scene_close(&scene);
}

static void a_leader_that_joins_again_starts_a_rebalance(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    client_init(&a, "a");
    scene_settle(&scene, (struct client *[]){&a}, 1);
    client_join(&scene, &a);
    assert_string_equal(scene.reason, "the leader joined again");
    assert_int_equal(a.joined, STATUS_OK);
    assert_int_equal(a.generation, 2);
    assert_int_equal(scene_state(&scene), CLASSIC_COMPLETING_REBALANCE);
    scene_close(&scene);
}

static void while_completing_the_answer_is_repeated(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    client_enter(&scene, &a);
    client_enter(&scene, &b);
    scene_wait(&scene, 3 * DELAY_MS);
    a.leads = false;
    client_join(&scene, &a);
    client_join(&scene, &b);
    assert_int_equal(a.generation, 1);
    assert_true(a.leads);
    assert_int_equal(b.generation, 1);
    assert_false(b.leads);
    client_sync(&scene, &b);
    a.protocols[0].metadata = bytes_of_text("changed");
    client_join(&scene, &a);
    assert_int_equal(b.synced, STATUS_REBALANCE_IN_PROGRESS);
    assert_int_equal(scene_state(&scene), CLASSIC_PREPARING_REBALANCE);
    scene_close(&scene);
}

static void a_join_that_is_sent_again_ends_the_earlier_one(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client again;
    scene_open(&scene);
    client_init(&a, "a");
    client_join(&scene, &a);
    again = a;
    client_join(&scene, &a);
    client_join(&scene, &again);
    assert_int_equal(a.joined, STATUS_REBALANCE_IN_PROGRESS);
    assert_int_equal(again.joins_parked, 1);
    scene_wait(&scene, 2 * DELAY_MS);
    assert_int_equal(again.joined, STATUS_OK);
    scene_close(&scene);
}

/* ---- protocols ---- */

static void client_list(struct client *client, const char *first, const char *second)
{
    client->protocols[0].name = bytes_of_text(first);
    client->protocols[1].name = bytes_of_text(second);
    client->protocols[1].metadata = bytes_of_text(second);
    client->protocol_count = 2;
}

static void most_votes_choose_the_protocol(void **state)
{
    (void)state;
    struct scene scene;
    struct client clients[4];
    scene_open(&scene);
    for (int i = 0; i < 4; i++) {
        client_init(&clients[i], "c");
    }
    client_list(&clients[0], "range", "sticky");
    client_list(&clients[1], "sticky", "range");
    client_list(&clients[2], "sticky", "range");
    client_list(&clients[3], "sticky", "sticky"); /* range is out: not all list it */
    for (int i = 0; i < 3; i++) {
        client_enter(&scene, &clients[i]);
    }
    scene_wait(&scene, 4 * DELAY_MS);
    assert_string_equal(clients[0].protocol, "sticky");
    const struct classic_member *first = classic_member_next(scene.group, NULL);
    assert_bytes_equal(classic_member_view(scene.group, first).metadata, bytes_of_text("sticky"));
    client_enter(&scene, &clients[3]);
    client_list(&clients[1], "range", "sticky");
    client_list(&clients[2], "range", "sticky");
    for (int i = 0; i < 3; i++) {
        client_join(&scene, &clients[i]);
    }
    assert_string_equal(clients[3].protocol, "sticky");
    scene_close(&scene);
}

static void even_votes_choose_what_was_voted_for_first(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    client_list(&a, "zebra", "ant");
    client_list(&b, "ant", "zebra");
    client_enter(&scene, &a);
    client_enter(&scene, &b);
    scene_wait(&scene, 3 * DELAY_MS);
    assert_string_equal(a.protocol, "zebra");
    scene_close(&scene);
}

static void without_a_common_protocol_nobody_comes_in(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    a.protocol_count = 0;
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_INCONSISTENT_GROUP_PROTOCOL);
    a.protocol_count = 1;
    a.type = "";
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_INCONSISTENT_GROUP_PROTOCOL);
    assert_true(classic_is_idle(scene.group));
    a.type = "consumer";
    client_enter(&scene, &a);
    client_init(&b, "b");
    b.protocols[0].name = bytes_of_text("other");
    client_join(&scene, &b);
    assert_int_equal(b.joined, STATUS_INCONSISTENT_GROUP_PROTOCOL);
    client_init(&b, "b");
    b.type = "connect";
    client_join(&scene, &b);
    assert_int_equal(b.joined, STATUS_INCONSISTENT_GROUP_PROTOCOL);
    scene_wait(&scene, DELAY_MS);
    a.protocols[0].name = bytes_of_text("other"); /* not what it listed: nobody else does either */
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_INCONSISTENT_GROUP_PROTOCOL);
    scene_close(&scene);
}

static void an_empty_group_may_change_its_kind(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    scene_settle(&scene, (struct client *[]){&a}, 1);
    assert_int_equal(scene_leave(&scene, a.id, NULL), STATUS_OK);
    client_init(&b, "b");
    b.type = "connect";
    b.protocols[0].name = bytes_of_text("compatible");
    client_enter(&scene, &b);
    scene_wait(&scene, DELAY_MS);
    assert_string_equal(b.protocol, "compatible");
    assert_bytes_equal(classic_view(scene.group).protocol_type, BYTES_LITERAL("connect"));
    scene_close(&scene);
}

/* ---- sizes and memory ---- */

static void a_full_group_takes_nobody(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    struct client c;
    scene_open(&scene);
    scene.config.member_count_max = 2;
    client_init(&a, "a");
    client_init(&b, "b");
    client_init(&c, "c");
    scene_settle(&scene, (struct client *[]){&a, &b}, 2);
    client_join(&scene, &c);
    assert_int_equal(c.joined, STATUS_GROUP_MAX_SIZE_REACHED);
    assert_string_equal(c.id, "");
    assert_int_equal(scene_state(&scene), CLASSIC_STABLE);
    scene.config.member_count_max = 1; /* lowered: who comes back last has to go */
    client_join(&scene, &a);
    client_join(&scene, &b);
    assert_int_equal(b.joined, STATUS_GROUP_MAX_SIZE_REACHED);
    assert_int_equal(a.joined, STATUS_OK);
    assert_int_equal(a.generation, 2);
    assert_int_equal(classic_view(scene.group).member_count, 1);
    scene_close(&scene);
}

static void without_memory_a_group_stays_as_it_was(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    scene_settle(&scene, (struct client *[]){&a}, 1);
    client_init(&b, "b");
    b.version = 0;
    bool in = false;
    for (size_t room = 0; !in; room += 8) {
        scene.heap.size_max = scene.heap.size + room;
        client_join(&scene, &b);
        in = b.joins_parked == 1;
        assert_true(in || b.joined == STATUS_COORDINATOR_NOT_AVAILABLE);
        assert_int_equal(classic_view(scene.group).member_count, 1 + in);
    }
    scene.heap.size_max = (size_t)(64 * MIB);
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_OK);
    bool written = false;
    for (size_t room = 0; !written; room += 8) {
        struct sync_group_request_assignment assignments[] = {
            {bytes_of_text(b.id), bytes_of_text("b")},
            {bytes_of_text(a.id), bytes_of_text("a")},
        };
        scene.heap.size_max = scene.heap.size + room;
        client_sync_with(&scene, &a, assignments, 2);
        written = scene.write_id > 0;
        assert_true(written || a.synced == STATUS_COORDINATOR_NOT_AVAILABLE);
    }
    scene_persisted(&scene, scene.write_id);
    assert_string_equal(a.assignment, "a");
    scene_close(&scene);
}

/* Steps cost what they touch: quadratic ones would make this take minutes. */
static void many_members_meet(void **state)
{
    (void)state;
    struct scene scene;
    const int count = MEMBERS_MANY;
    scene_open(&scene);
    scene.large = true;
    struct client *clients = calloc((size_t)count, sizeof(*clients));
    struct sync_group_request_assignment *assignments = calloc((size_t)count, sizeof(*assignments));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < count; i++) {
            if (round == 0) {
                client_init(&clients[i], "c");
            }
            client_enter(&scene, &clients[i]);
        }
        scene_wait(&scene, round == 0 ? 2 * DELAY_MS : 0);
        assert_int_equal(scene_state(&scene), CLASSIC_COMPLETING_REBALANCE);
        for (int i = count - 1; i >= 0; i--) {
            assert_int_equal(clients[i].joined, STATUS_OK);
            assignments[i].member_id = bytes_of_text(clients[i].id);
            assignments[i].assignment = bytes_of_text(clients[i].id);
            client_sync_with(&scene, &clients[i], assignments, i == 0 ? count : 0);
        }
        scene_persisted(&scene, scene.write_id);
        for (int i = 0; i < count; i++) {
            assert_string_equal(clients[i].assignment, clients[i].id);
        }
    }
    scene_close(&scene);
    free(assignments);
    free(clients);
}

static void names_listed_twice_count_once(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    client_list(&a, "range", "range");
    client_enter(&scene, &a);
    b.protocols[0].name = bytes_of_text("other");
    client_join(&scene, &b);
    assert_int_equal(b.joined, STATUS_INCONSISTENT_GROUP_PROTOCOL);
    client_init(&b, "b");
    client_enter(&scene, &b);
    scene_wait(&scene, 3 * DELAY_MS);
    assert_int_equal(b.joined, STATUS_OK);
    assert_int_equal(scene_leave(&scene, a.id, NULL), STATUS_OK);
    scene_close(&scene);
}

static void it_can_be_told_to_rebalance(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    scene_step(&scene, (struct classic_event){.kind = CLASSIC_REBALANCE});
    assert_int_equal(scene_state(&scene), CLASSIC_EMPTY);
    client_init(&a, "a");
    scene_settle(&scene, (struct client *[]){&a}, 1);
    scene_step(&scene, (struct classic_event){.kind = CLASSIC_REBALANCE});
    assert_int_equal(scene_state(&scene), CLASSIC_PREPARING_REBALANCE);
    client_join(&scene, &a);
    assert_int_equal(a.generation, 2);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_join_is_sent_back_for_its_id),
        cmocka_unit_test(an_id_that_is_not_used_is_forgotten),
        cmocka_unit_test(old_clients_and_static_ones_come_in_at_once),
        cmocka_unit_test(an_unknown_id_is_refused),
        cmocka_unit_test(session_timeouts_have_bounds),
        cmocka_unit_test(a_long_client_id_leaves_room_for_the_uuid),
        cmocka_unit_test(the_first_rebalance_waits_for_company),
        cmocka_unit_test(joiners_prolong_it_up_to_the_rebalance_timeout),
        cmocka_unit_test(without_a_delay_it_does_not_wait),
        cmocka_unit_test(a_rebalance_ends_when_all_have_come),
        cmocka_unit_test(a_pending_member_is_waited_for),
        cmocka_unit_test(who_misses_the_rebalance_timeout_is_dropped),
        cmocka_unit_test(version_0_waits_for_the_session_timeout),
        cmocka_unit_test(another_leader_is_found_when_it_does_not_come),
        cmocka_unit_test(a_follower_that_joins_again_unchanged_disturbs_nobody),
        cmocka_unit_test(a_leader_that_joins_again_starts_a_rebalance),
        cmocka_unit_test(while_completing_the_answer_is_repeated),
        cmocka_unit_test(a_join_that_is_sent_again_ends_the_earlier_one),
        cmocka_unit_test(most_votes_choose_the_protocol),
        cmocka_unit_test(even_votes_choose_what_was_voted_for_first),
        cmocka_unit_test(without_a_common_protocol_nobody_comes_in),
        cmocka_unit_test(an_empty_group_may_change_its_kind),
        cmocka_unit_test(a_full_group_takes_nobody),
        cmocka_unit_test(without_memory_a_group_stays_as_it_was),
        cmocka_unit_test(many_members_meet),
        cmocka_unit_test(names_listed_twice_count_once),
        cmocka_unit_test(it_can_be_told_to_rebalance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
