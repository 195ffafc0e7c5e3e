/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/crc32c.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/test.h"

/* The vectors of RFC 3720 (iSCSI), B.4, and the customary nine digits. */
static void test_known_answers(void **state)
{
    (void)state;
    uint8_t data[32];
    memset(data, 0, sizeof(data));
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x8a9136aa);
    memset(data, 0xff, sizeof(data));
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x62a8ab43);
    for (size_t index = 0; index < sizeof(data); index++) {
        data[index] = (uint8_t)index;
    }
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x46dd794e);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c_table(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, NULL, 0), 0);
}

/* One bit at a time, as the definition reads. */
static uint32_t crc32c_plain(const uint8_t *data, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t index = 0; index < size; index++) {
        crc ^= data[index];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }
    return ~crc;
}

/* Sizes around every loop bound, every alignment of the first byte. */
static void test_every_path_agrees(void **state)
{
    (void)state;
    size_t size_max = 70000;
    uint8_t *data = malloc(size_max);
    uint32_t random = 1;
    for (size_t index = 0; index < size_max; index++) {
        random = random * 1664525 + 1013904223;
        data[index] = (uint8_t)(random >> 24);
    }
    for (size_t size = 0; size < 2000; size++) {
        size_t start = size % 16;
        uint32_t expected = crc32c_plain(data + start, size);
        assert_int_equal(crc32c(0, data + start, size), expected);
        assert_int_equal(crc32c_table(0, data + start, size), expected);
    }
    static const size_t sizes[] = {12287, 12288, 12289, 13056, 24575, 24576, 65536, 69990};
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        uint32_t expected = crc32c_plain(data + 3, sizes[index]);
        assert_int_equal(crc32c(0, data + 3, sizes[index]), expected);
        assert_int_equal(crc32c_table(0, data + 3, sizes[index]), expected);
    }
    free(data);
}

static void test_pieces_equal_the_whole(void **state)
{
    (void)state;
    uint8_t data[3000];
    for (size_t index = 0; index < sizeof(data); index++) {
        data[index] = (uint8_t)(index * 7);
    }
    uint32_t whole = crc32c(0, data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut += 37) {
        uint32_t first = crc32c(0, data, cut);
        assert_int_equal(crc32c(first, data + cut, sizeof(data) - cut), whole);
        assert_int_equal(crc32c_table(first, data + cut, sizeof(data) - cut), whole);
    }
}

static void test_check(void **state)
{
    (void)state;
    assert_true(crc32c_check());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_every_path_agrees),
        cmocka_unit_test(test_pieces_equal_the_whole),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
