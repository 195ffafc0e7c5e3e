/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/group.h"

#include "broker/core.h"
#include "broker/groups/consumer_group.h"
#include "broker/groups/expiry.h"
#include "broker/groups/records.h"
#include "broker/planted.h"
#include "broker/server.h"

#define SCRATCH_SIZE_MAX (16 * MIB)

/* ---- groups ---- */

struct group *group_find(const struct groups *groups, struct bytes name)
{
    struct table_node *node = table_find(&groups->names, hash_bytes(name, groups->names.seed));
    for (; node != NULL; node = table_find_next(node)) {
        struct group *group = CONTAINER_OF(node, struct group, by_name);
        if (bytes_equal(group->name, name)) {
            return group;
        }
    }
    return NULL;
}

static void group_fire(struct timer *timer)
{
    struct group *group = CONTAINER_OF(timer, struct group, timer);
    if (group->consumer != NULL) {
        group_consumer_fire(group);
    } else {
        group_classic_fire(group);
    }
}

struct group *group_make(struct groups *groups, struct bytes name)
{
    struct group *group = group_find(groups, name);
    if (group != NULL) {
        return group;
    }
    group = heap_acquire(groups->heap, sizeof(*group));
    uint8_t *own = heap_acquire(groups->heap, name.size + 1);
    if (group == NULL || own == NULL) {
        heap_release(groups->heap, group, sizeof(*group));
        heap_release(groups->heap, own, name.size + 1);
        return NULL;
    }
    if (name.size > 0) {
        memcpy(own, name.data, name.size);
    }
    group->magic = GROUP_MAGIC;
    group->groups = groups;
    group->name = bytes_of(own, name.size);
    group->timer.fire = group_fire;
    group_offsets_init(&group->offsets);
    group->by_name.hash = hash_bytes(name, groups->names.seed);
    table_insert(&groups->names, &group->by_name);
    list_push_tail(&groups->list, &group->node);
    groups->count++;
    return group;
}

static void group_free(struct group *group)
{
    struct groups *groups = group->groups;
    check(group->holds == 0);
    check(group->offsets.place_count == 0);
    timer_disarm(&groups->shard->core->timers, &group->timer);
    classic_close(group->classic);
    group_consumer_drop(group);
    table_remove(&groups->names, &group->by_name);
    list_remove(&group->node);
    groups->count--;
    group->magic = 0;
    heap_release(groups->heap, (void *)(uintptr_t)group->name.data, group->name.size + 1);
    heap_release(groups->heap, group, sizeof(*group));
}

void group_hold(struct group *group)
{
    check_magic(group, GROUP_MAGIC);
    group->holds++;
}

void group_release(struct group *group)
{
    check_magic(group, GROUP_MAGIC);
    check(group->holds > 0);
    group->holds--;
    group_settle(group);
}

/* U2: a group that was written once stays until expiry has written its tombstone. */
void group_settle(struct group *group)
{
    if (!group->groups->serving || group->holds > 0 || group->offsets.place_count > 0) {
        return;
    }
    if (group->consumer != NULL) {
        if (group_consumer_is_blank(group)) {
            group_free(group);
        }
        return;
    }
    if (group->classic == NULL ||
        (classic_is_idle(group->classic) && classic_view(group->classic).generation == 0)) {
        group_free(group);
    }
}

/* ---- questions ---- */

const char *group_state_name(const struct group *group)
{
    if (group->consumer != NULL) {
        return consumer_state_name(consumer_state(group->consumer->machine));
    }
    return group->classic == NULL ? classic_state_name(CLASSIC_EMPTY)
                                  : classic_state_name(classic_view(group->classic).state);
}

const char *group_type_name(const struct group *group)
{
    return group_kind(group) == GROUP_CONSUMER ? "consumer" : "classic";
}

struct bytes group_protocol_type(const struct group *group)
{
    if (group->consumer != NULL) {
        return BYTES_LITERAL("consumer");
    }
    struct bytes type =
        group->classic == NULL ? BYTES_NULL : classic_view(group->classic).protocol_type;
    return type.data == NULL ? BYTES_LITERAL("") : type;
}

enum status group_check_delete(const struct group *group)
{
    if (group->consumer != NULL) {
        return consumer_check_delete(group->consumer->machine);
    }
    return group->classic == NULL ? STATUS_OK : classic_check_delete(group->classic);
}

enum status group_check_offset_delete(const struct group *group)
{
    return group->classic == NULL ? STATUS_OK : classic_check_offset_delete(group->classic);
}

bool group_subscribes(const struct group *group, struct bytes topic)
{
    if (group->consumer != NULL) {
        return consumer_subscribes(group->consumer->machine, topic);
    }
    return group->classic != NULL && classic_subscribes(group->classic, topic);
}

/* ---- machine ---- */

static enum status machine_open(struct shard *shard)
{
    struct core *core = shard->core;
    struct groups *groups = heap_acquire(&core->heap, sizeof(*groups));
    if (groups == NULL) {
        return STATUS_NO_MEMORY;
    }
    const struct broker_config *config = core->server->config;
    groups->shard = shard;
    groups->heap = &core->heap;
    groups->classic_config = (struct classic_config){
        .initial_delay_ms = config->group_initial_delay_ms,
        .session_ms_min = config->group_session_ms_min,
        .session_ms_max = config->group_session_ms_max,
        .member_count_max = config->group_member_count_max,
        .new_member_join_ms = GROUP_NEW_MEMBER_JOIN_MS,
    };
    groups->consumer_config.classic = &groups->classic_config;
    consumer_group_configure(&groups->consumer_config, core);
    list_init(&groups->list);
    arena_init(&groups->scratch, core->pages, SCRATCH_SIZE_MAX);
    groups->expiry_timer.fire = expiry_fire;
    shard->machine = groups;
    uint64_t seed = random_u64(&core->random);
    return table_init(&groups->names, groups->heap, seed) &&
                   offsets_init(&groups->offsets, groups->heap, seed)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

static void machine_close(struct shard *shard)
{
    struct groups *groups = groups_of(shard);
    check(!groups->serving);
    LIST_EACH (&groups->list, node) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        group_offsets_clear(&groups->offsets, group);
        group_free(group);
    }
    check(groups->count == 0);
    offsets_deinit(&groups->offsets);
    table_deinit(&groups->names);
    arena_reset(&groups->scratch);
    heap_release(groups->heap, groups, sizeof(*groups));
}

/* ---- replay: what the log says, in its order ---- */

static void record_skipped(struct groups *groups, const struct shard_origin *origin,
                           const char *why)
{
    diag_line(&groups->shard->core->diag, DIAG_WARN, "broker/groups", "record skipped",
              "partition=%s offset=%lld why=\"%s\" remedy=\"none needed; the record is kept\"",
              partition_name(groups->shard->partition), (long long)origin->offset, why);
}

static enum status replay_offset_value(struct groups *groups, const struct offset_commit_key *key,
                                       const struct offset_commit_value *value,
                                       const struct shard_origin *origin)
{
    struct group *group = group_make(groups, key->group);
    if (group == NULL) {
        return STATUS_NO_MEMORY;
    }
    const struct offset_spot spot = {
        .group = group, .topic = key->topic, .partition = key->partition};
    const struct offset_value kept = {
        .offset = value->offset,
        .leader_epoch = value->leader_epoch,
        .commit_ms = value->commit_timestamp,
        .expire_ms = value->expire_timestamp,
        .metadata = value->metadata,
    };
    struct offset_change change;
    enum status status =
        origin->transactional && !PLANTED(WAITING_FORGOTTEN)
            ? offsets_prepare_waiting(&groups->offsets, &spot, &kept, origin->producer_id, &change)
            : offsets_prepare(&groups->offsets, &spot, &kept, &change);
    if (status == STATUS_OK) {
        offsets_apply(&groups->offsets, &change, origin->offset);
    }
    return status;
}

static enum status replay_offset(struct groups *groups, struct record_key *key, struct bytes value,
                                 const struct shard_origin *origin)
{
    struct offset_commit_key place;
    if (offset_commit_key_decode(&key->body, 0, &groups->scratch, &place) != STATUS_OK) {
        record_skipped(groups, origin, "key of a committed offset cannot be read");
        return STATUS_OK;
    }
    if (value.data == NULL) {
        struct offset_spot spot = {.group = group_find(groups, place.group),
                                   .topic = place.topic,
                                   .partition = place.partition};
        struct offset_place *found =
            spot.group == NULL ? NULL : offsets_find(&groups->offsets, &spot);
        if (found != NULL) {
            offsets_remove(&groups->offsets, found, origin->offset);
        }
        return STATUS_OK;
    }
    struct reader reader;
    reader_init(&reader, value);
    int16_t version = reader_i16(&reader);
    struct offset_commit_value commit;
    enum status status = offset_commit_value_decode(&reader, version, &groups->scratch, &commit);
    if (status == STATUS_NO_MEMORY) {
        return status;
    }
    if (status != STATUS_OK) {
        record_skipped(groups, origin, "value of a committed offset cannot be read");
        return STATUS_OK;
    }
    return replay_offset_value(groups, &place, &commit, origin);
}

static enum status replay_group_value(struct groups *groups, struct group *group,
                                      struct bytes value, const struct shard_origin *origin)
{
    struct reader reader;
    reader_init(&reader, value);
    int16_t version = reader_i16(&reader);
    struct group_metadata_value metadata;
    enum status status = group_metadata_value_decode(&reader, version, &groups->scratch, &metadata);
    if (status == STATUS_OK) {
        status = group_classic_make(group);
    }
    if (status == STATUS_OK) {
        int64_t now_ms = (int64_t)(ring_now_ns(groups->shard->core->ring) / 1000000);
        status = classic_load(group->classic, &metadata, now_ms);
    }
    if (status == STATUS_NO_MEMORY) {
        return status;
    }
    if (status != STATUS_OK) {
        record_skipped(groups, origin, "members of a group cannot be read");
    }
    return STATUS_OK;
}

static enum status replay_group(struct groups *groups, struct record_key *key, struct bytes value,
                                const struct shard_origin *origin)
{
    struct group_metadata_key name;
    if (group_metadata_key_decode(&key->body, 0, &groups->scratch, &name) != STATUS_OK) {
        record_skipped(groups, origin, "key of a group cannot be read");
        return STATUS_OK;
    }
    if (value.data == NULL) {
        struct group *group = group_find(groups, name.group);
        if (group != NULL) {
            classic_close(group->classic);
            group->classic = NULL;
        }
        return STATUS_OK;
    }
    struct group *group = group_make(groups, name.group);
    return group == NULL ? STATUS_NO_MEMORY : replay_group_value(groups, group, value, origin);
}

static enum status replay_consumer(struct groups *groups, const struct shard_record *record,
                                   const struct shard_origin *origin)
{
    enum status status = group_consumer_replay(groups, record);
    if (status == STATUS_OK || status == STATUS_NO_MEMORY) {
        return status;
    }
    record_skipped(groups, origin, "a record of a consumer group cannot be read");
    return STATUS_OK;
}

static enum status machine_replay(struct shard *shard, const struct shard_record *record,
                                  const struct shard_origin *origin)
{
    struct groups *groups = groups_of(shard);
    struct record_key key;
    enum status status = STATUS_OK;
    if (!record_key_read(record->key, &key)) {
        record_skipped(groups, origin, "the key is too short");
        return STATUS_OK;
    }
    switch (key.number) {
    case LEGACY_OFFSET_COMMIT_KEY_KEY: /* the same layout */
    case OFFSET_COMMIT_KEY_KEY:
        status = replay_offset(groups, &key, record->value, origin);
        break;
    case GROUP_METADATA_KEY_KEY:
        status = replay_group(groups, &key, record->value, origin);
        break;
    default:
        if (consumer_owns_key(key.number)) {
            status = replay_consumer(groups, record, origin);
        } else { /* as Kafka: of a newer broker, or of kinds of groups that are not served here */
            record_skipped(groups, origin, "its kind is not known here");
        }
        break;
    }
    arena_reset(&groups->scratch);
    return status;
}

static void group_touched(struct group *group)
{
    group_settle(group);
}

static enum status machine_replay_marker(struct shard *shard, const struct shard_marker *marker)
{
    offsets_end(&groups_of(shard)->offsets, marker->producer_id, marker->commit, group_touched);
    return STATUS_OK;
}

static void machine_loaded(struct shard *shard)
{
    struct groups *groups = groups_of(shard);
    groups->serving = true;
    LIST_EACH (&groups->list, node) {
        if (group_consumer_loaded(LIST_ENTRY(node, struct group, node)) != STATUS_OK) {
            shard_reload(shard); /* no memory: from the beginning, until there is */
            return;
        }
    }
    LIST_EACH (&groups->list, node) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        if (group->classic != NULL) {
            classic_resume(group->classic, (int64_t)(ring_now_ns(shard->core->ring) / 1000000));
        }
        if (group->consumer != NULL) {
            group_consumer_arm(group);
        } else {
            group_classic_arm(group);
        }
        group_settle(group);
    }
    expiry_topic_removed(groups, BYTES_NULL);
    expiry_start(groups);
}

static void machine_topic_removed(struct shard *shard, struct bytes topic)
{
    expiry_topic_removed(groups_of(shard), topic);
}

static void machine_stop(struct shard *shard, enum status status)
{
    struct groups *groups = groups_of(shard);
    timer_disarm(&shard->core->timers, &groups->expiry_timer);
    LIST_EACH (&groups->list, node) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        group_hold(group);
        group_classic_retire(group, status);
        timer_disarm(&shard->core->timers, &group->timer);
        group->holds--; /* the list is walked: whatever is left goes with the shard */
    }
    groups->serving = false;
}

const struct coordinator_machine groups_machine = {
    .topic = "__consumer_offsets",
    .open = machine_open,
    .replay = machine_replay,
    .replay_marker = machine_replay_marker,
    .loaded = machine_loaded,
    .topic_removed = machine_topic_removed,
    .stop = machine_stop,
    .close = machine_close,
};
