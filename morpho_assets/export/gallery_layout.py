"""A plate in the folders of the Cell Painting Gallery: load_data, platemap, analysis, backend and profiles.

https://broadinstitute.github.io/cellpainting-gallery/data_structure.html. Tables are named and written as
CellProfiler's ExportToSpreadsheet and pycytominer do, so that pipelines made for the Gallery read them. Images stay
where they are.
"""

from __future__ import annotations

import gzip
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from morpho_assets.compute import Progress, no_progress
from morpho_assets.errors import InputError, LakeError
from morpho_assets.export.labels import write_text
from morpho_assets.export.load_data import image_table
from morpho_assets.export.plate import SITE, Plate
from morpho_assets.export.written import Written
from morpho_assets.gallery.csv_text import harmless
from morpho_assets.gallery.treatments import annotate_wells
from morpho_assets.imaging.movies import WRITTEN
from morpho_assets.imaging.sites import illumination_paths

COLUMNS_OF_SQLITE = 2_000
"""What a table of SQLite may have, as it is built everywhere."""
PARENTS = {"Nuclei": (), "Cells": ("Nuclei",), "Cytoplasm": ("Cells", "Nuclei")}
_DERIVED = ("Plate", "Well", "Row", "Col", "Source", "Batch")
_NAMED = re.compile(r"[^\w.+@-]+")


@dataclass(frozen=True)
class Layout:
    """The folders of one plate, relative to the folder of the export."""

    project: str
    source: str
    batch: str
    plate: str

    @classmethod
    def of(cls, plate: Plate, project: str) -> Layout:
        first = plate.wells.row(0, named=True)
        names = (project, first["Metadata_Source"] or "source_0", first["Metadata_Batch"] or "batch_0", plate.name)
        return cls(*(_NAMED.sub("_", name) for name in names))

    @property
    def base(self) -> str:
        return f"{self.project}/{self.source}"

    def workspace(self, kind: str) -> str:
        """The plate's folder of one kind: load_data_csv, analysis, backend, profiles."""
        return f"{self.base}/workspace/{kind}/{self.batch}/{self.plate}"

    @property
    def platemaps(self) -> str:
        return f"{self.base}/workspace/metadata/platemaps/{self.batch}"

    @property
    def illumination(self) -> str:
        return f"{self.base}/images/{self.batch}/illum/{self.plate}"


def export_gallery(plate: Plate, out: Written, project: str = "exported", progress: Progress = no_progress) -> str:
    """Write a plate under `<project>/<source>/`; returns that folder. Images, cells or profiles that it lacks are left
    out.

    Raises LakeError for a plate whose wells are not there, or with more features of one compartment than SQLite takes.
    """
    if not plate.wells.height:
        raise LakeError(f"plate {plate.name} has no wells; there is nothing to export")
    layout = Layout.of(plate, project)
    _write_platemap(plate, out, layout)
    has_images = plate.tables.has("image_files", plate.name) and bool(plate.sites)
    if has_images:
        _write_load_data(plate, out, layout)
    if plate.tables.has("single_cells", plate.name) and plate.measured.height:
        images = _images(plate, has_images)
        _write_analysis(plate, out, layout, images, progress)
        _write_backend(plate, out, layout, images, progress)
    if plate.tables.has("well_profiles", plate.name):
        _write_profiles(plate, out, layout)
    about = plate.about.text()
    _put_text(out, f"{layout.workspace('profiles')}/about.json", about)
    return layout.base


# What was done, and where the images lie


def _write_platemap(plate: Plate, out: Written, layout: Layout) -> None:
    text = harmless(platemap(plate.wells)).write_csv(separator="\t")
    _put_text(out, f"{layout.platemaps}/platemap/{layout.plate}.txt", text)
    barcodes = out.folder / layout.platemaps / "barcode_platemap.csv"
    rows = pl.DataFrame({"Assay_Plate_Barcode": [plate.name], "Plate_Map_Name": [layout.plate]})
    if barcodes.exists():
        there = pl.read_csv(barcodes, infer_schema=False)
        rows = pl.concat([there.filter(pl.col("Assay_Plate_Barcode") != plate.name), rows])
    _put_text(out, f"{layout.platemaps}/barcode_platemap.csv", harmless(rows.sort("Assay_Plate_Barcode")).write_csv())


def platemap(wells: pl.DataFrame) -> pl.DataFrame:
    """`well_position` and the annotation of `wells` without its prefix.

    `Perturbation` is left out where the other columns give it again by the rules of `annotate_wells`; where a source's
    `perturbation` made it of others, it is kept, and is to be named there again.
    """
    kept = [name for name in wells.columns if name.startswith("Metadata_")]
    names = {name: name.removeprefix("Metadata_") for name in kept if name.removeprefix("Metadata_") not in _DERIVED}
    found = wells.select(
        pl.col("Metadata_Well").alias("well_position"), *(pl.col(n).alias(t) for n, t in names.items())
    )
    without = found.drop("Perturbation", strict=False)
    try:
        again = annotate_wells(without.rename({"well_position": "Metadata_Well"}), "the platemap")
    except InputError:
        return found
    same = again["Metadata_Perturbation"].equals(wells["Metadata_Perturbation"], null_equal=True)
    return without if same else found


def _write_load_data(plate: Plate, out: Written, layout: Layout) -> None:
    folder = layout.workspace("load_data_csv")
    _put_text(out, f"{folder}/load_data.csv", harmless(image_table(plate, plate.sites)).write_csv())
    functions = illumination_paths(plate.tables, plate.name) if _has_functions(plate) else {}
    if not functions or any(dark or path.endswith(WRITTEN) for path, dark in functions.values()):
        return  # a dark field is subtracted, and a movie has a function a frame: load_data cannot say either
    files = {}
    for channel, (path, _) in functions.items():
        name = f"{layout.illumination}/{layout.plate}_Illum{_NAMED.sub('_', channel)}.npy"
        out.put(name, path, partial(_copy, plate, path))
        files[channel] = str((out.folder / name).resolve())
    text = harmless(image_table(plate, plate.sites, files)).write_csv()
    _put_text(out, f"{folder}/load_data_with_illum.csv", text)


def _has_functions(plate: Plate) -> bool:
    return plate.tables.has("illumination_functions", plate.name)


def _copy(plate: Plate, source: str, path: Path) -> None:
    path.write_bytes(plate.tables.lake.read_bytes(source))


# Cells


def _images(plate: Plate, has_images: bool) -> pl.DataFrame:
    """CellProfiler's Image table: every site that was segmented or has cells, numbered from 1."""
    counted = plate.measured.group_by(SITE, maintain_order=True).agg(pl.len().cast(pl.Int64).alias("Count_Cells"))
    if plate.segmentable and plate.masks:
        keys = pl.DataFrame(list(plate.masks), schema={SITE[0]: pl.String, SITE[1]: pl.Int32}, orient="row")
        counted = keys.join(counted, on=SITE, how="full", coalesce=True, maintain_order="left_right")
    named = counted.select(
        pl.int_range(1, pl.len() + 1).alias("ImageNumber"),
        pl.col("Count_Cells").fill_null(0),
        pl.lit(plate.name).alias("Metadata_Plate"),
        *SITE,
    )
    if not has_images:
        return named
    where = image_table(plate, plate.sites).drop("Metadata_Plate").with_columns(pl.col(SITE[1]).cast(pl.Int32))
    return named.join(where, on=SITE, how="left", maintain_order="left")


def _compartments(plate: Plate) -> dict[str, list[str]]:
    """The features of each kind of object, with its name in front."""
    found: dict[str, list[str]] = {}
    for feature in plate.features:
        found.setdefault(feature.split("_", 1)[0], []).append(feature)
    return found


def _numbers(name: str, known: Sequence[str], prefix: str = "") -> list[pl.Expr]:
    """Number_Object_Number and the parents of objects: all have the number of their cell."""
    parents = PARENTS.get(name, ("Cells",))
    columns = ["Number_Object_Number", *(f"Parent_{parent}" for parent in parents if parent in known)]
    return [pl.col("ObjectNumber").alias(f"{prefix}{column}") for column in columns]


def _write_analysis(plate: Plate, out: Written, layout: Layout, images: pl.DataFrame, progress: Progress) -> None:
    """A folder for each site, `<plate>-<well>-<site>`, with Image.csv and a table for each kind of object."""
    folder = f"{layout.workspace('analysis')}/analysis"
    recipe = ["analysis", plate.made_from("single_cells")]
    rows = {
        (row["Metadata_Well"], row["Metadata_Site"]): images[i] for i, row in enumerate(images.iter_rows(named=True))
    }
    objects = _compartments(plate)
    done = 0

    def write(place: tuple[str, int], cells: pl.DataFrame) -> None:
        nonlocal done
        name = f"{folder}/{layout.plate}-{place[0]}-{place[1]}"
        image = rows[place]
        out.put(name, [recipe, image.rows()], partial(_write_tables, image, cells, objects))
        done += 1
        progress(f"{plate.name} analysis", done, len(rows))

    seen = set()
    for cells in plate.cells():
        place = (cells["Metadata_Well"][0], cells["Metadata_Site"][0])
        seen.add(place)
        write(place, cells)
    empty = pl.DataFrame(schema=plate.tables.scan("single_cells", [plate.name]).collect_schema())
    for place in rows.keys() - seen:
        write(place, empty)


def _write_tables(image: pl.DataFrame, cells: pl.DataFrame, objects: dict[str, list[str]], folder: Path) -> None:
    folder.mkdir()
    harmless(image).write_csv(folder / "Image.csv")
    number = pl.lit(image["ImageNumber"][0]).alias("ImageNumber")
    places = [pl.col(key) for key in ("Metadata_Plate", *SITE)]
    for name, features in objects.items():
        bare = [pl.col(feature).alias(feature.removeprefix(f"{name}_")) for feature in features]
        table = cells.select(number, "ObjectNumber", *places, *bare, *_numbers(name, list(objects)))
        harmless(table).write_csv(folder / f"{name}.csv", null_value="nan")


def _write_backend(plate: Plate, out: Written, layout: Layout, images: pl.DataFrame, progress: Progress) -> None:
    """`<plate>.sqlite`, which pycytominer's SingleCells reads, and `<plate>.csv` of aggregated wells."""
    folder = layout.workspace("backend")
    objects = _compartments(plate)
    for name, features in objects.items():
        if len(features) + 6 > COLUMNS_OF_SQLITE:
            raise LakeError(
                f"plate {plate.name} has {len(features)} features of {name}; SQLite takes {COLUMNS_OF_SQLITE}"
            )
    made_from = ["backend", plate.made_from("single_cells"), images.rows()]
    out.put(f"{folder}/{layout.plate}.sqlite", made_from, partial(_write_sqlite, plate, images, objects, progress))
    if plate.tables.has("well_profiles", plate.name):
        profiles = plate.tables.read("well_profiles", plate.name)
        bulk = profiles.select("Metadata_Plate", "Metadata_Well", *(n for n in plate.features if n in profiles.columns))
        _put_text(out, f"{folder}/{layout.plate}.csv", harmless(bulk).write_csv())


def _write_sqlite(
    plate: Plate, images: pl.DataFrame, objects: dict[str, list[str]], progress: Progress, path: Path
) -> None:
    numbers = images.select("ImageNumber", *SITE)
    done, total = 0, plate.measured.height
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = OFF")  # a file that is not whole never gets its name
        _insert(connection, "Image", images.select(pl.lit(1).alias("TableNumber"), pl.all()))
        for cells in plate.cells():
            image = pl.lit(numbers.filter(**{key: cells[key][0] for key in SITE})["ImageNumber"][0])
            place = [pl.lit(1).alias("TableNumber"), image.alias("ImageNumber")]
            for name, features in objects.items():
                own = cells.select(*place, "ObjectNumber", *features, *_numbers(name, list(objects), f"{name}_"))
                _insert(connection, name, own)
            done += cells.height
            progress(f"{plate.name} backend", done, total)
        for name in ("Image", *objects):
            connection.execute(f'CREATE INDEX "of_{name}" ON "{name}" (TableNumber, ImageNumber)')


def _insert(connection: sqlite3.Connection, table: str, frame: pl.DataFrame) -> None:
    kinds = {name: "REAL" if kind.is_float() else "INTEGER" if kind.is_integer() else "TEXT"
             for name, kind in frame.schema.items()}  # fmt: skip
    columns = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
    connection.execute(f'CREATE TABLE IF NOT EXISTS "{table}" ({columns})')
    connection.executemany(f'INSERT INTO "{table}" VALUES ({", ".join("?" * frame.width)})', frame.iter_rows())


# Profiles


def _write_profiles(plate: Plate, out: Written, layout: Layout) -> None:
    """`_augmented.csv.gz` as measured, and `_normalized_negcon.csv.gz`, or `_normalized.csv.gz` where they are not
    normalised on the negative controls."""
    stem = f"{layout.workspace('profiles')}/{layout.plate}"
    made_from = plate.made_from("well_profiles")
    for ending, frame in _profiles(plate):
        out.put(f"{stem}_{ending}.csv.gz", [ending, made_from], partial(_write_gzip, frame))


def _profiles(plate: Plate) -> Iterator[tuple[str, pl.DataFrame]]:
    yield "augmented", plate.tables.read("well_profiles", plate.name)
    normalized = plate.tables.read("normalized_profiles", plate.name)
    on = set(normalized["Metadata_normalized_on"]) if "Metadata_normalized_on" in normalized.columns else set()
    yield "normalized_negcon" if on == {"negcon"} else "normalized", normalized


def _write_gzip(frame: pl.DataFrame, path: Path) -> None:
    path.write_bytes(gzip.compress(harmless(frame).write_csv().encode(), mtime=0))


def _put_text(out: Written, name: str, text: str) -> None:
    out.put(name, text, partial(write_text, text))
