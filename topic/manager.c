/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/manager.h"

/* Arrays of one record, of which a few integers are ours; Kafka's may be longer. */
#define SCRATCH_SIZE_MAX (64 * MIB)
/* Partitions that are opened at the same time: enough that a disk has always something to do. */
#define OPEN_AT_ONCE 32

void manager_init(struct manager *manager, const struct manager_options *options)
{
    *manager = (struct manager){
        .core = options->core,
        .store = options->store,
        .diag = options->diag,
        .peers = options->peers,
        .image = options->image,
        .listener = options->listener,
        .pages = options->pages,
    };
    arena_init(&manager->scratch, options->pages, SCRATCH_SIZE_MAX);
}

/*
 * A record that is durable must be applied, whatever this core's clients hold: their frames may
 * have spent the whole share of requests. The arrays of one record fit a page, so a chunk is kept
 * back, and handed to the arena for as long as it decodes.
 */
static void reserve_take(struct manager *manager)
{
    if (manager->reserve == NULL) {
        manager->reserve = pages_acquire_run(manager->pages, CHUNK_SIZE, PAGES_REQUEST);
    }
}

static void reserve_release(struct manager *manager)
{
    if (manager->reserve != NULL) {
        pages_release_run(manager->pages, manager->reserve, CHUNK_SIZE, PAGES_REQUEST);
        manager->reserve = NULL;
    }
}

static enum status partition_load(struct manager *manager, struct image_topic *topic, int32_t index,
                                  bool fresh)
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
    struct partition *partition = NULL;
    enum status status = partition_open(&partition, manager->store, &options);
    place->local = status == STATUS_OK ? partition : NULL;
    return status;
}

/* What follows partition_load(). */
static void partition_admit(struct manager *manager, struct image_topic *topic, int32_t index,
                            enum status status)
{
    if (status != STATUS_OK) {
        diag_line(manager->diag, DIAG_ERROR, "topic/manager", "partition cannot be opened",
                  "partition=%s-%d status=%s remedy=\"%s; other partitions are served\"",
                  topic->name, index, status_name(status),
                  status == STATUS_NO_MEMORY ? "raise memory.bytes and start again"
                                             : "see the line of storage above");
        return;
    }
    manager->partition_count++;
    if (manager->listener.partition_opened != NULL) {
        manager->listener.partition_opened(manager->listener.context, topic, index);
    }
}

/* Walks the partitions of this core that are not open. */
struct opening {
    struct manager *manager;
    struct list_node *node; /* topic */
    int32_t index;          /* of the next partition there */
};

static void opening_init(struct opening *opening, struct manager *manager)
{
    *opening = (struct opening){.manager = manager, .node = manager->image->topics.head.next};
}

/* False: there is no other. */
static bool opening_next(struct opening *opening, struct image_topic **topic, int32_t *index)
{
    const struct manager *manager = opening->manager;
    while (opening->node != &manager->image->topics.head) {
        *topic = LIST_ENTRY(opening->node, struct image_topic, node);
        *index = opening->index;
        if (*index == (*topic)->partition_count) {
            opening->node = opening->node->next;
            opening->index = 0;
            continue;
        }
        opening->index += 1;
        const struct image_partition *place = &(*topic)->partitions[*index];
        if (place->core == manager->core && place->local == NULL) {
            return true;
        }
    }
    return false;
}

/* One of OPEN_AT_ONCE that share the walk. */
static void opening_run(void *argument)
{
    struct opening *opening = argument;
    struct image_topic *topic;
    int32_t index;
    while (opening_next(opening, &topic, &index)) {
        (void)!partition_load(opening->manager, topic, index, false);
    }
}

int32_t manager_open_partitions(struct manager *manager, int32_t *cut_count)
{
    int32_t failures = 0;
    struct opening opening;
    opening_init(&opening, manager);
    ring_overlap(manager->peers->peers[manager->core].ring, OPEN_AT_ONCE, opening_run, &opening);
    LIST_EACH (&manager->image->topics, node) {
        struct image_topic *topic = LIST_ENTRY(node, struct image_topic, node);
        for (int32_t i = 0; i < topic->partition_count; i++) {
            struct image_partition *place = &topic->partitions[i];
            if (place->core != manager->core) {
                continue;
            }
            /* Once more alone: with others at the same time the memory may have been short. */
            enum status status =
                place->local != NULL ? STATUS_OK : partition_load(manager, topic, i, false);
            partition_admit(manager, topic, i, status);
            if (status != STATUS_OK) {
                failures++;
            } else if (partition_facts(place->local).epoch_bump_due) {
                (*cut_count)++;
            }
        }
    }
    reserve_take(manager);
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
    reserve_release(manager);
}

/* ---- taking in records ---- */

static void apply_finish(struct manager *manager)
{
    struct manager_apply *apply = manager->apply;
    manager->apply = NULL;
    apply->done(apply);
}

/* The topic is gone whatever became of the folder: storage told of it. */
static void removal_done(void *owner, enum status status)
{
    struct manager *manager = owner;
    (void)status;
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
        partition_admit(manager, topic, index, partition_load(manager, topic, index, true));
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
        struct image_partition *place = &topic->partitions[i];
        if (place->core != manager->core) {
            continue;
        }
        if (place->local != NULL) {
            if (manager->listener.partition_leaving != NULL) {
                manager->listener.partition_leaving(manager->listener.context, topic, i);
            }
            manager->partition_count--;
        } else if (partition_load(manager, topic, i, true) != STATUS_OK) {
            /* It could not be opened, but its folder has to make place all the same. */
            diag_line(manager->diag, DIAG_ERROR, "topic/manager",
                      "folder of a removed partition is left: no memory",
                      "partition=%s-%d remedy=\"the next start removes it\"", topic->name, i);
            continue;
        }
        struct partition *local = place->local;
        place->local = NULL;
        manager->removals_pending++;
        partition_remove(local, removal_done, manager);
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
    reserve_release(manager);
    apply->status = image_apply_batch(manager->image, apply->batch, &manager->scratch, &listener);
    reserve_take(manager);
    manager->removals_pending--;
    if (manager->removals_pending == 0) {
        apply_finish(manager);
    }
}
