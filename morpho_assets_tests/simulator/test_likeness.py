"""Synthetic fields against the real DMSO field; docs/simulator.md shows more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulator import DMSO, FIELD, QUANTILES, radial_power, real_field
from morpho_assets.simulator.design import CHANNELS
from morpho_assets.simulator.site import simulate_site


def test_a_synthetic_field_is_near_a_real_one(reference_data: Path) -> None:
    real, nuclei = real_field(reference_data, "D14")
    made = [simulate_site(FIELD, seed, 0, DMSO, 1) for seed in range(3)]
    assert np.mean([site.nuclei.max() for site in made]) == pytest.approx(nuclei.max(), rel=0.2)
    areas = np.concatenate([site.table["nucleus_pixels"] for site in made])
    assert np.median(areas) == pytest.approx(np.median(np.bincount(nuclei.ravel())[1:]), rel=0.1)
    for c, channel in enumerate(CHANNELS):
        levels = [np.log(np.percentile(plane, QUANTILES)) for plane in (real[c], *(s.image[c] for s in made))]
        assert np.abs(np.mean(levels[1:], axis=0) - levels[0]).mean() < 0.3, channel
        spectra = [np.log10(radial_power(plane)[1]) for plane in (real[c], *(s.image[c] for s in made))]
        assert np.abs(np.mean(spectra[1:], axis=0) - spectra[0]).mean() < 0.5, channel
