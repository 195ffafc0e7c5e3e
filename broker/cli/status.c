/* SPDX-License-Identifier: Apache-2.0 */
/* `weir status`: who answers, how fast, and what a durable write costs here. */
#include "broker/cli/status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "broker/cli/cluster.h"
#include "broker/cli/flush.h"
#include "broker/cli/json.h"
#include "wire/api_versions.h"

#define ROUND_TRIPS 21

struct status_options {
    struct cli_options common;
    const char *data;
};

static const struct option_row STATUS_ROWS[] = {
    {"data", "DIR", OPTION_TEXT, offsetof(struct status_options, data), 0, 0,
     "measure durable 4 KiB writes in this folder"},
};

const struct command STATUS_COMMAND = {
    .name = "weir status",
    .operands = "",
    .sentence = "Shows the cluster behind a broker, its round trip, and a folder's flush.",
    .rows = STATUS_ROWS,
    .row_count = ARRAY_COUNT(STATUS_ROWS),
};

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int time_order(const void *a, const void *b)
{
    int64_t first = *(const int64_t *)a;
    int64_t second = *(const int64_t *)b;
    return (first > second) - (first < second);
}

/* The median of some ApiVersions, which a broker answers from memory. */
static bool round_trip_measure(struct cluster *cluster, int64_t *median_us)
{
    int64_t times_us[ROUND_TRIPS];
    struct api_versions_request request;
    struct api_versions_response response;
    struct arena arena;
    api_versions_request_init(&request);
    request.client_software_name = BYTES_LITERAL("weir");
    request.client_software_version = BYTES_LITERAL("status");
    client_arena_init(cluster->client, &arena);
    for (int32_t i = 0; i < ROUND_TRIPS; i++) {
        int64_t start_us = now_us();
        bool good = client_call(cluster->client, cluster->bootstrap, API_VERSIONS_KEY, &request,
                                &arena, &response);
        times_us[i] = now_us() - start_us;
        arena_reset(&arena);
        if (!good) {
            return false;
        }
    }
    qsort(times_us, ROUND_TRIPS, sizeof(times_us[0]), time_order);
    *median_us = times_us[ROUND_TRIPS / 2];
    return true;
}

static int64_t partition_total(const struct metadata_response *metadata)
{
    int64_t total = 0;
    for (int32_t i = 0; i < metadata->topics_count; i++) {
        total += metadata->topics[i].partitions_count;
    }
    return total;
}

static void cluster_json(const struct cluster *cluster, int64_t median_us, json_t *object)
{
    const struct metadata_response *metadata = &cluster->metadata;
    json_t *brokers = json_array();
    for (int32_t i = 0; i < metadata->brokers_count; i++) {
        json_t *broker = json_object();
        json_object_set_new(broker, "id", json_integer(metadata->brokers[i].node_id));
        json_object_set_new(broker, "host", json_of_text(metadata->brokers[i].host));
        json_object_set_new(broker, "port", json_integer(metadata->brokers[i].port));
        json_object_set_new(broker, "rack", json_of_text(metadata->brokers[i].rack));
        json_array_append_new(brokers, broker);
    }
    json_object_set_new(object, "cluster", json_of_text(metadata->cluster_id));
    json_object_set_new(object, "controller", json_integer(metadata->controller_id));
    json_object_set_new(object, "brokers", brokers);
    json_object_set_new(object, "topics", json_integer(metadata->topics_count));
    json_object_set_new(object, "partitions", json_integer(partition_total(metadata)));
    json_object_set_new(object, "apis", json_integer(cluster->bootstrap->range_count));
    json_object_set_new(object, "round_trip_us", json_integer(median_us));
}

static void cluster_print(const struct cluster *cluster, int64_t median_us)
{
    const struct metadata_response *metadata = &cluster->metadata;
    printf("cluster     %.*s\n", (int)metadata->cluster_id.size,
           metadata->cluster_id.data == NULL ? (const uint8_t *)"" : metadata->cluster_id.data);
    for (int32_t i = 0; i < metadata->brokers_count; i++) {
        const struct metadata_response_broker *broker = &metadata->brokers[i];
        printf("broker      %d at %.*s:%d%s\n", broker->node_id, (int)broker->host.size,
               broker->host.data, broker->port,
               broker->node_id == metadata->controller_id ? ", the controller" : "");
    }
    printf("topics      %d with %" PRId64 " partitions\n", metadata->topics_count,
           partition_total(metadata));
    printf("APIs        %d at %s\n", cluster->bootstrap->range_count, cluster->bootstrap->address);
    printf("round trip  %" PRId64 " us, the median of %d\n", median_us, ROUND_TRIPS);
}

static bool flush_show(struct client *client, const char *folder, json_t *object)
{
    struct flush_figures figures;
    char message[CLIENT_MESSAGE_SIZE];
    if (flush_measure(folder, &figures, message, sizeof(message)) < 0) {
        return client_fail(client, CLI_USAGE, "%s", message);
    }
    if (object == NULL) {
        printf("flush       p50 %.0f us, p99 %.0f us, %d writes of 4 KiB in %s, ring %s\n",
               (double)figures.p50_ns / 1e3, (double)figures.p99_ns / 1e3, figures.write_count,
               folder, figures.ring);
        return true;
    }
    json_t *flush = json_object();
    json_object_set_new(flush, "folder", json_of_text(bytes_of_text(folder)));
    json_object_set_new(flush, "writes", json_integer(figures.write_count));
    json_object_set_new(flush, "p50_us", json_real((double)figures.p50_ns / 1e3));
    json_object_set_new(flush, "p99_us", json_real((double)figures.p99_ns / 1e3));
    json_object_set_new(flush, "ring", json_string(figures.ring));
    json_object_set_new(object, "flush", flush);
    return true;
}

static bool status_ask(struct cluster *cluster, const struct status_options *options,
                       json_t *object)
{
    int64_t median_us;
    if (!cluster_refresh(cluster, NULL, -1, CLUSTER_ONLY_LOOK) ||
        !round_trip_measure(cluster, &median_us)) {
        return false;
    }
    if (object != NULL) {
        cluster_json(cluster, median_us, object);
    } else {
        cluster_print(cluster, median_us);
    }
    return options->data == NULL || flush_show(cluster->client, options->data, object);
}

int status_run(int count, char **arguments)
{
    struct status_options options = {.common = CLI_OPTIONS_DEFAULT};
    int code;
    if (!options_parse(&STATUS_COMMAND, &options, count, arguments, &code)) {
        return code;
    }
    struct client client;
    struct cluster cluster = {0};
    json_t *object = options.common.json ? json_object() : NULL;
    bool good =
        cluster_open(&cluster, &client, &options.common) && status_ask(&cluster, &options, object);
    json_end(object, good);
    return cluster_end(&cluster, &client, good);
}
