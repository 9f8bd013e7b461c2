"""A plate's manifest in the lake: `wells` and `sites`, validated before anything is written."""

from __future__ import annotations

import polars as pl

from morpho_assets.gallery.source import Manifest, PlateSource
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance

SOURCE = "source"
"""The input of a manifest that stands for its source's settings."""


def write_manifest(lake: Lake, plate: str, made: Provenance, source: PlateSource) -> Manifest:
    """Read what the source's files say of a plate and write it; its content becomes an input of the provenance.

    That of `wells` also has the source's settings, so that a change of these is noticed; that of `sites` has what is
    said of images and cells alone, so that another name of the controls leaves these as they are. Raises InputError for
    the first defect of a file; nothing is written then.
    """
    manifest = source.manifest(plate)
    sites = [manifest.sites.write_csv(), *manifest.stamps]
    lake.write("sites", plate, manifest.sites.with_columns(source=pl.lit(source.name)), made.including("files", sites))
    made = made.including("files", [manifest.wells.write_csv(), *sites]).including(SOURCE, source.contents())
    lake.write("wells", plate, manifest.wells, made)
    return manifest
