/* SPDX-License-Identifier: Apache-2.0 */
/* 16 bytes, and the 22 characters of unpadded URL-safe base64 that users see. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define UUID_TEXT_SIZE 23 /* with the final NUL */

struct uuid {
    uint8_t bytes[16];
};

static inline bool uuid_is_zero(const struct uuid *uuid)
{
    static const uint8_t zero[16];
    return memcmp(uuid->bytes, zero, sizeof(zero)) == 0;
}

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_SIZE]);
/* False when the text is not 22 characters of that alphabet. */
[[nodiscard]] bool uuid_parse(struct uuid *uuid, const char *text);
