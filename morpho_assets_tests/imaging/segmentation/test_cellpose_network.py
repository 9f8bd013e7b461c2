"""The real cellpose with the small network that is shipped: its settings, its weights files, and what goes wrong."""

from __future__ import annotations

import socket
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from morpho_assets.errors import InputError
from morpho_assets.evaluate.segmentation import instance_f1
from morpho_assets.imaging.augmentation import SYMMETRIES, Augmented, restored, turned
from morpho_assets.imaging.segmentation import CellposeConfig, fetch_weights, made_with, make_segmenter
from morpho_assets.imaging.segmentation import cellpose_network as ours
from morpho_assets.imaging.segmentation.config import CellposeNetworkConfig, CellsConfig
from morpho_assets_tests.imaging.segmentation.test_segmenters import check_links, two_stains
from morpho_assets_tests.project import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:Sparse invariant:UserWarning"),
]
STAINS = ["DNA", "RNA"]


def nuclei_of(model: str, **settings: object) -> CellposeNetworkConfig:
    return CellposeNetworkConfig(**{"model": model, "channels": ("DNA",), "diameter": 22.0, **settings})


def config(model: str = "small-nuclei", **settings: object) -> CellposeConfig:
    return CellposeConfig(nuclei=nuclei_of(model, **settings), cells=CellsConfig(channels=("RNA",)))


def count(image: np.ndarray, **settings: object) -> int:
    return make_segmenter(config(**settings)).segment(image, STAINS).count


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of cellpose's own; its server is a port on which nobody listens."""
    from cellpose import models

    monkeypatch.setattr(models, "MODEL_DIR", tmp_path)
    monkeypatch.setattr(models, "_MODEL_URL", "http://127.0.0.1:9/models")
    return tmp_path


def refused(model: str, match: str) -> None:
    image, _ = two_stains()
    with pytest.raises(InputError, match=match):
        make_segmenter(config(model)).segment(image, STAINS)


def test_cells_by_a_second_network_and_what_it_sees() -> None:
    image, truth = two_stains()
    cells = CellposeNetworkConfig(model="small-nuclei", channels=("RNA",), diameter=44.0)
    segmenter = make_segmenter(CellposeConfig(nuclei=nuclei_of("small-nuclei"), cells=cells))
    assert segmenter.vectors == ((0, 1), (3, 4))
    found = segmenter.segment(image, STAINS)
    check_links(found)
    assert instance_f1(truth, found.nuclei) > 0.9
    assert np.bincount(found.cells.ravel())[1:].min() > 1.3 * np.pi * 11**2
    # The shipped network has learnt from one channel: a second one only confuses it, which shows that it is seen.
    both = cells.model_copy(update={"nuclear_channel": "DNA"})
    maps, seen = (
        make_segmenter(CellposeConfig(nuclei=nuclei_of("small-nuclei"), cells=network)).maps(image, STAINS)
        for network in (cells, both)
    )
    np.testing.assert_array_equal(maps[:3], seen[:3])
    assert not np.allclose(maps[3:], seen[3:], atol=0.1)


def test_thresholds_and_sizes_drop_objects() -> None:
    image, _ = two_stains()
    assert count(image) == 14
    assert count(image, cellprob_threshold=50.0) == 0
    assert count(image, min_size=2000) == 0
    loose, strict = (count(image, flow_threshold=threshold) for threshold in (0.0, 0.001))
    assert loose >= 14 > strict


def test_the_batch_size_changes_no_object() -> None:
    image, _ = two_stains()
    found = [make_segmenter(config().model_copy(update={"batch_size": size})).segment(image, STAINS) for size in (1, 8)]
    np.testing.assert_array_equal(found[0].nuclei, found[1].nuclei)


def test_a_gpu_that_is_not_there_is_an_error() -> None:
    import torch

    image, _ = two_stains()
    segmenter = make_segmenter(config().model_copy(update={"device": "gpu"}))
    if torch.cuda.is_available():
        assert segmenter.segment(image, STAINS).count == 14
    else:
        with pytest.raises(InputError, match="a GPU that torch sees"):
            segmenter.segment(image, STAINS)


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 3), (1, 1), (0, 0)])
def test_images_too_small_for_any_object_have_none(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((2, *shape), np.float32)
    found = make_segmenter(config()).segment(image, STAINS)
    assert (found.count, found.nuclei.shape) == (0, shape)


def test_augmentation_averages_probabilities_and_turns_the_flows_back() -> None:
    image, truth = two_stains()
    segmenter = make_segmenter(config())
    singles = []
    for turn in SYMMETRIES:
        maps = segmenter.maps(np.ascontiguousarray(turned(image, *turn)), STAINS)
        assert 0 <= maps[2].min() < 0.1 < 0.9 < maps[2].max() <= 1
        singles.append(restored(maps[2], *turn))
    found = Augmented(segmenter).segment(image, STAINS)
    assert instance_f1(truth, found.nuclei) > 0.9
    # An object's pixels have a mean probability over one half; holes that it encloses are filled.
    assert (np.mean(singles, axis=0)[found.nuclei > 0] > 0.5).mean() > 0.99


def test_maps_are_the_network_s_logits_as_probabilities_and_thresholds_stay_logits() -> None:
    image, _ = two_stains()
    segmenter = make_segmenter(config(cellprob_threshold=2.0))
    network = ours._network("small-nuclei", "cpu")
    planes = np.stack([image[0], np.zeros_like(image[0])])
    _, (_, flow, logit), _ = network.eval(planes, channel_axis=0, diameter=22.0, compute_masks=False)
    maps = segmenter.maps(image, STAINS)
    np.testing.assert_allclose(maps[2], special.expit(logit), rtol=1e-5)
    np.testing.assert_allclose(maps[:2], flow, rtol=1e-5, atol=1e-6)
    inside = segmenter.from_maps(maps, image, STAINS).nuclei > 0
    assert (logit[inside] > 2).mean() > 0.99


def test_a_name_that_cannot_be_fetched_says_so_at_once(cache: Path) -> None:
    with pytest.raises(InputError, match=r"cyto3, whose weights are not in .* and cannot be downloaded"):
        fetch_weights(config("cyto3"))
    refused("cyto3", "cannot be downloaded")
    assert list(made_with(config("cyto3"))) == ["cellpose"]
    assert not list(cache.iterdir())


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A port that takes connections and never answers, as behind a firewall."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_that_never_answers_is_given_up(cache: Path, silent_server: int, monkeypatch) -> None:
    from cellpose import models

    monkeypatch.setattr(models, "_MODEL_URL", f"http://127.0.0.1:{silent_server}")
    monkeypatch.setattr(ours, "DOWNLOAD_TIMEOUT", 0.3)
    refused("cyto3", "cannot be downloaded .*timed out")
    assert socket.getdefaulttimeout() is None


BROKEN = {
    "a portal's page": lambda whole: b"<html>Log in to the network</html>",
    "a cut download": lambda whole: whole[: len(whole) // 2],
    "nothing": lambda whole: b"",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(("model", "file"), [("cyto3", "cyto3"), ("nuclei", "nucleitorch_0")])
def test_broken_weights_in_the_cache_are_named(cache: Path, broken, model: str, file: str) -> None:
    (cache / file).write_bytes(broken(ours.SHIPPED["small-nuclei"].read_bytes()))
    refused(model, f"{file}: found no cellpose 3 weights .*Restore the file")


def test_without_cellpose_the_sentence_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(ours, "version", nothing)
    with pytest.raises(InputError, match=r"found no cellpose; .* Run `pip install fastremap .*--no-deps cellpose==3"):
        make_segmenter(config())
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["cellpose"]
    assert tuple(extra) == ours.NEEDED_BY_3
    pins = (ROOT / "constraints.txt").read_text().replace("_", "-").splitlines()
    assert "cellpose==3.1.1.3" in pins  # as the sentence says
    assert [name for name in extra if not any(pin.startswith(f"{name}==") for pin in pins)] == []


def test_a_package_that_does_not_import_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As cellpose 4 beside a torchvision that was built for another torch."""
    import cellpose.models

    monkeypatch.setitem(sys.modules, "cellpose.models", None)
    monkeypatch.delattr(cellpose, "models")
    refused("cyto3", r"found cellpose 3\.\S+, which cannot be imported")


def test_weights_of_another_kind_are_told_apart(tmp_path: Path) -> None:
    import torch

    torch.save({"encoder.pos_embed": torch.ones(2), "W2": torch.ones(3)}, tmp_path / "sam.pt")
    refused(str(tmp_path / "sam.pt"), "found weights of cellpose 4; expected those of cellpose 3, which is installed")
    with pytest.raises(InputError, match="found weights of cellpose 3; expected those of cellpose 4"):
        ours._weights(ours.SHIPPED["small-nuclei"], 4)
    assert "W2" in ours._weights(tmp_path / "sam.pt", 4)
    torch.save({"conv.weight": torch.ones(2)}, tmp_path / "other.pt")
    refused(str(tmp_path / "other.pt"), "no cellpose 3 weights")
    torch.save([1, 2], tmp_path / "list.pt")
    refused(str(tmp_path / "list.pt"), "no cellpose 3 weights")


def test_a_model_of_the_cache_is_run_by_its_name_and_known_by_its_content(cache: Path) -> None:
    import torch
    from cellpose.resnet_torch import CPnet

    image, _ = two_stains()
    sums = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(CPnet([2, 32, 64, 128, 256], 3, 3).state_dict(), cache / "cyto3")
        segmenter = make_segmenter(config("cyto3"))
        sums.append((made_with(config("cyto3"))["weights of cyto3"], segmenter.maps(image, STAINS).tobytes()))
    assert len({checksum for checksum, _ in sums}) == 2
    assert len({maps for _, maps in sums}) == 2  # other weights under the same name are loaded anew
