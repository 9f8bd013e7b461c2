from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.simulator.textures import SIDE, sample, tile


@pytest.mark.parametrize("sigma", [1.1, 4.0, 8.0])
def test_tiles_are_standard_noise_of_their_correlation_length(sigma: float) -> None:
    field = tile(sigma)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    # The autocorrelation of noise smoothed with a Gaussian is exp(-distance² / 4 sigma²).
    step = round(2 * sigma)
    expected = np.exp(-(step**2) / (4 * sigma**2))
    assert float((field * np.roll(field, step, 0)).mean()) == pytest.approx(expected, abs=0.1)


def test_tiles_join_at_their_edges_and_are_read_only() -> None:
    field = tile(4.0, 2)
    assert np.abs(field[0] - field[-1]).max() < 4 * np.abs(np.diff(field, axis=0)).std() + 0.5
    assert not field.flags.writeable


def test_samples_wrap_round() -> None:
    field = tile(4.0)
    rows, columns = np.array([3.2, 3.2 + SIDE]), np.array([5.9, 5.9 + 2 * SIDE])
    assert sample(field, rows, columns).tolist() == [field[3, 5]] * 2
