"""The benchmark of training, in small: every figure is made."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import training
from benchmarks.figures import Figures


@pytest.mark.slow
def test_the_small_form_makes_every_figure(tmp_path: Path):
    figures = Figures("training", training.ABOUT)
    training.run(figures, tmp_path, [3], ["small", "set"], small=True)
    found = {name.removeprefix("training."): value for name, value, _, _ in figures.rows}
    assert found["resume_differences"] == 0
    assert {"small_plates_gain_over_untrained", "small_compounds_gain_over_untrained", "best_gain_low",
            "with_batches_cells_minus_plates", "without_batches_cells_minus_plates",
            "small_occlusion_in_cytoplasm", "set_plates_gain_over_started", "set_compounds_gain_over_median",
            "set_windows_per_second"} <= set(found)  # fmt: skip
    assert 0 < found["small_plates_map"] <= 1
    assert all(np.isfinite(value) for value in found.values())
