/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client socket: bytes -> frames -> requests, answers -> bytes, in request order.
 *
 * C1  Answers leave in the order of their requests.
 * C2  A Produce starts while earlier Produces of the connection run; every other request starts
 *     when all before it are answered.
 * C3  At most CONNECTION_REQUESTS_MAX requests, and frames of 1/16 of the core's request memory (or
 *     one), are in flight; beyond that frames wait where they were received and the socket is not
 *     read: TCP holds the client back. Nor does a request start while answers of as many bytes (or
 *     one that is larger) wait for the client to take them.
 * C4  A frame's memory is reserved whole before its body is received; a size that is negative or
 *     above the limits closes the connection before anything is reserved.
 * C5  A quiet connection holds one 4 KiB page, no chunk.
 * C6  A connection is freed when its socket is closed, no op is in flight and no request is left.
 *     It closes when the peer has sent its last byte and everything before that is answered, or
 *     nothing is left but a request that waits: for records, for the others of a group.
 * C7  Frames have 7/8 of the request memory, so that what was received can be answered from the
 *     rest; small ones 6/8, so that a large one finds room though many small ones come and go. One
 *     frame has at most 3/4, or it would wait for ever for what quiet clients keep.
 * C8  While somebody waits for memory, a client is cut off that for CONNECTION_STALLED_NS sends no
 *     byte of the frame it is in, or does not take the OP_VECTOR_MAX slices it is being sent.
 * C9  Who waits for memory holds a page, so that nobody waits in a circle. The exception is the
 *     begin of a frame that came with the end of another and is larger than a page: C8 ends that.
 */
#pragma once

#include "base/list.h"
#include "base/ring.h"
#include "broker/request.h"

#define CONNECTION_REQUESTS_MAX 256
#define CONNECTION_STALLED_NS UINT64_C(30000000000)
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
    size_t answer_size;  /* bytes of the answers that are not sent */
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
    uint64_t active_ns; /* when bytes came, went, or began to go */
};

/* Takes the socket. False when memory is spent: the caller closes it. */
bool connection_open(struct core *core, int32_t socket, int32_t listener);
/* Looks at it in this tick. */
void connection_ready(struct connection *connection);
/* Step 5 of the tick. */
void connection_step(struct connection *connection);
/* No more bytes in or out; requests that run are awaited. */
void connection_close(struct connection *connection);
/* C8 */
void connection_cut_stalled(struct connection *connection, uint64_t now_ns);
/* The request has its answer, in request->slices or silent. */
void connection_request_answered(struct connection *connection, struct request *request);
/* request_close() is through. */
void connection_request_closed(struct connection *connection, struct request *request);
/* Memory came free. */
void connection_retry(struct connection *connection);
void input_unpin(struct core *core, struct input *input);
