"""Search the layers that standard input asks for, one line of JSON each; answer with CPU time.

Run by :mod:`builds`, with ``PYTHONPATH`` at the sources of any build, so only what all have is used
here; and by ``tuning.py``, with other numbers in place of those of ``mapper/tuning.py`` as its one
argument: JSON of names and values.
"""

from __future__ import annotations

import cProfile
import importlib
import inspect
import json
import pstats
import re
import resource
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import picojoule
from picojoule import dataflow as dataflows
from picojoule.errors import PicojouleError

PROFILED = 12  # functions that a profile names

chips: dict[str, Any] = {}
networks: dict[str, Any] = {}


def main() -> None:
    """A question has network, layer and chip (:func:`searched`), or asks for a profile.

    An answer has ``failed`` alone where the question cannot be put to this build.
    """
    if len(sys.argv) > 1:  # before anything reads the numbers
        tuning: Any = importlib.import_module("picojoule.mapper.tuning")
        tuning.TUNING = tuning.TUNING._replace(**json.loads(sys.argv[1]))
    try:
        search = importlib.import_module("picojoule.mapper.solver").search
    except ModuleNotFoundError:  # mapper was one module until 0.1.0
        search = importlib.import_module("picojoule.mapper").search
    for line in sys.stdin:
        question = json.loads(line)
        try:
            said = profile(search, question) if "profile" in question else answer(search, question)
        except PicojouleError as error:
            said = {"failed": str(error)}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


def asked_layer(question: dict[str, Any], word_bits: float) -> Any:
    """The layer: of the network, with ``channels`` and ``bits`` in place of its own if there are.

    On a chip of narrow words a layer is as narrow, as one would quantise it.
    """
    if question["network"] not in networks:
        networks[question["network"]] = picojoule.load(question["network"])
    layer = networks[question["network"]][question["layer"]]
    if question.get("channels"):
        layer = replace(layer, bounds=layer.bounds._replace(**question["channels"]))
    if word_bits < max(layer.bits):
        layer = replace(layer, bits=type(layer.bits)(*(int(word_bits) for _ in layer.bits)))
    return layer


def asked_chip(question: dict[str, Any]) -> Any:
    """The machine: one that is shipped, or a file, as ``machine`` changes it."""
    changes = question.get("machine", {})
    key = json.dumps([question["chip"], changes], sort_keys=True)
    if key not in chips:
        chips[key] = picojoule.load_accelerator(question["chip"])
        if changes:  # with words that older builds do not have
            machines = importlib.import_module("benchmarks.machines")
            chips[key] = machines.varied(chips[key], **changes)
    return chips[key]


def profile(search: Any, question: dict[str, Any]) -> dict[str, Any]:
    """Where the time of all searches of the list ``profile`` goes, compiled code by kernel."""
    for asked in question["profile"]:  # compiles what they need
        searched(search, asked)
    watch = cProfile.Profile(time.process_time)
    watch.enable()
    for asked in question["profile"]:
        searched(search, asked)
    watch.disable()
    own = {
        key: values[2]
        for key, values in pstats.Stats(watch).stats.items()  # type: ignore[attr-defined]
    }
    kernels = {
        (code.co_filename, code.co_firstlineno, code.co_name)
        for name, module in list(sys.modules.items())
        if name.startswith("picojoule")
        for value in list(vars(module).values())
        if (code := getattr(getattr(value, "py_func", None), "__code__", None)) is not None
    }
    total = sum(own.values())
    rows = []
    for key, seconds in sorted(own.items(), key=lambda item: -item[1])[:PROFILED]:
        file, line, name = key
        # A profiler sees numba's dispatchers as the functions they stand for, and machine code
        # that a build brings along as built in.
        brought = re.fullmatch(r"<built-in method picojoule\.(?:\w+\.)*(\w+\.\w+)>", name)
        said = brought[1] if brought else f"{Path(file).stem}.{name}" if line else name
        compiled = brought is not None or key in kernels
        rows.append({"function": said, "compiled": compiled, "share": seconds / total})
    return {"seconds": total, "rows": rows}


def searched(search: Any, question: dict[str, Any]) -> Any:
    """Search once.

    Further keys: ``machine`` (what :func:`machines.varied` changes), ``dataflow`` (the chip's own),
    ``factors`` ("all"), ``objective`` ("energy"), ``space`` (the build's own), ``budget`` in
    seconds on the clock, ``limit`` in CPU seconds, after which the process ends.
    """
    chip = asked_chip(question)
    layer = asked_layer(question, chip.word_bits)
    flow = question.get("dataflow")
    options = {
        name: question[name] for name in ("factors", "budget", "space") if question.get(name)
    }
    known = inspect.signature(search).parameters
    if options.get("space") == "even" and "space" not in known:
        del options["space"]  # there is no other
    if missing := options.keys() - known.keys():
        raise PicojouleError(f"search has no {', '.join(sorted(missing))}")
    flow = None if flow is None else dataflows.dataflow(flow)
    signal.setitimer(signal.ITIMER_PROF, question.get("limit") or 0.0)
    found = search(layer, chip, flow, question.get("objective", "energy"), **options)
    signal.setitimer(signal.ITIMER_PROF, 0.0)
    return found


def answer(search: Any, question: dict[str, Any]) -> dict[str, Any]:
    """What one search took, and what came of it."""
    asked_layer(question, asked_chip(question).word_bits)  # read before the clock starts
    clock, begun = time.perf_counter(), time.process_time()
    found = searched(search, question)
    seconds, wall = time.process_time() - begun, time.perf_counter() - clock
    return {
        "cpu": seconds,
        "wall": wall,
        "value": found.value,
        "lower_bound": found.lower_bound,
        "explored": found.explored,
        "pruned": found.pruned,
        "status": found.status,
        "whole": "balanced" not in getattr(found, "space", ""),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    main()
