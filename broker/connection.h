/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client socket: bytes -> frames -> requests, answers -> bytes, in request order.
 *
 * C1  Answers leave in the order of their requests.
 * C2  A Produce starts while earlier Produces of the connection run; every other request starts
 *     when all before it are answered.
 * C3  At most CONNECTION_REQUESTS_MAX requests and 1/64 of the request memory (or one request) are
 *     in flight; beyond that frames wait where they were received and the socket is not read: TCP
 *     holds the client back.
 * C4  A frame's memory is reserved whole before its body is received; a size that is negative or
 *     above the limits closes the connection before anything is reserved.
 * C5  A quiet connection holds one 4 KiB page, no chunk.
 * C6  A connection is freed when its socket is closed, no op is in flight and no request is left.
 */
#pragma once

#include "base/list.h"
#include "base/ring.h"
#include "broker/request.h"

#define CONNECTION_REQUESTS_MAX 256
#define CONNECTION_MAGIC 0x636f6e6eu

struct connection {
    uint32_t magic;
    struct list_node node;
    struct list_node ready_node;
    struct list_node starving_node;
    struct core *core;
    int32_t socket;
    int32_t listener; /* index; decides what addresses answers advertise */
    struct input *input;
    size_t begin;      /* first byte not yet a request */
    size_t end;        /* behind the last byte received */
    size_t frame_need; /* whole size of the frame at `begin`, 0 when not known */
    size_t read_ahead; /* size of the next run */
    struct list requests;
    int32_t request_count;
    size_t request_size; /* bytes of their frames */
    int32_t running_count;
    int32_t running_other;      /* not Produce */
    struct request *send_first; /* of the send under way */
    int32_t send_requests;      /* fully covered by it */
    int32_t slice_next;         /* of the first unsent request, when one needs several sends */
    struct op receive_op;
    struct op send_op;
    struct op close_op;
    struct iovec receive_vector;
    struct iovec send_vector[OP_VECTOR_MAX];
    bool frames_wait; /* C3: bytes behind `begin` are not looked at yet */
    bool receiving;
    bool sending;
    bool ended; /* the peer sent its last byte */
    bool closing;
    bool close_submitted;
    uint64_t active_ns;
};

/* Takes the socket. False when memory is spent: the caller closes it. */
bool connection_open(struct core *core, int32_t socket, int32_t listener);
/* Looks at it in this tick. */
void connection_ready(struct connection *connection);
/* Step 5 of the tick. */
void connection_step(struct connection *connection);
/* No more bytes in or out; requests that run are awaited. */
void connection_close(struct connection *connection);
/* request_close() is through. */
void connection_request_closed(struct connection *connection, struct request *request);
/* Memory came free. */
void connection_retry(struct connection *connection);
void input_unpin(struct core *core, struct input *input);
