/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three steps: keep what may be kept, hand out what nobody has, then move single partitions from
 * members with more to members with less while that makes them more even.
 *
 * Each move lowers the sum of the squares of the counts, so the moves end. With one subscription
 * for all, no move left means that counts differ by one at most.
 */
#include <stdlib.h>

#include "base/check.h"
#include "broker/groups/assignor.h"

#define NOBODY (-1)

struct uniform {
    const struct assignor_group *group;
    struct assignor_member **members; /* by id: A2 */
    int32_t *counts;                  /* partitions of each */
    int32_t *first;                   /* of each topic in `owners` */
    int32_t *owners;                  /* of each partition: index in members, or NOBODY */
    int32_t **subscribers;            /* of each topic: indexes in members, ascending */
    int32_t *subscriber_counts;
};

static int compare_members(const void *a, const void *b)
{
    return bytes_compare((*(struct assignor_member *const *)a)->id,
                         (*(struct assignor_member *const *)b)->id);
}

static bool uniform_subscribers(struct uniform *uniform, struct arena *arena)
{
    const struct assignor_group *group = uniform->group;
    for (int32_t i = 0; i < group->member_count; i++) {
        for (int32_t k = 0; k < uniform->members[i]->topic_count; k++) {
            uniform->subscriber_counts[uniform->members[i]->topics[k]]++;
        }
    }
    for (int32_t i = 0; i < group->topic_count; i++) {
        uniform->subscribers[i] =
            arena_new_array(arena, int32_t, (size_t)uniform->subscriber_counts[i]);
        if (uniform->subscribers[i] == NULL) {
            return false;
        }
        uniform->subscriber_counts[i] = 0;
    }
    for (int32_t i = 0; i < group->member_count; i++) {
        for (int32_t k = 0; k < uniform->members[i]->topic_count; k++) {
            int32_t topic = uniform->members[i]->topics[k];
            uniform->subscribers[topic][uniform->subscriber_counts[topic]++] = i;
        }
    }
    return true;
}

static bool uniform_init(struct uniform *uniform, const struct assignor_group *group,
                         struct arena *arena)
{
    size_t member_count = (size_t)group->member_count;
    size_t topic_count = (size_t)group->topic_count;
    *uniform = (struct uniform){
        .group = group,
        .members = arena_new_array(arena, struct assignor_member *, member_count),
        .counts = arena_new_array(arena, int32_t, member_count),
        .first = arena_new_array(arena, int32_t, topic_count + 1),
        .subscribers = arena_new_array(arena, int32_t *, topic_count),
        .subscriber_counts = arena_new_array(arena, int32_t, topic_count),
    };
    if (uniform->members == NULL || uniform->counts == NULL || uniform->first == NULL ||
        uniform->subscribers == NULL || uniform->subscriber_counts == NULL) {
        return false;
    }
    for (size_t i = 0; i < topic_count; i++) {
        uniform->first[i + 1] = uniform->first[i] + group->topics[i].partition_count;
    }
    uniform->owners = arena_new_array(arena, int32_t, (size_t)uniform->first[topic_count]);
    if (uniform->owners == NULL) {
        return false;
    }
    for (int32_t i = 0; i < uniform->first[topic_count]; i++) {
        uniform->owners[i] = NOBODY;
    }
    for (size_t i = 0; i < member_count; i++) {
        uniform->members[i] = &group->members[i];
    }
    if (member_count > 0) {
        qsort(uniform->members, member_count, sizeof(struct assignor_member *), compare_members);
    }
    return uniform_subscribers(uniform, arena);
}

static void uniform_give(struct uniform *uniform, int32_t place, int32_t member)
{
    if (uniform->owners[place] != NOBODY) {
        uniform->counts[uniform->owners[place]]--;
    }
    uniform->owners[place] = member;
    uniform->counts[member]++;
}

/* Both lists ascend by topic id, so one pass finds what is still subscribed. */
static void uniform_keep(struct uniform *uniform, int32_t member)
{
    const struct assignor_member *facts = uniform->members[member];
    int32_t k = 0;
    for (int32_t i = 0; i < facts->current.count; i++) {
        const struct part *part = &facts->current.items[i];
        while (k < facts->topic_count && memcmp(&uniform->group->topics[facts->topics[k]].id,
                                                &part->topic_id, sizeof(part->topic_id)) < 0) {
            k++;
        }
        if (k == facts->topic_count) {
            break;
        }
        const struct assignor_topic *topic = &uniform->group->topics[facts->topics[k]];
        int32_t place = uniform->first[facts->topics[k]] + part->index;
        if (uuid_equal(&topic->id, &part->topic_id) && part->index >= 0 &&
            part->index < topic->partition_count && uniform->owners[place] == NOBODY) {
            uniform_give(uniform, place, member);
        }
    }
}

static int32_t least_loaded(const struct uniform *uniform, int32_t topic)
{
    const int32_t *subscribers = uniform->subscribers[topic];
    int32_t least = subscribers[0];
    for (int32_t i = 1; i < uniform->subscriber_counts[topic]; i++) {
        if (uniform->counts[subscribers[i]] < uniform->counts[least]) {
            least = subscribers[i];
        }
    }
    return least;
}

/* Topics with few subscribers first: those of the others have more choice left. */
static bool uniform_hand_out(struct uniform *uniform, struct arena *arena)
{
    int32_t topic_count = uniform->group->topic_count;
    int32_t *order = arena_new_array(arena, int32_t, (size_t)topic_count);
    if (order == NULL) {
        return false;
    }
    int32_t placed = 0;
    for (int32_t wanted = 1; wanted <= uniform->group->member_count && placed < topic_count;
         wanted++) {
        for (int32_t i = 0; i < topic_count; i++) {
            if (uniform->subscriber_counts[i] == wanted) {
                order[placed++] = i;
            }
        }
    }
    for (int32_t i = 0; i < placed; i++) {
        for (int32_t k = uniform->first[order[i]]; k < uniform->first[order[i] + 1]; k++) {
            if (uniform->owners[k] == NOBODY) {
                uniform_give(uniform, k, least_loaded(uniform, order[i]));
            }
        }
    }
    return true;
}

static bool uniform_balance_topic(struct uniform *uniform, int32_t topic)
{
    bool moved = false;
    if (uniform->subscriber_counts[topic] < 2) {
        return false;
    }
    int32_t least = least_loaded(uniform, topic);
    for (int32_t k = uniform->first[topic]; k < uniform->first[topic + 1]; k++) {
        if (uniform->counts[uniform->owners[k]] >= uniform->counts[least] + 2) {
            uniform_give(uniform, k, least);
            least = least_loaded(uniform, topic);
            moved = true;
        }
    }
    return moved;
}

static bool uniform_targets(struct uniform *uniform, struct arena *arena)
{
    const struct assignor_group *group = uniform->group;
    struct part **items = arena_new_array(arena, struct part *, (size_t)group->member_count);
    if (items == NULL) {
        return false;
    }
    for (int32_t i = 0; i < group->member_count; i++) {
        items[i] = arena_new_array(arena, struct part, (size_t)uniform->counts[i]);
        if (items[i] == NULL) {
            return false;
        }
        uniform->members[i]->target = (struct parts){items[i], uniform->counts[i]};
    }
    for (int32_t i = 0; i < group->topic_count; i++) {
        for (int32_t k = uniform->first[i]; k < uniform->first[i + 1]; k++) {
            int32_t owner = uniform->owners[k];
            if (owner != NOBODY) { /* else nobody subscribes */
                *items[owner]++ =
                    (struct part){.topic_id = group->topics[i].id, .index = k - uniform->first[i]};
            }
        }
    }
    return true;
}

bool assign_uniform(struct assignor_group *group, struct arena *arena)
{
    struct uniform uniform;
    if (!uniform_init(&uniform, group, arena)) {
        return false;
    }
    for (int32_t i = 0; i < group->member_count; i++) {
        uniform_keep(&uniform, i);
    }
    if (!uniform_hand_out(&uniform, arena)) {
        return false;
    }
    bool moved = true;
    while (moved) {
        moved = false;
        for (int32_t i = 0; i < group->topic_count; i++) {
            moved |= uniform_balance_topic(&uniform, i);
        }
    }
    return uniform_targets(&uniform, arena);
}
