from __future__ import annotations

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.profiles.rows import groups_of, rows_where

WELLS = pl.DataFrame(
    {"Metadata_control_type": ["negcon", None, "poscon"], "Metadata_Row": [1, 2, 2], "Metadata_dose": [None, 1.0, 2.0]}
)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("negcon", [True, False, False]),
        ("treated", [False, True, True]),
        ("all", [True, True, True]),
        ("Metadata_Row = 2 AND Metadata_dose > 1", [False, False, True]),
        ("Metadata_dose < 9", [False, True, True]),
    ],
)
def test_rows_by_condition_unknown_is_false(condition: str, expected: list[bool]) -> None:
    assert rows_where(WELLS, condition).to_list() == expected


@pytest.mark.parametrize("condition", ["Metadata_absent = 1", "Metadata_Row = = 2", "'a'", "Metadata_Row", "1"])
def test_a_condition_that_is_none_is_refused(condition: str) -> None:
    with pytest.raises(InputError, match="SQL condition"):
        rows_where(WELLS, condition)


def test_groups_keep_their_order_and_nulls() -> None:
    groups = groups_of(pl.DataFrame({"a": ["y", "x", "y", None]}), ["a"])
    assert [(name, rows.tolist()) for name, rows in groups] == [("y", [0, 2]), ("x", [1]), ("None", [3])]
    assert groups_of(WELLS, [])[0][1].tolist() == [0, 1, 2]
