"""Which rows train and which test: whole images, wells, plates, compounds, scaffolds or batches stay on one side.

A split asks a question. By image: would the model hold in an image that nobody labelled? By plate, on another plate? A
random split asks nothing that a user has, and stands beside the others because papers print it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError, NoSplit

By = Literal["random", "image", "well", "plate", "compound", "scaffold", "batch"]
Rows = NDArray[np.int64]

UNITS: dict[By, tuple[tuple[str, ...], ...]] = {
    "random": (),
    "image": (("Metadata_Image",), ("Metadata_Plate", "Metadata_Well", "Metadata_Site")),
    "well": (("Metadata_Plate", "Metadata_Well"),),
    "plate": (("Metadata_Plate",),),
    "compound": (("Metadata_broad_sample",), ("Metadata_Perturbation",)),
    "scaffold": (("Metadata_scaffold",),),
    "batch": (("Metadata_Batch",),),
}
"""The columns that name what is kept whole; the first set of which a table has all."""


class SplitConfig(BaseModel):
    """Folds, each of which is predicted by a model of the others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: By = Field(default="well", description="what stays on one side: " + ", ".join(get_args(By)))
    folds: int | Literal["each"] = Field(
        default=5, description="number of folds; each: every image (well, plate, …) is one, which leaves one out"
    )
    share: float | None = Field(
        default=None, gt=0, lt=1, description="one fold alone: this share is held out once, and the rest trains"
    )
    column: str | None = Field(default=None, description="column that names what is kept whole, in place of the usual")
    fall_back: bool = Field(
        default=False,
        description="where the split is impossible, take images and call the result `within well`; else an error",
    )
    seed: int = Field(default=0, ge=0, description="seed of the folds")


@dataclass(frozen=True)
class Fold:
    """Row numbers of one fold, sorted: no unit has rows in both."""

    train: Rows
    test: Rows


@dataclass(frozen=True)
class Splits:
    """The folds of a table. `by` is what was kept whole, `units` names it for every row, `apart` are classes that lie
    in fewer than two units, which no split can test: their rows are in no fold. `note` says what has to stand beside
    every number, empty where the split is the one that was asked for."""

    folds: tuple[Fold, ...]
    by: By
    units: NDArray[np.str_]
    apart: tuple[str, ...]
    note: str = ""

    def __iter__(self) -> Iterator[Fold]:
        return iter(self.folds)


def split_rows(table: pl.DataFrame, classes: Sequence[str], config: SplitConfig, least: int = 2) -> Splits:
    """The folds of `table` (n rows) whose rows are of `classes` (n,).

    Folds keep the share of the classes as far as whole units allow. A class in fewer than `least` units is `apart`.
    Where fewer than two classes are left, the split is impossible: NoSplit, or with `fall_back` the folds by image,
    called `within well` (of images that hold one class each, random rows, called `within image`; of wells, which have
    no images, random rows, called within what was asked for). InputError for a column that is not there.
    """
    truth = np.asarray(classes, dtype=str)
    if len(truth) != table.height:
        raise ValueError(f"{len(truth)} classes for {table.height} rows")
    units = units_of(table, config)
    apart = _apart(truth, units, least)
    kept = np.flatnonzero(~np.isin(truth, apart))
    there = len(np.unique(truth[kept]))
    if there >= 2 and len(np.unique(units[kept])) >= 2:
        return Splits(tuple(_folds(kept, truth, units, config)), config.by, units, tuple(apart))
    found = f"{there} of {len(np.unique(truth))} classes in at least {least} units of {_words(config)}"
    if not config.fall_back or config.by == "random":
        raise NoSplit("split", f"by: {config.by}", found, "at least two classes",
                      "Label more of them, split by something smaller, or set `fall_back: true`, which calls the "
                      "result `within well`.")  # fmt: skip
    images = any(set(columns) <= set(table.columns) for columns in UNITS["image"])
    finer: By = "image" if images and config.by != "image" else "random"
    inner = split_rows(table, classes, config.model_copy(update={"by": finer, "column": None}), least)
    within = "within well" if finer == "image" else "within image" if images else f"within {_words(config)}"
    note = inner.note or f"{within}: a split by {config.by} is impossible ({found})"
    return Splits(inner.folds, inner.by, inner.units, inner.apart, note)


def nested(splits: Splits, classes: Sequence[str], folds: int, seed: int = 0) -> Iterator[tuple[Fold, list[Fold]]]:
    """Each fold with the folds of its training rows, by the same units: what is tuned on them has not seen the test.

    Inner folds are none where the training rows of a fold lie in a single unit.
    """
    for fold in splits:
        yield fold, inner_folds(fold.train, classes, splits.units, splits.by, folds, seed)


def inner_folds(
    rows: Rows, classes: Sequence[str], units: NDArray[np.str_], by: By, folds: int, seed: int = 0
) -> list[Fold]:
    """Folds of some rows of a table, as row numbers of the table."""
    if len(np.unique(units[rows])) < 2:
        return []
    config = SplitConfig(by=by, folds=folds, seed=seed)
    return list(_folds(rows, np.asarray(classes, dtype=str), units, config))


def units_of(table: pl.DataFrame, config: SplitConfig) -> NDArray[np.str_]:
    """(n,) names of what is kept whole: of random rows each row is one. InputError for columns that are not there."""
    if config.by == "random":
        return np.arange(table.height).astype(str)
    choices = ((config.column,),) if config.column else UNITS[config.by]
    for columns in choices:
        if set(columns) <= set(table.columns):
            named = table.select(pl.concat_str([pl.col(name).cast(pl.String) for name in columns], separator=" "))
            unknown = named.to_series().null_count()
            if unknown:
                raise InputError("split", f"by: {config.by}", f"{unknown} rows without {' and '.join(columns)}",
                                 "a name in every row", "Fill them, or leave the rows out.")  # fmt: skip
            return named.to_series().to_numpy().astype(str)
    names = " or ".join(" and ".join(columns) for columns in choices)
    raise InputError("split", f"by: {config.by}", f"no column {names}", "a column that names it",
                     "Add it to the metadata, or name another with `column`.")  # fmt: skip


def _apart(truth: NDArray[np.str_], units: NDArray[np.str_], least: int) -> list[str]:
    pairs = np.unique(np.stack([truth, units]), axis=1)
    names, counts = np.unique(pairs[0], return_counts=True)
    return [str(name) for name in names[counts < least]]


def _folds(rows: Rows, truth: NDArray[np.str_], units: NDArray[np.str_], config: SplitConfig) -> Iterator[Fold]:
    names, members = np.unique(units[rows], return_inverse=True)
    if config.folds == "each" and config.by != "random":
        for number in range(len(names)):
            yield _fold(rows, members == number)
        return
    rng = np.random.default_rng(config.seed)
    _, codes = np.unique(truth[rows], return_inverse=True)
    if config.by == "random" and config.share is not None:
        yield _fold(rows, _drawn(codes, config.share, rng))
        return
    wanted = max(2, round(1 / config.share)) if config.share is not None else config.folds
    number = min(len(names), len(names) if wanted == "each" else max(2, int(wanted)))
    dealt = _dealt_rows(codes, number, rng) if config.by == "random" else _dealt_units(codes, members, number, rng)
    for fold in range(number):
        held = dealt == fold
        if held.any():
            yield _fold(rows, held)
        if config.share is not None:
            return


def _drawn(codes: Rows, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n,) rows that are held out: of each class its share, but one at least and never all."""
    held = np.zeros(len(codes), bool)
    for code in range(codes.max() + 1):
        own = rng.permutation(np.flatnonzero(codes == code))
        held[own[: int(np.clip(round(share * len(own)), 1, max(1, len(own) - 1)))]] = True
    return held


def _dealt_rows(codes: Rows, number: int, rng: np.random.Generator) -> Rows:
    """(n,) fold of each row: the rows of each class dealt in turn, the next class beginning where the last ended."""
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    dealt = np.empty(len(codes), np.int64)
    dealt[order] = np.arange(len(codes)) % number
    return dealt


def _dealt_units(codes: Rows, members: Rows, number: int, rng: np.random.Generator) -> Rows:
    """(n,) fold of each row, whole units together. Units whose classes are most uneven come first (in the drawn order
    where they are equal), each to the fold that leaves the classes most even over the folds; of equal folds to the one
    with fewest rows, then to the first."""
    counts = np.zeros((members.max() + 1, codes.max() + 1))
    np.add.at(counts, (members, codes), 1)
    total = counts.sum(axis=0)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].std(axis=1), kind="stable")]
    folds, place = np.zeros((number, counts.shape[1])), np.empty(len(counts), np.int64)
    for unit in order:
        spread = np.empty(number)
        for fold in range(number):
            folds[fold] += counts[unit]
            spread[fold] = (folds / total).std(axis=0).mean()
            folds[fold] -= counts[unit]
        best = min(range(number), key=lambda fold: (round(float(spread[fold]), 12), folds[fold].sum(), fold))
        folds[best] += counts[unit]
        place[unit] = best
    return place[members]


def _fold(rows: Rows, held: NDArray[np.bool_]) -> Fold:
    return Fold(np.sort(rows[~held]), np.sort(rows[held]))


def _words(config: SplitConfig) -> str:
    return config.column.removeprefix("Metadata_") if config.column else config.by
