"""Principal components of the profiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, reference_rows
from morpho_assets.profiles.features import complete_matrix, with_space
from morpho_assets.profiles.sphering import component_names


class PcaConfig(CorrectorSettings):
    """Rotation to principal components. Assumes features on one scale; directions of small variance are dropped."""

    corrector: Literal["pca"] = "pca"
    components: int | None = Field(default=None, ge=1, description="number kept; null: as many as `variance` needs")
    variance: float = Field(default=0.98, gt=0, le=1, description="share of the variance kept, without `components`")
    reference: str = Field(default="all", description="rows it is fitted on: 'all', 'negcon' or an SQL condition")


def correct_pca(profiles: pl.DataFrame, features: Sequence[str], config: PcaConfig, seed: int = 0) -> Corrected:
    """The profiles' coordinates PC_0001 … on the leading components of the reference rows, sign fixed so that the
    largest loading is positive. InputError for missing values or fewer than 2 reference rows."""
    values = complete_matrix(profiles, features, "pca")
    reference = values[reference_rows(profiles, config.reference, 2, "pca")]
    centre = reference.mean(axis=0)
    _, singular, vectors = np.linalg.svd(reference - centre, full_matrices=False)
    share = np.cumsum(singular**2) / max(float((singular**2).sum()), np.finfo(float).tiny)
    needed = int(np.searchsorted(share, config.variance - 1e-12)) + 1
    kept = min(config.components or needed, len(singular))
    loadings = vectors[:kept]
    largest = np.take_along_axis(loadings, np.abs(loadings).argmax(axis=1)[:, None], axis=1)
    loadings = loadings * np.where(largest < 0, -1, 1)
    names = component_names(kept)
    return Corrected(with_space(profiles, features, (values - centre) @ loadings.T, names), names)
