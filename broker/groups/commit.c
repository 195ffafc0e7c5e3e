/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/commit.h"

#include "broker/core.h"
#include "broker/groups/consumer_group.h"
#include "broker/groups/group.h"
#include "broker/groups/records.h"

/* ---- who may commit ---- */

static enum status classic_may_commit(struct group *group, const struct group_commit *commit)
{
    struct classic_call call = {
        .member_id = commit->member_id,
        .instance_id = commit->instance_id,
        .generation = commit->generation,
        .transactional = commit->transactional,
    };
    struct classic_event event = {.kind = CLASSIC_COMMIT};
    event.call = &call;
    group_classic_step(group, &event);
    return call.status;
}

/* Nobody is a member: only who does not say that he is one may commit. */
static enum status simple_may_commit(const struct group_commit *commit)
{
    return commit->generation < 0 ? STATUS_OK : STATUS_UNKNOWN_MEMBER_ID;
}

/* The group, made when a commit may make it. It is held. */
static enum status group_enter(struct groups *groups, struct group_commit *commit)
{
    struct group *group = group_find(groups, commit->group_name);
    if (group == NULL && commit->generation >= 0) {
        return commit->version >= 9 && !commit->transactional ? STATUS_GROUP_ID_NOT_FOUND
                                                              : STATUS_ILLEGAL_GENERATION;
    }
    if (group == NULL) {
        group = group_make(groups, commit->group_name);
    }
    if (group == NULL) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    group_hold(group);
    commit->group = group;
    if (group->consumer != NULL) {
        return group_consumer_may_commit(group, commit);
    }
    return group->classic != NULL ? classic_may_commit(group, commit) : simple_may_commit(commit);
}

/* ---- the way of a commit ---- */

static void commit_finish(struct group_commit *commit, enum status status)
{
    struct groups *groups = groups_of(commit->call.shard);
    for (int32_t i = 0; i < commit->change_count; i++) {
        if (status == STATUS_OK) {
            offsets_apply(&groups->offsets, &commit->changes[i], commit->append.base_offset + i);
        } else {
            offsets_cancel(&groups->offsets, &commit->changes[i]);
        }
    }
    if (commit->group != NULL) {
        group_release(commit->group);
    }
    coordinator_answer(&commit->call, status);
}

static void commit_durable(struct shard_append *append)
{
    struct group_commit *commit = CONTAINER_OF(append, struct group_commit, append);
    enum status status = append->status;
    commit_finish(commit, status == STATUS_MESSAGE_TOO_LARGE ? STATUS_INVALID_COMMIT_OFFSET_SIZE
                                                             : shard_client_status(status));
}

/* A client may say any number. */
static int64_t expire_ms(const struct group_commit *commit, int64_t now_ms)
{
    if (commit->retention_ms < 0) {
        return -1;
    }
    return commit->retention_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + commit->retention_ms;
}

static enum status item_prepare(struct groups *groups, struct group_commit *commit,
                                const struct group_commit_item *item, struct shard_record *record)
{
    int64_t now_ms = ring_wall_ms(groups->shard->core->ring);
    const struct offset_value value = {
        .offset = item->offset,
        .leader_epoch = item->leader_epoch,
        .commit_ms = now_ms,
        .expire_ms = expire_ms(commit, now_ms),
        .metadata = item->metadata,
    };
    const struct offset_spot spot = {
        .group = commit->group, .topic = item->topic, .partition = item->partition};
    struct offset_change *change = &commit->changes[commit->change_count];
    enum status status =
        commit->transactional
            ? offsets_prepare_waiting(&groups->offsets, &spot, &value, commit->producer_id, change)
            : offsets_prepare(&groups->offsets, &spot, &value, change);
    if (status != STATUS_OK) {
        return status;
    }
    commit->change_count++;
    const struct offset_commit_key key = {
        .group = commit->group_name, .topic = item->topic, .partition = item->partition};
    const struct offset_commit_value kept = {
        .offset = value.offset,
        .leader_epoch = value.leader_epoch,
        .metadata = value.metadata,
        .commit_timestamp = value.commit_ms,
        .expire_timestamp = value.expire_ms,
    };
    return record_offset_commit(&commit->call.arena, &key, &kept, record);
}

void group_run_commit(struct coordinator_call *call)
{
    struct group_commit *commit = CONTAINER_OF(call, struct group_commit, call);
    struct groups *groups = groups_of(call->shard);
    enum status status = group_enter(groups, commit);
    size_t count = (size_t)commit->item_count;
    struct shard_record *records = arena_new_array(&call->arena, struct shard_record, count);
    commit->changes = arena_new_array(&call->arena, struct offset_change, count);
    if (status == STATUS_OK && (records == NULL || commit->changes == NULL)) {
        status = STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    for (int32_t i = 0; i < commit->item_count && status == STATUS_OK; i++) {
        if (commit->items[i].status == STATUS_OK) {
            status =
                item_prepare(groups, commit, &commit->items[i], &records[commit->change_count]);
            status = shard_client_status(status);
        }
    }
    if (status != STATUS_OK || commit->change_count == 0) {
        commit_finish(commit, status);
        return;
    }
    commit->append = (struct shard_append){
        .records = records,
        .record_count = commit->change_count,
        .transactional = commit->transactional,
        .producer_id = commit->producer_id,
        .producer_epoch = commit->producer_epoch,
        .done = commit_durable,
    };
    shard_append(call->shard, &commit->append);
}

/* ---- markers ---- */

static void marker_touched(struct group *group)
{
    group_settle(group);
}

static void marker_durable(struct shard_append *append)
{
    struct group_marker *marker = CONTAINER_OF(append, struct group_marker, append);
    struct groups *groups = groups_of(marker->call.shard);
    if (append->status == STATUS_OK) {
        offsets_end(&groups->offsets, marker->marker.producer_id, marker->marker.commit,
                    marker_touched);
    }
    coordinator_answer(&marker->call, shard_client_status(append->status));
}

void group_run_marker(struct coordinator_call *call)
{
    struct group_marker *marker = CONTAINER_OF(call, struct group_marker, call);
    marker->append = (struct shard_append){.marker = &marker->marker, .done = marker_durable};
    shard_append(call->shard, &marker->append);
}
