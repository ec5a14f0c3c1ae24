"""The pages as HTML, made in a process of its own from stored results."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader

from picojoule.comparison import compare, settings
from picojoule.dataflow import DATAFLOWS
from picojoule.estimate_records import parse_estimate
from picojoule.eyexam.saved import stored_examination
from picojoule.reports.document import chart_data, document
from picojoule.reports.page import comparison_words, data_block, templates, waterfall_data
from picojoule.reports.tradeoff_page import tradeoff_data, tradeoff_values
from picojoule.server.controls import controls
from picojoule.specs import shipped_accelerators
from picojoule.tradeoffs import read_run

HURRY = 1  # seconds for each layer that is left where somebody takes what there is


@cache
def page_templates() -> Environment:
    """The page's templates beside those of the report."""
    loaders = [PackageLoader("picojoule.server"), PackageLoader("picojoule.reports")]
    environment = templates().overlay(loader=ChoiceLoader(loaders))
    environment.globals["dataflows"] = [(x.name, x.title) for x in DATAFLOWS.values()]
    return environment


def home_page(request: dict[str, Any]) -> dict[str, Any]:
    """The form, and what was asked before."""
    return _page("home.html", chips=shipped_accelerators(), **request["shown"])


def job_page(request: dict[str, Any]) -> dict[str, Any]:
    """A job that has no result, or not yet."""
    return _page("job.html", job=request["job"], hurry=HURRY)


def result_page(request: dict[str, Any]) -> dict[str, Any]:
    """A result: the report, and what can be changed about it."""
    estimate = parse_estimate(request["result"], "the stored result")
    doc = document(estimate)
    exam = stored_examination(request["result"])
    return _page(
        "result.html",
        job=request["job"],
        doc=doc,
        exam=exam,
        bits=settings(estimate, "bits"),
        density=settings(estimate, "density"),
        heeds=None if estimate.machine is None else controls(estimate.machine),
        data=data_block({**chart_data([estimate]), **waterfall_data(exam)}),
    )


def compare_page(request: dict[str, Any]) -> dict[str, Any]:
    """Two results side by side."""
    before = parse_estimate(request["before"], "the earlier result")
    after = parse_estimate(request["after"], "the later result")
    docs = [document(before), document(after)]
    versus = compare(before, after).in_picojoules()
    return _page(
        "compare.html",
        versus=versus,
        versus_words=comparison_words(versus),
        before=docs[0],
        after=docs[1],
        ids=request["ids"],
        data=data_block(chart_data([before, after])),
    )


def run_page(request: dict[str, Any]) -> dict[str, Any]:
    """A compression run that the server was started with, as it stands now."""
    tradeoff = read_run(request["folder"])
    return _page("run.html", **tradeoff_values(tradeoff), data=data_block(tradeoff_data(tradeoff)))


def problem_page(request: dict[str, Any]) -> dict[str, Any]:
    """Why there is no page."""
    return _page("problem.html", message=request["message"])


def _page(name: str, **values: Any) -> dict[str, Any]:
    return {"text": page_templates().get_template(name).render(**values)}


PAGES = {
    "home": home_page,
    "job": job_page,
    "result": result_page,
    "compare": compare_page,
    "problem": problem_page,
    "run": run_page,
}
