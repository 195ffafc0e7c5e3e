/* SPDX-License-Identifier: Apache-2.0 */
#include "topic/name.h"

#include "base/check.h"

static bool is_allowed(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '.' || byte == '_' || byte == '-';
}

const char *topic_name_fault(struct bytes name)
{
    if (name.size == 0) {
        return "a topic's name must not be empty";
    }
    if (name.size > TOPIC_NAME_SIZE_MAX) {
        return "a topic's name has at most 249 characters";
    }
    for (size_t i = 0; i < name.size; i++) {
        if (!is_allowed(name.data[i])) {
            return "a topic's name consists of ASCII letters, digits, '.', '_' and '-' only";
        }
    }
    if (bytes_equal(name, BYTES_LITERAL(".")) || bytes_equal(name, BYTES_LITERAL(".."))) {
        return "a topic cannot be named '.' or '..'";
    }
    if (bytes_equal(name, BYTES_LITERAL(METADATA_NAME))) {
        return "the name is that of the metadata log, which is no topic";
    }
    return NULL;
}

enum status topic_name_check(struct bytes name)
{
    return topic_name_fault(name) == NULL ? STATUS_OK : STATUS_INVALID_TOPIC_EXCEPTION;
}

static uint8_t folded(uint8_t byte)
{
    return byte == '.' ? '_' : byte;
}

bool topic_name_collides(struct bytes a, struct bytes b)
{
    if (a.size != b.size) {
        return false;
    }
    for (size_t i = 0; i < a.size; i++) {
        if (folded(a.data[i]) != folded(b.data[i])) {
            return false;
        }
    }
    return true;
}

size_t topic_name_collision_key(struct bytes name, char out[TOPIC_NAME_SIZE_MAX])
{
    check(name.size <= TOPIC_NAME_SIZE_MAX);
    for (size_t i = 0; i < name.size; i++) {
        out[i] = (char)folded(name.data[i]);
    }
    return name.size;
}

bool topic_name_is_internal(struct bytes name)
{
    return bytes_equal(name, BYTES_LITERAL("__consumer_offsets")) ||
           bytes_equal(name, BYTES_LITERAL("__transaction_state")) ||
           bytes_equal(name, BYTES_LITERAL("__share_group_state"));
}
