/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A load generator for brokers that speak the Kafka protocol. It prints one line of key=value:
 * rates of the measured time, latencies, and what the broker's process spent meanwhile.
 * benchmarks/README.md explains the columns.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "benchmarks/wire/load.h"

enum { EVENT_COUNT = 256, ERRORS_PRINTED = 5 };

#define DRAIN_NS 30000000000U

static const char usage_text[] =
    "load produce|fetch|wait [options]\n"
    "  --bootstrap HOST:PORT     127.0.0.1:9092\n"
    "  --wait SECONDS            keep trying to connect (0)\n"
    "  --topic NAME              load\n"
    "  --partitions N            1\n"
    "  --create --delete         make the topic before, remove it after\n"
    "  --topic-config KEY=VALUE  of the topic made by --create; repeatable\n"
    "  --connections N           1\n"
    "  --seconds S               measured time (5)\n"
    "  --warmup S                before it (1)\n"
    "  --bytes N[KMG]            ends the measured time early\n"
    "  --pid PID                 broker process whose CPU and memory are reported\n"
    "  --csv FILE --label TEXT   append a row\n"
    "produce:\n"
    "  --depth N                 requests in flight per connection (1)\n"
    "  --records N --size BYTES  records per batch (1), bytes per value (1024)\n"
    "  --payload random|zero     random\n"
    "  --batches N               different batches in turn (4)\n"
    "  --acks -1|0|1             -1\n"
    "  --rate R                  open loop at R records/s over all connections\n"
    "fetch:\n"
    "  --fetch-size N[KMG]       1M\n"
    "  --fetch-version 4..11     11\n"
    "  --from beginning|tail     beginning, again at the end\n"
    "  --discard                 look at first batch headers only\n";

void load_count(struct load *load, uint64_t begin_ns, uint64_t records, uint64_t bytes)
{
    if (load->phase != PHASE_MEASURE) {
        return;
    }
    load->request_count++;
    load->record_count += records;
    load->byte_count += bytes;
    latency_add(&load->latency, load->now_ns > begin_ns ? load->now_ns - begin_ns : 0);
}

void load_error(struct load *load, const char *format, ...)
{
    if (load->error_count++ < ERRORS_PRINTED) {
        va_list arguments;
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputc('\n', stderr);
    }
}

void load_want_output(struct load *load, struct connection *connection, bool wanted)
{
    if (connection->wants_output != wanted) {
        struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0),
                                    .data.ptr = connection};
        epoll_ctl(load->epoll, EPOLL_CTL_MOD, connection->fd, &event);
        connection->wants_output = wanted;
    }
}

static void connections_open(struct load *load, void (*connect)(struct load *, struct connection *))
{
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->connections = calloc((size_t)load->options.connection_count, sizeof(*load->connections));
    if (load->epoll < 0 || load->connections == NULL) {
        die("epoll: %s", strerror(errno));
    }
    for (int i = 0; i < load->options.connection_count; i++) {
        struct connection *connection = &load->connections[i];
        connection->index = i;
        connection->fd = control_connect(&load->options);
        fcntl(connection->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0) {
            die("epoll_ctl: %s", strerror(errno));
        }
        connect(load, connection);
    }
}

static void connections_close(struct load *load)
{
    for (int i = 0; i < load->options.connection_count; i++) {
        struct connection *connection = &load->connections[i];
        close(connection->fd);
        free(connection->input);
        free(connection->requests);
        free(connection->heads);
        free(connection->offset_until);
        out_deinit(&connection->fetch);
    }
    free(load->connections);
    close(load->epoll);
}

static void phase_step(struct load *load)
{
    const struct options *options = &load->options;
    uint64_t now = load->now_ns;
    if (load->phase == PHASE_WARMUP && now >= load->measure_ns) {
        load->phase = PHASE_MEASURE;
        load->measure_ns = now;
        load->until_ns = now + (uint64_t)(options->seconds * 1e9);
        load->usage_begin = usage_read(options->pid);
        load->own_cpu = usage_read(getpid()).cpu_seconds;
    }
    bool enough = options->byte_limit > 0 && (int64_t)load->byte_count >= options->byte_limit;
    if (load->phase == PHASE_MEASURE && (now >= load->until_ns || enough)) {
        load->phase = PHASE_DRAIN;
        load->until_ns = now;
        load->usage_until = usage_read(options->pid);
        load->own_cpu = usage_read(getpid()).cpu_seconds - load->own_cpu;
    }
    if (load->phase == PHASE_DRAIN && now - load->until_ns > DRAIN_NS) {
        die("%llu requests without an answer 30 s after the end",
            (unsigned long long)load->in_flight);
    }
}

/* How long the loop may sleep: until the next scheduled request, or the next change of phase. */
static struct timespec sleep_time(const struct load *load)
{
    double until = (double)(load->phase == PHASE_WARMUP ? load->measure_ns : load->until_ns);
    if (load->phase == PHASE_DRAIN) {
        until = (double)load->now_ns + 1e8;
    }
    for (int i = 0; load->interval_ns > 0 && i < load->options.connection_count; i++) {
        const struct connection *connection = &load->connections[i];
        bool full = connection->tail - connection->head >= (uint64_t)load->options.depth;
        if (!full && connection->due_ns < until) {
            until = connection->due_ns;
        }
    }
    double ns = until - (double)load->now_ns;
    ns = ns > 0 ? ns : 0;
    return (struct timespec){.tv_sec = (time_t)(ns / 1e9),
                             .tv_nsec = (long)(ns - 1e9 * (double)(time_t)(ns / 1e9))};
}

static void advance_all(struct load *load)
{
    for (int i = 0; i < load->options.connection_count; i++) {
        load->advance(load, &load->connections[i]);
    }
}

void load_run(struct load *load)
{
    struct epoll_event events[EVENT_COUNT];
    load->now_ns = clock_ns();
    load->measure_ns = load->now_ns + (uint64_t)(load->options.warmup_seconds * 1e9);
    phase_step(load);
    advance_all(load);
    while (load->phase != PHASE_DRAIN || load->in_flight > 0) {
        struct timespec timeout = sleep_time(load);
        int count = epoll_pwait2(load->epoll, events, EVENT_COUNT, &timeout, NULL);
        if (count < 0 && errno != EINTR) {
            die("epoll_wait: %s", strerror(errno));
        }
        load->now_ns = clock_ns();
        phase_step(load);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0) {
                load->receive(load, connection);
            }
            load->advance(load, connection);
        }
        if (load->interval_ns > 0) {
            advance_all(load);
        }
    }
}

/* The same figures as a line of key=value and as a CSV row under the same names. */
static void report(const struct load *load)
{
    double seconds = (double)(load->until_ns - load->measure_ns) / 1e9;
    double bytes = (double)load->byte_count;
    double cpu = load->usage_until.cpu_seconds - load->usage_begin.cpu_seconds;
    const struct {
        const char *key;
        int digits;
        double value;
    } figures[] = {
        {"seconds", 3, seconds},
        {"records_s", 0, (double)load->record_count / seconds},
        {"requests_s", 0, (double)load->request_count / seconds},
        {"mb_s", 2, bytes / seconds / 1e6},
        {"mib_s", 2, bytes / seconds / 1048576},
        {"p50_us", 1, latency_us(&load->latency, 0.5)},
        {"p99_us", 1, latency_us(&load->latency, 0.99)},
        {"p999_us", 1, latency_us(&load->latency, 0.999)},
        {"max_us", 1, (double)load->latency.max_ns / 1000},
        {"cpu_s", 2, cpu},
        {"cpu_s_per_gb", 3, bytes > 0 ? cpu / (bytes / 1e9) : 0},
        {"cpu_cores", 2, cpu / seconds},
        {"rss_kib", 0, (double)load->usage_until.rss_kib},
        {"rss_kib_max", 0, (double)load->usage_until.rss_kib_max},
        {"load_cpu_cores", 2, load->own_cpu / seconds},
        {"errors", 0, (double)load->error_count},
    };
    size_t count = sizeof(figures) / sizeof(figures[0]);
    FILE *csv = load->options.csv == NULL ? NULL : fopen(load->options.csv, "a");
    if (load->options.csv != NULL && csv == NULL) {
        die("%s: %s", load->options.csv, strerror(errno));
    }
    if (csv != NULL && ftell(csv) == 0) {
        fprintf(csv, "label");
        for (size_t i = 0; i < count; i++) {
            fprintf(csv, ",%s", figures[i].key);
        }
        fputc('\n', csv);
    }
    printf("label=%s", load->options.label);
    csv != NULL ? fprintf(csv, "%s", load->options.label) : 0;
    for (size_t i = 0; i < count; i++) {
        printf(" %s=%.*f", figures[i].key, figures[i].digits, figures[i].value);
        csv != NULL ? fprintf(csv, ",%.*f", figures[i].digits, figures[i].value) : 0;
    }
    putchar('\n');
    if (csv != NULL) {
        fputc('\n', csv);
        fclose(csv);
    }
}

static void bootstrap_parse(struct options *options, char *text)
{
    char *colon = strrchr(text, ':');
    if (colon == NULL) {
        die("--bootstrap %s: HOST:PORT wanted", text);
    }
    *colon = '\0';
    options->host = text;
    options->port = colon + 1;
}

static bool word_parse(const char *text, const char *yes, const char *no)
{
    if (strcmp(text, yes) != 0 && strcmp(text, no) != 0) {
        die("'%s': %s or %s wanted", text, yes, no);
    }
    return strcmp(text, yes) == 0;
}

static void config_add(struct options *options, const char *text)
{
    if (options->config_count == CONFIG_MAX) {
        die("at most %d times --topic-config", CONFIG_MAX);
    }
    options->config[options->config_count++] = text;
}

static void option_take(struct options *options, const char *name, char *value)
{
    const struct {
        const char *name;
        int *target;
    } numbers[] = {
        {"partitions", &options->partition_count},
        {"connections", &options->connection_count},
        {"depth", &options->depth},
        {"records", &options->shape.record_count},
        {"size", &options->shape.value_size},
        {"batches", &options->batch_count},
        {"fetch-size", &options->fetch_size},
        {"fetch-version", &options->fetch_version},
        {"pid", &options->pid},
    };
    const struct {
        const char *name;
        double *target;
    } reals[] = {{"seconds", &options->seconds},
                 {"warmup", &options->warmup_seconds},
                 {"rate", &options->record_rate},
                 {"wait", &options->wait_seconds}};
    const struct {
        const char *name;
        const char **target;
    } texts[] = {{"topic", &options->topic}, {"csv", &options->csv}, {"label", &options->label}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].target = (int)number_parse(value, name);
        }
    }
    for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++) {
        if (strcmp(name, reals[i].name) == 0) {
            *reals[i].target = strtod(value, NULL);
        }
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].target = value;
        }
    }
}

static void options_parse(struct options *options, int count, char **arguments)
{
    static const struct option names[] = {
        {"bootstrap", 1, NULL, 'b'},    {"create", 0, NULL, 'C'},
        {"delete", 0, NULL, 'D'},       {"discard", 0, NULL, 'd'},
        {"payload", 1, NULL, 'p'},      {"from", 1, NULL, 'f'},
        {"topic-config", 1, NULL, 'c'}, {"acks", 1, NULL, 'a'},
        {"bytes", 1, NULL, 'B'},        {"partitions", 1, NULL, 0},
        {"connections", 1, NULL, 0},    {"depth", 1, NULL, 0},
        {"records", 1, NULL, 0},        {"size", 1, NULL, 0},
        {"batches", 1, NULL, 0},        {"fetch-size", 1, NULL, 0},
        {"fetch-version", 1, NULL, 0},  {"pid", 1, NULL, 0},
        {"seconds", 1, NULL, 0},        {"warmup", 1, NULL, 0},
        {"rate", 1, NULL, 0},           {"wait", 1, NULL, 0},
        {"topic", 1, NULL, 0},          {"csv", 1, NULL, 0},
        {"label", 1, NULL, 0},          {NULL, 0, NULL, 0},
    };
    int index = 0;
    for (int key; (key = getopt_long(count, arguments, "", names, &index)) != -1;) {
        switch (key) {
        case 'b':
            bootstrap_parse(options, optarg);
            break;
        case 'C':
            options->create = true;
            break;
        case 'D':
            options->delete = true;
            break;
        case 'd':
            options->discard = true;
            break;
        case 'p':
            options->shape.random = word_parse(optarg, "random", "zero");
            break;
        case 'f':
            options->tail = word_parse(optarg, "tail", "beginning");
            break;
        case 'c':
            config_add(options, optarg);
            break;
        case 'a':
            options->acks = atoi(optarg);
            break;
        case 'B':
            options->byte_limit = number_parse(optarg, "--bytes");
            break;
        case 0:
            option_take(options, names[index].name, optarg);
            break;
        default:
            die("%s", usage_text);
        }
    }
    bool sane = options->partition_count > 0 && options->connection_count > 0 &&
                options->depth > 0 && options->depth <= DEPTH_MAX &&
                options->shape.record_count > 0 && options->shape.value_size <= 64 << 20 &&
                options->batch_count > 0 && options->fetch_size > 0 && options->seconds > 0 &&
                options->fetch_version >= FETCH_VERSION_MIN && options->acks >= -1 &&
                options->fetch_version <= FETCH_VERSION_MAX && options->acks <= 1 &&
                strlen(options->topic) < TOPIC_SIZE_MAX && optind == count;
    if (!sane) {
        die("a value is out of range\n%s", usage_text);
    }
}

static void run(struct load *load, bool produce)
{
    const struct options *options = &load->options;
    int control = control_connect(options);
    control_check_versions(control);
    if (options->create) {
        control_create_topic(control, options);
    }
    control_await_topic(control, options);
    load->begin_ns = clock_ns();
    if (produce) {
        produce_prepare(load);
    }
    load->advance = produce ? produce_advance : fetch_advance;
    load->receive = produce ? produce_receive : fetch_receive;
    connections_open(load, produce ? produce_connect : fetch_connect);
    load_run(load);
    connections_close(load);
    if (produce) {
        produce_verify(load);
    }
    if (options->delete) {
        control_delete_topic(control, options);
    }
    close(control);
    report(load);
}

int main(int count, char **arguments)
{
    struct load *load = calloc(1, sizeof(*load));
    if (load == NULL || count < 2) {
        die("%s", usage_text);
    }
    load->options = (struct options){
        .host = "127.0.0.1",
        .port = "9092",
        .topic = "load",
        .label = "load",
        .partition_count = 1,
        .connection_count = 1,
        .depth = 1,
        .shape = {.record_count = 1, .value_size = 1024, .random = true},
        .batch_count = 4,
        .acks = -1,
        .seconds = 5,
        .warmup_seconds = 1,
        .fetch_size = 1 << 20,
        .fetch_version = FETCH_VERSION_MAX,
    };
    options_parse(&load->options, count - 1, arguments + 1);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1); /* ns; the default of 50 us would delay paced requests */
    if (strcmp(arguments[1], "wait") == 0) {
        int fd = control_connect(&load->options);
        control_check_versions(fd);
        close(fd);
    } else if (strcmp(arguments[1], "produce") == 0 || strcmp(arguments[1], "fetch") == 0) {
        run(load, strcmp(arguments[1], "produce") == 0);
    } else {
        die("%s", usage_text);
    }
    int failed = load->error_count > 0;
    free(load);
    return failed;
}
