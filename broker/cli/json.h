/* SPDX-License-Identifier: Apache-2.0 */
/* JSON through jansson; this adds what Kafka's bytes need. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "base/bytes.h"
#include "broker/cli/text.h"

/* A string of text that is UTF-8, null where data is NULL; foreign bytes become U+FFFD. */
json_t *json_of_text(struct bytes text);

/*
 * object[name] = bytes: null, a string where they are UTF-8, else their base64 and beside it
 * object[name_encoding] = "base64".
 */
void json_set_bytes(json_t *object, const char *name, struct bytes bytes);

/*
 * The way back: appends the bytes to `text`. *present is false for null and for a member that is
 * not there. False when it is neither string nor null, or not the base64 that it claims to be.
 */
bool json_take_bytes(const json_t *object, const char *name, struct text *text, bool *present);

/* object[topic] = the numbers; a name that is not UTF-8 cannot be a member's and is left out. */
void json_set_partitions(json_t *object, struct bytes topic, const int32_t *partitions,
                         int32_t count);

/* Prints a document where `print` says so, and drops it in any case; NULL is fine. */
void json_end(json_t *document, bool print);
/* Prints one document and a newline, and drops it. */
void json_print(json_t *document, FILE *to, bool one_line);
