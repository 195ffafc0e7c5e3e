/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/endpoint.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The next item of a list with commas; false when nothing is left. */
static bool item_next(struct bytes *rest, struct bytes *item)
{
    if (rest->data == NULL || rest->size == 0) {
        return false;
    }
    const uint8_t *comma = memchr(rest->data, ',', rest->size);
    size_t size = comma == NULL ? rest->size : (size_t)(comma - rest->data);
    *item = bytes_of(rest->data, size);
    size_t past = size + (comma != NULL);
    *rest = bytes_of(rest->data + past, rest->size - past);
    while (item->size > 0 && (item->data[0] == ' ' || item->data[0] == '\t')) {
        item->data += 1;
        item->size -= 1;
    }
    while (item->size > 0 &&
           (item->data[item->size - 1] == ' ' || item->data[item->size - 1] == '\t')) {
        item->size -= 1;
    }
    return true;
}

static bool is_name(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-' || byte == '.';
}

static bool take_name(struct bytes *item, char *name, size_t size_max)
{
    size_t size = 0;
    while (size < item->size && is_name(item->data[size])) {
        uint8_t byte = item->data[size];
        if (size + 1 == size_max) {
            return false;
        }
        name[size++] = (char)(byte >= 'a' && byte <= 'z' ? byte - 'a' + 'A' : byte);
    }
    name[size] = '\0';
    if (size == 0 || item->size - size < 3 || memcmp(item->data + size, "://", 3) != 0) {
        return false;
    }
    *item = bytes_of(item->data + size + 3, item->size - size - 3);
    return true;
}

/* Up to the last colon: an IPv6 address stands in brackets. */
static bool take_host(struct bytes *item, char *host, size_t size_max)
{
    const uint8_t *colon = item->size == 0 ? NULL : memrchr(item->data, ':', item->size);
    if (colon == NULL) {
        return false;
    }
    struct bytes text = bytes_of(item->data, (size_t)(colon - item->data));
    bool bracketed = text.size >= 2 && text.data[0] == '[' && text.data[text.size - 1] == ']';
    if (bracketed) {
        text = bytes_of(text.data + 1, text.size - 2);
    }
    if (text.size >= size_max) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        bool in_address = bracketed && (text.data[i] == ':' || text.data[i] == '%');
        if (!is_name(text.data[i]) && !in_address) {
            return false;
        }
        host[i] = (char)text.data[i];
    }
    host[text.size] = '\0';
    *item = bytes_of(colon + 1, (size_t)(item->data + item->size - colon - 1));
    return true;
}

static bool take_port(struct bytes item, uint16_t *port)
{
    uint32_t value = 0;
    for (size_t i = 0; i < item.size; i++) {
        if (item.data[i] < '0' || item.data[i] > '9') {
            return false;
        }
        value = value * 10 + (uint32_t)(item.data[i] - '0');
        if (value > UINT16_MAX) {
            return false;
        }
    }
    *port = (uint16_t)value;
    return item.size > 0;
}

static enum status refuse(const char *key, struct bytes item, const char *why,
                          char message[ENDPOINT_MESSAGE_SIZE])
{
    char shown[81];
    size_t size = item.size < sizeof(shown) - 1 ? item.size : sizeof(shown) - 1;
    for (size_t i = 0; i < size; i++) {
        shown[i] = item.data[i] < 0x20 || item.data[i] > 0x7e ? '?' : (char)item.data[i];
    }
    shown[size] = '\0';
    snprintf(message, ENDPOINT_MESSAGE_SIZE, "%s: \"%s\" %s", key, shown, why);
    return STATUS_INVALID_CONFIG;
}

enum status endpoints_parse(const char *key, struct bytes text,
                            struct broker_endpoint endpoints[ENDPOINTS_MAX], int32_t *count,
                            char message[ENDPOINT_MESSAGE_SIZE])
{
    *count = 0;
    struct bytes item;
    while (item_next(&text, &item)) {
        if (*count == ENDPOINTS_MAX) {
            return refuse(key, item, "is one too many; at most 8 are served", message);
        }
        struct broker_endpoint *endpoint = &endpoints[*count];
        struct bytes rest = item;
        if (!take_name(&rest, endpoint->name, sizeof(endpoint->name)) ||
            !take_host(&rest, endpoint->host, sizeof(endpoint->host)) ||
            !take_port(rest, &endpoint->port)) {
            return refuse(key, item,
                          "is not NAME://HOST:PORT with a port from 0 to 65535 (an IPv6 address "
                          "stands in brackets)",
                          message);
        }
        for (int32_t i = 0; i < *count; i++) {
            if (strcmp(endpoints[i].name, endpoint->name) == 0) {
                return refuse(key, item, "has the name of another listener", message);
            }
        }
        *count += 1;
    }
    return STATUS_OK;
}

static bool same_text(struct bytes text, const char *name)
{
    return text.size == strlen(name) && strncasecmp((const char *)text.data, name, text.size) == 0;
}

struct bytes endpoint_protocol(const char *map, const char *name)
{
    struct bytes rest = bytes_of_text(map);
    struct bytes item;
    while (item_next(&rest, &item)) {
        const uint8_t *colon = item.size == 0 ? NULL : memchr(item.data, ':', item.size);
        if (colon != NULL && same_text(bytes_of(item.data, (size_t)(colon - item.data)), name)) {
            return bytes_of(colon + 1, (size_t)(item.data + item.size - colon - 1));
        }
    }
    static const char *const protocols[] = {"SSL", "SASL_PLAINTEXT", "SASL_SSL"};
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        if (strcmp(name, protocols[i]) == 0) {
            return bytes_of_text(protocols[i]);
        }
    }
    return BYTES_LITERAL("PLAINTEXT");
}

bool endpoint_is_listed(const char *list, const char *name)
{
    struct bytes rest = bytes_of_text(list);
    struct bytes item;
    while (item_next(&rest, &item)) {
        if (same_text(item, name)) {
            return true;
        }
    }
    return false;
}
