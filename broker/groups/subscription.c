/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/groups/subscription.h"

#define TOPIC_SIZE_MIN 2 /* its own size */

void subscription_init(struct subscription *subscription, struct bytes metadata)
{
    reader_init(&subscription->reader, metadata);
    if (reader_i16(&subscription->reader) < 0) {
        reader_fail(&subscription->reader, STATUS_MALFORMED);
    }
    subscription->left = reader_count(&subscription->reader, false, TOPIC_SIZE_MIN);
}

bool subscription_next(struct subscription *subscription, struct bytes *topic)
{
    struct reader *reader = &subscription->reader;
    if (subscription->left > 0) {
        subscription->left -= 1;
        *topic = reader_string(reader, false);
    } else if (subscription->left == 0) {
        subscription->left = -1;
        (void)reader_bytes_nullable(reader, false);
        return false;
    }
    return subscription->left >= 0 && reader_status(reader) == STATUS_OK;
}

bool subscription_is_whole(const struct subscription *subscription)
{
    return subscription->left < 0 && reader_status(&subscription->reader) == STATUS_OK;
}

bool subscription_holds(struct bytes metadata, struct bytes topic)
{
    struct subscription subscription;
    subscription_init(&subscription, metadata);
    for (struct bytes named; subscription_next(&subscription, &named);) {
        if (bytes_equal(named, topic)) {
            return true;
        }
    }
    return !subscription_is_whole(&subscription);
}
