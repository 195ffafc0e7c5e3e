/* SPDX-License-Identifier: Apache-2.0 */
/* Between broker/groups/migration.h, which is pure, and the world: one machine of a group takes the
 * place of the other. */
#include "broker/groups/migration.h"

#include "broker/core.h"
#include "broker/groups/group.h"
#include "broker/groups/records.h"

static void change_tell(const struct group *group, const char *what, int32_t member_count)
{
    char name[GROUP_TEXT_SIZE];
    diag_line(&group->groups->shard->core->diag, DIAG_INFO, "broker/groups", what,
              "group=\"%s\" members=%d",
              diag_escape(name, sizeof(name), group->name.data, group->name.size),
              (int)member_count);
}

/* Key data NULL: it was never written. */
enum status group_upgrade_tombstone(const struct group *group, struct arena *arena,
                                    struct shard_record *tombstone)
{
    *tombstone = (struct shard_record){0};
    if (classic_view(group->classic).generation > 0 &&
        record_group_metadata(arena, group->name, NULL, tombstone) != STATUS_OK) {
        return STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    return STATUS_OK;
}

enum status group_upgrade_begin(struct group *group, struct consumer_event *event,
                                struct shard_record *tombstone, struct arena *arena,
                                const char **message)
{
    if (group->write_count > 0) { /* the report has to find the machine that asked for it */
        return STATUS_COORDINATOR_LOAD_IN_PROGRESS;
    }
    enum status status = group_consumer_make(group);
    if (status == STATUS_OK) {
        status = migration_upgrade(group->classic, event, arena, group->consumer->machine, message);
    }
    if (status == STATUS_OK) {
        status = group_upgrade_tombstone(group, arena, tombstone);
    }
    if (status != STATUS_OK) {
        group_consumer_drop(group);
        group_classic_arm(group);
        return status == STATUS_GROUP_ID_NOT_FOUND ? status : STATUS_COORDINATOR_NOT_AVAILABLE;
    }
    event->first = tombstone->key.data == NULL ? NULL : tombstone;
    event->upgraded = true;
    return STATUS_OK;
}

bool group_upgrade_end(struct group *group, const struct consumer_output *output)
{
    if (output->broken || output->answer.error_code != 0) {
        group_consumer_drop(group);
        group_classic_arm(group);
        return false;
    }
    change_tell(group, "classic group became a consumer group",
                classic_view(group->classic).member_count);
    group_classic_retire(group, STATUS_REBALANCE_IN_PROGRESS); /* they join again, and land here */
    classic_close(group->classic);
    group->classic = NULL;
    return true;
}

bool group_downgrade(struct group *group, const struct consumer_event *event, struct arena *arena,
                     struct consumer_output *output)
{
    struct groups *groups = group->groups;
    struct classic *classic = classic_open(groups->heap, random_u64(&groups->shard->core->random),
                                           &groups->classic_config);
    if (classic == NULL ||
        !migration_downgrade(group->consumer->machine, event, arena, classic, output)) {
        classic_close(classic);
        return false;
    }
    change_tell(group, "consumer group became a classic group",
                consumer_member_count(group->consumer->machine));
    group_consumer_drop(group);
    group->classic = classic;
    return true;
}

void group_downgrade_end(struct group *group)
{
    struct classic_event event = {.kind = CLASSIC_REBALANCE};
    group_classic_step(group, &event);
}
