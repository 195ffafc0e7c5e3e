/* SPDX-License-Identifier: Apache-2.0 */
/* What the metadata log answers to changes, before anything is written. */
#include "topic/metadata.h"

#include "tests/lib/log_world.h"
#include "tests/lib/test.h"
#include "topic/manager.h"

struct bench {
    struct log_world world;
    struct image image;
    struct peers peers;
    struct random random;
    struct metadata *metadata;
    bool answered;
};

static void bench_open(struct bench *bench)
{
    struct log_world *world = &bench->world;
    log_world_open(world, &(struct log_world_options){.seed = 1});
    random_init(&bench->random, 1);
    assert_true(image_init(&bench->image, &world->heap, 1, 1, &(struct topic_config){0}));
    const struct metadata_options options = {
        .ring = world->ring,
        .store = world->store,
        .heap = &world->heap,
        .pages = world->pages,
        .diag = &world->diag,
        .peers = &bench->peers,
        .random = &bench->random,
        .node_id = 1,
    };
    struct image *images[] = {&bench->image};
    assert_int_equal(metadata_open(&bench->metadata, &options, images, 1), STATUS_OK);
}

static void bench_close(struct bench *bench)
{
    metadata_close(bench->metadata, true);
    image_deinit(&bench->image);
    log_world_close(&bench->world);
}

static void change_done(struct change *change)
{
    *(bool *)change->owner = true;
}

static struct change_topic topic_of(const char *name, int32_t partition_count)
{
    return (struct change_topic){.name = bytes_of_text(name), .partition_count = partition_count};
}

static void expect_validated(struct bench *bench, struct change_topic *topics,
                             const enum status *expected, int32_t count)
{
    struct change change = {
        .kind = CHANGE_CREATE_TOPICS,
        .topics = topics,
        .topic_count = count,
        .validate_only = true,
        .done = change_done,
        .owner = &bench->answered,
    };
    metadata_submit(bench->metadata, &bench->peers, METADATA_CORE, &change);
    assert_true(bench->answered);
    assert_int_equal(change.status, STATUS_OK);
    for (int32_t i = 0; i < count; i++) {
        assert_int_equal(topics[i].status, expected[i]);
    }
}

/* A topic that is refused for want of memory leaves its share to those behind it in the request,
 * and one that is granted does not. */
static void test_refused_topic_takes_no_room(void **state)
{
    (void)state;
    struct bench bench = {0};
    bench_open(&bench);
    struct change_topic topics[] = {
        topic_of("large", METADATA_PARTITIONS_MAX),
        topic_of("small", 1),
        topic_of("half", 30000),
        topic_of("other-half", 30000),
        topic_of("last", 1),
    };
    static const enum status expected[] = {
        STATUS_POLICY_VIOLATION, STATUS_OK, STATUS_OK, STATUS_POLICY_VIOLATION, STATUS_OK,
    };
    expect_validated(&bench, topics, expected, ARRAY_COUNT(topics));
    bench_close(&bench);
}

/* Texts of settings count in full: what is durable must find room in every image, at each start. */
static void test_long_settings_take_room(void **state)
{
    (void)state;
    struct bench bench = {0};
    bench_open(&bench);
    static const char name[] = "leader.replication.throttled.replicas";
    size_t size = bench.world.heap.size_max / 4;
    uint8_t *text = heap_acquire(&bench.world.heap, size);
    assert_non_null(text);
    memset(text, ' ', size);
    const struct change_setting setting = {.name = bytes_of_text(name),
                                           .value = bytes_of(text, size)};
    struct change_topic topics[] = {topic_of("first", 1), topic_of("second", 1),
                                    topic_of("third", 1)};
    for (size_t i = 0; i < 2; i++) {
        topics[i].settings = &setting;
        topics[i].setting_count = 1;
    }
    static const enum status expected[] = {STATUS_OK, STATUS_POLICY_VIOLATION, STATUS_OK};
    expect_validated(&bench, topics, expected, ARRAY_COUNT(topics));
    heap_release(&bench.world.heap, text, size);
    bench_close(&bench);
}

/* A second core, of which only the memory matters here. */
struct other_core {
    struct heap heap;
    struct image image;
    struct manager manager;
    struct mailbox mailboxes[2];
};

static void other_core_open(struct other_core *other, struct bench *bench)
{
    heap_init(&other->heap, MIB);
    assert_true(image_init(&other->image, &other->heap, 1, 2, &(struct topic_config){0}));
    other->manager = (struct manager){
        .core = 1, .image = &other->image, .peers = &bench->peers, .diag = &bench->world.diag};
    for (int32_t core = 0; core < 2; core++) {
        mailbox_init(&other->mailboxes[core]);
        bench->peers.peers[core].mailbox = &other->mailboxes[core];
        bench->peers.peers[core].manager = core == 1 ? &other->manager : NULL;
    }
    bench->peers.count = 2;
}

/* W4. Groups may have filled one core alone, and it could not apply what is durable. */
static void test_every_core_is_asked_for_room(void **state)
{
    (void)state;
    struct bench bench = {0};
    struct other_core other;
    bench_open(&bench);
    other_core_open(&other, &bench);
    size_t size = MIB / 10 * 7;
    void *groups = heap_acquire(&other.heap, size);
    assert_non_null(groups);
    for (int round = 0; round < 2; round++) {
        struct change_topic topics[] = {topic_of("large", 50), topic_of("small", 1)};
        struct change change = {
            .kind = CHANGE_CREATE_TOPICS,
            .topics = topics,
            .topic_count = ARRAY_COUNT(topics),
            .validate_only = true,
            .done = change_done,
            .owner = &bench.answered,
        };
        bench.answered = false;
        metadata_submit(bench.metadata, &bench.peers, METADATA_CORE, &change);
        assert_false(bench.answered);
        assert_int_equal(mailbox_drain(&other.mailboxes[1]), 1);
        assert_int_equal(mailbox_drain(&other.mailboxes[METADATA_CORE]), 1);
        assert_true(bench.answered);
        assert_int_equal(topics[0].status, round == 0 ? STATUS_POLICY_VIOLATION : STATUS_OK);
        assert_int_equal(topics[1].status, STATUS_OK);
        heap_release(&other.heap, groups, size);
        groups = NULL;
    }
    image_deinit(&other.image);
    heap_deinit(&other.heap);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_topic_takes_no_room),
        cmocka_unit_test(test_long_settings_take_room),
        cmocka_unit_test(test_every_core_is_asked_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
