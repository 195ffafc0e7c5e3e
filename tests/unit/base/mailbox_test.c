/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mailbox.h"

#include <pthread.h>
#include <semaphore.h>

#include "base/check.h"
#include "tests/lib/test.h"

#define SENDERS 4
#define MAILS 20000
#define WINDOW 16 /* mails of one sender in flight: nodes are used again and again */

struct letter {
    struct mail mail;
    struct sender *sender;
    size_t number;
    atomic_bool free;
};

struct receiver {
    struct mailbox mailbox;
    sem_t ring; /* stands for the ring that is woken */
    size_t received;
};

struct sender {
    struct receiver *receiver;
    struct letter letters[WINDOW];
    size_t received;
    pthread_t thread;
};

static void letter_deliver(struct mail *mail)
{
    struct letter *letter = CONTAINER_OF(mail, struct letter, mail);
    check(letter->number == letter->sender->received); /* order of one sender */
    letter->sender->received += 1;
    letter->sender->receiver->received += 1;
    atomic_store_explicit(&letter->free, true, memory_order_release);
}

static void sender_init(struct sender *sender, struct receiver *receiver)
{
    *sender = (struct sender){.receiver = receiver};
    for (size_t i = 0; i < WINDOW; i++) {
        sender->letters[i].mail.deliver = letter_deliver;
        sender->letters[i].sender = sender;
        sender->letters[i].free = true;
    }
}

static void *sender_run(void *argument)
{
    struct sender *sender = argument;
    for (size_t i = 0; i < MAILS; i++) {
        struct letter *letter = &sender->letters[i % WINDOW];
        while (!atomic_load_explicit(&letter->free, memory_order_acquire)) {
            sched_yield();
        }
        atomic_store_explicit(&letter->free, false, memory_order_relaxed);
        letter->number = i;
        if (mailbox_send(&sender->receiver->mailbox, &letter->mail)) {
            sem_post(&sender->receiver->ring);
        }
    }
    return NULL;
}

/* A wake-up that got lost would hang the receiver for ever: the time-out of the suite tells. */
static void many_senders_one_receiver(void **state)
{
    (void)state;
    static struct receiver receiver;
    static struct sender senders[SENDERS];
    mailbox_init(&receiver.mailbox);
    sem_init(&receiver.ring, 0, 0);
    for (size_t i = 0; i < SENDERS; i++) {
        sender_init(&senders[i], &receiver);
        assert_int_equal(pthread_create(&senders[i].thread, NULL, sender_run, &senders[i]), 0);
    }
    while (receiver.received < SENDERS * MAILS) {
        if (mailbox_sleep(&receiver.mailbox)) {
            sem_wait(&receiver.ring);
            mailbox_awake(&receiver.mailbox);
        }
        mailbox_drain(&receiver.mailbox);
    }
    for (size_t i = 0; i < SENDERS; i++) {
        pthread_join(senders[i].thread, NULL);
        assert_int_equal(senders[i].received, MAILS);
    }
    assert_int_equal(mailbox_drain(&receiver.mailbox), 0);
    sem_destroy(&receiver.ring);
}

static void one_sender_is_told_to_wake(void **state)
{
    (void)state;
    struct receiver receiver = {0};
    static struct sender sender;
    mailbox_init(&receiver.mailbox);
    sender_init(&sender, &receiver);
    struct letter *letters = sender.letters;
    for (size_t i = 0; i < 4; i++) {
        letters[i].number = i;
    }
    assert_false(mailbox_send(&receiver.mailbox, &letters[0].mail));
    assert_false(mailbox_sleep(&receiver.mailbox)); /* a message is there already */
    assert_int_equal(mailbox_drain(&receiver.mailbox), 1);
    assert_true(mailbox_sleep(&receiver.mailbox));
    assert_true(mailbox_send(&receiver.mailbox, &letters[1].mail));
    assert_false(mailbox_send(&receiver.mailbox, &letters[2].mail));
    mailbox_awake(&receiver.mailbox);
    assert_false(mailbox_send(&receiver.mailbox, &letters[3].mail));
    assert_int_equal(mailbox_drain(&receiver.mailbox), 3);
    assert_int_equal(sender.received, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_sender_is_told_to_wake),
        cmocka_unit_test(many_senders_one_receiver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
