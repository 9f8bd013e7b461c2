"""Rows chosen by a condition: negative controls, all, or any SQL expression over the metadata."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.errors import InputError

NEGCON = "Metadata_control_type = 'negcon'"
CONDITIONS = {"negcon": NEGCON, "treated": f"NOT coalesce({NEGCON}, FALSE)", "all": "TRUE"}


def rows_where(frame: pl.DataFrame, condition: str) -> pl.Series:
    """(rows,) boolean: where `condition` holds. Unknown (null) counts as false.

    `condition` is "negcon", "treated" (not a negative control), "all" or an SQL expression such as
    "Metadata_solvent = 'DMSO' AND Metadata_Row > 1".
    InputError for an expression that does not parse, names an unknown column or is no condition.
    """
    try:
        found = frame.select(pl.sql_expr(CONDITIONS.get(condition, condition)).alias("chosen")).to_series()
        if found.dtype not in (pl.Boolean, pl.Null):
            raise pl.exceptions.SchemaError(f"values of type {found.dtype}, which are no condition")
        if found.len() != frame.height:
            found = found.new_from_index(0, frame.height)
        return found.cast(pl.Boolean, strict=True).fill_null(False)
    except (pl.exceptions.PolarsError, BaseExceptionGroup) as error:
        reason = str(error).splitlines()[0]
        raise InputError("condition", condition, reason, "'negcon', 'treated', 'all' or an SQL condition",
                         "Correct the expression or annotate the profiles first.") from error  # fmt: skip


def first_of_well(frame: pl.DataFrame) -> npt.NDArray[np.intp]:
    """(rows,) the number of the first row of each row's well where rows are sites; of each row itself elsewhere."""
    first = np.arange(frame.height)
    if "Metadata_Site" in frame.columns:
        for _, rows in groups_of(frame, ("Metadata_Plate", "Metadata_Well")):
            first[rows] = rows[0]
    return first


def groups_of(frame: pl.DataFrame, by: Sequence[str]) -> list[tuple[str, npt.NDArray[np.intp]]]:
    """(name, row numbers) of each distinct value of the columns `by`, in order of appearance; nulls are a group.

    Without columns, all rows are one group.
    """
    if not by:
        return [("all", np.arange(frame.height))]
    grouped = frame.select(by).with_row_index("__row").group_by(by, maintain_order=True).agg("__row")
    return [("/".join(map(str, group[:-1])), np.asarray(group[-1], dtype=np.intp)) for group in grouped.iter_rows()]
