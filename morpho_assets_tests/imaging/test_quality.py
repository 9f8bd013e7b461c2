"""Quality: CellProfiler's values on real fields, small cases by hand, and flags on damage that we do to images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import ndimage

from morpho_assets.imaging.images import read_image
from morpho_assets.imaging.quality import (
    FLAGS,
    QualityConfig,
    flag_quality,
    local_focus_score,
    measure_quality,
    power_slope,
    quality_columns,
    stain_drift,
)

CHANNELS = ["DNA", "ER", "RNA", "AGP", "Mito"]


def gallery_field(reference_data: Path, place: str) -> np.ndarray:
    files = {ch: next((reference_data / "gallery").rglob(f"{place}f05p01-ch{ch}sk1*.tiff")) for ch in range(1, 6)}
    return np.stack([read_image(files[ch]) for ch in (5, 4, 3, 2, 1)])


@pytest.mark.parametrize(("well", "place"), [("D14", "r04c14"), ("N09", "r14c09")])
def test_all_105_values_are_cellprofilers(reference_data: Path, well: str, place: str) -> None:
    found = measure_quality(gallery_field(reference_data, place), CHANNELS)
    truth = json.loads((reference_data / "cellprofiler_reference" / well / "image_quality.json").read_text())["values"]
    assert len(truth) == 105
    for name, value in truth.items():
        channel = next(part for part in name.split("_") if part.startswith("Orig"))
        column = name.replace(f"_{channel}", "")
        ours = found.filter(pl.col("channel") == channel.removeprefix("Orig"))[column].item()
        assert ours == pytest.approx(value, rel=1e-4), name


def test_two_blocks_by_hand() -> None:
    plane = np.array([[0.2, 0.4, 0.1, 0.1], [0.4, 0.2, 0.3, 0.3]], np.float32)
    # variance over mean: 0.01 / 0.3 and 0.01 / 0.2; their variance over their median
    scores = np.array([0.01 / 0.3, 0.01 / 0.2])
    assert local_focus_score(plane, 2) == pytest.approx(scores.var() / np.median(scores), rel=1e-5)
    focus = measure_quality(plane[None], ["DNA"])["ImageQuality_FocusScore"].item()
    assert focus == pytest.approx(0.0125 / 0.25, rel=1e-5)


def test_constant_black_and_saturated_images() -> None:
    image = np.stack([np.zeros((64, 64)), np.ones((64, 64)), np.full((64, 64), 0.5)]).astype(np.float32)
    found = flag_quality(measure_quality(image, ["DNA", "RNA", "AGP"]))
    assert found["ImageQuality_PowerLogLogSlope"].to_list() == [0, 0, 0]
    assert found["ImageQuality_FocusScore"].to_list() == [0, 0, 0]
    assert found["ImageQuality_PercentMaximal"].to_list() == [100, 100, 100]
    assert found["flag_saturated"].to_list() == [False, True, False]
    assert found["flag_empty"].to_list() == [True, False, True]


@pytest.mark.parametrize("bits", [12, 14])
def test_a_camera_of_fewer_bits_is_saturated_at_its_own_ceiling(bits: int) -> None:
    ceiling = 2**bits - 1
    grey = np.minimum(site(3)[0] * ceiling * 6, ceiling).astype(np.uint16)
    image = grey[None] / np.float32(65535)
    share = 100 * np.mean(grey == ceiling)
    assert share > 20
    assert flag_quality(measure_quality(image, ["DNA"]))["flag_saturated"].to_list() == [True]
    strict = QualityConfig(saturated_percent=share * 1.01)
    assert flag_quality(measure_quality(image, ["DNA"], strict), strict)["flag_saturated"].to_list() == [False]
    constant = np.full((1, 64, 64), ceiling / 65535, np.float32)
    known = QualityConfig(full_scale=ceiling)
    for config, flag in ((QualityConfig(), "flag_empty"), (known, "flag_saturated")):
        found = flag_quality(measure_quality(constant, ["DNA"], config), config)
        assert [name for name in FLAGS if found[name][0]] == [flag]
    assert measure_quality(constant, ["DNA"], known)["ImageQuality_Scaling"].to_list() == [ceiling]


def test_a_dim_image_of_few_grey_levels_is_not_saturated() -> None:
    """Of 8 bits, in five levels: many pixels share its maximum for want of finer ones."""
    dim = np.round(site(3) / site(3).max() * 5) / np.float32(255)
    found = flag_quality(measure_quality(dim, ["DNA"]))
    assert found["ImageQuality_PercentMaximal"][0] > 1
    assert not found["flag_saturated"][0]


def test_full_scale_of_8_bit_files_is_in_their_own_grey_values() -> None:
    assert QualityConfig(full_scale=255).saturated_intensity == pytest.approx(254.5 / 255)
    assert QualityConfig(full_scale=4095).saturated_intensity == pytest.approx(4094.5 / 65535)


@pytest.mark.parametrize("grey", [[65535, 900], [0, 65535, 40000], [1, 2]])
def test_fewer_grey_levels_than_classes_have_no_threshold(grey: list[int]) -> None:
    image = np.full((1, 32, 32), grey[0] / 65535, np.float32)
    image.flat[: len(grey) - 1] = np.array(grey[1:]) / 65535
    found = measure_quality(image, ["RNA"])
    assert np.isnan(found["ImageQuality_ThresholdOtsu_3FW"][0])


def test_thresholds_are_otsu_s_of_the_logarithm() -> None:
    from skimage.filters import threshold_multiotsu, threshold_otsu

    rng = np.random.default_rng(0)
    levels = np.repeat([0.02, 0.1, 0.5], 60 * 20).reshape(60, 60)
    plane = (levels * np.exp(rng.normal(0, 0.15, levels.shape))).astype(np.float32)
    found = measure_quality(plane[None], ["DNA"], QualityConfig(otsu_three_classes=("DNA",)))
    two, three = (found[f"ImageQuality_ThresholdOtsu_{classes}"].item() for classes in ("2W", "3FW"))
    logs = np.log(plane.astype(np.float64))
    assert two == pytest.approx(np.exp(threshold_otsu(logs)), rel=1e-3)
    assert three == pytest.approx(np.exp(threshold_multiotsu(logs, 3)[0]), rel=1e-3)
    assert 0.025 < three < 0.08  # between the two darker classes
    # Black pixels have no logarithm and are left out.
    black = np.concatenate([plane, np.zeros_like(plane)])
    assert measure_quality(black[None], ["DNA"])["ImageQuality_ThresholdOtsu_2W"].item() == pytest.approx(two)


@pytest.mark.parametrize("scales", [(), (0,), (5, -1)])
def test_scales_are_of_some_pixels(scales: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one scale"):
        QualityConfig(scales=scales)


def test_columns_and_which_channels_have_a_threshold() -> None:
    image = np.random.default_rng(0).random((2, 40, 50), np.float32)
    found = measure_quality(image, ["DNA", "Brightfield"], QualityConfig())
    assert found.columns == ["channel", *quality_columns(QualityConfig())]
    assert found["ImageQuality_ThresholdOtsu_2W"].is_null().to_list() == [False, True]
    with pytest.raises(ValueError, match="does not have the 1 channels"):
        measure_quality(image, ["DNA"])


def site(seed: int, *, blur: float = 0.0, debris: bool = False, cells: int = 40, gain: float = 1.0) -> np.ndarray:
    """(1, 200, 200): round nuclei with texture on a faint background with noise."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:200, :200]
    light = np.full((200, 200), 0.02)
    for y, x in rng.uniform(0, 200, (cells, 2)):
        light[np.hypot(row - y, column - x) < 9] = 0.3
    light *= 1 + 0.3 * ndimage.gaussian_filter(rng.normal(size=light.shape), 1.5)
    if debris:
        light[60:110, 40:150] = 0.95
    light = ndimage.gaussian_filter(light, blur) if blur else ndimage.gaussian_filter(light, 0.8)
    return (gain * light + rng.normal(0, 0.002, light.shape)).clip(0, 1).astype(np.float32)[None]


def plate_of(images: list[np.ndarray]) -> pl.DataFrame:
    rows = [
        measure_quality(image, ["DNA"]).with_columns(pl.lit(number).alias("Metadata_Site"))
        for number, image in enumerate(images)
    ]
    return pl.concat(rows)


def test_each_damage_raises_its_own_flag_and_no_other() -> None:
    saturated = np.minimum(site(98) * 6, 1)
    empty = site(97, cells=0)
    damaged = [site(99, blur=6), saturated, empty, site(96, debris=True)]
    found = flag_quality(plate_of([*map(site, range(16)), *damaged]))
    assert not found.head(16).select(pl.any_horizontal(FLAGS)).to_series().any()
    np.testing.assert_array_equal(found.tail(4).select(FLAGS).to_numpy(), np.eye(4, dtype=bool))


def test_few_sites_are_not_judged_against_each_other() -> None:
    found = flag_quality(plate_of([*map(site, range(3)), site(96, debris=True)]))
    assert not found["flag_debris"].any()


def test_blur_steepens_the_spectrum() -> None:
    slopes = [power_slope(site(5, blur=blur)[0]) for blur in (0.8, 2, 4)]
    assert slopes == sorted(slopes, reverse=True)


def plates(medians: dict[str, float]) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    parts = [
        pl.DataFrame(
            {
                "Metadata_Plate": [plate] * 20,
                "channel": ["AGP"] * 20,
                "ImageQuality_StdIntensity": median * rng.normal(1, 0.05, 20),
            }
        )
        for plate, median in medians.items()
    ]
    return pl.concat(parts)


def test_a_raised_stain_surfaces_among_the_plates_of_a_batch() -> None:
    found = stain_drift(plates({"P1": 0.1, "P2": 0.103, "P3": 0.098, "P4": 0.16, "P5": 0.101}))
    assert found.filter("flag_stain_drift")["Metadata_Plate"].to_list() == ["P4"]
    ratio = found.filter(pl.col("Metadata_Plate") == "P4")["log2_ratio"].item()
    assert ratio == pytest.approx(np.log2(1.6), abs=0.06)


def test_drift_of_one_or_two_plates_has_no_z_and_no_flag() -> None:
    assert stain_drift(plates({"P1": 0.1}))["log2_ratio"].to_list() == [None]
    two = stain_drift(plates({"P1": 0.1, "P2": 0.2}))
    assert two["robust_z"].to_list() == [None, None]
    assert not two["flag_stain_drift"].any()
    assert two["log2_ratio"][1] == pytest.approx(1, abs=0.06)
