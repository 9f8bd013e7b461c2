"""What a corrector gives back, and what correctors share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict

from morpho_assets.errors import InputError
from morpho_assets.profiles.rows import rows_where

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Corrected:
    """`profiles` after a corrector, and the names of its feature columns (a rotation gives new ones)."""

    profiles: pl.DataFrame
    features: tuple[str, ...]


class CorrectorSettings(BaseModel):
    """Base of every corrector's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def reference_rows(profiles: pl.DataFrame, on: str, least: int, corrector: str) -> npt.NDArray[np.intp]:
    """Row numbers where `on` holds; InputError when they are fewer than `least`."""
    rows = np.flatnonzero(rows_where(profiles, on).to_numpy())
    if rows.size < least:
        raise InputError("profiles", corrector, f"{rows.size} rows where {on}", f"at least {least}",
                         "Mark the controls in the plate map or fit on other rows with `reference`.")  # fmt: skip
    return rows


def inverse_root(covariance: Matrix, regularisation: float) -> Matrix:
    """(C + regularisation I)^-1/2 of a symmetric (d, d) matrix; eigenvalues are floored at 0 before."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors / np.sqrt(np.maximum(values, 0) + regularisation)) @ vectors.T)


def root(covariance: Matrix, regularisation: float) -> Matrix:
    """(C + regularisation I)^1/2, as `inverse_root`."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0) + regularisation)) @ vectors.T)
