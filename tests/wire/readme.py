#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wire/README.md against the generator: its example becomes the C that its tables promise.

usage: readme.py SOURCE_ROOT
"""

import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(sys.argv[1], 'wire'))
import notation  # noqa: E402


def generate(source_root, example):
    with tempfile.TemporaryDirectory() as folder:
        schema = os.path.join(folder, '00_produce.wire')
        with open(schema, 'w', encoding='utf-8') as file:
            file.write(example)
        generator = os.path.join(source_root, 'wire', 'generate.py')
        subprocess.run([sys.executable, '-B', generator, folder, schema], check=True)
        with open(os.path.join(folder, 'produce.h'), encoding='utf-8') as file:
            return file.read()


def promises(text):
    """The pieces of C in the second column of the tables under "The C"."""
    section = text.partition('## The C\n')[2].partition('\n## ')[0]
    for row in re.findall(r'^\| .*? \| (.*) \|$', section, re.M):
        yield from re.findall(r'`([^`]*)`', row)


def main():
    source_root = sys.argv[1]
    with open(os.path.join(source_root, 'wire', 'README.md'), encoding='utf-8') as file:
        text = file.read()
    example = text.partition('```\n')[2].partition('```')[0]
    header = re.sub(r'\s+', ' ', generate(source_root, example))
    failures = 0
    words = set()
    for promise in promises(text):
        for word in re.findall(r'\w*(?:produce|PRODUCE|partitions|leader)\w*', promise):
            words.add(word)
    for word in sorted(words):
        if not re.search(rf'\b{word}\b', header):
            print(f'README names {word}, the generator does not write it')
            failures += 1
    listed = re.search(r'^- Types: `([a-z0-9 ]+)`', text, re.M)[1].split()
    if set(listed) != set(notation.FIXED) | set(notation.SIZED):
        print(f'README lists the types {listed}')
        failures += 1
    print(f'{len(words)} names, {failures} differences')
    sys.exit(1 if failures or len(words) < 10 else 0)


main()
