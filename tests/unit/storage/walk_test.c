/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over a log: pieces of any size find the same; damage is bounded by batches. */
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

#include "storage/walk.h"
#include "tests/lib/log_world.h"

#define BATCHES 5

struct seen {
    int batches;
    int64_t offsets[BATCHES];
    int damages;
    struct walk_damage damage;
};

static void see_batch(struct walk *walk, const struct walk_batch *batch)
{
    struct seen *seen = walk->owner;
    assert_true(seen->batches < BATCHES);
    seen->offsets[seen->batches] = batch->header.base_offset;
    seen->batches += 1;
}

static void see_damage(struct walk *walk, const struct walk_damage *damage)
{
    struct seen *seen = walk->owner;
    seen->damages += 1;
    seen->damage = *damage;
}

static uint8_t log_bytes[BATCHES * 4096];
static int64_t starts[BATCHES + 1];

static void make_log(void)
{
    for (int i = 0; i < BATCHES; i++) {
        uint8_t *batch = log_bytes + starts[i];
        size_t size = log_batch_make(batch, 4096, (uint64_t)i, 2, 500 + (size_t)i * 300, 1000);
        batch_stamp(batch, i * 2, 1);
        starts[i + 1] = starts[i] + (int64_t)size;
    }
}

static struct seen walk_over(size_t piece, int64_t size)
{
    struct seen seen = {0};
    struct walk walk = {.offset_until = 2 * BATCHES,
                        .size = starts[BATCHES],
                        .batch = see_batch,
                        .damage = see_damage,
                        .owner = &seen};
    for (int64_t at = 0; at < size; at += (int64_t)piece) {
        size_t part = size - at < (int64_t)piece ? (size_t)(size - at) : piece;
        walk_feed(&walk, log_bytes + at, part);
    }
    walk_end(&walk);
    return seen;
}

static void test_pieces(void **state)
{
    (void)state;
    make_log();
    static const size_t pieces[] = {1, 7, 60, 61, 62, 500, 100000};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct seen seen = walk_over(pieces[i], starts[BATCHES]);
        assert_int_equal(seen.batches, BATCHES);
        assert_int_equal(seen.damages, 0);
        assert_int_equal(seen.offsets[4], 8);
    }
}

/* One bit of one batch: this batch alone is damage, wherever the bit lies. */
static void test_every_byte_of_a_batch(void **state)
{
    (void)state;
    make_log();
    for (int64_t at = starts[2]; at < starts[3]; at++) {
        if (at - starts[2] >= 12 && at - starts[2] < 16) {
            continue; /* the leader epoch: told by block sums alone */
        }
        log_bytes[at] ^= 0x10;
        struct seen seen = walk_over(1000, starts[BATCHES]);
        log_bytes[at] ^= 0x10;
        assert_int_equal(seen.damages, 1);
        assert_int_equal(seen.damage.position_from, starts[2]);
        assert_int_equal(seen.damage.offset_from, 4);
        bool bounded = seen.damage.position_until == starts[3] && seen.damage.offset_until == 6;
        bool to_the_end = seen.damage.position_until == starts[BATCHES] &&
                          seen.damage.offset_until == 2 * BATCHES;
        assert_true(bounded || to_the_end);
        /* What lies behind the header always leaves the rest readable. */
        assert_true(bounded || at - starts[2] < BATCH_HEADER_SIZE);
        assert_int_equal(seen.batches, bounded ? BATCHES - 1 : 2);
    }
}

static void test_short_log(void **state)
{
    (void)state;
    make_log();
    for (int64_t size = starts[3]; size < starts[4]; size += 13) {
        struct seen seen = walk_over(300, size);
        assert_int_equal(seen.batches, 3);
        assert_int_equal(seen.damages, 1);
        assert_int_equal(seen.damage.position_from, starts[3]);
        assert_int_equal(seen.damage.offset_from, 6);
        assert_int_equal(seen.damage.offset_until, 2 * BATCHES);
    }
}

/* A gap is believed when the next batch agrees, and blamed on the right batch when not. */
static void test_gaps(void **state)
{
    (void)state;
    make_log();
    batch_stamp(log_bytes + starts[4], 9, 1); /* offsets 8 lost to compaction */
    struct walk walk = {.offset_until = INT64_MAX,
                        .size = starts[BATCHES],
                        .batch = see_batch,
                        .damage = see_damage};
    struct seen seen = {0};
    walk.owner = &seen;
    walk_feed(&walk, log_bytes, (size_t)starts[BATCHES]);
    walk_end(&walk);
    assert_int_equal(seen.batches, BATCHES);
    assert_int_equal(seen.damages, 0);
    batch_stamp(log_bytes + starts[4], 8, 1);
    batch_stamp(log_bytes + starts[3], 7, 1); /* now batch 3 reaches into batch 4 */
    seen = walk_over(777, starts[BATCHES]);
    assert_int_equal(seen.batches, 4);
    assert_int_equal(seen.damages, 1);
    assert_int_equal(seen.damage.position_from, starts[3]);
    assert_int_equal(seen.damage.position_until, starts[4]);
    assert_int_equal(seen.damage.offset_from, 6);
    assert_int_equal(seen.damage.offset_until, 8);
}

/* One that claims the log's last offset does not hide those behind it. */
static void test_gap_to_the_end(void **state)
{
    (void)state;
    make_log();
    for (size_t piece = 50; piece < 1000; piece += 37) {
        batch_stamp(log_bytes, 2 * BATCHES - 2, 1);
        struct seen seen = walk_over(piece, starts[BATCHES]);
        assert_int_equal(seen.batches, BATCHES - 1);
        assert_int_equal(seen.damages, 1);
        assert_int_equal(seen.damage.position_from, 0);
        assert_int_equal(seen.damage.position_until, starts[1]);
        assert_int_equal(seen.damage.offset_until, 2);
        batch_stamp(log_bytes, 0, 1);
    }
    /* The last one may, and space taken ahead may follow. */
    batch_stamp(log_bytes + starts[3], 2 * BATCHES - 2, 1);
    memset(log_bytes + starts[4], 0, (size_t)(starts[5] - starts[4]));
    for (size_t piece = 50; piece < 1000; piece += 37) {
        struct seen seen = walk_over(piece, starts[BATCHES]);
        assert_int_equal(seen.batches, BATCHES - 1);
        assert_int_equal(seen.damages, 0);
    }
    make_log();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),         cmocka_unit_test(test_every_byte_of_a_batch),
        cmocka_unit_test(test_short_log),      cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_gap_to_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
