/* SPDX-License-Identifier: Apache-2.0 */
/* Both assignors on random groups: the rules of broker/groups/assignor.h. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "base/check.h"
#include "base/random.h"
#include "broker/groups/assignor.h"

#define TOPICS 5
#define MEMBERS 7
#define CASES 3000

struct fixture {
    struct pages *pages;
    struct arena arena;
    struct random random;
    struct assignor_topic topics[TOPICS];
    struct assignor_member members[MEMBERS];
    int32_t indexes[MEMBERS][TOPICS];
    char names[MEMBERS][8];
    struct assignor_group group;
};

static void group_make(struct fixture *fixture, bool equal)
{
    struct assignor_group *group = &fixture->group;
    uint64_t everybody = random_below(&fixture->random, 1 << TOPICS);
    group->topics = fixture->topics;
    group->members = fixture->members;
    group->topic_count = TOPICS;
    group->member_count = (int32_t)random_below(&fixture->random, MEMBERS + 1);
    for (int32_t i = 0; i < TOPICS; i++) {
        fixture->topics[i].id.bytes[0] = (uint8_t)i;
        fixture->topics[i].partition_count = (int32_t)random_below(&fixture->random, 12);
    }
    for (int32_t i = 0; i < group->member_count; i++) {
        struct assignor_member *member = &fixture->members[i];
        uint64_t mine = equal ? everybody : random_below(&fixture->random, 1 << TOPICS);
        snprintf(fixture->names[i], sizeof(fixture->names[i]), "m%d", (int)((i * 3 + 1) % 7));
        *member = (struct assignor_member){.id = bytes_of_text(fixture->names[i]),
                                           .topics = fixture->indexes[i]};
        if (i % 3 == 0) {
            member->instance_id = member->id;
        }
        for (int32_t k = 0; k < TOPICS; k++) {
            if ((mine >> k & 1) != 0) {
                fixture->indexes[i][member->topic_count++] = k;
            }
        }
    }
}

static bool subscribes(const struct assignor_member *member, int32_t topic)
{
    for (int32_t i = 0; i < member->topic_count; i++) {
        if (member->topics[i] == topic) {
            return true;
        }
    }
    return false;
}

/* A1 */
static void check_cover(const struct fixture *fixture)
{
    const struct assignor_group *group = &fixture->group;
    int32_t total = 0;
    for (int32_t i = 0; i < TOPICS; i++) {
        int32_t subscribers = 0;
        for (int32_t m = 0; m < group->member_count; m++) {
            subscribers += subscribes(&group->members[m], i);
        }
        for (int32_t k = 0; k < group->topics[i].partition_count; k++) {
            struct part part = {.topic_id = group->topics[i].id, .index = k};
            int32_t owners = 0;
            for (int32_t m = 0; m < group->member_count; m++) {
                bool owned = parts_find(group->members[m].target, &part) != NULL;
                assert_true(!owned || subscribes(&group->members[m], i));
                owners += owned;
            }
            assert_int_equal(owners, subscribers > 0);
            total += owners;
        }
    }
    for (int32_t m = 0; m < group->member_count; m++) {
        total -= group->members[m].target.count;
    }
    assert_int_equal(total, 0);
}

/* A3 */
static void check_even(const struct fixture *fixture, bool equal)
{
    const struct assignor_group *group = &fixture->group;
    for (int32_t a = 0; a < group->member_count; a++) {
        for (int32_t b = 0; b < group->member_count; b++) {
            const struct assignor_member *more = &group->members[a];
            const struct assignor_member *less = &group->members[b];
            if (more->target.count < less->target.count + 2) {
                continue;
            }
            assert_false(equal);
            for (int32_t i = 0; i < more->target.count; i++) {
                assert_false(subscribes(less, more->target.items[i].topic_id.bytes[0]));
            }
        }
    }
}

/* A2: the same members in another order. */
static void check_order(struct fixture *fixture, const struct assignor *assignor)
{
    struct assignor_group turned = fixture->group;
    struct assignor_member members[MEMBERS];
    turned.members = members;
    for (int32_t i = 0; i < turned.member_count; i++) {
        members[i] = fixture->members[turned.member_count - 1 - i];
    }
    assert_true(assignor->assign(&turned, &fixture->arena));
    for (int32_t i = 0; i < turned.member_count; i++) {
        assert_true(
            parts_equal(members[i].target, fixture->members[turned.member_count - 1 - i].target));
    }
}

static void fixture_open(struct fixture *fixture)
{
    const struct pages_limits limits = {.size_max = {[PAGES_REQUEST] = 4 << 20}};
    *fixture = (struct fixture){.pages = pages_open(&limits)};
    assert_non_null(fixture->pages);
    arena_init(&fixture->arena, fixture->pages, 4 << 20);
    random_init(&fixture->random, 848);
}

static void fixture_close(struct fixture *fixture)
{
    arena_reset(&fixture->arena);
    pages_close(fixture->pages);
}

static void uniform(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    const struct assignor *assignor = assignor_find(BYTES_LITERAL("uniform"));
    for (int i = 0; i < CASES; i++) {
        bool equal = i % 2 == 0;
        group_make(&fixture, equal);
        assert_true(assignor->assign(&fixture.group, &fixture.arena));
        check_cover(&fixture);
        check_even(&fixture, equal);
        check_order(&fixture, assignor);
        /* Again, from there: nobody gains or loses anything. */
        struct parts before[MEMBERS];
        for (int32_t m = 0; m < fixture.group.member_count; m++) {
            before[m] = fixture.members[m].current = fixture.members[m].target;
        }
        assert_true(assignor->assign(&fixture.group, &fixture.arena));
        for (int32_t m = 0; m < fixture.group.member_count; m++) {
            assert_true(parts_equal(before[m], fixture.members[m].target));
        }
        arena_reset(&fixture.arena);
    }
    fixture_close(&fixture);
}

/* What a member keeps when another one comes: as much as balance allows. */
static void uniform_sticks(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct assignor_member *members = fixture.members;
    static const int32_t first[] = {0};
    fixture.topics[0].partition_count = 12;
    fixture.group = (struct assignor_group){fixture.topics, 1, members, 3};
    for (int i = 0; i < 4; i++) {
        snprintf(fixture.names[i], sizeof(fixture.names[i]), "m%d", 3 - i);
        members[i] = (struct assignor_member){
            .id = bytes_of_text(fixture.names[i]), .topics = first, .topic_count = 1};
    }
    assert_true(assign_uniform(&fixture.group, &fixture.arena));
    struct parts before[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(members[i].target.count, 4);
        before[i] = members[i].current = members[i].target;
    }
    fixture.group.member_count = 4;
    assert_true(assign_uniform(&fixture.group, &fixture.arena));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(members[i].target.count, 3);
        assert_true(parts_are_within(members[i].target, before[i]));
    }
    fixture_close(&fixture);
}

static void range(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    const struct assignor *assignor = assignor_find(BYTES_LITERAL("range"));
    for (int i = 0; i < CASES; i++) {
        group_make(&fixture, i % 2 == 0);
        assert_true(assignor->assign(&fixture.group, &fixture.arena));
        check_cover(&fixture);
        check_order(&fixture, assignor);
        for (int32_t m = 0; m < fixture.group.member_count; m++) { /* A4: runs of neighbours */
            struct parts target = fixture.members[m].target;
            for (int32_t k = 1; k < target.count; k++) {
                assert_true(!uuid_equal(&target.items[k].topic_id, &target.items[k - 1].topic_id) ||
                            target.items[k].index == target.items[k - 1].index + 1);
            }
        }
        arena_reset(&fixture.arena);
    }
    fixture_close(&fixture);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(assignor_row(0)->name, "uniform");
    assert_null(assignor_row(2));
    assert_null(assignor_row(-1));
    assert_null(assignor_find(BYTES_LITERAL("Range")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform),
        cmocka_unit_test(uniform_sticks),
        cmocka_unit_test(range),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
