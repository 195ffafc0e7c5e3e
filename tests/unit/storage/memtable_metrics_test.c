/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/memtable_metrics.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "tests/lib/test.h"

struct world {
    struct heap heap;
    struct memtable *memtable;
    struct memtable_metrics metrics;
    uint64_t now_ns;
};

static uint64_t clock_step(void *clock)
{
    uint64_t *now = clock;
    *now += 1000;
    return *now;
}

static void world_open(struct world *world, double bloom_rate)
{
    *world = (struct world){0};
    heap_init(&world->heap, UINT64_C(1) << 30);
    world->memtable = memtable_open(&(struct memtable_options){.heap = &world->heap,
                                                               .shard_count = 8,
                                                               .size_max = UINT64_C(1) << 28,
                                                               .bloom_rate = bloom_rate,
                                                               .bloom_count = 1000000,
                                                               .sample_one_in = 1,
                                                               .now_ns = clock_step,
                                                               .clock = &world->now_ns});
    assert_non_null(world->memtable);
}

static void world_close(struct world *world)
{
    memtable_close(world->memtable);
    heap_deinit(&world->heap);
}

/* `count` keys, all of one shard when `shard` is one. */
static void fill(struct world *world, uint32_t count, int shard)
{
    for (uint32_t number = 0; count > 0; number++) {
        char key[16];
        struct key_item item = {bytes_of(key, (size_t)snprintf(key, sizeof(key), "key-%u", number)),
                                {.offset = 1}};
        if (shard >= 0 && memtable_shard_of(world->memtable, item.key) != (uint32_t)shard) {
            continue;
        }
        uint32_t taken;
        assert_int_equal(memtable_put(world->memtable, &item, 1, &taken), STATUS_OK);
        count -= 1;
    }
    memtable_metrics_read(&world->metrics, world->memtable);
}

static void the_eight_metrics_have_their_names(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "\nweir_memtable_write_ops_total{topic=\"t\"} 5\n",
        "\nweir_memtable_write_latency_seconds{topic=\"t\",quantile=\"0.99\"} 1e-06\n",
        "\nweir_memtable_write_latency_seconds_count{topic=\"t\"} 5\n",
        "\nweir_memtable_read_latency_seconds_count{topic=\"t\"} 0\n",
        "\nweir_memtable_scan_latency_seconds_count{topic=\"t\"} 0\n",
        "\nweir_memtable_size_bytes{topic=\"t\"} ",
        "\nweir_memtable_shard_imbalance_ratio{topic=\"t\"} 8\n",
        "\nweir_memtable_lock_contention_count{topic=\"t\"} 0\n",
        "\nweir_memtable_shard_size_bytes{topic=\"t\",shard=\"7\"} 0\n",
    };
    struct world world;
    world_open(&world, 0);
    fill(&world, 5, 3);
    char text[8192];
    size_t size = memtable_metrics_encode(&world.metrics, "topic=\"t\"", text, sizeof(text));
    assert_int_equal(size, strlen(text));
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        assert_non_null(strstr(text, wanted[i]));
    }
    char small[64];
    assert_int_equal(memtable_metrics_encode(&world.metrics, "topic=\"t\"", small, sizeof(small)),
                     size);
    assert_int_equal(strlen(small), sizeof(small) - 1);
    memtable_metrics_encode(&world.metrics, "", text, sizeof(text));
    assert_non_null(strstr(text, "\nweir_memtable_size_bytes "));
    assert_non_null(strstr(text, "\nweir_memtable_scan_latency_seconds{quantile=\"0.5\"} 0\n"));
    world_close(&world);
}

static void imbalance_warns_only_with_enough_keys(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0);
    fill(&world, 500, 0);
    assert_true(world.metrics.imbalance > 7.9);
    assert_int_equal(memtable_alert_imbalance(&world.metrics), MEMTABLE_CALM);
    fill(&world, 600, 0);
    assert_int_equal(memtable_alert_imbalance(&world.metrics), MEMTABLE_CRITICAL);
    fill(&world, 2000, -1);
    assert_int_equal(memtable_alert_imbalance(&world.metrics), MEMTABLE_WARNING);
    fill(&world, 20000, -1);
    assert_int_equal(memtable_alert_imbalance(&world.metrics), MEMTABLE_CALM);
    world_close(&world);
}

static void filters_made_for_too_many_keys_are_overhead(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0.01);
    fill(&world, 1000, -1);
    assert_int_equal(memtable_alert_overhead(&world.metrics), MEMTABLE_WARNING);
    world_close(&world);
    world_open(&world, 0);
    fill(&world, 20000, -1);
    assert_int_equal(memtable_alert_overhead(&world.metrics), MEMTABLE_CALM);
    assert_true(world.metrics.overhead > 0);
    world_close(&world);
}

static void waits_and_slow_writes_raise_their_alerts(void **state)
{
    (void)state;
    struct memtable_metrics *metrics = calloc(1, sizeof(*metrics));
    assert_int_equal(memtable_alert_contention(metrics), MEMTABLE_CALM);
    histogram_add(&metrics->latencies.wait, 900000);
    assert_int_equal(memtable_alert_contention(metrics), MEMTABLE_CALM);
    histogram_add(&metrics->latencies.wait, 2000000);
    assert_int_equal(memtable_alert_contention(metrics), MEMTABLE_WARNING);
    histogram_add(&metrics->latencies.wait, 20000000);
    assert_int_equal(memtable_alert_contention(metrics), MEMTABLE_CRITICAL);
    assert_int_equal(memtable_alert_writes(299999), MEMTABLE_CRITICAL);
    assert_int_equal(memtable_alert_writes(300000), MEMTABLE_CALM);
    assert_false(memtable_should_revert(metrics, 400000, 0.001));
    assert_true(memtable_should_revert(metrics, 400000, 0.0011));
    assert_true(memtable_should_revert(metrics, 299999, 0));
    histogram_add(&metrics->latencies.write, 6000000);
    assert_true(memtable_should_revert(metrics, 400000, 0));
    free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_eight_metrics_have_their_names),
        cmocka_unit_test(imbalance_warns_only_with_enough_keys),
        cmocka_unit_test(filters_made_for_too_many_keys_are_overhead),
        cmocka_unit_test(waits_and_slow_writes_raise_their_alerts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
