/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/merge.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/random.h"
#include "storage/key_entry.h"
#include "tests/lib/test.h"

#define RUNS_MAX 33
#define ITEMS_MAX 400

/* A run over an array. Every `pends`th step says once that it has to wait; the key it lends lies in
 * memory that the next step overwrites, as a block of a file would be. */
struct list_run {
    struct merge_run run;
    const struct key_item *items;
    size_t count;
    size_t next;
    uint32_t pends;
    uint32_t calls;
    enum status fails_with;
    size_t fails_at;
    uint8_t lent[64];
};

static enum status list_advance(struct merge_run *run)
{
    struct list_run *list = CONTAINER_OF(run, struct list_run, run);
    list->calls += 1;
    if (list->pends > 0 && list->calls % list->pends == 0) {
        return STATUS_PENDING;
    }
    if (list->fails_with != STATUS_OK && list->next == list->fails_at) {
        return list->fails_with;
    }
    memset(list->lent, 0xee, sizeof(list->lent));
    if (list->next == list->count) {
        return STATUS_NOT_FOUND;
    }
    const struct key_item *item = &list->items[list->next];
    check(item->key.size <= sizeof(list->lent));
    if (item->key.size > 0) {
        memcpy(list->lent, item->key.data, item->key.size);
    }
    run->key = bytes_of(list->lent, item->key.size);
    run->offset = item->entry.offset;
    run->value = &item->entry;
    run->repeats = list->next > 0 && bytes_equal(item->key, item[-1].key);
    list->next += 1;
    return STATUS_OK;
}

struct fixture {
    struct list_run lists[RUNS_MAX];
    struct merge_run *runs[RUNS_MAX];
    struct merge_node nodes[RUNS_MAX];
    struct merge merge;
};

static void open_runs(struct fixture *fixture, uint32_t count, enum merge_equal equal)
{
    for (uint32_t i = 0; i < count; i++) {
        fixture->lists[i].run.advance = list_advance;
        fixture->runs[i] = &fixture->lists[i].run;
    }
    merge_init(&fixture->merge, fixture->runs, fixture->nodes, count, equal);
}

static enum status next(struct merge *merge, const struct merge_run **run)
{
    enum status status;
    do {
        status = merge_next(merge, run);
    } while (status == STATUS_PENDING);
    return status;
}

static struct key_item item_of(const char *key, int64_t offset)
{
    return (struct key_item){bytes_of_text(key), {.offset = offset}};
}

static void expect(struct fixture *fixture, const char *text)
{
    char seen[256] = "";
    size_t size = 0;
    const struct merge_run *run;
    enum status status;
    while ((status = next(&fixture->merge, &run)) == STATUS_OK) {
        size += (size_t)snprintf(seen + size, sizeof(seen) - size, "%.*s%lld ", (int)run->key.size,
                                 (const char *)run->key.data, (long long)run->offset);
    }
    assert_int_equal(status, STATUS_NOT_FOUND);
    assert_string_equal(seen, text);
}

static void nothing_merges_to_nothing(void **state)
{
    (void)state;
    struct fixture fixture = {0};
    open_runs(&fixture, 0, MERGE_ALL);
    expect(&fixture, "");
    fixture = (struct fixture){0};
    open_runs(&fixture, 5, MERGE_NEWEST);
    expect(&fixture, "");
}

static void keys_are_ordered_by_bytes(void **state)
{
    (void)state;
    struct key_item left[] = {item_of("", 4), item_of("a", 1), item_of("abcdefgh", 2),
                              item_of("abcdefghi", 3)};
    struct key_item right[] = {item_of("A", 9), item_of("abcdefgH", 7), item_of("b", 8),
                               item_of("\xff", 6)};
    struct fixture fixture = {0};
    fixture.lists[0] = (struct list_run){.items = left, .count = ARRAY_COUNT(left)};
    fixture.lists[1] = (struct list_run){.items = right, .count = ARRAY_COUNT(right)};
    open_runs(&fixture, 2, MERGE_ALL);
    expect(&fixture, "4 A9 a1 abcdefgH7 abcdefgh2 abcdefghi3 b8 \xff"
                     "6 ");
}

static void of_equal_keys_the_newest_wins(void **state)
{
    (void)state;
    struct key_item first[] = {item_of("k", 5), item_of("k", 3), item_of("m", 1)};
    struct key_item second[] = {item_of("k", 9), item_of("k", 4), item_of("z", 2)};
    struct key_item third[] = {item_of("k", 7), item_of("m", 6)};
    for (int newest = 0; newest < 2; newest++) {
        struct fixture fixture = {0};
        fixture.lists[0] = (struct list_run){.items = first, .count = ARRAY_COUNT(first)};
        fixture.lists[1] = (struct list_run){.items = second, .count = ARRAY_COUNT(second)};
        fixture.lists[2] = (struct list_run){.items = third, .count = ARRAY_COUNT(third)};
        open_runs(&fixture, 3, newest ? MERGE_NEWEST : MERGE_ALL);
        expect(&fixture, newest ? "k9 m6 z2 " : "k9 k7 k5 k4 k3 m6 m1 z2 ");
        assert_int_equal(fixture.merge.dropped, newest ? 5 : 0);
    }
}

static void a_run_that_steps_back_is_malformed(void **state)
{
    (void)state;
    struct key_item items[] = {item_of("b", 1), item_of("a", 2)};
    struct fixture fixture = {0};
    fixture.lists[0] = (struct list_run){.items = items, .count = ARRAY_COUNT(items)};
    open_runs(&fixture, 1, MERGE_ALL);
    const struct merge_run *run;
    assert_int_equal(merge_next(&fixture.merge, &run), STATUS_OK);
    assert_int_equal(merge_next(&fixture.merge, &run), STATUS_MALFORMED);
}

static void a_failing_run_ends_the_merge(void **state)
{
    (void)state;
    struct key_item items[] = {item_of("a", 1), item_of("b", 2)};
    for (size_t at = 0; at < 3; at++) {
        struct fixture fixture = {0};
        fixture.lists[0] = (struct list_run){.items = items, .count = ARRAY_COUNT(items)};
        fixture.lists[0].fails_with = STATUS_IO;
        fixture.lists[0].fails_at = at;
        fixture.lists[1] = (struct list_run){.items = items, .count = ARRAY_COUNT(items)};
        open_runs(&fixture, 2, MERGE_NEWEST);
        const struct merge_run *run;
        for (size_t i = 0; i < at; i++) {
            assert_int_equal(merge_next(&fixture.merge, &run), STATUS_OK);
        }
        assert_int_equal(merge_next(&fixture.merge, &run), STATUS_IO);
    }
}

static int by_key_newest_first(const void *a, const void *b)
{
    const struct key_item *left = a;
    const struct key_item *right = b;
    int order = bytes_compare(left->key, right->key);
    if (order != 0) {
        return order;
    }
    return (left->entry.offset < right->entry.offset) - (left->entry.offset > right->entry.offset);
}

/* Few letters and often a long common beginning: equal keys and ties of the prefix are frequent. */
static void random_item(struct random *random, uint8_t *memory, struct key_item *item,
                        int64_t offset)
{
    size_t size = random_below(random, 4);
    if (random_below(random, 2) == 0) {
        memcpy(memory, "0123456789abcdef", 16);
        size = 6 + random_below(random, 12);
    }
    for (size_t i = size < 3 ? 0 : size - 3; i < size; i++) {
        memory[i] = (uint8_t)random_below(random, 3);
    }
    *item = (struct key_item){bytes_of(memory, size), {.offset = offset}};
}

static void expect_model(struct fixture *fixture, const struct key_item *model, size_t count,
                         enum merge_equal equal)
{
    const struct merge_run *run;
    size_t dropped = 0;
    for (size_t i = 0; i < count; i++) {
        if (equal == MERGE_NEWEST && i > 0 && bytes_equal(model[i].key, model[i - 1].key)) {
            dropped += 1;
            continue;
        }
        assert_int_equal(next(&fixture->merge, &run), STATUS_OK);
        assert_bytes_equal(run->key, model[i].key);
        assert_int_equal(run->offset, model[i].entry.offset);
        assert_int_equal(((const struct key_entry *)run->value)->offset, run->offset);
    }
    assert_int_equal(next(&fixture->merge, &run), STATUS_NOT_FOUND);
    assert_int_equal(next(&fixture->merge, &run), STATUS_NOT_FOUND);
    assert_int_equal(fixture->merge.dropped, dropped);
}

static void random_runs_agree_with_a_sort(void **state)
{
    (void)state;
    static struct key_item items[ITEMS_MAX];
    static struct key_item model[ITEMS_MAX];
    static uint8_t keys[ITEMS_MAX][32];
    struct random random;
    random_init(&random, 11);
    for (uint32_t round = 0; round < 3000; round++) {
        size_t count = random_below(&random, ITEMS_MAX);
        uint32_t run_count = 1 + (uint32_t)random_below(&random, RUNS_MAX);
        for (size_t i = 0; i < count; i++) {
            random_item(&random, keys[i], &items[i], (int64_t)i);
        }
        memcpy(model, items, count * sizeof(model[0]));
        qsort(model, count, sizeof(model[0]), by_key_newest_first);
        enum merge_equal equal = round % 2 == 0 ? MERGE_NEWEST : MERGE_ALL;
        struct fixture fixture = {0};
        size_t begin = 0;
        for (uint32_t i = 0; i < run_count; i++) {
            size_t until =
                i + 1 == run_count ? count : begin + random_below(&random, count - begin + 1);
            qsort(items + begin, until - begin, sizeof(items[0]), by_key_newest_first);
            fixture.lists[i] = (struct list_run){.items = items + begin, .count = until - begin};
            fixture.lists[i].pends = round % 3 == 0 ? 2 + (uint32_t)random_below(&random, 4) : 0;
            begin = until;
        }
        open_runs(&fixture, run_count, equal);
        expect_model(&fixture, model, count, equal);
    }
}

static void a_plan_keeps_to_the_budget(void **state)
{
    (void)state;
    assert_int_equal(merge_plan(10, 100, 199).fan_in, 0);
    struct merge_plan plan = merge_plan(10, 100, 1000);
    assert_int_equal(plan.fan_in, 10);
    assert_int_equal(plan.passes, 1);
    plan = merge_plan(11, 100, 1000);
    assert_int_equal(plan.passes, 2);
    assert_int_equal(merge_plan(1, 100, 1000).passes, 0);
    assert_int_equal(merge_plan(1000, 100, 1000).passes, 3);
    assert_int_equal(merge_plan(9, 100, 200).passes, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_merges_to_nothing),
        cmocka_unit_test(keys_are_ordered_by_bytes),
        cmocka_unit_test(of_equal_keys_the_newest_wins),
        cmocka_unit_test(a_run_that_steps_back_is_malformed),
        cmocka_unit_test(a_failing_run_ends_the_merge),
        cmocka_unit_test(random_runs_agree_with_a_sort),
        cmocka_unit_test(a_plan_keeps_to_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
