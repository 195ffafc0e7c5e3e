#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the C codecs of the messages in wire/schema/.

usage: generate.py TARGET_FOLDER SCHEMA...

The notation is described in wire/README.md. Each schema gives one .h and one .c; messages.h and
messages.c hold a table of all of them. The C is meant to be read: one function per struct and
direction, fields in the order of the wire, neighbours with the same versions under one `if`.
"""

import os
import re
import sys

from notation import FIXED, SIZED, VERSION_LAST, Parser, SchemaError, condition, covers, meet

LICENCE = '/* SPDX-License-Identifier: Apache-2.0 */\n'
LIMITS = {
    '-2147483648': 'INT32_MIN',
    '2147483647': 'INT32_MAX',
    '9223372036854775807': 'INT64_MAX',
}


def initial_value(field):
    """The C initialiser of a field, or None for zero."""
    if field.initial == 'null':
        return '-1' if field.is_array else '{NULL, -1}'
    if field.initial == 'present':
        return 'true'
    return LIMITS.get(field.initial, field.initial)


# ---- C text ---------------------------------------------------------------------------------


def fill(lines, pieces, indent):
    """Appends pieces to the last line, starting a new one where column 100 would be passed."""
    for i, piece in enumerate(pieces):
        glue = '' if i == 0 else ' '
        if i > 0 and len(lines[-1]) + len(glue) + len(piece) > 100:
            lines.append(' ' * indent + piece)
        else:
            lines[-1] += glue + piece
    return lines


def wrap_call(indent, head, arguments, tail):
    """head(arguments)tail within 100 columns, aligned to the parenthesis where that fits."""
    pieces = [argument + ',' for argument in arguments[:-1]] + [arguments[-1] + tail]
    first = ' ' * indent + head + '('
    lines = fill([first], pieces, len(first))
    if max(map(len, lines)) > 100:
        lines = fill([first, ' ' * (indent + 4)], pieces, indent + 4)
    return lines


def split_call(line):
    """What stands before the parenthesis, the arguments, and the rest."""
    head, _, rest = line.partition('(')
    at = rest.rindex(')')
    return head, rest[:at].split(', '), rest[at:]


def fit(line):
    """Breaks a statement that is too long."""
    if len(line) <= 100:
        return [line]
    indent = len(line) - len(line.lstrip())
    head, equals, value = line.partition(' = ')
    if equals and '(' not in head:
        aligned = wrap_call(0, *split_call(line)) if '(' in value and '&&' not in value else [line]
        if max(map(len, aligned)) <= 100 and not aligned[0].endswith('('):
            return aligned
        return [head + ' ='] + fit(' ' * (indent + 4) + value)
    for operator in (' && ', ' || '):
        if operator in line:
            pieces = line.strip().split(operator)
            pieces = [piece + operator.rstrip() for piece in pieces[:-1]] + pieces[-1:]
            return fill([' ' * indent], pieces, indent + len('return '))
    return wrap_call(indent, *split_call(line.strip())) if '(' in line else [line]


def block(test, indent, lines):
    """Lines under an `if`, or as they are without a test."""
    if test is None:
        return [' ' * indent + line if line else line for line in lines]
    pad = ' ' * indent
    return [f'{pad}if ({test}) {{'] + [' ' * (indent + 4) + line for line in lines] + [pad + '}']


def grouped(fields, within):
    """Neighbours that exist in the same versions: (test, fields)."""
    groups = []
    for field in fields:
        test = condition(field.versions, within)
        if groups and groups[-1][0] == test:
            groups[-1][1].append(field)
        else:
            groups.append((test, [field]))
    return groups


def c_type(field):
    if field.struct is not None:
        return f'struct {field.struct.c_name}'
    return (FIXED.get(field.type) or SIZED[field.type])[0]


def describe(field, struct):
    """The comment behind a member."""
    notes = []
    if condition(field.versions, struct.versions):
        first, last = meet(field.versions, struct.versions)
        notes.append(f'v{first}+' if last == struct.versions[1] else
                     f'v{first}' if first == last else f'v{first}-{last}')
    if field.tag is not None:
        notes.append(f'tag {field.tag}')
    if field.nullable:
        notes.append('nullable' if covers(field.nullable, field.versions)
                     else f'nullable v{field.nullable[0]}+')
    if field.comment:
        notes.append(field.comment)
    return ', '.join(notes)


def declare_struct(struct):
    rows = []
    for field in struct.fields:
        note = describe(field, struct)
        note = f' /* {note} */' if note else ''
        if field.is_nullable_struct:
            rows.append(f'    bool has_{field.name};')
        if field.is_array:
            rows.append(f'    {c_type(field)} *{field.name};{note}')
            rows.append(f'    int32_t {field.name}_count;')
        else:
            rows.append(f'    {c_type(field)} {field.name};{note}')
    if not rows:
        rows.append('    char nothing; /* it has no fields */')
    return [f'struct {struct.c_name} {{'] + align_comments(rows) + ['};']


def split_comment(row):
    code, mark, note = row.partition(' /*')
    return [f'    /*{note}', code] if mark and len(row) > 100 else [row]


def align_comments(rows):
    """Comments of neighbouring lines start in one column; one that is too long goes above."""
    rows = [piece for row in rows for piece in split_comment(row)]
    result, at = [], 0
    while at < len(rows):
        end = at
        while end < len(rows) and ' /*' in rows[end].lstrip():
            end += 1
        if end == at:
            result.append(rows[at])
            at += 1
            continue
        width = max(row.index(' /*') for row in rows[at:end])
        if any(width + len(row) - row.index(' /*') > 100 for row in rows[at:end]):
            width = 0
        for row in rows[at:end]:
            code, _, note = row.partition(' /*')
            result.append(f'{code.ljust(width)} /*{note}')
        at = end
    return result


def parameters(struct, kind):
    """Of decode and encode; functions of nested structs take only what they use."""
    is_root = struct.parent is None and struct.name == ''
    value = f'struct {struct.c_name} *value'
    version = ['int16_t version'] if is_root or struct.needs_version else []
    if kind == 'encode':
        return ['struct writer *writer'] + version + [f'const {value}']
    arena = ['struct arena *arena'] if is_root or struct.needs_arena else []
    return ['struct reader *reader'] + version + arena + [value]


def define_init(struct):
    lines = [f'void {struct.c_name}_init(struct {struct.c_name} *value)', '{']
    members = []
    for field in struct.fields:
        value = initial_value(field)
        if value is not None:
            name = field.name
            name = f'{name}_count' if field.is_array else name
            name = f'has_{name}' if field.is_nullable_struct else name
            members.append(f'        .{name} = {value},')
    if members:
        lines += [f'    *value = (struct {struct.c_name}){{'] + members + ['    };']
    else:
        lines.append('    memset(value, 0, sizeof(*value));')
    for field in struct.fields:
        if field.struct and not field.is_array and field.struct.has_defaults:
            lines.append(f'    {field.struct.c_name}_init(&value->{field.name});')
    return lines + ['}']


def differs_test(field, value):
    """The C test that a tagged field is worth sending."""
    at = f'{value}{field.name}'
    if field.is_array:
        default = '-1' if field.default == 'null' else '0'
        return f'{at}_count != {default}'
    if field.is_nullable_struct and field.default == 'null':
        return f'{value}has_{field.name}'
    if field.struct is not None:
        test = f'!{field.struct.c_name}_is_default(&{at})'
        return f'(!{value}has_{field.name} || {test})' if field.is_nullable_struct else test
    if field.type == 'records':
        raise SchemaError(f'{field.name}: tagged records are not supported')
    if field.type in ('string', 'bytes'):
        return f'{at}.data != NULL' if field.nullable else f'{at}.size != 0'
    if field.type == 'uuid':
        return f'!uuid_is_zero(&{at})'
    if field.type == 'bool':
        return f'!{at}' if field.default == 'true' else at
    return f'{at} != {initial_value(field) or 0}'


def define_is_default(struct):
    """Static; for structs that stand in a tagged field."""
    lines = [f'static bool {struct.c_name}_is_default(const struct {struct.c_name} *value)', '{']
    tests = []
    for field in struct.fields:
        test = differs_test(field, 'value->')
        tests.append(test[1:] if re.fullmatch(r'![\w>&().-]+', test) else
                     test.replace(' != ', ' == ') if test.count(' != ') == 1 and '|' not in test
                     else f'!({test})')
    lines.append('    return ' + ' && '.join(tests) + ';')
    return lines + ['}']


# ---- decode ---------------------------------------------------------------------------------


def read_value(field, flexible, reader):
    """The expression that reads one value."""
    if field.type in FIXED:
        return f'reader_{FIXED[field.type][1]}({reader})'
    arguments = [reader, 'false' if field.plain else flexible]
    if field.type == 'records':
        arguments.insert(1, 'arena')
    nullable = '_nullable' if field.nullable and not field.is_array else ''
    return f'reader_{field.type}{nullable}({", ".join(arguments)})'


def decode_struct(field, target, reader):
    arguments = [reader]
    arguments += ['version'] if field.struct.needs_version else []
    arguments += ['arena'] if field.struct.needs_arena else []
    return f'{field.struct.c_name}_decode({", ".join(arguments)}, &{target});'


def decode_array(field, flexible, reader):
    at = f'value->{field.name}'
    nullable = '_nullable' if field.nullable else ''
    size = field.element_size(flexible != 'false')
    item = (decode_struct(field, f'{at}[i]', reader) if field.struct
            else f'{at}[i] = {read_value(field, flexible, reader)};')
    return [
        f'{at}_count = reader_count{nullable}({reader}, {flexible}, {size});',
        f'{at} = reader_array({reader}, arena, &{at}_count, sizeof(*{at}));',
        f'for (int32_t i = 0; i < {at}_count; i++) {{',
        f'    {item}',
        '}',
    ]


def decode_field(field, flexible, reader):
    if field.nullable:
        test = condition(field.nullable, field.versions)
        if test:
            nullable, field.nullable = field.nullable, (0, VERSION_LAST)
            lines = block(test, 0, decode_field(field, flexible, reader))
            field.nullable = None
            lines[-1] = '} else {'
            lines += [f'    {line}' for line in decode_field(field, flexible, reader)] + ['}']
            field.nullable = nullable
            return lines
    if field.is_array:
        return decode_array(field, flexible, reader)
    at = f'value->{field.name}'
    if field.is_nullable_struct:
        present = (f'reader_uvarint({reader}) != 0' if field.tag is not None
                   else f'reader_presence({reader})')
        return [f'value->has_{field.name} = {present};', f'if (value->has_{field.name}) {{',
                f'    {decode_struct(field, at, reader)}', '}']
    if field.struct is not None:
        return [decode_struct(field, at, reader)]
    return [f'{at} = {read_value(field, flexible, reader)};']


def decode_tags(struct):
    fields = struct.tagged_fields
    if not fields:
        return ['reader_skip_tags(reader);']
    within = meet(struct.versions, struct.flexible_versions)
    lines = ['for (struct reader_tags tags = reader_tags(reader); '
             'reader_tags_next(reader, &tags);) {', '    switch (tags.number) {']
    for field in fields:
        test = condition(field.versions, within)
        body = decode_field(field, 'true', '&tags.body')
        lines.append(f'    case {field.tag}:')
        lines += block(test, 8, body)
        if test:
            lines[-1] += ' else {'
            lines += [' ' * 12 + 'reader_skip(&tags.body);', ' ' * 8 + '}']
        lines.append('        break;')
    return lines + ['    default:', '        reader_skip(&tags.body);', '    }', '}']


def define_decode(struct):
    is_root = struct.name == ''
    head = f'{"enum status" if is_root else "static void"} {struct.c_name}_decode'
    lines = wrap_call(0, head, parameters(struct, 'decode'), ')') + ['{']
    if is_root:
        first, last = struct.versions
        title = struct.message.title.upper()
        lines += fill(['    if ('], [f'version < {title}_VERSION_MIN ||',
                                   f'version > {title}_VERSION_MAX) {{'], 8)
        lines += ['        return STATUS_UNSUPPORTED_VERSION;', '    }']
        if not struct.needs_arena:
            lines.append('    (void)arena;')
    if struct.flexible_word == 'flexible':
        lines.append(f'    const bool flexible = version >= {struct.message.flexible};')
    lines.append(f'    {struct.c_name}_init(value);')
    for test, fields in grouped(struct.plain_fields, struct.versions):
        body = [line for f in fields for line in decode_field(f, struct.flexible_word, 'reader')]
        lines += block(test, 4, body)
    if not struct.is_never_flexible:
        lines += block(None if struct.is_always_flexible else 'flexible', 4, decode_tags(struct))
    if is_root:
        lines.append('    return reader_status(reader);')
    return lines + ['}']


# ---- encode ---------------------------------------------------------------------------------


def write_value(field, value, flexible, writer):
    if field.type in FIXED:
        return f'writer_{FIXED[field.type][1]}({writer}, {value});'
    flexible = 'false' if field.plain else flexible
    nullable = '_nullable' if field.nullable and not field.is_array else ''
    return f'writer_{field.type}{nullable}({writer}, {flexible}, {value});'


def encode_struct(field, value, writer):
    version = 'version, ' if field.struct.needs_version else ''
    return f'{field.struct.c_name}_encode({writer}, {version}&{value});'


def encode_field(field, flexible, writer):
    if field.nullable:
        test = condition(field.nullable, field.versions)
        if test:
            nullable, field.nullable = field.nullable, (0, VERSION_LAST)
            lines = block(test, 0, encode_field(field, flexible, writer))
            field.nullable = None
            lines[-1] = '} else {'
            lines += [f'    {line}' for line in encode_field(field, flexible, writer)] + ['}']
            field.nullable = nullable
            return lines
    at = f'value->{field.name}'
    if field.is_array:
        nullable = '_nullable' if field.nullable else ''
        item = (encode_struct(field, f'{at}[i]', writer) if field.struct
                else write_value(field, f'{at}[i]', flexible, writer))
        return [f'writer_count{nullable}({writer}, {flexible}, {at}_count);',
                f'for (int32_t i = 0; i < {at}_count; i++) {{', f'    {item}', '}']
    if field.is_nullable_struct:
        present = (f'writer_uvarint({writer}, value->has_{field.name});' if field.tag is not None
                   else f'writer_presence({writer}, value->has_{field.name});')
        return [present, f'if (value->has_{field.name}) {{',
                f'    {encode_struct(field, at, writer)}', '}']
    if field.struct is not None:
        return [encode_struct(field, at, writer)]
    return [write_value(field, at, flexible, writer)]


def encode_tag(field):
    if field.is_fixed:
        size = FIXED[field.type][2]
        body = [f'    writer_tag(writer, {field.tag}, {size});']
        body += [f'    {line}' for line in encode_field(field, 'true', 'writer')]
    else:
        body = ['    struct writer body;', f'    writer_tag_begin(writer, &body, {field.tag});']
        body += [f'    {line}' for line in encode_field(field, 'true', '&body')]
        body += ['    writer_tag_end(writer, &body);']
    return [f'if (put_{field.name}) {{'] + body + ['}']


def encode_tags(struct):
    fields = struct.tagged_fields
    if not fields:
        return ['writer_uvarint(writer, 0);']
    within = meet(struct.versions, struct.flexible_versions)
    lines = []
    for field in fields:
        test = condition(field.versions, within)
        test = f'{test} && ' if test else ''
        differs = differs_test(field, 'value->')
        line = f'bool put_{field.name} = {test}{differs};'
        if len(line) <= 88:
            lines.append(line)
        else:
            lines += [f'bool put_{field.name} =', f'    {test}{differs};']
    if len(fields) == 1:
        lines.append(f'writer_uvarint(writer, put_{fields[0].name});')
    else:
        lines.append('uint32_t tag_count = 0;')
        lines += [f'tag_count += put_{field.name};' for field in fields]
        lines.append('writer_uvarint(writer, tag_count);')
    for field in fields:
        lines += encode_tag(field)
    return lines


def define_encode(struct):
    is_root = struct.name == ''
    head = f'{"void" if is_root else "static void"} {struct.c_name}_encode'
    lines = wrap_call(0, head, parameters(struct, 'encode'), ')') + ['{']
    if is_root:
        title = struct.message.title.upper()
        lines += [f'    check(version >= {title}_VERSION_MIN);',
                  f'    check(version <= {title}_VERSION_MAX);']
        if not struct.fields:
            lines.append('    (void)value;')
            if struct.is_never_flexible:
                lines.append('    (void)writer;')
    if struct.flexible_word == 'flexible':
        lines.append(f'    const bool flexible = version >= {struct.message.flexible};')
    for test, fields in grouped(struct.plain_fields, struct.versions):
        body = [line for f in fields for line in encode_field(f, struct.flexible_word, 'writer')]
        lines += block(test, 4, body)
    if not struct.is_never_flexible:
        lines += block(None if struct.is_always_flexible else 'flexible', 4, encode_tags(struct))
    return lines + ['}']


# ---- files ----------------------------------------------------------------------------------


def comment_text(lines):
    if not lines:
        return ''
    if len(lines) == 1 and len(lines[0]) < 92:
        return f'/* {lines[0]} */\n'
    return '/*\n' + ''.join(f' * {line}'.rstrip() + '\n' for line in lines) + ' */\n'


def title_defines(title, message):
    flexible = message.flexible if message.flexible < VERSION_LAST else 'INT16_MAX'
    lines = [f'#define {title}_KEY {message.key}'] if message.key >= 0 else []
    return lines + [f'#define {title}_VERSION_MIN {message.versions[0]}',
                    f'#define {title}_VERSION_MAX {message.versions[1]}',
                    f'#define {title}_FLEXIBLE_FIRST {flexible}']


def header_text(schema):
    parts = [LICENCE + f'/* Generated from wire/schema/{schema.file}. */\n'
             + comment_text(schema.comment) + '#pragma once\n\n#include "base/arena.h"\n'
             '#include "base/uuid.h"\n#include "wire/reader.h"\n#include "wire/status.h"\n'
             '#include "wire/writer.h"\n']
    titles = set()
    for message in schema.messages:
        if message.title not in titles:
            titles.add(message.title)
            parts.append('\n'.join(title_defines(message.title.upper(), message)) + '\n')
        for struct in message.structs:
            text = comment_text(message.comment) if struct is message.root else ''
            parts.append(text + '\n'.join(declare_struct(struct)) + '\n')
        lines = []
        for struct in message.structs:
            lines += wrap_call(0, f'void {struct.c_name}_init', [f'struct {struct.c_name} *value'],
                               ');')
        root = message.root
        lines += wrap_call(0, f'enum status {root.c_name}_decode', parameters(root, 'decode'), ');')
        lines += wrap_call(0, f'void {root.c_name}_encode', parameters(root, 'encode'), ');')
        parts.append('\n'.join(lines) + '\n')
    return '\n'.join(parts)


def source_text(schema):
    parts = [LICENCE + f'/* Generated from wire/schema/{schema.file}. */\n'
             f'#include "wire/{schema.name}.h"\n\n#include "base/check.h"\n']
    for message in schema.messages:
        tagged = {f.struct.name for s in message.structs for f in s.tagged_fields
                  if f.struct and not f.is_array and f.default != 'null'}
        for struct in message.structs:
            functions = [define_init, define_decode, define_encode]
            if struct.name in tagged:
                functions.insert(1, define_is_default)
            for define in functions:
                lines = [piece for line in define(struct) for piece in fit(line)]
                parts.append('\n'.join(lines) + '\n')
    return '\n'.join(parts)


MESSAGES_HEADER = '''/* Generated: every message of wire/schema/ as one table. */
#pragma once

#include "base/arena.h"
#include "wire/reader.h"
#include "wire/status.h"
#include "wire/writer.h"

enum message_kind {
    MESSAGE_REQUEST,
    MESSAGE_RESPONSE,
    MESSAGE_OTHER, /* headers, records of logs, files */
};

/* For code that treats all messages alike: tests, fuzzing, the CLI. */
struct message {
    const char *name; /* "produce_request" */
    enum message_kind kind;
    int16_t key; /* -1: has none */
    int16_t version_min;
    int16_t version_max;
    int16_t flexible_first; /* INT16_MAX: no version is */
    size_t size;            /* of the struct */
    void (*init)(void *value);
    enum status (*decode)(struct reader *reader, int16_t version, struct arena *arena, void *value);
    void (*encode)(struct writer *writer, int16_t version, const void *value);
};

'''

MESSAGES_MACROS = r'''
/* The typed functions behind pointers of one type. */
#define ADAPT(name)                                                                                \
    static void name##_init_any(void *value)                                                       \
    {                                                                                              \
        name##_init(value);                                                                        \
    }                                                                                              \
    static enum status name##_decode_any(struct reader *reader, int16_t version,                   \
                                         struct arena *arena, void *value)                         \
    {                                                                                              \
        return name##_decode(reader, version, arena, value);                                       \
    }                                                                                              \
    static void name##_encode_any(struct writer *writer, int16_t version, const void *value)       \
    {                                                                                              \
        name##_encode(writer, version, value);                                                     \
    }

#define ROW(name, kind, key, TITLE)                                                                \
    {                                                                                              \
        #name,                                                                                     \
        kind,                                                                                      \
        key,                                                                                       \
        TITLE##_VERSION_MIN,                                                                       \
        TITLE##_VERSION_MAX,                                                                       \
        TITLE##_FLEXIBLE_FIRST,                                                                    \
        sizeof(struct name),                                                                       \
        name##_init_any,                                                                           \
        name##_decode_any,                                                                         \
        name##_encode_any,                                                                         \
    }

'''


def messages_texts(schemas):
    messages = [message for schema in schemas for message in schema.messages]
    header = (LICENCE + MESSAGES_HEADER + f'#define MESSAGE_COUNT {len(messages)}\n'
              'extern const struct message messages[MESSAGE_COUNT];\n\n'
              '/* NULL when there is no message of this name. */\n'
              'const struct message *message_find(const char *name);\n')
    includes = sorted(f'#include "wire/{schema.name}.h"\n' for schema in schemas)
    rows = []
    for message in messages:
        kind = 'OTHER'
        if message.name != message.title:
            kind = message.name.rsplit('_', 1)[1].upper()
        rows += wrap_call(4, 'ROW', [message.name, f'MESSAGE_{kind}', str(message.key),
                                     message.title.upper()], '),')
    source = (LICENCE + '/* Generated from wire/schema/. */\n#include "wire/messages.h"\n\n'
              + ''.join(includes) + MESSAGES_MACROS
              + ''.join(f'ADAPT({message.name})\n' for message in messages)
              + '\nconst struct message messages[MESSAGE_COUNT] = {\n' + '\n'.join(rows)
              + '\n};\n\nconst struct message *message_find(const char *name)\n{\n'
              '    for (int i = 0; i < MESSAGE_COUNT; i++) {\n'
              '        if (strcmp(messages[i].name, name) == 0) {\n'
              '            return &messages[i];\n        }\n    }\n    return NULL;\n}\n')
    return header, source


def write_file(folder, name, text):
    with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
        file.write(text)


def main():
    folder, paths = sys.argv[1], sys.argv[2:]
    try:
        schemas = [Parser(path).parse() for path in paths]
        for schema in schemas:
            write_file(folder, f'{schema.name}.h', header_text(schema))
            write_file(folder, f'{schema.name}.c', source_text(schema))
    except SchemaError as error:
        sys.exit(str(error))
    header, source = messages_texts(schemas)
    write_file(folder, 'messages.h', header)
    write_file(folder, 'messages.c', source)


if __name__ == '__main__':
    main()
