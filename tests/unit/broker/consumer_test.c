/* SPDX-License-Identifier: Apache-2.0 */
/* Consumer groups, rule by rule: errors, epochs, the revocation hand-shake, static members,
 * patterns, commits. Histories are in consumer_history_test.c. */
#include "tests/lib/test.h"

#include "base/check.h"
#include "broker/groups/consumer_state.h"

#define HEAP_SIZE (1 << 20)

static const struct consumer_config config = {
    .heartbeat_ms = 5000,
    .session_ms = 45000,
    .member_count_max = 3,
    .assignors = 3,
};

struct fixture {
    struct heap heap;
    struct pages *pages;
    struct arena arena;
    struct consumer *group;
    struct consumer_output out;
    int64_t now_ms;
    int32_t partition_count; /* of the one topic, "t" */
    uint64_t version;
};

static bool find(void *context, struct bytes name, struct consumer_topic *topic)
{
    const struct fixture *fixture = context;
    *topic = (struct consumer_topic){.name = BYTES_LITERAL("t"),
                                     .partition_count = fixture->partition_count};
    topic->id.bytes[3] = 1;
    return bytes_equal(name, topic->name);
}

static bool find_id(void *context, const struct uuid *id, struct consumer_topic *topic)
{
    return find(context, BYTES_LITERAL("t"), topic) && uuid_equal(id, &topic->id);
}

static bool next(void *context, void **cursor, struct consumer_topic *topic)
{
    if (*cursor != NULL) {
        return false;
    }
    *cursor = context;
    return find(context, BYTES_LITERAL("t"), topic);
}

static void fixture_open(struct fixture *fixture)
{
    *fixture = (struct fixture){.partition_count = 4, .version = 1};
    const struct pages_limits limits = {.size_max = {[PAGES_REQUEST] = 4 << 20}};
    fixture->pages = pages_open(&limits);
    assert_non_null(fixture->pages);
    arena_init(&fixture->arena, fixture->pages, 4 << 20);
    heap_init(&fixture->heap, HEAP_SIZE);
    fixture->group = consumer_open(&fixture->heap, 1, &config, BYTES_LITERAL("g"));
    assert_non_null(fixture->group);
}

static void fixture_close(struct fixture *fixture)
{
    consumer_close(fixture->group);
    heap_deinit(&fixture->heap);
    arena_reset(&fixture->arena);
    pages_close(fixture->pages);
}

static struct bytes text_or_null(const char *text)
{
    return text == NULL ? BYTES_NULL : bytes_of_text(text);
}

/* A heartbeat in short. NULL: not said. */
struct beat {
    const char *member;
    int32_t epoch;
    const char *instance;
    const char *names;
    const char *pattern;
    bool told; /* what it has, as bits */
    int32_t owned;
};

static enum status send(struct fixture *fixture, const struct beat *beat)
{
    struct consumer_group_heartbeat_request request;
    struct bytes name = text_or_null(beat->names);
    int32_t indexes[32];
    struct consumer_group_heartbeat_request_topic_partition row = {.partitions = indexes};
    consumer_group_heartbeat_request_init(&request);
    request.group_id = BYTES_LITERAL("g");
    request.member_id = bytes_of_text(beat->member);
    request.member_epoch = beat->epoch;
    request.instance_id = text_or_null(beat->instance);
    request.rebalance_timeout_ms = beat->epoch == 0 ? 10000 : -1;
    request.subscribed_topic_names = &name;
    request.subscribed_topic_names_count = beat->names == NULL ? -1 : 1;
    request.subscribed_topic_regex = text_or_null(beat->pattern);
    for (int32_t i = 0; i < 31; i++) {
        if ((beat->owned >> i & 1) != 0) {
            indexes[row.partitions_count++] = i;
        }
    }
    row.topic_id.bytes[3] = 1;
    request.topic_partitions = &row;
    request.topic_partitions_count = beat->told ? row.partitions_count > 0 : -1;
    const struct consumer_heartbeat heartbeat = {
        .request = &request, .version = 1, .client_id = BYTES_LITERAL("c")};
    struct consumer_catalog catalog = {find, find_id, next, fixture, fixture->version};
    const struct consumer_event event = {.kind = CONSUMER_HEARTBEAT,
                                         .now_ms = fixture->now_ms,
                                         .catalog = &catalog,
                                         .heartbeat = &heartbeat};
    const char *message;
    enum status status = consumer_check(&config, &heartbeat, &fixture->arena, &message);
    if (status != STATUS_OK) {
        assert_non_null(message);
        return status;
    }
    consumer_step(fixture->group, &event, &fixture->arena, &fixture->out);
    if (!fixture->out.broken) {
        consumer_verify(fixture->group);
    }
    return status_from_code(fixture->out.answer.error_code);
}

/* Bits of the answer's assignment; -1: none was sent. */
static int32_t assignment(const struct fixture *fixture)
{
    const struct consumer_group_heartbeat_response *answer = &fixture->out.answer;
    int32_t bits = 0;
    if (!answer->has_assignment) {
        return -1;
    }
    for (int32_t i = 0; i < answer->assignment.topic_partitions_count; i++) {
        for (int32_t k = 0; k < answer->assignment.topic_partitions[i].partitions_count; k++) {
            bits |= 1 << answer->assignment.topic_partitions[i].partitions[k];
        }
    }
    return bits;
}

#define BEAT(...) (&(struct beat){__VA_ARGS__})
#define HAS(bits) .told = true, .owned = (bits)
#define JOIN(id) BEAT(.member = (id), .names = "t", HAS(0))

static void shapes(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    static const struct {
        struct beat beat;
        enum status status;
    } CASES[] = {
        {{"", 0, NULL, "t", NULL, true, 0}, STATUS_INVALID_REQUEST},
        {{"a", -3, NULL, NULL, NULL, false}, STATUS_INVALID_REQUEST},
        {{"a", -2, NULL, NULL, NULL, false}, STATUS_INVALID_REQUEST},
        {{"a", 0, "", "t", NULL, true, 0}, STATUS_INVALID_REQUEST},
        {{"a", 0, NULL, NULL, NULL, true, 0}, STATUS_INVALID_REQUEST},
        {{"a", 0, NULL, "t", NULL, true, 1}, STATUS_INVALID_REQUEST},
        {{"a", 0, NULL, NULL, "(", true, 0}, STATUS_INVALID_REGULAR_EXPRESSION},
        {{"a", 5, NULL, NULL, "[z-a]", false}, STATUS_INVALID_REGULAR_EXPRESSION},
        {{"a", 1, NULL, NULL, NULL, false}, STATUS_UNKNOWN_MEMBER_ID},
        {{"a", -1, NULL, NULL, NULL, false}, STATUS_UNKNOWN_MEMBER_ID},
        {{"a", -2, "i", NULL, NULL, false}, STATUS_UNKNOWN_MEMBER_ID},
    };
    for (size_t i = 0; i < ARRAY_COUNT(CASES); i++) {
        assert_int_equal(send(&fixture, &CASES[i].beat), CASES[i].status);
    }
    char *long_name = test_malloc((256 << 10) + 1);
    memset(long_name, 'x', 256 << 10);
    long_name[256 << 10] = '\0';
    assert_int_equal(send(&fixture, BEAT(.member = "a", .names = long_name, HAS(0))),
                     STATUS_INVALID_REQUEST);
    test_free(long_name);
    assert_int_equal(fixture.group->epoch, 0);
    for (const char *id = "abc"; *id != '\0'; id++) {
        char name[2] = {*id, '\0'};
        assert_int_equal(send(&fixture, JOIN(name)), STATUS_OK);
    }
    assert_int_equal(send(&fixture, JOIN("d")), STATUS_GROUP_MAX_SIZE_REACHED);
    assert_int_equal(consumer_check_delete(fixture.group), STATUS_NON_EMPTY_GROUP);
    fixture_close(&fixture);
}

static void epochs(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    assert_int_equal(send(&fixture, JOIN("a")), STATUS_OK);
    assert_int_equal(fixture.out.answer.member_epoch, 1);
    assert_int_equal(fixture.out.answer.heartbeat_interval_ms, 5000);
    assert_int_equal(assignment(&fixture), 15);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1)), STATUS_OK);
    assert_int_equal(assignment(&fixture), -1);
    assert_int_equal(fixture.out.record_count, 0);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 2)), STATUS_FENCED_MEMBER_EPOCH);
    /* Nothing else changed, and the topic grows: a new epoch, for which the old one still stands
     * until the answer has arrived. */
    fixture.partition_count = 5;
    fixture.version++;
    fixture.now_ms += 5000;
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1)), STATUS_OK);
    assert_int_equal(fixture.out.answer.member_epoch, 2);
    assert_int_equal(assignment(&fixture), 31);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1)), STATUS_FENCED_MEMBER_EPOCH);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1, HAS(15))), STATUS_OK);
    assert_int_equal(fixture.out.answer.member_epoch, 2);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1, HAS(47))),
                     STATUS_FENCED_MEMBER_EPOCH);
    struct consumer_commit commit = {BYTES_LITERAL("a"), 1, false, 9};
    assert_int_equal(consumer_check_commit(fixture.group, &commit), STATUS_STALE_MEMBER_EPOCH);
    commit.epoch = 2;
    assert_int_equal(consumer_check_commit(fixture.group, &commit), STATUS_OK);
    commit.version = 8;
    assert_int_equal(consumer_check_commit(fixture.group, &commit), STATUS_UNSUPPORTED_VERSION);
    commit = (struct consumer_commit){BYTES_NULL, -1, false, 9};
    assert_int_equal(consumer_check_commit(fixture.group, &commit), STATUS_UNKNOWN_MEMBER_ID);
    commit.transactional = true;
    assert_int_equal(consumer_check_commit(fixture.group, &commit), STATUS_OK);
    assert_int_equal(consumer_check_fetch(fixture.group, BYTES_NULL, -1), STATUS_OK);
    assert_int_equal(consumer_check_fetch(fixture.group, BYTES_LITERAL("a"), 1),
                     STATUS_STALE_MEMBER_EPOCH);
    assert_int_equal(consumer_check_fetch(fixture.group, BYTES_LITERAL("b"), 1),
                     STATUS_UNKNOWN_MEMBER_ID);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = -1)), STATUS_OK);
    assert_int_equal(fixture.out.answer.member_epoch, -1);
    assert_int_equal(consumer_state(fixture.group), CONSUMER_EMPTY);
    assert_false(consumer_is_blank(fixture.group));
    commit = (struct consumer_commit){BYTES_NULL, -1, false, 2};
    assert_int_equal(consumer_check_commit(fixture.group, &commit), STATUS_OK);
    fixture_close(&fixture);
}

static void handshake(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    assert_int_equal(send(&fixture, JOIN("a")), STATUS_OK);
    assert_int_equal(send(&fixture, JOIN("b")), STATUS_OK);
    assert_int_equal(assignment(&fixture), 0); /* all is held by a */
    assert_int_equal(fixture.out.answer.member_epoch, 2);
    assert_int_equal(consumer_state(fixture.group), CONSUMER_RECONCILING);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1)), STATUS_OK);
    int32_t kept = assignment(&fixture);
    assert_int_equal(__builtin_popcount((unsigned)kept), 2);
    assert_int_equal(fixture.out.answer.member_epoch, 1);
    /* Saying nothing, or still having it, releases nothing. */
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1, HAS(15))), STATUS_OK);
    assert_int_equal(fixture.out.answer.member_epoch, 1);
    assert_int_equal(send(&fixture, BEAT(.member = "b", .epoch = 2)), STATUS_OK);
    assert_int_equal(assignment(&fixture), -1);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1, HAS(kept))), STATUS_OK);
    assert_int_equal(fixture.out.answer.member_epoch, 2);
    assert_int_equal(send(&fixture, BEAT(.member = "b", .epoch = 2)), STATUS_OK);
    assert_int_equal(assignment(&fixture), 15 & ~kept);
    assert_int_equal(consumer_state(fixture.group), CONSUMER_STABLE);
    fixture_close(&fixture);
}

static void deadlines(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct consumer_catalog catalog = {find, find_id, next, &fixture, 1};
    assert_int_equal(consumer_deadline_ms(fixture.group), INT64_MAX);
    assert_int_equal(send(&fixture, JOIN("a")), STATUS_OK);
    assert_int_equal(consumer_deadline_ms(fixture.group), 45000);
    fixture.now_ms = 1000;
    assert_int_equal(send(&fixture, JOIN("b")), STATUS_OK);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1)), STATUS_OK);
    assert_int_equal(consumer_deadline_ms(fixture.group), 11000); /* a has to give up two */
    const struct consumer_event event = {
        .kind = CONSUMER_TICK, .now_ms = 11000, .catalog = &catalog};
    consumer_step(fixture.group, &event, &fixture.arena, &fixture.out);
    consumer_verify(fixture.group);
    assert_int_equal(consumer_member_count(fixture.group), 1);
    fixture.now_ms = 11000;
    assert_int_equal(send(&fixture, BEAT(.member = "b", .epoch = 2)), STATUS_OK);
    assert_int_equal(assignment(&fixture), 15);
    assert_int_equal(fixture.out.answer.member_epoch, 3);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1)), STATUS_UNKNOWN_MEMBER_ID);
    fixture_close(&fixture);
}

static void statics(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .instance = "i", .names = "t", HAS(0))),
                     STATUS_OK);
    struct beat second = {"b", 0, "i", "t", NULL, true, 0};
    assert_int_equal(send(&fixture, &second), STATUS_UNRELEASED_INSTANCE_ID);
    assert_int_equal(send(&fixture, BEAT(.member = "b", .instance = "i", .epoch = 1)),
                     STATUS_FENCED_INSTANCE_ID);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .instance = "i", .epoch = -2)), STATUS_OK);
    assert_int_equal(fixture.out.answer.member_epoch, -2);
    assert_int_equal(consumer_member_count(fixture.group), 1);
    int32_t epoch = fixture.group->epoch;
    assert_int_equal(send(&fixture, &second), STATUS_OK); /* and has it all again, at once */
    assert_int_equal(assignment(&fixture), 15);
    assert_int_equal(fixture.group->epoch, epoch);
    assert_int_equal(consumer_member_count(fixture.group), 1);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .instance = "i", .epoch = -1)),
                     STATUS_FENCED_INSTANCE_ID);
    assert_int_equal(send(&fixture, BEAT(.member = "b", .instance = "i", .epoch = -1)), STATUS_OK);
    assert_int_equal(consumer_member_count(fixture.group), 0);
    fixture_close(&fixture);
}

static void patterns(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .pattern = "x|t", HAS(0))), STATUS_OK);
    assert_int_equal(assignment(&fixture), 15);
    assert_true(consumer_subscribes(fixture.group, BYTES_LITERAL("t")));
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1, .pattern = "tt", HAS(15))),
                     STATUS_OK);
    assert_int_equal(assignment(&fixture), 0);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = 1, .pattern = "", HAS(0))),
                     STATUS_OK);
    assert_true(list_is_empty(&fixture.group->patterns));
    fixture_close(&fixture);
}

static void erased(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    assert_int_equal(send(&fixture, JOIN("a")), STATUS_OK);
    assert_int_equal(send(&fixture, BEAT(.member = "a", .epoch = -1)), STATUS_OK);
    assert_int_equal(consumer_check_delete(fixture.group), STATUS_OK);
    consumer_erase(fixture.group, &fixture.arena, &fixture.out);
    assert_false(fixture.out.broken);
    assert_int_equal(fixture.out.record_count, 2);
    for (int32_t i = 0; i < fixture.out.record_count; i++) {
        assert_null(fixture.out.records[i].value.data);
        assert_int_equal(consumer_replay(fixture.group, &fixture.out.records[i], &fixture.arena),
                         STATUS_OK);
    }
    assert_true(consumer_is_blank(fixture.group));
    fixture_close(&fixture);
}

/* Memory runs out at every place in turn: the group says so, and can be closed. */
static void memory_spent(void **state)
{
    (void)state;
    int broken = 0;
    for (size_t size = 0; size < 3000; size += 16) {
        struct fixture fixture;
        fixture_open(&fixture);
        assert_int_equal(send(&fixture, JOIN("a")), STATUS_OK);
        fixture.heap.size_max = fixture.heap.size + size;
        assert_int_equal(send(&fixture, JOIN("b")), STATUS_COORDINATOR_NOT_AVAILABLE);
        assert_false(fixture.out.broken); /* no room is seen before anything is touched */
        (void)send(&fixture, BEAT(.member = "a", .epoch = 1, .names = "u", .pattern = "t"));
        if (fixture.out.broken) {
            assert_int_equal(fixture.out.answer.error_code,
                             status_code(STATUS_COORDINATOR_NOT_AVAILABLE));
            broken++;
        }
        fixture_close(&fixture);
    }
    assert_true(broken > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),    cmocka_unit_test(epochs),       cmocka_unit_test(handshake),
        cmocka_unit_test(deadlines), cmocka_unit_test(statics),      cmocka_unit_test(patterns),
        cmocka_unit_test(erased),    cmocka_unit_test(memory_spent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
