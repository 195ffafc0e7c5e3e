/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/retention.h"

#include "base/check.h"

/* The rules run one after the other, each over what the one before left, and each ends at the first
 * segment it does not want. Going oldest first, that is one walk that never steps back to a rule.
 */
enum rule { RULE_LOG_START, RULE_SIZE, RULE_TIME, RULE_NONE };

/* total: bytes of this segment and all behind it. */
static bool rule_wants(enum rule rule, const struct retention_segment *segment,
                       const struct retention_rules *rules, int64_t total)
{
    switch (rule) {
    case RULE_LOG_START:
        return segment->end_offset <= rules->log_start_offset;
    case RULE_SIZE:
        return rules->delete_old && rules->retention_size >= 0 &&
               total - rules->retention_size >= segment->size;
    case RULE_TIME:
        /* A timestamp of the future makes the difference negative: such a segment waits. */
        return rules->delete_old && rules->retention_ms >= 0 && segment->timestamp_max >= 0 &&
               rules->now_ms - segment->timestamp_max > rules->retention_ms;
    case RULE_NONE:
        break;
    }
    return false;
}

int32_t retention_pick(const struct retention_segment *segments, int32_t count,
                       const struct retention_rules *rules, bool *roll_active)
{
    check(count >= 0);
    *roll_active = false;
    int64_t total = rules->size_behind;
    for (int32_t i = 0; i < count; i++) {
        check(segments[i].base_offset <= segments[i].end_offset);
        check(i == 0 || segments[i - 1].end_offset <= segments[i].base_offset);
        total += segments[i].size;
    }
    enum rule rule = RULE_LOG_START;
    for (int32_t i = 0; i < count; i++) {
        const struct retention_segment *segment = &segments[i];
        bool is_active = i == count - 1;
        if (segment->end_offset > rules->high_watermark) {
            return i;
        }
        if (is_active && rule == RULE_LOG_START) {
            rule = RULE_SIZE; /* an active segment below the log's start is left as it is */
        }
        while (rule != RULE_NONE && !rule_wants(rule, segment, rules, total)) {
            rule += 1;
        }
        if (is_active) {
            *roll_active = rule != RULE_NONE && segment->size > 0;
            return i;
        }
        if (rule == RULE_NONE) {
            return i;
        }
        total -= segment->size;
    }
    return 0;
}
