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

WINDOW = 3  # rounds of clustering whose mean objective is compared
TINY = np.finfo(float).tiny


class HarmonyConfig(CorrectorSettings):
    """Iterated clustering and linear correction (10.1038/s41592-019-0619-0). Assumes that kinds of profile occur in
    several batches, and that their batch effect is a shift; JUMP uses 300 clusters and 20 iterations. Leaves as much of
    a batch as harmonypy 0.0.10 with the same settings."""

    corrector: Literal["harmony"] = "harmony"
    batch: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a batch")
    clusters: int | None = Field(default=300, ge=1, description="most clusters; never more than a 30th of the profiles")
    diversity: float = Field(
        default=1.0, ge=0,
        description="theta: how strongly clusters must mix batches; 0: not; 1 in harmonypy, which JUMP runs, 2 in R",
    )  # fmt: skip
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
    corrected, unit = values, _unit(values)
    centres = _seeded_centres(unit, cluster_count(len(values), config), rng)
    assigned = _soft(unit @ centres.T, config.softness)
    before = _objective(assigned, unit @ centres.T, batches, config)
    for _ in range(config.iterations):
        assigned, now = _cluster(_unit(corrected), assigned, batches, config, rng)
        corrected = without_shifts(values, assigned, batches, config.ridge)
        if before - now < config.tolerance * abs(before):
            break
        before = now
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
) -> tuple[Matrix, float]:
    """Maximum-diversity clustering (algorithm 2): assignments and the objective reached. It ends when the mean
    objective of three rounds is that of the three that end one round before, within a tenth of the tolerance."""
    share = batches.mean(axis=0)
    blocks = min(int(np.ceil(1 / config.block)), len(unit))
    objectives: list[float] = []
    for _ in range(config.cluster_rounds):
        closeness = unit @ _unit(assigned.T @ unit).T
        plain = _soft(closeness, config.softness)
        observed = batches.T @ assigned
        for rows in np.array_split(rng.permutation(len(unit)), blocks):
            observed -= batches[rows].T @ assigned[rows]
            expected = np.outer(share, observed.sum(axis=0))
            penalty = ((expected + 1) / (observed + 1)) ** config.diversity
            weight = plain[rows] * (batches[rows] @ penalty)
            total = weight.sum(axis=1, keepdims=True)
            assigned[rows] = np.where(total > 0, weight / np.where(total > 0, total, 1), plain[rows])
            observed += batches[rows].T @ assigned[rows]
        objectives.append(_objective(assigned, closeness, batches, config))
        if len(objectives) > WINDOW + 1:
            last, earlier = sum(objectives[-WINDOW:]), sum(objectives[-WINDOW - 1 : -1])
            if abs(earlier - last) < config.tolerance / 10 * abs(earlier):
                break
    return assigned, objectives[-1]


def _objective(assigned: Matrix, closeness: Matrix, batches: Matrix, config: HarmonyConfig) -> float:
    """Distance to the centres, less the entropy of the assignment, and how far clusters are from mixing batches."""
    observed = batches.T @ assigned
    expected = np.outer(batches.mean(axis=0), observed.sum(axis=0))
    distance = 2 * float((assigned * (1 - closeness)).sum())
    entropy = config.softness * float((assigned * np.log(np.maximum(assigned, 1e-300))).sum())
    mixing = config.softness * config.diversity * float((observed * np.log((observed + 1) / (expected + 1))).sum())
    return distance + entropy + mixing


def without_shifts(values: Matrix, assigned: Matrix, batches: Matrix, ridge: float) -> Matrix:
    """Mixture of experts (algorithm 3): in every cluster a ridge regression on batch, whose intercept stays.

    Its normal equations hold sums over the rows of each batch alone: the shift of a batch is the distance of its
    weighted mean from the intercept, shrunk by weight / (weight + ridge), and the intercept is the mean of the batches'
    means by that shrinkage.
    """
    of_batch = [np.flatnonzero(member) for member in batches.T]
    weights = np.array([assigned[rows].sum(axis=0) for rows in of_batch])  # (batches, clusters)
    sums = np.array([assigned[rows].T @ values[rows] for rows in of_batch])  # (batches, clusters, d)
    means = sums / np.maximum(weights, TINY)[..., None]
    kept = weights / np.maximum(weights + ridge, TINY)
    intercept = np.einsum("bk,bkd->kd", kept, means) / np.maximum(kept.sum(axis=0), TINY)[:, None]
    shifts = kept[..., None] * (means - intercept)
    corrected = np.empty_like(values)
    for rows, shift in zip(of_batch, shifts, strict=True):
        corrected[rows] = values[rows] - assigned[rows] @ shift
    return corrected
