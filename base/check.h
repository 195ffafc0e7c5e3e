/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks that stay on in release builds.
 *
 * Three failures, three answers: bytes of a peer are wrong -> a status; the world failed -> a
 * status (or -errno); we are wrong -> check() stops the process. Never check() bytes from a socket
 * or disk.
 *
 * check()       cheap, always on; a core file with the broken rule beats wrong data served.
 * check_slow()  O(n) consistency walks; on in debug and simulation builds (WEIR_CHECK_SLOW).
 * check_magic() every long-lived object starts with a magic number, zeroed when it dies.
 */
#pragma once

#include <stdint.h>

_Noreturn void check_failed(const char *expression, const char *file, int line);

#define check(expression)                                                                          \
    (__builtin_expect(!(expression), 0) ? check_failed(#expression, __FILE__, __LINE__) : (void)0)

#ifdef WEIR_CHECK_SLOW
#define check_slow(expression) check(expression)
#else
#define check_slow(expression) ((void)sizeof((expression) ? 1 : 0))
#endif

#define check_magic(object, expected)                                                              \
    do {                                                                                           \
        check((object) != NULL);                                                                   \
        check((object)->magic == (expected));                                                      \
    } while (0)

#define unreachable() check_failed("unreachable", __FILE__, __LINE__)

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
