/* SPDX-License-Identifier: Apache-2.0 */
/* Classic groups: assignments and their write, and how members go again. */
#include "tests/unit/broker/groups/classic_case.h"

/* Two members in CompletingRebalance; a leads. */
static void two_open(struct scene *scene, struct client *a, struct client *b)
{
    scene_open(scene);
    client_init(a, "a");
    client_init(b, "b");
    client_enter(scene, a);
    client_enter(scene, b);
    scene_wait(scene, 3 * DELAY_MS);
    assert_int_equal(scene_state(scene), CLASSIC_COMPLETING_REBALANCE);
    assert_true(a->leads);
}

/* ---- assignments ---- */

static void nobody_is_told_before_the_assignment_is_durable(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    two_open(&scene, &a, &b);
    client_sync(&scene, &b);
    assert_int_equal(scene.write_id, 0);
    struct sync_group_request_assignment assignments[] = {
        {bytes_of_text(b.id), BYTES_LITERAL("of b")},
        {BYTES_LITERAL("stranger"), BYTES_LITERAL("of nobody")},
        {bytes_of_text(a.id), BYTES_LITERAL("first")},
        {bytes_of_text(a.id), BYTES_LITERAL("of a")},
    };
    client_sync_with(&scene, &a, assignments, 4);
    assert_true(scene.write_id > 0);
    assert_int_equal(a.syncs_parked + b.syncs_parked, 2);
    assert_int_equal(scene_state(&scene), CLASSIC_COMPLETING_REBALANCE);
    scene_persisted(&scene, scene.write_id);
    assert_int_equal(scene_state(&scene), CLASSIC_STABLE);
    assert_string_equal(a.assignment, "of a");
    assert_string_equal(b.assignment, "of b");
    client_sync(&scene, &b); /* asked again */
    assert_string_equal(b.assignment, "of b");
    scene_close(&scene);
}

static void who_is_left_out_gets_zero_bytes(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    two_open(&scene, &a, &b);
    struct sync_group_request_assignment assignments[] = {
        {bytes_of_text(a.id), BYTES_LITERAL("all of it")}};
    client_sync_with(&scene, &a, assignments, 1);
    scene_persisted(&scene, scene.write_id);
    assert_string_equal(a.assignment, "all of it");
    client_sync(&scene, &b);
    assert_int_equal(b.synced, STATUS_OK);
    assert_int_equal(b.assignment_size, 0);
    scene_close(&scene);
}

static void an_assignment_that_is_being_written_stands(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    struct client again;
    two_open(&scene, &a, &b);
    struct sync_group_request_assignment first[] = {{bytes_of_text(a.id), BYTES_LITERAL("first")}};
    struct sync_group_request_assignment other[] = {{bytes_of_text(a.id), BYTES_LITERAL("other")}};
    again = a;
    client_sync_with(&scene, &a, first, 1);
    uint64_t write_id = scene.write_id;
    client_sync_with(&scene, &again, other, 1);
    assert_int_equal(scene.write_id, 0);
    assert_int_equal(a.synced, STATUS_REBALANCE_IN_PROGRESS);
    scene_persisted(&scene, write_id);
    assert_string_equal(again.assignment, "first");
    scene_close(&scene);
}

static void a_write_that_fails_starts_over(void **state)
{
    (void)state;
    static const struct {
        enum status failure;
        enum status answer;
    } cases[] = {
        {STATUS_MESSAGE_TOO_LARGE, STATUS_UNKNOWN_SERVER_ERROR},
        {STATUS_RECORD_LIST_TOO_LARGE, STATUS_UNKNOWN_SERVER_ERROR},
        {STATUS_KAFKA_STORAGE_ERROR, STATUS_NOT_COORDINATOR},
        {STATUS_IO, STATUS_NOT_COORDINATOR},
        {STATUS_CLOSED, STATUS_NOT_COORDINATOR},
        {STATUS_NOT_COORDINATOR, STATUS_NOT_COORDINATOR},
        {STATUS_REQUEST_TIMED_OUT, STATUS_COORDINATOR_NOT_AVAILABLE},
        {STATUS_NO_MEMORY, STATUS_COORDINATOR_NOT_AVAILABLE},
        {STATUS_FULL, STATUS_COORDINATOR_NOT_AVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct scene scene;
        struct client a;
        struct client b;
        two_open(&scene, &a, &b);
        client_sync(&scene, &b);
        client_sync(&scene, &a);
        scene_persist_failed(&scene, scene.write_id, cases[i].failure);
        assert_int_equal(a.synced, cases[i].answer);
        assert_int_equal(b.synced, cases[i].answer);
        assert_int_equal(scene_state(&scene), CLASSIC_PREPARING_REBALANCE);
        client_join(&scene, &a);
        client_join(&scene, &b);
        assert_int_equal(a.generation, 2);
        scene_close(&scene);
    }
}

static void a_write_of_a_generation_that_is_over_changes_nothing(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct scene scene;
        struct client a;
        struct client b;
        two_open(&scene, &a, &b);
        client_sync(&scene, &a);
        uint64_t write_id = scene.write_id;
        b.protocols[0].metadata = bytes_of_text("changed");
        client_join(&scene, &b);
        assert_int_equal(a.synced, STATUS_REBALANCE_IN_PROGRESS);
        client_join(&scene, &a);
        assert_int_equal(scene_state(&scene), CLASSIC_COMPLETING_REBALANCE);
        if (fails) {
            scene_persist_failed(&scene, write_id, STATUS_IO);
        } else {
            scene_persisted(&scene, write_id);
        }
        assert_int_equal(scene_state(&scene), CLASSIC_COMPLETING_REBALANCE);
        scene_assign(&scene, (struct client *[]){&a, &b}, 2);
        scene_close(&scene);
    }
}

static void syncs_are_judged(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    two_open(&scene, &a, &b);
    struct client wrong = b;
    text_of(wrong.id, bytes_of_text("stranger"));
    client_sync(&scene, &wrong);
    assert_int_equal(wrong.synced, STATUS_UNKNOWN_MEMBER_ID);
    wrong = b;
    wrong.generation = 0;
    client_sync(&scene, &wrong);
    assert_int_equal(wrong.synced, STATUS_ILLEGAL_GENERATION);
    wrong = b;
    wrong.instance = "nobody's";
    client_sync(&scene, &wrong);
    assert_int_equal(wrong.synced, STATUS_UNKNOWN_MEMBER_ID);
    wrong = b;
    wrong.type = "connect";
    client_sync(&scene, &wrong);
    assert_int_equal(wrong.synced, STATUS_INCONSISTENT_GROUP_PROTOCOL);
    wrong = b;
    text_of(wrong.protocol, bytes_of_text("sticky"));
    client_sync(&scene, &wrong);
    assert_int_equal(wrong.synced, STATUS_INCONSISTENT_GROUP_PROTOCOL);
    b.syncs_parked = 1; /* below version 5 it does not say */
    b.sync = (struct classic_sync){.member_id = bytes_of_text(b.id), .generation = 1};
    scene_step(&scene, (struct classic_event){.kind = CLASSIC_SYNC, .sync = &b.sync});
    assert_int_equal(b.syncs_parked, 1);
    a.protocols[0].metadata = bytes_of_text("changed");
    client_join(&scene, &a);
    client_sync(&scene, &b);
    assert_int_equal(b.synced, STATUS_REBALANCE_IN_PROGRESS);
    scene_close(&scene);
}

static void who_does_not_sync_in_time_is_dropped(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    two_open(&scene, &a, &b); /* time since the answers: two delays at most */
    int64_t due_ms = classic_deadline_ms(scene.group) - SESSION_MS + REBALANCE_MS;
    client_sync(&scene, &a);
    scene_persisted(&scene, scene.write_id);
    while (scene.now_ms < due_ms - SESSION_MS / 2) { /* b lives, and does not ask */
        assert_int_equal(client_heartbeat(&scene, &a), STATUS_OK);
        assert_int_equal(client_heartbeat(&scene, &b), STATUS_OK);
        scene_wait(&scene, SESSION_MS / 2);
    }
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_OK);
    scene_wait(&scene, due_ms - scene.now_ms - 1);
    assert_int_equal(classic_view(scene.group).member_count, 2);
    scene_wait(&scene, 1);
    assert_string_equal(scene.reason, "members did not sync within the rebalance timeout");
    assert_int_equal(classic_view(scene.group).member_count, 1);
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_REBALANCE_IN_PROGRESS);
    assert_int_equal(client_heartbeat(&scene, &b), STATUS_UNKNOWN_MEMBER_ID);
    scene_close(&scene);
}

static void a_leader_that_does_not_sync_is_dropped(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    a.session_ms = 1800000;
    client_enter(&scene, &a);
    client_enter(&scene, &b);
    scene_wait(&scene, 3 * DELAY_MS);
    client_sync(&scene, &b);
    scene_wait(&scene, REBALANCE_MS); /* b is excused from heartbeats */
    assert_int_equal(b.synced, STATUS_REBALANCE_IN_PROGRESS);
    client_join(&scene, &b);
    assert_string_equal(b.leader, b.id);
    scene_assign(&scene, (struct client *[]){&b}, 1);
    scene_wait(&scene, SESSION_MS - 1); /* all have synced: no timer of the rebalance is left */
    assert_int_equal(scene_state(&scene), CLASSIC_STABLE);
    scene_close(&scene);
}

/* ---- heartbeats and sessions ---- */

static void heartbeats_are_answered_by_state(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    two_open(&scene, &a, &b);
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_OK);
    scene_assign(&scene, (struct client *[]){&a, &b}, 2);
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_OK);
    struct client wrong = a;
    wrong.generation = 2;
    assert_int_equal(client_heartbeat(&scene, &wrong), STATUS_ILLEGAL_GENERATION);
    wrong = a;
    wrong.id[0] = 'x';
    assert_int_equal(client_heartbeat(&scene, &wrong), STATUS_UNKNOWN_MEMBER_ID);
    client_join(&scene, &a);
    assert_int_equal(client_heartbeat(&scene, &b), STATUS_REBALANCE_IN_PROGRESS);
    scene_wait(&scene, SESSION_MS - 1); /* that one counted */
    assert_int_equal(client_heartbeat(&scene, &b), STATUS_REBALANCE_IN_PROGRESS);
    assert_int_equal(scene_leave(&scene, b.id, NULL), STATUS_OK);
    assert_int_equal(scene_leave(&scene, a.id, NULL), STATUS_OK);
    assert_int_equal(scene_state(&scene), CLASSIC_EMPTY);
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_UNKNOWN_MEMBER_ID);
    scene_close(&scene);
}

static void a_silent_member_is_dropped(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    two_open(&scene, &a, &b);
    scene_assign(&scene, (struct client *[]){&a, &b}, 2);
    scene_wait(&scene, SESSION_MS / 2);
    assert_int_equal(client_heartbeat(&scene, &b), STATUS_OK);
    scene_wait(&scene, SESSION_MS / 2);
    assert_string_equal(scene.reason, "a member's session timed out");
    assert_int_equal(classic_view(scene.group).member_count, 1);
    assert_int_equal(client_heartbeat(&scene, &b), STATUS_REBALANCE_IN_PROGRESS);
    client_join(&scene, &b);
    assert_true(b.leads);
    scene_wait(&scene, SESSION_MS); /* the last one goes as well */
    assert_int_equal(scene_state(&scene), CLASSIC_EMPTY);
    assert_true(scene.write_id > 0);
    assert_int_equal(classic_deadline_ms(scene.group), INT64_MAX);
    scene_close(&scene);
}

static void a_commit_counts_as_a_heartbeat(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    two_open(&scene, &a, &b);
    scene_assign(&scene, (struct client *[]){&a, &b}, 2);
    scene_wait(&scene, SESSION_MS - 1);
    assert_int_equal(scene_commit(&scene, client_call(&a)), STATUS_OK);
    struct classic_call transactional = client_call(&b);
    transactional.transactional = true; /* the producer's, not the member's */
    assert_int_equal(scene_commit(&scene, transactional), STATUS_OK);
    scene_wait(&scene, 1);
    assert_int_equal(classic_view(scene.group).member_count, 1);
    scene_close(&scene);
}

static void whoever_is_parked_does_not_expire(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    two_open(&scene, &a, &b);
    scene_assign(&scene, (struct client *[]){&a, &b}, 2);
    client_join(&scene, &a);
    for (int i = 0; i < 4; i++) {
        scene_wait(&scene, SESSION_MS - 1);
        assert_int_equal(client_heartbeat(&scene, &b), STATUS_REBALANCE_IN_PROGRESS);
    }
    assert_int_equal(a.joins_parked, 1);
    client_join(&scene, &b);
    assert_int_equal(a.joined, STATUS_OK);
    scene_wait(&scene, SESSION_MS - 1); /* the answer started its time anew */
    assert_int_equal(classic_view(scene.group).member_count, 2);
    client_sync(&scene, &b);
    scene_wait(&scene, SESSION_MS - 1);
    assert_int_equal(b.synced, STATUS_REBALANCE_IN_PROGRESS); /* a is gone; b was excused */
    assert_int_equal(classic_view(scene.group).member_count, 1);
    scene_close(&scene);
}

static void a_first_join_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    a.rebalance_ms = 1000000;
    scene_settle(&scene, (struct client *[]){&a}, 1);
    client_enter(&scene, &b);
    int64_t gone_ms = scene.now_ms + 300000;
    while (scene.now_ms + SESSION_MS < gone_ms) {
        assert_int_equal(client_heartbeat(&scene, &a), STATUS_REBALANCE_IN_PROGRESS);
        scene_wait(&scene, SESSION_MS - 1);
    }
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_REBALANCE_IN_PROGRESS);
    scene_wait(&scene, gone_ms - scene.now_ms - 1);
    assert_int_equal(b.joins_parked, 1);
    scene_wait(&scene, 1);
    assert_int_equal(b.joined, STATUS_UNKNOWN_MEMBER_ID);
    assert_string_equal(b.id, "");
    scene_close(&scene);
}

/* ---- leaving ---- */

static void members_leave_one_by_one_or_together(void **state)
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
    b.instance = "i";
    scene_settle(&scene, (struct client *[]){&a, &b}, 2);
    client_join(&scene, &c); /* pending */
    struct classic_leaver leavers[] = {
        {BYTES_LITERAL("stranger"), BYTES_NULL, STATUS_OK},
        {BYTES_LITERAL(""), BYTES_LITERAL("other"), STATUS_OK},
        {BYTES_LITERAL(""), BYTES_NULL, STATUS_OK},
        {BYTES_LITERAL("not b's id"), BYTES_LITERAL("i"), STATUS_OK},
        {bytes_of_text(c.id), BYTES_NULL, STATUS_UNKNOWN_MEMBER_ID},
    };
    scene_step(&scene, (struct classic_event){
                           .kind = CLASSIC_LEAVE, .leavers = leavers, .leaver_count = 5});
    assert_int_equal(leavers[0].status, STATUS_UNKNOWN_MEMBER_ID);
    assert_int_equal(leavers[1].status, STATUS_UNKNOWN_MEMBER_ID);
    assert_int_equal(leavers[2].status, STATUS_UNKNOWN_MEMBER_ID);
    assert_int_equal(leavers[3].status, STATUS_FENCED_INSTANCE_ID);
    assert_int_equal(leavers[4].status, STATUS_OK);
    assert_int_equal(scene_state(&scene), CLASSIC_STABLE); /* nobody who matters has gone */
    leavers[0] = (struct classic_leaver){bytes_of_text(a.id), BYTES_NULL, STATUS_NOT_FOUND};
    leavers[1] = (struct classic_leaver){BYTES_LITERAL(""), BYTES_LITERAL("i"), STATUS_NOT_FOUND};
    leavers[2] = leavers[1];
    scene_step(&scene, (struct classic_event){
                           .kind = CLASSIC_LEAVE, .leavers = leavers, .leaver_count = 3});
    assert_int_equal(leavers[0].status, STATUS_OK);
    assert_int_equal(leavers[1].status, STATUS_OK);
    assert_int_equal(leavers[2].status, STATUS_UNKNOWN_MEMBER_ID); /* gone with the one before */
    assert_int_equal(scene_state(&scene), CLASSIC_EMPTY);
    assert_int_equal(classic_view(scene.group).generation, 2);
    assert_true(scene.write_id > 0);
    assert_true(classic_is_idle(scene.group));
    scene_close(&scene);
}

static void a_leaver_s_parked_calls_are_answered(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    two_open(&scene, &a, &b);
    client_sync(&scene, &b);
    assert_int_equal(scene_leave(&scene, b.id, NULL), STATUS_OK);
    assert_int_equal(b.synced, STATUS_UNKNOWN_MEMBER_ID);
    client_join(&scene, &a);
    scene_assign(&scene, (struct client *[]){&a}, 1);
    client_init(&b, "b");
    client_enter(&scene, &b);
    char id[TEXT_MAX];
    memcpy(id, b.id, sizeof(id));
    assert_int_equal(scene_leave(&scene, id, NULL), STATUS_OK);
    assert_int_equal(b.joined, STATUS_UNKNOWN_MEMBER_ID);
    client_join(&scene, &a);
    assert_int_equal(a.joined, STATUS_OK);
    scene_close(&scene);
}

static void a_leaver_may_be_who_all_wait_for(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    struct client c;
    two_open(&scene, &a, &b);
    scene_assign(&scene, (struct client *[]){&a, &b}, 2);
    client_init(&c, "c");
    client_join(&scene, &c);
    client_join(&scene, &a);
    assert_int_equal(scene_leave(&scene, b.id, NULL), STATUS_OK);
    assert_int_equal(a.joins_parked, 1); /* c is pending */
    assert_int_equal(scene_leave(&scene, c.id, NULL), STATUS_OK);
    assert_int_equal(a.joined, STATUS_OK);
    assert_int_equal(a.generation, 2);
    scene_close(&scene);
}

/* ---- the end ---- */

static void a_retired_group_answers_everything_and_takes_nothing(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    struct client c;
    two_open(&scene, &a, &b);
    client_init(&c, "c");
    client_sync(&scene, &b);
    client_join(&scene, &c);
    client_join(&scene, &c); /* parks; b's sync goes with the assignment */
    assert_int_equal(b.synced, STATUS_REBALANCE_IN_PROGRESS);
    scene_step(&scene, (struct classic_event){.kind = CLASSIC_RETIRE,
                                              .status = STATUS_REBALANCE_IN_PROGRESS});
    assert_int_equal(c.joined, STATUS_REBALANCE_IN_PROGRESS);
    assert_int_equal(scene_state(&scene), CLASSIC_DEAD);
    assert_int_equal(classic_deadline_ms(scene.group), INT64_MAX);
    assert_true(classic_is_idle(scene.group));
    client_join(&scene, &c);
    assert_int_equal(c.joined, STATUS_COORDINATOR_NOT_AVAILABLE);
    client_sync(&scene, &b);
    assert_int_equal(b.synced, STATUS_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(client_heartbeat(&scene, &b), STATUS_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(scene_commit(&scene, client_call(&b)), STATUS_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(scene_leave(&scene, b.id, NULL), STATUS_COORDINATOR_NOT_AVAILABLE);
    scene_step(&scene, (struct classic_event){.kind = CLASSIC_TICK});
    scene_step(&scene, (struct classic_event){.kind = CLASSIC_REBALANCE});
    assert_int_equal(scene_state(&scene), CLASSIC_DEAD);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_told_before_the_assignment_is_durable),
        cmocka_unit_test(who_is_left_out_gets_zero_bytes),
        cmocka_unit_test(an_assignment_that_is_being_written_stands),
        cmocka_unit_test(a_write_that_fails_starts_over),
        cmocka_unit_test(a_write_of_a_generation_that_is_over_changes_nothing),
        cmocka_unit_test(syncs_are_judged),
        cmocka_unit_test(who_does_not_sync_in_time_is_dropped),
        cmocka_unit_test(a_leader_that_does_not_sync_is_dropped),
        cmocka_unit_test(heartbeats_are_answered_by_state),
        cmocka_unit_test(a_silent_member_is_dropped),
        cmocka_unit_test(a_commit_counts_as_a_heartbeat),
        cmocka_unit_test(whoever_is_parked_does_not_expire),
        cmocka_unit_test(a_first_join_does_not_wait_for_ever),
        cmocka_unit_test(members_leave_one_by_one_or_together),
        cmocka_unit_test(a_leaver_s_parked_calls_are_answered),
        cmocka_unit_test(a_leaver_may_be_who_all_wait_for),
        cmocka_unit_test(a_retired_group_answers_everything_and_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
