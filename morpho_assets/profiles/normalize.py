"""Each plate brought to its own scale: features in units of the spread of the plate's reference rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import COMPARTMENTS, require_columns, require_features, to_matrix, with_matrix
from morpho_assets.profiles.rows import groups_of, rows_where

Matrix = npt.NDArray[np.float64]
NORMALIZED_ON = "Metadata_normalized_on"
MAD_TO_SD = 1.4826


class NormalizeConfig(BaseModel):
    """The scale of each plate.

    standardize     (x - mean) / standard deviation (ddof 0); assumes about normal features without outliers
    robustize       (x - median) / interquartile range; half of the reference rows may be outliers
    mad_robustize   (x - median) / (mad_scale * MAD); the field's default, robust, needs a dozen reference rows
    inverse_normal  quantiles of the reference rows mapped to a normal; keeps the order only
    none            unchanged
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["standardize", "robustize", "mad_robustize", "inverse_normal", "none"] = Field(
        default="mad_robustize", description="see above"
    )
    reference: str = Field(
        default="negcon", description="reference rows: 'negcon', 'all' or an SQL condition on the metadata"
    )
    plate: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a plate")
    mad_scale: float = Field(default=MAD_TO_SD, gt=0, description="factor on the MAD (1.4826: an SD; JUMP: 1)")
    floor: float = Field(
        default=1e-6, ge=0,
        description="a spread not above this share of the median absolute reference value counts as zero",
    )  # fmt: skip
    flat: Literal["null", "zero", "centre", "keep"] = Field(
        default="null",
        description="what a feature with no reference spread becomes: null, 0, only centred (as scikit-learn), or "
        "what it was",
    )
    min_reference: int = Field(default=2, ge=1, description="fewest reference rows of a plate")
    too_few: Literal["error", "all"] = Field(
        default="error", description="what a plate with fewer gets: an error, or all its rows (recorded)"
    )
    n_quantiles: int = Field(default=1000, ge=2, description="landmarks of inverse_normal, at most the reference rows")
    prefixes: tuple[str, ...] = Field(default=COMPARTMENTS, description="prefixes of the feature columns")


class Scale(NamedTuple):
    """Centre and spread of each feature over the reference rows, (features,) each; NaN where no value is."""

    centre: Matrix
    spread: Matrix


def _ignoring_nan(plain: Callable[..., Matrix], aware: Callable[..., Matrix]) -> Callable[..., Matrix]:
    """`plain` on complete matrices, `aware` (slower) only on the columns with missing values; all-NaN gives NaN."""

    def over_rows(matrix: Matrix, *args: Any) -> Matrix:
        missing = np.isnan(matrix).any(axis=0)
        if not missing.any():
            return plain(matrix, *args, axis=0)
        result = np.full((*np.shape(args[0]), matrix.shape[1]) if args else matrix.shape[1], np.nan)
        result[..., ~missing] = plain(matrix[:, ~missing], *args, axis=0)
        some = missing & ~np.isnan(matrix).all(axis=0)
        result[..., some] = aware(matrix[:, some], *args, axis=0)
        return result

    return over_rows


column_mean = _ignoring_nan(np.mean, np.nanmean)
column_std = _ignoring_nan(np.std, np.nanstd)
column_median = _ignoring_nan(np.median, np.nanmedian)
column_quantiles = _ignoring_nan(np.quantile, np.nanquantile)


def column_mad(matrix: Matrix) -> Matrix:
    """Unscaled median absolute deviation of each column, missing values left out."""
    return column_median(np.abs(matrix - column_median(matrix)))


def _standardize(reference: Matrix, config: NormalizeConfig) -> Scale:
    return Scale(column_mean(reference), column_std(reference))


def _robustize(reference: Matrix, config: NormalizeConfig) -> Scale:
    lower, centre, upper = column_quantiles(reference, np.array([0.25, 0.5, 0.75]))
    return Scale(centre, upper - lower)


def _mad_robustize(reference: Matrix, config: NormalizeConfig) -> Scale:
    return Scale(column_median(reference), config.mad_scale * column_mad(reference))


SCALES: dict[str, Callable[[Matrix, NormalizeConfig], Scale]] = {
    "standardize": _standardize,
    "robustize": _robustize,
    "mad_robustize": _mad_robustize,
}


def normalize(
    profiles: pl.DataFrame, config: NormalizeConfig | None = None, features: Sequence[str] | None = None
) -> pl.DataFrame:
    """`profiles` with every feature on the scale of its own plate, rows and other columns as they were.

    Adds `Metadata_normalized_on`: the condition whose rows were the plate's reference ("all" where the fallback of
    `too_few` was taken). Null, NaN and infinities are missing: they do not enter the reference and stay null. A
    feature that is flat over a plate's reference rows (spread at or under `floor`) is null on that plate, never an
    explosion; `flat` offers zero. Any order of rows gives the same values. InputError naming the plate that has
    fewer than `min_reference` reference rows. Statistics as in pycytominer 1.7.1, which has no floor (it adds 1e-18
    to the MAD) and fits one plate per call.
    """
    config = config or NormalizeConfig()
    require_columns(profiles, config.plate, "plate")
    columns = require_features(profiles, features, config.prefixes)
    if config.method == "none":
        return profiles.with_columns(pl.lit("none").alias(NORMALIZED_ON))
    chosen = rows_where(profiles, config.reference).to_numpy()
    values = to_matrix(profiles, columns)
    used = np.full(profiles.height, config.reference, dtype=object)
    for plate, rows in groups_of(profiles, config.plate):
        reference = rows[chosen[rows]]
        if reference.size < config.min_reference:
            reference = _instead(plate, rows, reference.size, config)
            used[rows] = "all"
        values[rows] = _scaled(values[rows], values[reference], config)
    return with_matrix(profiles, columns, values).with_columns(pl.Series(NORMALIZED_ON, list(used), dtype=pl.String))


def _instead(plate: str, rows: npt.NDArray[np.intp], found: int, config: NormalizeConfig) -> npt.NDArray[np.intp]:
    if config.too_few == "all" and rows.size >= config.min_reference:
        return rows
    todo = "Mark the controls in the plate map, choose other rows with `reference`, or set too_few to 'all'."
    if config.too_few == "all":
        todo = f"The plate has {rows.size} rows in all: leave it out, or lower min_reference."
    raise InputError("profiles", f"plate {plate}", f"{found} rows where {config.reference}",
                     f"at least {config.min_reference} reference rows", todo)  # fmt: skip


def _scaled(values: Matrix, reference: Matrix, config: NormalizeConfig) -> Matrix:
    """One plate's (rows, features) on the scale of its (reference, features)."""
    if config.method == "inverse_normal":
        flat = _flat(column_std(reference), reference, config.floor)
        scaled = _inverse_normal(values, reference, config.n_quantiles)
        return _fill_flat(scaled, values - column_median(reference), values, flat, config)
    scale = SCALES[config.method](reference, config)
    flat = _flat(scale.spread, reference, config.floor)
    centred = values - scale.centre
    return _fill_flat(centred / np.where(flat, 1.0, scale.spread), centred, values, flat, config)


def _flat(spread: Matrix, reference: Matrix, floor: float) -> npt.NDArray[np.bool_]:
    """Which features (features,) have no spread to speak of: against the median, which one far well does not move."""
    return ~(spread > floor * column_median(np.abs(reference)))


def _fill_flat(
    scaled: Matrix, centred: Matrix, values: Matrix, flat: npt.NDArray[np.bool_], config: NormalizeConfig
) -> Matrix:
    if config.flat == "null":
        scaled[:, flat] = np.nan
    elif config.flat == "zero":
        scaled[:, flat] = np.where(np.isnan(centred[:, flat]), np.nan, 0.0)
    else:
        scaled[:, flat] = (centred if config.flat == "centre" else values)[:, flat]
    return scaled


def _inverse_normal(values: Matrix, reference: Matrix, n_quantiles: int) -> Matrix:
    """Normal scores of each value's place among the quantiles of its reference column; ends clipped at 1e-7.

    The mean of the interpolations from below and from above gives tied values their middle rank, as in
    scikit-learn's QuantileTransformer.
    """
    from scipy.special import ndtri

    places = np.linspace(0, 1, min(n_quantiles, len(reference)))
    every_row = len(places) == len(reference) and not np.isnan(reference).any()  # exact, where quantiles would round
    landmarks = np.sort(reference, axis=0) if every_row else column_quantiles(reference, places)
    result = np.full_like(values, np.nan)
    for column, marks in enumerate(landmarks.T):
        value = values[:, column]
        if np.isnan(marks).any():
            continue
        below = np.interp(value, marks, places)
        above = -np.interp(-value, -marks[::-1], -places[::-1])
        share = np.where(value <= marks[0], 0.0, np.where(value >= marks[-1], 1.0, (below + above) / 2))
        result[:, column] = ndtri(np.clip(share, 1e-7, 1 - 1e-7))
    result[np.isnan(values)] = np.nan
    return result
