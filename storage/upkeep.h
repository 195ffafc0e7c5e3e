/* SPDX-License-Identifier: Apache-2.0 */
/* The round of store_upkeep(): what is due by time, and what a broken partition needs. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct partition;
struct store;

/* Sizes of the private states that store_open() makes pools of. */
size_t partition_read_state_size(void);
size_t partition_lookup_state_size(void);

/* Blocks that failed their sum: looked at again, ranges made of them. Blocking. */
void upkeep_rot(struct partition *partition);
/* After a failed write: what the disk says, and a new segment. Blocking. */
void upkeep_reload(struct partition *partition);
/* Looks for weir.request where it is time. */
void upkeep_requests(struct store *store, uint64_t now_ns);
