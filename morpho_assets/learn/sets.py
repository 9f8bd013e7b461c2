"""Wells as sets of cells: a head over the numbers of every cell, learned by contrasting wells (row M9).

The kind of CytoSummaryNet (van Dijk and others 2024, 10.1371/journal.pcbi.1012547). What it reads is there already:
embeddings of cells by an encoder, and CellProfiler's features of the same cells. It trains in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.learn.cards import Losses, Seen, versions
from morpho_assets.learn.config import AugmentConfig, TrainingConfig, TrainsOn
from morpho_assets.learn.contrastive import WELL, paired, with_partner
from morpho_assets.learn.cross_fit import turn_onto
from morpho_assets.learn.encoders import SHIFT, TURN
from morpho_assets.learn.kept import Keep
from morpho_assets.learn.kinds import STARTED, UNTRAINED
from morpho_assets.learn.lesson import History, Learned, Progress, Weights
from morpho_assets.learn.splits import Split, split_by_group
from morpho_assets.learn.verdict import verdict_on

MEDIAN = "_median"
"""What is added to the name of a set, and of its space, for the plain median over cells."""
FORMAT: Literal["morpho-assets set 1"] = "morpho-assets set 1"
PASSES = 8
"""Of an epoch: there are few wells, and a pass over them is but a few steps."""
MOST = 10.0
"""In units of controls; a number beyond it is as far as this: ratios of small objects would lead every mean."""


class SetConfig(TrainingConfig):
    """A head over the cells of a well, beside it the plain mean and median of the same numbers."""

    encoder: str | None = Field(
        None, description="encoder of cells, of this study, whose embedding is read; null: none, features alone"
    )
    features: bool = Field(True, description="whether CellProfiler's features of each cell are read")
    ladder: Literal["learned", "mean", "median"] = Field(
        "learned", description="how cells become a well: by the learned head and the mean, or plainly"
    )
    trains_on: TrainsOn = Field(TrainsOn(), description="the wells it may see")
    cross_fit: int | None = Field(
        None,
        ge=2,
        description="so many groups of these plates, each summed up by a set that was fitted on the others; their axes "
        "are turned onto each other by negative controls. Null: one set",
    )
    components: int = Field(64, ge=2, description="principal components kept of the embedding, and of the features")
    hidden: int = Field(256, ge=1, description="hidden units of the head")
    cells: int = Field(
        32, ge=1, description="cells drawn of a well each time that it is shown; a third of them at most"
    )
    max_cells: int = Field(40_000, ge=2, description="cells it learns from at most, drawn evenly from its wells")
    temperature: float = Field(0.2, gt=0, description="how sharply the likest pairs count")
    validation: float = Field(0.2, gt=0, lt=1, description="share of treatments held out whole, to stop")
    epochs: int = Field(60, ge=0, description="passes over the training wells at most")
    min_epochs: int = Field(10, ge=1, description="passes before early stopping may stop")
    patience: int = Field(10, ge=1, description="passes without a better validation loss before it stops")
    batch: int = Field(64, ge=4, description="wells per training step, half of them each the partner of another")
    learning_rate: float = Field(1e-3, gt=0, description="step size")
    weight_decay: float = Field(0.05, ge=0, description="decay of weights, not of biases")
    augment: AugmentConfig = Field(AugmentConfig(turns=False), description="numbers have no up: none")
    untrained: bool = Field(False, description="leave the head as it is drawn: what learning adds is the difference")
    twin: bool = Field(
        True, description="make `<name>_untrained`, `<name>_started` (the plain mean) and `<name>_median` beside it"
    )
    seed: int = Field(0, ge=0, description="seed of weights, split, order and draws")

    @property
    def uses_labels(self) -> bool:
        """Whether it is told the treatments of the wells that it learns from."""
        return self.ladder == "learned" and not self.untrained and self.epochs > 0


def twins_of_set(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of a set's twins, by what is added to its name; none for one that is a twin itself."""
    if (
        settings.get("twin", True) is False
        or settings.get("untrained")
        or settings.get("ladder", "learned") != "learned"
    ):
        return {}
    plain = {**settings, "twin": False}
    return {
        UNTRAINED: {**plain, "untrained": True}, STARTED: {**plain, "ladder": "mean"},
        MEDIAN: {**plain, "ladder": "median"},
    }  # fmt: skip


class SetCard(BaseModel):
    """What a set is, what it must be given and what it has seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["morpho-assets set 1"] = FORMAT
    config: SetConfig
    blocks: dict[str, tuple[str, ...]]
    """Names of the numbers of each block, in units of the plate's negative controls."""
    numbers: int
    seen: Seen
    losses: Losses
    verdict: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Lesson:
    """Cells to learn from: blocks of numbers (n, f) in units of their plate's controls, under their names; of each cell
    its well, plate and treatment."""

    blocks: Mapping[str, NDArray[np.float32]]
    names: Mapping[str, tuple[str, ...]]
    wells: NDArray[np.str_]
    plates: NDArray[np.str_]
    treatments: NDArray[np.str_]


@dataclass(frozen=True)
class FittedSet:
    """A set with what it needs: its card and its weights."""

    card: SetCard
    weights: Weights

    def encode(self, blocks: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n, numbers) of cells, whose mean (of the ladder `median` the median) over a well is the well."""
        joined = joint(blocks, self.weights)
        if "first.weight" not in self.weights:
            return self._turned(joined)
        first, bias, second, shift = (
            np.asarray(self.weights[name], np.float32)
            for name in ("first.weight", "first.bias", "second.weight", "second.bias")
        )
        return self._turned(joined + np.maximum(joined @ first.T + bias, 0) @ second.T + shift)

    def turned(self, own: NDArray[np.floating[Any]], onto: NDArray[np.floating[Any]]) -> FittedSet:
        """The set with its axes turned so that `own` (n, d), cells by it, come near `onto`, the same by another."""
        turn, shift = turn_onto(own, onto)
        return replace(self, weights={**self.weights, TURN: turn.astype(np.float32), SHIFT: shift.astype(np.float32)})

    def _turned(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        if TURN not in self.weights:
            return np.asarray(vectors, np.float32)
        turn, shift = (np.asarray(self.weights[name], np.float32) for name in (TURN, SHIFT))
        return np.asarray(vectors @ turn + shift, np.float32)

    def well(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """(numbers,) of the encoded cells of a well; at least one."""
        pool = np.median if self.card.config.ladder == "median" else np.mean
        return np.asarray(pool(cells, axis=0), np.float32)

    def save(self) -> tuple[bytes, bytes]:
        """The card (JSON) and the weights (safetensors)."""
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(array) for name, array in self.weights.items()}
        return self.card.model_dump_json(indent=2).encode(), bytes(save(arrays))


def in_units_of(values: NDArray[np.floating[Any]], controls: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Numbers of cells (n, f) less the median of control cells (m, f), in 1.4826 of their median absolute deviation,
    within +-MOST; 0 where controls do not vary or nothing was measured."""
    if not len(controls):
        return np.zeros(values.shape, np.float32)
    known = np.where(np.isfinite(controls), controls, np.nan)
    known[:, np.isnan(known).all(axis=0)] = 0
    middle = np.nanmedian(known, axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(known - middle), axis=0)
    scaled = (values - middle) / np.where(spread > 0, spread, np.nan)
    return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=MOST, neginf=-MOST), -MOST, MOST).astype(np.float32)


def fit_set(
    config: SetConfig, lesson: Lesson, progress: Progress | None = None, keep: Keep | None = None
) -> FittedSet:  # fmt: skip
    """Fit the components of each block, and the head on top of them. Whole treatments validate, and fit nothing.

    InputError for fewer than two wells, and where no treatment has two.
    """
    if len(np.unique(lesson.wells)) < 2:
        found = f"{len(np.unique(lesson.wells))} wells with cells"
        raise InputError("sets", "trains_on", found, "at least two", "Name more wells or plates.")
    split = split_by_group(len(lesson.wells), lesson.treatments, config.validation, config.seed)
    weights: Weights = {}
    for name, block in lesson.blocks.items():
        weights |= _components(name, block[split.train], config)
    joined = joint(lesson.blocks, weights)
    learned = _learned(config, joined, lesson, split, progress, keep) if config.ladder == "learned" else Learned({})
    weights |= learned.weights
    trains = bool(learned.history.train)
    history = learned.history
    seen = Seen(
        cells=len(lesson.wells), plates=tuple(map(str, np.unique(lesson.plates))),
        wells=tuple(map(str, np.unique(lesson.wells))),
        validation_wells=tuple(map(str, np.unique(lesson.wells[split.validation]))) if trains else (),
        split=split.unit if trains else "none",
        labels=tuple(map(str, np.unique(lesson.treatments))) if config.uses_labels else (),
    )  # fmt: skip
    card = SetCard(
        config=config, blocks=dict(lesson.names), numbers=joined.shape[1], seen=seen,
        losses=Losses(train=history.train, validation=history.validation, best_epoch=history.best_epoch,
                      trivial=history.trivial),
        verdict="", versions=versions(),
    )  # fmt: skip
    fitted = FittedSet(card, weights)
    vectors = fitted.encode({name: block[split.train] for name, block in lesson.blocks.items()})
    return FittedSet(card.model_copy(update={"verdict": verdict_on(learned, vectors)}), weights)


def joint(blocks: Mapping[str, NDArray[np.float32]], weights: Weights) -> NDArray[np.float32]:
    """The components of all blocks side by side (n, d): of each block the mean square over training cells is 1."""
    parts = []
    for name, block in blocks.items():
        centre, loadings = (np.asarray(weights[f"{name}.{part}"], np.float32) for part in ("centre", "loadings"))
        parts.append((block - centre) @ loadings.T)
    return np.concatenate(parts, axis=1).astype(np.float32)


def _components(name: str, block: NDArray[np.float32], config: SetConfig) -> Weights:
    from sklearn.decomposition import PCA

    kept = min(config.components, *block.shape)
    pca = PCA(kept, svd_solver="randomized" if kept < min(block.shape) else "full", random_state=config.seed)
    found = pca.fit_transform(block)
    size = float(np.sqrt((found**2).mean()))
    loadings = pca.components_ / max(size, 1e-6)
    return {f"{name}.centre": pca.mean_.astype(np.float32), f"{name}.loadings": loadings.astype(np.float32)}


def _learned(
    config: SetConfig, joined: NDArray[np.float32], lesson: Lesson, split: Split, progress: Progress | None,
    keep: Keep | None,
) -> Learned:  # fmt: skip
    """The head's weights: drawn, or of the epoch whose wells that validate are most like their partners."""
    import torch

    from morpho_assets.learn.networks.pooled import SetHead
    from morpho_assets.learn.tensors import arrays_of, drawn
    from morpho_assets.learn.training import Examples, train_network

    build = partial(SetHead, joined.shape[1], config.hidden, config.temperature, config.untrained)
    head = drawn(build, config.seed)
    if config.untrained or not config.epochs:
        return Learned(arrays_of(head))
    numbers = (np.unique(names, return_inverse=True)[1] for names in (lesson.treatments, lesson.wells, lesson.plates))
    targets = np.stack(list(numbers), axis=1).astype(np.int64)
    parts = [with_partner(rows, targets) for rows in (split.train, split.validation)]
    for what, rows in zip(("training", "validation"), parts, strict=True):
        if not len(rows):
            do = "Give it more wells, or a larger `validation`."
            raise InputError("sets", f"{what} pairs", "no treatment with two wells", "one or more", do)
    examples = Examples(joined[:, :, None, None], targets, lambda row: f"a cell of well {lesson.wells[row]}")
    draw = partial(sets_of, targets=targets, cells=config.cells, batch=config.batch)
    history: History = train_network(
        head, examples, Split(parts[0], parts[1], split.unit), config, config.seed, torch.device("cpu"), progress, keep,
        draw,
    )  # fmt: skip
    return Learned(arrays_of(head), history)


def sets_of(
    rows: NDArray[np.int64], rng: np.random.Generator, targets: NDArray[np.int64], cells: int, batch: int
) -> list[NDArray[np.int64]]:
    """An epoch's batches of cells: PASSES times as many wells as there are, in pairs of one treatment, on other plates
    where there are such, each with at most so many of its cells, drawn anew: a third of them at most, for a well that
    is shown whole each time is learned by heart."""
    wells, first, member = np.unique(targets[rows, WELL], return_index=True, return_inverse=True)
    of_well = [rows[member == number] for number in range(len(wells))]
    of = targets[rows[first]]
    pairs = [each for _ in range(PASSES) for each in paired(np.arange(len(wells)), rng, of, batch)]
    draw = lambda own: rng.choice(own, min(cells, -(-len(own) // 3)), replace=False)  # noqa: E731
    return [np.concatenate([draw(of_well[well]) for well in np.unique(chosen)]) for chosen in pairs]
