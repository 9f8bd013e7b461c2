"""CellProfiler's way to nuclei: each threshold where another one fails, each way of declumping on nuclei that touch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from morpho_assets.evaluate.segmentation import instance_f1
from morpho_assets.imaging.segmentation.config import NucleiConfig, ThresholdConfig
from morpho_assets.imaging.segmentation.nuclei import find_nuclei

SHAPE = (240, 240)
RADIUS = 11


def drawn(
    centres: list[tuple[int, int]], brightness: list[float], *, dome: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) light of round nuclei on nothing, and their labels; `dome` is the share by which they dim to the edge."""
    row, column = np.indices(SHAPE)
    light, labels, nearest = np.zeros(SHAPE), np.zeros(SHAPE, np.int32), np.full(SHAPE, np.inf)
    for number, ((y, x), level) in enumerate(zip(centres, brightness, strict=True), start=1):
        far = np.hypot(row - y, column - x)
        light = np.maximum(light, (far < RADIUS) * level * (1 - dome * (far / RADIUS) ** 2))
        labels[(far < RADIUS) & (far < nearest)] = number
        nearest = np.minimum(nearest, far)
    return light, labels


def seen(light: np.ndarray, background: np.ndarray | float = 0.02) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.002, SHAPE)
    return (ndimage.gaussian_filter(light, 1) + background + noise).clip(0, 1).astype(np.float32)


def found(plane: np.ndarray, declump: str = "shape", method: str = "otsu", **settings: object) -> np.ndarray:
    threshold = ThresholdConfig(method=method, smoothing_scale=2, window=60)
    return find_nuclei(plane, NucleiConfig(threshold=threshold, declump=declump, **settings))


GRID = [(30 + 60 * row, 30 + 60 * column) for row in range(4) for column in range(4)]


def pairs(distance: int) -> list[tuple[int, int]]:
    return [(y, x + side * distance // 2) for y, x in GRID for side in (-1, 1)]


@pytest.mark.parametrize(("declump", "expected"), [("shape", 1.0), ("intensity", 1.0), ("none", 0.0)])
def test_nuclei_that_touch_are_cut_at_their_neck(declump: str, expected: float) -> None:
    light, truth = drawn(pairs(20), [0.5] * 32, dome=0.4)
    assert instance_f1(truth, found(seen(light), declump), 0.7) == expected


def test_nuclei_that_overlap_without_a_neck_are_told_apart_by_brightness_alone() -> None:
    light, truth = drawn(pairs(8), [0.5] * 32, dome=1.0)
    by_shape, by_intensity = (
        found(seen(light), declump, declump_smoothing=3, declump_distance=5) for declump in ("shape", "intensity")
    )
    assert instance_f1(truth, by_intensity) > 0.95
    assert instance_f1(truth, by_shape) < 0.5


def test_smoothing_before_splitting_joins_two_maxima_of_one_nucleus() -> None:
    light, _ = drawn(GRID, [0.5] * 16)
    spots, _ = drawn(pairs(12), [0.2] * 32, dome=1.0)  # two bright places in each nucleus
    plane = seen(light + np.where(light > 0, spots, 0))
    counts = [found(plane, "intensity", declump_smoothing=width).max() for width in (1, 14)]
    assert counts[0] >= 32
    assert counts[1] == 16


def test_a_local_threshold_follows_an_uneven_background_and_one_for_all_does_not() -> None:
    light, truth = drawn(GRID, [0.2] * 16)
    plane = seen(light, np.linspace(0.05, 0.25, SHAPE[1])[None, :])
    assert instance_f1(truth, found(plane, method="local"), 0.7) > 0.95
    assert instance_f1(truth, found(plane, method="otsu"), 0.7) < 0.6


@pytest.mark.parametrize(("method", "least"), [("otsu_three_classes", 0.95), ("minimum_cross_entropy", 0.95)])
def test_dim_nuclei_beside_bright_ones_need_more_than_two_classes(method: str, least: float) -> None:
    light, truth = drawn(GRID, [0.85] * 8 + [0.2] * 8)
    assert instance_f1(truth, found(seen(light), method=method), 0.5) > least
    assert instance_f1(truth, found(seen(light), method="otsu"), 0.5) < 0.7


def test_a_logarithm_finds_what_is_dim() -> None:
    light, truth = drawn(GRID, [0.9] * 4 + [0.08] * 12)
    log, plain = (
        find_nuclei(seen(light), NucleiConfig(threshold=ThresholdConfig(method="otsu", log=log, smoothing_scale=2)))
        for log in (True, False)
    )
    assert instance_f1(truth, log) > 0.95
    assert instance_f1(truth, plain) < 0.5
