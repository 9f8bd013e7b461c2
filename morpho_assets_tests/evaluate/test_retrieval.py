from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morpho_assets.errors import InputError
from morpho_assets.evaluate.average_precision import PositionRule, RetrievalConfig, average_precision
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.evaluate.retrieval import mean_average_precision, retrieval
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets_tests.evaluate.conftest import screen, value

OTHERS = RetrievalConfig(negatives=PairRule(diffby=("Metadata_Perturbation",), where="treated"))


def test_profiles_without_information_score_chance() -> None:
    frame = screen(0, treatments=40).with_columns(Cells_0=pl.lit(0.0))
    flat = retrieval(frame, ["Cells_0"]).metrics
    assert value(flat, "mAP") == pytest.approx(value(flat, "mAP", "chance"))
    assert value(flat, "normalised_AP") == pytest.approx(0, abs=1e-12)
    assert value(flat, "fraction_retrieved") == 0


def test_noise_of_few_distinct_values_is_at_chance() -> None:
    counts = [np.random.default_rng(seed).integers(0, 3, 56 * 4) for seed in range(5)]
    frame = screen(0, treatments=40)
    found = [
        retrieval(
            frame.with_columns(pl.Series("Cells_0", c - 1.0), Cells_1=pl.lit(1.0)), ["Cells_0", "Cells_1"]
        ).metrics
        for c in counts
    ]
    assert np.mean([value(m, "normalised_AP") for m in found]) == pytest.approx(0, abs=0.02)
    assert np.mean([value(m, "fraction_retrieved") for m in found]) <= 0.05


def test_several_labels_are_copairs(tmp_path: Path) -> None:
    multilabel = pytest.importorskip("copairs.map.multilabel", reason="the outside reference")
    rng = np.random.default_rng(0)
    labels = ["|".join(sorted(rng.choice(list("abcdef"), rng.integers(1, 4), replace=False))) for _ in range(40)]
    values = (
        rng.normal(size=(40, 8)) + [2.0 * ("a" in label) for label in labels] * np.ones((8, 1)).T.reshape(-1, 1).T.T
        if False
        else rng.normal(size=(40, 8)) + 2.0 * np.array([["a" in label] for label in labels])
    )
    frame = pl.DataFrame(values, schema=[f"Cells_{i}" for i in range(8)]).with_columns(
        pl.Series("Metadata_target", labels), Metadata_control_type=pl.lit(None, pl.String)
    )
    rule = {"multilabel": "Metadata_target"}
    config = RetrievalConfig.model_validate({
        "positives": {"sameby": ["Metadata_target"], **rule}, "negatives": {"diffby": ["Metadata_target"], **rule},
        "pairing": "published", "exact_limit": 0, "strict_ties": True,
    })  # fmt: skip
    ours = mean_average_precision(frame, feature_columns(frame), config)
    meta = frame.select(pl.col("Metadata_target").str.split("|")).to_pandas()
    ap = multilabel.average_precision(
        meta, values, ["Metadata_target"], [], [], ["Metadata_target"], multilabel_col="Metadata_target",
        progress_bar=False,
    )  # fmt: skip
    theirs = ap.groupby("Metadata_target")["average_precision"].mean().sort_index()
    assert ours["Metadata_target"].to_list() == theirs.index.tolist()
    np.testing.assert_allclose(ours["mAP"], theirs, atol=1e-5)


def test_equal_to_copairs_on_real_plates(jump_plates: pl.DataFrame, tmp_path: Path) -> None:
    copairs = pytest.importorskip("copairs.map", reason="the outside reference")
    columns = feature_columns(jump_plates)
    ours = mean_average_precision(
        jump_plates, columns, RetrievalConfig(pairing="published", strict_ties=True, exact_limit=0)
    )
    meta = jump_plates.select("Metadata_Perturbation", "Metadata_Plate", "Metadata_pert_type").to_pandas()
    ap = copairs.average_precision(
        meta, to_matrix(jump_plates, columns), ["Metadata_Perturbation"], [], ["Metadata_Plate"],
        ["Metadata_pert_type"], progress_bar=False,
    )  # fmt: skip
    ap = ap[ap["Metadata_pert_type"] == "trt"]
    theirs = copairs.mean_average_precision(
        ap, ["Metadata_Perturbation"], 10_000, 0.05, 0, progress_bar=False, cache_dir=tmp_path
    ).sort_values("Metadata_Perturbation")
    assert ours["Metadata_Perturbation"].to_list() == theirs["Metadata_Perturbation"].tolist()
    np.testing.assert_allclose(ours["mAP"], theirs["mean_average_precision"], atol=1e-5)
    np.testing.assert_allclose(ours["normalised_AP"], theirs["mean_normalized_average_precision"], atol=1e-5)
    p, q = ours["p_value"].to_numpy(), theirs["p_value"].to_numpy()
    assert (np.abs(p - q) <= 3 * np.sqrt(2 * np.maximum(p, 1e-4) * (1 - p) / 10_000) + 1e-12).mean() > 0.99
    different = ours["retrieved"].to_numpy() != theirs["below_corrected_p"].to_numpy()
    assert np.abs(ours["q_value"].to_numpy()[different] - 0.05).max(initial=0) < 0.01  # one draw of the null decides


def test_controls_are_never_queries_and_a_null_treatment_is_none() -> None:
    frame = screen().with_columns(
        pl.when(pl.col("Metadata_Perturbation") == "t00").then(None).otherwise("Metadata_Perturbation")
        .alias("Metadata_Perturbation"))  # fmt: skip
    found = mean_average_precision(frame, feature_columns(frame))["Metadata_Perturbation"]
    assert found.to_list() == [f"t{i:02d}" for i in range(1, 12)]


@given(st.integers(0, 50), st.floats(0.01, 100))
@settings(max_examples=10, deadline=None)
def test_row_order_and_scale_do_not_matter(seed: int, factor: float) -> None:
    frame = screen(0.5, treatments=6)
    columns = feature_columns(frame)
    order = np.random.default_rng(seed).permutation(frame.height)
    other = frame[order].with_columns(pl.col(columns) * factor)
    assert mean_average_precision(other, columns)["mAP"].to_list() == pytest.approx(
        mean_average_precision(frame, columns)["mAP"].to_list(), abs=1e-4)  # fmt: skip


def test_map_rises_with_the_planted_effect_and_is_at_chance_without() -> None:
    found = [retrieval(f, feature_columns(f)).metrics for f in (screen(e, treatments=40) for e in (0, 0.3, 0.6, 3))]
    scores = [value(metrics, "normalised_AP") for metrics in found]
    assert scores == sorted(scores)
    assert abs(scores[0]) < 0.05
    assert value(found[0], "fraction_retrieved") <= 0.05
    assert value(found[3], "fraction_retrieved") == 1.0


def test_shuffled_labels_against_other_treatments_retrieve_nothing() -> None:
    frame = screen(3, treatments=40, mechanisms=40)
    metrics = retrieval(shuffled(frame), feature_columns(frame), OTHERS).metrics
    assert value(metrics, "fraction_retrieved") <= 0.05
    assert abs(value(metrics, "normalised_AP")) < 0.05


def test_a_label_of_several_is_scored_by_itself() -> None:
    frame = screen(3, treatments=8, plates=1, controls=0).with_columns(
        Metadata_moa=pl.when(pl.col("Metadata_Perturbation") == "t00").then(pl.lit("m0|m1")).otherwise("Metadata_moa"),
        Metadata_control_type=pl.lit(None, pl.String),
    )
    rule = {"multilabel": "Metadata_moa"}
    config = RetrievalConfig.model_validate({
        "positives": {"sameby": ["Metadata_moa"], **rule}, "negatives": {"diffby": ["Metadata_moa"], **rule},
        "queries": "all", "plate": [],
    })  # fmt: skip
    found = mean_average_precision(frame, feature_columns(frame), config)
    assert found["Metadata_moa"].to_list() == ["m0", "m1", "m2", "m3"]
    assert found["n_profiles"].to_list() == [2, 3, 2, 2]


def test_a_position_effect_is_seen_near_and_not_far() -> None:
    frame = screen(0, treatments=40, plates=3, controls=8)
    columns = feature_columns(frame)
    gradient = np.column_stack([frame["Metadata_Row"], frame["Metadata_Col"]])
    frame = frame.with_columns(
        pl.Series(name, frame[name].to_numpy() + 2 * gradient[:, i % 2]) for i, name in enumerate(columns)
    )
    layout = {"Metadata_Perturbation": pl.format("at {} {}", "Metadata_Row", "Metadata_Col")}
    frame = frame.with_columns(Metadata_control_type=pl.lit(None, pl.String), **layout)
    same = mean_average_precision(frame, columns, OTHERS)["normalised_AP"].mean()
    own_plate = PairRule(sameby=("Metadata_Plate",), diffby=("Metadata_Perturbation",), where="treated")
    other_plate = PairRule(diffby=("Metadata_Plate",))
    far = RetrievalConfig(
        pairing="published", positives=other_plate, negatives=own_plate, position=PositionRule(keep="far")
    )
    assert same > 0.3  # type: ignore[operator]
    assert mean_average_precision(frame, columns, far)["normalised_AP"].mean() < same / 2  # type: ignore[operator]


def test_what_cannot_be_scored_is_refused() -> None:
    frame = screen()
    with pytest.raises(InputError, match="Cells_0"):
        mean_average_precision(frame.with_columns(Cells_0=pl.lit(None, pl.Float64)), feature_columns(frame))
    lonely = frame.filter(Metadata_Plate="P0")
    with pytest.raises(InputError, match="no query with positives"):
        mean_average_precision(lonely, feature_columns(lonely))
    assert retrieval(lonely, feature_columns(lonely)).metrics.select("metric", "value", "n").rows() == [
        ("mAP", None, 0), ("normalised_AP", None, 0), ("fraction_retrieved", None, 0),
    ]  # fmt: skip
    with pytest.raises(InputError, match="missing values"):
        average_precision(np.full((frame.height, 2), np.nan), frame, RetrievalConfig())
    with pytest.raises(InputError, match="one row of each"):
        average_precision(np.ones((2, 2)), frame, RetrievalConfig())


def test_metrics_of_the_whole_carry_chance_interval_and_n() -> None:
    frame = screen()
    found = retrieval(frame, feature_columns(frame))
    row = found.metrics.filter(scope="overall", metric="mAP").row(0, named=True)
    assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert 0 < row["chance"] < row["value"]
    assert row["n"] == found.details["treatments"].height == 12
    assert retrieval(frame, feature_columns(frame)).metrics.equals(found.metrics)
