"""Do active treatments with a shared target or mechanism find each other?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.metrics import Evaluation
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.evaluate.retrieval import RetrievalConfig, mean_average_precision, retrieval
from morpho_assets.profiles.consensus import ConsensusConfig, consensus
from morpho_assets.profiles.features import require_columns
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
    profiles: pl.DataFrame, features: Sequence[str], config: ConsistencyConfig | None = None, seed: int = 0
) -> Evaluation:
    """`retrieval` of labels: one mAP per label, positives its other carriers, negatives the treatments that share no
    label with the query. Detail `treatments` (one row per label) as there. InputError when nothing is active, or no
    label is carried by two of the active treatments."""
    config = config or ConsistencyConfig()
    require_columns(profiles, [config.label], "consistency")
    frame = profiles.filter(rows_where(profiles, config.among))
    if config.activity is not None:
        active = mean_average_precision(profiles, features, config.activity, seed).filter("retrieved")
        frame = frame.join(active, on=list(config.activity.group), how="semi", maintain_order="left")
    if frame.is_empty():
        raise InputError("profiles", "consistency", "no active treatment", "treatments retrieved by `activity`",
                         "Set activity to null to use all treatments.")  # fmt: skip
    treatments = consensus(frame, config.consensus, features)
    shared = PairRule(sameby=(config.label,), multilabel=config.label, separator=config.separator)
    apart = PairRule(diffby=(config.label,), multilabel=config.label, separator=config.separator)
    ranking = RetrievalConfig(positives=shared, negatives=apart, queries="all", null_size=config.null_size,
                              threshold=config.threshold)  # fmt: skip
    found = retrieval(treatments, features, ranking, seed)
    return Evaluation(found.metrics.with_columns(evaluator=pl.lit(config.evaluator)), found.details)
