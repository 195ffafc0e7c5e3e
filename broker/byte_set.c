/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/byte_set.h"

#include "base/check.h"
#include "base/hash.h"

bool byte_set_init(struct byte_set *set, struct arena *arena, size_t count, uint64_t seed)
{
    size_t slot_count = 8;
    while (slot_count < count * 2) { /* at most half full: a probe ends soon */
        slot_count *= 2;
    }
    *set = (struct byte_set){.mask = slot_count - 1, .seed = seed};
    set->slots = arena_new_array(arena, struct byte_set_slot, slot_count);
    return set->slots != NULL;
}

/* The key's slot, or the free one where it belongs. */
static struct byte_set_slot *slot_of(const struct byte_set *set, struct bytes key)
{
    size_t at = (size_t)hash_bytes(key, set->seed) & set->mask;
    for (size_t probes = 0; set->slots[at].value != 0; probes++) {
        if (bytes_equal(set->slots[at].key, key)) {
            break;
        }
        check(probes < set->mask); /* more keys than it was made for */
        at = (at + 1) & set->mask;
    }
    return &set->slots[at];
}

int32_t byte_set_add(struct byte_set *set, struct bytes key, int32_t value)
{
    check(value >= 0 && value < INT32_MAX);
    struct byte_set_slot *slot = slot_of(set, key);
    if (slot->value != 0) {
        return slot->value - 1;
    }
    *slot = (struct byte_set_slot){.key = key, .value = value + 1};
    return BYTE_SET_ABSENT;
}

int32_t byte_set_find(const struct byte_set *set, struct bytes key)
{
    return slot_of(set, key)->value - 1;
}
