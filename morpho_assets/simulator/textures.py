"""Fixed tiles of periodic random texture, made once in a process and sampled at random places.

Drawing noise anew for every site would cost more than all the rest of a site.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SIDE = 512


@lru_cache(maxsize=16)
def tile(sigma: float, version: int = 0) -> np.ndarray:
    """(512, 512) float32 Gaussian noise of correlation length `sigma` (pixels), periodic, mean 0, variance 1."""
    rng = np.random.default_rng(np.random.SeedSequence(20260101, spawn_key=(version,)))
    frequency = np.fft.fftfreq(SIDE)
    decay = np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    smooth = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * decay[:, None] * decay[None, :]).real
    smooth -= smooth.mean()
    field = (smooth / smooth.std()).astype(np.float32)
    field.flags.writeable = False
    return field


def sample(field: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values of a tile at any float coordinates (pixels of the tile, wrapped round), nearest neighbour, same shape."""
    flat = (rows.astype(np.int32) & (SIDE - 1)) * SIDE + (columns.astype(np.int32) & (SIDE - 1))
    return field.ravel().take(flat)
