# SPDX-License-Identifier: Apache-2.0
"""The notation of wire/schema/, read into objects; wire/README.md describes it."""

import glob
import os
import re

VERSION_LAST = 32767

# Schema name: (C type, reader and writer suffix, size on the wire)
FIXED = {
    'bool': ('bool', 'bool', 1),
    'int8': ('int8_t', 'i8', 1),
    'int16': ('int16_t', 'i16', 2),
    'uint16': ('uint16_t', 'u16', 2),
    'int32': ('int32_t', 'i32', 4),
    'uint32': ('uint32_t', 'u32', 4),
    'int64': ('int64_t', 'i64', 8),
    'float64': ('double', 'f64', 8),
    'uuid': ('struct uuid', 'uuid', 16),
}
# Schema name: (C type, size of the shortest one with plain and with flexible sizes)
SIZED = {
    'string': ('struct bytes', 2, 1),
    'bytes': ('struct bytes', 4, 1),
    'records': ('struct slices', 4, 1),
}


class SchemaError(Exception):
    """The schema text is wrong; the message says where."""


# ---- versions -------------------------------------------------------------------------------


def parse_range(text):
    """'3+', '0-12' and '5' as an inclusive pair."""
    match = re.fullmatch(r'(\d+)(\+|-(\d+))?', text)
    if not match:
        raise SchemaError(f'not a range of versions: {text}')
    first = int(match[1])
    if match[2] is None:
        return first, first
    return first, VERSION_LAST if match[2] == '+' else int(match[3])


def meet(a, b):
    return max(a[0], b[0]), min(a[1], b[1])


def covers(outer, inner):
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def condition(versions, within):
    """The C test that tells `versions` among `within`; None when it is always true."""
    first, last = meet(versions, within)
    tests = []
    if first == last and within[0] < first and last < within[1]:
        return f'version == {first}'
    if first > within[0]:
        tests.append(f'version >= {first}')
    if last < within[1]:
        tests.append(f'version <= {last}')
    return ' && '.join(tests) or None


# ---- schema ---------------------------------------------------------------------------------


class Field:
    def __init__(self, name, type_text, versions, comment):
        match = re.fullmatch(r'(\[)?([a-z0-9_]+)(\])?(\?(.*))?', type_text)
        if not match or bool(match[1]) != bool(match[3]):
            raise SchemaError(f'not a type: {type_text}')
        self.name = name
        self.is_array = bool(match[1])
        self.type = match[2]
        self.nullable = None
        if match[4]:
            self.nullable = parse_range(match[5]) if match[5] else (0, VERSION_LAST)
        self.versions = versions
        self.tag = None
        self.plain = False
        self.default = None
        self.comment = comment
        self.struct = None  # set when the type is a struct

    @property
    def is_nullable_struct(self):
        return self.struct is not None and not self.is_array and self.nullable is not None

    @property
    def is_fixed(self):
        return not self.is_array and self.type in FIXED

    @property
    def initial(self):
        """What a fresh struct holds: 'null', 'present', the schema's default, or None for zero."""
        if self.default is None:
            if self.is_nullable_struct:
                return 'present'
            is_record_set = self.type == 'records' and not self.is_array
            return 'null' if is_record_set and self.nullable else None
        if self.default == 'null' and not self.is_array:
            return None
        return self.default

    def element_size(self, flexible):
        """Fewest bytes of one value, leaving arrays aside."""
        if self.type in FIXED:
            return FIXED[self.type][2]
        if self.struct is not None:
            return 1 if self.is_nullable_struct else self.struct.size_min
        return SIZED[self.type][2 if flexible else 1]


class Struct:
    def __init__(self, name, message, versions, parent):
        self.name = name
        self.message = message
        self.versions = versions
        self.parent = parent
        self.fields = []

    @property
    def c_name(self):
        return f'{self.message.name}_{self.name}' if self.name else self.message.name

    @property
    def plain_fields(self):
        return [field for field in self.fields if field.tag is None]

    @property
    def tagged_fields(self):
        return sorted((f for f in self.fields if f.tag is not None), key=lambda f: f.tag)

    @property
    def flexible_versions(self):
        return self.message.flexible, VERSION_LAST

    @property
    def is_always_flexible(self):
        return covers(self.flexible_versions, self.versions)

    @property
    def is_never_flexible(self):
        return self.versions[1] < self.message.flexible

    @property
    def flexible_word(self):
        """How code of this struct says whether sizes are compact."""
        if self.is_always_flexible:
            return 'true'
        return 'false' if self.is_never_flexible else 'flexible'

    def size_at(self, version):
        """Fewest bytes in one version."""
        flexible = version >= self.message.flexible
        size = 1 if flexible else 0
        for field in self.plain_fields:
            if covers(field.versions, (version, version)):
                if field.is_array:
                    size += 1 if flexible else 4
                else:
                    size += field.element_size(flexible and not field.plain)
        return size

    @property
    def size_min(self):
        """Fewest bytes in any version; what bounds the count of an array."""
        last = min(self.versions[1], self.message.versions[1])
        return max(1, min(self.size_at(v) for v in range(self.versions[0], last + 1)))

    @property
    def needs_version(self):
        if not (self.is_always_flexible or self.is_never_flexible):
            return True
        for field in self.fields:
            if condition(field.versions, self.versions):
                return True
            if field.nullable and condition(field.nullable, field.versions):
                return True
            if field.struct is not None and field.struct.needs_version:
                return True
        return False

    @property
    def needs_arena(self):
        return any(f.is_array or f.type == 'records' or (f.struct and f.struct.needs_arena)
                   for f in self.fields)

    @property
    def has_defaults(self):
        """Whether an initial value differs from all zeroes."""
        return any(f.initial is not None
                   or (f.struct and not f.is_array and f.struct.has_defaults)
                   for f in self.fields)


class Message:
    def __init__(self, name, title, key, versions, flexible, comment):
        self.name = name
        self.title = title  # what the constants begin with
        self.key = key
        self.versions = versions
        self.flexible = flexible
        self.comment = comment
        self.structs = []   # callees first
        self.root = Struct('', self, versions, None)

    def find(self, name):
        for struct in self.structs:
            if struct.name == name:
                return struct
        return None


class Schema:
    def __init__(self, path):
        self.path = path
        base = os.path.basename(path)
        self.name = re.sub(r'^\d\d_', '', base[:-len('.wire')])
        self.file = base
        self.is_api = False
        self.comment = []
        self.messages = []


# ---- parser ---------------------------------------------------------------------------------


class Parser:
    """Lines with their indent; a block is the lines that stand deeper."""

    def __init__(self, path):
        self.schema = Schema(path)
        self.comment = []
        self.lines = []
        with open(path, encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                text = line.rstrip()
                indent = len(text) - len(text.lstrip())
                self.lines.append((number, indent, text.strip()))
        self.at = 0

    def fail(self, message):
        number = self.lines[min(self.at, len(self.lines) - 1)][0]
        raise SchemaError(f'{self.schema.path}:{number}: {message}')

    def peek(self):
        """The next line that says something, or None; comments on the way are kept."""
        while self.at < len(self.lines):
            _, indent, text = self.lines[self.at]
            if text.startswith('#'):
                self.comment.append(text[1:].removeprefix(' '))
            elif text:
                return indent, text
            elif indent == 0:
                self.comment = []
            self.at += 1
        return None

    def take_comment(self):
        comment = [line for line in self.comment if not line.startswith('SPDX-')]
        self.comment = []
        return comment

    def parse(self):
        api = None
        while (line := self.peek()) is not None:
            words = line[1].split()
            comment = self.take_comment()
            self.at += 1
            if words[0] == 'api':
                api = self.parse_title(words[1:], words[1], comment)
                self.schema.is_api = True
                self.schema.comment = comment
            elif words[0] in ('request', 'response') and api is not None:
                title = Message(f'{api.name}_{words[0]}', api.title, api.key, api.versions,
                                api.flexible, comment)
                self.parse_message(title)
            elif words[0] == 'message':
                self.parse_message(self.parse_title(words[1:], words[1], comment))
            else:
                self.fail(f'expected api, request, response or message: {line[1]}')
        return self.schema

    def parse_title(self, words, name, comment):
        options = dict(zip(words[1::2], words[2::2]))
        flexible = options.get('flexible', f'{VERSION_LAST}+')
        if 'versions' not in options or not flexible.endswith('+'):
            self.fail('expected: NAME [key N] versions A-B [flexible N+]')
        return Message(name, name, int(options.get('key', -1)), parse_range(options['versions']),
                       int(flexible[:-1]), comment)

    def parse_message(self, message):
        self.parse_fields(message.root, 0)
        message.structs.append(message.root)
        self.schema.messages.append(message)

    def parse_fields(self, struct, outer_indent):
        line = self.peek()
        if line is None or line[0] <= outer_indent:
            return
        indent = line[0]
        while (line := self.peek()) is not None and line[0] > outer_indent:
            if line[0] != indent:
                self.fail('fields of one struct stand in one column')
            self.at += 1
            self.comment = []
            if line[1].startswith('struct '):
                shared = Struct(line[1].split()[1], struct.message, struct.versions, None)
                self.parse_fields(shared, indent)
                struct.message.structs.append(shared)
            else:
                struct.fields.append(self.parse_field(line[1], struct, indent))

    def parse_field(self, text, struct, indent):
        text, _, comment = text.partition('#')
        text, _, default = text.partition('=')
        words = text.split()
        if len(words) < 2:
            self.fail('expected: NAME TYPE [VERSIONS] [tag N] [plain] [= DEFAULT]')
        versions = struct.versions
        rest = words[2:]
        if rest and rest[0][0].isdigit():
            versions = meet(parse_range(rest.pop(0)), versions)
        field = Field(words[0], words[1], versions, comment.strip())
        field.default = default.strip() or None
        while rest:
            word = rest.pop(0)
            if word == 'tag':
                field.tag = int(rest.pop(0))
                field.versions = meet(versions, struct.flexible_versions)
            elif word == 'plain':
                field.plain = True
            else:
                self.fail(f'unknown word: {word}')
        self.bind_type(field, struct, indent)
        return field

    def bind_type(self, field, struct, indent):
        if field.type in FIXED or field.type in SIZED:
            return
        line = self.peek()
        if line is not None and line[0] > indent:
            if struct.message.find(field.type):
                self.fail(f'struct {field.type} is described twice')
            nested = Struct(field.type, struct.message, field.versions, struct)
            self.parse_fields(nested, indent)
            struct.message.structs.append(nested)
        field.struct = struct.message.find(field.type)
        if field.struct is None:
            self.fail(f'unknown type: {field.type}')


def schema_paths(folder):
    return sorted(glob.glob(os.path.join(folder, '*.wire')))
