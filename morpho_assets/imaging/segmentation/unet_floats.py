"""One U-Net of whole numbers by floating-point arithmetic, which holds them exactly: on any processor, and on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

TOP = 255.0  # of what flows between layers


@dataclass(frozen=True)
class Floats:
    """The tensors of one network by name, float32, on a device."""

    tensors: Mapping[str, torch.Tensor]
    levels: int

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], levels: int, place: str) -> Floats:
        return cls({name: _placed(name, array, place) for name, array in arrays.items()}, levels)

    def forward(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(planes, H, W) whole numbers -> (3, H, W)."""
        import torch

        with torch.inference_mode():
            return self._forward(planes)

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


def _placed(name: str, array: NDArray[Any], place: str) -> torch.Tensor:
    import torch

    tensor = torch.from_numpy(array.astype(np.float32)).to(place)
    if name.endswith(".weight"):
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor if name.endswith(".carry") else tensor[None, :, None, None]
