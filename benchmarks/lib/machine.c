/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks/lib/machine.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "benchmarks/lib/measure.h"

static void machine_read_cpu(struct machine *machine)
{
    snprintf(machine->cpu, sizeof(machine->cpu), "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (file == NULL) {
        return;
    }
    char line[512];
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(machine->cpu, sizeof(machine->cpu), "%.95s", colon + 2);
            break;
        }
    }
    fclose(file);
}

static void machine_read_fs(struct machine *machine, const char *data_dir)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } known[] = {
        {0xef53, "ext4"},      {0x58465342, "xfs"},       {0x9123683e, "btrfs"},
        {0x01021994, "tmpfs"}, {0x794c7630, "overlayfs"}, {0x2fc12fc1, "zfs"},
    };
    struct statfs stat;
    snprintf(machine->fs, sizeof(machine->fs), "unknown");
    if (statfs(data_dir, &stat) != 0) {
        return;
    }
    unsigned long magic = (unsigned long)stat.f_type;
    snprintf(machine->fs, sizeof(machine->fs), "0x%lx", magic);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].magic == magic) {
            snprintf(machine->fs, sizeof(machine->fs), "%s", known[i].name);
        }
    }
}

void machine_read(struct machine *machine, const char *data_dir)
{
    *machine = (struct machine){.cores = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        machine->cores = CPU_COUNT(&set);
    }
    machine_read_cpu(machine);
    machine_read_fs(machine, data_dir);
    struct utsname name;
    snprintf(machine->kernel, sizeof(machine->kernel), "%s",
             uname(&name) == 0 ? name.release : "unknown");
    const char *commit = getenv("WEIR_COMMIT");
    snprintf(machine->commit, sizeof(machine->commit), "%s", commit == NULL ? "unknown" : commit);
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(machine->date, sizeof(machine->date), "%Y-%m-%dT%H:%M:%SZ", &utc);
}

int64_t machine_peak_rss_kib(void)
{
    return usage_read(getpid()).rss_kib_max;
}

void machine_reset_peak(void)
{
    int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t written = write(file, "5", 1);
        (void)written; /* refused: the peak is the one since the start */
        close(file);
    }
}

uint64_t machine_disk_free(const char *folder)
{
    struct statvfs stat;
    return statvfs(folder, &stat) == 0 ? (uint64_t)stat.f_bavail * stat.f_frsize : 0;
}

void machine_settle(const char *folder)
{
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file >= 0) {
        (void)syncfs(file);
        close(file);
    }
}
