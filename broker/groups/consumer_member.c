/* SPDX-License-Identifier: Apache-2.0 */
/* Members by id and instance, and who holds which partition. */
#include <stdlib.h>

#include "broker/groups/consumer_state.h"

/* ---- texts ---- */

bool text_assign(struct heap *heap, struct bytes *text, struct bytes value)
{
    uint8_t *own = NULL;
    if (value.data != NULL) {
        own = heap_acquire(heap, value.size + 1); /* one more: an empty text is not an absent one */
        if (own == NULL) {
            return false;
        }
        memcpy(own, value.data, value.size);
    }
    text_release(heap, text);
    *text = bytes_of(own, value.size);
    return true;
}

void text_release(struct heap *heap, struct bytes *text)
{
    heap_release(heap, (void *)(uintptr_t)text->data, text->size + 1);
    *text = BYTES_NULL;
}

static int compare_names(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

bool names_assign(struct heap *heap, struct names *names, struct bytes *items, int32_t count)
{
    int32_t kept = 0;
    size_t size = 0;
    if (count > 0) {
        qsort(items, (size_t)count, sizeof(*items), compare_names);
    }
    for (int32_t i = 0; i < count; i++) {
        if (kept == 0 || !bytes_equal(items[kept - 1], items[i])) {
            items[kept++] = items[i];
            size += sizeof(struct bytes) + items[i].size;
        }
    }
    struct bytes *own = kept == 0 ? NULL : heap_acquire(heap, size);
    if (kept > 0 && own == NULL) {
        return false;
    }
    uint8_t *text = (uint8_t *)(own + kept);
    for (int32_t i = 0; i < kept; i++) {
        if (items[i].size > 0) {
            memcpy(text, items[i].data, items[i].size);
        }
        own[i] = bytes_of(text, items[i].size);
        text += items[i].size;
    }
    names_release(heap, names);
    *names = (struct names){own, kept, size};
    return true;
}

void names_release(struct heap *heap, struct names *names)
{
    heap_release(heap, names->items, names->size);
    *names = (struct names){0};
}

bool names_have(const struct names *names, struct bytes name)
{
    return names->count > 0 && bsearch(&name, names->items, (size_t)names->count,
                                       sizeof(*names->items), compare_names) != NULL;
}

bool names_equal(const struct names *a, const struct names *b)
{
    for (int32_t i = 0; i < a->count && a->count == b->count; i++) {
        if (!bytes_equal(a->items[i], b->items[i])) {
            return false;
        }
    }
    return a->count == b->count;
}

/* ---- members ---- */

struct consumer_member *member_find(const struct consumer *group, struct bytes id)
{
    struct table_node *node = table_find(&group->ids, hash_bytes(id, group->seed));
    for (; node != NULL; node = table_find_next(node)) {
        struct consumer_member *member = CONTAINER_OF(node, struct consumer_member, by_id);
        if (bytes_equal(member->id, id)) {
            return member;
        }
    }
    return NULL;
}

struct consumer_member *member_find_instance(const struct consumer *group, struct bytes instance)
{
    struct table_node *node = table_find(&group->instances, hash_bytes(instance, group->seed));
    for (; node != NULL; node = table_find_next(node)) {
        struct consumer_member *member = CONTAINER_OF(node, struct consumer_member, by_instance);
        if (bytes_equal(member->instance_id, instance)) {
            return member;
        }
    }
    return NULL;
}

struct consumer_member *member_open(struct consumer *group, struct bytes id)
{
    struct consumer_member *member = heap_acquire(group->heap, sizeof(*member));
    if (member == NULL) {
        return NULL;
    }
    if (!text_assign(group->heap, &member->id, id)) {
        heap_release(group->heap, member, sizeof(*member));
        return NULL;
    }
    member->state = MEMBER_STABLE;
    member->rebalance_ms = -1;
    member->session_deadline_ms = INT64_MAX;
    member->rebalance_deadline_ms = INT64_MAX;
    member->join_deadline_ms = INT64_MAX;
    member->sync_deadline_ms = INT64_MAX;
    member->by_id.hash = hash_bytes(id, group->seed);
    table_insert(&group->ids, &member->by_id);
    list_push_tail(&group->members, &member->node);
    group->member_count++;
    return member;
}

static void instance_leave(struct consumer *group, struct consumer_member *member)
{
    if (member->instance_id.data != NULL) {
        table_remove(&group->instances, &member->by_instance);
        text_release(group->heap, &member->instance_id);
    }
}

bool member_set_instance(struct consumer *group, struct consumer_member *member,
                         struct bytes instance)
{
    struct bytes own = BYTES_NULL;
    if (!text_assign(group->heap, &own, instance)) {
        return false;
    }
    instance_leave(group, member);
    if (own.data != NULL) {
        struct consumer_member *other = member_find_instance(group, own);
        if (other != NULL) {
            instance_leave(group, other); /* a replay meets the new member first */
        }
        member->instance_id = own;
        member->by_instance.hash = hash_bytes(own, group->seed);
        table_insert(&group->instances, &member->by_instance);
    }
    return true;
}

bool member_rename(struct consumer *group, struct consumer_member *member, struct bytes id)
{
    struct bytes own = BYTES_NULL;
    if (!text_assign(group->heap, &own, id)) {
        return false;
    }
    table_remove(&group->ids, &member->by_id);
    text_release(group->heap, &member->id);
    member->id = own;
    member->by_id.hash = hash_bytes(own, group->seed);
    table_insert(&group->ids, &member->by_id);
    return true;
}

/* ---- members of the classic protocol ---- */

void member_clear_classic(struct consumer *group, struct consumer_member *member)
{
    if (!member->classic) {
        return;
    }
    ballot_remove(&group->ballot, member->protocols.list);
    classic_protocols_free(&member->protocols, group->heap);
    member->classic = false;
    member->join_deadline_ms = INT64_MAX;
    member->sync_deadline_ms = INT64_MAX;
    group->classic_count--;
}

bool member_set_classic(struct consumer *group, struct consumer_member *member,
                        struct ballot_list list, int32_t session_ms)
{
    struct classic_protocols own;
    check(list.count > 0);
    if (!classic_protocols_copy(&own, group->heap, list)) {
        return false;
    }
    if (!ballot_add(&group->ballot, own.list)) {
        classic_protocols_free(&own, group->heap);
        return false;
    }
    member_clear_classic(group, member);
    member->classic = true;
    member->protocols = own;
    member->classic_session_ms = session_ms;
    group->classic_count++;
    return true;
}

/* ---- who holds what ---- */

static uint64_t held_hash(const struct consumer *group, const struct part *part)
{
    uint64_t hash = hash_bytes(bytes_of(&part->topic_id, sizeof(part->topic_id)), group->seed);
    return hash_u64((uint64_t)(part->index / HELD_RANGE), hash);
}

static struct held_range *held_find(const struct consumer *group, const struct part *part)
{
    struct table_node *node = table_find(&group->held, held_hash(group, part));
    for (; node != NULL; node = table_find_next(node)) {
        struct held_range *range = CONTAINER_OF(node, struct held_range, node);
        if (range->number == part->index / HELD_RANGE && uuid_equal(&range->id, &part->topic_id)) {
            return range;
        }
    }
    return NULL;
}

struct consumer_member *held_by(const struct consumer *group, const struct part *part)
{
    const struct held_range *range = held_find(group, part);
    return range == NULL ? NULL : range->owners[part->index % HELD_RANGE];
}

static void held_free(struct consumer *group, struct held_range *range)
{
    table_remove(&group->held, &range->node);
    heap_release(group->heap, range, sizeof(*range));
}

/* NULL: no memory. */
static struct held_range *held_make(struct consumer *group, const struct part *part)
{
    struct held_range *range = held_find(group, part);
    if (range == NULL) {
        range = heap_acquire(group->heap, sizeof(*range));
        if (range == NULL) {
            return NULL;
        }
        range->id = part->topic_id;
        range->number = part->index / HELD_RANGE;
        range->node.hash = held_hash(group, part);
        table_insert(&group->held, &range->node);
    }
    return range;
}

static bool held_take(struct consumer *group, struct consumer_member *member, struct parts parts)
{
    for (int32_t i = 0; i < parts.count; i++) {
        struct held_range *range = held_make(group, &parts.items[i]);
        if (range == NULL) {
            return false;
        }
        int32_t at = parts.items[i].index % HELD_RANGE;
        check(range->owners[at] == NULL); /* I1 */
        range->owners[at] = member;
        range->count++;
    }
    return true;
}

static void held_drop(struct consumer *group, struct consumer_member *member, struct parts parts)
{
    for (int32_t i = 0; i < parts.count; i++) {
        struct held_range *range = held_find(group, &parts.items[i]);
        check(range != NULL);
        int32_t at = parts.items[i].index % HELD_RANGE;
        check(range->owners[at] == member);
        range->owners[at] = NULL;
        range->count--;
        if (range->count == 0) {
            held_free(group, range);
        }
    }
}

void held_clear(struct consumer *group)
{
    struct table_cursor cursor;
    for (struct table_node *node = table_first(&group->held, &cursor); node != NULL;
         node = table_next(&group->held, &cursor)) {
        held_free(group, CONTAINER_OF(node, struct held_range, node));
    }
}

bool member_hold(struct consumer *group, struct consumer_member *member, struct parts assigned,
                 struct parts revoking)
{
    held_drop(group, member, parts_of(&member->assigned));
    held_drop(group, member, parts_of(&member->revoking));
    parts_set_release(&member->assigned, group->heap);
    parts_set_release(&member->revoking, group->heap);
    return held_take(group, member, assigned) &&
           parts_set_assign(&member->assigned, group->heap, assigned) &&
           held_take(group, member, revoking) &&
           parts_set_assign(&member->revoking, group->heap, revoking);
}

/* Those of the set that nobody holds yet; a log that gives one partition to two members is wrong,
 * and the one whose record is met first keeps it. */
static bool held_prune(struct consumer *group, struct parts_set *set)
{
    int32_t kept = 0;
    int32_t count = set->count;
    for (int32_t i = 0; i < count; i++) {
        if (held_by(group, &set->items[i]) == NULL) {
            set->items[kept++] = set->items[i];
        }
    }
    return kept == count || parts_set_assign(set, group->heap, (struct parts){set->items, kept});
}

bool held_build(struct consumer *group)
{
    check(group->held.count == 0);
    LIST_EACH (&group->members, node) {
        struct consumer_member *member = LIST_ENTRY(node, struct consumer_member, node);
        struct parts_set *sets[] = {&member->assigned, &member->revoking};
        for (size_t i = 0; i < ARRAY_COUNT(sets); i++) {
            if (!held_prune(group, sets[i]) || !held_take(group, member, parts_of(sets[i]))) {
                return false;
            }
        }
    }
    return true;
}

/* In a replay nothing is held yet: held_build() comes behind it. */
void member_close(struct consumer *group, struct consumer_member *member)
{
    if (group->held.count > 0) {
        held_drop(group, member, parts_of(&member->assigned));
        held_drop(group, member, parts_of(&member->revoking));
    }
    parts_set_release(&member->assigned, group->heap);
    parts_set_release(&member->revoking, group->heap);
    parts_set_release(&member->target, group->heap);
    names_release(group->heap, &member->names);
    member_clear_classic(group, member);
    instance_leave(group, member);
    table_remove(&group->ids, &member->by_id);
    list_remove(&member->node);
    group->member_count--;
    struct bytes *texts[] = {&member->id,          &member->rack_id,  &member->client_id,
                             &member->client_host, &member->assignor, &member->pattern};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        text_release(group->heap, texts[i]);
    }
    heap_release(group->heap, member, sizeof(*member));
}
