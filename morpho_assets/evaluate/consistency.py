"""Do active treatments with a shared target or mechanism find each other?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.inputs import treatment_profiles
from morpho_assets.evaluate.metrics import Evaluation, nothing_to_ask
from morpho_assets.evaluate.pairs import PairRule, label_sets
from morpho_assets.evaluate.retrieval import OVERALL, retrieval, treatment_table
from morpho_assets.profiles.consensus import ConsensusConfig
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.refit import Refit
from morpho_assets.profiles.rows import rows_where


class ConsistencyConfig(BaseModel):
    """Activity first (replicates against controls), then mAP of labels among the consensus profiles of what is active
    (Kalinin 2025). Assumes that shared labels mean similar biology, which annotation of targets only partly does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["consistency"] = "consistency"
    label: str = Field(default="Metadata_target_list", description="column with the targets or mechanisms")
    separator: str = Field(default="|", description="what separates several labels")
    activity: RetrievalConfig | None = Field(
        default=RetrievalConfig(), description="which treatments are active; null: all are used"
    )
    consensus: ConsensusConfig = Field(default=ConsensusConfig(), description="replicates to treatments")
    among: str = Field(
        default="treated",
        description="SQL condition of the profiles used",
    )
    null_size: int = Field(default=10_000, ge=100, description="random rankings behind a p-value that is not exact")
    threshold: float = Field(default=0.05, gt=0, lt=1, description="q-value under which a label is retrieved")


def consistency(
    profiles: pl.DataFrame, features: Sequence[str], config: ConsistencyConfig | None = None, seed: int = 0,
    refit: Refit | None = None,
) -> Evaluation:  # fmt: skip
    """`retrieval` of labels: one mAP per label, positives its other carriers, negatives the treatments that share no
    label with the query. Detail `treatments` (one row per label) as there. Where nothing is active, or no label is
    carried by two of the active treatments, as after shuffling, the overall rows have no value and n = 0. InputError
    naming a treatment with different labels on different profiles."""
    config = config or ConsistencyConfig()
    require_columns(profiles, [config.label], "consistency")
    frame = profiles.filter(rows_where(profiles, config.among))
    if config.activity is not None:
        tested = treatment_table(profiles, features, config.activity, seed, refit)
        if tested is None:
            return nothing_to_ask(config.evaluator, OVERALL)
        active = tested.filter("retrieved")
        frame = frame.join(active, on=list(config.activity.group), how="semi", maintain_order="left")
    treatments = treatment_profiles(frame, features, config.consensus, [config.label])
    if not _can_be_asked(treatments[config.label], config.separator):
        return nothing_to_ask(config.evaluator, OVERALL)
    shared = PairRule(sameby=(config.label,), multilabel=config.label, separator=config.separator)
    apart = PairRule(diffby=(config.label,), multilabel=config.label, separator=config.separator)
    ranking = RetrievalConfig(positives=shared, negatives=apart, queries="all", plate=(), null_size=config.null_size,
                              threshold=config.threshold)  # fmt: skip
    found = retrieval(treatments, features, ranking, seed)
    return replace(found, metrics=found.metrics.with_columns(evaluator=pl.lit(config.evaluator)))


def _can_be_asked(labels: pl.Series, separator: str) -> bool:
    """Whether any treatment shares a label with another, and none with a third: it then has something to find."""
    membership, _ = label_sets(labels, separator)
    known = membership.any(axis=1)
    shared = membership @ membership.T > 0
    others = (~shared & known & known[:, None]).any(axis=1)
    return bool(((shared.sum(axis=1) > 1) & others).any())
