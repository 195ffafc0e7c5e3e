/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/cli/cli.h"

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void *cli_allocate(void *block, size_t size)
{
    void *result = realloc(block, size == 0 ? 1 : size);
    if (result == NULL) {
        fprintf(stderr, "weir: the system refuses %zu bytes of memory\n", size);
        exit(CLI_USAGE);
    }
    return result;
}

void text_deinit(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

uint8_t *text_reserve(struct text *text, size_t size)
{
    if (text->size_max - text->size < size) {
        text->size_max =
            text->size_max * 2 > text->size + size ? text->size_max * 2 : text->size + size + 256;
        text->data = cli_allocate(text->data, text->size_max);
    }
    return text->data + text->size;
}

void text_append(struct text *text, struct bytes bytes)
{
    if (bytes.size > 0) {
        memcpy(text_reserve(text, bytes.size), bytes.data, bytes.size);
        text->size += bytes.size;
    }
}

void text_append_words(struct text *text, const char *words)
{
    text_append(text, bytes_of_text(words));
}

void text_append_number(struct text *text, int64_t value)
{
    char digits[24];
    text_append(text,
                bytes_of(digits, (size_t)snprintf(digits, sizeof(digits), "%" PRId64, value)));
}

static int hex_digit(char letter)
{
    if (letter >= '0' && letter <= '9') {
        return letter - '0';
    }
    letter |= 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

bool text_append_escaped(struct text *text, const char *words)
{
    static const char LETTERS[] = "nrt0\\";
    static const char MEANINGS[] = "\n\r\t\0\\";
    while (*words != '\0') {
        uint8_t byte = (uint8_t)*words++;
        if (byte == '\\') {
            const char *letter = *words == '\0' ? NULL : strchr(LETTERS, *words);
            int high = words[0] == 'x' ? hex_digit(words[1]) : -1;
            int low = high < 0 ? -1 : hex_digit(words[2]);
            if (letter != NULL) {
                byte = (uint8_t)MEANINGS[letter - LETTERS];
                words++;
            } else if (low >= 0) {
                byte = (uint8_t)(high << 4 | low);
                words += 3;
            } else {
                return false;
            }
        }
        text_append(text, bytes_of(&byte, 1));
    }
    return true;
}

void text_append_base64(struct text *text, struct bytes bytes)
{
    uint8_t *to = text_reserve(text, (bytes.size + 2) / 3 * 4);
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        group |= left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
        group |= left > 2 ? bytes.data[i + 2] : 0;
        *to++ = (uint8_t)BASE64[group >> 18];
        *to++ = (uint8_t)BASE64[group >> 12 & 63];
        *to++ = left > 1 ? (uint8_t)BASE64[group >> 6 & 63] : '=';
        *to++ = left > 2 ? (uint8_t)BASE64[group & 63] : '=';
    }
    text->size += (bytes.size + 2) / 3 * 4;
}

bool text_append_base64_decoded(struct text *text, struct bytes base64)
{
    if (base64.size % 4 != 0) {
        return false;
    }
    size_t padding = 0;
    while (padding < 2 && padding < base64.size && base64.data[base64.size - 1 - padding] == '=') {
        padding++;
    }
    uint8_t *to = text_reserve(text, base64.size / 4 * 3);
    uint32_t group = 0;
    for (size_t i = 0; i < base64.size; i++) {
        uint8_t letter = base64.data[i];
        const char *place = letter == '\0' ? NULL : strchr(BASE64, letter);
        if (place == NULL && i < base64.size - padding) {
            return false;
        }
        group = group << 6 | (place == NULL ? 0 : (uint32_t)(place - BASE64));
        if (i % 4 == 3) {
            *to++ = (uint8_t)(group >> 16);
            *to++ = (uint8_t)(group >> 8);
            *to++ = (uint8_t)group;
            group = 0;
        }
    }
    text->size += base64.size / 4 * 3 - padding;
    return true;
}

/* Bytes of the sequence that begins here; 0 when there is none. */
static size_t utf8_sequence(const uint8_t *at, size_t left)
{
    uint8_t first = at[0];
    if (first < 0x80) {
        return 1;
    }
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < size) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (first == 0xe0 && at[1] < 0xa0) || (first == 0xf0 && at[1] < 0x90);
    bool beyond = (first == 0xed && at[1] > 0x9f) || (first == 0xf4 && at[1] > 0x8f);
    return overlong || beyond ? 0 : size;
}

bool bytes_are_utf8(struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size;) {
        size_t size = utf8_sequence(bytes.data + i, bytes.size - i);
        if (size == 0) {
            return false;
        }
        i += size;
    }
    return true;
}
