"""Crops with a planted difference, small enough to train on in seconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 24


def two_populations(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Crops (n, 2, 24, 24) and their population, 0 or 1.

    Channel 0 is a cell of random size, place and brightness; channel 1 holds one bright spot (population 0) or the same
    light in two spots at a random angle (population 1). Brightness and place say nothing about the population.
    """
    rng = np.random.default_rng(seed)
    population = rng.integers(0, 2, n)
    crops = rng.normal(0, 0.05, (n, 2, SIDE, SIDE))
    for crop, apart in zip(crops, 3.5 * population, strict=True):
        center, gain, angle = SIDE / 2 + rng.normal(0, 2, 2), rng.uniform(0.6, 1), rng.uniform(0, np.pi)
        crop[0] += gain * _spot(center, rng.uniform(4, 6))
        offset = apart * np.array([np.sin(angle), np.cos(angle)])
        crop[1] += gain / 2 * (_spot(center + offset, 1.8) + _spot(center - offset, 1.8))
    return crops.astype(np.float32), population


def _spot(center: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.exp(-((rows - center[0]) ** 2 + (columns - center[1]) ** 2) / (2 * sigma**2))
