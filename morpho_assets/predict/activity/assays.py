"""Outcomes of assays as a person has them: wide or long, text or numbers, under another name for each compound.

Nothing is dropped in silence: an outcome that cannot be read stops with its row; an identifier that no compound has is
listed with what was tried.
"""

from __future__ import annotations

import re
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.gallery.text import ROW, read_table, require_columns, require_values

By = Literal["id", "inchikey", "name"]
ORDER: tuple[By, ...] = ("id", "inchikey", "name")
ACTIVE, INACTIVE = {"active", "hit", "true", "yes", "1", "1.0"}, {"inactive", "nonhit", "false", "no", "0", "0.0"}
UNKNOWN = {"na", "n/a", "nan", "null", "none", "inconclusive", "untested", "-", "."}
UNMATCHED = "no compound of the study"
_BROAD = re.compile(r"^(BRD-[A-Z]\d{8})(-.*)?$")
_INCHIKEY = re.compile(r"^[A-Z]{14}(-[A-Z]{10}(-[A-Z])?)?$")


class AssaysConfig(BaseModel):
    """A table of assay outcomes: long (a row per compound and assay) or wide (a column per assay)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(description="CSV, TSV, workbook or Parquet, from the folder of the settings")
    compound: str = Field(default="compound", description="column that names the compound")
    by: Literal["auto"] | By = Field(
        default="auto",
        description="what it names it by: id (BRD-… with or without its batch), inchikey (first block) or name; auto: "
        "the first of these that a compound has",
    )
    assay: str = Field(default="assay", description="long: column that names the assay; a table without it is wide")
    value: str = Field(default="active", description="long: column of the outcome")
    leave_out: tuple[str, ...] = Field(default=(), description="wide: columns that are no assays")
    threshold: float | None = Field(default=None, description="values at or beyond it are active; null: 0 and 1 alone")
    thresholds: dict[str, float] = Field(default_factory=dict, description="the same of single assays")
    active: Literal["above", "below"] = Field(default="above", description="the side of the threshold that is active")


def read_assays(body: bytes, config: AssaysConfig) -> pl.DataFrame:
    """The outcomes of a file: `given` (the compound as it is called there), `assay`, `value` (float), `active` and
    `readouts`. NA, empty and inconclusive outcomes are left out; several of one compound in one assay are their mean,
    which is active from 0.5, or beyond the threshold.

    InputError for a value that is neither an outcome nor, with a threshold, a number; with its row.
    """
    table = read_table(body, config.file)
    require_columns(table, config.file, [config.compound])
    require_values(table, config.file, [config.compound])
    if config.assay in table.columns:
        require_columns(table, config.file, [config.value])
        require_values(table, config.file, [config.assay])
        long = table.select(ROW, given=config.compound, assay=config.assay, text=config.value)
    else:
        names = [name for name in table.columns if name not in (ROW, config.compound, *config.leave_out)]
        if not names:
            raise InputError(config.file, "row 1", f"no column {config.assay} and none beside {config.compound}",
                             "a row per compound and assay, or a column per assay", "Add the outcomes.")  # fmt: skip
        renamed = table.select(ROW, pl.col(config.compound).alias("given"), *names)
        long = renamed.unpivot(names, index=[ROW, "given"], variable_name="assay", value_name="text")
    strange = sorted(set(config.thresholds) - set(long["assay"]))
    if strange:
        raise InputError(config.file, "thresholds", f"no assay {strange[0]}", "assays of the file", "Name these.")
    text = pl.col("text").str.strip_chars()
    low = text.str.to_lowercase()
    long = long.with_columns(given=pl.col("given").str.strip_chars(), text=text).filter(
        text.is_not_null(), text != "", ~low.is_in(list(UNKNOWN))
    )
    lowered = pl.col("text").str.to_lowercase()
    outcome = pl.when(lowered.is_in(list(ACTIVE))).then(1.0).when(lowered.is_in(list(INACTIVE))).then(0.0)
    limit = _limits(config)
    number = pl.col("text").cast(pl.Float64, strict=False)
    long = long.with_columns(limit=limit).with_columns(
        value=pl.when(pl.col("limit").is_null()).then(outcome).otherwise(number)
    )
    wrong = long.filter(pl.col("value").is_null() | pl.col("value").is_nan())
    if wrong.height:
        row = wrong.row(0, named=True)
        expected = "a number" if row["limit"] is not None else "1, 0, active, inactive or NA"
        todo = "Correct it." if row["limit"] is not None else "Correct it, or give the assays a `threshold`."
        raise InputError(config.file, f"row {row[ROW]}, assay {row['assay']}", repr(row["text"]), expected, todo)
    grouped = long.group_by("given", "assay", maintain_order=True).agg(
        pl.col("value").mean(), pl.col("limit").first(), pl.len().cast(pl.Int32).alias("readouts")
    )
    beyond = pl.col("value") >= pl.col("limit") if config.active == "above" else pl.col("value") <= pl.col("limit")
    active = pl.when(pl.col("limit").is_null()).then(pl.col("value") >= 0.5).otherwise(beyond)
    return grouped.with_columns(active=active).select("given", "assay", "value", "active", "readouts")


def match_compounds(given: pl.Series, compounds: pl.DataFrame, by: Literal["auto"] | By = "auto") -> pl.DataFrame:
    """Which compound each identifier means: `given`, `compound` (null where none does), `matched_by`, `note`.

    `compounds` has `compound` (its id), `name` and `inchikey`. An id fits whole, then by its Broad number without the
    batch; an InChIKey by its first block, so that salts and stereoisomers are one; a name whatever its case. Where
    several compounds fit the first is taken, and the note says how many did.
    """
    known = {each: _index(compounds, each) for each in ORDER}
    rows = []
    for text in given.unique(maintain_order=True):
        found: tuple[str, str | None, str | None, str | None] = (text, None, None, UNMATCHED)
        for kind in ORDER if by == "auto" else (by,):
            fits = known[kind].get(_key(text, kind, whole=True)) or known[kind].get(_key(text, kind, whole=False)) or []
            if fits:
                note = f"{len(fits)} compounds fit; the first is taken" if len(fits) > 1 else None
                found = (text, fits[0], kind, note)
                break
        rows.append(found)
    names = ("given", "compound", "matched_by", "note")
    return pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row")


def matched_outcomes(outcomes: pl.DataFrame, matches: pl.DataFrame) -> pl.DataFrame:
    """Outcomes of compounds of the study: assay, compound, value, active, readouts. Of two names of one compound the
    mean value, active where at least half of them are."""
    joined = outcomes.join(matches.select("given", "compound"), on="given", how="left", maintain_order="left")
    return (
        joined.drop_nulls("compound")
        .group_by("assay", "compound", maintain_order=True)
        .agg(pl.col("value").mean(), pl.col("active").mean() >= 0.5, pl.col("readouts").sum())
    )


def _limits(config: AssaysConfig) -> pl.Expr:
    shared = pl.lit(config.threshold, pl.Float64)
    if not config.thresholds:
        return shared
    return pl.col("assay").replace_strict(config.thresholds, default=None, return_dtype=pl.Float64).fill_null(shared)


def _key(text: str, by: By, whole: bool) -> str:
    text = text.strip()
    if by == "inchikey":
        return text[:14] if _INCHIKEY.match(text) else ""
    if by == "name":
        return text.lower()
    broad = _BROAD.match(text)
    return broad.group(1) if broad and not whole else text


def _index(compounds: pl.DataFrame, by: By) -> dict[str, list[str]]:
    column = {"id": "compound", "inchikey": "inchikey", "name": "name"}[by]
    found: dict[str, list[str]] = {}
    if column not in compounds.columns:
        return found
    for compound, text in compounds.select("compound", pl.col(column).alias("text")).iter_rows():
        for key in {_key(text, by, whole) for whole in (True, False)} if text else ():
            if key and compound not in found.setdefault(key, []):
                found[key].append(compound)
    return found
