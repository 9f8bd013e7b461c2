"""The real cellpose package behind the segmenter's seam: version 3, or version 4 where that is installed.

Stringer et al. 2021, doi:10.1038/s41592-020-01018-x; Pachitariu et al. 2025, doi:10.1101/2025.04.28.651001. A network
gives three maps per compartment (row flow, column flow, probability of being in an object); masks are where the flows
lead. Importing cellpose takes seconds, so it happens at the first image; networks are kept per process.
"""

from __future__ import annotations

import pickle
import socket
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from morpho_assets.errors import InputError
from morpho_assets.imaging.segmentation.channels import plane_of
from morpho_assets.imaging.segmentation.config import CellposeConfig, CellposeNetworkConfig, CellsConfig
from morpho_assets.imaging.segmentation.files import file_sha256
from morpho_assets.imaging.segmentation.objects import Labels, Segmentation, linked, selected
from morpho_assets.imaging.segmentation.own_thresholds import nuclear_diameter
from morpho_assets.imaging.segmentation.thresholds import is_flat
from morpho_assets.imaging.segmentation.watershed import nuclei_with_cells

Maps = NDArray[np.float32]

SHIPPED = {"small-nuclei": Path(__file__).parent / "weights" / "small_nuclei.pt"}

DOWNLOAD_TIMEOUT = 20.0  # seconds without an answer: a firewall may drop packets in silence
LEAST_SIDE = 4  # pixels at the network's scale
SCALE_OF_4 = 30.0  # pixels: the diameter to which cellpose 4 brings objects of a given diameter

NEEDED_BY_3 = ("fastremap", "fill-voids", "natsort", "opencv-python-headless", "roifile", "tqdm")
"""What cellpose 3 needs that this package does not; pyproject.toml's extra `cellpose` is the same."""
_SETTINGS = "segmentation (cellpose)"
_LEAST_PROBABILITY = 1e-9


@dataclass(frozen=True)
class CellposeSegmenter:
    """See `CellposeConfig`. cellpose and a path of weights are looked for when this is made: InputError without."""

    config: CellposeConfig

    def __post_init__(self) -> None:
        _installed()
        for network in self._networks:
            _own_file(network.model)

    @property
    def _networks(self) -> tuple[CellposeNetworkConfig, ...]:
        cells = self.config.cells
        return (self.config.nuclei,) if isinstance(cells, CellsConfig) else (self.config.nuclei, cells)

    @property
    def vectors(self) -> tuple[tuple[int, int], ...]:
        """Positions in `maps` of the (row, column) flows, which turn when the image is turned."""
        return tuple((3 * network, 3 * network + 1) for network in range(len(self._networks)))

    def fetch(self) -> None:
        """Have the weights of every model that is called by name on this machine; InputError where they cannot be."""
        for network in self._networks:
            if not _known_file(network.model):
                _fetch(network.model)

    def provenance(self) -> dict[str, str]:
        """What the masks depend on besides the settings: cellpose's version and the sha256 of each weights file.

        Of weights that are not on this machine nothing is said.
        """
        files = {network.model: _known_file(network.model) for network in self._networks}
        sums = {f"weights of {model}": file_sha256(path) for model, path in files.items() if path}
        return {"cellpose": _installed(), **sums}

    def maps(self, image: NDArray[np.float32], channels: Sequence[str]) -> Maps:
        """(C, H, W) in [0, 1] -> (3 or 6, H, W): row flow, column flow and probability of nuclei, then of cells."""
        return np.concatenate([self._maps_of(network, image, channels) for network in self._networks])

    def from_maps(self, maps: Maps, image: NDArray[np.float32], channels: Sequence[str]) -> Segmentation:
        """Nuclei and cells from `maps`, linked one to one."""
        nuclei, cells = self.config.nuclei, self.config.cells
        found = self._objects(nuclei, maps[:3], image, channels)
        if isinstance(cells, CellsConfig):
            return nuclei_with_cells(found, image, channels, cells, discard_border=nuclei.border == "discard")
        kept, dropped = selected(found, discard_border=nuclei.border == "discard")
        whole, more = selected(
            self._objects(cells, maps[3:], image, channels), discard_border=cells.border == "discard"
        )
        return linked(
            kept, whole, {"border": dropped.get("border", 0) + more.get("border", 0)} if dropped or more else {}
        )

    def segment(self, image: NDArray[np.float32], channels: Sequence[str]) -> Segmentation:
        """(C, H, W) in [0, 1] -> nuclei and cells. A constant image has none."""
        return self.from_maps(self.maps(image, channels), image, channels)

    def _maps_of(self, network: CellposeNetworkConfig, image: NDArray[np.float32], channels: Sequence[str]) -> Maps:
        main = plane_of(image, channels, network.channels)
        second = np.zeros_like(main)
        if network.nuclear_channel is not None:
            second = plane_of(image, channels, (network.nuclear_channel,))
        nothing = np.zeros((3, *main.shape), np.float32)
        if is_flat(main):
            return nothing  # normalising it would divide by zero
        model, diameter = _network(network.model, self.config.device), _diameter(network, main)
        if min(main.shape) * model.diam_mean / (diameter or model.diam_labels) < LEAST_SIDE:
            return nothing  # at the network's scale not even a part of an object
        _, (_, flow, logit), _ = model.eval(
            np.stack([main, second]),
            batch_size=self.config.batch_size,
            channel_axis=0,
            diameter=diameter,
            compute_masks=False,
        )
        return np.concatenate([flow, special.expit(logit)[None]]).astype(np.float32)

    def _objects(
        self, network: CellposeNetworkConfig, maps: Maps, image: NDArray[np.float32], channels: Sequence[str]
    ) -> Labels:
        from cellpose import dynamics

        if not maps.any():
            return np.zeros(maps.shape[1:], np.int32)
        model = _network(network.model, self.config.device)
        diameter = _diameter(network, plane_of(image, channels, network.channels)) or model.diam_labels
        masks = dynamics.resize_and_compute_masks(
            maps[:2],
            special.logit(maps[2].astype(np.float64).clip(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)),
            niter=int(200 * diameter / model.diam_mean),  # pixels that a flow needs to reach a centre
            cellprob_threshold=network.cellprob_threshold,
            flow_threshold=network.flow_threshold,
            min_size=network.min_size,
            device=model.device,
        )
        return masks.astype(np.int32)


def _diameter(network: CellposeNetworkConfig, plane: NDArray[np.float32]) -> float | None:
    """Objects' diameter in pixels, None for the model's own."""
    if network.diameter == "estimate":
        return None if is_flat(plane) else nuclear_diameter(plane)
    return network.diameter


def _own_file(model: str) -> Path | None:
    """The weights file of a shipped model or a path; None for what can only be a name that cellpose knows."""
    if model in SHIPPED:
        return SHIPPED[model]
    path = Path(model)
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        # cellpose itself would fall back to downloading another model here.
        raise InputError(_SETTINGS, "model", f"no file {model}", "a weights file", "Correct the path.")
    return None


def _known_file(model: str) -> Path | None:
    """The weights file of a model where it is on this machine. Raises InputError for a name nobody knows."""
    path = _own_file(model) or _cached_file(model)
    return path if path.is_file() else None


def _installed() -> str:
    """The version of cellpose. Raises InputError, which says what to install, where there is none."""
    try:
        return version("cellpose")
    except PackageNotFoundError as error:
        # cellpose 3 asks for numpy below 2.1, which Python 3.13 has not; it works with a newer one.
        todo = (
            f"Run `pip install {' '.join(NEEDED_BY_3)}` and `pip install --no-deps cellpose==3.1.1.3`; "
            "method watershed needs none."
        )
        raise InputError(_SETTINGS, "package", "no cellpose", "cellpose 3 or 4", todo) from error


def _models() -> Any:
    """The package's module of models. Raises InputError for a version that we do not know, or that does not import."""
    installed = _installed()
    _major(installed)
    try:
        from cellpose import models
    except (ImportError, RuntimeError, OSError) as error:  # of version 4 with a torchvision that is not of this torch
        found = f"cellpose {installed}, which cannot be imported ({error})"
        todo = "Install what it needs, or constraints.txt's version of it."
        raise InputError(_SETTINGS, "package", found, "a package that works", todo) from error
    return models


def _cached_file(model: str) -> Path:
    """Where cellpose keeps the weights of a model that it calls by name."""
    models = _models()
    if model not in models.MODEL_NAMES:
        known = ", ".join([*SHIPPED, *models.MODEL_NAMES])
        todo = "Correct the name; a model of another version of cellpose needs that version."
        raise InputError(_SETTINGS, "model", repr(model), f"a path or one of {known}", todo)
    old_name = model in ("cyto", "cyto2", "nuclei")  # of version 3: these alone have another file name
    return Path(models.MODEL_DIR) / (f"{model}torch_0" if old_name else model)


def _fetch(model: str) -> None:
    """Have cellpose download the weights of a model that it calls by name."""
    models, path = _models(), _cached_file(model)
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            models.cache_model_path(path.name)
    except OSError as error:
        found = f"{model}, whose weights are not in {models.MODEL_DIR} and cannot be downloaded ({error})"
        todo = "Copy the weights file there or name its path; method watershed needs none."
        raise InputError(_SETTINGS, "model", found, "weights on this machine", todo) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _network(model: str, device: str) -> Any:
    """A cellpose model ready to run, one per process and weights file."""
    path = _known_file(model)
    if path is None:
        _fetch(model)
        path = _cached_file(model)
    return _loaded(path, path.stat().st_mtime_ns, model if _own_file(model) is None else None, device)


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int, name: str | None, device: str) -> Any:
    """The network of a weights file as it was when last `changed`; `name` where cellpose calls the model by one."""
    import torch

    if device == "gpu" and not torch.cuda.is_available():
        raise InputError(_SETTINGS, "device", "gpu", "a GPU that torch sees", "Set device: cpu.")
    place = torch.device("cuda" if device == "gpu" else "cpu")
    models, installed = _models(), _major(_installed())
    weights = _weights(path, installed)
    try:
        if installed == 4:
            return _network_of_4(models, path, place)
        if name is None:
            return _cpnet(models, path, weights, place)
        return models.CellposeModel(gpu=False, model_type=name, device=place)
    except (KeyError, RuntimeError, AttributeError, NameError, ValueError) as error:
        raise _no_weights(path, installed, error) from error


def _major(installed: str) -> int:
    """3 or 4; InputError for any other version of cellpose, which may have other networks and other calls."""
    major = installed.split(".")[0]
    if major not in ("3", "4"):
        todo = "Install constraints.txt's version of it."
        raise InputError(_SETTINGS, "package", f"cellpose {installed}", "cellpose 3 or 4", todo)
    return int(major)


def _weights(path: Path, installed: int) -> Mapping[str, Any]:
    """The state dict of a weights file. Raises InputError for a broken file, or weights of the other version."""
    import torch

    try:
        # What is not needed of a gigabyte is then not read; files of older versions of torch are no zip archives.
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, pickle.UnpicklingError) as error:
        raise _no_weights(path, installed, error) from error
    if not isinstance(weights, Mapping) or not weights:
        raise _no_weights(path, installed, TypeError())
    made_by = 4 if any(name.endswith("W2") for name in weights) else 3
    if made_by != installed:
        expected = f"those of cellpose {installed}, which is installed"
        todo = f"Name other weights, or install cellpose {made_by} (docs/segmentation.md)."
        raise InputError(_SETTINGS, str(path), f"weights of cellpose {made_by}", expected, todo)
    return weights


def _no_weights(path: Path, installed: int, error: Exception) -> InputError:
    found = f"no cellpose {installed} weights ({type(error).__name__}): broken, or cut in a download"
    todo = f"Restore the file, or name weights that cellpose {installed} saved; cellpose fetches what it knows by name."
    return InputError(_SETTINGS, str(path), found, "a network's state dict", todo)


def _network_of_4(models: Any, path: Path, place: Any) -> Any:
    # Half precision is many times slower than single on a CPU.
    model = models.CellposeModel(pretrained_model=str(path), device=place, use_bfloat16=place.type != "cpu")
    model.diam_mean = model.diam_labels = SCALE_OF_4
    return model


def _cpnet(models: Any, path: Path, weights: Mapping[str, Any], place: Any) -> Any:
    """A cellpose 3 network of any width; the widths are read from its weights."""
    import torch
    from cellpose import resnet_torch

    class Network(resnet_torch.CPnet):
        """cellpose keeps 256 numbers of each network's style; a narrower network has fewer."""

        def forward(self, data: Any) -> tuple[Any, Any, Any]:
            output, style, levels = super().forward(data)
            return output, torch.nn.functional.pad(style, (0, 256 - style.shape[1])), levels

    depth = sum(name.endswith("proj.1.weight") and "downsample" in name for name in weights)
    first = weights["downsample.down.res_down_0.conv.conv_0.2.weight"].shape[1]
    widths = [weights[f"downsample.down.res_down_{level}.proj.1.weight"].shape[0] for level in range(depth)]
    network = Network([first, *widths], nout=3, sz=3)
    network.load_state_dict(weights)
    model = models.CellposeModel(gpu=False, pretrained_model=None, device=place, nchan=first)
    model.net = network.to(place).eval()
    model.pretrained_model = str(path)
    model.diam_mean = float(network.diam_mean.data[0])
    model.diam_labels = float(network.diam_labels.data[0])
    return model
