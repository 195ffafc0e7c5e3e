/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/wire/bare.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "benchmarks/lib/measure.h"

enum { PAGE = 4096, PIECE = 1 << 20 };

static const char usage_text[] =
    "bare --data DIR [options]    the produce loop\n"
    "bare --fetch [options]       the fetch loop: 1 MiB from memory\n"
    "bare --probe DIR             DSYNC latency and rate of DIR's device\n"
    "  --port N                   of 127.0.0.1 (9092; 0: any, the ready line names it)\n"
    "  --partitions N             of every topic (1)\n"
    "  --file-size N[KMG]         of each partition's file, used again and again (1G)\n"
    "  --unwritten                allocate the files, but do not write them before the start\n";

static uint8_t *piece_allocate(void)
{
    void *piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (piece == MAP_FAILED) {
        die("out of memory");
    }
    return piece;
}

int bare_file(const char *folder, int64_t size, bool unwritten)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/bare-XXXXXX", folder);
    int fd = mkostemp(path, O_DIRECT | O_CLOEXEC);
    if (fd < 0 && errno == EINVAL) {
        fprintf(stderr, "%s: O_DIRECT is refused\n", folder);
        exit(SKIPPED);
    }
    if (fd < 0 || fallocate(fd, 0, 0, size) != 0) {
        die("%s: %s", path, strerror(errno));
    }
    unlink(path);
    uint8_t *zeros = piece_allocate();
    for (int64_t position = 0; !unwritten && position < size; position += PIECE) {
        if (pwrite(fd, zeros, PIECE, position) != PIECE) {
            die("%s: %s", path, strerror(errno));
        }
    }
    munmap(zeros, PIECE);
    if (fsync(fd) != 0) {
        die("%s: %s", path, strerror(errno));
    }
    return fd;
}

/* Writes count pieces of size bytes one after the other; prints latencies and rate. */
static void probe(const char *folder, size_t size, int count, bool unwritten)
{
    struct latency *latency = calloc(1, sizeof(*latency));
    uint8_t *piece = piece_allocate();
    memset(piece, 0x5a, PIECE);
    int64_t file_size = (int64_t)(size * (size_t)count + PIECE - 1) / PIECE * PIECE;
    int fd = bare_file(folder, file_size, unwritten);
    struct iovec vector = {piece, size};
    uint64_t begin_ns = clock_ns();
    for (int i = 0; i < count; i++) {
        uint64_t write_ns = clock_ns();
        if (pwritev2(fd, &vector, 1, (off_t)(size * (size_t)i), RWF_DSYNC) != (ssize_t)size) {
            die("write: %s", strerror(errno));
        }
        latency_add(latency, clock_ns() - write_ns);
    }
    double seconds = (double)(clock_ns() - begin_ns) / 1e9;
    printf("probe size=%zu space=%s p50_us=%.1f p99_us=%.1f max_us=%.1f mb_s=%.1f\n", size,
           unwritten ? "unwritten" : "written", latency_us(latency, 0.5), latency_us(latency, 0.99),
           (double)latency->max_ns / 1000, (double)size * count / seconds / 1e6);
    close(fd);
    munmap(piece, PIECE);
    free(latency);
}

void bare_probe(const char *folder)
{
    probe(folder, PAGE, 4000, false);
    probe(folder, PAGE, 4000, true);
    probe(folder, PIECE, 500, false);
    probe(folder, PIECE, 500, true);
}

static void answer_versions(struct out *out)
{
    static const int keys[] = {API_PRODUCE,  API_FETCH,         API_LIST_OFFSETS,
                               API_METADATA, API_CREATE_TOPICS, API_DELETE_TOPICS};
    out_i16(out, 0);
    out_i32(out, sizeof(keys) / sizeof(keys[0]));
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        out_i16(out, keys[i]);
        out_i16(out, 0);
        out_i16(out, keys[i] == API_FETCH ? FETCH_VERSION_MAX : PRODUCE_VERSION);
    }
}

static void answer_metadata(const struct bare *bare, const char *topic, struct out *out)
{
    out_i32(out, 0); /* throttle */
    out_i32(out, 1);
    out_i32(out, 1); /* node 1 */
    out_string(out, "127.0.0.1");
    out_i32(out, bare->port);
    out_string(out, NULL);
    out_string(out, NULL);
    out_i32(out, 1); /* controller */
    out_i32(out, 1);
    out_i16(out, 0);
    out_string(out, topic);
    out_i8(out, 0);
    out_i32(out, bare->partition_count);
    for (int i = 0; i < bare->partition_count; i++) {
        out_i16(out, 0);
        out_i32(out, i);
        out_i32(out, 1); /* leader */
        out_i32(out, 1); /* replicas */
        out_i32(out, 1);
        out_i32(out, 1); /* in sync */
        out_i32(out, 1);
    }
}

/* The first topic's name of the four requests that have one: an array's first string. */
static void name_read(int key, struct in *in, char *name)
{
    in_skip(in, key == API_LIST_OFFSETS ? 4 : 0); /* replica */
    in_skip(in, 4);                               /* one topic */
    in_string(in, name, NAME_SIZE_MAX);
}

void bare_control(const struct bare *bare, const uint8_t *frame, size_t size, struct out *out)
{
    struct in in = {.data = frame, .size = size, .position = FRAME_SIZE_BYTES};
    char name[NAME_SIZE_MAX];
    int key = in_i16(&in);
    in_skip(&in, 2); /* version */
    int32_t correlation = in_i32(&in);
    in_string(&in, name, sizeof(name)); /* client */
    size_t begin = out->size;
    out_i32(out, 0);
    out_i32(out, correlation);
    if (key == API_VERSIONS) {
        answer_versions(out);
    } else {
        name_read(key, &in, name);
        if (key == API_METADATA) {
            answer_metadata(bare, name, out);
        } else if (key == API_CREATE_TOPICS || key == API_DELETE_TOPICS) {
            out_i32(out, 0); /* throttle */
            out_i32(out, 1);
            out_string(out, name);
            out_i16(out, 0);
            key == API_CREATE_TOPICS ? out_string(out, NULL) : (void)0;
        } else if (key == API_LIST_OFFSETS) {
            in_skip(&in, 4); /* one partition */
            out_i32(out, 1);
            out_string(out, name);
            out_i32(out, 1);
            out_i32(out, in_i32(&in));
            out_i16(out, 0);
            out_i64(out, -1);
            out_i64(out, 0);
        } else {
            die("request of key %d", key);
        }
    }
    if (in.failed) {
        die("a malformed request of key %d", key);
    }
    store_be32(out->data + begin, (uint32_t)(out->size - begin - FRAME_SIZE_BYTES));
}

static int listen_at(struct bare *bare)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(bare->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        die("127.0.0.1:%d: %s", bare->port, strerror(errno));
    }
    bare->port = ntohs(address.sin_port);
    return fd;
}

int main(int count, char **arguments)
{
    static const struct option names[] = {
        {"data", 1, NULL, 'd'},      {"fetch", 0, NULL, 'f'},      {"probe", 1, NULL, 'P'},
        {"port", 1, NULL, 'p'},      {"partitions", 1, NULL, 'n'}, {"file-size", 1, NULL, 's'},
        {"unwritten", 0, NULL, 'u'}, {NULL, 0, NULL, 0},
    };
    struct bare bare = {.port = 9092, .partition_count = 1, .file_size = 1 << 30};
    const char *probed = NULL;
    bool fetch = false;
    for (int key; (key = getopt_long(count, arguments, "", names, NULL)) != -1;) {
        switch (key) {
        case 'd':
            bare.folder = optarg;
            break;
        case 'f':
            fetch = true;
            break;
        case 'P':
            probed = optarg;
            break;
        case 'p':
            bare.port = (uint16_t)number_parse(optarg, "--port");
            break;
        case 'n':
            bare.partition_count = (int)number_parse(optarg, "--partitions");
            break;
        case 's':
            bare.file_size = number_parse(optarg, "--file-size");
            break;
        case 'u':
            bare.unwritten = true;
            break;
        default:
            die("%s", usage_text);
        }
    }
    bool sane = bare.file_size >= 16 * PIECE && bare.file_size % PIECE == 0 &&
                bare.partition_count > 0 && optind == count;
    if (!sane || (probed == NULL && !fetch && bare.folder == NULL)) {
        die("%s", usage_text);
    }
    if (probed != NULL) {
        bare_probe(probed);
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_at(&bare);
    fetch ? bare_fetch(&bare, listener) : bare_produce(&bare, listener);
    return 0;
}
