"""ResNet-18 and -50 (He and others, arXiv 1512.03385); names of the weights are torchvision's."""

from __future__ import annotations

from torch import Tensor, nn

LAYERS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
WIDTHS = (64, 128, 256, 512)


class ResNet(nn.Module):
    """(n, C, S, S) -> (n, 512 or 2048): the maps of the last layer, averaged over the image."""

    FOLDS = (("conv1", "bn1"),)

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        block: type[_Basic] | type[_Bottleneck] = _Basic if name == "resnet18" else _Bottleneck
        self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = 64
        for number, (repeats, width) in enumerate(zip(LAYERS[name], WIDTHS, strict=True), start=1):
            blocks = []
            for place in range(repeats):
                blocks.append(block(inputs, width, 2 if place == 0 and number > 1 else 1))
                inputs = width * block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*blocks))

    def maps(self, images: Tensor) -> Tensor:
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for number in range(1, 5):
            maps = self.get_submodule(f"layer{number}")(maps)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images).mean(dim=(2, 3))


class _Basic(nn.Module):
    expansion = 1
    FOLDS = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        return self.relu(inner + (maps if self.downsample is None else self.downsample(maps)))


class _Bottleneck(nn.Module):
    expansion = 4
    FOLDS = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(inputs, 4 * width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps))))))
        return self.relu(self.bn3(self.conv3(inner)) + (maps if self.downsample is None else self.downsample(maps)))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
