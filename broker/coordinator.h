/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coordinators: state that lives beside a log. A group or a transactional id belongs to one
 * partition of an internal topic, and its state machine runs on the core that owns the partition
 * (its shard, broker/shard.h). A handler sends a call there and gets the answer back.
 *
 *   home core                                   owner core
 *   coordinator_fan_init, _add..., _send   ->   call->run(call) on a READY shard
 *                                               ... appends, waits, as long as it likes ...
 *   fan->done(fan), all calls are back     <-   coordinator_answer(call, status)
 *   answer encoded and sent
 *   coordinator_fan_release                ->   call->arena is reset  ->  released(fan)
 *
 * K1  A call's memory (and what it was decoded from) is the home core's. Between arrival and way
 *     back home leaves it alone: the owner reads all of it, and writes into the call
 *     and what the handler put around it for that.
 * K2  What the owner has to add lies in call->arena, which takes from the owner's pages. Home reads
 *     it between the way back and the release, and never acquires from it.
 * K3  Each call is answered exactly once. fan->done runs once for each send, released once for each
 *     release; both on the home core.
 * K4  A call that finds no READY shard is answered without run(): 14 while it loads, 16 when the
 *     topic or the partition is not there, 15 when it cannot be loaded or the broker stops.
 * K5  Calls of one home core to one shard arrive in the order sent.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "broker/shard.h"
#include "topic/metadata.h"
#include "topic/peers.h"
#include "wire/status.h"

struct core;
struct image_topic;
struct request;

/* ---- keys ---- */

/* hashCode() of the key as a Java string (UTF-16 units; bytes that are no UTF-8 count as U+FFFD),
 * then as Kafka's Utils.abs(), where abs(INT32_MIN) is 0, modulo count. */
int32_t coordinator_key_hash(struct bytes key);
int32_t coordinator_key_partition(struct bytes key, int32_t count);

/* ---- one core's share ---- */

struct coordinator {
    struct core *core;
    enum coordinator_kind kind;
    const struct coordinator_machine *machine; /* NULL: this broker does not serve the kind */
    struct list shards;                        /* in no order that matters */
    int32_t shard_count;
    bool stopping;
    void *state; /* the machine's, per core; NULL without machine->start */
};

enum status coordinators_open(struct core *core);
/* What the core's manager tells: a partition was opened, is about to go. */
void coordinators_partition_opened(void *core, struct image_topic *topic, int32_t index);
void coordinators_partition_leaving(void *core, struct image_topic *topic, int32_t index);
void coordinators_topic_removed(void *core, struct image_topic *topic);
/* Answers everything parked with COORDINATOR_NOT_AVAILABLE; later calls likewise. */
void coordinators_stop(struct core *core);
/* Nothing of a coordinator is in flight on this core. */
bool coordinators_are_quiet(const struct core *core);
/* After the partitions were closed. */
void coordinators_close(struct core *core);

bool coordinator_is_served(const struct core *core, enum coordinator_kind kind);
const char *coordinator_topic_name(enum coordinator_kind kind);
/* The kind's topic as this core knows it; NULL until it was needed first. */
const struct image_topic *coordinator_topic(const struct core *core, enum coordinator_kind kind);

/* Creates the kind's topic. `create` lies in the caller's memory until done() runs on this core;
 * change.status or topic.status say what went wrong, TOPIC_ALREADY_EXISTS is no trouble. */
struct coordinator_create {
    struct change change; /* done and owner are the caller's to set */
    struct change_topic topic;
    struct change_setting settings[3];
    char segment_size[24];
};
void coordinator_topic_create(struct core *core, enum coordinator_kind kind,
                              struct coordinator_create *create);
/* Only fills create->topic, which refers to the rest of it: for whoever creates several at once. */
void coordinator_topic_fill(const struct core *core, enum coordinator_kind kind,
                            struct coordinator_create *create);

/* ---- calls ---- */

struct coordinator_fan;

/* First member of what the caller wants to tell and to know. */
struct coordinator_call {
    struct mail mail;
    struct mail cancel_mail;
    struct coordinator_call *next;
    struct coordinator_fan *fan;
    enum coordinator_kind kind;
    int32_t core;  /* owner */
    int32_t index; /* partition; -1: the call is for the whole core */
    void (*run)(struct coordinator_call *call);
    /* The owner's, from arrival to answer. */
    struct coordinator *coordinator;
    struct shard *shard; /* NULL when index is -1 */
    struct arena arena;
    bool here;
    /* Set by a machine that parks the call: the peer is gone. It lets go of the call and answers it
     * before it returns. NULL: the answer comes by itself, soon. */
    void (*cancel)(struct coordinator_call *call);
    void *waiting; /* the machine's, for cancel */
    enum status status;
};

struct coordinator_fan {
    struct core *home;
    struct coordinator_call *first;
    struct coordinator_call **tail;
    int32_t pending;
    bool sent;
    void (*done)(struct coordinator_fan *fan);
    void (*released)(struct coordinator_fan *fan);
    void *owner;
};

void coordinator_fan_init(struct coordinator_fan *fan, struct core *home);
/* To the shard of a key; to the shard of one partition of the kind's topic; to a core (run() sees
 * shard NULL and looks at the state of call->coordinator->shards by itself). `call` is zeroed by
 * the caller. */
void coordinator_fan_add(struct coordinator_fan *fan, struct coordinator_call *call,
                         enum coordinator_kind kind, struct bytes key);
void coordinator_fan_add_index(struct coordinator_fan *fan, struct coordinator_call *call,
                               enum coordinator_kind kind, int32_t index);
void coordinator_fan_add_core(struct coordinator_fan *fan, struct coordinator_call *call,
                              enum coordinator_kind kind, int32_t core);
/* done() may run before this returns. An empty fan is done at once. */
void coordinator_fan_send(struct coordinator_fan *fan, void (*done)(struct coordinator_fan *fan));
/* Between send and done: ends what waits. */
void coordinator_fan_cancel(struct coordinator_fan *fan);
/* After done(): gives call->arena back. released() may run before this returns. */
void coordinator_fan_release(struct coordinator_fan *fan,
                             void (*released)(struct coordinator_fan *fan));

/* Owner core: the call goes home and is not touched any more. */
void coordinator_answer(struct coordinator_call *call, enum status status);

/* For handlers: sends the fan, wakes the request with `resume` when all calls are back, cancels
 * when the peer goes away, and gives the arenas back after the answer was sent. fan->owner is taken
 * for the request. */
void coordinator_request_send(struct request *request, struct coordinator_fan *fan,
                              void (*resume)(struct request *request));
