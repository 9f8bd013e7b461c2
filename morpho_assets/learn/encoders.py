"""The encoder seam: what turns cells into embeddings, how one is fitted, kept in two files and loaded again.

`docs/encoders.md` says which there are, and how to add one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from morpho_assets.errors import InputError
from morpho_assets.learn.cards import FORMAT, Card, Inputs, Losses, Seen, digest_of, versions
from morpho_assets.learn.cells import Cells
from morpho_assets.learn.crops import Scaling, fit_scaling, scale_crops, scale_each
from morpho_assets.learn.kept import Keep, OfLesson
from morpho_assets.learn.kinds import EncoderConfig, kind_of
from morpho_assets.learn.lesson import Forward, Lesson, Progress, Weights
from morpho_assets.learn.splits import Split, sample_by_group, split_by_group
from morpho_assets.learn.verdict import verdict_on

SEEDS_OF_UNTRAINED = 3
"""An untrained network is the best of so many: one unlucky draw would flatter what learning adds."""
CELLS_AT_ONCE = 256
SMALLEST_SPREAD = 1e-4
"""Relative to the most spread of an embedding's numbers: below it there is rounding, which one scale would blow up."""
_CENTRE, _LOADINGS = "components.centre", "components.loadings"
TURN, SHIFT = "alignment.turn", "alignment.shift"
"""Weights by which the embeddings of a fold of a cross-fitted encoder are turned onto the axes of the first."""


@dataclass(frozen=True)
class Trained:
    """An encoder with all it needs: its card, its weights, and its forward pass."""

    card: Card
    weights: Weights
    forward: Forward

    def encode(self, cells: Cells, scaling: Scaling | None = None) -> NDArray[np.float32]:
        """Embed cells: (n, card.numbers) float32.

        `scaling` is that of the cells' plate (`fit_scaling` of its control wells' windows) where the card asks for the
        controls'. Channels are taken by name, in the card's order. No cells give (0, d); a window with a NaN gives a
        row of NaN. Raises InputError for a channel that is not there, windows of another size, missing own pixels and
        a missing scaling.
        """
        vectors = np.empty((len(cells), self.card.numbers), dtype=np.float32)
        for start in range(0, len(cells), CELLS_AT_ONCE):
            part = self.scaled(cells[start : start + CELLS_AT_ONCE], scaling)
            unknown = np.isnan(part.crops).any(axis=(1, 2, 3))
            part.crops[unknown] = 0
            found = _turned(_reduced(self.forward(part), self.weights), self.weights)
            found[unknown] = np.nan
            vectors[start : start + CELLS_AT_ONCE] = found
        return vectors

    def scaled(self, cells: Cells, scaling: Scaling | None = None) -> Cells:
        """Cells as the network is given them: its channels, intensities in [0, 1], own pixels if it sees such. Errors
        as of `encode`."""
        inputs, config = self.card.inputs, self.card.config
        cells = cells.seeing(inputs.channels, config.side, inputs.own_pixels)
        if inputs.scaling == "training":
            assert inputs.low is not None
            assert inputs.high is not None
            scaling = Scaling(inputs.low, inputs.high)
        own = cells.own if inputs.own_pixels else None
        return replace(cells, crops=_scaled(cells.crops, config, scaling), own=own)


def fit_encoder(
    config: EncoderConfig,
    cells: Cells,
    labels: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    split: Split | None = None,
    scalings: Mapping[str, Scaling] | None = None,
    progress: Progress | None = None,
    pixel_size: float | None = None,
    draw: int | None = None,
    controls: ArrayLike | None = None,
    keep: Keep | None = None,
) -> Trained:
    """Fit the encoder that `config` describes on cells of raw intensities.

    `groups` (n,) names the well of each cell ("plate well"): whole wells validate, unless `split` says which rows do.
    `labels` (n,) names treatments; an encoder that is told none does not get them. `controls` (n,) says which lie in
    negative controls. `scalings` holds each plate's scaling for `scaling: controls`. `keep` is where a training is kept
    on its way, so that a killed one goes on. Only training rows fit scaling and components. An untrained encoder is the
    best of three seeds, by how well halves of the training wells recognise each other, unless `draw` is its seed.
    `progress` is
    called after every epoch; `pixel_size`, µm of a pixel of the windows, stands in the card.
    Raises InputError for fewer than two cells, windows that do not fit, labels that are needed and absent, an absent
    GPU.
    """
    from morpho_assets.learn.tensors import device_named

    device = device_named(config.device)
    cells = cells.seeing(config.channels or cells.channels, config.side, config.sees_own_pixels)
    if len(cells) < 2:
        do = "Check the masks of the wells that it trains on."
        raise InputError("encoder", "cells", str(len(cells)), "at least 2 cells", do)
    names, told = _texts(groups), _texts(labels) if config.uses_labels else None
    control = np.zeros(len(cells), np.bool_) if controls is None else np.asarray(controls, np.bool_)
    if len(cells) > config.max_cells and split is None:
        rows = sample_by_group(np.zeros(len(cells)) if names is None else names, config.max_cells, config.seed)
        cells, names, told, control = cells[rows], _of(names, rows), _of(told, rows), control[rows]
    split = split or _split(config, cells, names, told)
    own_scaling = fit_scaling(cells.crops[split.train], config.percentiles) if config.scaling == "training" else None
    crops = _scaled_by_plate(cells, config, own_scaling, scalings)
    nameless = np.full(len(cells), "")
    lesson = Lesson(
        replace(cells, crops=crops), _conditions(config, cells, told), nameless if names is None else names,
        nameless if cells.plates is None else cells.plates, control, split,
        keep and OfLesson(keep, config, crops, split),
    )  # fmt: skip
    seeds = range(config.seed, config.seed + (SEEDS_OF_UNTRAINED if config.untrained else 1))
    seeds = seeds if draw is None else range(draw, draw + 1)
    kind, best = kind_of(config), -1.0
    for seed in seeds:
        learned = kind.learn(config, lesson, seed, device, progress)
        forward = kind.forward(config, learned.weights, crops.shape[1], device)
        components, vectors = _components(config, forward, lesson)
        score = recognised(vectors, _of(names, split.train)) if len(seeds) > 1 else 0.0
        if score > best:
            best, chosen, made = score, seed, (learned, forward, components, vectors)
    learned, forward, components, vectors = made
    inputs = Inputs(
        unit=config.unit, channels=cells.channels, crop_size=config.crop_size, shrink=config.shrink,
        pixel_size=pixel_size, window_size=None if pixel_size is None else config.side * pixel_size,
        own_pixels=config.sees_own_pixels,
        neighbours=config.neighbours, scaling=config.scaling, percentiles=config.percentiles,
        low=own_scaling.low if own_scaling else None, high=own_scaling.high if own_scaling else None,
    )  # fmt: skip
    weights = {**learned.weights, **components}
    trains = bool(learned.history.train)
    seen = Seen(
        cells=len(cells),
        plates=() if cells.plates is None else tuple(map(str, np.unique(cells.plates))),
        wells=() if names is None else tuple(map(str, np.unique(names))),
        validation_wells=tuple(map(str, np.unique(names[split.validation]))) if names is not None and trains else (),
        split=split.unit if trains else "none",
        labels=() if told is None else tuple(map(str, np.unique(told))),
    )
    history = learned.history
    card = Card(
        kind=config.kind, architecture=kind.architecture(config), numbers=vectors.shape[1], inputs=inputs,
        config=config, seen=seen, drawn_seed=chosen if config.untrained else None, licence=kind.licence(config),
        losses=Losses(train=history.train, validation=history.validation, best_epoch=history.best_epoch,
                      trivial=history.trivial),
        classes=learned.classes, scores=dict(learned.scores), verdict=verdict_on(learned, vectors),
        sha256=digest_of(_weights_file(weights), inputs, config), versions=versions(),
    )  # fmt: skip
    return Trained(card, weights, forward)


def save_encoder(trained: Trained) -> tuple[bytes, bytes]:
    """The card (JSON) and the weights (safetensors): the two files that suffice to encode."""
    return trained.card.model_dump_json(indent=2).encode(), _weights_file(trained.weights)


def load_encoder(
    card: bytes, weights: bytes, file: object = "encoder card", device: Literal["auto", "cpu", "cuda"] = "auto"
) -> Trained:
    """The encoder of a card and its weights; `file` names them in errors.

    Raises InputError for bytes that are no card or no safetensors, and for weights that are not the card's. Loading
    runs no code from the files.
    """
    import safetensors
    from safetensors.numpy import load

    from morpho_assets.learn.tensors import device_named

    expected, do = f"a card of {FORMAT!r}", "Point to the two files that the encoder stage wrote."
    try:
        read = Card.model_validate_json(card)
    except ValidationError as error:
        raise InputError(file, "", f"no card ({_first_line(error)})", expected, do) from error
    try:
        arrays = dict(load(weights))
    except safetensors.SafetensorError as error:
        raise InputError(file, "weights", f"bytes that cannot be read ({error})", "safetensors", do) from error
    found = digest_of(weights, read.inputs, read.config)
    if found != read.sha256:
        raise InputError(file, "sha256", found[:12], f"{read.sha256[:12]}, as recorded", "Fetch or fit it again.")
    own = {name: array for name, array in arrays.items() if name not in (_CENTRE, _LOADINGS, TURN, SHIFT)}
    channels = len(read.inputs.channels)
    try:
        forward = kind_of(read.config).forward(read.config, own, channels, device_named(device))
    except (RuntimeError, KeyError) as error:
        raise InputError(file, "weights", f"weights that do not fit ({_first_line(error)})", expected, do) from error
    return Trained(read, arrays, forward)


def with_weights(trained: Trained, weights: Weights) -> Trained:
    """The encoder with further arrays beside its weights, under a card that names them."""
    card = trained.card
    digest = digest_of(_weights_file(weights), card.inputs, card.config)
    return replace(trained, weights=weights, card=card.model_copy(update={"sha256": digest}))


def recognised(vectors: NDArray[np.floating], groups: NDArray[np.str_] | None) -> float:
    """How well halves of wells recognise each other: the share of wells whose one half of cells, averaged, has its own
    other half as the nearest of all wells' (cosine, features on one scale). No labels are needed, and no other wells.

    `vectors` (n, d). 0 where fewer than two wells have two cells. Used to choose between draws on training wells.
    """
    if groups is None or not len(vectors):
        return 0.0
    spread = vectors.std(axis=0)
    scaled = (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    wells = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    halves = [(scaled[rows[::2]].mean(axis=0), scaled[rows[1::2]].mean(axis=0)) for rows in wells if len(rows) > 1]
    if len(halves) < 2:
        return 0.0
    first, second = (_unit(np.stack(half)) for half in zip(*halves, strict=True))
    return float(np.mean((first @ second.T).argmax(axis=1) == np.arange(len(first))))


def _unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _scaled(crops: NDArray[np.float32], config: EncoderConfig, scaling: Scaling | None) -> NDArray[np.float32]:
    if config.scaling == "image":
        return scale_each(crops, config.percentiles)
    if scaling is None:
        do = "Give `fit_scaling` of windows of the plate's control wells, or use another `scaling`."
        raise InputError("encoder", "scaling", "no scaling", "that of the plate's controls, as the card says", do)
    return scale_crops(crops, scaling)


def _scaled_by_plate(
    cells: Cells, config: EncoderConfig, own: Scaling | None, scalings: Mapping[str, Scaling] | None
) -> NDArray[np.float32]:
    if config.scaling != "controls":
        return _scaled(cells.crops, config, own)
    plates = np.full(len(cells), "") if cells.plates is None else cells.plates
    crops = np.empty_like(cells.crops)
    for plate in np.unique(plates):
        rows = np.flatnonzero(plates == plate)
        crops[rows] = _scaled(cells.crops[rows], config, (scalings or {}).get(str(plate)))
    return crops


def _split(config: EncoderConfig, cells: Cells, wells: NDArray[np.str_] | None, told: NDArray[np.str_] | None) -> Split:
    """Which cells validate: whole wells, plates or treatments, or cells, as the encoder asks. Where treatments are
    told, each keeps a well to learn from if it has two."""
    groups = {"wells": wells, "plates": cells.plates, "cells": None, "treatments": told}[config.validates_on]
    spared = told if config.validates_on == "wells" else None
    return split_by_group(len(cells), groups, config.validation, config.seed, spared)


def _conditions(config: EncoderConfig, cells: Cells, told: NDArray[np.str_] | None) -> NDArray[np.str_] | None:
    """(n,) what an encoder is told of each cell."""
    condition = getattr(config, "condition", None) or ("treatment" if config.uses_labels else None)
    if condition is None:
        return None
    names = told if condition == "treatment" else cells.plates
    if names is None:
        do = "Give `labels`." if condition == "treatment" else "Name each cell's plate."
        raise InputError("encoder", "condition", f"cells without a {condition}", f"the {condition} of each", do)
    return names


def _components(config: EncoderConfig, forward: Forward, lesson: Lesson) -> tuple[Weights, NDArray[np.floating[Any]]]:
    """The principal components of the training cells, numbers on one scale, as arrays (none where they are not asked
    for); and these cells' embeddings."""
    rows = lesson.split.train
    parts = [rows[start : start + CELLS_AT_ONCE] for start in range(0, len(rows), CELLS_AT_ONCE)]
    vectors = np.concatenate([forward(lesson.cells[part]) for part in parts])
    if config.components is None:
        return {}, vectors
    from sklearn.decomposition import PCA

    mean, spread = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    scale = np.where(spread > SMALLEST_SPREAD * max(float(spread.max()), 1e-30), spread, np.inf)
    kept = min(config.components, *vectors.shape)
    pca = PCA(kept, svd_solver="randomized" if kept < min(vectors.shape) else "full", random_state=config.seed)
    with np.errstate(invalid="ignore"):  # cells that are all the same have no variance to share out
        pca.fit((vectors - mean) / scale)
    loadings = np.ascontiguousarray(pca.components_ / scale, np.float32)
    found: Weights = {_CENTRE: mean.astype(np.float32), _LOADINGS: loadings}
    return found, _reduced(vectors, found)


def reduction(weights: Weights) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The shift (d,) and the matrix (d, e) by which an embedding becomes its components; none where there are none."""
    if _LOADINGS not in weights:
        return []
    centre, loadings = (np.asarray(weights[name], np.float32) for name in (_CENTRE, _LOADINGS))
    return [(centre, loadings.T)]


def _reduced(vectors: NDArray[np.floating], weights: Weights) -> NDArray[np.float32]:
    for centre, loadings in reduction(weights):
        vectors = (vectors - centre) @ loadings
    return np.asarray(vectors, np.float32)


def _turned(vectors: NDArray[np.float32], weights: Weights) -> NDArray[np.float32]:
    if TURN not in weights:
        return vectors
    turn, shift = (np.asarray(weights[name], np.float32) for name in (TURN, SHIFT))
    return np.asarray(vectors @ turn + shift, np.float32)


def _weights_file(weights: Weights) -> bytes:
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(array) for name, array in weights.items()}))


def _texts(names: ArrayLike | None) -> NDArray[np.str_] | None:
    return None if names is None else np.asarray(names).astype(str)


def _of(names: NDArray[np.str_] | None, rows: NDArray[np.int64]) -> NDArray[np.str_] | None:
    return None if names is None else names[rows]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
