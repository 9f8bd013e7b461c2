"""Which treatment each well got, and which wells are controls: understood here, or asked for before any work."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.platemap import DESCRIBED
from morpho_assets.gallery.text import listed, require_columns
from morpho_assets.gallery.wells import well_position

KEY_COLUMNS = ("Perturbation", "broad_sample", "JCP2022", "pert_iname")
"""Columns that name what a well was treated with, in order of preference; also with the prefix `Metadata_`."""
DOSE_COLUMNS = ("mmoles_per_liter", "dose_uM", "dose", "concentration", "concentration_uM", "conc")
CONTROL = "Metadata_control_type"
EMPTY = "empty"

_PLACES = ("plate", "source", "batch", "site", "row", "col")  # the manifest says these itself
_DOSE = re.compile(r"dose|conc|molar|moles|_[nuµm]m$", re.IGNORECASE)
_PERCENT = re.compile(r"\(?\s*[0-9]+(?:[.,][0-9]+)?\s*%\s*(?:\(?[vw]/[vw]\)?)?\s*\)?")
_NEGATIVE = {"neg", "negative", "negcon", "negctrl", "negcontrol", "negativecontrol", "vehicle", "ctlvehicle"}


def annotate_wells(
    wells: pl.DataFrame,
    file: str,
    perturbation: Sequence[str] | None = None,
    negative_controls: Sequence[str] = ("DMSO",),
) -> pl.DataFrame:
    """Wells with Metadata_Perturbation, Metadata_pert_type, Metadata_control_type, row and column; every other column
    gets the prefix `Metadata_`.

    `perturbation` names the columns that together say what replicates share, none where it is empty; by default the
    first known key column and the dose, where there is more than one. Doses are compared as numbers. A well is a
    negative control where the metadata says so, or where its treatment is among `negative_controls`, in any case and
    at any percentage (DMSO, dmso, DMSO 0.1%); it is then called as it is there, without a dose. A well without a
    treatment is `empty`.

    Raises InputError, with the columns and their commonest values, where no column is known to name the treatment, and
    where no well is a negative control while `negative_controls` names some.
    """
    wells = _prefixed(wells, file)
    keys = _keys(wells, file, perturbation)
    for name in ("Metadata_pert_type", CONTROL):
        if name not in wells.columns:
            wells = wells.with_columns(pl.lit(None, pl.String).alias(name))
    named = [name for name in ("Metadata_pert_iname", "Metadata_solvent") if name in wells.columns]
    given = pl.col(keys[0]) if keys else pl.lit(None, pl.String)
    wells = wells.with_columns(pl.coalesce(given, *named, pl.lit(EMPTY)).alias("__name"))
    doses = [_doses(wells[key]) if _DOSE.search(key) else wells[key] for key in keys[1:]]
    treatment = pl.concat_str("__name", *doses, separator="@", ignore_nulls=True)

    listed_as = {_control(name): name for name in negative_controls}
    control = pl.col("__name").map_elements(lambda name: listed_as.get(_control(name)), pl.String)
    names = [name for name in ("__name", "Metadata_pert_iname") if name in wells.columns]
    is_listed = pl.any_horizontal(
        pl.col(name).map_elements(lambda text: _control(text) in listed_as, pl.Boolean) for name in names
    ).fill_null(False)
    kind = pl.col("Metadata_pert_type").str.to_lowercase()
    told = (
        pl.when(_says_negative(kind) | _says_negative(pl.col(CONTROL)))
        .then(pl.lit("negcon"))
        .when(kind.str.contains("con") & (kind != "control"))
        .then(kind)
        .otherwise(pl.col(CONTROL))
    )
    unlabelled = pl.col(CONTROL).is_null() & (kind.is_null() | (kind == "control"))
    wells = wells.with_columns(pl.when(unlabelled & is_listed).then(pl.lit("negcon")).otherwise(told).alias(CONTROL))
    called = (
        pl.when(pl.col(CONTROL) == "negcon")
        .then(pl.coalesce(control, pl.col("__name")))
        .when(given.is_not_null())
        .then(treatment)
        .otherwise(pl.col("__name"))
    )
    wells = wells.with_columns(called.alias("Metadata_Perturbation")).drop("__name")
    if negative_controls and not (wells[CONTROL] == "negcon").any():
        raise _no_controls(wells, file, negative_controls)
    pert_type = (
        pl.when(pl.col(CONTROL).is_not_null())
        .then(pl.lit("control"))
        .when(kind.is_null() & (pl.col("Metadata_Perturbation") == EMPTY))
        .then(pl.lit(EMPTY))
        .otherwise(kind.fill_null("trt"))
    )
    positions = [well_position(name) for name in wells["Metadata_Well"]]
    return wells.with_columns(
        pert_type.alias("Metadata_pert_type"),
        pl.Series("Metadata_Row", [row for row, _ in positions], dtype=pl.Int32),
        pl.Series("Metadata_Col", [column for _, column in positions], dtype=pl.Int32),
    )


def dose_text(text: str) -> str:
    """A dose in four digits, `9.99999999` as `10`; what is no number stays as it is."""
    try:
        value = float(text.replace(",", ".") if re.fullmatch(r"[0-9]+,[0-9]+", text) else text)
    except ValueError:
        return text
    if not math.isfinite(value):
        return text
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return np.format_float_positional(round(value, digits) + 0.0, trim="-")


def _prefixed(wells: pl.DataFrame, file: str) -> pl.DataFrame:
    """Every column with the prefix; without those that the manifest fills, and without second copies of a column.

    Names that differ in their case alone are one name in SQL. Raises InputError for two such columns that differ.
    """
    found: dict[str, str] = {}
    for name in wells.columns:
        if name == DESCRIBED:
            continue
        bare = name.removeprefix("Metadata_")
        if bare.lower() in _PLACES:
            continue
        first = found.setdefault(bare.lower(), name)
        if not wells[first].equals(wells[name], null_equal=True):
            todo = "Rename or remove one of them."
            raise InputError(file, "row 1", f"the columns {first} and {name}", "names that differ", todo)
    kept = [pl.col(name).alias(f"Metadata_{name.removeprefix('Metadata_')}") for name in found.values()]
    return wells.select(*kept, *([DESCRIBED] if DESCRIBED in wells.columns else []))


def _keys(wells: pl.DataFrame, file: str, perturbation: Sequence[str] | None) -> list[str]:
    """The columns that together name a treatment: as the source says, or the first known one and the doses."""
    if perturbation is not None:
        keys = [f"Metadata_{name.removeprefix('Metadata_')}" for name in perturbation]
        require_columns(wells, f"{file}, `perturbation`", keys)
        return keys
    key = _first(wells, KEY_COLUMNS)
    if key is None:
        raise _no_treatment(wells, file)
    dose = _first(wells, DOSE_COLUMNS)
    several = dose is not None and _doses(wells[dose]).drop_nulls().n_unique() > 1
    return [key, *([dose] if dose and several else [])]


def _first(wells: pl.DataFrame, names: Sequence[str]) -> str | None:
    there = {name.lower(): name for name in wells.columns}
    return next((there[found] for name in names if (found := f"metadata_{name}".lower()) in there), None)


def _doses(column: pl.Series) -> pl.Series:
    """Doses as text that is equal where they are; none is no dose."""
    text = column.cast(pl.String).map_elements(dose_text, pl.String)
    return text.replace("0", None)


def _control(name: str) -> str:
    """What names of one control share: neither case nor percentage nor the marks around it."""
    return _PERCENT.sub(" ", name.casefold()).strip(" _-,;:()")


def _says_negative(column: pl.Expr) -> pl.Expr:
    return column.str.to_lowercase().str.replace_all(r"[^a-z]", "").is_in(_NEGATIVE).fill_null(False)


def _values(wells: pl.DataFrame, column: str, limit: int) -> str:
    """The commonest values of a column with their counts, those with equal counts in the order of the alphabet."""
    counts = wells[column].drop_nulls().value_counts().sort("count", column, descending=[True, False])
    return listed((f"{name} ({number})" for name, number in counts.iter_rows()), limit) or "nothing"


def _no_treatment(wells: pl.DataFrame, file: str) -> InputError:
    others = [n for n in wells.columns if n not in ("Metadata_Well", "Metadata_pert_type", CONTROL, DESCRIBED)]
    told = "; ".join(f"{name.removeprefix('Metadata_')}: {_values(wells, name, 3)}" for name in others[:8])
    found = f"no column that is known to name the treatment, but {told or 'the wells alone'}"
    best = next((name for name in others if wells[name].drop_nulls().n_unique() > 1), None)
    example = f", such as `perturbation: [{best.removeprefix('Metadata_')}]`" if best else ""
    todo = f"Name the columns that do in the source's `perturbation`{example}; [] says that the wells got none."
    return InputError(file, "row 1", found, f"one of {', '.join(KEY_COLUMNS)}", todo)


def _no_controls(wells: pl.DataFrame, file: str, negative_controls: Sequence[str]) -> InputError:
    found = f"no negative control among the treatments {_values(wells, 'Metadata_Perturbation', 5)}"
    kinds = [name for name in (CONTROL, "Metadata_pert_type") if wells[name].drop_nulls().len()]
    found += "".join(f"; {name.removeprefix('Metadata_')}: {_values(wells, name, 3)}" for name in kinds)
    expected = f"wells of {' or '.join(negative_controls)}, or control_type negcon"
    todo = "Name the controls in the source's `negative_controls`; [] says that the plate has none."
    return InputError(file, "treatments", found, expected, todo)
