"""The benchmark of activity, in small: every figure is made, and the loop says the same."""

import numpy as np
import pytest

from benchmarks import activity
from benchmarks.figures import Figures


def test_the_small_form_makes_every_figure_and_agrees_with_the_loop(capsys):
    figures = Figures(activity.SECTION, activity.ABOUT)
    activity.run(figures, 0.02)
    found = {name.removeprefix("activity."): value for name, value, _, _ in figures.rows}
    assert {"seconds", "ratio_vs_loop", "ratio_vs_sparse_loop", "late_auroc", "fusion_seconds"} <= set(found)
    assert found["auroc_difference"] < 0.02
    assert found["shuffled_auroc"] == pytest.approx(0.5, abs=0.15)
    assert all(np.isfinite(value) for value in found.values())
    assert "figure activity.ratio_vs_loop" in capsys.readouterr().out
