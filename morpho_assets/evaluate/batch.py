"""Batch effects and what is left of biology: the field's integration metrics, within treatments."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.average_precision import RetrievalConfig, average_precision
from morpho_assets.evaluate.inputs import profile_matrix
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask
from morpho_assets.evaluate.neighbours import gaussian_weights, lisi, nearest
from morpho_assets.evaluate.pairs import PairRule, codes
from morpho_assets.evaluate.silhouette import principal_components, silhouettes
from morpho_assets.evaluate.similarity import SIMILARITIES
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

Matrix = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Score = tuple[float, float, int]  # value, chance, profiles behind it
BATCH_METRICS = ("graph_connectivity", "kBET", "iLISI", "batch_ASW", "PCR")
LABEL_METRICS = ("label_ASW", "cLISI", "NMI", "ARI", "mAP")


class BatchConfig(BaseModel):
    """Mixing of batches and separation of treatments, each about between 0 and 1, higher is better (Luecken 2022,
    10.1038/s41592-021-01336-8; Arevalo 2024, 10.1038/s41467-024-50613-5). Batch metrics are computed within treatments:
    over a whole unbalanced layout they would reward deleting the biology. Assumes treatments with several batches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["batch"] = "batch"
    batch: str = Field(default="Metadata_Plate", description="column of the batch")
    label: str = Field(default="Metadata_Perturbation", description="column of the biology to keep")
    among: str = Field(
        default="treated", description="SQL condition of the profiles used; many controls would outweigh all else"
    )
    neighbours: int = Field(default=15, ge=2, description="neighbours of the graph, and of kBET at most")
    perplexity: float = Field(default=30.0, gt=1, description="effective neighbours of LISI, at most a third of all")
    components: int = Field(default=50, ge=1, description="principal components of PCR and of the k-means clusters")
    kbet_least: int = Field(default=10, ge=4, description="fewest profiles of a treatment for kBET")
    alpha: float = Field(default=0.05, gt=0, lt=1, description="level at which a kBET neighbourhood is rejected")
    shuffles: int = Field(default=20, ge=1, description="permutations behind the chance values")
    batch_weight: float = Field(default=0.4, ge=0, le=1, description="weight of the batch metrics in `overall`")


def batch_effects(
    profiles: pl.DataFrame, features: Sequence[str], config: BatchConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows graph_connectivity, kBET, iLISI, batch_ASW, PCR (1 - the share of the variance within treatments that batch
    explains), their batch_mean; label_ASW, cLISI, NMI and ARI (of k-means clusters, as many as labels, where Arevalo
    2024 has Leiden's), mAP (do profiles find those of their label in other batches, among the other labels there?),
    their label_mean; overall = weighted sum of both means.

    Chance: the mean of the same metric over permutations of the batches within treatments (batch metrics: what no batch
    effect gives, from above) or of the labels within batches (label metrics, from below; that of mAP is exact).
    graph_connectivity sees no batches: its chance is that of permuted labels, and it counts as it is in the chance of
    batch_mean. `n` counts the profiles that a metric uses. A metric that no treatment allows is absent, and left out of
    its mean. Fewer than 2 batches or labels: rows of n = 0.
    """
    config = config or BatchConfig()
    require_columns(profiles, [config.batch, config.label], "batch")
    frame = profiles.filter(rows_where(profiles, config.among)).drop_nulls([config.batch, config.label])
    if min(frame[config.batch].n_unique(), frame[config.label].n_unique()) < 2:
        return nothing_to_ask(config.evaluator, [*BATCH_METRICS, "batch_mean", *LABEL_METRICS, "label_mean", "overall"])
    matrix = profile_matrix(frame, features, "batch")
    batch, label = codes(frame[config.batch]), codes(frame[config.label])
    rng = np.random.default_rng(seed)
    batches = np.array([batch, *(_permuted(batch, label, rng) for _ in range(config.shuffles))])
    labels = np.array([label, *(_permuted(label, batch, rng) for _ in range(config.shuffles))])
    perplexity = min(config.perplexity, (len(label) - 1) / 3)
    k = min(len(label) - 1, max(config.neighbours, int(3 * perplexity)))
    distances, rows = nearest(matrix, k)
    connected = [graph_connectivity(rows[:, : config.neighbours], kinds) for kinds in labels]
    found = {
        "graph_connectivity": (connected[0], float(np.mean(connected[1:])), len(label)),
        **_mixing(matrix, batches, label, config),
        "PCR": _score([1 - share for share in explained_by(matrix, batches, label, config.components)], len(label)),
    }
    kept = _label_metrics(matrix, distances[:, : int(3 * perplexity)], rows, labels, perplexity, config, seed)
    kept["mAP"] = _found_elsewhere(matrix, frame, config)
    kept = {name: score for name, score in kept.items() if np.isfinite(score[0])}
    found = {name: score for name, score in found.items() if np.isfinite(score[0])}
    unchanged = {name: score[0] for name, score in found.items() if name == "graph_connectivity"}
    mixed = _mean([(value, unchanged.get(name, chance)) for name, (value, chance, _) in found.items()])
    separate = _mean([(value, chance) for value, chance, _ in kept.values()])
    both = config.batch_weight * mixed + (1 - config.batch_weight) * separate
    means = {"batch_mean": mixed, "label_mean": separate, "overall": both}
    table = {**found, **kept, **{name: (float(pair[0]), float(pair[1]), len(label)) for name, pair in means.items()}}
    return Evaluation(metrics_frame([
        metric_row(config.evaluator, "overall", name, value, n, chance) for name, (value, chance, n) in table.items()
    ]))  # fmt: skip


def _score(values: Sequence[float], n: int) -> Score:
    """The metric as it is, its mean over permutations, and `n`."""
    return float(values[0]), float(np.mean(values[1:])), n


def _mean(scores: Sequence[tuple[float, float]]) -> Matrix:
    """(2,) means of values and of chances; NaN without any."""
    return np.mean(scores, axis=0) if scores else np.full(2, np.nan)


def _mixing(matrix: Matrix, batches: Codes, label: Codes, config: BatchConfig) -> dict[str, Score]:
    """kBET, iLISI and batch_ASW: means over the labels with enough profiles and more than one batch."""
    metrics: dict[str, tuple[int, Callable[[Matrix, Codes], list[float]]]] = {
        "kBET": (config.kbet_least, lambda m, b: kbet(m, b, config.neighbours, config.alpha)),
        "iLISI": (4, lambda m, b: ilisi(m, b, config.perplexity)),
        "batch_ASW": (3, batch_asw),
    }
    members = [np.flatnonzero(label == kind) for kind in np.unique(label)]
    members = [rows for rows in members if 1 < np.unique(batches[0, rows]).size < rows.size]
    found = {}
    for name, (least, metric) in metrics.items():
        used = [rows for rows in members if rows.size >= least]
        if used:
            values = np.mean([metric(matrix[rows], batches[:, rows]) for rows in used], axis=0)
            found[name] = _score(values, sum(rows.size for rows in used))
    return found


def _label_metrics(
    matrix: Matrix, distances: Matrix, rows: npt.NDArray[np.intp], labels: Codes, perplexity: float,
    config: BatchConfig, seed: int,
) -> dict[str, Score]:  # fmt: skip
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    n, kinds = labels.shape[1], np.unique(labels[0]).size
    weights, near = gaussian_weights(distances, perplexity), rows[:, : distances.shape[1]]
    clusters = _clusters(matrix, kinds, config.components, seed)
    return {
        "label_ASW": _score([(s.mean() + 1) / 2 for s in silhouettes(matrix, labels)], n),
        "cLISI": _score([(kinds - np.median(lisi(weights, near, k))) / (kinds - 1) for k in labels], n),
        "NMI": _score([normalized_mutual_info_score(k, clusters) for k in labels], n),
        "ARI": _score([adjusted_rand_score(k, clusters) for k in labels], n),
    }


def _found_elsewhere(matrix: Matrix, frame: pl.DataFrame, config: BatchConfig) -> Score:
    """mAP of the labels, and its exact chance; NaN where no label is in two batches."""
    rule = RetrievalConfig(
        queries="all", positives=PairRule(sameby=(config.label,), diffby=(config.batch,)),
        negatives=PairRule(diffby=(config.label,)), group=(config.label,), plate=(config.batch,),
    )  # fmt: skip
    scores = average_precision(matrix, frame, rule)
    asked = np.isfinite(scores.ap) & (scores.n_total > scores.n_positives)
    if not asked.any():
        return np.nan, np.nan, 0
    rows = pl.DataFrame(
        {"label": codes(frame[config.label])[asked], "ap": scores.ap[asked], "chance": scores.chance[asked]}
    )
    means = (
        rows.group_by("label", maintain_order=True)
        .agg(pl.col("ap", "chance").mean())
        .select(pl.col("ap", "chance").mean())
    )
    return means["ap"][0], means["chance"][0], int(asked.sum())


def _clusters(matrix: Matrix, count: int, components: int, seed: int) -> Codes:
    """(n,) k-means clusters of the rows at length 1, on leading principal components. Whatever their order: sorted."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    order = np.lexsort(matrix.T)
    scores, _ = principal_components(SIMILARITIES["cosine"][0](matrix[order]), components)
    clusters = np.empty(len(matrix), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        clusters[order] = KMeans(count, n_init=3, random_state=seed).fit_predict(scores)
    return clusters


def graph_connectivity(neighbours: npt.NDArray[np.intp], label: Codes) -> float:
    """Mean over labels of the share of their profiles in the largest strongly connected part of the label's own
    subgraph, as scib has it (Luecken 2022); `neighbours` (n, k) row numbers. Labels with one profile are left out (NaN
    if all are)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    n, k = neighbours.shape
    graph = csr_matrix((np.ones(n * k), (np.repeat(np.arange(n), k), neighbours.ravel())), shape=(n, n))
    shares = []
    for kind in np.unique(label):
        rows = np.flatnonzero(label == kind)
        if rows.size > 1:
            part = connected_components(graph[rows][:, rows], directed=True, connection="strong")[1]
            shares.append(np.bincount(part).max() / rows.size)
    return float(np.mean(shares)) if shares else np.nan


def kbet(matrix: Matrix, batches: Codes, neighbours: int, alpha: float) -> list[float]:
    """For each of (labelings, n) batches the share of profiles (n, d) whose neighbourhood has the batches in the
    proportions of all n: 1 - the rejections of Pearson's chi-square at `alpha` (Buettner 2019,
    10.1038/s41592-018-0254-1)."""
    from scipy.special import chdtrc

    _, rows = nearest(matrix, min(neighbours, len(matrix) // 2))
    accepted = []
    for batch in batches:
        kinds, code = np.unique(batch, return_inverse=True)
        expected = rows.shape[1] * np.bincount(code) / len(code)
        counts = np.eye(len(kinds))[code][rows].sum(axis=1)
        statistic = ((counts - expected) ** 2 / expected).sum(axis=1)
        accepted.append(float(np.mean(chdtrc(len(kinds) - 1, statistic) >= alpha)))
    return accepted


def ilisi(matrix: Matrix, batches: Codes, perplexity: float) -> list[float]:
    """For each of (labelings, n) batches (median LISI - 1) / (batches - 1): 0 when neighbours share a batch, 1 when all
    batches are equally near."""
    perplexity = max(1.5, min(perplexity, (len(matrix) - 1) / 3))
    distances, rows = nearest(matrix, min(len(matrix) - 1, int(3 * perplexity)))
    weights = gaussian_weights(distances, perplexity)
    return [float((np.median(lisi(weights, rows, b)) - 1) / (np.unique(b).size - 1)) for b in batches]


def batch_asw(matrix: Matrix, batches: Codes) -> list[float]:
    """For each of (labelings, n) batches 1 - mean |silhouette of batch|: 1 when batches lie in each other."""
    return [float(1 - np.abs(scores).mean()) for scores in silhouettes(matrix, batches)]


def explained_by(matrix: Matrix, batches: Codes, label: Codes, components: int) -> list[float]:
    """For each of (labelings, n) batches, which are permutations of the first within labels, the share of the variance
    within labels that batch explains, over its leading principal components (R squared of each, weighted).

    Labels in one batch only are left out, so that what they differ in is not taken for a batch effect; NaN where none
    is left, or nothing varies.
    """
    several = np.array([np.unique(batches[0, label == kind]).size > 1 for kind in np.unique(label)])
    used = several[np.unique(label, return_inverse=True)[1]]
    if not used.any():
        return [np.nan] * len(batches)
    own = np.unique(label[used], return_inverse=True)[1]
    scores, variance = principal_components(_centred(matrix[used], own), components)
    if variance.sum() == 0:
        return [np.nan] * len(batches)
    total = np.maximum((scores**2).sum(axis=0), np.finfo(float).tiny)
    shares = []
    for batch in batches[:, used]:
        kinds, code = np.unique(batch, return_inverse=True)
        design = _centred(np.eye(len(kinds))[code], own)
        fitted = design @ np.linalg.lstsq(design, scores, rcond=None)[0]
        shares.append(float((variance * (fitted**2).sum(axis=0) / total).sum() / variance.sum()))
    return shares


def _centred(values: Matrix, group: npt.NDArray[np.intp]) -> Matrix:
    """Rows less the mean of their group."""
    sums = np.zeros((group.max() + 1, values.shape[1]))
    np.add.at(sums, group, values)
    return np.asarray(values - (sums / np.bincount(group)[:, None])[group])


def _permuted(values: Codes, within: Codes, rng: np.random.Generator) -> Codes:
    result = values.copy()
    for kind in np.unique(within):
        rows = np.flatnonzero(within == kind)
        result[rows] = rng.permutation(values[rows])
    return result
