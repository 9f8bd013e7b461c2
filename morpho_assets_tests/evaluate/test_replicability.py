from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.replicability import ReplicabilityConfig, replicability
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets_tests.evaluate.conftest import screen, value

MATCHING = ReplicabilityConfig(same="Metadata_moa", separator="|", differ=("Metadata_Perturbation",))


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
    found = replicability(frame, feature_columns(frame), MATCHING)
    assert value(found.metrics, "percent_matching") == 1
    assert found.details["groups"]["n_pairs"].to_list() == [3 * 4 * 4] * 4  # 3 pairs of treatments, 4 x 4 wells


def noise(sizes: list[int], of: str, seed: int) -> pl.DataFrame:
    """Profiles of nothing: groups of these many profiles, or labels of these many treatments with 3 profiles each."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    names = pl.DataFrame({
        "Metadata_Perturbation": [f"t{g if of == 'replicates' else i}" for i, g in enumerate(group)],
        "Metadata_moa": [f"m{g}" for g in group],
        "Metadata_control_type": pl.Series([None] * len(group), dtype=pl.String),
    })  # fmt: skip
    frame = pl.concat([names] * (1 if of == "replicates" else 3))
    values = np.random.default_rng(seed).normal(size=(frame.height, 10))
    return pl.concat([frame, pl.DataFrame(values, schema=[f"Cells_{i}" for i in range(10)])], how="horizontal")


@pytest.mark.parametrize(("sizes", "of"), [((2, 8), "replicates"), ((2, 4), "replicates"), ((2, 5), "labels")])
def test_chance_is_right_where_groups_differ_in_size(sizes: tuple[int, int], of: str) -> None:
    config = ReplicabilityConfig() if of == "replicates" else MATCHING
    found = []
    for seed in range(6):
        frame = noise([*[sizes[0]] * 60, *[sizes[1]] * 60], of, seed)
        groups = replicability(frame, feature_columns(frame), config, seed)
        found.append(groups.details["groups"].group_by("n_pairs").agg(pl.col("above").mean()).sort("n_pairs")["above"])
    shares = np.array(found).mean(axis=0)  # of small and of large groups
    assert np.abs(shares - 0.05).max() <= 3 * np.sqrt(0.05 * 0.95 / (60 * 6))


def test_chance_is_right_where_plates_must_differ() -> None:
    config = ReplicabilityConfig(differ=("Metadata_Plate",))
    found = []
    for seed in range(4):
        frame = screen(0, seed, treatments=100, batch=0.5)
        found.append(value(replicability(frame, feature_columns(frame), config, seed).metrics, "percent_replicating"))
    assert abs(np.mean(found) - 0.05) <= 3 * np.sqrt(0.05 * 0.95 / 400)


def test_a_treatment_alone_on_its_plates_has_nothing_to_be_compared_with() -> None:
    frame = screen(3, treatments=20)
    alone = frame.filter(Metadata_Perturbation="t00").with_columns(
        pl.lit("alone").alias("Metadata_Perturbation"), pl.format("Q{}", "Metadata_Plate").alias("Metadata_Plate")
    )
    both = pl.concat([frame, alone])
    config = ReplicabilityConfig(differ=("Metadata_Plate",))
    found = replicability(both, feature_columns(both), config).details["groups"]
    assert found["Metadata_Perturbation"].sort().to_list() == [f"t{i:02d}" for i in range(20)]


def test_pairs_on_different_plates_are_still_replicates() -> None:
    frame = screen(3, treatments=40, mechanisms=40)
    found = replicability(frame, feature_columns(frame), ReplicabilityConfig(differ=("Metadata_Plate",)))
    assert value(found.metrics, "percent_replicating") == 1
    assert found.details["groups"]["n_pairs"].unique().to_list() == [6]


def test_several_labels_match() -> None:
    frame = screen(2).with_columns(
        Metadata_moa=pl.when(pl.col("Metadata_Perturbation") == "t00").then(pl.lit("m0|m1")).otherwise("Metadata_moa")
    )
    found = replicability(frame, feature_columns(frame), MATCHING).details["groups"]
    assert found.select("Metadata_moa", "n_profiles").rows() == [("m0", 12), ("m1", 16), ("m2", 12), ("m3", 12)]


def test_no_replicates_or_nothing_to_compare_them_with() -> None:
    same = screen().with_columns(Metadata_Perturbation=pl.lit("t"))
    for frame in (screen(plates=1), same, screen().clear()):
        metrics = replicability(frame, feature_columns(frame)).metrics
        assert metrics.select("metric", "value", "n").rows() == [
            (f"percent_replicating{side}", None, 0) for side in ("", "_left", "_both", "_pairs")
        ]  # fmt: skip
