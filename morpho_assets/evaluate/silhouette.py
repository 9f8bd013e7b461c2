"""Silhouette of labels, beside the silhouette of the same labels shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.inputs import profile_matrix
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask, scores_frame
from morpho_assets.evaluate.neighbours import BLOCK_MB
from morpho_assets.evaluate.pairs import codes
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

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
    against: Literal["nearest", "rest"] = Field(
        default="nearest", description="the nearest other label, or all other profiles as one (with `components: 50` "
        "and euclidean as in Tomkinson 2024, 10.1101/2024.03.13.584858)",
    )  # fmt: skip
    shuffles: int = Field(default=20, ge=1, description="permutations of the labels behind the chance value")


def silhouette(
    profiles: pl.DataFrame, features: Sequence[str], config: SilhouetteConfig | None = None, seed: int = 0
) -> Evaluation:
    """Row `silhouette` (chance: mean over shuffled labels, p from the same shuffles). Detail `labels`: means of each.

    Against the rest, each label by itself makes two groups, its profiles and all others: rows `silhouette_rest`, the
    mean over labels of the mean over all profiles, and `silhouette_rest_own`, that over the label's own.
    A label with one profile scores 0. Fewer than 2 labels: a row without value, n = 0.
    """
    config = config or SilhouetteConfig()
    metrics = ["silhouette"] if config.against == "nearest" else ["silhouette_rest", "silhouette_rest_own"]
    require_columns(profiles, [config.label], "silhouette")
    frame = profiles.filter(rows_where(profiles, config.among), pl.col(config.label).is_not_null())
    labels = codes(frame[config.label])
    if np.unique(labels).size < 2:
        return nothing_to_ask(config.evaluator, metrics)
    matrix = profile_matrix(frame, features, "silhouette")
    if config.components is not None:
        matrix = principal_components(matrix, config.components)[0]
    rng = np.random.default_rng(seed)
    if config.against == "rest":
        return _against_rest(matrix, frame[config.label], config, rng, seed)
    labelings = np.array([labels, *(rng.permutation(labels) for _ in range(config.shuffles))])
    values, *shuffled = silhouettes(matrix, labelings, config.distance)
    null = np.array([scores.mean() for scores in shuffled])
    p = float((np.sum(null >= values.mean()) + 1) / (null.size + 1))
    table = frame.select(config.label).with_columns(silhouette=pl.Series(values)).group_by(config.label).agg(
        pl.col("silhouette").mean(), pl.len().cast(pl.Int64).alias("n_profiles")).sort(config.label)  # fmt: skip
    rows = [metric_row(config.evaluator, "overall", "silhouette", float(values.mean()), labels.size,
                       float(null.mean()), p_value=p)]  # fmt: skip
    scores = scores_frame(table.select(config.label), {"silhouette": (table["silhouette"], null.mean())})
    return Evaluation(metrics_frame(rows), {"labels": table}, scores)


def _against_rest(
    matrix: Matrix, labels: pl.Series, config: SilhouetteConfig, rng: np.random.Generator, seed: int
) -> Evaluation:
    """The rows and details of labels against the rest."""
    code = codes(labels)
    number = np.unique(code).size
    marks = code == np.arange(number)[:, None]
    orders = [np.arange(code.size), *(rng.permutation(code.size) for _ in range(config.shuffles))]
    values = silhouettes_against_rest(matrix, np.concatenate([marks[:, order] for order in orders]), config.distance)
    members = np.concatenate([marks[:, order] for order in orders])
    everywhere = values.mean(axis=1).reshape(-1, number)
    own = ((values * members).sum(axis=1) / members.sum(axis=1)).reshape(-1, number)
    rows, scores = [], {}
    for metric, found in (("silhouette_rest", everywhere), ("silhouette_rest_own", own)):
        null = found[1:].mean(axis=1)
        p = float((np.sum(null >= found[0].mean()) + 1) / (null.size + 1))
        rows.append(metric_row(config.evaluator, "overall", metric, float(found[0].mean()), number, float(null.mean()),
                               mean_interval(found[0], seed), p))  # fmt: skip
        scores[metric] = (found[0], found[1:].mean(axis=0))
    names = [labels[int(np.argmax(mark))] for mark in marks]
    keys = pl.DataFrame({config.label: names})
    table = keys.with_columns(
        silhouette_rest=everywhere[0], silhouette_rest_own=own[0], n_profiles=marks.sum(axis=1)
    ).sort(config.label)
    return Evaluation(metrics_frame(rows), {"labels": table}, scores_frame(keys, scores))


def silhouettes_against_rest(matrix: Matrix, marked: npt.NDArray[np.bool_], kind: str = "cosine") -> Matrix:
    """(labels, n) silhouettes of the rows of (n, d) in two groups, those that each of (labels, n) marks and the others;
    0 for a row that is alone. Distances are made once, in blocks."""
    from sklearn.metrics import pairwise_distances_chunked

    members = marked.astype(float)
    sizes, n = members.sum(axis=1)[:, None], marked.shape[1]
    found = np.empty(marked.shape)
    start = 0
    for distances in pairwise_distances_chunked(matrix, metric=kind, working_memory=BLOCK_MB):
        rows = np.arange(start, start + len(distances))
        itself = distances[np.arange(len(rows)), rows]
        marked_sum = members @ distances.T
        other_sum = distances.sum(axis=1) - marked_sum
        here = marked[:, rows]
        own_size = np.where(here, sizes, n - sizes)
        inside = (np.where(here, marked_sum, other_sum) - itself) / np.maximum(own_size - 1, 1)
        outside = np.where(here, other_sum, marked_sum) / np.maximum(n - own_size, 1)
        largest = np.maximum(inside, outside)
        known = (own_size > 1) & (own_size < n) & (largest > 0)
        found[:, rows] = np.where(known, (outside - inside) / np.where(largest > 0, largest, 1), 0.0)
        start += len(rows)
    return found


def principal_components(matrix: Matrix, components: int) -> tuple[Matrix, Matrix]:
    """((n, c) scores, (c,) their sums of squares) of the leading components of the centred rows."""
    left, singular, _ = np.linalg.svd(matrix - matrix.mean(axis=0), full_matrices=False)
    return (left * singular)[:, :components], singular[:components] ** 2


def silhouettes(matrix: Matrix, labelings: npt.NDArray[np.integer], kind: str = "cosine") -> Matrix:
    """(labelings, n) silhouettes of the rows of (n, d) by each of (labelings, n) labels: (b - a) / max(a, b), with a
    the mean distance to the others of the row's label and b that to the nearest other label; 0 for a label of its own.

    `kind` is cosine or euclidean. Distances are made once, in blocks: memory is linear in n.
    """
    from sklearn.metrics import pairwise_distances_chunked

    groupings = [_Grouping.of(labels) for labels in labelings]
    found = np.empty(labelings.shape)
    start = 0
    for distances in pairwise_distances_chunked(matrix, metric=kind, working_memory=BLOCK_MB):
        rows = np.arange(start, start + len(distances))
        to_itself = distances[np.arange(len(rows)), rows]
        turned = np.ascontiguousarray(distances.T)
        for scores, grouping in zip(found, groupings, strict=True):
            scores[rows] = grouping.silhouettes(turned, rows, to_itself)
        start += len(rows)
    return found


@dataclass(frozen=True)
class _Grouping:
    """(n,) code of each row's label, (labels,) rows of each label, and (labels, n) which they are, sparse."""

    code: npt.NDArray[np.intp]
    counts: npt.NDArray[np.intp]
    members: csr_matrix

    @classmethod
    def of(cls, labels: npt.NDArray[np.integer]) -> _Grouping:
        from scipy.sparse import csr_matrix

        _, code, counts = np.unique(labels, return_inverse=True, return_counts=True)
        members = csr_matrix((np.ones(code.size), (code, np.arange(code.size))), shape=(counts.size, code.size))
        return cls(code, counts, members)

    def silhouettes(self, distances: Matrix, rows: npt.NDArray[np.intp], to_itself: Matrix) -> Matrix:
        """(rows,) silhouettes of `rows` from (n, rows) distances."""
        sums, code, here = self.members @ distances, self.code[rows], np.arange(len(rows))
        own = self.counts[code]
        inside = (sums[code, here] - to_itself) / np.maximum(own - 1, 1)
        means = sums / self.counts[:, None]
        means[code, here] = np.inf
        outside = means.min(axis=0)
        largest = np.maximum(inside, outside)
        return np.where((own > 1) & (largest > 0), (outside - inside) / np.where(largest > 0, largest, 1), 0.0)
