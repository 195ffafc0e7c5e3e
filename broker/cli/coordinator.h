/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the broker that coordinates a group or a transactional id. */
#pragma once

#include "broker/cli/cluster.h"

enum coordinator_kind { COORDINATOR_GROUP = 0, COORDINATOR_TRANSACTION = 1 };

/*
 * One request to the coordinator of `key`, found anew and asked again while `error_of` names an
 * error that passes by itself: the coordinator moves, reads its log, or is ending a transaction.
 * False for a failed connection and when there is no coordinator; every other error is left to the
 * caller. The answer lives in `arena`.
 */
struct coordinator_call {
    struct bytes key;
    enum coordinator_kind kind;
    int16_t api;
    const void *request;
    void *response;
    int16_t (*error_of)(const void *response);
};
bool coordinator_ask(struct cluster *cluster, struct arena *arena,
                     const struct coordinator_call *call);
