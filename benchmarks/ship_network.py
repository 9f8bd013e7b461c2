"""Make the shipped weights of what `train_network` trained: normalisation folded in, everything in whole numbers.

    python -m benchmarks.ship_network nuclei --folder PATH [--to FILE]

All members in the folder go into one file, and their maps will be averaged. Weights become whole numbers to 127 per
channel (fewer where a sum could otherwise leave float32's exact whole numbers), what flows between layers whole numbers
to 255, by the largest values on fields that were trained on.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import nn
from torch.nn import functional

from benchmarks.train_network import PLANES, REACH, SEED, SHARES, WIDTHS, UNet, checkpoint, draw_crop, shown_to
from morpho_assets.imaging.segmentation.files import file_sha256
from morpho_assets.imaging.segmentation.network import SHIPPED
from morpho_assets.imaging.segmentation.unet import EXACT, FORMAT
from morpho_assets.imaging.segmentation.unet_floats import TOP

CALIBRATION = 256  # crops
SHARE = 0.9999  # of a layer's values that are not cut


class _Folded:
    """The trained network layer by layer, with each normalisation in its convolution; keeps what flows."""

    def __init__(self, network: UNet) -> None:
        self.layers: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for level, block in enumerate(network.down):
            for part in ("first", "second"):
                self.layers[f"down.{level}.{part}"] = _folded(getattr(block, part))
        for number, up in enumerate(network.up):
            for part in ("deep", "across", "second"):
                self.layers[f"up.{number}.{part}"] = _folded(getattr(up, part))
        head = network.head
        assert head.bias is not None
        self.layers["head"] = (head.weight.detach(), head.bias.detach())
        self.levels = len(network.down)
        self.seen: dict[str, list[float]] = {}

    def _convolved(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.layers[name]
        return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def _kept(self, x: torch.Tensor, name: str) -> torch.Tensor:
        x = functional.relu(x)
        # Of one value in `every` the highest: what a quantile of all would be, without sorting millions.
        self.seen.setdefault(name, []).append(float(np.quantile(x.numpy().ravel()[::7], SHARE)))
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        across = []
        for level in range(self.levels):
            x = x if level == 0 else functional.max_pool2d(x, 2)
            x = self._kept(self._convolved(x, f"down.{level}.first"), f"down.{level}.first")
            x = self._kept(x + self._convolved(x, f"down.{level}.second"), f"down.{level}")
            across.append(x)
        for number, skipped in enumerate(across[-2::-1]):
            deep = functional.interpolate(self._convolved(x, f"up.{number}.deep"), scale_factor=2.0)
            x = self._kept(deep + self._convolved(skipped, f"up.{number}.across"), f"up.{number}.first")
            x = self._kept(x + self._convolved(x, f"up.{number}.second"), f"up.{number}")
        return self._convolved(x, "head")


def _folded(layer: nn.Sequential) -> tuple[torch.Tensor, torch.Tensor]:
    convolution, norm = layer[0], layer[1]
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = convolution.weight * gain[:, None, None, None]
    return weight.detach(), (norm.bias - norm.running_mean * gain).detach()


def exported(network: UNet, planes: torch.Tensor) -> dict[str, NDArray]:
    """The tensors of a weights file, by what flows for the crops `planes` (N, C, S, S) of levels 0 to 255."""
    folded = _Folded(network)
    with torch.no_grad():
        for batch in planes.split(16):
            folded.forward(batch / TOP)
    steps = {name: max(np.max(values), 1e-3) / TOP for name, values in folded.seen.items()}
    tensors: dict[str, NDArray] = {}

    def add(name: str, inward: float, outward: float) -> None:
        weight, bias = (part.numpy().astype(np.float64) for part in folded.layers[name])
        whole, scale = _whole_numbers(weight)
        tensors[f"{name}.weight"] = whole
        tensors[f"{name}.factor"] = (scale * inward / outward).astype(np.float32)
        tensors[f"{name}.shift"] = (bias / outward).astype(np.float32)

    def add_second(name: str) -> None:
        add(f"{name}.second", steps[f"{name}.first"], steps[name])
        tensors[f"{name}.carry"] = np.float32(steps[f"{name}.first"] / steps[name]).reshape(1)

    before, outputs = 1 / TOP, []
    for level in range(folded.levels):
        add(f"down.{level}.first", before, steps[f"down.{level}.first"])
        add_second(f"down.{level}")
        before = steps[f"down.{level}"]
        outputs.append(before)
    for number, across in enumerate(outputs[-2::-1]):
        add(f"up.{number}.deep", before, steps[f"up.{number}.first"])
        add(f"up.{number}.across", across, steps[f"up.{number}.first"])
        add_second(f"up.{number}")
        before = steps[f"up.{number}"]
    add("head", before, 1.0)
    return tensors


def _whole_numbers(weight: NDArray[np.float64]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """int8 weights and the (O,) factor that gives each channel's weights back."""
    most, total = np.abs(weight).max(axis=(1, 2, 3)), np.abs(weight).sum(axis=(1, 2, 3))
    # Rounding adds at most a half to each of the whole numbers whose sum is bounded.
    room = (EXACT / TOP - 1) - weight[0].size / 2
    scale = np.maximum(np.maximum(most / 127, total / room), 1e-12)
    return np.round(weight / scale[:, None, None, None]).astype(np.int8), scale


def write(path: Path, members: list[dict[str, NDArray]], kind: str, widths: tuple[int, ...], steps: int) -> None:
    """The weights file: the tensors of all members, and in its header what networks they are of."""
    shape = {"planes": PLANES[kind], "levels": len(widths), "reach": REACH, "members": len(members)}
    header = {"format": FORMAT, "network": json.dumps(shape), "objects": kind, "steps": str(steps)}
    tensors = {f"{number}.{name}": tensor for number, part in enumerate(members) for name, tensor in part.items()}
    path.write_bytes(_in_order(save(tensors, header)))


def _in_order(file: bytes) -> bytes:
    """The same safetensors file with its header in the order of the names: as written, that of `header` is random."""
    size = int.from_bytes(file[:8], "little")
    told = json.loads(file[8 : 8 + size])
    told["__metadata__"] = dict(sorted(told["__metadata__"].items()))
    text = json.dumps(told, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[8 + size :]


def trained(folder: Path, kind: str) -> tuple[list[dict[str, NDArray]], int]:
    """The tensors of each member that was trained in `folder`, and their steps of training."""
    data = pickle.loads((folder / "fields.pickle").read_bytes())[kind]
    members, steps = [], 0
    while (path := checkpoint(folder, kind, len(members))).exists():
        state = torch.load(path, weights_only=True)
        network = UNet(PLANES[kind], WIDTHS[kind]).eval()
        network.load_state_dict(state["averaged"])
        shown, rng = shown_to(data, len(members)), np.random.default_rng(SEED)
        crops = [
            draw_crop(rng, shown[pool][int(rng.integers(len(shown[pool])))], kind).planes
            for pool in rng.choice(len(shown), CALIBRATION, p=SHARES[kind])
        ]
        members.append(exported(network, torch.from_numpy(np.stack(crops))))
        steps = state["step"]
    if not members or len(members) < len(list(folder.glob(f"{kind}-*.pt"))):
        command = f"python -m benchmarks.train_network {kind} --member {len(members)}"
        raise SystemExit(f"{path} is not there: train it first, by {command}")
    return members, steps


def note_on_card(card: Path, kind: str, cells: list[object]) -> None:
    """Put the row of a network into the card's table."""
    row = f"| {kind} | {' | '.join(map(str, cells))} |"
    card.write_text(re.sub(rf"^\| {kind} \|.*$", row, card.read_text(), flags=re.MULTILINE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(WIDTHS))
    parser.add_argument("--folder", type=Path, default=Path("data/train_network"))
    parser.add_argument("--to", type=Path, help="the file to write (default: the shipped one)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    members, steps = trained(options.folder, options.kind)
    path = options.to or SHIPPED[options.kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, members, options.kind, WIDTHS[options.kind], steps)
    if options.to is None:
        number = sum(tensor.size for part in members for tensor in part.values())
        cells = [path.name, len(members), f"{number:,}", steps, file_sha256(path)]
        note_on_card(path.parent / "network.md", options.kind, cells)
    print(f"{path} {path.stat().st_size} bytes sha256 {file_sha256(path)}, {len(members)} members of {steps} steps")


if __name__ == "__main__":
    main()
