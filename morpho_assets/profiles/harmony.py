"""Harmony: soft clusters that mix batches, and the batch's part of each cluster removed (Korsunsky 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, Matrix
from morpho_assets.profiles.features import complete_matrix, require_columns, with_matrix
from morpho_assets.profiles.rows import groups_of


class HarmonyConfig(CorrectorSettings):
    """Iterated clustering and linear correction (10.1038/s41592-019-0619-0). Assumes that kinds of profile occur in
    several batches, and that their batch effect is a shift; JUMP uses 300 clusters and 20 iterations."""

    corrector: Literal["harmony"] = "harmony"
    batch: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a batch")
    clusters: int | None = Field(default=300, ge=1, description="most clusters; never more than a 30th of the profiles")
    diversity: float = Field(default=2.0, ge=0, description="theta: how strongly clusters must mix batches; 0: not")
    softness: float = Field(default=0.1, gt=0, description="sigma: width of the soft assignment, in cosine distance")
    ridge: float = Field(default=1.0, ge=0, description="lambda: shrinkage of the batch shifts, in profiles")
    iterations: int = Field(default=20, ge=1, description="most rounds of clustering and correction")
    cluster_rounds: int = Field(default=20, ge=1, description="most rounds within a clustering")
    block: float = Field(default=0.05, gt=0, le=1, description="share of profiles reassigned at a time")
    tolerance: float = Field(default=1e-4, gt=0, description="relative change of the objective that ends it")


def correct_harmony(profiles: pl.DataFrame, features: Sequence[str], config: HarmonyConfig, seed: int = 0) -> Corrected:
    """Profiles with the batch shift of their clusters removed; the same seed gives the same values in any order of
    rows. One batch comes back as it is, which is noted, as are fewer clusters than asked for. InputError for missing
    values."""
    require_columns(profiles, config.batch, "harmony")
    values = complete_matrix(profiles, features, "harmony")
    batches = sorted(groups_of(profiles, config.batch), key=lambda batch: batch[0])
    if len(batches) < 2:
        return Corrected(profiles, tuple(features), ("a single batch: profiles as they were",))
    membership = np.zeros((profiles.height, len(batches)))
    for column, (_, rows) in enumerate(batches):
        membership[rows, column] = 1
    used = cluster_count(profiles.height, config)
    capped = config.clusters is not None and used < config.clusters
    notes = (f"{used} clusters instead of {config.clusters}: a 30th of the profiles",) if capped else ()
    order = np.lexsort((membership.argmax(axis=1), *values.T[:8]))  # rows are drawn: their place must not matter
    corrected = np.empty_like(values)
    corrected[order] = harmonise(values[order], membership[order], config, seed)
    return Corrected(with_matrix(profiles, features, corrected), tuple(features), notes)


def cluster_count(profiles: int, config: HarmonyConfig) -> int:
    """How many clusters so many profiles get: at most `config.clusters`, at least 1."""
    return max(1, min(config.clusters or profiles, round(profiles / 30)))


def harmonise(values: Matrix, batches: Matrix, config: HarmonyConfig, seed: int = 0) -> Matrix:
    """(n, d) values with batch shifts removed; `batches` is (n, b), one 1 per row. The paper's notation: Z, Phi."""
    rng = np.random.default_rng(seed)
    corrected = values.copy()
    centres = _seeded_centres(_unit(values), cluster_count(len(values), config), rng)
    assigned = _soft(_unit(values) @ centres.T, config.softness)
    objective = np.inf
    for _ in range(config.iterations):
        assigned, centres, now = _cluster(_unit(corrected), assigned, batches, config, rng)
        corrected = _without_shifts(values, assigned, batches, config.ridge)
        if abs(objective - now) <= config.tolerance * abs(objective):
            break
        objective = now
    return corrected


def _unit(values: Matrix) -> Matrix:
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1.0))


def _seeded_centres(unit: Matrix, clusters: int, rng: np.random.Generator, rounds: int = 10) -> Matrix:
    """(clusters, d) unit centres by k-means++ and a few rounds of spherical k-means."""
    chosen = [int(rng.integers(len(unit)))]
    distance = 1 - unit @ unit[chosen[0]]
    for _ in range(clusters - 1):
        weight = np.maximum(distance, 0)
        chosen.append(int(rng.choice(len(unit), p=weight / weight.sum() if weight.sum() > 0 else None)))
        distance = np.minimum(distance, 1 - unit @ unit[chosen[-1]])
    centres = unit[chosen]
    for _ in range(rounds):
        nearest = np.argmax(unit @ centres.T, axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, unit)
        empty = ~np.isin(np.arange(clusters), nearest)
        sums[empty] = centres[empty]
        centres = _unit(sums)
    return centres


def _soft(cosine: Matrix, softness: float) -> Matrix:
    """(n, clusters) assignment, rows summing to 1: exp(-2 (1 - cosine) / sigma)."""
    exponent = -2 * (1 - cosine) / softness
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _cluster(
    unit: Matrix, assigned: Matrix, batches: Matrix, config: HarmonyConfig, rng: np.random.Generator
) -> tuple[Matrix, Matrix, float]:
    """Maximum-diversity clustering (algorithm 2): assignments, centres and the objective reached."""
    share = batches.mean(axis=0)
    blocks = max(1, int(np.ceil(1 / config.block)))
    objective = np.inf
    for _ in range(config.cluster_rounds):
        centres = _unit(assigned.T @ unit)
        closeness = unit @ centres.T
        plain = _soft(closeness, config.softness)
        observed = batches.T @ assigned
        for rows in np.array_split(rng.permutation(len(unit)), min(blocks, len(unit))):
            observed -= batches[rows].T @ assigned[rows]
            expected = np.outer(share, observed.sum(axis=0))
            penalty = ((expected + 1) / (observed + 1)) ** config.diversity
            weight = plain[rows] * (batches[rows] @ penalty)
            total = weight.sum(axis=1, keepdims=True)
            assigned[rows] = np.where(total > 0, weight / np.where(total > 0, total, 1), plain[rows])
            observed += batches[rows].T @ assigned[rows]
        now = _objective(assigned, closeness, observed, share, config)
        if abs(objective - now) <= config.tolerance * abs(objective):
            break
        objective = now
    return assigned, centres, now


def _objective(assigned: Matrix, closeness: Matrix, observed: Matrix, share: Matrix, config: HarmonyConfig) -> float:
    distance = 2 * float((assigned * (1 - closeness)).sum())
    entropy = config.softness * float((assigned * np.log(np.maximum(assigned, 1e-300))).sum())
    expected = np.outer(share, observed.sum(axis=0))
    mixing = config.softness * config.diversity * float((observed * np.log((observed + 1) / (expected + 1))).sum())
    return distance + entropy + mixing


def _without_shifts(values: Matrix, assigned: Matrix, batches: Matrix, ridge: float) -> Matrix:
    """Mixture of experts (algorithm 3): in every cluster a ridge regression on batch, whose intercept stays."""
    design = np.column_stack([np.ones(len(values)), batches])
    penalty = np.diag([0.0] + [ridge] * batches.shape[1])
    corrected = values.copy()
    for weight in assigned.T:
        weighted = design * weight[:, None]
        shifts = np.linalg.lstsq(weighted.T @ design + penalty, weighted.T @ values, rcond=None)[0]
        corrected -= weighted[:, 1:] @ shifts[1:]
    return corrected
