/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keytree.h"

#include "base/check.h"
#include "storage/key_order.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define WIDTH KEYTREE_WIDTH
#define LINE ((size_t)64)
#define AHEAD 8 /* records that a cursor asks the memory for before it gets there */

struct keytree_block {
    struct keytree_block *next;
    size_t size; /* with this header */
};

struct leaf {
    struct leaf *next;
    size_t skip; /* K1 */
    uint32_t count;
    _Alignas(64) uint8_t tags[WIDTH];
    uint8_t order[WIDTH];
    uint64_t heads[WIDTH];
    struct keytree_record *records[WIDTH];
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

static size_t tree_room(const struct keytree *tree)
{
    return (size_t)(tree->node_cursor - tree->record_cursor);
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
    struct keytree_block *block = supply_acquire(tree->supply, wanted);
    if (block == NULL) {
        return false;
    }
    if (tree_room(tree) > (size_t)(tree->spare_limit - tree->spare_cursor)) {
        tree->spare_cursor = tree->record_cursor;
        tree->spare_limit = tree->node_cursor;
    }
    block->size = wanted;
    block->next = tree->block;
    tree->block = block;
    tree->held += wanted;
    tree->record_cursor = (uint8_t *)(block + 1);
    tree->node_cursor = (uint8_t *)(((uintptr_t)block + wanted) & ~(uintptr_t)(LINE - 1));
    return true;
}

static void *tree_acquire_node(struct keytree *tree, size_t size)
{
    check(size % LINE == 0);
    if (tree_room(tree) < size && !tree_add_block(tree, size)) {
        return NULL;
    }
    tree->node_cursor -= size;
    tree->size += size;
    return tree->node_cursor; /* zero: blocks are, and nothing is given back */
}

static struct keytree_record *tree_acquire_record(struct keytree *tree, struct bytes key)
{
    size_t size = (sizeof(struct keytree_record) + key.size + 7) & ~(size_t)7;
    if (key.size > UINT32_MAX) {
        return NULL;
    }
    bool spare = (size_t)(tree->spare_limit - tree->spare_cursor) >= size;
    if (!spare && tree_room(tree) < size && !tree_add_block(tree, size)) {
        return NULL;
    }
    uint8_t **cursor = spare ? &tree->spare_cursor : &tree->record_cursor;
    struct keytree_record *record = (struct keytree_record *)(void *)*cursor;
    *cursor += size;
    tree->size += size;
    tree->payload += size;
    record->key_size = (uint32_t)key.size;
    if (key.size > 0) {
        memcpy(record->key, key.data, key.size);
    }
    return record;
}

void keytree_init(struct keytree *tree, struct supply *supply)
{
    *tree = (struct keytree){.supply = supply};
}

void keytree_deinit(struct keytree *tree)
{
    for (struct keytree_block *block = tree->block; block != NULL;) {
        struct keytree_block *next = block->next;
        supply_release(tree->supply, block, block->size);
        block = next;
    }
    keytree_init(tree, tree->supply);
}

/* ---- find ---- */

/* A bit for each slot whose tag this is. */
static uint64_t leaf_match(const struct leaf *leaf, uint8_t tag)
{
    uint64_t found = 0;
#ifdef __SSE2__
    __m128i wanted = _mm_set1_epi8((char)tag);
    for (int i = 0; i < WIDTH / 16; i++) {
        __m128i tags = _mm_load_si128((const __m128i *)(const void *)leaf->tags + i);
        uint32_t bits = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, wanted));
        found |= (uint64_t)bits << (16 * i);
    }
#else
    for (int i = 0; i < WIDTH; i++) {
        found |= (uint64_t)(leaf->tags[i] == tag) << i;
    }
#endif
    return leaf->count == 64 ? found : found & ((UINT64_C(1) << leaf->count) - 1);
}

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

static struct keytree_record *leaf_find(const struct leaf *leaf, struct bytes key, uint64_t hash)
{
    for (uint64_t found = leaf_match(leaf, (uint8_t)hash); found != 0; found &= found - 1) {
        struct keytree_record *record = leaf->records[__builtin_ctzll(found)];
        if (record->key_size == key.size && key_compare_from(keytree_key(record), key, 0) == 0) {
            return record;
        }
    }
    return NULL;
}

/* Asks for all lines of the leaf from `from` on at once: 145 ns of memory latency instead of two
 * or three times that, one behind the other. Measured: 0.46 to 0.39 us a find, 0.45 to 0.40 a put.
 */
static void leaf_prefetch(const struct leaf *leaf, size_t from)
{
    for (size_t at = from; at < sizeof(*leaf); at += LINE) {
        __builtin_prefetch((const uint8_t *)leaf + at);
    }
}

struct keytree_record *keytree_find(const struct keytree *tree, struct bytes key, uint64_t hash)
{
    if (tree->root == NULL) {
        return NULL;
    }
    const struct leaf *leaf = tree_leaf_of(tree, key);
    leaf_prefetch(leaf, offsetof(struct leaf, records));
    return leaf_find(leaf, key, hash);
}

/* ---- put ---- */

/* Position in `order` of the first key that is not below. */
static uint32_t leaf_position(const struct leaf *leaf, struct bytes key)
{
    uint64_t head = key_head(key, leaf->skip);
    uint32_t low = 0;
    uint32_t high = leaf->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint32_t slot = leaf->order[middle];
        bool below = leaf->heads[slot] < head;
        if (leaf->heads[slot] == head) {
            below = key_compare_from(keytree_key(leaf->records[slot]), key, leaf->skip + 8) < 0;
        }
        low = below ? middle + 1 : low;
        high = below ? high : middle;
    }
    return low;
}

static void leaf_insert(struct leaf *leaf, struct keytree_record *record, uint64_t hash)
{
    struct bytes key = keytree_key(record);
    uint32_t slot = leaf->count;
    uint32_t position = leaf_position(leaf, key);
    check(slot < WIDTH);
    memmove(leaf->order + position + 1, leaf->order + position, slot - position);
    leaf->order[position] = (uint8_t)slot;
    leaf->tags[slot] = (uint8_t)hash;
    leaf->heads[slot] = key_head(key, leaf->skip);
    leaf->records[slot] = record;
    leaf->count = slot + 1;
}

static size_t fences_skip(struct fences fences)
{
    return fences.low.data == NULL || fences.high.data == NULL
               ? 0
               : key_common(fences.low, fences.high);
}

/* The slots order[first..until) of source become all of target; target may be source's copy. */
static void leaf_fill(struct leaf *target, const struct leaf *source, uint32_t first,
                      uint32_t until, size_t skip)
{
    target->skip = skip;
    target->count = until - first;
    for (uint32_t i = 0; i < target->count; i++) {
        uint32_t slot = source->order[first + i];
        target->order[i] = (uint8_t)i;
        target->tags[i] = source->tags[slot];
        target->records[i] = source->records[slot];
        target->heads[i] = key_head(keytree_key(target->records[i]), skip);
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
    bool ascending = leaf->next == NULL && leaf_position(leaf, key) == leaf->count;
    uint32_t middle = ascending ? leaf->count : leaf->count / 2;
    struct bytes last = keytree_key(leaf->records[leaf->order[middle - 1]]);
    struct bytes first = ascending ? key : keytree_key(leaf->records[leaf->order[middle]]);
    *separator = separate(last, first);
    leaf_fill(leaf, &copy, 0, middle, fences_skip((struct fences){fences.low, *separator}));
    leaf_fill(right, &copy, middle, copy.count,
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
    struct leaf *leaf = tree->root == NULL ? NULL : tree_leaf_of(tree, key);
    *made = false;
    if (leaf != NULL) {
        leaf_prefetch(leaf, 0);
        struct keytree_record *found = leaf_find(leaf, key, hash);
        if (found != NULL) {
            return found;
        }
    }
    struct keytree_record *record = tree_acquire_record(tree, key);
    if (record == NULL) {
        return NULL;
    }
    if (leaf == NULL || leaf->count == WIDTH) {
        leaf = tree_make_room(tree, record);
        if (leaf == NULL) {
            return NULL; /* the record's bytes stay unused until the tree goes */
        }
    }
    leaf_insert(leaf, record, hash);
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
    if (position + AHEAD < leaf->count) { /* records lie anywhere: ask for them in time */
        __builtin_prefetch(leaf->records[leaf->order[position + AHEAD]]);
    }
    return leaf->records[leaf->order[position]];
}

struct keytree_record *keytree_seek(const struct keytree *tree, struct bytes key,
                                    struct keytree_cursor *cursor)
{
    *cursor = (struct keytree_cursor){0};
    if (tree->root == NULL) {
        return NULL;
    }
    const struct leaf *leaf = tree_leaf_of(tree, key);
    leaf_prefetch(leaf, 0);
    cursor->leaf = leaf;
    cursor->position = leaf_position(leaf, key);
    for (uint32_t i = cursor->position; i < leaf->count && i < cursor->position + AHEAD; i++) {
        __builtin_prefetch(leaf->records[leaf->order[i]]);
    }
    return keytree_step(cursor);
}

/* ---- check ---- */

static void leaf_check(const struct leaf *leaf, struct fences fences)
{
    check(leaf->count <= WIDTH);
    check(leaf->skip == fences_skip(fences));
    uint64_t slots = 0;
    for (uint32_t i = 0; i < leaf->count; i++) {
        uint32_t slot = leaf->order[i];
        struct bytes key = keytree_key(leaf->records[slot]);
        check((slots >> slot & 1) == 0);
        slots |= UINT64_C(1) << slot;
        check(leaf->heads[slot] == key_head(key, leaf->skip));
        check(fences.low.data == NULL || bytes_compare(fences.low, key) <= 0);
        check(fences.high.data == NULL || bytes_compare(key, fences.high) < 0);
        check(i == 0 || bytes_compare(keytree_key(leaf->records[leaf->order[i - 1]]), key) < 0);
    }
}

static uint64_t node_check(const void *node, uint32_t level, struct fences fences)
{
    if (level == 0) {
        leaf_check(node, fences);
        return ((const struct leaf *)node)->count;
    }
    const struct inner *inner = node;
    uint64_t count = 0;
    check(inner->count <= WIDTH);
    for (uint32_t i = 0; i <= inner->count; i++) {
        struct fences below = {
            .low = i > 0 ? inner->separators[i - 1] : fences.low,
            .high = i < inner->count ? inner->separators[i] : fences.high,
        };
        check(i == inner->count || inner->heads[i] == key_head(below.high, inner->skip));
        count += node_check(inner->children[i], level - 1, below);
    }
    return count;
}

void keytree_check(const struct keytree *tree)
{
    check(tree->root == NULL
              ? tree->count == 0
              : node_check(tree->root, tree->height, (struct fences){0}) == tree->count);
    check(tree->payload <= tree->size);
    check(tree->size <= tree->held);
}
