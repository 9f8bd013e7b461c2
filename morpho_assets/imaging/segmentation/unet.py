"""Small U-Nets in whole numbers: the same maps on every machine, whatever order their sums are taken in.

Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28, with additions in place of joined channels. Weights are
whole numbers to 127 and what flows between layers are whole numbers to 255, so that every sum of a convolution is a
whole number below 2**24 that float32 holds exactly; the few other operations are single multiplications and additions
of one pixel, which IEEE 754 rounds alike everywhere (Jacob et al. 2018, doi:10.1109/CVPR.2018.00286). Where the
processor has instructions for such numbers, they are four times as fast as floating point (unet_integers.py).

A weights file is safetensors, which holds numbers and text and executes nothing. Of each convolution it has `weight`
(O, I, k, k) int8 and `factor` and `shift` (O,) float32, in units of what follows; of each addition `carry`, a float32.
Where the header counts `members`, networks whose maps are averaged, each name begins with a member's number, from 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.imaging.segmentation.unet_floats import TOP

Maps = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]

FORMAT = "morpho-assets unet 1"
EXACT = 2**24  # whole numbers below are exact in float32
TILE = 1024  # pixels at the network's scale
_SETTINGS = "segmentation (network)"


class Member(Protocol):
    """One network, in one of the two kinds of arithmetic."""

    def forward(self, planes: Maps) -> Maps:
        """(planes, H, W) whole numbers, sides a multiple of the coarsest pixel -> (3, H, W)."""
        ...


@dataclass(frozen=True)
class UNet:
    """The networks of a weights file, and what its header says.

    `planes` is what goes in, `levels` how often the image is halved, `reach` the unit of its offsets in pixels.
    """

    members: tuple[Member, ...]
    planes: int
    levels: int
    reach: float

    @property
    def margin(self) -> int:
        """Pixels beyond which nothing changes a pixel's maps: a multiple of the coarsest pixel."""
        coarsest = 2 ** (self.levels - 1)
        seen = sum(3 * 2**level for level in range(self.levels)) + 2 * coarsest
        return -(-seen // coarsest) * coarsest

    def maps(self, planes: Maps, tile: int = TILE) -> Maps:
        """(planes, H, W) whole numbers 0 to 255 -> (3, H, W): logit of the inside, row and column offset in pixels.

        The offset is from a pixel to the middle of its object; of several members each is the mean. Larger images go
        tile by tile, with what each tile needs around it: the same numbers as in one piece.
        """
        coarsest, (_, height, width) = 2 ** (self.levels - 1), planes.shape
        padded = np.pad(planes, [(0, 0), (0, -height % coarsest), (0, -width % coarsest)])
        result = np.empty((3, *padded.shape[1:]), np.float32)
        step = -(-tile // coarsest) * coarsest
        for top in range(0, padded.shape[1], step):
            for left in range(0, padded.shape[2], step):
                above, before = min(top, self.margin), min(left, self.margin)
                part = padded[:, top - above : top + step + self.margin, left - before : left + step + self.margin]
                found = self._mean(part)[:, above : above + step, before : before + step]
                result[:, top : top + step, left : left + step] = found
        result = result[:, :height, :width]
        result[1:] *= np.float32(self.reach)
        return result

    def _mean(self, planes: Maps) -> Maps:
        total = self.members[0].forward(planes)
        for member in self.members[1:]:
            total += member.forward(planes)  # in the order of the file, so that every machine rounds alike
        return total / np.float32(len(self.members))


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
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        if header.get("format") != FORMAT:
            raise ValueError(f"format {header.get('format')!r}")
        shape = json.loads(header["network"])
        planes, levels = int(shape["planes"]), int(shape["levels"])
        parts = [_of_member(arrays, number) for number in range(shape["members"])] if "members" in shape else [arrays]
        if not parts:
            raise ValueError("no members")
        for part in parts:
            _check(part, planes, levels)
        members = tuple(_member(part, levels, device) for part in parts)
        network = UNet(members, planes, levels, float(shape["reach"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        found = f"no network of this package ({error})"
        todo = "Name a file that benchmarks.ship_network wrote."
        raise InputError(_SETTINGS, str(path), found, f"safetensors of format {FORMAT!r}", todo) from error
    return network


def _of_member(arrays: Arrays, number: int) -> Arrays:
    start = f"{number}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def _member(arrays: Arrays, levels: int, device: str) -> Member:
    from morpho_assets.imaging.segmentation.unet_floats import Floats
    from morpho_assets.imaging.segmentation.unet_integers import Integers, fast

    if device == "cpu" and fast():
        return Integers.of(arrays, levels)
    return Floats.of(arrays, levels, "cuda" if device == "gpu" else "cpu")


def _check(arrays: Arrays, planes: int, levels: int) -> None:
    """ValueError where a tensor is missing, or a sum of a convolution could leave the exact whole numbers."""
    names = [f"down.{level}.{part}" for level in range(levels) for part in ("first", "second")]
    names += [f"up.{up}.{part}" for up in range(levels - 1) for part in ("deep", "across", "second")]
    for name in [*names, "head"]:
        weight = arrays[f"{name}.weight"]
        if weight.dtype != np.int8 or weight.ndim != 4:
            raise ValueError(f"{name}.weight is {weight.dtype} of shape {weight.shape}, not int8 (O, I, k, k)")
        if np.abs(weight.astype(np.int64)).sum(axis=(1, 2, 3)).max() * int(TOP) >= EXACT:
            raise ValueError(f"sums of {name} can exceed {EXACT}")
        for part in ("factor", "shift"):
            if arrays[f"{name}.{part}"].shape != weight.shape[:1]:
                raise ValueError(f"{name}.{part} is of shape {arrays[f'{name}.{part}'].shape}, not {weight.shape[:1]}")
    if arrays["down.0.first.weight"].shape[1] != planes:
        raise ValueError(f"{arrays['down.0.first.weight'].shape[1]} planes go in, the header says {planes}")
