/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts every allocation of the process, of libraries too: malloc and its family are replaced in a
 * program that links this file. Under a sanitizer, which replaces them itself, nothing is counted
 * and allocations_are_counted() says so.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct allocations {
    uint64_t count;
    uint64_t size; /* bytes asked for */
};

bool allocations_are_counted(void);
/* Of all threads since the start; take the difference of two calls. */
struct allocations allocations_read(void);
