/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group's records in __consumer_offsets, out and in.
 *
 *   3 group epoch     4 topics (Kafka before 4.1; taken back, never written)    5 member
 *   6 target's epoch  7 target of a member    8 assignment of a member          16 pattern
 *
 * Every key is its number, the group, and for 5, 7, 8 and 16 the member's id or the pattern.
 */
#include "broker/groups/consumer_state.h"
#include "wire/consumer_offsets.h"

/* More partitions than any topic has; an index of the log is not believed without a bound. */
#define INDEX_LIMIT (1 << 20)
/* Nor an epoch that would not leave room for a long life. */
#define EPOCH_LIMIT (1 << 30)

enum {
    KEY_EPOCH = CONSUMER_GROUP_METADATA_KEY_KEY,
    KEY_TOPICS = CONSUMER_GROUP_PARTITION_METADATA_KEY_KEY,
    KEY_MEMBER = CONSUMER_GROUP_MEMBER_METADATA_KEY_KEY,
    KEY_TARGET_EPOCH = CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA_KEY_KEY,
    KEY_TARGET = CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER_KEY_KEY,
    KEY_ASSIGNMENT = CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT_KEY_KEY,
    KEY_PATTERN = CONSUMER_GROUP_REGULAR_EXPRESSION_KEY_KEY,
};

bool consumer_owns_key(int16_t type)
{
    return (type >= KEY_EPOCH && type <= KEY_ASSIGNMENT) || type == KEY_PATTERN;
}

static bool key_has_detail(int16_t type)
{
    return type == KEY_MEMBER || type == KEY_TARGET || type == KEY_ASSIGNMENT ||
           type == KEY_PATTERN;
}

/* ---- out ---- */

static struct bytes whole(struct writer *writer)
{
    size_t size = writer_size(writer);
    uint8_t *memory = arena_acquire_bytes(writer->arena, size);
    if (writer->failed || memory == NULL) {
        return BYTES_NULL;
    }
    writer_copy(writer, memory);
    return bytes_of(memory, size);
}

static bool record_add(struct step *step, struct bytes key, struct bytes value)
{
    struct consumer_output *out = step->out;
    if (out->record_count == out->record_room) {
        int32_t room = out->record_room == 0 ? 8 : 2 * out->record_room;
        struct shard_record *more = arena_new_array(step->arena, struct shard_record, (size_t)room);
        if (more == NULL) {
            return step_break(step);
        }
        if (out->record_count > 0) {
            memcpy(more, out->records, (size_t)out->record_count * sizeof(*more));
        }
        out->records = more;
        out->record_room = room;
    }
    out->records[out->record_count++] = (struct shard_record){key, value};
    return !step->arena->failed || step_break(step);
}

bool write_record(struct step *step, const struct shard_record *record)
{
    return record_add(step, record->key, record->value);
}

static struct bytes key_make(const struct step *step, int16_t type, struct bytes detail)
{
    struct writer writer;
    writer_init(&writer, step->arena);
    writer_i16(&writer, type);
    writer_string(&writer, false, step->group->name);
    if (key_has_detail(type)) {
        writer_string(&writer, false, detail);
    }
    return whole(&writer);
}

static bool tombstone_add(struct step *step, int16_t type, struct bytes detail)
{
    return record_add(step, key_make(step, type, detail), BYTES_NULL);
}

/* The value behind its version, which is 0 for all of ours. */
#define VALUE_BYTES(step, encode, in)                                                              \
    ({                                                                                             \
        struct writer value_writer;                                                                \
        writer_init(&value_writer, (step)->arena);                                                 \
        writer_i16(&value_writer, 0);                                                              \
        encode(&value_writer, 0, (in));                                                            \
        whole(&value_writer);                                                                      \
    })

int32_t parts_topic_count(struct parts parts)
{
    int32_t count = 0;
    for (int32_t i = 0; i < parts.count; i = parts_run(parts, i)) {
        count++;
    }
    return count;
}

int32_t *parts_indexes(struct arena *arena, struct parts parts, int32_t begin, int32_t end)
{
    int32_t *indexes = arena_new_array(arena, int32_t, (size_t)(end - begin));
    for (int32_t i = begin; i < end && indexes != NULL; i++) {
        indexes[i - begin] = parts.items[i].index;
    }
    return indexes;
}

bool write_epoch(struct step *step)
{
    const struct consumer_group_metadata_value value = {
        .epoch = step->group->epoch,
        .metadata_hash = step->group->hash,
    };
    step->group->epoch_written = true;
    return record_add(step, key_make(step, KEY_EPOCH, BYTES_NULL),
                      VALUE_BYTES(step, consumer_group_metadata_value_encode, &value));
}

bool write_target_epoch(struct step *step)
{
    const struct consumer_group_target_assignment_metadata_value value = {
        .assignment_epoch = step->group->target_epoch,
        .assignment_timestamp = step->wall_ms,
    };
    step->group->target_written = true;
    return record_add(
        step, key_make(step, KEY_TARGET_EPOCH, BYTES_NULL),
        VALUE_BYTES(step, consumer_group_target_assignment_metadata_value_encode, &value));
}

bool write_member(struct step *step, const struct consumer_member *member)
{
    const struct ballot_list *list = &member->protocols.list;
    struct consumer_group_member_metadata_value value = {
        .instance_id = member->instance_id,
        .rack_id = member->rack_id,
        .client_id = member->client_id,
        .client_host = member->client_host,
        .subscribed_topic_names = member->names.items,
        .subscribed_topic_names_count = member->names.count,
        .subscribed_topic_regex = member->pattern.size == 0 ? BYTES_NULL : member->pattern,
        .rebalance_timeout_ms = member->rebalance_ms,
        .server_assignor = member->assignor,
        .has_classic_member_metadata = member->classic,
    };
    if (member->classic) {
        struct consumer_group_member_metadata_value_classic *classic =
            &value.classic_member_metadata;
        classic->session_timeout_ms = member->classic_session_ms;
        classic->supported_protocols = arena_new_array(
            step->arena, struct consumer_group_member_metadata_value_supported_protocol,
            (size_t)list->count);
        if (classic->supported_protocols == NULL) {
            return step_break(step);
        }
        for (int32_t i = 0; i < list->count; i++) {
            classic->supported_protocols[classic->supported_protocols_count++] =
                (struct consumer_group_member_metadata_value_supported_protocol){
                    list->protocols[i].name, list->protocols[i].metadata};
        }
    }
    return record_add(step, key_make(step, KEY_MEMBER, member->id),
                      VALUE_BYTES(step, consumer_group_member_metadata_value_encode, &value));
}

bool write_member_gone(struct step *step, const struct consumer_member *member)
{
    return tombstone_add(step, KEY_ASSIGNMENT, member->id) &&
           tombstone_add(step, KEY_TARGET, member->id) &&
           tombstone_add(step, KEY_MEMBER, member->id);
}

bool write_target(struct step *step, const struct consumer_member *member)
{
    struct parts parts = parts_of(&member->target);
    struct consumer_group_target_assignment_member_value value = {0};
    value.topic_partitions = arena_new_array(
        step->arena, struct consumer_group_target_assignment_member_value_topic_partition,
        (size_t)parts_topic_count(parts));
    if (value.topic_partitions == NULL) {
        return step_break(step);
    }
    for (int32_t i = 0; i < parts.count; i = parts_run(parts, i)) {
        int32_t end = parts_run(parts, i);
        value.topic_partitions[value.topic_partitions_count++] =
            (struct consumer_group_target_assignment_member_value_topic_partition){
                .topic_id = parts.items[i].topic_id,
                .partitions = parts_indexes(step->arena, parts, i, end),
                .partitions_count = end - i,
            };
    }
    if (step->arena->failed) {
        return step_break(step);
    }
    return record_add(
        step, key_make(step, KEY_TARGET, member->id),
        VALUE_BYTES(step, consumer_group_target_assignment_member_value_encode, &value));
}

/* Topics of an assignment record; NULL: the arena refused. */
static struct consumer_group_current_member_assignment_value_topic *
assignment_topics(struct arena *arena, struct parts parts, int32_t *count)
{
    struct consumer_group_current_member_assignment_value_topic *topics =
        arena_new_array(arena, struct consumer_group_current_member_assignment_value_topic,
                        (size_t)parts_topic_count(parts));
    *count = 0;
    for (int32_t i = 0; i < parts.count && topics != NULL; i = parts_run(parts, i)) {
        int32_t end = parts_run(parts, i);
        int32_t *epochs = arena_new_array(arena, int32_t, (size_t)(end - i));
        if (epochs == NULL) {
            return NULL;
        }
        for (int32_t k = i; k < end; k++) {
            epochs[k - i] = parts.items[k].epoch;
        }
        topics[(*count)++] = (struct consumer_group_current_member_assignment_value_topic){
            .topic_id = parts.items[i].topic_id,
            .partitions = parts_indexes(arena, parts, i, end),
            .partitions_count = end - i,
            .assignment_epochs = epochs,
            .assignment_epochs_count = end - i,
        };
    }
    return arena->failed ? NULL : topics;
}

bool write_assignment(struct step *step, const struct consumer_member *member)
{
    struct consumer_group_current_member_assignment_value value = {
        .member_epoch = member->epoch,
        .previous_member_epoch = member->previous_epoch,
        .state = (int8_t)member->state,
    };
    value.assigned_partitions = assignment_topics(step->arena, parts_of(&member->assigned),
                                                  &value.assigned_partitions_count);
    value.partitions_pending_revocation = assignment_topics(
        step->arena, parts_of(&member->revoking), &value.partitions_pending_revocation_count);
    if (value.assigned_partitions == NULL || value.partitions_pending_revocation == NULL) {
        return step_break(step);
    }
    return record_add(
        step, key_make(step, KEY_ASSIGNMENT, member->id),
        VALUE_BYTES(step, consumer_group_current_member_assignment_value_encode, &value));
}

bool write_pattern(struct step *step, const struct consumer_pattern *pattern)
{
    const struct consumer_group_regular_expression_value value = {
        .topics = pattern->topics.items,
        .topics_count = pattern->topics.count,
        .version = (int64_t)step->catalog->version,
        .timestamp = step->wall_ms,
    };
    return record_add(step, key_make(step, KEY_PATTERN, pattern->text),
                      VALUE_BYTES(step, consumer_group_regular_expression_value_encode, &value));
}

bool write_pattern_gone(struct step *step, struct bytes text)
{
    return tombstone_add(step, KEY_PATTERN, text);
}

bool write_group_gone(struct step *step)
{
    const struct consumer *group = step->group;
    return (!group->target_written || tombstone_add(step, KEY_TARGET_EPOCH, BYTES_NULL)) &&
           (!group->topics_written || tombstone_add(step, KEY_TOPICS, BYTES_NULL)) &&
           (!group->epoch_written || tombstone_add(step, KEY_EPOCH, BYTES_NULL));
}

bool write_whole(struct step *step)
{
    struct consumer *group = step->group;
    LIST_EACH (&group->members, node) {
        if (!write_member(step, LIST_ENTRY(node, struct consumer_member, node))) {
            return false;
        }
    }
    if (!write_epoch(step)) {
        return false;
    }
    LIST_EACH (&group->members, node) {
        if (!write_target(step, LIST_ENTRY(node, struct consumer_member, node))) {
            return false;
        }
    }
    if (!write_target_epoch(step)) {
        return false;
    }
    LIST_EACH (&group->members, node) {
        if (!write_assignment(step, LIST_ENTRY(node, struct consumer_member, node))) {
            return false;
        }
    }
    return true;
}

/* ---- in ---- */

/* NULL as well when the arena refuses; `status` says which. */
static enum status key_read(struct bytes key, int16_t *type, struct bytes *name,
                            struct bytes *detail)
{
    struct reader reader;
    reader_init(&reader, key);
    *type = reader_i16(&reader);
    *name = reader_string(&reader, false);
    *detail = key_has_detail(*type) ? reader_string(&reader, false) : BYTES_NULL;
    return reader_status(&reader);
}

enum status consumer_key_group(struct bytes key, struct bytes *name)
{
    int16_t type;
    struct bytes detail;
    return key_read(key, &type, name, &detail);
}

/* A value, its version checked. */
#define VALUE_READ(record, arena, decode, out)                                                     \
    ({                                                                                             \
        struct reader value_reader;                                                                \
        reader_init(&value_reader, (record)->value);                                               \
        int16_t value_version = reader_i16(&value_reader);                                         \
        reader_status(&value_reader) != STATUS_OK || value_version != 0                            \
            ? STATUS_MALFORMED                                                                     \
            : decode(&value_reader, 0, (arena), (out));                                            \
    })

static struct consumer_member *member_make(struct consumer *group, struct bytes id)
{
    struct consumer_member *member = member_find(group, id);
    return member != NULL ? member : member_open(group, id);
}

/* A topic that is named twice is malformed, and so is an index that nobody can have. */
static bool parts_add(struct part *items, int32_t *count, const struct uuid *topic_id,
                      int32_t index, int32_t epoch)
{
    items[(*count)++] = (struct part){.topic_id = *topic_id, .index = index, .epoch = epoch};
    return index >= 0 && index < INDEX_LIMIT;
}

static enum status parts_finish(struct heap *heap, struct parts_set *set, struct part *items,
                                int32_t count)
{
    count = parts_sort(items, count);
    return parts_set_assign(set, heap, (struct parts){items, count}) ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status replay_epoch(struct consumer *group, const struct shard_record *record,
                                struct arena *arena)
{
    struct consumer_group_metadata_value value = {0};
    enum status status =
        record->value.data == NULL
            ? STATUS_OK
            : VALUE_READ(record, arena, consumer_group_metadata_value_decode, &value);
    if (status == STATUS_OK && (value.epoch < 0 || value.epoch >= EPOCH_LIMIT)) {
        status = STATUS_MALFORMED;
    }
    if (status == STATUS_OK) {
        group->epoch = value.epoch;
        group->hash = value.metadata_hash;
        group->epoch_written = record->value.data != NULL;
    }
    return status;
}

static enum status replay_target_epoch(struct consumer *group, const struct shard_record *record,
                                       struct arena *arena)
{
    struct consumer_group_target_assignment_metadata_value value = {0};
    enum status status =
        record->value.data == NULL
            ? STATUS_OK
            : VALUE_READ(record, arena, consumer_group_target_assignment_metadata_value_decode,
                         &value);
    if (status == STATUS_OK &&
        (value.assignment_epoch < 0 || value.assignment_epoch >= EPOCH_LIMIT)) {
        status = STATUS_MALFORMED;
    }
    if (status == STATUS_OK) {
        group->target_epoch = value.assignment_epoch;
        group->target_written = record->value.data != NULL;
    }
    return status;
}

/* What a classic member lists; none: it speaks the newer protocol. */
static enum status replay_protocols(struct consumer *group, struct consumer_member *member,
                                    struct arena *arena,
                                    const struct consumer_group_member_metadata_value *value)
{
    const struct consumer_group_member_metadata_value_classic *classic =
        &value->classic_member_metadata;
    if (!value->has_classic_member_metadata) {
        member_clear_classic(group, member);
        return STATUS_OK;
    }
    int32_t count = classic->supported_protocols_count;
    struct join_group_request_protocol *list =
        arena_new_array(arena, struct join_group_request_protocol, (size_t)count);
    if (list == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (int32_t i = 0; i < count; i++) {
        list[i].name = classic->supported_protocols[i].name;
        list[i].metadata = classic->supported_protocols[i].metadata;
    }
    return member_set_classic(group, member, (struct ballot_list){list, count},
                              classic->session_timeout_ms)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

static enum status replay_member(struct consumer *group, struct bytes id,
                                 const struct shard_record *record, struct arena *arena)
{
    struct consumer_member *member = member_find(group, id);
    if (record->value.data == NULL) {
        if (member != NULL) {
            member_close(group, member);
        }
        return STATUS_OK;
    }
    struct consumer_group_member_metadata_value value;
    enum status status =
        VALUE_READ(record, arena, consumer_group_member_metadata_value_decode, &value);
    if (status == STATUS_OK && value.has_classic_member_metadata &&
        value.classic_member_metadata.supported_protocols_count == 0) {
        status = STATUS_MALFORMED;
    }
    if (status != STATUS_OK) {
        return status;
    }
    member = member_make(group, id);
    if (member == NULL || !member_set_instance(group, member, value.instance_id) ||
        !text_assign(group->heap, &member->rack_id, value.rack_id) ||
        !text_assign(group->heap, &member->client_id, value.client_id) ||
        !text_assign(group->heap, &member->client_host, value.client_host) ||
        !text_assign(group->heap, &member->assignor, value.server_assignor) ||
        !text_assign(group->heap, &member->pattern, value.subscribed_topic_regex) ||
        !names_assign(group->heap, &member->names, value.subscribed_topic_names,
                      value.subscribed_topic_names_count)) {
        return STATUS_NO_MEMORY;
    }
    member->rebalance_ms = value.rebalance_timeout_ms;
    member->recorded = true;
    return replay_protocols(group, member, arena, &value);
}

static enum status replay_target(struct consumer *group, struct bytes id,
                                 const struct shard_record *record, struct arena *arena)
{
    struct consumer_group_target_assignment_member_value value = {0};
    if (record->value.data == NULL) {
        struct consumer_member *gone = member_find(group, id);
        if (gone != NULL) {
            parts_set_release(&gone->target, group->heap);
        }
        return STATUS_OK;
    }
    enum status status =
        VALUE_READ(record, arena, consumer_group_target_assignment_member_value_decode, &value);
    if (status != STATUS_OK) {
        return status;
    }
    size_t room = 0;
    for (int32_t i = 0; i < value.topic_partitions_count; i++) {
        room += (size_t)value.topic_partitions[i].partitions_count;
    }
    struct part *items = arena_new_array(arena, struct part, room);
    struct consumer_member *member = member_make(group, id);
    if (items == NULL || member == NULL) {
        return STATUS_NO_MEMORY;
    }
    int32_t count = 0;
    for (int32_t i = 0; i < value.topic_partitions_count; i++) {
        const struct consumer_group_target_assignment_member_value_topic_partition *topic =
            &value.topic_partitions[i];
        for (int32_t k = 0; k < topic->partitions_count; k++) {
            if (!parts_add(items, &count, &topic->topic_id, topic->partitions[k], 0)) {
                return STATUS_MALFORMED;
            }
        }
    }
    return parts_finish(group->heap, &member->target, items, count);
}

static enum status
assignment_read(struct consumer *group, struct arena *arena, struct parts_set *set,
                const struct consumer_group_current_member_assignment_value_topic *topics,
                int32_t topic_count)
{
    size_t room = 0;
    for (int32_t i = 0; i < topic_count; i++) {
        room += (size_t)topics[i].partitions_count;
    }
    struct part *items = arena_new_array(arena, struct part, room);
    if (items == NULL) {
        return STATUS_NO_MEMORY;
    }
    int32_t count = 0;
    for (int32_t i = 0; i < topic_count; i++) {
        bool epochs = topics[i].assignment_epochs_count == topics[i].partitions_count;
        for (int32_t k = 0; k < topics[i].partitions_count; k++) {
            if (!parts_add(items, &count, &topics[i].topic_id, topics[i].partitions[k],
                           epochs ? topics[i].assignment_epochs[k] : 0)) {
                return STATUS_MALFORMED;
            }
        }
    }
    return parts_finish(group->heap, set, items, count);
}

static enum status replay_assignment(struct consumer *group, struct bytes id,
                                     const struct shard_record *record, struct arena *arena)
{
    struct consumer_group_current_member_assignment_value value = {0};
    if (record->value.data != NULL) {
        enum status status = VALUE_READ(
            record, arena, consumer_group_current_member_assignment_value_decode, &value);
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (value.member_epoch < CONSUMER_EPOCH_LEAVE_STATIC || value.member_epoch >= EPOCH_LIMIT) {
        return STATUS_MALFORMED;
    }
    struct consumer_member *member =
        record->value.data == NULL ? member_find(group, id) : member_make(group, id);
    if (member == NULL) {
        return record->value.data == NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    member->epoch = value.member_epoch;
    member->previous_epoch = value.previous_member_epoch;
    member->state = value.state == MEMBER_UNREVOKED || value.state == MEMBER_UNRELEASED
                        ? (enum consumer_member_state)value.state
                        : MEMBER_STABLE;
    enum status status = assignment_read(group, arena, &member->assigned, value.assigned_partitions,
                                         value.assigned_partitions_count);
    if (status == STATUS_OK) {
        status =
            assignment_read(group, arena, &member->revoking, value.partitions_pending_revocation,
                            value.partitions_pending_revocation_count);
    }
    return status;
}

static enum status replay_pattern(struct consumer *group, struct bytes text,
                                  const struct shard_record *record, struct arena *arena)
{
    struct consumer_pattern *pattern = pattern_find(group, text);
    if (record->value.data == NULL) {
        if (pattern != NULL) {
            pattern_free(group, pattern);
        }
        return STATUS_OK;
    }
    struct consumer_group_regular_expression_value value;
    enum status status =
        VALUE_READ(record, arena, consumer_group_regular_expression_value_decode, &value);
    if (status != STATUS_OK) {
        return status;
    }
    if (pattern == NULL) {
        pattern = pattern_join(group, text);
    }
    if (pattern == NULL ||
        !names_assign(group->heap, &pattern->topics, value.topics, value.topics_count)) {
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

enum status consumer_replay(struct consumer *group, const struct shard_record *record,
                            struct arena *arena)
{
    int16_t type;
    struct bytes name;
    struct bytes detail;
    enum status status = key_read(record->key, &type, &name, &detail);
    if (status != STATUS_OK) {
        return status;
    }
    switch (type) {
    case KEY_EPOCH:
        return replay_epoch(group, record, arena);
    case KEY_TOPICS:
        group->topics_written = record->value.data != NULL;
        return STATUS_OK;
    case KEY_MEMBER:
        return replay_member(group, detail, record, arena);
    case KEY_TARGET_EPOCH:
        return replay_target_epoch(group, record, arena);
    case KEY_TARGET:
        return replay_target(group, detail, record, arena);
    case KEY_ASSIGNMENT:
        return replay_assignment(group, detail, record, arena);
    case KEY_PATTERN:
        return replay_pattern(group, detail, record, arena);
    default:
        return STATUS_MALFORMED;
    }
}
