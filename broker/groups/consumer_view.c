/* SPDX-License-Identifier: Apache-2.0 */
/* What others ask of a consumer group, and whether it is sound. */
#include "broker/groups/consumer_state.h"
#include "broker/planted.h"

enum consumer_state consumer_state(const struct consumer *group)
{
    if (group->member_count == 0) {
        return CONSUMER_EMPTY;
    }
    if (group->epoch > group->target_epoch) {
        return CONSUMER_ASSIGNING;
    }
    LIST_EACH (&group->members, node) {
        const struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
        if (member->state != MEMBER_STABLE || member->epoch != group->target_epoch) {
            return CONSUMER_RECONCILING;
        }
    }
    return CONSUMER_STABLE;
}

const char *consumer_state_name(enum consumer_state state)
{
    static const char *const names[] = {
        [CONSUMER_EMPTY] = "Empty",
        [CONSUMER_ASSIGNING] = "Assigning",
        [CONSUMER_RECONCILING] = "Reconciling",
        [CONSUMER_STABLE] = "Stable",
    };
    check((size_t)state < ARRAY_COUNT(names));
    return names[state];
}

int32_t consumer_member_count(const struct consumer *group)
{
    return group->member_count;
}

bool consumer_subscribes(const struct consumer *group, struct bytes topic)
{
    LIST_EACH (&group->members, node) {
        if (member_subscribes(group, LIST_ENTRY(node, struct consumer_member, node), topic)) {
            return true;
        }
    }
    return false;
}

/* ---- ConsumerGroupDescribe ---- */

/* A copy in the arena: the answer is encoded on another core. */
static struct bytes copy(struct arena *arena, struct bytes text)
{
    if (text.data == NULL) {
        return text;
    }
    uint8_t *own = arena_acquire_bytes(arena, text.size + 1);
    if (own != NULL) {
        memcpy(own, text.data, text.size);
    }
    return bytes_of(own, own == NULL ? 0 : text.size);
}

/* Topics that are gone are left out: the answer needs their names. */
static void describe_parts(const struct consumer_catalog *catalog, struct arena *arena,
                           struct parts parts,
                           struct consumer_group_describe_response_assignment *out)
{
    out->topic_partitions =
        arena_new_array(arena, struct consumer_group_describe_response_topic_partitions,
                        (size_t)parts_topic_count(parts));
    for (int32_t i = 0; i < parts.count && out->topic_partitions != NULL; i = parts_run(parts, i)) {
        struct consumer_topic topic;
        int32_t end = parts_run(parts, i);
        if (!catalog->find_id(catalog->context, &parts.items[i].topic_id, &topic)) {
            continue;
        }
        out->topic_partitions[out->topic_partitions_count++] =
            (struct consumer_group_describe_response_topic_partitions){
                .topic_id = topic.id,
                .topic_name = copy(arena, topic.name),
                .partitions = parts_indexes(arena, parts, i, end),
                .partitions_count = end - i,
            };
    }
}

static void describe_member(const struct consumer_member *member,
                            const struct consumer_catalog *catalog, struct arena *arena,
                            struct consumer_group_describe_response_member *out)
{
    consumer_group_describe_response_member_init(out);
    out->member_id = copy(arena, member->id);
    out->instance_id = copy(arena, member->instance_id);
    out->rack_id = copy(arena, member->rack_id);
    out->member_epoch = member->epoch;
    out->client_id = copy(arena, member->client_id);
    out->client_host = copy(arena, member->client_host);
    out->subscribed_topic_regex =
        member->pattern.size == 0 ? BYTES_NULL : copy(arena, member->pattern);
    out->member_type = member->classic ? 0 : 1;
    out->subscribed_topic_names = arena_new_array(arena, struct bytes, (size_t)member->names.count);
    for (int32_t i = 0; i < member->names.count && out->subscribed_topic_names != NULL; i++) {
        out->subscribed_topic_names[i] = copy(arena, member->names.items[i]);
        out->subscribed_topic_names_count++;
    }
    describe_parts(catalog, arena, parts_of(&member->assigned), &out->assignment);
    describe_parts(catalog, arena, parts_of(&member->target), &out->target_assignment);
}

bool consumer_describe(const struct consumer *group, const struct consumer_catalog *catalog,
                       struct arena *arena, struct consumer_group_describe_response_group *out)
{
    out->group_id = copy(arena, group->name);
    out->group_state = bytes_of_text(consumer_state_name(consumer_state(group)));
    out->group_epoch = group->epoch;
    out->assignment_epoch = group->target_epoch;
    out->assignor_name = consumer_assignor(group);
    out->members = arena_new_array(arena, struct consumer_group_describe_response_member,
                                   (size_t)group->member_count);
    if (out->members == NULL) {
        return false;
    }
    LIST_EACH (&group->members, node) {
        describe_member(LIST_ENTRY(node, struct consumer_member, node), catalog, arena,
                        &out->members[out->members_count++]);
    }
    return !arena->failed;
}

/* ---- offsets ---- */

static enum status check_epoch(const struct consumer_member *member, int32_t epoch)
{
    if (epoch == member->epoch) {
        return STATUS_OK;
    }
    return member->classic ? STATUS_ILLEGAL_GENERATION : STATUS_STALE_MEMBER_EPOCH;
}

enum status consumer_check_commit(const struct consumer *group,
                                  const struct consumer_commit *commit)
{
    if (commit->epoch < 0 && group->member_count == 0) {
        return STATUS_OK; /* an administrator, or a consumer that assigns itself */
    }
    if (commit->transactional && commit->epoch < 0 && commit->member_id.size == 0) {
        return STATUS_OK; /* TxnOffsetCommit need not say who its consumer is */
    }
    const struct consumer_member *member = member_find(group, commit->member_id);
    if (member == NULL) {
        return STATUS_UNKNOWN_MEMBER_ID;
    }
    if (!commit->transactional && !member->classic && commit->version < 9) {
        return STATUS_UNSUPPORTED_VERSION;
    }
    return PLANTED(MEMBER_EPOCH_IGNORED) ? STATUS_OK : check_epoch(member, commit->epoch);
}

enum status consumer_check_fetch(const struct consumer *group, struct bytes member_id,
                                 int32_t epoch)
{
    if (member_id.size == 0 && epoch < 0) {
        return STATUS_OK;
    }
    const struct consumer_member *member = member_find(group, member_id);
    if (member == NULL) {
        return STATUS_UNKNOWN_MEMBER_ID;
    }
    return check_epoch(member, epoch);
}

enum status consumer_check_delete(const struct consumer *group)
{
    return group->member_count == 0 ? STATUS_OK : STATUS_NON_EMPTY_GROUP;
}

/* ---- soundness ---- */

static void verify_set(const struct consumer *group, const struct consumer_member *member,
                       const struct parts_set *set)
{
    for (int32_t i = 0; i < set->count; i++) {
        check(i == 0 || part_compare(&set->items[i - 1], &set->items[i]) < 0);
        check(held_by(group, &set->items[i]) == member); /* I1 */
    }
}

void consumer_verify(const struct consumer *group)
{
    int32_t held_count = 0;
    int32_t member_count = 0;
    int32_t classic_count = 0;
    check_magic(group, CONSUMER_MAGIC);
    check(group->epoch >= group->target_epoch); /* I2 */
    LIST_EACH (&group->members, node) {
        const struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
        check(member_find(group, member->id) == member);
        check(member->instance_id.data == NULL ||
              member_find_instance(group, member->instance_id) == member);
        /* I2; only after a log with a hole a member may be ahead of the target. */
        check(member->epoch <= group->target_epoch || group->epoch > group->target_epoch);
        check(member->revoking.count == 0 || member->state == MEMBER_UNREVOKED);
        check(member->state != MEMBER_UNREVOKED || member->revoking.count > 0);
        check(member->pattern.size == 0 || pattern_find(group, member->pattern) != NULL);
        verify_set(group, member, &member->assigned);
        check(member->classic == (member->protocols.list.count > 0)); /* I8 */
        verify_set(group, member, &member->revoking);
        held_count += member->assigned.count + member->revoking.count;
        member_count++;
        classic_count += member->classic;
    }
    check(member_count == group->member_count);
    check(classic_count == group->classic_count);
    check((size_t)member_count == group->ids.count);
    struct table_cursor cursor;
    for (struct table_node *node = table_first(&group->held, &cursor); node != NULL;
         node = table_next(&group->held, &cursor)) {
        held_count -= CONTAINER_OF(node, struct held_range, node)->count;
    }
    check(held_count == 0);
}
