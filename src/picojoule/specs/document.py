"""The file as data: strict YAML, with the line of every path and all mistakes at once."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from picojoule.errors import InputError, Mistake

LARGEST_FILE = 256 * 1024  # bytes; the largest shipped machine takes 8 kB
DEEPEST = 16  # levels of nesting in a file; a machine needs 6
LONGEST_CHAIN = 8  # files, each based on the next
MOST_MISTAKES = 50
UNSTATED = "unstated"
"""Status of a number whose file does not say where it comes from."""

# Beyond these a number is a slip of the unit, and sums of products might overflow.
_LARGEST_CAPACITY = 2.0**60  # bits
_LARGEST_ENERGY = 1e15
_LARGEST_COUNT = 1 << 16
# These stand beside the names of memories and arrays where energies are split by place.
_RESERVED = ("compute", "static", "total")


_TAGS = {f"tag:yaml.org,2002:{name}" for name in "str int float bool timestamp value".split()}
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"

Node: TypeAlias = "str | None | list[Any] | dict[str, Any]"


@dataclass
class Document:
    """What a file holds: texts, lists and mappings; the line of each path; and what was moved."""

    root: Node
    lines: dict[str, int] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)  # path in root -> path in the file


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses aliases, which a small file can blow up with, and deep nesting."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(_marked("aliases (*name) are not read; use based_on", event))
        if self.depth >= DEEPEST:
            raise yaml.YAMLError(_marked(f"nested more than {DEEPEST} levels deep", event))
        self.depth += 1
        node = super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        self.depth -= 1
        return node


def _marked(message: str, event: yaml.Event) -> str:
    return f"{message} (line {event.start_mark.line + 1})"


def child(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    if re.fullmatch(r"[A-Za-z_][\w-]{0,39}", key, re.ASCII):
        return f"{path}.{key}"
    return f"{path}[{json.dumps(key if len(key) <= 40 else key[:39] + '…', ensure_ascii=False)}]"


def read_document(text: str, source: str) -> Document:
    """Parse YAML into texts, lists and mappings; a number stays the text it was written as."""
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST_FILE:
        raise InputError(
            source, [Mistake("$", f"more than {LARGEST_FILE // 1024} KiB: not an accelerator")]
        )
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()  # type: ignore[no-untyped-call]
        finally:
            loader.dispose()  # type: ignore[no-untyped-call]
    except yaml.YAMLError as error:
        message = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise InputError(source, [Mistake("$", f"not readable as YAML: {message}")]) from error
    document, mistakes = Document(None), list[Mistake]()
    document.root = _plain(node, "$", document, mistakes)
    raise_if_any(source, mistakes)
    return document


def _plain(node: Any, path: str, document: Document, mistakes: list[Mistake]) -> Node:
    if node is None:
        return None
    line = node.start_mark.line + 1
    document.lines.setdefault(path, line)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(n, child(path, i), document, mistakes) for i, n in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value in node.value:
            here = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _MERGE:
                mistakes.append(Mistake(path, f"a key must be a plain word (line {here})"))
                continue
            key, inner = key_node.value, child(path, key_node.value)
            if key in found:
                first = document.lines[inner]
                message = f"the key is given twice, on lines {first} and {here}"
                mistakes.append(Mistake(inner, message))
                continue
            document.lines[inner] = here
            found[key] = _plain(value, inner, document, mistakes)
        return found
    if node.tag == _NULL and node.style is None:
        return None
    if node.tag not in _TAGS:
        mistakes.append(Mistake(path, f"the tag {node.tag} is not read here (line {line})"))
    return str(node.value)


def raise_if_any(source: str, mistakes: Sequence[Mistake]) -> None:
    if len(mistakes) > MOST_MISTAKES:
        more = Mistake("$", f"and {len(mistakes) - MOST_MISTAKES} more mistakes")
        mistakes = [*mistakes[:MOST_MISTAKES], more]
    if mistakes:
        raise InputError(source, mistakes)
