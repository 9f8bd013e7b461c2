"""Known relationships among the most and the least alike of all pairs of treatments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.inputs import profile_matrix, treatment_profiles
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask, scores_frame
from morpho_assets.evaluate.pairs import label_sets
from morpho_assets.evaluate.similarity import similarity_to
from morpho_assets.profiles.consensus import ConsensusConfig
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

METRICS = ("recall", "recall_alike")


class RelationshipsConfig(BaseModel):
    """Recall of known pairs (Celik 2024, 10.1371/journal.pcbi.1012463): the share of pairs that are known to be related
    whose similarity lies among the lowest or the highest `percent` of all pairs. Opposites count as found. Assumes that
    related treatments look alike, or opposite; pairs of one pathway are not independent, so the p-value permutes the
    treatments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["relationships"] = "relationships"
    label: str = Field(default="Metadata_moa", description="treatments that share a label of this column are related")
    separator: str = Field(default="|", description="what separates several labels")
    pairs: str | None = Field(
        default=None, description="a CSV of two columns of related treatments (CORUM, Reactome …), in place of labels"
    )
    consensus: ConsensusConfig = Field(default=ConsensusConfig(method="mean"), description="replicates to treatments")
    among: str = Field(default="treated", description="SQL condition of the profiles used")
    percent: float = Field(default=5.0, gt=0, lt=50, description="of all pairs at each end that count")
    similarity: Literal["cosine", "correlation"] = Field(default="cosine", description="how alike two profiles are")
    permutations: int = Field(default=1000, ge=100, description="permutations of the treatments")


def relationships(
    profiles: pl.DataFrame, features: Sequence[str], config: RelationshipsConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows recall (both ends; chance 2 * percent) and recall_alike (the upper end alone; chance percent), each with the
    mean over permutations as chance, which is these but for ties, and p from the same. Scores: of each treatment the
    share of its related ones that are found. n counts treatments with a relation, over which the interval resamples.
    Without any pair: rows without value, n = 0. InputError for a file of pairs without two columns."""
    config = config or RelationshipsConfig()
    frame = profiles.filter(rows_where(profiles, config.among))
    labels = [] if config.pairs else [config.label]
    require_columns(profiles, labels, "relationships")
    frame = treatment_profiles(frame, features, config.consensus, labels)
    if frame.height < 3:
        return nothing_to_ask(config.evaluator, METRICS)
    related = np.triu(_related(frame, config), k=1)
    first, second = np.triu_indices(frame.height, k=1)
    known = related[first, second]
    if not known.any():
        return nothing_to_ask(config.evaluator, METRICS)
    matrix = profile_matrix(frame, features, "relationships")
    alike = similarity_to(matrix, matrix, config.similarity).astype(float)
    low, high = np.percentile(alike[first, second], [config.percent, 100 - config.percent])
    ends = {"recall": (alike <= low) | (alike >= high), "recall_alike": alike >= high}
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(frame.height) for _ in range(config.permutations)]
    pairs = first[known], second[known]
    degree = np.bincount(np.concatenate(pairs), minlength=frame.height)
    rows, scores = [], {}
    for metric, found in ends.items():
        value = float(found[pairs].mean())
        null = np.array([found[order[pairs[0]], order[pairs[1]]].mean() for order in orders])
        ends_found = np.tile(found[pairs], 2).astype(float)
        hits = np.asarray(np.bincount(np.concatenate(pairs), ends_found, frame.height), dtype=np.float64)
        with np.errstate(invalid="ignore"):
            own = np.where(degree > 0, hits / np.maximum(degree, 1), np.nan)
        p = float(((null >= value - 1e-12).sum() + 1) / (null.size + 1))
        interval = _interval(hits, degree, value, seed)
        rows.append(metric_row(config.evaluator, "overall", metric, value, int((degree > 0).sum()), float(null.mean()),
                               interval, p))  # fmt: skip
        scores[metric] = (own, float(null.mean()))
    keys = frame.select(config.consensus.by)
    table = keys.with_columns(n_related=pl.Series(degree)).filter(pl.col("n_related") > 0)
    return Evaluation(metrics_frame(rows), {"related": table}, scores_frame(keys, scores))


def _interval(
    hits: npt.NDArray[np.float64], degree: npt.NDArray[np.int64], value: float, seed: int
) -> tuple[float, float] | None:
    """Interval of a ratio of sums over treatments, by the mean of its linear parts (Cochran 1977, Sampling Techniques,
    ch. 6)."""
    asked = degree > 0
    linear = value + (hits[asked] - value * degree[asked]) / degree[asked].mean()
    found = mean_interval(linear, seed)
    return found and (max(0.0, found[0]), min(1.0, found[1]))


def _related(frame: pl.DataFrame, config: RelationshipsConfig) -> npt.NDArray[np.bool_]:
    """(n, n) which treatments are related."""
    if config.pairs is None:
        membership, _ = label_sets(frame[config.label], config.separator)
        return np.asarray(membership @ membership.T > 0)
    file = Path(config.pairs)
    if not file.is_file():
        raise InputError(file, "", "no such file", "a CSV of two columns", "Correct `pairs`.")
    given = pl.read_csv(file, infer_schema=False)
    if given.width != 2:
        raise InputError(file, "header", f"{given.width} columns", "two columns of treatments", "Mend the file.")
    place = {name: row for row, name in enumerate(frame[config.consensus.by[0]])}
    related = np.zeros((frame.height, frame.height), dtype=bool)
    for one, other in given.iter_rows():
        if one in place and other in place and one != other:
            related[place[one], place[other]] = related[place[other], place[one]] = True
    return related
