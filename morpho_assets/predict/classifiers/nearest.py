"""Classifiers by distance: the nearest neighbours of a row, or the nearest class."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from morpho_assets.predict.classifiers.common import Arrays, ClassifierConfig, Codes, Floats, log_softmax, logs

ROWS_AT_ONCE = 2048


class NeighboursConfig(ClassifierConfig):
    """k nearest neighbours; probabilities are their votes. `class_weight: balanced` weighs a vote by its class."""

    CHOICES: ClassVar[tuple[str, ...]] = ("neighbours",)

    kind: Literal["neighbours"] = "neighbours"
    neighbours: tuple[int, ...] = Field(default=(5,), min_length=1, description="neighbours that vote")
    distance: Literal["euclidean", "cosine"] = Field(default="euclidean", description="distance of rows")


class CentroidConfig(ClassifierConfig):
    """The nearest class mean; probabilities are those of equal round clouds with the spread within classes."""

    kind: Literal["centroid"] = "centroid"
    distance: Literal["euclidean", "cosine"] = Field(default="euclidean", description="distance of rows")


def fit_neighbours(config: NeighboursConfig, x: Floats, codes: Codes, classes: int) -> Arrays:
    weight = np.ones(classes)
    if config.class_weight is not None:
        counts = np.bincount(codes, minlength=classes)
        weight = np.divide(len(codes), counts, out=np.zeros(classes), where=counts > 0)
    return {
        "rows": _placed(x, config.distance).astype(np.float32), "codes": codes, "weight": weight,
        "neighbours": np.array([min(config.neighbours[0], len(x))], np.int64),
        "cosine": np.array([config.distance == "cosine"]),
    }  # fmt: skip


def neighbours_log_probabilities(arrays: Arrays, x: Floats) -> Floats:
    """Of neighbours at one distance the row that comes first in training is taken."""
    classes, k = len(arrays["weight"]), int(arrays["neighbours"][0])
    reference = arrays["rows"].astype(np.float64)
    rows = _placed(x, "cosine" if arrays["cosine"][0] else "euclidean")
    found = np.zeros((len(x), classes))
    for start in range(0, len(x), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        away = -2 * part @ reference.T + (reference**2).sum(1)
        near = np.argsort(away, axis=1, kind="stable")[:, :k]
        called = arrays["codes"][near]
        for code in range(classes):
            found[start : start + len(part), code] = (called == code).sum(1) * arrays["weight"][code]
    return logs(found)


def fit_centroid(config: CentroidConfig, x: Floats, codes: Codes, classes: int) -> Arrays:
    rows = _placed(x, config.distance)
    counts = np.bincount(codes, minlength=classes)
    sums = np.zeros((classes, rows.shape[1]))
    np.add.at(sums, codes, rows)
    centres = np.divide(sums, counts[:, None], out=np.full_like(sums, np.nan), where=counts[:, None] > 0)
    within = ((rows - centres[codes]) ** 2).sum() / max(1, len(rows) - (counts > 0).sum())
    spread = max(within / max(1, rows.shape[1]), 1e-12)
    return {"centres": centres, "spread": np.array([spread]), "cosine": np.array([config.distance == "cosine"])}


def centroid_log_probabilities(arrays: Arrays, x: Floats) -> Floats:
    rows = _placed(x, "cosine" if arrays["cosine"][0] else "euclidean")
    centres = arrays["centres"]
    away = (rows**2).sum(1)[:, None] - 2 * rows @ np.nan_to_num(centres).T + np.nan_to_num((centres**2).sum(1))
    away[:, np.isnan(centres).any(axis=1)] = np.inf
    logits = -away / (2 * arrays["spread"][0])
    return log_softmax(np.maximum(logits, logits.max(axis=1, keepdims=True) - 600))


def _placed(x: Floats, distance: str) -> Floats:
    if distance == "euclidean":
        return x
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)
