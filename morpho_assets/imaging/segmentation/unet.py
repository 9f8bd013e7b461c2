"""A small U-Net in whole numbers: the same maps on every machine, whatever order its sums are taken in.

Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28, with additions in place of joined channels. Weights are
whole numbers to 127 and what flows between layers are whole numbers to 255, so that every sum of a convolution is a
whole number below 2**24 that float32 holds exactly; the few other operations are single multiplications and additions
of one pixel, which IEEE 754 rounds alike everywhere. (Jacob et al. 2018, doi:10.1109/CVPR.2018.00286, do it for speed.)

A weights file is safetensors, which holds numbers and text and executes nothing. Of each convolution it has `weight`
(O, I, k, k) int8 and `factor` and `shift` (O,) float32, in units of what follows; of each addition `carry`, a float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError

if TYPE_CHECKING:
    import torch

FORMAT = "morpho-assets unet 1"
TOP = 255.0  # of what flows between layers
EXACT = 2**24  # whole numbers below are exact in float32
TILE = 1024  # pixels at the network's scale
_SETTINGS = "segmentation (network)"


@dataclass(frozen=True)
class UNet:
    """The tensors of a weights file by name, on a device, and what its header says.

    `planes` is what goes in, `levels` how often the image is halved, `reach` the unit of its offsets in pixels.
    """

    tensors: Mapping[str, torch.Tensor]
    planes: int
    levels: int
    reach: float

    @property
    def margin(self) -> int:
        """Pixels beyond which nothing changes a pixel's maps: a multiple of the coarsest pixel."""
        coarsest = 2 ** (self.levels - 1)
        seen = sum(3 * 2**level for level in range(self.levels)) + 2 * coarsest
        return -(-seen // coarsest) * coarsest

    def maps(self, planes: NDArray[np.float32], tile: int = TILE) -> NDArray[np.float32]:
        """(planes, H, W) whole numbers 0 to 255 -> (3, H, W): logit of the inside, row and column offset in pixels.

        The offset is from a pixel to the middle of its object. Larger images go tile by tile, with what each tile needs
        around it: the same numbers as in one piece.
        """
        import torch

        coarsest, (_, height, width) = 2 ** (self.levels - 1), planes.shape
        padded = np.pad(planes, [(0, 0), (0, -height % coarsest), (0, -width % coarsest)])
        result = np.empty((3, *padded.shape[1:]), np.float32)
        step = -(-tile // coarsest) * coarsest
        with torch.inference_mode():
            for top in range(0, padded.shape[1], step):
                for left in range(0, padded.shape[2], step):
                    above, before = min(top, self.margin), min(left, self.margin)
                    part = padded[:, top - above : top + step + self.margin, left - before : left + step + self.margin]
                    found = self._forward(part)[:, above : above + step, before : before + step]
                    result[:, top : top + step, left : left + step] = found
        result = result[:, :height, :width]
        result[1:] *= np.float32(self.reach)
        return result

    def _forward(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch
        from torch.nn import functional

        device = next(iter(self.tensors.values())).device
        x = torch.from_numpy(np.ascontiguousarray(planes))[None].to(device, memory_format=torch.channels_last)
        across = []
        for level in range(self.levels):
            x = x if level == 0 else functional.max_pool2d(x, 2)
            x = _whole(self._convolved(x, f"down.{level}.first"))
            x = self._added(x, f"down.{level}")
            across.append(x)
        for number, skipped in enumerate(across[-2::-1]):
            deep = self._convolved(x, f"up.{number}.deep")
            x = self._convolved(skipped, f"up.{number}.across")
            x = _whole(x.add_(functional.interpolate(deep, scale_factor=2.0)))
            x = self._added(x, f"up.{number}")
        return np.asarray(self._convolved(x, "head")[0].cpu().numpy(), np.float32)

    def _convolved(self, x: torch.Tensor, name: str) -> torch.Tensor:
        from torch.nn import functional

        weight = self.tensors[f"{name}.weight"]
        # A library that convolves by transforms (Winograd's, on some GPUs) misses the whole number by a little.
        x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2).round_()
        # Two steps: one that multiplies and adds at once would round otherwise on some machines.
        return x.mul_(self.tensors[f"{name}.factor"]).add_(self.tensors[f"{name}.shift"])

    def _added(self, x: torch.Tensor, name: str) -> torch.Tensor:
        more = self._convolved(x, f"{name}.second")
        return _whole(more.add_(x.mul_(self.tensors[f"{name}.carry"])))


def _whole(x: torch.Tensor) -> torch.Tensor:
    return x.round_().clamp_(0, TOP)


def load_unet(path: Path, device: str = "cpu") -> UNet:
    """The network of a weights file, one per process and file as it is now.

    Raises InputError for a file that is no such network, or one whose sums could be inexact.
    """
    return _loaded(path, path.stat().st_mtime_ns, device)


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int, device: str) -> UNet:
    import torch
    from safetensors import SafetensorError, safe_open

    if device == "gpu" and not torch.cuda.is_available():
        raise InputError(_SETTINGS, "device", "gpu", "a GPU that torch sees", "Set device: cpu.")
    place = "cuda" if device == "gpu" else "cpu"
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        if header.get("format") != FORMAT:
            raise ValueError(f"format {header.get('format')!r}")
        shape = json.loads(header["network"])
        network = UNet(
            {name: _placed(name, array, place) for name, array in arrays.items()},
            int(shape["planes"]), int(shape["levels"]), float(shape["reach"]),
        )  # fmt: skip
        _check(arrays, network)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        found = f"no network of this package ({error})"
        todo = "Name a file that benchmarks.ship_network wrote."
        raise InputError(_SETTINGS, str(path), found, f"safetensors of format {FORMAT!r}", todo) from error
    return network


def _placed(name: str, array: NDArray[Any], place: str) -> torch.Tensor:
    import torch

    tensor = torch.from_numpy(array.astype(np.float32)).to(place)
    if name.endswith(".weight"):
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor if name.endswith(".carry") else tensor[None, :, None, None]


def _check(arrays: Mapping[str, NDArray[Any]], network: UNet) -> None:
    """ValueError where a tensor is missing, or a sum of a convolution could leave the exact whole numbers."""
    names = [f"down.{level}.{part}" for level in range(network.levels) for part in ("first", "second")]
    names += [f"up.{up}.{part}" for up in range(network.levels - 1) for part in ("deep", "across", "second")]
    for name in [*names, "head"]:
        weight = arrays[f"{name}.weight"]
        if weight.dtype != np.int8 or weight.ndim != 4:
            raise ValueError(f"{name}.weight is {weight.dtype} of shape {weight.shape}, not int8 (O, I, k, k)")
        if np.abs(weight.astype(np.int64)).sum(axis=(1, 2, 3)).max() * int(TOP) >= EXACT:
            raise ValueError(f"sums of {name} can exceed {EXACT}")
        for part in ("factor", "shift"):
            if arrays[f"{name}.{part}"].shape != weight.shape[:1]:
                raise ValueError(f"{name}.{part} is of shape {arrays[f'{name}.{part}'].shape}, not {weight.shape[:1]}")
    if arrays["down.0.first.weight"].shape[1] != network.planes:
        raise ValueError(f"{arrays['down.0.first.weight'].shape[1]} planes go in, the header says {network.planes}")
