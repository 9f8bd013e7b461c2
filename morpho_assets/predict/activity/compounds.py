"""The compounds that activity is asked of, one row each, and their vectors: from a file, or from a study's plates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.gallery.text import ROW, read_table, require_columns, require_values
from morpho_assets.gallery.wells import well_position
from morpho_assets.predict.activity.assays import match_compounds
from morpho_assets.predict.activity.config import CompoundsFile, PredictionsModality, TableModality

Floats = NDArray[np.floating]
TEXTS = ("name", "smiles", "inchikey", "plate", "well", "batch")
OF_WELLS: Mapping[str, tuple[str, ...]] = {
    "compound": ("Metadata_broad_sample", "Metadata_JCP2022", "Metadata_Perturbation"),
    "name": ("Metadata_pert_iname",),
    "smiles": ("Metadata_smiles", "Metadata_SMILES"),
    "inchikey": ("Metadata_InChIKey", "Metadata_inchikey"),
}
"""Columns of wells that say what a compound is; the first that is there."""


def read_compounds(body: bytes, config: CompoundsFile) -> pl.DataFrame:
    """Compounds of a file: `compound`, TEXTS, `row` and `column` of the well (from 1), `cell_count`; null where the
    file has none. InputError for a compound that is there twice, a well or a count that is none; with its row."""
    table = read_table(body, config.file)
    require_columns(table, config.file, [config.compound])
    require_values(table, config.file, [config.compound])
    twice = table.filter(pl.col(config.compound).is_duplicated())
    if twice.height:
        row = twice.row(1, named=True)
        raise InputError(config.file, f"row {row[ROW]}, column {config.compound}", f"{row[config.compound]} again",
                         "a row per compound", "Leave one of them out.")  # fmt: skip
    there = {name: getattr(config, name) for name in ("compound", *TEXTS, "cell_count")}
    columns = [
        pl.col(column).alias(name) if column in table.columns else pl.lit(None, pl.String).alias(name)
        for name, column in there.items()
    ]
    found = table.select(ROW, *columns)
    count = pl.col("cell_count").cast(pl.Float64, strict=False)
    wrong = found.filter(pl.col("cell_count").is_not_null() & count.is_null())
    if wrong.height:
        raise InputError(config.file, f"row {wrong[ROW][0]}, column {config.cell_count}", repr(wrong["cell_count"][0]),
                         "a number", "Correct it.")  # fmt: skip
    places = [_place(well, config, row) for row, well in found.select(ROW, "well").iter_rows()]
    return found.drop(ROW).with_columns(
        count.alias("cell_count"),
        row=pl.Series([place[0] for place in places], dtype=pl.Float64),
        column=pl.Series([place[1] for place in places], dtype=pl.Float64),
    )


def _place(well: str | None, config: CompoundsFile, row: int) -> tuple[int | None, int | None]:
    if not well:
        return None, None
    try:
        return well_position(well)
    except ValueError as error:
        raise InputError(config.file, f"row {row}, column {config.well}", repr(well), "a well such as A01",
                         "Correct it.") from error  # fmt: skip


def compounds_of_wells(wells: pl.DataFrame, counts: pl.DataFrame) -> pl.DataFrame:
    """The same of the treated wells of plates; `counts` has Metadata_Plate, Metadata_Well and `cells`.

    A compound in several wells has their mean row, column and count; its plate and batch where all its wells are of
    one. InputError where no column names a compound.
    """
    named = {name: next((each for each in columns if each in wells.columns), None)
             for name, columns in OF_WELLS.items()}  # fmt: skip
    if named["compound"] is None:
        raise InputError("wells", "columns", "none that names a compound", f"one of {', '.join(OF_WELLS['compound'])}",
                         "Describe the perturbations, or give the activity a table of `compounds`.")  # fmt: skip
    treated = wells.filter(
        pl.col(named["compound"]).is_not_null(), pl.col("Metadata_control_type").fill_null("") != "negcon"
    ).join(counts, on=["Metadata_Plate", "Metadata_Well"], how="left", maintain_order="left")
    single = {"plate": "Metadata_Plate", "batch": "Metadata_Batch", "well": "Metadata_Well"}
    texts = [
        pl.col(column).drop_nulls().first().alias(name) if column else pl.lit(None, pl.String).alias(name)
        for name, column in named.items() if name != "compound"
    ]  # fmt: skip
    return treated.group_by(pl.col(named["compound"]).alias("compound"), maintain_order=True).agg(
        *texts,
        *(pl.when(pl.col(column).n_unique() == 1).then(pl.col(column).first()).alias(name)
          for name, column in single.items()),
        pl.col("cells").mean().alias("cell_count"), pl.col("Metadata_Row").mean().cast(pl.Float64).alias("row"),
        pl.col("Metadata_Col").mean().cast(pl.Float64).alias("column"),
    )  # fmt: skip


def vectors_of_table(body: bytes, config: TableModality, compounds: pl.DataFrame) -> tuple[Floats, list[str]]:
    """((n, d) the vectors of the compounds by a file, rows of NaN for those that it lacks; identifiers of the file that
    no compound has). Several rows of a compound are their mean. InputError for a table without numbers, or a cell that
    is none."""
    table = read_table(body, config.file)
    require_columns(table, config.file, [config.compound])
    require_values(table, config.file, [config.compound])
    names = [name for name in table.columns if name not in (ROW, config.compound)]
    if config.prefixes:
        names = [name for name in names if name.startswith(tuple(config.prefixes))]
    numbers = table.select(pl.col(names).cast(pl.Float64, strict=False))
    if not config.prefixes:  # what holds no number at all is annotation
        names = [name for name in names if numbers[name].count()]
    if not names:
        raise InputError(config.file, "row 1", "no column of numbers", "features", "Name them with `prefixes`.")
    for name in names:
        wrong = table.filter(table[name].is_not_null() & numbers[name].is_null())
        text = [each for each in wrong[name] if each.strip().lower() not in ("na", "nan", "null", "")]
        if text:
            raise InputError(config.file, f"row {wrong[ROW][0]}, column {name}", repr(text[0]), "a number",
                             "Correct it, or name the features with `prefixes`.")  # fmt: skip
    matches = match_compounds(table[config.compound], compounds, config.by)
    keyed = pl.concat([table.select(given=config.compound), numbers.select(names)], how="horizontal")
    keyed = keyed.join(matches.select("given", "compound"), on="given", how="left", maintain_order="left")
    means = keyed.drop_nulls("compound").group_by("compound").agg(pl.col(names).fill_nan(None).mean())
    rows = compounds.select("compound").join(means, on="compound", how="left", maintain_order="left")
    lost = matches.filter(pl.col("compound").is_null())["given"].to_list()
    return rows.select(names).fill_null(np.nan).to_numpy(), lost


def vectors_of_space(profiles: pl.DataFrame, features: list[str], compounds: pl.DataFrame) -> Floats:
    """(n, d) the median over the wells of each compound of a space; rows of NaN for those without a well."""
    column = next((name for name in OF_WELLS["compound"] if name in profiles.columns), None)
    if column is None:
        return np.full((compounds.height, max(1, len(features))), np.nan)
    medians = profiles.group_by(pl.col(column).alias("compound")).agg(pl.col(features).median())
    rows = compounds.select("compound").join(medians, on="compound", how="left", maintain_order="left")
    return rows.select(pl.col(features).cast(pl.Float64)).fill_null(np.nan).to_numpy()


def predictions_of_table(
    body: bytes, config: PredictionsModality, compounds: pl.DataFrame, assays: list[str]
) -> Floats:
    """(n, a) chances by a file; NaN where it has none. InputError for one that is no number from 0 to 1."""
    table = read_table(body, config.file)
    require_columns(table, config.file, [config.compound])
    if config.assay in table.columns:
        require_columns(table, config.file, [config.value])
        long = table.select(ROW, given=config.compound, assay=config.assay, text=config.value)
    else:
        names = [name for name in table.columns if name in set(assays)]
        renamed = table.select(ROW, pl.col(config.compound).alias("given"), *names)
        long = renamed.unpivot(names, index=[ROW, "given"], variable_name="assay", value_name="text")
    long = long.drop_nulls().with_columns(value=pl.col("text").cast(pl.Float64, strict=False))
    wrong = long.filter(~pl.col("value").is_between(0, 1).fill_null(False))
    if wrong.height:
        raise InputError(config.file, f"row {wrong[ROW][0]}, assay {wrong['assay'][0]}", repr(wrong["text"][0]),
                         "a chance from 0 to 1", "Correct it.")  # fmt: skip
    matches = match_compounds(long["given"], compounds, config.by)
    long = long.join(matches.select("given", "compound"), on="given", how="left").drop_nulls("compound")
    found = np.full((compounds.height, len(assays)), np.nan)
    place = {compound: number for number, compound in enumerate(compounds["compound"])}
    columns = {assay: number for number, assay in enumerate(assays)}
    kept = long.filter(pl.col("assay").is_in(assays)).select("compound", "assay", "value")
    for compound, assay, value in kept.iter_rows():
        found[place[compound], columns[assay]] = value
    return found
