from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import mannwhitneyu

from morpho_assets.errors import InputError
from morpho_assets.evaluate.cluster_validation import ClusterValidationConfig, _aucs, cluster_validation
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets_tests.evaluate.conftest import screen, value


def treated(effect: float) -> pl.DataFrame:
    return screen(effect, controls=0).with_columns(Metadata_Cluster="Metadata_moa")


def test_auc_and_naive_p_are_scipys() -> None:
    frame = treated(0.2)
    found = cluster_validation(frame, feature_columns(frame)).metrics
    values = to_matrix(frame, feature_columns(frame))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    first, second = np.triu_indices(len(unit), 1)
    cluster = frame["Metadata_Cluster"].to_numpy()
    similarity, within = (unit @ unit.T)[first, second], cluster[first] == cluster[second]
    expected = mannwhitneyu(similarity[within], similarity[~within], alternative="greater", method="asymptotic")
    assert value(found, "auc") == pytest.approx(expected.statistic / (within.sum() * (~within).sum()))
    assert value(found, "naive_mann_whitney_u", "p_value") == pytest.approx(expected.pvalue, rel=1e-6)


def test_permuting_treatments_is_honest_where_the_naive_p_is_not() -> None:
    strong = treated(2)
    assert value(cluster_validation(strong, feature_columns(strong)).metrics, "auc", "p_value") < 0.01
    naive, honest, values, chances = [], [], [], []
    config = ClusterValidationConfig(permutations=99)
    for seed in range(100):  # treatments differ, clusters mean nothing
        frame = screen(2, seed, mechanisms=12, controls=0)
        groups = {f"t{i:02d}": f"c{i % 3}" for i in range(12)}
        frame = frame.with_columns(Metadata_Cluster=pl.col("Metadata_Perturbation").replace(groups))
        found = cluster_validation(frame, feature_columns(frame), config, seed).metrics
        naive.append(value(found, "naive_mann_whitney_u", "p_value"))
        honest.append(value(found, "auc", "p_value"))
        values.append(value(found, "auc"))
        chances.append(value(found, "auc", "chance"))
    assert np.mean(np.array(naive) < 0.05) > 0.6  # replicates are within a cluster by construction
    assert np.mean(np.array(honest) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert np.mean(chances) > 0.55  # and not 0.5
    assert np.mean(values) == pytest.approx(np.mean(chances), abs=3 * np.std(values) / 10)


def test_permutations_are_those_of_a_loop_over_pairs() -> None:
    rng = np.random.default_rng(0)
    unit = rng.integers(6, size=25)
    first, second = np.triu_indices(25, 1)
    ranks = rng.permutation(first.size) + 1.0
    labelings = [rng.integers(3, size=6) for _ in range(5)] + [np.zeros(6, dtype=int)]
    for labels, found in zip(labelings, _aucs(ranks, unit, first, second, labelings), strict=True):
        within = labels[unit[first]] == labels[unit[second]]
        if within.all():
            assert found == 0.5
        else:
            expected = mannwhitneyu(ranks[within], ranks[~within]).statistic / (within.sum() * (~within).sum())
            assert found == pytest.approx(expected)


@pytest.mark.parametrize("validate_on", [(), ("Cells_1",)])
def test_clusters_are_made_where_there_is_no_column(validate_on: tuple[str, ...]) -> None:
    config = ClusterValidationConfig(validate_on=validate_on)
    frame = screen(3, treatments=24, own=0.05)
    found = cluster_validation(frame, feature_columns(frame), config)
    assert value(found.metrics, "auc") > 0.9
    assert value(found.metrics, "auc", "p_value") < 0.01
    assert value(found.metrics, "auc", "n") == 24
    table = found.details["clusters"].join(
        frame.select("Metadata_Perturbation", "Metadata_moa").unique(), on="Metadata_Perturbation"
    )
    assert table.select("Metadata_moa", "Metadata_Cluster").unique().height == 4  # k = 4, one for each mechanism


def test_clusters_of_noise_are_at_chance_as_they_are_validated_on_what_did_not_make_them() -> None:
    found = []
    for seed in range(20):
        frame = screen(0, seed, treatments=30, controls=0)
        config = ClusterValidationConfig(permutations=99)
        metrics = cluster_validation(frame, feature_columns(frame), config, seed).metrics
        found.append([value(metrics, "auc"), value(metrics, "auc", "chance"), value(metrics, "auc", "p_value")])
    values, chances, p = np.array(found).T
    assert values.mean() == pytest.approx(chances.mean(), abs=3 * values.std() / np.sqrt(20))
    assert (p <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20)


def test_of_many_profiles_a_sample_is_compared() -> None:
    frame = treated(2)
    found = cluster_validation(frame, feature_columns(frame), ClusterValidationConfig(most_profiles=30))
    assert value(found.metrics, "naive_mann_whitney_u", "n") == 30 * 29 / 2
    assert value(found.metrics, "auc") > 0.9


def test_what_cannot_be_validated() -> None:
    one = treated(1).with_columns(Metadata_Cluster=pl.lit("c"))
    single = screen(1, plates=1)  # no second half
    few = screen(1, treatments=3)
    for frame in (one, single, few):
        assert cluster_validation(frame, feature_columns(frame)).metrics["n"].to_list() == [0, 0]
    split = treated(1).with_columns(Metadata_Cluster="Metadata_Plate")
    with pytest.raises(InputError, match="treatment t00: found several values of Metadata_Cluster: 'P0', 'P1'"):
        cluster_validation(split, feature_columns(split))
