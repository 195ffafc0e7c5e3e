/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a program on a machine that refuses io_uring, as container runtimes do by default: a seccomp
 * filter answers its three system calls with EPERM, then the arguments are executed.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define SKIP_UNLESS(value, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (count))
#define ANSWER(verdict) BPF_STMT(BPF_RET | BPF_K, (verdict))

int main(int argc, char **argv)
{
    /* No check of the architecture: the three numbers are the same on all of them. */
    static struct sock_filter program[] = {
        LOAD(nr),
        SKIP_UNLESS(__NR_io_uring_setup, 1),
        ANSWER(SECCOMP_RET_ERRNO | EPERM),
        SKIP_UNLESS(__NR_io_uring_enter, 1),
        ANSWER(SECCOMP_RET_ERRNO | EPERM),
        SKIP_UNLESS(__NR_io_uring_register, 1),
        ANSWER(SECCOMP_RET_ERRNO | EPERM),
        ANSWER(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof(program) / sizeof(program[0]), .filter = program};

    if (argc < 2) {
        fprintf(stderr, "usage: no_io_uring PROGRAM [ARGUMENT]...\n");
        return 1;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        fprintf(stderr, "no_io_uring: seccomp refused: %s\n", strerror(errno));
        return 77;
    }
    if (syscall(__NR_io_uring_setup, 1, NULL) != -1 || errno != EPERM) {
        fprintf(stderr, "no_io_uring: the filter does not hold\n");
        return 1;
    }
    execvp(argv[1], argv + 1);
    fprintf(stderr, "no_io_uring: %s: %s\n", argv[1], strerror(errno));
    return 1;
}
