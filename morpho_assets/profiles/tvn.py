"""Typical variation normalisation and CORAL: batches brought to one control covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.corrected import (
    Corrected,
    CorrectorSettings,
    Matrix,
    inverse_root,
    reference_rows,
    root,
)
from morpho_assets.profiles.features import complete_matrix, require_columns, with_matrix, with_space
from morpho_assets.profiles.rows import groups_of
from morpho_assets.profiles.sphering import component_names


class CoralConfig(CorrectorSettings):
    """Per batch, controls get the mean and covariance of all controls (Sun 2016, 10.1609/aaai.v30i1.10306). Assumes
    that batches differ by an affine map that the controls show."""

    corrector: Literal["coral"] = "coral"
    batch: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a batch")
    regularisation: float = Field(default=1.0, gt=0, description="added to every eigenvalue of the covariances")
    reference: str = Field(default="negcon", description="control rows: 'negcon', 'all' or an SQL condition")


class TvnConfig(CorrectorSettings):
    """Typical variation normalisation (Ando 2017, 10.1101/161422; in the steps of EFAAR, Celik 2024,
    10.1371/journal.pcbi.1012463): standardise on controls, rotate to the controls' principal components, standardise
    again, then CORAL of each batch to the identity. Assumes that variation among controls is technical."""

    corrector: Literal["tvn"] = "tvn"
    components: int | None = Field(default=None, ge=1, description="components kept; null: all the controls show")
    batch: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a batch")
    regularisation: float = Field(default=0.5, gt=0, description="added to every eigenvalue of a batch's covariance")
    reference: str = Field(default="negcon", description="control rows: 'negcon', 'all' or an SQL condition")


def correct_coral(profiles: pl.DataFrame, features: Sequence[str], config: CoralConfig, seed: int = 0) -> Corrected:
    """Every batch mapped by (C_b + rI)^-1/2 (C + rI)^1/2 and shifted to the common control mean. Feature names stay.
    InputError for missing values or a batch with fewer than 2 controls."""
    require_columns(profiles, config.batch, "coral")
    values = complete_matrix(profiles, features, "coral")
    controls = values[reference_rows(profiles, config.reference, 2, "coral")]
    target = root(np.atleast_2d(np.cov(controls, rowvar=False)), config.regularisation)
    result = _aligned(values, profiles, config) @ target + controls.mean(axis=0)
    return Corrected(with_matrix(profiles, features, result), tuple(features))


def correct_tvn(profiles: pl.DataFrame, features: Sequence[str], config: TvnConfig, seed: int = 0) -> Corrected:
    """The profiles' whitened components PC_0001 …. A feature that is constant over the controls is only centred, which
    is noted. InputError for missing values, a batch with fewer than 2 controls, or controls that are all equal."""
    require_columns(profiles, config.batch, "tvn")
    values = complete_matrix(profiles, features, "tvn")
    rows = reference_rows(profiles, config.reference, 2, "tvn")
    flat = int((np.ptp(values[rows], axis=0) == 0).sum())
    notes = (f"{flat} of {len(features)} features constant over the controls, only centred",) if flat else ()
    values = _standardised(values, rows)
    _, singular, vectors = np.linalg.svd(values[rows], full_matrices=False)
    shown = int((singular > singular.max(initial=0) * 1e-9).sum())
    if not shown:
        raise InputError("profiles", "tvn", f"rows where {config.reference} that are all equal", "rows that vary",
                         "Fit on other rows with `reference`.")  # fmt: skip
    kept = min(config.components or shown, shown)
    values = _standardised(values @ vectors[:kept].T, rows)
    names = component_names(kept)
    return Corrected(with_space(profiles, features, _aligned(values, profiles, config), names), names, notes)


def _standardised(values: Matrix, rows: np.ndarray) -> Matrix:
    controls = values[rows]
    varying = np.ptp(controls, axis=0) > 0  # the mean and SD of equal values can be off by rounding
    centre = np.where(varying, controls.mean(axis=0), controls[0])
    return np.asarray((values - centre) / np.where(varying, controls.std(axis=0), 1.0))


def _aligned(values: Matrix, profiles: pl.DataFrame, config: CoralConfig | TvnConfig) -> Matrix:
    """Each batch minus its control mean, times (its control covariance + rI)^-1/2."""
    result = np.empty_like(values)
    for batch, rows in groups_of(profiles, config.batch):
        controls = values[rows][
            reference_rows(profiles[rows], config.reference, 2, f"{config.corrector}, batch {batch}")
        ]
        covariance = np.atleast_2d(np.cov(controls, rowvar=False))
        result[rows] = (values[rows] - controls.mean(axis=0)) @ inverse_root(covariance, config.regularisation)
    return result
