/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/consumer_group.h"

#include "broker/core.h"
#include "broker/groups/commit.h"
#include "broker/groups/group.h"
#include "broker/groups/records.h"
#include "broker/server.h"
#include "topic/name.h"

#define NS_PER_MS UINT64_C(1000000)
/* Bytes of keys and values in one batch: half of what it may have, for the rest of each record. */
#define BATCH_CONTENT_MAX (SHARD_APPEND_SIZE_MAX / 2)

static struct core *core_of(const struct group *group)
{
    return group->groups->shard->core;
}

/* A group's own value would be clamped between lowest and highest; so is the default, as Kafka
 * checks at its start. */
static int32_t clamp(int32_t value, int32_t lowest, int32_t highest)
{
    return value < lowest ? lowest : value > highest ? highest : value;
}

void consumer_group_configure(struct consumer_config *config, const struct core *core)
{
    const struct broker_config *from = core->server->config;
    enum { BIDIRECTIONAL, UPGRADE, DOWNGRADE }; /* the words of broker/config.def */
    const struct classic_config *classic = config->classic;
    int32_t policy = from->consumer_migration;
    *config = (struct consumer_config){
        .heartbeat_ms = clamp(from->consumer_heartbeat_ms, from->consumer_heartbeat_ms_min,
                              from->consumer_heartbeat_ms_max),
        .session_ms = clamp(from->consumer_session_ms, from->consumer_session_ms_min,
                            from->consumer_session_ms_max),
        .member_count_max = from->consumer_member_count_max,
        .assignors = from->consumer_assignors,
        .upgrade = policy == BIDIRECTIONAL || policy == UPGRADE,
        .downgrade = policy == BIDIRECTIONAL || policy == DOWNGRADE,
        .classic = classic,
    };
}

/* ---- topics, as this core knows them ---- */

static void topic_fill(const struct image_topic *from, struct consumer_topic *topic)
{
    *topic = (struct consumer_topic){
        .name = bytes_of_text(from->name),
        .id = from->id,
        .partition_count = from->partition_count,
    };
}

static bool topic_find(void *context, struct bytes name, struct consumer_topic *topic)
{
    const struct core *core = context;
    const struct image_topic *found = image_find_name(&core->image, name);
    if (found != NULL) {
        topic_fill(found, topic);
    }
    return found != NULL;
}

static bool topic_find_id(void *context, const struct uuid *id, struct consumer_topic *topic)
{
    const struct core *core = context;
    const struct image_topic *found = image_find_id(&core->image, id);
    if (found != NULL) {
        topic_fill(found, topic);
    }
    return found != NULL;
}

/* What patterns are compared with. Internal topics are subscribed to by name or not at all. */
static bool topic_next(void *context, void **cursor, struct consumer_topic *topic)
{
    const struct core *core = context;
    const struct list_node *node = *cursor;
    node = node == NULL ? core->image.topics.head.next : node->next;
    while (node != &core->image.topics.head) {
        const struct image_topic *found = LIST_ENTRY(node, const struct image_topic, node);
        if (!topic_name_is_internal(bytes_of_text(found->name))) {
            topic_fill(found, topic);
            *cursor = (void *)(uintptr_t)node;
            return true;
        }
        node = node->next;
    }
    return false;
}

struct consumer_catalog consumer_group_catalog(struct core *core)
{
    return (struct consumer_catalog){
        .find = topic_find,
        .find_id = topic_find_id,
        .next = topic_next,
        .context = core,
        .version = core->image.version,
    };
}

/* ---- life ---- */

enum status group_consumer_make(struct group *group)
{
    struct heap *heap = group->groups->heap;
    if (group->consumer != NULL) {
        return STATUS_OK;
    }
    struct consumer_group *consumer = heap_acquire(heap, sizeof(*consumer));
    if (consumer == NULL) {
        return STATUS_NO_MEMORY;
    }
    consumer->group = group;
    consumer->machine = consumer_open(heap, random_u64(&core_of(group)->random),
                                      &group->groups->consumer_config, group->name);
    if (consumer->machine == NULL) {
        heap_release(heap, consumer, sizeof(*consumer));
        return STATUS_NO_MEMORY;
    }
    group->consumer = consumer;
    return STATUS_OK;
}

void group_consumer_drop(struct group *group)
{
    struct consumer_group *consumer = group->consumer;
    if (consumer != NULL) {
        group->consumer = NULL;
        consumer_close(consumer->machine);
        heap_release(group->groups->heap, consumer, sizeof(*consumer));
        timer_disarm(&core_of(group)->timers, &group->timer);
    }
}

bool group_consumer_is_idle(const struct group *group)
{
    return group->write_count == 0 && consumer_member_count(group->consumer->machine) == 0;
}

bool group_consumer_is_blank(const struct group *group)
{
    return group->write_count == 0 && consumer_is_blank(group->consumer->machine);
}

void group_consumer_arm(struct group *group)
{
    struct core *core = core_of(group);
    int64_t deadline_ms = consumer_deadline_ms(group->consumer->machine);
    if (!group->groups->serving || deadline_ms == INT64_MAX) {
        timer_disarm(&core->timers, &group->timer);
    } else {
        timer_arm(&core->timers, &group->timer,
                  deadline_ms <= 0 ? 0 : (uint64_t)deadline_ms * NS_PER_MS);
    }
}

/* ---- appends ---- */

/* V1: the group that the append belongs to is released, and what a client may be told. */
static enum status append_settle(struct group *group, const struct shard_append *append)
{
    struct groups *groups = group->groups;
    enum status status = append->status;
    group->write_count--;
    if (!groups->serving) { /* one before it failed: what this one was made from is gone */
        status = STATUS_COORDINATOR_LOAD_IN_PROGRESS;
    } else if (status != STATUS_OK) {
        shard_reload(groups->shard);
    }
    group_release(group);
    return shard_client_status(status);
}

/* An append that no client waits for. */
struct consumer_write {
    struct shard_append append;
    struct group *group;
};

static void write_durable(struct shard_append *append)
{
    struct consumer_write *write = CONTAINER_OF(append, struct consumer_write, append);
    struct group *group = write->group;
    struct heap *heap = group->groups->heap;
    (void)append_settle(group, append); /* nobody waits */
    heap_release(heap, write, sizeof(*write));
}

static void append_send(struct group *group, struct shard_append *append,
                        const struct shard_record *records, int32_t count)
{
    append->records = records;
    append->record_count = count;
    group_hold(group);
    group->write_count++;
    if (group->groups->serving) {
        shard_append(group->groups->shard, append);
    } else { /* V2: a batch before it was refused, so the log has the beginning of the step only */
        append->status = STATUS_COORDINATOR_LOAD_IN_PROGRESS;
        append->done(append);
    }
}

/* V2: all batches but the last. Answers how many records that were; without memory the last one
 * has them all, and is refused if that is too much. */
static int32_t batches_send(struct group *group, const struct consumer_output *output)
{
    int32_t sent = 0;
    size_t size = 0;
    for (int32_t i = 0; i < output->record_count; i++) {
        size_t more = output->records[i].key.size + output->records[i].value.size;
        if (i > sent && size + more > BATCH_CONTENT_MAX) {
            struct consumer_write *write = heap_acquire(group->groups->heap, sizeof(*write));
            if (write == NULL) {
                break;
            }
            write->group = group;
            write->append.done = write_durable;
            append_send(group, &write->append, output->records + sent, i - sent);
            sent = i;
            size = 0;
        }
        size += more;
    }
    return sent;
}

/* Without records: a barrier behind all that was appended before. */
static void append_start(struct group *group, struct shard_append *append,
                         const struct consumer_output *output)
{
    static const struct consumer_output nothing = {0};
    output = output == NULL ? &nothing : output;
    int32_t sent = batches_send(group, output);
    append_send(group, append, sent == 0 ? output->records : output->records + sent,
                output->record_count - sent);
}

static void reason_tell(const struct group *group, const struct consumer_output *output)
{
    if (output->reason != NULL) {
        char name[GROUP_TEXT_SIZE];
        diag_line(&core_of(group)->diag, DIAG_DEBUG, "broker/groups", "group epoch grows",
                  "group=\"%s\" why=\"%s\" members=%d",
                  diag_escape(name, sizeof(name), group->name.data, group->name.size),
                  output->reason, (int)consumer_member_count(group->consumer->machine));
    }
}

struct consumer_event group_consumer_event(const struct groups *groups,
                                           enum consumer_event_kind kind,
                                           const struct consumer_catalog *catalog)
{
    struct core *core = groups->shard->core;
    return (struct consumer_event){
        .kind = kind,
        .now_ms = (int64_t)(ring_now_ns(core->ring) / NS_PER_MS),
        .wall_ms = ring_wall_ms(core->ring),
        .catalog = catalog,
    };
}

/* ---- what follows from a step ---- */

static void answer_durable(struct shard_append *append)
{
    struct consumer_answer *answer = CONTAINER_OF(append, struct consumer_answer, append);
    enum status status = append_settle(answer->group, append);
    coordinator_answer(answer->call, status == STATUS_OK ? answer->status : status);
}

/* Behind these records, or behind all that was appended before. */
static void answer_send(struct group *group, struct consumer_answer *answer,
                        const struct consumer_output *output)
{
    answer->group = group;
    answer->append = (struct shard_append){.done = answer_durable};
    append_start(group, &answer->append, output);
}

void group_consumer_follow(struct group *group, const struct consumer_event *event,
                           struct consumer_output *output, struct consumer_answer *answer)
{
    struct arena *arena = &answer->call->arena;
    reason_tell(group, output);
    if (output->broken || (output->downgrade && !group_downgrade(group, event, arena, output))) {
        shard_reload(group->groups->shard);
        coordinator_answer(answer->call, STATUS_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    if (!output->downgrade) {
        group_consumer_arm(group);
    }
    if (output->record_count > 0 || group->write_count > 0) {
        answer_send(group, answer, output);
    } else {
        coordinator_answer(answer->call, answer->status);
    }
    if (output->downgrade) {
        group_downgrade_end(group);
    }
}

/* ---- heartbeats ---- */

/* A classic group that nobody is in gives way; its tombstone goes before our first record. */
static enum status classic_give_way(struct group *group, struct arena *arena,
                                    struct shard_record *tombstone)
{
    if (group->holds > 1) { /* something of it is being written: soon */
        return STATUS_COORDINATOR_LOAD_IN_PROGRESS;
    }
    enum status status = group_upgrade_tombstone(group, arena, tombstone);
    if (status == STATUS_OK) {
        group_classic_retire(group, STATUS_REBALANCE_IN_PROGRESS);
        classic_close(group->classic);
        group->classic = NULL;
    }
    return status;
}

/* The group as a consumer group, made by a first member. */
static enum status group_enter(struct groups *groups, struct consumer_call *call,
                               struct consumer_event *event, struct shard_record *tombstone)
{
    const struct consumer_group_heartbeat_request *request = call->heartbeat.request;
    struct arena *arena = &call->call.arena;
    bool joins = request->member_epoch == CONSUMER_EPOCH_JOIN;
    struct group *group = group_find(groups, request->group_id);
    if (!joins && (group == NULL || group->consumer == NULL)) {
        return STATUS_GROUP_ID_NOT_FOUND;
    }
    group = group == NULL ? group_make(groups, request->group_id) : group;
    if (group == NULL) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    group_hold(group);
    call->group = group;
    if (group->classic != NULL && classic_view(group->classic).member_count > 0) {
        const char *message = NULL;
        enum status status = group_upgrade_begin(group, event, tombstone, arena, &message);
        call->out.error_message = message == NULL ? BYTES_NULL : bytes_of_text(message);
        return status;
    }
    enum status status =
        group->classic == NULL ? STATUS_OK : classic_give_way(group, arena, tombstone);
    if (status == STATUS_OK && group_consumer_make(group) != STATUS_OK) {
        status = STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    event->first = tombstone->key.data == NULL ? NULL : tombstone;
    return status;
}

static void heartbeat_fail(struct consumer_call *call, enum status status)
{
    if (status == STATUS_GROUP_ID_NOT_FOUND) {
        call->out.error_code = status_code(status);
        if (call->out.error_message.data == NULL) {
            call->out.error_message = BYTES_LITERAL("There is no consumer group of this name.");
        }
        status = STATUS_OK;
    }
    coordinator_answer(&call->call, status);
}

static void heartbeat_run(struct consumer_call *call, struct consumer_event *event)
{
    struct group *group = call->group;
    struct consumer_output output;
    random_uuid(&core_of(group)->random, call->heartbeat.uuid.bytes);
    event->heartbeat = &call->heartbeat;
    consumer_step(group->consumer->machine, event, &call->call.arena, &output);
    call->out = output.answer;
    if (event->upgraded && !group_upgrade_end(group, &output)) {
        coordinator_answer(&call->call,
                           output.broken ? STATUS_COORDINATOR_NOT_AVAILABLE : STATUS_OK);
        return;
    }
    call->answer.call = &call->call;
    call->answer.status = STATUS_OK;
    group_consumer_follow(group, event, &output, &call->answer);
}

void group_run_consumer_heartbeat(struct coordinator_call *base)
{
    struct consumer_call *call = CONTAINER_OF(base, struct consumer_call, call);
    struct groups *groups = groups_of(base->shard);
    struct consumer_catalog catalog = consumer_group_catalog(groups->shard->core);
    struct consumer_event event = group_consumer_event(groups, CONSUMER_HEARTBEAT, &catalog);
    struct shard_record tombstone = {0};
    consumer_group_heartbeat_response_init(&call->out);
    enum status status = group_enter(groups, call, &event, &tombstone);
    struct group *group = call->group; /* the call may be gone when it was answered */
    if (status == STATUS_OK) {
        heartbeat_run(call, &event);
    } else {
        heartbeat_fail(call, status);
    }
    if (group != NULL) {
        group_release(group);
    }
}

/* ---- deadlines ---- */

/* For a step that no client waits for. False: no memory, and the shard reads its log again. */
static bool write_start(struct group *group, const struct consumer_output *output)
{
    struct groups *groups = group->groups;
    struct consumer_write *write =
        output->broken ? NULL : heap_acquire(groups->heap, sizeof(*write));
    if (write == NULL) {
        shard_reload(groups->shard);
        return false;
    }
    write->group = group;
    write->append.done = write_durable;
    append_start(group, &write->append, output);
    return true;
}

void group_consumer_fire(struct group *group)
{
    struct groups *groups = group->groups;
    struct consumer_output output;
    struct consumer_catalog catalog = consumer_group_catalog(core_of(group));
    struct consumer_event event = group_consumer_event(groups, CONSUMER_TICK, &catalog);
    consumer_step(group->consumer->machine, &event, &groups->scratch, &output);
    reason_tell(group, &output);
    group_hold(group);
    if (output.downgrade && !group_downgrade(group, &event, &groups->scratch, &output)) {
        output.broken = true;
    }
    bool going = true;
    if (output.broken || output.record_count > 0) {
        going = write_start(group, &output);
    }
    arena_reset(&groups->scratch);
    if (going && output.downgrade) {
        group_downgrade_end(group);
    } else if (going) {
        group_consumer_arm(group);
    }
    group_release(group);
}

/* ---- the other kind ---- */

static void erase_durable(struct shard_append *append)
{
    struct consumer_write *write = CONTAINER_OF(append, struct consumer_write, append);
    struct group *group = write->group;
    struct groups *groups = group->groups;
    if (append->status != STATUS_OK) {
        shard_reload(groups->shard);
    }
    heap_release(groups->heap, write, sizeof(*write));
    group_release(group);
}

/* The tombstones stand in the log before whatever the next kind writes; when they fail, all of it
 * is read again. */
static enum status erase_start(struct group *group)
{
    struct groups *groups = group->groups;
    struct consumer_output output;
    struct consumer_write *write = heap_acquire(groups->heap, sizeof(*write));
    consumer_erase(group->consumer->machine, &groups->scratch, &output);
    bool going = write != NULL && !output.broken;
    if (going) {
        group_hold(group);
        write->group = group;
        write->append.done = erase_durable;
        write->append.records = output.records;
        write->append.record_count = output.record_count;
        shard_append(groups->shard, &write->append);
    } else {
        heap_release(groups->heap, write, sizeof(*write));
    }
    arena_reset(&groups->scratch);
    return going ? STATUS_OK : STATUS_COORDINATOR_NOT_AVAILABLE;
}

enum status group_consumer_leave_to_classic(struct group *group)
{
    if (consumer_member_count(group->consumer->machine) > 0) {
        return STATUS_INCONSISTENT_GROUP_PROTOCOL;
    }
    if (group->write_count > 0) {
        return STATUS_COORDINATOR_LOAD_IN_PROGRESS; /* the last member's leave is being written */
    }
    enum status status = erase_start(group);
    if (status == STATUS_OK) {
        group_consumer_drop(group);
    }
    return status;
}

/* ---- the log ---- */

enum status group_consumer_replay(struct groups *groups, const struct shard_record *record)
{
    struct bytes name;
    enum status status = consumer_key_group(record->key, &name);
    if (status != STATUS_OK) {
        return status;
    }
    struct group *group = group_find(groups, name);
    if (record->value.data == NULL && (group == NULL || group->consumer == NULL)) {
        return STATUS_OK;
    }
    group = group == NULL ? group_make(groups, name) : group;
    if (group == NULL || group_consumer_make(group) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    status = consumer_replay(group->consumer->machine, record, &groups->scratch);
    if (consumer_is_blank(group->consumer->machine)) {
        group_consumer_drop(group);
    }
    return status;
}

enum status group_consumer_loaded(struct group *group)
{
    if (group->consumer == NULL) {
        return STATUS_OK;
    }
    int64_t now_ms = (int64_t)(ring_now_ns(core_of(group)->ring) / NS_PER_MS);
    return consumer_loaded(group->consumer->machine, now_ms) ? STATUS_OK : STATUS_NO_MEMORY;
}

/* ---- questions ---- */

enum status group_consumer_may_commit(const struct group *group, const struct group_commit *commit)
{
    const struct consumer_commit asked = {
        .member_id = commit->member_id,
        .epoch = commit->generation,
        .transactional = commit->transactional,
        .version = commit->version,
    };
    enum status status = consumer_check_commit(group->consumer->machine, &asked);
    /* Transactional producers know the older word alone. */
    return status == STATUS_STALE_MEMBER_EPOCH && commit->transactional ? STATUS_ILLEGAL_GENERATION
                                                                        : status;
}

void group_run_consumer_describe(struct coordinator_call *base)
{
    struct consumer_describe_call *call = CONTAINER_OF(base, struct consumer_describe_call, call);
    struct groups *groups = groups_of(base->shard);
    struct group *group = group_find(groups, call->name);
    if (group == NULL || group->consumer == NULL) {
        coordinator_answer(base, STATUS_GROUP_ID_NOT_FOUND);
        return;
    }
    struct consumer_catalog catalog = consumer_group_catalog(groups->shard->core);
    if (!consumer_describe(group->consumer->machine, &catalog, &base->arena, &call->out)) {
        coordinator_answer(base, STATUS_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    if (group->write_count == 0) {
        coordinator_answer(base, STATUS_OK);
        return;
    }
    call->answer.call = base;
    call->answer.status = STATUS_OK;
    answer_send(group, &call->answer, NULL);
}
