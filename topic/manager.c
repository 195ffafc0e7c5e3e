/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/manager.h"

/* Arrays of the records of one change: 100,000 partitions of a few integers each. */
#define SCRATCH_SIZE_MAX (64 * MIB)

void manager_init(struct manager *manager, const struct manager_options *options)
{
    *manager = (struct manager){
        .core = options->core,
        .store = options->store,
        .heap = options->heap,
        .diag = options->diag,
        .peers = options->peers,
        .image = options->image,
        .listener = options->listener,
    };
    arena_init(&manager->scratch, options->pages, SCRATCH_SIZE_MAX);
}

static enum status partition_start(struct manager *manager, struct image_topic *topic,
                                   int32_t index, bool fresh)
{
    struct image_partition *place = &topic->partitions[index];
    check(place->core == manager->core);
    check(place->local == NULL);
    struct partition_options options = {
        .topic = topic->name,
        .index = index,
        .topic_id = topic->id,
        .leader_epoch = place->leader_epoch,
        .fresh = fresh,
    };
    topic_config_to_partition(&topic->config, &options.config);
    enum status status = partition_open(&place->local, manager->store, &options);
    if (status != STATUS_OK) {
        place->local = NULL;
        diag_line(manager->diag, DIAG_ERROR, "topic/manager", "partition cannot be opened",
                  "partition=%s-%d status=%s remedy=\"see the line of storage above; other "
                  "partitions are served\"",
                  topic->name, index, status_name(status));
        return status;
    }
    manager->partition_count++;
    if (manager->listener.partition_opened != NULL) {
        manager->listener.partition_opened(manager->listener.context, topic, index);
    }
    return STATUS_OK;
}

int32_t manager_open_partitions(struct manager *manager, int32_t *cut_count)
{
    int32_t failures = 0;
    LIST_EACH (&manager->image->topics, node) {
        struct image_topic *topic = LIST_ENTRY(node, struct image_topic, node);
        for (int32_t i = 0; i < topic->partition_count; i++) {
            if (topic->partitions[i].core != manager->core) {
                continue;
            }
            if (partition_start(manager, topic, i, false) != STATUS_OK) {
                failures++;
                continue;
            }
            if (partition_facts(topic->partitions[i].local).epoch_bump_due) {
                (*cut_count)++;
            }
        }
    }
    return failures;
}

void manager_close_partitions(struct manager *manager, bool clean)
{
    LIST_EACH (&manager->image->topics, node) {
        struct image_topic *topic = LIST_ENTRY(node, struct image_topic, node);
        for (int32_t i = 0; i < topic->partition_count; i++) {
            struct image_partition *place = &topic->partitions[i];
            if (place->local == NULL) {
                continue;
            }
            struct partition_facts facts = partition_facts(place->local);
            place->closed_start_offset = facts.log_start_offset;
            place->closed_end_offset = facts.end_offset;
            partition_close(place->local, clean);
            place->local = NULL;
            manager->partition_count--;
        }
    }
    check(manager->partition_count == 0);
    arena_reset(&manager->scratch);
}

/* ---- taking in records ---- */

/* Lives from the removal's start until the folder's new name is on disk. */
struct manager_removal {
    struct partition_removal removal;
    struct manager *manager;
};

static void apply_finish(struct manager *manager)
{
    struct manager_apply *apply = manager->apply;
    manager->apply = NULL;
    apply->done(apply);
}

static void removal_done(struct partition_removal *removal)
{
    struct manager_removal *self = removal->owner;
    struct manager *manager = self->manager;
    heap_release(manager->heap, self, sizeof(*self));
    check(manager->removals_pending > 0);
    manager->removals_pending--;
    if (manager->removals_pending == 0) {
        apply_finish(manager);
    }
}

static void on_partition_added(void *context, struct image_topic *topic, int32_t index)
{
    struct manager *manager = context;
    if (topic->partitions[index].core == manager->core) {
        (void)!partition_start(manager, topic, index, true);
    }
}

static void on_partition_changed(void *context, struct image_topic *topic, int32_t index)
{
    (void)context;
    struct image_partition *place = &topic->partitions[index];
    if (place->local != NULL) {
        partition_set_epoch(place->local, place->leader_epoch);
    }
}

static void on_topic_configured(void *context, struct image_topic *topic)
{
    (void)context;
    struct partition_config config;
    topic_config_to_partition(&topic->config, &config);
    for (int32_t i = 0; i < topic->partition_count; i++) {
        if (topic->partitions[i].local != NULL) {
            partition_configure(topic->partitions[i].local, &config);
        }
    }
}

static void on_topic_removed(void *context, struct image_topic *topic)
{
    struct manager *manager = context;
    if (manager->listener.topic_removed != NULL) {
        manager->listener.topic_removed(manager->listener.context, topic);
    }
    for (int32_t i = 0; i < topic->partition_count; i++) {
        struct partition *local = topic->partitions[i].local;
        if (local == NULL) {
            continue;
        }
        if (manager->listener.partition_leaving != NULL) {
            manager->listener.partition_leaving(manager->listener.context, topic, i);
        }
        topic->partitions[i].local = NULL;
        manager->partition_count--;
        struct manager_removal *self = heap_acquire(manager->heap, sizeof(*self));
        if (self == NULL) {
            /* The folder is found without a topic at the next start and goes then. */
            partition_close(local, false);
            continue;
        }
        self->manager = manager;
        self->removal = (struct partition_removal){.done = removal_done, .owner = self};
        manager->removals_pending++;
        partition_remove(local, &self->removal);
    }
}

void manager_apply_batch(struct manager *manager, struct manager_apply *apply)
{
    check(manager->apply == NULL); /* W1: one change at a time */
    const struct image_listener listener = {
        .partition_added = on_partition_added,
        .partition_changed = on_partition_changed,
        .topic_configured = on_topic_configured,
        .topic_removed = on_topic_removed,
        .context = manager,
    };
    manager->apply = apply;
    manager->removals_pending = 1; /* this loop */
    apply->status = image_apply_batch(manager->image, apply->batch, &manager->scratch, &listener);
    manager->removals_pending--;
    if (manager->removals_pending == 0) {
        apply_finish(manager);
    }
}
