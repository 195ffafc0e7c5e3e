/* SPDX-License-Identifier: Apache-2.0 */
/*
 * (api) The cores of one broker as each other sees them: where to send mail. Filled before the
 * cores run and constant afterwards. A message costs one atomic push, and one wake when the
 * receiver sleeps.
 */
#pragma once

#include <stdint.h>

#include "base/check.h"
#include "base/mailbox.h"
#include "base/ring.h"

#define CORES_MAX 64

struct manager;

struct peer {
    struct mailbox *mailbox;
    struct ring *ring;
    struct manager *manager;
};

struct peers {
    int32_t count;
    struct peer peers[CORES_MAX];
};

/* Any core. The receiver runs mail->deliver(); the node must live until then. */
static inline void peers_send(const struct peers *peers, int32_t core, struct mail *mail)
{
    check(core >= 0);
    check(core < peers->count);
    const struct peer *peer = &peers->peers[core];
    if (mailbox_send(peer->mailbox, mail)) {
        ring_wake(peer->ring);
    }
}
