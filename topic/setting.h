/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row of a table of settings: how a text becomes a typed value, what is wrong with it, and how
 * DescribeConfigs shows it. topic/config.def and broker/config.def are tables of such rows; a
 * struct of typed fields is made from the same lines, and a row knows the offset of its field.
 *
 * Pure; no memory but the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/status.h"

/* What a text is read as, and the type of the field. */
enum setting_kind {
    SETTING_BOOLEAN,  /* bool */
    SETTING_SHORT,    /* int16_t */
    SETTING_INT,      /* int32_t */
    SETTING_LONG,     /* int64_t */
    SETTING_DOUBLE,   /* double */
    SETTING_CHOICE,   /* int32_t: index of the one word of `choices` */
    SETTING_SET,      /* uint32_t: a bit for each word of `choices` that the list names */
    SETTING_REPLICAS, /* bool: any named; "*" or a list of partition:broker */
    SETTING_STRING,   /* const char *: the text, whose memory the owner of the struct keeps */
    SETTING_LIST,     /* the same; items without blanks around them */
    SETTING_CLASS,    /* the same */
    SETTING_PASSWORD, /* the same; never shown */
};

#define SETTING_FIELD_BOOLEAN bool
#define SETTING_FIELD_SHORT int16_t
#define SETTING_FIELD_INT int32_t
#define SETTING_FIELD_LONG int64_t
#define SETTING_FIELD_DOUBLE double
#define SETTING_FIELD_CHOICE int32_t
#define SETTING_FIELD_SET uint32_t
#define SETTING_FIELD_REPLICAS bool
#define SETTING_FIELD_STRING const char *
#define SETTING_FIELD_LIST const char *
#define SETTING_FIELD_CLASS const char *
#define SETTING_FIELD_PASSWORD const char *

enum setting_flag {
    SETTING_FIXED = 1, /* only the default is accepted: another value asks for what is not there */
    SETTING_NOT_ZERO = 2, /* the range holds 0, the setting does not */
    SETTING_INERT = 4,    /* accepted because old files have it; nothing follows from it */
};

#define SETTING_SYNONYMS_MAX 3

/* The key one level below (broker for topic) and how many of our units one of its units is. */
struct setting_synonym {
    const char *name;
    int64_t factor;
};

struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;            /* of the field in the struct made from the same table */
    const char *default_text; /* NULL: none; the field is then 0, false or NULL */
    int64_t low;              /* inclusive, of numbers */
    int64_t high;
    const char *choices;  /* words with one blank between; NULL for other kinds */
    unsigned flags;       /* enum setting_flag */
    const char *sentence; /* documentation, our own words */
    struct setting_synonym synonyms[SETTING_SYNONYMS_MAX]; /* first one that is set wins */
};

struct setting_value {
    union {
        int64_t number;    /* BOOLEAN to LONG, CHOICE, SET, REPLICAS */
        double real;       /* DOUBLE */
        struct bytes text; /* STRING to PASSWORD: the input without blanks at its ends */
    };
};

#define SETTING_MESSAGE_SIZE 256

/* STATUS_INVALID_CONFIG with one sentence in `message`: key, value, what is allowed. */
enum status setting_parse(const struct setting *setting, struct bytes text,
                          struct setting_value *value, char message[SETTING_MESSAGE_SIZE]);
/* Writes the typed field. A text kind's text must be followed by a NUL and outlive the object. */
void setting_store(const struct setting *setting, const struct setting_value *value, void *object);
/* Every field of the object from the table's defaults. The tables' own tests prove that they parse.
 */
void setting_store_defaults(const struct setting *table, size_t count, void *object);

/* The text as it is kept and shown: no blanks, numbers and booleans in their one form. Never longer
 * than the input, not NUL-terminated; `out` has room for text.size. The text must have been parsed.
 */
size_t setting_canonical(const struct setting *setting, struct bytes text, char *out);

/* NULL when the table has no such name. */
const struct setting *setting_find(const struct setting *table, size_t count, struct bytes name);

/* ---- DescribeConfigs ---- */

enum setting_source {
    SETTING_SOURCE_TOPIC = 1,
    SETTING_SOURCE_STATIC = 4,
    SETTING_SOURCE_DEFAULT = 5,
};

/* Type as the answer of version 3 and later says it. */
int8_t setting_type_code(const struct setting *setting);

/* Where explicit values are found by name; NULL when a name was not set. */
struct setting_lookup {
    const char *(*find)(const void *context, const char *name);
    const void *context;
};

struct setting_origin {
    const char *name;
    const char *value;
    enum setting_source source;
};

#define SETTING_ORIGINS_MAX (SETTING_SYNONYMS_MAX + 2)
#define SETTING_NUMBER_SIZE 24

/* Points into itself, the table and the looked-up texts: not to be copied. */
struct setting_row {
    const struct setting *setting;
    const char *value; /* NULL: null, or a password */
    enum setting_source source;
    struct setting_origin origins[SETTING_ORIGINS_MAX]; /* what wins first */
    int32_t origin_count;
    char numbers[2][SETTING_NUMBER_SIZE];
};

/* own: values set under the row's own name, with their source; below: values of the synonyms.
 * Either may have find == NULL: nothing is set there. */
void setting_describe(const struct setting *setting, struct setting_lookup own,
                      enum setting_source own_source, struct setting_lookup below,
                      struct setting_row *row);
/* The text that wins from the synonyms, turned into the row's unit; NULL when none is set. `number`
 * is used where a unit changes. */
const char *setting_from_below(const struct setting *setting, struct setting_lookup below,
                               char number[SETTING_NUMBER_SIZE]);
