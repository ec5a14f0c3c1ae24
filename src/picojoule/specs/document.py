"""The file as data: strict YAML, with the line of every path and all mistakes at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from picojoule.errors import InputError, Mistake

LARGEST_FILE = 256 * 1024  # bytes; the largest shipped machine takes 8 kB
MOST_MISTAKES = 50
_DEEPEST = 16  # levels of nesting in a file; a machine needs 7

_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "timestamp", "value")
}
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"

Node: TypeAlias = "str | list[Any] | dict[str, Any] | None"


@dataclass(kw_only=True)
class Document:
    """What a file holds: texts, lists and mappings.

    Args:
        source: how errors name the file.
        root: the data; of a variant, the whole machine with the changes made.
        lines: path in the file -> line.
        moved: of a variant, path in ``root`` -> path in the file; None where they are the same.
        mistakes: found so far, to be refused together with those still to come.
    """

    source: str
    root: Node = None
    lines: dict[str, int] = field(default_factory=dict)
    moved: dict[str, str] | None = None
    mistakes: tuple[Mistake, ...] = ()

    def mistake(self, path: str, message: str) -> Mistake:
        """The mistake at *path* of the root, told at its place in the file, with the line."""
        if self.moved is not None:
            place = _nearest(path, self.moved)
            if place is None:
                path, message = "$.changes", f"{path} {message}"
            else:
                path = self.moved[place] + path[len(place) :]
        place = _nearest(path, self.lines)
        return Mistake(path, message + (f" (line {self.lines[place]})" if place else ""))

    def refuse(self, mistakes: Iterable[tuple[str, str]], more: int = 0) -> None:
        """Raise the error of what was found and *mistakes*, (path, message), if there are any."""
        refuse(self.source, [*self.mistakes, *(self.mistake(*new) for new in mistakes)], more)


def refuse(source: str, mistakes: Sequence[Mistake], more: int = 0) -> None:
    """Raise the error that lists the mistakes, if there are any; *more* of them are left out."""
    if mistakes:
        rest = [Mistake("$", f"and {more} more mistakes")] if more else []
        raise InputError(source, [*mistakes, *rest])


def _nearest(path: str, places: Iterable[str]) -> str | None:
    """The longest of the *places* that is *path* or contains it."""
    into = [
        place for place in places if path == place or path.startswith((f"{place}.", f"{place}["))
    ]
    return max(into, key=len, default=None)


def child(path: str, key: str | int) -> str:
    """The path of an entry of *path*.

    >>> child("$.nest", 2), child("$.changes", "buffer.capacity")
    ('$.nest[2]', '$.changes["buffer.capacity"]')
    """
    if isinstance(key, int):
        return f"{path}[{key}]"
    if re.fullmatch(r"[A-Za-z_][\w-]{0,39}", key, re.ASCII):
        return f"{path}.{key}"
    return f"{path}[{json.dumps(shortened(key), ensure_ascii=False)}]"


def shortened(text: str) -> str:
    """*text*, cut so that a message stays readable."""
    return text if len(text) <= 40 else text[:39] + "…"


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses aliases, by which a small file can blow up, and deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*name) are not read; use based_on{_line(event)}")
        if self.depth >= _DEEPEST:
            raise yaml.YAMLError(f"nested more than {_DEEPEST} levels deep{_line(event)}")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _line(event: yaml.Event) -> str:
    return f" (line {event.start_mark.line + 1})" if event.start_mark else ""


def read_document(text: str, source: str) -> Document:
    """Parse YAML; a number stays the text it was written as.

    Raises:
        InputError: this is not YAML, is too large or too deep, repeats a key, or uses aliases,
            merges or tags of its own.
    """
    if len(text) > LARGEST_FILE:
        message = f"more than {LARGEST_FILE // 1024} KiB: not an accelerator"
        raise InputError(source, [Mistake("$", message)])
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: "\U00110000" is no character
        message = " ".join(re.sub(r'in "<[\w ]+>", ?', "", str(error)).split())
        message = message.encode("utf-8", "replace").decode()
        raise InputError(source, [Mistake("$", f"not readable as YAML: {message}")]) from error
    document, mistakes = Document(source=source), list[Mistake]()
    document.root = _plain(node, "$", document, mistakes)
    refuse(source, mistakes[:MOST_MISTAKES], max(0, len(mistakes) - MOST_MISTAKES))
    return document


def _plain(node: Any, path: str, document: Document, mistakes: list[Mistake]) -> Node:
    if node is None:
        return None
    line = node.start_mark.line + 1
    document.lines.setdefault(path, line)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(n, child(path, i), document, mistakes) for i, n in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        pairs: dict[str, Any] = {}
        for key, value in node.value:
            here = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE or _unwritable(key.value):
                mistakes.append(Mistake(path, f"a key must be a plain word (line {here})"))
                continue
            inner = child(path, key.value)
            if key.value in pairs:
                mistakes.append(Mistake(inner, f"this key is given twice (line {here})"))
                continue
            document.lines[inner] = here
            pairs[key.value] = _plain(value, inner, document, mistakes)
        return pairs
    if node.tag == _NULL and node.style is None:
        return None
    if node.tag not in _TAGS:
        tag = shortened(node.tag)
        mistakes.append(Mistake(path, f"the tag {tag!r} is not read here (line {line})"))
    if _unwritable(node.value):
        mistakes.append(Mistake(path, f"half a character, a surrogate (line {line})"))
    return str(node.value)


def _unwritable(text: str) -> bool:
    """Whether *text* holds a lone surrogate, which no file can."""
    return any("\ud800" <= character <= "\udfff" for character in text)
