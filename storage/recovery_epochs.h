/* SPDX-License-Identifier: Apache-2.0 */
/* Where leader epochs began, from the headers of the whole log: for a leader-epoch-checkpoint that
 * is missing or damaged. Blocking, at the speed of reading; rot ends a segment's part of it. */
#pragma once

#include "wire/status.h"

struct partition;

enum status recovery_find_epochs(struct partition *partition);
