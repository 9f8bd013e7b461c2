"""Are clusters found in one feature space also tighter in another? Mann-Whitney on within and between similarities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame
from morpho_assets.evaluate.pairs import codes
from morpho_assets.evaluate.similarity import SIMILARITIES
from morpho_assets.profiles.features import complete_matrix, require_columns


class ClusterValidationConfig(BaseModel):
    """Within against between similarities in a space the clusters were not made from. The pairs share profiles, so
    the Mann-Whitney p is far too small: the p-value given permutes the labels of `unit`, and the naive one is an extra
    row for comparison with publications."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["cluster_validation"] = "cluster_validation"
    cluster: str = Field(default="Metadata_Cluster", description="column of the cluster")
    unit: str = Field(default="Metadata_Perturbation", description="column whose values keep one cluster when permuted")
    similarity: Literal["cosine", "correlation"] = Field(default="cosine", description="how alike two profiles are")
    permutations: int = Field(default=1000, ge=10, description="permutations of the clusters over units")


def cluster_validation(
    profiles: pl.DataFrame, features: Sequence[str], config: ClusterValidationConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows auc = U / (n_within n_between) (chance 0.5, permutation p) and naive_mann_whitney_u with its p. Detail
    `similarities`: mean, median and n of both kinds. InputError unless both kinds of pair occur."""
    config = config or ClusterValidationConfig()
    require_columns(profiles, [config.cluster, config.unit], "cluster_validation")
    frame = profiles.filter(pl.col(config.cluster).is_not_null())
    prepare, compare = SIMILARITIES[config.similarity]
    prepared = prepare(complete_matrix(frame, features, "cluster_validation"))
    first, second = np.triu_indices(frame.height, k=1)
    similarity = compare(prepared, prepared)[first, second]
    clusters, units = codes(frame[config.cluster]), codes(frame[config.unit])
    within = clusters[first] == clusters[second]
    if within.all() or not within.any():
        raise InputError("profiles", config.cluster, "pairs of one kind only", "pairs within and between clusters",
                         "Use at least two clusters, one of them with two profiles.")  # fmt: skip
    ranks = _ranks(similarity)
    auc = _auc(ranks, within)
    null = _permuted(ranks, clusters, units, first, second, config.permutations, np.random.default_rng(seed))
    p = float((np.sum(null >= auc - 1e-12) + 1) / (null.size + 1))
    n_within, n_between = int(within.sum()), int((~within).sum())
    rows = [
        metric_row(config.evaluator, "overall", "auc", auc, np.unique(units).size, 0.5, p_value=p),
        metric_row(config.evaluator, "overall", "naive_mann_whitney_u", auc * n_within * n_between, similarity.size,
                   n_within * n_between / 2, p_value=_naive_p(auc, ranks, n_within, n_between)),
    ]  # fmt: skip
    detail = pl.DataFrame({
        "pairs": ["within", "between"], "n": [n_within, n_between],
        "mean": [float(similarity[within].mean()), float(similarity[~within].mean())],
        "median": [float(np.median(similarity[within])), float(np.median(similarity[~within]))],
    })  # fmt: skip
    return Evaluation(metrics_frame(rows), {"similarities": detail})


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))


def _auc(ranks: npt.NDArray[np.float64], within: npt.NDArray[np.bool_]) -> float:
    n = int(within.sum())
    return float((ranks[within].sum() - n * (n + 1) / 2) / (n * (within.size - n)))


def _naive_p(auc: float, ranks: npt.NDArray[np.float64], n_within: int, n_between: int) -> float:
    """One-sided normal approximation with the correction for ties."""
    from scipy.special import ndtr

    n = n_within + n_between
    ties = np.unique(ranks, return_counts=True)[1].astype(float)
    variance = n_within * n_between / 12 * (n + 1 - (ties**3 - ties).sum() / (n * (n - 1)))
    excess = (auc - 0.5) * n_within * n_between - 0.5
    return float(ndtr(-excess / np.sqrt(variance))) if variance > 0 else 1.0


def _permuted(
    ranks: npt.NDArray[np.float64], clusters: npt.NDArray[np.int64], units: npt.NDArray[np.int64],
    first: npt.NDArray[np.intp], second: npt.NDArray[np.intp], permutations: int, rng: np.random.Generator,
) -> npt.NDArray[np.float64]:  # fmt: skip
    """AUC after permuting the clusters over units; permutations that leave pairs of one kind only give 0.5."""
    _, start, member = np.unique(units, return_index=True, return_inverse=True)
    of_unit = clusters[start]
    null = np.full(permutations, 0.5)
    for i in range(permutations):
        labels = rng.permutation(of_unit)[member]
        within = labels[first] == labels[second]
        if within.any() and not within.all():
            null[i] = _auc(ranks, within)
    return null
