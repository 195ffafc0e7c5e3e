/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads text in the form of Java's .properties files: `key=value`, `key:value` or `key value` a
 * line, # and ! begin comments, a \ at a line's end joins the next, \t \n \r \f \uXXXX and \ before
 * any other character mean that character. Bytes above 127 pass unchanged (UTF-8); \uXXXX becomes
 * UTF-8.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/status.h"

struct properties {
    struct bytes text; /* what is left */
    int32_t line;      /* of the entry returned last, from 1 */
    int32_t line_next;
    uint8_t *memory; /* the caller's; decoded texts are never longer than the file */
    size_t size;
};

/* memory: at least text.size bytes, borrowed as long as the entries are used. */
void properties_init(struct properties *properties, struct bytes text, uint8_t *memory);
/* STATUS_NOT_FOUND at the end; STATUS_MALFORMED for a \u without four hexadecimal digits, in the
 * entry that begins at `line`. Key and value lie in the memory, not NUL-terminated. */
enum status properties_next(struct properties *properties, struct bytes *key, struct bytes *value);
