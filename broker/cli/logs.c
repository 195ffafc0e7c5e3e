/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `weir log dump|verify|skip|reopen`: the files of a data folder, without the protocol. The first
 * two only read, and refuse a folder that a broker holds unless --live says that half-written ends
 * do not matter. The others leave one line in the partition's folder (weir.request) that the broker
 * takes within a second, or at its next start: the broker alone changes what it keeps.
 */
#include "broker/cli/logs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "broker/cli/cli.h"
#include "broker/cli/json.h"
#include "broker/cli/record_output.h"
#include "broker/cli/verbs.h"
#include "storage/verify.h"

#define PATH_SIZE 4096
#define HEAP_SIZE_MAX ((size_t)1 << 30)
#define BATCH_UNPACKED_MAX (UINT64_C(1) << 30)
#define EXIT_DAMAGE 3

struct log_options {
    struct cli_options common;
    bool records;
    bool live;
    const char *key;
};

#define LIVE_ROW                                                                                   \
    {                                                                                              \
        "live", NULL, OPTION_FLAG, offsetof(struct log_options, live), 0, 0,                       \
            "read although a broker holds the folder; what it writes meanwhile may look damaged"   \
    }

static const struct option_row DUMP_ROWS[] = {
    {"records", NULL, OPTION_FLAG, offsetof(struct log_options, records), 0, 0,
     "the records of each batch as well, one JSON object a line"},
    {"key", "TEXT", OPTION_TEXT, offsetof(struct log_options, key), 0, 0,
     "the newest record with this key instead: from the key tables of sealed segments, from the "
     "log "
     "of others"},
    LIVE_ROW,
};

static const struct option_row VERIFY_ROWS[] = {
    LIVE_ROW,
};

const struct command LOG_DUMP = {
    .name = "weir log dump",
    .operands = "DIR",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .sentence = "Lists the batches in the logs of a partition's folder or of a whole data folder. "
                "Nothing is written.",
    .rows = DUMP_ROWS,
    .row_count = ARRAY_COUNT(DUMP_ROWS),
};

const struct command LOG_VERIFY = {
    .name = "weir log verify",
    .operands = "DIR",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .sentence = "Checks a partition's folder or a whole data folder: batches, block sums, hints, "
                "tail files, snapshots, checkpoints. Names each damaged range. Ends with 3 when "
                "there is damage, but for ranges that were given up with weir log skip. Nothing "
                "is written.",
    .rows = VERIFY_ROWS,
    .row_count = ARRAY_COUNT(VERIFY_ROWS),
};

/* ---- folders ---- */

static int complain(int code, const char *what, const char *name, int error)
{
    fprintf(stderr, "weir log: %s: %s%s%s\n", name, what, error == 0 ? "" : ": ",
            error == 0 ? "" : strerror(error));
    return code;
}

/* "orders-3" */
static bool is_partition_name(const char *name)
{
    const char *dash = strrchr(name, '-');
    return dash != NULL && dash != name && dash[1] != '\0' &&
           strspn(dash + 1, "0123456789") == strlen(dash + 1);
}

/* Whether a broker holds the lock of a data folder. */
static bool folder_is_held(const char *data_dir)
{
    char path[PATH_SIZE + 8];
    snprintf(path, sizeof(path), "%s/.lock", data_dir);
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool held = fcntl(file, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
    close(file);
    return held;
}

struct folders {
    char data_dir[PATH_SIZE];
    char **names; /* of partitions, sorted */
    int32_t count;
};

static int order_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void folders_add(struct folders *folders, const char *name)
{
    folders->names =
        cli_allocate(folders->names, (size_t)(folders->count + 1) * sizeof(folders->names[0]));
    size_t size = strlen(name) + 1;
    folders->names[folders->count] = cli_allocate(NULL, size);
    memcpy(folders->names[folders->count], name, size);
    folders->count += 1;
}

static void folders_deinit(struct folders *folders)
{
    for (int32_t i = 0; i < folders->count; i++) {
        free(folders->names[i]);
    }
    free(folders->names);
}

/* A partition's folder, or all those of a data folder. Answers an exit code. */
static int folders_init(struct folders *folders, const char *path, bool live)
{
    *folders = (struct folders){0};
    char real[PATH_SIZE];
    if (realpath(path, real) == NULL) {
        return complain(CLI_USAGE, "no such folder", path, errno);
    }
    const char *last = strrchr(real, '/') + 1;
    if (is_partition_name(last)) {
        folders_add(folders, last);
        snprintf(folders->data_dir, sizeof(folders->data_dir), "%.*s",
                 last - real == 1 ? 1 : (int)(last - real - 1), real);
    } else {
        memcpy(folders->data_dir, real, sizeof(folders->data_dir));
        DIR *folder = opendir(real);
        for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
            if (is_partition_name(entry->d_name)) {
                folders_add(folders, entry->d_name);
            }
        }
        if (folder == NULL) {
            return complain(CLI_USAGE, "cannot be listed", path, errno);
        }
        closedir(folder);
    }
    if (!live && folder_is_held(folders->data_dir)) {
        folders_deinit(folders);
        return complain(CLI_USAGE, "a broker holds this folder; stop it, or say --live",
                        folders->data_dir, 0);
    }
    if (folders->count > 0) {
        qsort(folders->names, (size_t)folders->count, sizeof(folders->names[0]), order_names);
    }
    return CLI_OK;
}

/* ---- dump and verify ---- */

struct reading {
    struct log_options options;
    const char *name; /* of the partition */
    const char *folder;
    struct output output;
    struct text text;
    struct batch_scratch scratch;
    struct heap heap;
    struct ring *ring;
    uint64_t files;
    uint64_t batches;
    uint64_t size;
    uint64_t damage_count;
    struct verify_row newest; /* of --key, in a log without a table; file NULL: none */
    char newest_file[32];
    bool newest_transactional;
};

static const char *marker_name(enum verify_marker marker)
{
    return marker == VERIFY_ABORT ? "abort" : marker == VERIFY_COMMIT ? "commit" : NULL;
}

static void batch_json(const struct reading *reading, const struct verify_batch *batch)
{
    const struct batch_header *header = &batch->header;
    json_t *object = json_object();
    json_object_set_new(object, "partition", json_string(reading->name));
    json_object_set_new(object, "file", json_string(batch->file));
    json_object_set_new(object, "position", json_integer(batch->position));
    json_object_set_new(object, "size", json_integer(batch->size));
    json_object_set_new(object, "first_offset", json_integer(header->base_offset));
    json_object_set_new(object, "last_offset", json_integer(batch_last_offset(header)));
    json_object_set_new(object, "count", json_integer(header->count));
    json_object_set_new(object, "leader_epoch", json_integer(header->leader_epoch));
    json_object_set_new(object, "codec",
                        json_string(codec_name(header->attributes & BATCH_CODEC_MASK)));
    json_object_set_new(object, "first_timestamp", json_integer(header->base_timestamp));
    json_object_set_new(object, "max_timestamp", json_integer(header->max_timestamp));
    json_object_set_new(object, "producer_id", json_integer(header->producer_id));
    json_object_set_new(object, "producer_epoch", json_integer(header->producer_epoch));
    json_object_set_new(object, "sequence", json_integer(header->base_sequence));
    json_object_set_new(object, "transactional",
                        json_boolean((header->attributes & BATCH_TRANSACTIONAL) != 0));
    json_object_set_new(object, "control", json_boolean((header->attributes & BATCH_CONTROL) != 0));
    if (batch->marker != VERIFY_NO_MARKER) {
        json_object_set_new(object, "marker", json_string(marker_name(batch->marker)));
    }
    json_print(object, stdout, true);
}

static void batch_print(const struct reading *reading, const struct verify_batch *batch)
{
    const struct batch_header *header = &batch->header;
    printf("%s/%s  offsets %" PRId64 "-%" PRId64 "  position %" PRId64 "  size %" PRId64
           "  count %d  epoch %d  %s  timestamps %" PRId64 "-%" PRId64,
           reading->name, batch->file, header->base_offset, batch_last_offset(header),
           batch->position, batch->size, header->count, header->leader_epoch,
           codec_name(header->attributes & BATCH_CODEC_MASK), header->base_timestamp,
           header->max_timestamp);
    if (header->producer_id >= 0) {
        printf("  producer %" PRId64 " epoch %d sequence %d", header->producer_id,
               header->producer_epoch, header->base_sequence);
    }
    if ((header->attributes & BATCH_TRANSACTIONAL) != 0) {
        printf("  transactional");
    }
    if ((header->attributes & BATCH_CONTROL) != 0) {
        printf("  control %s", batch->marker == VERIFY_NO_MARKER ? "" : marker_name(batch->marker));
    }
    printf("\n");
}

/* Reads one batch again, this time whole. NULL: not readable. */
static uint8_t *batch_bytes(const struct reading *reading, const struct verify_batch *batch)
{
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof(path), "%s/%s", reading->folder, batch->file);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *bytes = file < 0 ? NULL : cli_allocate(NULL, (size_t)batch->size);
    if (bytes != NULL && pread(file, bytes, (size_t)batch->size, batch->position) != batch->size) {
        free(bytes);
        bytes = NULL;
    }
    if (file >= 0) {
        close(file);
    }
    return bytes;
}

static void records_print(struct reading *reading, const struct verify_batch *batch)
{
    uint8_t *bytes = batch_bytes(reading, batch);
    struct record_stream *stream = NULL;
    const char *dash = strrchr(reading->name, '-');
    if (bytes == NULL || record_stream_open(&stream, bytes_of(bytes, (size_t)batch->size),
                                            reading->scratch, BATCH_UNPACKED_MAX) != STATUS_OK) {
        fprintf(stderr, "weir log: %s/%s: records at position %" PRId64 " cannot be unpacked\n",
                reading->name, batch->file, batch->position);
        free(bytes);
        return;
    }
    struct record record;
    while (record_stream_next(stream, &record)) {
        struct output_record line = {
            .topic = bytes_of((const uint8_t *)reading->name, (size_t)(dash - reading->name)),
            .partition = atoi(dash + 1),
            .record = &record,
        };
        reading->text.size = 0;
        output_append(&reading->output, &line, &reading->text);
        fwrite(reading->text.data, 1, reading->text.size, stdout);
    }
    record_stream_close(stream);
    free(bytes);
}

/* --key: a row of a table, or the newest record that a walk met. */
static void key_print(const struct reading *reading, const struct verify_row *row,
                      bool transactional)
{
    if (reading->options.common.json) {
        json_t *object = json_object();
        json_object_set_new(object, "partition", json_string(reading->name));
        json_set_bytes(object, "key", bytes_of_text(reading->options.key));
        json_object_set_new(object, "file", json_string(row->file));
        json_object_set_new(object, "offset", json_integer(row->offset));
        json_object_set_new(object, "timestamp", json_integer(row->timestamp));
        json_object_set_new(object, "position", json_integer(row->position));
        json_object_set_new(object, "size", json_integer(row->size));
        json_object_set_new(object, "null_value", json_boolean(row->tombstone));
        json_object_set_new(object, "transactional", json_boolean(transactional));
        json_object_set_new(object, "producer_id", json_integer(row->producer_id));
        json_print(object, stdout, true);
        return;
    }
    printf("%s/%s  offset %" PRId64 "  position %" PRId64 "  size %" PRId64 "  timestamp %" PRId64
           "%s%s\n",
           reading->name, row->file, row->offset, row->position, row->size, row->timestamp,
           row->tombstone ? "  null value" : "",
           transactional ? "  transactional, may be undecided or aborted" : "");
}

static void take_row(struct verify *verify, const struct verify_row *row)
{
    key_print(verify->owner, row, row->producer_id >= 0);
}

/* Records of a log without a key table; the newest one is printed when the search is over. */
static void key_look(struct verify *verify, const struct verify_batch *batch)
{
    struct reading *reading = verify->owner;
    uint8_t *bytes = batch_bytes(reading, batch);
    struct record_stream *stream = NULL;
    struct record record;
    if (bytes != NULL && record_stream_open(&stream, bytes_of(bytes, (size_t)batch->size),
                                            reading->scratch, BATCH_UNPACKED_MAX) == STATUS_OK) {
        while (record_stream_next(stream, &record)) {
            if (record.key.data == NULL || !bytes_equal(record.key, verify->key)) {
                continue;
            }
            snprintf(reading->newest_file, sizeof(reading->newest_file), "%s", batch->file);
            reading->newest = (struct verify_row){
                .file = reading->newest_file,
                .offset = record.offset,
                .timestamp = record.timestamp,
                .position = batch->position,
                .size = batch->size,
                .tombstone = record.value.data == NULL,
                .producer_id = batch->header.producer_id,
            };
            reading->newest_transactional = (batch->header.attributes & BATCH_TRANSACTIONAL) != 0;
            verify->found = true;
        }
    }
    record_stream_close(stream);
    free(bytes);
}

static void take_batch(struct verify *verify, const struct verify_batch *batch)
{
    struct reading *reading = verify->owner;
    if (reading->options.key != NULL) {
        if ((batch->header.attributes & BATCH_CONTROL) == 0) {
            key_look(verify, batch);
        }
        return;
    }
    if (reading->options.common.json) {
        batch_json(reading, batch);
    } else {
        batch_print(reading, batch);
    }
    if (reading->options.records && (batch->header.attributes & BATCH_CONTROL) == 0) {
        records_print(reading, batch);
    }
}

static void take_finding(struct verify *verify, const struct verify_finding *finding)
{
    static const char *const kinds[] = {"DAMAGED", "QUARANTINED", "SKIPPED"};
    struct reading *reading = verify->owner;
    if (reading->options.common.json) {
        json_t *object = json_object();
        json_object_set_new(object, "partition", json_string(reading->name));
        json_object_set_new(object, "finding", json_string(kinds[finding->kind]));
        json_object_set_new(object, "file", json_string(finding->file));
        json_object_set_new(object, "what", json_string(finding->what));
        json_object_set_new(object, "position", json_integer(finding->position_from));
        json_object_set_new(object, "position_until", json_integer(finding->position_until));
        json_object_set_new(object, "offset", json_integer(finding->offset_from));
        json_object_set_new(object, "offset_until", json_integer(finding->offset_until));
        json_print(object, stdout, true);
        return;
    }
    printf("%s  %s/%s", kinds[finding->kind], reading->name, finding->file);
    if (finding->position_from >= 0) {
        printf("  position %" PRId64 " until %" PRId64, finding->position_from,
               finding->position_until);
    }
    if (finding->offset_from >= 0) {
        printf("  offset %" PRId64 " until %" PRId64, finding->offset_from, finding->offset_until);
    }
    printf("  %s\n", finding->what);
}

static int read_partition(struct reading *reading, const char *data_dir, bool dump)
{
    char folder[PATH_SIZE + 300];
    snprintf(folder, sizeof(folder), "%s/%s", data_dir, reading->name);
    reading->folder = folder;
    struct verify verify = {
        .ring = reading->ring,
        .heap = &reading->heap,
        .folder = folder,
        .log_only = dump,
        .batch = dump ? take_batch : NULL,
        .finding = take_finding,
        .key = reading->options.key == NULL ? BYTES_NULL : bytes_of_text(reading->options.key),
        .row = take_row,
        .owner = reading,
    };
    reading->newest.file = NULL;
    int64_t result = verify_run(&verify);
    if (reading->newest.file != NULL) {
        key_print(reading, &reading->newest, reading->newest_transactional);
    } else if (reading->options.key != NULL && !verify.found && !reading->options.common.json) {
        printf("%s  no record with this key\n", reading->name);
    }
    reading->files += verify.file_count;
    reading->batches += verify.batch_count;
    reading->size += verify.size;
    reading->damage_count += verify.damage_count;
    return result < 0 ? complain(EXIT_DAMAGE, "cannot be read", folder, (int)-result) : CLI_OK;
}

static int read_all(struct reading *reading, const char *path, bool dump)
{
    struct folders folders;
    int code = folders_init(&folders, path, reading->options.live);
    if (code != CLI_OK) {
        return code;
    }
    for (int32_t i = 0; i < folders.count; i++) {
        reading->name = folders.names[i];
        int one = read_partition(reading, folders.data_dir, dump);
        code = code == CLI_OK ? one : code;
    }
    if (!dump && !reading->options.common.json) {
        printf("%d partitions, %" PRIu64 " files, %" PRIu64 " batches, %" PRIu64
               " bytes of log, %" PRIu64 " damaged\n",
               folders.count, reading->files, reading->batches, reading->size,
               reading->damage_count);
    }
    folders_deinit(&folders);
    return reading->damage_count > 0 && !dump ? EXIT_DAMAGE : code;
}

static int reading_run(const struct command *command, int count, char **arguments, bool dump)
{
    struct reading reading = {.options = {.common = CLI_OPTIONS_DEFAULT}};
    char message[256];
    int code;
    if (!options_parse(command, &reading.options, count, arguments, &code)) {
        return code;
    }
    heap_init(&reading.heap, HEAP_SIZE_MAX);
    reading.scratch = (struct batch_scratch){
        .memory = cli_allocate(NULL, BATCH_SCRATCH_SIZE_ZSTD),
        .size = BATCH_SCRATCH_SIZE_ZSTD,
        .heap = &reading.heap,
    };
    struct ring_options ring = {.kind = RING_POSIX};
    int error = ring_open(&reading.ring, &ring);
    if (error < 0) {
        code = complain(CLI_USAGE, "no helper threads for reading", "start", -error);
    } else {
        check(output_init(&reading.output, "json", NULL, message, sizeof(message)));
        code = read_all(&reading, reading.options.common.operands[0], dump);
        output_deinit(&reading.output);
        ring_close(reading.ring);
    }
    text_deinit(&reading.text);
    free(reading.scratch.memory);
    heap_deinit(&reading.heap);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        int failed = complain(CLI_USAGE, "cannot be written", "the output", 0);
        return code == CLI_OK ? failed : code;
    }
    return code;
}

static int dump_run(int count, char **arguments)
{
    return reading_run(&LOG_DUMP, count, arguments, true);
}

static int verify_files_run(int count, char **arguments)
{
    return reading_run(&LOG_VERIFY, count, arguments, false);
}

/* ---- requests ---- */

struct request_options {
    struct cli_options common;
    const char *data;
    int64_t from;
    int64_t until;
};

#define DATA_ROW                                                                                   \
    {                                                                                              \
        "data", "DIR", OPTION_TEXT, offsetof(struct request_options, data), 0, 0,                  \
            "the broker's data folder"                                                             \
    }

static const struct option_row SKIP_ROWS[] = {
    DATA_ROW,
    {"from", "OFFSET", OPTION_INTEGER, offsetof(struct request_options, from), 0, INT64_MAX,
     "the first offset to give up; default the beginning"},
    {"until", "OFFSET", OPTION_INTEGER, offsetof(struct request_options, until), 0, INT64_MAX,
     "the first offset to keep; default the end"},
};

static const struct option_row REOPEN_ROWS[] = {
    DATA_ROW,
};

const struct command LOG_SKIP = {
    .name = "weir log skip",
    .operands = "TOPIC PARTITION",
    .operand_count_min = 2,
    .operand_count_max = 2,
    .sentence =
        "Gives quarantined ranges up: consumers cross them as a gap from then on. Only ranges that "
        "lie wholly between the offsets, and only those that the broker has refused already (its "
        "log line names them). A running broker takes it within a second, a stopped one at its "
        "next start. It cannot be taken back.",
    .rows = SKIP_ROWS,
    .row_count = ARRAY_COUNT(SKIP_ROWS),
};

const struct command LOG_REOPEN = {
    .name = "weir log reopen",
    .operands = "TOPIC PARTITION",
    .operand_count_min = 2,
    .operand_count_max = 2,
    .sentence = "Has a running broker load a log again that is read-only after failed writes. A "
                "restart of the broker does the same.",
    .rows = REOPEN_ROWS,
    .row_count = ARRAY_COUNT(REOPEN_ROWS),
};

/* Written aside, synced, renamed, folder synced. 0 or errno. */
static int request_leave(const char *folder, const char *line)
{
    char aside[PATH_SIZE + 32];
    char path[PATH_SIZE + 32];
    snprintf(aside, sizeof(aside), "%s/weir.request.tmp", folder);
    snprintf(path, sizeof(path), "%s/weir.request", folder);
    int file = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    size_t size = strlen(line);
    bool good = file >= 0 && write(file, line, size) == (ssize_t)size && fsync(file) == 0;
    int error = errno;
    if (file >= 0) {
        close(file);
    }
    if (!good || rename(aside, path) != 0) {
        return good ? errno : error;
    }
    int parent = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    good = parent >= 0 && fsync(parent) == 0;
    error = errno;
    if (parent >= 0) {
        close(parent);
    }
    return good ? 0 : error;
}

static int request_run(const struct command *command, int count, char **arguments, bool skip)
{
    struct request_options options = {.common = CLI_OPTIONS_DEFAULT, .until = INT64_MAX};
    int code;
    int64_t index;
    if (!options_parse(command, &options, count, arguments, &code)) {
        return code;
    }
    const char *topic = options.common.operands[0];
    if (options.data == NULL || strchr(topic, '/') != NULL || options.from >= options.until ||
        !integer_parse(options.common.operands[1], 0, INT32_MAX, &index)) {
        fprintf(stderr, "weir log: --data DIR, a topic, a partition's number%s\n",
                skip ? ", and --from below --until" : "");
        return CLI_USAGE;
    }
    char folder[PATH_SIZE];
    char path[PATH_SIZE + 32];
    char line[80] = "reopen\n";
    snprintf(folder, sizeof(folder), "%s/%s-%" PRId64, options.data, topic, index);
    snprintf(path, sizeof(path), "%s/weir.quarantine", folder);
    if (skip && access(path, F_OK) != 0) {
        return complain(CLI_REFUSED, "no range of this partition is quarantined", folder, 0);
    }
    if (skip) {
        snprintf(line, sizeof(line), "skip %" PRId64 " %" PRId64 "\n", options.from, options.until);
    }
    int error = request_leave(folder, line);
    if (error != 0) {
        return complain(CLI_USAGE, "the request cannot be left there", folder, error);
    }
    printf("asked for; %s\n", folder_is_held(options.data)
                                  ? "the broker answers with a line in its diagnostics"
                                  : "no broker runs, the next one takes it at its start");
    return CLI_OK;
}

static int skip_run(int count, char **arguments)
{
    return request_run(&LOG_SKIP, count, arguments, true);
}

static int reopen_run(int count, char **arguments)
{
    return request_run(&LOG_REOPEN, count, arguments, false);
}

/* The verb */

static const struct verb_row LOG_VERBS[] = {
    {"dump", &LOG_DUMP, dump_run},
    {"verify", &LOG_VERIFY, verify_files_run},
    {"skip", &LOG_SKIP, skip_run},
    {"reopen", &LOG_REOPEN, reopen_run},
};

int log_run(int count, char **arguments)
{
    return verbs_run("log", LOG_VERBS, ARRAY_COUNT(LOG_VERBS), count, arguments);
}
