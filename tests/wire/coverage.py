#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our schemas against Kafka's definitions, field by field in every version.

usage: coverage.py SOURCE_ROOT

Bytes that come back say nothing about two neighbours of one type that changed places: this does.
Every version that Kafka has must be ours too, with the same names, types, tags and defaults. A tag
that only we know is fine: newer releases of Kafka add tags to versions that exist. They also change
names and defaults, which count only where the definitions are of the release that we follow.
"""

import os
import sys

import kafka_schema
from kafka_schema import field_versions, is_nullable, within

sys.path.insert(0, os.path.join(sys.argv[1], 'wire'))
import notation  # noqa: E402


def plain_default(text):
    text = '' if text is None else str(text).lower()
    if text in ('', '0', 'false'):
        return None
    return text if text in ('null', 'true') else str(int(text, 0))


def kafka_shape(schema, fields, version):
    shape = []
    for field in fields:
        if not within(field_versions(field), version):
            continue
        kind = field['type'].removeprefix('[]')
        inner = kafka_shape(schema, schema.shared[kind], version) if kind in schema.shared else kind
        default = plain_default(field.get('default'))
        if default == 'null' and field['type'] in ('string', 'bytes'):
            default = None  # null is what an untouched slice is
        shape.append((field['name'].lower(), field['type'].startswith('[]'), inner,
                      is_nullable(field, version), field.get('tag'), default,
                      field.get('flexibleVersions') == 'none'))
    return shape


def our_shape(struct, version, theirs):
    """`theirs` is the shape of Kafka's struct: it says which tags to compare."""
    shape = []
    known = {field[0]: field[2] for field in theirs if isinstance(field, tuple)}
    for field in struct.fields:
        name = field.name.replace('_', '')
        if not within(field.versions, version) or field.tag is not None and name not in known:
            continue
        inner = field.type
        if field.struct:
            inner = our_shape(field.struct, version, known.get(name, []))
        shape.append((name, field.is_array, inner,
                      field.nullable is not None and within(field.nullable, version), field.tag,
                      field.default, field.plain))
    return shape


def bytes_alone(shape):
    """The shape without what does not show on the wire: names and defaults."""
    return [(is_array, bytes_alone(inner) if isinstance(inner, list) else inner, nullable, tag,
             plain) for _, is_array, inner, nullable, tag, _, plain in shape]


def differences(schema, message):
    if message is None:
        yield 'is missing'
        return
    if schema.tree.get('apiKey', -1) != message.key:
        yield f'key is {message.key}'
    flexible = schema.flexible[0] if schema.flexible[1] else notation.VERSION_LAST
    if flexible != message.flexible:
        yield f'first flexible version is {message.flexible}, want {flexible}'
    for version in range(schema.versions[0], schema.versions[1] + 1):
        if not within(message.versions, version):
            yield f'version {version} is missing'
            continue
        theirs = kafka_shape(schema, schema.tree['fields'], version)
        ours = our_shape(message.root, version, theirs)
        if not schema.is_current:
            theirs, ours = bytes_alone(theirs), bytes_alone(ours)
        if theirs != ours:
            pairs = [pair for pair in zip(theirs, ours) if pair[0] != pair[1]]
            yield f'version {version} differs: {pairs[:1] or (theirs, ours)}'


def main():
    source_root = sys.argv[1]
    ours = {}
    for path in notation.schema_paths(os.path.join(source_root, 'wire', 'schema')):
        for message in notation.Parser(path).parse().messages:
            ours[message.name.replace('_', '')] = message
    schemas = kafka_schema.load(source_root)
    failures = 0
    for name, schema in sorted(schemas.items()):
        for difference in differences(schema, ours.get(schema.plain_name)):
            print(f'{name}: {difference}')
            failures += 1
    versions = sum(s.versions[1] - s.versions[0] + 1 for s in schemas.values())
    print(f'{len(schemas)} messages, {versions} message versions, {failures} differences')
    sys.exit(1 if failures or not schemas else 0)


main()
