"""Train the network that is shipped for nuclei, or the one for cells, from scratch on one core.

    python -m benchmarks.train_network nuclei --reference PATH [--member K] [--steps N] [--folder PATH]
    python -m benchmarks.train_network cells --reference PATH [--steps N] [--folder PATH]

Data: the two thirds of dsb2018_nuclei (CC0-1.0) that `network_data.split` lets be seen, simulated fields and drawn
nuclei, all made here. Each member of the nuclei's network starts from a seed of its own and leaves a sixth of those
images aside, on which settings are chosen. A checkpoint is written every two minutes; the same command goes on from
it. `benchmarks.ship_network` makes the shipped file of all members in the folder.
"""

from __future__ import annotations

import argparse
import math
import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn
from torch.nn import functional

from benchmarks.dsb2018 import read_fields
from benchmarks.network_data import Prepared, held_out, pools, split
from morpho_assets.imaging.segmentation.network_input import levels_of

WIDTHS = {"nuclei": (16, 32, 64, 128), "cells": (16, 32, 64, 96)}
PLANES = {"nuclei": 2, "cells": 3}
SHARES = {"nuclei": (0.75, 0.15, 0.1), "cells": (1.0,)}
SIDE, BATCH = 128, 8
REACH = 8.0  # pixels: the unit of the offsets that the network gives
LEARNING_RATE, DECAY, WARM_UP, AVERAGED = 3e-3, 1e-4, 100, 0.995
SIMULATIONS, DRAWINGS, SEED = 140, 80, 0


class Block(nn.Module):
    """Two convolutions with normalisation, the second one added to what it is given."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(inward, outward), _convolution(outward, outward)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.first(x))
        return functional.relu(x + self.second(x))


class Up(nn.Module):
    """What is deep, doubled, added to what was passed across; then one more convolution."""

    def __init__(self, deep: int, width: int) -> None:
        super().__init__()
        self.deep, self.across = _convolution(deep, width, 1), _convolution(width, width)
        self.second = _convolution(width, width)

    def forward(self, deep: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
        x = functional.relu(functional.interpolate(self.deep(deep), scale_factor=2.0) + self.across(across))
        return functional.relu(x + self.second(x))


class UNet(nn.Module):
    """(N, planes, H, W) levels / 255 -> (N, 3, H, W): logit, row and column offset in units of `REACH`."""

    def __init__(self, planes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        pairs = list(zip((planes, *widths), widths, strict=False))
        self.down = nn.ModuleList(Block(one, other) for one, other in pairs)
        self.up = nn.ModuleList(Up(deep, width) for width, deep in pairs[:0:-1])
        self.head = nn.Conv2d(widths[0], 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        across = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))
            across.append(x)
        for up, skipped in zip(self.up, across[-2::-1], strict=True):
            x = up(x, skipped)
        return self.head(x)


def _convolution(inward: int, outward: int, side: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inward, outward, side, padding=side // 2, bias=False), nn.BatchNorm2d(outward))


@dataclass(frozen=True)
class Crop:
    """`planes` (C, S, S) levels 0 to 255; `inside` (S, S) 0 or 1; `offset` (2, S, S); both weights (S, S)."""

    planes: NDArray[np.float32]
    inside: NDArray[np.float32]
    offset: NDArray[np.float32]
    weight: NDArray[np.float32]
    offset_weight: NDArray[np.float32]


def draw_crop(rng: np.random.Generator, field: Prepared, kind: str) -> Crop:
    """A turned, scaled, spoiled piece of a field, and what the network is to say of it."""
    stack, nuclei, cells, there = _warped(rng, field)
    if kind == "cells":
        shares = rng.dirichlet(np.full(len(stack), 0.5))
        light = np.tensordot(shares / shares.max() if rng.random() < 0.1 else shares, stack, 1).astype(np.float32)
        seeds = np.where(_shaken(rng, nuclei), np.float32(255), np.float32(0))
        planes = np.concatenate([levels_of(_spoiled(rng, light, None)), seeds[None]])
    else:
        planes = levels_of(_spoiled(rng, stack[0], nuclei))
    centre, known = _centres(nuclei)
    place = np.indices(cells.shape).astype(np.float32)
    offset = (np.moveaxis(centre[cells], -1, 0) - place) / REACH
    edge = _between_objects(cells)
    inside = (cells > 0).astype(np.float32)
    return Crop(planes, inside, offset, there * (1 + 2 * edge), inside * known[cells] * (1 + 2 * edge))


def _warped(
    rng: np.random.Generator, field: Prepared
) -> tuple[NDArray[np.float32], NDArray, NDArray, NDArray[np.float32]]:
    """Planes and labels of a square of the field, turned, mirrored and scaled by 0.65 to 1.55; 1 where the field is."""
    angle, flip = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0])
    zoom = float(np.clip(np.exp(rng.normal(0, 0.25)), 0.65, 1.55))
    stretch = np.exp(rng.normal(0, 0.08))
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = matrix @ np.diag([flip * stretch, 1 / stretch]) / zoom
    margins = [min(extent / 2, 0.4 * SIDE / zoom) for extent in field.nuclei.shape]
    centre = np.array([rng.uniform(m, extent - m) for m, extent in zip(margins, field.nuclei.shape, strict=True)])
    arguments: dict[str, Any] = {
        "matrix": matrix, "offset": centre - matrix @ np.full(2, SIDE / 2), "output_shape": (SIDE, SIDE)
    }  # fmt: skip
    # Beyond the field nothing is mirrored in: an object would be there twice under one number.
    stack = np.stack([ndimage.affine_transform(plane, order=1, **arguments) for plane in field.planes])
    nuclei = ndimage.affine_transform(field.nuclei, order=0, **arguments)
    same = field.cells is field.nuclei
    cells = nuclei if same else ndimage.affine_transform(field.cells, order=0, **arguments)
    there = ndimage.affine_transform(np.ones(field.nuclei.shape, np.float32), order=0, **arguments)
    return stack, nuclei, cells, there


def _spoiled(rng: np.random.Generator, light: NDArray[np.float32], objects: NDArray | None) -> NDArray[np.float32]:
    """Light with other brightness, contrast, background, blur and noise; now and then single objects dimmed."""
    if objects is not None and rng.random() < 0.3:
        factor = np.exp(rng.normal(0, 0.5, int(objects.max()) + 1)).clip(0.3, 3)
        factor[0] = 1
        light = light * ndimage.gaussian_filter(factor[objects], 1.0)
    if rng.random() < 0.4:
        light = np.sign(light) * np.abs(light) ** np.exp(rng.normal(0, 0.25))
    light = light * np.exp(rng.normal(0, 0.3))
    if rng.random() < 0.35:
        light = ndimage.gaussian_filter(light, rng.uniform(0.3, 1.6))
    if rng.random() < 0.3:
        slope = rng.normal(0, 0.25, 2)
        row, column = np.mgrid[-0.5 : 0.5 : SIDE * 1j, -0.5 : 0.5 : SIDE * 1j]
        light = light * np.exp(slope[0] * row + slope[1] * column)
    if rng.random() < 0.3:
        haze = ndimage.zoom(rng.normal(size=(5, 5)), SIDE / 5, order=1)
        light = light + rng.uniform(0, 0.15) * haze
    if rng.random() < 0.5:
        light = light + np.exp(rng.uniform(np.log(0.01), np.log(0.2))) * rng.normal(size=light.shape)
    if rng.random() < 0.15:
        light = light + 0.2 * np.sqrt(np.maximum(light, 0)) * rng.normal(size=light.shape)
    return (light + rng.normal(0, 0.03)).astype(np.float32)


def _shaken(rng: np.random.Generator, nuclei: NDArray) -> NDArray[np.bool_]:
    """Where nuclei are: as they are, one pixel less or one more."""
    kind = rng.integers(3)
    if kind == 0:
        return ndimage.minimum_filter(nuclei, 3) > 0
    return (nuclei if kind == 1 else ndimage.maximum_filter(nuclei, 3)) > 0


def _centres(labels: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(n + 1, 2) centroids of what is seen of each object, and (n + 1,) 1 where anything is."""
    count = np.bincount(labels.ravel())
    row, column = np.indices(labels.shape)
    sums = np.stack([np.bincount(labels.ravel(), place.ravel()) for place in (row, column)], axis=1)
    centre = np.zeros((65536, 2), np.float32)
    known = np.zeros(65536, np.float32)
    centre[: len(count)] = sums / np.maximum(count, 1)[:, None]
    known[: len(count)] = count > 0
    known[0] = 0
    return centre, known


def _between_objects(labels: NDArray) -> NDArray[np.float32]:
    """1 within two pixels of where two objects meet."""
    most = ndimage.maximum_filter(labels, 5)
    least = ndimage.minimum_filter(np.where(labels > 0, labels, 65535), 5)
    return ((most > 0) & (least < most)).astype(np.float32)


def loss_of(output: torch.Tensor, crops: list[Crop]) -> torch.Tensor:
    """Cross entropy of the inside and the error of the offsets, each weighted where objects meet."""
    inside, weight, offset_weight = (
        torch.from_numpy(np.stack([getattr(crop, name) for crop in crops]))
        for name in ("inside", "weight", "offset_weight")
    )
    offset = torch.from_numpy(np.stack([crop.offset for crop in crops]))
    entropy = functional.binary_cross_entropy_with_logits(output[:, 0], inside, weight=weight)
    error = functional.smooth_l1_loss(output[:, 1:], offset, beta=0.1, reduction="none").sum(1)
    return entropy + 0.5 * (error * offset_weight).sum() / offset_weight.sum().clamp(min=1)


def shown_to(data: list[list[Prepared]], member: int) -> list[list[Prepared]]:
    """What a member is trained on: all but the real images that are held out from it."""
    return [[field for field in pool if not held_out(field.name, member)] for pool in data]


def checkpoint(folder: Path, kind: str, member: int) -> Path:
    return folder / f"{kind}-{member}.pt"


def train(
    kind: str, data: list[list[Prepared]], steps: int, folder: Path, stop: int | None = None, member: int = 0
) -> Path:
    """Train to `steps`, or on from the checkpoint in `folder`; returns the checkpoint's path.

    With `stop` it ends at that step already, as if it had been stopped there.
    """
    torch.manual_seed(SEED + member)
    network = UNet(PLANES[kind], WIDTHS[kind]).to(memory_format=torch.channels_last)
    averaged = UNet(PLANES[kind], WIDTHS[kind])
    averaged.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=DECAY)
    path, step = checkpoint(folder, kind, member), 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    saved, losses = time.monotonic(), []
    stop = steps if stop is None else stop
    while step < stop:
        rng = np.random.default_rng([SEED + member, step])
        chosen = rng.choice(len(data), BATCH, p=SHARES[kind])
        fields = [data[pool][int(rng.integers(len(data[pool])))] for pool in chosen]
        crops = [draw_crop(rng, field, kind) for field in fields]
        rate = LEARNING_RATE * min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        planes = torch.from_numpy(np.stack([crop.planes for crop in crops]) / np.float32(255))
        # Half the time where the processor multiplies such numbers; sums are float32 in either case.
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            output = network(planes.contiguous(memory_format=torch.channels_last))
        loss = loss_of(output.float(), crops)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(AVERAGED, step / (step + 10))
        with torch.no_grad():
            for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
                if mean.dtype.is_floating_point:
                    mean.lerp_(now, 1 - keep)
                else:
                    mean.copy_(now)
        losses.append(loss.item())
        if time.monotonic() - saved > 120 or step == stop:
            print(f"{kind} step {step} loss {np.mean(losses):.4f} rate {rate:.5f}", flush=True)
            state = {"network": network.state_dict(), "averaged": averaged.state_dict(), "step": step}
            torch.save(state | {"optimiser": optimiser.state_dict()}, path.with_suffix(".new"))
            os.replace(path.with_suffix(".new"), path)
            saved, losses = time.monotonic(), []
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(WIDTHS))
    parser.add_argument("--reference", type=Path, default=os.environ.get("MORPHO_REFERENCE_DATA"))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--folder", type=Path, default=Path("data/train_network"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--member", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    prepared = options.folder / "fields.pickle"  # made here, read here: drawing them takes minutes
    if not prepared.exists():
        seen, _ = split(read_fields(options.reference / "dsb2018_nuclei"))
        made = pools(seen, SEED, SIMULATIONS, DRAWINGS)
        prepared.with_suffix(".new").write_bytes(pickle.dumps(made))
        os.replace(prepared.with_suffix(".new"), prepared)
    data = shown_to(pickle.loads(prepared.read_bytes())[options.kind], options.member)
    train(options.kind, data, options.steps, options.folder, member=options.member)


if __name__ == "__main__":
    main()
