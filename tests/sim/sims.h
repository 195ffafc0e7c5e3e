/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulations of coordinators, each as the entry of a program of its own (sim_main.c) and of
 * coordinator_planted_sim.c: `count` and `arguments` as of main(). Each stops the process with a
 * line that names the seed when something is not as it should be.
 */
#pragma once

int consumer_sim(int count, char **arguments);
int groups_sim(int count, char **arguments);
int offsets_sim(int count, char **arguments);
int transactions_sim(int count, char **arguments);
