"""Estimates to report on: small, quickly made, one of them with names meant to break a page."""

from __future__ import annotations

import pytest

import picojoule
from picojoule import Estimate, PerOperand, Workload
from picojoule.specs import parse_accelerator
from tests.server_files import CHIP

EVIL = "</script><script>alert(1)</script>"


def network(density: float = 1.0, names: tuple[str, str] = ("conv1", "fc")) -> Workload:
    thin = PerOperand(1.0, density, 1.0)
    return Workload(
        "small",
        (
            picojoule.conv(
                names[0],
                input_size=(5, 5),
                in_channels=2,
                out_channels=3,
                kernel=(3, 3),
                density=thin,
            ),
            picojoule.linear(names[1], in_features=27, out_features=5, density=thin),
        ),
        not_counted={"Relu": 2},
    )


def estimated(workload: Workload) -> Estimate:
    return picojoule.estimate(workload, parse_accelerator(CHIP, "chip.yaml"))


@pytest.fixture(scope="session")
def dense() -> Estimate:
    return estimated(network())


@pytest.fixture(scope="session")
def sparse() -> Estimate:
    return estimated(network(0.25))


@pytest.fixture(scope="session")
def evil() -> Estimate:
    return estimated(network(names=(EVIL, "a|b`c\n# d")))
