"""Single cells in one Parquet file a plate, in the columns of CytoTable's preset `cellprofiler_sqlite_pycytominer`.

https://github.com/cytomining/CytoTable; pycytominer and our own `scan_cytotable` read it. What is known of the plate
lies in the file's metadata, under the key `morpho`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from morpho_assets.compute import Progress, no_progress
from morpho_assets.errors import LakeError
from morpho_assets.export.plate import SITE, Plate, stream
from morpho_assets.export.written import Written

KEY = b"morpho"
_NUMBERS = (
    "Metadata_Cells_Number_Object_Number", "Metadata_Nuclei_Number_Object_Number", "Metadata_Cytoplasm_Parent_Cells",
    "Metadata_Cytoplasm_Parent_Nuclei",
)  # fmt: skip
"""Columns that hold the number of the cell: nucleus, cell and cytoplasm share it."""


def export_cytotable(plate: Plate, out: Written, progress: Progress = no_progress) -> str:
    """Write `<plate>.parquet`, a row per cell, float32; returns its name. Missing values are null.

    Raises LakeError for a plate without cells.
    """
    name = f"{plate.name}.parquet"
    made_from = ["cytotable", plate.made_from("single_cells")]
    if not plate.measured.height:
        raise LakeError(f"plate {plate.name} has no cells; there is nothing to export")
    out.put(name, made_from, lambda path: _write(plate, path, progress))
    return name


def _write(plate: Plate, path: Path, progress: Progress) -> None:
    import pyarrow.parquet as pq

    sites = plate.measured.select(SITE).unique(maintain_order=True).with_row_index("Metadata_ImageNumber", 1)
    total, done = plate.measured.height, 0
    writer = None
    try:
        for batch in stream(plate.tables, "single_cells", plate.name):
            numbered = batch.join(sites, on=SITE, how="left", maintain_order="left")
            frame = numbered.select(
                pl.col("Metadata_ImageNumber").cast(pl.Int64),
                *(pl.col(key).alias(f"Image_{key}") for key in ("Metadata_Plate", *SITE)),
                *(pl.col("ObjectNumber").cast(pl.Int64).alias(each) for each in _NUMBERS),
                *plate.features,
            )
            arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                known = arrow.schema.with_metadata({KEY: plate.about.text().encode()})
                writer = pq.ParquetWriter(path, known, compression="zstd")
            writer.write_table(arrow.replace_schema_metadata(writer.schema.metadata))
            done += batch.height
            progress(path.name, done, total)
    finally:
        if writer is not None:
            writer.close()
