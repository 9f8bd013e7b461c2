"""Mutual nearest neighbours against mnnpy 0.1.9.5 (BSD-3), whose values are kept here as facts.

They were made by `mnn_correct(*batches(), k=5, sigma=0.5, cos_norm_in=True, cos_norm_out=False, var_adj=False)` in
float32, with one line put right: its kernel takes the inner product for the squared distance that the paper, and the
authors' own batchelor, have.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.profiles.mnn import MnnConfig, correct_mnn, mutual_neighbours

NAMES = [f"Cells_{i}" for i in range(6)]
MNNPY = {  # row of all batches: its corrected values
    40: [1.146, -1.3702, -5.7851, 0.9234, 3.2538, 6.0437],
    55: [-0.3578, 0.7116, -4.4985, 8.3347, -5.0871, 3.0589],
    70: [1.5968, 0.3927, -5.1721, 6.7918, -5.1459, 2.8994],
    80: [-0.3858, -1.193, 3.8818, 2.9438, -2.6111, -2.259],
}


def batches() -> list[np.ndarray]:
    """Three kinds in three shifted batches of 40, 30 and 20 profiles."""
    rng = np.random.default_rng(4)
    kinds = rng.normal(0, 3, (3, 6))
    return [kinds[rng.integers(3, size=n)] + rng.normal(size=(n, 6)) + rng.normal(0, 1, 6) for n in (40, 30, 20)]


def frame(values: np.ndarray) -> pl.DataFrame:
    plates = np.repeat(["a", "b", "c"], [40, 30, 20])
    return pl.DataFrame(values, schema=NAMES).with_columns(Metadata_Plate=pl.Series(plates))


def test_it_is_mnnpy_s() -> None:
    values = np.vstack(batches())
    found = correct_mnn(frame(values), NAMES, MnnConfig(neighbours=5, width=0.5))
    corrected = found.profiles.select(NAMES).to_numpy()
    np.testing.assert_array_equal(corrected[:40], values[:40])  # the largest batch
    for row, theirs in MNNPY.items():
        np.testing.assert_allclose(corrected[row], theirs, atol=1e-4)
    assert found.notes == ("82 to 93 pairs of mutual neighbours between a batch and those before",)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_mutual_neighbours_by_hand(count: int) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(12, 3)), rng.normal(size=(9, 3))
    far = np.linalg.norm(other[:, None] - one, axis=2)
    expected = [
        (i, j)
        for j in range(9)
        for i in range(12)
        if (far[j] < far[j, i]).sum() < count and (far[:, i] < far[j, i]).sum() < count
    ]
    assert list(zip(*mutual_neighbours(one, other, count), strict=True)) == expected


def test_profiles_without_a_direction_do_not_break_it() -> None:
    values = np.vstack(batches())
    values[::7] = 0
    found = correct_mnn(frame(values), NAMES, MnnConfig())
    assert np.isfinite(found.profiles.select(NAMES).to_numpy()).all()
