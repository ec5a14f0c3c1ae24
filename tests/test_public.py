"""The package's face: what it offers, and how light it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import picojoule


def test_every_public_name_can_be_had() -> None:
    for name in picojoule.__all__:
        assert getattr(picojoule, name) is not None
    assert len(set(picojoule.__all__)) == len(picojoule.__all__)


def test_lazy_names_are_public() -> None:
    assert set(picojoule._LAZY) <= set(picojoule.__all__)


def test_one_version() -> None:
    cited = Path(__file__).parents[1] / "CITATION.cff"
    assert f"\nversion: {picojoule.__version__}\n" in cited.read_text("utf-8")


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="estimat"):
        picojoule.estimat  # noqa: B018


def loaded(statement: str, *names: str) -> list[str]:
    code = f"import sys; {statement}; print([n for n in {names!r} if n in sys.modules])"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return eval(made.stdout.splitlines()[-1])  # our own list of names


HEAVY = ("torch", "onnx", "onnxruntime", "numba", "numpy", "matplotlib", "pandas", "pydantic")


def test_the_import_is_light() -> None:
    assert loaded("import picojoule", *HEAVY, "rich", "cyclopts", "yaml") == []


def test_the_command_line_is_light() -> None:
    assert loaded("import picojoule.cli", *HEAVY, "picojoule.estimation") == []


def test_searches_of_before_need_no_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(
        "from picojoule import Workload, linear\n"
        "def net(): return Workload('n', (linear('l', in_features=4, out_features=2),))\n"
    )
    words = ["estimate", "nets.py:net", "-a", "eyeriss", "-o", "run.txt"]
    code = f"from picojoule.cli import main; main({words})"
    searching = ("llvmlite", "scipy", "numpy", "picojoule.mapper.solver")
    assert "llvmlite" in loaded(code, *searching)
    assert loaded(code, *searching, "torch", "onnx") == []


def test_a_search_needs_no_compiler(tmp_path: Path) -> None:
    words = ["map", "bvlc-alexnet", "conv3", "-a", "eyeriss", "--no-cache"]
    words += ["-o", str(tmp_path / "mapping.yaml")]
    code = f"from picojoule.cli import main; main({words})"
    assert loaded(code, "numba", "scipy", "torch", "onnx", "jinja2") == []


def test_a_command_imports_no_other() -> None:
    commands = ("adapt_commands", "serve_command", "pruning_commands")
    others = [f"picojoule.cli.{name}" for name in commands]
    assert loaded("from picojoule.cli import main; main(['list', 'chips'])", *others) == []


def test_prices_need_no_search() -> None:
    assert loaded("import picojoule.estimation", "torch", "onnx", "numba", "matplotlib") == []
