/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void check_failed(const char *expression, const char *file, int line)
{
    char text[512];
    int size = snprintf(text, sizeof(text), "check failed: %s (%s:%d)\n", expression, file, line);
    if (size > 0) {
        size_t count = (size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1;
        /* Straight to the descriptor: buffers of stdio may be what is broken. */
        ssize_t written = write(STDERR_FILENO, text, count);
        (void)written;
    }
    abort();
}
