"""Sphering: features made uncorrelated, with unit variance, over the controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, Matrix, reference_rows
from morpho_assets.profiles.features import complete_matrix, with_matrix, with_space
from morpho_assets.profiles.rows import groups_of


class SpheringConfig(CorrectorSettings):
    """Whitening fitted on controls (Kessy 2018, 10.1080/00031305.2016.1277159). Assumes that what varies among
    controls is technical, and that its covariance is the same in every group of `by`.

    Controls that it was fitted on are unlike everything afterwards: as negatives of a retrieval they are not fair.
    Hold some out (docs/profiles.md). The strength is `epsilon` (smaller is stronger); `sweep` chooses it on
    treatments that are not reported. With fewer controls than features, directions the controls do not show get the
    least spread that they do.
    """

    corrector: Literal["sphering"] = "sphering"
    method: Literal["ZCA", "ZCA-cor", "PCA", "PCA-cor"] = Field(
        default="ZCA-cor", description="ZCA keeps the features, PCA gives components; -cor standardises first"
    )
    epsilon: float = Field(default=1e-6, ge=0, description="regularisation, in the unit of `added_to`")
    added_to: Literal["singular_values", "eigenvalues"] = Field(
        default="singular_values", description="of the controls' matrix (pycytominer) or covariance (Moshkov)"
    )
    reference: str = Field(default="negcon", description="rows it is fitted on: 'negcon', 'all' or an SQL condition")
    by: tuple[str, ...] = Field(default=(), description="columns whose values are sphered apart; none: together")


@dataclass(frozen=True)
class Whitening:
    """x -> (x - centre) / scale @ rotation; centre and scale (d,), rotation (d, d)."""

    centre: Matrix
    scale: Matrix
    rotation: Matrix

    def __call__(self, values: Matrix) -> Matrix:
        return np.asarray(((values - self.centre) / self.scale) @ self.rotation)


def fit_whitening(reference: Matrix, config: SpheringConfig | None = None) -> Whitening:
    """The whitening of `reference` (n >= 2 rows, d): with n > d + 1 and epsilon 0 it gives these rows exactly the
    identity as covariance (ddof 1). InputError when a -cor method meets a column that is constant."""
    config = config or SpheringConfig()
    n, d = reference.shape
    centre, scale = reference.mean(axis=0), np.ones(d)
    if config.method.endswith("-cor"):
        scale = reference.std(axis=0)
        if (scale <= 1e-12 * np.abs(reference).max(axis=0, initial=0)).any():
            raise InputError("profiles", "sphering", "a feature that is constant over the rows fitted on",
                             "features that vary there", "Select features with variance_threshold "
                             "first, or use ZCA.")  # fmt: skip
    singular, vectors = _spectrum((reference - centre) / scale)
    if config.added_to == "singular_values":
        spread = (singular + config.epsilon) / np.sqrt(n - 1)
    else:
        spread = np.sqrt(singular**2 / (n - 1) + config.epsilon)
    rotation = vectors.T / spread
    return Whitening(centre, scale, rotation @ vectors if config.method.startswith("ZCA") else rotation)


def _spectrum(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """((d,) singular values, (d, d) right singular vectors as rows); values past the rank repeat the last one."""
    n, d = matrix.shape
    _, singular, vectors = np.linalg.svd(matrix, full_matrices=n <= d)
    rank = int((singular > singular.max(initial=0) * max(n, d) * np.finfo(float).eps).sum())
    if rank == 0:
        raise InputError("profiles", "sphering", "reference rows that are all equal", "rows that vary",
                         "Fit on other rows with `reference`.")  # fmt: skip
    return np.concatenate([singular[:rank], np.repeat(singular[rank - 1], d - rank)]), vectors


def correct_sphering(
    profiles: pl.DataFrame, features: Sequence[str], config: SpheringConfig, seed: int = 0
) -> Corrected:
    """All profiles whitened by the controls of their group. ZCA keeps the feature names, PCA gives PC_0001 ….

    As pycytominer 1.7.1 (versions 1.3.0 to 1.7.0 decomposed the uncentred matrix and did not whiten). InputError for
    missing values, fewer than 2 reference rows in a group, or a constant feature with a -cor method. Groups with fewer
    reference rows than features are noted.
    """
    values = complete_matrix(profiles, features, "sphering")
    result = np.empty_like(values)
    notes = []
    for group, rows in groups_of(profiles, config.by):
        reference = reference_rows(profiles[rows], config.reference, 2, "sphering")
        result[rows] = fit_whitening(values[rows][reference], config)(values[rows])
        if len(reference) <= len(features):
            notes.append(
                f"{group}: {len(reference)} rows where {config.reference} for {len(features)} features; directions "
                "that they do not show get the least spread that they do"
            )
    if config.method.startswith("ZCA"):
        return Corrected(with_matrix(profiles, features, result), tuple(features), tuple(notes))
    names = component_names(len(features))
    return Corrected(with_space(profiles, features, result, names), names, tuple(notes))


def component_names(count: int) -> tuple[str, ...]:
    """PC_0001, PC_0002 …"""
    return tuple(f"PC_{i + 1:04d}" for i in range(count))
