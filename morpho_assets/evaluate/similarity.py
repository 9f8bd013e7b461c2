"""Similarity of profiles in blocks of rows: one matrix product each, memory linear in the block."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from morpho_assets.errors import InputError

Matrix = npt.NDArray[np.float64]
BLOCK_BYTES = 64_000_000


def _unit(features: Matrix) -> Matrix:
    """Rows at length 1; a row of zeros stays zero, so it is equally (un)like every other."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1.0)


def _centred(features: Matrix) -> Matrix:
    return _unit(features - features.mean(axis=1, keepdims=True))


def _cosine(block: Matrix, others: Matrix) -> Matrix:
    return block @ others.T


def _abs_cosine(block: Matrix, others: Matrix) -> Matrix:
    return np.abs(block @ others.T)


def _euclidean(block: Matrix, others: Matrix) -> Matrix:
    """1 / (1 + distance)."""
    squares = np.einsum("ij,ij->i", block, block)[:, None] + np.einsum("ij,ij->i", others, others)
    return 1 / (1 + np.sqrt(np.maximum(squares - 2 * block @ others.T, 0)))


SIMILARITIES: dict[str, tuple[Callable[[Matrix], Matrix], Callable[[Matrix, Matrix], Matrix]]] = {
    "cosine": (_unit, _cosine),
    "abs_cosine": (_unit, _abs_cosine),
    "correlation": (_centred, _cosine),
    "euclidean": (np.asarray, _euclidean),
}


def similarity_blocks(
    features: Matrix, rows: npt.NDArray[np.intp], kind: str = "cosine", block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
    """Yields (block of `rows`, (block, n) float32 similarity to all n rows of `features` (n, d)).

    Kinds: cosine, abs_cosine, correlation (Pearson) and euclidean (1 / (1 + distance)); higher is more alike.
    Computed in float64 and rounded to float32, so that equal profiles tie exactly whatever the block.
    """
    if kind not in SIMILARITIES:
        raise InputError("similarity", kind, "an unknown name", f"one of {', '.join(SIMILARITIES)}", "Choose one.")
    prepare, compare = SIMILARITIES[kind]
    prepared = prepare(np.ascontiguousarray(features, dtype=np.float64))
    height = max(1, block_bytes // (8 * max(len(features), 1)))
    for start in range(0, len(rows), height):
        block = rows[start : start + height]
        yield block, compare(prepared[block], prepared).astype(np.float32)


def similarity_to(rows: Matrix, others: Matrix, kind: str = "cosine") -> npt.NDArray[np.float32]:
    """(rows, others) float32 similarity of two sets of profiles with the same features, as `similarity_blocks`."""
    prepare, compare = SIMILARITIES[kind]
    return compare(prepare(np.asarray(rows, dtype=np.float64)), prepare(np.asarray(others, dtype=np.float64))).astype(
        np.float32
    )
