"""Hierarchical clustering of the similarity matrix of treatments: how well a tree tells it, and its clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.inputs import profile_matrix, treatment_profiles
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask
from morpho_assets.evaluate.pairs import codes
from morpho_assets.evaluate.similarity import similarity_to
from morpho_assets.profiles.consensus import ConsensusConfig
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

Matrix = npt.NDArray[np.float64]
METRICS = ("cophenetic", "clusters", "adjusted_rand")


class HierarchyConfig(BaseModel):
    """Agglomerative clustering of 1 - similarity of the treatments' profiles (Sokal & Michener 1958), the tree cut
    where the silhouette is best, or into as many clusters as are asked for. A tree is drawn of anything: the cophenetic
    correlation (Sokal & Rohlf 1962, 10.2307/1217208) says how well it tells the matrix, beside that of a matrix without
    structure, and the adjusted Rand index (Hubert & Arabie 1985, 10.1007/BF01908075) whether the clusters are those of
    the mechanisms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["hierarchy"] = "hierarchy"
    label: str | None = Field(default="Metadata_moa", description="column to compare clusters with; null: none")
    consensus: ConsensusConfig = Field(default=ConsensusConfig(), description="replicates to treatments")
    among: str = Field(default="treated", description="SQL condition of the profiles used")
    similarity: Literal["cosine", "correlation"] = Field(default="cosine", description="how alike two profiles are")
    linkage: Literal["average", "complete", "single"] = Field(
        default="average", description="distance of two clusters: mean, largest or smallest of their pairs"
    )
    clusters: int | None = Field(default=None, ge=2, description="clusters; null: as many as the silhouette likes best")
    most_clusters: int = Field(default=15, ge=2, description="most clusters that are tried")
    shuffles: int = Field(default=20, ge=1, description="matrices without structure, and permutations of the labels")


@dataclass(frozen=True)
class Tree:
    """`merges` (n - 1, 4) as of scipy's linkage, `order` (n,) of the leaves, `clusters` (n,) from 1 in this order, and
    the cophenetic correlation with the (n, n) distances."""

    merges: Matrix
    order: npt.NDArray[np.intp]
    clusters: npt.NDArray[np.int64]
    cophenetic: float


def tree_of(distances: Matrix, config: HierarchyConfig) -> Tree:
    """The tree of (n, n) distances of at least three treatments. Equal distances merge in the order of the rows."""
    from scipy.cluster.hierarchy import cophenet, fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    n = len(distances)
    pairs = squareform(distances, checks=False)
    merges = linkage(pairs, config.linkage)
    cophenetic = cophenet(merges, pairs)[0] if np.ptp(pairs) > 0 else np.nan
    tried = [config.clusters] if config.clusters else range(2, min(config.most_clusters, n - 1) + 1)
    best, score = np.ones(n, dtype=np.int64), -np.inf
    for count in tried:
        found = fcluster(merges, min(count, n), "maxclust")
        kinds = np.unique(found).size
        value = silhouette_score(distances, found, metric="precomputed") if 1 < kinds < n else -1.0
        if value > score:
            best, score = found, value
    order = np.asarray(leaves_list(merges), dtype=np.intp)
    _, first, code = np.unique(best[order], return_index=True, return_inverse=True)
    clusters = np.empty(n, dtype=np.int64)
    clusters[order] = np.argsort(np.argsort(first))[code] + 1
    return Tree(merges, order, clusters, float(cophenetic))


def distances_of(matrix: Matrix, similarity: str) -> Matrix:
    """(n, n) 1 - similarity of the rows, 0 on the diagonal, never negative."""
    alike = similarity_to(matrix, matrix, similarity).astype(float)
    distances = np.maximum(1 - (alike + alike.T) / 2, 0)
    np.fill_diagonal(distances, 0)
    return np.asarray(distances)


def hierarchy(
    profiles: pl.DataFrame, features: Sequence[str], config: HierarchyConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows cophenetic and clusters (their number), each beside that of the same values with each feature's permuted
    over the treatments, and, with a label, adjusted_rand (chance and p: labels permuted). Detail `clusters`: of each
    treatment its cluster and its place among the leaves, neighbours side by side. Fewer than three treatments: rows
    without value, n = 0."""
    config = config or HierarchyConfig()
    labels = [config.label] if config.label else []
    names = METRICS[: 3 if config.label else 2]
    require_columns(profiles, labels, "hierarchy")
    frame = treatment_profiles(profiles.filter(rows_where(profiles, config.among)), features, config.consensus, labels)
    if frame.height < 3:
        return nothing_to_ask(config.evaluator, names)
    matrix = profile_matrix(frame, features, "hierarchy")
    tree = tree_of(distances_of(matrix, config.similarity), config)
    rng = np.random.default_rng(seed)
    null = [
        tree_of(distances_of(rng.permuted(matrix, axis=0), config.similarity), config) for _ in range(config.shuffles)
    ]
    chances = np.mean([[each.cophenetic, each.clusters.max()] for each in null], axis=0)
    found = (tree.cophenetic, float(tree.clusters.max()))
    rows = [
        metric_row(config.evaluator, "overall", name, value, frame.height, float(chance))
        for name, value, chance in zip(METRICS[:2], found, chances, strict=True)
    ]
    if config.label:
        rows.append(_agreement(config, codes(frame[config.label]), tree.clusters, rng))
    keys = frame.select(config.consensus.by)
    place = np.empty(frame.height, dtype=np.int64)
    place[tree.order] = np.arange(1, frame.height + 1)
    table = keys.with_columns(cluster=pl.Series(tree.clusters), place=pl.Series(place)).sort("place")
    return Evaluation(metrics_frame(rows), {"clusters": table})


def _agreement(
    config: HierarchyConfig, label: npt.NDArray[np.int64], clusters: npt.NDArray[np.int64], rng: np.random.Generator
) -> dict[str, object]:
    from sklearn.metrics import adjusted_rand_score

    known = label >= 0
    if np.unique(label[known]).size < 2:
        return metric_row(config.evaluator, "overall", "adjusted_rand", np.nan, 0)
    value = adjusted_rand_score(label[known], clusters[known])
    shuffles = max(config.shuffles, 99)
    null = np.array([adjusted_rand_score(rng.permutation(label[known]), clusters[known]) for _ in range(shuffles)])
    p = float(((null >= value - 1e-12).sum() + 1) / (shuffles + 1))
    return metric_row(config.evaluator, "overall", "adjusted_rand", value, int(known.sum()), float(null.mean()),
                      p_value=p)  # fmt: skip
