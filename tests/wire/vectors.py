#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Messages that are checked in, so that the codecs are tested without anything from outside.

usage: vectors.py DRIVER FOLDER

A vector is a line "message version" and lines of hex; `#` begins a comment. It must decode whole
and come back to the last byte, or to the bytes behind `->` where those differ.
"""

import glob
import os
import subprocess
import sys


def read_vectors(path):
    """[(name, version, sent, expected)]"""
    vectors = []
    with open(path, encoding='utf-8') as file:
        for line in file:
            words = line.partition('#')[0].split()
            if not words:
                continue
            if '_' in words[0]:
                vectors.append([words[0], int(words[1]), '', None])
            elif words[0] == '->':
                vectors[-1][3] = ''.join(words[1:])
            elif vectors[-1][3] is not None:
                vectors[-1][3] += ''.join(words)
            else:
                vectors[-1][2] += ''.join(words)
    return [(name, version, bytes.fromhex(sent), bytes.fromhex(sent if want is None else want))
            for name, version, sent, want in vectors]


def main():
    driver, folder = sys.argv[1:3]
    paths = sorted(glob.glob(os.path.join(folder, '*.txt')))
    vectors = [(os.path.basename(path), *vector)
               for path in paths for vector in read_vectors(path)]
    request = b''.join(bytes([len(name)]) + name.encode() + version.to_bytes(2, 'big')
                       + len(sent).to_bytes(4, 'big') + sent
                       for _, name, version, sent, _ in vectors)
    done = subprocess.run([driver], input=request, stdout=subprocess.PIPE, check=False)
    failures, output = 0, done.stdout
    for file, name, version, _, expected in vectors:
        size = int.from_bytes(output[2:6], 'big')
        if output[:2] != b'\x00\x01' or output[6:6 + size] != expected:
            failures += 1
            print(f'{file}: {name} v{version}: got {output[:6 + size].hex()}')
        output = output[6 + size:]
    print(f'{len(vectors)} vectors, {failures} differences, driver ended with {done.returncode}')
    sys.exit(1 if failures or done.returncode or not vectors else 0)


main()
