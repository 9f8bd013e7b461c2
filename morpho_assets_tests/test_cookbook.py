"""The page's answers: made below their statements, and compared so that a wrong one is seen."""

from __future__ import annotations

import polars as pl
import pytest

from morpho_assets_tests.cookbook import PAGE, answer, statements, with_answers

PAGE_OF_ONE = "# Page\n\nHow many?\n\n```sql\nSELECT 1;\n```\n\nNext.\n"
FRAME = pl.DataFrame({"well": ["A01", "A02", None, "A04"], "area": [1.23456, 2345.6, None, 0.0], "who": ["a"] * 4})


def test_an_answer_shows_the_first_rows_and_how_many_there_are() -> None:
    assert answer("SELECT 1", FRAME).splitlines() == [
        "| well | area | who |", "| --- | --- | --- |", "| A01 | 1.23 | … |", "| A02 | 2346 | … |", "|  |  | … |", "",
        "*3 of 4 rows.*",
    ]  # fmt: skip
    assert answer("SELECT 1", FRAME.clear()).endswith("*No rows.*\n")
    assert "between processors" in answer("FROM projections", FRAME)


def test_a_page_is_made_anew_with_the_same_text_around() -> None:
    once = with_answers(PAGE_OF_ONE, lambda statement: FRAME)
    assert once.startswith("# Page\n\nHow many?\n\n```sql\nSELECT 1;\n```\n\n| well |")
    assert once.endswith("*3 of 4 rows.*\n\nNext.\n")
    assert with_answers(once, lambda statement: FRAME) == once


@pytest.mark.parametrize(
    ("frame", "seen"),
    [
        (FRAME, 0),
        (FRAME.with_columns(pl.col("area") * 1.01), 0),
        (FRAME.with_columns(pl.col("area") * 1.1), 2),
        (FRAME.with_columns(well=pl.lit("B01")), 3),
        (FRAME.head(2), 1),
        (FRAME.rename({"area": "size"}), 1),
    ],
    ids=["same", "rounding", "other numbers", "other texts", "fewer rows", "another column"],
)
def test_what_differs_is_told(frame: pl.DataFrame, seen: int) -> None:
    [asked] = statements(with_answers(PAGE_OF_ONE, lambda statement: FRAME))
    assert len(list(asked.differences(frame))) == seen


def test_a_statement_without_an_answer_is_told_and_the_cookbook_has_none() -> None:
    [asked] = statements(PAGE_OF_ONE)
    assert list(asked.differences(FRAME)) == ["no answer stands below it"]
    asked_there = statements(PAGE.read_text())
    assert len(asked_there) >= 25
    assert all(each.answer for each in asked_there)
