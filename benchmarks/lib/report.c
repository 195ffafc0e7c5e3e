/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/lib/report.h"

#include <errno.h>
#include <stdlib.h>

static const char header[] =
    "suite,case,layer,params,threads,record_bytes,count,bytes,seconds,ops_s,MB_s,MiB_s,ns_op,"
    "p50_us,p95_us,p99_us,p999_us,max_us,allocs_op,alloc_bytes_op,peak_rss,sync,compression,"
    "seed_figure,anchor,ratio,runs,cpu,cores,kernel,fs,commit,date,"
    "figure,figure_value,figure_min,figure_max,anchor_case,payload,seed_note,extra\n";

static const char *const figure_names[] = {"ops_s", "MB_s", "p50_us", "p99_us", "ns_op"};

bool report_open(struct report *report, const char *csv, const char *data_dir)
{
    *report = (struct report){0};
    machine_read(&report->machine, data_dir);
    if (csv == NULL) {
        return true;
    }
    report->csv = fopen(csv, "a");
    if (report->csv == NULL) {
        fprintf(stderr, "%s: %s\n", csv, strerror(errno));
        return false;
    }
    fseek(report->csv, 0, SEEK_END);
    if (ftell(report->csv) == 0) {
        fputs(header, report->csv);
    }
    return true;
}

void report_close(struct report *report)
{
    if (report->csv != NULL) {
        fclose(report->csv);
        report->csv = NULL;
    }
}

void row_begin(struct row *row)
{
    machine_reset_peak();
    row->allocations_before = allocations_read();
    row->started_ns = clock_ns();
}

void row_end_in(struct row *row, uint64_t count, uint64_t size, double seconds)
{
    struct allocations after = allocations_read();
    if (row->run_count == ROW_RUNS_MAX) {
        return;
    }
    struct row_run *run = &row->runs[row->run_count];
    *run = (struct row_run){
        .seconds = seconds > 0 ? seconds : 1e-9,
        .count = count,
        .size = size,
        .allocations = {after.count - row->allocations_before.count,
                        after.size - row->allocations_before.size},
    };
    run->peak_rss_kib = machine_peak_rss_kib();
    row->run_count += 1;
    if (row->latency != NULL) {
        run->p50_us = latency_us(row->latency, 0.50);
        run->p99_us = latency_us(row->latency, 0.99);
    }
}

void row_end(struct row *row, uint64_t count, uint64_t size)
{
    row_end_in(row, count, size, (double)(clock_ns() - row->started_ns) / 1e9);
}

void row_latency(struct row *row, uint64_t ns)
{
    if (row->latency != NULL) {
        latency_add(row->latency, ns);
    }
}

static double run_figure(const struct row *row, const struct row_run *run)
{
    switch (row->figure) {
    case FIGURE_OPS:
        return (double)run->count / run->seconds;
    case FIGURE_MB:
        return (double)run->size / run->seconds / 1e6;
    case FIGURE_P50:
        return run->p50_us;
    case FIGURE_P99:
        return run->p99_us;
    default:
        return run->seconds * 1e9 / (double)(run->count == 0 ? 1 : run->count);
    }
}

static int run_order(const void *a, const void *b)
{
    const struct row_run *const *left = a;
    const struct row_run *const *right = b;
    double x = (*left)->seconds / (double)((*left)->count + 1);
    double y = (*right)->seconds / (double)((*right)->count + 1);
    return x < y ? -1 : x > y;
}

/* Of an even number the slower of the two in the middle. */
static const struct row_run *row_median(const struct row *row)
{
    const struct row_run *sorted[ROW_RUNS_MAX];
    for (int i = 0; i < row->run_count; i++) {
        sorted[i] = &row->runs[i];
    }
    qsort(sorted, (size_t)row->run_count, sizeof(sorted[0]), run_order);
    return sorted[row->run_count / 2];
}

double row_figure(const struct row *row)
{
    return row->run_count == 0 ? 0 : run_figure(row, row_median(row));
}

double row_ratio(const struct row *row, const struct row *anchor)
{
    double own = row_figure(row);
    double other = anchor == NULL ? 0 : row_figure(anchor);
    if (own <= 0 || other <= 0) {
        return 0;
    }
    return row->figure <= FIGURE_MB ? own / other : other / own;
}

static void report_percentiles(FILE *file, const struct latency *latency)
{
    if (latency == NULL || latency->count == 0) {
        fputs(",,,,,", file);
        return;
    }
    fprintf(file, "%.2f,%.2f,%.2f,%.2f,%.2f,", latency_us(latency, 0.50), latency_us(latency, 0.95),
            latency_us(latency, 0.99), latency_us(latency, 0.999), (double)latency->max_ns / 1000);
}

static void report_allocations(FILE *file, const struct row_run *run)
{
    if (!allocations_are_counted()) {
        fputs(",,", file);
        return;
    }
    double count = (double)(run->count == 0 ? 1 : run->count);
    fprintf(file, "%.4f,%.1f,", (double)run->allocations.count / count,
            (double)run->allocations.size / count);
}

static void report_csv(const struct report *report, const struct row *row, const struct row *anchor)
{
    FILE *file = report->csv;
    const struct machine *machine = &report->machine;
    const struct row_run *run = row_median(row);
    double count = (double)(run->count == 0 ? 1 : run->count);
    double rate = (double)run->size / run->seconds;
    fprintf(file, "%s,%s,%s,%s,%d,%llu,%llu,%llu,%.6f,%.1f,%.2f,%.2f,%.1f,", row->suite, row->name,
            row->layer == NULL ? "storage" : row->layer, row->params, row->threads,
            (unsigned long long)row->record_size, (unsigned long long)run->count,
            (unsigned long long)run->size, run->seconds, (double)run->count / run->seconds,
            rate / 1e6, rate / 1048576, run->seconds * 1e9 / count);
    report_percentiles(file, row->latency);
    report_allocations(file, run);
    fprintf(file, "%lld,%s,%s,", (long long)run->peak_rss_kib * 1024, row->sync,
            row->codec == NULL ? "none" : row->codec);
    if (row->seed_figure > 0) {
        fprintf(file, "%g", row->seed_figure);
    }
    fputc(',', file);
    if (anchor != NULL && anchor->run_count > 0) {
        fprintf(file, "%.2f,%.3f", row_figure(anchor), row_ratio(row, anchor));
    } else {
        fputc(',', file);
    }
    fprintf(file, ",%d,\"%s\",%d,%s,%s,%s,%s,", row->run_count, machine->cpu, machine->cores,
            machine->kernel, machine->fs, machine->commit, machine->date);
    double smallest = run_figure(row, &row->runs[0]);
    double largest = smallest;
    for (int i = 1; i < row->run_count; i++) {
        double figure = run_figure(row, &row->runs[i]);
        smallest = figure < smallest ? figure : smallest;
        largest = figure > largest ? figure : largest;
    }
    fprintf(file, "%s,%.2f,%.2f,%.2f,%s,%s,\"%s\",\"%s\"\n", figure_names[row->figure],
            row_figure(row), smallest, largest, anchor == NULL ? "" : anchor->name,
            row->payload == NULL ? "" : row->payload, row->seed_note == NULL ? "" : row->seed_note,
            row->extra);
    fflush(file);
}

void report_row(struct report *report, const struct row *row, const struct row *anchor)
{
    if (row->run_count == 0) {
        return;
    }
    if (report->csv != NULL) {
        report_csv(report, row, anchor);
    }
    const struct row_run *run = row_median(row);
    printf("%s %-16s %-40s t=%d %6llu B %-6s %11.0f op/s %9.1f MB/s %10.1f ns", row->suite,
           row->name, row->params, row->threads, (unsigned long long)row->record_size, row->sync,
           (double)run->count / run->seconds, (double)run->size / run->seconds / 1e6,
           run->seconds * 1e9 / (double)(run->count == 0 ? 1 : run->count));
    if (row->latency != NULL && row->latency->count > 0) {
        printf(" p50 %.1f p99 %.1f us", latency_us(row->latency, 0.5),
               latency_us(row->latency, 0.99));
    }
    if (allocations_are_counted()) {
        printf(" %.3f allocs",
               (double)run->allocations.count / (double)(run->count == 0 ? 1 : run->count));
    }
    if (anchor != NULL && anchor->run_count > 0) {
        printf(" %.2fx %s", row_ratio(row, anchor), anchor->name);
    }
    printf(" %s\n", row->extra);
    fflush(stdout);
}
