"""Two-dimensional maps of profiles or embeddings for looking at; distances on them are not measurements."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# UMAP's neighbour graph says nothing on fewer points, and its spectral start fails.
SMALLEST_UMAP = 12
NEIGHBOURS = 15
COMPONENTS = 50
PERPLEXITY = 30


def project(features: NDArray[np.floating], seed: int, method: str = "umap") -> NDArray[np.float32]:
    """Coordinates (n, 2) of (n, d) features on a map, after PCA to 50: by UMAP (McInnes and others, arXiv 1802.03426)
    or by t-SNE (van der Maaten & Hinton 2008), one of MAPS.

    Features are used as they come: put them on one scale before. Fewer than 12 rows, or rows that are all the same, get
    their two principal components (0 where there are fewer). A row with a value that is not finite gets NaN. The
    same seed gives the same coordinates on one machine.
    """
    finite = np.isfinite(features).all(axis=1)
    points = np.full((len(features), 2), np.nan, dtype=np.float32)
    rows = np.asarray(features[finite], dtype=np.float64)
    if not len(rows):
        return points
    components = _principal_components(rows, seed)
    map_rows = len(rows) >= SMALLEST_UMAP and components.any()
    points[finite] = MAPS[method](components, seed) if map_rows else components[:, :2]
    return points


def _principal_components(rows: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Scores (n, between 2 and 50) on the leading components."""
    from sklearn.decomposition import PCA

    if np.ptp(rows, axis=0).max() == 0:
        return np.zeros((len(rows), 2))
    kept = min(COMPONENTS, *rows.shape)
    scores = PCA(kept, random_state=seed).fit_transform(rows)
    return np.pad(scores, ((0, 0), (0, max(0, 2 - kept))))


def _umap(components: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # its parametric variant wants tensorflow; we do not use it
        import umap

    # One job is what a seed means for UMAP; saying so keeps it from warning.
    mapper = umap.UMAP(n_neighbors=min(NEIGHBOURS, len(components) - 1), random_state=seed, n_jobs=1)
    return mapper.fit_transform(components)


def _tsne(components: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(components) - 1) / 3)  # three neighbours for one: van der Maaten 2014
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(components), np.float32)


MAPS: dict[str, Callable[[NDArray[np.float64], int], NDArray[np.float32]]] = {"umap": _umap, "tsne": _tsne}
"""Maps by name: (n, k) principal components and a seed to (n, 2)."""
