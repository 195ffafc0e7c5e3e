/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The far side of oracle.py and vectors.py: reads messages, decodes and encodes each, writes what
 * came out. On the way every message is also cut short at every byte and damaged at random.
 *
 *   in    size of name (u8), name, version (i16), size (u32), bytes
 *   out   status (u8, enum status), 1 when all bytes were used (u8), size (u32), bytes
 *
 * Input lies right before a page that cannot be read, so reading behind the end stops the program.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/pages.h"
#include "base/random.h"
#include "wire/messages.h"

#define INPUT_SIZE_MAX (1 << 20)
#define DAMAGE_COUNT 20

struct driver {
    struct pages *pages;
    struct arena arena;
    struct random random;
    uint8_t *fence; /* the first byte that cannot be read */
    uint8_t *output;
    size_t output_size;
};

static void require(bool condition, const struct message *message, int version, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s v%d: %s\n", message->name, version, what);
        exit(1);
    }
}

static bool read_exactly(void *target, size_t size)
{
    return fread(target, 1, size, stdin) == size;
}

/* Decodes `bytes` into the arena's memory; the copy before the fence keeps reads honest. */
static enum status decode(struct driver *driver, const struct message *message, int16_t version,
                          struct bytes bytes, void **value, bool *at_end)
{
    uint8_t *input = driver->fence - bytes.size;
    memmove(input, bytes.data, bytes.size);
    *value = arena_acquire(&driver->arena, message->size);
    check(*value != NULL);
    struct reader reader;
    reader_init(&reader, bytes_of(input, bytes.size));
    enum status status = message->decode(&reader, version, &driver->arena, *value);
    *at_end = reader_at_end(&reader);
    return status;
}

/* The message again, as one piece in the driver's output. */
static void encode(struct driver *driver, const struct message *message, int16_t version,
                   const void *value)
{
    struct writer writer;
    writer_init(&writer, &driver->arena);
    message->encode(&writer, version, value);
    check(!writer.failed);
    driver->output_size = writer_size(&writer);
    driver->output = realloc(driver->output, driver->output_size + 1);
    writer_copy(&writer, driver->output);
}

/* A message that lacks its end is never taken for whole. */
static void cut_short(struct driver *driver, const struct message *message, int16_t version,
                      struct bytes bytes)
{
    for (size_t size = 0; size < bytes.size; size++) {
        void *value;
        bool at_end;
        enum status status =
            decode(driver, message, version, bytes_of(bytes.data, size), &value, &at_end);
        require(status == STATUS_TRUNCATED, message, version, "a prefix was not called truncated");
        arena_reset(&driver->arena);
    }
}

/* What damaged bytes decode to, if they do, is a message like any other. */
static void damage(struct driver *driver, const struct message *message, int16_t version,
                   struct bytes bytes)
{
    uint8_t *damaged = malloc(bytes.size + 1);
    for (int i = 0; i < DAMAGE_COUNT && bytes.size > 0; i++) {
        memcpy(damaged, bytes.data, bytes.size);
        for (uint64_t left = 1 + random_below(&driver->random, 3); left > 0; left--) {
            damaged[random_below(&driver->random, bytes.size)] =
                (uint8_t)random_u64(&driver->random);
        }
        void *value;
        bool at_end;
        if (decode(driver, message, version, bytes_of(damaged, bytes.size), &value, &at_end) ==
            STATUS_OK) {
            encode(driver, message, version, value);
            size_t size = driver->output_size;
            uint8_t *first = memcpy(malloc(size + 1), driver->output, size);
            enum status status =
                decode(driver, message, version, bytes_of(first, size), &value, &at_end);
            require(status == STATUS_OK && at_end, message, version, "own bytes do not decode");
            encode(driver, message, version, value);
            require(size == driver->output_size && memcmp(first, driver->output, size) == 0,
                    message, version, "own bytes do not come back");
            free(first);
        }
        arena_reset(&driver->arena);
    }
    free(damaged);
}

static void put(const void *data, size_t size)
{
    if (fwrite(data, 1, size, stdout) != size) {
        exit(1);
    }
}

static void answer(struct driver *driver, const struct message *message, int16_t version,
                   struct bytes bytes)
{
    void *value;
    bool at_end;
    enum status status = decode(driver, message, version, bytes, &value, &at_end);
    driver->output_size = 0;
    if (status == STATUS_OK) {
        encode(driver, message, version, value);
    }
    arena_reset(&driver->arena);
    uint8_t head[6] = {(uint8_t)status, at_end};
    put_be32(head + 2, (uint32_t)driver->output_size);
    put(head, sizeof(head));
    put(driver->output, driver->output_size);
}

static void open_driver(struct driver *driver)
{
    struct pages_limits limits = {{64 * MIB, MIB, MIB}};
    driver->pages = pages_open(&limits);
    check(driver->pages != NULL);
    arena_init(&driver->arena, driver->pages, 32 * MIB);
    random_init(&driver->random, 1);
    uint8_t *block = mmap(NULL, INPUT_SIZE_MAX + PAGE_SIZE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(block != MAP_FAILED);
    driver->fence = block + INPUT_SIZE_MAX;
    check(mprotect(driver->fence, PAGE_SIZE, PROT_NONE) == 0);
    driver->output = malloc(1);
}

int main(void)
{
    struct driver driver = {0};
    open_driver(&driver);
    uint8_t *bytes = malloc(INPUT_SIZE_MAX);
    uint8_t name_size;
    while (read_exactly(&name_size, 1)) {
        char name[256] = {0};
        uint8_t head[6];
        check(read_exactly(name, name_size));
        check(read_exactly(head, sizeof(head)));
        int16_t version = (int16_t)get_be16(head);
        uint32_t size = get_be32(head + 2);
        check(size <= INPUT_SIZE_MAX);
        check(read_exactly(bytes, size));
        const struct message *message = message_find(name);
        if (message == NULL) {
            fprintf(stderr, "no message %s\n", name);
            return 1;
        }
        answer(&driver, message, version, bytes_of(bytes, size));
        cut_short(&driver, message, version, bytes_of(bytes, size));
        damage(&driver, message, version, bytes_of(bytes, size));
    }
    free(bytes);
    free(driver.output);
    munmap(driver.fence - INPUT_SIZE_MAX, INPUT_SIZE_MAX + PAGE_SIZE);
    pages_close(driver.pages);
    return 0;
}
