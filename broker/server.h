/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole broker as a value: configuration, identity, cores. Constant once the cores run, except
 * what is marked atomic. serve (broker/main.c) and the simulator build it the same way.
 *
 * Start: folder and lock -> identity -> cores -> metadata log and images -> partitions on their
 * cores -> listeners -> ready line. Stop: listeners -> connections -> partitions -> metadata log ->
 * checkpoints.
 */
#pragma once

#include <stdatomic.h>

#include "base/uuid.h"
#include "broker/config.h"
#include "broker/core.h"
#include "topic/peers.h"

#define LISTENERS_MAX 8
#define HOST_SIZE 256

struct listener {
    char name[64];
    char host[HOST_SIZE]; /* bound */
    uint16_t port;        /* what the kernel gave */
    char advertised_host[HOST_SIZE];
    uint16_t advertised_port;
    int32_t socket;
    struct op accept_op;
    struct op shut_op;
    struct op close_op;
    struct timer retry;
    struct server *server;
    int32_t index;
    bool accepting;
    bool shutting;
    bool closing; /* a socket that no core could take */
};

/*
 * SERVING  requests are answered.
 * STOPPING no new connections or requests; what runs is finished, at most STOP_GRACE_NS.
 * CLOSING  no request is left on any core: each core closes its partitions.
 */
enum server_phase { SERVER_STARTING, SERVER_SERVING, SERVER_STOPPING, SERVER_CLOSING };

struct server {
    const struct broker_config *config;
    const char *data_dir;
    int diag_file;
    char cluster_id[CLUSTER_ID_SIZE];
    int32_t node_id;
    int32_t core_count;
    struct core *cores; /* array */
    struct peers peers;
    struct metadata *metadata;
    struct random random; /* of METADATA_CORE */
    struct topic_config topic_defaults;
    enum writer_kind writer;
    size_t memory_size; /* bytes, all cores */
    uint32_t files_max; /* descriptors for logs, all cores */
    struct listener listeners[LISTENERS_MAX];
    int32_t listener_count;
    bool full_said;            /* max.connections is reached, and the log has said so */
    atomic_ullong shortage_ns; /* when any core was last found short of memory; 0 never */
    atomic_int connection_counts[CORES_MAX]; /* added to by the acceptor, taken from by the core */
    atomic_int cores_ready;
    atomic_int cores_quiet;
    atomic_int cores_closed;
    atomic_int open_failures; /* partitions that could not be opened */
    atomic_int phase;         /* enum server_phase; moved by METADATA_CORE */
    atomic_bool stop_wanted;  /* by a signal or a failed metadata log */
    int exit_code;
};

struct server_options {
    const struct broker_config *config;
    const char *data_dir;
    int diag_file; /* -1: silent */
    int32_t core_count;
    struct ring **rings; /* one per core; taken */
    size_t memory_size;
    uint32_t files_max;
    uint64_t seed;
};

/* Blocking, the thread of METADATA_CORE. On failure one sentence is in `message` and the answer is
 * the exit code (2 configuration, 3 data); 0 is success. */
#define SERVER_MESSAGE_SIZE 400
int server_open(struct server *server, const struct server_options *options,
                char message[SERVER_MESSAGE_SIZE]);
/* Each core once, on its own thread: opens its partitions. Blocking. */
void server_start_core(struct core *core);
/* METADATA_CORE, when all cores have started: opens the listeners and serves. As server_open(). */
int server_listen(struct server *server, char message[SERVER_MESSAGE_SIZE]);
/* One tick and whatever the phase asks for. False when the core has closed its partitions and its
 * thread may end. */
bool server_step_core(struct core *core, bool wait);
/* Any thread, also a signal's: begins the orderly stop. */
void server_stop(struct server *server);
/* After every core's thread has ended. */
void server_close(struct server *server);

/* ---- for the cores and handlers ---- */

/* What a client of this listener is told. */
const struct listener *server_listener(const struct server *server, int32_t index);
/* broker.rack; null when none is set. */
struct bytes server_rack(const struct server *server);

/* listener.c: METADATA_CORE only. */
int listeners_open(struct server *server, char message[SERVER_MESSAGE_SIZE]);
void listeners_shut(struct server *server);
bool listeners_are_shut(const struct server *server);
void listeners_close(struct server *server); /* blocking */
