"""mp-value: is a treatment's centre farther from the controls', in units of their common spread, than by chance?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from morpho_assets.evaluate.against_controls import AgainstControlsConfig, contrasts, told_apart
from morpho_assets.evaluate.metrics import Evaluation

Matrix = npt.NDArray[np.float64]


class MpValueConfig(AgainstControlsConfig):
    """Multidimensional perturbation value (Hutz 2013, 10.1177/1087057112469257): principal components of a treatment's
    profiles and the controls of their plates, the Mahalanobis distance between their centres, and its p-value by
    exchanging labels. Assumes one covariance of both. Here exchanges stay within plates, and the p-value counts the
    labels as they are, so that it is never 0."""

    evaluator: Literal["mp_value"] = "mp_value"
    variance: float = Field(default=0.9, gt=0, le=1, description="share of the variance that the components hold")
    most: float = Field(
        default=1 / 3, gt=0, lt=1,
        description="components per profile at most: of as many as there are profiles no covariance can be had",
    )  # fmt: skip


def mp_value(
    profiles: pl.DataFrame, features: Sequence[str], config: MpValueConfig | None = None, seed: int = 0
) -> Evaluation:
    """Rows mahalanobis (mean over treatments; chance: its mean over exchanges) and fraction_told_apart; detail
    `distances`, of which p_value is the mp-value, as `told_apart`. Plates are brought to the scale of all their wells
    first. Without treatments and controls that share a plate: rows without value, n = 0."""
    config = config or MpValueConfig()
    found = [
        (each, mahalanobis_distances(components_of(each.values, config), each.treated))
        for each in contrasts(profiles, features, config, "mp_value", seed)
    ]
    return told_apart(config.evaluator, "mahalanobis", config.group, found, config.threshold, seed)


def components_of(values: Matrix, config: MpValueConfig) -> Matrix:
    """(n, k) leading components of the rows: as many as hold `variance`, and `most` of n at most."""
    centred = values - values.mean(axis=0)
    squares, vectors = np.linalg.eigh(centred @ centred.T)  # of (n, n): there are fewer profiles than features
    squares, vectors = np.maximum(squares[::-1], 0), vectors[:, ::-1]
    share = np.cumsum(squares) / max(float(squares.sum()), float(np.finfo(float).tiny))
    kept = min(int(np.searchsorted(share, config.variance - 1e-12)) + 1, max(1, int(config.most * len(values))))
    return np.asarray(vectors[:, :kept] * np.sqrt(squares[:kept]))


def mahalanobis_distances(values: Matrix, treated: npt.NDArray[np.bool_]) -> Matrix:
    """(labelings,) distances between the centre of the rows of (n, k) that each of (labelings, n) marks and that of the
    others, by the covariance within both (ddof 2); 0 where the rows do not vary.

    With T the scatter of all rows, d the difference of the centres and c = m (n - m) / n, the scatter within both is
    T - c d d', so that T is inverted once for all labelings (Sherman & Morrison 1950, 10.1214/aoms/1177729893).
    """
    centred = values - values.mean(axis=0)
    n = len(values)
    marked = treated.astype(float)
    m = marked.sum(axis=1)
    apart = marked @ centred * (n / (m * (n - m)))[:, None]
    square = np.einsum("ij,jk,ik->i", apart, np.linalg.pinv(centred.T @ centred, hermitian=True), apart)
    within = np.maximum(1 - m * (n - m) / n * square, np.finfo(float).eps)
    return np.asarray(np.sqrt(np.maximum(square, 0) / within * (n - 2)))
