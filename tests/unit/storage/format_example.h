/* SPDX-License-Identifier: Apache-2.0 */
/* The examples of storage/FORMAT.md, as pages; WEIR_FORMAT_MD is its path, from the build. */
#pragma once

#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT_PAGE_SIZE 4096

#ifndef WEIR_FORMAT_MD
#define WEIR_FORMAT_MD "storage/FORMAT.md"
#endif

/* The page in the block "```hex <name>" of FORMAT.md. */
static inline void read_example(const char *name, uint8_t *page)
{
    FILE *file = fopen(WEIR_FORMAT_MD, "r");
    assert_non_null(file);
    char line[512];
    char fence[64];
    bool inside = false;
    bool seen = false;
    memset(page, 0, FORMAT_PAGE_SIZE);
    snprintf(fence, sizeof(fence), "```hex %s\n", name);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strcmp(line, fence) == 0) {
            inside = seen = true;
            continue;
        }
        if (line[0] == '`') {
            inside = false;
        }
        if (!inside) {
            continue;
        }
        char *cursor;
        unsigned long at = strtoul(line, &cursor, 16);
        assert_true(*cursor == ':' && at + 16 <= FORMAT_PAGE_SIZE);
        cursor += 1;
        for (int i = 0; i < 16; i++) {
            page[at + (size_t)i] = (uint8_t)strtoul(cursor, &cursor, 16);
        }
    }
    fclose(file);
    assert_true(seen);
}
