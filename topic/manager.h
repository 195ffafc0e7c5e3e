/* SPDX-License-Identifier: Apache-2.0 */
/*
 * (api) The door of this layer, one per core: names -> partitions -> cores.
 *
 * A request's share for one partition is a task; the tasks of one owner core travel as one group,
 * one message there and one back; a group of the own core is run by a plain call. Descriptors
 * travel, bytes do not.
 *
 *   fan_init, fan_add..., fan_send -> [group runs on its owner core] -> fan->done on the home core
 *
 * F1  All memory of a fan belongs to the request (its arena). The owner core writes only into tasks
 *     of its group, and only between the group's arrival and its way back.
 * F2  Groups from one core arrive in the order sent: two Produces of one connection stay in order.
 * F3  fan->done runs exactly once for each fan_send, fan_watch and fan_release.
 */
#pragma once

#include "base/arena.h"
#include "base/mailbox.h"
#include "base/timer.h"
#include "storage/partition.h"
#include "topic/image.h"
#include "topic/metadata.h"
#include "topic/peers.h"

/* Told on the owner core; each may be NULL. `leaving` comes while the partition can still be used,
 * before it is removed; at the stop of the broker nothing is told. */
struct manager_listener {
    void (*partition_opened)(void *context, struct image_topic *topic, int32_t index);
    void (*partition_leaving)(void *context, struct image_topic *topic, int32_t index);
    /* On every core, before its partitions leave and the image forgets it. */
    void (*topic_removed)(void *context, struct image_topic *topic);
    void *context;
};

struct manager_options {
    int32_t core;
    struct store *store;
    struct pages *pages;
    struct diag *diag;
    const struct peers *peers;
    struct image *image; /* borrowed; this core's */
    struct manager_listener listener;
};

struct manager {
    int32_t core;
    struct store *store;
    struct diag *diag;
    const struct peers *peers;
    struct image *image;
    struct manager_listener listener;
    struct arena scratch; /* decoded records */
    struct pages *pages;
    uint8_t *reserve;        /* for `scratch`: a chunk nobody else can have spent */
    int32_t partition_count; /* open here */
    int32_t removals_pending;
    struct manager_apply *apply; /* change being taken in, waiting for removals */
};

void manager_init(struct manager *manager, const struct manager_options *options);
/* Blocking, before the core serves: opens every partition of the image that is placed here.
 * Answers the number that could not be opened; they are served as KAFKA_STORAGE_ERROR. */
int32_t manager_open_partitions(struct manager *manager, int32_t *cut_count);
/* Blocking, after the core stopped serving. */
void manager_close_partitions(struct manager *manager, bool clean);

/* Owner core: takes a batch of metadata records into the image and opens or removes partitions;
 * `done` runs when all removals are on disk. */
struct manager_apply {
    struct mail mail;
    struct manager *manager;
    struct bytes batch;
    enum status status;
    void (*done)(struct manager_apply *apply);
    void *owner;
};
void manager_apply_batch(struct manager *manager, struct manager_apply *apply);

/* ---- tasks ---- */

struct producer_view; /* storage/producers.h */

enum task_kind { TASK_APPEND, TASK_READ, TASK_LOOKUP, TASK_EPOCH_END, TASK_PRODUCERS };

struct task {
    enum task_kind kind;
    int32_t index; /* partition */
    int32_t core;  /* owner; set by fan_add */
    struct uuid topic_id;
    enum status status; /* set by fan_add when there is no such partition, else by the owner */
    int32_t leader_epoch_asked; /* -1: not checked */
    int32_t leader_epoch;       /* out: current */
    struct fan_group *group;
    struct task *next;
    union {
        struct partition_append append;
        struct partition_read read;
        struct partition_lookup lookup;
        struct {
            int32_t epoch; /* in: asked */
            struct partition_epoch_end end;
        } epoch_end;
        struct {
            struct producer_view *views; /* in: room for some */
            uint32_t room;
            uint32_t count; /* out: how many there are, which may be more */
        } producers;
    };
    struct partition_watch watch;
    struct partition *partition; /* the owner's own */
    bool read_held;              /* a read that must be released */
};

struct fan_group {
    struct mail mail;
    struct mail cancel;
    struct fan *fan;
    int32_t core;
    struct task *first;
    struct task *last;
    struct task *running; /* reads go one after the other */
    int32_t task_pending;
    uint64_t size_left; /* bytes the reads of this group may still take */
    bool found;         /* one of them has found some */
    bool stepping;
    bool watching; /* owner's */
};

struct fan {
    struct manager *manager; /* home */
    struct arena *arena;
    struct fan_group *groups[CORES_MAX];
    int32_t group_count;
    int32_t group_pending;
    int32_t task_count;
    uint64_t read_size_max; /* for all reads of one group */
    bool watching;          /* no watch has fired and nobody has ended the wait */
    void (*done)(struct fan *fan);
    void *owner;
};

void fan_init(struct fan *fan, struct manager *manager, struct arena *arena);
/* Finds the owner. STATUS_UNKNOWN_TOPIC_OR_PARTITION leaves the task out of the fan, with its
 * status set; STATUS_NO_MEMORY when the arena refuses. */
enum status fan_add(struct fan *fan, struct task *task, const struct image_topic *topic);
/* Runs every task; fan->done may run before this returns. An empty fan is done at once. */
void fan_send(struct fan *fan, void (*done)(struct fan *fan));
/* Waits until the watch of any task fires, or fan_unwatch() ends the wait; done() follows once no
 * core holds anything of the fan. */
void fan_watch(struct fan *fan, void (*done)(struct fan *fan));
void fan_unwatch(struct fan *fan);
/* Gives back what reads pinned. */
void fan_release(struct fan *fan, void (*done)(struct fan *fan));
