"""The measurement stage of a plate: every cell of every segmented site."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from morpho_assets.gallery.account import Account
from morpho_assets.gallery.images import ImagesConfig, delete_fetched
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.segmentation import cytoplasm_of
from morpho_assets.imaging.sites import Site, SiteReader, complete_sites, illumination_paths, site_rows
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work, process_sites
from morpho_assets.measure.config import MeasurementConfig


@dataclass(frozen=True)
class SegmentedSite:
    """A site with the lake's paths of its label images: all that measuring it needs beside the settings."""

    site: Site
    nuclei: str
    cells: str

    @property
    def key(self) -> str:
        return self.site.key

    @property
    def place(self) -> dict[str, Any]:
        return self.site.place

    @property
    def files(self) -> tuple[str, ...]:
        return self.site.files

    def channel_of(self, path: str) -> str:
        return self.site.channel_of(path)


def measure_plate(work: Work) -> None:
    """Write `single_cells`: of every segmented site on corrected images, or as the plate's source has measured them;
    then `measured_sites` has its sites.

    Holds one site a worker and, when publishing, a row group. Under the policy `stream` a site's fetched images are
    deleted once it is measured, and those of failed sites when all are done.
    """
    if not work.read("sites").height:
        _import_cells(work)
        return
    work.write("measured_sites", table("measured_sites").empty())
    config: MeasurementConfig = work.settings
    images: ImagesConfig = work.options
    masks = {(row["Metadata_Well"], row["Metadata_Site"]): row for row in work.read("masks").iter_rows(named=True)}
    sites = [
        SegmentedSite(site, masks[site.well, site.site]["nuclei"], masks[site.well, site.site]["cells"])
        for site in complete_sites(work.inputs, work.key)
        if (site.well, site.site) in masks
    ]
    functions = illumination_paths(work.inputs, work.key)
    reader = SiteReader(work.lake, work.source.store(), functions)

    def measured(site: SegmentedSite) -> None:
        if images.policy == "stream":
            delete_fetched(list(site.site.paths), images.folder)

    def made_from(each: SegmentedSite) -> object:
        return [each.site.channels, each.site.content, functions, each.nuclei, each.cells]

    if sites and not _compiled():
        work.progress("compiling how cells are measured, once on a machine: about a minute", 0, len(sites))
    function = partial(_measure, config, reader)
    finished = process_sites(work, sites, function, ("single_cells",), made_from, measured)
    if images.policy == "stream":  # of sites that failed too: a retry reads them from their source
        delete_fetched(work.read("image_files")["path"].to_list(), images.folder)
    work.write_stream("single_cells", finished.frames("single_cells"))


def _compiled() -> bool:
    from morpho_assets.measure.kernels import is_compiled
    from morpho_assets.measure.texture import haralick  # the dearest, and one of the last

    return is_compiled(haralick)


def _import_cells(work: Work) -> None:
    """Write the cells of a plate that was measured elsewhere, and its sites, with cells or without."""
    account = Account()
    work.write_stream("single_cells", work.source.cells(work.key, account) or ())
    sites = [(work.key, *place, cells) for place, cells in account.sites.items()]
    work.write("measured_sites", pl.DataFrame(sites, table("measured_sites").schema, orient="row"))
    work.sites = {f"{well}-{site}": work.method for well, site in account.sites}
    work.notes["beside the cells"] = account.notes()
    work.write_failures([])


def _measure(config: MeasurementConfig, reader: SiteReader, each: SegmentedSite) -> dict[str, pl.DataFrame]:
    from morpho_assets.measure import measure_site

    nuclei, cells = (read_labels(reader.lake.read_bytes(path), name=path) for path in (each.nuclei, each.cells))
    compartments = {"Nuclei": nuclei, "Cells": cells, "Cytoplasm": cytoplasm_of(nuclei, cells)}
    frame = measure_site(reader.read(each.site), compartments, each.site.channels, config)
    return {"single_cells": site_rows(each.site, frame)}
