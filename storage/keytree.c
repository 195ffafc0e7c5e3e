/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keytree.h"

#include "base/check.h"
#include "storage/key_order.h"

#define WIDTH KEYTREE_WIDTH
#define LINE ((size_t)64)
#define AHEAD 8 /* records that a cursor asks the memory for before it gets there */
#define BLOCK_ROOM_FIRST 8

/* K6: blocks up to 64 KiB; in a larger one the first record is its only one. */
#define HANDLE_PLACE_BITS 13
#define HANDLE_UNIT 8
#define BLOCK_COUNT_MAX (UINT32_C(1) << (32 - HANDLE_PLACE_BITS))
_Static_assert(KEYTREE_BLOCK_SIZE_MAX == HANDLE_UNIT << HANDLE_PLACE_BITS, "places fill a block");

struct keytree_block {
    uint64_t size; /* with this header */
};

struct leaf {
    struct leaf *next;
    size_t skip; /* K1 */
    uint32_t count;
    _Alignas(64) uint8_t order[WIDTH];
    uint64_t heads[WIDTH];
    uint32_t handles[WIDTH];
};

struct inner {
    size_t skip;
    uint32_t count; /* of separators; there is one child more */
    _Alignas(64) uint64_t heads[WIDTH];
    struct bytes separators[WIDTH]; /* child i holds keys below separator i, child i+1 the others */
    void *children[WIDTH + 1];
};

/* The separators to the left and right of a node; data NULL: none, the node is at that edge. */
struct fences {
    struct bytes low;
    struct bytes high;
};

/* ---- memory ---- */

static struct keytree_record *tree_record(const struct keytree *tree, uint32_t handle)
{
    uint8_t *block = (uint8_t *)tree->blocks[handle >> HANDLE_PLACE_BITS];
    size_t place = handle & ((UINT32_C(1) << HANDLE_PLACE_BITS) - 1);
    return (struct keytree_record *)(void *)(block + place * HANDLE_UNIT);
}

static size_t room_size(const struct keytree_room *room)
{
    return (size_t)(room->node_cursor - room->record_cursor);
}

/* One more entry in the table of blocks. */
static bool tree_reserve_block(struct keytree *tree)
{
    if (tree->block_count < tree->block_room) {
        return true;
    }
    uint32_t room = tree->block_room == 0 ? BLOCK_ROOM_FIRST : tree->block_room * 2;
    if (room > BLOCK_COUNT_MAX) {
        return false;
    }
    struct keytree_block **blocks = supply_acquire(tree->supply, room * sizeof(*blocks));
    if (blocks == NULL) {
        return false;
    }
    if (tree->block_count > 0) {
        memcpy(blocks, tree->blocks, tree->block_count * sizeof(*blocks));
    }
    supply_release(tree->supply, tree->blocks, tree->block_room * sizeof(*blocks));
    tree->held += (room - tree->block_room) * sizeof(*blocks);
    tree->blocks = blocks;
    tree->block_room = room;
    return true;
}

/* Room for `size` bytes of a record or of a node, whichever it is. A block is a 16th of what the
 * tree has, so that a shard with a few keys is small and one with many wastes little. */
static bool tree_add_block(struct keytree *tree, size_t size)
{
    size_t wanted = tree->held / 16;
    wanted = wanted < KEYTREE_BLOCK_SIZE_MIN   ? KEYTREE_BLOCK_SIZE_MIN
             : wanted > KEYTREE_BLOCK_SIZE_MAX ? KEYTREE_BLOCK_SIZE_MAX
                                               : wanted;
    size_t least = sizeof(struct keytree_block) + size + LINE;
    wanted = wanted < least ? least : wanted;
    struct keytree_block *block =
        tree_reserve_block(tree) ? supply_acquire(tree->supply, wanted) : NULL;
    if (block == NULL) {
        return false;
    }
    if (room_size(&tree->newest) > room_size(&tree->spare)) {
        tree->spare = tree->newest;
    }
    block->size = wanted;
    tree->newest = (struct keytree_room){
        .record_cursor = (uint8_t *)(block + 1),
        .node_cursor = (uint8_t *)(((uintptr_t)block + wanted) & ~(uintptr_t)(LINE - 1)),
        .block = tree->block_count,
    };
    tree->blocks[tree->block_count] = block;
    tree->block_count += 1;
    tree->held += wanted;
    return true;
}

static void *tree_acquire_node(struct keytree *tree, size_t size)
{
    check(size % LINE == 0);
    if (room_size(&tree->newest) < size && !tree_add_block(tree, size)) {
        return NULL;
    }
    tree->newest.node_cursor -= size;
    tree->size += size;
    return tree->newest.node_cursor; /* zero: blocks are, and nothing is given back */
}

static bool tree_reserve_slot(struct keytree *tree)
{
    uint64_t before = tree->slots.block_size;
    bool reserved = key_slots_reserve(&tree->slots, tree->supply);
    tree->size += tree->slots.block_size - before;
    tree->held += tree->slots.block_size - before;
    return reserved;
}

/* The new record's handle; 0: no memory. */
static uint32_t tree_acquire_record(struct keytree *tree, struct bytes key)
{
    size_t size = (sizeof(struct keytree_record) + key.size + 7) & ~(size_t)7;
    if (key.size > UINT32_MAX) {
        return 0;
    }
    bool spare = room_size(&tree->spare) >= size;
    if (!spare && room_size(&tree->newest) < size && !tree_add_block(tree, size)) {
        return 0;
    }
    struct keytree_room *room = spare ? &tree->spare : &tree->newest;
    struct keytree_record *record = (struct keytree_record *)(void *)room->record_cursor;
    const uint8_t *block = (const uint8_t *)tree->blocks[room->block];
    size_t place = (size_t)(room->record_cursor - block) / HANDLE_UNIT;
    check(place >> HANDLE_PLACE_BITS == 0);
    /* No handle could name what comes behind a large record. */
    bool alone = tree->blocks[room->block]->size > KEYTREE_BLOCK_SIZE_MAX;
    room->record_cursor = alone ? room->node_cursor : room->record_cursor + size;
    tree->size += size;
    tree->payload += size;
    record->key_size = (uint32_t)key.size;
    if (key.size > 0) {
        memcpy(record->key, key.data, key.size);
    }
    return room->block << HANDLE_PLACE_BITS | (uint32_t)place;
}

void keytree_init(struct keytree *tree, struct supply *supply)
{
    *tree = (struct keytree){.supply = supply};
}

void keytree_deinit(struct keytree *tree)
{
    for (uint32_t i = 0; i < tree->block_count; i++) {
        supply_release(tree->supply, tree->blocks[i], tree->blocks[i]->size);
    }
    supply_release(tree->supply, tree->blocks, tree->block_room * sizeof(*tree->blocks));
    key_slots_free(&tree->slots, tree->supply);
    keytree_init(tree, tree->supply);
}

/* ---- find ---- */

struct keytree_record *keytree_find(const struct keytree *tree, struct bytes key, uint64_t hash)
{
    if (tree->count == 0) {
        return NULL;
    }
    struct key_slots_cursor cursor = key_slots_begin(&tree->slots, (uint32_t)hash);
    for (;;) {
        uint32_t handle = key_slots_next(&tree->slots, (uint32_t)hash, &cursor);
        if (handle == 0) {
            return NULL;
        }
        struct keytree_record *record = tree_record(tree, handle);
        if (record->key_size == key.size && key_compare_from(keytree_key(record), key, 0) == 0) {
            return record;
        }
    }
}

/* ---- the way down ---- */

/* Children to the left of it: separators at or below the key. */
static uint32_t inner_index(const struct inner *inner, struct bytes key)
{
    uint64_t head = key_head(key, inner->skip);
    const uint64_t *base = inner->heads;
    uint32_t count = inner->count;
    while (count > 1) { /* without branches: the first head that is not below */
        uint32_t half = count / 2;
        base += base[half - 1] < head ? half : 0;
        count -= half;
    }
    uint32_t index = (uint32_t)(base - inner->heads) + (count == 1 && *base < head);
    while (index < inner->count && inner->heads[index] == head &&
           key_compare_from(inner->separators[index], key, inner->skip + 8) <= 0) {
        index += 1;
    }
    return index;
}

static struct leaf *tree_leaf_of(const struct keytree *tree, struct bytes key)
{
    void *node = tree->root;
    for (uint32_t level = tree->height; level > 0; level--) {
        const struct inner *inner = node;
        node = inner->children[inner_index(inner, key)];
    }
    return node;
}

/* Asks for all lines of the leaf at once: one latency of memory instead of two or three, one behind
 * the other. */
static void leaf_prefetch(const struct leaf *leaf)
{
    for (size_t at = 0; at < sizeof(*leaf); at += LINE) {
        __builtin_prefetch((const uint8_t *)leaf + at);
    }
}

/* ---- put ---- */

/* Position in `order` of the first key that is not below. */
static uint32_t leaf_position(const struct keytree *tree, const struct leaf *leaf, struct bytes key)
{
    uint64_t head = key_head(key, leaf->skip);
    uint32_t low = 0;
    uint32_t high = leaf->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint32_t slot = leaf->order[middle];
        bool below = leaf->heads[slot] < head;
        if (leaf->heads[slot] == head) {
            struct bytes other = keytree_key(tree_record(tree, leaf->handles[slot]));
            below = key_compare_from(other, key, leaf->skip + 8) < 0;
        }
        low = below ? middle + 1 : low;
        high = below ? high : middle;
    }
    return low;
}

static void leaf_insert(const struct keytree *tree, struct leaf *leaf, uint32_t handle)
{
    struct bytes key = keytree_key(tree_record(tree, handle));
    uint32_t slot = leaf->count;
    uint32_t position = leaf_position(tree, leaf, key);
    check(slot < WIDTH);
    memmove(leaf->order + position + 1, leaf->order + position, slot - position);
    leaf->order[position] = (uint8_t)slot;
    leaf->heads[slot] = key_head(key, leaf->skip);
    leaf->handles[slot] = handle;
    leaf->count = slot + 1;
}

static size_t fences_skip(struct fences fences)
{
    return fences.low.data == NULL || fences.high.data == NULL
               ? 0
               : key_common(fences.low, fences.high);
}

/* The record at a position of the leaf's order. */
static struct keytree_record *leaf_record(const struct keytree *tree, const struct leaf *leaf,
                                          uint32_t position)
{
    return tree_record(tree, leaf->handles[leaf->order[position]]);
}

/* What stands in `source` from position `first` to `until` becomes all of target. */
static void leaf_fill(const struct keytree *tree, struct leaf *target, const struct leaf *source,
                      const uint32_t range[2], size_t skip)
{
    target->skip = skip;
    target->count = range[1] - range[0];
    for (uint32_t i = 0; i < target->count; i++) {
        uint32_t slot = source->order[range[0] + i];
        target->order[i] = (uint8_t)i;
        target->handles[i] = source->handles[slot];
        target->heads[i] = key_head(keytree_key(tree_record(tree, target->handles[i])), skip);
    }
}

/* The beginning of `right` that is just long enough to be above `left`. */
static struct bytes separate(struct bytes left, struct bytes right)
{
    size_t common = key_common(left, right);
    check(common < right.size);
    return (struct bytes){right.data, common + 1};
}

/*
 * Makes room for `record`: the upper half goes to a new leaf. Where keys come in ascending order,
 * the new leaf gets the new key alone, and leaves end up full instead of half full.
 */
static struct leaf *leaf_split(struct keytree *tree, struct leaf *leaf, struct fences fences,
                               const struct keytree_record *record, struct bytes *separator)
{
    struct leaf *right = tree_acquire_node(tree, sizeof(*right));
    if (right == NULL) {
        return NULL;
    }
    struct leaf copy = *leaf;
    struct bytes key = keytree_key(record);
    bool ascending = leaf->next == NULL && leaf_position(tree, leaf, key) == leaf->count;
    uint32_t middle = ascending ? leaf->count : leaf->count / 2;
    struct bytes last = keytree_key(leaf_record(tree, leaf, middle - 1));
    struct bytes first = ascending ? key : keytree_key(leaf_record(tree, leaf, middle));
    *separator = separate(last, first);
    leaf_fill(tree, leaf, &copy, (uint32_t[]){0, middle},
              fences_skip((struct fences){fences.low, *separator}));
    leaf_fill(tree, right, &copy, (uint32_t[]){middle, copy.count},
              fences_skip((struct fences){*separator, fences.high}));
    right->next = leaf->next;
    leaf->next = right;
    return right;
}

static void inner_rehead(struct inner *inner, struct fences fences)
{
    inner->skip = fences_skip(fences);
    for (uint32_t i = 0; i < inner->count; i++) {
        inner->heads[i] = key_head(inner->separators[i], inner->skip);
    }
}

static struct inner *inner_split(struct keytree *tree, struct inner *inner, struct fences fences,
                                 struct bytes *separator)
{
    struct inner *right = tree_acquire_node(tree, sizeof(*right));
    if (right == NULL) {
        return NULL;
    }
    uint32_t middle = inner->count / 2;
    *separator = inner->separators[middle];
    right->count = inner->count - middle - 1;
    memcpy(right->separators, inner->separators + middle + 1,
           right->count * sizeof(right->separators[0]));
    memcpy(right->children, inner->children + middle + 1,
           (right->count + 1) * sizeof(right->children[0]));
    inner->count = middle;
    inner_rehead(inner, (struct fences){fences.low, *separator});
    inner_rehead(right, (struct fences){*separator, fences.high});
    return right;
}

/* `right` stands behind child `index`, from `separator` on. */
static void inner_insert(struct inner *inner, uint32_t index, struct bytes separator, void *right)
{
    uint32_t behind = inner->count - index;
    check(inner->count < WIDTH);
    memmove(inner->separators + index + 1, inner->separators + index,
            behind * sizeof(inner->separators[0]));
    memmove(inner->heads + index + 1, inner->heads + index, behind * sizeof(inner->heads[0]));
    memmove(inner->children + index + 2, inner->children + index + 1,
            behind * sizeof(inner->children[0]));
    inner->separators[index] = separator;
    inner->heads[index] = key_head(separator, inner->skip);
    inner->children[index + 1] = right;
    inner->count += 1;
}

static bool node_is_full(const void *node, uint32_t level)
{
    return level == 0 ? ((const struct leaf *)node)->count == WIDTH
                      : ((const struct inner *)node)->count == WIDTH;
}

static bool tree_grow(struct keytree *tree)
{
    struct inner *root = tree_acquire_node(tree, sizeof(*root));
    if (root == NULL) {
        return false;
    }
    root->children[0] = tree->root;
    tree->root = root;
    tree->height += 1;
    return true;
}

/* One step down to a node with room, which is split first when it has none (K5). NULL: no memory.
 */
static void *inner_descend(struct keytree *tree, struct inner *inner, uint32_t level,
                           const struct keytree_record *record, struct fences *fences)
{
    struct bytes key = keytree_key(record);
    uint32_t index = inner_index(inner, key);
    void *child = inner->children[index];
    fences->low = index > 0 ? inner->separators[index - 1] : fences->low;
    fences->high = index < inner->count ? inner->separators[index] : fences->high;
    if (!node_is_full(child, level - 1)) {
        return child;
    }
    struct bytes separator;
    void *right = level == 1 ? (void *)leaf_split(tree, child, *fences, record, &separator)
                             : (void *)inner_split(tree, child, *fences, &separator);
    if (right == NULL) {
        return NULL;
    }
    inner_insert(inner, index, separator, right);
    if (bytes_compare(key, separator) < 0) {
        fences->high = separator;
        return child;
    }
    fences->low = separator;
    return right;
}

static struct leaf *tree_make_room(struct keytree *tree, const struct keytree_record *record)
{
    if (tree->root == NULL) {
        tree->root = tree_acquire_node(tree, sizeof(struct leaf));
        return tree->root;
    }
    if (node_is_full(tree->root, tree->height) && !tree_grow(tree)) {
        return NULL;
    }
    struct fences fences = {0};
    void *node = tree->root;
    for (uint32_t level = tree->height; level > 0 && node != NULL; level--) {
        node = inner_descend(tree, node, level, record, &fences);
    }
    return node;
}

struct keytree_record *keytree_put(struct keytree *tree, struct bytes key, uint64_t hash,
                                   bool *made)
{
    *made = false;
    struct keytree_record *found = keytree_find(tree, key, hash);
    if (found != NULL) {
        return found;
    }
    struct leaf *leaf = tree->root == NULL ? NULL : tree_leaf_of(tree, key);
    if (leaf != NULL) {
        leaf_prefetch(leaf);
    }
    if (!tree_reserve_slot(tree)) {
        return NULL;
    }
    uint32_t handle = tree_acquire_record(tree, key);
    if (handle == 0) {
        return NULL;
    }
    struct keytree_record *record = tree_record(tree, handle);
    if (leaf == NULL || leaf->count == WIDTH) {
        leaf = tree_make_room(tree, record);
        if (leaf == NULL) {
            return NULL; /* the record's bytes stay unused until the tree goes */
        }
    }
    leaf_insert(tree, leaf, handle);
    key_slots_add(&tree->slots, (uint32_t)hash, handle);
    tree->count += 1;
    *made = true;
    return record;
}

/* ---- cursor ---- */

struct keytree_record *keytree_step(struct keytree_cursor *cursor)
{
    const struct leaf *leaf = cursor->leaf;
    while (leaf != NULL && cursor->position == leaf->count) {
        leaf = leaf->next;
        cursor->position = 0;
    }
    cursor->leaf = leaf;
    if (leaf == NULL) {
        return NULL;
    }
    uint32_t position = cursor->position;
    cursor->position += 1;
    if (cursor->wanted > 0 && position + AHEAD < leaf->count) {
        __builtin_prefetch(leaf_record(cursor->tree, leaf, position + AHEAD));
        cursor->wanted -= 1;
    }
    return leaf_record(cursor->tree, leaf, position);
}

void keytree_approach(const struct keytree *tree, struct bytes key, struct keytree_cursor *cursor)
{
    *cursor = (struct keytree_cursor){.tree = tree};
    if (tree->root != NULL) {
        cursor->leaf = tree_leaf_of(tree, key);
        leaf_prefetch(cursor->leaf);
    }
}

struct keytree_record *keytree_arrive(struct bytes key, uint32_t wanted,
                                      struct keytree_cursor *cursor)
{
    const struct leaf *leaf = cursor->leaf;
    if (leaf == NULL) {
        return NULL;
    }
    cursor->position = leaf_position(cursor->tree, leaf, key);
    /* Records lie anywhere: the first few are asked for at once, the others as the cursor goes. */
    uint32_t first = wanted < AHEAD ? wanted : AHEAD;
    for (uint32_t i = cursor->position; i < leaf->count && i < cursor->position + first; i++) {
        __builtin_prefetch(leaf_record(cursor->tree, leaf, i));
    }
    cursor->wanted = wanted - first;
    return keytree_step(cursor);
}

struct keytree_record *keytree_seek(const struct keytree *tree, struct bytes key, uint32_t wanted,
                                    struct keytree_cursor *cursor)
{
    keytree_approach(tree, key, cursor);
    return keytree_arrive(key, wanted, cursor);
}

/* ---- check ---- */

/* The sum of its handles. */
static uint64_t leaf_check(const struct keytree *tree, const struct leaf *leaf,
                           struct fences fences)
{
    check(leaf->count <= WIDTH);
    check(leaf->skip == fences_skip(fences));
    uint64_t slots = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < leaf->count; i++) {
        uint32_t slot = leaf->order[i];
        struct bytes key = keytree_key(leaf_record(tree, leaf, i));
        check((slots >> slot & 1) == 0);
        slots |= UINT64_C(1) << slot;
        sum += leaf->handles[slot];
        check(leaf->heads[slot] == key_head(key, leaf->skip));
        check(fences.low.data == NULL || bytes_compare(fences.low, key) <= 0);
        check(fences.high.data == NULL || bytes_compare(key, fences.high) < 0);
        check(i == 0 || bytes_compare(keytree_key(leaf_record(tree, leaf, i - 1)), key) < 0);
    }
    return sum;
}

struct node_totals {
    uint64_t count;
    uint64_t sum; /* of handles */
};

static void node_check(const struct keytree *tree, const void *node, uint32_t level,
                       struct fences fences, struct node_totals *totals)
{
    if (level == 0) {
        totals->sum += leaf_check(tree, node, fences);
        totals->count += ((const struct leaf *)node)->count;
        return;
    }
    const struct inner *inner = node;
    check(inner->count <= WIDTH);
    for (uint32_t i = 0; i <= inner->count; i++) {
        struct fences below = {
            .low = i > 0 ? inner->separators[i - 1] : fences.low,
            .high = i < inner->count ? inner->separators[i] : fences.high,
        };
        check(i == inner->count || inner->heads[i] == key_head(below.high, inner->skip));
        node_check(tree, inner->children[i], level - 1, below, totals);
    }
}

void keytree_check(const struct keytree *tree)
{
    struct node_totals totals = {0};
    if (tree->root != NULL) {
        node_check(tree, tree->root, tree->height, (struct fences){0}, &totals);
    }
    check(totals.count == tree->count);
    /* The same handles stand in the slots. */
    for (uint32_t i = 0; i < tree->slots.bucket_count; i++) {
        for (uint32_t j = 0; j < KEY_BUCKET_WIDTH; j++) {
            totals.sum -= tree->slots.buckets[i].handles[j];
        }
    }
    check(totals.sum == 0);
    check(tree->slots.count == tree->count);
    check(tree->payload <= tree->size);
    check(tree->size <= tree->held);
}
