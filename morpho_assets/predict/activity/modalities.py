"""Modalities: tables of vectors by compound, made ready for models of assays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
SPARSE = 0.1  # share of numbers that are not 0 below which a matrix of counts is kept as such
TURNED = 1500  # features up to which axes are turned to principal ones, in which models are found sooner


@dataclass(frozen=True)
class Modality:
    """Vectors of n compounds: `x` (n, d) with rows of NaN for compounds that have none; `bits` of fingerprints, which
    are neither centred nor scaled one by one."""

    name: str
    x: Floats
    bits: bool = False

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n,) compounds that have a vector: some number of it."""
        return np.asarray(np.isfinite(self.x).any(axis=1))

    def prepared(self) -> Any:
        """(n, e) what models see, float32: rows of mean squared length 1; zeros for a compound without a vector.

        Bits are as they are (a CSR matrix where few are set). Other features are centred and scaled over all compounds
        (activity is not looked at), a missing number is the mean, one beyond 10 standard deviations is cut there, and
        features without spread are left out. Up to 1,500 features the axes are turned to principal ones: an L2 penalty
        does not see the difference, and steps of the solver do.
        """
        known = self.known
        if self.bits:
            x = np.where(known[:, None], self.x, 0).astype(np.float32)
            x = x[:, (x != 0).any(axis=0)]
        else:
            x = _standardised(self.x, known)
            if 0 < x.shape[1] <= TURNED and known.sum() > 1:
                _, axes = np.linalg.eigh((x.T @ x).astype(np.float64))
                x = (x @ axes[:, ::-1]).astype(np.float32)
        total = float(np.square(x, dtype=np.float64).sum())
        if total > 0:
            x /= np.float32(np.sqrt(total / known.sum()))
        if self.bits and x.size and np.count_nonzero(x) < SPARSE * x.size:
            from scipy.sparse import csr_matrix

            return csr_matrix(x)
        return x


def joined(parts: Sequence[Any]) -> Any:
    """Early fusion: prepared matrices side by side, each a block of mean squared length 1 over the number of blocks; a
    compound that lacks a modality has zeros there."""
    if all(hasattr(part, "toarray") for part in parts):
        from scipy.sparse import hstack

        return hstack(parts, format="csr") / np.float32(np.sqrt(len(parts)))
    dense = [part.toarray() if hasattr(part, "toarray") else part for part in parts]
    return (np.hstack(dense) / np.sqrt(len(parts))).astype(np.float32)


def _standardised(values: Floats, known: NDArray[np.bool_]) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    there = np.isfinite(x) & known[:, None]
    count = there.sum(axis=0)
    filled = np.where(there, x, 0)
    centre = np.divide(filled.sum(axis=0), count, out=np.zeros(x.shape[1]), where=count > 0)
    away = np.where(there, x - centre, 0)
    spread = np.sqrt(np.divide((away**2).sum(axis=0), count, out=np.zeros(x.shape[1]), where=count > 0))
    kept = spread > 1e-9 * np.maximum(np.abs(centre), 1e-9)
    return np.clip(away[:, kept] / spread[kept], -10, 10).astype(np.float32)
