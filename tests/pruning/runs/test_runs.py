"""The run folder: steps are computed once, and no crash leaves it in between."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from torch import Tensor  # noqa: E402

from picojoule.errors import InputError  # noqa: E402
from picojoule.pruning.runs.runs import RunError, digest, open_run  # noqa: E402


def chain(folder: Path, stop_after: int | None = None, calls: list[str] | None = None) -> bytes:
    """Three random walks of a tensor; optionally dies after some steps."""
    with open_run(folder, "test", {"length": 3}, seed=7) as run:
        state = torch.zeros(4)
        for number in range(3):
            if stop_after == number:
                raise KeyboardInterrupt
            before = state

            def walk(before: Tensor = before, number: int = number) -> Any:
                if calls is not None:
                    calls.append(f"walk {number}")
                moved = before + torch.randn(4)
                return {"sum": float(moved.sum())}, {"state": moved}

            state = run.step(f"walk {number}", walk).tensors()["state"]
        run.finish({"end.bin": state.numpy().tobytes()})
        return (run.result / "end.bin").read_bytes()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "timings.jsonl")
    }


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_stopped_run_ends_with_the_same_bytes(tmp_path: Path, stop: int) -> None:
    whole = chain(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        chain(tmp_path / "stopped", stop_after=stop)
    calls: list[str] = []
    assert chain(tmp_path / "stopped", calls=calls) == whole
    assert calls == [f"walk {n}" for n in range(stop, 3)]
    assert tree(tmp_path / "stopped") == tree(tmp_path / "whole")


def test_torn_last_line_and_orphans_are_removed(tmp_path: Path) -> None:
    whole = chain(tmp_path / "whole")
    chain(tmp_path / "torn")
    history = tmp_path / "torn" / "history.jsonl"
    raw = history.read_bytes()
    history.write_bytes(raw[:-9])  # the last step's line was cut by a power failure
    (tmp_path / "torn" / "checkpoints" / ".00002.safetensors.part").write_bytes(b"half")
    assert chain(tmp_path / "torn") == whole
    assert tree(tmp_path / "torn") == tree(tmp_path / "whole")


def test_another_recipe_is_refused_with_every_difference(tmp_path: Path) -> None:
    with open_run(tmp_path, "prune", {"energy": 0.3, "mode": "best"}, inputs={"model": "a"}):
        pass
    with (
        pytest.raises(InputError) as caught,
        open_run(tmp_path, "prune", {"energy": 0.2, "mode": "paper"}, inputs={"model": "b"}),
    ):
        pass
    assert [m.path for m in caught.value.mistakes] == [
        "$.recipe.energy",
        "$.recipe.mode",
        "$.inputs.model",
    ]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="other files"), open_run(tmp_path, "prune", {}):
        pass
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["thesis.tex"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with (
        open_run(tmp_path, "prune", {}),
        pytest.raises(RunError, match="another process"),
        open_run(tmp_path, "prune", {}),
    ):
        pass


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk that is full from the n-th sync on, and again has room when n is raised."""
    left = [1 << 30]
    real = os.fsync

    def fsync(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return left


@pytest.mark.parametrize("room", range(3, 17))
def test_a_full_disk_leaves_a_run_that_goes_on(
    tmp_path: Path, full_disk: list[int], room: int
) -> None:
    whole = chain(tmp_path / "whole")
    full_disk[0] = room
    try:
        chain(tmp_path / "full")
    except RunError as error:
        assert "No space left" in str(error)
        assert "same command" in str(error)
    full_disk[0] = 1 << 30
    assert chain(tmp_path / "full") == whole
    assert tree(tmp_path / "full") == tree(tmp_path / "whole")


def test_a_number_that_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    with open_run(tmp_path, "test", {}) as run:
        with pytest.raises(RunError, match="bad step"):
            run.step("bad step", lambda: ({"loss": float("nan")}, {}))
        assert not run.done("bad step")
    assert not (tmp_path / "history.jsonl").exists()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    chain(tmp_path)
    file = tmp_path / "checkpoints" / "00000.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(bytes(raw))
    with pytest.raises(RunError, match=r"00000.safetensors: damaged"):
        chain(tmp_path)


def test_steps_of_another_version_are_not_taken_for_ours(tmp_path: Path) -> None:
    chain(tmp_path)
    with (
        open_run(tmp_path, "test", {"length": 3}, seed=7) as run,
        pytest.raises(RunError, match="step 1 was 'walk 0', now 'hop'"),
    ):
        run.step("hop", lambda: ({}, {}))


def test_a_step_draws_the_same_whatever_ran_before(tmp_path: Path) -> None:
    def draw() -> Any:
        return {"value": float(torch.rand(()))}, {}

    with open_run(tmp_path / "a", "test", {}) as run:
        run.step("first", lambda: ({"many": len(torch.rand(100))}, {}))
        alone = run.step("second", draw).record
    with open_run(tmp_path / "b", "test", {}) as run:
        run.step("first", lambda: ({}, {}))
        assert run.step("second", draw).record == alone


def test_forgotten_tensors_are_gone_and_the_record_stays(tmp_path: Path) -> None:
    with open_run(tmp_path, "test", {}) as run:
        step = run.step("one", lambda: ({"kept": 1}, {"x": torch.ones(3)}))
        run.forget(step)
        with pytest.raises(RunError):
            step.tensors()
    with open_run(tmp_path, "test", {}) as run:
        assert run.step("one", lambda: pytest.fail("computed again")).record == {"kept": 1}


def test_digest_sees_every_bit() -> None:
    x = torch.zeros(3)
    y = x.clone()
    y[2] = 1e-30
    assert digest({"x": x}) == digest({"x": x.clone()})
    assert len({digest({"x": x}), digest({"x": y}), digest({"y": x}), digest({"x": x[:2]})}) == 4


def test_run_json_says_what_was_asked(tmp_path: Path) -> None:
    with open_run(tmp_path, "prune", {"energy": "40 µJ"}, seed=3, inputs={"data": "0f"}):
        pass
    head = json.loads((tmp_path / "run.json").read_text())
    assert head["recipe"] == {"energy": "40 µJ"}
    assert (head["kind"], head["seed"], head["inputs"]) == ("prune", 3, {"data": "0f"})
    assert head["versions"]["torch"] == torch.__version__
