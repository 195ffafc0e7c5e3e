/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/expiry.h"

#include "broker/core.h"
#include "broker/groups/consumer_group.h"
#include "broker/groups/records.h"
#include "broker/server.h"

#define NS_PER_MS UINT64_C(1000000)
/* Tombstones of one batch: far below SHARD_APPEND_SIZE_MAX with the longest names, and a bounded
 * slice of work. The rest goes with the next look. */
#define REMOVAL_PLACES_MAX 448 /* with the rest of a removal they fit in a page */

/* ---- removals ---- */

static size_t removal_size(int32_t room)
{
    return sizeof(struct group_removal) + (size_t)room * sizeof(struct offset_place *);
}

struct group_removal *group_removal_make(struct group *group, int32_t room)
{
    struct pages *pages = group->groups->shard->core->pages;
    size_t size = removal_size(room);
    uint8_t *memory = size <= PAGE_SIZE ? pages_acquire_page(pages, PAGES_REQUEST)
                                        : pages_acquire_run(pages, size, PAGES_REQUEST);
    if (memory == NULL) {
        return NULL;
    }
    struct group_removal *removal = (struct group_removal *)(void *)memory;
    *removal = (struct group_removal){.group = group, .place_room = room};
    group_hold(group);
    return removal;
}

static void removal_free(struct group_removal *removal)
{
    struct pages *pages = removal->group->groups->shard->core->pages;
    size_t size = removal_size(removal->place_room);
    if (size <= PAGE_SIZE) {
        pages_release_page(pages, (uint8_t *)removal, PAGES_REQUEST);
    } else {
        pages_release_run(pages, (uint8_t *)removal, size, PAGES_REQUEST);
    }
}

void group_removal_add(struct group_removal *removal, struct offset_place *place)
{
    if (!place->leaving && removal->place_count < removal->place_room) {
        place->leaving = true;
        place->change_count++; /* O3: it stays until the tombstone is decided */
        removal->places[removal->place_count++] = place;
    }
}

static void removal_finish(struct group_removal *removal, enum status status)
{
    struct group *group = removal->group;
    struct groups *groups = group->groups;
    for (int32_t i = 0; i < removal->place_count; i++) {
        struct offset_place *place = removal->places[i];
        place->leaving = false;
        place->change_count--;
        if (status == STATUS_OK) {
            offsets_remove(&groups->offsets, place, removal->append.base_offset + i);
        } else {
            offsets_settle(&groups->offsets, place);
        }
    }
    /* Somebody who came meanwhile keeps it; what he writes stands behind the tombstone. */
    if (status == STATUS_OK && removal->whole && group->consumer != NULL && group->holds == 1 &&
        group_consumer_is_idle(group)) {
        group_consumer_drop(group);
    }
    if (status == STATUS_OK && removal->whole && group->classic != NULL && group->holds == 1 &&
        classic_is_idle(group->classic)) {
        classic_close(group->classic);
        group->classic = NULL;
        group_classic_arm(group);
    }
    if (removal->done != NULL) {
        removal->done(removal, status);
    }
    removal_free(removal);
    group_release(group);
}

static void removal_durable(struct shard_append *append)
{
    struct group_removal *removal = CONTAINER_OF(append, struct group_removal, append);
    removal_finish(removal, append->status);
}

static enum status removal_records(struct group_removal *removal, struct shard_record *records)
{
    struct group *group = removal->group;
    struct arena *arena = &group->groups->scratch;
    for (int32_t i = 0; i < removal->place_count; i++) {
        const struct offset_commit_key key = {
            .group = group->name,
            .topic = removal->places[i]->topic->name,
            .partition = removal->places[i]->partition,
        };
        enum status status = record_offset_commit(arena, &key, NULL, &records[i]);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* The records of the group itself, where they go too; in the scratch arena. */
static enum status whole_records(const struct group_removal *removal, struct consumer_output *out)
{
    struct group *group = removal->group;
    struct arena *arena = &group->groups->scratch;
    *out = (struct consumer_output){0};
    if (!removal->whole) {
        return STATUS_OK;
    }
    if (group->consumer != NULL) {
        enum status status = consumer_check_delete(group->consumer->machine);
        if (status == STATUS_OK) { /* else somebody came between two batches */
            consumer_erase(group->consumer->machine, arena, out);
        }
        return out->broken ? STATUS_NO_MEMORY : status;
    }
    out->records = arena_new(arena, struct shard_record);
    if (out->records == NULL) {
        return STATUS_NO_MEMORY;
    }
    out->record_count = 1;
    return record_group_metadata(arena, group->name, NULL, out->records);
}

void group_removal_start(struct group_removal *removal)
{
    struct groups *groups = removal->group->groups;
    struct consumer_output whole;
    enum status status = whole_records(removal, &whole);
    int32_t count = removal->place_count + whole.record_count;
    struct shard_record *records =
        arena_new_array(&groups->scratch, struct shard_record, (size_t)count);
    if (status == STATUS_OK) {
        status = records == NULL ? STATUS_NO_MEMORY : removal_records(removal, records);
    }
    if (status == STATUS_OK && count > 0) {
        if (whole.record_count > 0) {
            memcpy(records + removal->place_count, whole.records,
                   (size_t)whole.record_count * sizeof(*records));
        }
        removal->append = (struct shard_append){
            .records = records, .record_count = count, .done = removal_durable};
        shard_append(groups->shard, &removal->append);
    } else {
        removal_finish(removal, status);
    }
    arena_reset(&groups->scratch);
}

/* ---- a whole group ---- */

static void deletion_step(struct group_deletion *deletion);

static void deletion_stepped(struct group_removal *removal, enum status status)
{
    struct group_deletion *deletion = removal->owner;
    if (status != STATUS_OK || removal->whole) {
        deletion->done(deletion, status);
    } else {
        deletion_step(deletion);
    }
}

/* What is not here any more, and what is newer than the last batch, is not looked for again. */
static void deletion_step(struct group_deletion *deletion)
{
    struct group *group = deletion->group;
    enum status status = group_check_delete(group);
    if (status != STATUS_OK) { /* somebody came between two batches: the rest is theirs */
        deletion->done(deletion, status);
        return;
    }
    struct group_removal *removal = group_removal_make(group, REMOVAL_PLACES_MAX);
    if (removal == NULL) {
        deletion->done(deletion, STATUS_NO_MEMORY);
        return;
    }
    LIST_EACH (&group->offsets.topics, topic_node) {
        struct offset_topic *topic = LIST_ENTRY(topic_node, struct offset_topic, node);
        LIST_EACH (&topic->places, node) {
            struct offset_place *place = LIST_ENTRY(node, struct offset_place, node);
            if (offset_place_is_used(place)) {
                group_removal_add(removal, place);
            }
        }
    }
    removal->whole = removal->place_count < REMOVAL_PLACES_MAX;
    removal->done = deletion_stepped;
    removal->owner = deletion;
    group_removal_start(removal);
}

void group_delete(struct group *group, struct group_deletion *deletion,
                  void (*done)(struct group_deletion *deletion, enum status status))
{
    *deletion = (struct group_deletion){.group = group, .done = done};
    deletion_step(deletion);
}

/* ---- what is over ---- */

struct expiry {
    enum classic_expiry rule;
    int64_t state_ms;
    int64_t now_ms;
    int64_t retention_ms;
};

static struct expiry expiry_of(const struct group *group)
{
    const struct core *core = group->groups->shard->core;
    struct expiry expiry = {
        .rule = CLASSIC_EXPIRY_SINCE_COMMIT,
        .state_ms = -1,
        .now_ms = ring_wall_ms(core->ring),
        .retention_ms = (int64_t)core->server->config->offsets_retention_minutes * 60000,
    };
    if (group->classic != NULL) {
        expiry.rule = classic_expiry(group->classic);
        expiry.state_ms = classic_view(group->classic).state_wall_ms;
    }
    return expiry;
}

static bool is_over(const struct expiry *expiry, const struct offset_place *place)
{
    if (place->value.expire_ms >= 0) {
        return expiry->now_ms >= place->value.expire_ms;
    }
    int64_t since_ms = expiry->rule == CLASSIC_EXPIRY_SINCE_STATE && expiry->state_ms >= 0
                           ? expiry->state_ms
                           : place->value.commit_ms;
    return since_ms <= expiry->now_ms - expiry->retention_ms; /* since: any number of a log */
}

static void topic_expire(const struct expiry *expiry, struct offset_topic *topic,
                         struct group_removal *removal)
{
    const struct group *group = topic->group;
    if (expiry->rule == CLASSIC_EXPIRY_SINCE_COMMIT && group_subscribes(group, topic->name)) {
        return;
    }
    LIST_EACH (&topic->places, node) {
        struct offset_place *place = LIST_ENTRY(node, struct offset_place, node);
        /* A tombstone would take what a transaction has committed here (O4). */
        bool quiet = place->waiting_count == 0 && place->change_count == 0;
        if (place->committed && quiet && is_over(expiry, place)) {
            group_removal_add(removal, place);
        }
    }
}

/* Nobody is in it, and nothing of it is under way. */
static bool group_is_over(const struct group *group)
{
    return group->consumer != NULL ? group_consumer_is_idle(group)
                                   : group->classic != NULL && classic_is_idle(group->classic);
}

static void group_expire(struct group *group)
{
    struct expiry expiry = expiry_of(group);
    if (expiry.rule == CLASSIC_EXPIRY_NEVER || group->holds > 0) {
        return;
    }
    int32_t room =
        group->offsets.count < REMOVAL_PLACES_MAX ? group->offsets.count : REMOVAL_PLACES_MAX;
    struct group_removal *removal = group_removal_make(group, room);
    if (removal == NULL) {
        return; /* the next look may find memory */
    }
    LIST_EACH (&group->offsets.topics, node) {
        topic_expire(&expiry, LIST_ENTRY(node, struct offset_topic, node), removal);
    }
    removal->whole = removal->place_count == group->offsets.place_count && group_is_over(group);
    group_removal_start(removal);
}

static bool topic_is_gone(const struct groups *groups, const struct offset_topic *topic,
                          struct bytes removed)
{
    return removed.data != NULL ? bytes_equal(topic->name, removed)
                                : image_find_name(&groups->shard->core->image, topic->name) == NULL;
}

/* As many batches as it takes: what one has taken is under way, and not taken again. */
static void topic_forget(struct offset_topic *topic)
{
    int32_t batches = topic->group->offsets.place_count / REMOVAL_PLACES_MAX + 1;
    for (int32_t i = 0; i < batches; i++) {
        struct group_removal *removal = group_removal_make(topic->group, REMOVAL_PLACES_MAX);
        if (removal == NULL) {
            return;
        }
        LIST_EACH (&topic->places, node) {
            struct offset_place *place = LIST_ENTRY(node, struct offset_place, node);
            if (offset_place_is_used(place)) {
                group_removal_add(removal, place);
            }
        }
        group_removal_start(removal);
    }
}

void expiry_topic_removed(struct groups *groups, struct bytes name)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&groups->list); node != NULL; node = next) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        next = node->next == &groups->list.head ? NULL : node->next;
        group_hold(group);
        LIST_EACH (&group->offsets.topics, topic_node) {
            struct offset_topic *topic = LIST_ENTRY(topic_node, struct offset_topic, node);
            if (topic_is_gone(groups, topic, name)) {
                topic_forget(topic);
            }
        }
        group_release(group);
    }
}

void expiry_start(struct groups *groups)
{
    struct core *core = groups->shard->core;
    uint64_t interval_ms = (uint64_t)core->server->config->offsets_check_ms;
    uint64_t now_ns = ring_now_ns(core->ring);
    uint64_t interval_ns =
        interval_ms > UINT64_MAX / NS_PER_MS / 2 ? UINT64_MAX / 2 : interval_ms * NS_PER_MS;
    timer_arm(&core->timers, &groups->expiry_timer, now_ns + interval_ns);
}

void expiry_fire(struct timer *timer)
{
    struct groups *groups = CONTAINER_OF(timer, struct groups, expiry_timer);
    struct list_node *next;
    for (struct list_node *node = list_first(&groups->list); node != NULL; node = next) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        next = node->next == &groups->list.head ? NULL : node->next;
        group_expire(group); /* may free it */
    }
    expiry_start(groups);
}
