/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request from its frame to the last byte of its answer. Belongs to the core of its connection.
 *
 *   QUEUED --connection_start--> RUNNING --request_finish--> ANSWERED --sent--> released
 *
 * Q1  `body` and all slices decoded from it lie in `input`, which the request pins.
 * Q2  Everything else of the request lies in its arena; one reset ends it.
 * Q3  Completions never act in place: they call request_wake(), and the step runs in its phase of
 *     the tick. So no handler is ever entered from inside storage.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/list.h"
#include "broker/api.h"
#include "wire/writer.h"

struct core;
struct connection;
struct coordinator_fan;

enum request_state { REQUEST_QUEUED, REQUEST_RUNNING, REQUEST_ANSWERED, REQUEST_RELEASING };

/* Received bytes: a 4 KiB page while a connection is quiet, else a run of chunks. */
struct input {
    uint8_t *memory;
    size_t size;
    int32_t pins; /* the connection's own, and one per request */
};

struct request {
    uint32_t magic;
    enum request_state state;
    struct list_node node;     /* in the connection's order */
    struct list_node run_node; /* in the core's list of due steps */
    struct core *core;
    struct connection *connection;
    const struct api *api;
    int16_t version;
    int32_t correlation;
    struct bytes client_id; /* data NULL: null */
    struct input *input;
    struct bytes body; /* behind the header */
    size_t frame_size;
    uint64_t arrived_ns;
    struct arena arena;
    struct writer writer;
    uint8_t *size_place;
    const struct iovec *slices; /* the answer, once ANSWERED */
    int32_t slice_count;
    size_t answer_size; /* bytes that wait to be sent, and of the arena meanwhile */
    bool silent;        /* acks=0: nothing is sent */
    void (*resume)(struct request *request);
    /* Gives back what the answer borrowed (pinned blocks), then calls request_released(). NULL:
     * nothing. */
    void (*release)(struct request *request);
    /* The peer is gone: end early what only waits. NULL: nothing waits. */
    void (*abandon)(struct request *request);
    void *handler_state;
    struct coordinator_fan *calls; /* to coordinators, until released: coordinator_request_send() */
};

struct request *request_open(struct connection *connection, struct input *input);
/* The step runs later in this tick, or in the next one. */
void request_wake(struct request *request, void (*resume)(struct request *request));
/* The answer's writer, with frame size and response header already written. */
struct writer *request_reply(struct request *request);
/* The answer is whole (or the arena refused: then the connection is closed with one line). */
void request_finish(struct request *request);
/* There is no answer (acks=0). */
void request_finish_silent(struct request *request);
/* The peer's bytes make no sense: one line, and the connection closes. */
void request_refuse(struct request *request, const char *why);
/* After the answer was sent or dropped. */
void request_close(struct request *request);
void request_released(struct request *request);

#define REQUEST_MAGIC 0x72657175u
