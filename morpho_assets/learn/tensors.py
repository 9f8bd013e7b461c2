"""Torch networks as encoders use them: drawn from a seed, read from arrays, run on batches of crops.

Modules of networks and this one are imported inside functions: torch is heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from morpho_assets.errors import InputError
from morpho_assets.learn.lesson import Weights

RECALIBRATED = 128
"""Crops by which an untrained network's batch normalisation is set."""
PIXELS_AT_ONCE = {"cpu": 20 * 112**2, "cuda": 2000 * 112**2}
"""Pixels of the images that a network is given in one call: what keeps a processor's cache, or a GPU, busy. Larger
calls take a CPU three times as long an image."""


def device_named(name: str) -> torch.device:
    """cpu, cuda or, for auto, a GPU if there is one. InputError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        do = "Use device: auto or cpu, or install a CUDA build of torch."
        raise InputError("encoder", "device", "no GPU that torch can use", "a CUDA GPU for device: cuda", do)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def drawn(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network with weights drawn from a seed; the caller's random state stays as it is."""
    with torch.random.fork_rng(devices=[]):  # initial weights come from torch's global state: lend it our seed
        torch.manual_seed(seed)
        return build()


def arrays_of(network: nn.Module) -> Weights:
    """The network's weights and buffers as arrays."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in network.state_dict().items()}


def filled(build: Callable[[], nn.Module], weights: Weights, device: torch.device) -> nn.Module:
    """A network with these weights, for use: batch normalisations are folded into the convolutions that a module's
    `FOLDS` names them with, which is twice as fast. RuntimeError where the weights do not fit the network."""
    with torch.device("meta"):  # nothing is drawn
        network = build()
    network.to_empty(device="cpu")
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    network.eval()
    for module in list(network.modules()):
        for convolution, normalisation in getattr(module, "FOLDS", ()):
            if hasattr(module, convolution):
                both = getattr(module, convolution), getattr(module, normalisation)
                setattr(module, convolution, fuse_conv_bn_eval(*both))
                setattr(module, normalisation, nn.Identity())
    return placed(network, device)


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, its weights in the order of memory that convolutions are fastest with."""
    moved: Any = network.to(device)
    return moved.to(memory_format=torch.channels_last)


def batches(cells: int, images: int, side: int, device: torch.device) -> Iterator[slice]:
    """The rows of cells that a network is given at once, where each is so many images of this side."""
    step = max(1, PIXELS_AT_ONCE[device.type] // (images * side**2))
    for start in range(0, cells, step):
        yield slice(start, start + step)


def recalibrated(network: nn.Module, images: Iterator[torch.Tensor]) -> nn.Module:
    """The network with the statistics of its batch normalisations taken from these images: an untrained network's say
    nothing of any image (mean 0, variance 1), which would make it a straw man."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain average over the batches
    network.train()
    with torch.no_grad():
        for batch in images:
            network(batch)
    return network.eval()


def tensor_of(crops: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(crops)).to(device, memory_format=torch.channels_last)


def resized(images: torch.Tensor, side: int) -> torch.Tensor:
    """(n, C, side, side) by bilinear interpolation, averaging where it becomes smaller."""
    if images.shape[-1] == side:
        return images
    return functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def each_channel(images: torch.Tensor, copies: int) -> torch.Tensor:
    """(n, C, S, S) -> (n C, copies, S, S): every channel as an image of its own."""
    n, channels, rows, columns = images.shape
    return images.reshape(n * channels, 1, rows, columns).expand(-1, copies, -1, -1)
