"""Silhouette of labels, beside the silhouette of the same labels shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame
from morpho_assets.evaluate.pairs import codes
from morpho_assets.evaluate.similarity import SIMILARITIES
from morpho_assets.profiles.features import complete_matrix, require_columns
from morpho_assets.profiles.rows import rows_where

Matrix = npt.NDArray[np.float64]


class SilhouetteConfig(BaseModel):
    """Mean silhouette (Rousseeuw 1987). Assumes compact, separated groups; with hundreds of treatments values near 0
    are normal, which is why the shuffled twin stands beside it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["silhouette"] = "silhouette"
    label: str = Field(default="Metadata_Perturbation", description="column of the labels")
    among: str = Field(
        default="treated",
        description="SQL condition of the profiles used",
    )
    components: int | None = Field(default=None, ge=1, description="principal components kept; null: all features")
    distance: Literal["cosine", "euclidean"] = Field(default="cosine", description="distance between profiles")
    shuffles: int = Field(default=20, ge=1, description="permutations of the labels behind the chance value")


def silhouette(
    profiles: pl.DataFrame, features: Sequence[str], config: SilhouetteConfig | None = None, seed: int = 0
) -> Evaluation:
    """Row `silhouette` (chance: mean over shuffled labels, p from the same shuffles) and per label a row. A label with
    one profile scores 0; InputError for fewer than 2 labels."""
    config = config or SilhouetteConfig()
    require_columns(profiles, [config.label], "silhouette")
    frame = profiles.filter(rows_where(profiles, config.among), pl.col(config.label).is_not_null())
    labels = codes(frame[config.label])
    if np.unique(labels).size < 2:
        raise InputError("profiles", config.label, f"{np.unique(labels).size} label", "at least 2", "Use more groups.")
    distances = distance_matrix(complete_matrix(frame, features, "silhouette"), config.distance, config.components)
    values = silhouette_values(distances, labels)
    rng = np.random.default_rng(seed)
    null = np.array([silhouette_values(distances, rng.permutation(labels)).mean() for _ in range(config.shuffles)])
    p = float((np.sum(null >= values.mean()) + 1) / (null.size + 1))
    table = frame.select(config.label).with_columns(silhouette=pl.Series(values)).group_by(config.label).agg(
        pl.col("silhouette").mean(), pl.len().cast(pl.Int64).alias("n_profiles")).sort(config.label)  # fmt: skip
    rows = [metric_row(config.evaluator, "overall", "silhouette", float(values.mean()), labels.size,
                       float(null.mean()), p_value=p)]  # fmt: skip
    return Evaluation(metrics_frame(rows), {"labels": table})


def distance_matrix(matrix: Matrix, kind: str, components: int | None = None) -> Matrix:
    """(n, n) cosine (1 - similarity) or Euclidean distances of the rows, after PCA if `components` is given."""
    if components is not None:
        centred = matrix - matrix.mean(axis=0)
        left, singular, _ = np.linalg.svd(centred, full_matrices=False)
        matrix = (left * singular)[:, :components]
    if kind == "euclidean":
        squares = np.einsum("ij,ij->i", matrix, matrix)
        return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares - 2 * matrix @ matrix.T, 0)))
    prepare, compare = SIMILARITIES["cosine"]
    unit = prepare(matrix)
    return np.asarray(1 - compare(unit, unit))


def silhouette_values(distances: Matrix, labels: npt.NDArray[np.integer]) -> Matrix:
    """(n,) silhouettes from (n, n) distances: (b - a) / max(a, b), 0 for a label of its own."""
    kinds, code, counts = np.unique(labels, return_inverse=True, return_counts=True)
    indicator = np.eye(len(kinds))[code]
    sums = distances @ indicator
    own = counts[code]
    rows = np.arange(len(labels))
    inside = (sums[rows, code] - distances[rows, rows]) / np.maximum(own - 1, 1)
    means = sums / counts
    means[rows, code] = np.inf
    outside = means.min(axis=1)
    largest = np.maximum(inside, outside)
    return np.where((own > 1) & (largest > 0), (outside - inside) / np.where(largest > 0, largest, 1), 0.0)
