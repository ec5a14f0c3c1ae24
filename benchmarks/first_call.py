"""How long a person waits for the first answer of a fresh process, from its start to its exit.

A build is installed by pip into a folder of its own; a copy of that folder, with no cache of its
user's beside it, is a fresh install: whatever was not shipped with it has yet to be compiled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

NETWORK = ["estimate", "bvlc-alexnet", "-a", "eyeriss"]
LAYER = ["map", "bvlc-alexnet", "conv3", "-a", "eyeriss"]
WITHOUT_ANSWERS = "--no-cache"
REPEATS = 5

# Own time by package, and the kernels compiled, of one command.
PROFILED = """
import cProfile, io, json, pathlib, pstats, sys, sysconfig, time
begun = time.process_time()
watch = cProfile.Profile(time.process_time)
compiled = {}
def listen():
    from numba.core import event
    class Kernels(event.Listener):
        open = [[0.0, 0.0]]  # when each compilation began, and what others took within it
        def on_start(self, happening):
            self.open.append([time.process_time(), 0.0])
        def on_end(self, happening):
            since, within = self.open.pop()
            took = time.process_time() - since
            self.open[-1][1] += took
            name = happening.data["dispatcher"].py_func.__qualname__
            compiled[name] = compiled.get(name, 0.0) + took - within
    event.register("numba:compile", Kernels())
mode = sys.argv[1]
if mode == "kernels":
    listen()
else:
    watch.enable()
from picojoule.cli import main
sys.argv = ["picojoule", *sys.argv[2:]]
out, sys.stdout = sys.stdout, io.StringIO()
try:
    main()
except SystemExit:
    pass
sys.stdout = out
watch.disable()
packages = {}
site, library = sysconfig.get_paths()["purelib"], sysconfig.get_paths()["stdlib"]
profiled = {} if mode == "kernels" else pstats.Stats(watch).stats
for (file, line, name), values in profiled.items():
    where = pathlib.Path(file)
    place = "built in" if not line else "the standard library"
    for part, after in zip(where.parts, where.parts[1:]):
        if part in ("site-packages", "site"):
            place = after.removesuffix(".py")
    packages[place] = packages.get(place, 0.0) + values[2]
print(json.dumps({"seconds": time.process_time() - begun, "packages": packages,
                  "compiled": compiled}))
"""


class Seconds(NamedTuple):
    """What a process took."""

    cpu: float
    wall: float


class Installed:
    """A copy of an installed build, as somebody has it who never ran it.

    Args:
        site: the folder into which pip put it.
    """

    def __init__(self, site: Path) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.place = Path(self._folder.name)
        shutil.copytree(site, self.place / "site")
        (self.place / "home").mkdir()

    def run(self, *words: str) -> Seconds:
        """Run the command line on one core, to its end."""
        started = time.perf_counter()
        child = os.fork()
        if not child:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            os.chdir(self.place / "home")
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                command = [sys.executable, "-m", "picojoule", *words]
                os.execve(sys.executable, command, self._environment())
        _, status, usage = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            raise SystemExit(f"picojoule {' '.join(words)} ended with {code}")
        return Seconds(usage.ru_utime + usage.ru_stime, time.perf_counter() - started)

    def profile(self, what: str, *words: str) -> str:
        """Where the CPU time of a command goes: JSON of seconds by package, or by kernel."""
        return subprocess.run(
            [sys.executable, "-c", PROFILED, what, *words],
            cwd=self.place / "home",
            env=self._environment(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        home = str(self.place / "home")
        alone = {"PYTHONPATH": str(self.place / "site"), "HOME": home, "XDG_CACHE_HOME": home}
        return {**kept, **alone, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

    def end(self) -> None:
        """Remove it."""
        self._folder.cleanup()


def first_calls(sites: dict[str, Path], turns: int) -> dict[str, dict[str, Any]]:
    """Seconds of each build's first calls; the builds take turns, the quickest of each counts.

    Returns:
        by build: ``nothing_kept`` (a whole network), ``code_kept`` and ``answer_kept`` (one layer).
    """
    seen: dict[str, dict[str, list[Seconds]]] = {
        name: {"nothing_kept": [], "code_kept": [], "answer_kept": []} for name in sites
    }
    for turn in range(turns):
        copies = {name: Installed(site) for name, site in sites.items()}
        try:
            for name, copy in copies.items():
                seen[name]["nothing_kept"].append(copy.run(*NETWORK, WITHOUT_ANSWERS))
            if turn:
                continue
            for copy in copies.values():  # what the repeats find: compiled code, the answer
                copy.run(*LAYER)
            for _ in range(REPEATS):
                for name, copy in copies.items():
                    seen[name]["code_kept"].append(copy.run(*LAYER, WITHOUT_ANSWERS))
                    seen[name]["answer_kept"].append(copy.run(*LAYER))
        finally:
            for copy in copies.values():
                copy.end()
    return {
        name: {kind: min(runs)._asdict() for kind, runs in kinds.items()}
        for name, kinds in seen.items()
    }
