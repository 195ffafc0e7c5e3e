/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log of an internal topic, whatever stands in it, and the broker that has to start with it: a
 * broker of one core on the simulated ring whose partition gets the input's batches and reads them
 * back the way every start does (broker/shard.h). Shared by offsets_log_fuzz and
 * transactions_log_fuzz.
 *
 *   load, print -> load again, print: equal, and no memory was kept -> serve(): requests, time
 *   -> load what came of that
 *
 * A batch of the input is a byte of flags and, by its kind:
 *
 *   bits 0-1  0 records  1 records of a transaction  2 a marker  3 any bytes under a right header
 *   bits 2-3  its producer            bit 4  the marker commits    bit 5  a control batch (kind 0)
 *   bit 6     the producer's epoch    bit 7  packed with lz4
 *
 *   0, 1: a count, then of each record int16 sizes of key and value (-1: null) and both
 *   3:    the count that the header claims, an int16 size, and the bytes
 */
#pragma once

#include <stdio.h>

#include "base/bytes.h"
#include "broker/shard.h"
#include "tests/sim/sim_broker.h"

struct shard_replay {
    struct sim_broker broker;
    struct sim_client client;
};

struct shard_replay_kind {
    enum coordinator_kind kind;
    /* The state of a shard that has been read, in full and in the order of its log. */
    void (*print)(FILE *out, const struct shard *shard);
    /* What clients may ask of it; false: it could not be loaded, and every call says so. */
    void (*serve)(struct shard_replay *replay, bool good);
};

/* LLVMFuzzerTestOneInput for a kind. */
void shard_replay_run(const struct shard_replay_kind *kind, struct bytes input);

/* ---- for print and serve ---- */

/* With its size in front: no two lists of texts print alike. */
void shard_replay_print_bytes(FILE *out, struct bytes bytes);
void shard_replay_pass(struct shard_replay *replay, uint64_t seconds);

/* A call and its answer, in a flexible version of both; the answer lives until the next call. */
#define SHARD_REPLAY_CALL(replay, KEY, name, version, in, out)                                     \
    do {                                                                                           \
        struct writer call_writer;                                                                 \
        struct sim_client *call_client = &(replay)->client;                                        \
        name##_request_encode(                                                                     \
            sim_client_request(call_client, &call_writer, KEY##_KEY, (version), true), (version),  \
            (in));                                                                                 \
        sim_client_send(call_client, &call_writer);                                                \
        struct reader call_reader = sim_client_receive(call_client, true);                         \
        check(name##_response_decode(&call_reader, (version), &call_client->arena, (out)) ==       \
              STATUS_OK);                                                                          \
    } while (0)
