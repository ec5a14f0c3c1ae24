"""Colours can be told apart, by colour-blind readers too, and are the same everywhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from picojoule.estimate_records import Estimate
from picojoule.reports.palette import OPERAND_COLORS, memory_colors, place_colors
from picojoule.specs import load_accelerator, shipped_accelerators

# Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision
# Deficiency, IEEE TVCG 2009; severity 1.0, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
LEAST = 8.0  # CIE76; 2.3 is just noticeable side by side


def lab(color: str, vision: str) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour as a reader sees it."""
    rgb = np.array([int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(VISION[vision] @ linear, 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ seen / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def nearest(colors: list[str], vision: str) -> float:
    pairs = itertools.combinations(colors, 2)
    return min(float(np.linalg.norm(lab(a, vision) - lab(b, vision))) for a, b in pairs)


@pytest.mark.parametrize("vision", VISION)
def test_operands_can_be_told_apart(vision: str) -> None:
    assert nearest(list(OPERAND_COLORS.values()), vision) > LEAST


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("name", shipped_accelerators())
def test_the_places_of_every_chip_can_be_told_apart(name: str, vision: str) -> None:
    colors = memory_colors(load_accelerator(name))
    assert len(set(colors.values())) == len(colors)
    assert nearest(list(colors.values()), vision) > LEAST


def test_one_name_has_one_colour(dense: Estimate, sparse: Estimate) -> None:
    assert place_colors([dense]) == place_colors([dense, sparse])
    eyeriss, variant = load_accelerator("eyeriss"), load_accelerator("eyeriss-pj")
    assert memory_colors(eyeriss) == memory_colors(variant)
    assert list(place_colors([dense])) == list(dense.by_memory)
