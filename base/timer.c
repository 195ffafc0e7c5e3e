/* SPDX-License-Identifier: Apache-2.0 */
#include "base/timer.h"

#include <stddef.h>

#include "base/check.h"

void timers_init(struct timers *timers)
{
    *timers = (struct timers){0};
}

static bool timer_before(const struct timer *a, const struct timer *b)
{
    return a->deadline_ns != b->deadline_ns ? a->deadline_ns < b->deadline_ns : a->order < b->order;
}

/* Both are roots without siblings; the later one becomes the first child of the earlier one. */
static struct timer *timer_meld(struct timer *a, struct timer *b)
{
    if (a == NULL) {
        return b;
    }
    if (b == NULL) {
        return a;
    }
    if (timer_before(b, a)) {
        struct timer *swap = a;
        a = b;
        b = swap;
    }
    b->previous = a;
    b->sibling = a->child;
    if (a->child != NULL) {
        a->child->previous = b;
    }
    a->child = b;
    return a;
}

/* One heap out of a list of siblings: pairs from left to right, then melded from right to left.
 * Iterative, because a list may be as long as there are timers. */
static struct timer *timer_meld_siblings(struct timer *first)
{
    struct timer *pairs = NULL; /* linked by sibling, last pair first */
    while (first != NULL) {
        struct timer *a = first;
        struct timer *b = a->sibling;
        first = b != NULL ? b->sibling : NULL;
        a->sibling = a->previous = NULL;
        if (b != NULL) {
            b->sibling = b->previous = NULL;
        }
        struct timer *pair = timer_meld(a, b);
        pair->sibling = pairs;
        pairs = pair;
    }
    struct timer *root = NULL;
    while (pairs != NULL) {
        struct timer *next = pairs->sibling;
        pairs->sibling = NULL;
        root = timer_meld(root, pairs);
        pairs = next;
    }
    return root;
}

/* Takes the timer out of its parent's children or out of the list of due timers. */
static void timer_unlink(struct timer *timer)
{
    struct timer *previous = timer->previous;
    if (previous->child == timer) {
        previous->child = timer->sibling;
    } else {
        previous->sibling = timer->sibling;
    }
    if (timer->sibling != NULL) {
        timer->sibling->previous = previous;
    }
}

static void timer_detach(struct timers *timers, struct timer *timer)
{
    if (timer == timers->root) {
        timers->root = timer_meld_siblings(timer->child);
    } else if (timer == timers->due) {
        timers->due = timer->sibling;
        if (timers->due != NULL) {
            timers->due->previous = NULL;
        }
    } else {
        timer_unlink(timer);
        timers->root = timer_meld(timers->root, timer_meld_siblings(timer->child));
    }
    timer->child = timer->sibling = timer->previous = NULL;
}

void timer_arm(struct timers *timers, struct timer *timer, uint64_t deadline_ns)
{
    timer_disarm(timers, timer);
    timer->deadline_ns = deadline_ns;
    timer->order = timers->order_next++;
    timer->armed = true;
    timers->root = timer_meld(timers->root, timer);
}

void timer_disarm(struct timers *timers, struct timer *timer)
{
    if (timer->armed) {
        timer->armed = false;
        timer_detach(timers, timer);
    }
}

uint64_t timers_next(const struct timers *timers)
{
    if (timers->due != NULL) {
        return timers->due->deadline_ns;
    }
    return timers->root == NULL ? TIMER_NEVER : timers->root->deadline_ns;
}

void timers_fire(struct timers *timers, uint64_t now_ns)
{
    check(timers->due == NULL); /* fire() does not call us */
    /* All due timers are taken out first, so that one armed again by its own fire() waits for the
     * next call. They stay armed meanwhile: a fire() may still disarm one behind it. */
    struct timer *last = NULL;
    while (timers->root != NULL && timers->root->deadline_ns <= now_ns) {
        struct timer *timer = timers->root;
        timers->root = timer_meld_siblings(timer->child);
        timer->child = timer->sibling = NULL;
        timer->previous = last;
        if (last == NULL) {
            timers->due = timer;
        } else {
            last->sibling = timer;
        }
        last = timer;
    }
    while (timers->due != NULL) {
        struct timer *timer = timers->due;
        timer_disarm(timers, timer);
        timer->fire(timer);
    }
}
