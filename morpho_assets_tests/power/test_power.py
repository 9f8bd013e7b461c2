from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.power.advice import advice, curves, table_text
from morpho_assets.power.design import Design, Plate
from morpho_assets.power.power import SCHEMA, PowerConfig, power
from morpho_assets.power.wells import DrawnWells, OwnWells
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen

QUICK = PowerConfig(effects=(2.0, 12.0), simulations=10, together=10)


def test_a_large_effect_is_found_more_often_than_a_small_one_and_nothing_hardly_ever() -> None:
    found = power([Design(4, 16, 4)], DrawnWells(), config=QUICK)
    assert dict(found.table.schema) == SCHEMA
    assert not found.stopped
    small, large = found.table.iter_rows(named=True)
    assert large["power"] == 1.0
    assert small["power"] < large["power"]
    assert large["without_effect"] <= 0.1
    assert (large["simulations"], large["simulations_without"]) == (10, 10)
    assert 0 < large["low"] < 1 == large["high"]


def test_a_seed_gives_the_same_again_whatever_else_is_asked() -> None:
    one, two = Design(3, 8, 3), Design(2, 8, 1)
    sizes = QUICK.model_copy(update={"effects": (2.5, 3.0, 4.0, 5.0)})
    alone = power([one], DrawnWells(), config=sizes).table
    beside = power([two, one], DrawnWells(), config=sizes).table
    assert beside.filter(plates=3).equals(alone)
    other = power([one], DrawnWells(), config=sizes.model_copy(update={"seed": 1})).table
    assert not other.equals(alone)


def test_time_that_is_over_leaves_every_design_a_set_of_plates() -> None:
    config = PowerConfig(effects=(3.0,), simulations=40, together=2, minutes=1e-6)
    found = power([Design(2, 8, 2), Design(2, 8, 1)], DrawnWells(), config=config)
    assert found.stopped
    assert found.table["simulations"].to_list() == [2, 2]


def test_own_wells_that_do_not_suffice_are_told_before_any_work() -> None:
    frame = screen(2.0, controls=8)
    wells = OwnWells.of(frame, feature_columns(frame), True)
    with pytest.raises(InputError, match=r"16 controls a plate and 4 .* found 32 control wells .* expected 76 or more"):
        power([Design(4, 16, 4)], wells, config=QUICK)


def test_small_plates_hold_fewer_treatments_at_once_or_are_refused() -> None:
    config = PowerConfig(effects=(12.0,), simulations=10, together=20)
    found = power([Design(6, 32, 1)], DrawnWells(), Plate(96), config).table  # room for 5 of a size, and 5 without
    assert found["simulations"].to_list() == [10]
    with pytest.raises(InputError, match="found 96 wells on a plate; expected 102 or more, with"):
        power([Design(6, 90, 1)], DrawnWells(), Plate(96), config)


def test_own_wells_give_power_by_resampling_and_by_their_covariance() -> None:
    frame = screen(3.0, controls=24, treatments=30)
    for resample in (True, False):
        wells = OwnWells.of(frame, feature_columns(frame), resample)
        found = power([Design(3, 8, 3)], wells, config=QUICK.model_copy(update={"effects": (12.0,)}))
        assert found.table["power"][0] == 1.0
        assert found.table["without_effect"][0] <= 0.2


@pytest.mark.slow
def test_the_same_place_on_all_plates_finds_position_where_no_treatment_acts() -> None:
    config = PowerConfig(effects=(2.0,), simulations=60, together=20, same_places=True)
    plate = Plate(384, "columns")
    shared = power([Design(4, 16, 4)], DrawnWells(), plate, config).table["false_positive"][0]
    redrawn = power([Design(4, 16, 4)], DrawnWells(None), plate, config).table["false_positive"][0]
    assert shared > redrawn + 0.1


def row(replicates: int, effect: float, share: float, low: float = 0.02, false: float = 0.05) -> dict[str, object]:
    return {
        "replicates": replicates, "plates": replicates, "controls": 16, "effect": effect, "power": share,
        "low": share - 0.1, "high": min(share + 0.1, 1.0), "without_effect": 0.01, "without_low": 0.0,
        "without_high": 0.05, "false_positive": false, "false_positive_low": low, "false_positive_high": 0.1,
        "simulations": 60, "simulations_without": 60, "p_least": 0.001, "wells_per_treatment": replicates * 1.04,
        "treatments_on_full_plates": 368,
    }  # fmt: skip


def test_advice_is_the_cheapest_design_that_suffices() -> None:
    rows = [
        row(3, 2.0, 0.61),
        row(4, 2.0, 0.83),
        row(6, 2.0, 0.95),
        row(3, 1.0, 0.1),
        row(4, 1.0, 0.3),
        row(6, 1.0, 0.5),
    ]
    table = pl.DataFrame(rows, schema=SCHEMA)
    assert advice(table, 0.8, 0.05) == [
        "An effect of 1 is found in 80 % by no design here; most often, in 50 % [40, 60], with 16 controls a plate and "
        "6 replicates on different plates.",
        "With 16 controls a plate and 4 replicates on different plates an effect of 2 is found in 83 % [73, 93] "
        "(1 % [0, 5] without effect); 3 replicates: 61 % [51, 71].",
    ]
    text = table_text(table, 0.05).splitlines()
    assert text[0].split()[:4] == ["replicates", "controls", "where", "effect"]
    assert len(text) == 4
    [(name, lines)] = curves(table).items()
    assert name == "on different plates, 16 controls a plate"
    assert lines["4 replicates"] == ([1.0, 2.0], [0.3, 0.83], pytest.approx([0.2, 0.73]), pytest.approx([0.4, 0.93]))


def test_a_design_that_finds_effects_where_there_are_none_is_never_advised() -> None:
    table = pl.DataFrame([row(3, 2.0, 0.9, low=0.2, false=0.3), row(4, 2.0, 0.85, low=0.06, false=0.1)], schema=SCHEMA)
    said = advice(table, 0.8, 0.05)  # 6 of 60 are no proof where two designs were looked at, 18 of 60 are
    assert len(said) == 2
    assert said[0].startswith("With 16 controls a plate and 4 replicates")
    assert said[1].startswith("Not advised: 16 controls a plate and 3 replicates on different plates; 30 % [20, 10]")
    assert advice(table.head(1), 0.8, 0.05)[0] == "No design here can be trusted."


def test_places_of_treated_wells_stay_where_they_are_shared() -> None:
    from morpho_assets.power.power import _places

    same = _places(Design(3, 8, 2), 5, Plate(), True, np.random.default_rng(0))
    assert [len(each) for each in same] == [18, 13]
    np.testing.assert_array_equal(same[0][:8], same[1][:8])
    np.testing.assert_array_equal(same[0][8::2], same[1][8:])
