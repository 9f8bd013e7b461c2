"""The seam of evaluation: every evaluator takes profiles and gives rows of the metrics table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import polars as pl
from pydantic import BaseModel, ValidationError

from morpho_assets.errors import InputError
from morpho_assets.evaluate.batch import BatchConfig, batch_effects
from morpho_assets.evaluate.cluster_validation import ClusterValidationConfig, cluster_validation
from morpho_assets.evaluate.consistency import ConsistencyConfig, consistency
from morpho_assets.evaluate.enrichment import EnrichmentConfig, enrichment
from morpho_assets.evaluate.grit import GritConfig, grit
from morpho_assets.evaluate.metrics import Evaluation
from morpho_assets.evaluate.nsc import NscConfig, nsc
from morpho_assets.evaluate.replicability import ReplicabilityConfig, replicability
from morpho_assets.evaluate.retrieval import RetrievalConfig, retrieval
from morpho_assets.evaluate.silhouette import SilhouetteConfig, silhouette


class Evaluator(Protocol):
    """Profiles, their feature columns, the evaluator's own config model and a seed in; metrics and details out."""

    def __call__(self, profiles: pl.DataFrame, features: Sequence[str], config: Any, seed: int) -> Evaluation: ...


EVALUATORS: dict[str, tuple[type[BaseModel], Evaluator]] = {
    "retrieval": (RetrievalConfig, retrieval),
    "consistency": (ConsistencyConfig, consistency),
    "replicability": (ReplicabilityConfig, replicability),
    "enrichment": (EnrichmentConfig, enrichment),
    "nsc": (NscConfig, nsc),
    "grit": (GritConfig, grit),
    "silhouette": (SilhouetteConfig, silhouette),
    "cluster_validation": (ClusterValidationConfig, cluster_validation),
    "batch": (BatchConfig, batch_effects),
}


def evaluator_config(settings: Mapping[str, Any]) -> BaseModel:
    """The config model of `settings["evaluator"]` filled with the other settings; InputError for what is unknown."""
    name = settings.get("evaluator")
    if name not in EVALUATORS:
        raise InputError("evaluators", str(name), "an unknown evaluator", f"one of {', '.join(EVALUATORS)}",
                         "Choose one of them.")  # fmt: skip
    try:
        return EVALUATORS[name][0].model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError("evaluators", f"{name}.{'.'.join(map(str, first['loc']))}", first["msg"], "a valid setting",
                         "Correct it.") from error  # fmt: skip


def evaluate(
    profiles: pl.DataFrame, features: Sequence[str], config: BaseModel | Mapping[str, Any], seed: int = 0
) -> Evaluation:
    """Run the evaluator that `config` (a config model, or settings with an `evaluator` key) is for."""
    model = config if isinstance(config, BaseModel) else evaluator_config(config)
    return EVALUATORS[model.evaluator][1](profiles, features, model, seed)  # type: ignore[attr-defined]
