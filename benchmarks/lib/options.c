/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/lib/options.h"

#include <getopt.h>
#include <stdlib.h>

struct options options_parse(int argc, char **argv, const char *purpose)
{
    static const struct option known[] = {
        {"csv", required_argument, NULL, 'c'},
        {"data", required_argument, NULL, 'd'},
        {"only", required_argument, NULL, 'o'},
        {"full", no_argument, NULL, 'f'},
        {"runs", required_argument, NULL, 'r'},
        {"threads", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.data = "."};
    bool wrong = false;
    for (int code; (code = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (code == 'c') {
            options.csv = optarg;
        } else if (code == 'd') {
            options.data = optarg;
        } else if (code == 'o') {
            options.only = optarg;
        } else if (code == 'f') {
            options.full = true;
        } else if (code == 'r') {
            options.run_count = atoi(optarg);
            wrong = wrong || options.run_count < 1;
        } else if (code == 't') {
            options.threads = atoi(optarg);
            wrong = wrong || options.threads < 1;
        } else {
            wrong = true;
        }
    }
    if (wrong || optind < argc) {
        fprintf(stderr,
                "%s\n\n  --csv FILE    add the rows to FILE\n"
                "  --data DIR    folder on the disk to measure (.)\n"
                "  --only TEXT   rows whose name and parameters contain TEXT\n"
                "  --threads N   rows of so many threads, in 004_memtable\n"
                "  --full        every row, not the quick set\n"
                "  --runs N      runs of each row\n",
                purpose);
        exit(1);
    }
    return options;
}

bool options_want(const struct options *options, const char *name, const char *params)
{
    char whole[512];
    snprintf(whole, sizeof(whole), "%s %s", name, params);
    return options->only == NULL || strstr(whole, options->only) != NULL;
}
