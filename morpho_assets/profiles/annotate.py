"""Wells get their treatment: the plate's table of wells joined to its profiles, controls recognised."""

from __future__ import annotations

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import rows_where

KEYS = ["Metadata_Plate", "Metadata_Well"]


class AnnotateConfig(BaseModel):
    """Where the treatment and the controls are written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    treatment: str = Field(default="Metadata_Perturbation", description="column that identifies a treatment")
    negcon: str = Field(default="negcon", description="SQL condition of the negative controls")
    poscon: str | None = Field(default=None, description="SQL condition of positive controls; null: as written")
    negcon_name: str = Field(default="negcon", description="treatment name of negative controls that have none")
    ignored_wells: tuple[str, ...] = Field(default=(), description="wells (A01) whose profiles are left out")


def annotate(profiles: pl.DataFrame, wells: pl.DataFrame, config: AnnotateConfig | None = None) -> pl.DataFrame:
    """`profiles` with the columns of `wells` (those it lacks), joined on Metadata_Plate and Metadata_Well.

    One row per profile, in the order given. Wells of the table without a profile add no row (`unprofiled` lists
    them). InputError, naming the wells, when a profile's well is null or not in the table, the table names a well
    twice, or plates are text in one frame and numbers in the other.
    Controls are recognised as by `recognise`.
    """
    config = config or AnnotateConfig()
    for frame, name in ((profiles, "profiles"), (wells, "wells")):
        require_columns(frame, KEYS, name)
    table = wells.select(*KEYS, *(name for name in wells.columns if name not in profiles.columns))
    _refuse(table.filter(table.select(KEYS).is_duplicated()), "wells", "wells named twice", "one row per well",
            "Keep one row of each in the plate map.")  # fmt: skip
    for key in KEYS:
        kinds = profiles.schema[key], table.schema[key]
        if kinds[0] != kinds[1]:
            raise InputError("wells", key, f"{kinds[1]} there and {kinds[0]} in the profiles", "one type",
                             "Cast one of them: barcodes are text.")  # fmt: skip
    kept = profiles.filter(~pl.col("Metadata_Well").is_in(list(config.ignored_wells)).fill_null(False))
    _refuse(kept.join(table, on=KEYS, how="anti"), "wells", "profiled wells that are not in the table",
            "every profiled well", "Add them to the plate map or list them under ignored_wells.")  # fmt: skip
    return recognise(kept.join(table, on=KEYS, how="left", maintain_order="left"), config)


def unprofiled(profiles: pl.DataFrame, wells: pl.DataFrame) -> pl.DataFrame:
    """The rows of `wells` that no row of `profiles` belongs to: failed or dead wells."""
    return wells.join(profiles, on=KEYS, how="anti")


def recognise(profiles: pl.DataFrame, config: AnnotateConfig | None = None) -> pl.DataFrame:
    """`profiles` with Metadata_Perturbation, Metadata_pert_type (trt | control) and Metadata_control_type (negcon |
    poscon | null) filled by the conditions of `config`; published profiles pass through here.

    A negative control without a treatment name gets `negcon_name`; other nulls stay null and are never a treatment.
    """
    config = config or AnnotateConfig()
    require_columns(profiles, [config.treatment], "treatment")
    missing = [c for c in ("Metadata_control_type", "Metadata_pert_type") if c not in profiles.columns]
    frame = profiles.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in missing)
    frame = frame.with_columns(pl.col("Metadata_control_type", "Metadata_pert_type").cast(pl.String))
    kind = pl.col("Metadata_control_type")
    if config.poscon is not None:
        frame = frame.with_columns(pl.when(rows_where(frame, config.poscon)).then(pl.lit("poscon")).otherwise(kind)
                                   .alias("Metadata_control_type"))  # fmt: skip
    negcon = rows_where(frame, config.negcon)
    name = pl.col(config.treatment).cast(pl.String)
    return frame.with_columns(
        pl.when(negcon).then(pl.lit("negcon")).otherwise(kind).alias("Metadata_control_type"),
        pl.when(negcon).then(pl.lit("control")).otherwise(pl.col("Metadata_pert_type").fill_null("trt"))
        .alias("Metadata_pert_type"),
        pl.when(negcon).then(name.fill_null(config.negcon_name)).otherwise(name).alias("Metadata_Perturbation"),
    )  # fmt: skip


def _refuse(rows: pl.DataFrame, file: str, found: str, expected: str, do: str) -> None:
    if not rows.is_empty():
        named = rows.select(pl.concat_str(pl.col(KEYS).fill_null("(null)"), separator=" ")).to_series().unique().sort()
        raise InputError(file, ", ".join(named[:10]), f"{named.len()} {found}", expected, do)
