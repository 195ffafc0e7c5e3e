/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/coordinator.h"

#include <stdio.h>

#include "broker/core.h"
#include "broker/request.h"
#include "broker/server.h"

#define CALL_ARENA_SIZE_MAX (64 * MIB)
#define SEGMENT_SIZE_MIN 1048576 /* what a topic may ask for at least */

/* In the order of enum coordinator_kind. */
static const struct coordinator_machine *const MACHINES[COORDINATOR_KINDS] = {
    &groups_machine, &transactions_machine};
static const char *const TOPICS[COORDINATOR_KINDS] = {"__consumer_offsets", "__transaction_state"};

/* ---- one core's share ---- */

enum status coordinators_open(struct core *core)
{
    enum status status = STATUS_OK;
    for (int32_t kind = 0; kind < COORDINATOR_KINDS; kind++) {
        struct coordinator *coordinator = &core->coordinators[kind];
        *coordinator = (struct coordinator){
            .core = core, .kind = (enum coordinator_kind)kind, .machine = MACHINES[kind]};
        list_init(&coordinator->shards);
        if (status == STATUS_OK && MACHINES[kind] != NULL && MACHINES[kind]->start != NULL) {
            status = MACHINES[kind]->start(coordinator);
        }
    }
    return status;
}

static struct coordinator *coordinator_of_topic(struct core *core, const struct image_topic *topic)
{
    for (int32_t kind = 0; kind < COORDINATOR_KINDS; kind++) {
        if (strcmp(topic->name, TOPICS[kind]) == 0) {
            return &core->coordinators[kind];
        }
    }
    return NULL;
}

static struct shard *shard_find(const struct coordinator *coordinator, int32_t index)
{
    LIST_EACH (&coordinator->shards, node) {
        struct shard *shard = LIST_ENTRY(node, struct shard, node);
        if (shard->index == index && shard->state != SHARD_GONE) {
            return shard;
        }
    }
    return NULL;
}

void coordinators_partition_opened(void *context, struct image_topic *topic, int32_t index)
{
    struct core *core = context;
    struct coordinator *coordinator = coordinator_of_topic(core, topic);
    if (coordinator == NULL || coordinator->machine == NULL || coordinator->stopping) {
        return;
    }
    if (shard_open(coordinator, topic, index) != STATUS_OK) {
        diag_line(&core->diag, DIAG_ERROR, "broker/coordinator", "no memory for a coordinator",
                  "partition=%s-%d held=%zu remedy=\"raise memory.bytes and start again\"",
                  topic->name, index, core->heap.size);
    }
}

void coordinators_partition_leaving(void *context, struct image_topic *topic, int32_t index)
{
    struct core *core = context;
    struct coordinator *coordinator = coordinator_of_topic(core, topic);
    struct shard *shard = coordinator == NULL ? NULL : shard_find(coordinator, index);
    if (shard != NULL) {
        shard_leave(shard, STATUS_NOT_COORDINATOR);
    }
}

void coordinators_topic_removed(void *context, struct image_topic *topic)
{
    struct core *core = context;
    for (int32_t kind = 0; kind < COORDINATOR_KINDS; kind++) {
        struct coordinator *coordinator = &core->coordinators[kind];
        if (coordinator->machine == NULL || coordinator->machine->topic_removed == NULL) {
            continue;
        }
        LIST_EACH (&coordinator->shards, node) {
            struct shard *shard = LIST_ENTRY(node, struct shard, node);
            if (shard->serving) {
                coordinator->machine->topic_removed(shard, bytes_of_text(topic->name));
            }
        }
    }
}

void coordinators_stop(struct core *core)
{
    for (int32_t kind = 0; kind < COORDINATOR_KINDS; kind++) {
        struct coordinator *coordinator = &core->coordinators[kind];
        coordinator->stopping = true;
        LIST_EACH (&coordinator->shards, node) {
            shard_leave(LIST_ENTRY(node, struct shard, node), STATUS_COORDINATOR_NOT_AVAILABLE);
        }
    }
}

bool coordinators_are_quiet(const struct core *core)
{
    for (int32_t kind = 0; kind < COORDINATOR_KINDS; kind++) {
        const struct coordinator *coordinator = &core->coordinators[kind];
        LIST_EACH (&coordinator->shards, node) {
            if (shard_is_busy(LIST_ENTRY(node, struct shard, node))) {
                return false;
            }
        }
    }
    return true;
}

void coordinators_close(struct core *core)
{
    for (int32_t kind = 0; kind < COORDINATOR_KINDS; kind++) {
        struct coordinator *coordinator = &core->coordinators[kind];
        LIST_EACH (&coordinator->shards, node) {
            shard_close(LIST_ENTRY(node, struct shard, node));
        }
        check(coordinator->shard_count == 0);
        if (coordinator->machine != NULL && coordinator->machine->end != NULL) {
            coordinator->machine->end(coordinator);
        }
    }
}

bool coordinator_is_served(const struct core *core, enum coordinator_kind kind)
{
    return core->coordinators[kind].machine != NULL;
}

const char *coordinator_topic_name(enum coordinator_kind kind)
{
    return TOPICS[kind];
}

const struct image_topic *coordinator_topic(const struct core *core, enum coordinator_kind kind)
{
    return image_find_name(&core->image, bytes_of_text(TOPICS[kind]));
}

void coordinator_topic_fill(const struct core *core, enum coordinator_kind kind,
                            struct coordinator_create *create)
{
    const struct broker_config *config = core->server->config;
    bool group = kind == COORDINATOR_GROUP;
    int32_t segment_size = group ? config->offsets_segment_size : config->transaction_segment_size;
    snprintf(create->segment_size, sizeof(create->segment_size), "%d",
             segment_size < SEGMENT_SIZE_MIN ? SEGMENT_SIZE_MIN : segment_size);
    create->settings[0] = (struct change_setting){.name = BYTES_LITERAL("cleanup.policy"),
                                                  .value = BYTES_LITERAL("compact")};
    create->settings[1] = (struct change_setting){.name = BYTES_LITERAL("compression.type"),
                                                  .value = BYTES_LITERAL("producer")};
    create->settings[2] = (struct change_setting){.name = BYTES_LITERAL("segment.bytes"),
                                                  .value = bytes_of_text(create->segment_size)};
    create->topic = (struct change_topic){
        .name = bytes_of_text(TOPICS[kind]),
        .partition_count =
            group ? config->offsets_partition_count : config->transaction_partition_count,
        .settings = create->settings,
        .setting_count = (int32_t)ARRAY_COUNT(create->settings),
    };
}

void coordinator_topic_create(struct core *core, enum coordinator_kind kind,
                              struct coordinator_create *create)
{
    coordinator_topic_fill(core, kind, create);
    create->change.kind = CHANGE_CREATE_TOPICS;
    create->change.topics = &create->topic;
    create->change.topic_count = 1;
    metadata_submit(core->server->metadata, &core->server->peers, core->index, &create->change);
}

/* ---- calls: home core ---- */

void coordinator_fan_init(struct coordinator_fan *fan, struct core *home)
{
    *fan = (struct coordinator_fan){.home = home};
    fan->tail = &fan->first;
}

static void fan_link(struct coordinator_fan *fan, struct coordinator_call *call)
{
    call->fan = fan;
    call->next = NULL;
    *fan->tail = call;
    fan->tail = &call->next;
}

void coordinator_fan_add_core(struct coordinator_fan *fan, struct coordinator_call *call,
                              enum coordinator_kind kind, int32_t core)
{
    call->kind = kind;
    call->index = -1;
    call->core = core;
    fan_link(fan, call);
}

void coordinator_fan_add_index(struct coordinator_fan *fan, struct coordinator_call *call,
                               enum coordinator_kind kind, int32_t index)
{
    const struct image_topic *topic = coordinator_topic(fan->home, kind);
    call->kind = kind;
    call->index = index;
    if (topic == NULL || index < 0 || index >= topic->partition_count) {
        call->status = STATUS_NOT_COORDINATOR;
        return;
    }
    call->core = topic->partitions[index].core;
    fan_link(fan, call);
}

void coordinator_fan_add(struct coordinator_fan *fan, struct coordinator_call *call,
                         enum coordinator_kind kind, struct bytes key)
{
    const struct image_topic *topic = coordinator_topic(fan->home, kind);
    int32_t count = topic == NULL ? 0 : topic->partition_count;
    coordinator_fan_add_index(fan, call, kind,
                              count == 0 ? -1 : coordinator_key_partition(key, count));
}

static void fan_count_down(struct coordinator_fan *fan)
{
    check(fan->pending > 0);
    fan->pending--;
    if (fan->pending > 0) {
        return;
    }
    if (fan->sent) {
        fan->sent = false;
        fan->done(fan);
    } else {
        fan->released(fan);
    }
}

static void call_returned(struct mail *mail)
{
    fan_count_down(CONTAINER_OF(mail, struct coordinator_call, mail)->fan);
}

static void cancel_returned(struct mail *mail)
{
    fan_count_down(CONTAINER_OF(mail, struct coordinator_call, cancel_mail)->fan);
}

static bool call_is_local(const struct coordinator_call *call)
{
    return call->core == call->fan->home->index;
}

static void call_mail(struct coordinator_call *call, int32_t core, struct mail *mail,
                      void (*deliver)(struct mail *mail))
{
    mail->deliver = deliver;
    peers_send(&call->fan->home->server->peers, core, mail);
}

/* ---- calls: owner core ---- */

void coordinator_answer(struct coordinator_call *call, enum status status)
{
    check(call->here);
    call->here = false;
    call->cancel = NULL;
    call->status = status;
    if (call_is_local(call)) {
        fan_count_down(call->fan);
    } else {
        call_mail(call, call->fan->home->index, &call->mail, call_returned);
    }
}

/* K4 */
static enum status shard_status(const struct coordinator *coordinator, const struct shard *shard)
{
    if (coordinator->machine == NULL || coordinator->stopping) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    if (shard == NULL) {
        return STATUS_NOT_COORDINATOR;
    }
    switch (shard->state) {
    case SHARD_READY:
        return STATUS_OK;
    case SHARD_LOADING:
        return STATUS_COORDINATOR_LOAD_IN_PROGRESS;
    case SHARD_FAILED:
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    case SHARD_GONE:
        break;
    }
    return STATUS_NOT_COORDINATOR;
}

static void call_run(struct coordinator_call *call)
{
    struct core *core = &call->fan->home->server->cores[call->core];
    call->coordinator = &core->coordinators[call->kind];
    call->shard = call->index < 0 ? NULL : shard_find(call->coordinator, call->index);
    call->here = true;
    arena_init(&call->arena, core->pages, CALL_ARENA_SIZE_MAX);
    enum status status = STATUS_OK;
    if (call->index >= 0 || call->coordinator->stopping) {
        status = shard_status(call->coordinator, call->shard);
    }
    if (status != STATUS_OK) {
        coordinator_answer(call, status);
        return;
    }
    call->run(call);
}

static void call_arrived(struct mail *mail)
{
    call_run(CONTAINER_OF(mail, struct coordinator_call, mail));
}

static void call_cancel(struct coordinator_call *call)
{
    if (call->here && call->cancel != NULL) {
        void (*cancel)(struct coordinator_call *) = call->cancel;
        call->cancel = NULL;
        cancel(call);
    }
}

static void cancel_arrived(struct mail *mail)
{
    struct coordinator_call *call = CONTAINER_OF(mail, struct coordinator_call, cancel_mail);
    call_cancel(call);
    call_mail(call, call->fan->home->index, &call->cancel_mail, cancel_returned);
}

static void release_arrived(struct mail *mail)
{
    struct coordinator_call *call = CONTAINER_OF(mail, struct coordinator_call, mail);
    arena_reset(&call->arena);
    call_mail(call, call->fan->home->index, &call->mail, call_returned);
}

/* ---- the way there and back ---- */

void coordinator_fan_send(struct coordinator_fan *fan, void (*done)(struct coordinator_fan *fan))
{
    check(fan->pending == 0);
    fan->done = done;
    fan->sent = true;
    fan->pending = 1; /* keeps done() behind the loop */
    struct coordinator_call *next;
    for (struct coordinator_call *call = fan->first; call != NULL; call = next) {
        next = call->next;
        fan->pending++;
        if (call_is_local(call)) {
            call_run(call);
        } else {
            call_mail(call, call->core, &call->mail, call_arrived);
        }
    }
    fan_count_down(fan);
}

void coordinator_fan_cancel(struct coordinator_fan *fan)
{
    if (!fan->sent) {
        return;
    }
    fan->pending++; /* keeps done() behind the loop */
    struct coordinator_call *next;
    for (struct coordinator_call *call = fan->first; call != NULL; call = next) {
        next = call->next;
        if (call_is_local(call)) {
            call_cancel(call);
        } else {
            fan->pending++;
            call_mail(call, call->core, &call->cancel_mail, cancel_arrived);
        }
    }
    fan_count_down(fan);
}

void coordinator_fan_release(struct coordinator_fan *fan,
                             void (*released)(struct coordinator_fan *fan))
{
    check(!fan->sent);
    check(fan->pending == 0);
    fan->released = released;
    fan->pending = 1;
    for (struct coordinator_call *call = fan->first; call != NULL; call = call->next) {
        if (call->arena.block == NULL) {
            continue;
        }
        if (call_is_local(call)) {
            arena_reset(&call->arena);
        } else {
            fan->pending++;
            call_mail(call, call->core, &call->mail, release_arrived);
        }
    }
    fan_count_down(fan);
}

/* ---- for handlers ---- */

static void request_fan_done(struct coordinator_fan *fan)
{
    struct request *request = fan->owner;
    request->abandon = NULL;
    request_wake(request, request->resume);
}

static void request_fan_abandon(struct request *request)
{
    coordinator_fan_cancel(request->calls);
}

static void request_fan_released(struct coordinator_fan *fan)
{
    struct request *request = fan->owner;
    request->calls = NULL;
    request_released(request);
}

static void request_fan_release(struct request *request)
{
    coordinator_fan_release(request->calls, request_fan_released);
}

void coordinator_request_send(struct request *request, struct coordinator_fan *fan,
                              void (*resume)(struct request *request))
{
    check(request->calls == NULL);
    request->calls = fan;
    request->resume = resume;
    request->abandon = request_fan_abandon;
    request->release = request_fan_release;
    fan->owner = request;
    coordinator_fan_send(fan, request_fan_done);
}
