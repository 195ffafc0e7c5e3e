/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of listeners: NAME://HOST:PORT with commas between, as listeners and advertised.listeners
 * have them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/status.h"

#define ENDPOINTS_MAX 8
#define ENDPOINT_MESSAGE_SIZE 256

struct broker_endpoint {
    char name[64];  /* upper case */
    char host[256]; /* without the brackets of an IPv6 address; "" every address */
    uint16_t port;  /* 0: the kernel chooses */
};

/* STATUS_INVALID_CONFIG with one sentence that begins with `key`: form, a name twice, more than
 * ENDPOINTS_MAX. An empty text is an empty list. */
enum status endpoints_parse(const char *key, struct bytes text,
                            struct broker_endpoint endpoints[ENDPOINTS_MAX], int32_t *count,
                            char message[ENDPOINT_MESSAGE_SIZE]);
/* What `map` ("NAME:PROTOCOL,...") says of a name; the name itself is a protocol when it is one of
 * Kafka's four, and any other name without an entry is PLAINTEXT. */
struct bytes endpoint_protocol(const char *map, const char *name);
/* Whether a comma-separated list holds the name; letter case does not count. */
bool endpoint_is_listed(const char *list, const char *name);
