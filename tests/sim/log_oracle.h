/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log and, beside it, what it has to be: the plain array of all batches that were sent, with what
 * is known of each. Anything that differs ends the run with the seed and the line.
 *
 * O1  an acknowledged batch, or one that a reader saw, is at its offset with its bytes after any
 *     end, unless retention took its segment
 * O2  offsets are dense from the log's start on
 * O3  a batch that was refused for good never appears; one that failed by the disk may
 * O4  log start <= last stable <= high watermark <= end; only the first may rise by itself; nothing
 *     that is read lies at or above the high watermark
 * O6  a producer's batch is in the log once, and sent again it is answered with its first offset
 * O9  what the key index knows of a key, and what a look-up in the whole log finds, is its newest
 *     decided record below the high watermark
 * O10 what is found by offset or time is what a walk over the array finds
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "storage/partition_state.h"
#include "tests/lib/log_world.h"

#define ORACLE_ENTRIES_MAX 4096
#define ORACLE_PRODUCERS 4
#define ORACLE_TWINS 8

#define require(expression)                                                                        \
    ((expression) ? (void)0 : oracle_fail(oracle, __FILE__, __LINE__, #expression))

enum oracle_fate {
    FATE_SENT, /* no answer yet */
    FATE_ACKED,
    FATE_FAILED,  /* by the disk: it may be there or not */
    FATE_REFUSED, /* for good */
};

struct oracle_entry {
    struct partition_append append;
    struct oracle *oracle;
    uint8_t *memory; /* as sent; offset and epoch as the log stamped them, -1 before that */
    size_t size;
    enum oracle_fate fate;
    bool wrong; /* must be refused */
    bool seen;  /* a reader had it, or a duplicate of it was acknowledged */
    bool marker;
    bool commit;
    int producer; /* -1 none */
    int32_t sequence;
    int64_t timestamp;
    uint32_t life; /* of the process that sent it */
};

struct oracle_twin {
    struct partition_append append;
    struct oracle *oracle;
    struct oracle_entry *original; /* NULL: not in use */
    uint8_t *memory;
    bool last; /* of its producer */
};

struct oracle_producer {
    int32_t next_sequence;
    bool transactional;
};

struct oracle {
    uint64_t seed;
    struct random random;
    struct log_world world;
    struct partition *partition; /* NULL while closed */
    struct partition_config config;
    int32_t epoch;
    uint32_t life;
    struct oracle_entry *entries[ORACLE_ENTRIES_MAX]; /* in the order sent; settled ones first */
    size_t count;
    size_t sent_total;
    struct oracle_twin twins[ORACLE_TWINS];
    struct oracle_producer producers[ORACLE_PRODUCERS];
    int64_t clock_ms;
    bool big;    /* batches of several blocks too */
    bool faulty; /* reads may fail */
    bool lying;  /* reads may find damage */
    bool shaken; /* an append of this life failed */
    int64_t low; /* log start and high watermark when last looked at, of this life */
    int64_t high;
    struct {
        struct partition_read read;
        bool busy;
        bool done;
        bool faulty; /* reads might fail when it was sent */
    } reader;        /* beside the writer */
};

static inline uint64_t pick(struct oracle *oracle, uint64_t bound)
{
    return random_below(&oracle->random, bound);
}

/* Ends the run; with WEIR_TEST_TRACE=1 the array is shown. */
_Noreturn void oracle_fail(const struct oracle *oracle, const char *file, int line,
                           const char *what);
/* As the log stamped it; -1: it never got one. */
int64_t oracle_offset(const struct oracle_entry *entry);
int64_t oracle_offset_last(const struct oracle_entry *entry);

/* Opens without judging; the partition is NULL when it could not be. */
enum status oracle_open(struct oracle *oracle, bool fresh);
/* A write of this life failed and the log was loaded anew. An append that waited meanwhile may have
 * been answered well behind that. */
static inline bool oracle_is_shaken(const struct oracle *oracle)
{
    return oracle->shaken || oracle->partition->failed_ns != 0;
}
/* One more batch, marker or data, of a random producer or none. */
void oracle_send(struct oracle *oracle);
/* One that must be refused, where a producer is known well enough. */
void oracle_send_wrong(struct oracle *oracle);
/* One of a producer's last five batches once more. */
void oracle_send_twin(struct oracle *oracle);
/* What failed by the disk once more, as an idempotent client does. */
void oracle_send_failed(struct oracle *oracle);
/* The reader takes what came and asks for more. */
void oracle_reader_step(struct oracle *oracle);
/* Nothing is in flight any more: process or store are gone, whatever was not answered is unknown.
 */
void oracle_forget_flights(struct oracle *oracle);
/* After an open: what the log holds is compared with the array, which is what the log holds from
 * there on. */
void oracle_settle(struct oracle *oracle);
/* O4, of one moment. */
void oracle_check_facts(struct oracle *oracle);
void oracle_check_transactions(struct oracle *oracle);
/* Counts what the index knew, so that a run can tell whether it looked at anything. */
uint64_t oracle_check_keys(struct oracle *oracle);
/* Looks keys up in the whole log, LOG_BATCH_KEYS: each once. Counts what came from hints. */
uint64_t oracle_find_keys(struct oracle *oracle, int count);
void oracle_check_epochs(struct oracle *oracle);
/* One read, compared; answers the offset behind it, the same offset when it failed. */
int64_t oracle_read(struct oracle *oracle, int64_t offset, uint32_t size_max);
void oracle_look_up(struct oracle *oracle);
/* Whether every batch sent has an answer. */
bool oracle_is_answered(const struct oracle *oracle);
void oracle_free(struct oracle *oracle);
