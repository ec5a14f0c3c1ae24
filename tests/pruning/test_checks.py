"""Networks and data that do not fit each other are told apart before a run begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

from torch import Tensor, nn  # noqa: E402

from picojoule.errors import PicojouleError  # noqa: E402
from picojoule.pruning.checks import check_complete, check_task  # noqa: E402
from picojoule.pruning.datasets import Data, Samples  # noqa: E402
from picojoule.pruning.energy_aware.pruning import prune  # noqa: E402
from picojoule.pruning.graph.tracing import TracedNetwork, trace  # noqa: E402
from picojoule.pruning.layers.profiling import profile  # noqa: E402
from picojoule.pruning.netadapt.adaptation import adapt  # noqa: E402


def task() -> tuple[nn.Module, Data]:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    samples = Samples(torch.randn(12, 6), torch.arange(12) % 3)
    return model, Data(samples, samples.take(6), samples.take(3))


def inputs(change: Callable[[Any], Any]) -> Callable[[nn.Module, Data], tuple[nn.Module, Data]]:
    def changed(model: nn.Module, data: Data) -> tuple[nn.Module, Data]:
        return model, replace(data, train=replace(data.train, inputs=change(data.train.inputs)))

    return changed


def labels(change: Callable[[Any], Any]) -> Callable[[nn.Module, Data], tuple[nn.Module, Data]]:
    def changed(model: nn.Module, data: Data) -> tuple[nn.Module, Data]:
        wrong = replace(data.validate, labels=change(data.validate.labels))
        return model, replace(data, validate=wrong)

    return changed


def poisoned(model: nn.Module, data: Data) -> tuple[nn.Module, Data]:
    with torch.no_grad():
        model.get_parameter("0.bias")[2] = float("nan")
    return model, data


def one_bad(x: Tensor) -> Tensor:
    x = x.clone()
    x[7, 1] = float("inf")
    return x


WRONG = {
    "double": (lambda m, d: (m.double(), d), "0.weight is float64: .*model.float"),
    "nan in the network": (poisoned, "0.bias holds values that are not finite"),
    "other shapes": (inputs(lambda x: x[:, :5]), r"validate are float32 \[6, 6\], those of train"),
    "bad sample": (inputs(one_bad), r"sample 7 of train .*not finite .*1 of 12"),
    "not its inputs": (
        lambda _, d: (nn.Linear(5, 3), d),
        r"Linear does not take the inputs of its data, float32 \[2, 6\]: mat1 and mat2",
    ),
    "maps": (lambda m, d: (nn.Sequential(m, nn.Unflatten(1, (3, 1))), d), "one row of class scor"),
    "infinite": (
        lambda m, d: (nn.Sequential(m, nn.Threshold(1e9, float("inf"))), d),
        "gives values that are not finite",
    ),
    "too many classes": (labels(lambda x: x + 1), "of validate go from 1 to 3.*classes 0 to 2"),
    "negative": (labels(lambda x: x - 1), "go from -1 to 1"),
    "shares": (labels(lambda x: x.float()), "one whole number each"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_fit_is_named(kind: str) -> None:
    spoil, message = WRONG[kind]
    model, data = spoil(*task())
    with pytest.raises(PicojouleError, match=message):
        check_task(model, data)


def test_all_commands_ask() -> None:
    model, data = poisoned(*task())
    with pytest.raises(PicojouleError, match="not finite"):
        profile(model, data.validate)
    with pytest.raises(PicojouleError, match="not finite"):
        prune(model, data, cost=lambda layer: layer.macs, energy=0.5)
    with pytest.raises(PicojouleError, match="not finite"):
        adapt(model, data, platform="macs", budget="50%")


def test_a_price_that_would_be_incomplete_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from picojoule.cli import main
    from picojoule.pruning.energy_aware import pruning
    from picojoule.pruning.layers import profiling
    from picojoule.pruning.netadapt import adaptation, coverage
    from picojoule.reports.markdown import tradeoff_markdown
    from picojoule.reports.tradeoff_page import tradeoff_page
    from picojoule.tradeoffs import read_run

    def half(model: nn.Module, example: Any) -> TracedNetwork:
        found = trace(model, example)
        return replace(found, workload=replace(found.workload, unmodelled={"aten.lstm": 2}))

    for module in (pruning, profiling, adaptation, coverage):
        monkeypatch.setattr(module, "trace", half)
    model, data = task()
    asked: list[Callable[..., Any]] = [
        lambda **more: profile(model, data.validate, **more),
        lambda **more: coverage.wanted_layers(model, (data.train.inputs[:1],), **more),
        lambda **more: prune(model, data, cost=lambda layer: layer.macs, energy=0.9, **more),
        lambda **more: adapt(model, data, platform="macs", budget="100%", **more),
    ]
    for ask in asked:
        with pytest.raises(PicojouleError, match=r"incomplete: aten\.lstm x2 multiply.*--allow"):
            ask()
        assert ask(allow_incomplete=True)
    wanted = asked[1](allow_incomplete=True)
    assert "aten.lstm x2" in wanted.warnings[0]
    for found, kind in ((asked[2], "prune"), (asked[3], "adapt")):
        folder = tmp_path / kind
        record = found(allow_incomplete=True, run=folder).to_dict()
        assert (record["complete"], record["unmodelled"]) == (
            False,
            [{"op": "aten.lstm", "count": 2}],
        )
        run = read_run(folder)
        assert "aten.lstm x2" in run.warnings[0]
        assert tradeoff_markdown(run).startswith("**incomplete: 2 operators")
        page = tradeoff_page(run)
        assert "aten.lstm x2" in page[page.index("<main>") : page.index("</h1>")]
        out = folder.with_suffix(".csv")
        assert main(["report", str(folder), "-o", str(out)]) == 2
        assert out.read_text().startswith("# incomplete: 2 operators")


def test_a_complete_price_needs_no_leave() -> None:
    model, data = task()
    workload = trace(model, (data.train.inputs[:1],)).workload
    check_complete(workload, allow_incomplete=False)
    lost = replace(workload, unmodelled={"LSTM": 1})
    check_complete(lost, allow_incomplete=True)
    with pytest.raises(PicojouleError, match="LSTM x1"):
        check_complete(lost, allow_incomplete=False)


def test_what_fits_is_left_as_it_was() -> None:
    model, data = task()
    model.train()
    check_task(model, data)
    assert model.training
    check_task(nn.Sequential(nn.LazyLinear(3)), data)
    words = Samples(torch.arange(12).reshape(6, 2), torch.arange(6) % 3)
    check_task(
        nn.Sequential(nn.Embedding(12, 4), nn.Flatten(), nn.Linear(8, 3)), Data(words, words)
    )


def test_a_judgement_of_ones_own_needs_no_classes() -> None:
    _, data = task()
    check_task(nn.Sequential(nn.Linear(6, 4), nn.Unflatten(1, (2, 2))), data, judged=False)


def test_samples_are_tensors() -> None:
    with pytest.raises(PicojouleError, match="inputs are a ndarray"):
        Samples(torch.zeros(3, 2).numpy(), torch.zeros(3))
