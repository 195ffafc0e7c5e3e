/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/cli/client.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "broker/cli/text.h"
#include "wire/api_versions.h"
#include "wire/frame.h"
#include "wire/header.h"
#include "wire/messages.h"

#define SEND_VECTOR_MAX 64
#define WORDS_SIZE_MAX 500 /* of a broker in one of our messages */
/* ApiVersions 5 asks for the id of a cluster that we do not know yet. */
#define API_VERSIONS_ASKED 4
#define CLIENT_ID "weir"
#define CLIENT_VERSION "0.1.0"
#define PORT_DEFAULT "9092"

struct remedy {
    enum status status;
    const char *words;
};

static const struct remedy REMEDIES[] = {
    {STATUS_UNKNOWN_TOPIC_OR_PARTITION, "see weir topic list, or make it with weir topic create"},
    {STATUS_UNKNOWN_TOPIC_ID, "the topic was made anew meanwhile: say it again"},
    {STATUS_TOPIC_ALREADY_EXISTS, "say --if-not-exists where that is fine"},
    {STATUS_INVALID_REPLICATION_FACTOR, "see the brokers in weir status"},
    {STATUS_INVALID_PARTITIONS, "say --partitions with a number above 0"},
    {STATUS_MESSAGE_TOO_LARGE, "raise the topic's max.message.bytes or lower --batch-bytes"},
    {STATUS_RECORD_LIST_TOO_LARGE, "raise the topic's segment.bytes or lower --batch-bytes"},
    {STATUS_INVALID_RECORD, "a compacted topic wants keys: see --key-delimiter"},
    {STATUS_OFFSET_OUT_OF_RANGE, "say --from beginning or --from end"},
    {STATUS_UNSUPPORTED_COMPRESSION_TYPE, "choose another --codec"},
    {STATUS_REQUEST_TIMED_OUT, "say it again, or raise --timeout-ms"},
};

int64_t cli_monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t cli_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool client_fail(struct client *client, enum cli_code code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(client->message, sizeof(client->message), format, arguments);
    va_end(arguments);
    client->code = code;
    client->status = code == CLI_UNREACHABLE ? STATUS_NETWORK_EXCEPTION : STATUS_INVALID_REQUEST;
    return false;
}

bool client_refused(struct client *client, const char *what, int16_t error_code, struct bytes words)
{
    enum status status = status_from_code(error_code);
    const char *remedy = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(REMEDIES); i++) {
        if (REMEDIES[i].status == status) {
            remedy = REMEDIES[i].words;
        }
    }
    if (words.size == 0) {
        words = bytes_of_text(status_sentence(status));
    }
    while (words.size > 1 && words.data[words.size - 1] == '.') {
        words.size--; /* the sentence goes on */
    }
    (void)client_fail(client, CLI_REFUSED, "%s: %s (%d), %.*s%s%s", what, status_name(status),
                      error_code, words.size < WORDS_SIZE_MAX ? (int)words.size : WORDS_SIZE_MAX,
                      words.data, remedy == NULL ? "" : "; ", remedy == NULL ? "" : remedy);
    client->status = status;
    return false;
}

int client_report(const struct client *client)
{
    if (client->stopped) {
        return CLI_OK;
    }
    fprintf(stderr, "weir: %s\n", client->message);
    return client->code;
}

/* Life */

bool client_init(struct client *client, const struct cli_options *options)
{
    struct pages_limits limits = {.size_max = {[PAGES_REQUEST] = CLIENT_MEMORY_MAX}};
    *client = (struct client){.timeout_ms = options->timeout_ms, .stop_file = -1};
    heap_init(&client->heap, CLIENT_MEMORY_MAX);
    client->pages = pages_open(&limits);
    if (client->pages == NULL) {
        return client_fail(client, CLI_USAGE, "address space is refused: %s; raise ulimit -v",
                           strerror(errno));
    }
    client->scratch = (struct batch_scratch){
        .memory = cli_allocate(NULL, BATCH_SCRATCH_SIZE_ZSTD),
        .size = BATCH_SCRATCH_SIZE_ZSTD,
        .heap = &client->heap,
    };
    /* A reader that went away (| head) is seen by the write that fails. */
    signal(SIGPIPE, SIG_IGN);
    return true;
}

void client_close(struct connection *connection)
{
    if (connection->socket >= 0) {
        close(connection->socket);
        connection->socket = -1;
    }
}

void client_deinit(struct client *client)
{
    while (client->connections != NULL) {
        struct connection *connection = client->connections;
        client->connections = connection->next;
        client_close(connection);
        free(connection);
    }
    if (client->stop_file >= 0) {
        close(client->stop_file);
    }
    free(client->scratch.memory);
    if (client->pages != NULL) {
        pages_close(client->pages);
    }
    heap_deinit(&client->heap);
}

void client_arena_init(struct client *client, struct arena *arena)
{
    arena_init(arena, client->pages, CLIENT_ARENA_MAX);
}

bool client_catch_signals(struct client *client)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    client->stop_file = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (client->stop_file < 0) {
        return client_fail(client, CLI_USAGE, "signals cannot be awaited: %s", strerror(errno));
    }
    return true;
}

/* Waits for the socket (-1: for nothing). False at the deadline, or when the user wants to end. */
static bool await(struct client *client, int socket, short events, int64_t deadline_ms)
{
    for (;;) {
        struct pollfd files[2] = {{socket, events, 0}, {client->stop_file, POLLIN, 0}};
        int64_t left_ms = deadline_ms - cli_monotonic_ms();
        int ready = poll(files, 2, left_ms <= 0 ? 0 : (int)left_ms);
        if (ready > 0 && files[1].revents != 0) {
            client->stopped = true;
            return false;
        }
        if (ready > 0) {
            return true;
        }
        if (ready == 0 && left_ms <= 0) {
            return false;
        }
    }
}

bool client_pause(struct client *client, int64_t wait_ms)
{
    (void)await(client, -1, 0, cli_monotonic_ms() + wait_ms);
    return !client->stopped;
}

/* Connections */

bool address_split(const char *address, char host[256], char port[8])
{
    const char *end = address + strlen(address);
    const char *colon = strrchr(address, ':');
    const char *from = address;
    if (address[0] == '[') {
        from = address + 1;
        end = strchr(address, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':')) {
            return false;
        }
        colon = end[1] == ':' ? end + 1 : NULL;
    } else if (colon != NULL && strchr(address, ':') == colon) {
        end = colon;
    } else {
        colon = NULL; /* no port, or a bare IPv6 address */
    }
    const char *digits = colon == NULL ? PORT_DEFAULT : colon + 1;
    int64_t number;
    if (end == from || end - from > 255 || !integer_parse(digits, 1, 65535, &number)) {
        return false;
    }
    snprintf(host, 256, "%.*s", (int)(end - from), from);
    snprintf(port, 8, "%d", (int)number);
    return true;
}

static int socket_connect(struct client *client, const struct addrinfo *address,
                          int64_t deadline_ms)
{
    int file = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (file < 0) {
        return -errno;
    }
    int error = connect(file, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        socklen_t size = sizeof(error);
        error = ETIMEDOUT;
        if (await(client, file, POLLOUT, deadline_ms)) {
            getsockopt(file, SOL_SOCKET, SO_ERROR, &error, &size);
        }
    }
    if (error != 0) {
        close(file);
        return -error;
    }
    int on = 1;
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return file;
}

static bool connection_dial(struct client *client, struct connection *connection)
{
    struct addrinfo wish = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *addresses;
    int error = getaddrinfo(connection->host, connection->port, &wish, &addresses);
    if (error == EAI_NONAME || error == EAI_ADDRFAMILY) {
        wish.ai_flags = 0; /* loopback alone does not count as a configured address */
        error = getaddrinfo(connection->host, connection->port, &wish, &addresses);
    }
    if (error != 0) {
        return client_fail(client, CLI_UNREACHABLE,
                           "the host of %s has no address: %s; check --bootstrap",
                           connection->address, gai_strerror(error));
    }
    int64_t deadline_ms = cli_monotonic_ms() + client->timeout_ms;
    int result = -EHOSTUNREACH;
    for (struct addrinfo *at = addresses; at != NULL && result < 0; at = at->ai_next) {
        result = socket_connect(client, at, deadline_ms);
    }
    freeaddrinfo(addresses);
    if (result < 0) {
        return client_fail(client, CLI_UNREACHABLE,
                           "cannot connect to %s: %s; is a broker running there? Start one with "
                           "weir serve, or name another with --bootstrap",
                           connection->address, strerror(-result));
    }
    connection->socket = result;
    return true;
}

/* Requests */

static const struct message *message_of(enum message_kind kind, int16_t key)
{
    for (size_t i = 0; i < MESSAGE_COUNT; i++) {
        if (messages[i].kind == kind && messages[i].key == key) {
            return &messages[i];
        }
    }
    unreachable();
}

const char *client_api_name(int16_t key, char name[64])
{
    const char *words = message_of(MESSAGE_REQUEST, key)->name;
    size_t size = strlen(words) - strlen("_request");
    size_t used = 0;
    bool first = true;
    for (size_t i = 0; i < size && used < 63; i++) {
        if (words[i] == '_') {
            first = true;
            continue;
        }
        name[used++] = (char)(first ? toupper((unsigned char)words[i]) : words[i]);
        first = false;
    }
    name[used] = '\0';
    return name;
}

int16_t client_version(const struct connection *connection, int16_t key)
{
    const struct message *message = message_of(MESSAGE_REQUEST, key);
    if (key >= CLIENT_KEYS_MAX) {
        return -1;
    }
    int16_t max = connection->ranges[key].max;
    int16_t min = connection->ranges[key].min;
    max = max < message->version_max ? max : message->version_max;
    min = min > message->version_min ? min : message->version_min;
    return max < min ? -1 : max;
}

/* The exchange with one broker fails: the connection is of no more use. */
static bool broken(struct client *client, struct connection *connection, int16_t key,
                   const char *what)
{
    char name[64];
    client_close(connection);
    return client_fail(client, CLI_UNREACHABLE, "%s and %s: %s", connection->address,
                       client_api_name(key, name), what);
}

static bool send_all(struct client *client, struct connection *connection,
                     const struct iovec *slices, int count)
{
    int64_t deadline_ms = cli_monotonic_ms() + client->timeout_ms;
    size_t skip = 0; /* bytes of the first slice that are gone */
    while (count > 0) {
        struct iovec vector[SEND_VECTOR_MAX];
        int part = count < SEND_VECTOR_MAX ? count : SEND_VECTOR_MAX;
        memcpy(vector, slices, (size_t)part * sizeof(vector[0]));
        vector[0].iov_base = (char *)vector[0].iov_base + skip;
        vector[0].iov_len -= skip;
        struct msghdr message = {.msg_iov = vector, .msg_iovlen = (size_t)part};
        ssize_t sent = sendmsg(connection->socket, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            if (!await(client, connection->socket, POLLOUT, deadline_ms)) {
                errno = ETIMEDOUT;
                return false;
            }
            continue;
        }
        if (sent < 0 && errno != EINTR) {
            return false;
        }
        skip += sent < 0 ? 0 : (size_t)sent;
        while (count > 0 && skip >= slices->iov_len) {
            skip -= slices->iov_len;
            slices++;
            count--;
        }
    }
    return true;
}

/* errno 0: the broker closed the connection. */
static bool receive_all(struct client *client, struct connection *connection, uint8_t *target,
                        size_t size)
{
    int64_t deadline_ms = cli_monotonic_ms() + client->timeout_ms;
    while (size > 0) {
        ssize_t got = recv(connection->socket, target, size, 0);
        if (got > 0) {
            target += got;
            size -= (size_t)got;
            continue;
        }
        if (got == 0) {
            errno = 0;
            return false;
        }
        if (errno == EAGAIN && !await(client, connection->socket, POLLIN, deadline_ms)) {
            errno = ETIMEDOUT;
            return false;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return false;
        }
    }
    return true;
}

static bool request_send(struct client *client, struct connection *connection,
                         const struct message *message, int16_t version, const void *request)
{
    struct arena arena;
    struct writer writer;
    client_arena_init(client, &arena);
    writer_init(&writer, &arena);
    uint8_t *place = frame_begin(&writer);
    struct request_header header = {
        .request_api_key = message->key,
        .request_api_version = version,
        .correlation_id = ++connection->correlation_id,
        .client_id = BYTES_LITERAL(CLIENT_ID),
    };
    bool flexible = version >= message->flexible_first;
    request_header_encode(&writer, frame_request_header_version(flexible), &header);
    message->encode(&writer, version, request);
    frame_end(&writer, place);
    int count;
    const struct iovec *slices = writer_slices(&writer, &count);
    bool sent = false;
    if (writer.failed) {
        (void)client_fail(client, CLI_USAGE, "a request is larger than %" PRIu64 " bytes",
                          (uint64_t)CLIENT_ARENA_MAX);
    } else {
        sent = send_all(client, connection, slices, count) ||
               broken(client, connection, message->key, strerror(errno));
    }
    arena_reset(&arena);
    return sent;
}

/* The body of the answer, in the arena. */
static bool answer_receive(struct client *client, struct connection *connection,
                           const struct message *message, struct arena *arena, struct bytes *body)
{
    uint8_t prefix[FRAME_PREFIX_SIZE];
    char words[160];
    if (!receive_all(client, connection, prefix, sizeof(prefix))) {
        snprintf(words, sizeof(words), "no answer: %s",
                 errno == 0 ? "the broker closed the connection" : strerror(errno));
        return broken(client, connection, message->key, words);
    }
    int32_t size = (int32_t)get_be32(prefix);
    if (size < 4 || size > FRAME_SIZE_MAX) {
        snprintf(
            words, sizeof(words),
            "an answer of %d bytes, at most %d are taken; is this a plain-text Kafka listener?",
            size, FRAME_SIZE_MAX);
        return broken(client, connection, message->key, words);
    }
    uint8_t *data = arena_acquire_bytes(arena, (size_t)size);
    if (data == NULL) {
        snprintf(words, sizeof(words), "an answer of %d bytes does not fit in memory", size);
        return broken(client, connection, message->key, words);
    }
    if (!receive_all(client, connection, data, (size_t)size)) {
        snprintf(words, sizeof(words), "the answer is cut short: %s",
                 errno == 0 ? "the broker closed the connection" : strerror(errno));
        return broken(client, connection, message->key, words);
    }
    *body = bytes_of(data, (size_t)size);
    return true;
}

static bool answer_decode(struct client *client, struct connection *connection,
                          const struct message *message, int16_t version, struct bytes body,
                          struct arena *arena, void *response)
{
    struct reader reader;
    struct response_header header;
    bool flexible = version >= message->flexible_first;
    reader_init(&reader, body);
    enum status status = response_header_decode(
        &reader, frame_response_header_version(message->key, flexible), arena, &header);
    if (status == STATUS_OK && header.correlation_id != connection->correlation_id) {
        return broken(client, connection, message->key, "the answer belongs to another request");
    }
    /* A refusal of ApiVersions comes in version 0 whatever was asked for. */
    if (message->key == API_VERSIONS_KEY && reader_size(&reader) >= 2 &&
        get_be16(reader.cursor) == (uint16_t)status_code(STATUS_UNSUPPORTED_VERSION)) {
        version = 0;
    }
    if (status == STATUS_OK) {
        status = message->decode(&reader, version, arena, response);
    }
    if (status != STATUS_OK) {
        char words[160];
        snprintf(words, sizeof(words), "the answer in version %d cannot be read: %s", version,
                 status_sentence(status));
        return broken(client, connection, message->key, words);
    }
    return true;
}

static bool exchange(struct client *client, struct connection *connection, int16_t key,
                     int16_t version, const void *request, struct arena *arena, void *response)
{
    const struct message *answer = message_of(MESSAGE_RESPONSE, key);
    struct bytes body = BYTES_NULL;
    return request_send(client, connection, message_of(MESSAGE_REQUEST, key), version, request) &&
           answer_receive(client, connection, answer, arena, &body) &&
           answer_decode(client, connection, answer, version, body, arena, response);
}

static bool version_choose(struct client *client, struct connection *connection, int16_t key,
                           int16_t *version)
{
    *version = client_version(connection, key);
    if (*version >= 0) {
        return true;
    }
    char name[64];
    return client_fail(client, CLI_REFUSED,
                       "%s does not serve %s in a version that weir speaks; see weir status",
                       connection->address, client_api_name(key, name));
}

bool client_call(struct client *client, struct connection *connection, int16_t key,
                 const void *request, struct arena *arena, void *response)
{
    int16_t version;
    return version_choose(client, connection, key, &version) &&
           exchange(client, connection, key, version, request, arena, response);
}

bool client_tell(struct client *client, struct connection *connection, int16_t key,
                 const void *request)
{
    int16_t version;
    return version_choose(client, connection, key, &version) &&
           request_send(client, connection, message_of(MESSAGE_REQUEST, key), version, request);
}

/* Opening */

static void ranges_take(struct connection *connection, const struct api_versions_response *response)
{
    connection->range_count = response->api_keys_count;
    for (int16_t key = 0; key < CLIENT_KEYS_MAX; key++) {
        connection->ranges[key].min = 0;
        connection->ranges[key].max = -1;
    }
    for (int32_t i = 0; i < response->api_keys_count; i++) {
        const struct api_versions_response_api_key *row = &response->api_keys[i];
        if (row->api_key >= 0 && row->api_key < CLIENT_KEYS_MAX) {
            connection->ranges[row->api_key].min = row->min_version;
            connection->ranges[row->api_key].max = row->max_version;
        }
    }
}

static bool ranges_ask(struct client *client, struct connection *connection)
{
    struct arena arena;
    struct api_versions_request request;
    struct api_versions_response response;
    client_arena_init(client, &arena);
    api_versions_request_init(&request);
    request.client_software_name = BYTES_LITERAL(CLIENT_ID);
    request.client_software_version = BYTES_LITERAL(CLIENT_VERSION);
    bool good = exchange(client, connection, API_VERSIONS_KEY, API_VERSIONS_ASKED, &request, &arena,
                         &response);
    if (good && response.error_code == status_code(STATUS_UNSUPPORTED_VERSION)) {
        good = exchange(client, connection, API_VERSIONS_KEY, 0, &request, &arena, &response);
    }
    if (good && response.error_code != 0) {
        good = client_refused(client, connection->address, response.error_code, BYTES_NULL);
    }
    if (good) {
        ranges_take(connection, &response);
    }
    arena_reset(&arena);
    return good;
}

bool client_reopen(struct client *client, struct connection *connection)
{
    if (connection->socket >= 0) {
        return true;
    }
    if (!connection_dial(client, connection) || !ranges_ask(client, connection)) {
        client_close(connection);
        return false;
    }
    return true;
}

static struct connection *connection_add(struct client *client, int32_t node)
{
    struct connection *connection = cli_allocate(NULL, sizeof(*connection));
    *connection = (struct connection){.next = client->connections, .node = node, .socket = -1};
    client->connections = connection;
    return connection;
}

static void connection_name(struct connection *connection)
{
    bool v6 = strchr(connection->host, ':') != NULL;
    snprintf(connection->address, sizeof(connection->address), "%s%s%s:%s", v6 ? "[" : "",
             connection->host, v6 ? "]" : "", connection->port);
}

struct connection *client_open_address(struct client *client, const char *address)
{
    struct connection *connection = connection_add(client, -1);
    if (!address_split(address, connection->host, connection->port)) {
        (void)client_fail(client, CLI_USAGE, "--bootstrap \"%s\" is not HOST:PORT", address);
        return NULL;
    }
    connection_name(connection);
    return client_reopen(client, connection) ? connection : NULL;
}

struct connection *client_open_node(struct client *client, int32_t node, const char *host,
                                    int32_t port)
{
    char digits[8];
    snprintf(digits, sizeof(digits), "%d", (int)(uint16_t)port);
    struct connection *connection = client->connections;
    while (connection != NULL && connection->node != node) {
        connection = connection->next;
    }
    if (connection == NULL) {
        connection = connection_add(client, node);
    }
    if (strcmp(connection->host, host) != 0 || strcmp(connection->port, digits) != 0) {
        client_close(connection); /* the node moved */
        snprintf(connection->host, sizeof(connection->host), "%s", host);
        snprintf(connection->port, sizeof(connection->port), "%s", digits);
        connection_name(connection);
    }
    return client_reopen(client, connection) ? connection : NULL;
}
