/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members that speak the classic protocol in a consumer group. Nobody waits for anybody: a join is
 * one step of the member towards its target, and a sync tells it what it has.
 *
 *   JoinGroup   owned partitions stand in the metadata; answered with the member's epoch as its
 *               generation, and without a leader, so that no client assigns anything
 *   SyncGroup   what the member has, and nothing that it was told to give up
 *   Heartbeat   REBALANCE_IN_PROGRESS while joining again would take the member further:
 *                 its epoch is behind the group's        it learns of the new target
 *                 UNREVOKED_PARTITIONS                   it says that it gave them up
 *                 UNRELEASED_PARTITIONS, all free now    it takes them
 *
 * Who is told to join has its rebalance timeout for it, and so has who joined, to sync.
 */
#include "broker/groups/consumer_state.h"
#include "broker/groups/embedded.h"

static int32_t rebalance_ms_of(const struct classic_join *join)
{
    return join->rebalance_ms < 0 ? join->session_ms : join->rebalance_ms;
}

static int64_t rebalance_deadline_ms(const struct step *step, const struct consumer_member *member)
{
    return step->now_ms + (member->rebalance_ms < 0 ? 0 : member->rebalance_ms);
}

static void await_join(const struct step *step, struct consumer_member *member)
{
    if (member->join_deadline_ms == INT64_MAX) {
        member->join_deadline_ms = rebalance_deadline_ms(step, member);
    }
}

static void session_renew(const struct step *step, struct consumer_member *member)
{
    member->session_deadline_ms = step->now_ms + member->classic_session_ms;
}

/* By its instance, when it says one. UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID. */
static enum status member_identify(const struct consumer *group, struct bytes id,
                                   struct bytes instance_id, struct consumer_member **member)
{
    if (instance_id.data == NULL) {
        *member = member_find(group, id);
        return *member == NULL ? STATUS_UNKNOWN_MEMBER_ID : STATUS_OK;
    }
    *member = member_find_instance(group, instance_id);
    if (*member == NULL) {
        return STATUS_UNKNOWN_MEMBER_ID;
    }
    return bytes_equal((*member)->id, id) ? STATUS_OK : STATUS_FENCED_INSTANCE_ID;
}

/* ---- JoinGroup ---- */

/* What a join comes to before anything is changed. */
struct entry {
    struct bytes id; /* the member's, made when the request has none; in the arena */
    struct consumer_member *member;
    struct consumer_member *former; /* the static one that it takes the place of */
    struct consumer_protocol_subscription subscription;
    struct owned owned;
};

static struct ballot_list list_of(const struct classic_join *join)
{
    return (struct ballot_list){join->protocols, join->protocol_count};
}

static bool protocols_suit(const struct consumer *group, const struct classic_join *join)
{
    return bytes_equal(join->protocol_type, EMBEDDED_PROTOCOL_TYPE) &&
           ballot_suits(&group->ballot, list_of(join), group->classic_count);
}

static bool join_fits(const struct classic_join *join)
{
    size_t size = join->member_id.size + join->instance_id.size + join->client_id.size;
    for (int32_t i = 0; i < join->protocol_count; i++) {
        size += sizeof(join->protocols[i]) + join->protocols[i].name.size +
                join->protocols[i].metadata.size;
    }
    return size <= MEMBER_TEXT_SIZE_MAX;
}

static bool id_make(struct step *step, const struct classic_join *join, struct bytes *id)
{
    *id = join->member_id;
    if (id->size > 0) {
        return true;
    }
    char *text = arena_acquire(step->arena, UUID_TEXT_SIZE);
    if (text == NULL) {
        return step_break(step);
    }
    uuid_format(&join->uuid, text);
    *id = bytes_of_text(text);
    return true;
}

/* Who joins. A dynamic member may come with an id that is not known: it was told it by
 * MEMBER_ID_REQUIRED, or forgot that its session ended. */
static enum status entry_meet(const struct consumer *group, const struct classic_join *join,
                              struct entry *entry)
{
    entry->former = NULL;
    entry->member = member_find(group, entry->id);
    if (join->instance_id.data == NULL) {
        return STATUS_OK;
    }
    if (join->member_id.size > 0) {
        return member_identify(group, entry->id, join->instance_id, &entry->member);
    }
    entry->former = member_find_instance(group, join->instance_id);
    return STATUS_OK;
}

static enum status entry_make(struct step *step, const struct classic_join *join,
                              struct entry *entry)
{
    const struct consumer *group = step->group;
    const struct consumer_config *config = group->config;
    if (join->session_ms < config->classic->session_ms_min ||
        join->session_ms > config->classic->session_ms_max) {
        return STATUS_INVALID_SESSION_TIMEOUT;
    }
    if (!id_make(step, join, &entry->id)) {
        return STATUS_OK;
    }
    enum status status = entry_meet(group, join, entry);
    bool known = entry->member != NULL || entry->former != NULL;
    if (!known && group->member_count >= config->member_count_max) {
        return STATUS_GROUP_MAX_SIZE_REACHED;
    }
    if (!protocols_suit(group, join)) {
        return STATUS_INCONSISTENT_GROUP_PROTOCOL;
    }
    if (join->member_id.size == 0 && join->instance_id.data == NULL && join->requires_member_id) {
        return STATUS_MEMBER_ID_REQUIRED;
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (!join_fits(join)) {
        return STATUS_INVALID_REQUEST;
    }
    if (group->heap->size_max - group->heap->size < HEAP_SPARE_SIZE) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    /* Assignors add data of their own to each, but topics and partitions are the same in all. */
    status =
        embedded_subscription_read(join->protocols[0].metadata, step->arena, &entry->subscription);
    if (status == STATUS_NO_MEMORY ||
        (status == STATUS_OK &&
         !embedded_owned(&entry->subscription, step->catalog, step->arena, &entry->owned.parts))) {
        step_break(step);
        return STATUS_OK;
    }
    entry->owned.told = true;
    return status == STATUS_OK ? STATUS_OK : STATUS_UNKNOWN_SERVER_ERROR;
}

static bool protocols_update(struct step *step, struct consumer_member *member,
                             const struct classic_join *join, bool *changed)
{
    if (member->classic && member->classic_session_ms == join->session_ms &&
        classic_protocols_equal(member->protocols.list, list_of(join))) {
        return true;
    }
    *changed = true;
    return member_set_classic(step->group, member, list_of(join), join->session_ms) ||
           step_break(step);
}

static bool member_update(struct step *step, struct consumer_member *member,
                          const struct classic_join *join, struct entry *entry,
                          struct member_change *change)
{
    struct consumer_protocol_subscription *subscription = &entry->subscription;
    struct bytes rack_id = subscription->rack_id.size == 0 ? BYTES_NULL : subscription->rack_id;
    struct bytes client_id = join->client_id.data == NULL ? BYTES_LITERAL("") : join->client_id;
    bool *written = &change->written;
    if (member->rebalance_ms != rebalance_ms_of(join)) {
        *written = true;
        member->rebalance_ms = rebalance_ms_of(join);
    }
    return instance_update(step, member, join->instance_id, written) &&
           text_update(step, &member->rack_id, rack_id, written) &&
           text_update(step, &member->client_id, client_id, written) &&
           text_update(step, &member->client_host, join->client_host, written) &&
           protocols_update(step, member, join, written) &&
           names_update(step, member, subscription->topics, subscription->topics_count,
                        &change->subscription) &&
           pattern_update(step, member, BYTES_LITERAL(""), &change->subscription);
}

/* A static member that takes the place of the last one that spoke the newer protocol: the group
 * changes its kind around it. */
static bool join_downgrades(struct step *step, struct consumer_member *member)
{
    if (!consumer_may_downgrade(step->group)) {
        return false;
    }
    step->out->downgrade = true;
    step->out->reason = "the last member of the newer protocol was replaced";
    member->epoch = step->group->epoch;
    return true;
}

static bool join_run(struct step *step, struct classic_join *join, struct entry *entry)
{
    bool joined = entry->former != NULL || entry->member == NULL;
    bool was_newer = entry->former != NULL && !entry->former->classic;
    bool moved;
    struct consumer_member *member = member_enter(step, entry->member, entry->former, entry->id);
    if (member == NULL) {
        return false;
    }
    struct member_change change = {.joined = joined, .fresh = joined && member_is_bare(member)};
    if (!member_update(step, member, join, entry, &change)) {
        return false;
    }
    bool downgrades = was_newer && join_downgrades(step, member);
    if (!downgrades && (!member_commit(step, member, &change) ||
                        !member_proceed(step, member, &entry->owned, joined, &moved))) {
        return false;
    }
    session_renew(step, member);
    member->join_deadline_ms = INT64_MAX;
    member->sync_deadline_ms = rebalance_deadline_ms(step, member);
    join->answer.generation = member->epoch;
    join->answer.protocol_type = EMBEDDED_PROTOCOL_TYPE;
    join->answer.protocol = member->protocols.list.protocols[0].name;
    join->answer.member_id = member->id;
    return true;
}

void consumer_join_step(struct step *step, struct classic_join *join)
{
    struct entry entry = {0};
    join->answer.generation = -1;
    join->answer.protocol_type = BYTES_NULL;
    join->answer.protocol = BYTES_NULL;
    join->answer.leader = BYTES_LITERAL("");
    join->answer.member_id = join->member_id;
    join->answer.skip_assignment = false;
    join->answer.lists_members = false;
    enum status status = step_status(step, entry_make(step, join, &entry));
    if (status == STATUS_OK) {
        step->touched = true;
        (void)join_run(step, join, &entry); /* step->refused says */
        status = step_status(step, STATUS_OK);
    } else if (status == STATUS_MEMBER_ID_REQUIRED) {
        join->answer.member_id = entry.id;
    }
    join->answer.status = status;
}

/* ---- SyncGroup, Heartbeat ---- */

static enum status member_check(const struct consumer *group, const struct classic_call *call,
                                struct consumer_member **member)
{
    enum status status = member_identify(group, call->member_id, call->instance_id, member);
    if (status != STATUS_OK) {
        return status;
    }
    if (!(*member)->classic) {
        return STATUS_UNKNOWN_MEMBER_ID;
    }
    return call->generation == (*member)->epoch ? STATUS_OK : STATUS_ILLEGAL_GENERATION;
}

static bool differs(struct bytes said, struct bytes actual)
{
    return said.data != NULL && !bytes_equal(said, actual);
}

static enum status sync(struct step *step, struct classic_sync *sync)
{
    struct consumer_member *member;
    const struct classic_call call = {
        .member_id = sync->member_id,
        .instance_id = sync->instance_id,
        .generation = sync->generation,
    };
    enum status status = member_check(step->group, &call, &member);
    if (status != STATUS_OK) {
        return status;
    }
    const struct join_group_request_protocol *protocol = member->protocols.list.protocols;
    if (differs(sync->protocol_type, EMBEDDED_PROTOCOL_TYPE) ||
        differs(sync->protocol, protocol->name)) {
        return STATUS_INCONSISTENT_GROUP_PROTOCOL;
    }
    /* One that is to revoke has joined for this epoch, and joins again when it has done so. */
    if (step->group->epoch > member->epoch && member->state != MEMBER_UNREVOKED) {
        await_join(step, member);
        return STATUS_REBALANCE_IN_PROGRESS;
    }
    struct bytes assignment = embedded_assignment_make(
        parts_of(&member->assigned), protocol->metadata, step->catalog, step->arena);
    if (assignment.data == NULL) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    member->sync_deadline_ms = INT64_MAX;
    session_renew(step, member);
    sync->answer.protocol_type = sync->protocol_type;
    sync->answer.protocol = sync->protocol;
    sync->answer.assignment = assignment;
    return STATUS_OK;
}

void consumer_sync_step(struct step *step, struct classic_sync *request)
{
    request->answer.protocol_type = BYTES_NULL;
    request->answer.protocol = BYTES_NULL;
    request->answer.assignment = BYTES_LITERAL("");
    request->answer.status = sync(step, request);
}

/* What it waits for is held by nobody any more. */
static bool all_is_free(const struct consumer *group, const struct consumer_member *member)
{
    for (int32_t i = 0; i < member->target.count; i++) {
        const struct consumer_member *owner = held_by(group, &member->target.items[i]);
        if (owner != NULL && owner != member) {
            return false;
        }
    }
    return true;
}

void consumer_call_step(struct step *step, struct classic_call *call)
{
    const struct consumer *group = step->group;
    const struct member_change nothing = {.joined = false};
    struct consumer_member *member;
    call->status = member_check(group, call, &member);
    if (call->status != STATUS_OK) {
        return;
    }
    session_renew(step, member);
    step->touched = true;
    if (!member_commit(step, member, &nothing)) { /* topics may have changed */
        call->status = STATUS_COORDINATOR_NOT_AVAILABLE;
        return;
    }
    if (member->epoch < group->epoch || member->state == MEMBER_UNREVOKED ||
        (member->state == MEMBER_UNRELEASED && all_is_free(group, member))) {
        await_join(step, member);
        call->status = STATUS_REBALANCE_IN_PROGRESS;
    }
}

/* ---- LeaveGroup ---- */

/* Administrators name the instance alone. */
static enum status leaver_find(const struct consumer *group, const struct classic_leaver *leaver,
                               struct consumer_member **member)
{
    if (leaver->member_id.size == 0 && leaver->instance_id.data != NULL) {
        *member = member_find_instance(group, leaver->instance_id);
        return *member == NULL ? STATUS_UNKNOWN_MEMBER_ID : STATUS_OK;
    }
    return member_identify(group, leaver->member_id, leaver->instance_id, member);
}

void consumer_leave_step(struct step *step, struct classic_leaver *leavers, int32_t count)
{
    bool left = false;
    for (int32_t i = 0; i < count; i++) {
        struct consumer_member *member;
        leavers[i].status = leaver_find(step->group, &leavers[i], &member);
        if (leavers[i].status == STATUS_OK) {
            step->touched = true;
            left = true;
            if (!member_remove(step, member)) {
                return;
            }
        }
    }
    if (left) {
        (void)members_left(step, "a member left"); /* step->refused says */
    }
}
