from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.batch import (
    LABEL_METRICS,
    BatchConfig,
    batch_asw,
    batch_effects,
    explained_by,
    graph_connectivity,
    ilisi,
    kbet,
)
from morpho_assets.evaluate.neighbours import gaussian_weights, lisi, nearest
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value


def two(shift: float, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """(profiles, (1, n) batches) of one kind of profile in two batches that point apart by `shift`."""
    batch = np.arange(n) % 2
    values = np.random.default_rng(0).normal(size=(n, 5)) + shift * np.where(batch, 1, -1)[:, None]
    return values, batch[None]


def test_neighbours_and_weights_by_hand() -> None:
    distances, rows = nearest(np.array([[0.0], [1], [3], [7]]), 2, "euclidean")
    assert rows.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert distances.tolist() == [[1, 3], [1, 2], [2, 3], [4, 6]]
    weights = gaussian_weights(np.random.default_rng(0).random((9, 30)), 10)
    np.testing.assert_allclose(np.exp(-(weights * np.log(weights)).sum(axis=1)), 10, rtol=1e-6)


def test_lisi_counts_the_kinds_among_neighbours() -> None:
    rows = np.array([[1, 2, 3], [0, 2, 3]])
    weights = np.array([[0.5, 0.25, 0.25], [1.0, 0, 0]])
    np.testing.assert_allclose(lisi(weights, rows, np.array([0, 1, 1, 2])), [1 / (0.75**2 + 0.25**2), 1])


@pytest.mark.parametrize("metric", [lambda m, b: kbet(m, b, 15, 0.05), lambda m, b: ilisi(m, b, 15), batch_asw])
def test_mixing_metrics_fall_from_near_1_to_near_0(metric) -> None:  # type: ignore[no-untyped-def]
    values = [metric(*two(shift))[0] for shift in (0, 0.3, 100)]
    assert values[0] > values[1] > values[2]
    assert values[0] > 0.85
    assert values[2] < 0.1


def test_explained_variance_by_hand() -> None:
    batch, label = np.array([0, 0, 1, 1]), np.zeros(4, dtype=int)

    def explained(values: list[float], label: np.ndarray) -> float:
        return explained_by(np.array(values)[:, None], batch[None], label, 5)[0]

    assert explained([0, 0, 1, 1], label) == pytest.approx(1)
    assert explained([0, 1, 0, 1], label) == pytest.approx(0)
    assert np.isnan(explained([1, 1, 1, 1], label))
    assert explained([0, 5, 1, 6], np.array([0, 1, 0, 1])) == pytest.approx(1)  # labels 5 apart, batches 1
    assert np.isnan(explained([0, 5, 1, 6], batch))  # each label in one batch


def test_batches_of_different_treatments_are_no_batch_effect() -> None:
    first, second = screen(3, 1, mechanisms=12), screen(3, 1, mechanisms=12, plates=4)
    other = second.with_columns(
        pl.when(pl.col("Metadata_control_type").is_null()).then(pl.format("u{}", "Metadata_Perturbation"))
        .otherwise("Metadata_Perturbation").alias("Metadata_Perturbation"),
        pl.format("Q{}", "Metadata_Plate").alias("Metadata_Plate"),
    )  # fmt: skip
    shift = pl.when(pl.col("Metadata_control_type").is_null()).then(5.0).otherwise(0.0)
    other = other.with_columns(pl.col(feature_columns(other)) + shift)  # the treatments differ, the controls do not
    frame = pl.concat([first, other]).with_columns(Metadata_Batch=pl.col("Metadata_Plate").str.slice(0, 1))
    metrics = batch_effects(frame, feature_columns(frame), BatchConfig(batch="Metadata_Batch", among="all")).metrics
    assert value(metrics, "PCR") == pytest.approx(value(metrics, "PCR", "chance"), abs=0.03)
    assert value(metrics, "PCR", "n") == frame.height


def test_connectivity_by_hand() -> None:
    chain = np.array([[1], [0], [3], [2], [2]])
    assert graph_connectivity(chain, np.array([0, 0, 0, 0, 1])) == pytest.approx(0.5)
    # Nobody of its kind has the fifth as a neighbour: it is reached by no way
    assert graph_connectivity(chain, np.array([0, 0, 1, 1, 1])) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(graph_connectivity(chain, np.arange(5)))


def test_a_batch_effect_lowers_the_batch_mean_below_its_chance_and_biology_the_other_way() -> None:
    config = BatchConfig(among="all", perplexity=5)
    clean, shifted = (
        batch_effects(f, feature_columns(f), config).metrics
        for f in (screen(2, controls=30), screen(2, controls=30, batch=4))
    )
    assert value(clean, "batch_mean") == pytest.approx(value(clean, "batch_mean", "chance"), abs=0.1)
    assert value(shifted, "batch_mean") < value(clean, "batch_mean") - 0.2
    assert value(clean, "label_mean") > value(clean, "label_mean", "chance")
    both = 0.4 * value(clean, "batch_mean") + 0.6 * value(clean, "label_mean")
    assert value(clean, "overall") == pytest.approx(both)


def test_clusters_of_profiles_are_the_labels_where_these_are_apart() -> None:
    frame = screen(8, mechanisms=12)
    metrics = batch_effects(frame, feature_columns(frame), BatchConfig(perplexity=2)).metrics
    for name in ("NMI", "ARI"):
        assert value(metrics, name) > 0.9
    assert value(metrics, "ARI", "chance") == pytest.approx(0, abs=0.05)
    kept = [value(metrics, name) for name in LABEL_METRICS]
    assert value(metrics, "label_mean") == pytest.approx(np.mean(kept))


def test_n_counts_the_profiles_that_a_metric_uses() -> None:
    frame = screen(2, controls=30)
    metrics = batch_effects(frame, feature_columns(frame), BatchConfig(among="all", perplexity=5)).metrics
    assert value(metrics, "kBET", "n") == 4 * 30  # a treatment has one well per plate
    assert value(metrics, "label_ASW", "n") == frame.height


def test_batches_of_nothing_are_at_chance() -> None:
    frame = screen(0, treatments=30, controls=60)
    metrics = batch_effects(frame, feature_columns(frame), BatchConfig(among="all")).metrics
    for row in metrics.iter_rows(named=True):
        assert row["value"] == pytest.approx(row["chance"], abs=0.05), row["metric"]


def test_profiles_without_information_and_one_batch() -> None:
    frame = screen(2).with_columns(Cells_0=pl.lit(1.0))
    flat = batch_effects(frame, ["Cells_0"], BatchConfig(perplexity=5)).metrics
    assert value(flat, "ARI") == 0
    assert "PCR" not in flat["metric"]
    frame = screen(plates=1)
    one = batch_effects(frame, feature_columns(frame)).metrics
    assert one["n"].unique().to_list() == [0]
    assert one["value"].null_count() == one.height == 13


def test_labels_of_one_profile_allow_no_batch_metric() -> None:
    frame = screen(2).with_columns(Metadata_Perturbation=pl.int_range(pl.len()).cast(pl.String))
    metrics = batch_effects(frame, feature_columns(frame), BatchConfig(perplexity=5)).metrics
    assert set(metrics["metric"]) == {*LABEL_METRICS, "label_mean", "batch_mean", "overall"} - {"mAP"}
    assert metrics.filter(pl.col("metric").is_in(["batch_mean", "overall"]))["value"].null_count() == 2


def test_controls_are_left_out_unless_they_are_asked_for() -> None:
    frame = screen(2, controls=30)
    metrics = batch_effects(frame, feature_columns(frame), BatchConfig(perplexity=5)).metrics
    assert value(metrics, "label_ASW", "n") == frame.filter(pl.col("Metadata_control_type").is_null()).height


def test_map_finds_a_label_in_other_batches_by_hand() -> None:
    """Two labels in two batches. Of four profiles at right angles or alike, those of `a` are alike and find each other
    before `b`; those of `b` are not, and the other batch's `a` is as far as their partner: half of the orders."""
    frame = pl.DataFrame({
        "Metadata_Plate": ["1", "2", "1", "2"], "Metadata_Perturbation": ["a", "a", "b", "b"],
        "Cells_X": [1.0, 1, 0, 0], "Cells_Y": [0.0, 0, 1, 0], "Cells_Z": [0.0, 0, 0, 1],
    })  # fmt: skip
    found = batch_effects(frame, ["Cells_X", "Cells_Y", "Cells_Z"], BatchConfig(among="all", neighbours=2)).metrics
    assert value(found, "mAP") == pytest.approx((1 + 0.75) / 2)
    assert value(found, "mAP", "chance") == pytest.approx(0.75)
