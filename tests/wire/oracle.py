#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every message, version and direction against a codec made from Kafka's own definitions.

usage: oracle.py SOURCE_ROOT DRIVER [COUNT]

COUNT random messages of each version (default 12) go through the driver and must come back to the
last byte; a quarter of the flexible ones carry tags that nobody knows, which must be dropped. The
seed is fixed. The driver itself cuts each message short at every byte and damages it at random.
"""

import os
import subprocess
import sys
import tempfile

import kafka_schema

sys.path.insert(0, os.path.join(sys.argv[1], 'wire'))
import notation  # noqa: E402


def our_messages(source_root):
    """Plain name -> (name, versions)."""
    result = {}
    for path in notation.schema_paths(os.path.join(source_root, 'wire', 'schema')):
        for message in notation.Parser(path).parse().messages:
            result[message.name.replace('_', '')] = message
    return result


def make_cases(schemas, ours, count):
    cases = []
    for schema in schemas.values():
        message = ours.get(schema.plain_name)
        if message is None:
            continue  # coverage.py complains
        first = max(schema.versions[0], message.versions[0])
        last = min(schema.versions[1], message.versions[1])
        for version in range(first, last + 1):
            for number in range(count):
                seed = f'{schema.name} {version} {number}'
                unknown = number % 4 == 3
                maker = kafka_schema.Maker(schema, version, seed, unknown)
                values = maker.struct_value(schema.tree['fields'], 0)
                sent = maker.message(values)
                maker.unknown_tags = False
                cases.append((message.name, version, sent, maker.message(values)))
    return cases


def run_driver(driver, cases):
    with tempfile.TemporaryFile() as source:
        for name, version, sent, _ in cases:
            source.write(bytes([len(name)]) + name.encode() + version.to_bytes(2, 'big')
                         + len(sent).to_bytes(4, 'big') + sent)
        source.seek(0)
        done = subprocess.run([driver], stdin=source, stdout=subprocess.PIPE, check=False)
    return done.returncode, done.stdout


def compare(cases, output):
    failures, at = 0, 0
    for name, version, sent, expected in cases:
        if at + 6 > len(output):
            print(f'{name} v{version}: no answer to {sent.hex()}')
            return failures + 1
        status, at_end = output[at], output[at + 1]
        size = int.from_bytes(output[at + 2:at + 6], 'big')
        got = output[at + 6:at + 6 + size]
        at += 6 + size
        if status != 0 or not at_end or got != expected:
            failures += 1
            if failures <= 10:
                print(f'{name} v{version}: status {status}, all bytes used: {bool(at_end)}')
                for what, data in (('sent', sent), ('expected', expected), ('got', got)):
                    print(f'  {what:8} {data.hex()}')
    return failures


def main():
    source_root, driver = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    schemas = kafka_schema.load(source_root)
    cases = make_cases(schemas, our_messages(source_root), count)
    code, output = run_driver(driver, cases)
    failures = compare(cases, output)
    versions = len({case[:2] for case in cases})
    print(f'{len(cases)} messages, {versions} message versions, {failures} differences, '
          f'driver ended with {code}')
    sys.exit(1 if failures or code or not cases else 0)


main()
