"""A plate as exports read it: its tables as some commits have them, its images and label images, a site at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.compute import Progress
from morpho_assets.errors import ImageError, LakeError
from morpho_assets.export.about import About
from morpho_assets.gallery.source import AboutConfig
from morpho_assets.gallery.store import GALLERY, Store
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.planes import pixel_size
from morpho_assets.imaging.segmentation import cytoplasm_of
from morpho_assets.imaging.sites import Site, SiteReader, complete_sites, illumination_paths
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Commit, Partition

COMPARTMENTS = ("Nuclei", "Cells", "Cytoplasm")
KEYS = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber"]
SITE = ["Metadata_Well", "Metadata_Site"]
OF_A_CAMERA = 2.5
"""µm a pixel above which what an image says is the size on the camera, without the objective, as Opera Phenix writes
it: no cell could be told from another."""
ROWS = 4_096
"""Cells of a Parquet file in memory at a time, beside those of one site."""


@dataclass(frozen=True)
class Plate:
    """`tables` are the plate's commits, `store` reads its images, and `config` is what its source says of them."""

    name: str
    tables: Snapshot
    store: Store
    config: AboutConfig = field(default_factory=AboutConfig)

    @cached_property
    def about(self) -> About:
        sites = self.sites if self.tables.has("image_files", self.name) else []
        found = None
        if sites and self.config.pixel_size is None:
            found = pixel_size(self.reader().content(sites[0], 0))
            found = None if found is not None and found > OF_A_CAMERA else found
        gallery = any(self.store.resolve(uri).startswith(GALLERY) for site in sites[:1] for uri in site.uris)
        return About.of(f"plate {self.name}", self.config, found, gallery, self.tables.commits.values())

    def commits(self, *stages: str) -> list[Commit]:
        """The commits of these stages. Raises LakeError for one that was not made."""
        return [self.tables.commit(stage, Partition("plate", self.name)) for stage in stages]

    def made_from(self, *stages: str) -> list[Any]:
        """What files made from these stages depend on: the content of each, and what is said of the images."""
        return [*([each.stage, each.content] for each in self.commits(*stages)), self.config.model_dump(mode="json")]

    @cached_property
    def wells(self) -> pl.DataFrame:
        """The table `wells`."""
        return self.tables.read("wells", self.name)

    # Sites

    @cached_property
    def sites(self) -> list[Site]:
        """The sites of which every image was fetched, in the order of the manifest."""
        return complete_sites(self.tables, self.name)

    @cached_property
    def masks(self) -> dict[tuple[str, int], dict[str, Any]]:
        """The row of table `masks` by well and site."""
        rows = self.tables.read("masks", self.name).iter_rows(named=True)
        return {(row["Metadata_Well"], row["Metadata_Site"]): row for row in rows}

    @property
    def segmentable(self) -> bool:
        """Whether it has label images at all."""
        return self.tables.has("masks", self.name)

    def segmented(self) -> list[Site]:
        """The sites that have label images. Raises LakeError for a plate that has none, saying why."""
        found = [site for site in self.sites if (site.well, site.site) in self.masks]
        if not found:
            raise LakeError(
                f"plate {self.name} has no segmented site; a plate that was measured elsewhere has no images"
            )
        return found

    def reader(self, corrected: bool = False) -> SiteReader:
        """Reads its sites as they were acquired, or divided by their illumination functions."""
        functions = illumination_paths(self.tables, self.name) if corrected else {}
        return SiteReader(self.tables.lake, self.store, functions)

    def labels(self, site: Site) -> dict[str, NDArray[np.int32]]:
        """(H, W) int32 label images of nuclei, cells and cytoplasm; none where the site was not segmented."""
        row = self.masks.get((site.well, site.site))
        if row is None:
            return {}
        lake = self.tables.lake
        nuclei, cells = (
            read_labels(lake.read_bytes(row[name]), name=lake.files.url(row[name])) for name in ("nuclei", "cells")
        )
        return {"Nuclei": nuclei, "Cells": cells, "Cytoplasm": cytoplasm_of(nuclei, cells)}

    # Cells

    def cells(self) -> Iterator[pl.DataFrame]:
        """The rows of `single_cells`, a site at a time, in the order of the file; sites without cells give nothing."""
        pending: list[pl.DataFrame] = []
        place: tuple[object, ...] = ()
        for batch in stream(self.tables, "single_cells", self.name):
            for own, rows in batch.partition_by(SITE, as_dict=True, maintain_order=True).items():
                if pending and own != place:
                    yield pl.concat(pending)
                    pending = []
                pending.append(rows)
                place = own
        if pending:
            yield pl.concat(pending)

    @cached_property
    def measured(self) -> pl.DataFrame:
        """The keys of every measured cell, in the order of `cells`: memory is that of the keys alone."""
        return self.tables.scan("single_cells", [self.name]).select(KEYS).collect()

    @cached_property
    def features(self) -> list[str]:
        """The measurements of a cell, in the order of the file."""
        names = self.tables.scan("single_cells", [self.name]).collect_schema().names()
        return [name for name in names if name not in KEYS]


def each_site(sites: Sequence[Site], label: str, progress: Progress, function: Callable[[Site], None]) -> list[str]:
    """Call a function for each site; returns a sentence for every site whose images cannot be used."""
    failed = []
    progress(label, 0, len(sites))
    for done, site in enumerate(sites, start=1):
        try:
            function(site)
        except ImageError as error:
            failed.append(f"{site.key}: {error}")
        progress(label, done, len(sites))
    return failed


def stream(tables: Snapshot, name: str, key: str, rows: int = ROWS) -> Iterator[pl.DataFrame]:
    """The rows of a table of one plate or study, so many at a time, in the order of the files.

    Raises LakeError where the commits do not have the table, or a file is gone.
    """
    import pyarrow.parquet as pq

    files = tables.lake.files
    for path in tables.paths(name, key):
        url = files.url(path)
        try:
            with files.system.open(url) if files.remote else open(url, "rb") as opened:  # type: ignore[attr-defined]
                for batch in pq.ParquetFile(opened).iter_batches(batch_size=rows):
                    yield pl.DataFrame(pl.from_arrow(batch))
        except FileNotFoundError:
            raise LakeError(f"{url} is gone; materialise it again") from None


def by_well(wells: pl.DataFrame, names: Sequence[str], column: str) -> dict[str, str | None]:
    """What a column of `wells` says of each well. Raises LakeError for a column that there is not."""
    if column not in wells.columns:
        known = [name for name in wells.columns if name.startswith("Metadata_")]
        raise LakeError(f"no column {column!r} in `wells`; it has {', '.join(known)}")
    said = dict(wells.select("Metadata_Well", pl.col(column).cast(pl.String)).iter_rows())
    return {name: said.get(name) for name in names}
