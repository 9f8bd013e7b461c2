from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.metrics import (
    METRICS_SCHEMA,
    SCORES_SCHEMA,
    metric_row,
    metrics_frame,
    nothing_to_ask,
    paired_differences,
    scores_frame,
)


def test_rows_have_the_schema_and_unknown_is_null() -> None:
    frame = metrics_frame([metric_row("e", "overall", "m", float("nan"), 3)])
    assert dict(frame.schema) == METRICS_SCHEMA
    assert frame.row(0) == ("e", "overall", "m", None, None, None, None, None, 3, None, None, None)
    assert metrics_frame([]).schema == frame.schema


def test_scores_of_one_treatment_are_averaged_and_unknown_ones_left_out() -> None:
    keys = pl.DataFrame({"Metadata_a": ["x", "x", "y", "z"], "Metadata_b": ["1", "1", "2", None]})
    found = scores_frame(keys, {"grit": ([1, 3, np.nan, 5], 0.0), "NSC": ([1, 0, 1, 1], [0.1, 0.3, 0.5, 0.5])})
    assert dict(found.schema) == SCORES_SCHEMA
    assert found.rows() == [("x | 1", "grit", 2, 0), ("x | 1", "NSC", 0.5, 0.2), ("y | 2", "NSC", 1, 0.5)]


def test_a_difference_is_paired_by_treatment() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(size=40)
    names = pl.DataFrame({"Metadata_t": [f"t{i}" for i in range(40)]})
    before = scores_frame(names, {"mAP": (level, 0.1), "grit": (level, 0.0)})
    after = scores_frame(names[10:].reverse(), {"mAP": (level[10:][::-1] + rng.normal(0.2, 0.1, 30), 0.15)})
    (row,) = paired_differences(before, after, "mine", "against raw", 0)
    assert (row["evaluator"], row["scope"], row["metric"], row["n"]) == ("mine", "against raw", "mAP", 30)
    assert row["value"] == pytest.approx(0.2, abs=0.06)
    assert row["chance"] == pytest.approx(0.05)
    assert 0.1 < row["ci_low"] < row["value"] < row["ci_high"] < 0.3  # level alone varies by 1
    assert paired_differences(before, after.clear(), "mine", "against raw", 0) == []


def test_nothing_to_ask_is_rows_of_no_unit() -> None:
    rows = nothing_to_ask("mine", ["a", "b"]).metrics
    assert rows.select("metric", "value", "chance", "n").rows() == [("a", None, None, 0), ("b", None, None, 0)]
