/* SPDX-License-Identifier: Apache-2.0 */
/*
 * On x86-64 one CRC instruction takes 8 bytes each cycle but answers after three, so three streams
 * run side by side and are joined afterwards: moving a CRC past n bytes is a multiplication by a
 * constant, one carry-less product and one more CRC instruction (Gopal et al., Intel, 2011).
 */
#include "wire/crc32c.h"

#include <assert.h>
#include <string.h>

#include "base/check.h"
#include "wire/crc32c_table.inc"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

static inline uint64_t load_u64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

uint32_t crc32c_table(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    crc = ~crc;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word = load_u64(at) ^ crc;
        crc = crc_tables[7][word & 0xff] ^ crc_tables[6][(word >> 8) & 0xff] ^
              crc_tables[5][(word >> 16) & 0xff] ^ crc_tables[4][(word >> 24) & 0xff] ^
              crc_tables[3][(word >> 32) & 0xff] ^ crc_tables[2][(word >> 40) & 0xff] ^
              crc_tables[1][(word >> 48) & 0xff] ^ crc_tables[0][word >> 56];
    }
    for (; size > 0; at++, size--) {
        crc = (crc >> 8) ^ crc_tables[0][(crc ^ *at) & 0xff];
    }
    return ~crc;
}

#if defined(__x86_64__)

#include <immintrin.h>

#define CRC_TARGET __attribute__((target("sse4.2,pclmul")))

CRC_TARGET static inline uint64_t shift_past(uint64_t crc, uint64_t factor)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                           _mm_cvtsi64_si128((long long)factor), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/* The CRC after three streams of `stream_size` bytes, a multiple of 8. */
CRC_TARGET static inline uint64_t join_three(uint64_t crc, const uint8_t *at, size_t stream_size,
                                             uint64_t shift_one, uint64_t shift_two)
{
    uint64_t second = 0;
    uint64_t third = 0;
    for (const uint8_t *until = at + stream_size; at < until; at += 8) {
        crc = _mm_crc32_u64(crc, load_u64(at));
        second = _mm_crc32_u64(second, load_u64(at + stream_size));
        third = _mm_crc32_u64(third, load_u64(at + 2 * stream_size));
    }
    return shift_past(crc, shift_two) ^ shift_past(second, shift_one) ^ third;
}

CRC_TARGET static uint32_t crc32c_hardware(uint32_t start, const uint8_t *at, size_t size)
{
    uint64_t crc = ~start;
    for (; size >= 3 * 4096; at += 3 * 4096, size -= 3 * 4096) {
        crc = join_three(crc, at, 4096, CRC_SHIFT_4096, CRC_SHIFT_8192);
    }
    for (; size >= 3 * 256; at += 3 * 256, size -= 3 * 256) {
        crc = join_three(crc, at, 256, CRC_SHIFT_256, CRC_SHIFT_512);
    }
    for (; size >= 8; at += 8, size -= 8) {
        crc = _mm_crc32_u64(crc, load_u64(at));
    }
    for (; size > 0; at++, size--) {
        crc = _mm_crc32_u8((uint32_t)crc, *at);
    }
    return ~(uint32_t)crc;
}

/* Two loads from a table that the C run-time filled at start: cheaper than anything we could keep.
 */
static inline bool hardware_has_crc(void)
{
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)

#include <arm_acle.h>

static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *at, size_t size)
{
    crc = ~crc;
    for (; size >= 8; at += 8, size -= 8) {
        crc = __crc32cd(crc, load_u64(at));
    }
    for (; size > 0; at++, size--) {
        crc = __crc32cb(crc, *at);
    }
    return ~crc;
}

static inline bool hardware_has_crc(void)
{
    return true;
}

#else

static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *at, size_t size)
{
    return crc32c_table(crc, at, size);
}

static inline bool hardware_has_crc(void)
{
    return false;
}

#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    return hardware_has_crc() ? crc32c_hardware(crc, data, size) : crc32c_table(crc, data, size);
}

/* Sizes on both sides of each loop's bounds, at an address that is not aligned. */
bool crc32c_check(void)
{
    static const uint16_t sizes[] = {0, 1, 7, 8, 767, 768, 1543, 12287, 12288, 13065};
    uint8_t data[13066];
    uint32_t state = 1;
    for (size_t index = 0; index < sizeof(data); index++) {
        state = state * 1664525 + 1013904223;
        data[index] = (uint8_t)(state >> 24);
    }
    if (crc32c_table(0, "123456789", 9) != 0xe3069283) {
        return false;
    }
    for (size_t index = 0; index < ARRAY_COUNT(sizes); index++) {
        if (crc32c(7, data + 1, sizes[index]) != crc32c_table(7, data + 1, sizes[index])) {
            return false;
        }
    }
    return true;
}
