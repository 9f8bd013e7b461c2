from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.near_far import NearFarConfig, near_far
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value


def by_hand() -> pl.DataFrame:
    """On two plates a lies in column 1, b in 2 and c in 8; features are the cosine and sine of an angle."""
    rows = [
        ("P1", 1, "a", 0),
        ("P1", 2, "b", 90),
        ("P1", 8, "c", 45),
        ("P2", 1, "a", 1),
        ("P2", 2, "b", 40),
        ("P2", 8, "c", 200),
    ]
    return pl.DataFrame({
        "Metadata_Plate": [row[0] for row in rows], "Metadata_Row": 1, "Metadata_Col": [row[1] for row in rows],
        "Metadata_Perturbation": [row[2] for row in rows],
        "Metadata_control_type": pl.Series([None] * 6, dtype=pl.String),
        "Cells_0": [float(np.cos(np.radians(row[3]))) for row in rows],
        "Cells_1": [float(np.sin(np.radians(row[3]))) for row in rows],
    })  # fmt: skip


def test_by_hand() -> None:
    """Places are 0, 1, 6 or 7 columns apart, near is up to 1. Candidates lie on the plate of the positive, the
    other one. Both a come first: AP 1. The b at 90 degrees finds the one at 40 first; that one finds it last, behind a
    (AP 1/2) and, where it may be a candidate, c (AP 1/3)."""
    found = near_far(by_hand(), ["Cells_0", "Cells_1"], NearFarConfig(quantile=0.3))
    near, pooled = (found.details[part].rows_by_key("Metadata_Perturbation", named=True) for part in ("near", "pooled"))
    assert near["a"][0]["mAP"] == pooled["a"][0]["mAP"] == 1
    assert (near["b"][0]["mAP"], near["b"][0]["n_total"]) == (pytest.approx((1 + 1 / 2) / 2), 2)
    assert (pooled["b"][0]["mAP"], pooled["b"][0]["n_total"]) == (pytest.approx((1 + 1 / 3) / 2), 3)
    assert "c" not in near  # alone with its positive
    assert found.details["far"].is_empty()  # all replicates share a position
    assert value(found.metrics, "mAP_far", "n") == 0


def test_a_gradient_is_higher_near_than_far() -> None:
    """Nothing but the column of a well: replicates in neighbouring wells look alike, distant ones do not."""
    frame = screen(0, treatments=24, plates=4, controls=24)
    angle = pl.col("Metadata_Col") * 0.8 + pl.col("Metadata_Row") * 0.1
    placed = frame.with_columns((3 * angle.cos()).alias("Cells_0"), (3 * angle.sin()).alias("Cells_1"))
    found = near_far(placed, ["Cells_0", "Cells_1"], NearFarConfig(quantile=0.2)).metrics
    assert value(found, "normalised_AP_far") < 0.1
    assert value(found, "normalised_AP_near") == pytest.approx(0, abs=0.15)  # near, all are alike
    assert value(found, "near_minus_far", "chance") == 0


def test_an_effect_is_found_near_and_far() -> None:
    frame = screen(3, treatments=24)
    found = near_far(frame, feature_columns(frame)).metrics
    for part in ("pooled", "near", "far"):
        assert value(found, f"mAP_{part}") > value(found, f"mAP_{part}", "chance") + 0.2
