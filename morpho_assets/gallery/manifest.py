"""A plate's manifest: `wells` and `sites`, validated before anything is written; and what it was read from."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.source import PlateSource
from morpho_assets.lake.work import Work


def read_manifest(work: Work) -> None:
    """Read what the source's files say of a plate and write it. Raises InputError for the first defect of a file."""
    watched = work.source.manifest(work.key).watched
    work.sources = manifest_files(work.source, watched)
    if not work.sources:  # they were read a moment ago: a commit that knew none of them could not tell when they change
        raise InputError(watched[0], "", "a file that comes and goes", "one that stays", "Run again.")
    manifest = work.source.manifest(work.key)  # again: a file that changed while it was read has another stamp
    work.write("wells", manifest.wells)
    work.write("sites", manifest.sites.with_columns(source=pl.lit(work.source.name)))
    work.notes["files"] = list(manifest.files)
    work.notes["watched"] = list(watched)
    work.notes["source"] = work.source.name


def manifest_files(source: PlateSource, watched: Sequence[str]) -> dict[str, str]:
    """The files that a manifest was, or would now be, read from, each with a stamp that changes with its content.

    `watched` are paths and patterns of paths; a pattern covers files that come later, too.
    """
    store = source.store()
    return {path: stamp for pattern in watched for path, stamp in store.stamps(pattern).items()}
