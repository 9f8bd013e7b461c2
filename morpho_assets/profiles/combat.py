"""ComBat: batch means and variances shrunk towards each other by empirical Bayes, then removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, Matrix
from morpho_assets.profiles.features import complete_matrix, require_columns, with_matrix
from morpho_assets.profiles.rows import groups_of


class CombatConfig(CorrectorSettings):
    """Location and scale of each batch, parametric empirical Bayes (Johnson 2007, 10.1093/biostatistics/kxj037).
    Assumes that batches hold the same mix of treatments, or that `keep` names what differs between them."""

    corrector: Literal["combat"] = "combat"
    batch: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a batch")
    keep: tuple[str, ...] = Field(default=(), description="metadata columns whose effects are modelled and kept")
    max_rounds: int = Field(default=100, ge=1, description="most rounds of the empirical Bayes iteration")

    @property
    def reads_labels(self) -> bool:
        return bool(self.keep)


def correct_combat(profiles: pl.DataFrame, features: Sequence[str], config: CombatConfig, seed: int = 0) -> Corrected:
    """Profiles without batch means and variances; one batch comes back as it is, and so does a constant feature: noted.
    InputError for missing values, a batch of one profile, or `keep` columns that a batch determines."""
    require_columns(profiles, [*config.batch, *config.keep], "combat")
    values = complete_matrix(profiles, features, "combat")
    batches = groups_of(profiles, config.batch)
    if len(batches) < 2:
        return Corrected(profiles, tuple(features), ("a single batch: profiles as they were",))
    for batch, rows in batches:
        if rows.size < 2:
            raise InputError("profiles", f"combat, batch {batch}", "one profile", "at least 2", "Merge small batches.")
    design, n_batches = _design(profiles, batches, config.keep)
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    shares = design[:, :n_batches].mean(axis=0)
    expected = shares @ coefficients[:n_batches] + design[:, n_batches:] @ coefficients[n_batches:]
    residual = values - design @ coefficients
    spread = np.sqrt((residual**2).mean(axis=0))
    varying = spread > 1e-12 * np.maximum(np.abs(values).max(axis=0), 1e-300)
    standard = (values - expected)[:, varying] / spread[varying]
    for _, rows in batches:
        location, scale = _shrunk(standard[rows], config.max_rounds)
        standard[rows] = (standard[rows] - location) / np.sqrt(scale)
    result = values.copy()
    result[:, varying] = standard * spread[varying] + expected[:, varying]
    flat = int((~varying).sum())
    notes = (f"{flat} of {len(features)} features constant, as they were",) if flat else ()
    return Corrected(with_matrix(profiles, features, result), tuple(features), notes)


def _design(profiles: pl.DataFrame, batches: list[tuple[str, np.ndarray]], keep: Sequence[str]) -> tuple[Matrix, int]:
    """((n, batches + levels - 1) indicators, number of batch columns); InputError if the columns are dependent."""
    indicator = np.zeros((profiles.height, len(batches)))
    for column, (_, rows) in enumerate(batches):
        indicator[rows, column] = 1
    kept = [np.isin(np.arange(profiles.height), rows) for name in keep for _, rows in groups_of(profiles, [name])[1:]]
    design = np.column_stack([indicator, *kept]).astype(float)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise InputError("profiles", "combat", f"{', '.join(keep)} determined by batch", "values in several batches",
                         "Keep fewer columns: a batch effect cannot be told from these.")  # fmt: skip
    return design, len(batches)


def _shrunk(standard: Matrix, max_rounds: int) -> tuple[Matrix, Matrix]:
    """Posterior location and variance (features,) of one batch's standardised rows (n, features).

    Priors: location normal over features, variance inverse gamma by moments (section 3.2 of the paper).
    """
    n = len(standard)
    mean, variance = standard.mean(axis=0), standard.var(axis=0, ddof=1)
    if standard.shape[1] < 2:
        return mean, np.where(variance > 0, variance, 1.0)
    prior_mean, prior_variance = mean.mean(), mean.var(ddof=1)
    moment, square = variance.mean(), max(variance.var(ddof=1), np.finfo(float).tiny)
    shape, rate = (2 * square + moment**2) / square, (moment * square + moment**3) / square
    location, scale = mean, np.where(variance > 0, variance, moment)
    for _ in range(max_rounds):
        before = location, scale
        location = (n * prior_variance * mean + scale * prior_mean) / (n * prior_variance + scale)
        scale = (rate + 0.5 * ((standard - location) ** 2).sum(axis=0)) / (n / 2 + shape - 1)
        change = max(np.abs(location - before[0]).max(), np.abs(scale / before[1] - 1).max())
        if change < 1e-4:
            break
    return location, scale
