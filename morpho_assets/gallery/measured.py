"""Plates that were measured elsewhere: CellProfiler's cells, or well profiles that somebody published.

Such a plate has no images here. It enters the graph at its cells or at its profiles; the stages before have no rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import polars as pl
from pydantic import Field, field_validator, model_validator

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.cellprofiler import (
    PREFIXES,
    CellProfilerConfig,
    read_analysis,
    read_sqlite,
    read_wells,
    same_columns,
    scan_cytotable,
)
from morpho_assets.gallery.source import Manifest, SourceModel, check_wells, join_external, place_wells, read_layout
from morpho_assets.gallery.store import Store
from morpho_assets.lake.tables import table

ROWS = 8_192
"""Cells of a Parquet file read at a time: some 200 MB of 3,000 features."""
COUNTS = ("Metadata_Count_Cells", "Metadata_Object_Count", "Metadata_Cell_Count")
"""Columns in which published profiles count the cells behind a well."""


class MeasuredSource(SourceModel):
    """Plates whose cells were measured, or whose wells were profiled, elsewhere."""

    kind: Literal["measured"]
    files: str = Field(
        description="where each plate's file or folder lies; {plate} stands for its barcode, {batch} for its batch"
    )
    content: Literal["profiles", "analysis", "sqlite", "cytotable"] = Field(
        description="profiles: a row per well; analysis: CellProfiler's CSVs, a folder per site; sqlite: its database; "
        "cytotable: single cells in Parquet, as CytoTable writes them"
    )
    normalized: bool = Field(False, description="profiles are in units of the controls already, and taken as they are")
    platemaps: str | None = Field(
        None, description="folder with barcode_platemap.csv and platemap/; default: the metadata in the profiles"
    )
    metadata: str | None = Field(None, description="tables about the treatments, such as …/external_metadata/*.tsv")
    batch: str = Field("none", description="batch of the plates where `files` has no {batch}")
    cellprofiler: CellProfilerConfig = Field(
        CellProfilerConfig(), description="where cells say which plate, well and site they are of"
    )

    @field_validator("files")
    @classmethod
    def _names_the_plate(cls, value: str) -> str:
        if "{plate}" not in value:
            raise ValueError("needs {plate}, which stands for the barcode")
        return value.rstrip("/")

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
        return (f"{file}/**/*.csv",) if self.content == "analysis" else (file,)

    def cells(self, plate: str) -> Iterator[pl.DataFrame] | None:
        """The cells of a plate, a site (or some thousand cells) at a time; None for published profiles."""
        return None if self.content == "profiles" else self._cells(plate)

    def profiles(self, plate: str) -> pl.DataFrame | None:
        """Wells with their features and Metadata_Count_Cells, null where the file does not count; None for cells."""
        if self.content != "profiles":
            return None
        published = self._published(plate)
        counts = next((name for name in COUNTS if name in published.columns), None)
        count = pl.lit(None, pl.Int32) if counts is None else pl.col(counts).cast(pl.Int32)
        features = [n for n, kind in published.schema.items() if n.startswith(PREFIXES) and kind.is_numeric()]
        if not features:
            found = f"the columns {', '.join(published.columns[:8])}"
            expected = f"features that start with {', '.join(PREFIXES)}"
            raise InputError(self._file(plate)[0], "header", found, expected, "Give CellProfiler's features.")
        return published.select("Metadata_Plate", "Metadata_Well", count.alias("Metadata_Count_Cells"), *features)

    def _cells(self, plate: str) -> Iterator[pl.DataFrame]:
        file, _ = self._file(plate)
        config = self.cellprofiler.model_copy(update={"defaults": {"plate": plate, **self.cellprofiler.defaults}})
        store = self.store()
        if self.content == "analysis":
            yield from self._of(plate, file, same_columns(read_analysis(file, config, store), file))
            return
        try:
            with store.local(file) as path:
                if self.content == "sqlite":
                    frames = same_columns(read_sqlite(path, config), file)
                else:
                    frames = _slices(scan_cytotable(path, config))
                yield from self._of(plate, file, frames)
        except ImageError as error:
            raise InputError(error.path, "", f"a file that {error.reason}", "a readable file", "Restore it.") from None

    def _of(self, plate: str, file: str, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The frames, each checked to be of the plate; sites are numbered 1 where the file does not number them."""
        for frame in frames:
            others = frame.filter(pl.col("Metadata_Plate") != plate)["Metadata_Plate"].unique()
            if len(others):
                todo = "Check `files`, or name the column with the barcode in `cellprofiler.plate`."
                raise InputError(file, "plate", f"cells of {others[0]}", plate, todo)
            if "Metadata_Site" not in frame.columns:
                frame = frame.with_columns(Metadata_Site=pl.lit(1))
            yield frame.drop(self.cellprofiler.keep, strict=False)

    def _published(self, plate: str) -> pl.DataFrame:
        file, _ = self._file(plate)
        frame = read_wells(file, self.store())
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


def _slices(cells: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The rows of a Parquet scan, `ROWS` at a time."""
    total = int(cells.select(pl.len()).collect().item())
    for start in range(0, total, ROWS):
        yield cells.slice(start, ROWS).collect()
