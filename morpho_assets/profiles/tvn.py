"""Typical variation normalisation and CORAL: batches brought to one control covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from morpho_assets.errors import InputError
from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, Matrix, Unseen, reference_rows
from morpho_assets.profiles.covariance import Covariance, covariance, describe, shown_by
from morpho_assets.profiles.features import complete_matrix, require_columns, with_matrix, with_space
from morpho_assets.profiles.rows import groups_of
from morpho_assets.profiles.sphering import component_names


class CoralConfig(CorrectorSettings):
    """Per batch, controls get the mean and covariance of all controls (Sun 2016, 10.1609/aaai.v30i1.10306). Assumes
    that batches differ by an affine map that the controls show. By default the covariance of a batch is shrunk towards
    that of all as far as its controls are too few to know it."""

    corrector: Literal["coral"] = "coral"
    batch: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a batch")
    regularisation: float | None = Field(
        default=None, gt=0,
        description="added to every variance, as published (1); null: by Ledoit and Wolf's shrinkage",
    )  # fmt: skip
    reference: str = Field(default="negcon", description="control rows: 'negcon', 'all' or an SQL condition")


class TvnConfig(CorrectorSettings):
    """Typical variation normalisation (Ando 2017, 10.1101/161422): standardise on controls, take their covariance away,
    then that of each batch. Assumes that variation among controls is technical.

    By default both covariances are shrunk as far as the controls are too few to know them, and features stay. With
    `regularisation` it is in the steps of EFAAR (Celik 2024, 10.1371/journal.pcbi.1012463): rotate to the controls'
    principal components, standardise again, then CORAL of each batch to the identity. What the controls do not span is
    then lost: fewer directions than components are refused.
    """

    corrector: Literal["tvn"] = "tvn"
    components: int | None = Field(
        default=None, ge=1, description="components kept, with `regularisation`; null: as many as features"
    )
    batch: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a batch")
    regularisation: float | None = Field(
        default=None, gt=0,
        description="added to every variance of a batch, as published (0.5); null: by Ledoit and Wolf's shrinkage",
    )  # fmt: skip
    unseen: Unseen = Field(
        default="refuse",
        description="with `regularisation`: components that the controls do not span are an error, or are lost, as "
        "published and in a sweep",
    )
    reference: str = Field(default="negcon", description="control rows: 'negcon', 'all' or an SQL condition")

    @model_validator(mode="after")
    def _components_are_published(self) -> TvnConfig:
        if self.components is not None and self.regularisation is None:
            raise ValueError("components: without regularisation features stay. Give regularisation (published: 0.5)")
        return self


def correct_coral(profiles: pl.DataFrame, features: Sequence[str], config: CoralConfig, seed: int = 0) -> Corrected:
    """Every batch mapped by C_b^-1/2 C^1/2, covariances as `regularisation` says, and shifted to the common control
    mean. Feature names stay; what it rests on is noted. InputError for missing values or a batch with fewer than 2
    controls."""
    require_columns(profiles, config.batch, "coral")
    values = complete_matrix(profiles, features, "coral")
    controls = values[reference_rows(profiles, config.reference, 2, "coral")]
    common = covariance(controls, config.regularisation)
    if config.regularisation is None:
        values = common.times(values, -0.5)  # where the common covariance is the sphere that others are shrunk to
    aligned, found = _aligned(values, profiles, config)
    result = common.times(aligned, 0.5) + controls.mean(axis=0)
    notes = describe([common], "all batches"), describe(found, "each batch")
    return Corrected(with_matrix(profiles, features, result), tuple(features), notes)


def correct_tvn(profiles: pl.DataFrame, features: Sequence[str], config: TvnConfig, seed: int = 0) -> Corrected:
    """The profiles without what varies among controls, in their features, or in components PC_0001 … with
    `regularisation`. What it rests on is noted; so is a feature that is constant over the controls, which is only
    centred. InputError for missing values, a batch with fewer than 2 controls, controls that are all equal, and more
    components than they span."""
    require_columns(profiles, config.batch, "tvn")
    values = complete_matrix(profiles, features, "tvn")
    rows = reference_rows(profiles, config.reference, 2, "tvn")
    flat = int((np.ptp(values[rows], axis=0) == 0).sum())
    notes = (f"{flat} of {len(features)} features constant over the controls, only centred",) if flat else ()
    values = _standardised(values, rows)
    if flat == len(features):
        raise InputError("profiles", "tvn", f"rows where {config.reference} that are all equal", "rows that vary",
                         "Fit on other rows with `reference`.")  # fmt: skip
    common = covariance(values[rows], None if config.regularisation is None else 0.0)
    if config.regularisation is None:
        values, names = common.times(values, -0.5), tuple(features)
    else:
        kept = _components(common.spanned, len(rows), len(features), config)
        values = _standardised(values @ shown_by(values[rows])[1][:kept].T, rows)
        names = component_names(kept)
    aligned, found = _aligned(values, profiles, config)
    notes = (describe([common], "all batches"), describe(found, "each batch"), *notes)
    return Corrected(with_space(profiles, features, aligned, names), names, notes)


def _components(spanned: int, controls: int, features: int, config: TvnConfig) -> int:
    """How many components there are; InputError if that is not what was asked for."""
    asked = config.components or features
    if spanned < asked and config.unseen == "refuse":
        raise InputError("profiles", "tvn", f"{controls} rows where {config.reference}, which span {spanned} "
                         f"directions, for {asked} components", "rows that span all of them",
                         f"Ask for {spanned} components or fewer, leave out `regularisation` for shrunk covariances, "
                         "reduce the features by pca before, or set `unseen: accept`.")  # fmt: skip
    return min(asked, spanned)


def _standardised(values: Matrix, rows: np.ndarray) -> Matrix:
    controls = values[rows]
    varying = np.ptp(controls, axis=0) > 0  # the mean and SD of equal values can be off by rounding
    centre = np.where(varying, controls.mean(axis=0), controls[0])
    return np.asarray((values - centre) / np.where(varying, controls.std(axis=0), 1.0))


def _aligned(
    values: Matrix, profiles: pl.DataFrame, config: CoralConfig | TvnConfig
) -> tuple[Matrix, list[Covariance]]:
    """Each batch minus its control mean, times its control covariance to the power -1/2; and these covariances."""
    result = np.empty_like(values)
    found = []
    for batch, rows in groups_of(profiles, config.batch):
        controls = values[rows][
            reference_rows(profiles[rows], config.reference, 2, f"{config.corrector}, batch {batch}")
        ]
        own = covariance(controls, config.regularisation)
        result[rows] = own.times(values[rows] - controls.mean(axis=0), -0.5)
        found.append(own)
    return result, found
