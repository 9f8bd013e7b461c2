"""The encoder seam: what turns cell crops into embeddings, how one is trained, kept in a file and loaded again.

An encoder is a row of `ENCODERS`: a network and whether it is trained. `docs/encoders.md` says how to add one.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from morpho_assets.errors import InputError
from morpho_assets.learn.crops import Scaling, fit_scaling, scale_crops
from morpho_assets.learn.splits import sample_by_group, split_by_group

if TYPE_CHECKING:
    import torch

    from morpho_assets.learn.training import History, Progress

CHECKPOINT_FORMAT = "morpho-assets encoder 1"
ENCODE_BATCH = 256


class EncoderConfig(BaseModel):
    """Settings of one encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("vae", description="Encoder, a name of the registry: vae, or random_init (the same, untrained)")
    latent: int = Field(32, ge=1, description="Numbers in the latent code; an invariant embedding has twice as many")
    invariant: bool = Field(
        True,
        description="Embed by mean and spread of the code over the eight orientations; false: by the code as it lies",
    )
    crop_size: int = Field(96, ge=8, description="Side of the window cut around a cell, in pixels of the site image")
    shrink: int = Field(
        2, ge=1, description="Pixels averaged along each side before encoding; crop_size / shrink is a multiple of 8"
    )
    mask_neighbours: bool = Field(False, description="Blank the pixels of other cells in a window")
    max_cells: int = Field(20_000, ge=2, description="Cells to train on at most, drawn evenly from the groups")
    epochs: int = Field(30, ge=1, description="Passes over the training cells at most")
    min_epochs: int = Field(5, ge=1, description="Passes before early stopping may stop")
    patience: int = Field(5, ge=1, description="Passes without a better validation loss before it stops")
    batch: int = Field(32, ge=1, description="Cells per training step")
    learning_rate: float = Field(2e-3, gt=0, description="Step size of Adam")
    beta: float = Field(
        1.0, ge=0, description="Weight of the divergence from the prior; 1 is the VAE, above it a beta-VAE"
    )
    validation: float = Field(0.2, gt=0, lt=1, description="Share of the groups (wells, plates) held out to validate")
    percentiles: tuple[float, float] = Field(
        (1.0, 99.8), description="Percentiles of the training intensities that become 0 and 1, per channel"
    )
    seed: int = Field(0, ge=0, description="Seed of weights, split, order and noise")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to compute; auto takes a GPU if there is one"
    )

    @model_validator(mode="after")
    def _fits(self) -> EncoderConfig:
        if self.crop_size % (8 * self.shrink):
            raise ValueError(f"crop_size {self.crop_size} must be a multiple of 8 x shrink ({8 * self.shrink})")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles {low}, {high} must rise within 0 to 100")
        return self

    @property
    def input_size(self) -> int:
        """Side of the crops that the network sees, in its own pixels."""
        return self.crop_size // self.shrink

    @property
    def dimensions(self) -> int:
        """Numbers in an embedding."""
        return 2 * self.latent if self.invariant else self.latent


class Encoder(Protocol):
    """Crops of raw intensities (n, C, S, S) float32 -> embeddings (n, d) float32."""

    def encode(self, crops: NDArray[np.float32]) -> NDArray[np.float32]: ...


class Network(Protocol):
    """What a torch module offers to be an encoder; the rest of its face is `torch.nn.Module`'s."""

    def embed(self, crops: torch.Tensor) -> torch.Tensor: ...
    def loss(self, crops: torch.Tensor, generator: torch.Generator) -> torch.Tensor: ...
    def parameters(self) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...
    def train(self) -> Any: ...
    def eval(self) -> Any: ...
    def to(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True)
class EncoderKind:
    """A row of the registry: how to build the network for a config and a number of channels; whether to train it."""

    build: Callable[[EncoderConfig, int], Network]
    trains: bool


def _conv_vae(config: EncoderConfig, channels: int) -> Network:
    from morpho_assets.learn.vae import ConvVae

    return ConvVae(channels, config.input_size, config.latent, config.beta)


ENCODERS: dict[str, EncoderKind] = {
    "vae": EncoderKind(_conv_vae, trains=True),
    # What training adds is the difference from this: the same network with its weights as drawn.
    "random_init": EncoderKind(_conv_vae, trains=False),
}


@dataclass(frozen=True)
class TrainedEncoder:
    """A network with all it needs to encode, and the record of how it came about.

    `channels` names the channels in order; `plates` those it has seen; `split` what was held out whole to validate
    ("group", "cell", or "none" for an untrained network).
    """

    config: EncoderConfig
    channels: tuple[str, ...]
    plates: tuple[str, ...]
    scaling: Scaling
    split: str
    history: History
    network: Network
    device: torch.device

    def encode(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed (n, C, S, S) raw intensities: (n, config.dimensions) float32.

        An invariant embedding is the mean and then the standard deviation of the latent code over the eight rotations
        and mirrorings of the crop: a turned cell has the same one. No crops give (0, d); a crop with a NaN gives a
        row of NaN. Raises InputError for other channels or another size.
        """
        import torch

        side = self.config.input_size
        expected = (len(self.channels), side, side)
        if crops.shape[1:] != expected:
            do = "Cut crops with the crop_size, shrink and channels of the encoder."
            raise InputError("crops", "shape", str(crops.shape), f"(n, {', '.join(map(str, expected))})", do)
        embeddings = np.empty((len(crops), self.config.dimensions), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(crops), ENCODE_BATCH):
                batch = torch.from_numpy(scale_crops(crops[start : start + ENCODE_BATCH], self.scaling)).to(self.device)
                embeddings[start : start + ENCODE_BATCH] = self._embed(batch).cpu().numpy()
        return embeddings

    def _embed(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        if not self.config.invariant:
            return self.network.embed(batch)
        turned = [torch.rot90(image, turns, dims=(2, 3)) for image in (batch, batch.flip(3)) for turns in range(4)]
        codes = torch.stack([self.network.embed(image) for image in turned])  # (8, n, latent)
        return torch.cat([codes.mean(dim=0), codes.std(dim=0)], dim=1)  # (n, 2 latent)

    @property
    def sha256(self) -> str:
        """Hash of the weights and the scaling: equal for encoders that give equal embeddings."""
        digest = hashlib.sha256(repr(asdict(self.scaling)).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def train_encoder(
    crops: NDArray[np.float32],
    config: EncoderConfig,
    groups: ArrayLike | None = None,
    progress: Progress | None = None,
    *,
    channels: Sequence[str] = (),
    plates: Sequence[str] = (),
) -> TrainedEncoder:
    """Train the encoder that `config` names on (n, C, S, S) raw intensities; S is `config.input_size`.

    `groups` (n,) names the well or plate of each cell: whole groups validate, and only training cells fit the scaling.
    `channels` names the C channels (default "1".."C"); `plates` is recorded as seen. `progress` is called after every
    epoch. Raises InputError for an unknown name, fewer than two crops, crops of another shape and an absent GPU.
    """
    import torch

    from morpho_assets.learn.training import History, train_network

    kind = _kind(config.name)
    device = _device(config.device)
    names = tuple(channels) or tuple(str(number + 1) for number in range(crops.shape[1] if crops.ndim == 4 else 0))
    _check_training_crops(crops, config, names)
    labels = None if groups is None else np.asarray(groups)
    if len(crops) > config.max_cells:
        rows = sample_by_group(np.zeros(len(crops)) if labels is None else labels, config.max_cells, config.seed)
        crops, labels = crops[rows], None if labels is None else labels[rows]
    split = split_by_group(len(crops), labels, config.validation, config.seed)
    scaling = fit_scaling(crops[split.train], config.percentiles)
    with torch.random.fork_rng(devices=[]):  # initial weights come from torch's global state: lend it our seed
        torch.manual_seed(config.seed)
        network = kind.build(config, len(names)).to(device, memory_format=torch.channels_last)
    history = train_network(network, crops, split, scaling, config, device, progress) if kind.trains else History()
    network.eval()
    unit = split.unit if kind.trains else "none"
    return TrainedEncoder(config, names, tuple(plates), scaling, unit, history, network, device)


def save_encoder(trained: TrainedEncoder) -> bytes:
    """One file that suffices to encode: weights, config, channels, scaling, plates seen, losses. No pickled code."""
    import torch

    buffer = io.BytesIO()
    torch.save(
        {
            "format": CHECKPOINT_FORMAT,
            "weights": {name: tensor.cpu() for name, tensor in trained.network.state_dict().items()},
            "config": trained.config.model_dump(mode="json"),
            "channels": list(trained.channels),
            "plates": list(trained.plates),
            "scaling": asdict(trained.scaling),
            "split": trained.split,
            "history": asdict(trained.history),
            "sha256": trained.sha256,
        },
        buffer,
    )
    return buffer.getvalue()


def load_encoder(
    data: bytes, file: object = "encoder checkpoint", device: Literal["auto", "cpu", "cuda"] = "auto"
) -> TrainedEncoder:
    """The encoder in the bytes of a checkpoint; `file` names it in errors.

    Raises InputError for bytes that are no checkpoint of `save_encoder`, that are damaged, or whose weights do not fit
    their config. Loading runs no code from the file (torch's weights_only).
    """
    import torch

    from morpho_assets.learn.training import History

    expected, do = "a checkpoint written by morpho-assets", "Point to the file that the encoder asset wrote."
    try:
        content = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(file, "", f"bytes that torch cannot read ({_first_line(error)})", expected, do) from error
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        keys = ", ".join(sorted(map(str, content))[:5]) if isinstance(content, dict) else type(content).__name__
        raise InputError(file, "format", f"another file ({keys})", f"{expected} ({CHECKPOINT_FORMAT!r})", do)
    try:
        config = EncoderConfig.model_validate(content["config"])
        channels = tuple(content["channels"])
        network = _kind(config.name).build(config, len(channels))
        network.load_state_dict(content["weights"])
        scaling = Scaling(**{name: tuple(values) for name, values in content["scaling"].items()})
        history = History(**content["history"])
        plates, split, sha256 = tuple(content["plates"]), content["split"], content["sha256"]
    except (ValidationError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(file, "", f"parts that do not fit ({_first_line(error)})", expected, do) from error
    target = _device(device)
    network.to(target, memory_format=torch.channels_last)
    network.eval()
    encoder = TrainedEncoder(config, channels, plates, scaling, split, history, network, target)
    if encoder.sha256 != sha256:
        raise InputError(file, "sha256", encoder.sha256[:12], f"{sha256[:12]}, as recorded", "Fetch or train it again.")
    return encoder


def _kind(name: str) -> EncoderKind:
    if name not in ENCODERS:
        raise InputError("encoder", "name", repr(name), f"one of {', '.join(ENCODERS)}", "Name one of these.")
    return ENCODERS[name]


def _device(name: str) -> torch.device:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        do = "Use device: auto or cpu, or install a CUDA build of torch."
        raise InputError("encoder", "device", "no GPU that torch can use", "a CUDA GPU for device: cuda", do)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _check_training_crops(crops: NDArray[np.float32], config: EncoderConfig, channels: tuple[str, ...]) -> None:
    side = config.input_size
    if crops.shape[1:] != (len(channels), side, side) or len(crops) < 2:
        expected = f"at least 2 crops, (n, {len(channels) or 'channels'}, {side}, {side})"
        raise InputError(
            "crops", "shape", str(crops.shape), expected, "Cut crops with crop_size and shrink of the encoder."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
