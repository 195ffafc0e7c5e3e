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
    *config = (struct consumer_config){
        .heartbeat_ms = clamp(from->consumer_heartbeat_ms, from->consumer_heartbeat_ms_min,
                              from->consumer_heartbeat_ms_max),
        .session_ms = clamp(from->consumer_session_ms, from->consumer_session_ms_min,
                            from->consumer_session_ms_max),
        .member_count_max = from->consumer_member_count_max,
        .assignors = from->consumer_assignors,
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
        check(consumer->append_count == 0);
        group->consumer = NULL;
        consumer_close(consumer->machine);
        heap_release(group->groups->heap, consumer, sizeof(*consumer));
        timer_disarm(&core_of(group)->timers, &group->timer);
    }
}

bool group_consumer_is_idle(const struct group *group)
{
    return group->consumer->append_count == 0 &&
           consumer_member_count(group->consumer->machine) == 0;
}

bool group_consumer_is_blank(const struct group *group)
{
    return group->consumer->append_count == 0 && consumer_is_blank(group->consumer->machine);
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
    group->consumer->append_count--;
    if (status != STATUS_OK) {
        shard_reload(groups->shard);
    } else if (!groups->serving) { /* one before it failed: what this one was made from is gone */
        status = STATUS_COORDINATOR_LOAD_IN_PROGRESS;
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
    group->consumer->append_count++;
    shard_append(group->groups->shard, append);
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
        int size = group->name.size > 200 ? 200 : (int)group->name.size;
        diag_line(&core_of(group)->diag, DIAG_DEBUG, "broker/groups", "group epoch grows",
                  "group=\"%.*s\" why=\"%s\" members=%d", size, (const char *)group->name.data,
                  output->reason, (int)consumer_member_count(group->consumer->machine));
    }
}

static struct consumer_event event_make(const struct group *group, enum consumer_event_kind kind,
                                        const struct consumer_catalog *catalog)
{
    struct core *core = core_of(group);
    return (struct consumer_event){
        .kind = kind,
        .now_ms = (int64_t)(ring_now_ns(core->ring) / NS_PER_MS),
        .wall_ms = ring_wall_ms(core->ring),
        .catalog = catalog,
    };
}

/* ---- heartbeats ---- */

static void heartbeat_durable(struct shard_append *append)
{
    struct consumer_call *call = CONTAINER_OF(append, struct consumer_call, append);
    coordinator_answer(&call->call, append_settle(call->group, append));
}

/* A classic group that nobody is in gives way; its tombstone goes before our first record. Key data
 * NULL: it was never written. */
static enum status classic_give_way(struct group *group, struct arena *arena,
                                    struct shard_record *tombstone)
{
    if (group->classic == NULL) {
        return STATUS_OK;
    }
    if (!classic_is_idle(group->classic)) {
        return STATUS_GROUP_ID_NOT_FOUND;
    }
    if (group->holds > 1) { /* something of it is being written: soon */
        return STATUS_COORDINATOR_LOAD_IN_PROGRESS;
    }
    if (classic_view(group->classic).generation > 0 &&
        record_group_metadata(arena, group->name, NULL, tombstone) != STATUS_OK) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    group_classic_retire(group, STATUS_REBALANCE_IN_PROGRESS);
    classic_close(group->classic);
    group->classic = NULL;
    return STATUS_OK;
}

/* The group as a consumer group, made by a first member. */
static enum status group_enter(struct groups *groups, struct consumer_call *call,
                               struct shard_record *tombstone)
{
    const struct consumer_group_heartbeat_request *request = call->heartbeat.request;
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
    enum status status = classic_give_way(group, &call->call.arena, tombstone);
    if (status == STATUS_OK && group_consumer_make(group) != STATUS_OK) {
        status = STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    return status;
}

static void heartbeat_fail(struct consumer_call *call, enum status status)
{
    if (call->group != NULL) {
        group_release(call->group);
    }
    if (status == STATUS_GROUP_ID_NOT_FOUND) {
        call->out.error_code = status_code(status);
        call->out.error_message = BYTES_LITERAL("There is no consumer group of this name.");
        status = STATUS_OK;
    }
    coordinator_answer(&call->call, status);
}

void group_run_consumer_heartbeat(struct coordinator_call *base)
{
    struct consumer_call *call = CONTAINER_OF(base, struct consumer_call, call);
    struct groups *groups = groups_of(base->shard);
    struct core *core = groups->shard->core;
    struct shard_record tombstone = {0};
    struct consumer_output output;
    enum status status = group_enter(groups, call, &tombstone);
    if (status != STATUS_OK) {
        heartbeat_fail(call, status);
        return;
    }
    struct group *group = call->group;
    struct consumer_catalog catalog = consumer_group_catalog(core);
    struct consumer_event event = event_make(group, CONSUMER_HEARTBEAT, &catalog);
    random_uuid(&core->random, call->heartbeat.uuid.bytes);
    event.heartbeat = &call->heartbeat;
    event.first = tombstone.key.data == NULL ? NULL : &tombstone;
    consumer_step(group->consumer->machine, &event, &base->arena, &output);
    call->out = output.answer;
    reason_tell(group, &output);
    if (output.broken) {
        shard_reload(groups->shard);
        heartbeat_fail(call, STATUS_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    group_consumer_arm(group);
    if (output.record_count == 0 && group->consumer->append_count == 0) {
        group_release(group);
        coordinator_answer(base, STATUS_OK);
        return;
    }
    call->append = (struct shard_append){.done = heartbeat_durable};
    append_start(group, &call->append, &output);
    group_release(group);
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
    struct consumer_event event = event_make(group, CONSUMER_TICK, &catalog);
    consumer_step(group->consumer->machine, &event, &groups->scratch, &output);
    reason_tell(group, &output);
    group_hold(group);
    bool going = true;
    if (output.broken || output.record_count > 0) {
        going = write_start(group, &output);
    }
    arena_reset(&groups->scratch);
    if (going) {
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
    if (group->consumer->append_count > 0) {
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

static void describe_durable(struct shard_append *append)
{
    struct consumer_describe_call *call =
        CONTAINER_OF(append, struct consumer_describe_call, append);
    coordinator_answer(&call->call, append_settle(call->group, append));
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
    if (group->consumer->append_count == 0) {
        coordinator_answer(base, STATUS_OK);
        return;
    }
    call->group = group;
    call->append = (struct shard_append){.done = describe_durable};
    append_start(group, &call->append, NULL);
}
