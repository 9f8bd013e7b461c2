from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.errors import InputError
from morpho_assets.power.design import Design, Plate


def test_replicates_are_spread_as_evenly_as_can_be() -> None:
    assert Design(4, 16, 4).on_each == (1, 1, 1, 1)
    assert Design(3, 16, 2).on_each == (2, 1)
    assert Design(4, 16, 1).on_each == (4,)


def test_a_treatment_pays_for_its_share_of_the_controls() -> None:
    design, plate = Design(4, 32, 4), Plate(384)
    assert design.cost(plate) == pytest.approx(384 * 4 / 352)
    assert design.treatments(plate) == 352
    assert Design(4, 32, 1).treatments(plate) == 88


def test_the_grid_leaves_out_more_plates_than_replicates() -> None:
    found = Design.grid([2, 4], [16], ["all", "4", "1"], Plate())
    assert [(each.replicates, each.plates) for each in found] == [(2, 2), (4, 4), (2, 1), (4, 1)]
    assert [each.where for each in found] == ["on different plates"] * 2 + ["on one plate"] * 2


@pytest.mark.parametrize(
    ("replicates", "controls", "over", "message"),
    [
        ([1], [16], ["all"], "replicates: found 1; expected 2 or more"),
        ([2], [1], ["all"], "controls: found 1; expected 2 to 383"),
        ([2], [384], ["all"], "controls: found 384"),
        ([2], [16], ["some"], "over: found 'some'; expected a number of plates, or all"),
        ([2], [16], ["5"], "over: found 5; expected at most 2 plates"),
    ],
)
def test_what_is_no_design_is_told(replicates: list[int], controls: list[int], over: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Design.grid(replicates, controls, over, Plate())


def test_a_plate_has_a_known_format() -> None:
    with pytest.raises(InputError, match="found 100; expected one of 96, 384, 1536"):
        Plate(100)


def test_controls_in_columns_fill_the_outer_ones() -> None:
    controls, treated = Plate(384, "columns").places(32, 100, np.random.default_rng(0))
    assert set(controls % 24) == {0, 23}
    assert len(set(controls)) == 32
    more, _ = Plate(384, "columns").places(40, 1, np.random.default_rng(0))
    assert set(more % 24) == {0, 1, 22, 23}
    few, _ = Plate(384, "columns").places(6, 1, np.random.default_rng(0))
    assert sorted(few % 24) == [0, 0, 0, 23, 23, 23]
    assert not set(controls) & set(treated)
    assert len(set(treated)) == 100


def test_scattered_controls_are_anywhere_once() -> None:
    controls, treated = Plate(96).places(16, 80, np.random.default_rng(0))
    assert sorted([*controls, *treated]) == list(range(96))
