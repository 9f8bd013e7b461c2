"""The real cellpose package (3.x) behind the segmenter's seam.

Stringer et al. 2021, doi:10.1038/s41592-020-01018-x. A network gives three maps per compartment (row flow, column
flow, logit of being in an object); masks are where the flows lead. Importing cellpose takes seconds, so it happens
at the first image; networks are kept per process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.imaging.segmentation.channels import plane_of
from morpho_assets.imaging.segmentation.config import CellposeConfig, CellposeNetworkConfig, CellsConfig
from morpho_assets.imaging.segmentation.objects import Labels, Segmentation, linked, selected
from morpho_assets.imaging.segmentation.own_thresholds import nuclear_diameter
from morpho_assets.imaging.segmentation.watershed import nuclei_with_cells

Maps = NDArray[np.float32]

SHIPPED = {"small-nuclei": Path(__file__).parent / "weights" / "small_nuclei.pt"}

_SETTINGS = "segmentation (cellpose)"


@dataclass(frozen=True)
class CellposeSegmenter:
    """See `CellposeConfig`. Weights files are looked for when this is made: a missing path is an InputError."""

    config: CellposeConfig

    def __post_init__(self) -> None:
        for network in self._networks:
            _weights(network.model)

    @property
    def _networks(self) -> tuple[CellposeNetworkConfig, ...]:
        cells = self.config.cells
        return (self.config.nuclei,) if isinstance(cells, CellsConfig) else (self.config.nuclei, cells)

    @property
    def vectors(self) -> tuple[tuple[int, int], ...]:
        """Positions in `maps` of the (row, column) flows, which turn when the image is turned."""
        return tuple((3 * network, 3 * network + 1) for network in range(len(self._networks)))

    def provenance(self) -> dict[str, str]:
        """What the masks depend on besides the settings: cellpose's version and each weights file's sha256."""
        record = {"cellpose": version("cellpose")}
        for network in self._networks:
            # A name's file is known once cellpose has found or fetched it.
            path = _weights(network.model) or Path(_network(network.model, self.config.device).pretrained_model)
            record[f"weights of {network.model}"] = sha256(path.read_bytes()).hexdigest()
        return record

    def maps(self, image: NDArray[np.float32], channels: Sequence[str]) -> Maps:
        """(C, H, W) in [0, 1] -> (3 or 6, H, W): row flow, column flow and logit of nuclei, then of cells."""
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
        if np.ptp(main) == 0:
            # Normalising a constant image divides by zero; there is nothing in it.
            return np.stack([second * 0, second * 0, np.full_like(main, -10)])
        model = _network(network.model, self.config.device)
        _, (_, flow, logit), _ = model.eval(
            np.stack([main, second]),
            batch_size=self.config.batch_size,
            channels=None,
            channel_axis=0,
            diameter=_diameter(network, main),
            compute_masks=False,
        )
        return np.concatenate([flow, logit[None]]).astype(np.float32)

    def _objects(
        self, network: CellposeNetworkConfig, maps: Maps, image: NDArray[np.float32], channels: Sequence[str]
    ) -> Labels:
        from cellpose import dynamics

        model = _network(network.model, self.config.device)
        diameter = _diameter(network, plane_of(image, channels, network.channels)) or model.diam_labels
        masks = dynamics.resize_and_compute_masks(
            maps[:2],
            maps[2],
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
        return nuclear_diameter(plane) if np.ptp(plane) > 0 else None
    return network.diameter


def _weights(model: str) -> Path | None:
    """The weights file of a shipped model or a path; None for a name that cellpose knows."""
    if model in SHIPPED:
        return SHIPPED[model]
    path = Path(model)
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        # cellpose itself would fall back to downloading cyto3 here.
        raise InputError(_SETTINGS, "model", f"no file {model}", "a weights file", "Correct the path.")
    return None


@lru_cache(maxsize=4)
def _network(model: str, device: str) -> Any:
    """A cellpose model ready to run, one per process."""
    import torch

    _check_version(version("cellpose"))
    if device == "gpu" and not torch.cuda.is_available():
        raise InputError(_SETTINGS, "device", "gpu", "a GPU that torch sees", "Set device: cpu.")
    place = torch.device("cuda" if device == "gpu" else "cpu")
    path = _weights(model)
    return _named(model, place) if path is None else _from_file(path, place)


def _check_version(installed: str) -> None:
    """Raise InputError for another cellpose than 3: version 4 has another network, other calls and other weights."""
    if installed.split(".")[0] != "3":
        raise InputError(
            _SETTINGS, "package", f"cellpose {installed}", "cellpose 3", "Install constraints.txt's version of it."
        )


def _named(model: str, place: Any) -> Any:
    from cellpose import models

    if model == "cpsam":
        raise InputError(
            _SETTINGS,
            "model",
            "cpsam, a network of cellpose 4",
            "a model of cellpose 3",
            "Use cyto3 or nuclei, or label images that cellpose 4 made elsewhere (method external).",
        )
    if model not in models.MODEL_NAMES:
        known = ", ".join([*SHIPPED, *models.MODEL_NAMES])
        raise InputError(_SETTINGS, "model", repr(model), f"a path or one of {known}", "Correct the name.")
    try:
        return models.CellposeModel(gpu=False, model_type=model, device=place)
    except OSError as error:
        raise InputError(
            _SETTINGS,
            "model",
            f"{model}, whose weights are not in {models.MODEL_DIR} and cannot be downloaded ({error})",
            "weights on this machine",
            "Copy the weights file there or name its path; method watershed needs none.",
        ) from error


def _from_file(path: Path, place: Any) -> Any:
    """A cellpose 3 network of any width from a file of its weights; the widths are read from the weights."""
    import pickle

    import torch
    from cellpose import models, resnet_torch

    class Network(resnet_torch.CPnet):
        """cellpose keeps 256 numbers of each network's style; a narrower network has fewer."""

        def forward(self, data: Any) -> tuple[Any, Any, Any]:
            output, style, levels = super().forward(data)
            return output, torch.nn.functional.pad(style, (0, 256 - style.shape[1])), levels

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        depth = sum(name.endswith("proj.1.weight") and "downsample" in name for name in weights)
        first = weights["downsample.down.res_down_0.conv.conv_0.2.weight"].shape[1]
        widths = [weights[f"downsample.down.res_down_{level}.proj.1.weight"].shape[0] for level in range(depth)]
        network = Network([first, *widths], nout=3, sz=3)
        network.load_state_dict(weights)
    except (KeyError, RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        found = f"no cellpose 3 weights ({type(error).__name__})"
        raise InputError(
            _SETTINGS, str(path), found, "a CPnet state dict", "Name weights that cellpose 3 saved."
        ) from error
    model = models.CellposeModel(gpu=False, pretrained_model=None, device=place, nchan=first)
    model.net = network.to(place).eval()
    model.pretrained_model = str(path)
    model.diam_mean = float(network.diam_mean.data[0])
    model.diam_labels = float(network.diam_labels.data[0])
    return model
