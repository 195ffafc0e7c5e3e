/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JoinGroup, SyncGroup, Heartbeat and LeaveGroup of classic members of consumer groups. Unlike in a
 * classic group nothing is parked: each is answered by its own step, and the answer waits for the
 * records of that step alone (V1 of broker/groups/consumer_group.h).
 */
#include "broker/groups/group.h"

#include "broker/core.h"

void group_consumer_join(struct group *group, struct group_call *call)
{
    struct core *core = group->groups->shard->core;
    struct consumer_catalog catalog = consumer_group_catalog(core);
    struct consumer_event event = group_consumer_event(group->groups, CONSUMER_JOIN, &catalog);
    struct consumer_output output;
    random_uuid(&core->random, call->join.uuid.bytes);
    event.join = &call->join;
    consumer_step(group->consumer->machine, &event, &call->call.arena, &output);
    call->answer.call = &call->call;
    call->answer.status = output.broken ? STATUS_COORDINATOR_NOT_AVAILABLE
                                        : group_call_put_join(call, &call->join, NULL);
    group_consumer_follow(group, &event, &output, &call->answer);
}

void group_consumer_sync(struct group *group, struct group_call *call)
{
    struct consumer_catalog catalog = consumer_group_catalog(group->groups->shard->core);
    struct consumer_event event = group_consumer_event(group->groups, CONSUMER_SYNC, &catalog);
    struct consumer_output output;
    event.sync = &call->sync;
    consumer_step(group->consumer->machine, &event, &call->call.arena, &output);
    call->answer.call = &call->call;
    call->answer.status = group_call_put_sync(call, &call->sync);
    group_consumer_follow(group, &event, &output, &call->answer);
}

void group_consumer_beat(struct group *group, struct group_beat *beat)
{
    struct consumer_catalog catalog = consumer_group_catalog(group->groups->shard->core);
    struct consumer_event event =
        group_consumer_event(group->groups, CONSUMER_CLASSIC_HEARTBEAT, &catalog);
    struct consumer_output output;
    event.call = &beat->beat;
    consumer_step(group->consumer->machine, &event, &beat->call.arena, &output);
    beat->answer.call = &beat->call;
    beat->answer.status = beat->beat.status;
    group_consumer_follow(group, &event, &output, &beat->answer);
}

void group_consumer_leave(struct group *group, struct group_leave *leave)
{
    struct consumer_catalog catalog = consumer_group_catalog(group->groups->shard->core);
    struct consumer_event event = group_consumer_event(group->groups, CONSUMER_LEAVE, &catalog);
    struct consumer_output output;
    event.leavers = leave->leavers;
    event.leaver_count = leave->leaver_count;
    consumer_step(group->consumer->machine, &event, &leave->call.arena, &output);
    leave->answer.call = &leave->call;
    leave->answer.status = STATUS_OK;
    group_consumer_follow(group, &event, &output, &leave->answer);
}
