/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/check.h"
#include "base/ring_backend.h"

/* The sanitizers keep books about stacks and want to be told of every change. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#define GUARD_SIZE ((size_t)4096)

struct fiber {
    ucontext_t inside;
    ucontext_t outside; /* of whoever started or resumed it */
    uint8_t *memory;    /* the guard page, then the stack */
    size_t stack_size;
    void (*run)(void *argument);
    void *argument;
    bool active;
#ifdef __SANITIZE_ADDRESS__
    const void *outside_stack;
    size_t outside_size;
#endif
#ifdef __SANITIZE_THREAD__
    void *inside_books;
    void *outside_books;
#endif
};

struct fiber *fiber_open(size_t stack_size)
{
    struct fiber *fiber = calloc(1, sizeof(*fiber));
    if (fiber == NULL) {
        return NULL;
    }
    fiber->stack_size = stack_size;
    fiber->memory = mmap(NULL, GUARD_SIZE + stack_size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (fiber->memory == MAP_FAILED) {
        free(fiber);
        return NULL;
    }
    if (mprotect(fiber->memory, GUARD_SIZE, PROT_NONE) != 0) {
        munmap(fiber->memory, GUARD_SIZE + stack_size);
        free(fiber);
        return NULL;
    }
#ifdef __SANITIZE_THREAD__
    fiber->inside_books = __tsan_create_fiber(0);
#endif
    return fiber;
}

void fiber_close(struct fiber *fiber)
{
    check(!fiber->active);
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(fiber->inside_books);
#endif
    munmap(fiber->memory, GUARD_SIZE + fiber->stack_size);
    free(fiber);
}

static void fiber_enter(struct fiber *fiber)
{
#ifdef __SANITIZE_ADDRESS__
    void *books = NULL;
    __sanitizer_start_switch_fiber(&books, fiber->memory + GUARD_SIZE, fiber->stack_size);
#endif
#ifdef __SANITIZE_THREAD__
    fiber->outside_books = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber->inside_books, 0);
#endif
    int error = swapcontext(&fiber->outside, &fiber->inside);
    check(error == 0);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(books, NULL, NULL);
#endif
}

static void fiber_leave(struct fiber *fiber)
{
#ifdef __SANITIZE_ADDRESS__
    void *books = NULL; /* one whose call has returned leaves none */
    __sanitizer_start_switch_fiber(fiber->active ? &books : NULL, fiber->outside_stack,
                                   fiber->outside_size);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(fiber->outside_books, 0);
#endif
    int error = swapcontext(&fiber->inside, &fiber->outside);
    check(error == 0);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(books, &fiber->outside_stack, &fiber->outside_size);
#endif
}

/* makecontext() passes ints: the pointer comes in halves. */
static void fiber_main(unsigned high, unsigned low)
{
    struct fiber *fiber = (struct fiber *)((uintptr_t)high << 32 | low);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(NULL, &fiber->outside_stack, &fiber->outside_size);
#endif
    fiber->run(fiber->argument);
    fiber->active = false;
    fiber_leave(fiber);
    unreachable();
}

void fiber_start(struct fiber *fiber, void (*run)(void *argument), void *argument)
{
    check(!fiber->active);
    fiber->active = true;
    fiber->run = run;
    fiber->argument = argument;
    int error = getcontext(&fiber->inside);
    check(error == 0);
    fiber->inside.uc_stack.ss_sp = fiber->memory + GUARD_SIZE;
    fiber->inside.uc_stack.ss_size = fiber->stack_size;
    fiber->inside.uc_link = NULL;
    uint64_t address = (uintptr_t)fiber;
    makecontext(&fiber->inside, (void (*)(void))fiber_main, 2, (unsigned)(address >> 32),
                (unsigned)address);
    fiber_enter(fiber);
}

void fiber_resume(struct fiber *fiber)
{
    check(fiber->active);
    fiber_enter(fiber);
}

void fiber_stop(struct fiber *fiber)
{
    check(fiber->active);
    fiber_leave(fiber);
}

bool fiber_is_active(const struct fiber *fiber)
{
    return fiber->active;
}
