"""Test-time augmentation: what the eight dropped is told, and a mean of maps by hand."""

from __future__ import annotations

import numpy as np

from morpho_assets.imaging.augmentation import Augmented
from morpho_assets.imaging.segmentation import Segmentation, WatershedConfig, make_segmenter
from morpho_assets.imaging.segmentation.config import NucleiConfig
from morpho_assets_tests.imaging.segmentation.test_segmenters import two_stains


def test_what_was_dropped_is_counted_with_augmentation_as_without() -> None:
    image, _ = two_stains()
    cut = image[:, 25:, :]
    for settings in (NucleiConfig(), NucleiConfig(min_diameter=30)):
        segmenter = make_segmenter(WatershedConfig(nuclei=settings))
        alone = segmenter.segment(cut, ["DNA", "RNA"]).dropped
        assert sum(alone.values()) > 0
        assert Augmented(segmenter).segment(cut, ["DNA", "RNA"]).dropped == alone


class Gradient:
    """Its maps are the directions of growing brightness, and as probability the place in the array it was given."""

    vectors = ((0, 1),)

    def maps(self, image: np.ndarray, channels: object) -> np.ndarray:
        down, right = np.gradient(image[0].astype(float))
        ramp = np.broadcast_to(np.linspace(0, 1, image.shape[2]), image.shape[1:])
        return np.stack([down, right, ramp]).astype(np.float32)

    def from_maps(self, maps: np.ndarray, image: np.ndarray, channels: object) -> Segmentation:
        self.found = maps
        return self.segment(image, channels)

    def segment(self, image: np.ndarray, channels: object) -> Segmentation:
        empty = np.zeros(image.shape[1:], np.int32)
        return Segmentation(empty, empty)


def test_directions_turn_with_the_image_and_probabilities_are_averaged() -> None:
    image = np.random.default_rng(0).random((1, 5, 5)).astype(np.float32)
    segmenter = Gradient()
    Augmented(segmenter).segment(image, ["DNA"])
    np.testing.assert_allclose(segmenter.found[:2], np.gradient(image[0]), rtol=1e-5, atol=1e-6)
    # A ramp to the right, seen eight ways, is even: each flip has its counterpart.
    np.testing.assert_allclose(segmenter.found[2], 0.5, atol=1e-6)
