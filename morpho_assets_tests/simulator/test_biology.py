from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.simulator import SIZES
from morpho_assets.simulator.biology import MECHANISMS, NAMES, PARAMETERS, draw_compound, mechanism_vector
from morpho_assets.simulator.layout import compounds

DEMO = SIZES["demo"]


def test_mechanisms_name_known_parameters_and_one_is_only_toxic() -> None:
    assert len(PARAMETERS) == 12
    assert all(set(effect) <= set(PARAMETERS) for effect in MECHANISMS.values())
    toxic = mechanism_vector("toxic")
    assert np.flatnonzero(toxic).tolist() == [NAMES.index("viability")]


def test_a_toxic_compound_has_no_deviation_and_an_inactive_one_no_effect() -> None:
    rng = np.random.default_rng(0)
    toxic = draw_compound(rng, 1, "toxic", 1.0, 0.5, 0.9)
    np.testing.assert_array_equal(toxic.effect, mechanism_vector("toxic"))
    np.testing.assert_array_equal(draw_compound(rng, 2, "inactive", 1.0, 0.5, 0.9).effect, np.zeros(12))


def test_deviation_has_the_length_asked_for() -> None:
    base = mechanism_vector("er_stress")
    compound = draw_compound(np.random.default_rng(0), 3, "er_stress", 2.0, 0.25, 0.9)
    deviation = np.linalg.norm(compound.effect / 2.0 - base)
    assert deviation == pytest.approx(0.25 * np.linalg.norm(base))


def test_response_is_half_at_the_half_dose_and_rises_with_dose() -> None:
    compound = compounds(DEMO, 0)[1]
    assert compound.response(compound.half_dose) == pytest.approx(0.5)
    doses = [compound.response(dose) for dose in (0.0, 0.1, 1.0, 10.0, 1000.0)]
    assert doses == sorted(doses)
    assert doses[0] == 0
    assert doses[-1] > 0.99
