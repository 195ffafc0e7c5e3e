/* SPDX-License-Identifier: Apache-2.0 */
/* What members subscribe to, which topics that is, and who should have what of them. */
#include <stdlib.h>

#include "broker/groups/assignor.h"
#include "broker/groups/consumer_state.h"
#include "broker/groups/pattern.h"

/* ---- patterns ---- */

struct consumer_pattern *pattern_find(const struct consumer *group, struct bytes text)
{
    LIST_EACH (&group->patterns, node) {
        struct consumer_pattern *pattern = LIST_ENTRY(node, struct consumer_pattern, node);
        if (bytes_equal(pattern->text, text)) {
            return pattern;
        }
    }
    return NULL;
}

struct consumer_pattern *pattern_join(struct consumer *group, struct bytes text)
{
    struct consumer_pattern *pattern = pattern_find(group, text);
    if (pattern == NULL) {
        pattern = heap_acquire(group->heap, sizeof(*pattern));
        if (pattern == NULL) {
            return NULL;
        }
        if (!text_assign(group->heap, &pattern->text, text)) {
            heap_release(group->heap, pattern, sizeof(*pattern));
            return NULL;
        }
        list_push_tail(&group->patterns, &pattern->node);
    }
    pattern->member_count++;
    return pattern;
}

void pattern_free(struct consumer *group, struct consumer_pattern *pattern)
{
    list_remove(&pattern->node);
    names_release(group->heap, &pattern->topics);
    text_release(group->heap, &pattern->text);
    heap_release(group->heap, pattern, sizeof(*pattern));
}

bool pattern_leave(struct step *step, struct bytes text)
{
    struct consumer_pattern *pattern = text.size == 0 ? NULL : pattern_find(step->group, text);
    if (pattern == NULL) {
        return true;
    }
    pattern->member_count--;
    if (pattern->member_count > 0) {
        return true;
    }
    bool written = write_pattern_gone(step, text);
    pattern_free(step->group, pattern);
    return written;
}

/* The names of the catalog that match, in the arena. The expression was checked when it came. */
static bool pattern_look(struct step *step, const struct pattern *compiled, struct bytes **names,
                         int32_t *count)
{
    struct consumer_topic topic;
    void *cursor = NULL;
    int32_t room = 0;
    *names = NULL;
    *count = 0;
    while (step->catalog->next(step->catalog->context, &cursor, &topic)) {
        if (!pattern_matches(compiled, topic.name.data, topic.name.size)) {
            continue;
        }
        if (*count == room) {
            room = room == 0 ? 16 : 2 * room;
            struct bytes *more = arena_new_array(step->arena, struct bytes, (size_t)room);
            if (more == NULL) {
                return false;
            }
            if (*count > 0) {
                memcpy(more, *names, (size_t)*count * sizeof(*more));
            }
            *names = more;
        }
        (*names)[(*count)++] = topic.name;
    }
    return true;
}

bool pattern_resolve(struct step *step, struct consumer_pattern *pattern)
{
    char message[PATTERN_MESSAGE_SIZE];
    struct bytes *names;
    int32_t count;
    struct pattern *compiled = pattern_open(pattern->text.data, pattern->text.size, message);
    if (compiled == NULL) { /* from a log of another engine: it stands for nothing */
        return names_assign(step->group->heap, &pattern->topics, NULL, 0) || step_break(step);
    }
    bool looked = pattern_look(step, compiled, &names, &count);
    pattern_close(compiled);
    struct names found = {0};
    if (!looked || !names_assign(step->group->heap, &found, names, count)) {
        return step_break(step);
    }
    bool same = names_equal(&found, &pattern->topics);
    names_release(step->group->heap, &pattern->topics);
    pattern->topics = found;
    return same || write_pattern(step, pattern);
}

bool member_subscribes(const struct consumer *group, const struct consumer_member *member,
                       struct bytes topic)
{
    if (names_have(&member->names, topic)) {
        return true;
    }
    const struct consumer_pattern *pattern =
        member->pattern.size == 0 ? NULL : pattern_find(group, member->pattern);
    return pattern != NULL && names_have(&pattern->topics, topic);
}

/* ---- topics ---- */

static int compare_topics(const void *a, const void *b)
{
    const struct consumer_topic *first = a;
    const struct consumer_topic *second = b;
    return memcmp(&first->id, &second->id, sizeof(first->id));
}

static void topics_look(const struct step *step, const struct names *names,
                        struct consumer_topic *topics, int32_t *count)
{
    for (int32_t i = 0; i < names->count; i++) {
        if (step->catalog->find(step->catalog->context, names->items[i], &topics[*count])) {
            (*count)++;
        }
    }
}

static int32_t topics_unique(struct consumer_topic *topics, int32_t count)
{
    int32_t kept = 0;
    if (count > 0) {
        qsort(topics, (size_t)count, sizeof(*topics), compare_topics);
    }
    for (int32_t i = 0; i < count; i++) {
        if (kept == 0 || compare_topics(&topics[kept - 1], &topics[i]) != 0) {
            topics[kept++] = topics[i];
        }
    }
    return kept;
}

/* Every topic that exists and that a member subscribes to, by id, in the arena. Members with the
 * same names, which is the rule, are looked up once. NULL: the arena refused. */
static struct consumer_topic *topics_collect(const struct step *step, int32_t *count)
{
    const struct consumer *group = step->group;
    const struct names *last = NULL;
    size_t room = 0;
    LIST_EACH (&group->members, node) {
        room += (size_t)LIST_ENTRY(node, struct consumer_member, node)->names.count;
    }
    LIST_EACH (&group->patterns, node) {
        room += (size_t)LIST_ENTRY(node, struct consumer_pattern, node)->topics.count;
    }
    struct consumer_topic *topics = arena_new_array(step->arena, struct consumer_topic, room + 1);
    if (topics == NULL) {
        return NULL;
    }
    *count = 0;
    LIST_EACH (&group->members, node) {
        const struct names *names = &LIST_ENTRY(node, struct consumer_member, node)->names;
        if (last == NULL || !names_equal(names, last)) {
            topics_look(step, names, topics, count);
        }
        last = names;
    }
    LIST_EACH (&group->patterns, node) {
        topics_look(step, &LIST_ENTRY(node, struct consumer_pattern, node)->topics, topics, count);
    }
    *count = topics_unique(topics, *count);
    return topics;
}

bool subscription_hash(struct step *step, int64_t *hash)
{
    int32_t count;
    struct consumer_topic *topics = topics_collect(step, &count);
    if (topics == NULL) {
        return step_break(step);
    }
    uint64_t value = 0;
    for (int32_t i = 0; i < count; i++) {
        value = hash_bytes(bytes_of(&topics[i].id, sizeof(topics[i].id)), value);
        value = hash_bytes(topics[i].name, value);
        value = hash_u64((uint64_t)topics[i].partition_count, value);
    }
    *hash = (int64_t)value;
    return true;
}

/* ---- targets ---- */

static const struct assignor *assignor_preferred(const struct consumer *group)
{
    uint32_t served = group->config->assignors;
    const struct assignor *best = assignor_row(served == 0 ? 0 : __builtin_ctz(served));
    int32_t best_count = 0;
    const struct assignor *row;
    for (int32_t i = 0; (row = assignor_row(i)) != NULL; i++) {
        int32_t count = 0;
        LIST_EACH (&group->members, node) {
            struct bytes name = LIST_ENTRY(node, struct consumer_member, node)->assignor;
            count += name.data != NULL && bytes_equal(name, bytes_of_text(row->name));
        }
        if (count > best_count || (count == best_count && count > 0 && row == best)) {
            best = row;
            best_count = count;
        }
    }
    return best;
}

struct bytes consumer_assignor(const struct consumer *group)
{
    return bytes_of_text(assignor_preferred(group)->name);
}

static int32_t topic_index(const struct consumer_topic *topics, int32_t count,
                           const struct uuid *id)
{
    struct consumer_topic key = {.id = *id};
    const struct consumer_topic *found =
        count == 0 ? NULL : bsearch(&key, topics, (size_t)count, sizeof(key), compare_topics);
    return found == NULL ? -1 : (int32_t)(found - topics);
}

static int compare_indexes(const void *a, const void *b)
{
    int32_t first = *(const int32_t *)a;
    int32_t second = *(const int32_t *)b;
    return (first > second) - (first < second);
}

struct target_topics {
    struct consumer_topic *items;
    int32_t count;
};

/* The indexes of a member's topics, ascending. */
static bool member_topics(const struct step *step, const struct target_topics *topics,
                          const struct consumer_member *member, struct assignor_member *out)
{
    const struct consumer_pattern *pattern =
        member->pattern.size == 0 ? NULL : pattern_find(step->group, member->pattern);
    size_t room =
        (size_t)member->names.count + (pattern == NULL ? 0 : (size_t)pattern->topics.count);
    struct consumer_topic *found = arena_new_array(step->arena, struct consumer_topic, room);
    int32_t *indexes = arena_new_array(step->arena, int32_t, room);
    if (found == NULL || indexes == NULL) {
        return false;
    }
    int32_t count = 0;
    topics_look(step, &member->names, found, &count);
    if (pattern != NULL) {
        topics_look(step, &pattern->topics, found, &count);
    }
    count = topics_unique(found, count);
    for (int32_t i = 0; i < count; i++) {
        indexes[i] = topic_index(topics->items, topics->count, &found[i].id);
        check(indexes[i] >= 0);
    }
    if (count > 0) {
        qsort(indexes, (size_t)count, sizeof(*indexes), compare_indexes);
    }
    out->topics = indexes;
    out->topic_count = count;
    return true;
}

/* All of a group read the same, as a rule: what the one before reads is looked up once. */
static bool members_spec(struct step *step, const struct target_topics *topics,
                         struct assignor_group *spec)
{
    const struct consumer_member *last = NULL;
    LIST_EACH (&step->group->members, node) {
        const struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
        struct assignor_member *out = &spec->members[spec->member_count++];
        out->id = member->id;
        out->instance_id = member->instance_id;
        out->current = parts_of(&member->target);
        if (last != NULL && bytes_equal(last->pattern, member->pattern) &&
            names_equal(&last->names, &member->names)) {
            out->topics = out[-1].topics;
            out->topic_count = out[-1].topic_count;
        } else if (!member_topics(step, topics, member, out)) {
            return false;
        }
        last = member;
    }
    return true;
}

static bool target_spec(struct step *step, struct assignor_group *spec)
{
    struct consumer *group = step->group;
    struct target_topics topics;
    topics.items = topics_collect(step, &topics.count);
    if (topics.items == NULL) {
        return false;
    }
    struct assignor_topic *rows =
        arena_new_array(step->arena, struct assignor_topic, (size_t)topics.count);
    spec->members =
        arena_new_array(step->arena, struct assignor_member, (size_t)group->member_count);
    if (rows == NULL || spec->members == NULL) {
        return false;
    }
    for (int32_t i = 0; i < topics.count; i++) {
        rows[i] = (struct assignor_topic){topics.items[i].id, topics.items[i].partition_count};
    }
    spec->topics = rows;
    spec->topic_count = topics.count;
    return members_spec(step, &topics, spec);
}

bool target_make(struct step *step)
{
    struct consumer *group = step->group;
    struct assignor_group spec = {0};
    if (!target_spec(step, &spec) || !assignor_preferred(group)->assign(&spec, step->arena)) {
        return step_break(step);
    }
    int32_t index = 0;
    LIST_EACH (&group->members, node) {
        struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
        struct parts target = spec.members[index++].target;
        if (parts_equal(target, parts_of(&member->target))) {
            continue;
        }
        if (!parts_set_assign(&member->target, group->heap, target)) {
            return step_break(step);
        }
        if (!write_target(step, member)) {
            return false;
        }
    }
    group->target_epoch = group->epoch;
    return write_target_epoch(step);
}
