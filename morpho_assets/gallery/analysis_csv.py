"""What CellProfiler's ExportToSpreadsheet writes: an Image table and tables of objects.

A set is the files of one folder whose names start alike: Image.csv, Cells.csv …, or MyExpt_Image.csv, MyExpt_Cells.csv
…. It is one image (a folder per site) or many. A file of several objects has a row with their names above the header.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.compartments import CELL, NUMBERS, align, choose, expected_features, in_order, link_objects
from morpho_assets.gallery.csv_text import read_csv, read_header
from morpho_assets.gallery.image_table import IMAGE_KEYS, CellProfilerConfig, image_places, require_different
from morpho_assets.gallery.store import Store

TABLES = re.compile(r"(?P<name>[^/]+)\.(csv|txt)(\.gz)?$", re.IGNORECASE)
"""Tables that CellProfiler writes: commas in .csv, tabs in .txt."""
_IMAGE = re.compile(r"^(?P<prefix>.*)image$", re.IGNORECASE)
_FOLDER = re.compile(r"^(?P<plate>.+)-(?P<well>[A-Za-z]{1,2}\d{1,2})-(?P<site>\d+)$")

Header = dict[str, list[str]]
"""The columns of every object that a file holds, by the object's name; none where it is no table of objects."""


@dataclass(frozen=True)
class TableSet:
    """The files of one export: its folder and the start of its names, the Image table, and the other files by name."""

    folder: str
    prefix: str
    image: str
    files: Mapping[str, str]

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.folder.rsplit('/', 1)[-1]}/{self.prefix}".removesuffix("/")

    def place(self) -> dict[str, str]:
        """Plate, well and site, if the folder or the start of the names says them: <plate>-<well>-<site>."""
        said = (_FOLDER.match(word.strip("_- ")) for word in (self.prefix, self.folder.rsplit("/", 1)[-1]))
        return next((match.groupdict() for match in said if match), {})


def read_analysis(
    folder: str | Path,
    config: CellProfilerConfig | None = None,
    store: Store | None = None,
    account: Account | None = None,
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yields (name, cells) of every set of tables in `folder` and below it, by name; all with the same columns.

    A column that some sets lack is null there, and counted in the account. Plate, well and site come from the Image
    table, else from a folder or a start of names such as <plate>-<well>-<site>, else from `config.defaults`. Raises
    InputError where there is no Image table, for a set that lacks cells, nuclei or cytoplasms that others have, and for
    a table that is unreadable or cannot be linked (`compartments.link_objects`).
    """
    config, store, account = config or CellProfilerConfig(), store or Store(), account or Account()
    sets = find_sets(str(folder), config, store)
    headers = [_headers(each, store) for each in sets]
    features = _all_features(sets, headers, config)
    numbered: Counter[tuple[str, str]] = Counter()
    for each, header in zip(sets, headers, strict=True):
        cells = _read_set(each, header, config, store, account, numbered)
        yield each.name, align(cells, features, account)


def read_site(folder: str | Path, config: CellProfilerConfig | None = None, store: Store | None = None) -> pl.DataFrame:
    """The cells of the tables of one folder, of one image or many; as `read_analysis`. None gives no rows."""
    config, store = config or CellProfilerConfig(), store or Store()
    each = find_sets(str(folder), config, store, below=False)[0]
    return _read_set(each, _headers(each, store), config, store, Account(), Counter())


def find_sets(folder: str, config: CellProfilerConfig, store: Store, below: bool = True) -> list[TableSet]:
    """The sets of tables in a folder, and in those `below` it. InputError where there is no Image table."""
    paths = store.glob(f"{folder}/**/*" if below else f"{folder}/*")
    found = {path: match["name"] for path in paths if (match := TABLES.search(path))}
    images = {path: match["prefix"] for path, name in found.items() if (match := _IMAGE.match(name))}
    wanted = {path: prefix for path, prefix in sorted(images.items()) if config.prefix in (None, prefix)}
    if not wanted:
        shown = ", ".join(sorted(set(found.values()))[:8]) or "no .csv file"
        expected = f"{config.prefix or ''}Image.csv beside the tables of objects"
        raise InputError(folder, "", shown, expected, "Export the Image table too, or correct the folder or `prefix`.")
    folders: dict[str, dict[str, str]] = {}
    for path, name in found.items():
        folders.setdefault(path.rsplit("/", 1)[0], {})[path] = name
    sets = []
    for image, prefix in wanted.items():
        place = image.rsplit("/", 1)[0]
        beside = [images[path] for path in folders[place] if path in images]
        longer = tuple(other for other in beside if other.startswith(prefix) and other != prefix)
        files = {
            name.removeprefix(prefix): path
            for path, name in folders[place].items()
            if path not in images and name.startswith(prefix) and not name.startswith(longer)
        }
        sets.append(TableSet(place, prefix, image, files))
    return sets


def _headers(each: TableSet, store: Store) -> dict[str, Header]:
    """What objects the files of a set hold, by the file's name."""
    return {name: _header(name, *read_header(path, store)) for name, path in each.files.items()}


def _header(name: str, above: Sequence[str], columns: Sequence[str]) -> Header:
    if above:
        kinds = dict.fromkeys(kind for kind in above if kind not in ("Image", "Experiment"))
        pairs = list(zip(above, columns, strict=False))
        return {kind: [column for of, column in pairs if of == kind] for kind in kinds}
    numbered = name in CELL or any(column.removeprefix(f"{name}_") in NUMBERS for column in columns)
    return {name: list(columns)} if "ImageNumber" in columns and numbered else {}


def _all_features(
    sets: Sequence[TableSet], headers: Sequence[Mapping[str, Header]], config: CellProfilerConfig
) -> list[str]:
    """Every feature of every set, in the order of a row. InputError for a set without cells, nuclei or cytoplasms that
    others have: its folder is not complete."""
    features: dict[str, dict[str, None]] = {}
    compartments: list[set[str]] = []
    for header in headers:
        objects = {name: columns for file in header.values() for name, columns in file.items()}
        expected = expected_features(objects, config)
        compartments.append(set(expected))
        for name, here in expected.items():
            features.setdefault(name, {}).update(dict.fromkeys(here))
    everywhere = set().union(*compartments) & set(CELL)
    for each, there in zip(sets, compartments, strict=True):
        if everywhere - there:
            found = f"no {each.prefix}{min(everywhere - there)}.csv, which other folders have"
            raise InputError(each.folder, "", found, "the same tables for all sites", "Fetch the folder again.")
    return [feature for name in in_order(features) for feature in features[name]]


def _read_set(
    each: TableSet,
    headers: Mapping[str, Header],
    config: CellProfilerConfig,
    store: Store,
    account: Account,
    numbered: Counter[tuple[str, str]],
) -> pl.DataFrame:
    _, image = read_csv(each.image, store)
    images = image_places(image, config, {**each.place(), **config.defaults}, each.image, numbered)
    require_different(images, each.image)
    account.place(images, each.image, each.name)
    chosen, left_out = choose([name for header in headers.values() for name in header], config)
    account.left_out.update(left_out)
    account.left_out.update(
        {name: "no table of objects" for name, header in headers.items() if not header and name != "Experiment"}
    )
    tables: dict[str, pl.DataFrame] = {}
    for name, header in headers.items():
        if chosen.keys() & header.keys():
            tables |= split_objects(*read_csv(each.files[name], store), name)
    return link_objects(images, {name: tables[name] for name in chosen}, config, account, each.image)


def split_objects(above: Sequence[str], frame: pl.DataFrame, name: str) -> dict[str, pl.DataFrame]:
    """The tables of a file by the name of their objects, where those stand `above` the header: a row holds the objects
    of one number, of which some kinds may have none."""
    if not above:
        return {name: frame}
    pairs = [tuple(column.split("\t", 1)) for column in frame.columns]
    keys = {column: frame.columns[i] for i, (_, column) in enumerate(pairs) if column in IMAGE_KEYS}
    shared = next((frame.columns[i] for i, (_, column) in enumerate(pairs) if column == "ObjectNumber"), None)
    tables = {}
    for kind in dict.fromkeys(kind for kind in above if kind not in ("Image", "Experiment")):
        own = {f"{kind}\t{column}": column for of, column in pairs if of == kind and column not in IMAGE_KEYS}
        there = frame.filter(pl.any_horizontal(pl.col(path).is_not_null() for path in own if path != shared))
        number = [] if set(own.values()) & set(NUMBERS) or shared is None else [pl.col(shared).alias("ObjectNumber")]
        columns = [pl.col(path).alias(column) for path, column in own.items()]
        tables[kind] = there.select(*(pl.col(path).alias(key) for key, path in keys.items()), *number, *columns)
    return tables
