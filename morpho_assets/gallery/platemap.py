"""What was done to each well: barcode_platemap.csv, the platemap it names, and metadata of the perturbations."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.text import read_table, require_columns, require_values
from morpho_assets.gallery.wells import well_name, well_position

KEY_COLUMNS = ("Perturbation", "broad_sample", "JCP2022", "perturbation", "pert_iname")
"""Columns that name what a well was treated with, in order of preference; also with the prefix `Metadata_`."""
DOSE_COLUMNS = ("mmoles_per_liter", "dose_uM", "dose", "concentration")
CONTROL = "Metadata_control_type"
DESCRIBED = "described"


def platemap_name(body: bytes, file: str, plate: str) -> str:
    """The platemap of a plate, from barcode_platemap.csv. Raises InputError for a plate with none or with two."""
    frame = read_table(body, file)
    require_columns(frame, file, ("Assay_Plate_Barcode", "Plate_Map_Name"))
    names = frame.filter(pl.col("Assay_Plate_Barcode") == plate)["Plate_Map_Name"].drop_nulls().unique().to_list()
    if len(names) != 1:
        found = f"{len(names)} platemaps of {plate}" if names else f"no row of {plate}"
        raise InputError(
            file, "column Assay_Plate_Barcode", found, f"one row of {plate}", "Add it, or keep one of them."
        )
    return str(names[0])


def read_platemap(body: bytes, file: str) -> pl.DataFrame:
    """One row per well: Metadata_Well and the platemap's other columns under their names, as strings.

    Raises InputError for a well that is none and for a well that comes twice.
    """
    frame = read_table(body, file, separator="," if file.endswith(".csv") else "\t")
    require_columns(frame, file, ("well_position",))
    require_values(frame, file, ("well_position",))
    wells = []
    for row, name in enumerate(frame["well_position"], start=2):
        try:
            wells.append(well_name(*well_position(name)))
        except ValueError as error:
            place = f"row {row}, column well_position"
            raise InputError(file, place, str(error), "a well", "Correct the well's name.") from None
        if wells[-1] in wells[:-1]:
            place = f"rows {wells.index(wells[-1]) + 2} and {row}"
            raise InputError(file, place, f"well {wells[-1]} twice", "each well once", "Keep one of the rows.")
    return frame.drop("well_position").insert_column(0, pl.Series("Metadata_Well", wells))


def join_metadata(platemap: pl.DataFrame, files: dict[str, bytes]) -> tuple[pl.DataFrame, str | None]:
    """The platemap with the columns of the external metadata that knows its perturbations; and that file's name.

    Column `described` says which perturbations the file has a row for: null for a well without any.

    Of several files the one that covers most wells is taken, then the one with more columns. An empty key joins an
    empty key: that is how the Gallery describes its DMSO wells. Raises InputError for a key that comes twice.
    """
    best: tuple[float, int, str] | None = None
    tables = {}
    for file in sorted(files):
        table = read_table(files[file], file, separator="," if file.endswith(".csv") else "\t")
        shared = [name for name in platemap.columns if name in table.columns]
        keys = platemap[shared[0]].drop_nulls() if shared else pl.Series([], dtype=pl.String)
        covered = keys.is_in(table[shared[0]].drop_nulls().to_list()).mean() if len(keys) else None
        if covered:
            tables[file] = (table, shared[0])
            best = max(best or (0.0, 0, ""), (float(covered), table.width, file))  # type: ignore[arg-type]
    if best is None:
        return platemap, None
    file = best[2]
    table, key = tables[file]
    repeated = table.filter(pl.col(key).is_duplicated())
    if repeated.height:
        raise InputError(file, f"column {key}", f"{repeated[key][0]} twice", "each once", "Keep one of the rows.")
    extra = [name for name in table.columns if name == key or name not in platemap.columns]
    table = table.select(extra).with_columns(pl.lit(True).alias(DESCRIBED))
    joined = platemap.join(table, on=key, how="left", nulls_equal=True, maintain_order="left")
    known = pl.when(pl.col(key).is_not_null()).then(pl.col(DESCRIBED).fill_null(False))
    return joined.with_columns(known.alias(DESCRIBED)), file


def annotate_wells(
    wells: pl.DataFrame, perturbation: Sequence[str] = (), negative_controls: Sequence[str] = ("DMSO",)
) -> pl.DataFrame:
    """Wells with Metadata_Perturbation, Metadata_pert_type, Metadata_control_type, row and column; every other column
    gets the prefix `Metadata_`.

    `perturbation` names the columns that together say what replicates share; by default the first known key column and
    the dose, where there is more than one. A well whose key is empty is a negative control where the metadata says so,
    or its name is among `negative_controls`, and `empty` otherwise.
    """
    bare = {name: f"Metadata_{name.removeprefix('Metadata_')}" for name in wells.columns if name != DESCRIBED}
    wells = wells.rename(bare)
    keys = [f"Metadata_{name.removeprefix('Metadata_')}" for name in perturbation] or _default_keys(wells)
    for name in ("Metadata_pert_type", CONTROL):
        if name not in wells.columns:
            wells = wells.with_columns(pl.lit(None, pl.String).alias(name))
    named = [pl.col(name) for name in ("Metadata_pert_iname", "Metadata_solvent") if name in wells.columns]
    parts = [pl.col(key) for key in keys]
    treatment = pl.concat_str(parts, separator="@", ignore_nulls=True) if parts else pl.lit(None, pl.String)
    present = parts[0].is_not_null() if parts else pl.lit(False)
    kind = pl.col("Metadata_pert_type").str.to_lowercase()
    combined = pl.when(kind.str.contains("con") & (kind != "control")).then(kind).otherwise(pl.col(CONTROL))
    wells = wells.with_columns(
        pl.when(present).then(treatment).otherwise(pl.coalesce(*named, pl.lit("empty"))).alias("Metadata_Perturbation"),
        combined.alias(CONTROL),
    )
    listed = pl.any_horizontal(
        pl.col(name).is_in(list(negative_controls))
        for name in ("Metadata_Perturbation", "Metadata_pert_iname")
        if name in wells.columns
    )
    unlabelled = pl.col(CONTROL).is_null() & kind.is_null()
    wells = wells.with_columns(
        pl.when(unlabelled & listed).then(pl.lit("negcon")).otherwise(pl.col(CONTROL)).alias(CONTROL)
    )
    pert_type = (
        pl.when(pl.col(CONTROL).is_not_null())
        .then(pl.lit("control"))
        .when(kind.is_null() & (pl.col("Metadata_Perturbation") == "empty"))
        .then(pl.lit("empty"))
        .otherwise(kind.fill_null("trt"))
    )
    positions = [well_position(name) for name in wells["Metadata_Well"]]
    return wells.with_columns(
        pert_type.alias("Metadata_pert_type"),
        pl.Series("Metadata_Row", [row for row, _ in positions], dtype=pl.Int32),
        pl.Series("Metadata_Col", [column for _, column in positions], dtype=pl.Int32),
    )


def _default_keys(wells: pl.DataFrame) -> list[str]:
    key = next((f"Metadata_{name}" for name in KEY_COLUMNS if f"Metadata_{name}" in wells.columns), None)
    if key is None:
        return []
    doses = [f"Metadata_{name}" for name in DOSE_COLUMNS if f"Metadata_{name}" in wells.columns]
    return [key, *(dose for dose in doses[:1] if wells[dose].drop_nulls().n_unique() > 1)]
