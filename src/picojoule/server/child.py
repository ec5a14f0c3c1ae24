"""A process that reads, checks, prices or searches for the server: ``python -m`` this module.

It takes one JSON object a line on its standard input and answers with lines on its standard output:
any number of ``{"progress": …}``, then ``{"answer": …}`` or ``{"refused": …}``. The server kills it
where it takes too long; its own memory limit ends it where it takes too much.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from picojoule.completeness import completeness, listed, operator_records
from picojoule.errors import InputError, Mistake, NoMappingError, PicojouleError
from picojoule.estimate_records import Estimate, parse_estimate
from picojoule.estimation import price
from picojoule.eyexam.saved import stored_examination
from picojoule.frontends import load, parse_table, shipped_networks
from picojoule.mapping import Mapping, Stage
from picojoule.question import Question, ask
from picojoule.specs import load_accelerator, parse_accelerator
from picojoule.specs.document import Document, read_document
from picojoule.workload import OPERANDS, Extents, Layer, Workload

Send = Callable[[dict[str, Any]], None]
CHIP_FILE = "chip.yaml"
OFTEN = 1.0  # seconds between two words about how good the search of a layer is by now
HEADINGS = 8  # lines of a table that are no layer


def read_network(request: dict[str, Any]) -> dict[str, Any]:
    """Read an uploaded file; only structure and densities are kept, as our own table."""
    from picojoule.reports.network_table import format_table

    place = Path(request["path"])
    _count_rows(place, request["most_layers"])
    network = load(place, **request["reading"])
    own = network.name if network.name != place.stem else request["name"]
    network = replace(network, name=own, source=request["file"])
    _bounded(network, request["most_layers"])
    return {"name": network.name, "table": format_table(network), **_summary(network)}


def check_chip(request: dict[str, Any]) -> dict[str, Any]:
    """What is wrong with a machine's file, each mistake with its line where it has one."""
    from picojoule.server.controls import controls

    return controls(own_accelerator(request["yaml"]))


def describe_chip(request: dict[str, Any]) -> dict[str, Any]:
    """The same of a shipped machine."""
    from picojoule.server.controls import controls

    return controls(load_accelerator(request["name"]))


def own_accelerator(text: str) -> Any:
    """The machine of a client's file, which may be based on a shipped machine only."""
    document: Document = read_document(text, CHIP_FILE)
    root = document.root
    if isinstance(root, dict) and str(root.get("based_on", "")).lower().endswith((".yaml", ".yml")):
        document.refuse([("$.based_on", "here only a shipped machine, by name, can be based on")])
    return parse_accelerator(text, CHIP_FILE)


def describe_network(request: dict[str, Any]) -> dict[str, Any]:
    """A network's layers, as far as a page shows them."""
    return _summary(_network(request))


def search_all(request: dict[str, Any], send: Send) -> dict[str, Any]:
    """The estimate that a question asks for, with the examination under "eyexam" if it does."""
    question = _question(request)
    passes = 2 if request["question"].get("eyexam") else 1

    news: dict[str, Any] = {"done": 0, "total": 0, "layer": "", "gap": None}
    told = 0.0

    def tell(done: int, total: int, layer: str) -> None:
        news.update(done=done, total=total, layer=layer, gap=None)
        send({"progress": news})

    def watch(best: float, bound: float) -> None:
        nonlocal told
        if time.monotonic() < told + OFTEN or not 0 < bound <= best < math.inf:
            return
        told = time.monotonic()
        news["gap"] = best / bound - 1
        send({"progress": news})

    def progress(done: int, total: int, layer: str) -> None:
        tell(done, passes * total, layer)

    def further(done: int, total: int, layer: str) -> None:
        tell(total + done, passes * total, layer)

    priced = price(question, progress=progress, watch=watch).to_dict()
    if passes == 1:
        return priced
    from picojoule.eyexam.examination import find_bounds

    examined = find_bounds(replace(question, objective="latency"), progress=further)
    return {**priced, "eyexam": examined.to_dict()}


def price_present(request: dict[str, Any]) -> dict[str, Any]:
    """The present mappings of a result under other settings; nothing is searched.

    Layers of which the mapping is no longer legal are named, and their mapping is searched.
    """
    from picojoule.legality import violations

    before: Estimate = parse_estimate(request["result"], "the stored result")
    question = _question(request)
    question = replace(
        question,
        dataflow=question.accelerator.dataflow(before.dataflow),
        objective=before.objective,
    )
    mappings, misfits = {}, []
    for share, old in zip(question.shares(), before.layers, strict=True):
        mapping = fitted(old.mapping, share.part)
        if violations(share.part, question.accelerator, mapping):
            misfits.append(share.layer.name)
        mappings[share.layer.name] = mapping
    if misfits:
        return {"misfits": misfits}
    return {"misfits": [], **_beside(before, price(question, mappings=mappings))}


def fitted(mapping: Mapping, layer: Layer) -> Mapping:
    """*mapping* with its outermost tile that of *layer*, and no tile larger than it."""
    stages = [
        Stage(
            Extents(*(min(t, b) for t, b in zip(stage.tile, layer.bounds, strict=True)))
            if index
            else layer.bounds,
            stage.order,
            stage.keeps,
            stage.spatial,
        )
        for index, stage in enumerate(mapping.stages)
    ]
    return Mapping(tuple(stages), mapping.levels)


def set_beside(request: dict[str, Any]) -> dict[str, Any]:
    """Two results side by side."""
    before = parse_estimate(request["before"], "the earlier result")
    return _beside(before, parse_estimate(request["after"], "the later result"))


def _beside(before: Estimate, after: Estimate) -> dict[str, Any]:
    from picojoule.comparison import compare
    from picojoule.reports.document import chart_data
    from picojoule.reports.page import comparison_words

    compared = compare(before, after).in_picojoules()
    return {
        "comparison": compared.to_dict(),
        "words": comparison_words(compared),
        "proved": all(layer.search.status == "optimal" for layer in after.layers),
        "charts": chart_data([before, after]),
    }


def read_folder(request: dict[str, Any]) -> dict[str, Any]:
    """A compression run that the server was started with."""
    from picojoule.tradeoffs import read_run

    return read_run(request["folder"]).to_dict()


def render(request: dict[str, Any]) -> dict[str, Any]:
    """A result in one of the formats that can be downloaded."""
    estimate = parse_estimate(request["result"], "the stored result")
    match request["format"]:
        case "html":
            from picojoule.reports.page import estimate_page

            exam = stored_examination(request["result"])
            return {"text": estimate_page(estimate, examination=exam)}
        case "md":
            from picojoule.reports.markdown import estimate_markdown

            return {"text": estimate_markdown(estimate)}
        case "csv":
            from picojoule.reports.csv_text import csv_text

            return {"text": csv_text(estimate.rows(), estimate.warnings)}
        case "txt":
            from picojoule.frontends.energy_site import format_energy_site

            return {"text": format_energy_site(estimate.workload())}
        case "yaml":
            from picojoule.specs import dump_accelerator

            return {"text": dump_accelerator(estimate.machine) if estimate.machine else ""}
    raise PicojouleError(f"no format {request['format']!r}")


def page(request: dict[str, Any]) -> dict[str, Any]:
    """A page of the server as HTML."""
    from picojoule.server.rendering import PAGES

    return PAGES[request["page"]](request)


def _question(request: dict[str, Any]) -> Question:
    body = request["question"]
    text = body.get("chip_yaml")
    settings = ("node", "batch", "bits", "density", "dataflow", "objective", "budget", "others")
    return ask(
        _network(request),
        body["chip"] if text is None else own_accelerator(text),
        **{name: body[name] for name in settings if name in body},
    )


def _network(request: dict[str, Any]) -> Workload:
    """A shipped network by name, or the table of an uploaded one; never a path."""
    if request.get("table") is not None:
        return parse_table(request["table"], source="the uploaded network")
    name = request["question"]["network"]
    if name not in shipped_networks():
        raise PicojouleError(f"no network {name!r}")
    return load(name)


def _count_rows(place: Path, most: int) -> None:
    """Refuse a table that is too long for a network before anything is made of it."""
    if place.suffix not in (".csv", ".txt"):
        return
    with place.open("rb") as file:
        rows = sum(not line.startswith(b"#") and not line.isspace() for line in file)
    if rows > most + HEADINGS:
        raise InputError(place.name, [Mistake("file", _too_many(rows - 1, most))])


def _too_many(layers: int, most: int) -> str:
    return f"{layers} layers; at most {most} are taken here"


def _bounded(network: Workload, most: int) -> None:
    if len(network) > most:
        raise InputError(network.name, [Mistake("file", _too_many(len(network), most))])
    if not network.layers:
        problem = "no layer that multiplies and accumulates"
        if network.unmodelled:
            problem += f"; these operators do, or may: {listed(network.unmodelled)}"
        raise InputError(network.name, [Mistake("file", problem)])


def _summary(network: Workload) -> dict[str, Any]:
    return {
        "name": network.name,
        "layers": len(network),
        "batch": network.batch,
        "macs": network.macs,
        "weights": network.weights,
        "bits": {
            operand.value: max(layer.bits.of(operand) for layer in network) for operand in OPERANDS
        },
        "not_counted": operator_records(network.not_counted),
        **completeness(network.unmodelled, network.remarks),
    }


PLAIN: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "network": read_network,
    "chip": check_chip,
    "controls": describe_chip,
    "describe": describe_network,
    "reprice": price_present,
    "beside": set_beside,
    "render": render,
    "run": read_folder,
    "page": page,
}


def answer(request: dict[str, Any], send: Send) -> dict[str, Any]:
    """The last line of the answer to *request*."""
    try:
        if request["do"] == "estimate":
            return {"answer": search_all(request, send)}
        return {"answer": PLAIN[request["do"]](request)}
    except InputError as error:
        mistakes = [{"path": x.path, "message": x.message} for x in error.mistakes]
        return {"refused": {"message": _first_line(error), "mistakes": mistakes}}
    except NoMappingError as error:
        return {"refused": {"message": str(error), "mistakes": [], "no_mapping": True}}
    except PicojouleError as error:
        return {"refused": {"message": str(error), "mistakes": []}}
    except MemoryError:
        return {"refused": {"message": "this takes more memory than is allowed", "mistakes": []}}


def _first_line(error: InputError) -> str:
    if len(error.mistakes) == 1:
        return str(error.mistakes[0])
    return f"{len(error.mistakes)} mistakes"


def end_with(parent: int) -> None:
    """Have the system end this process when the server dies, in the middle of a search too."""
    if sys.platform != "linux":
        return  # the next line written to the server's pipe ends it
    import ctypes

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Answer until the input ends."""
    memory = int(sys.argv[1])
    end_with(int(sys.argv[2]))
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):  # not on this system: the time limit remains
        pass
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print is no answer

    def send(record: dict[str, Any]) -> None:
        out.write(json.dumps(record) + "\n")
        out.flush()

    for module in sys.argv[3:]:  # what the work will need, loaded before it comes
        __import__(module)
    send({"ready": True})
    for line in sys.stdin:
        send(answer(json.loads(line), send))


if __name__ == "__main__":
    main()
