"""Where wells of a new plate lie in a reference study: nearest treatments, and whether they are like anything known.

A distance says nothing alone. It stands beside how far the reference's own wells lie from their treatment, each left
out of it: a new well that is as near is like a replicate, one farther than nearly all of them is like nothing known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import to_matrix

Floats = NDArray[np.float64]
KNOWN = 0.05
"""A well is like nothing known where fewer of the reference's own replicates lie as far from their treatment."""
PLACED = {
    "Metadata_Plate": pl.String, "Metadata_Well": pl.String, "rank": pl.Int32, "treatment": pl.String,
    "similarity": pl.Float64, "replicates_as_far": pl.Float64, "known": pl.Boolean,
}  # fmt: skip


def place_wells(
    new: pl.DataFrame, reference: pl.DataFrame, features: Sequence[str], nearest: int = 3,
    treatment: str = "Metadata_Perturbation",
) -> pl.DataFrame:  # fmt: skip
    """The `nearest` treatments of the reference for each row of `new` (PLACED), by the cosine to their median profiles.

    Both have `features` on the same scale (wells in units of their plate's controls). `replicates_as_far` is the share
    of the reference's wells that lie no nearer to their own treatment's other wells than this well does to the
    treatment: 0.5 is a typical replicate. `known` is whether that of the nearest is at least KNOWN. Treatments of one
    well are candidates, but no measure of replicates. Rows of `new` without a value have no place; missing values of
    others are 0, the controls.

    InputError for a reference without two wells of any treatment.
    """
    rows = reference.drop_nulls(treatment)
    names, members, counts = np.unique(rows[treatment].to_numpy().astype(str), return_inverse=True, return_counts=True)
    values = np.nan_to_num(to_matrix(rows, features))
    if not len(names) or counts.max() < 2:
        raise InputError("reference", treatment, "no treatment of two wells", "replicates to compare with",
                         "Take a study whose treatments have replicates.")  # fmt: skip
    centres = np.stack([np.median(values[members == number], axis=0) for number in range(len(names))])
    own = []
    for row in np.flatnonzero(counts[members] > 1):
        others = (members == members[row]) & (np.arange(len(values)) != row)
        own.append(_cosine(values[row : row + 1], np.median(values[others], axis=0)[None])[0, 0])
    replicates = np.sort(np.array(own))
    given = to_matrix(new, features)
    there = np.isfinite(given).any(axis=1)
    similar = _cosine(np.nan_to_num(given), centres)
    keys = new.select("Metadata_Plate", "Metadata_Well").rows()
    found = []
    for row in np.flatnonzero(there):
        best = np.argsort(-similar[row], kind="stable")[:nearest]
        shares = np.searchsorted(replicates, similar[row, best], side="right") / len(replicates)
        for rank, (number, share) in enumerate(zip(best, shares, strict=True), start=1):
            found.append((*keys[row], rank, str(names[number]), similar[row, number], share, shares[0] >= KNOWN))
    return pl.DataFrame(found, PLACED, orient="row")


def _cosine(rows: Floats, others: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(others, axis=1)[None]
    return np.divide(rows @ others.T, lengths, out=np.zeros(lengths.shape), where=lengths > 0)
