/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked list. A node is in one list at most; list_remove() leaves it detached. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

struct list_node {
    struct list_node *previous;
    struct list_node *next;
};

struct list {
    struct list_node head;
};

static inline void list_init(struct list *list)
{
    list->head.previous = &list->head;
    list->head.next = &list->head;
}

static inline void list_node_init(struct list_node *node)
{
    node->previous = NULL;
    node->next = NULL;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->head.next == &list->head;
}

static inline bool list_is_linked(const struct list_node *node)
{
    return node->next != NULL;
}

static inline void list_insert_before(struct list_node *place, struct list_node *node)
{
    check(node->next == NULL);
    node->previous = place->previous;
    node->next = place;
    place->previous->next = node;
    place->previous = node;
}

static inline void list_push_tail(struct list *list, struct list_node *node)
{
    list_insert_before(&list->head, node);
}

static inline void list_push_head(struct list *list, struct list_node *node)
{
    list_insert_before(list->head.next, node);
}

static inline void list_remove(struct list_node *node)
{
    check(node->next != NULL);
    node->previous->next = node->next;
    node->next->previous = node->previous;
    list_node_init(node);
}

static inline struct list_node *list_first(const struct list *list)
{
    return list_is_empty(list) ? NULL : list->head.next;
}

static inline struct list_node *list_last(const struct list *list)
{
    return list_is_empty(list) ? NULL : list->head.previous;
}

static inline struct list_node *list_pop_head(struct list *list)
{
    struct list_node *node = list_first(list);
    if (node != NULL) {
        list_remove(node);
    }
    return node;
}

/* Moves every node of source behind the last node of target; source is empty afterwards. */
static inline void list_splice_tail(struct list *target, struct list *source)
{
    if (list_is_empty(source)) {
        return;
    }
    source->head.next->previous = target->head.previous;
    target->head.previous->next = source->head.next;
    source->head.previous->next = &target->head;
    target->head.previous = source->head.previous;
    list_init(source);
}

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

/* The body may remove `node` itself, nothing else. */
#define LIST_EACH(list, node)                                                                      \
    for (struct list_node *node = (list)->head.next, *node##_next = node->next;                    \
         node != &(list)->head; node = node##_next, node##_next = node->next)
