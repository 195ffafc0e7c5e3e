/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/assignor.h"

#include "base/check.h"

static const struct assignor rows[] = {
    {"uniform", assign_uniform},
    {"range", assign_range},
};

const struct assignor *assignor_row(int32_t index)
{
    return index >= 0 && (size_t)index < ARRAY_COUNT(rows) ? &rows[index] : NULL;
}

const struct assignor *assignor_find(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (bytes_equal(name, bytes_of_text(rows[i].name))) {
            return &rows[i];
        }
    }
    return NULL;
}
