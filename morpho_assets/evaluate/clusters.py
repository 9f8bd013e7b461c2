"""Groups of treatments, and what is known of their members that the grouping did not see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.clustering import Clusters, kmeans_clusters, leiden_clusters, tree_clusters
from morpho_assets.evaluate.inputs import profile_matrix, treatment_profiles
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask
from morpho_assets.evaluate.pairs import codes
from morpho_assets.evaluate.similarity import SIMILARITIES
from morpho_assets.profiles.consensus import ConsensusConfig
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

Matrix = NDArray[np.float64]
METRICS = ("clusters", "silhouette", "adjusted_rand", "described")
LEAST = 4  # treatments: of fewer nothing is a group


class ClustersConfig(BaseModel):
    """Treatments grouped by their consensus profiles, and every group described by what it has more of than chance: the
    values of metadata columns (mechanisms, targets), and features, best of those that the groups were not made from.
    Any method finds groups in anything, so all numbers stand beside those of features permuted over treatments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["clusters"] = "clusters"
    method: Literal["kmeans", "hierarchical", "leiden"] = Field(
        default="leiden",
        description="kmeans; hierarchical: the tree of distances, cut; leiden: communities of nearest neighbours",
    )
    clusters: int | None = Field(
        default=None, ge=2, description="kmeans, hierarchical: clusters; null: as many as the silhouette likes best"
    )
    most_clusters: int = Field(default=15, ge=2, description="kmeans, hierarchical: most clusters that are tried")
    neighbours: int = Field(default=10, ge=1, description="leiden: nearest neighbours of each treatment")
    resolution: float = Field(default=1.0, gt=0, description="leiden: the higher, the more and smaller clusters")
    linkage: Literal["average", "complete", "single"] = Field(
        default="average", description="hierarchical: distance of two clusters"
    )
    similarity: Literal["cosine", "correlation"] = Field(default="cosine", description="how alike two profiles are")
    made_from: tuple[str, ...] = Field(
        default=(), description="prefixes of the features that clusters are made from; none: all"
    )
    describe: tuple[str, ...] = Field(
        default=("Metadata_moa",), description="columns that describe clusters; the first is also compared with them"
    )
    separator: str | None = Field(default="|", description="what separates several values in them; null: one value")
    features: int = Field(default=5, ge=0, description="features that describe each cluster, the most telling first")
    consensus: ConsensusConfig = Field(default=ConsensusConfig(), description="replicates to treatments")
    among: str = Field(default="treated", description="SQL condition of the profiles used")
    threshold: float = Field(default=0.05, gt=0, lt=1, description="q-value under which a value describes a cluster")
    shuffles: int = Field(default=20, ge=1, description="permuted profiles and labels, behind the chance")


DESCRIPTIONS: dict[str, Any] = {
    "cluster": pl.Int32, "treatments": pl.Int32, "kind": pl.String, "name": pl.String, "value": pl.String,
    "inside": pl.Int32, "outside": pl.Int32, "effect": pl.Float64, "p_value": pl.Float64, "q_value": pl.Float64,
}  # fmt: skip


def clusters(
    profiles: pl.DataFrame, features: Sequence[str], config: ClustersConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows clusters (their number) and silhouette, beside those of each feature permuted over treatments; adjusted_rand
    with the first column of `describe` (chance and p: its values permuted) and described (the share of clusters that a
    value describes at `threshold`; chance likewise), n = 0 where the column is not there or has one value.

    Detail `clusters`: of each treatment its cluster, and its place, clusters together, within one the most typical
    first. Detail `cluster_descriptions` (DESCRIPTIONS): of each cluster the values that it has (Fisher's exact test,
    Benjamini-Hochberg over all values and clusters; `effect` is the odds ratio, half added to each count) and its most
    telling features (`effect` is the chance that a member is above a treatment of another cluster; p and q of the
    Mann-Whitney test where the clusters were not made from the feature, else none: they would be circular).

    Fewer than four treatments: rows without value, n = 0.
    """
    config = config or ClustersConfig()
    frame = profiles.filter(rows_where(profiles, config.among))
    there = [name for name in config.describe if name in profiles.columns]
    require_columns(profiles, config.consensus.by, "clusters")
    frame = treatment_profiles(frame, features, config.consensus, there)
    if frame.height < LEAST:
        return nothing_to_ask(config.evaluator, METRICS, "fewer than four treatments")
    made = [name for name in features if not config.made_from or name.startswith(config.made_from)]
    matrix = profile_matrix(frame, made, "clusters")
    found = cluster_rows(matrix, config, seed)
    rng = np.random.default_rng(seed)
    nulls = [rng.permuted(matrix, axis=0) for _ in range(config.shuffles)]
    grouped = [cluster_rows(null, config, seed) for null in nulls]
    apart = [_silhouette(null, each, config) for null, each in zip(nulls, grouped, strict=True)]
    known = [each for each in apart if np.isfinite(each)]  # permuted profiles that are all one cluster have none
    by_chance = float(np.mean(known)) if known else None
    n = frame.height
    rows = [
        metric_row(config.evaluator, "overall", "clusters", float(found.max()), n,
                   float(np.mean([each.max() for each in grouped]))),
        metric_row(config.evaluator, "overall", "silhouette", _silhouette(matrix, found, config), n, by_chance),
        *_told(frame, found, config, rng),
    ]  # fmt: skip
    parts = [describe_values(found, frame[name].to_list(), name, config.separator) for name in there]
    parts.append(_features(frame, features, found, set(made), config))
    described = pl.concat([part for part in parts if part.height] or [pl.DataFrame(schema=DESCRIPTIONS)])
    order = np.lexsort((-_typical(matrix, found, config), found))
    place = np.empty(n, np.int64)
    place[order] = np.arange(1, n + 1)
    table = frame.select(config.consensus.by).with_columns(cluster=pl.Series(found), place=pl.Series(place))
    return Evaluation(metrics_frame(rows), {"clusters": table.sort("place"), "cluster_descriptions": described})


def cluster_rows(matrix: Matrix, config: ClustersConfig, seed: int) -> Clusters:
    """(n,) cluster of each row, from 1, as the config's method finds them."""
    if config.method == "kmeans":
        prepared = SIMILARITIES[config.similarity][0](matrix)
        return kmeans_clusters(prepared, config.clusters, config.most_clusters, seed)
    if config.method == "hierarchical":
        return tree_clusters(matrix, config.similarity, config.linkage, config.clusters, config.most_clusters)
    return leiden_clusters(matrix, config.similarity, config.neighbours, config.resolution, seed)


def describe_values(
    found: Clusters, values: Sequence[str | None], column: str, separator: str | None = None
) -> pl.DataFrame:
    """Rows of DESCRIPTIONS for each cluster and each value that a member has. Rows without a value are of no cluster's
    background: what is not known is not counted as another value."""
    from scipy.stats import false_discovery_control, hypergeom

    sets: list[set[str]] = [
        set() if text is None else set(text.split(separator) if separator else [text]) for text in values
    ]
    known = np.array([bool(each) for each in sets])
    rows = []
    for value in sorted(set().union(*sets)) if sets else []:
        has = np.array([value in each for each in sets])
        for cluster in np.unique(found[has]):
            member = (found == cluster) & known
            inside, outside = int((member & has).sum()), int((~member & has).sum())
            others = int(member.sum()) - inside, int(known.sum() - member.sum()) - outside
            odds = (inside + 0.5) * (others[1] + 0.5) / ((outside + 0.5) * (others[0] + 0.5))
            p = float(hypergeom.sf(inside - 1, int(known.sum()), int(has.sum()), int(member.sum())))
            size = int((found == cluster).sum())
            rows.append((int(cluster), size, "value", column, value, inside, outside, odds, min(p, 1.0)))
    frame = pl.DataFrame(rows, list(DESCRIPTIONS)[:-1], orient="row") if rows else pl.DataFrame(schema=DESCRIPTIONS)
    if not rows:
        return frame
    q = false_discovery_control(frame["p_value"].to_numpy())
    frame = frame.with_columns(q_value=pl.Series(q)).cast(pl.Schema(DESCRIPTIONS))
    return frame.sort("cluster", "p_value", "value")


def _told(
    frame: pl.DataFrame, found: Clusters, config: ClustersConfig, rng: np.random.Generator
) -> list[dict[str, object]]:
    """Rows adjusted_rand and described, against the first column that describes."""
    from sklearn.metrics import adjusted_rand_score

    label = config.describe[0] if config.describe and config.describe[0] in frame.columns else None
    values = frame[label].to_list() if label else []
    known = np.array([value is not None for value in values], bool)
    if label is None or len({value for value in values if value is not None}) < 2:
        return [metric_row(config.evaluator, "overall", name, np.nan, 0) for name in METRICS[2:]]
    of = codes(frame[label])[known]
    shuffles = max(config.shuffles, 99)
    rand = adjusted_rand_score(of, found[known])
    null = np.array([adjusted_rand_score(rng.permutation(of), found[known]) for _ in range(shuffles)])
    p = float(((null >= rand - 1e-12).sum() + 1) / (shuffles + 1))
    told = _share_described(found, values, config)
    permuted = [
        _share_described(found, [values[i] for i in rng.permutation(len(values))], config)
        for _ in range(config.shuffles)
    ]
    return [
        metric_row(config.evaluator, "overall", "adjusted_rand", rand, int(known.sum()), float(null.mean()), p_value=p),
        metric_row(config.evaluator, "overall", "described", told, int(found.max()), float(np.mean(permuted))),
    ]


def _share_described(found: Clusters, values: Sequence[str | None], config: ClustersConfig) -> float:
    rows = describe_values(found, values, "", config.separator)
    return rows.filter(pl.col("q_value") < config.threshold)["cluster"].n_unique() / float(found.max())


def _features(
    frame: pl.DataFrame, features: Sequence[str], found: Clusters, made: set[str], config: ClustersConfig
) -> pl.DataFrame:
    from scipy.stats import false_discovery_control, mannwhitneyu

    if not config.features or found.max() < 2:
        return pl.DataFrame(schema=DESCRIPTIONS)
    own = [name for name in features if name not in made] or list(features)
    matrix = profile_matrix(frame, own, "clusters")
    rows: list[tuple[Any, ...]] = []
    tested = own[0] not in made
    for cluster in range(1, int(found.max()) + 1):
        member = found == cluster
        n, m = int(member.sum()), int((~member).sum())
        u, p = mannwhitneyu(matrix[member], matrix[~member], axis=0)
        above = np.nan_to_num(u / (n * m), nan=0.5)
        rows += [
            (cluster, n, "feature", name, "", n, m, float(above[i]), float(p[i]) if tested else None)
            for i, name in enumerate(own)
        ]
    table = pl.DataFrame(rows, {name: kind for name, kind in DESCRIPTIONS.items() if name != "q_value"}, orient="row")
    q = false_discovery_control(table["p_value"].fill_nan(1).to_numpy()) if tested else None
    table = table.with_columns(q_value=pl.Series(q, dtype=pl.Float64) if tested else pl.lit(None, pl.Float64))
    far = (pl.col("effect") - 0.5).abs()
    table = table.sort("cluster", far, "name", descending=[False, True, False])
    return table.group_by("cluster", maintain_order=True).head(config.features).select(list(DESCRIPTIONS))


def _silhouette(matrix: Matrix, found: Clusters, config: ClustersConfig) -> float:
    from sklearn.metrics import silhouette_score

    if not 1 < found.max() < len(found):
        return float("nan")
    return float(silhouette_score(SIMILARITIES[config.similarity][0](matrix), found))


def _typical(matrix: Matrix, found: Clusters, config: ClustersConfig) -> Matrix:
    """(n,) similarity of each row to the mean of its cluster."""
    prepare, compare = SIMILARITIES[config.similarity]
    rows = np.asarray(prepare(matrix), float)
    own = np.stack([rows[found == cluster].mean(axis=0) for cluster in range(1, int(found.max()) + 1)])[found - 1]
    return np.array([float(compare(row[None], centre[None])[0, 0]) for row, centre in zip(rows, own, strict=True)])
