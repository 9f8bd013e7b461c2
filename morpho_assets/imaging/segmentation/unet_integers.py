"""One U-Net of whole numbers by a processor's instructions for them: the numbers of `Floats` to the last bit, in a
quarter of the time.

Convolutions are oneDNN's, of bytes into sums of 32 bits; what follows each is one pass over its sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from morpho_assets.imaging.segmentation.unet_kernels import doubled_and_added, halved, moved, moved_and_added

if TYPE_CHECKING:
    import torch


def fast() -> bool:
    """Whether this processor and this torch have the instructions. Without them oneDNN may cut sums at 16 bits."""
    import torch

    supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    return bool(supported) and hasattr(torch.ops.onednn, "qconv2d_pointwise")


@dataclass(frozen=True)
class Convolution:
    """Packed weights of a convolution of `side` x `side` pixels, and (O,) what its sums are multiplied by and moved."""

    packed: torch.Tensor
    side: int
    factor: NDArray[np.float32]
    shift: NDArray[np.float32]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], name: str) -> Convolution:
        import torch

        weight = torch.from_numpy(np.ascontiguousarray(arrays[f"{name}.weight"]))
        side, ones = weight.shape[-1], torch.ones(weight.shape[0])
        around = [side // 2, side // 2]
        packed = torch.ops.onednn.qconv_prepack(weight, ones, 1.0, 0, [1, 1], around, [1, 1], 1)
        return cls(packed, side, arrays[f"{name}.factor"], arrays[f"{name}.shift"])

    def sums(self, x: torch.Tensor) -> NDArray[np.float32]:
        """(1, I, H, W) uint8, channels last -> (H, W, O): whole numbers."""
        import torch

        count, around = self.factor.size, [self.side // 2, self.side // 2]
        found = torch.ops.onednn.qconv2d_pointwise(
            x, 1.0, 0, self.packed, torch.ones(count), torch.zeros(count, dtype=torch.int64), None,
            [1, 1], around, [1, 1], 1, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return np.asarray(found[0].permute(1, 2, 0).contiguous().numpy())


@dataclass(frozen=True)
class Integers:
    """The convolutions of one network and the factors of its additions, by name."""

    convolutions: Mapping[str, Convolution]
    carries: Mapping[str, np.float32]
    levels: int

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], levels: int) -> Integers:
        names = [name.removesuffix(".weight") for name in arrays if name.endswith(".weight")]
        carries = {
            name.removesuffix(".carry"): np.float32(array[0])
            for name, array in arrays.items()
            if name.endswith(".carry")
        }
        return cls({name: Convolution.of(arrays, name) for name in names}, carries, levels)

    def forward(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(planes, H, W) whole numbers 0 to 255 -> (3, H, W)."""
        x = _channels_last(np.ascontiguousarray(np.moveaxis(planes, 0, -1).astype(np.uint8)))
        across = []
        for level in range(self.levels):
            x = x if level == 0 else _channels_last(halved(_rows_first(x)))
            first = self.convolutions[f"down.{level}.first"]
            x = _channels_last(moved(first.sums(x), first.factor, first.shift))
            x = self._added(x, f"down.{level}")
            across.append(x)
        for number, skipped in enumerate(across[-2::-1]):
            deep, beside = (self.convolutions[f"up.{number}.{part}"] for part in ("deep", "across"))
            x = _channels_last(
                doubled_and_added(
                    beside.sums(skipped), beside.factor, beside.shift, deep.sums(x), deep.factor, deep.shift
                )
            )
            x = self._added(x, f"up.{number}")
        head = self.convolutions["head"]
        return np.moveaxis(head.sums(x) * head.factor + head.shift, -1, 0).copy()

    def _added(self, x: torch.Tensor, name: str) -> torch.Tensor:
        second = self.convolutions[f"{name}.second"]
        carry = self.carries[name]
        return _channels_last(moved_and_added(second.sums(x), second.factor, second.shift, _rows_first(x), carry))


def _channels_last(x: NDArray[np.uint8]) -> torch.Tensor:
    """(H, W, C) -> (1, C, H, W), the same memory."""
    import torch

    return torch.from_numpy(x).permute(2, 0, 1)[None]


def _rows_first(x: torch.Tensor) -> NDArray[np.uint8]:
    """(1, C, H, W), channels last -> (H, W, C), the same memory."""
    return np.asarray(x[0].permute(1, 2, 0).numpy())
