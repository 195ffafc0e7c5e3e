/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing run of bytes. A program that runs for one command has no use for half a result: when
 * memory ends, cli_allocate() ends the process with a sentence.
 */
#pragma once

#include <stddef.h>

#include "base/bytes.h"

struct text {
    uint8_t *data;
    size_t size;
    size_t size_max;
};

void *cli_allocate(void *block, size_t size); /* realloc that does not fail */

void text_deinit(struct text *text);
/* Room for `size` more bytes; what lies there is undefined. */
uint8_t *text_reserve(struct text *text, size_t size);
void text_append(struct text *text, struct bytes bytes);
void text_append_words(struct text *text, const char *words);
void text_append_number(struct text *text, int64_t value);

static inline struct bytes text_bytes(const struct text *text)
{
    return bytes_of(text->data == NULL ? (const uint8_t *)"" : text->data, text->size);
}

/*
 * Resolves \n \r \t \0 \\ and \xHH of a command line. False when there is another letter behind a
 * backslash.
 */
bool text_append_escaped(struct text *text, const char *words);

/* RFC 4648, padded. */
void text_append_base64(struct text *text, struct bytes bytes);
bool text_append_base64_decoded(struct text *text, struct bytes base64);

/* UTF-8 as RFC 3629 has it: shortest forms, no surrogates, up to U+10FFFF. */
bool bytes_are_utf8(struct bytes bytes);
