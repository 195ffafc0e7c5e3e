/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/migration.h"

#include "broker/groups/classic_state.h"
#include "broker/groups/consumer_state.h"
#include "broker/groups/embedded.h"
#include "broker/groups/records.h"

/* An epoch must leave room for a long life; see consumer_record.c. */
#define GENERATION_LIMIT (1 << 29)

/* ---- upgrade ---- */

static const char *why_not(const struct classic *from, const struct consumer_config *config)
{
    struct classic_view view = classic_view(from);
    if (!config->upgrade) {
        return "The group is a classic one, and the policy of migration forbids to upgrade it.";
    }
    if (!bytes_equal(view.protocol_type, EMBEDDED_PROTOCOL_TYPE)) {
        return "The group is a classic one whose members are not consumers.";
    }
    if (view.member_count > config->member_count_max) {
        return "The group is a classic one with more members than a consumer group may have.";
    }
    if (view.generation < 0 || view.generation >= GENERATION_LIMIT) {
        return "The group is a classic one whose generation is too high for an epoch.";
    }
    return NULL;
}

/* Of the chosen protocol; of its first one when it came after the choice. */
static struct bytes metadata_of(const struct classic_member_view *member)
{
    return member->metadata.size > 0 ? member->metadata : member->protocols[0].metadata;
}

static size_t size_of(const struct classic_member_view *member)
{
    size_t size = member->member_id.size + member->instance_id.size + member->client_id.size;
    for (int32_t i = 0; i < member->protocol_count; i++) {
        size += sizeof(member->protocols[i]) + member->protocols[i].name.size +
                member->protocols[i].metadata.size;
    }
    return size;
}

/* What a classic member has said and was given. */
struct reading {
    struct consumer_protocol_subscription subscription;
    struct consumer_protocol_assignment assignment;
    struct parts assigned;
};

static enum status member_read(const struct classic_member_view *view,
                               const struct consumer_event *event, int32_t generation,
                               struct arena *arena, struct reading *reading)
{
    enum status status =
        embedded_subscription_read(metadata_of(view), arena, &reading->subscription);
    if (status == STATUS_OK) {
        status = embedded_assignment_read(view->assignment, arena, &reading->assignment);
    }
    if (status != STATUS_OK) {
        return status;
    }
    return embedded_assigned(&reading->assignment, event->catalog, generation, arena,
                             &reading->assigned)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

static bool member_fill(struct consumer *to, const struct classic_member_view *view,
                        struct reading *reading, struct consumer_member *member)
{
    struct heap *heap = to->heap;
    struct consumer_protocol_subscription *subscription = &reading->subscription;
    struct bytes rack_id = subscription->rack_id.size == 0 ? BYTES_NULL : subscription->rack_id;
    struct bytes client_id = view->client_id.data == NULL ? BYTES_LITERAL("") : view->client_id;
    member->rebalance_ms = view->rebalance_ms;
    return member_set_instance(to, member, view->instance_id) &&
           text_assign(heap, &member->rack_id, rack_id) &&
           text_assign(heap, &member->client_id, client_id) &&
           text_assign(heap, &member->client_host, view->client_host) &&
           names_assign(heap, &member->names, subscription->topics, subscription->topics_count) &&
           member_set_classic(to, member,
                              (struct ballot_list){view->protocols, view->protocol_count},
                              view->session_ms) &&
           parts_set_assign(&member->assigned, heap, reading->assigned) &&
           parts_set_assign(&member->target, heap, reading->assigned);
}

static enum status member_upgrade(struct consumer *to, const struct classic_member_view *view,
                                  const struct consumer_event *event, struct arena *arena,
                                  const char **message)
{
    struct reading reading;
    if (view->protocol_count == 0 || size_of(view) > MEMBER_TEXT_SIZE_MAX) {
        *message = "The group is a classic one with a member that a consumer group cannot have.";
        return STATUS_GROUP_ID_NOT_FOUND;
    }
    enum status status = member_read(view, event, to->epoch, arena, &reading);
    if (status == STATUS_NO_MEMORY) {
        return status;
    }
    if (status != STATUS_OK) {
        *message = "The group is a classic one whose embedded consumer protocol cannot be read.";
        return STATUS_GROUP_ID_NOT_FOUND;
    }
    if (reading.assignment.user_data.size > 0) {
        *message = "The group is a classic one whose assignor keeps data of its own, which would "
                   "be lost.";
        return STATUS_GROUP_ID_NOT_FOUND;
    }
    struct consumer_member *member = member_open(to, view->member_id);
    if (member == NULL || !member_fill(to, view, &reading, member)) {
        return STATUS_NO_MEMORY;
    }
    member->epoch = to->epoch;
    member->previous_epoch = to->epoch;
    member->session_deadline_ms = event->now_ms + view->session_ms;
    return STATUS_OK;
}

/* A cooperative member keeps what it has while it joins again, and what it was assigned is
 * forgotten when that join is for nothing: what it said that it has then, and nobody else was
 * given, is still with it. */
static enum status member_keep(struct consumer *to, const struct classic_member_view *view,
                               const struct consumer_event *event, struct arena *arena)
{
    struct consumer_member *member = member_find(to, view->member_id);
    struct consumer_protocol_subscription subscription;
    struct parts owned;
    struct parts assigned = parts_of(&member->assigned);
    enum status status = embedded_subscription_read(metadata_of(view), arena, &subscription);
    if (status != STATUS_OK || !embedded_owned(&subscription, event->catalog, arena, &owned)) {
        return STATUS_NO_MEMORY; /* it could be read before */
    }
    struct part *items =
        arena_new_array(arena, struct part, (size_t)assigned.count + (size_t)owned.count);
    if (items == NULL) {
        return STATUS_NO_MEMORY;
    }
    int32_t count = parts_filter(assigned, assigned, true, items);
    for (int32_t i = 0; i < owned.count; i++) {
        if (held_by(to, &owned.items[i]) == NULL) {
            items[count] = owned.items[i];
            items[count++].epoch = to->epoch;
        }
    }
    if (count == assigned.count) {
        return STATUS_OK;
    }
    struct parts all = {items, parts_sort(items, count)};
    return member_hold(to, member, all, (struct parts){NULL, 0}) &&
                   parts_set_assign(&member->target, to->heap, all)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

enum status migration_upgrade(const struct classic *from, const struct consumer_event *event,
                              struct arena *arena, struct consumer *to, const char **message)
{
    check(to->member_count == 0);
    *message = why_not(from, to->config);
    if (*message != NULL) {
        return STATUS_GROUP_ID_NOT_FOUND;
    }
    to->epoch = classic_view(from).generation;
    to->target_epoch = to->epoch;
    for (const struct classic_member *member = classic_member_next(from, NULL); member != NULL;
         member = classic_member_next(from, member)) {
        struct classic_member_view view = classic_member_view(from, member);
        enum status status = member_upgrade(to, &view, event, arena, message);
        if (status != STATUS_OK) {
            return status;
        }
    }
    /* A leader may have given one partition to two members: the first keeps it. */
    enum status status = held_build(to) ? STATUS_OK : STATUS_NO_MEMORY;
    for (const struct classic_member *member = classic_member_next(from, NULL);
         member != NULL && status == STATUS_OK; member = classic_member_next(from, member)) {
        struct classic_member_view view = classic_member_view(from, member);
        status = member_keep(to, &view, event, arena);
    }
    return status;
}

/* ---- downgrade ---- */

static bool member_downgrade(const struct consumer_member *from, const struct consumer_event *event,
                             struct classic *to)
{
    struct classic_member *member =
        classic_member_open(to->heap, &(struct classic_texts){
                                          .id = from->id,
                                          .instance_id = from->instance_id,
                                          .client_id = from->client_id,
                                          .client_host = from->client_host,
                                      });
    if (member == NULL) {
        return false;
    }
    if (!classic_protocols_copy(&member->protocols, to->heap, from->protocols.list) ||
        !ballot_add(&to->ballot, member->protocols.list)) {
        classic_member_close(member, to->heap);
        return false;
    }
    member->session_ms = from->classic_session_ms;
    member->rebalance_ms = from->rebalance_ms < 0 ? from->classic_session_ms : from->rebalance_ms;
    to->now_ms = event->now_ms;
    classic_link(to, member);
    classic_arm_session(to, member, member->session_ms);
    return true;
}

/* What it holds, as a leader would have assigned it: nobody else may be given that before it has
 * joined again. The target, which Kafka takes, may be far from it. */
static bool assignment_downgrade(const struct consumer_member *from,
                                 const struct consumer_event *event, struct arena *arena,
                                 struct classic *to)
{
    struct classic_member *member = classic_find(to, from->id);
    struct bytes metadata = classic_member_view(to, member).metadata;
    const struct parts_set *sets[] = {&from->assigned, &from->revoking};
    struct part *items = arena_new_array(
        arena, struct part, (size_t)from->assigned.count + (size_t)from->revoking.count);
    int32_t count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(sets) && items != NULL; i++) {
        for (int32_t k = 0; k < sets[i]->count; k++) {
            items[count++] = sets[i]->items[k];
        }
    }
    if (items == NULL) {
        return false;
    }
    struct parts held = {items, parts_sort(items, count)};
    struct bytes assignment = embedded_assignment_make(held, metadata, event->catalog, arena);
    return assignment.data != NULL && classic_blob_copy(&member->assignment, to->heap, assignment);
}

static bool group_downgrade(struct consumer *from, const struct consumer_event *event,
                            struct arena *arena, struct classic *to)
{
    if (!classic_blob_copy(&to->protocol_type, to->heap, EMBEDDED_PROTOCOL_TYPE)) {
        return false;
    }
    LIST_EACH (&from->members, node) {
        if (!member_downgrade(LIST_ENTRY(node, struct consumer_member, node), event, to)) {
            return false;
        }
    }
    to->generation = from->epoch;
    to->wall_ms = event->wall_ms;
    classic_set_protocol(to, classic_elect_protocol(to));
    classic_set_state(to, CLASSIC_STABLE);
    LIST_EACH (&from->members, node) {
        if (!assignment_downgrade(LIST_ENTRY(node, struct consumer_member, node), event, arena,
                                  to)) {
            return false;
        }
    }
    return true;
}

bool migration_downgrade(struct consumer *from, const struct consumer_event *event,
                         struct arena *arena, struct classic *to, struct consumer_output *output)
{
    struct step step = {
        .group = from,
        .wall_ms = event->wall_ms,
        .catalog = event->catalog,
        .arena = arena,
        .out = output,
        .touched = true,
    };
    struct group_metadata_value value;
    struct shard_record record;
    check(from->member_count > 0 && from->classic_count == from->member_count);
    if (!group_downgrade(from, event, arena, to)) {
        return false;
    }
    LIST_EACH (&from->members, node) {
        if (!write_member_gone(&step, LIST_ENTRY(node, struct consumer_member, node))) {
            return false;
        }
    }
    LIST_EACH (&from->patterns, node) {
        if (!write_pattern_gone(&step, LIST_ENTRY(node, struct consumer_pattern, node)->text)) {
            return false;
        }
    }
    if (!write_group_gone(&step) || classic_value(to, arena, &value) != STATUS_OK) {
        return false;
    }
    value.leader = BYTES_NULL; /* M3 */
    return record_group_metadata(arena, from->name, &value, &record) == STATUS_OK &&
           write_record(&step, &record);
}
