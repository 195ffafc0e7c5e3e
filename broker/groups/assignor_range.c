/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/check.h"
#include "broker/groups/assignor.h"

/* Static members first, by instance id: their place does not change with their member id. */
static int compare_members(const void *a, const void *b)
{
    const struct assignor_member *first = *(struct assignor_member *const *)a;
    const struct assignor_member *second = *(struct assignor_member *const *)b;
    bool first_static = first->instance_id.data != NULL;
    bool second_static = second->instance_id.data != NULL;
    if (first_static != second_static) {
        return first_static ? -1 : 1;
    }
    return first_static ? bytes_compare(first->instance_id, second->instance_id)
                        : bytes_compare(first->id, second->id);
}

struct range_topic {
    int32_t subscriber_count;
    int32_t subscriber_next; /* rank of the next one that takes its run */
};

static int32_t run_size(const struct range_topic *topic, int32_t partition_count, int32_t rank)
{
    int32_t size = partition_count / topic->subscriber_count;
    return size + (rank < partition_count % topic->subscriber_count);
}

static int32_t run_begin(const struct range_topic *topic, int32_t partition_count, int32_t rank)
{
    int32_t rest = partition_count % topic->subscriber_count;
    int32_t longer = rank < rest ? rank : rest;
    return rank * (partition_count / topic->subscriber_count) + longer;
}

/* The member's run of each of its topics. Topics ascend by id, so the target is sorted. */
static bool take_runs(const struct assignor_group *group, struct range_topic *topics,
                      struct assignor_member *member, struct arena *arena)
{
    size_t room = 0;
    for (int32_t i = 0; i < member->topic_count; i++) {
        int32_t topic = member->topics[i];
        room += (size_t)run_size(&topics[topic], group->topics[topic].partition_count,
                                 topics[topic].subscriber_next);
    }
    struct part *items = arena_new_array(arena, struct part, room);
    if (items == NULL) {
        return false;
    }
    int32_t count = 0;
    for (int32_t i = 0; i < member->topic_count; i++) {
        struct range_topic *topic = &topics[member->topics[i]];
        const struct assignor_topic *facts = &group->topics[member->topics[i]];
        int32_t rank = topic->subscriber_next++;
        int32_t begin = run_begin(topic, facts->partition_count, rank);
        int32_t size = run_size(topic, facts->partition_count, rank);
        for (int32_t k = 0; k < size; k++) {
            items[count++] = (struct part){.topic_id = facts->id, .index = begin + k};
        }
    }
    check((size_t)count == room);
    member->target = (struct parts){items, count};
    return true;
}

bool assign_range(struct assignor_group *group, struct arena *arena)
{
    size_t count = (size_t)group->member_count;
    struct assignor_member **order = arena_new_array(arena, struct assignor_member *, count);
    struct range_topic *topics =
        arena_new_array(arena, struct range_topic, (size_t)group->topic_count);
    if (order == NULL || topics == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        order[i] = &group->members[i];
        for (int32_t k = 0; k < order[i]->topic_count; k++) {
            topics[order[i]->topics[k]].subscriber_count++;
        }
    }
    if (count > 0) {
        qsort(order, count, sizeof(struct assignor_member *), compare_members);
    }
    for (size_t i = 0; i < count; i++) {
        if (!take_runs(group, topics, order[i], arena)) {
            return false;
        }
    }
    return true;
}
