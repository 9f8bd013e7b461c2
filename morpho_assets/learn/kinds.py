"""The encoders by kind: a config and a module each. A new encoder is one module and one line in each of two places."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Annotated, Any, Protocol, cast

from pydantic import Field, TypeAdapter, ValidationError

from morpho_assets.learn import contrastive, imagenet, patches, supervised, vae, weakly_supervised, weights
from morpho_assets.learn.contrastive import ContrastiveConfig
from morpho_assets.learn.imagenet import ImagenetConfig
from morpho_assets.learn.lesson import Forward, Learned, Lesson, Progress, Weights
from morpho_assets.learn.patches import PatchesConfig
from morpho_assets.learn.supervised import SupervisedConfig
from morpho_assets.learn.vae import VaeConfig
from morpho_assets.learn.weakly_supervised import WeaklySupervisedConfig
from morpho_assets.learn.weights import FileConfig

EncoderConfig = Annotated[
    ImagenetConfig
    | PatchesConfig
    | FileConfig
    | VaeConfig
    | SupervisedConfig
    | WeaklySupervisedConfig
    | ContrastiveConfig,
    Field(discriminator="kind"),
]
"""An encoder of a study; `kind` names it."""

UNTRAINED = "_untrained"
"""What is added to the name of an encoder, and of a space, for its untrained twin."""
STARTED = "_started"
"""And for its second twin, the weights that it starts from, where these are not drawn."""

ENCODERS: dict[str, ModuleType] = {
    "imagenet": imagenet, "patches": patches, "file": weights, "vae": vae, "supervised": supervised,
    "weakly_supervised": weakly_supervised, "contrastive": contrastive,
}  # fmt: skip


_READS: TypeAdapter[Any] = TypeAdapter(EncoderConfig)


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


def twins_of(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of an encoder's twins, by what is added to its name: of the settings of one as they are written.
    None for what is no encoder, is a twin itself, or wants none."""
    try:
        config = _READS.validate_python(dict(settings))
    except ValidationError:
        return {}  # the study says what is wrong
    if not config.twin or config.untrained:
        return {}
    twins = {UNTRAINED: {**settings, "untrained": True, "twin": False}}
    if config.starts_trained:
        twins[STARTED] = {**settings, "epochs": 0, "twin": False}
    return twins
