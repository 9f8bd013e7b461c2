"""The shipped network: whole numbers, tiles, votes, what it finds; weights made here except where it says shipped."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy import ndimage

from morpho_assets.errors import InputError
from morpho_assets.evaluate.segmentation import instance_f1
from morpho_assets.imaging.augmentation import Augmented
from morpho_assets.imaging.segmentation import NetworkConfig, made_with, make_segmenter, unet_integers
from morpho_assets.imaging.segmentation.config import CellsConfig, NetworkCellsConfig, NetworkNucleiConfig
from morpho_assets.imaging.segmentation.files import file_sha256
from morpho_assets.imaging.segmentation.network import SHIPPED
from morpho_assets.imaging.segmentation.network_input import levels_of, nuclear_light, octave, rescaled
from morpho_assets.imaging.segmentation.network_objects import TIGHT, _peaks, cells_of, nuclei_of
from morpho_assets.imaging.segmentation.unet import FORMAT, UNet, load_unet
from morpho_assets.imaging.segmentation.unet_floats import Floats
from morpho_assets.imaging.segmentation.unet_integers import Integers, fast
from morpho_assets.imaging.segmentation.unet_kernels import moved
from morpho_assets.simulator import SIZES, GalleryDesign, Technique
from morpho_assets.simulator.layout import plate_wells
from morpho_assets.simulator.site import simulate_site
from morpho_assets_tests.imaging.segmentation.test_segmenters import check_links, two_stains

CHANNELS = ["DNA", "ER", "RNA", "AGP", "Mito"]


def random_weights(planes: int = 2, widths: tuple[int, ...] = (4, 6, 8), seed: int = 0) -> dict[str, np.ndarray]:
    """The tensors of a network that has learned nothing, of a size to be quick."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def add(name: str, inward: int, outward: int, side: int = 3) -> None:
        shape = (outward, inward, side, side)
        tensors[f"{name}.weight"] = rng.integers(-90, 91, shape).astype(np.int8)
        spread = 90 * np.sqrt(inward * side * side)
        tensors[f"{name}.factor"] = (rng.uniform(0.3, 1.0, outward) / spread).astype(np.float32)
        tensors[f"{name}.shift"] = rng.normal(0, 20, outward).astype(np.float32)

    for level, (one, other) in enumerate(zip((planes, *widths), widths, strict=False)):
        add(f"down.{level}.first", one, other)
        add(f"down.{level}.second", other, other)
        tensors[f"down.{level}.carry"] = np.array([0.7], np.float32)
    for number in range(len(widths) - 1):
        deep, width = widths[-1 - number], widths[-2 - number]
        add(f"up.{number}.deep", deep, width, 1)
        add(f"up.{number}.across", width, width)
        add(f"up.{number}.second", width, width)
        tensors[f"up.{number}.carry"] = np.array([0.6], np.float32)
    add("head", widths[0], 3, 1)
    return tensors


def written(path: Path, tensors: dict[str, np.ndarray], planes: int = 2, **header: str) -> Path:
    shape = {"planes": planes, "levels": sum("down" in name for name in tensors) // 7, "reach": 8.0}
    save_file(tensors, path, {"format": FORMAT, "network": json.dumps(shape)} | header)
    return path


@pytest.fixture
def network(tmp_path: Path) -> UNet:
    return load_unet(written(tmp_path / "some.safetensors", random_weights()))


def levels(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (2, *shape)).astype(np.float32)


@pytest.fixture
def floats() -> Floats:
    return Floats.of(random_weights(), 3, "cpu")


def test_single_and_double_precision_give_the_same_numbers(floats: Floats) -> None:
    network = floats
    double = Floats({name: tensor.double() for name, tensor in network.tensors.items()}, 3)
    image = levels((48, 64))
    exact = (
        network._convolved(_tensor(image), "down.0.first"),
        double._convolved(_tensor(image).double(), "down.0.first"),
    )
    assert float(exact[0].std()) > 1
    single, wide = (np.asarray(each) for each in exact)
    np.testing.assert_array_equal(np.round(single), np.round(wide))
    sums = [
        np.asarray(_sums(each, _tensor(image).to(dtype)))
        for each, dtype in ((network, _torch().float32), (double, _torch().float64))
    ]
    np.testing.assert_array_equal(*sums)  # whole numbers, to the last one


def _torch():  # type: ignore[no-untyped-def]
    import torch

    return torch


def _tensor(image: np.ndarray):  # type: ignore[no-untyped-def]
    return _torch().from_numpy(image)[None]


def _sums(network: Floats, x):  # type: ignore[no-untyped-def]
    from torch.nn import functional

    return functional.conv2d(x, network.tensors["down.0.first.weight"], padding=1)


@pytest.mark.parametrize("shape", [(130, 96), (37, 201), (1, 5)])
def test_tiles_give_the_numbers_of_one_piece(network: UNet, shape: tuple[int, int]) -> None:
    image = levels(shape)
    whole = network.maps(image)
    assert whole.shape == (3, *shape)
    for tile in (32, 44, 64):
        np.testing.assert_array_equal(network.maps(image, tile), whole)


@pytest.mark.skipif(not fast(), reason="this processor multiplies no bytes")
@pytest.mark.parametrize(
    ("planes", "widths", "shape"), [(2, (4, 6, 8), (8, 12)), (3, (16, 32, 64), (64, 40)), (1, (5,), (3, 1))]
)
def test_whole_numbers_and_floating_point_give_the_same_numbers(
    planes: int, widths: tuple[int, ...], shape: tuple[int, int]
) -> None:
    for seed in range(4):
        arrays = random_weights(planes, widths, seed)
        x = np.random.default_rng(seed).integers(0, 256, (planes, *shape)).astype(np.float32)
        found, expected = (
            kind.forward(x) for kind in (Integers.of(arrays, len(widths)), Floats.of(arrays, len(widths), "cpu"))
        )
        assert expected.std() > 0
        np.testing.assert_array_equal(found, expected)


def test_bytes_are_rounded_half_to_even_and_held() -> None:
    values = np.array([-5, -0.5, 0.5, 1.5, 2.5, 2.51, 254.5, 254.6, 255.5, 1e9], np.float32)
    found = moved(values.reshape(1, -1, 1), np.ones(1, np.float32), np.zeros(1, np.float32))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found.ravel(), [0, 0, 0, 2, 2, 3, 254, 255, 255, 255])


def test_maps_of_members_are_averaged_whatever_the_arithmetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, parts = levels((40, 24)), [random_weights(seed=seed) for seed in (3, 4, 5)]
    tensors = {f"{number}.{name}": tensor for number, part in enumerate(parts) for name, tensor in part.items()}
    shape = json.dumps({"planes": 2, "levels": 3, "reach": 8.0, "members": 3})
    together = load_unet(written(tmp_path / "three.safetensors", tensors, network=shape)).maps(image)
    one, two, three = (
        load_unet(written(tmp_path / f"{number}.safetensors", part)).maps(image) for number, part in enumerate(parts)
    )
    assert not np.array_equal(one, two)
    np.testing.assert_allclose(together, (one + two + three) / 3, rtol=1e-5, atol=1e-3)
    monkeypatch.setattr(unet_integers, "fast", lambda: False)
    again = load_unet(written(tmp_path / "again.safetensors", tensors, network=shape)).maps(image)
    np.testing.assert_array_equal(again, together)
    none = json.dumps({"planes": 2, "levels": 3, "reach": 8.0, "members": 0})
    with pytest.raises(InputError, match="no members"):
        load_unet(written(tmp_path / "none.safetensors", tensors, network=none))


def test_one_convolution_by_hand() -> None:
    torch = _torch()
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[0, 0, 1, 1], kernel[0, 0, 1, 2] = 2, -1
    tensors = {"a.weight": kernel, "a.factor": torch.tensor([0.5])[None, :, None, None],
               "a.shift": torch.tensor([10.0])[None, :, None, None]}  # fmt: skip
    found = Floats(tensors, 1)._convolved(torch.tensor([[[[4.0, 6.0, 8.0]]]]), "a")
    # (2 * 4 - 6) / 2 + 10, (2 * 6 - 8) / 2 + 10, (2 * 8 - 0) / 2 + 10
    np.testing.assert_array_equal(np.asarray(found).ravel(), [11, 12, 18])


def test_weights_that_could_leave_the_whole_numbers_or_are_none_are_refused(tmp_path: Path) -> None:
    wide = random_weights(widths=(300, 4, 4))
    wide["down.0.second.weight"][:] = 127  # 300 * 9 * 127 * 255 is beyond 2**24
    with pytest.raises(InputError, match="can exceed"):
        load_unet(written(tmp_path / "wide.safetensors", wide))
    tensors = random_weights() | {"down.0.first.weight": np.zeros((4, 2, 3, 3), np.float32)}
    with pytest.raises(InputError, match=r"down\.0\.first\.weight is float32"):
        load_unet(written(tmp_path / "float.safetensors", tensors))
    lacking = random_weights()
    del lacking["head.shift"]
    with pytest.raises(InputError, match=r"head\.shift"):
        load_unet(written(tmp_path / "lacking.safetensors", lacking))
    with pytest.raises(InputError, match="format 'other'"):
        load_unet(written(tmp_path / "other.safetensors", random_weights(), format="other"))
    (tmp_path / "pickled.safetensors").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="no network of this package"):
        load_unet(tmp_path / "pickled.safetensors")
    with pytest.raises(InputError, match="no file"):
        make_segmenter(NetworkConfig(nuclei=NetworkNucleiConfig(weights=tmp_path / "none.safetensors")))
    other = written(tmp_path / "planes.safetensors", random_weights(planes=3), planes=3)
    image, _ = two_stains()
    with pytest.raises(InputError, match="sees 3 planes"):
        segmented(other, image, ["DNA", "RNA"])


@pytest.mark.parametrize(
    ("diameter", "step"), [(6, 1), (13.9, 1), (14, 0), (27.9, 0), (28, -1), (34, -1), (90, -2), (2, 1)]
)
def test_octave_brings_nuclei_to_fourteen_to_twentyeight_pixels(diameter: float, step: int) -> None:
    assert octave(diameter) == step


def test_scaling_by_powers_of_two() -> None:
    plane = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(rescaled(plane, -1), [[2.0, 3.5]])  # (0 + 1 + 3 + 4) / 4, (2 + 2 + 5 + 5) / 4
    np.testing.assert_array_equal(rescaled(plane, 1)[0], [0, 0.25, 0.75, 1.25, 1.75, 2])
    large = np.random.default_rng(0).random((37, 50)).astype(np.float32)
    blocks = np.pad(large, [(0, 3), (0, 2)], mode="edge").reshape(10, 4, 13, 4).mean((1, 3))
    np.testing.assert_allclose(rescaled(large, -2), blocks, rtol=1e-6)
    assert rescaled(rescaled(large, 1), -1).shape == large.shape


def test_levels_are_whole_numbers_whatever_the_brightness() -> None:
    image, _ = two_stains()
    dim = nuclear_light(image[0] * np.float32(0.01))
    bright = nuclear_light(image[0])
    assert dim is not None
    assert bright is not None
    one, other = levels_of(dim.plane), levels_of(bright.plane)
    assert one.shape == (2, 240, 240)
    np.testing.assert_array_equal(one, np.round(one))
    assert one.min() >= 0
    assert one.max() <= 255
    assert np.abs(one - other).max() <= 1
    assert bright.step == 0


def test_a_large_field_is_looked_at_in_half_its_size_unless_its_nuclei_are_small() -> None:
    image, _ = two_stains()
    large = np.tile(image[0], (4, 4))
    light, doubled = nuclear_light(large), nuclear_light(rescaled(large[:480, :480], 1))
    assert light is not None
    assert doubled is not None
    assert (light.step, light.plane.shape) == (0, large.shape)  # of 22 pixels
    assert (doubled.step, doubled.plane.shape) == (-1, (480, 480))  # of 44
    assert np.corrcoef(doubled.plane.ravel(), light.plane[:480, :480].ravel())[0, 1] > 0.99
    told = nuclear_light(large, 12)
    assert told is not None
    assert told.step == 1


def perfect_maps(labels: np.ndarray) -> np.ndarray:
    """What a network without error says of labels."""
    maps = np.zeros((3, *labels.shape), np.float32)
    maps[0] = np.where(labels > 0, 4, -4)
    for label in np.unique(labels[labels > 0]):
        rows, columns = np.nonzero(labels == label)
        maps[1][rows, columns], maps[2][rows, columns] = rows.mean() - rows, columns.mean() - columns
    return maps


def touching() -> np.ndarray:
    row, column = np.mgrid[:60, :90]
    labels = np.zeros((60, 90), np.int32)
    labels[np.hypot(row - 30, column - 25) < 11] = 1
    labels[(np.hypot(row - 30, column - 45) < 11) & (labels == 0)] = 2
    labels[(np.hypot(row - 12, column - 36) < 9) & (labels == 0)] = 3
    return labels


@pytest.mark.parametrize("step", [1, 0, -1])
def test_votes_of_perfect_maps_give_touching_nuclei_back(step: int) -> None:
    truth = touching()
    found = nuclei_of(perfect_maps(truth), step)
    assert found.max() == 3
    assert instance_f1(truth, found, 0.99) == 1


def test_nuclei_that_are_seen_in_double_size_are_drawn_tighter() -> None:
    truth = touching()
    maps = perfect_maps(truth)
    inner = ndimage.minimum_filter(truth, 3)
    rim = (truth > 0) & (ndimage.maximum_filter(truth, 3) != inner)
    maps[0, rim] = TIGHT / 2
    np.testing.assert_array_equal(nuclei_of(maps, 0) > 0, truth > 0)
    np.testing.assert_array_equal(nuclei_of(maps, 1) > 0, (truth > 0) & ~rim)


def test_wrong_offsets_of_some_pixels_make_no_nucleus() -> None:
    truth = touching()
    maps = perfect_maps(truth)
    rng = np.random.default_rng(0)
    wrong = rng.random(truth.shape) < 0.1
    maps[1:, wrong] += rng.normal(0, 15, (2, int(wrong.sum()))).astype(np.float32)
    found = nuclei_of(maps, 0)
    assert found.max() == 3
    assert instance_f1(truth, found, 0.7) == 1


def test_of_equal_peaks_the_first_in_reading_order_counts() -> None:
    votes = np.zeros((20, 20), np.int64)
    votes[5, 5] = votes[5, 8] = votes[15, 5] = 100
    rows, columns = np.nonzero(_peaks(votes, 15))
    assert list(zip(rows, columns, strict=True)) == [(5, 5), (15, 5)]


def test_a_field_without_inside_or_of_specks_has_no_nuclei() -> None:
    maps = np.full((3, 30, 40), -1, np.float32)
    assert nuclei_of(maps, 0).shape == (30, 40)
    assert nuclei_of(maps, 0).max() == 0
    maps[:, 10:12, 10:12] = [[[1]], [[0]], [[0]]]
    assert nuclei_of(maps, 0).max() == 0


def test_cells_go_to_the_nucleus_their_pixels_lead_to_and_keep_its_number() -> None:
    row, column = np.mgrid[:80, :120]
    cells = np.where(column < 60, 1, 2).astype(np.int32)
    cells[(row < 5) | (row > 74) | (column < 5) | (column > 114)] = 0
    nuclei = np.zeros_like(cells)
    nuclei[np.hypot(row - 40, column - 35) < 8] = 1
    nuclei[np.hypot(row - 40, column - 80) < 8] = 2
    maps = perfect_maps(cells)
    for label in (1, 2):
        rows, columns = np.nonzero(cells == label)
        middle = np.argwhere(nuclei == label).mean(axis=0)
        maps[1][rows, columns], maps[2][rows, columns] = middle[0] - rows, middle[1] - columns
    maps[0, 0:3, 0:3] = 4  # a piece apart that no nucleus lies in
    for step in (0, -1, -2):
        found = cells_of(maps, nuclei, step)
        assert instance_f1(cells, found, 0.95) == 1
        assert (found[nuclei > 0] == nuclei[nuclei > 0]).all()
        assert found[0, 0] == 0
    assert cells_of(maps, np.zeros_like(nuclei), 0).max() == 0


def segmented(path: Path, image: np.ndarray, channels: list[str], **nuclei: object):  # type: ignore[no-untyped-def]
    config = NetworkConfig(nuclei=NetworkNucleiConfig(weights=path, **nuclei), cells=CellsConfig())
    return make_segmenter(config).segment(image, channels)


def test_a_users_own_weights_run_and_count_among_the_sources(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.safetensors", random_weights())
    image, _ = two_stains()
    check_links(segmented(path, image, ["DNA", "RNA"]))
    config = NetworkConfig(nuclei=NetworkNucleiConfig(weights=path), cells=CellsConfig())
    before = made_with(config)
    assert set(before) == {"rules of the network", "weights of nuclei"}
    written(path, random_weights(seed=1))
    assert made_with(config) != before
    assert set(made_with(NetworkConfig())) == {"rules of the network", "weights of nuclei", "weights of cells"}


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("shape", [(80, 90), (1, 1), (3, 200)])
def test_flat_fields_have_no_nuclei(shape: tuple[int, int], value: float) -> None:
    found = make_segmenter(NetworkConfig()).segment(np.full((2, *shape), value, np.float32), ["DNA", "RNA"])
    assert (found.count, found.cells.shape) == (0, shape)


def simulated(seed: int = 5):  # type: ignore[no-untyped-def]
    design = SIZES["demo"].model_copy(update={"technique": Technique(focus_failures=0, saturation=0)})
    design = GalleryDesign.model_validate(design.model_dump())
    site = simulate_site(design, seed, 0, plate_wells(design, seed, 0)[0], 1)
    return site, site.image.astype(np.float32) / 65535


def test_shipped_weights_find_a_simulated_field() -> None:
    site, image = simulated()
    config = NetworkConfig(nuclei=NetworkNucleiConfig(border="keep"))
    found = make_segmenter(config).segment(image, CHANNELS)
    check_links(found)
    assert instance_f1(site.nuclei, found.nuclei, 0.5) > 0.8  # of ten, one with two lobes
    assert instance_f1(site.cells, found.cells, 0.5) > 0.8
    # Any of the stains does, and the mean of eight orientations.
    for stain in ("RNA", "ER", "AGP"):
        one = image[[0, CHANNELS.index(stain)]]
        assert instance_f1(site.cells, make_segmenter(config).segment(one, ["DNA", stain]).cells, 0.5) > 0.7
    turned = Augmented(make_segmenter(config)).segment(image, CHANNELS)
    check_links(turned)
    assert instance_f1(found.nuclei, turned.nuclei, 0.5) > 0.9
    with pytest.raises(InputError, match="RNA"):
        make_segmenter(config).segment(image[[0, 4]], ["DNA", "Mito"])


def test_masks_do_not_depend_on_threads() -> None:
    torch = _torch()
    _, image = simulated(seed=6)
    segmenter = make_segmenter(NetworkConfig())
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(segmenter.segment(image, CHANNELS))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0].nuclei, found[1].nuclei)
    np.testing.assert_array_equal(found[0].cells, found[1].cells)


def test_shipped_weights_are_small_numbers_with_a_card() -> None:
    card = (SHIPPED["nuclei"].parent / "network.md").read_text()
    for path in SHIPPED.values():
        assert path.stat().st_size < 4e6
        assert file_sha256(path) in card
        assert all(np.isfinite(tensor).all() for tensor in load_file(path).values())


def test_nuclei_at_the_border_and_of_odd_sizes_by_choice() -> None:
    image, _ = two_stains()
    kept = make_segmenter(NetworkConfig(nuclei=NetworkNucleiConfig(border="keep"))).segment(
        image[:, 25:], ["DNA", "RNA"]
    )
    gone = make_segmenter(NetworkConfig()).segment(image[:, 25:], ["DNA", "RNA"])
    assert kept.count - gone.count == gone.dropped["border"] > 0
    none = make_segmenter(NetworkConfig(nuclei=NetworkNucleiConfig(max_diameter=8))).segment(image, ["DNA", "RNA"])
    assert none.count == 0
    edge = NetworkConfig(cells=NetworkCellsConfig(border="discard"))
    assert make_segmenter(edge).segment(image[:, 20:], ["DNA", "RNA"]).dropped["border"] > 0
