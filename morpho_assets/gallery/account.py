"""What an import says of the tables it read: nothing measured vanishes without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import polars as pl

from morpho_assets.errors import InputError

MISSING = frozenset([
    "", "-", ".", "na", "n/a", "none", "null", "missing", "nan", "+nan", "-nan", "nan(ind)", "-nan(ind)", "1.#qnan",
    "1.#ind", "-1.#ind", "1.#inf", "-1.#inf", "inf", "+inf", "-inf", "infinity", "-infinity", "#div/0!", "#n/a",
    "#num!", "#value!", "#ref!",
])  # fmt: skip
"""Words, in small letters, that stand where a measurement has no value."""

LISTED = 200
"""Columns that a commit names."""


@dataclass
class Account:
    """Filled while cells are read; a reader that is given none keeps its own.

    sites: (well, site) to cells, for every image that the tables describe, also where there is no cell.
    blank: column to cells without a finite number there. text: column to the first text there that is neither a number
    nor a word for a missing one. lacking: column to sites whose tables lack it, where others have it.
    unlinked: compartment to objects that lead to no cell, or cells that lack one. several: compartment to cells that
    have more than one of its objects. left_out: table or column to why it was not read.
    """

    sites: dict[tuple[str, int], int] = field(default_factory=dict)
    blank: Counter[str] = field(default_factory=Counter)
    text: dict[str, str] = field(default_factory=dict)
    lacking: Counter[str] = field(default_factory=Counter)
    unlinked: Counter[str] = field(default_factory=Counter)
    several: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)
    images: dict[tuple[str, int], str] = field(default_factory=dict, repr=False)

    @property
    def cells(self) -> int:
        return sum(self.sites.values())

    def place(self, images: pl.DataFrame, file: object, name: str) -> None:
        """Note the sites of these images, without a cell so far. Raises InputError for a site that two images are."""
        for row in images.iter_rows(named=True):
            place = (row["Metadata_Well"], row["Metadata_Site"])
            image = ", ".join([name, *(f"{key} {row[key]}" for key in ("TableNumber", "ImageNumber") if key in row)])
            if place in self.images:
                found = f"site {place[1]} of well {place[0]} twice: in {self.images[place]} and in {image}"
                raise InputError(
                    file, "", found, "one image a site", "Name the column that numbers the sites in `site`."
                )
            self.images[place] = image
            self.sites[place] = 0

    def count(self, cells: pl.DataFrame, features: Sequence[str]) -> None:
        """Note the cells of a frame that was read, and where they have no number."""
        for well, site, number in cells.group_by("Metadata_Well", "Metadata_Site").len().iter_rows():
            self.sites[well, site] = self.sites.get((well, site), 0) + number
        blank = cells.select(features).null_count()
        self.blank.update({name: number for name, (number,) in blank.to_dict(as_series=False).items() if number})

    def frame(self) -> pl.DataFrame:
        """One row per thing to tell: what, of which column or table, how many, and a note."""
        throughout = [name for name, number in self.blank.items() if number == self.cells and name in self.text]
        empty = sum(not number for number in self.sites.values())
        rows = [("sites without cells", "", empty, "")] if empty else []
        rows += [("table or column left out", name, 1, why) for name, why in sorted(self.left_out.items())]
        rows += [("text throughout: no measurement", name, self.blank[name], f"such as {self.text[name]!r}")
                 for name in throughout]  # fmt: skip
        rows += [("sites that lack the column", name, number, "") for name, number in self.lacking.most_common()]
        rows += [("objects without a cell, or cells without one", name, number, "left out")
                 for name, number in self.unlinked.items()]  # fmt: skip
        rows += [("cells with several objects", name, number, "they have the mean")
                 for name, number in self.several.items()]  # fmt: skip
        rows += [
            ("cells without a number", name, number, f"such as {self.text[name]!r}" if name in self.text else "")
            for name, number in self.blank.most_common()
            if name not in throughout
        ]
        schema = {"what": pl.String, "of": pl.String, "number": pl.Int64, "note": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def notes(self) -> list[dict[str, Any]]:
        """The rows of `frame`, as many as fit a commit: the rest is counted."""
        rows = self.frame().to_dicts()
        more = {"what": "further columns, not listed", "of": "", "number": len(rows) - LISTED, "note": ""}
        return rows if len(rows) <= LISTED else [*rows[:LISTED], more]


def as_numbers(frame: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, dict[str, str]]:
    """The columns `names` as Float64, null where there is no finite number, and per column the first text there that is
    neither a number nor one of `MISSING`.

    Column by column: expressions over thousands of columns cost more than the work.
    """
    values: list[pl.Series] = []
    odd: dict[str, str] = {}
    for name in names:
        column = frame[name]
        if column.dtype == pl.String:
            numbers = column.cast(pl.Float64, strict=False)
            if numbers.null_count() > column.null_count():
                column = column.str.strip_chars()
                numbers = column.cast(pl.Float64, strict=False)
                words = column.filter(numbers.is_null()).drop_nulls().unique(maintain_order=True).to_list()
                odd |= {name: word for word in reversed(words) if word.lower() not in MISSING}  # noqa: B035
        elif column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
            numbers = column.cast(pl.Float64)
        else:
            numbers, odd[name] = pl.Series(name, [None] * len(column), dtype=pl.Float64), str(column.dtype)
        if len(numbers) and not isfinite(numbers.sum()):
            numbers = numbers.set(~numbers.is_finite(), None)
        values.append(numbers)
    return pl.DataFrame(values), odd
