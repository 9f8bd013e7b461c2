"""Grey levels: what is counted is what numpy finds by sorting."""

from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.imaging.grey_levels import INTENSITIES, GreyLevels, median_of

RNG = np.random.default_rng(0)
PLANES = {
    "16 bits": (RNG.integers(0, 65536, (31, 40)) / 65535).astype(np.float32),
    "8 bits": (RNG.integers(0, 256, (31, 41)) / 255).astype(np.float32),
    "few": (RNG.integers(700, 703, (30, 5)) / 65535).astype(np.float32),
    "constant": np.full((4, 4), 0.5, np.float32),
    "one pixel": np.ones((1, 1), np.float32),
    "floats": RNG.random((29, 37)).astype(np.float32),
    "below and above": np.linspace(-1, 2, 60, dtype=np.float32).reshape(6, 10),
}


@pytest.mark.parametrize("name", PLANES)
def test_levels_are_the_values_and_how_often_each_is_there(name: str) -> None:
    plane = PLANES[name]
    levels = GreyLevels.of(plane)
    values, counts = np.unique(plane, return_counts=True)
    np.testing.assert_array_equal(levels.known[0], values)
    np.testing.assert_array_equal(levels.known[1], counts)
    np.testing.assert_array_equal(levels.values[levels.codes], plane)
    assert median_of(*levels.known) == np.median(plane)
    assert (levels.values is INTENSITIES) == (name in ("16 bits", "8 bits", "few", "one pixel"))
