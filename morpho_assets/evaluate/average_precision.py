"""Average precision of single profiles: who is ranked against whom, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from morpho_assets.errors import InputError
from morpho_assets.evaluate.chance import expected_ap
from morpho_assets.evaluate.pairs import Pairing, PairRule, pairing
from morpho_assets.evaluate.similarity import BLOCK_BYTES, similarity_blocks
from morpho_assets.profiles.features import complete_matrix, require_columns
from morpho_assets.profiles.rows import rows_where

COUNTED_POSITIVES = 16  # up to here, counting the negatives above each positive beats sorting them


class PositionRule(BaseModel):
    """Candidates by their distance from the query on the plate, to tell a treatment from its well position."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: Literal["near", "far"] = Field(description="candidates within the distance, or beyond it")
    columns: tuple[str, ...] = Field(
        default=("Metadata_Row", "Metadata_Col"), description="coordinates: well row and column, or stage x and y"
    )
    quantile: float = Field(default=0.1, gt=0, lt=1, description="of the non-zero distances: the limit of near")


class RetrievalConfig(BaseModel):
    """Queries rank their candidates, positives and negatives, by similarity.

    The default asks for activity: do replicates of a treatment find each other among the negative controls? Assumes at
    least two replicates, controls on every plate, and effects that are not merely well positions.

    matched    negatives lie on the plates that hold the query's positives, so that both are as far from it: of another
               plate, or of its own. Controls that a scale or a correction was fitted on rank in folds, each of which is
               left out where it ranks. p-values exchange a treatment's wells with their rivals on the plate
    published  negatives are what `negatives` says, by default the controls of the query's own plate, and p-values are
               of random rankings (Kalinin 2025, 10.1038/s41467-025-60306-2; copairs). Replicates on other plates are
               then farther from the query than its controls, and those beside it nearer: noise is not at chance
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["retrieval"] = "retrieval"
    pairing: Literal["matched", "published"] = Field(default="matched", description="see above")
    positives: PairRule = Field(default=PairRule(sameby=("Metadata_Perturbation",)), description="partners to find")
    negatives: PairRule | None = Field(
        default=None, description="partners to rank below; null: negative controls, on the plates that `pairing` says"
    )
    queries: str = Field(default="treated", description="SQL condition of the queries")
    group: tuple[str, ...] = Field(
        default=("Metadata_Perturbation",), description="columns whose values share one mAP; ignored with multilabel"
    )
    plate: tuple[str, ...] = Field(
        default=("Metadata_Plate",), description="columns that name a plate, for `pairing: matched`; none: all is one"
    )
    folds: int | None = Field(
        default=None,
        ge=2,
        description="parts of a plate's controls that rank in turn, where they were fitted on; null: 4 to 8, as few as "
        "leave a dozen controls to fit on without two of them",
    )
    position: PositionRule | None = Field(default=None, description="restrict candidates by distance on the plate")
    similarity: Literal["cosine", "abs_cosine", "correlation", "euclidean"] = Field(
        default="cosine", description="how alike two profiles are"
    )
    null_size: int = Field(
        default=10_000, ge=100, description="random exchanges (or rankings) behind a p-value that is not exact"
    )
    exact_limit: int = Field(
        default=20_000, ge=0, description="most exchanges (or rankings) that are enumerated for an exact p"
    )
    reruns: int = Field(
        default=100,
        ge=20,
        description="runs with shuffled treatments behind p-values, where a step before reads treatments; those of as "
        "many replicates and candidates share them",
    )
    strict_ties: bool = Field(
        default=False, description="null rankings equal to the score do not count (copairs); for `pairing: published`"
    )
    threshold: float = Field(default=0.05, gt=0, lt=1, description="q-value under which a treatment is retrieved")
    resamples: int = Field(default=1000, ge=100, description="resamples of treatments behind an interval")
    block_mb: float = Field(default=BLOCK_BYTES / 1e6, gt=0, description="memory (MB) of a block of similarities")

    @model_validator(mode="after")
    def _plates_follow_from_the_positives(self) -> RetrievalConfig:
        named = set(self.plate) & set(self.rivals.sameby)
        if self.pairing == "matched" and named:
            raise ValueError(
                f"negatives: sameby {', '.join(sorted(named))}: with pairing matched they lie on the plates of the "
                "positives. Leave it out, or set pairing to published"
            )
        return self

    @property
    def label(self) -> str | None:
        """The column of which each label is scored by itself."""
        label = self.positives.multilabel
        return label if label in self.positives.sameby else None

    @property
    def rivals(self) -> PairRule:
        """The rule of the negatives."""
        if self.negatives is not None:
            return self.negatives
        return PairRule(sameby=("Metadata_Plate",) if self.pairing == "published" else (), where="negcon")


@dataclass(frozen=True)
class QueryScores:
    """Per query: its row, average precision (NaN without positives), what chance gives, positives, candidates, and
    whether a positive lies on its own plate (false where plates do not matter). All (queries,)."""

    row: npt.NDArray[np.intp]
    ap: npt.NDArray[np.float64]
    chance: npt.NDArray[np.float64]
    n_positives: npt.NDArray[np.float64]
    n_total: npt.NDArray[np.float64]
    beside: npt.NDArray[np.bool_]


def average_precision(
    features: npt.NDArray[np.floating],
    metadata: pl.DataFrame,
    config: RetrievalConfig,
    queries: npt.NDArray[np.intp] | None = None,
    among: npt.NDArray[np.bool_] | None = None,
) -> QueryScores:
    """AP of each query row of `features` (n, d): its positives and negatives by `config` over `metadata` (n rows),
    ranked by descending similarity. `queries` overrides the condition of `config`; `among` (n,) restricts negatives.

    Candidates that tie count by the mean over all their orders, so that profiles without information score what chance
    gives. One that is positive and negative counts as positive. Exact: one matrix product per block of rows, memory
    linear in it. InputError for missing values.
    """
    if len(features) != metadata.height:
        raise InputError("profiles", "rows", f"{len(features)} of features, {metadata.height} of metadata",
                         "one row of each per profile", "Give both from the same frame.")  # fmt: skip
    if np.isnan(features).any():
        raise InputError("profiles", "retrieval", "missing values", "finite values", "Leave out features with gaps.")
    if queries is None:
        queries = np.flatnonzero(rows_where(metadata, config.queries).to_numpy())
    candidates = Candidates.of(metadata, config)
    ap = np.full(len(queries), np.nan)
    found = np.zeros((2, len(queries)))
    beside = np.zeros(len(queries), dtype=bool)
    done = 0
    for block, similarity in similarity_blocks(features, queries, config.similarity, int(config.block_mb * 1e6)):
        positive, negative = candidates.masks(block)
        if among is not None:
            negative &= among
        here = slice(done, done + len(block))
        found[:, here] = positive.sum(axis=1), negative.sum(axis=1)
        ap[here] = _block_ap(similarity, positive, negative)
        beside[here] = candidates.beside(block, positive)
        done += len(block)
    total = found[0] + found[1]
    return QueryScores(queries, ap, expected_ap(found[0], total), found[0], total, beside)


@dataclass(frozen=True)
class Candidates:
    """Whom each of n profiles ranks. `plate` (n,) is the code of its plate, None where plates do not matter."""

    positives: Pairing
    negatives: Pairing
    plate: npt.NDArray[np.int64] | None
    position: _Position | None

    @classmethod
    def of(cls, metadata: pl.DataFrame, config: RetrievalConfig) -> Candidates:
        """The rules of `config` over the rows of `metadata`; InputError naming a column that is absent."""
        position = None if config.position is None else _positions(metadata, config.position)
        plate = plate_codes(metadata, config) if config.pairing == "matched" else None
        return cls(pairing(metadata, config.positives), pairing(metadata, config.rivals), plate, position)

    def masks(self, block: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """((block, n) positives, (block, n) negatives) of the profiles of a block."""
        positive, negative = self.positives.mask(block), self.negatives.mask(block)
        if self.position is not None:
            allowed = self.position.allowed(block)
            positive &= allowed
            negative &= allowed
        if self.plate is not None:
            held = np.zeros((len(block), int(self.plate.max(initial=0)) + 1), dtype=bool)
            query, partner = np.nonzero(positive)
            held[query, self.plate[partner]] = True
            negative &= held[:, self.plate]
        negative &= ~positive
        return positive, negative

    def near(self, block: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """(block, n): who may be a candidate by its position on the plate."""
        if self.position is not None:
            return self.position.allowed(block)
        return np.ones((len(block), len(self.negatives.allowed)), dtype=bool)

    def beside(self, block: npt.NDArray[np.intp], positive: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(block,) who has a positive on the own plate."""
        if self.plate is None:
            return np.zeros(len(block), dtype=bool)
        return np.asarray((positive & (self.plate[block, None] == self.plate)).any(axis=1))


def plate_codes(metadata: pl.DataFrame, config: RetrievalConfig) -> npt.NDArray[np.int64]:
    """(n,) a number for the plate of each row, by the columns that `config` names."""
    require_columns(metadata, config.plate, "plates of retrieval")
    if not config.plate:
        return np.zeros(metadata.height, dtype=np.int64)
    plates = metadata.select(config.plate)
    numbered = plates.unique().sort(config.plate, nulls_last=True).with_row_index("__plate")
    joined = plates.join(numbered, on=config.plate, how="left", nulls_equal=True, maintain_order="left")
    return joined["__plate"].to_numpy().astype(np.int64)


def _block_ap(
    similarity: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_], negative: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """(block,) AP of each row; NaN without positives."""
    ap = np.full(len(similarity), np.nan)
    for row in np.flatnonzero(positive.any(axis=1)):
        wanted, others = np.sort(similarity[row, positive[row]])[::-1], similarity[row, negative[row]]
        if wanted.size > COUNTED_POSITIVES:
            others.sort()
            above, reached = (others.size - np.searchsorted(others, wanted, side) for side in ("right", "left"))
        else:
            above = np.count_nonzero(others > wanted[:, None], axis=1)
            reached = np.count_nonzero(others >= wanted[:, None], axis=1)
        if (above == reached).all():  # no negative ties with a positive, as nearly always
            place = np.arange(1, wanted.size + 1)
            ap[row] = np.mean(place / (place + above))
        else:
            _, first, alike = np.unique(-wanted, return_index=True, return_counts=True)
            ap[row] = mean_precision(alike, above[first], (reached - above)[first])
    return ap


def mean_precision(
    positives: npt.NDArray[np.integer], above: npt.NDArray[np.integer], tied: npt.NDArray[np.integer]
) -> float:
    """AP of a ranking by the distinct scores of its positives, best first: positives with the score, negatives with a
    higher one, and negatives with the same; all (scores,). Ties count by the mean over their orders (McSherry & Najork
    2008, 10.1007/978-3-540-78646-7_38)."""
    from scipy.special import digamma

    ahead = np.cumsum(positives) - positives  # positives with a higher score
    first, block = ahead + above, positives + tied
    harmonic = digamma(first + block + 1) - digamma(first + 1)
    slope = (positives - 1) / np.maximum(block - 1, 1)
    precision = positives / block * ((ahead + 1 - slope * (first + 1)) * harmonic + slope * block)
    return float(precision.sum() / positives.sum())


@dataclass(frozen=True)
class _Position:
    """Coordinates (n, c), the squared limit of near, and which side is kept."""

    coordinates: npt.NDArray[np.float64]
    limit: float
    keep_near: bool

    def allowed(self, block: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        return (_squared_distance(self.coordinates, block) <= self.limit) == self.keep_near


def _squared_distance(coordinates: npt.NDArray[np.float64], block: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    return np.asarray(((coordinates[block, None] - coordinates) ** 2).sum(axis=-1))


def _positions(metadata: pl.DataFrame, rule: PositionRule) -> _Position:
    coordinates = complete_matrix(metadata, _present(metadata, rule.columns), "position")
    places, counts = np.unique(coordinates, axis=0, return_counts=True)
    squared = _squared_distance(places, np.arange(len(places)))
    weights = np.outer(counts, counts)
    apart = squared > 0
    order = np.argsort(squared[apart])
    share = np.cumsum(weights[apart][order]) / max(weights[apart].sum(), 1)
    limit = squared[apart][order][np.searchsorted(share, rule.quantile)] if apart.any() else 0.0
    return _Position(coordinates, float(limit), rule.keep == "near")


def _present(metadata: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    require_columns(metadata, columns, "position")
    return list(columns)
