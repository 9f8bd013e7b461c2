from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import mannwhitneyu

from morpho_assets.errors import InputError
from morpho_assets.evaluate.cluster_validation import cluster_validation
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
    naive, honest = [], []
    for seed in range(20):  # treatments differ, clusters mean nothing
        frame = screen(2, seed, mechanisms=12, controls=0)
        groups = {f"t{i:02d}": f"c{i % 3}" for i in range(12)}
        frame = frame.with_columns(Metadata_Cluster=pl.col("Metadata_Perturbation").replace(groups))
        found = cluster_validation(frame, feature_columns(frame)).metrics
        naive.append(value(found, "naive_mann_whitney_u", "p_value"))
        honest.append(value(found, "auc", "p_value"))
    assert np.mean(np.array(naive) < 0.05) > 0.6  # replicates are within a cluster by construction
    assert np.mean(np.array(honest) < 0.05) < 0.25


def test_one_cluster_cannot_be_validated() -> None:
    frame = treated(1).with_columns(Metadata_Cluster=pl.lit("c"))
    with pytest.raises(InputError, match="pairs of one kind"):
        cluster_validation(frame, feature_columns(frame))
