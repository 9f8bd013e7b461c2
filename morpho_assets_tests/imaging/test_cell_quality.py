"""Implausible cells: rules by hand, groups, and what must not be flagged."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.imaging.cell_quality import FLAG, REASONS, CellQualityConfig, CellRule, flag_cells

AREA = CellQualityConfig(rules=(CellRule(feature="Cells_AreaShape_Area", low=-3, high=3),), least_cells=5)


def cells(areas: list[float | None], plate: str = "P1") -> pl.DataFrame:
    return pl.DataFrame(
        {"Metadata_Plate": plate, "Cells_AreaShape_Area": areas}, schema_overrides={"Cells_AreaShape_Area": pl.Float64}
    )


def test_z_by_hand() -> None:
    # median 102, MAD 2: z of 111 is 9 / 2.97 = 3.04, of 110 is 2.70
    frame = cells([100, 101, 102, 103, 104, 100, 104, 111, 110, 102, 102, 98, 105])
    assert flag_cells(frame, AREA)[FLAG].to_list() == [area == 111 for area in frame["Cells_AreaShape_Area"]]


def test_each_plate_is_judged_by_itself_and_lazily_as_well() -> None:
    rng = np.random.default_rng(0)
    frame = pl.concat([cells(rng.normal(100, 2, 20).tolist()), cells(rng.normal(300, 2, 180).tolist(), "P2")])
    assert flag_cells(frame.lazy(), AREA).collect()[FLAG].sum() <= 3
    # Together with nine times as many of P2, those of P1 are all implausible.
    assert flag_cells(frame, AREA.model_copy(update={"within": ()}))[FLAG].head(20).all()


def test_missing_constant_and_few_values_flag_nothing() -> None:
    assert not flag_cells(cells([1, 2, None, float("nan"), 3, 1000]), CellQualityConfig(rules=AREA.rules))[FLAG].any()
    assert not flag_cells(cells([5.0] * 20), AREA)[FLAG].any()
    assert flag_cells(cells([1, 2, 3, 2, 1, 2, None, 1000]), AREA)[FLAG].to_list() == [False] * 7 + [True]


def test_a_logarithm_of_nothing_is_below_every_limit() -> None:
    rule = {"feature": "Cells_AreaShape_Area", "log": True}
    frame = cells([100.0, 101, 102, 103, 99, 98, 0, -1, None])
    low = flag_cells(frame, CellQualityConfig(rules=(CellRule(low=-5, **rule),), least_cells=5))
    assert low[FLAG].to_list() == [False] * 6 + [True, True, False]
    high = flag_cells(frame, CellQualityConfig(rules=(CellRule(high=5, **rule),), least_cells=5))
    assert not high[FLAG].any()


def test_each_flag_says_in_what() -> None:
    rng = np.random.default_rng(2)
    frame = cells([*rng.normal(100, 2, 60), 500, 500]).with_columns(
        Nuclei_AreaShape_Area=pl.Series([*rng.normal(30, 1, 60), 30, 90])
    )
    rules = tuple(CellRule(feature=f"{part}_AreaShape_Area", high=10) for part in ("Cells", "Nuclei"))
    found = flag_cells(frame, CellQualityConfig(rules=rules))
    assert found[REASONS].to_list()[-2:] == ["Cells_AreaShape_Area", "Cells_AreaShape_Area, Nuclei_AreaShape_Area"]
    assert found[REASONS].null_count() == 60


def test_limits_the_wrong_way_round_and_unknown_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="above high"):
        CellRule(feature="Cells_AreaShape_Area", low=3, high=-3)
    with pytest.raises(InputError, match=r"no column 'Metadata_Patch'; expected of Metadata_Plate"):
        flag_cells(cells([1.0]), AREA.model_copy(update={"within": ("Metadata_Patch",)}))


def test_no_rules_and_no_cells() -> None:
    assert flag_cells(cells([1.0]), CellQualityConfig(rules=()))[FLAG].to_list() == [False]
    assert flag_cells(cells([]), AREA)[FLAG].to_list() == []


def test_a_rule_on_an_unmeasured_feature_is_an_error() -> None:
    with pytest.raises(InputError, match="Nuclei_AreaShape_Area"):
        flag_cells(cells([1.0]))
