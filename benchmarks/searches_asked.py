"""Search the layers that standard input asks for, one line of JSON each; answer with CPU time.

Run by ``beside.py``, with ``PYTHONPATH`` at the sources of either build, so only what both have is
used here; and by ``tuning.py``, with other numbers in place of those of ``mapper/tuning.py`` as its
one argument: JSON of names and values.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

import picojoule
from picojoule import dataflow as dataflows


def main() -> None:
    """A question is [network, layer, chip, dataflow or null, factors, objective]."""
    if len(sys.argv) > 1:  # before anything reads the numbers
        tuning: Any = importlib.import_module("picojoule.mapper.tuning")
        tuning.TUNING = tuning.TUNING._replace(**json.loads(sys.argv[1]))
    try:
        search = importlib.import_module("picojoule.mapper.solver").search
    except ModuleNotFoundError:  # mapper was one module until 0.1.0
        search = importlib.import_module("picojoule.mapper").search
    chips, networks = {}, {}
    for line in sys.stdin:
        network, name, chip, flow, factors, objective = json.loads(line)
        if network not in networks:
            networks[network] = picojoule.load(network)
        if chip not in chips:
            chips[chip] = picojoule.load_accelerator(chip)
        asked = None if flow is None else dataflows.dataflow(flow)
        begun = time.process_time()
        found = search(networks[network][name], chips[chip], asked, objective, factors=factors)
        seconds = time.process_time() - begun
        answer = [seconds, found.value, found.lower_bound, found.explored, found.pruned]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
