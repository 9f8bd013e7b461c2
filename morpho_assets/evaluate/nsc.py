"""Mechanism by the nearest neighbour: not the same compound (NSC), nor the same batch (NSCB)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.inputs import profile_matrix, treatment_profiles
from morpho_assets.evaluate.intervals import mean_interval, share_interval
from morpho_assets.evaluate.metrics import (
    Evaluation,
    metric_row,
    metrics_frame,
    nothing_to_ask,
    scores_frame,
)
from morpho_assets.evaluate.pairs import PairRule, codes, pairing
from morpho_assets.evaluate.similarity import similarity_blocks
from morpho_assets.profiles.consensus import ConsensusConfig
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

METRICS = ("NSC", "NSCB", "Drop")


class NscConfig(BaseModel):
    """Accuracy of predicting a treatment's mechanism from its nearest neighbours (Ljosa 2013,
    10.1177/1087057113503553; Ando 2017), over treatments (a compound at a dose) per batch, each with one mechanism.
    Drop = NSC - NSCB, on the treatments that both can score, shows reliance on batch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["nsc"] = "nsc"
    mechanism: str = Field(default="Metadata_moa", description="column of the mechanism")
    compound: str = Field(default="Metadata_Perturbation", description="column of the compound, over doses")
    treatment: str = Field(default="Metadata_Perturbation", description="column of the treatment, which is scored")
    batch: str | None = Field(default="Metadata_Batch", description="column of the batch; null: no NSCB")
    consensus: Literal["median", "mean"] | None = Field(
        default="median", description="a treatment's replicates in a batch to one profile; null: rows are that already"
    )
    among: str = Field(default="treated", description="SQL condition of the profiles used")
    neighbours: int = Field(default=1, ge=1, description="neighbours that vote; a tie goes to the nearest of them")
    similarity: Literal["cosine", "correlation", "euclidean"] = Field(
        default="cosine", description="kind of similarity"
    )


def nsc(profiles: pl.DataFrame, features: Sequence[str], config: NscConfig | None = None, seed: int = 0) -> Evaluation:
    """Rows NSC, NSCB and Drop over treatments, each the mean over its batches. Those without a mechanism, or whose
    mechanism no other allowed compound has, are not scored (for NSCB this leaves out mechanisms confined to one batch).

    Chance: random allowed neighbours, and for Drop the difference of both; neighbours that tie are ordered at random.
    Detail `predictions`: per treatment and batch whether its mechanism is that of its neighbours. Where no mechanism
    has two compounds, rows without value, n = 0. InputError for a treatment of several mechanisms.
    """
    config = config or NscConfig()
    batch = [config.batch] if config.batch else []
    by = tuple(dict.fromkeys([config.treatment, config.compound, *batch]))
    require_columns(profiles, [config.mechanism, *by], "nsc")
    frame = profiles.filter(rows_where(profiles, config.among)).drop_nulls([config.treatment, config.compound])
    if config.consensus:
        replicates = ConsensusConfig(method=config.consensus, by=by)
        frame = treatment_profiles(frame, features, replicates, [config.mechanism])
    frame = frame.drop_nulls(config.mechanism)
    matrix = profile_matrix(frame, features, "nsc")
    rules = {"NSC": PairRule(diffby=(config.compound,))}
    if config.batch:
        rules["NSCB"] = PairRule(diffby=(config.compound, config.batch))
    table = frame.select(*by, config.mechanism)
    rng = np.random.default_rng(seed)
    for name, rule in rules.items():
        right, chance = _accuracy(matrix, frame, rule, config, rng)
        table = table.with_columns(
            pl.Series(name, right, nan_to_null=True), pl.Series(f"{name}_chance", chance, nan_to_null=True)
        )
    if not table["NSC"].count():
        return nothing_to_ask(config.evaluator, METRICS[: 3 if config.batch else 1])
    if config.batch:
        table = table.with_columns(
            Drop=pl.col("NSC") - pl.col("NSCB"), Drop_chance=pl.col("NSC_chance") - pl.col("NSCB_chance")
        )
    names = [name for name in METRICS if name in table.columns]
    chances = [f"{name}_chance" for name in names]
    treatments = table.group_by(config.treatment).agg(pl.col(*names, *chances).mean()).sort(config.treatment)
    rows = [_row(config, name, treatments.drop_nulls(name), seed) for name in names]
    scores = scores_frame(treatments.select(config.treatment), {
        name: (treatments[name].cast(pl.Float64).fill_null(np.nan), treatments[f"{name}_chance"]) for name in rules
    })  # fmt: skip
    return Evaluation(metrics_frame(rows), {"predictions": table}, scores)


def _row(config: NscConfig, name: str, scored: pl.DataFrame, seed: int) -> dict[str, object]:
    values, chance = scored[name].to_numpy(), scored[f"{name}_chance"].to_numpy()
    if not values.size:
        return metric_row(config.evaluator, "overall", name, np.nan, 0)
    share = float(values.mean())
    interval = mean_interval(values, seed) if name == "Drop" else share_interval(share, values.size)
    return metric_row(config.evaluator, "overall", name, share, values.size, chance.mean(), interval)


def _accuracy(
    matrix: npt.NDArray[np.float64], frame: pl.DataFrame, rule: PairRule, config: NscConfig, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """((n,) 1 right, 0 wrong, NaN not scored; (n,) the same of random neighbours in the mean)."""
    partners = pairing(frame, rule)
    mechanism = codes(frame[config.mechanism])
    right, chance = np.full(frame.height, np.nan), np.full(frame.height, np.nan)
    for block, similarity in similarity_blocks(matrix, np.arange(frame.height), config.similarity):
        for row, values, allowed in zip(block, similarity, partners.mask(block), strict=True):
            candidates = rng.permutation(np.flatnonzero(allowed))
            same = mechanism[candidates] == mechanism[row]
            if same.any():
                nearest = candidates[np.argsort(-values[candidates], kind="stable")[: config.neighbours]]
                right[row] = _vote(mechanism[nearest]) == mechanism[row]
                kinds = tuple(np.bincount(mechanism[candidates]).tolist())
                chance[row] = _random_votes(kinds, int(mechanism[row]), config.neighbours)
    return right, chance


@lru_cache(maxsize=4096)
def _random_votes(kinds: tuple[int, ...], true: int, neighbours: int, draws: int = 1000) -> float:
    """Share of random sets of neighbours that vote for mechanism `true`, among `kinds[m]` candidates of mechanism m;
    exact for one neighbour, of `draws` sets for more."""
    if neighbours == 1:
        return kinds[true] / sum(kinds)
    rng = np.random.default_rng([true, neighbours, *kinds])
    candidates = np.repeat(np.arange(len(kinds)), kinds)
    size = min(neighbours, candidates.size)
    return float(np.mean([_vote(rng.choice(candidates, size, replace=False)) == true for _ in range(draws)]))


def _vote(labels: npt.NDArray[np.int64]) -> int:
    kinds, first, votes = np.unique(labels, return_index=True, return_counts=True)
    best = votes == votes.max()
    return int(kinds[best][np.argmin(first[best])])
