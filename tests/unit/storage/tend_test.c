/* SPDX-License-Identifier: Apache-2.0 */
/* What stands beside a log cannot be written for a while: told once, tried again, made up for. */
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/log_world.h"

#define CHECKPOINT "/data/orders-0/leader-epoch-checkpoint"

static void append_one(struct log_world *world, struct partition *partition)
{
    uint8_t memory[16384];
    size_t size = log_batch_make(memory, sizeof(memory), 7, 1, 5000, 1000);
    assert_int_equal(log_world_append(world, partition, memory, size).status, STATUS_OK);
}

/* Lines of the log so far that contain the text. */
static int lines_with(const struct log_world *world, const char *text)
{
    static char lines[1 << 16];
    ssize_t size = pread(world->diag.file, lines, sizeof(lines) - 1, 0);
    assert_true(size >= 0);
    lines[size] = '\0';
    int count = 0;
    for (const char *at = strstr(lines, text); at != NULL; at = strstr(at + 1, text)) {
        count += 1;
    }
    return count;
}

/* Lines of the checkpoint on the disk: two and one for each epoch. */
static int checkpoint_lines(const struct log_world *world)
{
    uint64_t size = 0;
    const uint8_t *file = sim_world_file(world->world, CHECKPOINT, &size);
    int count = 0;
    for (uint64_t i = 0; i < size; i++) {
        count += file[i] == '\n';
    }
    return count;
}

static void what_cannot_be_written_is_told_once_and_made_up_for(void **state)
{
    (void)state;
    struct log_world world;
    log_world_open(&world, &(struct log_world_options){.seed = 1});
    int file = memfd_create("lines", MFD_CLOEXEC);
    assert_true(file >= 0);
    world.diag.file = file;
    struct partition_options options = {.topic = "orders", .index = 0, .fresh = true};
    options.config = log_config_default();
    memset(options.topic_id.bytes, 0x42, 16);
    struct partition *partition = NULL;
    assert_int_equal(partition_open(&partition, world.store, &options), STATUS_OK);

    append_one(&world, partition);
    log_world_sleep(&world, 2000);
    assert_int_equal(checkpoint_lines(&world), 3);

    /* The log needs no name to change, the checkpoint does. */
    log_world_fail(&world, 1, 1U << OP_RENAME, ENOSPC);
    partition_set_epoch(partition, 1);
    for (int i = 0; i < 50; i++) {
        append_one(&world, partition);
    }
    log_world_sleep(&world, 5000);
    append_one(&world, partition);
    assert_int_equal(lines_with(&world, "at=storage/tend"), 1);
    assert_int_equal(lines_with(&world, "partition=orders-0 error=\"No space left on device\""), 1);

    /* Nobody has to append for that. */
    log_world_fail(&world, 0, 0, 0);
    log_world_sleep(&world, 3000);
    assert_int_equal(checkpoint_lines(&world), 4);
    assert_int_equal(lines_with(&world, "are written again"), 1);
    assert_int_equal(lines_with(&world, "at=storage/tend"), 2);

    partition_close(partition, true);
    log_world_close(&world);
    close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_written_is_told_once_and_made_up_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
