"""The kinds of source: the Cell Painting Gallery (in its bucket or a mirror of it), a samplesheet of one's own images,
an Opera Phenix's index, OME-Zarr plates, and plates that were measured elsewhere.

A source is a config model with the methods of `source.PlateSource`; a new kind is one class and one entry in `Source`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.gallery.load_data import read_load_data
from morpho_assets.gallery.measured import MeasuredSource
from morpho_assets.gallery.ome_zarr import OmeZarrSource
from morpho_assets.gallery.phenix import PhenixSource
from morpho_assets.gallery.samplesheet import plate_rows, plate_sites, plate_wells, read_samplesheet
from morpho_assets.gallery.source import (
    Manifest,
    MappedSource,
    PlateSource,
    TabledSource,
    check_imaged,
    check_sites,
    check_wells,
    join_external,
    place_wells,
    read_file,
    read_layout,
)
from morpho_assets.gallery.store import GALLERY, Store

LOAD_DATA = tuple(
    f"load_data{illumination}{ending}"
    for illumination in ("_with_illum", "")
    for ending in (".parquet", ".csv", ".csv.gz")
)
"""What a plate's folder is searched for, in this order: the form with illumination functions says all the others do."""


class GallerySource(TabledSource):
    """Plates in the Gallery's folder layout, under `root`: the bucket itself, or a mirror of it."""

    kind: Literal["gallery"]
    root: str = Field(description=f"{GALLERY}, another bucket, or the folder of a mirror")
    project: str = Field(description="such as cpg0000-jump-pilot")
    source: str = Field(description="such as source_4")
    batches: tuple[str, ...] | None = Field(None, description="batches to look in; default: all")

    @property
    def base(self) -> str:
        return f"{self.root.rstrip('/')}/{self.project}/{self.source}"

    def store(self) -> Store:
        mirror = {GALLERY: self.root} if self.root.rstrip("/") != GALLERY else {}
        return Store({**mirror, **self.replace}, self.endpoint_url, self.anonymous, self.retries)

    def plates(self) -> list[str]:
        return sorted({path.rsplit("/", 2)[-2] for path in self._load_data_files("*")})

    def has(self, plate: str) -> bool:
        return bool(self._load_data_files(plate))

    def watched(self, plate: str) -> tuple[str, ...]:
        metadata = f"{self.base}/workspace/metadata"
        batches = self.batches or ("*",)
        load_data = tuple(f"{self.base}/workspace/load_data_csv/{batch}/{plate}/load_data*" for batch in batches)
        maps = tuple(f"{metadata}/platemaps/{batch}/{file}" for batch in batches for file in ("*", "platemap/*"))
        return (*load_data, *maps, f"{metadata}/external_metadata/*")

    def manifest(self, plate: str) -> Manifest:
        load_data = self._load_data(plate)
        batch = load_data.rsplit("/", 3)[-3]
        body = self._read(load_data)
        sites = read_load_data(body, load_data, plate, self.channels, self.columns, self.rows)
        sites = sites.with_columns(pl.col("uri", "illumination_uri").map_elements(self._absolute(load_data), pl.String))
        check_sites(sites, load_data, self.store())
        maps = f"{self.base}/workspace/metadata/platemaps/{batch}"
        wells, barcodes, platemap = read_layout(self.store(), maps, plate, self.columns.well)
        wells, metadata = join_external(wells, self.store(), f"{self.base}/workspace/metadata/external_metadata/*")
        wells = self.annotated(wells, platemap)
        check_wells(wells["Metadata_Well"], platemap, self.wells)
        check_imaged(sites, load_data, wells, platemap)
        files = tuple(file for file in (load_data, barcodes, platemap, metadata) if file)
        external = f"{self.base}/workspace/metadata/external_metadata/*"
        watched = (f"{load_data.rpartition('/')[0]}/load_data*", barcodes, platemap, external)
        return Manifest(place_wells(wells, plate, self.source, batch), sites, files, watched)

    def _absolute(self, load_data: str) -> Callable[[str], str]:
        """Relative paths begin at the root where they name the project, as the Gallery's do, else beside load_data."""
        store = self.store()

        def absolute(uri: str) -> str:
            if uri.startswith("/") or ":" in uri or store.resolve(uri) != uri:
                return uri
            folder = self.root.rstrip("/") if uri.startswith(f"{self.project}/") else load_data.rsplit("/", 1)[0]
            return f"{folder}/{uri}"

        return absolute

    def _load_data(self, plate: str) -> str:
        found = self._load_data_files(plate)
        batches = sorted({path.rsplit("/", 3)[-3] for path in found})
        if len(batches) != 1:
            where = f"{self.base}/workspace/load_data_csv/<batch>/{plate}"
            seen = f"the plate in the batches {', '.join(batches)}" if batches else "no such plate"
            raise InputError(where, "", seen, "one load_data file", "Check the barcode and the source's `batches`.")
        return min(found, key=lambda path: LOAD_DATA.index(path.rsplit("/", 1)[-1]))

    def _load_data_files(self, plate: str) -> list[str]:
        found: list[str] = []
        for batch in self.batches or ("*",):
            found += self.store().glob(f"{self.base}/workspace/load_data_csv/{batch}/{plate}/load_data*")
        return [path for path in found if path.rsplit("/", 1)[-1] in LOAD_DATA]

    def _read(self, path: str) -> bytes:
        return read_file(self.store(), path)


class SamplesheetSource(TabledSource, MappedSource):
    """Plates listed in a samplesheet: one row per image, for those with their own microscope.

    What was done to the wells stands in its Metadata_ columns, or in `platemaps`.
    """

    kind: Literal["samplesheet"]
    path: str = Field(description="the samplesheet: .csv, .tsv or .xlsx")

    def store(self) -> Store:
        return Store(self.replace, self.endpoint_url, self.anonymous, self.retries)

    def plates(self) -> list[str]:
        return sorted(set(self._sheet()["plate"]))

    def has(self, plate: str) -> bool:
        return plate in self.plates()

    def watched(self, plate: str) -> tuple[str, ...]:
        return (self.path, *self.maps_watched())

    def manifest(self, plate: str) -> Manifest:
        mine = plate_rows(self._sheet(), self.path, plate, self.columns)
        sites = plate_sites(mine, self.path, self.channels)
        check_sites(sites, self.path, self.store())
        check_wells(sites["Metadata_Well"], self.path, self.wells)
        source, batch = _first(mine, "source") or self.name, _first(mine, "batch") or "none"
        told = plate_wells(mine, self.path)
        wells, files = self.treated(self.store(), plate, batch, sites, self.path, told)
        files = (self.path, *files)
        return Manifest(place_wells(wells, plate, source, batch), sites, files, self.watched(plate))

    def _sheet(self) -> pl.DataFrame:
        return read_samplesheet(read_file(self.store(), self.path), self.path, self.columns, self.rows)


Source = Annotated[
    GallerySource | SamplesheetSource | PhenixSource | OmeZarrSource | MeasuredSource, Field(discriminator="kind")
]


def find_source(sources: Iterable[PlateSource], plate: str) -> PlateSource:
    """The one source that has a plate. Raises InputError where none has, or two do: a barcode names one plate."""
    sources = list(sources)
    holders = [source for source in sources if source.has(plate)]
    if len(holders) != 1:
        names = ", ".join(source.name for source in (holders or sources)) or "none"
        found = f"the plate in {names}" if holders else f"no such plate in the sources {names}"
        raise InputError("sources", f"plate {plate}", found, "one source with it", "Check the barcode and the sources.")
    return holders[0]


def _first(frame: pl.DataFrame, name: str) -> str | None:
    """The first value of a column that a samplesheet may have."""
    values = frame[name].drop_nulls().to_list() if name in frame.columns else []
    return str(values[0]) if values else None
