from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.nsc import METRICS, NscConfig, _vote, nsc
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value

BY_PLATE = NscConfig(batch="Metadata_Plate")


def test_by_hand() -> None:
    frame = pl.DataFrame({
        "Metadata_Perturbation": ["a", "a", "b", "c", "d"], "Metadata_Plate": ["P", "Q", "P", "Q", "Q"],
        "Metadata_moa": ["x", "x", "x", "y", "y"], "Metadata_control_type": pl.Series([None] * 5, dtype=pl.String),
        "Cells_0": [1.0, 1, 0.9, 0.3, 0.9], "Cells_1": [0.0, 0.1, 0.2, 1, 0.4],
    })  # fmt: skip
    found = nsc(frame, feature_columns(frame), BY_PLATE)
    table = found.details["predictions"].sort("Metadata_Perturbation", "Metadata_Plate")
    # a is nearest to b in both batches; b to a in Q; c and d to each other, or b; c has no y outside of Q, nor has d
    assert table["NSC"].to_list() == [1, 1, 1, 1, 0]
    assert table["NSCB"].to_list() == [None, 1, 1, None, None]
    assert value(found.metrics, "NSC") == 3 / 4  # a counts once
    assert found.metrics.select("metric", "n").rows() == [("NSC", 4), ("NSCB", 2), ("Drop", 2)]


def test_mechanisms_are_found_and_batches_cost() -> None:
    clean, shifted = screen(2), screen(1, batch=6)
    metrics = nsc(clean, feature_columns(clean), BY_PLATE).metrics
    assert value(metrics, "NSC") == value(metrics, "NSCB") == 1
    assert value(metrics, "NSC", "chance") < 0.4
    metrics = nsc(shifted, feature_columns(shifted), BY_PLATE).metrics
    assert value(metrics, "Drop") > 0.1
    assert value(metrics, "Drop") == pytest.approx(value(metrics, "NSC") - value(metrics, "NSCB"))


@pytest.mark.parametrize("neighbours", [1, 3])
def test_nothing_is_at_chance(neighbours: int) -> None:
    config = BY_PLATE.model_copy(update={"neighbours": neighbours})
    found = []
    for seed in range(8):
        frame = screen(0, seed, treatments=60, plates=3)
        metrics = nsc(frame, feature_columns(frame), config, seed).metrics
        assert metrics["n"].to_list() == [60] * 3  # not wells
        found.append([value(metrics, m, c) for m in METRICS for c in ("value", "chance")])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    for i in (0, 2, 4):
        assert abs(mean[i] - mean[i + 1]) <= 3 * error[i] + 1e-9, METRICS[i // 2]


def test_replicates_are_one_profile_and_controls_are_no_queries() -> None:
    frame = screen(2).with_columns(pl.col("Metadata_moa").fill_null("control"), Metadata_Batch=pl.lit("B"))
    twice = pl.concat([frame, frame])
    config = NscConfig(batch=None)
    found = nsc(twice, feature_columns(frame), config)
    assert found.details["predictions"]["Metadata_Perturbation"].to_list() == [f"t{i:02d}" for i in range(12)]
    assert found.metrics.equals(nsc(frame, feature_columns(frame), config).metrics)


def test_an_unknown_batch_is_scored_but_not_across_batches() -> None:
    frame = screen(2).with_columns(Metadata_Batch=pl.lit(None, pl.String))
    metrics = nsc(frame, feature_columns(frame)).metrics
    assert metrics.select("metric", "n").rows() == [("NSC", 12), ("NSCB", 0), ("Drop", 0)]


def test_profiles_that_tie_are_at_chance() -> None:
    frame = screen(0, treatments=60, plates=1, mechanisms=3).with_columns(Cells_0=pl.lit(1.0)).sort("Metadata_moa")
    metrics = [nsc(frame, ["Cells_0"], NscConfig(batch=None), seed).metrics for seed in range(10)]
    chance = value(metrics[0], "NSC", "chance")
    assert np.mean([value(m, "NSC") for m in metrics]) == pytest.approx(chance, abs=0.06)


def test_votes() -> None:
    assert _vote(np.array([2, 1, 1])) == 1
    assert _vote(np.array([2, 1, 1, 2])) == 2


def test_mechanisms_that_no_two_compounds_share() -> None:
    frame = screen(treatments=4, mechanisms=4)
    assert nsc(frame, feature_columns(frame), BY_PLATE).metrics.select("metric", "value", "n").rows() == [
        ("NSC", None, 0), ("NSCB", None, 0), ("Drop", None, 0),
    ]  # fmt: skip


def test_a_treatment_of_two_mechanisms_is_named() -> None:
    frame = screen()
    here = (pl.col("Metadata_Plate") == "P1") & (pl.col("Metadata_Perturbation") == "t03")
    frame = frame.with_columns(Metadata_moa=pl.when(here).then(pl.lit("other")).otherwise("Metadata_moa"))
    with pytest.raises(InputError, match="treatment t03: found several values of Metadata_moa"):
        nsc(frame, feature_columns(frame), NscConfig(batch=None))
