/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server in the real world: arguments, limits, the data folder's lock, threads, signals.
 * METADATA_CORE runs on the first thread, so that start-up and serving use one ring from one
 * thread.
 */
#include "broker/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/machine.h"
#include "broker/server.h"

#define OVERRIDES_MAX 64
/* Descriptors kept for sockets, rings and small files. */
#define FILES_RESERVE 256

struct serve {
    struct broker_config config;
    struct heap heap; /* of the configuration */
    const char *config_path;
    const char *overrides[OVERRIDES_MAX];
    int32_t override_count;
    char message[SERVER_MESSAGE_SIZE];
    int lock_file;
    struct ring *rings[CORES_MAX];
    enum ring_kind ring_kind;
    char ring_refusal[160];
    struct server server;
    pthread_t threads[CORES_MAX];
    uint64_t start_ns;
};

static void usage(FILE *to)
{
    fprintf(to, "usage: weir serve [--config FILE] [--data DIR] [--listen HOST:PORT]\n"
                "                  [--set KEY=VALUE]...\n\n"
                "  --config FILE       a server.properties; keys are Kafka's where the meaning is\n"
                "  --data DIR          the data folder (log.dirs), default ./data\n"
                "  --listen HOST:PORT  where to listen (listeners), default 127.0.0.1:9092\n"
                "  --set KEY=VALUE     one setting; may be given several times\n");
}

static bool override_add(struct serve *serve, const char *key, const char *value)
{
    if (serve->override_count == OVERRIDES_MAX) {
        return false;
    }
    char *text;
    if (asprintf(&text, "%s%s%s", key, value == NULL ? "" : "=", value == NULL ? "" : value) < 0) {
        return false;
    }
    serve->overrides[serve->override_count++] = text;
    return true;
}

static int arguments_take(struct serve *serve, int count, char **arguments)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"data", required_argument, NULL, 'd'},
        {"listen", required_argument, NULL, 'l'}, {"set", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    int option;
    while ((option = getopt_long(count, arguments, "", options, NULL)) != -1) {
        char listener[512];
        bool taken = true;
        switch (option) {
        case 'c':
            serve->config_path = optarg;
            break;
        case 'd':
            taken = override_add(serve, "log.dirs", optarg);
            break;
        case 'l':
            snprintf(listener, sizeof(listener), "PLAINTEXT://%s", optarg);
            taken = override_add(serve, "listeners", listener);
            break;
        case 's':
            taken = override_add(serve, optarg, NULL);
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            return 1;
        }
        if (!taken) {
            fprintf(stderr, "weir: at most %d settings on the command line\n", OVERRIDES_MAX);
            return 1;
        }
    }
    if (optind < count) {
        fprintf(stderr, "weir: \"%s\" is not understood\n", arguments[optind]);
        usage(stderr);
        return 1;
    }
    return 0;
}

/* The folder's own name must survive a power cut as well: it stands in its parent. */
static void parent_sync(const char *path)
{
    char parent[4096];
    snprintf(parent, sizeof(parent), "%s/..", path);
    int file = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file >= 0) {
        (void)fsync(
            file); /* refused only where folders cannot be synced, and nothing is lost yet */
        close(file);
    }
}

static int data_dir_open(struct serve *serve)
{
    const char *path = serve->config.data_dir;
    if (mkdir(path, 0750) != 0 && errno != EEXIST) {
        snprintf(serve->message, sizeof(serve->message),
                 "cannot make the data folder %s: %s; make its parent folder or choose another "
                 "with --data",
                 path, strerror(errno));
        return 3;
    }
    parent_sync(path);
    char lock[4096];
    snprintf(lock, sizeof(lock), "%s/.lock", path);
    serve->lock_file = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (serve->lock_file < 0) {
        snprintf(serve->message, sizeof(serve->message),
                 "cannot write in the data folder %s: %s; check owner, permissions and space", path,
                 strerror(errno));
        return 3;
    }
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(serve->lock_file, F_OFD_SETLK, &range) != 0) {
        snprintf(serve->message, sizeof(serve->message),
                 "another broker uses the data folder %s; stop it, or choose another folder with "
                 "--data",
                 path);
        return 3;
    }
    return 0;
}

static int rings_open(struct serve *serve, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        struct ring_options options = {.kind = serve->config.ring};
        if (i > 0) {
            options.kind = serve->ring_kind; /* all cores alike */
        }
        int result = ring_open(&serve->rings[i], &options);
        if (result < 0) {
            snprintf(serve->message, sizeof(serve->message),
                     "the ring \"%s\" cannot be opened: %s; say ring=auto or ring=posix",
                     ring_kind_name(options.kind), strerror(-result));
            return 2;
        }
        if (i == 0) {
            serve->ring_kind = ring_kind(serve->rings[i]);
            snprintf(serve->ring_refusal, sizeof(serve->ring_refusal), "%s", options.refusal);
        }
    }
    return 0;
}

static void *core_thread(void *argument)
{
    struct core *core = argument;
    server_start_core(core);
    while (server_step_core(core, true)) {
    }
    return NULL;
}

/* The kernel's default action would lose the orderly stop, so one thread waits for the signals. */
static void *signal_thread(void *argument)
{
    struct server *server = argument;
    sigset_t set;
    int signal_number;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigwait(&set, &signal_number) == 0) {
        server_stop(server);
    }
    return NULL;
}

static void signals_block(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void ready_line(struct serve *serve)
{
    struct server *server = &serve->server;
    struct core *core = &server->cores[METADATA_CORE];
    char listeners[1024] = "";
    size_t used = 0;
    for (int32_t i = 0; i < server->listener_count; i++) {
        used += (size_t)snprintf(listeners + used, sizeof(listeners) - used, "%s%s:%u",
                                 i == 0 ? "" : ",", server->listeners[i].host,
                                 server->listeners[i].port);
    }
    enum writer_kind wanted = (enum writer_kind)server->config->writer;
    if (server->writer != wanted) {
        diag_line(&core->diag, DIAG_WARN, "broker/serve", "O_DIRECT is refused, log.writer changed",
                  "data=%s log.writer=%s now=%s remedy=\"a data folder on ext4 or xfs\"",
                  server->data_dir, store_writer_name(wanted), store_writer_name(server->writer));
    }
    uint64_t now_ns = machine_now_ns();
    diag_line(&core->diag, DIAG_INFO, "broker/serve", "ready",
              "listeners=%s data=%s cores=%d ring=%s writer=%s topics=%d partitions=%d "
              "not_opened=%d ms=%.1f%s%s%s",
              listeners, server->data_dir, server->core_count, ring_kind_name(serve->ring_kind),
              store_writer_name(server->writer), core->image.topic_count,
              core->image.partition_count, atomic_load(&server->open_failures),
              (double)(now_ns - serve->start_ns) / 1e6,
              serve->ring_refusal[0] == '\0' ? "" : " ring_refused=\"", serve->ring_refusal,
              serve->ring_refusal[0] == '\0' ? "" : "\"");
    diag_flush(&core->diag);
}

/* Runs until the orderly stop is through. */
static int serve_until_stopped(struct serve *serve)
{
    struct server *server = &serve->server;
    struct core *first = &server->cores[METADATA_CORE];
    for (int32_t i = 1; i < server->core_count; i++) {
        if (pthread_create(&serve->threads[i], NULL, core_thread, &server->cores[i]) != 0) {
            snprintf(serve->message, sizeof(serve->message),
                     "a thread cannot be started: %s; raise the limit of processes or lower cores",
                     strerror(errno));
            return 2;
        }
        machine_pin(serve->threads[i], i, serve->config.pin, server->core_count);
    }
    machine_pin(pthread_self(), METADATA_CORE, serve->config.pin, server->core_count);
    server_start_core(first);
    while (atomic_load(&server->cores_ready) < server->core_count) {
        (void)server_step_core(first, true);
    }
    int code = server_listen(server, serve->message);
    if (code == 0) {
        ready_line(serve);
    } else {
        server_stop(server);
    }
    pthread_t signals;
    bool signalled = pthread_create(&signals, NULL, signal_thread, server) == 0;
    while (server_step_core(first, true)) {
    }
    if (signalled) {
        /* It touches the ring: it must be through before the rings are closed. */
        (void)pthread_kill(signals, SIGTERM);
        pthread_join(signals, NULL);
    }
    for (int32_t i = 1; i < server->core_count; i++) {
        pthread_join(serve->threads[i], NULL);
    }
    if (code == 0) {
        diag_line(&first->diag, DIAG_INFO, "broker/serve", "stopped", "data=%s", server->data_dir);
    }
    code = code != 0 ? code : server->exit_code;
    server_close(server);
    return code;
}

static void warn_keys(const struct serve *serve)
{
    struct core *core = (struct core *)&serve->server.cores[METADATA_CORE];
    for (int32_t i = 0; i < serve->config.unknown_count; i++) {
        diag_line(&core->diag, DIAG_WARN, "broker/config", "unknown key",
                  "key=\"%s\" remedy=\"it is ignored; keys are Kafka's and those of README.md\"",
                  serve->config.unknown[i]);
        diag_flush(&core->diag);
    }
    for (int32_t i = 0; i < serve->config.inert_count; i++) {
        diag_line(&core->diag, DIAG_WARN, "broker/config", "key without effect",
                  "key=%s remedy=\"none needed; Weir does this in another way, or not at all\"",
                  serve->config.inert[i]);
        diag_flush(&core->diag);
    }
}

static int serve_start(struct serve *serve)
{
    int code =
        machine_config_load(&serve->config, &serve->heap, serve->config_path, serve->overrides,
                            serve->override_count, serve->message, sizeof(serve->message));
    if (code == 0) {
        code = data_dir_open(serve);
    }
    int32_t cores = serve->config.cores > 0 ? serve->config.cores : machine_cores();
    cores = cores > CORES_MAX ? CORES_MAX : cores;
    if (code == 0) {
        code = rings_open(serve, cores);
    }
    if (code != 0) {
        return code;
    }
    uint32_t files = machine_raise_files();
    const struct server_options options = {
        .config = &serve->config,
        .data_dir = serve->config.data_dir,
        .diag_file = STDERR_FILENO,
        .core_count = cores,
        .rings = serve->rings,
        .memory_size = machine_memory(serve->config.memory_size),
        .files_max = files > 2 * FILES_RESERVE ? files - FILES_RESERVE : files / 2,
        .seed = random_seed_from_kernel(),
    };
    code = server_open(&serve->server, &options, serve->message);
    if (code != 0) {
        return code;
    }
    warn_keys(serve);
    return serve_until_stopped(serve);
}

int serve_run(int count, char **arguments)
{
    struct serve *serve = calloc(1, sizeof(*serve));
    if (serve == NULL) {
        return 2;
    }
    serve->start_ns = machine_now_ns();
    serve->lock_file = -1;
    heap_init(&serve->heap, 16 * MIB);
    signals_block();
    int code = arguments_take(serve, count, arguments);
    if (code == 0) {
        code = serve_start(serve);
        if (code != 0 && serve->message[0] != '\0') {
            fprintf(stderr, "weir: %s\n", serve->message);
        }
    }
    return code;
}
