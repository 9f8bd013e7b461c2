"""Which profiles are partners of which: rules over metadata, applied to a block of queries at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

Mask = npt.NDArray[np.bool_]


class PairRule(BaseModel):
    """Two profiles are partners if they agree in every `sameby`, differ in every `diffby` and the partner is one of
    `where`. A null agrees and differs with nothing. A profile is never its own partner."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sameby: tuple[str, ...] = Field(default=(), description="metadata columns with equal values")
    diffby: tuple[str, ...] = Field(default=(), description="metadata columns with different values")
    where: str = Field(default="all", description="partners allowed: 'all', 'negcon' or an SQL condition")
    multilabel: str | None = Field(
        default=None, description="one of sameby/diffby whose text holds several labels: share any / share none"
    )
    separator: str = Field(default="|", description="what separates the labels of `multilabel`")

    @model_validator(mode="after")
    def _multilabel_is_used(self) -> PairRule:
        if self.multilabel is not None and self.multilabel not in (*self.sameby, *self.diffby):
            raise ValueError(f"multilabel {self.multilabel} is neither in sameby nor in diffby")
        return self


@dataclass(frozen=True)
class Pairing:
    """A rule over n profiles, ready for blocks: codes of each column (-1 for null), (n, labels) label sets, allowed."""

    same: tuple[npt.NDArray[np.int64], ...]
    different: tuple[npt.NDArray[np.int64], ...]
    labels: npt.NDArray[np.float32] | None
    share_labels: bool
    allowed: Mask

    def mask(self, block: npt.NDArray[np.intp]) -> Mask:
        """(block, n): which of the n profiles are partners of each profile of the block."""
        found = np.repeat(self.allowed[None, :], len(block), axis=0)
        for codes in self.same:
            found &= (codes[block, None] == codes) & (codes[block, None] >= 0)
        for codes in self.different:
            found &= (codes[block, None] != codes) & (codes[block, None] >= 0) & (codes >= 0)
        if self.labels is not None:
            shared = self.labels[block] @ self.labels.T > 0
            known = self.labels.any(axis=1)
            found &= shared if self.share_labels else ~shared & known[block, None] & known
        found[np.arange(len(block)), block] = False
        return found


def pairing(metadata: pl.DataFrame, rule: PairRule) -> Pairing:
    """`rule` over the rows of `metadata`; InputError naming a column that is absent."""
    require_columns(metadata, [*rule.sameby, *rule.diffby, *([rule.multilabel] if rule.multilabel else [])], "pairs")
    return Pairing(
        tuple(codes(metadata[name]) for name in rule.sameby if name != rule.multilabel),
        tuple(codes(metadata[name]) for name in rule.diffby if name != rule.multilabel),
        None if rule.multilabel is None else label_sets(metadata[rule.multilabel], rule.separator)[0],
        rule.multilabel in rule.sameby,
        rows_where(metadata, rule.where).to_numpy(),
    )


def codes(values: pl.Series) -> npt.NDArray[np.int64]:
    """(n,) an integer per distinct value, -1 for null."""
    ranks = values.rank("dense").cast(pl.Int64) - 1
    return ranks.fill_null(-1).to_numpy().astype(np.int64)


def label_sets(values: pl.Series, separator: str = "|") -> tuple[npt.NDArray[np.float32], list[str]]:
    """((n, labels) 0/1 membership, the labels sorted) of texts with several labels each; null and "" have none."""
    sets = values.cast(pl.String).fill_null("").str.split(separator).to_list()
    names = sorted({label.strip() for labels in sets for label in labels} - {""})
    column = {name: i for i, name in enumerate(names)}
    membership = np.zeros((len(sets), len(names)), dtype=np.float32)
    for row, labels in enumerate(sets):
        membership[row, [column[label.strip()] for label in labels if label.strip()]] = 1
    return membership, names
