/* SPDX-License-Identifier: Apache-2.0 */
/* The writers of benchmarks/001_append: sizes that fit no page, threads, failed writes. */
#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "benchmarks/001_append/appender.h"

#define PATH "appender_test.data"
#define SIZE_MAX_TEST (4 << 20)

static const uint64_t sizes[] = {100, 1000, 4097, 20000};
static const uint64_t buffers[] = {4096, 16384, 65536};

static struct {
    int calls;
    int fail_at; /* the call that fails, -1 none */
    int cut_at;  /* the call that writes one page alone */
} faults;

static ssize_t faulty_pwrite(int file, const void *data, size_t size, off_t position)
{
    int call = faults.calls++;
    if (call == faults.fail_at) {
        errno = EIO;
        return -1;
    }
    return pwrite(file, data, call == faults.cut_at && size > 4096 ? 4096 : size, position);
}

static uint8_t byte_of(uint64_t position)
{
    return (uint8_t)(position * 31 >> 3);
}

/* Byte i of the file is byte_of(i): content tells its place. */
static void fill(uint8_t *record, uint64_t size, uint64_t position)
{
    for (uint64_t i = 0; i < size; i++) {
        record[i] = byte_of(position + i);
    }
}

static void expect_file(uint64_t size)
{
    struct stat stat;
    assert_int_equal(lstat(PATH, &stat), 0);
    assert_int_equal(stat.st_size, size);
    uint8_t *content = malloc(size + 1);
    assert_non_null(content);
    int file = open(PATH, O_RDONLY);
    assert_int_equal(read(file, content, size), size);
    close(file);
    for (uint64_t i = 0; i < size; i++) {
        assert_int_equal(content[i], byte_of(i));
    }
    free(content);
}

static void run_sizes(enum appender_method method, uint64_t buffer_size, uint64_t size)
{
    struct appender appender;
    struct appender_options options = {.path = PATH,
                                       .method = method,
                                       .buffer_size = buffer_size,
                                       .size_max = SIZE_MAX_TEST,
                                       .early = true};
    assert_int_equal(appender_open(&appender, &options), 0);
    uint8_t record[20000];
    uint64_t count = 150;
    for (uint64_t i = 0; i < count; i++) {
        fill(record, size, i * size);
        assert_int_equal(appender_write(&appender, record, size), 0);
        if (i % 40 == 39) {
            assert_int_equal(appender_sync(&appender), 0);
        }
    }
    struct appender_counters before = appender.counters;
    assert_int_equal(appender_close(&appender), 0);
    expect_file(count * size);
    if (method == APPENDER_ALIGNED) {
        assert_int_equal(appender.counters.unaligned, 0);
        assert_int_equal(before.padded, 3); /* one for each sync: no size divides a page */
        assert_true(appender.counters.rewritten >= 3);
    }
    if (method == APPENDER_DIRECT) {
        assert_int_equal(before.writes, count);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        run_sizes(APPENDER_DIRECT, 0, sizes[i]);
        run_sizes(APPENDER_MMAP, 0, sizes[i]);
        for (size_t k = 0; k < ARRAY_COUNT(buffers); k++) {
            run_sizes(APPENDER_BUFFERED, buffers[k], sizes[i]);
            run_sizes(APPENDER_STDIO, buffers[k], sizes[i]);
            run_sizes(APPENDER_ALIGNED, buffers[k], sizes[i]);
        }
    }
    unlink(PATH);
}

/* Whatever write fails: nothing follows it, and what was written before it is whole. */
static void test_failure_is_final(void **state)
{
    (void)state;
    for (int fail_at = 0; fail_at < 12; fail_at++) {
        faults.calls = 0;
        faults.fail_at = fail_at;
        faults.cut_at = fail_at - 2; /* a short write before it is continued */
        struct appender appender;
        struct appender_options options = {.path = PATH,
                                           .method = APPENDER_ALIGNED,
                                           .buffer_size = 16384,
                                           .pwrite = faulty_pwrite};
        assert_int_equal(appender_open(&appender, &options), 0);
        uint8_t record[4097];
        uint64_t size = 0;
        int error = 0;
        for (int i = 0; i < 60 && error == 0; i++) {
            fill(record, sizeof(record), size);
            error = appender_write(&appender, record, sizeof(record));
            size += sizeof(record);
        }
        assert_int_equal(error, -EIO);
        int calls = faults.calls;
        assert_int_equal(calls, fail_at + 1);
        assert_int_equal(appender_write(&appender, record, 1), -EIO);
        assert_int_equal(appender_sync(&appender), -EIO);
        assert_int_equal(appender_close(&appender), -EIO);
        assert_int_equal(faults.calls, calls);
        struct stat stat;
        assert_int_equal(lstat(PATH, &stat), 0);
        assert_int_equal(stat.st_size % 4096, 0);
        expect_file((uint64_t)stat.st_size);
    }
    unlink(PATH);
}

static void test_mmap_is_bounded(void **state)
{
    (void)state;
    struct appender appender;
    struct appender_options options = {.path = PATH, .method = APPENDER_MMAP, .size_max = 4096};
    assert_int_equal(appender_open(&appender, &options), 0);
    uint8_t record[3000] = {0};
    assert_int_equal(appender_write(&appender, record, sizeof(record)), 0);
    assert_int_equal(appender_write(&appender, record, sizeof(record)), -ENOSPC);
    assert_int_equal(appender_close(&appender), 0);
    struct stat stat;
    assert_int_equal(lstat(PATH, &stat), 0);
    assert_int_equal(stat.st_size, sizeof(record));
    unlink(PATH);
}

#define THREADS 4
#define RECORDS_EACH 5000
#define RECORD_SIZE 24

struct writer_thread {
    struct appender *appender;
    pthread_t thread;
    uint64_t number;
};

static void *thread_run(void *argument)
{
    struct writer_thread *self = argument;
    uint64_t record[RECORD_SIZE / 8];
    for (uint64_t i = 0; i < RECORDS_EACH; i++) {
        record[0] = self->number;
        record[1] = i;
        record[2] = ~i;
        check(appender_write(self->appender, record, sizeof(record)) == 0);
    }
    return NULL;
}

/* Every record is whole, and those of one thread are in order. */
static void test_threads(void **state)
{
    (void)state;
    struct appender appender;
    struct appender_options options = {
        .path = PATH, .method = APPENDER_ALIGNED, .buffer_size = 4096, .locked = true};
    assert_int_equal(appender_open(&appender, &options), 0);
    struct writer_thread threads[THREADS];
    for (uint64_t i = 0; i < THREADS; i++) {
        threads[i] = (struct writer_thread){.appender = &appender, .number = i};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, thread_run, &threads[i]), 0);
    }
    for (uint64_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
    }
    assert_int_equal(appender_close(&appender), 0);
    assert_int_equal(appender.counters.unaligned, 0);
    uint64_t next[THREADS] = {0};
    FILE *file = fopen(PATH, "r");
    assert_non_null(file);
    uint64_t record[RECORD_SIZE / 8];
    uint64_t count = 0;
    while (fread(record, sizeof(record), 1, file) == 1) {
        assert_true(record[0] < THREADS);
        assert_int_equal(record[1], next[record[0]]);
        assert_int_equal(record[2], ~record[1]);
        next[record[0]] += 1;
        count += 1;
    }
    fclose(file);
    assert_int_equal(count, THREADS * RECORDS_EACH);
    unlink(PATH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_failure_is_final),
        cmocka_unit_test(test_mmap_is_bounded),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
