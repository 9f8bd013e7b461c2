"""A user's own network from a file of weights: ViT-S/16, ResNet-18 or -50, or EfficientNet-Lite0.

By safetensors or a torch state dict (read without running code from it), under the names of timm, DINO and torchvision.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from morpho_assets.errors import InputError
from morpho_assets.learn.cells import Cells
from morpho_assets.learn.config import CellEncoderConfig
from morpho_assets.learn.lesson import Forward, Learned, Lesson, Progress, Weights

if TYPE_CHECKING:
    import torch

NESTED = ("state_dict", "model", "teacher", "model_state_dict")
"""Keys under which training programs keep a state dict."""
PREFIXES = ("module.", "backbone.", "encoder.", "model.")
"""What they put before its names."""
STEMS = {"vit_s16": "patch_embed.proj.weight", "resnet18": "conv1.weight", "resnet50": "conv1.weight",
         "lite0": "_conv_stem.weight"}  # fmt: skip
"""The weights whose second dimension says how many channels a network sees."""
DO = "Check `architecture` and `as_images`, or convert the file's names."


class FileConfig(CellEncoderConfig):
    """A network from a file, frozen; principal components are of the study's cells."""

    kind: Literal["file"] = Field("file", description="the encoder")
    path: str = Field(description="the file: safetensors or a torch state dict; relative to the settings file")
    architecture: Literal["vit_s16", "resnet18", "resnet50", "lite0"] = Field(description="the network it is of")
    as_images: Literal["bag", "stack", "replicate"] = Field(
        "replicate",
        description="bag: each channel alone, to a network of one channel; replicate: each three times, to one of "
        "three; stack: all channels, to a network of so many",
    )
    size: int = Field(224, ge=32, description="side of the image that the network sees; of vit_s16 a multiple of 16")
    mean: tuple[float, ...] = Field(
        (0.485, 0.456, 0.406), description="subtracted from pixels scaled to [0, 1]: one number, or one per channel"
    )
    sd: tuple[float, ...] = Field((0.229, 0.224, 0.225), description="what they are divided by then, likewise")
    pooling: Literal["cls", "mean"] = Field("cls", description="of vit_s16: class token, or mean of the patches")
    block: int = Field(11, ge=1, le=15, description="of lite0: the block whose widened maps are averaged")
    licence: str = Field("not stated", description="terms of the weights; stands in the card and in the report")

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        if self.architecture == "vit_s16" and self.size % 16:
            raise ValueError(f"size {self.size} must be a multiple of 16 for vit_s16")
        if any(sd <= 0 for sd in self.sd):
            raise ValueError(f"sd {self.sd} must be above 0")
        return self


def architecture(config: FileConfig) -> str:
    return f"{config.architecture}, {config.as_images}, {config.size} pixels, weights of {Path(config.path).name}"


def licence(config: FileConfig) -> str:
    return "none: weights drawn at random" if config.untrained else config.licence


def learn(
    config: FileConfig, lesson: Lesson, seed: int, device: torch.device, progress: Progress | None = None
) -> Learned:
    """The file's weights that the network has; of an untrained one drawn weights of the same network."""
    from morpho_assets.learn.tensors import RECALIBRATED, arrays_of, drawn, recalibrated

    given = read_weights(config.path)
    planes, grid = _planes_and_grid(config, given, lesson.crops.shape[1])
    network = drawn(lambda: _build(config, planes, grid), seed).to(device)
    if config.untrained:
        crops = lesson.crops[lesson.split.train]
        crops = crops[:: -(-len(crops) // RECALIBRATED)]
        return Learned(arrays_of(recalibrated(network, _images(config, crops, planes, device))))
    wanted = arrays_of(network)
    missing = [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    if missing:
        found = f"no {missing[0]} (and {len(missing) - 1} others); it has {', '.join(sorted(given)[:4])}, …"
        raise InputError(config.path, "", found, f"the {len(wanted)} weights of {config.architecture}", DO)
    for name, array in wanted.items():
        if name in given and given[name].shape != array.shape:
            raise InputError(config.path, name, f"shape {given[name].shape}", f"{array.shape}", DO)
    return Learned({name: np.asarray(given.get(name, array)) for name, array in wanted.items()})


def forward(config: FileConfig, weights: Weights, channels: int, device: torch.device) -> Forward:
    import torch

    from morpho_assets.learn.tensors import filled

    planes, grid = _planes_and_grid(config, weights, channels)
    network = filled(lambda: _build(config, planes, grid), weights, device)

    def embed(cells: Cells) -> NDArray[np.float32]:
        with torch.inference_mode():
            parts = [network(images).cpu().numpy() for images in _images(config, cells.crops, planes, device)]
        return np.concatenate(parts).reshape(len(cells), -1)

    return embed


def network(config: FileConfig, weights: Weights, channels: int, device: torch.device) -> Any:
    """The same as a module of scaled crops."""
    from morpho_assets.learn.networks.scored import Prepared
    from morpho_assets.learn.tensors import filled

    planes, grid = _planes_and_grid(config, weights, channels)
    plain = filled(lambda: _build(config, planes, grid), weights, device)
    return Prepared(_preparing(config, planes, device), plain)


def read_weights(path: str) -> Weights:
    """The arrays of a file by name, without the prefixes of training programs. InputError for a file that is not there
    or is neither safetensors nor a state dict that torch reads without running code."""
    file = Path(path)
    expected = "safetensors or a torch state dict"
    if not file.is_file():
        raise InputError(path, "", "no such file", expected, "Name a file of weights in `path`.")
    content = file.read_bytes()
    try:
        arrays = _safetensors(content) if file.suffix == ".safetensors" else _state_dict(content)
    except (ValueError, pickle.UnpicklingError, RuntimeError, EOFError, AttributeError) as error:
        why = str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
        do = "Save the network's `state_dict()`, or safetensors."
        raise InputError(path, "", f"bytes that cannot be read ({why})", expected, do) from error
    return {_plain_name(name): array for name, array in arrays.items()}


def _safetensors(content: bytes) -> Weights:
    import safetensors
    from safetensors.numpy import load

    try:
        return dict(load(content))
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


def _state_dict(content: bytes) -> Weights:
    import torch

    found: Any = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    for key in NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not any(isinstance(each, torch.Tensor) for each in found.values()):
        raise ValueError("no tensors in it")
    return {name: each.float().numpy() for name, each in found.items() if isinstance(each, torch.Tensor)}


def _plain_name(name: str) -> str:
    for prefix in PREFIXES * 2:  # `module.backbone.`
        name = name.removeprefix(prefix)
    return name


def _planes_and_grid(config: FileConfig, weights: Weights, channels: int) -> tuple[int, int]:
    """The channels of one image of the network, and of a ViT the side of the grid of its positions. InputError where
    they are not what `as_images` gives."""
    stem = STEMS[config.architecture]
    if stem not in weights:
        found = f"no {stem}; it has {', '.join(sorted(weights)[:4])}, …"
        raise InputError(config.path, "", found, f"weights of {config.architecture}", DO)
    planes = int(weights[stem].shape[1])
    wanted = {"bag": 1, "replicate": 3, "stack": channels}[config.as_images]
    if planes != wanted:
        what = f"{config.as_images} of {channels} channels: a network of {wanted}"
        raise InputError(config.path, stem, f"a network of {planes} channels", what, DO)
    for name, values in (("mean", config.mean), ("sd", config.sd)):
        if len(values) not in (1, planes) and planes != 1:
            found = f"{len(values)} numbers"
            raise InputError("encoder", name, found, f"1 or {planes}, one per channel of an image", "Give so many.")
    grid = round((weights["pos_embed"].shape[1] - 1) ** 0.5) if config.architecture == "vit_s16" else 0
    return planes, grid


def _build(config: FileConfig, planes: int, grid: int) -> Any:
    if config.architecture == "vit_s16":
        from morpho_assets.learn.networks.vit import ViT

        return ViT(planes, grid, config.pooling)
    if config.architecture == "lite0":
        from morpho_assets.learn.networks.lite0 import Lite0

        return Lite0(config.block)
    from morpho_assets.learn.networks.resnet import ResNet

    return ResNet(config.architecture, planes)


def _images(
    config: FileConfig, crops: NDArray[np.float32], planes: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """Crops as the images that the network sees, so many cells at a time as keep the device busy."""
    from morpho_assets.learn.tensors import batches, tensor_of

    prepare = _preparing(config, planes, device)
    each = 1 if config.as_images == "stack" else crops.shape[1]
    for rows in batches(len(crops), each, config.size, device):
        yield prepare(tensor_of(crops[rows], device))


def _preparing(config: FileConfig, planes: int, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """How crops (n, C, S, S) become the images that the network sees."""
    import torch

    from morpho_assets.learn.tensors import each_channel, resized

    mean, sd = (torch.from_numpy(_per_plane(values, planes)).to(device) for values in (config.mean, config.sd))

    def prepare(crops: torch.Tensor) -> torch.Tensor:
        images = resized(crops, config.size)
        if config.as_images != "stack":
            images = each_channel(images, planes)
        return (images - mean) / sd

    return prepare


def _per_plane(values: tuple[float, ...], planes: int) -> Any:
    """(planes, 1, 1) float32; a network of one channel takes the mean of several numbers."""
    numbers = np.asarray(values, dtype=np.float32)
    numbers = numbers if len(numbers) == planes else np.full(planes, numbers.mean(), dtype=np.float32)
    return numbers[:, None, None]
