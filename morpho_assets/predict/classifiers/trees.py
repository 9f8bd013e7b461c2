"""Random forests and gradient boosting: fitted by scikit-learn, kept and applied as arrays of nodes.

Nodes of all trees lie one after the other; `roots` says where each tree begins, `left` and `right` where a node's
children are (itself for a leaf), so that a tree needs no code to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from morpho_assets.predict.classifiers.common import (
    Arrays,
    ClassifierConfig,
    Codes,
    Floats,
    log_softmax,
    logs,
    row_weights,
)


class ForestConfig(ClassifierConfig):
    """A random forest (Breiman 2001, 10.1023/A:1010933404324)."""

    CHOICES: ClassVar[tuple[str, ...]] = ("leaf",)

    kind: Literal["forest"] = "forest"
    trees: int = Field(default=200, ge=1, description="trees")
    leaf: tuple[int, ...] = Field(default=(1,), min_length=1, description="fewest rows of a leaf")
    depth: int | None = Field(default=None, ge=1, description="most questions in a row; null: as many as it takes")


class BoostingConfig(ClassifierConfig):
    """Gradient boosting over binned features (`HistGradientBoostingClassifier`)."""

    CHOICES: ClassVar[tuple[str, ...]] = ("rate",)

    kind: Literal["boosting"] = "boosting"
    rounds: int = Field(default=100, ge=1, description="trees per class")
    rate: tuple[float, ...] = Field(default=(0.1,), min_length=1, description="learning rates")
    leaves: int = Field(default=15, ge=2, description="most leaves of a tree")
    penalty: float = Field(default=1.0, ge=0, description="L2 penalty of leaf values")


def fit_forest(config: ForestConfig, x: Floats, codes: Codes, classes: int) -> Arrays:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        config.trees, min_samples_leaf=config.leaf[0], max_depth=config.depth, random_state=config.seed
    )
    forest.fit(x, codes, sample_weight=row_weights(codes, classes, config))
    trees = [each.tree_ for each in forest.estimators_]
    values = []
    for tree in trees:
        value = np.zeros((tree.node_count, classes))
        value[:, forest.classes_] = tree.value[:, 0] / tree.value[:, 0].sum(axis=1, keepdims=True)
        values.append(value)
    return _nodes([(tree.feature, tree.threshold, tree.children_left, tree.children_right) for tree in trees]) | {
        "values": np.concatenate(values)
    }


def forest_log_probabilities(arrays: Arrays, x: Floats) -> Floats:
    found = np.zeros((len(x), arrays["values"].shape[1]))
    rows = x.astype(np.float32)  # as the trees were grown
    for root in arrays["roots"]:
        found += arrays["values"][_leaves(arrays, rows, root)]
    return logs(found)


def fit_boosting(config: BoostingConfig, x: Floats, codes: Codes, classes: int) -> Arrays:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=config.rate[0], max_iter=config.rounds, max_leaf_nodes=config.leaves,
        l2_regularization=config.penalty, early_stopping=False, random_state=config.seed,
    )  # fmt: skip
    model.fit(x, codes, sample_weight=row_weights(codes, classes, config))
    trees = [tree.nodes for trees in model._predictors for tree in trees]
    outputs = [output for trees in model._predictors for output in range(len(trees))]
    nodes = []
    for tree in trees:
        leaf = tree["is_leaf"].astype(bool)
        feature = np.where(leaf, -2, tree["feature_idx"])
        left, right = (np.where(leaf, -1, tree[side].astype(np.int64)) for side in ("left", "right"))
        nodes.append((feature, tree["num_threshold"], left, right))
    return _nodes(nodes) | {
        "values": np.concatenate([tree["value"] for tree in trees]),
        "outputs": np.array(outputs, np.int64), "baseline": np.asarray(model._baseline_prediction, float).ravel(),
        "there": np.asarray(model.classes_, np.int64), "classes": np.array([classes], np.int64),
    }  # fmt: skip


def boosting_log_probabilities(arrays: Arrays, x: Floats) -> Floats:
    raw = np.tile(arrays["baseline"], (len(x), 1))
    for root, output in zip(arrays["roots"], arrays["outputs"], strict=True):
        raw[:, output] += arrays["values"][_leaves(arrays, x, root)]
    if raw.shape[1] == 1:  # two classes share one tree
        raw = np.concatenate([np.zeros_like(raw), raw], axis=1)
    found = np.zeros((len(x), int(arrays["classes"][0])))
    found[:, arrays["there"]] = np.exp(log_softmax(raw))
    return logs(found)


def _nodes(trees: Sequence[tuple[NDArray[Any], ...]]) -> Arrays:
    sizes = [len(tree[0]) for tree in trees]
    roots = np.cumsum([0, *sizes[:-1]])
    features, thresholds, lefts, rights = [], [], [], []
    for root, (feature, threshold, left, right) in zip(roots, trees, strict=True):
        own = np.arange(len(feature)) + root
        leaf = np.asarray(left) < 0
        features.append(np.where(leaf, 0, feature))
        thresholds.append(np.where(leaf, np.inf, threshold))
        lefts.append(np.where(leaf, own, np.asarray(left) + root))
        rights.append(np.where(leaf, own, np.asarray(right) + root))
    return {
        "roots": roots.astype(np.int64), "feature": np.concatenate(features).astype(np.int64),
        "threshold": np.concatenate(thresholds).astype(np.float64),
        "left": np.concatenate(lefts).astype(np.int64), "right": np.concatenate(rights).astype(np.int64),
    }  # fmt: skip


def _leaves(arrays: Arrays, x: NDArray[Any], root: int) -> NDArray[np.int64]:
    """(n,) the leaf of one tree that each row comes to."""
    node = np.full(len(x), root, np.int64)
    rows = np.arange(len(x))
    while True:
        smaller = x[rows, arrays["feature"][node]] <= arrays["threshold"][node]
        below = np.where(smaller, arrays["left"][node], arrays["right"][node])
        if (below == node).all():
            return node
        node = below
