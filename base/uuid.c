/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"

#include <stddef.h>

static const char uuid_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_SIZE])
{
    /* 128 bits leave from the top, six at a time; the last character carries two. */
    uint32_t bits = 0;
    uint32_t bit_count = 0;
    size_t length = 0;
    for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
        bits = bits << 8 | uuid->bytes[i];
        bit_count += 8;
        while (bit_count >= 6) {
            bit_count -= 6;
            text[length++] = uuid_alphabet[bits >> bit_count & 63];
        }
    }
    text[length++] = uuid_alphabet[bits << (6 - bit_count) & 63];
    text[length] = 0;
}

static int uuid_digit(char character)
{
    const char *place = character == 0 ? NULL : strchr(uuid_alphabet, character);
    return place == NULL ? -1 : (int)(place - uuid_alphabet);
}

bool uuid_parse(struct uuid *uuid, const char *text)
{
    uint32_t bits = 0;
    uint32_t bit_count = 0;
    size_t size = 0;
    size_t length = 0;
    struct uuid parsed;
    for (; length < UUID_TEXT_SIZE - 1; length++) {
        int digit = uuid_digit(text[length]);
        if (digit < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)digit;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            parsed.bytes[size++] = (uint8_t)(bits >> bit_count);
        }
    }
    if (text[length] != 0) {
        return false;
    }
    *uuid = parsed;
    return true;
}
