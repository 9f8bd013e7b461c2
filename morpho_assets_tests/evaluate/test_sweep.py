from __future__ import annotations

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.retrieval import RetrievalConfig, mean_average_precision
from morpho_assets.evaluate.sweep import TUNING, SweepConfig, sweep
from morpho_assets.profiles.correct import corrector_config
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen

SPHERING = corrector_config({"corrector": "sphering"})


def test_the_choice_rests_on_treatments_that_are_not_reported() -> None:
    frame = screen(0.5, treatments=20)
    columns = feature_columns(frame)
    found = sweep(frame, columns, SPHERING, SweepConfig(values=(1e-3, 1.0, 1e3)))
    assert found.curve["epsilon"].to_list() == [1e-3, 1.0, 1e3]
    best = found.curve.sort("tuning", descending=True, maintain_order=True)["epsilon"][0]
    assert found.best.epsilon == best  # type: ignore[union-attr]
    tuned = found.profiles.filter(TUNING)["Metadata_Perturbation"].unique()
    assert tuned.len() == 10
    assert "DMSO" not in tuned
    config = RetrievalConfig(queries=f"NOT {TUNING} AND Metadata_control_type IS NULL")
    reported = mean_average_precision(found.profiles, columns, config)["Metadata_Perturbation"]
    assert not set(reported) & set(tuned)
    assert sweep(frame, columns, SPHERING, SweepConfig(values=(1e-3, 1.0, 1e3))).curve.equals(found.curve)


def test_too_few_treatments_to_hold_any_out() -> None:
    frame = screen(treatments=3)
    with pytest.raises(InputError, match="3 treatments"):
        sweep(frame, feature_columns(frame), SPHERING)


def test_the_row_order_of_the_frame_is_kept() -> None:
    frame = screen()
    found = sweep(frame, feature_columns(frame), SPHERING, SweepConfig(values=(1.0,)))
    assert found.profiles.drop(TUNING).equals(frame)
    assert found.profiles.schema[TUNING] == pl.Boolean
