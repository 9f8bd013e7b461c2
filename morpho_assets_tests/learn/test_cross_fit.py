"""Folds of plates, and turning their axes onto each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morpho_assets.errors import InputError
from morpho_assets.learn.cross_fit import agreement, aligned, groups_of_plates, turn_onto
from morpho_assets.learn.encoders import Trained, fit_encoder, load_encoder, save_encoder
from morpho_assets_tests.learn.test_encoders import config_of, windows


def test_each_plate_is_in_one_group():
    assert groups_of_plates(["C", "A", "B"], 2) == [("A", "C"), ("B",)]
    assert groups_of_plates(["C", "A"], 5) == [("A",), ("C",)]
    assert groups_of_plates(["C"], None) == [()]
    with pytest.raises(InputError, match="1 plate; expected at least two"):
        groups_of_plates(["C"], 2)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_a_turn_a_factor_and_a_shift_are_undone_and_angles_stay(seed, d):
    rng = np.random.default_rng(seed)
    own, factor = rng.normal(size=(40, d)), rng.uniform(0.1, 10)
    planted = factor * np.linalg.qr(rng.normal(size=(d, d)))[0]
    onto = own @ planted + rng.normal(size=d)
    turn, shift = turn_onto(own, onto)
    np.testing.assert_allclose(own @ turn + shift, onto, atol=1e-8)
    np.testing.assert_allclose(turn @ turn.T, factor**2 * np.eye(d), atol=1e-8 * factor**2)
    assert agreement(turn, shift, own, onto) == pytest.approx(1)


def test_edges_of_a_turn():
    turn, shift = turn_onto(np.empty((0, 3)), np.empty((0, 3)))
    assert agreement(turn, shift, np.empty((0, 3)), np.empty((0, 3))) == 0
    same = np.ones((4, 3))
    turn, shift = turn_onto(same, 2 * same)
    assert np.isfinite(turn).all()
    assert agreement(turn, shift, same, 2 * same) == 0  # nothing varies: nothing is shared


def folds(kind: str, **settings: object) -> list[Trained]:
    """Two encoders of one kind, fitted on cells of two plates."""
    found = []
    for seed in (3, 7):
        cells, _ = windows(80, seed)
        found.append(fit_encoder(config_of(kind, **settings), cells, groups=[f"P{seed} {i % 4}" for i in range(80)]))
    return found


def across(one: np.ndarray, other: np.ndarray) -> float:
    """The mean cosine of embeddings of the same cells by two folds, about the mean of each."""
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    return float(np.mean((one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)))


@pytest.mark.parametrize("kind", ["imagenet", "patches"])
def test_folds_share_axes_after_alignment_and_keep_their_own_geometry(kind):
    before = folds(kind, components=8)
    controls, _ = windows(120, seed=11)
    wells = [f"well {number % 6}" for number in range(120)]
    after = aligned(before, [fold.encode(controls) for fold in before], wells)
    unseen, _ = windows(100, seed=12)
    was, now = ([fold.encode(unseen) for fold in each] for each in (before, after))
    assert across(*now) > across(*was) + 0.2
    for own, turned in zip(was, now, strict=True):
        gram = [(each - each.mean(axis=0)) @ (each - each.mean(axis=0)).T for each in (turned, own)]
        np.testing.assert_allclose(gram[0] / np.trace(gram[0]), gram[1] / np.trace(gram[1]), atol=1e-4)
    np.testing.assert_array_equal(was[0], now[0])  # the first is what the others are turned onto
    assert after[0].card.alignment is None
    alignment = after[1].card.alignment
    assert alignment.onto == after[0].card.sha256
    assert alignment.windows == 120
    assert 0 < alignment.agreement <= 1
    assert after[1].card.sha256 != before[1].card.sha256


def test_a_turned_fold_is_kept_in_its_two_files():
    before = folds("patches", components=8)
    controls, _ = windows(60, seed=11)
    after = aligned(before, [fold.encode(controls) for fold in before])
    np.testing.assert_array_equal(load_encoder(*save_encoder(after[1])).encode(controls), after[1].encode(controls))


def test_folds_that_share_nothing_agree_on_nothing():
    rng = np.random.default_rng(0)
    before = folds("patches", components=8)
    after = aligned(before, [rng.normal(size=(200, 8)) for _ in before], np.arange(200) // 10)
    assert -1.1 < after[1].card.alignment.agreement < 0.1


def test_folds_of_fewer_numbers_get_zeros():
    one, other = folds("patches", components=8)[0], folds("patches", components=5)[1]
    controls, _ = windows(60, seed=11)
    after = aligned([other, one], [other.encode(controls), one.encode(controls)])
    assert [fold.card.numbers for fold in after] == [8, 8]
    assert after[0].encode(controls).shape == after[1].encode(controls).shape == (60, 8)
    np.testing.assert_array_equal(after[0].encode(controls)[:, 5:], 0)


def test_without_controls_there_is_nothing_to_align_by():
    before = folds("patches", components=4)
    with pytest.raises(InputError, match="0 windows of negative controls"):
        aligned(before, [np.empty((0, 4))] * 2)
    with pytest.raises(InputError, match="1 windows"):
        aligned(before, [np.array([[1.0, 2, 3, 4], [np.nan] * 4])] * 2)
