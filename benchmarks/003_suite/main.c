/* SPDX-License-Identifier: Apache-2.0 */
/* One log of storage/ through its door, row by row beside a plain log and a bare loop. */
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "benchmarks/003_suite/suite.h"

const char *suite_sync_name(enum sync_policy sync)
{
    static const char *const names[] = {"none", "group", "each"};
    return names[sync];
}

const char *suite_data(const struct suite *suite, enum sync_policy sync)
{
    return sync == SYNC_NONE ? suite->memory : suite->options.data;
}

struct log_place suite_place(const struct suite *suite, enum sync_policy sync)
{
    return (struct log_place){.data = suite_data(suite, sync),
                              .writer = sync == SYNC_NONE ? WRITER_BUFFERED : WRITER_ALIGNED};
}

struct row suite_row(const char *name, enum sync_policy sync, size_t record_size,
                     struct latency *latency)
{
    return (struct row){.suite = "003_suite",
                        .name = name,
                        .threads = 1,
                        .record_size = record_size,
                        .sync = suite_sync_name(sync),
                        .payload = "zeros",
                        .latency = latency};
}

int main(int argc, char **argv)
{
    static struct suite suite;
    suite.options = options_parse(argc, argv, "bench_003_suite: appends and reads of one log");
    suite.memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : suite.options.data;
    bool full = suite.options.full;
    suite.runs = suite.options.run_count > 0 ? suite.options.run_count : full ? 3 : 1;
    suite.run_seconds = full ? 0.3 : 0.2;
    if (!report_open(&suite.report, suite.options.csv, suite.options.data)) {
        return 1;
    }
    rows_stream(&suite);
    rows_write(&suite);
    rows_latency(&suite);
    rows_fetch(&suite);
    rows_slab_fetch(&suite);
    rows_clients(&suite);
    report_close(&suite.report);
    return 0;
}
