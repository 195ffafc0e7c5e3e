/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/key_form.h"

#include "base/hash.h"

#define SEED_HIGH UINT64_C(0x576569724b657931)
#define SEED_LOW UINT64_C(0x576569724b657932)

struct bytes key_form(struct bytes key, uint8_t *memory)
{
    if (key.size <= KEY_WHOLE_MAX) {
        return key;
    }
    memcpy(memory, key.data, KEY_WHOLE_MAX);
    put_be64(memory + KEY_WHOLE_MAX, hash_bytes(key, SEED_HIGH));
    put_be64(memory + KEY_WHOLE_MAX + 8, hash_bytes(key, SEED_LOW));
    return bytes_of(memory, KEY_FORM_MAX);
}
