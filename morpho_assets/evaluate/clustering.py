"""Ways to group treatments: k-means, the tree of their distances, communities of their nearest neighbours.

Clusters are numbered from 1, the largest first, of equally large ones that of the first row.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from morpho_assets.evaluate.hierarchy import HierarchyConfig, distances_of, tree_of
from morpho_assets.evaluate.similarity import SIMILARITIES

Matrix = NDArray[np.float64]
Clusters = NDArray[np.int64]


def kmeans_clusters(matrix: Matrix, clusters: int | None, most: int, seed: int) -> Clusters:
    """(n,) clusters of the rows of (n, d) by k-means (Lloyd, five starts): `clusters` of them, or as many of 2 … `most`
    as the silhouette likes best. All rows in one cluster where no two can be told apart."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import silhouette_score

    n = len(matrix)
    tried = [min(clusters, n)] if clusters else list(range(2, min(most, n - 1) + 1))
    best, score = np.zeros(n, np.int64), -np.inf
    for k in tried:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
            found = KMeans(k, n_init=5, random_state=seed).fit_predict(matrix)
        if len(tried) == 1:
            return numbered(found)
        if np.unique(found).size > 1 and (value := silhouette_score(matrix, found)) > score:
            best, score = found, value
    return numbered(best)


def tree_clusters(matrix: Matrix, similarity: str, linkage: str, clusters: int | None, most: int) -> Clusters:
    """(n,) clusters of the tree of 1 - similarity, cut into `clusters`, or where the silhouette is best."""
    config = HierarchyConfig.model_validate({"linkage": linkage, "clusters": clusters, "most_clusters": most})
    return numbered(tree_of(distances_of(matrix, similarity), config).clusters)


def leiden_clusters(matrix: Matrix, similarity: str, neighbours: int, resolution: float, seed: int) -> Clusters:
    """(n,) communities of the graph of each row's nearest neighbours, edges weighing their similarity (negative ones
    none), that make modularity greatest: Leiden (Traag 2019, 10.1038/s41598-019-41695-z), best of ten runs. A row whose
    neighbours are all unlike it is a cluster of its own.
    """
    from graspologic_native import leiden

    prepare, compare = SIMILARITIES[similarity]
    rows = prepare(matrix)
    alike = compare(rows, rows).astype(float)
    np.fill_diagonal(alike, -np.inf)
    n = len(matrix)
    reach = min(neighbours, n - 1)
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, :reach]
    edges: dict[tuple[int, int], float] = {}
    for row in range(n):
        for other in nearest[row].tolist():
            weight = float(alike[row, other])
            if weight > 0:
                edges[min(row, other), max(row, other)] = weight
    found = np.arange(n) + n  # alone, until an edge says otherwise
    if edges:
        named = [(str(one), str(two), weight) for (one, two), weight in sorted(edges.items())]
        _, communities = leiden(named, resolution=resolution, seed=seed, iterations=2, trials=10)
        for row, community in communities.items():
            found[int(row)] = community
    return numbered(found)


def numbered(found: NDArray[np.integer]) -> Clusters:
    """(n,) the same clusters under numbers from 1, the largest first."""
    _, first, members, counts = np.unique(found, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return np.asarray(rank[members])
