from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.evaluate.hill import Hill, Likely, departs_from_monotonic, fit_hill, shuffled_doses

DOSES = np.repeat([0.1, 0.3, 1.0, 3.0, 10.0, 30.0], 3)


def test_a_curve_by_hand() -> None:
    curve = Hill(half=2.0, slope=2.0, top=10.0)
    np.testing.assert_allclose(curve([1.0, 2.0, 4.0]), [2.0, 5.0, 8.0])  # 10/5, 10/2, 10 * 16/20
    assert curve.dose_of(2.0) == pytest.approx(1.0)
    assert curve.dose_of(10.0) is None
    assert curve.dose_of(0.0) is None


def test_without_noise_it_is_found_exactly() -> None:
    fitted = fit_hill(DOSES, Hill(2.0, 1.5, 8.0)(DOSES), benchmark=1.0)
    assert fitted.curve.half == pytest.approx(2.0, rel=1e-3)
    assert fitted.curve.slope == pytest.approx(1.5, rel=1e-3)
    assert fitted.curve.top == pytest.approx(8.0, rel=1e-3)
    assert fitted.benchmark.value == pytest.approx(2.0 / 7 ** (1 / 1.5), rel=1e-3)
    for likely, true in ((fitted.half, 2.0), (fitted.benchmark, 2.0 / 7 ** (1 / 1.5))):
        assert likely.low is not None
        assert likely.high is not None
        assert 0.9 * true < likely.low <= true * 1.001
        assert true * 0.999 <= likely.high < 1.1 * true


@pytest.mark.parametrize("top", [4.0, 8.0, 20.0])
def test_intervals_hold_the_planted_doses(top: float) -> None:
    true, rng, held = Hill(1.5, 1.4, top), np.random.default_rng(0), []
    for _ in range(100):
        fitted = fit_hill(DOSES, true(DOSES) + rng.normal(size=DOSES.size), 1.0)
        held.append((_holds(fitted.half, 1.5), _holds(fitted.benchmark, true.dose_of(1.0) or 0.0)))
    assert (np.mean(held, axis=0) > 0.88).all()  # of 95 %, less 3 standard errors


def _holds(likely: Likely, dose: float) -> bool:
    return (likely.low is None or likely.low <= dose) and (likely.high is None or dose <= likely.high)


def test_a_half_dose_beyond_the_tested_ones_has_no_upper_end() -> None:
    rng = np.random.default_rng(1)
    fitted = fit_hill(DOSES, Hill(100.0, 1.0, 30.0)(DOSES) + rng.normal(size=DOSES.size), 1.0)
    assert fitted.half.high is None
    assert fitted.benchmark.high is not None


def test_flat_responses_have_no_curve_and_no_benchmark_dose() -> None:
    for responses in (np.zeros(DOSES.size), np.full(DOSES.size, -2.0)):
        fitted = fit_hill(DOSES, responses, 1.0)
        assert fitted.curve.top == pytest.approx(0.0, abs=1e-6)
        assert (fitted.benchmark.value, fitted.benchmark.high) == (None, None)


def test_three_wells_bound_nothing() -> None:
    fitted = fit_hill([1.0, 2.0, 4.0], [1.0, 2.0, 3.0], 1.0)
    assert (fitted.half.low, fitted.half.high) == (None, None)


def test_shuffled_doses_stay_on_their_plate() -> None:
    drawn = shuffled_doses([1.0, 2.0, 3.0, 10.0, 20.0], [0, 0, 0, 1, 1], 50, np.random.default_rng(0))
    assert (np.sort(drawn[:, :3], axis=1) == [1, 2, 3]).all()
    assert (np.sort(drawn[:, 3:], axis=1) == [10, 20]).all()
    assert len(np.unique(drawn, axis=0)) == 12


def test_a_fall_at_high_doses_is_told_from_noise() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(size=DOSES.size)
    assert departs_from_monotonic(DOSES, np.repeat([0, 0, 3, 9, 3, 0], 3) + noise)
    assert not departs_from_monotonic(DOSES, np.repeat([0, 0, 3, 6, 8, 9], 3) + noise)
    assert not departs_from_monotonic(DOSES[::3], np.array([0.0, 0.5, 0.0, 3.0, 2.5, 4.0]))
    assert departs_from_monotonic(DOSES[::3], np.array([0.0, 0.0, 9.0, 9.0, 0.0, 0.0]))
