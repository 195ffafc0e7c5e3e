/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small blocking client: one connection per broker, one request at a time.
 *
 * A connection begins with ApiVersions; every later request goes out in the highest version that
 * both sides know. Requests and answers are structs of wire/; an answer and all that it points to
 * live in the arena that the caller hands in.
 *
 * Functions that answer false or NULL have put one sentence into client->message, the exit code
 * that goes with it into client->code and what a retry may ask into client->status.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/heap.h"
#include "base/pages.h"
#include "broker/cli/cli.h"
#include "broker/cli/options.h"
#include "wire/batch.h"
#include "wire/status.h"

#define CLIENT_MESSAGE_SIZE 1024
#define CLIENT_ADDRESS_SIZE 300
#define CLIENT_KEYS_MAX 128
#define CLIENT_MEMORY_MAX (512 * MIB)
#define CLIENT_ARENA_MAX (256 * MIB)

struct connection {
    struct connection *next;
    int32_t node; /* -1 until Metadata named it: the bootstrap address */
    int socket;   /* -1: broken, to be opened again */
    char host[256];
    char port[8];
    char address[CLIENT_ADDRESS_SIZE];
    int32_t correlation_id;
    struct {
        int16_t min;
        int16_t max; /* below min: not served */
    } ranges[CLIENT_KEYS_MAX];
    int32_t range_count;
};

struct client {
    struct pages *pages;
    struct heap heap; /* of codecs */
    struct batch_scratch scratch;
    struct connection *connections;
    int64_t timeout_ms;
    int stop_file; /* readable once the user wants to end; -1: nobody asks */
    bool stopped;
    enum cli_code code;
    enum status status; /* NETWORK_EXCEPTION when a connection failed or broke */
    char message[CLIENT_MESSAGE_SIZE];
};

bool client_init(struct client *client, const struct cli_options *options);
void client_deinit(struct client *client);
void client_arena_init(struct client *client, struct arena *arena);

/* SIGINT and SIGTERM end waits instead of the process from here on; `stopped` says so. */
bool client_catch_signals(struct client *client);
/* Waits; false once the user wants to end. */
bool client_pause(struct client *client, int64_t wait_ms);

/* "host:port", "[v6]:port", "host". The connection of a node is opened once and kept. */
struct connection *client_open_address(struct client *client, const char *address);
struct connection *client_open_node(struct client *client, int32_t node, const char *host,
                                    int32_t port);
/* Connects again where the connection broke. */
bool client_reopen(struct client *client, struct connection *connection);
void client_close(struct connection *connection);

/* The version that a request would have; -1 when there is none in common. */
int16_t client_version(const struct connection *connection, int16_t key);

bool client_call(struct client *client, struct connection *connection, int16_t key,
                 const void *request, struct arena *arena, void *response);
/* For Produce with acks=0, which is not answered. */
bool client_tell(struct client *client, struct connection *connection, int16_t key,
                 const void *request);

/* "CreateTopics" for a key. */
const char *client_api_name(int16_t key, char name[64]);

bool client_fail(struct client *client, enum cli_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The broker's no to `what` ("topic \"a\""), with its own words where it sent any. */
bool client_refused(struct client *client, const char *what, int16_t error_code,
                    struct bytes words);
/* Prints the message of a failure and answers its exit code. */
int client_report(const struct client *client);

int64_t cli_monotonic_ms(void);
int64_t cli_wall_ms(void);
bool address_split(const char *address, char host[256], char port[8]);
