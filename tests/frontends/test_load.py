"""One door for every source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from picojoule import frontends
from picojoule.errors import InputError
from picojoule.frontends import load, shipped_networks
from picojoule.workload import Workload, linear

NETWORK = Workload("net", (linear("fc", in_features=2, out_features=3),))


def message(source: object, **rest: object) -> str:
    with pytest.raises(InputError) as caught:
        load(source, **rest)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_workload_passes_through() -> None:
    assert load(NETWORK) is NETWORK
    assert load(NETWORK, name="other").name == "other"


def test_every_shipped_network_loads() -> None:
    for name in shipped_networks():
        network = load(name)
        assert len(network) > 0
        assert network.macs > 0


def test_unknown_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(frontends, "shipped_networks", lambda: ("resnet50", "vgg16"))
    assert "did you mean 'resnet50'" in message("resnet-50")
    assert "resnet50, vgg16" in message("")
    (tmp_path / "net.onx").write_bytes(b"")
    assert "unknown kind" in message(tmp_path / "net.onx")
    assert "file.py:function" in message(tmp_path / "net.py")
    for strange in (None, 3, (1, 2), [NETWORK], b"net.csv"):
        message(strange)
    message("x" * 10_000)
    message("a\0b.csv")
    message("a\0b")


def test_sizes_belong_to_onnx_only() -> None:
    assert "only an ONNX, TFLite or SCALE-Sim file" in message(NETWORK, dims={"n": 1})


def test_functions_of_files(tmp_path: Path) -> None:
    path = tmp_path / "nets.py"
    path.write_text(
        "from beside import fc\nfrom picojoule.workload import Workload\n"
        "def tiny():\n    return Workload('tiny', (fc,))\n"
        "def broken():\n    return 1 / 0\n"
        "def nothing():\n    pass\n"
        "def circle():\n    return __file__ + ':circle'\n"
    )
    (tmp_path / "beside.py").write_text(
        "from picojoule.workload import linear\nfc = linear('fc', in_features=2, out_features=3)\n"
    )
    before = list(sys.path)
    assert load(f"{path}:tiny").macs == 6
    assert "line 6: ZeroDivisionError" in message(f"{path}:broken")
    assert "did you mean 'tiny'" in message(f"{path}:tinny")
    assert "NoneType is not a network" in message(f"{path}:nothing")
    assert "another function's name" in message(f"{path}:circle")
    assert "no such file" in message(f"{tmp_path / 'none.py'}:f")
    path.write_text("def f(:\n")
    assert "line 1: SyntaxError" in message(f"{path}:f")
    assert sys.path == before


def test_tables_need_neither_onnx_nor_torch() -> None:
    code = (
        "import sys, picojoule.frontends\n"
        "heavy = {'onnx', 'torch', 'google.protobuf'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
