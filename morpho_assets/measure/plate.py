"""The measurement stage of a plate: every cell of every segmented site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import polars as pl

from morpho_assets.compute import ComputeConfig, Progress, no_progress
from morpho_assets.gallery.account import Account
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.segmentation import cytoplasm_of
from morpho_assets.imaging.sites import Site, SiteReader, complete_sites, site_rows
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Outcome, process_sites
from morpho_assets.measure.config import MeasurementConfig


def measure_plate(
    lake: Lake,
    plate: str,
    made: Provenance,
    config: MeasurementConfig,
    reader: SiteReader,
    compute: ComputeConfig,
    progress: Progress = no_progress,
    after: Callable[[Site], None] = lambda site: None,
) -> Outcome:
    """Measure every cell of a plate's masks on corrected images and write `single_cells`.

    Holds one site a worker and, when publishing, a few thousand cells. `after` is called for each measured site.
    """
    masks = {
        (row["Metadata_Well"], row["Metadata_Site"]): row for row in lake.read("masks", plate).iter_rows(named=True)
    }
    sites = [site for site in complete_sites(lake, plate) if (site.well, site.site) in masks]
    labels = {
        site.key: {name: str(masks[site.well, site.site][name]) for name in ("nuclei", "cells")} for site in sites
    }
    function = partial(_measure, config, reader, labels)
    work, failed = process_sites(lake, "single_cells", plate, made, sites, function, compute, progress, after)
    rows = lake.write_stream("single_cells", plate, work.frames("single_cells", [site.key for site in sites]), made)
    lake.write("measured_sites", plate, table("measured_sites").empty(), made)
    work.clear()
    return Outcome(rows, len(sites), failed)


def import_cells(
    lake: Lake, plate: str, made: Provenance, frames: Iterable[pl.DataFrame], account: Account | None = None
) -> Outcome:
    """Write `single_cells` and `measured_sites` of a plate that was measured elsewhere, from frames that come one after
    the other; `account` is what their reader was given."""
    account = account or Account()
    rows = lake.write_stream("single_cells", plate, frames, made)
    places = [(plate, *place, cells) for place, cells in account.sites.items()]
    lake.write("measured_sites", plate, pl.DataFrame(places, table("measured_sites").schema, orient="row"), made)
    return Outcome(rows, len(account.sites), 0)


def _measure(
    config: MeasurementConfig, reader: SiteReader, labels: Mapping[str, Mapping[str, str]], site: Site
) -> dict[str, pl.DataFrame]:
    from morpho_assets.measure import measure_site

    paths = labels[site.key]
    nuclei, cells = (read_labels(reader.lake.read_bytes(paths[name]), name=paths[name]) for name in ("nuclei", "cells"))
    compartments = {"Nuclei": nuclei, "Cells": cells, "Cytoplasm": cytoplasm_of(nuclei, cells)}
    frame = measure_site(reader.read(site), compartments, site.channels, config)
    return {"single_cells": site_rows(site, frame)}
