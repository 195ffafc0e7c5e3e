/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keytree.h"

#include "base/check.h"
#include "storage/key_order.h"

#define WIDTH KEYTREE_WIDTH
#define LINE ((size_t)64)

struct keytree_node {
    uint16_t level; /* 0: a leaf */
};

struct leaf {
    struct keytree_node node;
    uint16_t count;
    uint32_t turn; /* counts changes */
    uint32_t skip; /* K1 */
    pthread_mutex_t lock;
    struct leaf *next;
    _Alignas(64) uint8_t order[WIDTH];
    uint64_t heads[WIDTH];
    uint32_t handles[WIDTH];
};

/* 14 lines; 15 where a mutex takes more than 40 bytes, as that of glibc on ARM64 does. */
_Static_assert(sizeof(struct leaf) <= 15 * LINE, "a line or two beside the arrays");

/* Words are stored whole, and arrays before `count` (K6). */
struct inner {
    struct keytree_node node;
    _Atomic uint32_t count; /* of separators; there is one child more */
    struct keytree_gate gate;
    _Atomic size_t skip;
    _Alignas(64) _Atomic uint64_t heads[WIDTH];
    _Atomic uint32_t separators[WIDTH]; /* records that begin with them, */
    _Atomic uint32_t sizes[WIDTH];      /* and how much of their keys that is */
    /* Child i holds keys below separator i, child i+1 the others. */
    struct keytree_node *_Atomic children[WIDTH + 1];
};

/* The separators to the left and right of a node; data NULL: none, the node is at that edge. */
struct fences {
    struct bytes low;
    struct bytes high;
};

struct separator {
    uint32_t handle;
    uint32_t size;
};

/* Loads acquire and stores release, as in key_record.h. */
#define LOAD(place) atomic_load_explicit(&(place), memory_order_acquire)
#define STORE(place, value) atomic_store_explicit(&(place), (value), memory_order_release)

static struct bytes tree_key(const struct keytree *tree, uint32_t handle)
{
    return key_record_key(key_blocks_record(tree->blocks, handle));
}

static struct bytes tree_separator(const struct keytree *tree, const struct inner *inner,
                                   uint32_t index)
{
    struct bytes key = tree_key(tree, LOAD(inner->separators[index]));
    uint32_t size = LOAD(inner->sizes[index]);
    key.size = size < key.size ? size : key.size; /* of two moments, perhaps */
    return key;
}

/* ---- memory ---- */

struct keytree_node_block {
    struct keytree_node_block *next;
    uint64_t size;
};

#define NODES_SIZE_MIN 4096
#define NODES_SIZE_MAX 65536

/* A block is a 16th of what the tree has. */
static bool tree_add_block(struct keytree *tree, size_t size)
{
    uint64_t held = atomic_load_explicit(&tree->held, memory_order_relaxed);
    uint64_t wanted = held / 16;
    wanted = wanted < NODES_SIZE_MIN   ? NODES_SIZE_MIN
             : wanted > NODES_SIZE_MAX ? NODES_SIZE_MAX
                                       : wanted;
    /* The first one: a leaf, and little more. */
    wanted = held == 0 ? sizeof(struct keytree_node_block) + size + LINE : wanted;
    struct keytree_node_block *block = supply_acquire(tree->supply, wanted);
    if (block == NULL) {
        return false;
    }
    *block = (struct keytree_node_block){tree->newest, wanted};
    tree->newest = block;
    tree->cursor = (uint8_t *)(((uintptr_t)(block + 1) + LINE - 1) & ~(uintptr_t)(LINE - 1));
    tree->end = (uint8_t *)block + wanted;
    atomic_store_explicit(&tree->held, held + wanted, memory_order_relaxed);
    return true;
}

/* Zero: blocks are, and nothing is given back. */
static void *tree_acquire_node(struct keytree *tree, size_t size)
{
    check(size % LINE == 0);
    check(!tree->shared || pthread_mutex_lock(&tree->memory_lock) == 0);
    void *node = NULL;
    if ((size_t)(tree->end - tree->cursor) >= size || tree_add_block(tree, size)) {
        node = tree->cursor;
        tree->cursor += size;
        atomic_fetch_add_explicit(&tree->size, size, memory_order_relaxed);
    }
    check(!tree->shared || pthread_mutex_unlock(&tree->memory_lock) == 0);
    return node;
}

/* Locks of nodes are never destroyed: there is nothing behind them, and nodes go by the block. */
static struct leaf *tree_make_leaf(struct keytree *tree)
{
    struct leaf *leaf = tree_acquire_node(tree, sizeof(*leaf));
    check(leaf == NULL || pthread_mutex_init(&leaf->lock, NULL) == 0);
    return leaf;
}

static struct inner *tree_make_inner(struct keytree *tree, uint32_t level)
{
    struct inner *inner = tree_acquire_node(tree, sizeof(*inner));
    if (inner != NULL) {
        inner->node.level = (uint16_t)level;
        check(pthread_mutex_init(&inner->gate.lock, NULL) == 0);
    }
    return inner;
}

void keytree_init(struct keytree *tree, const struct key_blocks *blocks)
{
    *tree = (struct keytree){
        .blocks = blocks, .supply = blocks->supply, .shared = blocks->supply->shared};
    check(pthread_mutex_init(&tree->gate.lock, NULL) == 0);
    check(pthread_mutex_init(&tree->memory_lock, NULL) == 0);
}

void keytree_clear(struct keytree *tree)
{
    STORE(tree->root, NULL);
    while (tree->newest != NULL) {
        struct keytree_node_block *block = tree->newest;
        tree->newest = block->next;
        supply_release(tree->supply, block, block->size);
    }
    tree->cursor = tree->end = NULL;
    atomic_store_explicit(&tree->size, 0, memory_order_relaxed);
    atomic_store_explicit(&tree->held, 0, memory_order_relaxed);
}

void keytree_deinit(struct keytree *tree)
{
    keytree_clear(tree);
    check(pthread_mutex_destroy(&tree->gate.lock) == 0);
    check(pthread_mutex_destroy(&tree->memory_lock) == 0);
}

/* ---- gates and locks ---- */

/* The changes so far, none of them under way. */
static uint64_t gate_read(const struct keytree *tree, struct keytree_gate *gate)
{
    uint64_t changes = LOAD(gate->changes);
    while ((changes & 1) != 0) { /* its holder may be put aside: sleep, do not spin */
        check(tree->shared);
        check(pthread_mutex_lock(&gate->lock) == 0);
        check(pthread_mutex_unlock(&gate->lock) == 0);
        changes = LOAD(gate->changes);
    }
    return changes;
}

/* What was read since gate_read() was all of one moment. */
static bool gate_is_still(const struct keytree_gate *gate, uint64_t changes)
{
    return atomic_load_explicit(&gate->changes, memory_order_relaxed) == changes;
}

/* False: it has moved, and is not entered. */
static bool gate_enter(const struct keytree *tree, struct keytree_gate *gate, uint64_t changes)
{
    check(!tree->shared || pthread_mutex_lock(&gate->lock) == 0);
    if (!gate_is_still(gate, changes)) {
        check(!tree->shared || pthread_mutex_unlock(&gate->lock) == 0);
        return false;
    }
    atomic_store_explicit(&gate->changes, changes + 1, memory_order_relaxed);
    return true;
}

static void gate_leave(const struct keytree *tree, struct keytree_gate *gate)
{
    uint64_t changes = atomic_load_explicit(&gate->changes, memory_order_relaxed);
    check((changes & 1) != 0);
    STORE(gate->changes, changes + 1);
    check(!tree->shared || pthread_mutex_unlock(&gate->lock) == 0);
}

static void leaf_lock(const struct keytree *tree, struct leaf *leaf)
{
    check(!tree->shared || pthread_mutex_lock(&leaf->lock) == 0);
}

static void leaf_unlock(const struct keytree *tree, struct leaf *leaf)
{
    check(!tree->shared || pthread_mutex_unlock(&leaf->lock) == 0);
}

/* ---- the way down ---- */

/* Who stands above a node, and where in it the node hangs. */
struct step {
    struct keytree_gate *gate;
    struct inner *inner; /* NULL: the node is the root */
    uint64_t changes;
    uint32_t index;
};

static struct step tree_top(struct keytree *tree)
{
    return (struct step){.gate = &tree->gate, .changes = gate_read(tree, &tree->gate)};
}

/* An inner node at one moment, at which the gate above it had not moved either: the key that led
 * here is between its fences, and so has `skip` bytes. */
struct view {
    uint64_t changes;
    size_t skip;
    uint32_t count;
};

/* False: something moved, begin anew. */
static bool inner_view(const struct keytree *tree, const struct step *step, struct inner *inner,
                       struct view *view)
{
    view->changes = gate_read(tree, &inner->gate);
    view->skip = LOAD(inner->skip);
    view->count = LOAD(inner->count);
    return gate_is_still(step->gate, step->changes) && gate_is_still(&inner->gate, view->changes);
}

/* Children to the left of the key's: separators at or below it. */
static uint32_t inner_index(const struct keytree *tree, const struct inner *inner,
                            const struct view *view, struct bytes key)
{
    uint64_t wanted = key_head(key, view->skip);
    uint32_t low = 0;
    uint32_t high = view->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint64_t head = LOAD(inner->heads[middle]);
        bool below = head < wanted;
        if (head == wanted) {
            struct bytes separator = tree_separator(tree, inner, middle);
            below = key_compare_from(separator, key, view->skip + 8) <= 0;
        }
        low = below ? middle + 1 : low;
        high = below ? high : middle;
    }
    return low;
}

/* Asks for what a search looks at, all lines at once: one latency of memory instead of two or
 * three, one behind the other. Of an inner node that is as much as of a leaf, but for the handles.
 */
static void node_prefetch(const struct keytree_node *node)
{
    for (size_t at = 0; at < offsetof(struct leaf, handles); at += LINE) {
        __builtin_prefetch((const uint8_t *)node + at);
    }
}

/* Down to child `index`. Whether it still is the key's is seen by whoever looks at the step next.
 */
static void inner_step(struct inner *inner, const struct view *view, uint32_t index,
                       struct step *step, struct keytree_node **node)
{
    *node = LOAD(inner->children[index]);
    node_prefetch(*node);
    *step = (struct step){&inner->gate, inner, view->changes, index};
}

/* ---- leaves ---- */

/* Position in `order` of the first key that is not below; above it, where `behind`. */
static uint32_t leaf_position(const struct keytree *tree, const struct leaf *leaf, struct bytes key,
                              bool behind)
{
    uint64_t head = key_head(key, leaf->skip);
    uint32_t low = 0;
    uint32_t high = leaf->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint32_t place = leaf->order[middle];
        bool below = leaf->heads[place] < head;
        if (leaf->heads[place] == head) {
            struct bytes other = tree_key(tree, leaf->handles[place]);
            below = key_compare_from(other, key, leaf->skip + 8) < (behind ? 1 : 0);
        }
        low = below ? middle + 1 : low;
        high = below ? high : middle;
    }
    return low;
}

static void leaf_insert(const struct keytree *tree, struct leaf *leaf, uint32_t handle)
{
    struct bytes key = tree_key(tree, handle);
    uint32_t place = leaf->count;
    uint32_t position = leaf_position(tree, leaf, key, false);
    check(place < WIDTH);
    memmove(leaf->order + position + 1, leaf->order + position, place - position);
    leaf->order[position] = (uint8_t)place;
    leaf->heads[place] = key_head(key, leaf->skip);
    leaf->handles[place] = handle;
    leaf->count = (uint16_t)(place + 1);
    leaf->turn += 1;
}

static size_t fences_skip(struct fences fences)
{
    return fences.low.data == NULL || fences.high.data == NULL
               ? 0
               : key_common(fences.low, fences.high);
}

static uint32_t leaf_handle(const struct leaf *leaf, uint32_t position)
{
    return leaf->handles[leaf->order[position]];
}

/* A leaf's contents by ascending key. */
struct sorted {
    uint32_t handles[WIDTH];
    uint64_t heads[WIDTH]; /* behind `skip` bytes */
    uint32_t skip;
};

/*
 * What stands in `sorted` from `first` to `until` becomes all of the leaf. Its fences may be closer
 * now and allow a longer skip, but new heads need every key, which is a line of memory each: 64 of
 * them make a split 12 us long instead of 2. So the old ones stay until two of them are equal.
 */
static void leaf_fill(const struct keytree *tree, struct leaf *leaf, const struct sorted *sorted,
                      const uint32_t range[2], struct fences fences)
{
    bool equal = false;
    leaf->skip = sorted->skip;
    leaf->count = (uint16_t)(range[1] - range[0]);
    leaf->turn += 1;
    for (uint32_t i = 0; i < leaf->count; i++) {
        leaf->order[i] = (uint8_t)i;
        leaf->handles[i] = sorted->handles[range[0] + i];
        leaf->heads[i] = sorted->heads[range[0] + i];
        equal = equal || (i > 0 && leaf->heads[i] == leaf->heads[i - 1]);
    }
    size_t skip = equal ? fences_skip(fences) : 0;
    if (skip > leaf->skip) {
        leaf->skip = (uint32_t)skip;
        for (uint32_t i = 0; i < leaf->count; i++) {
            leaf->heads[i] = key_head(tree_key(tree, leaf->handles[i]), skip);
        }
    }
}

static struct bytes separator_bytes(const struct keytree *tree, struct separator separator)
{
    return (struct bytes){tree_key(tree, separator.handle).data, separator.size};
}

/* The beginning of `right` that is just long enough to be above `left`. */
static struct separator separate(const struct keytree *tree, uint32_t left, uint32_t right)
{
    size_t common = key_common(tree_key(tree, left), tree_key(tree, right));
    check(common < tree_key(tree, right).size);
    return (struct separator){right, (uint32_t)common + 1};
}

/*
 * The upper half goes to the new leaf `right`. Where keys come in ascending order, `right` gets the
 * new key alone, and leaves end up full instead of half full.
 */
static struct separator leaf_split(const struct keytree *tree, struct leaf *leaf,
                                   struct leaf *right, struct fences fences, uint32_t handle)
{
    struct sorted sorted = {.skip = leaf->skip};
    uint32_t count = leaf->count;
    for (uint32_t i = 0; i < count; i++) {
        sorted.handles[i] = leaf->handles[leaf->order[i]];
        sorted.heads[i] = leaf->heads[leaf->order[i]];
    }
    bool ascending =
        leaf->next == NULL && leaf_position(tree, leaf, tree_key(tree, handle), false) == count;
    uint32_t middle = ascending ? count : count / 2;
    struct separator separator =
        separate(tree, sorted.handles[middle - 1], ascending ? handle : sorted.handles[middle]);
    struct bytes bytes = separator_bytes(tree, separator);
    leaf_fill(tree, leaf, &sorted, (uint32_t[]){0, middle}, (struct fences){fences.low, bytes});
    leaf_fill(tree, right, &sorted, (uint32_t[]){middle, count},
              (struct fences){bytes, fences.high});
    right->next = leaf->next;
    leaf->next = right;
    return separator;
}

/* ---- inner nodes: whoever calls is in their gate, or the node is not to be seen yet ---- */

static void inner_set(const struct keytree *tree, struct inner *inner, uint32_t index,
                      struct separator separator)
{
    STORE(inner->heads[index], key_head(separator_bytes(tree, separator), LOAD(inner->skip)));
    STORE(inner->separators[index], separator.handle);
    STORE(inner->sizes[index], separator.size);
}

static struct separator inner_get(const struct inner *inner, uint32_t index)
{
    return (struct separator){LOAD(inner->separators[index]), LOAD(inner->sizes[index])};
}

static void inner_rehead(const struct keytree *tree, struct inner *inner, struct fences fences)
{
    STORE(inner->skip, fences_skip(fences));
    for (uint32_t i = 0; i < LOAD(inner->count); i++) {
        inner_set(tree, inner, i, inner_get(inner, i));
    }
}

static struct separator inner_split(const struct keytree *tree, struct inner *inner,
                                    struct inner *right, struct fences fences)
{
    uint32_t middle = LOAD(inner->count) / 2;
    uint32_t count = LOAD(inner->count) - middle - 1;
    struct separator separator = inner_get(inner, middle);
    for (uint32_t i = 0; i < count; i++) {
        inner_set(tree, right, i, inner_get(inner, middle + 1 + i));
    }
    for (uint32_t i = 0; i <= count; i++) {
        STORE(right->children[i], LOAD(inner->children[middle + 1 + i]));
    }
    STORE(right->count, count);
    STORE(inner->count, middle);
    struct bytes bytes = separator_bytes(tree, separator);
    inner_rehead(tree, inner, (struct fences){fences.low, bytes});
    inner_rehead(tree, right, (struct fences){bytes, fences.high});
    return separator;
}

/* `right` stands behind child `index`, from `separator` on. */
static void inner_insert(const struct keytree *tree, struct inner *inner, uint32_t index,
                         struct separator separator, struct keytree_node *right)
{
    uint32_t count = LOAD(inner->count);
    check(count < WIDTH);
    STORE(inner->children[count + 1], LOAD(inner->children[count]));
    for (uint32_t i = count; i > index; i--) {
        STORE(inner->heads[i], LOAD(inner->heads[i - 1]));
        STORE(inner->separators[i], LOAD(inner->separators[i - 1]));
        STORE(inner->sizes[i], LOAD(inner->sizes[i - 1]));
        STORE(inner->children[i], LOAD(inner->children[i - 1]));
    }
    inner_set(tree, inner, index, separator);
    STORE(inner->children[index + 1], right);
    STORE(inner->count, count + 1);
}

/* ---- insert: STATUS_PENDING begins anew from the root ---- */

/* Hangs what came of a node's split behind it. `root` is there when the node was the root. */
static void tree_attach(struct keytree *tree, const struct step *step, struct inner *root,
                        struct separator separator, struct keytree_node *right)
{
    if (root == NULL) {
        inner_insert(tree, step->inner, step->index, separator, right);
        return;
    }
    STORE(root->children[0], LOAD(tree->root));
    inner_insert(tree, root, 0, separator, right);
    STORE(tree->root, &root->node);
}

static enum status tree_split_inner(struct keytree *tree, const struct step *step,
                                    struct inner *inner, uint64_t changes, struct fences fences)
{
    if (!gate_enter(tree, step->gate, step->changes)) {
        return STATUS_PENDING;
    }
    enum status status = STATUS_PENDING;
    if (gate_enter(tree, &inner->gate, changes)) {
        uint32_t level = inner->node.level;
        struct inner *root = step->inner == NULL ? tree_make_inner(tree, level + 1) : NULL;
        struct inner *right = tree_make_inner(tree, level);
        if (right == NULL || (step->inner == NULL && root == NULL)) {
            status = STATUS_NO_MEMORY;
        } else {
            struct separator separator = inner_split(tree, inner, right, fences);
            tree_attach(tree, step, root, separator, &right->node);
        }
        gate_leave(tree, &inner->gate);
    }
    gate_leave(tree, step->gate);
    return status;
}

static enum status tree_split_leaf(struct keytree *tree, const struct step *step, struct leaf *leaf,
                                   struct fences fences, uint32_t handle)
{
    if (!gate_enter(tree, step->gate, step->changes)) {
        return STATUS_PENDING;
    }
    struct inner *root = step->inner == NULL ? tree_make_inner(tree, 1) : NULL;
    struct leaf *right = tree_make_leaf(tree);
    if (right == NULL || (step->inner == NULL && root == NULL)) {
        gate_leave(tree, step->gate);
        return STATUS_NO_MEMORY;
    }
    leaf_lock(tree, leaf);
    check(leaf->count == WIDTH); /* it splits in this gate alone, and nothing is taken out */
    struct separator separator = leaf_split(tree, leaf, right, fences, handle);
    bool below = bytes_compare(tree_key(tree, handle), separator_bytes(tree, separator)) < 0;
    leaf_insert(tree, below ? leaf : right, handle);
    tree_attach(tree, step, root, separator, &right->node);
    leaf_unlock(tree, leaf);
    gate_leave(tree, step->gate);
    return STATUS_OK;
}

static enum status tree_plant(struct keytree *tree, const struct step *step)
{
    if (!gate_enter(tree, step->gate, step->changes)) {
        return STATUS_PENDING;
    }
    struct leaf *leaf = tree_make_leaf(tree);
    STORE(tree->root, leaf == NULL ? NULL : &leaf->node);
    gate_leave(tree, step->gate);
    return leaf == NULL ? STATUS_NO_MEMORY : STATUS_PENDING;
}

/* Puts the record into the leaf that the place names, when it still is the key's and has room. */
static enum status tree_insert_at(struct keytree *tree, const struct keytree_place *place,
                                  uint32_t handle, bool *full)
{
    struct leaf *leaf = place->leaf;
    leaf_lock(tree, leaf);
    bool right = gate_is_still(place->gate, place->changes); /* K7 */
    *full = right && leaf->count == WIDTH;
    if (right && !*full) {
        leaf_insert(tree, leaf, handle);
    }
    leaf_unlock(tree, leaf);
    return right && !*full ? STATUS_OK : STATUS_PENDING;
}

/* All the way, splitting what is full. */
static enum status tree_insert(struct keytree *tree, uint32_t handle)
{
    struct bytes key = tree_key(tree, handle);
    struct fences fences = {0};
    struct step step = tree_top(tree);
    struct keytree_node *node = LOAD(tree->root);
    if (node == NULL) {
        return tree_plant(tree, &step);
    }
    while (node->level > 0) {
        struct inner *inner = (struct inner *)node;
        struct view view;
        if (!inner_view(tree, &step, inner, &view)) {
            return STATUS_PENDING;
        }
        if (view.count == WIDTH) { /* K4 */
            return tree_split_inner(tree, &step, inner, view.changes, fences);
        }
        uint32_t index = inner_index(tree, inner, &view, key);
        fences.low = index > 0 ? tree_separator(tree, inner, index - 1) : fences.low;
        fences.high = index < view.count ? tree_separator(tree, inner, index) : fences.high;
        inner_step(inner, &view, index, &step, &node);
    }
    bool full;
    struct keytree_place place = {.gate = step.gate, .changes = step.changes, .leaf = node};
    enum status status = tree_insert_at(tree, &place, handle, &full);
    return full ? tree_split_leaf(tree, &step, (struct leaf *)node, fences, handle) : status;
}

enum status keytree_insert(struct keytree *tree, uint32_t handle, const struct keytree_place *place)
{
    bool full;
    enum status status =
        place->leaf == NULL ? STATUS_PENDING : tree_insert_at(tree, place, handle, &full);
    while (status == STATUS_PENDING) {
        status = tree_insert(tree, handle);
    }
    return status;
}

/* ---- the way to a leaf ---- */

bool keytree_approach(struct keytree *tree, struct bytes key, struct keytree_place *place)
{
    struct step step = tree_top(tree);
    struct keytree_node *node = LOAD(tree->root);
    *place = (struct keytree_place){0};
    while (node != NULL && node->level > 0) {
        struct inner *inner = (struct inner *)node;
        struct view view;
        if (!inner_view(tree, &step, inner, &view)) {
            return false;
        }
        inner_step(inner, &view, inner_index(tree, inner, &view, key), &step, &node);
    }
    *place = (struct keytree_place){.gate = step.gate, .changes = step.changes, .leaf = node};
    return true;
}

/* ---- read ---- */

/* The leaf at the cursor's position, locked. NULL: the tree is empty. */
static struct leaf *cursor_lock(struct keytree_cursor *cursor)
{
    struct keytree *tree = cursor->tree;
    struct leaf *leaf = cursor->leaf;
    if (leaf != NULL) {
        leaf_lock(tree, leaf);
        if (leaf->turn == cursor->turn) {
            return leaf;
        }
        leaf_unlock(tree, leaf);
    }
    for (;;) {
        struct keytree_place place;
        while (!keytree_approach(tree, cursor->key, &place)) {
        }
        leaf = place.leaf;
        if (leaf == NULL) {
            return NULL;
        }
        leaf_lock(tree, leaf);
        if (gate_is_still(place.gate, place.changes)) { /* K7 */
            cursor->position = leaf_position(tree, leaf, cursor->key, cursor->behind);
            return leaf;
        }
        leaf_unlock(tree, leaf);
    }
}

void keytree_seek(struct keytree *tree, struct bytes key, struct keytree_cursor *cursor)
{
    *cursor = (struct keytree_cursor){.tree = tree, .key = key};
}

uint32_t keytree_read(struct keytree_cursor *cursor, struct key_record **records, uint32_t room)
{
    const struct keytree *tree = cursor->tree;
    struct leaf *leaf = cursor_lock(cursor);
    uint32_t count = 0;
    while (leaf != NULL) {
        while (count < room && cursor->position < leaf->count) {
            records[count] = key_blocks_record(tree->blocks, leaf_handle(leaf, cursor->position));
            cursor->position += 1;
            count += 1;
        }
        struct leaf *next = count == room ? NULL : leaf->next;
        cursor->leaf = leaf;
        cursor->turn = leaf->turn;
        leaf_unlock(tree, leaf);
        leaf = next;
        if (leaf != NULL) {
            leaf_lock(tree, leaf);
            cursor->position = 0;
        }
    }
    if (count > 0) {
        cursor->key = key_record_key(records[count - 1]);
        cursor->behind = true;
    }
    return count;
}

/* ---- check ---- */

static uint64_t leaf_check(const struct keytree *tree, const struct leaf *leaf,
                           struct fences fences)
{
    check(leaf->count <= WIDTH);
    check(leaf->skip <= fences_skip(fences));
    uint64_t places = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < leaf->count; i++) {
        uint32_t place = leaf->order[i];
        struct bytes key = tree_key(tree, leaf->handles[place]);
        check((places >> place & 1) == 0);
        places |= UINT64_C(1) << place;
        sum += leaf->handles[place];
        check(leaf->heads[place] == key_head(key, leaf->skip));
        check(fences.low.data == NULL || bytes_compare(fences.low, key) <= 0);
        check(fences.high.data == NULL || bytes_compare(key, fences.high) < 0);
        check(i == 0 || bytes_compare(tree_key(tree, leaf_handle(leaf, i - 1)), key) < 0);
    }
    return sum;
}

static uint64_t node_check(const struct keytree *tree, const struct keytree_node *node,
                           struct fences fences)
{
    if (node->level == 0) {
        return leaf_check(tree, (const struct leaf *)node, fences);
    }
    const struct inner *inner = (const struct inner *)node;
    uint32_t count = LOAD(inner->count);
    uint64_t sum = 0;
    check(count <= WIDTH);
    for (uint32_t i = 0; i <= count; i++) {
        struct fences below = {
            .low = i > 0 ? tree_separator(tree, inner, i - 1) : fences.low,
            .high = i < count ? tree_separator(tree, inner, i) : fences.high,
        };
        const struct keytree_node *child = LOAD(inner->children[i]);
        check(child->level + 1 == node->level);
        check(i == count || LOAD(inner->heads[i]) == key_head(below.high, LOAD(inner->skip)));
        sum += node_check(tree, child, below);
    }
    return sum;
}

uint64_t keytree_check(const struct keytree *tree)
{
    const struct keytree_node *root = LOAD(tree->root);
    check(atomic_load(&tree->size) <= atomic_load(&tree->held));
    return root == NULL ? 0 : node_check(tree, root, (struct fences){0});
}
