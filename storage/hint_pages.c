/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hint_pages.h"

#include "base/check.h"
#include "storage/store_state.h"

struct hint_page {
    struct table_node slot;
    struct list_node node;
    uint64_t instance;
    uint32_t number;
    uint8_t *memory;
};

bool hint_pages_init(struct store *store)
{
    struct hint_pages *pages = &store->hint_pages;
    list_init(&pages->pages);
    pool_init(&pages->pool, store->heap, sizeof(struct hint_page));
    size_t share = pages_size_max(store->pages, PAGES_CACHE) / HINT_PAGES_SHARE;
    pages->count = 0;
    pages->count_max = (uint32_t)(share / PAGE_SIZE);
    return table_init(&pages->table, store->heap, store->hash_seed);
}

static void page_drop(struct store *store, struct hint_page *page)
{
    struct hint_pages *pages = &store->hint_pages;
    table_remove(&pages->table, &page->slot);
    list_remove(&page->node);
    pages_release_page(store->pages, page->memory, PAGES_CACHE);
    pool_give(&pages->pool, page);
    pages->count -= 1;
}

static bool pages_evict(struct store *store)
{
    struct list_node *node = list_first(&store->hint_pages.pages);
    if (node != NULL) {
        page_drop(store, LIST_ENTRY(node, struct hint_page, node));
    }
    return node != NULL;
}

void hint_pages_deinit(struct store *store)
{
    while (pages_evict(store)) {
    }
    table_deinit(&store->hint_pages.table);
    pool_deinit(&store->hint_pages.pool);
}

static uint64_t page_hash(const struct store *store, uint64_t instance, uint32_t number)
{
    return hash_u64(instance << 20 ^ number, store->hint_pages.table.seed);
}

static struct hint_page *page_find(struct store *store, uint64_t instance, uint32_t number)
{
    struct table_node *node =
        table_find(&store->hint_pages.table, page_hash(store, instance, number));
    for (; node != NULL; node = table_find_next(node)) {
        struct hint_page *page = CONTAINER_OF(node, struct hint_page, slot);
        if (page->instance == instance && page->number == number) {
            return page;
        }
    }
    return NULL;
}

const uint8_t *hint_pages_find(struct store *store, uint64_t instance, uint32_t number)
{
    struct hint_page *page = page_find(store, instance, number);
    if (page == NULL) {
        return NULL;
    }
    list_remove(&page->node);
    list_push_tail(&store->hint_pages.pages, &page->node);
    return page->memory;
}

void hint_pages_add(struct store *store, uint64_t instance, uint32_t number, const uint8_t *data)
{
    struct hint_pages *pages = &store->hint_pages;
    if (pages->count_max == 0 || page_find(store, instance, number) != NULL) {
        return; /* another look-up was faster */
    }
    if (pages->count == pages->count_max) {
        (void)pages_evict(store);
    }
    uint8_t *memory = pages_acquire_page(store->pages, PAGES_CACHE);
    if (memory == NULL && pages_evict(store)) {
        memory = pages_acquire_page(store->pages, PAGES_CACHE);
    }
    struct hint_page *page = memory == NULL ? NULL : pool_take(&pages->pool);
    if (page == NULL) {
        if (memory != NULL) {
            pages_release_page(store->pages, memory, PAGES_CACHE);
        }
        return;
    }
    memcpy(memory, data, PAGE_SIZE);
    page->instance = instance;
    page->number = number;
    page->memory = memory;
    page->slot.hash = page_hash(store, instance, number);
    table_insert(&pages->table, &page->slot);
    list_push_tail(&pages->pages, &page->node);
    pages->count += 1;
}
