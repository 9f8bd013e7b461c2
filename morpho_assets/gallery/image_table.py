"""CellProfiler's Image table: which plate, well and site every image is.

Whatever names an image or a place is text: a barcode 0042 stays one, and so does a table number that is a hash.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.gallery.wells import well_name, well_position

SITE_KEYS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")
IMAGE_KEYS = ("TableNumber", "ImageNumber")
"""What names an image within a file; a table number comes where several files were joined."""
_WHOLE = re.compile(r"^[+-]?\d+\.0*$")
_SITE = re.compile(r"^[A-Za-z_ ]*0*(\d+)(\.0*)?$")


class CellProfilerConfig(BaseModel):
    """Where CellProfiler's output says which plate, well and site an image is, and what its objects are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plate: str = Field(default="Metadata_Plate", description="column of the Image table with the plate")
    well: str = Field(default="Metadata_Well", description="column of the Image table with the well (A1 or A01)")
    site: str = Field(
        default="Metadata_Site",
        description="column of the Image table with the site; without it, the images of a well are numbered",
    )
    defaults: dict[str, str | int] = Field(
        default={}, description="values of plate, well, site for output without such a column"
    )
    keep: tuple[str, ...] = Field(default=(), description="further columns of the Image table, kept under their names")
    compartments: dict[str, str | None] = Field(
        default={},
        description="objects of the pipeline: the compartment that they are here (FilteredNuclei: Nuclei), or null to "
        "leave them out; default: every table that leads to the cells, under its own name",
    )
    prefix: str | None = Field(
        default=None, description="start of the names of files or tables, such as MyExpt_, where there are several sets"
    )


def find_column(names: Iterable[str], asked: str) -> str | None:
    """The column that is asked for, as it is, behind `Image_` or `Metadata_` or without, capital letters or not."""
    known = {name.lower(): name for name in reversed(list(names))}
    wanted = [asked, f"Image_{asked}", f"Metadata_{asked}", asked.removeprefix("Metadata_")]
    wanted += ["Metadata_CPD_WELL_POSITION", "Image_Metadata_CPD_WELL_POSITION"] if asked == "Metadata_Well" else []
    return next((known[name.lower()] for name in wanted if name.lower() in known), None)


def named(value: Any) -> str | None:
    """What names something, as text: 7 and 7.0 are "7", text is itself ("0042", "7.0"). None where it is missing."""
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None if value != value else value
    text = "" if value is None else str(value).strip()
    return None if text.lower() in ("", "nan", "none", "null") else text


def image_key(value: Any) -> str | None:
    """The number of an image or a table as text, the same from a table that holds numbers and from one of text."""
    text = named(value)
    return text.split(".")[0] if text and _WHOLE.match(text) else text


def image_places(
    image: pl.DataFrame,
    config: CellProfilerConfig,
    defaults: Mapping[str, Any],
    file: object,
    numbered: Counter[tuple[str, str]] | None = None,
) -> pl.DataFrame:
    """The image keys as text, Metadata_Plate, Metadata_Well (A01), Metadata_Site (Int64), and `config.keep`.

    What a column does not say comes from `defaults`; a column of numbers whose value is the default plate's is that
    plate (42 for 0042: numbers have no zeros in front). Images without a site are numbered within their well from 1, in
    the order of their keys, going on after `numbered`. Raises InputError for an image without plate or well, and for a
    well or site that is none.
    """
    columns = {word: find_column(image.columns, getattr(config, word)) for word in ("plate", "well", "site")}
    named_keys = {key: find_column(image.columns, key) for key in IMAGE_KEYS}
    keys = [key for key, column in named_keys.items() if column]
    kept = {name: column for name in config.keep if (column := find_column(image.columns, name))}
    numbers = columns["plate"] is not None and image.schema[columns["plate"]].is_numeric()
    wanted = {**named_keys, **columns, **kept}
    image = image.select(pl.col(column).alias(name) for name, column in wanted.items() if column)
    numbered = Counter() if numbered is None else numbered
    rows = []
    for row in _in_order(image, keys).iter_rows(named=True):
        where = ", ".join(f"{key} {row[key]}" for key in keys)
        said = {word: named(row.get(word)) or named(defaults.get(word)) for word in columns}
        for word in ("plate", "well"):
            if said[word] is None:
                found = f"no value in {columns[word]}" if columns[word] else f"no column {getattr(config, word)}"
                raise InputError(file, f"{where}, {word}", found, "where the image comes from",
                                 f"Name the column in `{word}`, or give the value in `defaults`.")  # fmt: skip
        plate, well = str(said["plate"]), _well(str(said["well"]), file, where)
        plate = numbered_plate(plate, defaults.get("plate")) if numbers else plate
        if said["site"] is None:
            numbered[plate, well] += 1
        site = numbered[plate, well] if said["site"] is None else _site(said["site"], file, where)
        place = dict(zip(SITE_KEYS, (plate, well, site), strict=True))
        rows.append({**{key: image_key(row[key]) for key in keys}, **place, **{name: row[name] for name in kept}})
    types = {key: pl.String() for key in (*keys, *SITE_KEYS[:2])} | {"Metadata_Site": pl.Int64()}
    return pl.DataFrame(rows, schema={**types, **{name: image.schema[name] for name in kept}})


def require_different(images: pl.DataFrame, file: object) -> None:
    """Raise InputError for two images, as of `image_places`, with one key."""
    keys = [key for key in IMAGE_KEYS if key in images.columns]
    repeated = images.filter(images.select(keys).is_duplicated()) if keys else images.clear()
    if repeated.height:
        found = " and ".join(f"{key} {repeated[key][0]}" for key in keys)
        todo = "Keep the output of each run apart, or with a TableNumber that tells them apart."
        raise InputError(file, "", f"{found} twice", "every image once", todo)


def key_texts(keys: pl.Series) -> pl.Series:
    """A column of image keys as text, written as `image_key` writes them."""
    known = {value: image_key(value) for value in keys.unique().to_list()}
    return pl.Series(keys.name, [known[value] for value in keys.to_list()], dtype=pl.String)


def _in_order(image: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Images by their keys, numbers by size and other text after them."""
    texts = [pl.col(key).cast(pl.String) for key in keys]
    by = [part for text in texts for part in (text.cast(pl.Float64, strict=False), text)]
    return image.sort(by, nulls_last=True, maintain_order=True)


def numbered_plate(plate: str, expected: Any) -> str:
    """The plate that is expected, if a number says it: 42 for 0042, 12000 for 12E3. Else what was found."""
    try:
        return str(expected) if float(str(expected)) == float(plate) else plate
    except ValueError:
        return plate


def _well(text: str, file: object, where: str) -> str:
    try:
        return well_name(*well_position(text))
    except ValueError as error:
        raise InputError(
            file, f"{where}, well", str(error), "a well", "Name the column with the wells in `well`."
        ) from None


def _site(text: str, file: object, where: str) -> int:
    match = _SITE.match(text)
    if match is None:
        raise InputError(file, f"{where}, site", repr(text), "a number", "Name the column with the sites in `site`.")
    return int(match[1])
