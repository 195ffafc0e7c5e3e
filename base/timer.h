/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers of one core: an intrusive pairing heap ordered by (deadline, arming order), so that arming
 * allocates nothing and cannot fail, and equal deadlines fire in the order they were armed.
 * Deadlines are monotonic nanoseconds as base/ring.h tells them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct timer {
    struct timer *child;
    struct timer *sibling;
    struct timer *previous; /* parent when first child, else left sibling; NULL when root or idle */
    uint64_t deadline_ns;
    uint64_t order;
    bool armed;
    void (*fire)(struct timer *timer); /* the timer is idle when called; may arm it again */
};

struct timers {
    struct timer *root;
    struct timer *due; /* taken out by timers_fire(), not yet fired */
    uint64_t order_next;
};

#define TIMER_NEVER UINT64_MAX

void timers_init(struct timers *timers);
/* Arming an armed timer moves it. */
void timer_arm(struct timers *timers, struct timer *timer, uint64_t deadline_ns);
void timer_disarm(struct timers *timers, struct timer *timer); /* idle timers are left alone */
/* Deadline of the earliest timer, TIMER_NEVER when none is armed. */
uint64_t timers_next(const struct timers *timers);
/* Fires all that are due at now_ns; a timer armed again for <= now_ns waits for the next call. */
void timers_fire(struct timers *timers, uint64_t now_ns);
