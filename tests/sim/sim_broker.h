/* SPDX-License-Identifier: Apache-2.0 */
/* A whole broker in one thread on a simulated world, and clients that speak to it. */
#pragma once

#include "base/arena.h"
#include "base/ring_simulated.h"
#include "broker/config.h"
#include "broker/server.h"
#include "wire/reader.h"
#include "wire/writer.h"

#define SIM_REPLY_SIZE_MAX (1 << 20)

struct sim_broker {
    struct sim_world *world;
    struct server server;
    struct broker_config config;
    struct heap heap; /* of the configuration */
    struct ring *client_ring;
    bool running;
    uint64_t start_count;
};

/* Opens a world and starts a broker of `core_count` cores on its data folder. */
void sim_broker_open(struct sim_broker *broker, uint64_t seed, int32_t core_count);
/* Orderly stop. The world and its files stay. */
void sim_broker_stop(struct sim_broker *broker);
/* Power cut: the broker is gone without a word. */
void sim_broker_crash(struct sim_broker *broker);
/* Starts again on the same files. */
void sim_broker_start(struct sim_broker *broker, int32_t core_count);
void sim_broker_close(struct sim_broker *broker);
/* Lets everything run until `done` holds; fails after too many virtual seconds. */
void sim_broker_run(struct sim_broker *broker, bool (*done)(void *context), void *context);

struct sim_client {
    struct sim_broker *broker;
    int32_t socket;
    struct pages *pages;
    struct arena arena; /* of the current request and answer */
    uint8_t *reply;
    size_t reply_size;
    struct op op;
    struct iovec vectors[OP_VECTOR_MAX];
    bool busy;
    int32_t correlation;
};

void sim_client_open(struct sim_client *client, struct sim_broker *broker);
void sim_client_close(struct sim_client *client);
/* Begins a request: header written, the caller encodes the body. */
struct writer *sim_client_request(struct sim_client *client, struct writer *writer, int16_t key,
                                  int16_t version, bool flexible);
/* Hands it to the network and lets nothing run: whoever steps the broker next steps the client's
 * ring too. */
void sim_client_post(struct sim_client *client, struct writer *writer);
/* Sends it without waiting for the answer. */
void sim_client_send(struct sim_client *client, struct writer *writer);
/* Any bytes, at most SIM_REPLY_SIZE_MAX: as sim_client_post(), and as sim_client_send(). */
void sim_client_post_bytes(struct sim_client *client, struct bytes bytes);
void sim_client_send_bytes(struct sim_client *client, struct bytes bytes);
/* Lets `ms` of virtual time pass. */
void sim_broker_sleep(struct sim_broker *broker, uint64_t ms);
/* Waits for the next answer; the reader stands behind its header. */
struct reader sim_client_receive(struct sim_client *client, bool flexible_header);
