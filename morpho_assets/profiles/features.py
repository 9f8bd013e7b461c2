"""Which columns of a frame are features, and their exchange with matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.lake import tables

COMPARTMENTS = tuple(family.prefix for family in tables.COMPARTMENTS)
FEATURES = tuple(family.prefix for family in tables.FEATURES)
"""Starts of every kind of feature: of compartments, of embeddings, of components."""


def feature_columns(frame: pl.DataFrame | pl.LazyFrame, prefixes: Sequence[str] = COMPARTMENTS) -> list[str]:
    """Names of the numeric columns that start with one of `prefixes` (`lake.tables.has_prefix`), in the frame's order.

    Text and nested columns with such a name (file names, image payloads) are not features; one that is missing
    throughout, and so of no type, is. Empty list if none.
    """
    schema = frame.collect_schema().items()
    return [n for n, kind in schema if tables.has_prefix(n, prefixes) and (kind.is_numeric() or kind == pl.Null)]


def require_features(
    frame: pl.DataFrame | pl.LazyFrame, features: Sequence[str] | None, prefixes: Sequence[str] = COMPARTMENTS
) -> list[str]:
    """`features` as a list if given, else `feature_columns`; InputError when a name is absent or repeated or nothing is
    left."""
    known = set(frame.collect_schema().names())
    columns = feature_columns(frame, prefixes) if features is None else list(features)
    absent = [name for name in columns if name not in known]
    if absent:
        raise InputError("profiles", "features", f"no column {', '.join(absent[:5])}", "columns of the frame",
                         "Name features that the frame has.")  # fmt: skip
    repeated = sorted({name for name in columns if columns.count(name) > 1}) if len(set(columns)) < len(columns) else []
    if repeated:
        raise InputError("profiles", "features", f"{', '.join(repeated[:5])} named twice", "each feature once",
                         "Name features once.")  # fmt: skip
    if not columns:
        raise InputError("profiles", "features", "no feature column", f"names that start with {', '.join(prefixes)}",
                         "Give the feature columns by name or prefix.")  # fmt: skip
    return columns


def require_columns(frame: pl.DataFrame | pl.LazyFrame, columns: Sequence[str], purpose: str) -> None:
    """InputError naming those of `columns` that `frame` lacks and what they are needed for."""
    absent = [name for name in dict.fromkeys(columns) if name not in frame.collect_schema().names()]
    if absent:
        raise InputError("profiles", purpose, f"no column {', '.join(absent)}", "a column of the frame",
                         "Add the column, or name another one in the configuration.")  # fmt: skip


def to_matrix(frame: pl.DataFrame, features: Sequence[str]) -> npt.NDArray[np.float64]:
    """(rows, features) float64, column-major; null, NaN and infinities all become NaN (missing)."""
    values = frame.select(pl.col(list(features)).cast(pl.Float64))
    matrix = np.array(values.to_numpy(order="fortran"), dtype=np.float64, order="F").reshape(-1, len(features))
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def complete_matrix(frame: pl.DataFrame, features: Sequence[str], purpose: str) -> npt.NDArray[np.float64]:
    """`to_matrix` for methods that cannot work with missing values: InputError naming the first columns with one, or
    the first rows without any value."""
    matrix = to_matrix(frame, features)
    unknown = np.isnan(matrix)
    empty = np.flatnonzero(unknown.all(axis=1))
    if empty.size and len(features):
        keys = [name for name in ("Metadata_Plate", "Metadata_Well") if name in frame.columns]
        named = [" ".join(map(str, row)) for row in frame.select(keys)[empty[:5]].iter_rows()] if keys else empty[:5]
        raise InputError("profiles", purpose, f"{empty.size} rows without any value ({', '.join(map(str, named))} …)",
                         "profiles of wells that have cells", "Filter these rows out first.")  # fmt: skip
    missing = unknown.any(axis=0)
    if missing.any():
        names = [features[i] for i in np.flatnonzero(missing)]
        raise InputError("profiles", purpose, f"missing values in {len(names)} features ({', '.join(names[:3])} …)",
                         "finite values", "Select features with drop_na_columns at cutoff 0 first.")  # fmt: skip
    return matrix


def with_matrix(frame: pl.DataFrame, features: Sequence[str], matrix: npt.NDArray[np.floating]) -> pl.DataFrame:
    """`frame` with its `features` replaced by the columns of `matrix` (rows, features); NaN becomes null."""
    gaps = [name for name, some in zip(features, np.isnan(matrix).any(axis=0), strict=True) if some]
    # Without `orient` polars would read a square matrix in column-major order transposed.
    values = pl.DataFrame(np.asarray(matrix, dtype=np.float64), schema=list(features), orient="row")
    values = values.with_columns(pl.col(gaps).fill_nan(None))
    old, new = frame.columns, set(features)
    joined = pl.concat([frame.select(name for name in old if name not in new), values], how="horizontal")
    return joined.select(list(dict.fromkeys([*old, *features])))


def with_space(frame: pl.DataFrame, features: Sequence[str], matrix: npt.NDArray[np.floating],
               names: Sequence[str]) -> pl.DataFrame:  # fmt: skip
    """`frame` without its `features` and with the columns of `matrix` (rows, len(names)) under `names` instead."""
    return with_matrix(frame.drop(features), names, matrix)
