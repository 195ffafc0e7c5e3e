/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/bloom.h"

#include <stdlib.h>

#include "base/check.h"
#include "tests/lib/test.h"

static uint64_t hash_of(const struct bloom *bloom, uint64_t number)
{
    return bloom_hash(bloom, bytes_of(&number, sizeof(number)));
}

static void it_keeps_the_rate_it_was_sized_for(void **state)
{
    (void)state;
    static const double rates[] = {0.1, 0.01, 0.001};
    static const uint64_t counts[] = {1, 100, 31250, 100000};
    for (size_t r = 0; r < ARRAY_COUNT(rates); r++) {
        for (size_t c = 0; c < ARRAY_COUNT(counts); c++) {
            uint64_t size = bloom_size(counts[c], rates[r]);
            uint8_t *memory = aligned_alloc(64, size);
            struct bloom bloom;
            bloom_init(&bloom, memory, size, 7 + c);
            for (uint64_t i = 0; i < counts[c]; i++) {
                bloom_add(&bloom, hash_of(&bloom, i));
            }
            assert_int_equal(bloom_count(&bloom), counts[c]);
            for (uint64_t i = 0; i < counts[c]; i++) {
                assert_true(bloom_has(&bloom, hash_of(&bloom, i)));
            }
            uint64_t wrong = 0;
            for (uint64_t i = 0; i < 200000; i++) {
                wrong += bloom_has(&bloom, hash_of(&bloom, (UINT64_C(1) << 40) + i));
            }
            /* A fifth above for chance: the seeds are fixed, so it never changes. */
            assert_true((double)wrong / 200000 <= rates[r] * 1.2);
            free(memory);
        }
    }
}

/* What a sharded table does: all keys of one filter agree in the upper bits of the hash. */
static void constant_upper_bits_do_no_harm(void **state)
{
    (void)state;
    uint64_t size = bloom_size(10000, 0.01);
    uint8_t *memory = aligned_alloc(64, size);
    struct bloom bloom;
    bloom_init(&bloom, memory, size, 1);
    for (uint64_t i = 0; i < 10000; i++) {
        bloom_add(&bloom, hash_of(&bloom, i) >> 7);
    }
    uint64_t wrong = 0;
    for (uint64_t i = 10000; i < 110000; i++) {
        wrong += bloom_has(&bloom, hash_of(&bloom, i) >> 7);
    }
    assert_true(wrong <= 1200);
    free(memory);
}

static void what_is_stored_is_found_again(void **state)
{
    (void)state;
    uint64_t size = bloom_size(1000, 0.01);
    uint8_t *memory = aligned_alloc(64, size);
    struct bloom bloom;
    bloom_init(&bloom, memory, size, 99);
    for (uint64_t i = 0; i < 1000; i++) {
        bloom_add(&bloom, hash_of(&bloom, i));
    }
    struct bloom again;
    assert_int_equal(bloom_decode(&again, memory, size), STATUS_OK);
    assert_int_equal(again.seed, 99);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(bloom_has(&again, hash_of(&again, i)));
    }
    assert_int_equal(bloom_decode(&again, memory, size - 64), STATUS_MALFORMED);
    assert_int_equal(bloom_decode(&again, memory, 64), STATUS_MALFORMED);
    assert_int_equal(bloom_decode(&again, memory, 0), STATUS_MALFORMED);
    memory[0] ^= 1;
    assert_int_equal(bloom_decode(&again, memory, size), STATUS_MALFORMED);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_keeps_the_rate_it_was_sized_for),
        cmocka_unit_test(constant_upper_bits_do_no_harm),
        cmocka_unit_test(what_is_stored_is_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
