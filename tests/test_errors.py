"""Errors say what, where, why, and what to do."""

from __future__ import annotations

import inspect
import pickle  # noqa: TID251 — errors cross to other processes by it

import pytest

from picojoule import errors
from picojoule.errors import BudgetError, InputError, Mistake, PicojouleError, did_you_mean


def test_every_error_is_the_inputs_fault() -> None:
    members = [x for _, x in inspect.getmembers(errors, inspect.isclass) if x is not Mistake]
    classes = [x for x in members if x.__module__ == errors.__name__]
    assert len(classes) >= 7
    for error in classes:
        assert issubclass(error, PicojouleError)
        assert error.__doc__


def test_one_mistake_is_one_line() -> None:
    error = InputError("chip.yaml", [Mistake("$.levels[1].capacity", "no unit")])
    assert str(error) == "chip.yaml: $.levels[1].capacity: no unit"


def test_several_mistakes_are_listed_under_their_number() -> None:
    error = InputError("chip.yaml", (Mistake(f"$.{name}", "is missing") for name in "ab"))
    assert str(error) == "chip.yaml: 2 mistakes\n  $.a: is missing\n  $.b: is missing"
    assert [x.path for x in error.mistakes] == ["$.a", "$.b"]


def test_an_error_crosses_to_another_process() -> None:
    """Workers of a pool raise in one process what is read in another."""
    error = InputError("a", [Mistake("$", "b")])
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.mistakes == error.mistakes


def test_a_budget_error_knows_the_least() -> None:
    assert BudgetError("too little", smallest=3.5).smallest == 3.5


@pytest.mark.parametrize(
    ("word", "hint"),
    [("weigth", " (did you mean 'weight'?)"), ("nothing like it", ""), ("", "")],
)
def test_a_near_word_is_suggested(word: str, hint: str) -> None:
    assert did_you_mean(word, ("input", "weight", "output")) == hint
