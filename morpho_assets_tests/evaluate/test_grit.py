from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.grit import GritConfig, grit
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets_tests.evaluate.conftest import screen, value


def test_by_definition() -> None:
    frame = screen(1, treatments=3, plates=2)
    columns = feature_columns(frame)
    r = np.corrcoef(to_matrix(frame, columns))
    expected = []
    for i in np.flatnonzero((frame["Metadata_Perturbation"] == "t01").to_numpy()):
        partner = (frame["Metadata_Perturbation"] == "t01").to_numpy() & (np.arange(frame.height) != i)
        plate = (frame["Metadata_Plate"] == frame["Metadata_Plate"][int(i)]).to_numpy()
        controls = r[i, plate & (frame["Metadata_Perturbation"] == "DMSO").to_numpy()]
        expected.append((r[i, partner].mean() - controls.mean()) / controls.std())
    found = grit(frame, columns).details["groups"]
    assert found.filter(Metadata_Perturbation="t01")["grit"][0] == pytest.approx(np.mean(expected), abs=1e-4)


def test_nothing_is_near_zero_and_effects_are_not() -> None:
    weak, strong = (grit(f, feature_columns(f)).metrics for f in (screen(0, treatments=60), screen(2, treatments=60)))
    assert abs(value(weak, "grit_median")) < 0.3
    assert value(strong, "grit_median") > 2


def test_partners_may_have_to_be_another_guide() -> None:
    frame = screen(2)
    config = GritConfig(group="Metadata_moa", perturbation="Metadata_Perturbation")
    assert grit(frame, feature_columns(frame), config).details["groups"].height == 4


def test_without_controls() -> None:
    frame = screen().filter(pl.col("Metadata_control_type").is_null())
    assert grit(frame, feature_columns(frame)).metrics.select("metric", "value", "n").rows() == [
        ("grit_mean", None, 0), ("grit_median", None, 0),
    ]  # fmt: skip
