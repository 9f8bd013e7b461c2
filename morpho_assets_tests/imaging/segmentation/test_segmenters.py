"""Every segmenter on drawn cells, on real fields with known answers, and on what it must refuse."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import ndimage

from benchmarks.dsb2018 import read_fields
from benchmarks.train_small_cellpose import unseen
from morpho_assets.errors import ImageError, InputError
from morpho_assets.evaluate.segmentation import instance_f1
from morpho_assets.imaging.augmentation import SYMMETRIES, Augmented, consensus, restored, turned
from morpho_assets.imaging.images import read_labels, write_labels
from morpho_assets.imaging.segmentation import (
    PRESETS,
    CellposeConfig,
    ExternalConfig,
    Segmentation,
    SegmentationConfig,
    WatershedConfig,
    make_segmenter,
)
from morpho_assets.imaging.segmentation.cellpose_network import _major
from morpho_assets.imaging.segmentation.config import CellposeNetworkConfig, CellsConfig, NucleiConfig
from morpho_assets.imaging.segmentation.nuclei import _local_maxima
from morpho_assets.imaging.segmentation.own_thresholds import nuclei_by_own_thresholds, roundness
from morpho_assets_tests.imaging.test_quality import CHANNELS, gallery_field


def two_stains(seed: int = 0, count: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """(2, 240, 240) DNA and RNA of round cells that do not touch, and their nuclei."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:240, :240]
    nuclei, cells = np.zeros((240, 240), np.int32), np.zeros((240, 240), np.int32)
    grid = rng.permutation(16)[:count]
    for number, place in enumerate(grid, start=1):
        y, x = 30 + 60 * (place // 4) + rng.integers(-4, 5), 30 + 60 * (place % 4) + rng.integers(-4, 5)
        cells[np.hypot(row - y, column - x) < 22] = number
        nuclei[np.hypot(row - y, column - x) < 11] = number
    brightness = np.concatenate([[0], rng.uniform(0.2, 0.7, count)])
    image = np.stack([brightness[nuclei], 0.4 * brightness[cells]]) + 0.02
    image = ndimage.gaussian_filter(image, (0, 1, 1)) + rng.normal(0, 0.002, image.shape)
    return image.clip(0, 1).astype(np.float32), nuclei


def check_links(found: Segmentation) -> None:
    inside = found.nuclei > 0
    assert found.nuclei.dtype == found.cells.dtype == np.int32
    np.testing.assert_array_equal(np.unique(found.nuclei[inside]), np.arange(1, found.count + 1))
    np.testing.assert_array_equal(found.cells[inside], found.nuclei[inside])


@pytest.mark.parametrize("preset", PRESETS)
def test_drawn_cells_are_found_nuclei_and_whole(preset: str) -> None:
    image, truth = two_stains()
    found = make_segmenter(PRESETS[preset]).segment(image, ["DNA", "RNA"])
    check_links(found)
    assert found.count == 14
    assert instance_f1(truth, found.nuclei, 0.7) == 1
    assert np.bincount(found.cells.ravel())[1:].min() > 1.3 * np.pi * 11**2


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_black_grey_and_saturated_fields_have_no_cells(preset: str, value: float) -> None:
    found = make_segmenter(PRESETS[preset]).segment(np.full((2, 80, 90), value, np.float32), ["DNA", "RNA"])
    assert found.count == 0
    assert found.cells.shape == (80, 90)


@pytest.mark.parametrize("shape", [(3, 3), (1, 40), (64, 17)])
def test_noise_of_a_few_pixels_has_no_nuclei(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).random(shape).astype(np.float32)
    assert nuclei_by_own_thresholds(noise, None, fill_holes=True).max() == 0


def test_two_touching_nuclei_of_unlike_brightness_are_two() -> None:
    row, column = np.mgrid[:80, :100]
    light = 0.02 + 0.6 * (np.hypot(row - 40, column - 35) < 14) + 0.35 * (np.hypot(row - 40, column - 62) < 14)
    light = ndimage.gaussian_filter(light, 1.2).astype(np.float32)
    assert nuclei_by_own_thresholds(light, 0.5, fill_holes=True).max() == 2


def test_roundness_of_a_disk_a_square_and_a_dumbbell() -> None:
    row, column = np.mgrid[:60, :120]
    labels = (np.hypot(row - 30, column - 20) < 15).astype(np.int32)
    labels[22:38, 50:66] = 2
    labels[(np.hypot(row - 30, column - 85) < 9) | (np.hypot(row - 30, column - 102) < 9)] = 3
    area, round_ = roundness(labels, 3)
    np.testing.assert_array_equal(area, np.bincount(labels.ravel())[1:])
    assert round_[0] == pytest.approx(1, abs=0.01)
    assert round_[1] == pytest.approx(3 / np.pi, abs=0.001)  # a square: (4 pi / 12) in its denominator
    assert round_[2] < 0.93


def test_borders_and_sizes_by_choice() -> None:
    image, _ = two_stains()
    cut = image[:, 25:, :]
    kept = make_segmenter(WatershedConfig(nuclei=NucleiConfig(border="keep"))).segment(cut, ["DNA", "RNA"])
    dropped = make_segmenter(WatershedConfig()).segment(cut, ["DNA", "RNA"])
    assert kept.count - dropped.count == dropped.dropped["border"] > 0
    none = make_segmenter(WatershedConfig(nuclei=NucleiConfig(max_diameter=12))).segment(image, ["DNA", "RNA"])
    assert (none.count, none.dropped["large"]) == (0, 14)


def test_any_channel_set_by_order_of_preference() -> None:
    image, truth = two_stains()
    found = make_segmenter(WatershedConfig()).segment(image[::-1], ["AGP", "DNA"])
    assert instance_f1(truth, found.nuclei) == 1
    with pytest.raises(InputError, match="DNA"):
        make_segmenter(WatershedConfig()).segment(image, ["Hoechst", "RNA"])
    with pytest.raises(InputError, match="RNA or AGP or ER"):
        make_segmenter(WatershedConfig()).segment(image, ["DNA", "Mito"])


def test_segmenters_travel_to_other_processes() -> None:
    segmenter = Augmented(make_segmenter(PRESETS["default"]))
    assert pickle.loads(pickle.dumps(segmenter)) == segmenter


def test_the_method_chooses_the_model_of_the_settings() -> None:
    adapter: TypeAdapter[SegmentationConfig] = TypeAdapter(SegmentationConfig)
    assert isinstance(adapter.validate_python({"method": "watershed"}), WatershedConfig)
    with pytest.raises(ValueError, match="watershed"):
        adapter.validate_python({"method": "unet"})


@pytest.mark.parametrize(("well", "place"), [("D14", "r04c14"), ("N09", "r14c09")])
def test_cellprofilers_settings_give_cellprofilers_objects(reference_data: Path, well: str, place: str) -> None:
    folder = reference_data / "cellprofiler_reference" / "segmentation" / well
    image = gallery_field(reference_data, place)
    found = make_segmenter(PRESETS["cellprofiler-jump"]).segment(image, CHANNELS)
    assert instance_f1(read_labels(folder / "nuclei.tif"), found.nuclei, 0.5) >= 0.97
    assert instance_f1(read_labels(folder / "cells.tif"), found.cells, 0.5) >= 0.97


def test_external_labels_are_read_checked_and_linked(tmp_path: Path) -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[2:8, 2:8], labels[10:18, 10:18] = 4, 9
    (tmp_path / "P1").mkdir()
    (tmp_path / "P1" / "A01-1-nuclei.tif").write_bytes(write_labels(labels))
    (tmp_path / "P1" / "A01-1-cells.tif").write_bytes(write_labels(labels))
    pattern = "{plate}/{well}-{site}-"
    config = ExternalConfig(nuclei=pattern + "nuclei.tif", cells=pattern + "cells.tif", folder=tmp_path)
    segmenter = make_segmenter(config, {"plate": "P1", "well": "A01", "site": 1})
    found = segmenter.segment(np.zeros((1, 20, 20), np.float32), ["DNA"])
    check_links(found)
    assert found.count == 2
    with pytest.raises(ImageError, match="expected 30 x 20"):
        segmenter.segment(np.zeros((1, 30, 20), np.float32), ["DNA"])
    with pytest.raises(InputError, match="well"):
        make_segmenter(config, {"plate": "P1"}).segment(np.zeros((1, 20, 20), np.float32), ["DNA"])
    with pytest.raises(ImageError, match="cannot be read"):
        make_segmenter(config, {"plate": "P1", "well": "B02", "site": 1}).segment(np.zeros((1, 20, 20)), ["DNA"])


def test_symmetries_are_eight_and_undone() -> None:
    image = np.arange(12.0).reshape(1, 3, 4)
    seen = {turned(image, *symmetry).tobytes() + bytes(turned(image, *symmetry).shape) for symmetry in SYMMETRIES}
    assert len(seen) == 8
    for symmetry in SYMMETRIES:
        np.testing.assert_array_equal(restored(turned(image, *symmetry), *symmetry), image)


def test_consensus_keeps_what_a_majority_has_and_votes_on_pixels() -> None:
    one, other = np.zeros((6, 8), np.int32), np.zeros((6, 8), np.int32)
    one[1:4, 1:4], other[1:4, 1:5] = 5, 2  # the same object, once a column wider
    one[5, 6:] = 7  # only in one of three
    found = consensus([one, other, other.copy()])
    np.testing.assert_array_equal(found, (other > 0).astype(np.int32))
    assert consensus([np.zeros((3, 3), np.int32)] * 8).max() == 0


def test_augmented_watershed_agrees_with_itself_on_easy_cells() -> None:
    image, truth = two_stains()
    found = Augmented(make_segmenter(WatershedConfig())).segment(image, ["DNA", "RNA"])
    check_links(found)
    assert instance_f1(truth, found.nuclei, 0.7) == 1


def cellpose_config(model: str, diameter: float | str = 22, cells_on: str = "RNA") -> CellposeConfig:
    nuclei = CellposeNetworkConfig(model=model, channels=("DNA",), diameter=diameter)
    return CellposeConfig(nuclei=nuclei, cells=CellsConfig(channels=(cells_on,)))


def test_a_weights_path_is_checked_before_any_work() -> None:
    with pytest.raises(InputError, match="Correct the path"):
        make_segmenter(cellpose_config("/nowhere/cp.pt"))


def test_another_cellpose_than_3_and_4_is_told_so() -> None:
    assert [_major(installed) for installed in ("3.1.1.3", "4.2.1.1")] == [3, 4]
    with pytest.raises(InputError, match=r"found cellpose 5.0; expected cellpose 3 or 4"):
        _major("5.0")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:Sparse invariant:UserWarning")
def test_weights_that_cannot_be_had_are_an_error_at_once(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no weights")
    image, _ = two_stains()
    with pytest.raises(InputError, match="no cellpose 3 weights"):
        make_segmenter(cellpose_config(str(broken))).segment(image, ["DNA", "RNA"])
    with pytest.raises(InputError, match="cyto3"):
        make_segmenter(cellpose_config("no-such-model")).segment(image, ["DNA", "RNA"])
    with pytest.raises(InputError, match="a model of another version of cellpose needs that version"):
        make_segmenter(cellpose_config("cpsam")).segment(image, ["DNA", "RNA"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:Sparse invariant:UserWarning")
def test_the_shipped_network_finds_nuclei_it_has_not_seen(reference_data: Path) -> None:
    fields = unseen(read_fields(reference_data / "dsb2018_nuclei"))[::7]
    segmenter = make_segmenter(cellpose_config("small-nuclei", diameter="estimate", cells_on="DNA"))
    found = [segmenter.segment(field.image[None], ["DNA"]) for field in fields]
    for one in found:
        check_links(one)
    scores = [instance_f1(field.labels, one.nuclei) for field, one in zip(fields, found, strict=True)]
    assert np.mean(scores) >= 0.85
    assert len(segmenter.provenance()["weights of small-nuclei"]) == 64


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:Sparse invariant:UserWarning")
def test_the_maps_of_a_network_turn_with_the_image() -> None:
    image, truth = two_stains()
    segmenter = make_segmenter(cellpose_config("small-nuclei"))
    assert instance_f1(truth, segmenter.segment(image, ["DNA", "RNA"]).nuclei) > 0.9
    assert instance_f1(truth, Augmented(segmenter).segment(image, ["DNA", "RNA"]).nuclei) > 0.9
    assert segmenter.segment(np.zeros((2, 64, 64), np.float32), ["DNA", "RNA"]).count == 0


@pytest.mark.parametrize("radius", [1.0, 3.5])
def test_local_maxima_are_those_of_a_loop_over_pixels(radius: float) -> None:
    rng = np.random.default_rng(4)
    values = rng.integers(0, 6, (12, 15)).astype(float)
    labels, _ = ndimage.label(rng.random((12, 15)) < 0.4, structure=np.ones((3, 3)))
    expected = np.zeros(values.shape, bool)
    row, column = np.indices(values.shape)
    for i, j in np.ndindex(values.shape):
        near = (np.hypot(row - i, column - j) <= radius) & (labels == labels[i, j])
        expected[i, j] = labels[i, j] > 0 and values[i, j] > 0 and values[i, j] >= values[near].max()
    np.testing.assert_array_equal(_local_maxima(values, labels, radius), expected)


def test_one_nucleus_far_brighter_than_the_others_does_not_hide_them() -> None:
    """As in mitosis or decay; Otsu's two classes are then that nucleus and everything else."""
    image, truth = two_stains()
    found = make_segmenter(WatershedConfig()).segment(image, ["DNA", "RNA"]).nuclei
    assert instance_f1(truth, found) > 0.9
    dna = image[0].copy()
    dna[truth == 1] *= 12
    found = make_segmenter(WatershedConfig()).segment(np.stack([dna / dna.max(), image[1]]), ["DNA", "RNA"]).nuclei
    assert instance_f1(truth, found) > 0.9
