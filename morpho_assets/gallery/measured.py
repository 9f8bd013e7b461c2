"""Plates that were measured elsewhere: CellProfiler's cells, or well profiles that somebody published.

Such a plate has no images here. It enters the graph at its cells or at its profiles; the stages before have no rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import polars as pl
from pydantic import Field, field_validator, model_validator

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.account import Account, as_numbers
from morpho_assets.gallery.analysis_csv import read_analysis
from morpho_assets.gallery.cytotable import read_cytotable
from morpho_assets.gallery.image_table import CellProfilerConfig
from morpho_assets.gallery.published import plates_in, read_wells
from morpho_assets.gallery.source import Manifest, SourceModel, check_wells, join_external, place_wells, read_layout
from morpho_assets.gallery.sqlite import read_sqlite
from morpho_assets.gallery.store import Store
from morpho_assets.lake.tables import FEATURES, has_prefix, table

COUNTS = ("Metadata_Count_Cells", "Metadata_Object_Count", "Metadata_Cell_Count")
"""Columns in which published profiles count the cells behind a well."""


class MeasuredSource(SourceModel):
    """Plates whose cells were measured, or whose wells were profiled, elsewhere."""

    kind: Literal["measured"]
    files: str = Field(
        description="where each plate's file or folder lies; {plate} stands for its barcode, {batch} for its batch; "
        "without {plate} one table of profiles of many plates"
    )
    content: Literal["profiles", "analysis", "sqlite", "cytotable"] = Field(
        description="profiles: a row per well, in CSV, Parquet or AnnData (.h5ad); analysis: CellProfiler's CSVs, in "
        "one folder or one per site; sqlite: its database; cytotable: single cells in Parquet, as CytoTable writes them"
    )
    normalized: bool = Field(False, description="profiles are in units of the controls already, and taken as they are")
    platemaps: str | None = Field(
        None, description="folder with barcode_platemap.csv and platemap/; default: the metadata in the profiles"
    )
    metadata: str | None = Field(None, description="tables about the treatments, such as …/external_metadata/*.tsv")
    batch: str = Field("none", description="batch of the plates where `files` has no {batch}")
    cellprofiler: CellProfilerConfig = Field(
        CellProfilerConfig(), description="where cells and profiles say which plate, well and site they are of"
    )
    features: tuple[str, ...] = Field(
        (),
        description="starts of the names of the features of published profiles, such as efficientnet_; default: "
        "CellProfiler's and Embedding_, else columns that are numbered from 0 or 1",
    )

    rename: dict[str, str] = Field(
        default_factory=dict,
        description="columns of published profiles, and what they are called here: treatment: Metadata_treatment",
    )

    @field_validator("files")
    @classmethod
    def _without_a_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _names_the_plate(self) -> MeasuredSource:
        if self.content != "profiles" and not self._of_each_plate:
            raise ValueError("files needs {plate}, which stands for the barcode")
        return self

    @property
    def _of_each_plate(self) -> bool:
        return "{plate}" in self.files

    @model_validator(mode="after")
    def _cells_have_platemaps(self) -> MeasuredSource:
        if self.content != "profiles" and self.platemaps is None:
            raise ValueError(f"{self.content} does not say what was done to the wells: set `platemaps`")
        return self

    def store(self) -> Store:
        return Store(self.replace, self.endpoint_url, self.anonymous, self.retries)

    def plates(self) -> list[str]:
        return sorted(self._found())

    def has(self, plate: str) -> bool:
        return plate in self._found(plate)

    def watched(self, plate: str) -> tuple[str, ...]:
        maps = tuple(f"{self.platemaps}/{file}" for file in ("*", "platemap/*")) if self.platemaps is not None else ()
        tables = (self.metadata,) if self.metadata is not None else ()
        everywhere = (*maps, *tables, self.files.format(plate=plate, batch="*"))
        return tuple(path.replace("{batch}", "*") for path in everywhere)

    def manifest(self, plate: str) -> Manifest:
        file, batch = self._file(plate)
        store = self.store()
        if self.platemaps is not None:
            wells, *files = read_layout(store, self.platemaps.format(batch=batch), plate)
        else:
            published = self._published(plate)
            names = [name for name in published.columns if name.startswith("Metadata_") and name not in _PLACES]
            wells, files = published.select(pl.col(names).cast(pl.String)), [file]
            wells = wells.rename({n: n.removeprefix("Metadata_") for n in names if n != "Metadata_Well"})
        if self.metadata is not None:
            wells, known = join_external(wells, store, self.metadata.format(batch=batch))
            if known is None:
                todo = "Check `metadata`, or leave it out."
                raise InputError(self.metadata, "", "no table that knows the treatments", "one", todo)
            files.append(known)
        wells = self.annotated(wells, (files[1:] or files)[0])
        check_wells(wells["Metadata_Well"], files[0], self.wells)
        sites = table("sites").empty()
        watched = tuple(files) + ((self.metadata.format(batch=batch),) if self.metadata is not None else ())
        return Manifest(place_wells(wells, plate, self.name, batch), sites, (*files, file), watched)

    def measurements(self, plate: str) -> tuple[str, ...]:
        file, _ = self._file(plate)
        if self.content != "analysis":
            return (file,)
        return tuple(f"{file}/**/*.{kind}" for kind in ("csv", "csv.gz", "txt", "txt.gz"))

    def reading(self) -> list[Any]:
        renamed = [self.rename] if self.rename else []
        return [self.content, self.cellprofiler.model_dump(mode="json"), self.features, self.normalized, *renamed]

    def cells(self, plate: str, account: Account | None = None) -> Iterator[pl.DataFrame] | None:
        """The cells of a plate, a site (or some thousand cells) at a time; None for published profiles.

        What the tables said beside them is in the account when all are read. Raises InputError for cells of another
        plate, and for a source that gives none.
        """
        return None if self.content == "profiles" else self._cells(plate, account or Account())

    def profiles(self, plate: str, account: Account | None = None) -> pl.DataFrame | None:
        """Wells with their features and Metadata_Count_Cells, null where the file does not count; None for cells."""
        if self.content != "profiles":
            return None
        published = self._published(plate, account)
        counts = next((name for name in COUNTS if name in published.columns), None)
        count = pl.lit(None, pl.Int32)
        if counts is not None:
            numbers, odd = as_numbers(published, [counts])
            published = published.with_columns(numbers[counts])
            count = pl.col(counts).cast(pl.Int32, strict=False)
            if account is not None:
                account.text.update(odd)
        features = [name for name in published.columns if has_prefix(name, (family.prefix for family in FEATURES))]
        return published.select("Metadata_Plate", "Metadata_Well", count.alias("Metadata_Count_Cells"), *features)

    def _config(self, plate: str) -> CellProfilerConfig:
        """Where cells say what they are of; a file that does not say its plate is of the one that its name says."""
        return self.cellprofiler.model_copy(update={"defaults": {"plate": plate, **self.cellprofiler.defaults}})

    def _cells(self, plate: str, account: Account) -> Iterator[pl.DataFrame]:
        file, _ = self._file(plate)
        config, store = self._config(plate), self.store()
        if self.content == "analysis":
            yield from self._of(plate, file, read_analysis(file, config, store, account))
            return
        read = read_sqlite if self.content == "sqlite" else read_cytotable
        try:
            with store.local(file) as path:
                yield from self._of(plate, file, read(path, config, account))
        except ImageError as error:
            raise InputError(error.path, "", f"a file that {error.reason}", "a readable file", "Restore it.") from None

    def _of(self, plate: str, file: str, parts: Iterator[tuple[str, pl.DataFrame]]) -> Iterator[pl.DataFrame]:
        """The cells of each part that has any, checked to be of the plate."""
        cells = images = 0
        for name, frame in parts:
            images += 1
            others = frame.filter(pl.col("Metadata_Plate") != plate)["Metadata_Plate"].unique()
            if len(others):
                todo = "Check `files`, or name the column with the barcode in `cellprofiler.plate`."
                raise InputError(file, f"{name}, plate", f"cells of {others[0]}", plate, todo)
            if frame.height:
                cells += frame.height
                yield frame.drop(self.cellprofiler.keep, strict=False)
        if not cells:
            todo = "Check that the objects were exported, and `files`."
            raise InputError(file, "", f"no cell in {images} tables or images", f"cells of {plate}", todo)

    def _published(self, plate: str, account: Account | None = None) -> pl.DataFrame:
        file, _ = self._file(plate)
        only = None if self._of_each_plate else plate
        frame = read_wells(file, self.store(), self._config(plate), self.features, account, self.rename, only)
        mine = frame.filter(pl.col("Metadata_Plate") == plate)
        if not mine.height:
            others = frame["Metadata_Plate"].unique().drop_nulls().sort().to_list()[:3]
            found = f"wells of {', '.join(others)}" if others else "a header without wells"
            raise InputError(file, "column Metadata_Plate", found, plate, "Check `files`.")
        return mine

    def _file(self, plate: str) -> tuple[str, str]:
        """The plate's file (or folder) and its batch. Raises InputError where there is none, or several."""
        found = self._found(plate).get(plate, [])
        if len(found) != 1:
            seen = f"{len(found)} of them" if found else "none"
            raise InputError(self.files, f"plate {plate}", seen, "one file", "Check the barcode and `files`.")
        return found[0]

    def _found(self, plate: str = "*") -> dict[str, list[tuple[str, str]]]:
        """The files of one plate, or of every plate, with their batches."""
        store = self.store()
        if not self._of_each_plate:
            return {each: [(self.files, self.batch)] for each in plates_in(self.files, store, self.cellprofiler,
                                                                          self.rename)}  # fmt: skip
        pattern = store.resolve(self.files)
        expression = re.escape(pattern).replace(re.escape("*"), "[^/]*")
        for word in ("plate", "batch"):
            mark = re.escape(f"{{{word}}}")
            expression = expression.replace(mark, f"(?P<{word}>[^/]+)", 1).replace(mark, f"(?P={word})")
        found: dict[str, list[tuple[str, str]]] = {}
        for path in store.glob(pattern.format(plate=plate, batch="*")):
            if match := re.fullmatch(expression, path):
                batch = match.groupdict().get("batch") or self.batch
                found.setdefault(match["plate"], []).append((path, batch))
        return found


_PLACES = ("Metadata_Plate", "Metadata_Source", "Metadata_Batch", "Metadata_Row", "Metadata_Col", *COUNTS)
