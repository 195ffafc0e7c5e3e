/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/setting.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"

#define SHOWN_SIZE 64 /* of a refused value, in a message */

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static struct bytes trimmed(struct bytes text)
{
    while (text.size > 0 && is_blank(text.data[0])) {
        text.data += 1;
        text.size -= 1;
    }
    while (text.size > 0 && is_blank(text.data[text.size - 1])) {
        text.size -= 1;
    }
    return text;
}

/* ---- refusals ---- */

/* Untrusted text for a message: control characters become '?', a long one is cut. */
static const char *shown(struct bytes text, char out[SHOWN_SIZE])
{
    size_t size = text.size < SHOWN_SIZE - 4 ? text.size : SHOWN_SIZE - 4;
    for (size_t i = 0; i < size; i++) {
        out[i] = text.data[i] < 0x20 || text.data[i] == 0x7f ? '?' : (char)text.data[i];
    }
    snprintf(out + size, SHOWN_SIZE - size, "%s", size < text.size ? "..." : "");
    return out;
}

static enum status refuse(const struct setting *setting, struct bytes text, const char *allowed,
                          char message[SETTING_MESSAGE_SIZE])
{
    char value[SHOWN_SIZE];
    bool secret = setting->kind == SETTING_PASSWORD;
    snprintf(message, SETTING_MESSAGE_SIZE, "%s=%s: %s", setting->name,
             secret ? "(hidden)" : shown(text, value), allowed);
    return STATUS_INVALID_CONFIG;
}

static enum status refuse_number(const struct setting *setting, struct bytes text,
                                 char message[SETTING_MESSAGE_SIZE])
{
    char allowed[128];
    const char *what = setting->kind == SETTING_DOUBLE ? "number" : "whole number";
    int size = setting->high == INT64_MAX
                   ? snprintf(allowed, sizeof(allowed), "must be a %s of %" PRId64 " or more", what,
                              setting->low)
                   : snprintf(allowed, sizeof(allowed), "must be a %s from %" PRId64 " to %" PRId64,
                              what, setting->low, setting->high);
    if ((setting->flags & SETTING_NOT_ZERO) != 0) {
        snprintf(allowed + size, sizeof(allowed) - (size_t)size, ", without 0");
    }
    return refuse(setting, text, allowed, message);
}

static enum status refuse_word(const struct setting *setting, struct bytes text,
                               char message[SETTING_MESSAGE_SIZE])
{
    char allowed[160];
    bool set = setting->kind == SETTING_SET;
    snprintf(allowed, sizeof(allowed), "must be %s: %s",
             set ? "a list of different words out of" : "one of", setting->choices);
    return refuse(setting, text, allowed, message);
}

/* ---- reading ---- */

static bool read_whole(struct bytes text, int64_t *number)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    size_t at = negative || (text.size > 0 && text.data[0] == '+');
    if (at == text.size) {
        return false;
    }
    int64_t value = 0; /* negative all the way: INT64_MIN has no positive partner */
    for (; at < text.size; at++) {
        if (text.data[at] < '0' || text.data[at] > '9' ||
            __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, text.data[at] - '0', &value)) {
            return false;
        }
    }
    if (!negative && value == INT64_MIN) {
        return false;
    }
    *number = negative ? value : -value;
    return true;
}

static bool read_real(struct bytes text, double *real)
{
    char copy[64];
    if (text.size == 0 || text.size >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (strspn(copy, "0123456789+-.eE") != text.size) {
        return false; /* strtod() would also read nan, inf and hexadecimal */
    }
    char *end;
    *real = strtod(copy, &end);
    return *end == '\0' && end != copy;
}

/* Index of the word among words with one blank between; -1 when it is none of them. */
static int32_t word_index(const char *words, struct bytes word)
{
    int32_t index = 0;
    while (*words != '\0') {
        size_t size = strcspn(words, " ");
        if (bytes_equal(bytes_of(words, size), word)) {
            return index;
        }
        index += 1;
        words += size + (words[size] == ' ');
    }
    return -1;
}

/* Next item of a list with commas, without blanks; false at the end. An empty text has no items. */
static bool list_next(struct bytes *rest, struct bytes *item)
{
    if (rest->data == NULL || (rest->size == 0 && item->data == NULL)) {
        return false;
    }
    const uint8_t *comma = rest->size == 0 ? NULL : memchr(rest->data, ',', rest->size);
    size_t size = comma == NULL ? rest->size : (size_t)(comma - rest->data);
    *item = trimmed(bytes_of(rest->data, size));
    *rest = comma == NULL ? BYTES_NULL : bytes_of(comma + 1, rest->size - size - 1);
    return true;
}

static bool read_set(const struct setting *setting, struct bytes text, int64_t *bits)
{
    struct bytes item = BYTES_NULL;
    *bits = 0;
    while (list_next(&text, &item)) {
        int32_t index = word_index(setting->choices, item);
        if (index < 0 || (*bits & (INT64_C(1) << index)) != 0) {
            return false;
        }
        *bits |= INT64_C(1) << index;
    }
    return true;
}

static bool is_replica(struct bytes item)
{
    const uint8_t *colon = item.size == 0 ? NULL : memchr(item.data, ':', item.size);
    if (colon == NULL || colon == item.data || colon == item.data + item.size - 1) {
        return false;
    }
    for (size_t i = 0; i < item.size; i++) {
        bool digit = item.data[i] >= '0' && item.data[i] <= '9';
        if (!digit && item.data + i != colon) {
            return false;
        }
    }
    return true;
}

static bool read_replicas(struct bytes text, int64_t *any)
{
    *any = text.size > 0;
    if (bytes_equal(text, BYTES_LITERAL("*"))) {
        return true;
    }
    struct bytes item = BYTES_NULL;
    while (list_next(&text, &item)) {
        if (!is_replica(item)) {
            return false;
        }
    }
    return true;
}

static bool read_boolean(struct bytes text, int64_t *number)
{
    *number = text.size == 4;
    return (text.size == 4 && strncasecmp((const char *)text.data, "true", 4) == 0) ||
           (text.size == 5 && strncasecmp((const char *)text.data, "false", 5) == 0);
}

static enum status parse_number(const struct setting *setting, struct bytes text,
                                struct setting_value *value, char message[SETTING_MESSAGE_SIZE])
{
    int64_t number;
    if (!read_whole(text, &number) || number < setting->low || number > setting->high ||
        (number == 0 && (setting->flags & SETTING_NOT_ZERO) != 0)) {
        return refuse_number(setting, text, message);
    }
    value->number = number;
    return STATUS_OK;
}

static enum status parse_kind(const struct setting *setting, struct bytes text,
                              struct setting_value *value, char message[SETTING_MESSAGE_SIZE])
{
    switch (setting->kind) {
    case SETTING_BOOLEAN:
        return read_boolean(text, &value->number)
                   ? STATUS_OK
                   : refuse(setting, text, "must be true or false", message);
    case SETTING_SHORT:
    case SETTING_INT:
    case SETTING_LONG:
        return parse_number(setting, text, value, message);
    case SETTING_DOUBLE:
        if (!read_real(text, &value->real) || !(value->real >= (double)setting->low) ||
            (setting->high != INT64_MAX && value->real > (double)setting->high)) {
            return refuse_number(setting, text, message);
        }
        return STATUS_OK;
    case SETTING_CHOICE:
        value->number = word_index(setting->choices, text);
        return value->number >= 0 ? STATUS_OK : refuse_word(setting, text, message);
    case SETTING_SET:
        return read_set(setting, text, &value->number) ? STATUS_OK
                                                       : refuse_word(setting, text, message);
    case SETTING_REPLICAS:
        return read_replicas(text, &value->number)
                   ? STATUS_OK
                   : refuse(setting, text, "must be * or a list of partition:broker", message);
    case SETTING_STRING:
    case SETTING_LIST:
    case SETTING_CLASS:
    case SETTING_PASSWORD:
        value->text = text;
        return STATUS_OK;
    }
    unreachable();
}

static bool kind_is_text(enum setting_kind kind)
{
    return kind == SETTING_STRING || kind == SETTING_LIST || kind == SETTING_CLASS ||
           kind == SETTING_PASSWORD;
}

static bool is_default(const struct setting *setting, const struct setting_value *value)
{
    char message[SETTING_MESSAGE_SIZE];
    const char *text = setting->default_text == NULL ? "" : setting->default_text;
    struct setting_value expected;
    check(parse_kind(setting, bytes_of_text(text), &expected, message) == STATUS_OK);
    return kind_is_text(setting->kind) ? bytes_equal(value->text, expected.text)
                                       : value->number == expected.number;
}

enum status setting_parse(const struct setting *setting, struct bytes text,
                          struct setting_value *value, char message[SETTING_MESSAGE_SIZE])
{
    text = trimmed(text);
    if (text.size > 0 && memchr(text.data, '\0', text.size) != NULL) {
        return refuse(setting, text, "must not contain a zero byte", message);
    }
    enum status status = parse_kind(setting, text, value, message);
    if (status == STATUS_OK && (setting->flags & SETTING_FIXED) != 0 &&
        !is_default(setting, value)) {
        char allowed[160];
        const char *only = setting->default_text == NULL ? "" : setting->default_text;
        snprintf(allowed, sizeof(allowed), "is not supported; only \"%s\" is accepted", only);
        return refuse(setting, text, allowed, message);
    }
    return status;
}

/* ---- fields ---- */

void setting_store(const struct setting *setting, const struct setting_value *value, void *object)
{
    void *field = (uint8_t *)object + setting->offset;
    switch (setting->kind) {
    case SETTING_BOOLEAN:
    case SETTING_REPLICAS:
        *(bool *)field = value->number != 0;
        return;
    case SETTING_SHORT:
        *(int16_t *)field = (int16_t)value->number;
        return;
    case SETTING_INT:
    case SETTING_CHOICE:
        *(int32_t *)field = (int32_t)value->number;
        return;
    case SETTING_SET:
        *(uint32_t *)field = (uint32_t)value->number;
        return;
    case SETTING_LONG:
        *(int64_t *)field = value->number;
        return;
    case SETTING_DOUBLE:
        *(double *)field = value->real;
        return;
    case SETTING_STRING:
    case SETTING_LIST:
    case SETTING_CLASS:
    case SETTING_PASSWORD:
        *(const char **)field = (const char *)value->text.data;
        return;
    }
    unreachable();
}

void setting_store_defaults(const struct setting *table, size_t count, void *object)
{
    for (size_t i = 0; i < count; i++) {
        struct setting_value value = {.text = BYTES_NULL};
        char message[SETTING_MESSAGE_SIZE];
        if (table[i].default_text != NULL) {
            check(setting_parse(&table[i], bytes_of_text(table[i].default_text), &value, message) ==
                  STATUS_OK);
        }
        setting_store(&table[i], &value, object);
    }
}

size_t setting_canonical(const struct setting *setting, struct bytes text, char *out)
{
    text = trimmed(text);
    size_t size = 0;
    int64_t number;
    char digits[SETTING_NUMBER_SIZE];
    struct bytes item = BYTES_NULL;
    switch (setting->kind) {
    case SETTING_BOOLEAN:
        memcpy(out, text.size == 4 ? "true" : "false", text.size);
        return text.size;
    case SETTING_SHORT:
    case SETTING_INT:
    case SETTING_LONG:
        check(read_whole(text, &number));
        size = (size_t)snprintf(digits, sizeof(digits), "%" PRId64, number);
        check(size <= text.size);
        memcpy(out, digits, size);
        return size;
    case SETTING_SET:
    case SETTING_REPLICAS:
    case SETTING_LIST:
        while (list_next(&text, &item)) {
            if (size > 0) {
                out[size++] = ',';
            }
            memcpy(out + size, item.data, item.size);
            size += item.size;
        }
        return size;
    case SETTING_DOUBLE:
    case SETTING_CHOICE:
    case SETTING_STRING:
    case SETTING_CLASS:
    case SETTING_PASSWORD:
        if (text.size > 0) {
            memcpy(out, text.data, text.size);
        }
        return text.size;
    }
    unreachable();
}

const struct setting *setting_find(const struct setting *table, size_t count, struct bytes name)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(bytes_of_text(table[i].name), name)) {
            return &table[i];
        }
    }
    return NULL;
}

/* ---- describing ---- */

int8_t setting_type_code(const struct setting *setting)
{
    static const int8_t codes[] = {
        [SETTING_BOOLEAN] = 1, [SETTING_STRING] = 2,   [SETTING_CHOICE] = 2, [SETTING_INT] = 3,
        [SETTING_SHORT] = 4,   [SETTING_LONG] = 5,     [SETTING_DOUBLE] = 6, [SETTING_LIST] = 7,
        [SETTING_SET] = 7,     [SETTING_REPLICAS] = 7, [SETTING_CLASS] = 8,  [SETTING_PASSWORD] = 9,
    };
    return codes[setting->kind];
}

static const char *lookup(struct setting_lookup where, const char *name)
{
    return where.find == NULL ? NULL : where.find(where.context, name);
}

/* "168" hours are "604800000" milliseconds; negative means "no limit" in every unit. A product that
 * leaves int64 is as good as no limit at all: the largest number. */
static const char *converted(const char *text, int64_t factor, char number[SETTING_NUMBER_SIZE])
{
    int64_t value;
    if (factor == 1 || !read_whole(trimmed(bytes_of_text(text)), &value)) {
        return text;
    }
    if (value >= 0 && __builtin_mul_overflow(value, factor, &value)) {
        value = INT64_MAX;
    }
    snprintf(number, SETTING_NUMBER_SIZE, "%" PRId64, value);
    return number;
}

const char *setting_from_below(const struct setting *setting, struct setting_lookup below,
                               char number[SETTING_NUMBER_SIZE])
{
    for (int32_t i = 0; i < SETTING_SYNONYMS_MAX && setting->synonyms[i].name != NULL; i++) {
        const char *text = lookup(below, setting->synonyms[i].name);
        if (text != NULL) {
            return converted(text, setting->synonyms[i].factor, number);
        }
    }
    return NULL;
}

static void add_origin(struct setting_row *row, const char *name, const char *value,
                       enum setting_source source)
{
    bool hidden = row->setting->kind == SETTING_PASSWORD;
    check(row->origin_count < SETTING_ORIGINS_MAX);
    row->origins[row->origin_count++] =
        (struct setting_origin){name, hidden ? NULL : value, source};
}

/* The default stands at the bottom, under the name it has there: log.retention.hours=168. */
static void add_default(struct setting_row *row)
{
    const struct setting *setting = row->setting;
    const char *name = setting->name;
    const char *text = setting->default_text;
    int64_t factor = 1;
    for (int32_t i = 0; i < SETTING_SYNONYMS_MAX && setting->synonyms[i].name != NULL; i++) {
        name = setting->synonyms[i].name;
        factor = setting->synonyms[i].factor;
    }
    int64_t value;
    if (factor != 1 && text != NULL && read_whole(bytes_of_text(text), &value)) {
        snprintf(row->numbers[1], SETTING_NUMBER_SIZE, "%" PRId64, value / factor);
        text = row->numbers[1];
    }
    if (text != NULL) {
        add_origin(row, name, text, SETTING_SOURCE_DEFAULT);
    }
}

void setting_describe(const struct setting *setting, struct setting_lookup own,
                      enum setting_source own_source, struct setting_lookup below,
                      struct setting_row *row)
{
    *row = (struct setting_row){
        .setting = setting,
        .value = setting->default_text,
        .source = SETTING_SOURCE_DEFAULT,
    };
    const char *inherited = setting_from_below(setting, below, row->numbers[0]);
    if (inherited != NULL) {
        row->value = inherited;
        row->source = SETTING_SOURCE_STATIC;
    }
    const char *text = lookup(own, setting->name);
    if (text != NULL) {
        row->value = text;
        row->source = own_source;
        add_origin(row, setting->name, text, own_source);
    }
    for (int32_t i = 0; i < SETTING_SYNONYMS_MAX && setting->synonyms[i].name != NULL; i++) {
        const char *synonym = lookup(below, setting->synonyms[i].name);
        if (synonym != NULL) {
            add_origin(row, setting->synonyms[i].name, synonym, SETTING_SOURCE_STATIC);
        }
    }
    add_default(row);
    if (setting->kind == SETTING_PASSWORD) {
        row->value = NULL;
    }
}
