/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/status.h"

#include "base/check.h"

struct status_row {
    const char *name;
    const char *sentence;
    int16_t code;
    bool retriable;
};

static const struct status_row rows[STATUS_COUNT] = {
#define STATUS(name, code, retriable, sentence)                                                    \
    [STATUS_##name] = {#name, (sentence), (code), (retriable)},
#include "wire/error.def"
#undef STATUS
};

static const struct status_row *row_of(enum status status)
{
    check((unsigned)status < STATUS_COUNT);
    return &rows[status];
}

int16_t status_code(enum status status)
{
    return row_of(status)->code;
}

/* A walk over some 140 rows: only clients turn codes back into statuses. -1 is shared by ours,
 * which no peer can have meant. */
enum status status_from_code(int16_t code)
{
    if (code >= 0) {
        for (unsigned index = 0; index < STATUS_COUNT; index++) {
            if (rows[index].code == code) {
                return (enum status)index;
            }
        }
    }
    return STATUS_UNKNOWN_SERVER_ERROR;
}

const char *status_name(enum status status)
{
    return row_of(status)->name;
}

const char *status_sentence(enum status status)
{
    return row_of(status)->sentence;
}

bool status_is_retriable(enum status status)
{
    return row_of(status)->retriable;
}
