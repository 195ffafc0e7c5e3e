/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between classic groups, which know no I/O, and the world: calls in, answers, writes and timers
 * out.
 *
 * A join or sync that waits is a `wait` on the owner's heap, because the group keeps it until it
 * answers, while its call goes home at once when the peer is gone.
 */
#include "broker/groups/group.h"

#include "broker/core.h"
#include "broker/groups/consumer_group.h"
#include "broker/groups/records.h"
#include "broker/request.h"

#define NS_PER_MS UINT64_C(1000000)

struct group_wait {
    struct group_call *call; /* NULL: went home */
    struct group *group;
    struct classic_join join;
    struct classic_sync sync;
};

struct group_write {
    struct shard_append append;
    struct group *group;
    uint64_t write_id;
};

static struct core *group_core(const struct group *group)
{
    return group->groups->shard->core;
}

/* ---- answers ---- */

static enum status call_put(struct group_call *call, struct writer *body)
{
    call->slices = writer_slices(body, &call->slice_count);
    bool good = !body->failed && !call->call.arena.failed;
    call->slice_count = good ? call->slice_count : 0;
    return good ? STATUS_OK : STATUS_COORDINATOR_NOT_AVAILABLE;
}

static void wait_end(struct group_wait *wait, enum status status)
{
    struct group *group = wait->group;
    struct group_call *call = wait->call;
    heap_release(group->groups->heap, wait, sizeof(*wait));
    if (call != NULL) {
        coordinator_answer(&call->call, status);
    }
    group_release(group);
}

static void members_fill(const struct group *group, struct arena *arena,
                         struct join_group_response *out)
{
    int32_t count = classic_view(group->classic).member_count;
    out->members = arena_new_array(arena, struct join_group_response_member, (size_t)count);
    if (out->members == NULL) {
        return;
    }
    const struct classic_member *member = NULL;
    while ((member = classic_member_next(group->classic, member)) != NULL) {
        check(out->members_count < count);
        struct classic_member_view view = classic_member_view(group->classic, member);
        struct join_group_response_member *to = &out->members[out->members_count++];
        join_group_response_member_init(to);
        to->member_id = view.member_id;
        to->group_instance_id = view.instance_id;
        to->metadata = view.metadata;
    }
}

enum status group_call_put_join(struct group_call *call, const struct classic_join *join,
                                const struct group *lister)
{
    struct writer body;
    struct join_group_response out;
    join_group_response_init(&out);
    out.error_code = status_code(join->answer.status);
    out.generation_id = join->answer.generation;
    out.protocol_type = join->answer.protocol_type;
    out.protocol_name = join->answer.protocol;
    out.leader = join->answer.leader;
    out.member_id = join->answer.member_id;
    out.skip_assignment = join->answer.skip_assignment;
    if (join->answer.lists_members) {
        members_fill(lister, &call->call.arena, &out);
    }
    writer_init(&body, &call->call.arena);
    join_group_response_encode(&body, call->version, &out);
    return call_put(call, &body);
}

enum status group_call_put_sync(struct group_call *call, const struct classic_sync *sync)
{
    struct writer body;
    struct sync_group_response out;
    sync_group_response_init(&out);
    out.error_code = status_code(sync->answer.status);
    out.protocol_type = sync->answer.protocol_type;
    out.protocol_name = sync->answer.protocol;
    out.assignment = sync->answer.assignment;
    writer_init(&body, &call->call.arena);
    sync_group_response_encode(&body, call->version, &out);
    return call_put(call, &body);
}

static void join_answer(struct classic_join *join)
{
    struct group_wait *wait = CONTAINER_OF(join, struct group_wait, join);
    enum status status =
        wait->call == NULL ? STATUS_OK : group_call_put_join(wait->call, join, wait->group);
    wait_end(wait, status);
}

static void sync_answer(struct classic_sync *sync)
{
    struct group_wait *wait = CONTAINER_OF(sync, struct group_wait, sync);
    enum status status = wait->call == NULL ? STATUS_OK : group_call_put_sync(wait->call, sync);
    wait_end(wait, status);
}

static void answers_send(struct classic_output *output)
{
    struct list_node *node;
    while ((node = list_pop_head(&output->joins)) != NULL) {
        join_answer(LIST_ENTRY(node, struct classic_join, node));
    }
    while ((node = list_pop_head(&output->syncs)) != NULL) {
        sync_answer(LIST_ENTRY(node, struct classic_sync, node));
    }
}

/* ---- the write ---- */

static void written(struct shard_append *append)
{
    struct group_write *write = CONTAINER_OF(append, struct group_write, append);
    struct group *group = write->group;
    struct classic_event event = {.kind = append->status == STATUS_OK ? CLASSIC_PERSISTED
                                                                      : CLASSIC_PERSIST_FAILED};
    event.write_id = write->write_id;
    event.status = shard_client_status(append->status);
    heap_release(group->groups->heap, write, sizeof(*write));
    group->write_count--;
    group_classic_step(group, &event);
    group_release(group);
}

/* Not OK: nothing is under way, and the group has to be told. */
static enum status write_start(struct group *group, uint64_t write_id)
{
    struct groups *groups = group->groups;
    struct group_metadata_value value;
    struct shard_record record;
    struct group_write *write = heap_acquire(groups->heap, sizeof(*write));
    enum status status = write == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    if (status == STATUS_OK) {
        status = classic_value(group->classic, &groups->scratch, &value);
    }
    if (status == STATUS_OK) {
        status = record_group_metadata(&groups->scratch, group->name, &value, &record);
    }
    if (status != STATUS_OK) {
        heap_release(groups->heap, write, sizeof(*write));
        arena_reset(&groups->scratch);
        return status;
    }
    group_hold(group);
    group->write_count++;
    *write = (struct group_write){.group = group, .write_id = write_id};
    write->append.records = &record;
    write->append.record_count = 1;
    write->append.done = written;
    shard_append(groups->shard, &write->append);
    arena_reset(&groups->scratch);
    return STATUS_OK;
}

/* ---- steps ---- */

enum status group_classic_make(struct group *group)
{
    struct groups *groups = group->groups;
    if (group->classic == NULL) {
        group->classic = classic_open(groups->heap, random_u64(&group_core(group)->random),
                                      &groups->classic_config);
    }
    return group->classic == NULL ? STATUS_NO_MEMORY : STATUS_OK;
}

void group_classic_arm(struct group *group)
{
    struct core *core = group_core(group);
    int64_t deadline_ms = group->classic == NULL ? INT64_MAX : classic_deadline_ms(group->classic);
    if (!group->groups->serving || deadline_ms == INT64_MAX) {
        timer_disarm(&core->timers, &group->timer);
    } else {
        timer_arm(&core->timers, &group->timer,
                  deadline_ms <= 0 ? 0 : (uint64_t)deadline_ms * NS_PER_MS);
    }
}

void group_classic_step(struct group *group, struct classic_event *event)
{
    struct core *core = group_core(group);
    check(group->holds > 0);
    event->now_ms = (int64_t)(ring_now_ns(core->ring) / NS_PER_MS);
    event->wall_ms = ring_wall_ms(core->ring);
    struct classic_output output;
    classic_step(group->classic, event, &output);
    uint64_t write_id = output.write_id;
    bool write = output.write;
    answers_send(&output); /* before the write, which may fail at once and step again */
    enum status status = write ? write_start(group, write_id) : STATUS_OK;
    if (status != STATUS_OK) {
        struct classic_event failed = {.kind = CLASSIC_PERSIST_FAILED};
        failed.write_id = write_id;
        failed.status = shard_client_status(status);
        group_classic_step(group, &failed);
        return;
    }
    group_classic_arm(group);
}

void group_classic_retire(struct group *group, enum status status)
{
    if (group->classic != NULL) {
        struct classic_event event = {.kind = CLASSIC_RETIRE};
        event.status = status;
        group_classic_step(group, &event);
    }
}

void group_classic_fire(struct group *group)
{
    if (group->classic == NULL) {
        return;
    }
    struct classic_event event = {.kind = CLASSIC_TICK};
    group_hold(group);
    group_classic_step(group, &event);
    group_release(group);
}

/* ---- calls ---- */

static void wait_cancel(struct coordinator_call *call)
{
    struct group_wait *wait = call->waiting;
    wait->call = NULL; /* the group answers the wait as if somebody listened */
    coordinator_answer(call, STATUS_COORDINATOR_NOT_AVAILABLE);
}

static struct group_wait *wait_make(struct group *group, struct group_call *call)
{
    struct group_wait *wait = heap_acquire(group->groups->heap, sizeof(*wait));
    if (wait != NULL) {
        wait->call = call;
        wait->group = group;
        wait->join = call->join;
        wait->sync = call->sync;
        call->call.waiting = wait;
        call->call.cancel = wait_cancel;
        group_hold(group);
    }
    return wait;
}

static void join_start(struct group *group, struct group_call *call)
{
    struct group_wait *wait = NULL;
    if (group->consumer != NULL && consumer_member_count(group->consumer->machine) > 0) {
        group_consumer_join(group, call);
        return;
    }
    if (group->consumer != NULL) {
        enum status status = call->join.member_id.size > 0 ? STATUS_UNKNOWN_MEMBER_ID
                                                           : group_consumer_leave_to_classic(group);
        if (status != STATUS_OK) {
            coordinator_answer(&call->call, status);
            return;
        }
    }
    if (group_classic_make(group) == STATUS_OK) {
        wait = wait_make(group, call);
    }
    if (wait == NULL) {
        coordinator_answer(&call->call, STATUS_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    random_uuid(&group_core(group)->random, wait->join.uuid.bytes);
    struct classic_event event = {.kind = CLASSIC_JOIN};
    event.join = &wait->join;
    group_classic_step(group, &event);
}

void group_run_join(struct coordinator_call *base)
{
    struct group_call *call = CONTAINER_OF(base, struct group_call, call);
    struct groups *groups = groups_of(base->shard);
    struct group *group = group_find(groups, call->group_name);
    if (group == NULL && call->join.member_id.size > 0) {
        coordinator_answer(base, STATUS_UNKNOWN_MEMBER_ID);
        return;
    }
    group = group == NULL ? group_make(groups, call->group_name) : group;
    if (group == NULL) {
        coordinator_answer(base, STATUS_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    group_hold(group);
    join_start(group, call);
    group_release(group);
}

static void sync_start(struct group *group, struct group_call *call)
{
    if (group->consumer != NULL) {
        group_consumer_sync(group, call);
        return;
    }
    struct group_wait *wait = wait_make(group, call);
    if (wait == NULL) {
        coordinator_answer(&call->call, STATUS_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    struct classic_event event = {.kind = CLASSIC_SYNC};
    event.sync = &wait->sync;
    group_classic_step(group, &event);
}

void group_run_sync(struct coordinator_call *base)
{
    struct group_call *call = CONTAINER_OF(base, struct group_call, call);
    struct group *group = group_find(groups_of(base->shard), call->group_name);
    if (group == NULL || group_kind(group) == GROUP_SIMPLE) {
        coordinator_answer(base, STATUS_UNKNOWN_MEMBER_ID);
        return;
    }
    group_hold(group);
    sync_start(group, call);
    group_release(group);
}

void group_run_beat(struct coordinator_call *base)
{
    struct group_beat *beat = CONTAINER_OF(base, struct group_beat, call);
    struct group *group = group_find(groups_of(base->shard), beat->group_name);
    if (group == NULL || group_kind(group) == GROUP_SIMPLE) {
        coordinator_answer(base, STATUS_UNKNOWN_MEMBER_ID);
        return;
    }
    group_hold(group);
    if (group->consumer != NULL) {
        group_consumer_beat(group, beat);
    } else {
        struct classic_event event = {.kind = CLASSIC_HEARTBEAT};
        event.call = &beat->beat;
        group_classic_step(group, &event);
        coordinator_answer(base, beat->beat.status);
    }
    group_release(group);
}

void group_run_leave(struct group_leave *leave)
{
    struct group *group = group_find(groups_of(leave->call.shard), leave->group_name);
    if (group == NULL || group_kind(group) == GROUP_SIMPLE) {
        coordinator_answer(&leave->call, STATUS_OK);
        return;
    }
    group_hold(group);
    if (group->consumer != NULL) {
        group_consumer_leave(group, leave);
    } else {
        struct classic_event event = {.kind = CLASSIC_LEAVE};
        event.leavers = leave->leavers;
        event.leaver_count = leave->leaver_count;
        group_classic_step(group, &event);
        coordinator_answer(&leave->call, STATUS_OK);
    }
    group_release(group);
}

void group_call_reply(struct request *request, const struct group_call *call)
{
    struct writer *writer = request_reply(request);
    for (int i = 0; i < call->slice_count; i++) {
        writer_splice(writer, bytes_of(call->slices[i].iov_base, call->slices[i].iov_len));
    }
    request_finish(request);
}
