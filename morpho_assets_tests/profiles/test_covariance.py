from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg
from sklearn.covariance import ledoit_wolf

from morpho_assets.profiles.covariance import covariance, describe


@pytest.mark.parametrize(("rows", "columns"), [(50, 6), (5, 12), (2, 3)], ids=["many", "few", "two"])
@pytest.mark.parametrize("added", [None, 0.5])
def test_powers_are_those_of_the_whole_matrix(rows: int, columns: int, added: float | None) -> None:
    values = np.random.default_rng(0).normal(size=(rows, columns)) * np.arange(1, columns + 1)
    found = covariance(values, added)
    if added is None:
        whole = ledoit_wolf(values)[0] * rows / (rows - 1)
        if rows == 2:
            whole = np.eye(columns) * np.trace(np.cov(values.T)) / columns
    else:
        whole = np.cov(values.T) + added * np.eye(columns)
    others = np.random.default_rng(1).normal(size=(4, columns))
    for power in (0.5, -0.5, 1):
        expected = others @ np.real(linalg.fractional_matrix_power(whole, power))
        np.testing.assert_allclose(found.times(others, power), expected, rtol=1e-7, atol=1e-9)
    eigen = np.linalg.eigvalsh(whole)
    assert found.condition == pytest.approx(eigen.max() / eigen.min())
    assert found.spanned == min(rows - 1, columns)


def test_rows_that_are_all_equal_have_no_variance() -> None:
    found = covariance(np.ones((4, 3)))
    assert found.spanned == 0
    np.testing.assert_array_equal(found.times(np.eye(3), -0.5), np.eye(3))


def test_there_is_an_inverse_whatever_the_rows() -> None:
    twice = np.repeat(np.random.default_rng(0).normal(size=(2, 6)), 5, axis=0)
    found = covariance(twice)
    assert found.spanned == 1
    assert found.shrinkage is not None
    assert found.shrinkage >= 0.1
    assert np.isfinite(found.times(np.eye(6), -0.5)).all()


def test_the_sentence_says_the_range_and_the_worst() -> None:
    rng = np.random.default_rng(0)
    one, other = (covariance(rng.normal(size=(n, 5))) for n in (4, 30))
    assert describe([other], "all").startswith("all: 30 controls span 5 of 5 directions, shrunk by ")
    both = describe([one, other], "each batch")
    assert "each batch: 4 to 30 controls span 3 to 5 of 5 directions" in both
    assert f"condition number at most {max(one.condition, other.condition):.3g}" in both
    assert "shrunk" not in describe([covariance(np.eye(3), 1.0)], "all")
