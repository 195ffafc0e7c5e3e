/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error type of wire/ and everything above. Values that a peer may see carry Kafka's wire
 * code (KIP-1, Errors); the rest are ours and map to UNKNOWN_SERVER_ERROR if one ever escaped.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum [[nodiscard]] status{
#define STATUS(name, code, retriable, sentence) STATUS_##name,
#include "wire/error.def"
#undef STATUS
    STATUS_COUNT,
};

int16_t status_code(enum status status);     /* what goes on the wire; 0 for STATUS_OK */
enum status status_from_code(int16_t code);  /* STATUS_UNKNOWN_SERVER_ERROR when not known */
const char *status_name(enum status status); /* "OFFSET_OUT_OF_RANGE" */
const char *status_sentence(enum status status);
bool status_is_retriable(enum status status);
