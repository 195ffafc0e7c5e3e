/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a harness without libFuzzer: every file of a corpus folder, each followed by its share of
 * the mutations, from one seed. usage: replay_NAME FOLDER [MUTATIONS [SEED]]
 *
 * Each input lies in memory of exactly its size, so that the address sanitizer sees a read past it.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tests/fuzz/fuzz.h"

/* Of all files together, so that a corpus may grow and the time of a run does not. */
#define MUTATIONS 16000
#define INPUT_SIZE_MAX ((size_t)1 << 20)

static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

/* Numbers that sit on the edges of sizes and counts. */
static const uint32_t edges[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff};

static size_t mutate(struct random *random, uint8_t *data, size_t size)
{
    size_t at = size == 0 ? 0 : random_below(random, size);
    size_t span = size == 0 ? 0 : 1 + random_below(random, size - at);
    switch (random_below(random, 6)) {
    case 0:
        if (size > 0) {
            data[at] ^= (uint8_t)(1U << random_below(random, 8));
        }
        return size;
    case 1:
        if (size > 0) {
            data[at] = (uint8_t)random_u64(random);
        }
        return size;
    case 2: /* cut */
        return at;
    case 3: /* take a span out */
        memmove(data + at, data + at + span, size - at - span);
        return size - span;
    case 4: /* say a span twice */
        if (size + span <= INPUT_SIZE_MAX) {
            memmove(data + at + span, data + at, size - at);
            size += span;
        }
        return size;
    default: {
        uint32_t edge = edges[random_below(random, sizeof(edges) / sizeof(edges[0]))];
        uint8_t bytes[4] = {(uint8_t)(edge >> 24), (uint8_t)(edge >> 16), (uint8_t)(edge >> 8),
                            (uint8_t)edge};
        for (size_t i = 0; i < 4 && at + i < size; i++) {
            data[at + i] = bytes[i];
        }
        return size;
    }
    }
}

static void run_file(const char *path, uint64_t mutations, uint64_t seed)
{
    FILE *file = fopen(path, "rb");
    uint8_t *original = malloc(INPUT_SIZE_MAX);
    uint8_t *data = malloc(INPUT_SIZE_MAX);
    if (file == NULL || original == NULL || data == NULL) {
        perror(path);
        exit(1);
    }
    size_t size = fread(original, 1, INPUT_SIZE_MAX, file);
    fclose(file);
    run(original, size);
    struct random random;
    random_init(&random, seed);
    for (uint64_t i = 0; i < mutations; i++) {
        memcpy(data, original, size);
        size_t mutated = size;
        for (uint64_t round = 1 + random_below(&random, 4); round > 0; round--) {
            mutated = mutate(&random, data, mutated);
        }
        run(data, mutated);
    }
    free(original);
    free(data);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER [MUTATIONS [SEED]]\n", argv[0]);
        return 1;
    }
    uint64_t mutations = argc > 2 ? strtoull(argv[2], NULL, 10) : MUTATIONS;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    DIR *folder = opendir(argv[1]);
    if (folder == NULL) {
        perror(argv[1]);
        return 1;
    }
    char *names[4096];
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.' && count < sizeof(names) / sizeof(names[0])) {
            names[count++] = strdup(entry->d_name);
        }
    }
    closedir(folder);
    qsort(names, count, sizeof(names[0]), by_name);
    uint64_t share = count == 0 ? 0 : 1 + mutations / count;
    for (size_t i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", argv[1], names[i]);
        run_file(path, share, seed + i);
        free(names[i]);
    }
    printf("%zu files, %llu mutations each\n", count, (unsigned long long)share);
    return count == 0;
}
