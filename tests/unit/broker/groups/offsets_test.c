/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Committed offsets: the rules one by one, refusal of memory at every step, and random histories
 * against a model that knows the log and nothing else.
 */
#include "tests/lib/test.h"

#include <stdio.h>

#include "base/random.h"
#include "broker/groups/group.h"

#define GROUPS 2
#define TOPICS 3
#define PARTITIONS 3
#define PLACES (GROUPS * TOPICS * PARTITIONS)
#define PRODUCERS 3
#define HISTORIES 300
#define STEPS 200

static const char *const NAMES[TOPICS] = {"apples", "a", "apples-and-more"};

struct fixture {
    struct heap heap;
    struct offsets offsets;
    struct group groups[GROUPS];
};

static void fixture_open(struct fixture *fixture, size_t size_max)
{
    *fixture = (struct fixture){0};
    heap_init(&fixture->heap, size_max);
    assert_true(offsets_init(&fixture->offsets, &fixture->heap, 77));
    for (int i = 0; i < GROUPS; i++) {
        group_offsets_init(&fixture->groups[i].offsets);
        fixture->groups[i].by_name.hash = (uint64_t)i * 12345;
    }
}

static void fixture_close(struct fixture *fixture)
{
    for (int i = 0; i < GROUPS; i++) {
        group_offsets_clear(&fixture->offsets, &fixture->groups[i]);
        assert_int_equal(fixture->groups[i].offsets.count, 0);
        assert_int_equal(fixture->groups[i].offsets.place_count, 0);
    }
    offsets_deinit(&fixture->offsets);
    heap_deinit(&fixture->heap);
}

static struct offset_spot spot_of(struct fixture *fixture, int place)
{
    return (struct offset_spot){
        .group = &fixture->groups[place / (TOPICS * PARTITIONS)],
        .topic = bytes_of_text(NAMES[place / PARTITIONS % TOPICS]),
        .partition = place % PARTITIONS,
    };
}

static struct offset_value value_of(int64_t offset, char text[24])
{
    snprintf(text, 24, "%.*s", (int)(offset % 20), "metadata of an offset");
    return (struct offset_value){
        .offset = offset, .leader_epoch = 1, .expire_ms = -1, .metadata = bytes_of_text(text)};
}

static enum status prepare(struct fixture *fixture, int place, int64_t offset, int64_t producer,
                           struct offset_change *change)
{
    char text[24];
    const struct offset_spot spot = spot_of(fixture, place);
    const struct offset_value value = value_of(offset, text);
    return producer < 0
               ? offsets_prepare(&fixture->offsets, &spot, &value, change)
               : offsets_prepare_waiting(&fixture->offsets, &spot, &value, producer, change);
}

static void commit(struct fixture *fixture, int place, int64_t offset, int64_t producer,
                   int64_t log_offset)
{
    struct offset_change change;
    assert_int_equal(prepare(fixture, place, offset, producer, &change), STATUS_OK);
    offsets_apply(&fixture->offsets, &change, log_offset);
}

/* -1: none. */
static int64_t look(struct fixture *fixture, int place)
{
    const struct offset_spot spot = spot_of(fixture, place);
    const struct offset_place *found = offsets_find(&fixture->offsets, &spot);
    if (found == NULL || !found->committed) {
        return -1;
    }
    char text[24];
    const struct offset_value value = value_of(found->value.offset, text);
    assert_bytes_equal(found->value.metadata, value.metadata);
    return found->value.offset;
}

static bool is_unstable(struct fixture *fixture, int place)
{
    const struct offset_spot spot = spot_of(fixture, place);
    const struct offset_place *found = offsets_find(&fixture->offsets, &spot);
    return found != NULL && found->waiting_count > 0;
}

static void nobody(struct group *group)
{
    assert_non_null(group);
}

static void test_prepared_is_not_seen(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, MIB);
    struct offset_change change;
    assert_int_equal(prepare(&fixture, 0, 5, -1, &change), STATUS_OK);
    assert_int_equal(look(&fixture, 0), -1);
    assert_int_equal(fixture.groups[0].offsets.count, 0);
    offsets_apply(&fixture.offsets, &change, 10);
    assert_int_equal(look(&fixture, 0), 5);
    assert_int_equal(look(&fixture, 1), -1);
    assert_int_equal(look(&fixture, TOPICS * PARTITIONS), -1); /* the other group */
    assert_int_equal(fixture.groups[0].offsets.count, 1);
    assert_int_equal(prepare(&fixture, 0, 6, -1, &change), STATUS_OK);
    offsets_cancel(&fixture.offsets, &change);
    assert_int_equal(look(&fixture, 0), 5);
    fixture_close(&fixture);
}

static void test_transaction(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, MIB);
    commit(&fixture, 0, 1, -1, 1);
    commit(&fixture, 0, 2, 9, 2);
    commit(&fixture, 1, 3, 9, 3);
    commit(&fixture, 2, 4, 8, 4);
    assert_int_equal(look(&fixture, 0), 1);
    assert_int_equal(look(&fixture, 1), -1);
    assert_true(is_unstable(&fixture, 0));
    assert_true(is_unstable(&fixture, 1));
    offsets_end(&fixture.offsets, 9, true, nobody);
    assert_int_equal(look(&fixture, 0), 2);
    assert_int_equal(look(&fixture, 1), 3);
    assert_false(is_unstable(&fixture, 0));
    offsets_end(&fixture.offsets, 8, false, nobody);
    assert_int_equal(look(&fixture, 2), -1);
    assert_false(is_unstable(&fixture, 2));
    offsets_end(&fixture.offsets, 8, true, nobody); /* nothing is left of it */
    assert_int_equal(fixture.groups[0].offsets.place_count, 2);
    fixture_close(&fixture);
}

static void test_the_later_record_counts(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, MIB);
    commit(&fixture, 0, 2, 9, 5);
    commit(&fixture, 0, 3, -1, 6);
    offsets_end(&fixture.offsets, 9, true, nobody);
    assert_int_equal(look(&fixture, 0), 3);
    commit(&fixture, 1, 4, 9, 7);
    struct offset_spot spot = spot_of(&fixture, 1);
    offsets_remove(&fixture.offsets, offsets_find(&fixture.offsets, &spot), 8);
    assert_false(is_unstable(&fixture, 1));
    assert_int_equal(fixture.groups[0].offsets.place_count, 1);
    offsets_end(&fixture.offsets, 9, true, nobody);
    assert_int_equal(look(&fixture, 1), -1);
    fixture_close(&fixture);
}

/* Every refusal leaves things as they were. */
static void test_refusal(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, MIB);
    commit(&fixture, 0, 1, -1, 1);
    commit(&fixture, 0, 19, 5, 2);
    size_t held = fixture.heap.size;
    bool done = false;
    for (size_t more = 0; !done; more += 8) {
        fixture.heap.size_max = held + more;
        struct offset_change change;
        enum status status = prepare(&fixture, 4, 17, 6, &change);
        done = status == STATUS_OK;
        if (done) {
            offsets_cancel(&fixture.offsets, &change);
        } else {
            assert_int_equal(status, STATUS_NO_MEMORY);
        }
        assert_int_equal(fixture.heap.size, held);
        assert_int_equal(fixture.groups[0].offsets.place_count, 1);
    }
    fixture_close(&fixture);
}

/* ---- histories ---- */

struct model_record {
    int place;
    int64_t offset;   /* -1: a tombstone */
    int64_t producer; /* -1: none, or decided */
    bool dropped;
};

struct model {
    struct model_record records[STEPS];
    int count;
};

/* The newest decided record of the place. */
static int64_t model_look(const struct model *model, int place)
{
    for (int i = model->count; i-- > 0;) {
        const struct model_record *record = &model->records[i];
        if (record->place == place && record->producer < 0 && !record->dropped) {
            return record->offset;
        }
    }
    return -1;
}

static bool model_is_unstable(const struct model *model, int place)
{
    for (int i = 0; i < model->count; i++) {
        if (model->records[i].place == place && model->records[i].producer >= 0) {
            return true;
        }
    }
    return false;
}

static void model_end(struct model *model, int64_t producer, bool keep)
{
    for (int i = 0; i < model->count; i++) {
        if (model->records[i].producer == producer) {
            model->records[i].producer = -1;
            model->records[i].dropped = !keep;
        }
    }
}

/* A tombstone, and what waits before it. */
static void model_remove(struct model *model, int place)
{
    for (int i = 0; i < model->count; i++) {
        if (model->records[i].place == place && model->records[i].producer >= 0) {
            model->records[i].producer = -1;
            model->records[i].dropped = true;
        }
    }
    model->records[model->count++] = (struct model_record){place, -1, -1, 0};
}

static void history_step(struct fixture *fixture, struct model *model, struct random *random)
{
    int place = (int)random_below(random, PLACES);
    int64_t producer = (int64_t)random_below(random, PRODUCERS);
    switch (random_below(random, 8)) {
    case 0:
    case 1:
        commit(fixture, place, model->count + 1, producer, model->count);
        model->records[model->count] = (struct model_record){place, model->count + 1, producer, 0};
        model->count++;
        return;
    case 2: {
        bool keep = random_below(random, 2) == 0;
        offsets_end(&fixture->offsets, producer, keep, nobody);
        model_end(model, producer, keep);
        return;
    }
    case 3: {
        const struct offset_spot spot = spot_of(fixture, place);
        struct offset_place *found = offsets_find(&fixture->offsets, &spot);
        if (found != NULL) {
            offsets_remove(&fixture->offsets, found, model->count);
        }
        model_remove(model, place);
        return;
    }
    case 4: {
        struct offset_change change;
        assert_int_equal(prepare(fixture, place, 3, producer - 1, &change), STATUS_OK);
        offsets_cancel(&fixture->offsets, &change);
        return;
    }
    default:
        commit(fixture, place, model->count + 1, -1, model->count);
        model->records[model->count] = (struct model_record){place, model->count + 1, -1, 0};
        model->count++;
        return;
    }
}

static void test_histories(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        struct fixture fixture;
        struct model model = {0};
        struct random random;
        random_init(&random, seed);
        fixture_open(&fixture, MIB);
        for (int step = 0; step < STEPS; step++) {
            history_step(&fixture, &model, &random);
            int32_t count = 0;
            for (int place = 0; place < PLACES; place++) {
                assert_int_equal(look(&fixture, place), model_look(&model, place));
                assert_int_equal(is_unstable(&fixture, place), model_is_unstable(&model, place));
                count += look(&fixture, place) >= 0 ? 1 : 0;
            }
            assert_int_equal(fixture.groups[0].offsets.count + fixture.groups[1].offsets.count,
                             count);
        }
        fixture_close(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prepared_is_not_seen),
        cmocka_unit_test(test_transaction),
        cmocka_unit_test(test_the_later_record_counts),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
