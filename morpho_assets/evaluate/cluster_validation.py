"""Are clusters found in one feature space also tighter in another? Mann-Whitney on within and between similarities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.clustering import kmeans_clusters
from morpho_assets.evaluate.inputs import profile_matrix, treatment_profiles
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask
from morpho_assets.evaluate.pairs import codes
from morpho_assets.evaluate.similarity import SIMILARITIES
from morpho_assets.profiles.consensus import ConsensusConfig
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where


class ClusterValidationConfig(BaseModel):
    """Within against between similarities, on what the clusters were not made from. The pairs share profiles, so the
    Mann-Whitney p is far too small: the p-value given permutes the clusters over treatments, and the naive one is an
    extra row for comparison with publications."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["cluster_validation"] = "cluster_validation"
    cluster: str = Field(
        default="Metadata_Cluster", description="column of the cluster; absent: k-means clusters of the treatments"
    )
    unit: str = Field(default="Metadata_Perturbation", description="column of the treatment, which has one cluster")
    validate_on: tuple[str, ...] = Field(
        default=(),
        description="prefixes of the features to validate on, clusters being made from the others; empty: all, "
        "clusters being made from one half of a treatment's profiles and validated on the other",
    )
    among: str = Field(default="treated", description="SQL condition of the profiles used")
    most_clusters: int = Field(default=15, ge=2, description="k-means with 2 to this many; the best silhouette wins")
    similarity: Literal["cosine", "correlation"] = Field(default="cosine", description="how alike two profiles are")
    permutations: int = Field(default=1000, ge=10, description="permutations of the clusters over treatments")
    most_profiles: int = Field(
        default=2000, ge=10, description="profiles whose pairs are compared; of more, a random sample of this many"
    )


def cluster_validation(
    profiles: pl.DataFrame, features: Sequence[str], config: ClusterValidationConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows auc = U / (n_within n_between) (chance: its mean over permutations of the clusters, p from the same) and
    naive_mann_whitney_u with its p. Detail `similarities`: mean, median and n of both kinds of pair; `clusters`: the
    cluster of each treatment.

    Chance is above 0.5 by what replicates, always in one cluster, are alike. Where no two clusters can be compared, as
    when a treatment has one profile only, rows without value, n = 0. InputError for a treatment in several clusters.
    """
    config = config or ClusterValidationConfig()
    require_columns(profiles, [config.unit], "cluster_validation")
    frame = profiles.filter(rows_where(profiles, config.among)).drop_nulls(config.unit)
    validated = [name for name in features if not config.validate_on or name.startswith(config.validate_on)]
    if config.cluster in profiles.columns:
        frame = frame.drop_nulls(config.cluster)
        clusters = frame.group_by(config.unit).agg(pl.col(config.cluster).unique()).sort(config.unit)
        _refuse_several(clusters, config)
        clusters = clusters.with_columns(pl.col(config.cluster).list.first())
    else:
        made_from = [name for name in features if name not in set(validated)] or validated
        made, frame = (frame, frame) if config.validate_on else _halves(frame, config.unit)
        clusters = _clusters(made, made_from, config, seed)
    rng = np.random.default_rng(seed)
    frame = frame.join(clusters.select(config.unit), on=config.unit, how="semi", maintain_order="left")
    if frame.height > config.most_profiles:
        frame = frame[np.sort(rng.choice(frame.height, config.most_profiles, replace=False))]
    clusters = clusters.join(frame.select(config.unit), on=config.unit, how="semi", maintain_order="left")
    names = ["auc", "naive_mann_whitney_u"]
    if not clusters.height:
        return nothing_to_ask(config.evaluator, names)
    prepare, compare = SIMILARITIES[config.similarity]
    prepared = prepare(profile_matrix(frame, validated, "cluster_validation"))
    first, second = np.triu_indices(frame.height, k=1)
    similarity = compare(prepared, prepared)[first, second]
    unit, of_unit = codes(frame[config.unit]), codes(clusters[config.cluster])
    within = of_unit[unit][first] == of_unit[unit][second]
    if within.all() or not within.any():
        return nothing_to_ask(config.evaluator, names)
    ranks = _ranks(similarity)
    auc, *permuted = _aucs(ranks, unit, first, second, [of_unit, *(rng.permutation(of_unit) for _ in
                                                                  range(config.permutations))])  # fmt: skip
    null = np.array(permuted)
    p = float((np.sum(null >= auc - 1e-12) + 1) / (null.size + 1))
    n_within, n_between = int(within.sum()), int((~within).sum())
    rows = [
        metric_row(config.evaluator, "overall", names[0], auc, of_unit.size, float(null.mean()), p_value=p),
        metric_row(config.evaluator, "overall", names[1], auc * n_within * n_between, similarity.size,
                   n_within * n_between / 2, p_value=_naive_p(auc, ranks, n_within, n_between)),
    ]  # fmt: skip
    detail = pl.DataFrame({
        "pairs": ["within", "between"], "n": [n_within, n_between],
        "mean": [float(similarity[within].mean()), float(similarity[~within].mean())],
        "median": [float(np.median(similarity[within])), float(np.median(similarity[~within]))],
    })  # fmt: skip
    return Evaluation(metrics_frame(rows), {"similarities": detail, "clusters": clusters})


def _refuse_several(clusters: pl.DataFrame, config: ClusterValidationConfig) -> None:
    several = clusters.filter(pl.col(config.cluster).list.len() > 1)
    if several.height:
        unit, values = several.row(0)
        raise InputError("profiles", f"treatment {unit}",
                         f"several values of {config.cluster}: {', '.join(sorted(map(repr, values)))}",
                         "one cluster per treatment", "Correct the column, or name another one.")  # fmt: skip


def _halves(frame: pl.DataFrame, unit: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every second profile of each treatment, in the order of plates and wells, and the others."""
    place = [name for name in ("Metadata_Plate", "Metadata_Well") if name in frame.columns]
    ordered = frame.sort(place, maintain_order=True) if place else frame
    second = pl.int_range(pl.len()).over(unit) % 2 == 1
    return ordered.filter(~second), ordered.filter(second)


def _clusters(
    profiles: pl.DataFrame, features: Sequence[str], config: ClusterValidationConfig, seed: int
) -> pl.DataFrame:
    """The cluster of each treatment: k-means of the median profiles, scaled as the similarity does, with the k of the
    best silhouette; no row for fewer than 4 treatments."""
    treatments = treatment_profiles(profiles, features, ConsensusConfig(by=(config.unit,)), [])
    if treatments.height < 4:
        return treatments.select(config.unit).clear().with_columns(pl.lit(0).alias(config.cluster))
    matrix = SIMILARITIES[config.similarity][0](profile_matrix(treatments, features, "cluster_validation"))
    found = kmeans_clusters(matrix, None, config.most_clusters, seed)
    return treatments.select(config.unit).with_columns(pl.Series(config.cluster, found))


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))


def _aucs(
    ranks: npt.NDArray[np.float64], unit: npt.NDArray[np.int64], first: npt.NDArray[np.intp],
    second: npt.NDArray[np.intp], labelings: Sequence[npt.NDArray[np.int64]],
) -> list[float]:  # fmt: skip
    """AUC by each (units,) labeling, from the ranks of pairs summed once over each pair of units; 0.5 where a labeling
    leaves pairs of one kind only."""
    from scipy.sparse import csr_matrix

    units = labelings[0].size
    sums = np.bincount(unit[first] * units + unit[second], ranks, units * units).reshape(units, units)
    sizes = np.bincount(unit, minlength=units)
    aucs = []
    for labels in labelings:
        members = csr_matrix((np.ones(units), (labels, np.arange(units))))
        total = (members @ sums)[labels, np.arange(units)].sum()
        counts = members @ sizes
        n = float((counts * (counts - 1) / 2).sum())
        between = ranks.size - n
        aucs.append(float((total - n * (n + 1) / 2) / (n * between)) if n and between else 0.5)
    return aucs


def _naive_p(auc: float, ranks: npt.NDArray[np.float64], n_within: int, n_between: int) -> float:
    """One-sided normal approximation with the correction for ties."""
    from scipy.special import ndtr

    n = n_within + n_between
    ties = np.unique(ranks, return_counts=True)[1].astype(float)
    variance = n_within * n_between / 12 * (n + 1 - (ties**3 - ties).sum() / (n * (n - 1)))
    excess = (auc - 0.5) * n_within * n_between - 0.5
    return float(ndtr(-excess / np.sqrt(variance))) if variance > 0 else 1.0
