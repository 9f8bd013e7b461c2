"""Granularity by MeasureGranularity's definition in plain scipy and scikit-image, for sides of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology

from morpho_assets.measure import MeasurementConfig, measure_site
from morpho_assets.measure.config import GranularityConfig
from morpho_assets_tests.measure.agreement import disagreeing
from morpho_assets_tests.measure.fields import synthetic


def plain_spectrum(
    image: NDArray[np.float32], label: NDArray[np.int32], config: GranularityConfig
) -> NDArray[np.float64]:
    """(n, K): every image is sampled and stretched whole, at sizes that are not rounded."""

    def stretched(
        pixels: NDArray[np.float32], sizes: NDArray[np.float64], to: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        places = np.mgrid[0 : to[0], 0 : to[1]] * ((sizes - 1) / (to - 1))[:, None, None]
        return ndimage.map_coordinates(pixels, places, order=1)

    full = np.array(image.shape, float)
    sizes, pixels = full * config.subsampling, image
    if config.subsampling < 1:
        pixels = ndimage.map_coordinates(image, np.mgrid[0 : sizes[0], 0 : sizes[1]] / config.subsampling, order=1)
    back, share = pixels, config.background_subsampling
    small = sizes * share
    if share < 1:
        back = ndimage.map_coordinates(pixels, np.mgrid[0 : small[0], 0 : small[1]] / share, order=1)
    disc = morphology.disk(config.background_radius)
    back = morphology.dilation(morphology.erosion(back, disc), disc)
    if share < 1:
        back = stretched(back, small, sizes)
    pixels = np.maximum(pixels - back, 0)
    numbers = np.arange(1, label.max() + 1)
    before = start = ndimage.mean(image, label, numbers)
    eroded, found = pixels, []
    for _ in range(config.spectrum_length):
        eroded = morphology.erosion(eroded, morphology.disk(1))
        grown = morphology.reconstruction(eroded, pixels, footprint=morphology.disk(1)).astype(np.float32)
        after = ndimage.mean(stretched(grown, sizes, full), label, numbers)
        found.append(100 * (before - after) / start)
        before = after
    return np.array(found).T


@pytest.mark.parametrize("subsampling", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("background", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("sides", [(96, 96), (97, 89), (101, 90), (67, 130)], ids=str)
def test_spectra_are_those_of_the_plain_definition(
    sides: tuple[int, int], subsampling: float, background: float
) -> None:
    image, labels = synthetic(3, side=130, cells=9, channels=1)
    part = (slice(130 - sides[0], None), slice(sides[1]))
    config = GranularityConfig(
        subsampling=subsampling, background_subsampling=background, background_radius=4, spectrum_length=5
    )
    label = np.unique(labels["Cells"][part], return_inverse=True)[1].reshape(sides).astype(np.int32)
    nothing = dict.fromkeys(MeasurementConfig.model_fields)
    settings = MeasurementConfig.model_validate({**nothing, "granularity": config})
    ours = (
        measure_site(image[(slice(None), *part)], {"Cells": label}, ["DNA"], settings).drop("ObjectNumber").to_numpy()
    )
    expected = plain_spectrum(image[0][part], label, config)
    assert np.abs(expected).max() > 1
    # A percentage of sums of single-precision pixels: the twin rounds each stretched one.
    assert not disagreeing(ours, expected, absolute=1e-5).any()


@pytest.mark.parametrize(("side", "nothing"), [(2, True), (3, False), (1, True)])
def test_images_of_a_few_pixels(side: int, nothing: bool) -> None:
    """Half of 2 pixels is one, which stretches to nothing; half of 3 is one and a half, which stretches."""
    label = np.ones((side, side), np.int32)
    measured = measure_site(np.full((1, side, side), 0.5, np.float32), {"Cells": label}, ["DNA"])
    values = measured.select(name for name in measured.columns if "Granularity" in name).to_numpy()
    assert np.isnan(values).all() == nothing
    assert not np.isinf(values).any()
