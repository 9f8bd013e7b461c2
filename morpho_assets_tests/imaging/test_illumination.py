"""Illumination: a known vignette must come back, and dividing by it must flatten the field."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import io as matlab
from scipy import ndimage

from morpho_assets.errors import InputError
from morpho_assets.imaging.illumination import (
    Illumination,
    IlluminationConfig,
    apply_illumination,
    estimate_illumination,
)
from morpho_assets.imaging.images import read_image

SHAPE = (180, 200)


def vignette() -> np.ndarray:
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 1 - 0.35 * (((row - 80) / 180) ** 2 + ((column - 120) / 200) ** 2) * 4 / 2


def plate(count: int, dark: float = 0.0) -> list[np.ndarray]:
    """Sites with many small bright cells at random places on a faint background, under one vignette."""
    rng = np.random.default_rng(1)
    images = []
    for _ in range(count):
        spots = np.zeros(SHAPE)
        spots[rng.integers(0, SHAPE[0], 1500), rng.integers(0, SHAPE[1], 1500)] = rng.lognormal(0, 0.4, 1500)
        cells = ndimage.gaussian_filter(spots, 3, mode="wrap") * 3 * rng.uniform(0.8, 1.2)
        images.append(((0.08 + cells) * vignette() * 0.6 + dark + rng.normal(0, 0.002, SHAPE)).astype(np.float32))
    return images


def worst_error(flat: np.ndarray) -> float:
    """95th percentile of the relative error, both fields scaled to mean 1."""
    truth = vignette() / vignette().mean()
    return float(np.percentile(np.abs(flat / flat.mean() / truth - 1), 95))


SETTINGS = {
    "default": {},
    "median filter": {"smoothing": "median"},
    "median of the images": {"statistic": "median"},
    "basic": {"method": "basic"},
    "basic with a dark field": {"method": "basic", "dark_field": True},
}


@pytest.mark.parametrize("rescale", ["minimum", "mean"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_known_vignette_comes_back_within_2_percent(settings: dict[str, object], rescale: str) -> None:
    found = estimate_illumination(plate(160), IlluminationConfig(rescale=rescale, **settings))
    assert found.images == 160
    assert worst_error(found.flat) < 0.02


@pytest.mark.parametrize("settings", [SETTINGS["default"], SETTINGS["basic with a dark field"]])
def test_no_pixel_is_far_off_unless_the_darkest_are_raised(settings: dict[str, object]) -> None:
    """Which the robust minimum does to 2 % of them, as CellProfiler's: a corner here, where the light falls by half."""

    def furthest(rescale: str) -> float:
        flat = estimate_illumination(plate(160), IlluminationConfig(rescale=rescale, **settings)).flat
        return float(np.abs(flat / flat.mean() / (vignette() / vignette().mean()) - 1).max())

    assert furthest("mean") < 0.05
    assert 0.15 < furthest("minimum") < 0.25


def test_a_dark_field_is_told_from_the_flat_field() -> None:
    config = IlluminationConfig(method="basic", dark_field=True, rescale="mean")
    found = estimate_illumination(plate(160, dark=0.1), config)
    assert found.dark is not None
    np.testing.assert_allclose(found.dark, 0.1, atol=0.01)
    assert worst_error(found.flat) < 0.02
    without = estimate_illumination(plate(160, dark=0.1), IlluminationConfig(method="basic", rescale="mean"))
    assert worst_error(without.flat) > 0.05


@pytest.mark.parametrize(
    "settings", [{}, {"statistic": "median"}, {"method": "basic", "max_images": 16}], ids=["mean", "median", "basic"]
)
def test_memory_does_not_grow_with_the_plate(settings: dict[str, object]) -> None:
    first = plate(1)[0]

    def peak(count: int) -> int:
        tracemalloc.start()
        estimate_illumination((first + np.float32(number) / 1000 for number in range(count)), config)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    config = IlluminationConfig(**settings)
    peak(20)  # imports and caches
    assert peak(80) == pytest.approx(peak(20), rel=0.05)


def test_images_come_from_a_stream_once() -> None:
    images = plate(6)
    once = estimate_illumination(iter(images), IlluminationConfig())
    np.testing.assert_array_equal(once.flat, estimate_illumination(images, IlluminationConfig()).flat)


def test_cellprofilers_rescaling_never_brightens() -> None:
    flat = estimate_illumination(plate(5), IlluminationConfig()).flat
    assert flat.dtype == np.float32
    assert flat.min() == pytest.approx(1)


def test_constant_images_say_nothing_about_the_lamp() -> None:
    images = plate(4)
    black = np.zeros(SHAPE, np.float32)
    with_black = estimate_illumination([black, *images, black], IlluminationConfig())
    assert with_black.images == 4
    np.testing.assert_array_equal(with_black.flat, estimate_illumination(images, IlluminationConfig()).flat)


@pytest.mark.parametrize("method", ["regular", "basic"])
def test_a_channel_without_signal_has_a_function_of_ones(method: str) -> None:
    found = estimate_illumination([np.full(SHAPE, 0.2, np.float32)] * 3, IlluminationConfig(method=method))
    assert found.images == 0
    np.testing.assert_array_equal(found.flat, np.ones(SHAPE))
    with pytest.raises(InputError, match="0 images"):
        estimate_illumination([], IlluminationConfig(method=method))


@pytest.mark.parametrize("rescale", ["minimum", "mean"])
def test_a_sparse_plate_on_a_black_background_is_not_divided_by_nothing(rescale: str) -> None:
    image = np.zeros(SHAPE, np.float32)
    image[90, 100] = 1
    found = estimate_illumination([image] * 3, IlluminationConfig(rescale=rescale, smoothing="median"))
    assert found.images == 0  # the median of each neighbourhood is black
    np.testing.assert_array_equal(found.flat, np.ones(SHAPE))
    assert estimate_illumination([image] * 3, IlluminationConfig(rescale=rescale)).flat.min() >= np.float32(0.05)


def test_equally_bright_images_have_no_dark_field_to_tell() -> None:
    settings = {"method": "basic", "rescale": "mean"}
    same = plate(1) * 4
    found = estimate_illumination(same, IlluminationConfig(dark_field=True, **settings))
    np.testing.assert_array_equal(found.flat, estimate_illumination(same, IlluminationConfig(**settings)).flat)
    assert found.dark is not None
    assert not found.dark.any()


def test_one_image_serves_regular_but_not_basic() -> None:
    assert estimate_illumination(plate(1), IlluminationConfig()).images == 1
    with pytest.raises(InputError, match="at least 3"):
        estimate_illumination(plate(1), IlluminationConfig(method="basic"))


def test_images_of_two_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="image 2"):
        estimate_illumination([plate(1)[0], plate(1)[0][:50]], IlluminationConfig())


def test_division_by_hand_with_and_without_dark_field() -> None:
    image = np.full((3, 2, 2), 0.5, np.float32)
    flat = np.array([[1, 2], [4, 0.25]], np.float32)
    dark = np.full((2, 2), 0.1, np.float32)
    result = apply_illumination(image, [None, flat, Illumination(flat, dark)])
    np.testing.assert_array_equal(result[0], image[0])
    np.testing.assert_allclose(result[1], [[0.5, 0.25], [0.125, 1]])
    np.testing.assert_allclose(result[2], [[0.4, 0.2], [0.1, 1]], rtol=1e-6)


@pytest.mark.parametrize("flat", [np.ones((3, 3), np.float32), np.zeros((2, 2), np.float32), np.full((2, 2), np.nan)])
def test_a_function_that_cannot_divide_is_refused(flat: np.ndarray) -> None:
    with pytest.raises(InputError, match="channel 0"):
        apply_illumination(np.ones((1, 2, 2), np.float32), [flat])


@pytest.mark.parametrize(
    ("channel", "correlation", "error", "nothing"), [(1, 0.73, 0.172, 0.277), (2, 0.58, 0.242, 0.223)]
)
def test_bbbc013_leans_as_cellprofilers_functions_do(
    reference_data: Path, channel: int, correlation: float, error: float, nothing: float
) -> None:
    """The figures of docs/illumination.md: twelve wells of one row, against functions of all the plate's images."""
    folder = reference_data / "bbbc013_sbs"
    theirs = matlab.loadmat(folder / f"Channel{channel}ILLUM.mat")["Image"]
    images = [read_image(path) for path in sorted(folder.glob(f"Channel{channel}-*.tif"))]
    assert len(images) == 12
    ours = estimate_illumination(images, IlluminationConfig(rescale="mean")).flat
    theirs = theirs / theirs.mean()
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] == pytest.approx(correlation, abs=0.01)
    assert np.percentile(np.abs(ours / ours.mean() / theirs - 1), 95) == pytest.approx(error, abs=0.002)
    assert np.percentile(np.abs(1 / theirs - 1), 95) == pytest.approx(nothing, abs=0.002)
