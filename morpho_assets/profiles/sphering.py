"""Sphering: features made uncorrelated, with unit variance, over the controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, Matrix, Unseen, reference_rows
from morpho_assets.profiles.covariance import Covariance, covariance, describe, shown_by
from morpho_assets.profiles.features import complete_matrix, with_matrix, with_space
from morpho_assets.profiles.rows import groups_of


class SpheringConfig(CorrectorSettings):
    """Whitening fitted on controls (Kessy 2018, 10.1080/00031305.2016.1277159). Assumes that what varies among
    controls is technical, and that its covariance is the same in every group of `by`.

    By default the covariance is shrunk as far as the controls are too few to know it (`covariance`). With `epsilon`
    (smaller is stronger; `sweep` chooses it on treatments that are not reported) it is as published, and then refuses
    controls that span fewer directions than there are features: it would blow up what they do not show.

    Controls that it was fitted on are unlike everything afterwards: as negatives of a retrieval they are not fair,
    unless it ranks in folds.
    """

    corrector: Literal["sphering"] = "sphering"
    method: Literal["ZCA", "ZCA-cor", "PCA", "PCA-cor"] = Field(
        default="ZCA-cor", description="ZCA keeps the features, PCA gives components; -cor standardises first"
    )
    epsilon: float | None = Field(
        default=None,
        ge=0,
        description="regularisation, in the unit of `added_to`; null: by Ledoit and Wolf's shrinkage",
    )
    added_to: Literal["singular_values", "eigenvalues"] = Field(
        default="singular_values", description="of the controls' matrix (pycytominer) or covariance (Moshkov)"
    )
    unseen: Unseen = Field(
        default="refuse",
        description="with `epsilon`, or components: directions that the controls do not span are an error, or get the "
        "least spread that they show, as published and in a sweep",
    )
    reference: str = Field(default="negcon", description="rows it is fitted on: 'negcon', 'all' or an SQL condition")
    by: tuple[str, ...] = Field(default=(), description="columns whose values are sphered apart; none: together")


@dataclass(frozen=True)
class Whitening:
    """x -> (x - centre) / scale @ rotation; centre and scale (d,), rotation (d, d). `fitted` is the covariance that it
    takes away."""

    centre: Matrix
    scale: Matrix
    rotation: Matrix
    fitted: Covariance

    def __call__(self, values: Matrix) -> Matrix:
        return np.asarray(((values - self.centre) / self.scale) @ self.rotation)


def fit_whitening(reference: Matrix, config: SpheringConfig | None = None) -> Whitening:
    """The whitening of `reference` (n >= 2 rows, d): with n > d + 1 and epsilon 0 it gives these rows exactly the
    identity as covariance (ddof 1). InputError when a -cor method meets a column that is constant, for rows that are
    all equal, and for directions without rows (see `unseen`)."""
    config = config or SpheringConfig()
    d = reference.shape[1]
    centre, scale = reference.mean(axis=0), np.ones(d)
    if config.method.endswith("-cor"):
        scale = reference.std(axis=0)
        if (scale <= 1e-12 * np.abs(reference).max(axis=0, initial=0)).any():
            raise InputError("profiles", "sphering", "a feature that is constant over the rows fitted on",
                             "features that vary there", "Select features with variance_threshold "
                             "first, or use ZCA.")  # fmt: skip
    standard = (reference - centre) / scale
    fitted = covariance(standard) if config.epsilon is None else _published(standard, config)
    if not fitted.spanned:
        raise InputError("profiles", "sphering", "reference rows that are all equal", "rows that vary",
                         "Fit on other rows with `reference`.")  # fmt: skip
    components = config.method.startswith("PCA")
    if fitted.spanned < d and config.unseen == "refuse" and (components or config.epsilon is not None):
        raise InputError("profiles", "sphering", f"{len(reference)} rows where {config.reference}, which span "
                         f"{fitted.spanned} directions, for {d} features", "rows that span all of them",
                         "Leave out `epsilon` (and components) for a shrunk covariance, reduce the features by pca "
                         "before, or set `unseen: accept`.")  # fmt: skip
    if not components:
        return Whitening(centre, scale, fitted.times(np.eye(d), -0.5), fitted)
    rotation = _basis(fitted).T / np.sqrt(np.r_[fitted.variances, np.full(d - fitted.spanned, fitted.variance)])
    return Whitening(centre, scale, rotation, fitted)


def _published(standard: Matrix, config: SpheringConfig) -> Covariance:
    """The covariance with `epsilon` added; directions past the rank get the least variance that there is."""
    assert config.epsilon is not None
    singular, vectors = shown_by(standard)
    root = np.sqrt(len(standard) - 1)
    spread = (singular + config.epsilon) / root
    if config.added_to == "eigenvalues":
        spread = np.sqrt((singular / root) ** 2 + config.epsilon)
    return Covariance(len(standard), vectors, spread**2, float(spread[-1] ** 2) if spread.size else 1.0, None)


def _basis(fitted: Covariance) -> Matrix:
    """(d, d) directions as rows: those that the rows span, and any that complete them."""
    if fitted.spanned == fitted.vectors.shape[1]:
        return fitted.vectors
    return np.vstack([fitted.vectors, np.linalg.svd(fitted.vectors)[2][fitted.spanned :]])


def correct_sphering(
    profiles: pl.DataFrame, features: Sequence[str], config: SpheringConfig, seed: int = 0
) -> Corrected:
    """All profiles whitened by the controls of their group. ZCA keeps the feature names, PCA gives PC_0001 ….

    With `epsilon` as pycytominer 1.7.1 (versions 1.3.0 to 1.7.0 decomposed the uncentred matrix and did not whiten).
    What it rests on is noted. InputError for missing values, fewer than 2 reference rows in a group, and as
    `fit_whitening`.
    """
    values = complete_matrix(profiles, features, "sphering")
    result = np.empty_like(values)
    fitted = []
    groups = groups_of(profiles, config.by)
    for _, rows in groups:
        reference = reference_rows(profiles[rows], config.reference, 2, "sphering")
        whitening = fit_whitening(values[rows][reference], config)
        result[rows] = whitening(values[rows])
        fitted.append(whitening.fitted)
    notes = (describe(fitted, f"{len(groups)} groups" if config.by else "all"),)
    if config.method.startswith("ZCA"):
        return Corrected(with_matrix(profiles, features, result), tuple(features), notes)
    names = component_names(len(features))
    return Corrected(with_space(profiles, features, result, names), names, notes)


def component_names(count: int) -> tuple[str, ...]:
    """PC_0001, PC_0002 …"""
    return tuple(f"PC_{i + 1:04d}" for i in range(count))
