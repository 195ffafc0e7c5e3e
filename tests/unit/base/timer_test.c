/* SPDX-License-Identifier: Apache-2.0 */
#include "base/timer.h"

#include "base/check.h"
#include "base/random.h"
#include "tests/lib/test.h"

#define TIMER_COUNT 300

struct world {
    struct timers timers;
    size_t fired[4 * TIMER_COUNT];
    size_t fired_count;
};

struct alarm {
    struct timer timer;
    struct world *world;
    size_t index;
    struct alarm *disarms; /* when it fires */
    bool again;
};

static void alarm_fire(struct timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    assert_false(timer->armed);
    alarm->world->fired[alarm->world->fired_count++] = alarm->index;
    if (alarm->disarms != NULL) {
        timer_disarm(&alarm->world->timers, &alarm->disarms->timer);
    }
    if (alarm->again) {
        timer_arm(&alarm->world->timers, timer, 0);
    }
}

static void alarms_init(struct world *world, struct alarm *alarms, size_t count)
{
    *world = (struct world){0};
    timers_init(&world->timers);
    for (size_t i = 0; i < count; i++) {
        alarms[i] = (struct alarm){.timer.fire = alarm_fire, .world = world, .index = i};
    }
}

static void equal_deadlines_fire_in_arming_order(void **state)
{
    (void)state;
    struct world world;
    struct alarm alarms[50];
    alarms_init(&world, alarms, 50);
    for (size_t i = 0; i < 50; i++) {
        timer_arm(&world.timers, &alarms[i].timer, 10 + i % 2);
    }
    timers_fire(&world.timers, 9);
    assert_int_equal(world.fired_count, 0);
    timers_fire(&world.timers, 11);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(world.fired[i], i < 25 ? 2 * i : 2 * (i - 25) + 1);
    }
    assert_true(timers_next(&world.timers) == TIMER_NEVER);
}

static void fire_may_disarm_and_arm(void **state)
{
    (void)state;
    struct world world;
    struct alarm alarms[5];
    alarms_init(&world, alarms, 5);
    for (size_t i = 0; i < 5; i++) {
        timer_arm(&world.timers, &alarms[i].timer, i);
    }
    alarms[0].again = true; /* with a deadline that is due at once */
    alarms[1].disarms = &alarms[2];
    alarms[3].disarms = &alarms[4]; /* not due yet */
    timers_fire(&world.timers, 3);
    static const size_t expected[] = {0, 1, 3};
    assert_int_equal(world.fired_count, 3);
    assert_memory_equal(world.fired, expected, sizeof(expected));
    assert_int_equal(timers_next(&world.timers), 0);
    alarms[0].again = false;
    timers_fire(&world.timers, 100);
    assert_int_equal(world.fired_count, 4);
    timer_disarm(&world.timers, &alarms[4].timer);
    assert_true(timers_next(&world.timers) == TIMER_NEVER);
}

/* Against the plainest model: a scan for the smallest. */
static void random_use(void **state)
{
    (void)state;
    struct world world;
    struct alarm alarms[TIMER_COUNT];
    uint64_t now = 0;
    struct random random;
    random_init(&random, 5);
    alarms_init(&world, alarms, TIMER_COUNT);
    for (size_t round = 0; round < 2000; round++) {
        for (size_t i = 0; i < 20; i++) {
            struct alarm *alarm = &alarms[random_below(&random, TIMER_COUNT)];
            if (random_below(&random, 3) == 0) {
                timer_disarm(&world.timers, &alarm->timer);
            } else {
                timer_arm(&world.timers, &alarm->timer, now + random_below(&random, 50));
            }
        }
        uint64_t next = TIMER_NEVER;
        size_t due = 0;
        now += random_below(&random, 10);
        for (size_t i = 0; i < TIMER_COUNT; i++) {
            if (alarms[i].timer.armed) {
                uint64_t deadline = alarms[i].timer.deadline_ns;
                next = deadline < next ? deadline : next;
                due += deadline <= now;
            }
        }
        assert_true(timers_next(&world.timers) == next);
        world.fired_count = 0;
        timers_fire(&world.timers, now);
        assert_int_equal(world.fired_count, due);
        for (size_t i = 1; i < due; i++) {
            const struct timer *a = &alarms[world.fired[i - 1]].timer;
            const struct timer *b = &alarms[world.fired[i]].timer;
            assert_true(a->deadline_ns < b->deadline_ns ||
                        (a->deadline_ns == b->deadline_ns && a->order < b->order));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_deadlines_fire_in_arming_order),
        cmocka_unit_test(fire_may_disarm_and_arm),
        cmocka_unit_test(random_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
