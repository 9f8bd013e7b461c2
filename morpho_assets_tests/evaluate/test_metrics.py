from __future__ import annotations

import numpy as np

from morpho_assets.evaluate.metrics import METRICS_SCHEMA, bootstrap_interval, metric_row, metrics_frame


def test_rows_have_the_schema_and_unknown_is_null() -> None:
    frame = metrics_frame([metric_row("e", "overall", "m", float("nan"), 3)])
    assert dict(frame.schema) == METRICS_SCHEMA
    assert frame.row(0) == ("e", "overall", "m", None, None, None, None, None, 3, None, None, None)
    assert metrics_frame([]).schema == frame.schema


def test_intervals_cover_and_are_seeded() -> None:
    rng = np.random.default_rng(0)
    cover = 0
    for seed in range(200):
        low, high = bootstrap_interval(rng.normal(5, 1, 40), np.mean, seed, 400) or (0, 0)
        cover += low <= 5 <= high
    assert 0.88 < cover / 200 < 0.99
    assert bootstrap_interval([1, 2, 3], np.median, 1) == bootstrap_interval([1, 2, np.nan, 3], np.median, 1)
    assert bootstrap_interval([1.0], np.mean, 0) is None
