/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/classic.h"

#include "base/check.h"

const char *classic_state_name(enum classic_state state)
{
    static const char *const names[] = {
        [CLASSIC_EMPTY] = "Empty",
        [CLASSIC_PREPARING_REBALANCE] = "PreparingRebalance",
        [CLASSIC_COMPLETING_REBALANCE] = "CompletingRebalance",
        [CLASSIC_STABLE] = "Stable",
        [CLASSIC_DEAD] = "Dead",
    };
    check((size_t)state < ARRAY_COUNT(names));
    return names[state];
}
