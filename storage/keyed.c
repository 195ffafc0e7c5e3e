/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keyed.h"

#include "base/check.h"
#include "base/hash.h"
#include "storage/key_form.h"
#include "wire/record.h"

#define KEYED_MAGIC UINT64_C(0x77656972006b6579)
#define UNPACKED_SIZE_MAX (UINT64_C(1) << 30)
#define TRANSACTION_ROOM_FIRST ((size_t)256)

/* The keys that one producer wrote since its last marker. */
struct transaction {
    struct table_node node;
    int64_t producer_id;
    uint8_t *memory; /* held items, one behind the other */
    size_t size;
    size_t room;
};

struct held {
    struct key_entry entry;
    uint32_t key_size;
    /* the key's bytes follow */
};

struct keyed {
    uint64_t magic;
    struct heap *heap; /* borrowed */
    struct memtable *memtable;
    struct table transactions;
    uint64_t held_size; /* bytes of all transactions' memory */
    uint64_t size_max;
    bool lost; /* X3 */
};

static void transaction_free(struct keyed *keyed, struct transaction *transaction)
{
    table_remove(&keyed->transactions, &transaction->node);
    keyed->held_size -= transaction->room;
    heap_release(keyed->heap, transaction->memory, transaction->room);
    heap_release(keyed->heap, transaction, sizeof(*transaction));
}

/* X3. The memtable goes too: what is left of it would be taken for the whole. */
static void keyed_lose(struct keyed *keyed)
{
    struct table_cursor cursor;
    for (struct table_node *node = table_first(&keyed->transactions, &cursor); node != NULL;
         node = table_next(&keyed->transactions, &cursor)) {
        transaction_free(keyed, CONTAINER_OF(node, struct transaction, node));
    }
    check(keyed->held_size == 0);
    if (keyed->memtable != NULL) {
        memtable_close(keyed->memtable);
        keyed->memtable = NULL;
    }
    keyed->lost = true;
}

struct keyed *keyed_open(struct heap *heap, uint64_t hash_seed, uint64_t size_max,
                         uint32_t shard_count)
{
    struct keyed *keyed = heap_acquire(heap, sizeof(*keyed));
    if (keyed == NULL) {
        return NULL;
    }
    *keyed = (struct keyed){.magic = KEYED_MAGIC, .heap = heap, .size_max = size_max};
    if (!table_init(&keyed->transactions, heap, hash_seed)) {
        heap_release(heap, keyed, sizeof(*keyed));
        return NULL;
    }
    keyed->memtable = memtable_open(&(struct memtable_options){
        .heap = heap,
        .shard_count = shard_count,
        .locks = MEMTABLE_LOCKS_NONE,
        .hash_seed = hash_seed,
        .size_max = size_max,
    });
    if (keyed->memtable == NULL) {
        keyed_close(keyed);
        return NULL;
    }
    return keyed;
}

void keyed_close(struct keyed *keyed)
{
    check_magic(keyed, KEYED_MAGIC);
    struct heap *heap = keyed->heap;
    keyed_lose(keyed);
    table_deinit(&keyed->transactions);
    keyed->magic = 0;
    heap_release(heap, keyed, sizeof(*keyed));
}

/* ---- transactions ---- */

static struct transaction *transaction_find(const struct keyed *keyed, int64_t producer_id)
{
    uint64_t hash = hash_u64((uint64_t)producer_id, keyed->transactions.seed);
    for (struct table_node *node = table_find(&keyed->transactions, hash); node != NULL;
         node = table_find_next(node)) {
        struct transaction *transaction = CONTAINER_OF(node, struct transaction, node);
        if (transaction->producer_id == producer_id) {
            return transaction;
        }
    }
    return NULL;
}

static struct transaction *transaction_make(struct keyed *keyed, int64_t producer_id)
{
    struct transaction *transaction = transaction_find(keyed, producer_id);
    if (transaction == NULL) {
        transaction = heap_acquire(keyed->heap, sizeof(*transaction));
        if (transaction != NULL) {
            transaction->producer_id = producer_id;
            transaction->node.hash = hash_u64((uint64_t)producer_id, keyed->transactions.seed);
            table_insert(&keyed->transactions, &transaction->node);
        }
    }
    return transaction;
}

static bool transaction_reserve(struct keyed *keyed, struct transaction *transaction, size_t more)
{
    size_t room = transaction->room == 0 ? TRANSACTION_ROOM_FIRST : transaction->room;
    while (room < transaction->size + more) {
        room *= 2;
    }
    if (room == transaction->room) {
        return true;
    }
    if (keyed_size(keyed) + (room - transaction->room) > keyed->size_max) {
        return false;
    }
    uint8_t *memory = transaction->memory == NULL
                          ? heap_acquire(keyed->heap, room)
                          : heap_resize(keyed->heap, transaction->memory, transaction->room, room);
    if (memory == NULL) {
        return false;
    }
    keyed->held_size += room - transaction->room;
    transaction->memory = memory;
    transaction->room = room;
    return true;
}

static bool transaction_hold(struct keyed *keyed, struct transaction *transaction,
                             const struct key_item *item)
{
    struct held held = {.entry = item->entry, .key_size = (uint32_t)item->key.size};
    if (!transaction_reserve(keyed, transaction, sizeof(held) + item->key.size)) {
        return false;
    }
    memcpy(transaction->memory + transaction->size, &held, sizeof(held));
    if (item->key.size > 0) {
        memcpy(transaction->memory + transaction->size + sizeof(held), item->key.data,
               item->key.size);
    }
    transaction->size += sizeof(held) + item->key.size;
    return true;
}

static bool transaction_item(const struct transaction *transaction, size_t *at,
                             struct key_item *item)
{
    if (*at == transaction->size) {
        return false;
    }
    struct held held;
    memcpy(&held, transaction->memory + *at, sizeof(held));
    *item = (struct key_item){
        .key = bytes_of(transaction->memory + *at + sizeof(held), held.key_size),
        .entry = held.entry,
    };
    *at += sizeof(held) + held.key_size;
    check(*at <= transaction->size);
    return true;
}

/* ---- batches ---- */

static bool keyed_put(struct keyed *keyed, const struct key_item *item)
{
    uint32_t taken;
    return keyed_size(keyed) < keyed->size_max &&
           memtable_put(keyed->memtable, item, 1, &taken) == STATUS_OK;
}

/* X2 */
static bool keyed_decide(struct keyed *keyed, int64_t producer_id, bool is_commit)
{
    struct transaction *transaction = transaction_find(keyed, producer_id);
    if (transaction == NULL) {
        return true; /* it wrote no keys here */
    }
    bool put = true;
    size_t at = 0;
    struct key_item item;
    while (put && is_commit && transaction_item(transaction, &at, &item)) {
        put = keyed_put(keyed, &item);
    }
    transaction_free(keyed, transaction);
    return put;
}

static bool keyed_walk(struct keyed *keyed, struct bytes batch, uint32_t position,
                       const struct batch_header *header, struct batch_scratch scratch)
{
    struct transaction *transaction = NULL;
    if ((header->attributes & BATCH_TRANSACTIONAL) != 0) {
        transaction = transaction_make(keyed, header->producer_id);
        if (transaction == NULL) {
            return false;
        }
    }
    struct record_stream *stream = NULL;
    enum status status = record_stream_open(&stream, batch, scratch, UNPACKED_SIZE_MAX);
    struct record record;
    while (status == STATUS_OK && record_stream_next(stream, &record)) {
        if (record.key.data == NULL) {
            continue;
        }
        uint8_t form[KEY_FORM_MAX];
        struct key_item item = {
            .key = key_form(record.key, form),
            .entry = {.offset = record.offset,
                      .timestamp = record.timestamp,
                      .position = position,
                      .size = (uint32_t)batch.size,
                      .flags = record.value.data == NULL ? KEY_TOMBSTONE : 0},
        };
        bool taken = transaction != NULL ? transaction_hold(keyed, transaction, &item)
                                         : keyed_put(keyed, &item);
        status = taken ? STATUS_OK : STATUS_NO_MEMORY;
    }
    if (status == STATUS_OK) {
        status = record_stream_status(stream);
    }
    record_stream_close(stream);
    /* Damaged records stand in the log and are nobody's keys: the batch was checked when it came,
     * or walk was off for this topic. */
    return status != STATUS_NO_MEMORY;
}

void keyed_note(struct keyed *keyed, struct bytes batch, uint32_t position,
                struct producers_marker marker, struct batch_scratch scratch)
{
    check_magic(keyed, KEYED_MAGIC);
    if (keyed->lost) {
        return;
    }
    struct batch_header header;
    batch_header_decode(&header, batch.data);
    bool kept = true;
    if (marker.is_marker) {
        kept = keyed_decide(keyed, header.producer_id, marker.is_commit);
    } else if ((header.attributes & BATCH_CONTROL) == 0 && header.count > 0) {
        kept = keyed_walk(keyed, batch, position, &header, scratch);
    }
    if (!kept) {
        keyed_lose(keyed);
    }
}

/* ---- reads ---- */

bool keyed_is_whole(const struct keyed *keyed)
{
    return !keyed->lost;
}

uint64_t keyed_size(const struct keyed *keyed)
{
    return keyed->lost ? 0 : keyed->held_size + memtable_size(keyed->memtable);
}

bool keyed_is_full(const struct keyed *keyed)
{
    return keyed->lost || keyed_size(keyed) > keyed->size_max / 8 * 7;
}

bool keyed_get(struct keyed *keyed, struct bytes key, struct key_entry *entry)
{
    uint8_t form[KEY_FORM_MAX];
    return !keyed->lost && memtable_get(keyed->memtable, key_form(key, form), entry);
}

bool keyed_has_undecided(const struct keyed *keyed)
{
    return keyed->transactions.count > 0;
}

struct memtable *keyed_memtable(const struct keyed *keyed)
{
    check(!keyed->lost);
    return keyed->memtable;
}

bool keyed_next_undecided(const struct keyed *keyed, struct keyed_cursor *cursor,
                          int64_t *producer_id, struct key_item *item)
{
    if (!cursor->begun) {
        cursor->begun = true;
        cursor->node = table_first(&keyed->transactions, &cursor->table);
    }
    while (cursor->node != NULL) {
        const struct transaction *transaction =
            CONTAINER_OF(cursor->node, struct transaction, node);
        if (transaction_item(transaction, &cursor->at, item)) {
            *producer_id = transaction->producer_id;
            return true;
        }
        cursor->node = table_next(&keyed->transactions, &cursor->table);
        cursor->at = 0;
    }
    return false;
}
