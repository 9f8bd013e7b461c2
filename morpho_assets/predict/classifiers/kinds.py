"""The registry of classifiers: by `kind`, how one is fitted and applied. A new one is a module and a line below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from morpho_assets.predict.classifiers.common import Arrays, ClassifierConfig, Codes, Floats, logs
from morpho_assets.predict.classifiers.linear import (
    ElasticNetConfig,
    LogisticConfig,
    RidgeConfig,
    fit_elastic_net,
    fit_ridge,
    linear_log_probabilities,
)
from morpho_assets.predict.classifiers.nearest import (
    CentroidConfig,
    NeighboursConfig,
    centroid_log_probabilities,
    fit_centroid,
    fit_neighbours,
    neighbours_log_probabilities,
)
from morpho_assets.predict.classifiers.trees import (
    BoostingConfig,
    ForestConfig,
    boosting_log_probabilities,
    fit_boosting,
    fit_forest,
    forest_log_probabilities,
)

SingleConfig = Annotated[
    ElasticNetConfig | LogisticConfig | RidgeConfig | ForestConfig | BoostingConfig | NeighboursConfig | CentroidConfig,
    Field(discriminator="kind"),
]


class OneAgainstRestConfig(ClassifierConfig):
    """A model per class, of its rows and as many drawn from all others; probabilities are brought to the sum 1."""

    CHOICES: ClassVar[tuple[str, ...]] = ()

    kind: Literal["one_against_rest"] = "one_against_rest"
    model: SingleConfig = Field(default=ElasticNetConfig(), description="the model of each class")
    negatives: float = Field(default=1, gt=0, description="rows of other classes for each of the class")

    @property
    def candidates(self) -> list[OneAgainstRestConfig]:
        return [self.model_copy(update={"model": each}) for each in self.model.candidates]


ModelConfig = Annotated[
    ElasticNetConfig | LogisticConfig | RidgeConfig | ForestConfig | BoostingConfig | NeighboursConfig | CentroidConfig
    | OneAgainstRestConfig,
    Field(discriminator="kind"),
]  # fmt: skip
"""A classifier; `kind` names it."""


class Kind(NamedTuple):
    """`fit` takes config, features (n, d) that are scaled and finite, codes (n,) and the number of classes, and gives
    arrays; `log_probabilities` takes these and features (m, d), and gives (m, classes)."""

    fit: Callable[[Any, Floats, Codes, int], Arrays]
    log_probabilities: Callable[[Arrays, Floats], Floats]


def _fit_rest(config: OneAgainstRestConfig, x: Floats, codes: Codes, classes: int) -> Arrays:
    rng = np.random.default_rng(config.seed)
    kind = KINDS[config.model.kind]
    arrays: Arrays = {"kind": np.frombuffer(config.model.kind.encode(), np.uint8), "classes": np.array([classes])}
    for code in range(classes):
        own, others = np.flatnonzero(codes == code), np.flatnonzero(codes != code)
        if not len(own) or not len(others):
            continue  # of a class that is not there nothing is learned; it is never called
        drawn = rng.choice(others, min(len(others), max(1, round(config.negatives * len(own)))), replace=False)
        rows = np.sort(np.concatenate([own, drawn]))
        fitted = kind.fit(config.model, x[rows], (codes[rows] == code).astype(np.int64), 2)
        arrays |= {f"{code}.{name}": value for name, value in fitted.items()}
    return arrays


def _rest_log_probabilities(arrays: Arrays, x: Floats) -> Floats:
    kind = KINDS[bytes(arrays["kind"]).decode()]
    found = np.zeros((len(x), int(arrays["classes"][0])))
    for code in range(found.shape[1]):
        start = f"{code}."
        own = {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}
        if own:
            found[:, code] = np.exp(kind.log_probabilities(own, x)[:, 1])
    return logs(found)


KINDS: dict[str, Kind] = {
    "elastic_net": Kind(fit_elastic_net, linear_log_probabilities),
    "logistic": Kind(fit_elastic_net, linear_log_probabilities),
    "ridge": Kind(fit_ridge, linear_log_probabilities),
    "forest": Kind(fit_forest, forest_log_probabilities),
    "boosting": Kind(fit_boosting, boosting_log_probabilities),
    "neighbours": Kind(fit_neighbours, neighbours_log_probabilities),
    "centroid": Kind(fit_centroid, centroid_log_probabilities),
    "one_against_rest": Kind(_fit_rest, _rest_log_probabilities),
}
