/* SPDX-License-Identifier: Apache-2.0 */
/*
 * (api) The metadata log: the truth about topics, in KRaft's record formats, at
 * `<data>/__cluster_metadata-0/`. One core (METADATA_CORE) owns it; the others send it what they
 * want changed.
 *
 * W1  One change is in work at a time: validated against the newest image, appended as one batch,
 *     durable, applied on every core, then answered. So the next request on any core sees it.
 * W2  Equal wishes meet here: of two creations of one name the second is told TOPIC_ALREADY_EXISTS.
 * W3  The log in FAILED ends the broker: a catalog that cannot be written is not guessed.
 * W4  A creation is written only when every core has said that it has room: what is durable must be
 *     applied, and a core whose memory others have filled could not. Rejected: asking METADATA_CORE
 *     alone; groups lie where their keys fall, and one core may be full of them.
 *
 *   submit -> queue -> (room?) -> metadata_begin -> (records) -> partition_append
 *          -> metadata_appended
 *          -> image_apply here, mail to each other core -> acknowledged by all -> change->done
 */
#pragma once

#include "base/arena.h"
#include "base/random.h"
#include "storage/partition.h"
#include "topic/image.h"
#include "topic/name.h"
#include "topic/peers.h"
#include "wire/status.h"

#define METADATA_CORE 0
/* Of one topic, so that an index has five digits: the longest name and it fit a folder's name. */
#define METADATA_PARTITIONS_MAX 100000
#define PRODUCER_ID_BLOCK 1000

enum change_kind {
    CHANGE_CREATE_TOPICS,
    CHANGE_DELETE_TOPICS,
    CHANGE_PRODUCER_IDS,
    CHANGE_LEADER_EPOCH,
};

struct change_setting {
    struct bytes name;
    struct bytes value;
};

/* One topic of a change; what was asked, then what became of it. */
struct change_topic {
    struct bytes name;       /* delete: null when the id is meant */
    struct uuid id;          /* out of create; in of delete by id */
    int32_t partition_count; /* create */
    const struct change_setting *settings;
    int32_t setting_count;
    int32_t partition_index; /* leader epoch */
    int32_t before;      /* delete: the writer's, the topic that goes before this one; -1 none */
    enum status status;  /* in: not OK means refused already; out: the answer */
    const char *message; /* NULL or fixed text, or text in the sender's arena */
};

/* Lives in the sender's request until done. Slices are borrowed. */
struct change {
    struct mail mail;
    struct list_node node;
    enum change_kind kind;
    struct change_topic *topics;
    int32_t topic_count;
    bool validate_only;
    int64_t producer_id_first; /* out: CHANGE_PRODUCER_IDS, a block of PRODUCER_ID_BLOCK ids */
    enum status status;        /* out: the whole change could not be written */
    int32_t home;              /* core that asked */
    void (*done)(struct change *change); /* on the home core */
    void *owner;
    struct metadata *metadata;
    const struct peers *peers;
};

struct metadata;

struct metadata_options {
    struct ring *ring;
    struct store *store;
    struct heap *heap;
    struct pages *pages;
    struct diag *diag;
    const struct peers *peers; /* may be empty until the first change */
    struct random *random;
    int32_t node_id;
};

/*
 * Blocking, METADATA_CORE, before the cores run: opens the log, writes its first records when it is
 * new, and applies every record to all `images` (one per core).
 */
enum status metadata_open(struct metadata **out, const struct metadata_options *options,
                          struct image **images, int32_t image_count);
/* Blocking. */
void metadata_close(struct metadata *metadata, bool clean);
/* Any core: sends the change to the owner. change->done runs on the calling core later. */
void metadata_submit(struct metadata *metadata, const struct peers *peers, int32_t home,
                     struct change *change);
/* True once the log could not be written; the broker stops with exit code 3. */
bool metadata_failed(const struct metadata *metadata);
struct partition_facts metadata_facts(const struct metadata *metadata);
