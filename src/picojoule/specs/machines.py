"""The doors of this room: a machine by name or path, for who need not read its file to have it.

What reads files is imported where a file is read: the grammar alone takes as long to import as all
the rest of a question whose answer is kept.
"""

from __future__ import annotations

from importlib import resources
from os import PathLike

from picojoule.accelerator import Accelerator
from picojoule.specs import kept


def shipped_accelerators() -> tuple[str, ...]:
    """Names of the machines that come with the package."""
    files = (resources.files("picojoule") / "data" / "accelerators").iterdir()
    return tuple(sorted(x.name.removesuffix(".yaml") for x in files if is_yaml(x.name)))


def is_yaml(name: str) -> bool:
    """Whether *name* is a file's, and no shipped machine's."""
    return name.lower().endswith((".yaml", ".yml"))


def load_accelerator(
    source: str | PathLike[str] | Accelerator, *, node: str | None = None
) -> Accelerator:
    """Return the machine of a YAML file or of a shipped name; an Accelerator is returned as it is.

    Args:
        node: made at this node of technology ("22nm"), with energies in pJ
            (:func:`technology.at_node`); by default as the file says.

    >>> load_accelerator("eyeriss").elements
    168
    >>> load_accelerator("eyeriss", node="7nm").compute.mac_energy  # pJ; a MAC at 65 nm takes 2
    0.152031

    Raises:
        InputError: there is no such file or name, or the file has mistakes; all are listed.
        PicojouleError: the machine cannot be taken to that node.
    """
    if node is None and isinstance(source, Accelerator):
        return source
    shipped = isinstance(source, str) and source in shipped_accelerators()
    if node is None and shipped:
        machine = kept.recall(str(source))
        if machine is not None:
            return machine
    from picojoule.specs.reading import read_accelerator

    machine = read_accelerator(source, node)
    if node is None and shipped:
        kept.keep(str(source), machine)
    return machine


def parse_accelerator(text: str, source: str) -> Accelerator:
    """Return the machine that a YAML *text* describes; *source* names it in errors.

    What the text is based on is looked for beside *source*.

    Raises:
        InputError: with every mistake of the text.
    """
    from picojoule.specs import reading

    return reading.parse_accelerator(text, source)


def dump_accelerator(accelerator: Accelerator) -> str:
    """Return *accelerator* as YAML; reading it gives an equal machine with the same sources.

    A number that was changed since it was read loses its source, and is written exactly.

    >>> machine = load_accelerator("eyeriss")
    >>> parse_accelerator(dump_accelerator(machine), "copy") == machine
    True
    """
    from picojoule.specs import writing

    return writing.dump_accelerator(accelerator)


def in_use(accelerator: Accelerator) -> Accelerator:
    """The accelerator as its published mappings use it: with those changes made.

    >>> machine = load_accelerator("eyeriss-isca16")
    >>> in_use(machine) == machine  # its published mappings use all of it
    True

    Raises:
        InputError: the changes do not fit the machine, which was made without a file.
    """
    if not accelerator.published.changes:
        return accelerator
    from picojoule.specs.reading import as_published

    return as_published(accelerator)
