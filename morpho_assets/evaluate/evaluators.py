"""The seam of evaluation: an evaluator takes profiles, or plates, and gives rows of the metrics table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import polars as pl
from pydantic import BaseModel, ValidationError

from morpho_assets.errors import InputError
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.batch import BatchConfig, batch_effects
from morpho_assets.evaluate.cluster_validation import ClusterValidationConfig, cluster_validation
from morpho_assets.evaluate.clusters import ClustersConfig, clusters
from morpho_assets.evaluate.consistency import ConsistencyConfig, consistency
from morpho_assets.evaluate.energy_distance import EnergyDistanceConfig, energy_distance
from morpho_assets.evaluate.enrichment import EnrichmentConfig, enrichment
from morpho_assets.evaluate.grit import GritConfig, grit
from morpho_assets.evaluate.hierarchy import HierarchyConfig, hierarchy
from morpho_assets.evaluate.metrics import Evaluation
from morpho_assets.evaluate.mp_value import MpValueConfig, mp_value
from morpho_assets.evaluate.near_far import NearFarConfig, near_far
from morpho_assets.evaluate.nsc import NscConfig, nsc
from morpho_assets.evaluate.potency import PotencyConfig, potency
from morpho_assets.evaluate.prediction import PredictionConfig, prediction
from morpho_assets.evaluate.relationships import RelationshipsConfig, relationships
from morpho_assets.evaluate.replicability import ReplicabilityConfig, replicability
from morpho_assets.evaluate.retrieval import retrieval
from morpho_assets.evaluate.segmentation import SegmentationScoresConfig, segmentation_scores
from morpho_assets.evaluate.silhouette import SilhouetteConfig, silhouette
from morpho_assets.evaluate.stain_drift import StainDriftConfig, stain_drifts
from morpho_assets.evaluate.truth import TruthConfig, truth_checks
from morpho_assets.gallery.truth import Truth
from morpho_assets.imaging.sites import SiteReader
from morpho_assets.lake.lake import Snapshot
from morpho_assets.profiles.features import require_features
from morpho_assets.profiles.refit import Refit

Kind = TypeVar("Kind")


class Evaluator(Protocol):
    """Profiles, their feature columns, the evaluator's own config model and a seed in; metrics and details out."""

    def __call__(self, profiles: pl.DataFrame, features: Sequence[str], config: Any, seed: int) -> Evaluation: ...


class RankingEvaluator(Protocol):
    """An evaluator that compares with controls, which may have made the scale: it also takes how profiles were made."""

    def __call__(
        self, profiles: pl.DataFrame, features: Sequence[str], config: Any, seed: int, refit: Refit | None
    ) -> Evaluation: ...


class PlateEvaluator(Protocol):
    """Tables, a study's plates (plate to reader), the evaluator's own config model and a seed in;
    metrics out. For what is true of the plates whatever the feature space, and so is measured once."""

    def __call__(self, inputs: Snapshot, readers: Mapping[str, SiteReader], config: Any, seed: int) -> Evaluation: ...


class TruthEvaluator(Protocol):
    """A study in the lake with the names of its spaces, what is known of its plates (None: nothing), the evaluator's
    own config model and a seed in; metrics and the detail `points` out."""

    def __call__(
        self, inputs: Snapshot, study: str, spaces: Sequence[str], truth: Truth | None, config: Any, seed: int
    ) -> Evaluation: ...


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
    "near_far": (NearFarConfig, near_far),
    "energy_distance": (EnergyDistanceConfig, energy_distance),
    "mp_value": (MpValueConfig, mp_value),
    "relationships": (RelationshipsConfig, relationships),
    "hierarchy": (HierarchyConfig, hierarchy),
    "clusters": (ClustersConfig, clusters),
    "potency": (PotencyConfig, potency),
    "prediction": (PredictionConfig, prediction),
}
RANKING: dict[str, RankingEvaluator] = {
    "retrieval": retrieval, "consistency": consistency, "near_far": near_far, "potency": potency,
}  # fmt: skip
PLATE_EVALUATORS: dict[str, tuple[type[BaseModel], PlateEvaluator]] = {
    "segmentation": (SegmentationScoresConfig, segmentation_scores),
    "stain_drift": (StainDriftConfig, stain_drifts),
}
TRUTH_EVALUATORS: dict[str, tuple[type[BaseModel], TruthEvaluator]] = {
    "truth": (TruthConfig, truth_checks),
}


def evaluator_config(settings: Mapping[str, Any]) -> BaseModel:
    """The config model of `settings["evaluator"]` filled with the other settings; InputError for what is unknown."""
    name = str(settings.get("evaluator"))
    models = {known: model for known, (model, _) in
              (*EVALUATORS.items(), *PLATE_EVALUATORS.items(), *TRUTH_EVALUATORS.items())}  # fmt: skip
    if name not in models:
        raise InputError("evaluators", name, "an unknown evaluator", f"one of {', '.join(models)}",
                         "Choose one of them.")  # fmt: skip
    try:
        return models[name].model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError("evaluators", ".".join(map(str, (name, *first["loc"]))), first["msg"], "a valid setting",
                         "Correct it.") from error  # fmt: skip


def evaluate(
    profiles: pl.DataFrame, features: Sequence[str], config: BaseModel | Mapping[str, Any], seed: int = 0,
    refit: Refit | None = None,
) -> Evaluation:  # fmt: skip
    """Run the evaluator that `config` (a config model, or settings with an `evaluator` key) is for.

    `refit` says how the profiles were made (`retrieval.mean_average_precision`). InputError for what the evaluator
    cannot work with, no features among it, and for an evaluator of plates or of truth.
    """
    model, evaluator = _chosen(config, EVALUATORS, "profiles")
    require_features(profiles, features)
    ranking = RANKING.get(str(getattr(model, "evaluator", None)))
    return ranking(profiles, features, model, seed, refit) if ranking else evaluator(profiles, features, model, seed)


def evaluate_plates(
    inputs: Snapshot, readers: Mapping[str, SiteReader], config: BaseModel | Mapping[str, Any], seed: int = 0
) -> Evaluation:
    """`evaluate` for what is measured on plates (plate to reader)."""
    model, evaluator = _chosen(config, PLATE_EVALUATORS, "plates")
    return evaluator(inputs, readers, model, seed)


def evaluate_truth(
    inputs: Snapshot, study: str, spaces: Sequence[str], truth: Truth | None, config: BaseModel | Mapping[str, Any],
    seed: int = 0,
) -> Evaluation:  # fmt: skip
    """`evaluate` for what is measured against known truth."""
    model, evaluator = _chosen(config, TRUTH_EVALUATORS, "truth")
    return evaluator(inputs, study, spaces, truth, model, seed)


def _chosen(
    config: BaseModel | Mapping[str, Any], evaluators: Mapping[str, tuple[type[BaseModel], Kind]], of: str
) -> tuple[BaseModel, Kind]:
    model = config if isinstance(config, BaseModel) else evaluator_config(config)
    name = str(getattr(model, "evaluator", type(model).__name__))
    if name not in evaluators:
        raise InputError("evaluators", name, f"no evaluator of {of}", f"one of {', '.join(evaluators)}",
                         "Choose one of them, or call the function for its kind.")  # fmt: skip
    return model, evaluators[name][1]
