"""Labels: who said what a cell, a well or a compound is, and which mask each point on an image means.

Points come from a CSV (of this platform's own columns, or of another tool with `columns`), from crops that lie in a
folder per class, or from the truth of simulated plates; labels of wells and compounds are columns of their metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.gallery.text import ROW, read_table, require_columns, require_values

SITE = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
CELL = [*SITE, "ObjectNumber"]
LABEL = "Metadata_Label"
IMAGE = "Metadata_Image"
POINTS: dict[str, tuple[str, ...]] = {
    "plate": ("plate", "Metadata_Plate"), "well": ("well", "Metadata_Well"),
    "site": ("site", "Metadata_Site", "field"), "frame": ("frame", "Metadata_Frame"),
    "x": ("x", "X", "Center_X"), "y": ("y", "Y", "Center_Y"), "class": ("class", "label", "phenotype"),
    "annotator": ("annotator",), "image": ("image", IMAGE),
}  # fmt: skip
"""The columns of a file of points, each with the names that it goes by."""
NEEDED = ("plate", "well", "x", "y", "class")
Labels = Callable[[str, str, int], NDArray[np.int32] | None]
"""The label image of a plate's well and site, or None where there is none."""


class _Labels(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    merge: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="a class's name, and the classes that become it"
    )
    drop: tuple[str, ...] = Field(default=(), description="classes that are left out, after merging")


class PointLabels(_Labels):
    """Points on images: a CSV with plate, well, x, y and class; site, frame, annotator and image if there are. A point
    is given to the mask that holds it, else to the nearest within `radius`."""

    of: Literal["points"]
    file: str = Field(description="the file, from the folder of the settings")
    columns: dict[str, str] = Field(
        default_factory=dict, description="names of the file's columns, where another tool calls them otherwise"
    )
    radius: float = Field(default=10, ge=0, description="pixels up to which the nearest mask is taken")
    conflict: Literal["drop", "majority"] = Field(
        default="drop", description="a cell that was given two classes: left out, or the class of most points"
    )


class DrawnLabels(_Labels):
    """Classes drawn in another tool: a GeoJSON file per image, of points and outlines, in pixels of the image. An
    outline is of every cell whose centre lies in it."""

    of: Literal["drawn"]
    file: str = Field(
        description="the files, from the folder of the settings; {plate}, {well} and {site} stand for a site's"
    )
    radius: float = Field(default=10, ge=0, description="pixels up to which a point's nearest mask is taken")
    conflict: Literal["drop", "majority"] = Field(
        default="drop", description="a cell that was given two classes: left out, or the class of most drawings"
    )


class TruthLabels(_Labels):
    """The cell states of simulated plates, from the truth beside them; a point each, given to masks like any other."""

    of: Literal["truth"]
    column: str = Field(default="state", description="column of the true cells")
    radius: float = Field(default=10, ge=0, description="pixels up to which the nearest mask is taken")
    conflict: Literal["drop", "majority"] = Field(default="drop", description="a mask that holds two true cells")


class MetadataLabels(_Labels):
    """A column of the metadata: what was done to the well, or a property of its compound. Every cell of a well has it,
    which is a weak label."""

    of: Literal["metadata"]
    column: str = Field(description="column such as Metadata_moa")
    cells: int = Field(default=100, ge=1, description="most cells of a well that are drawn")


LabelsConfig = Annotated[PointLabels | DrawnLabels | TruthLabels | MetadataLabels, Field(discriminator="of")]
"""Where labels come from; `of` says it."""


@dataclass(frozen=True)
class Attached:
    """What points mean. `cells`: a row per labelled cell (keys of a cell, `Metadata_Label`, `distance` in pixels of its
    nearest point, 0 inside the mask, `points`, and what else the points say). `conflicts`: the points of cells that
    were given several classes, with `ObjectNumber`. `misses`: points without a cell, each with the `reason`. `given`:
    every point that has a cell, by which annotators are compared."""

    cells: pl.DataFrame
    conflicts: pl.DataFrame
    misses: pl.DataFrame
    given: pl.DataFrame = field(default_factory=pl.DataFrame)

    def outside(self, sites: pl.DataFrame) -> Attached:
        """The same where nothing is said of these sites (rows with SITE): their labels are misses."""
        why = pl.lit("are of a site that a person rejected").alias("reason")
        inside = self.cells.join(sites, on=SITE, how="semi", maintain_order="left").with_columns(why)
        if not inside.height:
            return self
        cells = self.cells.join(sites, on=SITE, how="anti", maintain_order="left")
        return replace(self, cells=cells, misses=pl.concat([self.misses, inside], how="diagonal_relaxed"))

    @property
    def words(self) -> str:
        """What became of the points, in a sentence."""
        text = f"{self.cells.height} cells labelled"
        if self.conflicts.height:
            text += f"; {self.conflicts.select(CELL).n_unique()} cells were given two classes"
        if self.misses.height:
            reasons = self.misses.group_by("reason", maintain_order=True).len().rows()
            text += "; " + ", ".join(f"{number} points {reason}" for reason, number in reasons)
        return text


def read_points(body: bytes, file: str, columns: Mapping[str, str] | None = None) -> pl.DataFrame:
    """The points of a file: plate, well and site as a cell's keys, `x` and `y` in pixels, `Metadata_Label`, and
    annotator, frame and image (as Metadata_Image) where they are there. A file without sites is of wells with one.

    `columns` names the file's columns where they are called otherwise (`{x: "Centroid X px"}`). Raises InputError for a
    column that is missing or named twice, a cell that is empty, a site that is no number and a place that is none.
    """
    table = read_table(body, file)
    unknown = sorted(set(columns or {}) - set(POINTS))
    if unknown:
        raise InputError(file, f"columns.{unknown[0]}", "an unknown column", f"one of {', '.join(POINTS)}", "Name it.")
    names = {}
    for what, choices in POINTS.items():
        named = (columns or {}).get(what)
        found = [named] if named else [name for name in choices if name in table.columns]
        if named and named not in table.columns:
            require_columns(table, file, [named])
        if found:
            names[what] = found[0]
    absent = [what for what in NEEDED if what not in names]
    if absent:
        found_instead, expected = f"the columns {', '.join(table.columns)}", " or ".join(POINTS[absent[0]])
        do = "Name it under `columns` of the labels."
        raise InputError(file, f"column {absent[0]}", found_instead, f"a column {expected}", do)
    require_values(table, file, [names[what] for what in NEEDED])
    points = table.select(
        pl.col(names["plate"]).alias(SITE[0]), pl.col(names["well"]).alias(SITE[1]),
        _numbers(table, file, names["site"], pl.Int32).alias(SITE[2]) if "site" in names
        else pl.lit(1, pl.Int32).alias(SITE[2]),
        _numbers(table, file, names["x"], pl.Float64).alias("x"),
        _numbers(table, file, names["y"], pl.Float64).alias("y"),
        pl.col(names["class"]).str.strip_chars().alias(LABEL),
        *(pl.col(names[what]).alias(what) for what in ("annotator", "frame") if what in names),
        *(pl.col(names["image"]).alias(IMAGE) for _ in range("image" in names)),
    )  # fmt: skip
    if "image" not in names and "frame" in names:  # a frame of a movie is an image of its own
        points = points.with_columns(pl.concat_str(*SITE, "frame", separator=" ").alias(IMAGE))
    return points


def renamed(labels: pl.DataFrame, config: _Labels) -> pl.DataFrame:
    """The rows with classes merged and dropped, and without those that have none. InputError for a class that is
    merged or dropped and that nothing is of."""
    there = set(labels[LABEL].drop_nulls())
    merged = {old: new for new, olds in config.merge.items() for old in olds}
    absent = sorted(set(merged) - there) + sorted(set(config.drop) - there - set(config.merge))
    if absent:
        raise InputError("labels", "merge or drop", f"the class {absent[0]}", f"one of {', '.join(sorted(there))}",
                         "Check its name.")  # fmt: skip
    found = labels.with_columns(pl.col(LABEL).replace(merged)) if merged else labels
    return found.filter(pl.col(LABEL).is_not_null() & ~pl.col(LABEL).is_in(list(config.drop)))


def attach_points(
    points: pl.DataFrame, labels: Labels, radius: float, conflict: Literal["drop", "majority"] = "drop"
) -> Attached:
    """The cells that points mean, by the label images of their sites.

    A point at (x, y) lies in the pixel whose centre is nearest; background gives it to the nearest object that has a
    pixel within `radius` pixels (of equally near ones to that of the lowest number). Two points of one class on one
    cell are one label; points of several classes on one cell are a conflict: the cell is left out, or of the class of
    most points (still left out where two have as many). What is said of a cell besides is that of its nearest point.
    """
    numbered = points.with_row_index("point")
    found = []
    for (plate, well, site), part in numbered.group_by(SITE, maintain_order=True):
        image = labels(str(plate), str(well), int(site))
        places = part.select("y", "x").to_numpy()
        if image is None:
            number, distance = np.zeros(len(places), np.int32), np.full(len(places), np.nan)
            reason = np.full(len(places), "are of a site without masks")
        else:
            number, distance, reason = nearest_objects(image, places, radius)
        found.append(part.with_columns(
            pl.Series("ObjectNumber", number, pl.Int32), pl.Series("distance", distance, pl.Float64),
            pl.Series("reason", reason, pl.String),
        ))  # fmt: skip
    schema: dict[str, Any] = {**numbered.schema, "ObjectNumber": pl.Int32, "distance": pl.Float64, "reason": pl.String}
    every = pl.concat(found).sort("point") if found else pl.DataFrame(schema=schema)
    misses = every.filter(pl.col("ObjectNumber") == 0).drop("ObjectNumber", "distance", "point")
    given = every.filter(pl.col("ObjectNumber") > 0).drop("reason")
    several = pl.col(LABEL).n_unique().over(CELL) > 1
    conflicts = given.filter(several)
    votes = given.group_by(*CELL, LABEL, maintain_order=True).agg(pl.len().alias("votes"))
    most = votes.filter(pl.col("votes") == pl.col("votes").max().over(CELL))
    if conflict == "drop":
        most = votes
    clear = most.filter(pl.len().over(CELL) == 1).drop("votes")
    counted = given.with_columns(pl.len().over(CELL).cast(pl.Int32).alias("points"))
    cells = counted.join(clear, on=[*CELL, LABEL], how="semi").sort("distance", "point")
    cells = cells.unique(CELL, keep="first", maintain_order=True).sort("point").drop("point", "x", "y")
    return Attached(cells, conflicts.drop("point"), misses, given.drop("point"))


def nearest_objects(
    image: NDArray[np.integer], places: NDArray[np.floating], radius: float
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.str_]]:
    """((p,) number of the object that each place (p, 2: row, column) means, 0 for none; (p,) its distance in pixels,
    0 inside, NaN for none; (p,) why there is none, empty where there is one)."""
    numbers = np.zeros(len(places), np.int32)
    distances, reasons = np.full(len(places), np.nan), np.full(len(places), "", dtype="<U40")
    reach = int(np.ceil(radius))
    for index, (y, x) in enumerate(places):
        row, column = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
        if not (0 <= row < image.shape[0] and 0 <= column < image.shape[1]):
            reasons[index] = "lie outside of the image"
            continue
        if image[row, column] > 0:
            numbers[index], distances[index] = image[row, column], 0.0
            continue
        top, left = max(0, row - reach), max(0, column - reach)
        window = image[top : row + reach + 1, left : column + reach + 1]
        rows, columns = np.nonzero(window)
        away = np.hypot(rows + top - y, columns + left - x)
        near = away <= radius
        if not near.any():
            reasons[index] = f"have no mask within {radius:g} pixels"
            continue
        owners = window[rows[near], columns[near]]
        closest = np.lexsort((owners, away[near]))[0]
        numbers[index], distances[index] = owners[closest], away[near][closest]
    return numbers, distances, reasons


def compared_annotators(given: pl.DataFrame) -> pl.DataFrame:
    """Each pair of annotators on the cells that both labelled: `cells`, `agreement` (share of equal classes) and
    Cohen's `kappa` (agreement beyond that of their shares of classes; 10.1177/001316446002000104), null where both used
    one class alone. `given` are points with their cells (`Attached.given`); no rows without a column `annotator`.

    An annotator who gave one cell several classes is not compared on it.
    """
    schema = {"first": pl.String, "second": pl.String, "cells": pl.Int64, "agreement": pl.Float64, "kappa": pl.Float64}
    if "annotator" not in given.columns:
        return pl.DataFrame(schema=schema)
    said = given.drop_nulls("annotator").unique([*CELL, "annotator", LABEL], maintain_order=True)
    said = said.filter(pl.len().over(*CELL, "annotator") == 1)
    rows = []
    for one, two in combinations(sorted(set(said["annotator"])), 2):
        both = said.filter(annotator=one).join(said.filter(annotator=two), on=CELL, suffix="_other")
        if not both.height:
            continue
        first, second = both[LABEL].to_numpy(), both[f"{LABEL}_other"].to_numpy()
        agreement, chance = float(np.mean(first == second)), 0.0
        for name in np.unique(np.concatenate([first, second])):
            chance += float(np.mean(first == name) * np.mean(second == name))
        kappa = (agreement - chance) / (1 - chance) if chance < 1 else None
        rows.append((one, two, both.height, agreement, kappa))
    return pl.DataFrame(rows, schema, orient="row")


def metadata_labels(wells: pl.DataFrame, config: MetadataLabels) -> pl.DataFrame:
    """Plate, well and `Metadata_Label` of the wells that have one. InputError for a column that is not there."""
    if config.column not in wells.columns:
        raise InputError("labels", config.column, "no such column of the wells",
                         f"one of {', '.join(name for name in wells.columns if name.startswith('Metadata_'))}",
                         "Name another column, or add it to the external metadata.")  # fmt: skip
    return renamed(wells.select(*SITE[:2], pl.col(config.column).cast(pl.String).alias(LABEL)), config)


def read_crops(folder: Path) -> pl.DataFrame:
    """A folder of labelled crops, one folder per class inside: a row per image with `path`, `Metadata_Label`, and what
    a table `index.csv` beside them says of the paths it names. InputError for a folder without images."""
    files = sorted(file for kind in ("png", "tif", "tiff") for file in folder.glob(f"**/*/*.{kind}"))
    if not files:
        raise InputError(folder, "", "no images", "a folder per class with PNG or TIFF files in it", "Check the path.")
    crops = pl.DataFrame({
        "path": [str(file.relative_to(folder)) for file in files], LABEL: [file.parent.name for file in files],
    })  # fmt: skip
    index = folder / "index.csv"
    if not index.is_file():
        return crops
    further = read_table(index.read_bytes(), str(index))
    require_columns(further, str(index), ["path"])
    return crops.join(further.drop(ROW), on="path", how="left", maintain_order="left")


def crops_as_plate(
    crops: pl.DataFrame, root: Path, plate: str, channel: str, wells: str, images: Sequence[str] = ()
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(samplesheet, points) of one plate that holds crops as its sites, so that they go through the whole graph: each
    different value of the column `wells` (a movie, a slide) is a well, numbered row by row, and the label is a point at
    the crop's middle. `images` are columns whose values together name the image that a crop was cut from.

    InputError for more values than the 1,536 wells of a plate.
    """
    from PIL import Image

    names = crops[wells].unique(maintain_order=True).sort()
    if len(names) > 1536:
        raise InputError(
            "crops", f"column {wells}", f"{len(names)} values", "at most 1,536 wells", "Take several plates."
        )
    columns = 12 if len(names) <= 96 else 24 if len(names) <= 384 else 48
    letters = ["", "A"]
    well = [
        f"{letters[n // columns >= 26]}{chr(65 + n // columns % 26)}{n % columns + 1:02d}" for n in range(len(names))
    ]
    place = pl.DataFrame({wells: names, "well of it": well})
    rows = crops.join(place, on=wells, how="left", maintain_order="left")
    rows = rows.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("well of it").alias("site of it"))
    paths = [str(root / path) for path in rows["path"]]
    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append(image.size)
    where = rows.select(pl.lit(plate).alias("plate"), well="well of it", site="site of it")
    sheet = where.with_columns(
        pl.lit(channel).alias("channel"), pl.Series("path", paths), rows[wells].alias("Metadata_Perturbation")
    )
    points = where.with_columns(
        pl.Series("x", [(width - 1) / 2 for width, _ in sizes]),
        pl.Series("y", [(height - 1) / 2 for _, height in sizes]),
        rows[LABEL].alias("class"),
    )
    if images:
        named = rows.select(pl.concat_str([pl.col(name).cast(pl.String) for name in images], separator=" "))
        points = points.with_columns(named.to_series().alias("image"))
    return sheet, points


def _numbers(table: pl.DataFrame, file: str, column: str, dtype: Any) -> pl.Expr:
    wrong = table.filter(
        pl.col(column).is_null() | pl.col(column).str.strip_chars().cast(dtype, strict=False).is_null()
    )
    if wrong.height:
        kind = "a whole number" if dtype == pl.Int32 else "a number"
        raise InputError(file, f"row {wrong[ROW][0]}, column {column}", repr(wrong[column][0]), kind, "Correct it.")
    return pl.col(column).str.strip_chars().cast(dtype)
