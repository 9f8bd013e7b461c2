"""CellProfiler's output and profiles made from it, read into the columns of this package, an image at a time.

    analysis/<plate>-<well>-<site>/*.csv    read_analysis       a frame per set of tables
    backend/…/<plate>.sqlite                read_sqlite         a frame per image
    single-cell Parquet of CytoTable        scan_cytotable      a LazyFrame; or read_cytotable
    backend/…/<plate>.csv, profiles/…       read_wells          a frame of wells

`to_parquet` writes the frames of cells to one file, which `profiles.aggregate` then reads in blocks of columns. Values
that are missing are null. What else the tables said is in the `Account` that a reader is given.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.analysis_csv import read_analysis, read_site
from morpho_assets.gallery.cytotable import read_cytotable, scan_cytotable
from morpho_assets.gallery.image_table import CellProfilerConfig
from morpho_assets.gallery.published import read_wells
from morpho_assets.gallery.sqlite import read_sqlite

__all__ = [
    "Account",
    "CellProfilerConfig",
    "read_analysis",
    "read_cytotable",
    "read_site",
    "read_sqlite",
    "read_wells",
    "scan_cytotable",
    "to_parquet",
]


def to_parquet(sites: Iterable[tuple[str, pl.DataFrame]], path: Path) -> int:
    """Write the cells of all sites to one Parquet file, a row group per site with cells; returns the number of cells.

    Memory is that of one site. Columns are those of the first site with cells; InputError naming a later site that has
    others. Without any cell no file is written; one that is there is replaced when all sites are written, and stays as
    it is when one of them fails.
    """
    import pyarrow.parquet as pq

    path = Path(path)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.aside")
    writer: Any = None
    cells = 0
    try:
        for frame in _same_columns(sites, str(path)):
            arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                writer = pq.ParquetWriter(aside, arrow.schema)
            writer.write_table(arrow)
            cells += frame.height
        if writer is not None:
            writer.close()
            aside.replace(path)
    finally:
        if writer is not None:
            writer.close()
        aside.unlink(missing_ok=True)
    return cells


def _same_columns(sites: Iterable[tuple[str, pl.DataFrame]], file: str) -> Iterator[pl.DataFrame]:
    """The frames that have cells, with the columns of the first of them in its order.

    Raises InputError naming the site whose columns are others: it comes from another pipeline.
    """
    columns: list[str] = []
    for name, frame in sites:
        if frame.is_empty():
            continue
        columns = columns or frame.columns
        if set(columns) != set(frame.columns):
            different = sorted(set(columns) ^ set(frame.columns))
            raise InputError(file, f"site {name}", f"other columns than before: {', '.join(different[:5])}",
                             "the same pipeline for all sites", "Read sites of one pipeline together.")  # fmt: skip
        yield frame.select(columns)
