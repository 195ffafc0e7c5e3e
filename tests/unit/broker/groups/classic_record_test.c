/* SPDX-License-Identifier: Apache-2.0 */
/* Classic groups: what is written of them, what is read back, and what others may ask. */
#include "tests/unit/broker/groups/classic_case.h"

/* A Stable group of a (leader), b (static). */
static void group_open(struct scene *scene, struct client *a, struct client *b)
{
    scene_open(scene);
    client_init(a, "a");
    client_init(b, "b");
    b->instance = "i";
    b->rebalance_ms = 70000;
    scene_settle(scene, (struct client *[]){a, b}, 2);
}

static enum status scene_load(struct scene *scene, struct classic *group,
                              void (*spoil)(struct group_metadata_value *))
{
    struct arena arena;
    struct reader reader;
    struct group_metadata_value value;
    arena_init(&arena, scene->pages, (size_t)(4 * MIB));
    reader_init(&reader, bytes_of(scene->value, scene->value_size));
    assert_int_equal(group_metadata_value_decode(&reader, 3, &arena, &value), STATUS_OK);
    if (spoil != NULL) {
        spoil(&value);
    }
    enum status status = classic_load(group, &value, scene->now_ms);
    assert_true(classic_verify(group));
    arena_reset(&arena);
    return status;
}

static void assert_groups_alike(const struct classic *a, const struct classic *b)
{
    struct classic_view left = classic_view(a);
    struct classic_view right = classic_view(b);
    assert_int_equal(left.state, right.state);
    assert_int_equal(left.generation, right.generation);
    assert_bytes_equal(left.protocol_type, right.protocol_type);
    assert_bytes_equal(left.protocol, right.protocol);
    assert_bytes_equal(left.leader, right.leader);
    assert_int_equal(left.member_count, right.member_count);
    const struct classic_member *member = classic_member_next(a, NULL);
    const struct classic_member *other = classic_member_next(b, NULL);
    for (; member != NULL; member = classic_member_next(a, member)) {
        struct classic_member_view from = classic_member_view(a, member);
        struct classic_member_view to = classic_member_view(b, other);
        assert_bytes_equal(from.member_id, to.member_id);
        assert_bytes_equal(from.instance_id, to.instance_id);
        assert_int_equal(from.instance_id.data == NULL, to.instance_id.data == NULL);
        assert_bytes_equal(from.client_id, to.client_id);
        assert_bytes_equal(from.client_host, to.client_host);
        assert_bytes_equal(from.metadata, to.metadata);
        assert_bytes_equal(from.assignment, to.assignment);
        assert_int_equal(from.session_ms, to.session_ms);
        assert_int_equal(from.rebalance_ms, to.rebalance_ms);
        other = classic_member_next(b, other);
    }
    assert_null(other);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    group_open(&scene, &a, &b);
    struct classic *copy = classic_open(&scene.heap, 9, &scene.config);
    assert_int_equal(scene_load(&scene, copy, NULL), STATUS_OK);
    assert_groups_alike(scene.group, copy);
    assert_int_equal(classic_view(copy).state, CLASSIC_STABLE);
    assert_int_equal(classic_deadline_ms(copy), scene.now_ms + SESSION_MS);
    classic_close(scene.group); /* the members go on with the one that was read */
    scene.group = copy;
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_OK);
    client_sync(&scene, &b);
    assert_string_equal(b.assignment, "b");
    client_join(&scene, &b);
    assert_int_equal(b.generation, 1);
    scene_wait(&scene, SESSION_MS);
    assert_int_equal(scene_state(&scene), CLASSIC_EMPTY);
    assert_int_equal(scene_load(&scene, scene.group, NULL), STATUS_OK); /* the newest record */
    assert_int_equal(scene_state(&scene), CLASSIC_EMPTY);
    assert_int_equal(classic_view(scene.group).generation, 2);
    assert_int_equal(classic_view(scene.group).state_wall_ms, WALL_MS + scene.now_ms);
    assert_bytes_equal(classic_view(scene.group).protocol_type, BYTES_LITERAL("consumer"));
    assert_null(classic_view(scene.group).protocol.data);
    scene_close(&scene);
}

static void spoil_timeouts(struct group_metadata_value *value)
{
    value->members[0].rebalance_timeout = -1; /* version 0 of the record */
    value->leader = BYTES_LITERAL("gone");
    value->current_state_timestamp = -1;
}

static void spoil_id(struct group_metadata_value *value)
{
    value->members[1].member_id = value->members[0].member_id;
}

static void spoil_instance(struct group_metadata_value *value)
{
    value->members[0].group_instance_id = value->members[1].group_instance_id;
}

static void spoil_protocol(struct group_metadata_value *value)
{
    value->protocol = BYTES_NULL;
}

static void spoil_type(struct group_metadata_value *value)
{
    value->protocol_type = BYTES_LITERAL("");
}

static void odd_records_are_read_or_refused(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    group_open(&scene, &a, &b);
    struct classic *copy = classic_open(&scene.heap, 9, &scene.config);
    assert_int_equal(scene_load(&scene, copy, spoil_timeouts), STATUS_OK);
    struct classic_member_view first = classic_member_view(copy, classic_member_next(copy, NULL));
    assert_int_equal(first.rebalance_ms, SESSION_MS);
    assert_bytes_equal(classic_view(copy).leader, first.member_id);
    assert_int_equal(classic_view(copy).state_wall_ms, -1);
    void (*spoil[])(struct group_metadata_value *) = {spoil_id, spoil_instance, spoil_protocol,
                                                      spoil_type};
    for (size_t i = 0; i < ARRAY_COUNT(spoil); i++) {
        assert_int_equal(scene_load(&scene, copy, spoil[i]), STATUS_MALFORMED);
        assert_int_equal(classic_view(copy).state, CLASSIC_EMPTY);
        assert_int_equal(classic_view(copy).member_count, 0);
    }
    size_t size_max = scene.heap.size_max;
    enum status status = STATUS_NO_MEMORY;
    for (size_t room = 0; status != STATUS_OK; room += 8) {
        scene.heap.size_max = scene.heap.size + room;
        status = scene_load(&scene, copy, NULL);
        assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
    }
    scene.heap.size_max = size_max;
    assert_groups_alike(scene.group, copy);
    classic_close(copy);
    scene_close(&scene);
}

static void a_group_that_grew_too_large_rebalances(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    group_open(&scene, &a, &b);
    scene.config.member_count_max = 1;
    assert_int_equal(scene_load(&scene, scene.group, NULL), STATUS_OK);
    assert_int_equal(scene_state(&scene), CLASSIC_PREPARING_REBALANCE);
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_REBALANCE_IN_PROGRESS);
    scene_close(&scene);
}

static void reading_a_long_log_costs_nobody_its_session(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    group_open(&scene, &a, &b);
    assert_int_equal(scene_load(&scene, scene.group, NULL), STATUS_OK);
    scene.now_ms += 10 * SESSION_MS;
    classic_resume(scene.group, scene.now_ms);
    assert_int_equal(classic_deadline_ms(scene.group), scene.now_ms + SESSION_MS);
    scene.config.member_count_max = 1;
    assert_int_equal(scene_load(&scene, scene.group, NULL), STATUS_OK);
    scene.now_ms += 10 * SESSION_MS;
    classic_resume(scene.group, scene.now_ms);
    scene_wait(&scene, SESSION_MS - 1);
    assert_int_equal(client_heartbeat(&scene, &a), STATUS_REBALANCE_IN_PROGRESS);
    scene_close(&scene);
}

/* ---- commits ---- */

static void commits_without_a_generation_need_an_empty_group(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct classic_call simple = {.generation = -1};
    scene_open(&scene);
    assert_int_equal(scene_commit(&scene, simple), STATUS_OK);
    assert_int_equal(classic_expiry(scene.group), CLASSIC_EXPIRY_SINCE_COMMIT);
    struct classic_call unknown = {.member_id = BYTES_LITERAL("who"), .generation = 5};
    assert_int_equal(scene_commit(&scene, unknown), STATUS_UNKNOWN_MEMBER_ID);
    client_init(&a, "a");
    scene_settle(&scene, (struct client *[]){&a}, 1);
    assert_int_equal(scene_commit(&scene, simple), STATUS_UNKNOWN_MEMBER_ID);
    simple.transactional = true; /* before version 3 nobody says who commits */
    assert_int_equal(scene_commit(&scene, simple), STATUS_OK);
    simple.transactional = false;
    simple.member_id = bytes_of_text(a.id);
    assert_int_equal(scene_commit(&scene, simple), STATUS_ILLEGAL_GENERATION);
    scene_close(&scene);
}

static void commits_of_members_are_judged(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    group_open(&scene, &a, &b);
    assert_int_equal(scene_commit(&scene, client_call(&a)), STATUS_OK);
    struct classic_call call = client_call(&a);
    call.generation = 2;
    assert_int_equal(scene_commit(&scene, call), STATUS_ILLEGAL_GENERATION);
    call = client_call(&b);
    call.member_id = bytes_of_text(a.id);
    assert_int_equal(scene_commit(&scene, call), STATUS_FENCED_INSTANCE_ID);
    client_join(&scene, &a); /* Preparing: what was read before may still be committed */
    assert_int_equal(scene_commit(&scene, client_call(&b)), STATUS_OK);
    client_join(&scene, &b);
    assert_int_equal(scene_commit(&scene, client_call(&a)), STATUS_REBALANCE_IN_PROGRESS);
    call = client_call(&a);
    call.transactional = true;
    assert_int_equal(scene_commit(&scene, call), STATUS_OK);
    scene_close(&scene);
}

/* ---- questions ---- */

static const uint8_t metadata_of_two_topics[] = {0,   1, 0, 0,   0,   2, 0, 2, 't',
                                                 'a', 0, 2, 't', 'b', 0, 0, 0, 0};

static void live_groups_keep_what_they_subscribe_to(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    struct client b;
    scene_open(&scene);
    client_init(&a, "a");
    client_init(&b, "b");
    a.protocols[0].metadata = bytes_of(metadata_of_two_topics, sizeof(metadata_of_two_topics));
    b.protocols[0].metadata = a.protocols[0].metadata;
    assert_int_equal(classic_check_delete(scene.group), STATUS_OK);
    assert_int_equal(classic_check_offset_delete(scene.group), STATUS_OK);
    client_enter(&scene, &a);
    client_enter(&scene, &b);
    assert_true(classic_subscribes(scene.group, BYTES_LITERAL("tz"))); /* nothing is chosen yet */
    assert_int_equal(classic_expiry(scene.group), CLASSIC_EXPIRY_NEVER);
    scene_wait(&scene, 3 * DELAY_MS);
    scene_assign(&scene, (struct client *[]){&a, &b}, 2);
    assert_true(classic_subscribes(scene.group, BYTES_LITERAL("ta")));
    assert_true(classic_subscribes(scene.group, BYTES_LITERAL("tb")));
    assert_false(classic_subscribes(scene.group, BYTES_LITERAL("tz")));
    assert_int_equal(classic_check_delete(scene.group), STATUS_NON_EMPTY_GROUP);
    assert_int_equal(classic_check_offset_delete(scene.group), STATUS_OK);
    assert_int_equal(classic_expiry(scene.group), CLASSIC_EXPIRY_SINCE_COMMIT);
    b.protocols[0].metadata = BYTES_LITERAL("?"); /* cannot be read: it might be anything */
    client_join(&scene, &b);
    assert_true(classic_subscribes(scene.group, BYTES_LITERAL("tz")));
    assert_int_equal(scene_leave(&scene, b.id, NULL), STATUS_OK);
    assert_int_equal(scene_leave(&scene, a.id, NULL), STATUS_OK);
    assert_false(classic_subscribes(scene.group, BYTES_LITERAL("ta")));
    assert_int_equal(classic_check_delete(scene.group), STATUS_OK);
    assert_int_equal(classic_expiry(scene.group), CLASSIC_EXPIRY_SINCE_STATE);
    scene_step(&scene, (struct classic_event){.kind = CLASSIC_RETIRE, .status = STATUS_CLOSED});
    assert_int_equal(classic_check_delete(scene.group), STATUS_GROUP_ID_NOT_FOUND);
    assert_int_equal(classic_check_offset_delete(scene.group), STATUS_GROUP_ID_NOT_FOUND);
    scene_close(&scene);
}

static void groups_of_other_kinds_subscribe_to_nothing(void **state)
{
    (void)state;
    struct scene scene;
    struct client a;
    scene_open(&scene);
    client_init(&a, "a");
    a.type = "connect";
    scene_settle(&scene, (struct client *[]){&a}, 1);
    assert_false(classic_subscribes(scene.group, BYTES_LITERAL("ta")));
    assert_int_equal(classic_check_offset_delete(scene.group), STATUS_NON_EMPTY_GROUP);
    assert_int_equal(classic_expiry(scene.group), CLASSIC_EXPIRY_NEVER);
    scene_close(&scene);
}

static void states_have_kafka_s_names(void **state)
{
    (void)state;
    assert_string_equal(classic_state_name(CLASSIC_EMPTY), "Empty");
    assert_string_equal(classic_state_name(CLASSIC_PREPARING_REBALANCE), "PreparingRebalance");
    assert_string_equal(classic_state_name(CLASSIC_COMPLETING_REBALANCE), "CompletingRebalance");
    assert_string_equal(classic_state_name(CLASSIC_STABLE), "Stable");
    assert_string_equal(classic_state_name(CLASSIC_DEAD), "Dead");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(odd_records_are_read_or_refused),
        cmocka_unit_test(a_group_that_grew_too_large_rebalances),
        cmocka_unit_test(reading_a_long_log_costs_nobody_its_session),
        cmocka_unit_test(commits_without_a_generation_need_an_empty_group),
        cmocka_unit_test(commits_of_members_are_judged),
        cmocka_unit_test(live_groups_keep_what_they_subscribe_to),
        cmocka_unit_test(groups_of_other_kinds_subscribe_to_nothing),
        cmocka_unit_test(states_have_kafka_s_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
