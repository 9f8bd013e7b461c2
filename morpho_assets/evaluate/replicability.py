"""Percent replicating and percent matching: are related profiles more alike than random ones?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.metrics import Evaluation, bootstrap_interval, metric_row, metrics_frame
from morpho_assets.evaluate.pairs import codes, label_sets
from morpho_assets.evaluate.similarity import SIMILARITIES
from morpho_assets.profiles.features import complete_matrix, require_columns
from morpho_assets.profiles.rows import groups_of, rows_where

Matrix = npt.NDArray[np.float64]


class ReplicabilityConfig(BaseModel):
    """Share of treatments whose replicates are more alike than random profiles. With `same` a target or mechanism and
    `differ` the treatment, it is percent matching. Assumes that random pairs are as dependent (plate, position) as
    related ones; where a layout is repeated they are not, and position alone gives a high value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["replicability"] = "replicability"
    same: str = Field(default="Metadata_Perturbation", description="column that related profiles share")
    separator: str | None = Field(default=None, description="what separates several labels in `same`; null: one label")
    differ: tuple[str, ...] = Field(default=(), description="columns in which the two profiles of a pair must differ")
    among: str = Field(
        default="treated",
        description="SQL condition of the profiles used",
    )
    similarity: Literal["cosine", "correlation"] = Field(
        default="correlation", description="how alike two profiles are"
    )
    null: Literal["groups", "pairs"] = Field(
        default="groups",
        description="random medians: of groups of unrelated profiles, or of loose pairs (copairs; matching always)",
    )
    null_size: int = Field(default=1000, ge=100, description="random medians behind the percentiles")
    percentile: float = Field(default=95.0, gt=50, lt=100, description="percentile of random pairs to exceed")
    resamples: int = Field(default=1000, ge=100, description="bootstrap resamples of treatments")


def replicability(
    profiles: pl.DataFrame, features: Sequence[str], config: ReplicabilityConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows `percent_replicating` (right), `…_left`, `…_both` and `percent_replicating_pairs`, or `percent_matching…`.

    percent_replicating: share of groups whose median similarity exceeds the percentile of random medians. With null
    "groups" these come from all pairs of as many unrelated profiles as the median group has, so that chance is what
    the percentile leaves; with "pairs" from loose unrelated pairs, one fewer than the median group has profiles
    (copairs), which is conservative from four replicates on. …_pairs: share of single related pairs that exceed the
    percentile of single unrelated pairs (cytominer-eval's replicate reproducibility): another number. Detail `groups`:
    group, similarity, n_profiles, n_pairs, above. InputError when no group has a pair.
    """
    config = config or ReplicabilityConfig()
    require_columns(profiles, [config.same, *config.differ], "replicability")
    frame = profiles.filter(rows_where(profiles, config.among))
    prepare, _ = SIMILARITIES[config.similarity]
    unit = prepare(complete_matrix(frame, features, "replicability"))
    members = _members(frame, config)
    differ = [codes(frame[name]) for name in config.differ]
    related = {name: _pair_similarities(unit, rows, differ) for name, rows in members.items()}
    related = {name: values for name, values in related.items() if values.size}
    if not related:
        raise InputError("profiles", "replicability", f"no pair that shares {config.same}", "replicates",
                         "Check the columns `same` and `differ`.")  # fmt: skip
    sizes = {name: len(members[name]) for name in related}
    rng = np.random.default_rng(seed)
    members_of_null = min(int(np.median(list(sizes.values()))), 50)
    per_null = max(members_of_null - 1, 1)
    pairs_null = _unrelated(unit, frame, config, differ, config.null_size * per_null, rng)
    null = np.median(pairs_null.reshape(-1, per_null), axis=1)
    if config.null == "groups" and config.separator is None and not config.differ:
        null = _unrelated_groups(unit, list(members.values()), members_of_null, config.null_size, rng)
    medians = np.array([np.median(values) for values in related.values()])
    low, high = np.percentile(null, [100 - config.percentile, config.percentile])
    tail = 1 - config.percentile / 100
    name = "percent_matching" if config.differ else "percent_replicating"
    shares = {name: (medians > high, tail), f"{name}_left": (medians < low, tail),
              f"{name}_both": ((medians > high) | (medians < low), 2 * tail)}  # fmt: skip
    rows = [
        metric_row(config.evaluator, "overall", metric, float(hits.mean()), hits.size, chance,
                   bootstrap_interval(hits, np.mean, seed, config.resamples))
        for metric, (hits, chance) in shares.items()
    ]  # fmt: skip
    limit = np.percentile(pairs_null, config.percentile)
    pairs = np.concatenate(list(related.values()))
    rows.append(
        metric_row(config.evaluator, "overall", f"{name}_pairs", float((pairs > limit).mean()), pairs.size, tail)
    )
    groups = pl.DataFrame({
        config.same: list(related), "similarity": medians, "n_profiles": list(sizes.values()),
        "n_pairs": [values.size for values in related.values()], "above": medians > high,
    })  # fmt: skip
    return Evaluation(metrics_frame(rows), {"groups": groups, "null": pl.DataFrame({"similarity": null})})


def _members(frame: pl.DataFrame, config: ReplicabilityConfig) -> dict[str, npt.NDArray[np.intp]]:
    if config.separator is not None:
        membership, names = label_sets(frame[config.same], config.separator)
        return {name: np.flatnonzero(membership[:, i]) for i, name in enumerate(names)}
    known = np.flatnonzero(frame[config.same].is_not_null().to_numpy())
    return {name: known[rows] for name, rows in groups_of(frame[known], [config.same])}


def _pair_similarities(unit: Matrix, rows: npt.NDArray[np.intp], differ: list[npt.NDArray[np.int64]]) -> Matrix:
    first, second = np.triu_indices(len(rows), k=1)
    allowed = np.ones(first.size, dtype=bool)
    for values in differ:
        here = values[rows]
        allowed &= (here[first] != here[second]) & (here[first] >= 0) & (here[second] >= 0)
    return np.asarray((unit[rows] @ unit[rows].T)[first[allowed], second[allowed]])


def _unrelated_groups(
    unit: Matrix, groups: list[npt.NDArray[np.intp]], size: int, count: int, rng: np.random.Generator
) -> Matrix:
    """(count,) medians over all pairs of `size` profiles (fewer if there are fewer groups) of different groups."""
    size = min(size, len(groups))
    first, second = np.triu_indices(size, k=1)
    medians = np.empty(count)
    for i in range(count):
        rows = np.array([rng.choice(groups[g]) for g in rng.choice(len(groups), size, replace=False)])
        medians[i] = np.median((unit[rows] @ unit[rows].T)[first, second])
    return medians


def _unrelated(
    unit: Matrix, frame: pl.DataFrame, config: ReplicabilityConfig, differ: list[npt.NDArray[np.int64]], count: int,
    rng: np.random.Generator,
) -> Matrix:  # fmt: skip
    """(count,) similarities of random pairs that share nothing of `same` and differ in every `differ`."""
    if config.separator is None:
        same = codes(frame[config.same])
        apart = [same, *differ]
        sets = np.zeros((frame.height, 0), dtype=np.float32)
    else:
        sets, apart = label_sets(frame[config.same], config.separator)[0], differ
    kept: list[npt.NDArray[np.intp]] = []
    found = 0
    for _ in range(100):
        pairs = rng.integers(frame.height, size=(2 * count, 2))
        allowed = (pairs[:, 0] != pairs[:, 1]) & ((sets[pairs[:, 0]] * sets[pairs[:, 1]]).sum(axis=1) == 0)
        for values in apart:
            allowed &= values[pairs[:, 0]] != values[pairs[:, 1]]
        kept.append(pairs[allowed])
        found += int(allowed.sum())
        if found >= count:
            pairs = np.concatenate(kept)[:count]
            blocks = np.array_split(pairs, max(1, pairs.shape[0] * unit.shape[1] // 4_000_000))
            return np.concatenate([np.einsum("ij,ij->i", unit[b[:, 0]], unit[b[:, 1]]) for b in blocks])
    raise InputError("profiles", "replicability", "hardly any unrelated pair", f"several values of {config.same}",
                     "Use more treatments.")  # fmt: skip
