/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which topics a member of a classic `consumer` group reads: the metadata it joined with. The bytes
 * are the client's own; only the part that all versions share is read: version int16, array of
 * topic names, user data. What follows in later versions is not looked at, so that versions to come
 * are understood as well.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/reader.h"

struct subscription {
    struct reader reader; /* at the next topic */
    int32_t left;
};

/* Borrows metadata. What is wrong with it comes out of subscription_next(). */
void subscription_init(struct subscription *subscription, struct bytes metadata);
/* The next topic, as a slice of the metadata. False at the end, or when the bytes are wrong. */
bool subscription_next(struct subscription *subscription, struct bytes *topic);
/* After the last topic: whether everything up to the end of user data could be read. */
bool subscription_is_whole(const struct subscription *subscription);

/* Whether the topic is named; true as well for metadata that cannot be read: it might be. */
bool subscription_holds(struct bytes metadata, struct bytes topic);
