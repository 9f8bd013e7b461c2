"""Encoders that are told treatments: what they have in common, from their settings to the forward pass.

`supervised`, `weakly_supervised` and `contrastive` differ in defaults, in the head and in how batches are dealt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from morpho_assets.errors import InputError
from morpho_assets.learn.cells import Cells
from morpho_assets.learn.config import AugmentConfig, TrainedConfig
from morpho_assets.learn.lesson import Forward, Lesson, Weights
from morpho_assets.learn.strong import Strength, strong_treatments

if TYPE_CHECKING:
    import torch


ENOUGH = 2000
"""Windows of which the accuracy on training data is taken."""


class LabelledConfig(TrainedConfig):
    """Settings of an encoder that learns from treatments."""

    architecture: Literal["small", "resnet18", "lite0"] = Field(
        "lite0", description="small: two convolutions; resnet18; lite0: EfficientNet-Lite0"
    )
    as_images: Literal["bag", "stack"] = Field(
        "stack", description="stack: all channels at once; bag: each channel alone, their numbers side by side"
    )
    size: int = Field(64, ge=8, description="side of the image that the network sees: windows are resized to it")
    block: int = Field(11, ge=1, le=15, description="of lite0: the block whose widened maps are averaged")
    start: Literal["imagenet", "drawn", "file"] | None = Field(
        None,
        description="the weights it starts from; null: imagenet for lite0, drawn for others; file: those of `path`",
    )
    path: str | None = Field(
        None, description="of start: file; safetensors or a torch state dict, names of torchvision"
    )
    strong: Strength = Field(
        "all",
        description="treatments that it learns from: all, or those whose training wells differ from controls, by "
        "principal components, by UMAP, or by how alike replicates are; measured with the weights it starts from",
    )
    learning_rate: float = Field(3e-4, gt=0, description="step size")
    schedule: Literal["constant", "cosine"] = Field("cosine", description="the step size over the epochs")
    warmup: float = Field(0.5, ge=0, description="epochs over which the step size rises from near 0")
    weight_decay: float = Field(0.05, ge=0, description="decay of weights, not of biases and normalisations")
    clip: float = Field(1.0, gt=0, description="largest length of a step's gradient")
    augment: AugmentConfig = Field(AugmentConfig(gamma=0.2, shift=0.1), description="changes of windows as it learns")
    max_cells: int = Field(10_000, ge=2, description="cells it learns from at most, drawn evenly from its wells")

    @model_validator(mode="after")
    def _starts(self) -> Self:
        if self.starts_from == "imagenet" and self.architecture != "lite0":
            raise ValueError(f"start: imagenet has weights of lite0, not of {self.architecture}: name a file")
        if (self.starts_from == "file") != (self.path is not None):
            raise ValueError("start: file and `path` belong together")
        if self.starts_from == "file" and self.architecture == "small":
            raise ValueError("architecture: small is trained from scratch: leave `path` out")
        return self

    @property
    def starts_from(self) -> str:
        return self.start or ("imagenet" if self.architecture == "lite0" else "drawn")

    @property
    def starts_trained(self) -> bool:
        return self.starts_from != "drawn"

    @property
    def uses_labels(self) -> bool:
        return not self.untrained and self.epochs > 0

    def trunk(self, channels: int) -> dict[str, Any]:
        """What the network is built with."""
        bag = self.as_images == "bag"
        return {"architecture": self.architecture, "channels": channels, "bag": bag, "size": self.size,
                "block": self.block}  # fmt: skip


def licence_of(config: LabelledConfig) -> str:
    if config.untrained:
        return "none: weights drawn at random"
    given = {"imagenet": ["Apache-2.0 (weights of ImageNet)"], "file": ["that of the file of weights"], "drawn": []}
    own = ["that of the plates it learned from"] if config.epochs else []
    return ", and ".join(given[config.starts_from] + own) or "none: weights drawn at random"


def described(config: LabelledConfig, head: str) -> str:
    names = {
        "small": "two convolutions",
        "resnet18": "ResNet-18",
        "lite0": f"EfficientNet-Lite0 to block {config.block}",
    }
    seen = "each channel alone" if config.as_images == "bag" else "all channels at once"
    return f"{names[config.architecture]}, {seen}, {config.size} pixels, from {config.starts_from} weights, {head}"


def as_drawn(config: LabelledConfig, lesson: Lesson, seed: int, device: torch.device) -> Weights:
    """The trunk of an untrained network: drawn, normalisations set on the lesson's windows."""
    from morpho_assets.learn.networks.labelled import Labelled
    from morpho_assets.learn.tensors import RECALIBRATED, arrays_of, batches, drawn, recalibrated, tensor_of

    crops = lesson.crops[lesson.split.train]
    crops = crops[:: -(-len(crops) // RECALIBRATED)]
    network = drawn(lambda: Labelled(**config.trunk(crops.shape[1])), seed).to(device)
    each = crops.shape[1] if config.as_images == "bag" else 1
    images = (tensor_of(crops[rows], device) for rows in batches(len(crops), each, config.size, device))
    return arrays_of(recalibrated(network, images))


def as_started(config: LabelledConfig, lesson: Lesson, seed: int) -> Weights:
    """The trunk as it is before it learns."""
    from morpho_assets.learn.networks.labelled import Labelled
    from morpho_assets.learn.tensors import arrays_of, drawn

    network = drawn(lambda: Labelled(**config.trunk(lesson.crops.shape[1])), seed)
    fill_start(config, network)
    return arrays_of(network)


def fill_start(config: LabelledConfig, network: Any) -> None:
    """Put the weights that it starts from into the trunk of a network; a drawn one stays as it is.

    Weights of three colours see a stack of C channels by their mean over colours, times 3 / C: a stack of equal
    channels answers as a grey photograph does. InputError for a file that does not fit.
    """
    import torch

    from morpho_assets.learn.imagenet import packaged_weights
    from morpho_assets.learn.weights import STEMS, read_weights

    if config.starts_from == "drawn":
        return
    given = packaged_weights() if config.starts_from == "imagenet" else read_weights(str(config.path))
    wanted = network.trunk.state_dict()
    file = config.path or "weights of ImageNet"
    missing = [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    if missing:
        found = f"no {missing[0]} (and {len(missing) - 1} others); it has {', '.join(sorted(given)[:4])}, …"
        raise InputError(file, "", found, f"the weights of {config.architecture}", "Check `architecture`.")
    weights = {name: np.asarray(given[name]) for name in wanted if name in given}
    stem = STEMS[config.architecture]
    planes = wanted[stem].shape[1]
    if weights[stem].shape[1] != planes:
        mean = weights[stem].mean(axis=1, keepdims=True) * (weights[stem].shape[1] / planes)
        weights[stem] = np.repeat(mean, planes, axis=1)
    for name, array in weights.items():
        if array.shape != tuple(wanted[name].shape):
            do = "Check `architecture`."
            raise InputError(file, name, f"shape {array.shape}", f"{tuple(wanted[name].shape)}", do)
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    network.trunk.load_state_dict(tensors, strict=False)


def network(config: LabelledConfig, weights: Weights, channels: int, device: torch.device) -> Any:
    """The trunk with these weights as a module of scaled crops; those of a head may be among them."""
    from morpho_assets.learn.networks.labelled import Labelled
    from morpho_assets.learn.tensors import filled

    own = {name: array for name, array in weights.items() if name.startswith("trunk.")}
    return filled(lambda: Labelled(**config.trunk(channels)), own, device)


def embedding_by(config: LabelledConfig, weights: Weights, channels: int, device: torch.device) -> Forward:
    """The embedding by a trunk with these weights."""
    import torch

    from morpho_assets.learn.tensors import batches, tensor_of

    trunk = network(config, weights, channels, device)
    each = channels if config.as_images == "bag" else 1

    def embed(cells: Cells) -> NDArray[np.float32]:
        with torch.inference_mode():
            parts = [
                trunk(tensor_of(cells.crops[rows], device)).cpu().numpy()
                for rows in batches(len(cells), each, config.size, device)
            ]
        return np.concatenate(parts)

    return embed


def treatments_to_learn(config: LabelledConfig, lesson: Lesson, embed: Forward) -> tuple[str, ...]:
    """The treatments among the training windows that it is to learn from, sorted. InputError for fewer than two."""
    assert lesson.conditions is not None
    rows = lesson.split.train
    found = {str(name) for name in np.unique(lesson.conditions[rows]) if name}
    if config.strong != "all":
        vectors = np.concatenate([embed(lesson.cells[part]) for part in np.array_split(rows, -(-len(rows) // 256))])
        found = strong_treatments(
            vectors, lesson.conditions[rows], lesson.wells[rows], lesson.controls[rows], config.strong, config.seed
        )
    if len(found) < 2:
        do = "Give it more plates or wells, or strong: all."
        raise InputError("encoder", "treatments", f"{len(found)} to learn from", "at least two", do)
    return tuple(sorted(found))


def targets_of(lesson: Lesson, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """(n, 3) int64: number of the class (-1 for a treatment that is none), of the well and of the plate."""
    assert lesson.conditions is not None
    number = {name: place for place, name in enumerate(classes)}
    told = np.array([number.get(str(name), -1) for name in lesson.conditions], np.int64)
    wells, plates = (np.unique(names, return_inverse=True)[1] for names in (lesson.wells, lesson.plates))
    return np.stack([told, wells, plates], axis=1).astype(np.int64)
