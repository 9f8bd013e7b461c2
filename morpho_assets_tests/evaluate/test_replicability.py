from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.replicability import ReplicabilityConfig, replicability
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets_tests.evaluate.conftest import screen, value


def test_medians_are_copairs_on_real_plates(jump_plates: pl.DataFrame) -> None:
    replicating = pytest.importorskip("copairs.replicating", reason="the outside reference")
    frame = jump_plates.filter(pl.col("Metadata_control_type").is_null())
    columns = feature_columns(frame)[:200]
    found = replicability(frame, columns, ReplicabilityConfig(null="pairs"))
    theirs = replicating.correlation_test(
        to_matrix(frame, columns), frame.select("Metadata_Perturbation", "Metadata_Plate").to_pandas(),
        sameby=["Metadata_Perturbation"], diffby=[], progress_bar=False,
    )  # fmt: skip
    groups = found.details["groups"].sort("Metadata_Perturbation")
    expected = theirs.corr_df["median"].sort_index()
    assert groups["Metadata_Perturbation"].to_list() == expected.index.tolist()
    np.testing.assert_allclose(groups["similarity"], expected, atol=1e-5)
    share, _, limit = theirs.percent_score("right")
    assert value(found.metrics, "percent_replicating") == pytest.approx(share, abs=0.04)  # two random nulls
    assert np.percentile(found.details["null"]["similarity"], 95) == pytest.approx(limit, abs=0.05)


def test_effects_replicate_and_nothing_is_at_chance() -> None:
    strong, nothing = (
        replicability(f, feature_columns(f)).metrics
        for f in (screen(3, treatments=200, mechanisms=200), screen(0, treatments=200))
    )
    assert value(strong, "percent_replicating") == 1
    for metric in ("percent_replicating", "percent_replicating_left", "percent_replicating_pairs"):
        assert value(nothing, metric) == pytest.approx(value(nothing, metric, "chance"), abs=0.05)
    assert value(nothing, "percent_replicating_both", "chance") == pytest.approx(0.1)


def test_shuffled_treatments_do_not_replicate() -> None:
    frame = shuffled(screen(3, treatments=200, mechanisms=200))
    assert value(replicability(frame, feature_columns(frame)).metrics, "percent_replicating") < 0.12


def test_percent_matching_needs_different_treatments() -> None:
    frame = screen(2)
    config = ReplicabilityConfig(same="Metadata_moa", separator="|", differ=("Metadata_Perturbation",))
    found = replicability(frame, feature_columns(frame), config)
    assert value(found.metrics, "percent_matching") == 1
    assert found.details["groups"]["n_pairs"].to_list() == [3 * 4 * 4] * 4  # 3 pairs of treatments, 4 x 4 wells


def test_no_replicates() -> None:
    frame = screen(plates=1)
    with pytest.raises(InputError, match="no pair that shares"):
        replicability(frame, feature_columns(frame))
    same = screen().with_columns(Metadata_Perturbation=pl.lit("t"))
    with pytest.raises(InputError, match="unrelated"):
        replicability(same, feature_columns(same))
