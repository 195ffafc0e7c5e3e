/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/epochs.h"

#include <stdlib.h>

#include "base/random.h"
#include "tests/lib/test.h"

static struct epochs sample(void)
{
    struct epochs epochs;
    epochs_init(&epochs);
    assert_true(epochs_begin(&epochs, 2, 0));
    assert_true(epochs_begin(&epochs, 4, 10));
    assert_true(epochs_begin(&epochs, 5, 25));
    return epochs;
}

static void expect_end(const struct epochs *epochs, int32_t asked, int32_t epoch, int64_t offset)
{
    struct epoch_entry entry = epochs_end_of(epochs, asked, 40);
    assert_int_equal(entry.epoch, epoch);
    assert_int_equal(entry.start_offset, offset);
}

static void an_old_epoch_is_ignored(void **state)
{
    (void)state;
    struct epochs epochs = sample();
    assert_false(epochs_begin(&epochs, 5, 30));
    assert_false(epochs_begin(&epochs, 3, 30));
    assert_false(epochs_begin(&epochs, -1, 30));
    assert_int_equal(epochs.count, 3);
}

static void an_epoch_without_a_record_is_replaced(void **state)
{
    (void)state;
    struct epochs epochs = sample();
    assert_true(epochs_begin(&epochs, 7, 25));
    assert_int_equal(epochs.count, 3);
    assert_int_equal(epochs.entries[2].epoch, 7);
    assert_true(epochs_begin(&epochs, 8, 10)); /* after a cut the log begins again lower */
    assert_int_equal(epochs.count, 2);
    assert_int_equal(epochs_of_offset(&epochs, 10), 8);
}

static void offsets_find_their_epoch(void **state)
{
    (void)state;
    struct epochs epochs = sample();
    assert_int_equal(epochs_of_offset(&epochs, 0), 2);
    assert_int_equal(epochs_of_offset(&epochs, 9), 2);
    assert_int_equal(epochs_of_offset(&epochs, 10), 4);
    assert_int_equal(epochs_of_offset(&epochs, 24), 4);
    assert_int_equal(epochs_of_offset(&epochs, 99), 5);
    epochs_cut_start(&epochs, 12);
    assert_int_equal(epochs_of_offset(&epochs, 11), -1);
    assert_int_equal(epochs_of_offset(&epochs, 12), 4);
}

static void ends_follow_kip_320(void **state)
{
    (void)state;
    struct epochs epochs = sample();
    expect_end(&epochs, 5, 5, 40); /* the newest: the log's end */
    expect_end(&epochs, 4, 4, 25); /* older: where the next began */
    expect_end(&epochs, 3, 2, 10); /* between two: the floor */
    expect_end(&epochs, 2, 2, 10);
    expect_end(&epochs, 1, 1, 0);   /* below the oldest: itself, start of the first */
    expect_end(&epochs, 6, -1, -1); /* higher */
    expect_end(&epochs, -1, -1, -1);
    epochs_init(&epochs);
    expect_end(&epochs, 0, -1, -1);
}

static void cuts_keep_what_is_left(void **state)
{
    (void)state;
    struct epochs epochs = sample();
    epochs_cut_end(&epochs, 26);
    assert_int_equal(epochs.count, 3);
    epochs_cut_end(&epochs, 25);
    assert_int_equal(epochs.count, 2);
    epochs_cut_end(&epochs, 0);
    assert_int_equal(epochs.count, 0);
    epochs_cut_start(&epochs, 5);
    assert_int_equal(epochs.count, 0);

    epochs = sample();
    epochs_cut_start(&epochs, 10);
    assert_int_equal(epochs.count, 2);
    assert_int_equal(epochs.entries[0].epoch, 4);
    epochs_cut_start(&epochs, 100);
    assert_int_equal(epochs.count, 1);
    assert_int_equal(epochs.entries[0].epoch, 5);
    assert_int_equal(epochs.entries[0].start_offset, 100);
}

static void the_oldest_go_when_full(void **state)
{
    (void)state;
    struct epochs epochs;
    epochs_init(&epochs);
    for (int32_t i = 0; i < EPOCHS_MAX + 3; i++) {
        assert_true(epochs_begin(&epochs, i, i * 10));
    }
    assert_int_equal(epochs.count, EPOCHS_MAX);
    assert_int_equal(epochs.entries[0].epoch, 3);
    assert_int_equal(epochs.entries[0].start_offset, 30);
    /* A client of the newest forgotten epoch still hears its true end. */
    assert_int_equal(epochs_end_of(&epochs, 2, 9999).start_offset, 30);
}

static void the_file_is_kafkas_text(void **state)
{
    (void)state;
    struct epochs epochs = sample();
    char text[64];
    size_t size = epochs_encode(&epochs, text, sizeof(text));
    assert_bytes_equal(bytes_of(text, size), BYTES_LITERAL("0\n3\n2 0\n4 10\n5 25\n"));
    memset(text, 'x', sizeof(text));
    assert_int_equal(epochs_encode(&epochs, text, size - 1), size);
    assert_int_equal(text[0], 'x');
    epochs_init(&epochs);
    size = epochs_encode(&epochs, text, sizeof(text));
    assert_bytes_equal(bytes_of(text, size), BYTES_LITERAL("0\n0\n"));
}

static void assert_same(const struct epochs *a, const struct epochs *b)
{
    assert_int_equal(a->count, b->count);
    for (int32_t i = 0; i < a->count; i++) {
        assert_int_equal(a->entries[i].epoch, b->entries[i].epoch);
        assert_int_equal(a->entries[i].start_offset, b->entries[i].start_offset);
    }
}

static enum status decode_exact(struct epochs *epochs, struct bytes text)
{
    /* Memory of exactly this size lets the sanitizer see a read past the end. */
    uint8_t *copy = malloc(text.size + 1);
    memcpy(copy + 1, text.data, text.size);
    enum status status = epochs_decode(epochs, bytes_of(copy + 1, text.size));
    free(copy);
    return status;
}

static void round_trips_and_truncations(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 11);
    for (int round = 0; round < 500; round++) {
        struct epochs epochs;
        epochs_init(&epochs);
        int64_t offset = (int64_t)(random_u64(&random) >> (2 + random_below(&random, 60)));
        int32_t epoch = 0;
        for (uint64_t i = random_below(&random, 12); i > 0; i--) {
            epoch += 1 + (int32_t)random_below(&random, 1000);
            offset += (int64_t)random_below(&random, 1000);
            epochs_begin(&epochs, epoch, offset);
        }
        char text[1024];
        size_t size = epochs_encode(&epochs, text, sizeof(text));
        struct epochs read = sample();
        assert_int_equal(decode_exact(&read, bytes_of(text, size)), STATUS_OK);
        assert_same(&read, &epochs);
        struct epochs untouched = read;
        for (size_t cut = 0; cut < size; cut++) {
            assert_int_equal(decode_exact(&read, bytes_of(text, cut)), STATUS_CORRUPT_MESSAGE);
            assert_same(&read, &untouched);
        }
    }
}

static void odd_texts_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "1\n0\n",               /* version */
        "0\n1\n",               /* fewer than counted */
        "0\n0\n1 2\n",          /* more than counted */
        "0\n1\n1 2\n\n",        /* bytes behind the end */
        "0\n1\n1 2 \n",         /* form */
        "0\n1\n1  2\n",         /* form */
        "0\n1\n-1 2\n",         /* sign */
        "0\n1\n1 -2\n",         /* sign */
        "0\n1\n2147483648 0\n", /* out of int32 */
        "0\n1\n1 9223372036854775808\n",
        "0\n2\n2 0\n2 5\n", /* epochs must rise */
        "0\n2\n2 7\n3 5\n", /* offsets must not fall */
        "0\n99999999999\n1 0\n",
        "0\r\n0\r\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct epochs epochs = sample();
        assert_int_equal(decode_exact(&epochs, bytes_of_text(texts[i])), STATUS_CORRUPT_MESSAGE);
        assert_int_equal(epochs.count, 3);
    }
    struct epochs epochs;
    assert_int_equal(decode_exact(&epochs, BYTES_LITERAL("0\n1\n2147483647 9223372036854775807\n")),
                     STATUS_OK);
    assert_int_equal(epochs.entries[0].start_offset, INT64_MAX);
}

static void expect_epochs(const struct epochs *epochs, const char *text)
{
    char found[512];
    size_t size = epochs_encode(epochs, found, sizeof(found));
    assert_bytes_equal(bytes_of((const uint8_t *)found, size), bytes_of_text(text));
}

/* A file from before a cut says that the epoch began further on than it did after it. */
static void a_batch_tells_where_its_epoch_began(void **state)
{
    (void)state;
    struct epochs epochs;
    epochs_init(&epochs);
    assert_true(epochs_learn(&epochs, 3, 40));
    assert_true(epochs_begin(&epochs, 4, 74));
    assert_false(epochs_learn(&epochs, 3, 50));
    assert_false(epochs_learn(&epochs, 4, 80));
    assert_true(epochs_learn(&epochs, 4, 68));
    expect_epochs(&epochs, "0\n2\n3 40\n4 68\n");
    assert_true(epochs_begin(&epochs, 5, 90));
    assert_true(epochs_begin(&epochs, 7, 100));
    assert_false(epochs_learn(&epochs, 6, 95)); /* it is not known, and never was the last */
    assert_true(epochs_learn(&epochs, 7, 88));  /* so 5 had no record */
    expect_epochs(&epochs, "0\n3\n3 40\n4 68\n7 88\n");
    assert_true(epochs_learn(&epochs, 4, 40)); /* nor had 3 */
    expect_epochs(&epochs, "0\n2\n4 40\n7 88\n");
    assert_false(epochs_learn(&epochs, -1, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_epoch_is_ignored),
        cmocka_unit_test(an_epoch_without_a_record_is_replaced),
        cmocka_unit_test(offsets_find_their_epoch),
        cmocka_unit_test(ends_follow_kip_320),
        cmocka_unit_test(cuts_keep_what_is_left),
        cmocka_unit_test(the_oldest_go_when_full),
        cmocka_unit_test(the_file_is_kafkas_text),
        cmocka_unit_test(round_trips_and_truncations),
        cmocka_unit_test(a_batch_tells_where_its_epoch_began),
        cmocka_unit_test(odd_texts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
