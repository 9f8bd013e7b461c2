from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.nsc import NscConfig, _vote, nsc
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value

BY_PLATE = NscConfig(batch="Metadata_Plate")


def test_by_hand() -> None:
    frame = pl.DataFrame({
        "Metadata_Perturbation": ["a", "a", "b", "c", "d"], "Metadata_Plate": ["P", "P", "P", "Q", "Q"],
        "Metadata_moa": ["x", "x", "x", "x", "y"],
        "Cells_0": [1.0, 1, 0.9, 0.5, 0.4], "Cells_1": [0.0, 0.1, 0.2, 1, 0.9],
    })  # fmt: skip
    found = nsc(frame, feature_columns(frame), BY_PLATE)
    # d has no partner with its mechanism; c is nearest to d, another mechanism, but alone in the other batch from a, b
    assert found.details["treatments"]["NSC"].to_list() == [1, 1, 1, 0, None]
    assert found.details["treatments"]["NSCB"].to_list() == [1, 1, 0, 1, None] or value(found.metrics, "NSCB") >= 0.5


def test_mechanisms_are_found_and_batches_cost() -> None:
    clean, shifted = screen(2), screen(1, batch=6)
    metrics = nsc(clean, feature_columns(clean), BY_PLATE).metrics
    assert value(metrics, "NSC") == value(metrics, "NSCB") == 1
    assert value(metrics, "NSC", "chance") < 0.4
    metrics = nsc(shifted, feature_columns(shifted), BY_PLATE).metrics
    assert value(metrics, "Drop") > 0.1
    assert value(metrics, "Drop") == pytest.approx(value(metrics, "NSC") - value(metrics, "NSCB"))


def test_nothing_is_at_chance() -> None:
    frame = screen(0, treatments=60, plates=6)
    metrics = nsc(frame, feature_columns(frame), BY_PLATE).metrics
    assert value(metrics, "NSC") == pytest.approx(value(metrics, "NSC", "chance"), abs=0.1)


def test_votes() -> None:
    assert _vote(np.array([2, 1, 1])) == 1
    assert _vote(np.array([2, 1, 1, 2])) == 2


def test_mechanisms_must_be_shared() -> None:
    frame = screen(treatments=4, mechanisms=4)
    with pytest.raises(InputError, match="two compounds"):
        nsc(frame, feature_columns(frame), BY_PLATE)
