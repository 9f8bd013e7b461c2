"""The stage `phenotypes`: phenotypes of wells, and which treatments change them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.predict.config import PhenotypeConfig
from morpho_assets.predict.enriched import call_treatments, enrich_plate
from morpho_assets.predict.predictions import FINAL, PROBABILITY, SHUFFLED
from morpho_assets.profiles.rejected import PLACE, rejected_sites

PHENOTYPE = "Phenotype_"


def phenotypes_of_study(work: Work) -> None:
    """Write `phenotype_profiles` (the probability of each phenotype by well), `enrichments` (each well against its
    plate's controls) and `phenotype_calls` (treatments, pooled over plates) of every phenotype of a study. Sites that
    people rejected are left out."""
    profiles, enriched, calls = [], [], []
    rejected = rejected_sites(work.inputs, work.source).lazy()
    for name, config in work.settings.phenotypes.items():
        for by in [FINAL, SHUFFLED] if config.calls.shuffled else [FINAL]:
            of_model = []
            for plate in work.source:
                rows = (
                    work.scan("predictions")
                    .filter(pl.col("model") == name, pl.col("predicted_by") == by, pl.col("Metadata_Plate") == plate)
                    .join(rejected, on=PLACE, how="anti", maintain_order="left")
                )
                columns = [each for each in rows.collect_schema().names() if each.startswith(PROBABILITY)]
                cells = rows.select("Metadata_Well", *columns).collect()
                columns = [each for each in columns if cells[each].count()]
                classes = [each.removeprefix(PROBABILITY) for each in columns]
                wells = work.inputs.read("wells", plate)
                if by == FINAL:
                    profiles.append(_well_profiles(cells, columns, wells, config, name, plate))
                negative = wells.filter(Metadata_control_type="negcon")["Metadata_Well"].to_list()
                named = [each for each in config.calls.treatment if each in wells.columns]
                if len(named) < len(config.calls.treatment):
                    absent = sorted(set(config.calls.treatment) - set(named))[0]
                    raise InputError(f"study {work.key}", f"phenotypes.{name}.calls.treatment", f"no column {absent}",
                                     "columns of the wells", "Name another.")  # fmt: skip
                treatment = pl.when(pl.col("Metadata_control_type").fill_null("") != "negcon").then(
                    pl.concat_str(named, separator=" | ")
                )
                values = cells.select(columns).cast(pl.Float64).fill_null(np.nan).to_numpy()
                found = enrich_plate(cells["Metadata_Well"].to_list(), values, classes, negative, config.calls)
                names = wells.select("Metadata_Well", treatment.alias("treatment"))
                found = found.join(names, on="Metadata_Well", how="left", maintain_order="left")
                of_model.append(found.with_columns(Metadata_Plate=pl.lit(plate)))
            together = pl.concat(of_model)
            mark = {"study": pl.lit(work.key), "model": pl.lit(name), "predicted_by": pl.lit(by)}
            enriched.append(together.with_columns(**mark))
            calls.append(call_treatments(together, config.calls.threshold).with_columns(**mark))
    for key, parts in (("phenotype_profiles", profiles), ("enrichments", enriched), ("phenotype_calls", calls)):
        filled = [part.with_columns(study=pl.lit(work.key)) for part in parts if part.height]
        work.write(key, pl.concat(filled, how="diagonal_relaxed") if filled else table(key).empty())


def _well_profiles(
    cells: pl.DataFrame, columns: Sequence[str], wells: pl.DataFrame, config: PhenotypeConfig, name: str, plate: str
) -> pl.DataFrame:
    summed = [getattr(pl.col(each).drop_nulls(), config.well)() for each in columns]
    named = [
        each.alias(PHENOTYPE + column.removeprefix(PROBABILITY)) for each, column in zip(summed, columns, strict=True)
    ]
    shares = cells.group_by("Metadata_Well", maintain_order=True).agg(pl.len().alias("cells").cast(pl.Int32), *named)
    found = wells.join(shares, on="Metadata_Well", how="inner", maintain_order="left")
    return found.drop("described", strict=False).with_columns(model=pl.lit(name))
