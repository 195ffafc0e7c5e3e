/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/coordinator.h"

#define REPLACEMENT 0xfffdu

/* The code point at data[*position], which is moved behind it. Broken bytes count one by one. */
static uint32_t utf8_next(struct bytes text, size_t *position)
{
    static const uint32_t lowest[] = {0, 0x80, 0x800, 0x10000};
    uint8_t lead = text.data[(*position)++];
    if (lead < 0x80) {
        return lead;
    }
    size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || text.size - *position < more) {
        return REPLACEMENT;
    }
    uint32_t point = lead & (0x3fu >> more);
    for (size_t i = 0; i < more; i++) {
        uint8_t byte = text.data[*position + i];
        if ((byte & 0xc0) != 0x80) {
            return REPLACEMENT;
        }
        point = point << 6 | (byte & 0x3fu);
    }
    if (point < lowest[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) {
        return REPLACEMENT;
    }
    *position += more;
    return point;
}

int32_t coordinator_key_hash(struct bytes key)
{
    uint32_t hash = 0;
    size_t position = 0;
    while (position < key.size) {
        uint32_t point = utf8_next(key, &position);
        if (point >= 0x10000) {
            hash = hash * 31 + (0xd800 + ((point - 0x10000) >> 10));
            point = 0xdc00 + (point & 0x3ff);
        }
        hash = hash * 31 + point;
    }
    return (int32_t)hash;
}

int32_t coordinator_key_partition(struct bytes key, int32_t count)
{
    int32_t hash = coordinator_key_hash(key);
    int32_t positive = hash == INT32_MIN ? 0 : hash < 0 ? -hash : hash;
    return positive % count;
}
