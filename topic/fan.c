/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's way to the owner cores and back. Who may touch a group when:
 *
 *   home core            owner core
 *   fan_add, fan_send -> group_arrived, tasks run, group_ended
 *   group_returned    <- (one message)
 *
 * While watching, the owner may end a group by itself and home may cancel it: the cancel message
 * has its own node and is always acknowledged, so home knows when no message of the group is under
 * way.
 */
#include "storage/producers.h"
#include "topic/manager.h"

static struct manager *owner_of(const struct fan_group *group)
{
    return group->fan->manager->peers->peers[group->core].manager;
}

void fan_init(struct fan *fan, struct manager *manager, struct arena *arena)
{
    *fan = (struct fan){.manager = manager, .arena = arena, .read_size_max = UINT64_MAX};
}

static struct fan_group *fan_group_for(struct fan *fan, int32_t core)
{
    for (int32_t i = 0; i < fan->group_count; i++) {
        if (fan->groups[i]->core == core) {
            return fan->groups[i];
        }
    }
    struct fan_group *group = arena_new(fan->arena, struct fan_group);
    if (group != NULL) {
        group->fan = fan;
        group->core = core;
        fan->groups[fan->group_count++] = group;
    }
    return group;
}

enum status fan_add(struct fan *fan, struct task *task, const struct image_topic *topic)
{
    if (topic == NULL || task->index < 0 || task->index >= topic->partition_count) {
        task->status = STATUS_UNKNOWN_TOPIC_OR_PARTITION;
        return task->status;
    }
    task->topic_id = topic->id;
    task->core = topic->partitions[task->index].core;
    struct fan_group *group = fan_group_for(fan, task->core);
    if (group == NULL) {
        task->status = STATUS_NO_MEMORY;
        return task->status;
    }
    task->group = group;
    task->status = STATUS_OK;
    task->next = NULL;
    if (group->last == NULL) {
        group->first = task;
    } else {
        group->last->next = task;
    }
    group->last = task;
    fan->task_count++;
    return STATUS_OK;
}

static void fan_count_down(struct fan *fan)
{
    check(fan->group_pending > 0);
    fan->group_pending--;
    if (fan->group_pending == 0) {
        fan->done(fan);
    }
}

/* The first group whose watch ended ends the others. */
static void group_home(struct fan_group *group)
{
    if (group->fan->watching) {
        fan_unwatch(group->fan);
    }
    fan_count_down(group->fan);
}

static void group_returned(struct mail *mail)
{
    group_home(CONTAINER_OF(mail, struct fan_group, mail));
}

/* Owner core: nothing of the group is under way here any more. */
static void group_ended(struct fan_group *group)
{
    const struct manager *home = group->fan->manager;
    if (group->core == home->core) {
        group_home(group);
        return;
    }
    group->mail.deliver = group_returned;
    peers_send(home->peers, home->core, &group->mail);
}

static void task_finished(struct task *task)
{
    struct fan_group *group = task->group;
    check(group->task_pending > 0);
    group->task_pending--;
    if (group->task_pending == 0) {
        group_ended(group);
    }
}

static void append_done(struct partition_append *append)
{
    struct task *task = append->owner;
    task->status = append->status;
    task_finished(task);
}

static void lookup_done(struct partition_lookup *lookup)
{
    struct task *task = lookup->owner;
    task->status = lookup->status;
    task_finished(task);
}

/* Kafka's rule: a client that knows a newer epoch than we is ahead of us, an older one is behind.
 */
static enum status epoch_check(const struct task *task)
{
    if (task->leader_epoch_asked < 0 || task->leader_epoch_asked == task->leader_epoch) {
        return STATUS_OK;
    }
    return task->leader_epoch_asked < task->leader_epoch ? STATUS_FENCED_LEADER_EPOCH
                                                         : STATUS_UNKNOWN_LEADER_EPOCH;
}

static enum status task_find(struct manager *manager, struct task *task)
{
    struct image_topic *topic = image_find_id(manager->image, &task->topic_id);
    if (topic == NULL || task->index >= topic->partition_count) {
        return STATUS_UNKNOWN_TOPIC_OR_PARTITION;
    }
    struct image_partition *place = &topic->partitions[task->index];
    if (place->local == NULL) {
        return STATUS_KAFKA_STORAGE_ERROR;
    }
    task->partition = place->local;
    task->leader_epoch = place->leader_epoch;
    return epoch_check(task);
}

static void reads_step(struct fan_group *group); /* mutual recursion with read_done() */

static void read_done(struct partition_read *read)
{
    struct task *task = read->owner;
    struct fan_group *group = task->group;
    task->status = read->status;
    group->size_left -= read->size < group->size_left ? read->size : group->size_left;
    group->found = group->found || read->size > 0;
    group->running = task->next;
    group->task_pending--;
    if (!group->stepping) {
        reads_step(group);
    }
}

/* One read after the other, so that later ones know what is left of the request's budget. A read
 * that is done at once comes back through read_done() while `stepping`, and the loop goes on. */
static void reads_step(struct fan_group *group)
{
    struct manager *manager = owner_of(group);
    group->stepping = true;
    while (group->running != NULL) {
        struct task *task = group->running;
        int32_t pending = group->task_pending;
        task->status = task_find(manager, task);
        if (task->status != STATUS_OK) {
            task->read.size = 0;
            group->running = task->next;
            group->task_pending--;
            continue;
        }
        task->read_held = true;
        task->read.owner = task;
        task->read.done = read_done;
        if (task->read.size_max > group->size_left) {
            task->read.size_max = (uint32_t)group->size_left;
            task->read.first_whole = !group->found || group->size_left > 0; /* KIP-74 */
        }
        partition_read(task->partition, &task->read);
        if (group->task_pending == pending) {
            group->stepping = false; /* from disk: read_done() steps on */
            return;
        }
    }
    group->stepping = false;
    check(group->task_pending == 0);
    group_ended(group);
}

static void task_start(struct manager *manager, struct task *task)
{
    task->status = task_find(manager, task);
    if (task->status != STATUS_OK) {
        task_finished(task);
        return;
    }
    switch (task->kind) {
    case TASK_APPEND:
        task->append.owner = task;
        task->append.done = append_done;
        partition_append(task->partition, &task->append);
        return;
    case TASK_LOOKUP:
        task->lookup.owner = task;
        task->lookup.done = lookup_done;
        partition_lookup(task->partition, &task->lookup);
        return;
    case TASK_EPOCH_END:
        task->epoch_end.end = partition_epoch_end(task->partition, task->epoch_end.epoch);
        task_finished(task);
        return;
    case TASK_PRODUCERS:
        task->producers.count = producers_list(partition_producers(task->partition),
                                               task->producers.views, task->producers.room);
        task_finished(task);
        return;
    case TASK_READ:
        break;
    }
    unreachable();
}

static void group_run(struct fan_group *group)
{
    struct manager *manager = owner_of(group);
    check(group->task_pending == 0);
    int32_t count = 0;
    for (struct task *task = group->first; task != NULL; task = task->next) {
        count++;
    }
    if (group->first->kind == TASK_READ) {
        group->task_pending = count;
        group->size_left = group->fan->read_size_max;
        group->found = false;
        group->running = group->first;
        reads_step(group);
        return;
    }
    group->task_pending = count + 1; /* one for this loop: the group ends behind it */
    struct task *next;
    for (struct task *task = group->first; task != NULL; task = next) {
        next = task->next;
        task_start(manager, task);
    }
    group->task_pending--;
    if (group->task_pending == 0) {
        group_ended(group);
    }
}

static void group_arrived(struct mail *mail)
{
    group_run(CONTAINER_OF(mail, struct fan_group, mail));
}

/* Sends every group; the extra count keeps fan->done behind the loop. */
static void fan_start(struct fan *fan, void (*run)(struct fan_group *),
                      void (*arrived)(struct mail *))
{
    check(fan->group_pending == 0);
    fan->group_pending = fan->group_count + 1;
    for (int32_t i = 0; i < fan->group_count; i++) {
        struct fan_group *group = fan->groups[i];
        if (group->core == fan->manager->core) {
            continue;
        }
        group->mail.deliver = arrived;
        peers_send(fan->manager->peers, group->core, &group->mail);
    }
    for (int32_t i = 0; i < fan->group_count; i++) {
        if (fan->groups[i]->core == fan->manager->core) {
            run(fan->groups[i]);
        }
    }
    fan_count_down(fan);
}

void fan_send(struct fan *fan, void (*done)(struct fan *fan))
{
    fan->done = done;
    fan_start(fan, group_run, group_arrived);
}

/* ---- watches ---- */

static void group_stop_watching(struct fan_group *group)
{
    for (struct task *task = group->first; task != NULL; task = task->next) {
        partition_watch_remove(&task->watch);
    }
    group->watching = false;
}

static void watch_fired(struct partition_watch *watch)
{
    struct task *task = watch->owner;
    struct fan_group *group = task->group;
    if (!group->watching) {
        return; /* fired inside partition_watch_add(): the loop there looks */
    }
    group_stop_watching(group);
    group_ended(group);
}

static void group_watch(struct fan_group *group)
{
    struct manager *manager = owner_of(group);
    group->watching = false;
    bool fired = false;
    for (struct task *task = group->first; task != NULL && !fired; task = task->next) {
        list_node_init(&task->watch.node);
        if (task_find(manager, task) != STATUS_OK) {
            fired = true;
            break;
        }
        task->watch.owner = task;
        task->watch.fire = watch_fired;
        partition_watch_add(task->partition, &task->watch);
        fired = !list_is_linked(&task->watch.node);
    }
    if (fired) {
        group_stop_watching(group);
        group_ended(group);
        return;
    }
    group->watching = true;
}

static void group_watch_arrived(struct mail *mail)
{
    group_watch(CONTAINER_OF(mail, struct fan_group, mail));
}

static void group_cancel_returned(struct mail *mail)
{
    fan_count_down(CONTAINER_OF(mail, struct fan_group, cancel)->fan);
}

/* Owner core. Ended groups have sent their message before this answer leaves, so it arrives first.
 */
static void group_cancel_arrived(struct mail *mail)
{
    struct fan_group *group = CONTAINER_OF(mail, struct fan_group, cancel);
    if (group->watching) {
        group_stop_watching(group);
        group_ended(group);
    }
    const struct manager *home = group->fan->manager;
    group->cancel.deliver = group_cancel_returned;
    peers_send(home->peers, home->core, &group->cancel);
}

void fan_watch(struct fan *fan, void (*done)(struct fan *fan))
{
    fan->done = done;
    fan->watching = true;
    for (int32_t i = 0; i < fan->group_count; i++) {
        for (struct task *task = fan->groups[i]->first; task != NULL; task = task->next) {
            list_node_init(&task->watch.node);
        }
    }
    fan_start(fan, group_watch, group_watch_arrived);
}

void fan_unwatch(struct fan *fan)
{
    if (!fan->watching) {
        return;
    }
    fan->watching = false;
    fan->group_pending++; /* keeps done() behind the loop */
    for (int32_t i = 0; i < fan->group_count; i++) {
        struct fan_group *group = fan->groups[i];
        if (group->core != fan->manager->core) {
            fan->group_pending++;
            group->cancel.deliver = group_cancel_arrived;
            peers_send(fan->manager->peers, group->core, &group->cancel);
        } else if (group->watching) {
            group_stop_watching(group);
            fan_count_down(fan);
        }
    }
    fan_count_down(fan);
}

/* ---- release ---- */

static void group_release(struct fan_group *group)
{
    for (struct task *task = group->first; task != NULL; task = task->next) {
        if (task->read_held) {
            partition_read_release(task->partition, &task->read);
            task->read_held = false;
        }
    }
    group_ended(group);
}

static void group_release_arrived(struct mail *mail)
{
    group_release(CONTAINER_OF(mail, struct fan_group, mail));
}

void fan_release(struct fan *fan, void (*done)(struct fan *fan))
{
    fan->done = done;
    fan_start(fan, group_release, group_release_arrived);
}
