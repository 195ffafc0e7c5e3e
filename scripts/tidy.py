#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check what a script can check of CONTRIBUTING.md. Standard library only, a few seconds at most.

    tidy.py [--top] [--root FOLDER]     findings as "file:line: rule: message"; exit code 1 on any
    tidy.py --format                    clang-format-14 over every C file instead
    tidy.py --self-test                 plants one violation of each rule and expects it to be found

A rule is a generator `rule_NAME(tree)` of (path, line, message). C is matched on its text with
comments and strings blanked, so a word in a comment is never a call.
"""
import argparse
import collections
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

LINE_MAX = 100
FUNCTION_MAX = 70
FILE_MAX = 800
BASE_HEADERS_MAX = 18
BASE_HEADER_LINES_MAX = 300

# The arrow: a folder may include itself and those before it.
LAYERS = ["base", "wire", "storage", "topic", "broker"]

# What the layers above may see of a folder; its other headers are its own.
DOORS = {
    "storage": {"config.h", "files.h", "partition.h", "producers.h", "store.h", "verify.h"},
    "topic": {"config.h", "image.h", "manager.h", "metadata.h", "name.h", "peers.h", "placement.h",
              "setting.h"},
}
# The CLI is a client: it speaks the protocol, and reads a stopped broker's files to verify them.
CLI = "broker/cli/"
CLI_MAY_INCLUDE = ("base/", "wire/", CLI, "storage/verify.h")

# Where the C library may be called for memory, files and time: programs, not layers.
# main, serve and machine are the real process around the server: arguments, lock, limits.
CALLS_ALLOWED = ("base/", "broker/main.c", "broker/serve.c", "broker/machine.c", "broker/server.c",
                 CLI, "tests/", "benchmarks/")
CALLS = "malloc calloc realloc free read write open fsync clock_gettime".split()

SOURCE_SUFFIXES = (".c", ".cc", ".h", ".py", ".sh", ".build", ".def", ".wire", ".inc")
# Written by a program, or data in a format that is not ours to wrap.
UNCHECKED_SUFFIXES = (".bin", ".jsonl", ".patch", ".svg", ".png")
UNCHECKED_NAMES = ("Cargo.lock", "package-lock.json", "go.sum", "LICENSE")
UNCHECKED_FOLDERS = ("tests/fuzz/corpus/", "tests/wire/golden/")
UNLISTED_FOLDERS = {".git", "__pycache__", "node_modules", "target", "data"}


ATTRIBUTE = re.compile(r"\[\[.*?\]\]|__attribute__\s*\(\(.*?\)\)")


class File:
    """One file: its text, and for C the text with comments and strings blanked."""

    def __init__(self, path, text, executable):
        self.path, self.text, self.executable = path, text, executable
        self.lines = text.splitlines()

    @functools.cached_property
    def code(self):
        return blank_comments_and_strings(self.text)

    @functools.cached_property
    def functions(self):
        """(name, first line, last line) of each function: braces in column 0, as formatted."""
        found = []
        lines = self.code.splitlines()
        for index, line in enumerate(lines):
            if line != "{":
                continue
            first = index
            while first > 0 and lines[first - 1].strip() and lines[first - 1][0] not in "}#" \
                    and not lines[first - 1].rstrip().endswith(";"):
                first -= 1
            last = next((i for i in range(index, len(lines)) if lines[i].startswith("}")), index)
            head = ATTRIBUTE.sub("", " ".join(lines[first:index]))
            name = re.search(r"(\w+)\s*\(", head)
            found.append((name.group(1) if name else "?", first + 1, last + 1))
        return found

    @functools.cached_property
    def file_scope(self):
        """The code with function bodies blanked, lines kept."""
        lines = self.code.splitlines()
        for _, first, last in self.functions:
            start = lines.index("{", first - 1)
            lines[start:last] = ["{}"] + [""] * (last - start - 1)
        return "\n".join(lines)


TOKENS = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", re.S)


def blank_comments_and_strings(text):
    def blank(match):
        token = match.group()
        if token[0] == "'" and re.match(r"[0-9a-fA-F]", text[match.start() - 1]):
            return token  # a digit separator: 1'000
        return re.sub(r"[^\n]", " ", token) if token[0] == "/" else token[0] + re.sub(
            r"[^\n]", " ", token[1:-1]) + token[-1]
    # The paths of includes are strings that rules want to see.
    out = TOKENS.sub(blank, text)
    if out.count("\n") != text.count("\n"):
        raise AssertionError("blanking changed the number of lines")
    return out


class Tree:
    """The files of the project: what git knows or would add; without git, what lies there."""

    def __init__(self, root):
        self.root = root
        self.files = {}
        for path in sorted(self.list(root)):
            full = root / path
            if full.is_symlink() or not full.is_file():
                continue
            raw = full.read_bytes()
            if b"\0" not in raw:
                self.files[path] = File(path, raw.decode(errors="replace"),
                                        os.access(full, os.X_OK))

    @staticmethod
    def list(root):
        listing = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others",
             "--exclude-standard"], capture_output=True, check=False) if (
                 shutil.which("git") and (root / ".git").exists()) else None
        if listing is not None and listing.returncode == 0:
            return {name for name in listing.stdout.decode().split("\0") if name}
        names = set()
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders
                          if name not in UNLISTED_FOLDERS and not name.startswith("build")]
            names |= {os.path.relpath(os.path.join(folder, name), root) for name in files}
        return names

    def c(self, *prefixes):
        return [file for path, file in self.files.items()
                if path.endswith((".c", ".h")) and path.startswith(prefixes or "")]

    @functools.cached_property
    def text_files(self):
        return [file for path, file in self.files.items()
                if not path.endswith(UNCHECKED_SUFFIXES)
                and not path.startswith(UNCHECKED_FOLDERS)
                and os.path.basename(path) not in UNCHECKED_NAMES]

    @functools.cached_property
    def sources(self):
        return [file for file in self.text_files
                if file.path.endswith(SOURCE_SUFFIXES) or file.text.startswith("#!")]

    @functools.cached_property
    def layer_files(self):
        return self.c(*(layer + "/" for layer in LAYERS))


def includes(file):
    """(line, path) of each include in quotes."""
    for number, line in enumerate(file.lines, 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if match:
            yield number, match.group(1)


def matches(files, pattern, text=lambda file: file.code):
    for file in files:
        searched = text(file)
        for match in pattern.finditer(searched):
            yield file, searched.count("\n", 0, match.start()) + 1, match


# Includes


def rule_include_arrow(tree):
    for file in tree.layer_files:
        layer = file.path.split("/")[0]
        for line, path in includes(file):
            target, _, name = path.partition("/")
            if target not in LAYERS:
                yield file.path, line, f"{path}: a layer includes layers alone"
            elif LAYERS.index(target) > LAYERS.index(layer):
                yield file.path, line, f"{path}: {layer}/ may not know {target}/"
            elif target != layer and name not in DOORS.get(target, {name}) and \
                    not file.path.startswith(CLI):
                yield file.path, line, f"{path} is not a door of {target}/ (DOORS in tidy.py)"


def rule_include_cli(tree):
    for file in tree.c(CLI):
        for line, path in includes(file):
            if not path.startswith(CLI_MAY_INCLUDE):
                yield file.path, line, f"{path}: the CLI is a client and sees {CLI_MAY_INCLUDE}"


def rule_include_ring(tree):
    for file in tree.c("broker/handlers/"):
        for line, path in includes(file):
            if path == "base/ring.h":
                yield file.path, line, "a handler submits nothing itself; ask storage or topic"


def rule_include_root(tree):
    for file in tree.c():
        for line, path in includes(file):
            if ".." in path.split("/") or "/" not in path:
                yield file.path, line, f'"{path}": write the path from the root of the project'


def rule_pragma_once(tree):
    for file in tree.c():
        if file.path.endswith(".h") and "#pragma once" not in file.lines:
            yield file.path, 1, "no #pragma once"


# Files and lines


def rule_spdx(tree):
    for file in tree.sources:
        head = file.lines[1:2] if file.text.startswith("#!") else file.lines[:1]
        if not head or "SPDX-License-Identifier: Apache-2.0" not in head[0]:
            yield file.path, 1, "the first line (after #!) has to name the license"


def rule_line_length(tree):
    for file in tree.sources:
        for number, line in enumerate(file.lines, 1):
            if len(line) > LINE_MAX:
                yield file.path, number, f"{len(line)} columns, at most {LINE_MAX}"


def rule_file_length(tree):
    for file in tree.sources:
        if len(file.lines) > FILE_MAX:
            yield file.path, FILE_MAX + 1, f"{len(file.lines)} lines, at most {FILE_MAX}"


def rule_function_length(tree):
    for file in tree.c():
        for name, first, last in file.functions:
            if last - first + 1 > FUNCTION_MAX:
                yield file.path, first, f"{name}: {last - first + 1} lines, at most {FUNCTION_MAX}"


def rule_whitespace(tree):
    for file in tree.text_files:
        for number, line in enumerate(file.lines, 1):
            if line != line.rstrip() and not file.path.endswith(".md"):
                yield file.path, number, "whitespace at the end of the line"
            if "\t" in line and file.path.endswith((".c", ".h", ".py", ".build", ".def")):
                yield file.path, number, "a tab"
        if file.text and not file.text.endswith("\n"):
            yield file.path, len(file.lines), "no newline at the end of the file"


def rule_leftover(tree):
    words = re.compile(r"\b(TO[D]O|FIX[M]E|X{3}|HAC[K])\b")
    for file, line, match in matches(tree.text_files, words, lambda file: file.text):
        yield file.path, line, f"{match.group()}: do it, or open an issue"


def rule_machine_path(tree):
    words = re.compile(r"(?<![\w.~])/(?:work|root|home)/[\w.]+")
    for file, line, match in matches(tree.text_files, words, lambda file: file.text):
        yield file.path, line, f"{match.group()}: a path of one machine"


def rule_registry_host(tree):
    words = re.compile(r"\b(?:pypi\.org|files\.pythonhosted\.org|registry\.npmjs\.org|"
                       r"proxy\.golang\.org|repo1?\.maven\.(?:apache\.)?org|crates\.io|"
                       r"deb\.debian\.org)\b|https?://[\w.-]*"
                       r"(?:mirror|artifact|nexus|registry|internal|proxy)[\w.-]*[/:]", re.I)
    locks = [file for path, file in tree.files.items()
             if path.endswith(("package-lock.json", "go.sum"))]
    for file, line, match in matches(tree.text_files + locks, words, lambda file: file.text):
        yield file.path, line, f"{match.group()}: leave the host to the client's own settings"


def rule_executable(tree):
    for file in tree.files.values():
        program = file.text.startswith("#!")
        if program and not file.executable:
            yield file.path, 1, "starts with #! and is not executable"
        elif file.executable and not program:
            yield file.path, 1, "is executable and does not start with #!"


def rule_dead_file(tree):
    """A .c that no meson.build (or include) names, a .h or .inc that nothing includes."""
    build_text = {path.removesuffix("meson.build"): re.sub("#.*", "", file.text)
                  for path, file in tree.files.items() if os.path.basename(path) == "meson.build"}
    included = {path for file in tree.files.values()
                if file.path.endswith((".c", ".h", ".inc", ".py")) for _, path in includes(file)}
    for file in tree.files.values():
        if file.path in included or file.path == "base/banned.h":
            continue
        if file.path.endswith(".h"):
            if not any(f'"{file.path}"' in other.text for other in tree.sources
                       if other.path.endswith(".py")):
                yield file.path, 1, "no file includes it"
        elif file.path.endswith(".c"):
            stem = os.path.basename(file.path)[:-2]
            parts = (stem + ".c", stem) + tuple(
                stem.removesuffix(end) for end in ("_test", "_fuzz", "_bench"))
            text = "".join(text for folder, text in build_text.items()
                           if file.path.startswith(folder))
            if not any(re.search(rf"\b{re.escape(part)}\b", text) for part in parts):
                yield file.path, 1, "no meson.build names it"


def rule_readme_folders(tree):
    """The first cell of a table row that is a folder in backticks names one that exists."""
    readme = tree.files.get("README.md")
    if readme is None:
        return
    folders = {path.split("/")[0] for path in tree.files if "/" in path}
    named = set()
    for number, line in enumerate(readme.lines, 1):
        match = re.match(r"\|\s*(?:\[)?`([\w.-]+)/`", line)
        if match:
            named.add(match.group(1))
            if match.group(1) not in folders:
                yield "README.md", number, f"{match.group(1)}/ does not exist"
    for folder in sorted(folders - named):
        if named and not folder.startswith("."):
            yield "README.md", 1, f"the table of folders lacks {folder}/"


# base/


def rule_base_words(tree):
    words = re.compile(r"(?<![a-z])(topic|partition|record|kafka)s?(?![a-z])", re.I)
    files = [file for path, file in tree.files.items() if path.startswith("base/")]
    for file, line, match in matches(files, words, lambda file: file.text):
        yield file.path, line, f"{match.group()}: base/ knows C and Linux alone"


def rule_base_size(tree):
    headers = [file for file in tree.c("base/") if file.path.endswith(".h")]
    if len(headers) > BASE_HEADERS_MAX:
        yield "base", 1, f"{len(headers)} headers, at most {BASE_HEADERS_MAX}"
    for file in headers:
        if len(file.lines) > BASE_HEADER_LINES_MAX:
            yield file.path, 1, f"{len(file.lines)} lines, at most {BASE_HEADER_LINES_MAX}"


# C


def rule_thread_local(tree):
    words = re.compile(r"\b(?:_Thread_local|__thread|thread_local|pthread_setspecific)\b")
    for file, line, match in matches(tree.c(), words):
        yield file.path, line, f"{match.group()}: a core is a struct handed down"


STATIC_OBJECT = re.compile(r"^[ \t]*(?:\[\[\w+\]\]\s*)?static\s+(?!inline\b|assert\b)([^;={}()]*"
                           r"(?:\(\s*\*[^()]*\)\s*\([^()]*\))?)\s*(=|;)", re.M)


def rule_static_state(tree):
    for file, line, match in matches(tree.layer_files, STATIC_OBJECT):
        words = match.group(1)
        # With pointers the object itself is const only when const follows the star of its name.
        function = re.search(r"\(\s*\*([^()]*)\)", words)
        own = function.group(1) if function else words.rsplit("*", 1)[-1]
        if not re.search(r"\bconst\b", own):
            yield file.path, line, f"{' '.join(words.split())}: static mutable state"


def rule_calls(tree):
    words = re.compile(rf"(?<![\w.>])(?:{'|'.join(CALLS)})\s*\(")
    for file, line, match in matches(tree.layer_files, words):
        if not file.path.startswith(CALLS_ALLOWED):
            yield file.path, line, f"{match.group()}): base/ has the only doors (heap, pages, ring)"


FORWARD = re.compile(r"^(?:\[\[[\w, ]+\]\]\s*)?static\s[^;={}()#]*\w\s*\([^;{}#=]*\)\s*;", re.M)


def rule_forward_declaration(tree):
    for file, line, match in matches(tree.c(), FORWARD, lambda file: file.file_scope):
        name = re.search(r"(\w+)\s*\(", match.group()).group(1)
        # Two functions that call each other cannot both come first.
        if name != "static_assert" and not mutually_recursive(file, name):
            yield file.path, line, f"{name}: put the callee above its caller"


def mutually_recursive(file, name):
    """Whether the function is called, before its body, from one that its body reaches."""
    lines = file.code.splitlines()
    bodies = {function: "\n".join(lines[first:last]) for function, first, last in file.functions}
    calls = {function: {word for word in re.findall(r"\b\w+\b", body)
                        if word in bodies and word != function}
             for function, body in bodies.items()}
    reached, queue = set(), collections.deque(calls.get(name, ()))
    while queue:
        function = queue.popleft()
        if function not in reached:
            reached.add(function)
            queue.extend(calls[function])
    return name in reached


CONTROL = re.compile(r"^([ \t]*)(?:\} )?(?:else if|if|for|(?<!\} )while|LIST_EACH)\b[^\n(]*\(|"
                     r"^([ \t]*)(?:\} )?else\b(?! if)", re.M)


def closing(text, position):
    """Position behind the parenthesis that closes the one before `position`."""
    depth = 1
    while depth > 0 and position < len(text):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        position += 1
    return position


def rule_braces(tree):
    for file, line, match in matches(tree.c(), CONTROL):
        end = closing(file.code, match.end()) if match.group().endswith("(") else match.end()
        body = re.match(r"[\s\\]*", file.code[end:]).end() + end
        if file.code[body:body + 1] in ("{", ";", ""):
            continue
        finish = file.code.find(";", body)
        several = "\n" in file.code[body:finish] or "\n" in file.code[match.end():end]
        if several or re.match(r"(?:if|for|while|do|switch)\b", file.code[body:]):
            yield file.path, line, "a statement of several lines needs braces"


def rules():
    return {name.removeprefix("rule_").replace("_", "-"): rule
            for name, rule in globals().items() if name.startswith("rule_")}


def findings(tree):
    for name, rule in rules().items():
        for path, line, message in rule(tree):
            yield path, line, name, message


# Planted violations: rule, path, content. Written in pieces where this file itself is checked.

HEAD = "/* SPDX-License-Identifier: Apache-2.0 */\n"
HEADER = HEAD + "#pragma once\n"
PLANTED = [
    ("include-arrow", "base/x.h", HEADER + '#include "wire/x.h"\n'),
    ("include-arrow", "topic/x.c", HEAD + '#include "storage/segment.h"\n'),
    ("include-arrow", "wire/x.c", HEAD + '#include "tests/lib/test.h"\n'),
    ("include-cli", CLI + "x.c", HEAD + '#include "topic/manager.h"\n'),
    ("include-ring", "broker/handlers/x.c", HEAD + '#include "base/ring.h"\n'),
    ("include-root", "storage/x.c", HEAD + '#include "x.h"\n'),
    ("include-root", "storage/x.c", HEAD + '#include "storage/../base/x.h"\n'),
    ("pragma-once", "wire/x.h", HEAD + "int x(void);\n"),
    ("spdx", "wire/x.c", "int x;\n"),
    ("spdx", "scripts/x", "#!/bin/sh\ntrue\n"),
    ("line-length", "wire/x.c", HEAD + "/* " + "x" * LINE_MAX + " */\n"),
    ("file-length", "wire/x.c", HEAD + "\n" * FILE_MAX),
    ("function-length", "wire/x.c", HEAD + "int x(void)\n{\n" + "    y();\n" * 70 + "}\n"),
    ("whitespace", "wire/x.c", HEAD + "int x; \n"),
    ("whitespace", "wire/x.c", HEAD + "\tint x;\n"),
    ("whitespace", "wire/x.c", HEAD + "int x;"),
    ("leftover", "wire/x.c", HEAD + "/* TO" "DO */\n"),
    ("machine-path", "scripts/x.py", "# /ho" "me/x\n"),
    ("registry-host", "tests/x/package-lock.json", '"https://registry.npm' 'js.org/x"\n'),
    ("registry-host", "tests/x.sh", "# http://cache.inter" "nal/x\n"),
    ("executable", "scripts/x.py", "#!/usr/bin/env python3\n"),
    ("dead-file", "wire/x.c", HEAD),
    ("dead-file", "wire/x.h", HEADER),
    ("readme-folders", "README.md", "| `gone/` | x |\n"),
    ("base-words", "base/x.h", HEADER + "int re" "cord_count;\n"),
    ("base-size", "base/x.h", HEADER + "\n" * BASE_HEADER_LINES_MAX),
    ("thread-local", "topic/x.c", HEAD + "_Thread_local int x;\n"),
    ("static-state", "topic/x.c", HEAD + "static int x;\n"),
    ("static-state", "topic/x.c", HEAD + "static const char *names[] = {0};\n"),
    ("static-state", "topic/x.c", HEAD + "int x(void)\n{\n    static int y = 0;\n}\n"),
    ("static-state", "topic/x.c", HEAD + "static int (*x)(void) = 0;\n"),
    ("calls", "storage/x.c", HEAD + "void x(void)\n{\n    free (y);\n}\n"),
    ("forward-declaration", "wire/x.c", HEAD + "static int x(int a,\n             int b);\n"),
    ("braces", "wire/x.c", HEAD + "int x(void)\n{\n    if (y)\n        z(1,\n          2);\n}\n"),
    ("braces", "wire/x.c", HEAD + "int x(void)\n{\n    for (;;)\n        if (y)\n z();\n}\n"),
]

# Looks like violations and is none; every rule has to stay silent.
CLEAN = {
    "meson.build": "# SPDX-License-Identifier: Apache-2.0\nfiles('wire/clean.c')\n",
    "wire/meson.build": "# SPDX-License-Identifier: Apache-2.0\nfiles('clean.c')\n",
    "wire/clean.h": HEADER + '#include "base/banned.h"\n',
    "base/banned.h": HEADER,
    "wire/clean.c": HEAD + '#include "wire/clean.h"\n' + """
static const char *const names[] = {"malloc(", "static int x;"};
static int (*const handlers[])(struct x *, int) = {0};

/* free(x) and static int y; are words here. */
static int even(int n);

static int odd(int n)
{
    return n == 0 ? 0 : even(n - 1);
}

static int even(int n)
{
    if (n == 0)
        return 1'000;
    ring->read(n);
    return odd(n - 1);
}
""",
}


def found_in(files, executables=()):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
            (root / path).chmod(0o755 if path in executables else 0o644)
        return list(findings(Tree(root)))


def self_test():
    wrong = [f"clean tree: {finding}" for finding in found_in(CLEAN)]
    for rule, path, text in PLANTED:
        if not any(found[:1] + found[2:3] == (path, rule) for found in found_in({path: text})):
            wrong.append(f"{rule} does not see what was planted in {path}: {text[-60:]!r}")
    wrong += [f"{rule}: nothing is planted for it"
              for rule in rules().keys() - {rule for rule, _, _ in PLANTED}]
    for sentence in wrong:
        print(sentence)
    print(f"{len(PLANTED)} planted, {len(wrong)} wrong")
    return 1 if wrong else 0


def show_top(tree):
    functions = [(last - first + 1, f"{file.path}:{first}: {name}")
                 for file in tree.c() for name, first, last in file.functions]
    files = [(len(file.lines), file.path) for file in tree.sources]
    for title, rows in (("longest functions", functions), ("longest files", files)):
        print(title)
        for size, name in sorted(rows, reverse=True)[:10]:
            print(f"{size:6} {name}")


def check_format(root):
    program = shutil.which("clang-format-14")
    if program is None:
        print("skipped: no clang-format-14")
        return 77
    files = [file.path for file in Tree(root).c()]
    return subprocess.run([program, "--dry-run", "-Werror", *files], cwd=root,
                          check=False).returncode if files else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--top", action="store_true", help="the ten longest functions and files")
    parser.add_argument("--format", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if options.format:
        return check_format(options.root)
    tree = Tree(options.root)
    count = 0
    for path, line, rule, message in findings(tree):
        print(f"{path}:{line}: {rule}: {message}")
        count += 1
    if options.top:
        show_top(tree)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
