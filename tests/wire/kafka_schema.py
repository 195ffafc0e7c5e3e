# SPDX-License-Identifier: Apache-2.0
"""Kafka's own message definitions, and a codec driven by them that shares nothing with wire/.

The JSON files are not part of this project. They are looked for in WEIR_KAFKA_SCHEMAS, in
../shared/kafka-schemas beside the source folder, and in the Kafka jars of a local Maven repository.
"""

import glob
import json
import os
import random
import re
import struct
import sys
import zipfile

SKIP = 77
VERSION_LAST = 32767

# What Weir does not speak: retired APIs, and traffic between brokers and controllers.
NOT_OURS = {
    'LeaderAndIsr', 'StopReplica', 'UpdateMetadata', 'ControlledShutdown', 'Vote',
    'BeginQuorumEpoch', 'EndQuorumEpoch', 'AlterPartition', 'Envelope', 'FetchSnapshot',
    'BrokerRegistration', 'BrokerHeartbeat', 'UnregisterBroker', 'AllocateProducerIds',
    'ControllerRegistration', 'AssignReplicasToDirs', 'AddRaftVoter', 'RemoveRaftVoter',
    'UpdateRaftVoter', 'UnregisterController', 'InitializeShareGroupState',
    'ReadShareGroupState', 'WriteShareGroupState', 'DeleteShareGroupState',
    'ReadShareGroupStateSummary',
}
NOT_OURS_DATA = {
    'AbortedTxn', 'DefaultPrincipalData', 'QuorumStateData', 'RemoteLogSegmentMetadataRecord',
    'RemoteLogSegmentMetadataSnapshotRecord', 'RemoteLogSegmentMetadataUpdateRecord',
    'RemotePartitionDeleteMetadataRecord', 'ShareSnapshotKey', 'ShareSnapshotValue',
    'ShareUpdateKey', 'ShareUpdateValue',
}


def parse_json(text):
    lines = [line for line in text.split('\n') if not line.strip().startswith('//')]
    return json.loads('\n'.join(lines))


def parse_range(text):
    if text is None or text == 'none':
        return 1, 0
    if text.endswith('+'):
        return int(text[:-1]), VERSION_LAST
    first, _, last = text.partition('-')
    return int(first), int(last or first)


def within(versions, version):
    return versions[0] <= version <= versions[1]


def read_folder(folder):
    for path in sorted(glob.glob(os.path.join(folder, '*', '*.json'))):
        with open(path, encoding='utf-8') as file:
            yield file.read()


def read_jars(repository):
    newest = {}
    for path in glob.glob(os.path.join(repository, 'org/apache/kafka/kafka-*/*/*.jar')):
        name, version, jar = path.split(os.sep)[-3:]
        if jar == f'{name}-{version}.jar' and re.fullmatch(r'[\d.]+', version):
            key = tuple(int(part) for part in version.split('.'))
            newest[name] = max(newest.get(name, ((), '')), (key, path))
    for _, path in sorted(newest.values()):
        with zipfile.ZipFile(path) as jar:
            for entry in sorted(jar.namelist()):
                if re.fullmatch(r'common/\w+/\w+\.json', entry):
                    yield jar.read(entry).decode()


def load(source_root):
    """Kafka's schemas by name; ends the test with 77 where there are none."""
    places = [os.environ.get('WEIR_KAFKA_SCHEMAS'),
              os.path.join(source_root, '..', 'shared', 'kafka-schemas')]
    texts = []
    for place in places:
        if place and not texts:
            texts = list(read_folder(place))
    is_current = bool(texts)
    if not texts:
        texts = list(read_jars(os.path.expanduser('~/.m2/repository')))
    if not texts:
        print('skipped: no Kafka schemas; set WEIR_KAFKA_SCHEMAS to a folder of */*.json')
        sys.exit(SKIP)
    schemas = [Schema(parse_json(text), is_current) for text in texts if '"validVersions"' in text]
    return {schema.name: schema for schema in schemas if schema.is_ours}


class Schema:
    def __init__(self, tree, is_current):
        self.tree = tree
        self.is_current = is_current  # of the release that wire/schema/ follows
        self.name = tree['name']
        self.versions = parse_range(tree['validVersions'])
        self.flexible = parse_range(tree.get('flexibleVersions'))
        self.shared = {s['name']: s['fields'] for s in tree.get('commonStructs', [])}
        self.collect(tree.get('fields', []))

    def collect(self, fields):
        for field in fields:
            if 'fields' in field:
                self.shared.setdefault(field['type'].removeprefix('[]'), field['fields'])
                self.collect(field['fields'])

    @property
    def is_ours(self):
        api = re.sub('(Request|Response)$', '', self.name)
        return api not in NOT_OURS and self.name not in NOT_OURS_DATA

    @property
    def plain_name(self):
        """For comparison with our snake case."""
        return self.name.lower()

    def is_flexible(self, version):
        return within(self.flexible, version)


NUMBERS = {
    'int8': '>b', 'int16': '>h', 'uint16': '>H', 'int32': '>i', 'uint32': '>I', 'int64': '>q',
    'bool': '>?', 'float64': '>d',
}


def put_uvarint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field_versions(field):
    return parse_range(field.get('versions', field.get('taggedVersions')))


def is_nullable(field, version):
    return within(parse_range(field.get('nullableVersions')), version)


class Maker:
    """Makes random values of a schema and writes them as Kafka does."""

    def __init__(self, schema, version, seed, unknown_tags):
        self.schema = schema
        self.version = version
        self.random = random.Random(seed)
        self.flexible = schema.is_flexible(version)
        self.unknown_tags = unknown_tags

    # -- values

    def number(self, kind):
        if kind == 'bool':
            return self.random.random() < 0.5
        if kind == 'float64':
            return self.random.choice([0.0, 1.5, -1e300, self.random.random()])
        bits = 8 * struct.calcsize(NUMBERS[kind])
        low, high = (0, 2**bits - 1) if kind[0] == 'u' else (-2**(bits - 1), 2**(bits - 1) - 1)
        return self.random.choice([0, max(low, -1), 1, low, high, self.random.randint(low, high)])

    def text(self):
        size = self.random.choice([0, 1, 5, 20, 130])
        return ''.join(self.random.choice('abcXYZ09-_.\u00e9\u4e16') for _ in range(size)).encode()

    def default(self, field):
        """The value that Kafka leaves out of a tag section."""
        text = field.get('default')
        text = '' if text is None else str(text).lower()
        kind = field['type']
        if text == 'null':
            return None
        if kind.startswith('[]'):
            return []
        if kind in ('string', 'bytes', 'records'):
            return text.encode()
        if kind == 'uuid':
            return bytes(16)
        if kind == 'bool':
            return text == 'true'
        if kind in NUMBERS:
            return float(text or 0) if kind == 'float64' else int(text or '0', 0)
        return {f['name']: self.default(f) for f in self.schema.shared[kind]}

    def value(self, field, depth):
        kind = field['type']
        if is_nullable(field, self.version) and self.random.random() < 0.25:
            return None
        if kind.startswith('[]'):
            count = self.random.choice([0, 1, 2, 3] if depth < 3 else [0, 1])
            item = {'name': field['name'], 'type': kind[2:]}
            return [self.value(item, depth + 1) for _ in range(count)]
        if kind in NUMBERS:
            return self.number(kind)
        if kind == 'uuid':
            return self.random.choice([bytes(16), self.random.randbytes(16)])
        if kind == 'string':
            return self.text()
        if kind in ('bytes', 'records'):
            return self.random.randbytes(self.random.choice([0, 1, 61, 200]))
        return self.struct_value(self.schema.shared[kind], depth + 1)

    def struct_value(self, fields, depth):
        values = {}
        for field in fields:
            values[field['name']] = self.default(field)
            if within(field_versions(field), self.version) and self.random.random() < 0.9:
                values[field['name']] = self.value(field, depth)
        return values

    # -- bytes

    def put_size(self, value, width, flexible):
        size = -1 if value is None else len(value)
        return put_uvarint(size + 1) if flexible else struct.pack(width, size)

    def put(self, field, value, tagged):
        kind = field['type']
        flexible = self.flexible and field.get('flexibleVersions') != 'none'
        if value is None and not is_nullable(field, self.version):
            value = b'' if kind in ('string', 'bytes', 'records') else []
        if kind.startswith('[]'):
            item = {'name': field['name'], 'type': kind[2:]}
            return self.put_size(value, '>i', flexible) + b''.join(
                self.put(item, element, False) for element in value or [])
        if kind in NUMBERS:
            return struct.pack(NUMBERS[kind], value)
        if kind == 'uuid':
            return value
        if kind in ('string', 'bytes', 'records'):
            width = '>h' if kind == 'string' else '>i'
            return self.put_size(value, width, flexible) + (value or b'')
        presence = b''
        if is_nullable(field, self.version):
            # Tagged structs count as flexible data and say 0 or 1, others -1 or 1.
            absent = b'\x00' if tagged else b'\xff'
            presence = absent if value is None else b'\x01'
        if value is None:
            return presence
        return presence + self.put_struct(self.schema.shared[kind], value)

    def put_struct(self, fields, values):
        out, tags = [], {}
        for field in fields:
            if not within(field_versions(field), self.version):
                continue
            value = values[field['name']]
            if within(parse_range(field.get('taggedVersions')), self.version):
                if value != self.default(field):
                    tags[field['tag']] = self.put(field, value, True)
            else:
                out.append(self.put(field, value, False))
        if self.flexible:
            if self.unknown_tags:
                tags[1000 + len(tags)] = b'\x01\x02\x03'
                tags[70000] = b''
            out.append(put_uvarint(len(tags)))
            for tag, body in sorted(tags.items()):
                out += [put_uvarint(tag), put_uvarint(len(body)), body]
        return b''.join(out)

    def message(self, values):
        return self.put_struct(self.schema.tree['fields'], values)
