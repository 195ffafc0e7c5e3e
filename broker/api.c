/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/api.h"

#include "base/check.h"
#include "wire/add_offsets_to_txn.h"
#include "wire/add_partitions_to_txn.h"
#include "wire/api_versions.h"
#include "wire/consumer_group_describe.h"
#include "wire/consumer_group_heartbeat.h"
#include "wire/create_topics.h"
#include "wire/delete_groups.h"
#include "wire/delete_topics.h"
#include "wire/describe_cluster.h"
#include "wire/describe_configs.h"
#include "wire/describe_groups.h"
#include "wire/describe_producers.h"
#include "wire/describe_transactions.h"
#include "wire/end_txn.h"
#include "wire/fetch.h"
#include "wire/find_coordinator.h"
#include "wire/heartbeat.h"
#include "wire/init_producer_id.h"
#include "wire/join_group.h"
#include "wire/leave_group.h"
#include "wire/list_groups.h"
#include "wire/list_offsets.h"
#include "wire/list_transactions.h"
#include "wire/metadata.h"
#include "wire/offset_commit.h"
#include "wire/offset_delete.h"
#include "wire/offset_fetch.h"
#include "wire/offset_for_leader_epoch.h"
#include "wire/produce.h"
#include "wire/sync_group.h"
#include "wire/txn_offset_commit.h"
#include "wire/write_txn_markers.h"

static const struct api ROWS[] = {
#define API(NAME, function, advertised, min, max)                                                  \
    {NAME##_KEY, #NAME, advertised, min, max, NAME##_FLEXIBLE_FIRST, handle_##function},
#include "broker/api.def"
#undef API
};

#define API(NAME, function, advertised, min, max)                                                  \
    _Static_assert((min) >= NAME##_VERSION_MIN && (max) <= NAME##_VERSION_MAX, "codec has it");
#include "broker/api.def"
#undef API

const struct api *api_rows(int32_t *count)
{
    *count = (int32_t)ARRAY_COUNT(ROWS);
    return ROWS;
}

/* Some thirty rows in order of key, the busiest first: a scan beats a table of 95 mostly empty
 * slots. */
const struct api *api_find(int16_t key)
{
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        if (ROWS[i].key == key) {
            return &ROWS[i];
        }
    }
    return NULL;
}

bool api_check(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        if (ROWS[i].handle == NULL || ROWS[i].version_min > ROWS[i].version_max) {
            return false;
        }
        if (ROWS[i].version_advertised > ROWS[i].version_min) {
            return false;
        }
    }
    return true;
}
