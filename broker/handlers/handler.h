/* SPDX-License-Identifier: Apache-2.0 */
/* What the handlers share: reading the body, and addressing partitions in both of Kafka's ways. */
#pragma once

#include "broker/byte_set.h"
#include "broker/connection.h"
#include "broker/core.h"
#include "broker/request.h"
#include "broker/server.h"
#include "topic/image.h"
#include "wire/reader.h"

/* Decodes the body with `decode`; on failure the request is refused and the macro answers false. */
#define REQUEST_DECODE(request, decode, value)                                                     \
    ({                                                                                             \
        struct reader request_reader;                                                              \
        reader_init(&request_reader, (request)->body);                                             \
        request_decoded((request),                                                                 \
                        decode(&request_reader, (request)->version, &(request)->arena, (value)));  \
    })

static inline bool request_decoded(struct request *request, enum status status)
{
    if (status != STATUS_OK) {
        request_refuse(request, status_sentence(status));
        return false;
    }
    return true;
}

/* A handler's own state, in the request's arena. NULL: the answer failed and was finished. */
static inline void *handler_state(struct request *request, size_t size)
{
    request->handler_state = arena_acquire(&request->arena, size);
    if (request->handler_state == NULL) {
        request_refuse(request, "request memory is spent");
    }
    return request->handler_state;
}

/* By id when the version speaks of ids, else by name. */
static inline struct image_topic *handler_topic(const struct request *request, bool by_id,
                                                struct bytes name, const struct uuid *id)
{
    const struct image *image = &request->core->image;
    return by_id ? image_find_id(image, id) : image_find_name(image, name);
}

/* For a byte_set of what a peer names. */
static inline uint64_t handler_seed(const struct request *request)
{
    return request->core->image.names.seed;
}

static inline enum status handler_unknown(bool by_id)
{
    return by_id ? STATUS_UNKNOWN_TOPIC_ID : STATUS_UNKNOWN_TOPIC_OR_PARTITION;
}

/* For partitions. Without memory is not for good, but clients give up on a code that Kafka does not
 * have; this one they try again. */
static inline int16_t handler_partition_code(enum status status)
{
    return status_code(status == STATUS_NO_MEMORY ? STATUS_KAFKA_STORAGE_ERROR : status);
}

/* Bits of AclOperation that mean something on each kind of resource. Without an authorizer every
 * client may do everything, and is told so, as Apache Kafka does. */
enum {
    OPERATION_READ = 1 << 3,
    OPERATION_WRITE = 1 << 4,
    OPERATION_CREATE = 1 << 5,
    OPERATION_DELETE = 1 << 6,
    OPERATION_ALTER = 1 << 7,
    OPERATION_DESCRIBE = 1 << 8,
    OPERATION_CLUSTER_ACTION = 1 << 9,
    OPERATION_DESCRIBE_CONFIGS = 1 << 10,
    OPERATION_ALTER_CONFIGS = 1 << 11,
    OPERATION_IDEMPOTENT_WRITE = 1 << 12,
    TOPIC_OPERATIONS = OPERATION_READ | OPERATION_WRITE | OPERATION_CREATE | OPERATION_DELETE |
                       OPERATION_ALTER | OPERATION_DESCRIBE | OPERATION_DESCRIBE_CONFIGS |
                       OPERATION_ALTER_CONFIGS,
    GROUP_OPERATIONS = OPERATION_READ | OPERATION_DELETE | OPERATION_DESCRIBE |
                       OPERATION_DESCRIBE_CONFIGS | OPERATION_ALTER_CONFIGS,
    CLUSTER_OPERATIONS = OPERATION_CREATE | OPERATION_ALTER | OPERATION_DESCRIBE |
                         OPERATION_CLUSTER_ACTION | OPERATION_DESCRIBE_CONFIGS |
                         OPERATION_ALTER_CONFIGS | OPERATION_IDEMPOTENT_WRITE,
};
