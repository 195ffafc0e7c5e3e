/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/properties.h"

#include "base/check.h"

void properties_init(struct properties *properties, struct bytes text, uint8_t *memory)
{
    *properties = (struct properties){.text = text, .line_next = 1, .memory = memory};
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\f';
}

static bool is_end(uint8_t byte)
{
    return byte == '\n' || byte == '\r';
}

static void skip(struct properties *properties, size_t size)
{
    properties->text.data += size;
    properties->text.size -= size;
}

/* One end of line: LF, CR or CR LF. */
static void skip_end(struct properties *properties)
{
    struct bytes text = properties->text;
    if (text.size > 0) {
        skip(properties, text.size > 1 && text.data[0] == '\r' && text.data[1] == '\n' ? 2 : 1);
        properties->line_next += 1;
    }
}

static void skip_blanks(struct properties *properties)
{
    while (properties->text.size > 0 && is_blank(properties->text.data[0])) {
        skip(properties, 1);
    }
}

/* Empty lines and comments; true when an entry begins here. */
static bool skip_to_entry(struct properties *properties)
{
    for (;;) {
        skip_blanks(properties);
        if (properties->text.size == 0) {
            return false;
        }
        uint8_t first = properties->text.data[0];
        if (first == '#' || first == '!') {
            while (properties->text.size > 0 && !is_end(properties->text.data[0])) {
                skip(properties, 1);
            }
        } else if (!is_end(first)) {
            return true;
        }
        skip_end(properties);
    }
}

static void put(struct properties *properties, uint32_t byte)
{
    properties->memory[properties->size++] = (uint8_t)byte;
}

/* Six bytes of \uXXXX become three at most; twelve of a pair become four. */
static void put_character(struct properties *properties, uint32_t character)
{
    if (character < 0x80) {
        put(properties, character);
    } else if (character < 0x800) {
        put(properties, 0xc0 | character >> 6);
        put(properties, 0x80 | (character & 0x3f));
    } else if (character < 0x10000) {
        put(properties, 0xe0 | character >> 12);
        put(properties, 0x80 | (character >> 6 & 0x3f));
        put(properties, 0x80 | (character & 0x3f));
    } else {
        put(properties, 0xf0 | character >> 18);
        put(properties, 0x80 | (character >> 12 & 0x3f));
        put(properties, 0x80 | (character >> 6 & 0x3f));
        put(properties, 0x80 | (character & 0x3f));
    }
}

/* "uXXXX" at the front of the text. */
static bool read_unit(struct bytes text, uint32_t *unit)
{
    *unit = 0;
    if (text.size < 5 || text.data[0] != 'u') {
        return false;
    }
    for (size_t i = 1; i < 5; i++) {
        uint8_t byte = text.data[i];
        uint32_t digit = byte >= '0' && byte <= '9'   ? (uint32_t)(byte - '0')
                         : byte >= 'a' && byte <= 'f' ? (uint32_t)(byte - 'a' + 10)
                         : byte >= 'A' && byte <= 'F' ? (uint32_t)(byte - 'A' + 10)
                                                      : 16;
        if (digit == 16) {
            return false;
        }
        *unit = *unit << 4 | digit;
    }
    return true;
}

/* A UTF-16 unit, or a pair of surrogates written as two escapes. */
static bool take_unicode(struct properties *properties)
{
    uint32_t unit;
    if (!read_unit(properties->text, &unit)) {
        return false;
    }
    skip(properties, 5);
    struct bytes rest = properties->text;
    uint32_t low;
    if (unit >= 0xd800 && unit < 0xdc00 && rest.size > 1 && rest.data[0] == '\\' &&
        read_unit(bytes_of(rest.data + 1, rest.size - 1), &low) && low >= 0xdc00 && low < 0xe000) {
        skip(properties, 6);
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    } else if (unit >= 0xd800 && unit < 0xe000) {
        unit = 0xfffd; /* half a pair is no character */
    }
    put_character(properties, unit);
    return true;
}

/* What follows a backslash. */
static bool take_escape(struct properties *properties)
{
    if (properties->text.size == 0) {
        return true; /* at the end of the file it means nothing */
    }
    uint8_t byte = properties->text.data[0];
    if (is_end(byte)) {
        skip_end(properties);
        skip_blanks(properties);
        return true;
    }
    if (byte == 'u') {
        return take_unicode(properties);
    }
    skip(properties, 1);
    put(properties, byte == 't'   ? '\t'
                    : byte == 'n' ? '\n'
                    : byte == 'r' ? '\r'
                    : byte == 'f' ? '\f'
                                  : byte);
    return true;
}

/* Up to the end of the line or, in a key, to what separates it from the value. */
static bool take_text(struct properties *properties, bool is_key, struct bytes *out)
{
    size_t start = properties->size;
    while (properties->text.size > 0) {
        uint8_t byte = properties->text.data[0];
        if (is_end(byte) || (is_key && (byte == '=' || byte == ':' || is_blank(byte)))) {
            break;
        }
        skip(properties, 1);
        if (byte != '\\') {
            put(properties, byte);
        } else if (!take_escape(properties)) {
            return false;
        }
    }
    *out = bytes_of(properties->memory + start, properties->size - start);
    return true;
}

/* Blanks around one = or :, and lines joined in between. */
static void skip_separator(struct properties *properties)
{
    bool seen = false;
    for (;;) {
        struct bytes text = properties->text;
        if (text.size > 1 && text.data[0] == '\\' && is_end(text.data[1])) {
            skip(properties, 1);
            skip_end(properties);
        } else if (text.size > 0 && is_blank(text.data[0])) {
            skip(properties, 1);
        } else if (text.size > 0 && !seen && (text.data[0] == '=' || text.data[0] == ':')) {
            seen = true;
            skip(properties, 1);
        } else {
            return;
        }
    }
}

enum status properties_next(struct properties *properties, struct bytes *key, struct bytes *value)
{
    if (!skip_to_entry(properties)) {
        return STATUS_NOT_FOUND;
    }
    properties->line = properties->line_next;
    if (!take_text(properties, true, key)) {
        return STATUS_MALFORMED;
    }
    skip_separator(properties);
    if (!take_text(properties, false, value)) {
        return STATUS_MALFORMED;
    }
    return STATUS_OK;
}
