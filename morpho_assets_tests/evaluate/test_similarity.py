from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from morpho_assets.errors import InputError
from morpho_assets.evaluate.similarity import SIMILARITIES, similarity_blocks


@pytest.mark.parametrize(("kind", "expected"), [
    ("cosine", lambda x: 1 - cdist(x, x, "cosine")), ("abs_cosine", lambda x: np.abs(1 - cdist(x, x, "cosine"))),
    ("correlation", lambda x: 1 - cdist(x, x, "correlation")), ("euclidean", lambda x: 1 / (1 + cdist(x, x))),
])  # fmt: skip
def test_blocks_are_scipys_distances(kind: str, expected) -> None:  # type: ignore[no-untyped-def]
    values = np.random.default_rng(0).normal(1, 1, size=(23, 7))
    rows = np.arange(22, -1, -3)
    blocks = list(similarity_blocks(values, rows, kind, block_bytes=8 * 23 * 4))
    assert max(len(block) for block, _ in blocks) == 4
    np.testing.assert_array_equal(np.concatenate([block for block, _ in blocks]), rows)
    np.testing.assert_allclose(np.concatenate([s for _, s in blocks]), expected(values)[rows], atol=2e-4)


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_equal_profiles_tie_exactly_in_any_block(kind: str) -> None:
    values = np.random.default_rng(1).normal(size=(40, 301))
    values[7] = values[31]
    for height in (1, 3, 40):
        for _, block in similarity_blocks(values, np.arange(40), kind, block_bytes=8 * 40 * height):
            np.testing.assert_array_equal(block[:, 7], block[:, 31])


def test_a_zero_profile_is_like_none() -> None:
    values = np.array([[0.0, 0.0], [1.0, 2.0]])
    ((_, block),) = similarity_blocks(values, np.arange(2))
    np.testing.assert_allclose(block, [[0, 0], [0, 1]], atol=1e-7)


def test_an_unknown_kind_lists_the_known() -> None:
    with pytest.raises(InputError, match="abs_cosine"):
        list(similarity_blocks(np.ones((2, 2)), np.arange(2), "manhattan"))
