/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/sessions.h"

#include "base/check.h"

/* Ids are positive int32. */
#define ID_LIMIT INT64_C(0x7fffffff)

bool sessions_init(struct sessions *sessions, const struct sessions_options *options)
{
    check(options->core >= 0);
    check(options->core < options->core_count);
    *sessions = (struct sessions){
        .heap = options->heap,
        .slot_max = options->slot_max,
        .size_max = options->size_max,
        .core = options->core,
        .core_count = options->core_count,
        .serial_next = 1,
    };
    list_init(&sessions->used);
    random_init(&sessions->random, options->seed);
    if (!table_init(&sessions->ids, options->heap, random_u64(&sessions->random))) {
        return false;
    }
    if (!table_init(&sessions->entries, options->heap, random_u64(&sessions->random))) {
        table_deinit(&sessions->ids);
        return false;
    }
    return true;
}

void sessions_deinit(struct sessions *sessions)
{
    LIST_EACH (&sessions->used, node) {
        session_close(LIST_ENTRY(node, struct session, used));
    }
    check(sessions->size == 0);
    table_deinit(&sessions->entries);
    table_deinit(&sessions->ids);
}

/* ---- memory ---- */

static void *sessions_acquire(struct sessions *sessions, size_t size)
{
    if (size > sessions->size_max - sessions->size) {
        return NULL;
    }
    void *block = heap_acquire(sessions->heap, size);
    if (block != NULL) {
        sessions->size += size;
    }
    return block;
}

static void sessions_release(struct sessions *sessions, void *block, size_t size)
{
    check(sessions->size >= size);
    sessions->size -= size;
    heap_release(sessions->heap, block, size);
}

/* ---- entries ---- */

static uint64_t entry_hash(const struct session *session, struct bytes topic,
                           const struct uuid *topic_id, int32_t index)
{
    uint64_t seed = session->sessions->entries.seed;
    struct bytes key = session->by_ids ? bytes_of(topic_id, sizeof(*topic_id)) : topic;
    return hash_u64((uint64_t)index, hash_bytes(key, hash_u64(session->serial, seed)));
}

static struct session_entry *entry_find(const struct session *session, struct bytes topic,
                                        const struct uuid *topic_id, int32_t index)
{
    uint64_t hash = entry_hash(session, topic, topic_id, index);
    struct table_node *node = table_find(&session->sessions->entries, hash);
    for (; node != NULL; node = table_find_next(node)) {
        struct session_entry *entry = CONTAINER_OF(node, struct session_entry, node);
        if (entry->session == session && entry->asked.index == index &&
            (session->by_ids ? uuid_equal(&entry->asked.topic_id, topic_id)
                             : bytes_equal(entry->asked.topic, topic))) {
            return entry;
        }
    }
    return NULL;
}

static struct session_entry *entry_add(struct session *session,
                                       const struct session_partition *partition)
{
    struct sessions *sessions = session->sessions;
    size_t name_size = session->by_ids ? 0 : partition->topic.size;
    struct session_entry *entry = sessions_acquire(sessions, sizeof(*entry) + name_size);
    if (entry == NULL) {
        return NULL;
    }
    entry->session = session;
    entry->asked = *partition;
    entry->asked.topic = bytes_of(name_size == 0 ? NULL : (uint8_t *)(entry + 1), name_size);
    if (name_size > 0) {
        memcpy(entry + 1, partition->topic.data, name_size);
    }
    entry->high_watermark = -1;
    entry->log_start_offset = -1;
    entry->node.hash =
        entry_hash(session, partition->topic, &partition->topic_id, partition->index);
    table_insert(&sessions->entries, &entry->node);
    list_push_tail(&session->entries, &entry->order);
    session->entry_count++;
    return entry;
}

static void entry_remove(struct session_entry *entry)
{
    struct session *session = entry->session;
    struct sessions *sessions = session->sessions;
    table_remove(&sessions->entries, &entry->node);
    list_remove(&entry->order);
    session->entry_count--;
    sessions_release(sessions, entry, sizeof(*entry) + entry->asked.topic.size);
}

struct session_entry *session_put(struct session *session,
                                  const struct session_partition *partition)
{
    struct session_entry *entry =
        entry_find(session, partition->topic, &partition->topic_id, partition->index);
    if (entry == NULL) {
        return entry_add(session, partition);
    }
    struct bytes topic = entry->asked.topic;
    entry->asked = *partition;
    entry->asked.topic = topic;
    return entry;
}

void session_forget(struct session *session, struct bytes topic, const struct uuid *topic_id,
                    int32_t index)
{
    struct session_entry *entry = entry_find(session, topic, topic_id, index);
    if (entry != NULL) {
        entry_remove(entry);
    }
}

bool session_entry_told(struct session_entry *entry, const struct session_answer *answer)
{
    bool moved = entry->high_watermark != answer->high_watermark ||
                 entry->log_start_offset != answer->log_start_offset;
    /* After an error no watermark counts as told: when it goes away the client hears of that. */
    entry->high_watermark = answer->error ? -1 : answer->high_watermark;
    entry->log_start_offset = answer->log_start_offset;
    if (answer->records) {
        list_remove(&entry->order);
        list_push_tail(&entry->session->entries, &entry->order);
    }
    return moved || answer->records || answer->error;
}

/* ---- sessions ---- */

void session_close(struct session *session)
{
    struct sessions *sessions = session->sessions;
    LIST_EACH (&session->entries, node) {
        entry_remove(LIST_ENTRY(node, struct session_entry, order));
    }
    check(session->entry_count == 0);
    table_remove(&sessions->ids, &session->node);
    list_remove(&session->used);
    sessions_release(sessions, session, sizeof(*session));
}

static struct session *find_id(const struct sessions *sessions, int32_t id)
{
    struct table_node *node =
        table_find(&sessions->ids, hash_u64((uint64_t)id, sessions->ids.seed));
    for (; node != NULL; node = table_find_next(node)) {
        struct session *session = CONTAINER_OF(node, struct session, node);
        if (session->id == id) {
            return session;
        }
    }
    return NULL;
}

struct session *sessions_find(const struct sessions *sessions, int32_t id, uint64_t serial,
                              int32_t epoch)
{
    struct session *session = find_id(sessions, id);
    bool same = session != NULL && session->serial == serial && session->epoch == epoch;
    return same ? session : NULL;
}

static int32_t epoch_after(int32_t epoch)
{
    return epoch == INT32_MAX ? 1 : epoch + 1;
}

enum status sessions_enter(struct sessions *sessions, const struct session_ask *ask,
                           uint64_t now_ns, struct session **out)
{
    struct session *session = find_id(sessions, ask->id);
    *out = NULL;
    if (ask->epoch == SESSION_EPOCH_FIRST || ask->epoch == SESSION_EPOCH_FINAL) {
        if (session != NULL) {
            session_close(session);
        }
        return STATUS_OK;
    }
    if (session == NULL) {
        return STATUS_FETCH_SESSION_ID_NOT_FOUND;
    }
    if (session->epoch != ask->epoch) {
        return STATUS_INVALID_FETCH_SESSION_EPOCH;
    }
    if (session->by_ids != ask->by_ids) {
        return STATUS_FETCH_SESSION_TOPIC_ID_ERROR;
    }
    session->epoch = epoch_after(session->epoch);
    session->used_ns = now_ns;
    list_remove(&session->used);
    list_push_tail(&sessions->used, &session->used);
    *out = session;
    return STATUS_OK;
}

/* The smallest of those that have had their time. At most slot_max are looked at, and only when
 * the cache is full and a client sends a whole request. */
static struct session *smaller_than(const struct sessions *sessions, int32_t count, uint64_t now_ns)
{
    struct session *smallest = NULL;
    LIST_EACH (&sessions->used, node) {
        struct session *session = LIST_ENTRY(node, struct session, used);
        int32_t bound = smallest == NULL ? count : smallest->entry_count;
        if (now_ns - session->created_ns >= SESSION_IDLE_NS && session->entry_count < bound) {
            smallest = session;
        }
    }
    return smallest;
}

/* Makes place for one more (S5). */
static bool sessions_evict(struct sessions *sessions, int32_t count, uint64_t now_ns)
{
    struct list_node *first = list_first(&sessions->used);
    struct session *session = first == NULL ? NULL : LIST_ENTRY(first, struct session, used);
    if (session != NULL && now_ns - session->used_ns < SESSION_IDLE_NS) {
        session = smaller_than(sessions, count, now_ns);
    }
    if (session == NULL) {
        return false;
    }
    session_close(session);
    return true;
}

static int32_t id_take(struct sessions *sessions)
{
    for (;;) {
        uint64_t step =
            random_below(&sessions->random, (uint64_t)(ID_LIMIT / sessions->core_count));
        int32_t id = (int32_t)((int64_t)step * sessions->core_count + sessions->core);
        if (id != SESSION_NONE && find_id(sessions, id) == NULL) {
            return id;
        }
    }
}

struct session *sessions_create(struct sessions *sessions, bool by_ids, int32_t count,
                                uint64_t now_ns)
{
    if (sessions->slot_max == 0) {
        return NULL;
    }
    if (sessions->ids.count >= sessions->slot_max && !sessions_evict(sessions, count, now_ns)) {
        return NULL;
    }
    size_t size = sizeof(struct session) + (size_t)count * sizeof(struct session_entry);
    if (size > sessions->size_max) {
        return NULL;
    }
    while (size > sessions->size_max - sessions->size) {
        if (!sessions_evict(sessions, count, now_ns)) {
            return NULL;
        }
    }
    struct session *session = sessions_acquire(sessions, sizeof(*session));
    if (session == NULL) {
        return NULL;
    }
    *session = (struct session){
        .sessions = sessions,
        .id = id_take(sessions),
        .epoch = 1,
        .serial = sessions->serial_next++,
        .by_ids = by_ids,
        .created_ns = now_ns,
        .used_ns = now_ns,
    };
    list_init(&session->entries);
    session->node.hash = hash_u64((uint64_t)session->id, sessions->ids.seed);
    table_insert(&sessions->ids, &session->node);
    list_push_tail(&sessions->used, &session->used);
    return session;
}
