/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mailbox.h"

void mailbox_init(struct mailbox *mailbox)
{
    atomic_init(&mailbox->head, NULL);
    atomic_init(&mailbox->sleeping, false);
}

bool mailbox_send(struct mailbox *mailbox, struct mail *mail)
{
    struct mail *head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    do {
        mail->next = head;
        /* seq_cst and not just release: the load of `sleeping` must not move before it. */
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->head, &head, mail,
                                                    memory_order_seq_cst, memory_order_relaxed));
    /* The plain load first keeps the line shared while the receiver is awake. */
    return atomic_load(&mailbox->sleeping) && atomic_exchange(&mailbox->sleeping, false);
}

size_t mailbox_drain(struct mailbox *mailbox)
{
    if (atomic_load_explicit(&mailbox->head, memory_order_relaxed) == NULL) {
        return 0;
    }
    struct mail *newest = atomic_exchange_explicit(&mailbox->head, NULL, memory_order_acquire);
    struct mail *oldest = NULL;
    while (newest != NULL) {
        struct mail *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    size_t count = 0;
    while (oldest != NULL) {
        struct mail *mail = oldest;
        oldest = mail->next; /* before deliver: the node is free in there */
        mail->next = NULL;
        mail->deliver(mail);
        count += 1;
    }
    return count;
}

bool mailbox_sleep(struct mailbox *mailbox)
{
    atomic_store(&mailbox->sleeping, true);
    if (atomic_load(&mailbox->head) == NULL) {
        return true;
    }
    mailbox_awake(mailbox);
    return false;
}

void mailbox_awake(struct mailbox *mailbox)
{
    atomic_store_explicit(&mailbox->sleeping, false, memory_order_relaxed);
}
