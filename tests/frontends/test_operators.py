"""The table of operators against onnx, onnxruntime, the readers and the documentation."""

from __future__ import annotations

import onnx.defs
import pytest

from picojoule.frontends.onnx_control import CONTROL
from picojoule.frontends.onnx_layers import CONVERTERS
from picojoule.frontends.operators import OPERATORS, OperatorKind, kind_of
from tools import make_operators

Names = set[tuple[str, str]]


def of_kind(kind: OperatorKind) -> Names:
    return {
        (domain, name)
        for domain, table in OPERATORS.items()
        for name, found in table.items()
        if found is kind
    }


def test_every_operator_of_onnx_has_its_place() -> None:
    schemas = onnx.defs.get_all_schemas_with_history()
    assert len(schemas) > 200
    unknown = {
        (s.domain, s.name) for s in schemas if kind_of(s.domain, s.name) is OperatorKind.UNKNOWN
    }
    assert unknown == set()


def test_every_operator_of_onnxruntime_has_its_place() -> None:
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    known = {(s.domain, s.name) for s in state.get_all_operator_schema()}
    assert {name for name in known if kind_of(*name) is OperatorKind.UNKNOWN} == set()
    own = {(d, n) for d, table in OPERATORS.items() if d.startswith("com.") for n in table}
    assert own <= known


def test_what_is_counted_is_what_the_readers_read() -> None:
    counted = {
        f"{domain}.{name}" if domain else name for domain, name in of_kind(OperatorKind.COUNTED)
    }
    assert counted == set(CONVERTERS)
    assert {name for _, name in of_kind(OperatorKind.CONTROL)} == set(CONTROL)


@pytest.mark.parametrize("page", make_operators.PAGES)
def test_the_pages_are_what_the_tool_writes(page: str) -> None:
    written = (make_operators.FOLDER / page).read_text(encoding="utf-8")
    assert written == make_operators.PAGES[page](), "run python -m tools.make_operators"
