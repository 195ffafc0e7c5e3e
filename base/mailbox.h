/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to a core. The node lies inside the sender's own request, so sending cannot fail, wait
 * or allocate. Many senders, one receiver; messages of one sender arrive in the order sent.
 *
 *   sender                              receiver (the owner core)
 *   push: seq_cst CAS on `head`   <->   mailbox_drain: acquire exchange of `head` with NULL
 *   load `sleeping` (seq_cst)     <->   store `sleeping` (seq_cst), then look at `head` again
 *
 * The second pair makes a lost wake-up impossible: either the sender sees `sleeping` and wakes the
 * receiver's ring, or the receiver sees the message before it sleeps.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct mail {
    struct mail *next;
    void (*deliver)(struct mail *mail); /* runs on the receiving core; the node is free again */
};

struct mailbox {
    _Alignas(64) _Atomic(struct mail *) head; /* newest first */
    _Alignas(64) atomic_bool sleeping;
};

void mailbox_init(struct mailbox *mailbox);
/* Any core. True: the receiver sleeps and this sender is the one to wake its ring. */
[[nodiscard]] bool mailbox_send(struct mailbox *mailbox, struct mail *mail);
/* Owner. Delivers everything that had arrived at the call, oldest first; answers how many. */
size_t mailbox_drain(struct mailbox *mailbox);
/* Owner, before it waits. False: a message slipped in, do not wait. */
[[nodiscard]] bool mailbox_sleep(struct mailbox *mailbox);
/* Owner, after it waited. */
void mailbox_awake(struct mailbox *mailbox);
