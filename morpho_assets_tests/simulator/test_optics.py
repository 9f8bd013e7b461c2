from __future__ import annotations

import numpy as np

from morpho_assets.simulator.design import Technique
from morpho_assets.simulator.optics import _enlarge, _haze, draw_faults


def test_haze_keeps_a_constant_and_spreads_a_point() -> None:
    np.testing.assert_allclose(_haze(np.full((61, 45), 7.0, np.float32), 1.0), 7.0, rtol=1e-5)
    point = np.zeros((160, 160), np.float32)
    point[80, 80] = 64.0
    spread = _haze(point, 0.3)
    np.testing.assert_allclose(spread.sum(), 64.0, rtol=0.01)
    assert spread.max() < 0.5


def test_enlarging_by_two_worked_by_hand() -> None:
    coarse = np.array([[0.0, 4.0]], np.float32)
    np.testing.assert_allclose(_enlarge(coarse, 2), [[0, 1, 3, 4], [0, 1, 3, 4]])


def test_faults_come_as_often_as_their_switch_says() -> None:
    rng = np.random.default_rng(0)
    technique = Technique.none().model_copy(update={"focus_failures": 0.3, "focus_sigma": 4.0})
    faults = [draw_faults(rng, technique, 0.5) for _ in range(2000)]
    assert abs(np.mean([fault.focus == 2.0 for fault in faults]) - 0.3) < 0.03
    assert not any(fault.saturated or fault.dust for fault in faults)
