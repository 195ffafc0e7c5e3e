/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bugs of coordinators on purpose, one at a time, to prove that the simulator finds them
 * (tests/sim/coordinator_planted_sim.c). They exist in a build of its own, with WEIR_PLANTED;
 * everywhere else PLANTED() is false and nothing remains. As storage/planted.h, which is another
 * list: no file includes both.
 */
#pragma once

#ifdef WEIR_PLANTED

#define PLANTED_BUGS(X)                                                                            \
    X(ANSWER_EARLY, "an answer does not wait until its records are durable")                       \
    X(MARKERS_EARLY, "markers do not wait for the appends that were let in")                       \
    X(PREPARED_LEFT, "a start does not finish what was prepared")                                  \
    X(EPOCH_KEPT, "an end of version 2 does not raise the epoch")                                  \
    X(WAITING_SHOWN, "an offset of a transaction is visible before its marker")                    \
    X(WAITING_FORGOTTEN, "a start takes the offsets of a transaction for plain ones")              \
    X(ABORT_APPLIED, "the marker of an abort shows what waited")                                   \
    X(GENERATION_IGNORED, "the generation of a commit is not compared")                            \
    X(MEMBER_EPOCH_IGNORED, "the member epoch of a commit is not compared")

#define PLANTED_NUMBER(name, text) PLANTED_##name,
enum planted_bug { PLANTED_NONE, PLANTED_BUGS(PLANTED_NUMBER) PLANTED_COUNT };
#undef PLANTED_NUMBER

/* Which one lives in this process; the simulator's. */
extern enum planted_bug planted_bug;

#define PLANTED(name) (planted_bug == PLANTED_##name)

#else
#define PLANTED(name) false
#endif
