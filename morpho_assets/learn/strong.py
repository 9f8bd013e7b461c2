"""Treatments that do something: whose wells differ from negative controls, by one of three rules (row M7).

Most treatments of a screen look like controls; a network that must tell them apart learns plates and wells instead
(Moshkov and others 2024, 10.1038/s41467-024-45999-1). The rules see training wells alone.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError

Strength = Literal["all", "pca", "umap", "replicates"]
QUANTILE = 0.95
"""Of controls, or of chance: what lies above it is strong."""
COMPONENTS = 10
DRAWS = 1000


def strong_treatments(
    vectors: NDArray[np.floating[Any]], treatments: NDArray[np.str_], wells: NDArray[np.str_],
    controls: NDArray[np.bool_], rule: Strength, seed: int = 0,
) -> set[str]:  # fmt: skip
    """The treatments that are strong, and the controls' own (a network may name those too).

    `vectors` (n, d) are of windows; `treatments`, `wells` and `controls` (n,) say whose. Wells are means over windows,
    on the scale of the wells of controls.
    - `pca`: distance from the controls' median over 10 principal components, each in the controls' spread; the median
      over a treatment's wells lies above the 95th percentile of control wells.
    - `umap`: the same by the distance to the controls' mean in a UMAP of two dimensions.
    - `replicates`: the median correlation among a treatment's wells lies above the 95th percentile of that among as
      many wells drawn at random, 1,000 times; a treatment with one well is not strong. (The paper's code draws ten
      wells for every treatment: of treatments with four wells that do nothing it takes a fourth for strong.)

    Raises InputError where fewer than three wells are controls.
    """
    names, first, number = np.unique(wells, return_index=True, return_inverse=True)
    means = np.zeros((len(names), vectors.shape[1]))
    np.add.at(means, number, vectors)
    means /= np.bincount(number)[:, None]
    of, control = treatments[first], controls[first]
    if control.sum() < 3:
        do = "Let it see wells of negative controls, or use strong: all."
        raise InputError("encoder", "strong", f"{control.sum()} control wells", "at least three", do)
    spread = means[control].std(axis=0)
    scaled = (means - np.median(means[control], axis=0)) / np.where(spread > 0, spread, np.inf)
    treated = sorted(set(of[~control]))
    if rule == "replicates":
        strong = _alike(scaled, of, treated, seed)
    else:
        distance = (_by_components if rule == "pca" else _by_map)(scaled, control, seed)
        limit = np.quantile(distance[control], QUANTILE)
        strong = {name for name in treated if np.median(distance[of == name]) > limit}
    return {str(name) for name in strong} | {str(name) for name in set(of[control])}


def _by_components(
    wells: NDArray[np.floating[Any]], control: NDArray[np.bool_], seed: int
) -> NDArray[np.floating[Any]]:
    from sklearn.decomposition import PCA

    found = PCA(min(COMPONENTS, *wells.shape), random_state=seed).fit_transform(wells)
    spread = found[control].std(axis=0)
    found = (found - np.median(found[control], axis=0)) / np.where(spread > 0, spread, np.inf)
    return np.linalg.norm(found, axis=1)


def _by_map(wells: NDArray[np.floating[Any]], control: NDArray[np.bool_], seed: int) -> NDArray[np.floating[Any]]:
    from morpho_assets.learn.projection import project

    found = project(wells, seed, "umap")
    return np.linalg.norm(found - found[control].mean(axis=0), axis=1)


def _alike(wells: NDArray[np.floating[Any]], of: NDArray[np.str_], treated: list[str], seed: int) -> set[str]:
    rows = wells - wells.mean(axis=1, keepdims=True)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    likeness = rows @ rows.T
    rng = np.random.default_rng(seed)
    groups = {name: np.flatnonzero(of == name) for name in treated}
    sizes = sorted({len(group) for group in groups.values()} - {1})
    chance = {
        size: [_among(likeness, rng.choice(len(wells), size, replace=False)) for _ in range(DRAWS)] for size in sizes
    }
    limits = {size: np.quantile(drawn, QUANTILE) for size, drawn in chance.items()}
    return {name for name, group in groups.items() if len(group) > 1 and _among(likeness, group) > limits[len(group)]}


def _among(likeness: NDArray[np.floating[Any]], group: NDArray[np.int64]) -> float:
    inner = likeness[np.ix_(group, group)]
    return float(np.median(inner[np.triu_indices(len(group), 1)]))
