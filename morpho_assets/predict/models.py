"""A model: features to classes, with all that applying it elsewhere needs, kept as JSON and safetensors.

Scaling, components, settings that are choices and calibration are all fitted on the training rows alone. Nothing in the
two files runs code when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from morpho_assets import __version__
from morpho_assets.errors import InputError
from morpho_assets.predict.classifiers.common import Arrays, ClassifierConfig, Codes, Floats, log_softmax
from morpho_assets.predict.classifiers.kinds import KINDS, ModelConfig
from morpho_assets.predict.classifiers.linear import (
    ElasticNetConfig,
    RidgeConfig,
    choose_elastic_net,
    choose_ridge,
)
from morpho_assets.predict.scores import overall_scores
from morpho_assets.predict.splits import By, Fold, Splits, inner_folds

FORMAT: Literal["morpho-assets model 1"] = "morpho-assets model 1"
_CONFIG: TypeAdapter[Any] = TypeAdapter(ModelConfig)
BLOCKS = ("Embedding_", "Pixel_", "ImageQuality_", "Phenotype_", "Joined_")
"""Starts of features that make a block of their own beside CellProfiler's; blocks are brought to one length."""


STOPPED = "stopped before the optimum, with a duality gap"


class Card(BaseModel):
    """What a model is: its settings as they were chosen, its features in order, its classes, and what it saw."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["morpho-assets model 1"] = FORMAT
    package: str = __version__
    config: dict[str, Any]
    features: tuple[str, ...]
    classes: tuple[str, ...]
    rows: int
    """Training rows."""
    of_class: dict[str, int]
    units: tuple[str, ...]
    """The images, wells, plates … that it saw, as the split names them."""
    by: str
    scale: str = "training"
    """How features have to come: as they are, or on the scale of each plate's controls."""
    temperature: float = 1.0
    notes: tuple[str, ...] = ()
    sha256: str = ""
    """Of the arrays, by which a damaged pair of files is found."""


@dataclass(frozen=True)
class Model:
    """A fitted model: its card and its arrays."""

    card: Card
    arrays: Mapping[str, NDArray[Any]]

    @property
    def config(self) -> ClassifierConfig:
        config = _CONFIG.validate_python(self.card.config)
        assert isinstance(config, ClassifierConfig)
        return config

    def predict(self, x: NDArray[np.floating]) -> Floats:
        """(n, k) probabilities of rows of the card's features, in its order; NaN is filled with the training mean, and
        a row without any value gives a row of NaN."""
        values = np.asarray(x, dtype=float)
        if values.ndim != 2 or values.shape[1] != len(self.card.features):
            raise ValueError(f"{values.shape} values for {len(self.card.features)} features")
        if not len(values):
            return np.empty((0, len(self.card.classes)))
        rows = _prepared(self.config, self.arrays, values)
        found = KINDS[self.card.config["kind"]].log_probabilities(_own(self.arrays), rows)
        if self.card.temperature != 1:
            found = log_softmax(found / self.card.temperature)
        probability = np.exp(found)
        unknown = ~np.isfinite(values[:, 0]) if values.shape[1] else np.ones(len(values), bool)
        if unknown.any():  # rows without any value: those that lack the first are looked at whole
            some = np.flatnonzero(unknown)
            probability[some[~np.isfinite(values[some]).any(axis=1)]] = np.nan
        return probability

    def predict_named(self, x: NDArray[np.floating], names: Sequence[str]) -> tuple[Floats, tuple[str, ...]]:
        """(probabilities, features of the model that `names` lacks). With `missing: mean` these are at the training
        mean; with `missing: error` InputError names them."""
        place = {name: number for number, name in enumerate(names)}
        absent = tuple(name for name in self.card.features if name not in place)
        if absent and self.config.missing == "error":
            shown = ", ".join(absent[:8]) + (" …" if len(absent) > 8 else "")
            raise InputError("model", "features", f"no {shown} ({len(absent)} of {len(self.card.features)})",
                             "all features of the model", "Measure them, or give the model `missing: mean`, which puts "
                             "them at the mean of training.")  # fmt: skip
        rows = np.full((len(x), len(self.card.features)), np.nan)
        for number, name in enumerate(self.card.features):
            if name in place:
                rows[:, number] = x[:, place[name]]
        return self.predict(rows), absent

    def coefficients(self) -> Floats | None:
        """(k, d) by how much the logit of each class rises with one standard deviation of each feature (with `log` of
        its logarithm), through components where there are any; less the mean over classes, which changes nothing. None
        for a model that is not linear."""
        if "model.weights" not in self.arrays:
            return None
        weights = np.asarray(self.arrays["model.weights"], float)
        if "pca.directions" in self.arrays:
            weights = weights @ self.arrays["pca.directions"]
        own = weights * self.arrays["weight"]
        if not self.config.standardize:  # the spread of all features is one number: each is brought to its own
            own = own * self.arrays["own spread"] / self.arrays["spread"]
        return np.asarray(own - own.mean(axis=0))

    def save(self) -> tuple[bytes, bytes]:
        """(the card as JSON, the arrays as safetensors)."""
        from safetensors.numpy import save

        weights = save({name: np.ascontiguousarray(self.arrays[name]) for name in sorted(self.arrays)})
        card = self.card.model_copy(update={"sha256": hashlib.sha256(weights).hexdigest()})
        return (json.dumps(card.model_dump(mode="json"), indent=1) + "\n").encode(), weights


def load_model(card: bytes, weights: bytes, file: str = "model") -> Model:
    """A model from its two files. InputError where they are no such files, or not of each other."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    do = "Write the model again, and keep both files together."
    try:
        read = Card.model_validate_json(card)
        _CONFIG.validate_python(read.config)
        arrays = load(weights)
    except (ValidationError, SafetensorError) as error:
        raise InputError(file, "", str(error).splitlines()[0], "a model of this platform", do) from error
    if hashlib.sha256(weights).hexdigest() != read.sha256:
        raise InputError(file, "sha256", "weights of another model", "those the card names", do)
    return Model(read, arrays)


def fit_model(
    config: ClassifierConfig, x: NDArray[np.floating], classes: Sequence[str], features: Sequence[str],
    units: Sequence[str] | None = None, by: By = "random", scale: str = "training",
) -> Model:  # fmt: skip
    """A model of the rows of `x` (n, d; NaN is missing), whose classes and features are named.

    `units` (n,) name what is kept whole in the folds by which settings are chosen and probabilities calibrated
    (`config.folds` of them); without several there are random folds, which the card says. InputError for fewer than two
    classes.
    """
    values, truth = np.asarray(x, dtype=float), np.asarray(classes, dtype=str)
    names = [str(name) for name in np.unique(truth)]
    if len(names) < 2:
        raise InputError("labels", "classes", f"{len(names)} classes", "at least two", "Label more, or merge fewer.")
    codes = np.searchsorted(names, truth)
    whole = np.arange(len(truth)).astype(str) if units is None else np.asarray(units, dtype=str)
    prepare = _fit_preparation(config, values, features)
    rows = _prepared(config, prepare, values)
    folds, note = _folds(config, truth, whole, by)
    chosen, temperature, notes = _chosen(config, rows, codes, len(names), folds)
    arrays = KINDS[_kind(config)].fit(chosen, rows, codes, len(names))
    made = {**prepare, **{f"model.{name}": np.asarray(value) for name, value in arrays.items()}}
    if gap := _gap_left(chosen, made):
        notes = [*notes, f"{STOPPED} of {gap:.1%} of the objective"]
    counts = np.bincount(codes, minlength=len(names))
    card = Card(
        config=chosen.model_dump(mode="json"), features=tuple(features), classes=tuple(names), rows=len(truth),
        of_class={name: int(count) for name, count in zip(names, counts, strict=True)},
        units=tuple(str(unit) for unit in np.unique(whole)) if units is not None else (), by=by, scale=scale,
        temperature=temperature, notes=tuple(note + notes),
    )  # fmt: skip
    return Model(card, made)


@dataclass(frozen=True)
class HeldOut:
    """Predictions of rows by models that did not see them: `probability` (n, k) of `classes`, NaN for rows in no fold;
    `fold` (n,), -1 likewise; `chosen` the settings of each fold's model; `notes` what is worth knowing of the fits."""

    classes: tuple[str, ...]
    probability: Floats
    fold: NDArray[np.int64]
    chosen: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()


def predict_held_out(
    config: ClassifierConfig, x: NDArray[np.floating], classes: Sequence[str], features: Sequence[str], splits: Splits,
    shuffled: int | None = None,
) -> HeldOut:  # fmt: skip
    """Each row by the model of its fold's training rows. With `shuffled` (a seed) every feature is permuted on its own
    among the training rows before fitting, and never in the test (T7 of the published study): what is left is chance.
    """
    values, truth = np.asarray(x, dtype=float), np.asarray(classes, dtype=str)
    kept = np.concatenate([np.concatenate([fold.train, fold.test]) for fold in splits]) if splits.folds else []
    names = tuple(str(name) for name in np.unique(truth[np.asarray(kept, np.int64)]))
    place = {name: number for number, name in enumerate(names)}
    probability, number_of = np.full((len(truth), len(names)), np.nan), np.full(len(truth), -1)
    chosen: list[dict[str, Any]] = []
    gaps: list[float] = []
    others: dict[str, None] = {}
    for number, fold in enumerate(splits):
        train = values[fold.train]
        if shuffled is not None:
            train = np.random.default_rng([shuffled, number]).permuted(train, axis=0)
        model = fit_model(config, train, list(truth[fold.train]), features, list(splits.units[fold.train]), splits.by)
        found = model.predict(values[fold.test])
        probability[fold.test] = 0.0
        columns = np.array([place[name] for name in model.card.classes])
        probability[np.ix_(fold.test, columns)] = found
        number_of[fold.test] = number
        chosen.append({name: model.card.config.get(name) for name in config.CHOICES})
        gaps += [gap for gap in (_gap_left(model.config, model.arrays),) if gap]
        others |= dict.fromkeys(note for note in model.card.notes if not note.startswith(STOPPED))
    notes = [f"{len(gaps)} of {len(chosen)} models {STOPPED} of up to {max(gaps):.1%} of the objective"] if gaps else []
    return HeldOut(names, probability, number_of, tuple(chosen), (*notes, *others))


def prepared(model: Model, x: NDArray[np.floating]) -> Floats:
    """(n, e) what the classifier of a model sees of rows of its features: scaled, filled, cut, its components."""
    return _prepared(model.config, model.arrays, np.asarray(x, dtype=float))


# Below: how


def _kind(config: ClassifierConfig) -> str:
    return str(config.kind)  # type: ignore[attr-defined]


def _gap_left(config: ClassifierConfig, arrays: Mapping[str, NDArray[Any]]) -> float:
    """The duality gap at which a fit stopped, where it is above what was asked for; else 0."""
    gap = float(arrays["model.gap"][0]) if "model.gap" in arrays else 0.0
    return gap if gap > getattr(config, "tolerance", 0) else 0.0


def _own(arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {name.removeprefix("model."): value for name, value in arrays.items() if name.startswith("model.")}


def _folds(config: ClassifierConfig, truth: NDArray[np.str_], units: NDArray[np.str_], by: By) -> tuple[
    list[Fold], list[str]
]:  # fmt: skip
    """Folds of the training rows; none where nothing is chosen or calibrated."""
    if len(config.candidates) < 2 and config.calibrate is None:
        return [], []
    rows = np.arange(len(truth))
    folds = inner_folds(rows, list(truth), units, by, config.folds, config.seed)
    if folds:
        return folds, []
    units = np.arange(len(truth)).astype(str)
    return inner_folds(rows, list(truth), units, "random", config.folds, config.seed), [
        f"settings were chosen on random folds, because all training rows are of one {by}"
    ]


def _chosen(
    config: ClassifierConfig, x: Floats, codes: Codes, classes: int, folds: list[Fold]
) -> tuple[ClassifierConfig, float, list[str]]:
    """(the config with the best of its choices, its temperature, what is worth knowing)."""
    candidates = config.candidates
    chosen = candidates[0]
    found: list[Floats] | None = None
    if len(candidates) > 1 and isinstance(config, ElasticNetConfig):
        chosen, _ = choose_elastic_net(config, x, codes, classes, folds)
    elif isinstance(config, RidgeConfig) and folds:
        chosen, found = choose_ridge(config, x, codes, classes, folds)
    elif len(candidates) > 1:
        values = [
            np.mean([
                overall_scores(codes[fold.test], np.exp(_fold_logs(each, x, codes, classes, fold)), classes)
                [config.choose_by] for fold in folds
            ])
            for each in candidates
        ]  # fmt: skip
        chosen = candidates[int(np.argmax(values))]
    if config.calibrate is None or not folds:
        return chosen, 1.0, []
    tested = np.concatenate([fold.test for fold in folds])
    logs = found or [_fold_logs(chosen, x, codes, classes, fold) for fold in folds]
    return chosen, fit_temperature(np.concatenate(logs), codes[tested]), []


def _fold_logs(config: ClassifierConfig, x: Floats, codes: Codes, classes: int, fold: Fold) -> Floats:
    kind = KINDS[_kind(config)]
    arrays = kind.fit(config, x[fold.train], codes[fold.train], classes)
    return kind.log_probabilities({name: np.asarray(value) for name, value in arrays.items()}, x[fold.test])


def fit_temperature(log_probabilities: Floats, codes: Codes) -> float:
    """The number by which log-probabilities are divided so that those of the true classes are greatest in the mean
    (Guo 2017, arXiv 1706.04599), between 1/50 and 50."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        found = log_softmax(log_probabilities / np.exp(log_temperature))
        return float(-found[np.arange(len(codes)), codes].mean())

    best = minimize_scalar(loss, bounds=(-np.log(50), np.log(50)), method="bounded")
    return float(np.exp(best.x))


def _fit_preparation(config: ClassifierConfig, x: Floats, features: Sequence[str]) -> Arrays:
    """Centre, spread and weight of each feature over the training rows, and components where they are asked for.
    A feature without spread or without values weighs nothing."""
    values = _logged(config, np.where(np.isfinite(x), x, np.nan))
    known = np.isfinite(values)
    count = known.sum(axis=0)
    centre = np.divide(np.where(known, values, 0).sum(axis=0), count, out=np.zeros(x.shape[1]), where=count > 0)
    away = np.where(known, values - centre, 0)
    spread = np.sqrt(np.divide((away**2).sum(axis=0), count, out=np.zeros(x.shape[1]), where=count > 0))
    flat = spread <= 1e-9 * np.maximum(np.abs(centre), 1e-9)
    block = np.array([next((start for start in BLOCKS if name.startswith(start)), "") for name in features])
    weight = np.ones(x.shape[1])
    names = np.unique(block[~flat]) if (~flat).any() else []
    for name in names:
        here = (block == name) & ~flat
        weight[here] = np.sqrt((~flat).sum() / len(names) / here.sum())
    weight[flat] = 0
    if not config.standardize:  # rows keep their shape, and are brought to a mean square of 1
        own, spread = spread, np.full(x.shape[1], np.sqrt((away**2).sum(axis=1).mean()) or 1.0)
        flat, weight = np.zeros(x.shape[1], bool), np.ones(x.shape[1])
    arrays = {"centre": centre, "spread": np.where(flat, 1.0, spread), "weight": weight}
    if not config.standardize:
        arrays["own spread"] = own
    if config.pca is None:
        return arrays
    rows = _scaled(config, arrays, x)
    middle = rows.mean(axis=0)
    _, lengths, directions = np.linalg.svd(rows - middle, full_matrices=False)
    variance = lengths**2
    if config.pca < 1:
        number = int(np.searchsorted(np.cumsum(variance) / max(variance.sum(), 1e-300), config.pca) + 1)
    else:
        number = int(config.pca)
    kept = directions[: min(number, int((variance > 1e-12 * max(variance.max(), 1e-300)).sum()) or 1)]
    signs = np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])  # whatever the library's sign
    return arrays | {"pca.middle": middle, "pca.directions": kept * signs[:, None]}


def _prepared(config: ClassifierConfig, arrays: Mapping[str, NDArray[Any]], x: Floats) -> Floats:
    rows = _scaled(config, arrays, x)
    if "pca.directions" in arrays:
        rows = (rows - arrays["pca.middle"]) @ arrays["pca.directions"].T
    return rows


def _scaled(config: ClassifierConfig, arrays: Mapping[str, NDArray[Any]], x: Floats) -> Floats:
    rows = _logged(config, x)
    rows = rows - arrays["centre"]
    rows /= arrays["spread"]
    known = np.isfinite(rows)
    if not known.all():
        rows[~known] = 0.0
    np.clip(rows, -config.clip, config.clip, out=rows)
    rows *= arrays["weight"]
    return np.asarray(rows)


def _logged(config: ClassifierConfig, x: Floats) -> Floats:
    return np.asarray(np.sign(x) * np.log1p(np.abs(x))) if config.log else x
