"""One question of retrieval: profiles, their rules, and what each treatment scores with all controls, or fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.evaluate.average_precision import Candidates, QueryScores, RetrievalConfig, average_precision
from morpho_assets.evaluate.chance import normalised_ap
from morpho_assets.evaluate.folds import Folds, drawn_folds
from morpho_assets.evaluate.inputs import profile_matrix
from morpho_assets.evaluate.pairs import label_sets
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.refit import Refit, scaled
from morpho_assets.profiles.rows import rows_where


@dataclass(frozen=True)
class Asked:
    """`profiles` with their `matrix` (n, features), the rules of `config`, and how the profiles were made. `folds` are
    of the controls, None where none has a part; `needed` says whether some ranking must be in folds."""

    profiles: pl.DataFrame
    matrix: npt.NDArray[np.float64]
    config: RetrievalConfig
    refit: Refit | None
    folds: Folds | None
    needed: bool

    @classmethod
    def of(
        cls, profiles: pl.DataFrame, features: Sequence[str], config: RetrievalConfig, seed: int, refit: Refit | None
    ) -> Self:
        """InputError for an absent column or feature, and for missing values."""
        matrix = profile_matrix(profiles, features, "retrieval")
        refit = refit or scaled(profiles, features)
        folds, needed = None, False
        if config.label is None and set(config.plate) <= set(profiles.columns):
            folds, needed = drawn_folds(matrix, profiles, config, refit, seed)
        asked = cls(profiles, matrix, config, refit, folds, needed and config.pairing == "matched")
        require_columns(profiles, asked.group, "retrieval group")
        return asked

    @property
    def group(self) -> list[str]:
        """The columns that name a treatment, or the one whose labels are each scored."""
        return list(self.config.group) if self.config.label is None else [self.config.label]

    def treatments(self, without: int | None = None) -> pl.DataFrame:
        """A row per treatment that has queries with positives and negatives, sorted: mAP, chance, normalised_AP,
        n_profiles, n_positives, n_total; `rankings`, `row` and `folded` of its queries. `without` leaves out one fold
        of the controls, as if there were none such."""
        queries = self._of_labels() if self.config.label is not None else self._of_groups(without)
        pairs = pl.col("ap").is_not_null() & (pl.col("n_total") > pl.col("n_positives"))
        table = (
            queries.filter(pairs)
            .drop_nulls(self.group)
            .group_by(self.group)
            .agg(
                pl.col("ap").mean().alias("mAP"),
                pl.col("chance", "normalised_AP").mean(),
                pl.struct("n_positives", "n_total").alias("rankings"),
                pl.col("row"),
                pl.col("folded").first(),
                pl.len().cast(pl.Int64).alias("n_profiles"),
                pl.col("n_positives", "n_total").mean(),
            )
        )
        return table.sort(self.group)

    def _of_groups(self, without: int | None) -> pl.DataFrame:
        keys, folds = self.profiles.select(self.group), self.folds
        if folds is None or without is None:
            plain = average_precision(self.matrix, self.profiles, self.config)
        else:
            left = ~(folds.controls & (folds.number == without))
            plain = average_precision(folds.out(without), self.profiles, self.config, among=left)
        scored = _scored(keys, plain)
        if folds is None or not self.needed:
            return scored
        in_folds = scored.select(pl.col("beside").any().over(self.group) | folds.everywhere).to_series()
        if not in_folds.any():
            return scored
        rows = scored.filter(in_folds)["row"].to_numpy().astype(np.intp)
        again = _scored(keys, folds.scores(self.profiles, self.config, rows, without))
        return pl.concat([scored.filter(~in_folds), again.with_columns(folded=pl.lit(True))])

    def _of_labels(self) -> pl.DataFrame:
        parts = [
            _scored(
                pl.DataFrame({self.config.label: [name] * self.profiles.height}),
                average_precision(self.matrix, *tagged),
            )
            for name, tagged in self.labelled().items()
        ]
        none = np.zeros(0)
        nothing = QueryScores(none.astype(np.intp), none, none, none, none, none.astype(bool))
        return pl.concat([_scored(self.profiles.select(self.group).clear(), nothing), *parts])

    def labelled(self) -> dict[str, tuple[pl.DataFrame, RetrievalConfig]]:
        """For each label the profiles and rules by which its carriers are queries and each other's positives; negatives
        share no label with them."""
        config, profiles = self.config, self.profiles
        assert config.label is not None
        membership, names = label_sets(profiles[config.label], config.positives.separator)
        queries = rows_where(profiles, config.queries).to_numpy()
        sameby = ("__label", *(name for name in config.positives.sameby if name != config.label))
        positives = config.positives.model_copy(update={"sameby": sameby, "multilabel": None})
        rules = config.model_copy(update={"positives": positives, "queries": "__asked"})
        tagged = {}
        for name, carries in zip(names, membership.T > 0, strict=True):
            if (carries & queries).sum() > 1:
                tags = pl.Series("__label", carries).replace(False, None), pl.Series("__asked", carries & queries)
                tagged[name] = (profiles.with_columns(tags), rules)
        return tagged

    def candidates(self, table: pl.DataFrame) -> list[Candidates]:
        """Whom the queries of each row of `treatments` rank."""
        if self.config.label is None:
            return [Candidates.of(self.profiles, self.config)] * table.height
        tagged = self.labelled()
        return [Candidates.of(*tagged[name]) for name in table[self.config.label]]


def _scored(keys: pl.DataFrame, scores: QueryScores) -> pl.DataFrame:
    return keys[scores.row].with_columns(
        pl.Series("row", scores.row.astype(np.int64)),
        pl.Series("ap", scores.ap, nan_to_null=True),
        pl.Series("chance", scores.chance, nan_to_null=True),
        pl.Series("normalised_AP", normalised_ap(scores.ap, scores.chance), nan_to_null=True),
        pl.Series("n_positives", scores.n_positives),
        pl.Series("n_total", scores.n_total),
        pl.Series("beside", scores.beside),
        pl.lit(False).alias("folded"),
    )
