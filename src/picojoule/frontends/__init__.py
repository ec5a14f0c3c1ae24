"""Networks from files and from PyTorch: :func:`load` reads them all.

A reader is imported only when a source needs it, and so are onnx and torch.
"""

from __future__ import annotations

import csv
import importlib.util
import inspect
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from picojoule.errors import InputError, Mistake, PicojouleError, did_you_mean
from picojoule.frontends.source_file import check_file, read_text, shortened
from picojoule.frontends.table import parse_table, read_table
from picojoule.workload import Workload

__all__ = [
    "call_function",
    "function_of",
    "load",
    "parse_table",
    "read_table",
    "shipped_networks",
]

FORMATS = (".onnx", ".tflite", ".pt2", ".gguf", ".csv", ".txt")
_TRANSFORMER = "only a Hugging Face folder or a GGUF file is asked for it"
_TAKEN_BY = {
    "dims": "only an ONNX, TFLite or SCALE-Sim file or a torch module has sizes to be given",
    "trips": "only an ONNX or TFLite file has loops of which this can be told",
    "shapes": "only an ONNX file has tensors of which this can be told",
    "values": "only files with weights in them, and torch modules, have values to look at",
    "context": _TRANSFORMER,
    "phase": "only a Hugging Face folder, a GGUF or a TFLite file has phases",
    "kv_bits": _TRANSFORMER,
}

_FUNCTION = re.compile(r"(.+\.py):([^:/\\]*)", re.DOTALL)


def shipped_networks() -> tuple[str, ...]:
    """The names of the networks that come with picojoule, in alphabetical order."""
    folder = resources.files("picojoule") / "data" / "networks"
    try:
        files = [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(sorted(name.removesuffix(".csv") for name in files if name.endswith(".csv")))


def load(
    source: object,
    *,
    name: str | None = None,
    dims: Mapping[str, int] | None = None,
    trips: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: bool = True,
    context: int | None = None,
    phase: str | None = None,
    kv_bits: int | None = None,
) -> Workload:
    """Return the network that *source* stands for.

    Args:
        source: a file (``.onnx``; ``.tflite``; ``.pt2`` of torch.export; ``.gguf``; ``.csv``, ours
            or SCALE-Sim's; ``.txt`` of energyestimation.mit.edu), a Hugging Face folder, the
            folder of a run of ``prune`` or ``adapt`` or its ``result``, ``file.py:function`` whose
            function returns anything that is accepted here, the name of a shipped network or of a
            released model, a Workload, or a torch module with the arguments of its ``forward``:
            ``(module, inputs)``, ``(module, {keyword: input})`` or ``(module, inputs, keywords)``.
        name: what to call the network, instead of the name it comes with.
        dims: sizes of dimensions of a file's inputs: those it only names, by their name
            (``{"sequence": 128}``), and any, by its place (``{"data_0[2]": 227}``); sizes that
            depend on data; cells of a SCALE-Sim template by their name.
        trips: how often loops of an ONNX or TFLite file run that do not say so, by their name.
        shapes: of tensors of an ONNX file that no rule tells, by their name.
        values: look at stored weights for their density; without, it is 1.
        context: tokens that a transformer of a folder or of GGUF attends to.
        phase: "decode" (one token) or "prefill" (the whole context); of a TFLite file, the entry
            of that name.
        kv_bits: width of such a transformer's cache of keys and values.

    Raises:
        InputError: with every mistake of the source, each with its place in it.
    """
    options: dict[str, Any] = {
        "dims": dims,
        "trips": trips,
        "shapes": shapes,
        "values": None if values else False,
        "context": context,
        "phase": phase,
        "kv_bits": kv_bits,
    }
    asked = {what: value for what, value in options.items() if value is not None and value != {}}
    if isinstance(source, Workload):
        _refuse(shortened(str(source.name)), asked)
        return source if name is None else replace(source, name=name)
    if not isinstance(source, (str, PathLike)):
        return _load_module(source, name, asked)
    place = fspath(source)
    if not isinstance(place, str):
        raise InputError(repr(place), [Mistake("source", "a path in bytes; give a text")])
    function = _FUNCTION.fullmatch(place)
    if function is not None:
        return _load_function(place, Path(function[1]), function[2], name, asked)
    read = _reader_of(place)
    if read is None:
        return _load_text(place, name, asked)
    _refuse_unless_taken(place, read, asked)
    return read(place, name=name, **asked)


def _refuse_unless_taken(
    place: str, read: Callable[..., Workload], asked: Mapping[str, object]
) -> None:
    takes = inspect.signature(read).parameters
    _refuse(place, {what: asked[what] for what in asked if what not in takes})


def _reader_of(place: str) -> Callable[..., Workload] | None:
    """The reader of a binary file or a folder; None for what is read as text."""
    suffix = Path(place).suffix.lower()
    if suffix == ".onnx":
        from picojoule.frontends.onnx_graph import read_onnx

        return read_onnx
    if suffix == ".tflite":
        from picojoule.frontends.tflite_graph import read_tflite

        return read_tflite
    if suffix == ".pt2":
        from picojoule.frontends.pt2 import read_pt2

        return read_pt2
    if suffix == ".gguf":
        from picojoule.frontends.gguf import read_gguf

        return read_gguf
    if _is_folder(place):
        from picojoule.frontends.run_results import is_run, read_run_result

        if is_run(Path(place)):
            return read_run_result
        from picojoule.frontends.hugging_face import read_hugging_face

        return read_hugging_face
    return None


def _is_folder(place: str) -> bool:
    try:
        return bool(place) and Path(place).is_dir() and place not in shipped_networks()
    except (OSError, ValueError):  # name too long, zero byte in the name
        return False


def _refuse(place: str, asked: Mapping[str, object]) -> None:
    """An option without effect is a mistake."""
    if asked:
        raise InputError(place, [Mistake(what, _TAKEN_BY[what]) for what in asked])


def _load_text(place: str, name: str | None, asked: Mapping[str, Any]) -> Workload:
    if place in shipped_networks():
        _refuse(place, asked)
        file = resources.files("picojoule") / "data" / "networks" / f"{place}.csv"
        return parse_table(file.read_text("utf-8"), source=f"{place}.csv", name=name or place)
    from picojoule.frontends.run_results import released_network, released_networks

    if place in released_networks():
        _refuse(place, asked)
        return released_network(place, name)
    suffix = Path(place).suffix.lower()
    if suffix == ".csv":
        from picojoule.frontends.scale_sim import parse_scale_sim

        text = read_text(Path(place))
        parse = parse_scale_sim if _is_scale_sim(text) else parse_table
        _refuse_unless_taken(place, parse, asked)
        return parse(text, source=place, name=name, **asked)
    if suffix == ".txt":
        from picojoule.frontends.energy_site import read_energy_site

        _refuse(place, asked)
        return read_energy_site(place, name=name)
    unknown = _unknown(place, (*shipped_networks(), *released_networks()))
    raise InputError(shortened(place, 200), [Mistake("source", unknown)])


def _is_scale_sim(text: str) -> bool:
    from picojoule.frontends.scale_sim import is_scale_sim_header

    first = next((line for line in io.StringIO(text) if line.strip() and line[0] != "#"), "")
    try:
        return is_scale_sim_header(next(csv.reader([first], skipinitialspace=True), []))
    except csv.Error:
        return False


def _unknown(place: str, names: Sequence[str]) -> str:
    networks = shipped_networks()
    suffix = Path(place).suffix.lower()
    if suffix == ".py":
        return "say which function of the file makes the network, as in file.py:function"
    try:
        if place and Path(place).exists():
            return f"a file of unknown kind; {', '.join(FORMATS)} and file.py:function are read"
    except (OSError, ValueError):
        pass
    near = did_you_mean(place[:80], names)
    return (
        f"neither a file ({', '.join(FORMATS)}, file.py:function) nor a shipped network{near}; "
        f"shipped are {', '.join(networks) or 'none'}"
    )


def function_of(place: str) -> tuple[Path, str] | None:
    """The file and the function of ``file.py:function``; None for any other text."""
    match = _FUNCTION.fullmatch(place)
    return None if match is None else (Path(match[1]), match[2])


def _load_function(
    place: str, path: Path, function: str, name: str | None, asked: Mapping[str, Any]
) -> Workload:
    result = call_function(place, path, function)
    if isinstance(result, str) and _FUNCTION.fullmatch(result):
        raise InputError(place, [Mistake("function", "it returns another function's name")])
    return load(result, name=name, **asked)


def call_function(place: str, path: Path, function: str) -> object:
    """Run the user's own Python file and return what its function returns.

    Raises:
        InputError: there is no such file or function, or it fails; with the line of the file.
    """
    check_file(path)
    spec = importlib.util.spec_from_file_location(f"_picojoule_source_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(place, [Mistake("file", "Python cannot import it")])
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and torch look their classes up by module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
        maker = getattr(module, function, None)
        if not callable(maker):
            functions = [word for word in vars(module) if callable(vars(module)[word])]
            problem = f"no function {function!r}{did_you_mean(function, functions)}"
            raise InputError(place, [Mistake("function", problem)])
        return maker()
    except PicojouleError:
        raise
    except Exception as error:
        where = _line_of(error, path)
        raise InputError(place, [Mistake(where, f"{type(error).__name__}: {error}")]) from error
    finally:
        if str(path.parent) in sys.path:
            sys.path.remove(str(path.parent))


def _line_of(error: Exception, path: Path) -> str:
    """The last line of the user's file that was running."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}" if line else "file"


def _load_module(source: Any, name: str | None, asked: Mapping[str, Any]) -> Workload:
    # Whoever holds a module has imported torch already.
    loaded = sys.modules.get("torch")
    kind: Any = getattr(getattr(loaded, "nn", None), "Module", ())
    if isinstance(source, tuple) and len(source) in (2, 3) and isinstance(source[0], kind):
        from picojoule.frontends.torch_module import read_torch, split_arguments

        module, *arguments = source
        _refuse_unless_taken(f"torch:{type(module).__qualname__}", read_torch, asked)
        return read_torch(module, *split_arguments(module, arguments), name=name, **asked)
    if isinstance(source, kind):
        problem = (
            "a torch module needs example inputs: give (module, inputs), "
            "(module, {keyword: input}) or (module, inputs, keywords)"
        )
    else:
        problem = f"a {type(source).__name__} is not a network"
    raise InputError(shortened(repr(type(source).__name__)), [Mistake("source", problem)])
