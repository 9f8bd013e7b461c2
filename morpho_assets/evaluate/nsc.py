"""Mechanism by the nearest neighbour: not the same compound (NSC), nor the same batch (NSCB)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.metrics import Evaluation, bootstrap_interval, metric_row, metrics_frame
from morpho_assets.evaluate.pairs import PairRule, codes, pairing
from morpho_assets.evaluate.similarity import similarity_blocks
from morpho_assets.profiles.features import complete_matrix, require_columns


class NscConfig(BaseModel):
    """Accuracy of predicting a treatment's mechanism from its nearest neighbours (Ljosa 2013,
    10.1177/1087057113503553; Ando 2017). Expects one row per treatment (compound at a dose, per batch), each with one
    mechanism. Drop = NSC - NSCB, on the treatments that both can score, shows reliance on batch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["nsc"] = "nsc"
    mechanism: str = Field(default="Metadata_moa", description="column of the mechanism")
    compound: str = Field(default="Metadata_Perturbation", description="column of the compound, over doses")
    batch: str | None = Field(default="Metadata_Batch", description="column of the batch; null: no NSCB")
    neighbours: int = Field(default=1, ge=1, description="neighbours that vote; a tie goes to the nearest of them")
    similarity: Literal["cosine", "correlation", "euclidean"] = Field(
        default="cosine", description="kind of similarity"
    )
    resamples: int = Field(default=1000, ge=100, description="bootstrap resamples of treatments")


def nsc(profiles: pl.DataFrame, features: Sequence[str], config: NscConfig | None = None, seed: int = 0) -> Evaluation:
    """Rows NSC, NSCB and Drop. Treatments without a mechanism, or whose mechanism no other allowed compound has, are
    not scored (for NSCB this leaves out mechanisms confined to one batch). Chance: mean share of the true mechanism
    among the allowed neighbours. Detail `treatments`: the prediction of each."""
    config = config or NscConfig()
    require_columns(profiles, [config.mechanism, config.compound, *([config.batch] if config.batch else [])], "nsc")
    frame = profiles.filter(pl.col(config.mechanism).is_not_null(), pl.col(config.compound).is_not_null())
    matrix = complete_matrix(frame, features, "nsc")
    mechanism = codes(frame[config.mechanism])
    rules = {"NSC": PairRule(diffby=(config.compound,))}
    if config.batch:
        rules["NSCB"] = PairRule(diffby=(config.compound, config.batch))
    rows, table = [], frame.select(config.compound, config.mechanism)
    correct: dict[str, npt.NDArray[np.float64]] = {}
    for name, rule in rules.items():
        correct[name], chance = _accuracy(matrix, frame, mechanism, rule, config)
        rows.append(_row(config, name, correct[name], chance, seed))
        table = table.with_columns(pl.Series(name, correct[name], nan_to_null=True))
    if not np.isfinite(correct["NSC"]).any():
        raise InputError("profiles", config.mechanism, "no mechanism shared by two compounds", "shared mechanisms",
                         "Check the columns `mechanism` and `compound`.")  # fmt: skip
    if config.batch:
        rows.append(_row(config, "Drop", correct["NSC"] - correct["NSCB"], 0.0, seed))
    return Evaluation(metrics_frame(rows), {"treatments": table})


def _row(config: NscConfig, name: str, values: npt.NDArray[np.float64], chance: float, seed: int) -> dict[str, object]:
    known = values[np.isfinite(values)]
    interval = bootstrap_interval(known, np.mean, seed, config.resamples)
    return metric_row(config.evaluator, "overall", name, known.mean() if known.size else np.nan, known.size, chance,
                      interval)  # fmt: skip


def _accuracy(
    matrix: npt.NDArray[np.float64], frame: pl.DataFrame, mechanism: npt.NDArray[np.int64], rule: PairRule,
    config: NscConfig,
) -> tuple[npt.NDArray[np.float64], float]:  # fmt: skip
    """((n,) 1 right, 0 wrong, NaN not scored; mean chance)."""
    partners = pairing(frame, rule)
    right, chance = np.full(frame.height, np.nan), np.full(frame.height, np.nan)
    for block, similarity in similarity_blocks(matrix, np.arange(frame.height), config.similarity):
        for row, values, allowed in zip(block, similarity, partners.mask(block), strict=True):
            candidates = np.flatnonzero(allowed)
            same = mechanism[candidates] == mechanism[row]
            if same.any():
                nearest = candidates[np.argsort(-values[candidates], kind="stable")[: config.neighbours]]
                right[row] = _vote(mechanism[nearest]) == mechanism[row]
                chance[row] = same.mean()
    scored = np.isfinite(chance)
    return right, float(chance[scored].mean()) if scored.any() else np.nan


def _vote(labels: npt.NDArray[np.int64]) -> int:
    kinds, first, votes = np.unique(labels, return_index=True, return_counts=True)
    best = votes == votes.max()
    return int(kinds[best][np.argmin(first[best])])
