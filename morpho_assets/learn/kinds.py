"""The encoders by kind: a config and a module each. A new encoder is one module and one line in each of two places."""

from __future__ import annotations

from types import ModuleType
from typing import Annotated, Any, Protocol, cast

from pydantic import Field

from morpho_assets.learn import imagenet, patches, vae, weights
from morpho_assets.learn.imagenet import ImagenetConfig
from morpho_assets.learn.lesson import Forward, Learned, Lesson, Progress, Weights
from morpho_assets.learn.patches import PatchesConfig
from morpho_assets.learn.vae import VaeConfig
from morpho_assets.learn.weights import FileConfig

EncoderConfig = Annotated[ImagenetConfig | PatchesConfig | FileConfig | VaeConfig, Field(discriminator="kind")]
"""An encoder of a study; `kind` names it."""

UNTRAINED = "_untrained"
"""What is added to the name of an encoder, and of a space, for its untrained twin."""

ENCODERS: dict[str, ModuleType] = {"imagenet": imagenet, "patches": patches, "file": weights, "vae": vae}


class EncoderKind(Protocol):
    """What an encoder's module offers; the device is torch's."""

    def architecture(self, config: Any) -> str: ...
    def licence(self, config: Any) -> str: ...
    def learn(self, config: Any, lesson: Lesson, seed: int, device: Any, progress: Progress | None = None) -> Learned:
        """Weights from the lesson's training rows; early stopping by its validation rows."""
        ...

    def forward(self, config: Any, weights: Weights, channels: int, device: Any) -> Forward:
        """How scaled crops of so many channels are encoded with these weights. RuntimeError where they do not fit."""
        ...


def kind_of(config: EncoderConfig) -> EncoderKind:
    """The module of a config."""
    return cast(EncoderKind, ENCODERS[config.kind])
