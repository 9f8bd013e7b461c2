"""Costes coefficients against cp_measure 0.3.0, by hand, and where they are undefined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from morpho_assets.measure import MeasurementConfig, feature_columns, measure_site
from morpho_assets.measure.costes import shares
from morpho_assets_tests.measure.agreement import disagreeing
from morpho_assets_tests.measure.fields import CHANNELS, COMPARTMENTS, synthetic

SEARCHES = ["faster", "fast", "accurate"]
TENTHS = np.array([[1, 2, 3, 6, 8], [3, 2, 1, 6, 8]]) / 10
BOTH = ["Cells_Correlation_Costes_DNA_ER", "Cells_Correlation_Costes_ER_DNA"]


def settings(**costes: Any) -> MeasurementConfig:
    others = dict.fromkeys(MeasurementConfig.model_fields)
    return MeasurementConfig.model_validate(others | {"correlation": {"costes": costes}})


def one_object(pixels: NDArray[np.float64], **costes: Any) -> list[float]:
    """Both coefficients of a row of pixels (2, n) in an otherwise black field."""
    image = np.pad(pixels[:, None].astype(np.float32), ((0, 0), (2, 2), (2, 2)))
    labels = np.pad(np.ones((1, pixels.shape[1]), np.int32), 2)
    return list(measure_site(image, {"Cells": labels}, ["DNA", "ER"], settings(**costes)).select(BOTH).row(0))


def test_off_by_default_and_named_for_either_order() -> None:
    assert not any("Costes" in name for name in feature_columns(CHANNELS, COMPARTMENTS))
    assert [name for name in feature_columns(["DNA", "ER"], ["Cells"], settings()) if "Costes" in name] == BOTH


@pytest.mark.parametrize("search", SEARCHES)
def test_five_pixels_by_hand(search: str) -> None:
    """The line is y = x. Below 0.7, (6, 6) joins the falling (1, 3), (2, 2), (3, 1), and the correlation turns

    positive; so both thresholds are 0.6, and 8 of 6 + 8 lies above both.
    """
    assert one_object(TENTHS, within="object", levels=10, search=search) == pytest.approx([8 / 14, 8 / 14])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("search", "levels"), [("faster", 65535), ("faster", 255), ("fast", 1000), ("accurate", 1000)])
@pytest.mark.parametrize("seed", [1, 2])
def test_within_objects_as_cp_measure(search: str, levels: int, seed: int) -> None:
    pytest.importorskip("centrosome", reason="cp_measure's centrosome has no wheel here")
    from cp_measure.core.measurecolocalization import get_correlation_costes

    image, labels = synthetic(seed, side=120, cells=6, channels=2)
    ours = measure_site(image, labels, ["DNA", "ER"], settings(within="object", search=search, levels=levels))
    # The camera's counts, so that a pixel at exactly a threshold is one for cp_measure's doubles too.
    first, second = np.rint(image.astype(float) * 65535) / 65535
    defined = 0
    for compartment, label in labels.items():
        theirs = get_correlation_costes(first, second, label, search.capitalize(), scale_max=levels)
        expected = np.column_stack([theirs["Correlation_Costes_1"], theirs["Correlation_Costes_2"]])
        mine = ours.select(f"{compartment}_{name.removeprefix('Cells_')}" for name in BOTH).to_numpy()
        # Where one channel has nothing above its threshold, CellProfiler's share of the other is 0, cp_measure's NaN.
        mine = np.where(np.isnan(mine).any(axis=1, keepdims=True), np.nan, mine)
        assert not disagreeing(mine, expected).any(), compartment
        defined += int(np.isfinite(mine).sum())
    assert defined > 20


def test_nothing_of_one_channel_above_its_threshold() -> None:
    """The second object is dark in the second channel."""
    values = np.concatenate([TENTHS, [[0.7, 0.9], [0, 0]]], axis=1).astype(np.float32)
    limits = np.full((2, 1, 2), 0.6, np.float32)
    first, second = shares(values, np.array([0, 5, 7]), limits)
    assert first[0] == pytest.approx([8 / 14, 8 / 14])
    np.testing.assert_array_equal(second[0], [0, np.nan])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("search", ["faster", "fast"])
def test_thresholds_of_the_image_as_cp_measure_finds_them(search: str) -> None:
    pytest.importorskip("centrosome", reason="cp_measure's centrosome has no wheel here")
    from cp_measure.core.measurecolocalization import bisection_costes, linear_costes

    image, labels = synthetic(1, side=120, cells=6, channels=2)
    levels = {"faster": 65535, "fast": 1000}[search]
    ours = measure_site(image, labels, ["DNA", "ER"], settings(search=search, levels=levels))
    first, second = (np.rint(image.astype(float) * 65535) / 65535).reshape(2, -1)
    find = bisection_costes if search == "faster" else linear_costes
    low_first, low_second = find(None, None, first, second, levels, search.capitalize())
    for compartment, label in labels.items():
        for number in range(1, int(label.max()) + 1):
            x, y = (channel[label.ravel() == number] for channel in (first, second))
            both = (x > low_first) & (y > low_second)
            expected = [x[both].sum() / x[x >= low_first].sum(), y[both].sum() / y[y >= low_second].sum()]
            row = ours.select(f"{compartment}_{name.removeprefix('Cells_')}" for name in BOTH).row(number - 1)
            assert row == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(
    "pixels",
    [np.full((2, 5), 0.5), np.zeros((2, 5)), np.full((2, 1), 0.5), TENTHS[:, :2], np.stack([TENTHS[0], np.ones(5)])],
    ids=["constant", "black", "one-pixel", "two-pixels", "one-channel-constant"],
)
def test_undefined_within_an_object_is_nan(search: str, pixels: NDArray[np.float64]) -> None:
    assert np.isnan(one_object(pixels, within="object", levels=10, search=search)).all()


def test_black_image_and_no_object() -> None:
    assert np.isnan(one_object(np.zeros((2, 3)))).all()
    empty = {"Cells": np.zeros((5, 5), np.int32)}
    assert measure_site(np.zeros((2, 5, 5), np.float32), empty, ["DNA", "ER"], settings()).height == 0
