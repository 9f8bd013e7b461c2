"""The covariance of some rows, made fit to be inverted where they are few beside the features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from morpho_assets.profiles.corrected import Matrix


@dataclass(frozen=True)
class Covariance:
    """A (d, d) covariance by its eigenvectors: `vectors` (k, d) that the `rows` fitted on span, with their `variances`
    (k,), and one `variance` in every other direction. `shrinkage` is how far it went to a sphere, None if something was
    added to the variances instead."""

    rows: int
    vectors: Matrix
    variances: Matrix
    variance: float
    shrinkage: float | None

    def times(self, values: Matrix, power: float) -> Matrix:
        """(n, d) `values` times the covariance to a power."""
        seen = values @ self.vectors.T
        rest = (values - seen @ self.vectors) * self.variance**power if self.spanned < values.shape[1] else 0.0
        return np.asarray((seen * self.variances**power) @ self.vectors + rest)

    @property
    def spanned(self) -> int:
        """Directions that the rows show."""
        return len(self.vectors)

    @property
    def condition(self) -> float:
        """Largest variance over the smallest."""
        every = [*self.variances, self.variance] if self.spanned < self.vectors.shape[1] else list(self.variances)
        return float(max(every) / min(every)) if min(every) > 0 else np.inf


def shown_by(centred: Matrix) -> tuple[Matrix, Matrix]:
    """((k,) singular values, (k, d) right singular vectors as rows) of centred rows, without those of rounding."""
    _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
    shown = singular > singular.max(initial=0) * max(centred.shape) * np.finfo(float).eps
    return singular[shown], vectors[shown]


def covariance(rows: Matrix, added: float | None = None) -> Covariance:
    """That of (n >= 2, d) `rows`, n - 1 in the denominator.

    Shrunk towards a sphere of the mean variance as far as the rows say that it errs (Ledoit & Wolf 2004,
    10.1016/S0047-259X(03)00096-4): few rows give nearly the sphere, many nearly their own. Or with a number `added` to
    every variance. Rows that are all equal have no variance: 1 in every direction, or `added`.

    The share of the sphere is 1 for two rows, whose one difference cannot say how far it errs, and at least 1 / n where
    the rows do not span all directions, so that there is an inverse.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    n, d = rows.shape
    centred = rows - rows.mean(axis=0)
    singular, vectors = shown_by(centred)
    own = singular**2 / (n - 1)
    if added is not None:
        return Covariance(n, vectors, own + added, added, None)
    if not len(own):
        return Covariance(n, vectors, own, 1.0, 1.0)
    share = float(ledoit_wolf_shrinkage(centred, assume_centered=True)) if n > 2 else 1.0
    share = max(share, 1 / n) if len(own) < d else share
    sphere = float(own.sum() / d)
    return Covariance(n, vectors, (1 - share) * own + share * sphere, share * sphere, share)


def describe(found: Sequence[Covariance], of: str) -> str:
    """A sentence on what covariances `of` some groups rest on: rows, directions that these span, condition number."""
    ranges = [_range([c.rows for c in found], "d"), _range([c.spanned for c in found], "d")]
    shrunk = [c.shrinkage for c in found if c.shrinkage is not None]
    shrinkage = f", shrunk by {_range(shrunk, '.2f')}" if shrunk else ""
    features = found[0].vectors.shape[1]
    worst = max(c.condition for c in found)
    return (
        f"{of}: {ranges[0]} controls span {ranges[1]} of {features} directions{shrinkage}; condition number "
        f"{'' if len(found) == 1 else 'at most '}{worst:.3g}"
    )


def _range(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
