"""Search layers one after another in this process, and print one line of JSON for each.

Run by ``search.py`` in a process of its own, so that peak memory belongs to one network. Standard
input is one JSON object; see :func:`main`. Times are of this process alone (CPU) and of the clock
on the wall; on a machine with other work to do only the first means anything.
"""

from __future__ import annotations

import cProfile
import inspect
import json
import os
import pstats
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import picojoule
from picojoule.accelerator import Accelerator, Level
from picojoule.errors import NoMappingError
from picojoule.workload import Extents, Layer

PROFILED = 8  # functions that a profile names

# Small layers of every kind, so that whatever is compiled is compiled before a clock runs.
WARM_UP = (
    picojoule.conv("c", input_size=(9, 9), in_channels=4, out_channels=6, kernel=(3, 3)),
    picojoule.conv(
        "s", input_size=(9, 9), in_channels=4, out_channels=6, kernel=(3, 3), stride=(2, 2)
    ),
    picojoule.depthwise("d", channels=4, input_size=(8, 8), kernel=(3, 3), padding=(1, 1, 1, 1)),
    picojoule.linear("l", in_features=12, out_features=10),
    picojoule.matmul("m", rows=6, inner=4, columns=6, heads=2),
)


def options_of(function: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """Those of the *wanted* keyword arguments that *function* has."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in wanted.items() if name in known}


def peak_memory() -> int:
    """Bytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def use_one_core() -> None:
    """Keep this process and its threads on one of the cores it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def say(**row: object) -> None:
    """Print a row of results at once, so that an interrupted run keeps it."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def as_layer(row: dict[str, Any]) -> Layer:
    """The layer that a row of the question stands for: one of a network, with other channels."""
    layer = picojoule.load(row["network"])[row["layer"]]
    bounds = layer.bounds._replace(**row.get("channels", {}))
    return replace(layer, bounds=Extents(*bounds))


def varied(chip: Accelerator, *, bypass: bool = True, padded: bool | None = None) -> Accelerator:
    """The same machine without passing by memories, or with padding charged or not."""
    if padded is not None:
        chip = replace(chip, charge_padding=padded)
    if bypass:
        return chip
    nest = [
        Level(tuple(replace(memory, may_bypass=frozenset()) for memory in part.memories))
        if isinstance(part, Level)
        else part
        for part in chip.nest
    ]
    return replace(chip, nest=tuple(nest))


def profile(
    layers: list[Layer], chip: Accelerator, job: dict[str, Any], options: dict[str, Any]
) -> list[dict[str, Any]]:
    """The functions that searching *layers* spends most time in, compiled code with its caller."""
    watch = cProfile.Profile(time.process_time)
    watch.enable()
    for layer in layers:
        picojoule.search(layer, chip, job["dataflow"], **options)
    watch.disable()
    own = {
        key: values[2]
        for key, values in pstats.Stats(watch).stats.items()  # type: ignore[attr-defined]
    }
    total = sum(own.values())
    longest = sorted(own.items(), key=lambda item: -item[1])[:PROFILED]
    return [
        {"function": f"{Path(file).stem}.{name}" if line else name, "share": seconds / total}
        for (file, line, name), seconds in longest
    ]


def main() -> None:
    """Answer ``{"chip", "bypass", "padded", "dataflow", "factors", "space", "budget", "layers"}``.

    A layer is ``{"network", "layer"}``, perhaps with ``"channels"`` that replace its own. With
    ``"profile"`` the answer is one row: where the time of all layers together goes.
    """
    use_one_core()
    defaults = {"bypass": True, "padded": None, "profile": False, "space": "even"}
    job = {**defaults, **json.load(sys.stdin)}
    chip = picojoule.load_accelerator(job["chip"])
    chip = varied(chip, bypass=job["bypass"], padded=job["padded"])
    wanted = {"factors": job["factors"], "space": job["space"], "budget": job["budget"]}
    options = options_of(picojoule.search, wanted)
    if job["factors"] != "all" and "factors" not in options:
        say(unavailable=f"search has no factors={job['factors']!r} yet")
        return
    for layer in WARM_UP:
        picojoule.search(layer, chip, job["dataflow"], **{**options, "budget": None})
    say(warm=True, memory=peak_memory())
    if job["profile"]:
        say(profile=profile([as_layer(row) for row in job["layers"]], chip, job, options))
        return
    for row in job["layers"]:
        layer = as_layer(row)
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            found = picojoule.search(layer, chip, job["dataflow"], **options)
            answer = {
                "status": found.status,
                "energy": found.cost.energy,
                "lower_bound": found.lower_bound,
                "explored": found.explored,
                "pruned": found.pruned,
            }
        except NoMappingError as error:
            answer = {"status": "none", "reason": str(error)}
        say(
            **row,
            **answer,
            cpu=time.process_time() - cpu,
            wall=time.perf_counter() - wall,
            memory=peak_memory(),
        )


if __name__ == "__main__":
    main()
