/* SPDX-License-Identifier: Apache-2.0 */
/* What transactions_sim asks of the broker: one transactional producer's requests and answers. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim_broker.h"

#define PARTITIONS 3
#define PRODUCERS 3
#define TIMEOUT_MS 20000
#define VALUE_SIZE 12      /* producer, transaction, record: 4 bytes each */
#define CLASSIC_PRODUCER 2 /* speaks version 1; the others version 2 */

extern uint64_t transactions_seed;

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr,                                                                        \
                    "seed %llu: %s:%d: %s\nreplay: build/tests/sim/transactions_sim %llu\n",       \
                    (unsigned long long)transactions_seed, __FILE__, __LINE__, #condition,         \
                    (unsigned long long)transactions_seed);                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum outcome { OUTCOME_UNKNOWN, OUTCOME_COMMITTED, OUTCOME_ABORTED };

/* What the world was told of one transaction, then what the logs hold. */
struct told {
    enum outcome outcome;
    int32_t acknowledged[PARTITIONS]; /* records */
    int32_t found[PARTITIONS];
    int32_t marked[PARTITIONS];
    enum outcome marker;
};

struct producer {
    int32_t number;
    int64_t id;
    int16_t epoch;
    bool ready; /* false: what is open under its pair is given up, it needs a new one */
    int32_t sequences[PARTITIONS];
    int32_t serial; /* of the open transaction, or the next one */
    int32_t record;
    bool open;
    struct told *told; /* by serial */
};

struct reader transactions_call(struct sim_client *client, struct writer *writer);
bool is_classic(const struct producer *producer);
struct bytes producer_name(const struct producer *producer);
void topic_create(struct sim_client *client);
void coordinator_find(struct sim_client *client);
/* Under a new pair, which is newer than the one before. */
enum status init_call(struct sim_client *client, struct producer *producer);
enum status add_call(struct sim_client *client, const struct producer *producer, int32_t partition);
enum status describe_call(struct sim_client *client, const struct producer *producer);
/* One batch of `count` records of the open transaction; sent, not waited for: `post` not even until
 * it has been sent. */
void produce_send(struct sim_client *client, struct producer *producer, int32_t partition,
                  int32_t count, bool post);
enum status produce_receive(struct sim_client *client, struct producer *producer, int32_t partition,
                            int32_t count);
void end_send(struct sim_client *client, const struct producer *producer, bool commit, bool post);
enum status end_receive(struct sim_client *client, struct producer *producer);
