/* SPDX-License-Identifier: Apache-2.0 */
/* Classic groups: static members, who come back under a new id and keep what they had. */
#include "tests/unit/broker/groups/classic_case.h"

/* Stable: a leads, b follows; both are static. */
static void pair_open(struct scene *scene, struct client *a, struct client *b)
{
    scene_open(scene);
    client_init(a, "a");
    client_init(b, "b");
    a->instance = "one";
    b->instance = "two";
    scene_settle(scene, (struct client *[]){a, b}, 2);
}

/* The same process after a restart. */
static struct client restarted(const struct client *client)
{
    struct client fresh = *client;
    fresh.id[0] = '\0';
    fresh.joins_parked = 0;
    fresh.syncs_parked = 0;
    return fresh;
}

static void a_follower_comes_back_without_a_rebalance(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    pair_open(&scene, &a, &b);
    struct client again = restarted(&b);
    client_join(&scene, &again);
    assert_int_equal(again.joins_parked, 1); /* until its id is durable */
    assert_true(scene.write_id > 0);
    assert_int_equal(scene_state(&scene), CLASSIC_STABLE);
    scene_persisted(&scene, scene.write_id);
    assert_int_equal(again.joined, STATUS_OK);
    assert_int_equal(again.generation, 1);
    assert_string_not_equal(again.id, b.id);
    assert_string_equal(again.leader, a.id);
    assert_false(again.leads);
    assert_false(again.skips);
    client_sync(&scene, &again);
    assert_string_equal(again.assignment, "b");
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_OK);
    scene_close(&scene);
}

static void the_old_id_is_fenced_everywhere(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    pair_open(&scene, &a, &b);
    struct client again = restarted(&b);
    client_join(&scene, &again);
    scene_persisted(&scene, scene.write_id);
    assert_int_equal(client_heartbeat(&scene, &b), STATUS_FENCED_INSTANCE_ID);
    assert_int_equal(scene_commit(&scene, client_call(&b)), STATUS_FENCED_INSTANCE_ID);
    assert_int_equal(scene_leave(&scene, b.id, b.instance), STATUS_FENCED_INSTANCE_ID);
    client_sync(&scene, &b);
    assert_int_equal(b.synced, STATUS_FENCED_INSTANCE_ID);
    client_join(&scene, &b);
    assert_int_equal(b.joined, STATUS_FENCED_INSTANCE_ID);
    struct client stranger = again;
    stranger.instance = "three";
    assert_int_equal(client_heartbeat(&scene, &stranger), STATUS_UNKNOWN_MEMBER_ID);
    assert_int_equal(scene_state(&scene), CLASSIC_STABLE);
    scene_close(&scene);
}

static void a_leader_that_comes_back_is_told_not_to_assign(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    pair_open(&scene, &a, &b);
    struct client again = restarted(&a);
    client_join(&scene, &again);
    scene_persisted(&scene, scene.write_id);
    assert_true(again.skips);
    assert_true(again.leads); /* it is given the members, to watch their topics */
    assert_string_equal(again.leader, again.id);
    assert_int_equal(scene_state(&scene), CLASSIC_STABLE);
    scene_close(&scene);
}

static void below_version_9_it_does_not_learn_that_it_leads(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    pair_open(&scene, &a, &b);
    struct client again = restarted(&a);
    again.version = 8;
    client_join(&scene, &again);
    scene_persisted(&scene, scene.write_id);
    assert_false(again.skips);
    assert_false(again.leads);
    assert_string_equal(again.leader, a.id);
    assert_bytes_equal(classic_view(scene.group).leader, bytes_of_text(again.id));
    scene_close(&scene);
}

static void other_protocols_start_a_rebalance(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    a.instance = "one";
    b.instance = "two";
    struct client *pair[] = {&a, &b};
    for (int i = 0; i < 2; i++) {
        pair[i]->protocols[1].name = bytes_of_text("sticky");
        pair[i]->protocol_count = 2;
    }
    scene_settle(&scene, pair, 2);
    assert_string_equal(a.protocol, "range");
    struct client again = restarted(&b);
    again.protocols[0] = again.protocols[1];
    again.protocol_count = 1;
    client_join(&scene, &again);
    assert_int_equal(scene.write_id, 0);
    assert_int_equal(scene_state(&scene), CLASSIC_PREPARING_REBALANCE);
    client_join(&scene, &a);
    assert_string_equal(again.protocol, "sticky");
    assert_int_equal(again.generation, 2);
    scene_close(&scene);
}

static void in_the_middle_of_a_rebalance_all_start_over(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    pair_open(&scene, &a, &b);
    client_join(&scene, &a);
    client_join(&scene, &b);
    assert_int_equal(scene_state(&scene), CLASSIC_COMPLETING_REBALANCE);
    client_sync(&scene, &a);
    uint64_t write_id = scene.write_id;
    client_sync(&scene, &b);
    struct client again = restarted(&b);
    client_join(&scene, &again);
    assert_int_equal(b.synced, STATUS_FENCED_INSTANCE_ID);
    assert_int_equal(a.synced, STATUS_REBALANCE_IN_PROGRESS);
    scene_persisted(&scene, write_id);
    assert_int_equal(scene_state(&scene), CLASSIC_PREPARING_REBALANCE);
    client_join(&scene, &a);
    assert_int_equal(again.generation, 3);
    scene_assign(&scene, (struct client *[]){&a, &again}, 2);
    scene_close(&scene);
}

static void a_parked_join_of_the_old_id_is_fenced(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    pair_open(&scene, &a, &b);
    client_join(&scene, &a); /* the leader: a rebalance, in which b is waited for */
    struct client again = restarted(&a);
    client_join(&scene, &again);
    assert_int_equal(a.joined, STATUS_FENCED_INSTANCE_ID);
    client_join(&scene, &b);
    assert_int_equal(again.joined, STATUS_OK);
    assert_true(again.leads);
    assert_int_equal(classic_view(scene.group).member_count, 2);
    scene_close(&scene);
}

static void a_write_that_fails_brings_the_old_one_back(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    pair_open(&scene, &a, &b);
    struct client again = restarted(&a);
    again.protocols[0].metadata = bytes_of_text("other topics");
    again.session_ms = 20000;
    client_join(&scene, &again);
    scene_persist_failed(&scene, scene.write_id, STATUS_KAFKA_STORAGE_ERROR);
    assert_int_equal(again.joined, STATUS_NOT_COORDINATOR);
    assert_string_equal(again.id, "");
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_OK);
    client_sync(&scene, &a);
    assert_string_equal(a.assignment, "a");
    const struct classic_member *first = classic_member_next(scene.group, NULL);
    struct classic_member_view view = classic_member_view(scene.group, first);
    assert_bytes_equal(view.member_id, bytes_of_text(a.id));
    assert_bytes_equal(view.metadata, bytes_of_text("a"));
    assert_int_equal(view.session_ms, SESSION_MS);
    assert_bytes_equal(classic_view(scene.group).leader, bytes_of_text(a.id));
    scene_close(&scene);
}

static void one_that_comes_back_twice_goes_back_to_the_first(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct scene scene;
        struct client a;
        struct client b;
        pair_open(&scene, &a, &b);
        struct client second = restarted(&b);
        client_join(&scene, &second);
        uint64_t write_id = scene.write_id;
        struct client third = restarted(&b);
        client_join(&scene, &third);
        assert_int_equal(second.joined, STATUS_FENCED_INSTANCE_ID);
        uint64_t write_id_last = scene.write_id;
        scene_persisted(&scene, write_id); /* of the second: nobody waits for it */
        assert_int_equal(third.joins_parked, 1);
        if (fails) {
            scene_persist_failed(&scene, write_id_last, STATUS_FULL);
            assert_int_equal(third.joined, STATUS_COORDINATOR_NOT_AVAILABLE);
            assert_int_equal(client_heartbeat(&scene, &b), STATUS_OK);
        } else {
            scene_persisted(&scene, write_id_last);
            assert_int_equal(third.joined, STATUS_OK);
            assert_int_equal(client_heartbeat(&scene, &second), STATUS_FENCED_INSTANCE_ID);
        }
        scene_close(&scene);
    }
}

static void a_rebalance_answers_who_waits_for_its_write(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct scene scene;
        struct client a;
        struct client b;
        pair_open(&scene, &a, &b);
        struct client again = restarted(&b);
        client_join(&scene, &again);
        uint64_t write_id = scene.write_id;
        client_join(&scene, &a); /* everybody is parked now */
        assert_int_equal(again.joined, STATUS_OK);
        assert_int_equal(again.generation, 2);
        if (fails) {
            scene_persist_failed(&scene, write_id, STATUS_IO);
        } else {
            scene_persisted(&scene, write_id);
        }
        scene_assign(&scene, (struct client *[]){&a, &again}, 2);
        scene_close(&scene);
    }
}

static void one_that_leaves_while_it_waits_is_answered(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    pair_open(&scene, &a, &b);
    struct client again = restarted(&b);
    client_join(&scene, &again);
    uint64_t write_id = scene.write_id;
    assert_int_equal(scene_leave(&scene, "", "two"), STATUS_OK);
    assert_int_equal(again.joined, STATUS_UNKNOWN_MEMBER_ID);
    scene_persist_failed(&scene, write_id, STATUS_IO);
    assert_int_equal(classic_view(scene.group).member_count, 1);
    scene_close(&scene);
}

static void absent_static_members_keep_their_place(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    struct client c;
    pair_open(&scene, &a, &b);
    struct client again = restarted(&a);
    again.session_ms = 1800000;
    client_join(&scene, &again);
    scene_persisted(&scene, scene.write_id);
    client_init(&c, "c");
    client_enter(&scene, &c);
    client_join(&scene, &b);
    scene_wait(&scene, REBALANCE_MS); /* the first does not come */
    assert_int_equal(c.joined, STATUS_OK);
    assert_string_equal(c.leader, b.id);
    assert_int_equal(classic_view(scene.group).member_count, 3);
    assert_int_equal(client_heartbeat(&scene, &again), STATUS_ILLEGAL_GENERATION);
    scene_close(&scene);
}

static void without_anybody_the_wait_goes_on(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    client_init(&a, "a");
    a.instance = "one";
    a.session_ms = 100000;
    scene_settle(&scene, (struct client *[]){&a}, 1);
    scene_step(&scene, (struct classic_event){.kind = CLASSIC_REBALANCE});
    scene_wait(&scene, REBALANCE_MS);
    assert_int_equal(scene_state(&scene), CLASSIC_PREPARING_REBALANCE);
    assert_int_equal(classic_view(scene.group).member_count, 1);
    scene_wait(&scene, REBALANCE_MS); /* until its session ends */
    assert_int_equal(scene_state(&scene), CLASSIC_EMPTY);
    scene_close(&scene);
}

static void without_anybody_and_without_a_timeout_the_core_may_sleep(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    client_init(&a, "a");
    a.instance = "one";
    a.rebalance_ms = 0;
    scene.config.initial_delay_ms = 0;
    client_join(&scene, &a);
    scene_assign(&scene, (struct client *[]){&a}, 1);
    scene_step(&scene, (struct classic_event){.kind = CLASSIC_REBALANCE});
    int ticks = 0;
    while (scene_state(&scene) == CLASSIC_PREPARING_REBALANCE && ticks < 1000) {
        int64_t due_ms = classic_deadline_ms(scene.group);
        scene.now_ms = due_ms > scene.now_ms ? due_ms : scene.now_ms;
        scene_step(&scene, (struct classic_event){.kind = CLASSIC_TICK});
        ticks++;
    }
    assert_int_equal(scene_state(&scene), CLASSIC_EMPTY); /* its session has ended */
    assert_in_range(ticks, 2, 2 * SESSION_MS / 1000);
    scene_close(&scene);
}

static void without_memory_the_old_one_stays(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    pair_open(&scene, &a, &b);
    struct client again = restarted(&b);
    for (size_t room = 0; scene.write_id == 0; room += 8) {
        scene.heap.size_max = scene.heap.size + room;
        client_join(&scene, &again);
        assert_true(scene.write_id > 0 || again.joined == STATUS_COORDINATOR_NOT_AVAILABLE);
        assert_true(scene.write_id > 0 || client_heartbeat(&scene, &b) == STATUS_OK);
    }
    scene_persist_failed(&scene, scene.write_id, STATUS_NO_MEMORY); /* takes none to go back */
    assert_int_equal(client_heartbeat(&scene, &b), STATUS_OK);
    scene_close(&scene);
}

static void a_pending_id_is_not_static(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    client_init(&a, "a");
    client_join(&scene, &a);
    a.instance = "one";
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_UNKNOWN_MEMBER_ID);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_follower_comes_back_without_a_rebalance),
        cmocka_unit_test(the_old_id_is_fenced_everywhere),
        cmocka_unit_test(a_leader_that_comes_back_is_told_not_to_assign),
        cmocka_unit_test(below_version_9_it_does_not_learn_that_it_leads),
        cmocka_unit_test(other_protocols_start_a_rebalance),
        cmocka_unit_test(in_the_middle_of_a_rebalance_all_start_over),
        cmocka_unit_test(a_parked_join_of_the_old_id_is_fenced),
        cmocka_unit_test(a_write_that_fails_brings_the_old_one_back),
        cmocka_unit_test(one_that_comes_back_twice_goes_back_to_the_first),
        cmocka_unit_test(a_rebalance_answers_who_waits_for_its_write),
        cmocka_unit_test(one_that_leaves_while_it_waits_is_answered),
        cmocka_unit_test(absent_static_members_keep_their_place),
        cmocka_unit_test(without_anybody_the_wait_goes_on),
        cmocka_unit_test(without_anybody_and_without_a_timeout_the_core_may_sleep),
        cmocka_unit_test(without_memory_the_old_one_stays),
        cmocka_unit_test(a_pending_id_is_not_static),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
