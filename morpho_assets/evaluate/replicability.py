"""Percent replicating and percent matching: are related profiles more alike than random ones?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.inputs import profile_matrix
from morpho_assets.evaluate.intervals import share_interval
from morpho_assets.evaluate.metrics import (
    Evaluation,
    metric_row,
    metrics_frame,
    nothing_to_ask,
    scores_frame,
)
from morpho_assets.evaluate.pairs import codes, label_sets
from morpho_assets.evaluate.similarity import SIMILARITIES
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import groups_of, rows_where

Matrix = npt.NDArray[np.float64]
LARGEST = 50  # units of a random group, whose pairs grow with the square
LEAST_NULL = 100  # random medians behind a percentile


class ReplicabilityConfig(BaseModel):
    """Share of treatments whose replicates are more alike than random profiles. With `same` a target or mechanism and
    the treatment among `differ`, it is percent matching. Assumes that random pairs are as dependent (plate, position)
    as related ones; where a layout is repeated they are not, and position alone gives a high value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["replicability"] = "replicability"
    same: str = Field(default="Metadata_Perturbation", description="column that related profiles share")
    separator: str | None = Field(default=None, description="what separates several labels in `same`; null: one label")
    differ: tuple[str, ...] = Field(default=(), description="columns in which the two profiles of a pair must differ")
    treatment: str = Field(
        default="Metadata_Perturbation",
        description="column of the treatment: percent matching where it is in `differ`, else percent replicating",
    )
    among: str = Field(
        default="treated",
        description="SQL condition of the profiles used",
    )
    similarity: Literal["cosine", "correlation"] = Field(
        default="correlation", description="how alike two profiles are"
    )
    null: Literal["groups", "pairs"] = Field(
        default="groups", description="random medians: of groups of unrelated profiles, or of loose pairs (copairs)"
    )
    null_size: int = Field(default=1000, ge=100, description="random medians behind the percentiles")
    percentile: float = Field(default=95.0, gt=50, lt=100, description="percentile of random medians to exceed")

    @property
    def matching(self) -> bool:
        """Whether pairs are of different treatments."""
        return self.treatment in self.differ


@dataclass(frozen=True)
class _Profiles:
    """(n, d) rows of length 1; what two of a pair must differ in, (n,) codes each; the labels, (n,) codes (-1: none) or
    (n, labels) sets. A label is given to units: treatments when matching, else single profiles. The rows of each unit,
    the (n,) unit of each row, and the (units,) kind of unit: the combination of what profiles must differ in."""

    unit: Matrix
    differ: tuple[npt.NDArray[np.int64], ...]
    label: npt.NDArray[np.int64] | None
    sets: npt.NDArray[np.float32]
    members: list[npt.NDArray[np.intp]]
    member_of: npt.NDArray[np.intp]
    kind: npt.NDArray[np.int64]

    def make_up(self, rows: npt.NDArray[np.intp]) -> tuple[int, ...]:
        """The kinds of the units among `rows`, sorted; of more than LARGEST, this many at even steps."""
        kinds = np.sort(self.kind[np.unique(self.member_of[rows])])
        if kinds.size > LARGEST:
            kinds = kinds[np.linspace(0, kinds.size - 1, LARGEST).astype(int)]
        return tuple(kinds.tolist())

    def similarities(self, rows: npt.NDArray[np.intp], related: bool) -> Matrix:
        """(pairs,) of the pairs among `rows` that differ where they must; without `related`, of those that share no
        label."""
        allowed = np.triu(np.ones((len(rows), len(rows)), dtype=bool), k=1)
        for values in self.differ:
            here = values[rows]
            allowed &= (here[:, None] != here) & (here[:, None] >= 0) & (here >= 0)
        if not related and self.label is not None:
            allowed &= self.label[rows, None] != self.label[rows]
        elif not related:
            allowed &= self.sets[rows] @ self.sets[rows].T == 0
        return np.asarray((self.unit[rows] @ self.unit[rows].T)[allowed])


def replicability(
    profiles: pl.DataFrame, features: Sequence[str], config: ReplicabilityConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows `percent_replicating` (right), `…_left`, `…_both` and `percent_replicating_pairs`, or `percent_matching…`.

    percent_replicating: share of groups whose median similarity exceeds the percentile of random medians. With null
    "groups" these are of as many random profiles (from the same plates, where plates must differ; when matching, of
    treatments with all their profiles) as the group has, over the pairs of them that share nothing, so that chance is
    what the percentile leaves. Groups alike in this share a null, those above 50 that of 50, which is conservative.
    With null "pairs" they are of loose unrelated pairs, one fewer than the median group has profiles (copairs):
    conservative from four replicates on, false where groups differ in size.
    …_pairs: share of single related pairs that exceed the percentile of single unrelated pairs (cytominer-eval's
    replicate reproducibility): another number. Detail `groups`: group, similarity, n_profiles, n_pairs, above. Groups
    without a pair, or with hardly any unrelated profiles to be compared with, are left out; where none is left, rows
    without value, n = 0.
    """
    config = config or ReplicabilityConfig()
    require_columns(profiles, [config.same, *config.differ], "replicability")
    known = [config.same, *([config.treatment] if config.matching else [])]
    frame = profiles.filter(rows_where(profiles, config.among)).drop_nulls(known)
    name = "percent_matching" if config.matching else "percent_replicating"
    metrics = [name, f"{name}_left", f"{name}_both", f"{name}_pairs"]
    found = _profiles(frame, features, config)
    groups = _groups(frame, config)
    related = {group: found.similarities(rows, True) for group, rows in groups.items()}
    related = {group: values for group, values in related.items() if values.size}
    rng = np.random.default_rng(seed)
    sizes = {group: len(groups[group]) for group in related}
    per_null = max(min(int(np.median(list(sizes.values()))), LARGEST) - 1, 1) if sizes else 1
    loose = _unrelated_pairs(found, config.null_size * (per_null if config.null == "pairs" else 1), rng)
    if not related or loose is None:
        return nothing_to_ask(config.evaluator, metrics)
    kind_of: dict[str, tuple[int, ...]] = dict.fromkeys(related, ())
    if config.null == "pairs":
        nulls: dict[tuple[int, ...], Matrix] = {(): np.median(loose.reshape(-1, per_null), axis=1)}
    else:
        kind_of = {group: found.make_up(groups[group]) for group in related}
        nulls = {kind: _unrelated_groups(found, kind, config.null_size, rng) for kind in sorted(set(kind_of.values()))}
    related = {group: values for group, values in related.items() if nulls[kind_of[group]].size >= LEAST_NULL}
    if not related:
        return nothing_to_ask(config.evaluator, metrics)
    kinds = [kind_of[group] for group in related]
    medians = np.array([np.median(values) for values in related.values()])
    limits = {kind: np.percentile(nulls[kind], [100 - config.percentile, config.percentile]) for kind in set(kinds)}
    low, high = np.array([limits[kind] for kind in kinds]).T
    tail = 1 - config.percentile / 100
    shares = ((medians > high, tail), (medians < low, tail), ((medians > high) | (medians < low), 2 * tail))
    rows = [
        metric_row(config.evaluator, "overall", metric, float(hits.mean()), hits.size, chance,
                   share_interval(float(hits.mean()), hits.size))
        for metric, (hits, chance) in zip(metrics[:3], shares, strict=True)
    ]  # fmt: skip
    pairs = np.concatenate(list(related.values()))
    share = float((pairs > np.percentile(loose, config.percentile)).mean())
    rows.append(metric_row(config.evaluator, "overall", metrics[3], share, pairs.size, tail))
    table = pl.DataFrame({
        config.same: list(related), "similarity": medians, "n_profiles": [sizes[group] for group in related],
        "n_pairs": [values.size for values in related.values()], "above": medians > high,
    })  # fmt: skip
    expected = [nulls[kind].mean() for kind in kinds]
    scores = scores_frame(table.select(config.same), {
        "similarity": (medians, expected), "matches" if config.matching else "replicates": (medians > high, tail),
    })  # fmt: skip
    null = pl.concat([pl.DataFrame({"size": len(kind), "similarity": null}) for kind, null in nulls.items()])
    return Evaluation(metrics_frame(rows), {"groups": table, "null": null}, scores)


def _profiles(frame: pl.DataFrame, features: Sequence[str], config: ReplicabilityConfig) -> _Profiles:
    prepare, _ = SIMILARITIES[config.similarity]
    label, sets = None, np.zeros((frame.height, 0), dtype=np.float32)
    if config.separator is None:
        label = codes(frame[config.same])
    else:
        sets = label_sets(frame[config.same], config.separator)[0]
    differ = tuple(codes(frame[name]) for name in config.differ)
    if config.matching:
        members = [rows for _, rows in groups_of(frame, [config.treatment])]
        kind = np.zeros(len(members), dtype=np.int64)
    else:
        members = [np.array([row]) for row in range(frame.height)]
        places = np.column_stack([np.zeros(frame.height, dtype=np.int64), *differ])
        kind = np.unique(places, axis=0, return_inverse=True)[1].ravel()
    member_of = np.empty(frame.height, dtype=np.intp)
    for number, rows in enumerate(members):
        member_of[rows] = number
    unit = prepare(profile_matrix(frame, features, "replicability"))
    return _Profiles(unit, differ, label, sets, members, member_of, kind)


def _groups(frame: pl.DataFrame, config: ReplicabilityConfig) -> dict[str, npt.NDArray[np.intp]]:
    if config.separator is not None:
        membership, names = label_sets(frame[config.same], config.separator)
        return {name: np.flatnonzero(membership[:, i]) for i, name in enumerate(names)}
    return dict(groups_of(frame, [config.same]))


def _unrelated_groups(found: _Profiles, kinds: tuple[int, ...], count: int, rng: np.random.Generator) -> Matrix:
    """(count,) medians over the unrelated pairs among random units of these kinds; draws without such a pair are
    repeated. Fewer where most draws have none, as where a plate holds one treatment only."""
    pools = [(np.flatnonzero(found.kind == kind), size) for kind, size in Counter(kinds).items()]
    medians: list[float] = []
    for _ in range(10 * count):
        chosen = [pool[rng.choice(len(pool), size, replace=False)] for pool, size in pools]
        values = found.similarities(
            np.concatenate([found.members[unit] for unit in np.concatenate(chosen)]), related=False
        )
        if values.size:
            medians.append(float(np.median(values)))
        if len(medians) == count:
            break
    return np.array(medians)


def _unrelated_pairs(found: _Profiles, count: int, rng: np.random.Generator) -> Matrix | None:
    """(count,) similarities of random pairs that share no label and differ where they must; None where one in 100
    random pairs is no such pair."""
    kept: list[npt.NDArray[np.intp]] = []
    for _ in range(100 if len(found.unit) else 0):
        first, second = rng.integers(len(found.unit), size=(2, 2 * count))
        allowed = (first != second) & ((found.sets[first] * found.sets[second]).sum(axis=1) == 0)
        for values in (*found.differ, *([] if found.label is None else [found.label])):
            allowed &= values[first] != values[second]
        kept.append(np.column_stack([first, second])[allowed])
        if sum(map(len, kept)) >= count:
            pairs = np.concatenate(kept)[:count]
            blocks = np.array_split(pairs, max(1, pairs.shape[0] * found.unit.shape[1] // 4_000_000))
            return np.concatenate([np.einsum("ij,ij->i", found.unit[b[:, 0]], found.unit[b[:, 1]]) for b in blocks])
    return None
