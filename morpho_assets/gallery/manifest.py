"""A plate's manifest in the lake: `wells` and `sites`, validated before anything is written."""

from __future__ import annotations

import polars as pl

from morpho_assets.gallery.source import Manifest, PlateSource
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance


def write_manifest(lake: Lake, plate: str, made: Provenance, source: PlateSource) -> Manifest:
    """Read what the source's files say of a plate and write it; its content becomes an input of the provenance.

    Raises InputError for the first defect of a file; nothing is written then.
    """
    manifest = source.manifest(plate)
    made = made.including("files", [manifest.wells.write_csv(), manifest.sites.write_csv(), *manifest.stamps])
    lake.write("wells", plate, manifest.wells, made)
    lake.write("sites", plate, manifest.sites.with_columns(source=pl.lit(source.name)), made)
    return manifest
