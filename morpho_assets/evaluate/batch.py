"""Batch effects and what is left of biology: the field's integration metrics, within treatments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame
from morpho_assets.evaluate.neighbours import lisi, nearest
from morpho_assets.evaluate.pairs import codes
from morpho_assets.evaluate.silhouette import distance_matrix, silhouette_values
from morpho_assets.profiles.features import complete_matrix, require_columns
from morpho_assets.profiles.rows import rows_where

Matrix = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class BatchConfig(BaseModel):
    """Mixing of batches and separation of treatments, each between 0 and 1, higher is better (Luecken 2022,
    10.1038/s41592-021-01336-8; Arevalo 2024, 10.1038/s41467-024-50613-5). Batch metrics are computed within treatments:
    over a whole unbalanced layout they would reward deleting the biology. Assumes treatments with several batches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["batch"] = "batch"
    batch: str = Field(default="Metadata_Plate", description="column of the batch")
    label: str = Field(default="Metadata_Perturbation", description="column of the biology to keep")
    among: str = Field(default="all", description="SQL condition of the profiles used; controls tell batches best")
    neighbours: int = Field(default=15, ge=2, description="neighbours of the graph, and of kBET at most")
    perplexity: float = Field(default=30.0, gt=1, description="effective neighbours of LISI, at most a third of all")
    components: int = Field(default=50, ge=1, description="principal components of PCR")
    kbet_least: int = Field(default=10, ge=4, description="fewest profiles of a treatment for kBET")
    alpha: float = Field(default=0.05, gt=0, lt=1, description="level at which a kBET neighbourhood is rejected")
    batch_weight: float = Field(default=0.4, ge=0, le=1, description="weight of the batch metrics in `overall`")


def batch_effects(
    profiles: pl.DataFrame, features: Sequence[str], config: BatchConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows graph_connectivity, kBET, iLISI, batch_ASW, PCR (1 - the share of variance that batch explains), their
    batch_mean; label_ASW, cLISI and their label_mean; overall = weighted sum of both means. Chance: the same metric
    after permuting batches within treatments (batch metrics) or labels within batches (label metrics). A metric that
    no treatment allows is absent, and left out of its mean. InputError for fewer than 2 batches or labels."""
    config = config or BatchConfig()
    require_columns(profiles, [config.batch, config.label], "batch")
    frame = profiles.filter(rows_where(profiles, config.among)).drop_nulls([config.batch, config.label])
    matrix = complete_matrix(frame, features, "batch")
    batch, label = codes(frame[config.batch]), codes(frame[config.label])
    for name, values in ((config.batch, batch), (config.label, label)):
        if np.unique(values).size < 2:
            raise InputError("profiles", name, f"{np.unique(values).size} value", "at least 2", "Use more profiles.")
    distances = distance_matrix(matrix, "cosine")
    rng = np.random.default_rng(seed)
    found = _batch_metrics(matrix, distances, batch, label, config)
    chance = _batch_metrics(matrix, distances, _permuted(batch, label, rng), label, config)
    kept = _label_metrics(distances, label, config)
    kept_chance = _label_metrics(distances, _permuted(label, batch, rng), config)
    means = {"batch_mean": (_mean(found), _mean(chance)), "label_mean": (_mean(kept), _mean(kept_chance))}
    weight = config.batch_weight
    both = [weight * b + (1 - weight) * k for b, k in zip(means["batch_mean"], means["label_mean"], strict=True)]
    table = {name: (found[name], chance[name]) for name in found}
    table |= {name: (kept[name], kept_chance[name]) for name in kept}
    table |= means | {"overall": (both[0], both[1])}
    return Evaluation(metrics_frame([
        metric_row(config.evaluator, "overall", name, value, len(label), by_chance)
        for name, (value, by_chance) in table.items() if np.isfinite(value)
    ]))  # fmt: skip


def _batch_metrics(
    matrix: Matrix, distances: Matrix, batch: Codes, label: Codes, config: BatchConfig
) -> dict[str, float]:
    order = nearest(distances, min(config.neighbours, len(label) - 1))
    return {
        "graph_connectivity": graph_connectivity(order, label),
        "kBET": _within(distances, batch, label, config.kbet_least,
                        lambda d, b: kbet(d, b, config.neighbours, config.alpha)),
        "iLISI": _within(distances, batch, label, 4, lambda d, b: ilisi(d, b, config.perplexity)),
        "batch_ASW": _within(distances, batch, label, 3, batch_asw),
        "PCR": 1 - explained_by(matrix, batch, config.components),
    }  # fmt: skip


def _label_metrics(distances: Matrix, label: Codes, config: BatchConfig) -> dict[str, float]:
    kinds = np.unique(label).size
    scores = lisi(distances, label, min(config.perplexity, (len(label) - 1) / 3))
    return {
        "label_ASW": float((silhouette_values(distances, label).mean() + 1) / 2),
        "cLISI": float((kinds - np.median(scores)) / (kinds - 1)),
    }


def graph_connectivity(neighbours: npt.NDArray[np.intp], label: Codes) -> float:
    """Mean over labels of the share of their profiles in the largest connected part of the label's own subgraph;
    `neighbours` (n, k) row numbers. Labels with one profile are left out (NaN if all are)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    n, k = neighbours.shape
    graph = csr_matrix((np.ones(n * k), (np.repeat(np.arange(n), k), neighbours.ravel())), shape=(n, n))
    shares = []
    for kind in np.unique(label):
        rows = np.flatnonzero(label == kind)
        if rows.size > 1:
            part = connected_components(graph[rows][:, rows], directed=False)[1]
            shares.append(np.bincount(part).max() / rows.size)
    return float(np.mean(shares)) if shares else np.nan


def kbet(distances: Matrix, batch: Codes, neighbours: int, alpha: float) -> float:
    """Share of profiles (n, n distances) whose neighbourhood has the batches in the proportions of all n: 1 - the
    rejections of Pearson's chi-square at `alpha` (Buettner 2019, 10.1038/s41592-018-0254-1)."""
    from scipy.special import chdtrc

    kinds, code = np.unique(batch, return_inverse=True)
    k = min(neighbours, len(batch) // 2)
    expected = k * np.bincount(code) / len(code)
    counts = np.eye(len(kinds))[code][nearest(distances, k)].sum(axis=1)
    statistic = ((counts - expected) ** 2 / expected).sum(axis=1)
    return float(np.mean(chdtrc(len(kinds) - 1, statistic) >= alpha))


def ilisi(distances: Matrix, batch: Codes, perplexity: float) -> float:
    """(median LISI - 1) / (batches - 1): 0 when neighbours share a batch, 1 when all batches are equally near."""
    scores = lisi(distances, batch, max(1.5, min(perplexity, (len(batch) - 1) / 3)))
    return float((np.median(scores) - 1) / (np.unique(batch).size - 1))


def batch_asw(distances: Matrix, batch: Codes) -> float:
    """1 - mean |silhouette of batch|: 1 when batches lie in each other."""
    return float(1 - np.abs(silhouette_values(distances, batch)).mean())


def explained_by(matrix: Matrix, batch: Codes, components: int) -> float:
    """Share of the variance of the leading principal components that batch explains (R squared of each, weighted)."""
    centred = matrix - matrix.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    scores, variance = left[:, :components], singular[:components] ** 2
    if variance.sum() == 0:
        return np.nan
    kinds, code, counts = np.unique(batch, return_inverse=True, return_counts=True)
    means = np.eye(len(kinds))[code].T @ scores / counts[:, None]
    between = (counts[:, None] * means**2).sum(axis=0)
    total = np.maximum((scores**2).sum(axis=0), np.finfo(float).tiny)
    return float((variance * between / total).sum() / variance.sum())


def _within(distances: Matrix, batch: Codes, label: Codes, least: int, metric) -> float:  # type: ignore[no-untyped-def]
    """Mean of `metric` over the labels with at least `least` profiles and more than one batch; NaN without any."""
    values = []
    for kind in np.unique(label):
        rows = np.flatnonzero(label == kind)
        if rows.size >= least and 1 < np.unique(batch[rows]).size < rows.size:
            values.append(metric(distances[np.ix_(rows, rows)], batch[rows]))
    return float(np.mean(values)) if values else np.nan


def _permuted(values: Codes, within: Codes, rng: np.random.Generator) -> Codes:
    result = values.copy()
    for kind in np.unique(within):
        rows = np.flatnonzero(within == kind)
        result[rows] = rng.permutation(values[rows])
    return result


def _mean(metrics: dict[str, float]) -> float:
    known = [value for value in metrics.values() if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan
