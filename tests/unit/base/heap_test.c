/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include "tests/lib/test.h"

static void blocks_are_zeroed_and_aligned(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, 1 << 20);
    for (size_t size = 0; size < 100; size++) {
        uint8_t *block = heap_acquire(&heap, size);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 16, 0);
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(block[i], 0);
            block[i] = 0xff;
        }
        heap_release(&heap, block, size);
    }
    assert_int_equal(heap.calls, 100);
    heap_deinit(&heap);
}

static void budget_is_held(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, 4096);
    void *block = heap_acquire(&heap, 3000);
    assert_non_null(block);
    assert_null(heap_acquire(&heap, 2000));
    assert_null(heap_acquire(&heap, SIZE_MAX));
    assert_null(heap_acquire(&heap, SIZE_MAX - 8));
    assert_null(heap_resize(&heap, block, 3000, 5000));
    assert_true(heap.size >= 3000 && heap.size <= 4096);
    heap_release(&heap, block, 3000);
    heap_release(&heap, NULL, 17);
    assert_int_equal(heap.size, 0);
    assert_true(heap.size_peak >= 3000);
    heap_deinit(&heap);
}

static void resize_keeps_content(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, 1 << 20);
    uint8_t *block = heap_resize(&heap, NULL, 0, 10);
    assert_non_null(block);
    memset(block, 7, 10);
    block = heap_resize(&heap, block, 10, 5000);
    assert_non_null(block);
    for (size_t i = 0; i < 5000; i++) {
        assert_int_equal(block[i], i < 10 ? 7 : 0);
    }
    block = heap_resize(&heap, block, 5000, 4);
    assert_non_null(block);
    assert_int_equal(block[3], 7);
    heap_release(&heap, block, 4);
    heap_deinit(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_zeroed_and_aligned),
        cmocka_unit_test(budget_is_held),
        cmocka_unit_test(resize_keeps_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
