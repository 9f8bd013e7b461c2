"""Linear classifiers: elastic net and L2 logistic regression, and ridge."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from morpho_assets.predict.classifiers.common import (
    Arrays,
    ClassifierConfig,
    Codes,
    Floats,
    log_softmax,
    row_weights,
)
from morpho_assets.predict.elastic_net import Fits, fit_elastic_nets, fit_grid
from morpho_assets.predict.scores import overall_scores
from morpho_assets.predict.splits import Fold

PUBLISHED_C = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
TUNING, TUNING_GAP = 300, 1e-3  # iterations, and a gap to stop at, of fits whose scores alone are wanted
PUBLISHED_L1_RATIO = tuple(round(0.1 * step, 1) for step in range(11))


class ElasticNetConfig(ClassifierConfig):
    """Multinomial logistic regression with an elastic net; the choices of Tomkinson 2024 are 7 of `C` (1e-3 … 1e3) by
    11 of `l1_ratio` (0, 0.1 … 1)."""

    CHOICES: ClassVar[tuple[str, ...]] = ("C", "l1_ratio")

    kind: Literal["elastic_net"] = "elastic_net"
    C: tuple[float, ...] = Field(default=(0.01, 0.1, 1.0), min_length=1, description="inverse strengths of the penalty")
    l1_ratio: tuple[float, ...] = Field(default=(0.0, 0.5), min_length=1, description="shares of L1 in the penalty")
    tolerance: float = Field(default=1e-4, gt=0, description="duality gap, as a share of the objective, to stop at")
    most: int = Field(
        default=1000, ge=1, description="most iterations; of the fits that settings are chosen by at most 300, "
        "or to a gap of 0.001 (scikit-learn's saga gets 100 passes in the published study, and ends above what these "
        "reach)",
    )  # fmt: skip


class LogisticConfig(ElasticNetConfig):
    """Multinomial logistic regression with an L2 penalty."""

    CHOICES: ClassVar[tuple[str, ...]] = ("C",)

    kind: Literal["logistic"] = "logistic"  # type: ignore[assignment]
    l1_ratio: tuple[float, ...] = Field(default=(0.0,), min_length=1, max_length=1, description="0: L2 alone")


class RidgeConfig(ClassifierConfig):
    """Least squares on ±1 per class with an L2 penalty (`sklearn.linear_model.RidgeClassifier`): fast, and hard to beat
    with many features. Its scores are no probabilities before they are calibrated."""

    CHOICES: ClassVar[tuple[str, ...]] = ("alpha",)

    kind: Literal["ridge"] = "ridge"
    alpha: tuple[float, ...] = Field(
        default=(10.0, 100.0, 1000.0, 10000.0, 100000.0), min_length=1, description="strengths of the penalty"
    )
    calibrate: Literal["temperature"] | None = Field(default="temperature", description="as of every classifier")


def fit_elastic_net(config: ElasticNetConfig, x: Floats, codes: Codes, classes: int) -> Arrays:
    fits = fit_elastic_nets(
        x, codes, classes, config.C[0], config.l1_ratio[0], row_weights(codes, classes, config),
        tolerance=config.tolerance, most=config.most,
    )  # fmt: skip
    return {"weights": fits.weights[0], "intercepts": fits.intercepts[0], "gap": fits.gap}


def choose_elastic_net(
    config: ElasticNetConfig, x: Floats, codes: Codes, classes: int, folds: list[Fold]
) -> tuple[ElasticNetConfig, Floats]:
    """(the config with the best C and l1_ratio, (C, l1_ratio) mean scores), all fitted together; of equal ones the
    strongest penalty, then the least L1. `folds` are rows of `x`."""
    rows = np.zeros((len(folds), len(codes)))
    for number, fold in enumerate(folds):
        rows[number, fold.train] = row_weights(codes[fold.train], classes, config)
    gap, most = max(config.tolerance, TUNING_GAP), min(config.most, TUNING)
    grid = fit_grid(x, codes, classes, config.C, config.l1_ratio, rows, gap, most)
    scores = np.zeros((len(grid), len(config.l1_ratio)))
    for row, fits in enumerate(grid.values()):
        for number in range(len(fits.objective)):
            ratio, which = divmod(number, len(folds))
            test = folds[which].test
            found = overall_scores(codes[test], fits.logits(x[test], number), classes)[config.choose_by]
            scores[row, ratio] += found / len(folds)
    best = np.unravel_index(scores.argmax(), scores.shape)
    chosen = {"C": (list(grid)[best[0]],), "l1_ratio": (config.l1_ratio[best[1]],)}
    return config.model_copy(update=chosen), scores


def leave_each_out(
    config: ElasticNetConfig, x: Floats, codes: Codes, classes: int, units: Codes, tested: Floats | None = None
) -> Floats:
    """(n, k) log-probabilities of each row by the model of all other units (0 … u - 1), with the first C and l1_ratio:
    u models in one product, each begun from that of all rows. `tested` (n, d) are the rows as they are tested, where
    they are others than those learned from (shuffled ones)."""
    called = x if tested is None else tested
    whole = row_weights(codes, classes, config)
    number = int(units.max()) + 1 if len(units) else 0
    shared: dict[str, Any] = {"tolerance": config.tolerance, "most": config.most}
    every = fit_elastic_nets(x, codes, classes, config.C[0], config.l1_ratio[0], whole, **shared)
    start = Fits(*(np.repeat(each, number, axis=0) for each in vars(every).values()))
    rows = np.zeros((number, len(codes)))
    for unit in range(number):
        others = units != unit
        rows[unit, others] = row_weights(codes[others], classes, config)
    shared["most"] = min(config.most, TUNING)
    fits = fit_elastic_nets(x, codes, classes, config.C[0], config.l1_ratio[0], rows, start, **shared)
    found = np.empty((len(codes), classes))
    for unit in range(number):
        here = units == unit
        found[here] = log_softmax(fits.logits(called[here], unit))
    return found


def fit_ridge(config: RidgeConfig, x: Floats, codes: Codes, classes: int) -> Arrays:
    return _ridge_path(config, config.alpha[:1], x, codes, classes)[0]


def choose_ridge(
    config: RidgeConfig, x: Floats, codes: Codes, classes: int, folds: list[Fold]
) -> tuple[RidgeConfig, list[Floats]]:
    """(the config with the best alpha, its log-probabilities of each fold's test rows): the products of features are
    made once a fold, for all alphas. Of equal ones the first."""
    logs = [
        [linear_log_probabilities(arrays, x[fold.test])
         for arrays in _ridge_path(config, config.alpha, x[fold.train], codes[fold.train], classes)]
        for fold in folds
    ]  # fmt: skip
    scores = [
        np.mean([overall_scores(codes[fold.test], np.exp(of_fold[i]), classes)[config.choose_by]
                 for fold, of_fold in zip(folds, logs, strict=True)])
        for i in range(len(config.alpha))
    ]  # fmt: skip
    best = int(np.argmax(scores))
    return config.model_copy(update={"alpha": (config.alpha[best],)}), [of_fold[best] for of_fold in logs]


def _ridge_path(config: RidgeConfig, alphas: tuple[float, ...], x: Floats, codes: Codes, classes: int) -> list[Arrays]:
    import scipy.linalg

    weights = row_weights(codes, classes, config)
    share = weights / weights.sum()
    target = np.where(codes[:, None] == np.arange(classes), 1.0, -1.0)
    centre, mean = share @ x, share @ target
    root = np.sqrt(weights)[:, None]
    a, b = root * (x - centre), root * (target - mean)
    tall = a.shape[1] <= a.shape[0]
    product = a.T @ a if tall else a @ a.T
    right = a.T @ b if tall else b
    diagonal, arrays = product.diagonal().copy(), []
    for alpha in alphas:
        np.fill_diagonal(product, diagonal + alpha)
        solved = scipy.linalg.solve(product, right, assume_a="pos")
        found = solved if tall else a.T @ solved
        arrays.append({"weights": found.T, "intercepts": mean - centre @ found})
    return arrays


def linear_log_probabilities(arrays: Arrays, x: Floats) -> Floats:
    return log_softmax(x @ arrays["weights"].T + arrays["intercepts"])
