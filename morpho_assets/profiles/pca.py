"""Principal components of the profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from morpho_assets.profiles.corrected import Corrected, CorrectorSettings, reference_rows
from morpho_assets.profiles.features import complete_matrix, with_space
from morpho_assets.profiles.sphering import component_names

Matrix = npt.NDArray[np.float64]


class PcaConfig(CorrectorSettings):
    """Rotation to principal components. Assumes features on one scale; directions of small variance are dropped."""

    corrector: Literal["pca"] = "pca"
    components: int | None = Field(default=None, ge=1, description="number kept; null: as many as `variance` needs")
    variance: float = Field(default=0.98, gt=0, le=1, description="share of the variance kept, without `components`")
    reference: str = Field(default="all", description="rows it is fitted on: 'all', 'negcon' or an SQL condition")


@dataclass(frozen=True)
class Components:
    """x -> (x - centre) @ loadings.T; centre (d,), loadings (k, d) with the largest of each positive, `share` of the
    variance that they keep."""

    centre: Matrix
    loadings: Matrix
    share: float

    def __call__(self, values: Matrix) -> Matrix:
        return np.asarray((values - self.centre) @ self.loadings.T)

    @property
    def names(self) -> tuple[str, ...]:
        """PC_0001 …"""
        return component_names(len(self.loadings))

    @property
    def note(self) -> str:
        """How many there are and what they keep, in words."""
        return f"{len(self.loadings)} components hold {100 * self.share:.1f} % of the variance"

    @classmethod
    def of(cls, centre: Matrix, variances: Matrix, vectors: Matrix, config: PcaConfig, rank: int) -> Self:
        """The leading of the (k, d) `vectors` by their `variances` (k,), largest first; never more than `rank`, past
        which there is rounding alone."""
        cumulated = np.cumsum(variances) / max(float(variances.sum()), float(np.finfo(float).tiny))
        needed = int(np.searchsorted(cumulated, config.variance - 1e-12)) + 1
        kept = max(min(config.components or needed, rank), 1)
        loadings = vectors[:kept]
        largest = np.take_along_axis(loadings, np.abs(loadings).argmax(axis=1)[:, None], axis=1)
        return cls(centre, loadings * np.where(largest < 0, -1, 1), float(cumulated[kept - 1]))


@dataclass
class Moments:
    """Mean and scatter of rows that come in parts (Chan, Golub & LeVeque 1983, 10.1080/00031305.1983.10483115): the
    components of all of them in the memory of one part and a (d, d) matrix."""

    count: int = 0
    mean: Matrix = field(default_factory=lambda: np.zeros(0))
    scatter: Matrix = field(default_factory=lambda: np.zeros((0, 0)))

    def add(self, values: Matrix) -> None:
        """(n, d) more rows, without missing values."""
        n = len(values)
        if not n:
            return
        mean = values.mean(axis=0)
        centred = values - mean
        scatter = centred.T @ centred
        if not self.count:
            self.count, self.mean, self.scatter = n, mean, scatter
            return
        total, apart = self.count + n, mean - self.mean
        self.scatter += scatter + np.outer(apart, apart) * (self.count * n / total)
        self.mean = self.mean + apart * (n / total)
        self.count = total

    def components(self, config: PcaConfig) -> Components:
        """The components of all rows so far."""
        variances, vectors = np.linalg.eigh(self.scatter)
        variances, vectors = np.maximum(variances[::-1], 0), vectors[:, ::-1].T
        least = variances.max(initial=0) * len(variances) * np.finfo(float).eps
        return Components.of(self.mean, variances, vectors, config, int((variances > least).sum()))


def correct_pca(profiles: pl.DataFrame, features: Sequence[str], config: PcaConfig, seed: int = 0) -> Corrected:
    """The profiles' coordinates PC_0001 … on the leading components of the reference rows, sign fixed so that the
    largest loading is positive; no more components than these rows span. InputError for missing values or fewer than 2
    reference rows."""
    values = complete_matrix(profiles, features, "pca")
    reference = values[reference_rows(profiles, config.reference, 2, "pca")]
    centre = reference.mean(axis=0)
    _, singular, vectors = np.linalg.svd(reference - centre, full_matrices=False)
    least = singular.max(initial=0) * max(reference.shape) * np.finfo(float).eps
    found = Components.of(centre, singular**2, vectors, config, int((singular > least).sum()))
    return Corrected(with_space(profiles, features, found(values), found.names), found.names, (found.note,))
