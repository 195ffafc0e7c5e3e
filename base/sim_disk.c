/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sim_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define SIM_PAGE_SIZE UINT64_C(4096)
#define SIM_BLOCK_SIZE UINT64_C(512) /* what a device writes whole or not at all */
#define SIM_NAME_MAX 255

/* A page that was never written is absent and reads as zeros. */
struct sim_page {
    uint8_t data[SIM_PAGE_SIZE];
    uint8_t stable[SIM_PAGE_SIZE];
    uint8_t dirty;   /* a bit per block whose data may differ from stable */
    uint8_t lost;    /* differs from stable and is clean: no sync brings it to the disk, D4 */
    uint8_t written; /* has stable bytes, D5 */
};

struct sim_entry {
    struct sim_entry *next;
    struct sim_inode *inode; /* held */
    char name[SIM_NAME_MAX + 1];
};

struct sim_inode {
    struct list_node node;
    uint32_t holders; /* entries, changes, open files */
    bool folder;
    bool cut; /* during a crash: no further change of this folder is kept */
    uint64_t size;
    uint64_t size_stable;
    struct sim_page **pages;
    size_t page_count;
    struct sim_entry *entries;
    struct sim_entry *entries_stable;
    uint8_t *flat; /* for sim_disk_file() */
};

/* A name taken away, a name set, or both at once (rename). */
struct sim_change {
    struct list_node node;
    struct sim_inode *source; /* held; NULL: nothing is taken away */
    struct sim_inode *target; /* held; a removed folder is named here without target_name */
    struct sim_inode *inode;  /* held; what target_name stands for */
    char source_name[SIM_NAME_MAX + 1];
    char target_name[SIM_NAME_MAX + 1];
};

static void *must_calloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    check(memory != NULL); /* a simulation out of memory has nothing to say */
    return memory;
}

static struct sim_inode *inode_hold(struct sim_inode *inode)
{
    if (inode != NULL) {
        inode->holders += 1;
    }
    return inode;
}

static void inode_unhold(struct sim_disk *disk, struct sim_inode *inode)
{
    if (inode != NULL) {
        check(inode->holders > 0);
        inode->holders -= 1;
        disk->garbage |= inode->holders == 0;
    }
}

static struct sim_inode *inode_new(struct sim_disk *disk, bool folder)
{
    struct sim_inode *inode = must_calloc(1, sizeof(*inode));
    inode->folder = folder;
    list_push_tail(&disk->inodes, &inode->node);
    return inode;
}

/* Names of one folder. */

static struct sim_entry *entry_find(struct sim_entry *entry, const char *name)
{
    while (entry != NULL && strcmp(entry->name, name) != 0) {
        entry = entry->next;
    }
    return entry;
}

static void entry_remove(struct sim_disk *disk, struct sim_entry **link, const char *name)
{
    while (*link != NULL && strcmp((*link)->name, name) != 0) {
        link = &(*link)->next;
    }
    struct sim_entry *entry = *link;
    if (entry != NULL) {
        *link = entry->next;
        inode_unhold(disk, entry->inode);
        free(entry);
    }
}

static void entry_set(struct sim_disk *disk, struct sim_entry **first, const char *name,
                      struct sim_inode *inode)
{
    struct sim_entry *entry = must_calloc(1, sizeof(*entry));
    inode_hold(inode);
    entry_remove(disk, first, name);
    memcpy(entry->name, name, strlen(name) + 1);
    entry->inode = inode;
    entry->next = *first;
    *first = entry;
}

static void entries_clear(struct sim_disk *disk, struct sim_entry **first)
{
    while (*first != NULL) {
        entry_remove(disk, first, (*first)->name);
    }
}

static void inode_free(struct sim_disk *disk, struct sim_inode *inode)
{
    entries_clear(disk, &inode->entries);
    entries_clear(disk, &inode->entries_stable);
    for (size_t i = 0; i < inode->page_count; i++) {
        free(inode->pages[i]);
    }
    free(inode->pages);
    free(inode->flat);
    list_remove(&inode->node);
    free(inode);
}

static void disk_sweep(struct sim_disk *disk)
{
    while (disk->garbage) {
        disk->garbage = false; /* set again when a freed folder lets go of something */
        LIST_EACH (&disk->inodes, node) {
            struct sim_inode *inode = LIST_ENTRY(node, struct sim_inode, node);
            if (inode->holders == 0) {
                inode_free(disk, inode);
            }
        }
    }
}

/* Changes of names. */

static void change_apply(struct sim_disk *disk, const struct sim_change *change, bool stable)
{
    struct sim_inode *source = change->source;
    struct sim_inode *target = change->target;
    if (source != NULL) {
        entry_remove(disk, stable ? &source->entries_stable : &source->entries,
                     change->source_name);
    }
    if (change->target_name[0] != 0) {
        entry_set(disk, stable ? &target->entries_stable : &target->entries, change->target_name,
                  change->inode);
    }
}

static void change_free(struct sim_disk *disk, struct sim_change *change)
{
    list_remove(&change->node);
    inode_unhold(disk, change->source);
    inode_unhold(disk, change->target);
    inode_unhold(disk, change->inode);
    free(change);
}

/* A place that a path names: the folder, the last name and what it stands for (or NULL). */
struct place {
    struct sim_inode *folder;
    struct sim_inode *inode;
    char name[SIM_NAME_MAX + 1];
};

/* Makes the change visible and remembers that it is not stable yet. */
static void disk_change(struct sim_disk *disk, const struct place *source,
                        const struct place *target, struct sim_inode *inode)
{
    struct sim_change *change = must_calloc(1, sizeof(*change));
    if (source != NULL) {
        change->source = inode_hold(source->folder);
        memcpy(change->source_name, source->name, sizeof(source->name));
    }
    if (target != NULL) {
        change->target = inode_hold(target->folder);
        change->inode = inode_hold(inode);
        memcpy(change->target_name, target->name, sizeof(target->name));
    } else if (inode->folder) {
        change->target = inode_hold(inode); /* its own changes become stable with this one */
    }
    list_push_tail(&disk->changes, &change->node);
    change_apply(disk, change, false);
}

/* 0 or -errno. The root has no place. */
static int disk_walk(struct sim_disk *disk, const char *path, struct place *place)
{
    struct sim_inode *inode = disk->root;
    *place = (struct place){.inode = inode};
    for (;;) {
        path += strspn(path, "/");
        size_t size = strcspn(path, "/");
        if (size == 0) {
            return 0;
        }
        if (size == 1 && path[0] == '.') {
            path += 1;
            continue;
        }
        if (size > SIM_NAME_MAX) {
            return -ENAMETOOLONG;
        }
        if (inode == NULL) {
            return -ENOENT;
        }
        if (!inode->folder) {
            return -ENOTDIR;
        }
        place->folder = inode;
        memcpy(place->name, path, size);
        place->name[size] = 0;
        struct sim_entry *entry = entry_find(inode->entries, place->name);
        inode = entry == NULL ? NULL : entry->inode;
        place->inode = inode;
        path += size;
    }
}

void sim_disk_init(struct sim_disk *disk, struct random *random, struct sim_faults *faults)
{
    *disk = (struct sim_disk){.random = random, .faults = faults};
    list_init(&disk->inodes);
    list_init(&disk->changes);
    disk->root = inode_hold(inode_new(disk, true));
}

void sim_disk_deinit(struct sim_disk *disk)
{
    LIST_EACH (&disk->changes, node) {
        change_free(disk, LIST_ENTRY(node, struct sim_change, node));
    }
    inode_unhold(disk, disk->root);
    disk_sweep(disk);
    check(list_is_empty(&disk->inodes));
}

int sim_disk_open(struct sim_disk *disk, const char *path, uint32_t flags, struct sim_inode **out)
{
    struct place place;
    int error = disk_walk(disk, path, &place);
    if (error != 0) {
        return error;
    }
    if (place.inode == NULL) {
        if ((flags & OPEN_CREATE) == 0) {
            return -ENOENT;
        }
        place.inode = inode_new(disk, false);
        disk_change(disk, NULL, &place, place.inode);
    } else if ((flags & OPEN_CREATE) != 0 && (flags & OPEN_EXCLUSIVE) != 0) {
        return -EEXIST;
    }
    if (place.inode->folder && (flags & (OPEN_WRITE | OPEN_CREATE)) != 0) {
        return -EISDIR;
    }
    if (!place.inode->folder && (flags & OPEN_DIRECTORY) != 0) {
        return -ENOTDIR;
    }
    if ((flags & OPEN_TRUNCATE) != 0) {
        sim_inode_truncate(place.inode, 0);
    }
    *out = inode_hold(place.inode);
    return 0;
}

void sim_disk_release(struct sim_disk *disk, struct sim_inode *inode)
{
    inode_unhold(disk, inode);
    disk_sweep(disk);
}

int sim_disk_mkdir(struct sim_disk *disk, const char *path)
{
    struct place place;
    int error = disk_walk(disk, path, &place);
    if (error == 0 && place.inode != NULL) {
        error = -EEXIST;
    }
    if (error == 0) {
        disk_change(disk, NULL, &place, inode_new(disk, true));
    }
    return error;
}

int sim_disk_unlink(struct sim_disk *disk, const char *path, bool folder)
{
    struct place place;
    int error = disk_walk(disk, path, &place);
    if (error != 0) {
        return error;
    }
    if (place.inode == NULL) {
        return -ENOENT;
    }
    if (place.inode->folder != folder) {
        return folder ? -ENOTDIR : -EISDIR;
    }
    if (place.inode->entries != NULL) {
        return -ENOTEMPTY;
    }
    check(place.folder != NULL); /* nobody removes the root */
    disk_change(disk, &place, NULL, place.inode);
    disk_sweep(disk);
    return 0;
}

int sim_disk_rename(struct sim_disk *disk, const char *path, const char *path_target)
{
    struct place source;
    struct place target;
    int error = disk_walk(disk, path, &source);
    if (error == 0) {
        error = disk_walk(disk, path_target, &target);
    }
    if (error != 0) {
        return error;
    }
    if (source.inode == NULL || source.folder == NULL || target.folder == NULL) {
        return source.inode == NULL ? -ENOENT : -EBUSY;
    }
    if (target.inode == source.inode) {
        return 0;
    }
    if (target.inode != NULL) {
        if (target.inode->folder != source.inode->folder) {
            return target.inode->folder ? -EISDIR : -ENOTDIR;
        }
        if (target.inode->entries != NULL) {
            return -ENOTEMPTY;
        }
    }
    disk_change(disk, &source, &target, source.inode);
    disk_sweep(disk);
    return 0;
}

int64_t sim_disk_list(struct sim_disk *disk, const char *path, struct ring_listing *listing)
{
    struct place place;
    listing->size = 0;
    listing->count = 0;
    int error = disk_walk(disk, path, &place);
    if (error != 0) {
        return error;
    }
    if (place.inode == NULL || !place.inode->folder) {
        return place.inode == NULL ? -ENOENT : -ENOTDIR;
    }
    for (struct sim_entry *entry = place.inode->entries; entry != NULL; entry = entry->next) {
        size_t size = strlen(entry->name) + 1;
        if (size > listing->size_max - listing->size) {
            return -ENOBUFS;
        }
        memcpy(listing->names + listing->size, entry->name, size);
        listing->size += size;
        listing->count += 1;
    }
    return listing->count;
}

/* Contents. */

static struct sim_page *inode_page(struct sim_inode *inode, uint64_t index)
{
    if (index >= inode->page_count) {
        size_t count = index + 1 + inode->page_count;
        struct sim_page **pages = realloc(inode->pages, count * sizeof(struct sim_page *));
        check(pages != NULL);
        memset(pages + inode->page_count, 0,
               (count - inode->page_count) * sizeof(struct sim_page *));
        inode->pages = pages;
        inode->page_count = count;
    }
    if (inode->pages[index] == NULL) {
        inode->pages[index] = must_calloc(1, sizeof(struct sim_page));
    }
    return inode->pages[index];
}

/* Blocks of a page that [from, until) touches, as bits. */
static uint8_t block_mask(uint64_t from, uint64_t until)
{
    uint64_t first = from / SIM_BLOCK_SIZE;
    uint64_t last = (until - 1) / SIM_BLOCK_SIZE;
    return (uint8_t)((0xffU << first) & (0xffU >> (7 - last)));
}

/* For every block in the mask: data becomes stable, or stable becomes data again. */
static void page_settle(struct sim_page *page, uint8_t mask, bool keep)
{
    for (uint64_t i = 0; i < SIM_PAGE_SIZE / SIM_BLOCK_SIZE; i++) {
        if ((mask >> i & 1) != 0) {
            uint8_t *data = page->data + i * SIM_BLOCK_SIZE;
            uint8_t *stable = page->stable + i * SIM_BLOCK_SIZE;
            memcpy(keep ? stable : data, keep ? data : stable, SIM_BLOCK_SIZE);
        }
    }
    page->dirty = (uint8_t)(page->dirty & ~mask);
    page->lost = (uint8_t)(page->lost & ~mask);
    page->written |= keep ? mask : 0;
}

int64_t sim_inode_read(struct sim_inode *inode, const struct op *op, bool direct)
{
    uint64_t position = op->position;
    for (int32_t i = 0; i < op->vector_count; i++) {
        uint8_t *to = op->vector[i].iov_base;
        uint64_t left = op->vector[i].iov_len;
        while (left > 0 && position < inode->size) {
            uint64_t within = position % SIM_PAGE_SIZE;
            uint64_t size = SIM_PAGE_SIZE - within < left ? SIM_PAGE_SIZE - within : left;
            size = size < inode->size - position ? size : inode->size - position;
            uint64_t index = position / SIM_PAGE_SIZE;
            if (index < inode->page_count && inode->pages[index] != NULL) {
                struct sim_page *page = inode->pages[index];
                if (direct) { /* past the page cache, which lets go of what it had, D4 */
                    page_settle(page, page->lost & block_mask(within, within + size), false);
                }
                memcpy(to, page->data + within, size);
            } else {
                memset(to, 0, size);
            }
            to += size;
            position += size;
            left -= size;
        }
    }
    return position > op->position ? (int64_t)(position - op->position) : 0;
}

static void inode_reach(struct sim_inode *inode, uint64_t until, bool durable)
{
    inode->size = inode->size > until ? inode->size : until;
    if (durable && inode->size_stable < until) {
        inode->size_stable = until; /* D2 */
    }
}

/* What a power cut leaves of one write or one file: all, nothing, the first part, or any blocks.
 * Drawing the manner first makes the whole ones as likely as the mixes. */
struct torn {
    struct random *random;
    uint64_t manner;
    uint64_t until; /* of the first part */
};

static struct torn torn_draw(struct random *random, uint64_t position, uint64_t size)
{
    struct torn torn = {.random = random, .manner = random_below(random, 4)};
    torn.until = position + random_below(random, size + 1);
    return torn;
}

static bool torn_keeps(struct torn *torn, uint64_t position)
{
    switch (torn->manner) {
    case 0:
        return true;
    case 1:
        return false;
    case 2:
        return position < torn->until;
    default:
        return random_below(torn->random, 2) == 0;
    }
}

enum put_fate { PUT_PENDING, PUT_STABLE, PUT_LOST };

/* Copies in pieces that never cross a multiple of `unit`; `torn` may drop some. */
static void inode_put(struct sim_inode *inode, const struct op *op, uint64_t unit,
                      enum put_fate fate, struct torn *torn)
{
    uint64_t position = op->position;
    for (int32_t i = 0; i < op->vector_count; i++) {
        const uint8_t *from = op->vector[i].iov_base;
        uint64_t left = op->vector[i].iov_len;
        while (left > 0) {
            uint64_t size = unit - position % unit < left ? unit - position % unit : left;
            uint64_t within = position % SIM_PAGE_SIZE;
            if (torn == NULL || torn_keeps(torn, position)) {
                struct sim_page *page = inode_page(inode, position / SIM_PAGE_SIZE);
                uint8_t mask = block_mask(within, within + size);
                memcpy(page->data + within, from, size);
                page->dirty |= mask;
                page->lost = (uint8_t)(page->lost & ~mask);
                if (fate == PUT_STABLE) {
                    page_settle(page, mask, true); /* D1 */
                } else if (fate == PUT_LOST) {
                    page->dirty = (uint8_t)(page->dirty & ~mask);
                    page->lost |= mask;
                }
                inode_reach(inode, position + size, fate == PUT_STABLE);
            }
            from += size;
            position += size;
            left -= size;
        }
    }
}

static uint64_t put_size(const struct op *op)
{
    uint64_t size = 0;
    for (int32_t i = 0; i < op->vector_count; i++) {
        size += op->vector[i].iov_len;
    }
    return size;
}

void sim_inode_write(struct sim_inode *inode, const struct op *op)
{
    bool durable = (op->flags & OP_DSYNC) != 0;
    inode_put(inode, op, SIM_PAGE_SIZE, durable ? PUT_STABLE : PUT_PENDING, NULL);
}

void sim_inode_write_torn(struct sim_inode *inode, const struct op *op, struct random *random,
                          bool stable)
{
    struct torn torn = torn_draw(random, op->position, put_size(op));
    inode_put(inode, op, SIM_BLOCK_SIZE, stable ? PUT_STABLE : PUT_PENDING, &torn);
}

void sim_inode_write_failed(struct sim_inode *inode, const struct op *op, struct random *random)
{
    struct torn torn = torn_draw(random, op->position, put_size(op));
    bool stable = random_below(random, 2) == 0;
    inode_put(inode, op, SIM_BLOCK_SIZE, stable ? PUT_STABLE : PUT_LOST, &torn);
}

void sim_inode_write_lost(struct sim_inode *inode, const struct op *op)
{
    inode_reach(inode, op->position + put_size(op), (op->flags & OP_DSYNC) != 0);
}

void sim_disk_misdirect(struct sim_disk *disk, struct sim_inode *inode, const struct op *op,
                        struct random *random)
{
    uint64_t size = put_size(op);
    uint64_t skip = random_below(random, 16);
    struct sim_inode *victim = inode;
    LIST_EACH (&disk->inodes, node) {
        struct sim_inode *other = LIST_ENTRY(node, struct sim_inode, node);
        if (skip < 8 && !other->folder && other->size >= size && other->holders > 0) {
            victim = other;
            if (skip == 0) {
                break;
            }
            skip -= 1;
        }
    }
    sim_inode_write_lost(inode, op);
    if (victim->size >= size) {
        struct op stray = *op;
        stray.position = random_below(random, (victim->size - size) / SIM_PAGE_SIZE + 1);
        stray.position *= SIM_PAGE_SIZE;
        inode_put(victim, &stray, SIM_PAGE_SIZE, PUT_STABLE, NULL);
    }
}

bool sim_inode_flip(struct sim_inode *inode, uint64_t position, int bit)
{
    if (inode->folder || position >= inode->size) {
        return false;
    }
    struct sim_page *page = inode_page(inode, position / SIM_PAGE_SIZE);
    page->data[position % SIM_PAGE_SIZE] ^= (uint8_t)(1U << bit);
    page->stable[position % SIM_PAGE_SIZE] ^= (uint8_t)(1U << bit);
    return true;
}

void sim_inode_allocate(struct sim_inode *inode, uint64_t position, uint64_t size)
{
    inode_reach(inode, position + size, false);
}

void sim_inode_truncate(struct sim_inode *inode, uint64_t size)
{
    for (uint64_t i = size / SIM_PAGE_SIZE; i < inode->page_count; i++) {
        struct sim_page *page = inode->pages[i];
        uint64_t from = i == size / SIM_PAGE_SIZE ? size % SIM_PAGE_SIZE : 0;
        if (page != NULL) {
            memset(page->data + from, 0, SIM_PAGE_SIZE - from);
            page->dirty |= block_mask(from, SIM_PAGE_SIZE);
        }
    }
    inode->size = size;
}

uint64_t sim_inode_size(const struct sim_inode *inode)
{
    return inode->size;
}

int64_t sim_inode_next_data(const struct sim_inode *inode, uint64_t position)
{
    while (position < inode->size) {
        uint64_t index = position / SIM_PAGE_SIZE;
        if (index >= inode->page_count) {
            break;
        }
        if (inode->pages[index] != NULL) {
            return (int64_t)position;
        }
        position = (index + 1) * SIM_PAGE_SIZE;
    }
    return -ENXIO;
}

bool sim_inode_is_folder(const struct sim_inode *inode)
{
    return inode->folder;
}

const uint8_t *sim_disk_file(struct sim_disk *disk, const char *path, uint64_t *size)
{
    struct place place;
    if (disk_walk(disk, path, &place) != 0 || place.inode == NULL || place.inode->folder) {
        return NULL;
    }
    struct sim_inode *inode = place.inode;
    free(inode->flat);
    inode->flat = must_calloc(inode->size + 1, 1);
    struct iovec slice = {inode->flat, inode->size};
    sim_inode_read(inode, &(struct op){.vector = &slice, .vector_count = 1}, false);
    *size = inode->size;
    return inode->flat;
}

bool sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t position, int bit)
{
    struct place place;
    return disk_walk(disk, path, &place) == 0 && place.inode != NULL &&
           sim_inode_flip(place.inode, position, bit);
}

/* Durability. */

static void inode_sync(struct sim_inode *inode)
{
    for (size_t i = 0; i < inode->page_count; i++) {
        if (inode->pages[i] != NULL) {
            page_settle(inode->pages[i], inode->pages[i]->dirty, true);
        }
    }
    inode->size_stable = inode->size;
}

void sim_inode_sync_failed(struct sim_inode *inode, struct random *random)
{
    struct torn torn = torn_draw(random, 0, inode->size);
    for (size_t i = 0; i < inode->page_count; i++) {
        struct sim_page *page = inode->pages[i];
        for (uint8_t bit = 1; page != NULL && page->dirty != 0; bit = (uint8_t)(bit << 1)) {
            if ((page->dirty & bit) == 0) {
                continue;
            }
            if (torn_keeps(&torn, i * SIM_PAGE_SIZE)) {
                page_settle(page, bit, true);
            } else {
                page->dirty = (uint8_t)(page->dirty & ~bit);
                page->lost |= bit;
            }
        }
    }
}

static bool change_touches_cut(const struct sim_change *change)
{
    return (change->source != NULL && change->source->cut) ||
           (change->target != NULL && change->target->cut);
}

static void change_cut(const struct sim_change *change, bool cut)
{
    if (change->source != NULL) {
        change->source->cut = cut;
    }
    if (change->target != NULL) {
        change->target->cut = cut;
    }
}

/* Of this folder, and of folders tied to it by a rename or by being removed from it: their changes
 * reach the disk in one order. `cut` marks the folders found. */
static void folder_sync(struct sim_disk *disk, struct sim_inode *folder)
{
    folder->cut = true;
    for (struct list_node *node = disk->changes.head.previous; node != &disk->changes.head;
         node = node->previous) {
        struct sim_change *change = LIST_ENTRY(node, struct sim_change, node);
        if (change_touches_cut(change)) {
            change_cut(change, true);
        }
    }
    LIST_EACH (&disk->changes, node) {
        struct sim_change *change = LIST_ENTRY(node, struct sim_change, node);
        if (change_touches_cut(change)) {
            change_apply(disk, change, true);
            change_free(disk, change);
        }
    }
    LIST_EACH (&disk->inodes, node) {
        LIST_ENTRY(node, struct sim_inode, node)->cut = false;
    }
}

void sim_disk_sync(struct sim_disk *disk, struct sim_inode *inode)
{
    if (inode->folder) {
        folder_sync(disk, inode);
        disk_sweep(disk);
    } else {
        inode_sync(inode);
    }
}

static void page_fill_noise(struct sim_page *page, uint8_t bit, struct random *random)
{
    for (uint64_t i = 0; i < SIM_PAGE_SIZE; i++) {
        if ((bit >> i / SIM_BLOCK_SIZE & 1) != 0) {
            page->data[i] = (uint8_t)random_u64(random);
        }
    }
}

static void inode_crash(struct sim_inode *inode, struct sim_disk *disk)
{
    struct random *random = disk->random;
    struct torn torn = torn_draw(random, 0, inode->size);
    for (size_t i = 0; i < inode->page_count; i++) {
        struct sim_page *page = inode->pages[i];
        for (uint32_t bit = 1; page != NULL && bit <= 0x80; bit <<= 1) {
            uint8_t mask = (uint8_t)bit;
            if ((page->lost & mask) != 0) {
                page_settle(page, mask, random_below(random, 4) == 0);
            } else if ((page->dirty & mask) != 0) {
                if ((page->written & mask) == 0 && sim_faults_strike(disk->faults, SIM_GARBAGE)) {
                    page_fill_noise(page, mask, &disk->faults->random[SIM_GARBAGE]); /* D5 */
                    page_settle(page, mask, true);
                } else {
                    page_settle(page, mask, torn_keeps(&torn, i * SIM_PAGE_SIZE));
                }
            }
        }
    }
    bool keep_size = random_below(random, 2) == 0;
    sim_inode_truncate(inode, keep_size ? inode->size : inode->size_stable);
    inode_sync(inode);
}

void sim_disk_crash(struct sim_disk *disk)
{
    LIST_EACH (&disk->changes, node) {
        struct sim_change *change = LIST_ENTRY(node, struct sim_change, node);
        if (change_touches_cut(change) || random_below(disk->random, 4) == 0) {
            change_cut(change, true);
        } else {
            change_apply(disk, change, true);
        }
    }
    LIST_EACH (&disk->changes, node) {
        change_free(disk, LIST_ENTRY(node, struct sim_change, node));
    }
    LIST_EACH (&disk->inodes, node) {
        struct sim_inode *inode = LIST_ENTRY(node, struct sim_inode, node);
        inode->cut = false;
        entries_clear(disk, &inode->entries);
        for (struct sim_entry *entry = inode->entries_stable; entry != NULL; entry = entry->next) {
            entry_set(disk, &inode->entries, entry->name, entry->inode);
        }
        inode_crash(inode, disk);
    }
    disk_sweep(disk);
}
