"""NetAdapt: cut a network, round by round, until a platform's budget is met (Yang et al., ECCV'18).

Each round tightens the target, tries candidates and goes on with the best. ``mode="paper"`` is the
published method: one candidate per group of layers, the fewest filters removed that meet the
round's target by the platform's table, filters kept by norm, a short fine-tune, the most
accurate on held-out data goes on, and a long fine-tune at the end. ``mode="best"`` decides over
all groups at once (:mod:`picojoule.pruning.netadapt.plans`), re-solves the layers that lose inputs,
re-estimates batch norms, and learns from the network it started from.

A run is a sequence of steps (:mod:`picojoule.pruning.runs.runs`): killed at any moment and started
again with the same call, it ends with the same networks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from picojoule.completeness import as_recorded
from picojoule.errors import BudgetError, PicojouleError
from picojoule.pruning.checks import check_complete, check_task, check_trained
from picojoule.pruning.datasets import Data, Samples
from picojoule.pruning.graph.channels import Channels
from picojoule.pruning.graph.importance import by_norm, by_reconstruction, gather_inputs
from picojoule.pruning.graph.masks import staying_channels
from picojoule.pruning.graph.surgery import cut
from picojoule.pruning.graph.tracing import TracedNetwork, trace
from picojoule.pruning.graph.widths import Widths
from picojoule.pruning.layers.real_weights import with_real_weights
from picojoule.pruning.netadapt.candidates import (
    Method,
    Parent,
    Task,
    loss_weights,
    step_of,
    work_on,
)
from picojoule.pruning.netadapt.plans import (
    Candidate,
    best_candidates,
    least_cost,
    paper_candidates,
)
from picojoule.pruning.netadapt.recipe import Adapted, Recipe, Round, budget_of, result_files, shown
from picojoule.pruning.platforms.platforms import Platform
from picojoule.pruning.platforms.platforms import platform as named_platform
from picojoule.pruning.runs.executors import Done, Executor, Here
from picojoule.pruning.runs.runs import Run, RunStep, digest, open_run
from picojoule.pruning.training import Score, score, train

LAST_TRIES = 4  # rounds after the budget should have been met, for what measuring finds
PROBE = 512  # training images on which a group's effect on the loss is probed
MEASUREMENTS = 3  # of a whole network, at most
TOO_FAR = 0.92  # of the budget: a measured network below it was cut more than was asked for
NEARER_TRIES = 2  # each a round of candidates more
SURPRISE = 1.03  # times what was expected: above it, a network is measured again
LONG_CHUNK = 200  # steps of the long fine-tune between two checkpoints


def adapt(
    model: nn.Module,
    data: Data,
    *,
    platform: str | Platform | Callable[..., float] = "macs",
    budget: float | str = "50%",
    mode: str = "best",
    select: str = "accuracy",
    recipe: Recipe | None = None,
    run: str | os.PathLike[str] | None = None,
    inputs: Sequence[torch.Tensor] | None = None,
    finetune: Callable[[nn.Module, int], object] | None = None,
    accuracy: Callable[[nn.Module], float] | None = None,
    executor: Executor | None = None,
    seconds: float | None = None,
    seed: int = 0,
    progress: Callable[[Round], None] | None = None,
    allow_incomplete: bool = False,
) -> Adapted:
    """Cut *model* until the platform's price of one inference is within *budget*.

    Args:
        model: any module that ``torch.export`` can follow; it is left as it was.
        data: training and validation (held-out) samples; test samples are looked at once.
        platform: a name (:mod:`picojoule.pruning.platforms`), a platform, or ``Layer -> cost``.
        budget: in the platform's unit, or a share of the first price: ``"50%"``.
        mode, select: of :class:`Recipe`, if no recipe is given.
        run: the run's folder; one that was stopped goes on. Without one, nothing is kept.
        inputs: example arguments of ``forward``, by default one sample of the data. The platform
            prices one call with them: give a batch to price a batch.
        finetune: ``(network, steps)``, trains in place, instead of the plain loop.
        accuracy: ``network -> share`` on held-out data, instead of ``data.validate``.
        executor: where candidates are worked on; by default in this process.
        seconds: the time one candidate may take, where the executor can stop it.
        progress: called with every round.
        allow_incomplete: go on where operators that multiply, or may, are not in the price.

    Raises:
        BudgetError: no network of this method is within the budget; it holds the smallest price.
    """
    asked = recipe or Recipe(mode=mode, select=select)
    check_task(model, data, judged=finetune is None or accuracy is None)
    check_trained(model)
    where = named_platform(platform)
    example = tuple(inputs) if inputs is not None else (data.train.inputs[:1],)
    model = with_real_weights(model, example).model
    traced = trace(model, example)
    check_complete(traced.workload, allow_incomplete=allow_incomplete)
    recorded = {**asdict(asked), "platform": where.name, "unit": where.unit, "budget": str(budget)}
    recorded["samples"] = "drawn by the seed"
    recorded |= as_recorded(traced.workload.unmodelled)
    parts = {"network": digest(model), "data": digest(data.train.inputs[:64], len(data.train))}
    with open_run(run, "adapt", recorded, seed=seed, inputs=parts) as opened:
        adaptation = _Adaptation(
            traced, data, where, budget, asked, example, finetune, accuracy, executor or Here(),
            seconds, opened, progress, run is not None,
        )  # fmt: skip
        return adaptation.run()


@dataclass(frozen=True)
class _Place:
    """Where a run is: its network, what is left of the first one, and the rounds to there."""

    traced: TracedNetwork
    kept: Mapping[str, npt.NDArray[np.int64]]
    rounds: tuple[Round, ...]
    scale: float


class _Adaptation:
    """The steps of one run."""

    def __init__(
        self,
        traced: TracedNetwork,
        data: Data,
        where: Platform,
        budget: float | str,
        recipe: Recipe,
        example: tuple[torch.Tensor, ...],
        finetune: Callable[[nn.Module, int], object] | None,
        accuracy: Callable[[nn.Module], float] | None,
        executor: Executor,
        seconds: float | None,
        run: Run,
        progress: Callable[[Round], None] | None,
        kept: bool,
    ) -> None:
        self.platform, self.recipe, self.run_folder = where, recipe, run
        self.example, self.executor, self.seconds = example, executor, seconds
        self.finetune, self.accuracy, self.progress = finetune, accuracy, progress
        self.asked, self.keep_files = budget, kept
        self.traced, self.first, self.unmodelled = traced, traced.graph, traced.workload.unmodelled
        self.held_out = data.validate.drawn(recipe.hold_out or len(data.validate), run.seed)
        self.data = replace(data, validate=self.held_out)
        self.rounds: list[Round] = []
        self.scale = 1.0
        self.budget = math.nan
        self._load_table()

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> Adapted:
        self._see(self.traced)
        self.limits = self.recipe.limits(self.widths.full)
        self.kept = {
            path: np.arange(len(axes.outputs)) for path, axes in self.channels.axes.items()
        }
        self._start()
        shared_data = self.executor.share(self.data)
        teacher = self.executor.share(Parent.of(self.first))
        number = 0
        tries = 0
        before = self._place()
        while self.rounds[-1].paid > self.budget:
            number += 1
            late = self.rounds[-1].resource <= self.budget
            tries += late
            if number > self.recipe.most_rounds or tries > LAST_TRIES:
                break
            before = self._place()
            if not self._round(number, self._target(number), shared_data, teacher):
                break
        if self.recipe.best:
            self._come_nearer(number, before, shared_data, teacher)
        self._long()
        self._check_met()
        return self._finish()

    def _see(self, traced: TracedNetwork) -> None:
        self.traced = traced
        self.widths = Widths(traced)

    @property
    def network(self) -> fx.GraphModule:
        return self.traced.graph

    @property
    def channels(self) -> Channels:
        return self.traced.channels

    def _predicted(self) -> float:
        return math.fsum(self.platform.cost(layer) for layer in self.widths.at({}))

    def _start(self) -> None:
        def compute() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            scored = self._score(self.first)
            predicted = self._predicted()
            measured = self._measured(self.first)
            least = least_cost(self.widths, self.limits, self.platform.cost)
            self._save_table()
            record = {
                "predicted": predicted,
                "measured": measured,
                "least": least,
                "accuracy": scored.accuracy,
                "loss": scored.loss,
                "widths": dict(self.widths.full),
                "fixed": dict(self.channels.fixed),
                "provenance": self.platform.provenance(),
            }
            return record, {}

        record = self.run_folder.step("start", compute).record
        if record["measured"] is not None:
            self.scale = record["measured"] / record["predicted"]
        self.provenance = record["provenance"]
        begin = record["predicted"] * self.scale
        self.budget = budget_of(self.asked, begin, self.platform)
        least = record["least"] * self.scale
        if least > self.budget:
            hint = ["a lower floor or finer steps may help"] if self.channels.groups else []
            raise BudgetError(
                f"a budget of {shown(self.budget, self.platform)} cannot be met: the smallest "
                f"network of this method costs {shown(least, self.platform)}, "
                f"{100 * least / begin:.1f} % of {shown(begin, self.platform)}; "
                + "; ".join([*hint, *staying_channels(self.channels.fixed)]),
                least,
            )
        self._add(
            Round(
                number=0,
                resource=begin,
                measured=record["measured"],
                accuracy=record["accuracy"],
                loss=record["loss"],
                chosen="",
                note="",
                candidates=0,
                lost=0,
                widths=record["widths"],
            )
        )

    def _target(self, number: int) -> float:
        """What the round aims at, as the table counts (before scaling)."""
        begin, now = self.rounds[0].resource, self.rounds[-1].paid
        if self.recipe.best:
            # equal shares of what is left, in as many rounds as the reduction asks for
            left = math.log(self.budget / now)
            rounds = max(1, round(left / math.log(1 - self.recipe.reduction)))
            target = now * math.exp(left / rounds)
        else:
            cut = self.recipe.reduction * begin * self.recipe.decay ** (number - 1)
            target = now - cut
        return max(target, self.budget) / self.scale

    def _round(self, number: int, target: float, shared: Any, teacher: Any) -> bool:
        """One round; False if nothing gets smaller any more."""
        name = f"round {number:02d}"
        candidates = self._plan(name, target)
        if not candidates:
            return False
        method = replace(self.recipe.method, finetune=self.finetune, accuracy=self.accuracy)
        waiting = [
            n for n in range(len(candidates)) if not self.run_folder.done(f"{name} candidate {n}")
        ]
        ended: dict[int, Done] = {}
        outcomes = self._work(name, candidates, waiting, method, shared, teacher)
        steps = []
        for n, candidate in enumerate(candidates):

            def compute(n: int = n) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
                while n not in ended:
                    done = next(outcomes)
                    ended[waiting[done.number]] = done
                return step_of(ended.pop(n))

            step = self.run_folder.step(f"{name} candidate {n}", compute)
            steps.append((candidate, step))
        outcomes.close()
        return self._choose(number, name, steps)

    def _come_nearer(self, number: int, before: _Place, shared: Any, teacher: Any) -> None:
        """Take back a last round that went too far, and go again by what its measurement taught.

        The table's sum is scaled by what the last measured network showed, and a narrower one may
        be faster than that says. Aims halfway (in the logarithm) between what was reached and the
        budget; what is nearer to the budget, and meets it, stays.
        """
        for _ in range(NEARER_TRIES):
            last = self.rounds[-1]
            if last.measured is None or last.number == 0 or last.paid >= TOO_FAR * self.budget:
                return
            reached = self._place()
            self._go_to(replace(before, scale=reached.scale))
            number += 1
            target = math.sqrt(last.paid * self.budget) / reached.scale
            self._round(number, target, shared, teacher)
            if not last.paid < self.rounds[-1].paid <= self.budget:
                self._go_to(reached)
                return

    def _place(self) -> _Place:
        return _Place(self.traced, dict(self.kept), tuple(self.rounds), self.scale)

    def _go_to(self, place: _Place) -> None:
        self.kept, self.rounds = dict(place.kept), list(place.rounds)
        self.scale = place.scale
        self._see(place.traced)

    def _plan(self, name: str, target: float) -> list[Candidate]:
        def compute() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            cost = self.platform.cost
            if self.recipe.best:
                moments = gather_inputs(self.network, self.channels, self._calibration)
                traces = by_reconstruction(self.network, self.channels, moments)
                probe = self._drawn(min(PROBE, self.recipe.calibrate))
                weights = loss_weights(self.network, self.channels, moments, traces, probe)
                candidates = best_candidates(
                    self.widths, traces, self.limits, cost, target, weights
                )
            else:
                norms = by_norm(self.network, self.channels)
                candidates = paper_candidates(self.widths, norms, self.limits, cost, target)
            self._save_table()
            listed = [
                {"name": c.name, "resource": c.resource, "meets": c.meets, "note": c.note}
                for c in candidates
            ]
            tensors = {str(n): torch.from_numpy(c.keep) for n, c in enumerate(candidates)}
            return {"target": target, "candidates": listed}, tensors

        step = self.run_folder.step(f"{name} plan", compute)
        masks = step.tensors() if step.record["candidates"] else {}
        return [
            Candidate(
                name=c["name"],
                keep=masks[str(n)].numpy(),
                resource=c["resource"],
                meets=c["meets"],
                note=c["note"],
            )
            for n, c in enumerate(step.record["candidates"])
        ]

    def _work(
        self,
        name: str,
        candidates: Sequence[Candidate],
        waiting: Sequence[int],
        method: Method,
        shared: Any,
        teacher: Any,
    ) -> Generator[Done]:
        """Candidates as they end; nothing is begun before the first is asked for."""
        parent = self.executor.share(Parent.of(self.network))
        tasks = [
            Task(
                keep=candidates[n].keep,
                method=method,
                example=self.example,
                seed=self.run_folder.seed_of(name),
                threads=torch.get_num_threads(),
            )
            for n in waiting
        ]
        yield from self.executor.run(work_on, tasks, (parent, shared, teacher), self.seconds)

    def _choose(self, number: int, name: str, steps: Sequence[tuple[Candidate, Any]]) -> bool:
        before = self.rounds[-1]
        alive = [(c, s) for c, s in steps if s.record["status"] == "done"]
        if not alive:
            message = "; ".join(f"{c.name}: {s.record['message']}" for c, s in steps)
            raise PicojouleError(f"{name}: every candidate was lost: {message}")
        # A candidate that meets the target is wanted; if none does, whichever is best on the way.
        pool = [(c, s) for c, s in alive if c.meets] or alive
        candidate, chosen = max(pool, key=lambda pair: self._merit(before, *pair))
        for path, axes in self.channels.axes.items():
            self.kept[path] = self.kept[path][candidate.keep[axes.outputs]]
        self._see(cut(self.traced, candidate.keep, chosen.tensors()))

        def compute() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            predicted = self._predicted()
            measured = self._measured(self.network, SURPRISE * predicted * self.scale)
            return {"chosen": candidate.name, "predicted": predicted, "measured": measured}, {}

        record = self.run_folder.step(f"{name} chosen", compute).record
        for _, step in steps:
            if step is not chosen:
                self.run_folder.forget(step)
        resource = record["predicted"] * self.scale
        if record["measured"] is not None:
            self.scale = record["measured"] / record["predicted"]
        self._add(
            Round(
                number=number,
                resource=resource,
                measured=record["measured"],
                accuracy=chosen.record["accuracy"],
                loss=chosen.record["loss"],
                chosen=candidate.name,
                note=candidate.note,
                candidates=len(steps),
                lost=len(steps) - len(alive),
                widths=self.widths.full,
            )
        )
        return self.rounds[-1].paid < before.paid or before.measured is not None

    def _merit(self, before: Round, candidate: Candidate, step: Any) -> tuple[float, ...]:
        accuracy, loss = step.record["accuracy"], step.record["loss"]
        if self.recipe.select == "accuracy":
            return (accuracy, -loss)
        # As in the public code: the small numbers decide where nothing was lost.
        saved = before.resource - candidate.resource * self.scale
        return (-(before.accuracy - accuracy + 1e-6) / (saved + 1e-5), -loss)

    # -- the end -----------------------------------------------------------------------------------

    def _long(self) -> None:
        """The long fine-tune, in chunks; kept only if the held-out data agree."""
        training = self.recipe.long_training
        if training.steps <= 0 or len(self.rounds) == 1:
            return
        before = self.rounds[-1]
        network, momenta = self.network, None
        seed = self.run_folder.seed_of("long fine-tune")
        last: RunStep | None = None
        if self.finetune is not None:
            chunks = [(0, training.steps)]
        else:
            starts = range(0, training.steps, LONG_CHUNK)
            chunks = [(n, min(n + LONG_CHUNK, training.steps)) for n in starts]
        entered = {name: x.clone() for name, x in network.state_dict().items()}
        for first, end in chunks:
            previous = last

            def compute(
                first: int = first, end: int = end, previous: RunStep | None = previous
            ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
                nonlocal momenta
                if previous is not None:
                    momenta = _set(network, previous.tensors())
                if self.finetune is not None:
                    self.finetune(network, end - first)
                    momenta = {}
                else:
                    momenta = train(
                        network, self.data.train, training, seed=seed, first=first, last=end,
                        momenta=momenta, teacher=self.first if training.distilled else None,
                    )  # fmt: skip
                scored = self._score(network)
                state = {f"network/{name}": x for name, x in network.state_dict().items()}
                state |= {f"momentum/{name}": x for name, x in momenta.items()}
                return {"accuracy": scored.accuracy, "loss": scored.loss}, state

            last = self.run_folder.step(f"long fine-tune to {end}", compute)
            if previous is not None:
                self.run_folder.forget(previous)
        assert last is not None
        better = last.record["accuracy"] >= before.accuracy
        if better:
            _set(network, last.tensors())
        else:
            network.load_state_dict(entered)
        accuracy = last.record["accuracy"] if better else before.accuracy
        loss = last.record["loss"] if better else before.loss
        note = "" if better else f"not kept: it ended at {last.record['accuracy']:.4f}"
        self._add(
            replace(
                before,
                accuracy=accuracy,
                loss=loss,
                chosen="",
                note=note,
                candidates=0,
                lost=0,
                kind="long fine-tune",
            )
        )

    def _check_met(self) -> None:
        last = self.rounds[-1]
        if last.paid > self.budget:
            raise BudgetError(
                f"the budget of {shown(self.budget, self.platform)} was not met: after "
                f"{last.number} rounds the network costs {shown(last.paid, self.platform)}",
                last.paid,
            )

    def _finish(self) -> Adapted:
        def compute() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            test = None if self.data.test is None else asdict(score(self.network, self.data.test))
            enough = min(SURPRISE * self.rounds[-1].paid, self.budget)
            measured = self._measured(self.network, enough)
            return {"test": test, "measured": measured}, dict(self.network.state_dict())

        record = self.run_folder.step("end", compute).record
        last = self.rounds[-1]
        if last.measured is not None:  # the same network again, with other weights
            measured = min(last.measured, record["measured"])
            last = self.rounds[-1] = replace(last, measured=measured)
        result = Adapted(
            network=self.network.eval(),
            rounds=tuple(self.rounds),
            budget=self.budget,
            platform=self.platform.name,
            unit=self.platform.unit,
            predicted=last.resource,
            test=None if record["test"] is None else Score(**record["test"]),
            kept={path: tuple(int(x) for x in left) for path, left in self.kept.items()},
            provenance=self.provenance,
            unmodelled=self.unmodelled,
        )
        if self.keep_files and not self.run_folder.result.exists():
            files = result_files(result, self.example, self.traced.workload)
            self.run_folder.finish(files)
        return result

    # -- small things ------------------------------------------------------------------------------

    def _add(self, ended: Round) -> None:
        self.rounds.append(ended)
        if self.progress is not None:
            self.progress(ended)

    def _calibration(self) -> Iterator[Sequence[torch.Tensor]]:
        for inputs, _ in self._drawn(self.recipe.calibrate).batches(128):
            yield (inputs,)

    def _drawn(self, count: int) -> Samples:
        return self.data.train.drawn(count, self.run_folder.seed)

    def _score(self, network: nn.Module) -> Score:
        if self.accuracy is not None:
            return Score(float(self.accuracy(network)), 0.0)
        return score(network, self.held_out)

    def _measured(self, network: fx.GraphModule, enough: float = 0.0) -> float | None:
        """The measured price; asked again, up to three times, while it is above *enough*.

        Other work on the computer lengthens a measurement and never shortens it.
        """
        prices: list[float] = []
        while len(prices) < MEASUREMENTS:
            entry = self.platform.measure(network, self.example)
            if entry is None:
                return None
            prices.append(entry.value)
            if min(prices) <= enough:
                break
        return min(prices)

    def _table_path(self) -> Path:
        return self.run_folder.folder / "table.json"

    def _load_table(self) -> None:
        load = getattr(self.platform, "resume", None)
        if load is not None and self._table_path().exists():
            load(self._table_path())

    def _save_table(self) -> None:
        save = getattr(self.platform, "save", None)
        if save is not None:
            save(self._table_path())
            save()


def _set(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Set the network's state; the momenta that came with it."""
    parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "momentum": {}}
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        parts[kind][name] = tensor
    network.load_state_dict(parts["network"])
    return parts["momentum"]
