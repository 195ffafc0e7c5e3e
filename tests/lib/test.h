/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka in the order it wants its headers, and the few words our tests share. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"

#define assert_bytes_equal(a, b)                                                                   \
    do {                                                                                           \
        struct bytes test_a = (a);                                                                 \
        struct bytes test_b = (b);                                                                 \
        assert_int_equal(test_a.size, test_b.size);                                                \
        if (test_a.size > 0) {                                                                     \
            assert_memory_equal(test_a.data, test_b.data, test_a.size);                            \
        }                                                                                          \
    } while (0)
