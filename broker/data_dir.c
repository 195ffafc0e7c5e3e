/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/data_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topic/name.h"

#define TEXT_SIZE_MAX 4096
#define PATH_SIZE_MAX 4096
#define TIDY_AT_ONCE 32

/* ---- small text files ---- */

static int64_t file_open(struct ring *ring, const char *path, uint32_t flags)
{
    struct op op = {.kind = OP_OPEN, .path = path, .flags = flags};
    return ring_call(ring, &op);
}

static void file_close(struct ring *ring, int64_t file)
{
    struct op op = {.kind = OP_CLOSE, .file = (int32_t)file};
    (void)ring_call(ring, &op);
}

/* Size read, at most size_max - 1; the text ends with a NUL. -errno. */
static int64_t text_read(struct ring *ring, const char *path, char *text, size_t size_max)
{
    int64_t file = file_open(ring, path, OPEN_READ);
    if (file < 0) {
        return file;
    }
    struct iovec vector = {.iov_base = text, .iov_len = size_max - 1};
    struct op op = {.kind = OP_READ, .file = (int32_t)file, .vector = &vector, .vector_count = 1};
    int64_t size = ring_call(ring, &op);
    file_close(ring, file);
    if (size >= 0) {
        text[size] = '\0';
    }
    return size;
}

static int64_t folder_sync(struct ring *ring, const char *path)
{
    int64_t file = file_open(ring, path, OPEN_READ | OPEN_DIRECTORY);
    if (file < 0) {
        return file;
    }
    struct op op = {.kind = OP_SYNC, .file = (int32_t)file};
    int64_t result = ring_call(ring, &op);
    file_close(ring, file);
    return result;
}

/* Written aside, synced, renamed, folder synced: old or new, never half. 0 or -errno. */
static int64_t text_write(struct server *server, struct ring *ring, const char *name,
                          struct bytes text)
{
    char path[PATH_SIZE_MAX];
    char aside[PATH_SIZE_MAX + 8];
    snprintf(path, sizeof(path), "%s/%s", server->data_dir, name);
    snprintf(aside, sizeof(aside), "%s.tmp", path);
    int64_t file = file_open(ring, aside, OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE);
    if (file < 0) {
        return file;
    }
    struct iovec vector = {.iov_base = (void *)(uintptr_t)text.data, .iov_len = text.size};
    struct op write = {.kind = OP_WRITE,
                       .file = (int32_t)file,
                       .vector = &vector,
                       .vector_count = 1,
                       .flags = OP_DSYNC};
    int64_t result = text.size == 0 ? 0 : ring_call(ring, &write);
    file_close(ring, file);
    if (result < 0) {
        return result;
    }
    struct op rename = {.kind = OP_RENAME, .path = aside, .path_target = path};
    result = ring_call(ring, &rename);
    return result < 0 ? result : folder_sync(ring, server->data_dir);
}

/* ---- identity ---- */

static bool property_find(const char *text, const char *key, char *value, size_t size_max)
{
    size_t key_size = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t size = end == NULL ? strlen(line) : (size_t)(end - line);
        if (size > key_size && strncmp(line, key, key_size) == 0 && line[key_size] == '=') {
            snprintf(value, size_max, "%.*s", (int)(size - key_size - 1), line + key_size + 1);
            return true;
        }
        line = end == NULL ? NULL : end + 1;
    }
    return false;
}

static int identity_make(struct server *server, struct ring *ring,
                         char message[SERVER_MESSAGE_SIZE])
{
    struct uuid cluster;
    struct uuid directory;
    char directory_text[UUID_TEXT_SIZE];
    random_uuid(&server->random, cluster.bytes);
    random_uuid(&server->random, directory.bytes);
    uuid_format(&directory, directory_text);
    if (server->config->cluster_id[0] != '\0') {
        snprintf(server->cluster_id, sizeof(server->cluster_id), "%s", server->config->cluster_id);
    } else {
        uuid_format(&cluster, server->cluster_id);
    }
    char text[TEXT_SIZE_MAX];
    int size =
        snprintf(text, sizeof(text), "#\nversion=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n",
                 server->cluster_id, server->node_id, directory_text);
    int64_t result = text_write(server, ring, "meta.properties", bytes_of(text, (size_t)size));
    if (result < 0) {
        snprintf(message, SERVER_MESSAGE_SIZE,
                 "cannot write %s/meta.properties: %s; the data folder must be writable and have "
                 "space",
                 server->data_dir, strerror((int)-result));
        return 3;
    }
    return 0;
}

int identity_load(struct server *server, struct ring *ring, char message[SERVER_MESSAGE_SIZE])
{
    char path[PATH_SIZE_MAX];
    char text[TEXT_SIZE_MAX];
    char node[32];
    snprintf(path, sizeof(path), "%s/meta.properties", server->data_dir);
    server->node_id = server->config->node_id;
    int64_t size = text_read(ring, path, text, sizeof(text));
    if (size == -ENOENT) {
        return identity_make(server, ring, message);
    }
    if (size < 0 ||
        !property_find(text, "cluster.id", server->cluster_id, sizeof(server->cluster_id)) ||
        !property_find(text, "node.id", node, sizeof(node))) {
        snprintf(message, SERVER_MESSAGE_SIZE,
                 "%.200s cannot be used: %s; restore it, or move the data folder away", path,
                 size < 0 ? strerror((int)-size) : "cluster.id or node.id is missing");
        return 3;
    }
    if (server->config->cluster_id[0] != '\0' &&
        strcmp(server->config->cluster_id, server->cluster_id) != 0) {
        snprintf(
            message, SERVER_MESSAGE_SIZE,
            "%.200s belongs to cluster %s, the configuration says cluster.id=%s; use the right "
            "data folder",
            path, server->cluster_id, server->config->cluster_id);
        return 2;
    }
    if (atoi(node) != server->node_id) {
        snprintf(message, SERVER_MESSAGE_SIZE,
                 "%.200s belongs to node %s, the configuration says node.id=%d; use the right data "
                 "folder",
                 path, node, server->node_id);
        return 2;
    }
    return 0;
}

/* ---- folders nobody owns ---- */

/* "orders-3" -> name and index; false for anything that is no folder of a topic's partition, the
 * metadata log's included. */
static bool folder_split(const char *folder, char *name, size_t size_max, int32_t *index)
{
    const char *dash = strrchr(folder, '-');
    if (dash == NULL || dash == folder || dash[1] == '\0' ||
        strspn(dash + 1, "0123456789") != strlen(dash + 1) || strlen(dash + 1) > 9) {
        return false;
    }
    size_t size = (size_t)(dash - folder);
    if (size >= size_max) {
        return false;
    }
    memcpy(name, folder, size);
    name[size] = '\0';
    *index = atoi(dash + 1);
    return topic_name_check(bytes_of_text(name)) == STATUS_OK;
}

static bool folder_id(struct server *server, struct ring *ring, const char *folder, struct uuid *id)
{
    char path[PATH_SIZE_MAX];
    char text[TEXT_SIZE_MAX];
    char value[64];
    snprintf(path, sizeof(path), "%s/%s/partition.metadata", server->data_dir, folder);
    if (text_read(ring, path, text, sizeof(text)) < 0) {
        return false;
    }
    const char *line = strstr(text, "topic_id: ");
    if (line == NULL) {
        return false;
    }
    snprintf(value, sizeof(value), "%.22s", line + strlen("topic_id: "));
    return uuid_parse(id, value);
}

static bool folder_list(struct ring *ring, const char *path, struct ring_listing *listing)
{
    struct op list = {.kind = OP_LIST, .path = path, .listing = listing};
    int64_t result = ring_call(ring, &list);
    return result >= 0 || result == -ENOBUFS; /* the first ones: the rest comes the next time */
}

static void folder_remove(struct server *server, struct ring *ring, const char *folder)
{
    char path[PATH_SIZE_MAX];
    char names[64 * KIB];
    snprintf(path, sizeof(path), "%s/%s", server->data_dir, folder);
    struct ring_listing listing = {.names = names, .size_max = sizeof(names)};
    bool went = true;
    while (went && folder_list(ring, path, &listing)) {
        went = false;
        for (size_t at = 0; at < listing.size; at += strlen(names + at) + 1) {
            char file[PATH_SIZE_MAX + 300];
            snprintf(file, sizeof(file), "%s/%s", path, names + at);
            struct op unlink = {.kind = OP_UNLINK, .path = file};
            went = ring_call(ring, &unlink) >= 0 || went;
        }
    }
    struct op rmdir = {.kind = OP_UNLINK, .path = path, .flags = OP_DIRECTORY};
    (void)ring_call(ring, &rmdir);
}

/* "<topic>-<number>.<32 hex>-delete": what a removal makes, Kafka's and ours, and nobody by hand.
 */
static bool folder_is_removed(const char *folder)
{
    static const char suffix[] = "-delete";
    size_t size = strlen(folder);
    size_t end_size = 1 + 32 + strlen(suffix);
    if (size < end_size + 3 || strcmp(folder + size - strlen(suffix), suffix) != 0) {
        return false;
    }
    const char *dot = folder + size - end_size;
    const char *number = dot;
    while (number > folder && number[-1] >= '0' && number[-1] <= '9') {
        number -= 1;
    }
    return *dot == '.' && strspn(dot + 1, "0123456789abcdef") == 32 && number < dot &&
           number > folder + 1 && number[-1] == '-';
}

static void folder_tidy(struct server *server, struct ring *ring, const char *folder)
{
    struct core *core = &server->cores[METADATA_CORE];
    char name[256];
    int32_t index;
    if (folder_is_removed(folder)) {
        folder_remove(server, ring, folder);
        return;
    }
    /* Not those that end in -stray either: they made place once, and are the operator's. */
    if (!folder_split(folder, name, sizeof(name), &index)) {
        return;
    }
    const struct image_topic *topic = image_find_name(&core->image, bytes_of_text(name));
    bool owned = topic != NULL && index < topic->partition_count;
    if (owned && !topic->renewed) {
        return; /* whether it is this topic's is found, and told, where it is opened */
    }
    struct uuid id;
    bool known = folder_id(server, ring, folder, &id);
    if (owned && (!known || uuid_equal(&id, &topic->id))) {
        return;
    }
    if (known && image_was_removed(&core->image, &id)) {
        folder_remove(server, ring, folder);
        return;
    }
    diag_line(
        &core->diag, DIAG_WARN, "broker/data_dir", "folder belongs to no topic",
        "folder=%s/%s remedy=\"left alone; move it away if you do not need it: a topic of that "
        "name will rename it to ...-stray\"",
        server->data_dir, folder);
}

/* Walks the names of the data folder. */
struct tidying {
    struct server *server;
    const struct ring_listing *listing;
    size_t at;
};

/* One of TIDY_AT_ONCE that share the walk: each waits for the disk. */
static void tidying_run(void *argument)
{
    struct tidying *tidying = argument;
    while (tidying->at < tidying->listing->size) {
        const char *folder = tidying->listing->names + tidying->at;
        tidying->at += strlen(folder) + 1;
        folder_tidy(tidying->server, tidying->server->cores[METADATA_CORE].ring, folder);
    }
}

void strays_tidy(struct server *server)
{
    image_note_renewed(&server->cores[METADATA_CORE].image);
    struct ring *ring = server->cores[METADATA_CORE].ring;
    struct heap *heap = &server->cores[METADATA_CORE].heap;
    struct ring_listing listing = {.size_max = 64 * KIB};
    int64_t result;
    do {
        heap_release(heap, listing.names, listing.size_max);
        size_t size_max = listing.size_max * 4;
        listing =
            (struct ring_listing){.names = heap_acquire(heap, size_max), .size_max = size_max};
        if (listing.names == NULL) {
            return;
        }
        struct op list = {.kind = OP_LIST, .path = server->data_dir, .listing = &listing};
        result = ring_call(ring, &list);
    } while (result == -ENOBUFS);
    if (result > 0) {
        struct tidying tidying = {.server = server, .listing = &listing};
        ring_overlap(ring, TIDY_AT_ONCE, tidying_run, &tidying);
    }
    heap_release(heap, listing.names, listing.size_max);
}

/* ---- checkpoints ---- */

/* Kafka's form: version 0, count, then "topic partition offset" lines. */
static void checkpoint_write(struct server *server, struct ring *ring, const char *name,
                             const char *lines, int32_t count)
{
    size_t size = strlen(lines) + 32;
    struct heap *heap = &server->cores[METADATA_CORE].heap;
    char *text = heap_acquire(heap, size);
    if (text == NULL) {
        return;
    }
    int used = snprintf(text, size, "0\n%d\n%s", count, lines);
    int64_t result = text_write(server, ring, name, bytes_of(text, (size_t)used));
    if (result < 0) {
        diag_line(&server->cores[METADATA_CORE].diag, DIAG_WARN, "broker/data_dir",
                  "checkpoint not written",
                  "file=%s error=\"%s\" remedy=\"only Apache Kafka reads it; Weir does not\"", name,
                  strerror((int)-result));
    }
    heap_release(heap, text, size);
}

void checkpoints_write(struct server *server, struct ring *ring)
{
    size_t room = ((size_t)server->cores[METADATA_CORE].image.partition_count + 1) * 300;
    struct heap *heap = &server->cores[METADATA_CORE].heap;
    char *ends = heap_acquire(heap, room);
    char *starts = heap_acquire(heap, room);
    if (ends == NULL || starts == NULL) {
        heap_release(heap, ends, room);
        heap_release(heap, starts, room);
        return;
    }
    size_t end_size = 0;
    size_t start_size = 0;
    int32_t end_count = 0;
    int32_t start_count = 0;
    ends[0] = '\0';
    starts[0] = '\0';
    for (int32_t core = 0; core < server->core_count; core++) {
        LIST_EACH (&server->cores[core].image.topics, node) {
            const struct image_topic *topic = LIST_ENTRY(node, struct image_topic, node);
            for (int32_t i = 0; i < topic->partition_count; i++) {
                const struct image_partition *place = &topic->partitions[i];
                if (place->core != core || place->closed_end_offset == 0) {
                    continue;
                }
                end_count++;
                end_size += (size_t)snprintf(ends + end_size, room - end_size, "%s %d %lld\n",
                                             topic->name, i, (long long)place->closed_end_offset);
                if (place->closed_start_offset > 0) {
                    start_count++;
                    start_size +=
                        (size_t)snprintf(starts + start_size, room - start_size, "%s %d %lld\n",
                                         topic->name, i, (long long)place->closed_start_offset);
                }
            }
        }
    }
    checkpoint_write(server, ring, "recovery-point-offset-checkpoint", ends, end_count);
    checkpoint_write(server, ring, "replication-offset-checkpoint", ends, end_count);
    checkpoint_write(server, ring, "log-start-offset-checkpoint", starts, start_count);
    heap_release(heap, ends, room);
    heap_release(heap, starts, room);
}
